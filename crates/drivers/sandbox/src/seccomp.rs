//! The filter for system calls: what is not listed is refused, in the manner
//! of the profiles that container engines ship, and somewhat narrower: no
//! io_uring, only the common socket families, no typing into terminals. The
//! lists are the profile; its hash goes into the record of the boundary.
//!
//! Refused calls give EPERM. Those that libraries try first and do without
//! (clone3, calls that are younger than the lists) give ENOSYS, because only
//! that makes them fall back.

use sha2::{Digest, Sha256};

/// `AUDIT_ARCH_*` of this machine.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

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
const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();

/// Families of sockets.
const FAMILIES: [u32; 4] =
    [libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32, libc::AF_NETLINK as u32];

/// `personality` may only ask, or choose what build tools and debuggers choose: Linux in its forms, no
/// randomisation of addresses.
const PERSONALITIES: [u32; 6] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0x004_0000, 0xffff_ffff];

/// `ioctl`: typing into a terminal (TIOCSTI), and everything that the console offers (TIOCLINUX).
const TYPING: [u32; 2] = [0x5412, 0x541c];

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// EPERM.
    Refuse,
    /// ENOSYS.
    Missing,
    /// Depends on an argument.
    Check(Check),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Clone,
    Socket,
    Personality,
    Ioctl,
}

const CHECKS: [Check; 4] = [Check::Clone, Check::Socket, Check::Personality, Check::Ioctl];

/// Numbers above this have one verdict, up to the largest there is.
const END: libc::c_long = YOUNG.end;

fn verdict(call: libc::c_long) -> Verdict {
    match call {
        libc::SYS_clone => Verdict::Check(Check::Clone),
        libc::SYS_socket => Verdict::Check(Check::Socket),
        libc::SYS_personality => Verdict::Check(Check::Personality),
        libc::SYS_ioctl => Verdict::Check(Check::Ioctl),
        libc::SYS_clone3 => Verdict::Missing,
        _ if [ALLOWED, ALLOWED_HERE, ALLOWED_YOUNG].iter().any(|list| list.contains(&call)) => Verdict::Allow,
        _ if YOUNG.contains(&call) => Verdict::Missing,
        _ => Verdict::Refuse,
    }
}

/// The compiled profile.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// The filter, one instruction a number.
    pub(crate) filter: Vec<u64>,
    /// `sha256:HEX` over all instructions.
    pub(crate) hash: String,
}

/// Compiles the profile.
///
/// A binary search over ranges of numbers: the kernel runs a filter for every call that it does not
/// know to be always allowed, and for every number there is when it is installed, which a list that is
/// walked from its beginning makes slower than everything else in the start of a command.
pub(crate) fn profile() -> Profile {
    let filter: Vec<u64> = compile().iter().map(pack).collect();
    let mut hash = Sha256::new();
    for instruction in &filter {
        hash.update(instruction.to_le_bytes());
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Profile { filter, hash: format!("sha256:{hex}") }
}

fn pack(i: &libc::sock_filter) -> u64 {
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

/// Instructions of the classic filter language.
mod op {
    pub(super) const LOAD: u16 = 0x20;
    pub(super) const JUMP: u16 = 0x05;
    pub(super) const IF_EQUAL: u16 = 0x15;
    pub(super) const IF_AT_LEAST: u16 = 0x35;
    pub(super) const IF_ANY_BIT: u16 = 0x45;
    pub(super) const RETURN: u16 = 0x06;
}

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
const MISSING: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

/// Places in `struct seccomp_data`; arguments are 64 bits wide, their lower half first.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const fn argument_at(index: u32) -> u32 {
    16 + 8 * index
}

const fn at(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn compile() -> Vec<libc::sock_filter> {
    // First numbers of ranges with one verdict.
    let mut ranges: Vec<(u32, Verdict)> = Vec::new();
    for call in 0..=END {
        let verdict = verdict(call);
        if ranges.last().is_none_or(|(_, last)| *last != verdict) {
            ranges.push((call as u32, verdict));
        }
    }
    let head = [
        at(op::LOAD, ARCH_AT, 0, 0),
        at(op::IF_EQUAL, ARCH, 1, 0),
        at(op::RETURN, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        at(op::LOAD, NUMBER_AT, 0, 0),
    ];
    let blocks: Vec<Vec<libc::sock_filter>> = CHECKS.iter().map(|c| block(*c)).collect();
    let mut search = Vec::new();
    search_tree(&ranges, &mut search);
    // Jumps to blocks were left with the index of the check.
    let end = search.len();
    for (index, instruction) in search.iter_mut().enumerate() {
        if instruction.code == op::JUMP && instruction.jt == 1 {
            let before: usize = blocks[..instruction.k as usize].iter().map(Vec::len).sum();
            *instruction = at(op::JUMP, (end - index - 1 + before) as u32, 0, 0);
        }
    }
    head.into_iter().chain(search).chain(blocks.into_iter().flatten()).collect()
}

fn search_tree(ranges: &[(u32, Verdict)], out: &mut Vec<libc::sock_filter>) {
    if let [(_, verdict)] = ranges {
        out.push(match verdict {
            Verdict::Allow => at(op::RETURN, ALLOW, 0, 0),
            Verdict::Refuse => at(op::RETURN, REFUSE, 0, 0),
            Verdict::Missing => at(op::RETURN, MISSING, 0, 0),
            Verdict::Check(check) => at(op::JUMP, *check as u32, 1, 0),
        });
        return;
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let mut below = Vec::new();
    search_tree(low, &mut below);
    // Conditional jumps reach 255 instructions far, unconditional ones everywhere.
    out.push(at(op::IF_AT_LEAST, high[0].0, 0, 1));
    out.push(at(op::JUMP, below.len() as u32, 0, 0));
    out.append(&mut below);
    search_tree(high, out);
}

/// The instructions that look at an argument.
fn block(check: Check) -> Vec<libc::sock_filter> {
    let load = |argument| at(op::LOAD, argument_at(argument), 0, 0);
    let (allow, refuse) = (at(op::RETURN, ALLOW, 0, 0), at(op::RETURN, REFUSE, 0, 0));
    // One of `values`, or else.
    let one_of = |argument, values: &[u32], found, otherwise| {
        let mut block = vec![load(argument)];
        for (index, value) in values.iter().enumerate() {
            block.push(at(op::IF_EQUAL, *value, (values.len() - index) as u8, 0));
        }
        block.extend([otherwise, found]);
        block
    };
    match check {
        Check::Clone => vec![load(0), at(op::IF_ANY_BIT, NAMESPACE_FLAGS, 0, 1), refuse, allow],
        Check::Socket => one_of(0, &FAMILIES, allow, refuse),
        Check::Personality => one_of(0, &PERSONALITIES, allow, refuse),
        Check::Ioctl => one_of(1, &TYPING, refuse, allow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does.
    fn run(filter: &[libc::sock_filter], arch: u32, number: u32, arguments: [u32; 2]) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        for _ in 0..filter.len() {
            let i = filter[at];
            at += 1;
            let branch = |condition: bool| usize::from(if condition { i.jt } else { i.jf });
            match i.code {
                op::LOAD => {
                    loaded = match i.k {
                        NUMBER_AT => number,
                        ARCH_AT => arch,
                        16 => arguments[0],
                        24 => arguments[1],
                        other => panic!("load at {other}"),
                    }
                }
                op::JUMP => at += i.k as usize,
                op::IF_EQUAL => at += branch(loaded == i.k),
                op::IF_AT_LEAST => at += branch(loaded >= i.k),
                op::IF_ANY_BIT => at += branch(loaded & i.k != 0),
                op::RETURN => return i.k,
                other => panic!("instruction {other}"),
            }
        }
        panic!("no end")
    }

    #[test]
    fn every_number_gets_its_verdict() {
        let profile = profile();
        let filter: Vec<_> = profile.filter.iter().map(|i| unpack(*i)).collect();
        assert!(filter.len() < 600, "{}", filter.len());
        assert!(profile.hash.starts_with("sha256:") && profile.hash.len() == 71);
        for number in (0..2000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            let expected = match verdict(number.into()) {
                Verdict::Allow => ALLOW,
                Verdict::Missing => MISSING,
                Verdict::Refuse | Verdict::Check(_) => REFUSE,
            };
            // Arguments that all checks but the one of ioctl refuse.
            let got = run(&filter, ARCH, number, [0x1000_0000 | 77, libc::TIOCSTI as u32]);
            assert_eq!(got, expected, "{number}");
        }
        assert_eq!(run(&filter, 0x4000_0003, 0, [0; 2]), libc::SECCOMP_RET_KILL_PROCESS);
        for (call, arguments, expected) in [
            (libc::SYS_clone, [libc::SIGCHLD as u32, 0], ALLOW),
            (libc::SYS_clone, [libc::CLONE_NEWUSER as u32, 0], REFUSE),
            (libc::SYS_clone, [libc::CLONE_NEWCGROUP as u32 | 17, 0], REFUSE),
            (libc::SYS_socket, [libc::AF_INET6 as u32, 0], ALLOW),
            (libc::SYS_socket, [libc::AF_PACKET as u32, 0], REFUSE),
            (libc::SYS_personality, [0xffff_ffff, 0], ALLOW),
            (libc::SYS_personality, [0x0040_0000, 0], REFUSE),
            (libc::SYS_ioctl, [0, 0x5401], ALLOW),
            (libc::SYS_ioctl, [0, 0x541c], REFUSE),
        ] {
            assert_eq!(run(&filter, ARCH, call as u32, arguments), expected, "{call} {arguments:x?}");
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
