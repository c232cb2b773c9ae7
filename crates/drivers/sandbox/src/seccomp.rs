//! The filter for system calls: what is not listed is refused, in the manner
//! of the profiles that container engines ship, and somewhat narrower: no
//! io_uring, only the common socket families, no typing into terminals. The
//! lists are the profile; its hash goes into the record of the boundary.
//!
//! Refused calls give EPERM. Those that libraries try first and do without
//! (clone3, calls that are younger than the lists) give ENOSYS, because only
//! that makes them fall back.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Allowed with any arguments, on all machines.
const ALLOWED: &[libc::c_long] = calls! {
    SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_adjtime
    SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect
    SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2
    SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64
    SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl
    SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs
    SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv SYS_get_robust_list SYS_getcpu SYS_getcwd SYS_getdents64
    SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid
    SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_getrusage
    SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr
    SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel SYS_io_destroy
    SYS_io_getevents SYS_io_setup SYS_io_submit SYS_ioprio_get SYS_ioprio_set SYS_kill
    SYS_landlock_add_rule SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat
    SYS_listen SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise
    SYS_membarrier SYS_memfd_create SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2
    SYS_mlockall SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive
    SYS_mq_timedsend SYS_mq_unlink SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync
    SYS_munlock SYS_munlockall SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat
    SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect
    SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_mrelease
    SYS_process_vm_readv SYS_process_vm_writev SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev SYS_pwritev2
    SYS_read SYS_readahead SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg
    SYS_remap_file_pages SYS_removexattr SYS_renameat SYS_renameat2 SYS_restart_syscall SYS_rseq
    SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn
    SYS_rt_sigsuspend SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max
    SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
    SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr
    SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop
    SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_robust_list SYS_set_tid_address
    SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid
    SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_setsid SYS_setsockopt SYS_setuid SYS_setxattr
    SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4 SYS_socketpair
    SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs SYS_sysinfo SYS_tee
    SYS_tgkill SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime
    SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask
    SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
};

/// Older forms that only this machine has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = calls! {
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
    SYS_epoll_wait SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp SYS_inotify_init SYS_lchown
    SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink
    SYS_rename SYS_rmdir SYS_select SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utime
    SYS_utimes SYS_vfork
};
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// Calls without a name in our C library yet: the same numbers on all machines.
const ALLOWED_YOUNG: &[libc::c_long] = &[
    451, // cachestat
    452, // fchmodat2
    462, // mseal
];

/// Calls from here on are young: whoever tries them expects that they may be missing.
const YOUNG: std::ops::Range<libc::c_long> = 449..600;

/// Flags of `clone` that make namespaces.
const NAMESPACE_FLAGS: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned() as u64;

/// `personality` may only ask, or choose what build tools choose: Linux, no address randomisation.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Randomisation off, as debuggers and some sanitizers want it.
const ADDR_NO_RANDOMIZE: u64 = 0x004_0000;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The compiled profile.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// Filters in the order of their installation, one instruction a number.
    pub(crate) filters: Vec<Vec<u64>>,
    /// `sha256:HEX` over all instructions.
    pub(crate) hash: String,
}

/// Compiles the profile.
pub(crate) fn profile() -> Result<Profile, seccompiler::BackendError> {
    let programs = [missing()?, allowed()?];
    let mut hash = Sha256::new();
    let filters: Vec<Vec<u64>> = programs
        .iter()
        .map(|program| program.iter().map(|i| pack(i).inspect_hash(&mut hash)).collect())
        .collect();
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(Profile { filters, hash: format!("sha256:{hex}") })
}

trait InspectHash {
    fn inspect_hash(self, hash: &mut Sha256) -> Self;
}

impl InspectHash for u64 {
    fn inspect_hash(self, hash: &mut Sha256) -> Self {
        hash.update(self.to_le_bytes());
        self
    }
}

fn pack(i: &sock_filter) -> u64 {
    u64::from(i.code) << 48 | u64::from(i.jt) << 40 | u64::from(i.jf) << 32 | u64::from(i.k)
}

/// An instruction as the kernel wants it.
pub(crate) const fn unpack(packed: u64) -> libc::sock_filter {
    libc::sock_filter {
        code: (packed >> 48) as u16,
        jt: (packed >> 40) as u8,
        jf: (packed >> 32) as u8,
        k: packed as u32,
    }
}

/// What must look as if the kernel did not have it.
fn missing() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: Rules = YOUNG.filter(|n| !ALLOWED_YOUNG.contains(n)).map(|n| (n, Vec::new())).collect();
    rules.remove(&libc::SYS_futex_waitv);
    rules.insert(libc::SYS_clone3, Vec::new());
    let enosys = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, enosys, ARCH)?.try_into()
}

fn allowed() -> Result<BpfProgram, seccompiler::BackendError> {
    let lists = [ALLOWED, ALLOWED_HERE, ALLOWED_YOUNG];
    let mut rules: Rules = lists.into_iter().flatten().map(|n| (*n, Vec::new())).collect();
    // The other filter answers for these.
    rules.insert(libc::SYS_clone3, Vec::new());
    for number in YOUNG {
        rules.entry(number).or_default();
    }
    let condition = |argument, op, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
            .and_then(|c| SeccompRule::new(vec![c]))
    };
    rules.insert(libc::SYS_clone, vec![condition(0, SeccompCmpOp::MaskedEq(NAMESPACE_FLAGS), 0)?]);
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let families = families.into_iter().map(|f| condition(0, SeccompCmpOp::Eq, f.cast_unsigned().into()));
    rules.insert(libc::SYS_socket, families.collect::<Result<_, _>>()?);
    let personalities = PERSONALITIES.into_iter().chain([ADDR_NO_RANDOMIZE]);
    let personalities = personalities.map(|p| condition(0, SeccompCmpOp::Eq, p));
    rules.insert(libc::SYS_personality, personalities.collect::<Result<_, _>>()?);
    // Typing into a terminal, and everything that the console offers.
    let not = |request: u64| SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, request);
    const TIOCLINUX: u64 = 0x541c;
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![not(libc::TIOCSTI)?, not(TIOCLINUX)?])?]);
    let eperm = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, eperm, SeccompAction::Allow, ARCH)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_compiles_and_its_hash_is_stable() {
        let (one, two) = (profile().unwrap(), profile().unwrap());
        assert_eq!(one.hash, two.hash);
        assert!(one.hash.starts_with("sha256:") && one.hash.len() == 71);
        for filter in &one.filters {
            assert!(filter.len() < 4096, "the kernel takes no more");
        }
    }

    #[test]
    fn dangerous_calls_are_not_listed() {
        for call in [
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_keyctl,
            libc::SYS_bpf,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_perf_event_open,
            libc::SYS_open_by_handle_at,
            libc::SYS_pidfd_getfd,
            libc::SYS_open_tree,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
        ] {
            assert!(![ALLOWED, ALLOWED_HERE, ALLOWED_YOUNG].iter().any(|l| l.contains(&call)), "{call}");
        }
    }
}
