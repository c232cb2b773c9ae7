//! Starts a process: `clone3` straight into its cgroup where the kernel can
//! (no window in which it runs outside), `fork` otherwise; then a session of
//! its own, clean signals, the given descriptors and nothing else, `execve`.
//!
//! Between clone and exec only async-signal-safe calls on memory prepared
//! beforehand are made: the child is a copy of a multi-threaded process, whose
//! locks may be held by threads that do not exist in it. It must never
//! allocate, panic or run a destructor there.

#![expect(unsafe_code, reason = "clone3, fork and execve have no safe form")]

use fleetfoot_driver::{Command, DriverError};
use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Everything that the child needs, ready before it exists.
pub struct Plan {
    /// The program.
    pub program: CString,
    /// Its name and arguments.
    pub argv: Vec<CString>,
    /// Its whole environment.
    pub envp: Vec<CString>,
    /// Working directory.
    pub directory: CString,
    /// Becomes descriptor 0.
    pub stdin: RawFd,
    /// Becomes descriptor 1.
    pub stdout: RawFd,
    /// Becomes descriptor 2.
    pub stderr: RawFd,
    /// Directory of the v2 cgroup to be born in, and its `cgroup.procs` for kernels that cannot do that.
    pub cgroup: Option<(RawFd, CString)>,
    /// Opened v1 `tasks` files. A single-threaded child that moves itself takes no global lock.
    pub tasks: Vec<RawFd>,
    /// Soft and hard limit by resource.
    pub rlimits: Vec<(libc::__rlimit_resource_t, u64)>,
    /// Namespaces that the program runs in.
    pub enter: Enter,
    /// Value for `/proc/self/oom_score_adj`: the kernel shall choose a job before the runner.
    pub oom_score_adj: Option<CString>,
}

/// Namespaces that a child enters before its program runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enter {
    /// A network.
    pub network: Option<RawFd>,
    /// A user namespace, whose root it becomes.
    pub user: Option<RawFd>,
}

/// A process that has reached its program.
pub struct Spawned {
    /// Its id.
    pub pid: i32,
    /// Names it beyond reuse of its id.
    pub pidfd: OwnedFd,
}

/// Where the child failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Making the process.
    Fork,
    /// Leading a session.
    Session,
    /// Connecting its descriptors.
    Descriptors,
    /// Joining its groups.
    Cgroup,
    /// Setting its limits.
    Limits,
    /// Entering the working directory.
    Directory,
    /// Executing the program.
    Exec,
    /// Giving up rights before the program runs.
    Fence,
}

/// A failed start.
#[derive(Debug)]
pub struct SpawnError {
    /// Where.
    pub stage: Stage,
    /// Why.
    pub source: io::Error,
}

impl SpawnError {
    fn last(stage: Stage) -> Self {
        Self { stage, source: io::Error::last_os_error() }
    }

    /// The error in words for people.
    #[must_use]
    pub fn explain(&self, command: &Command, program: &Path) -> DriverError {
        let source = std::io::Error::from_raw_os_error(self.source.raw_os_error().unwrap_or(0));
        let message = match self.stage {
            Stage::Fork => "cannot start another process".to_owned(),
            Stage::Fence => "cannot fence the command off".to_owned(),
            Stage::Session => "cannot start a session for the command".to_owned(),
            Stage::Descriptors => "cannot connect the command's output".to_owned(),
            Stage::Cgroup => "cannot put the command into its control group".to_owned(),
            Stage::Limits => "cannot set the resource limits of the command".to_owned(),
            Stage::Directory => {
                format!("cannot enter the working directory '{}'", command.working_directory.display())
            }
            Stage::Exec if !command.program.contains('/') => {
                format!("cannot execute '{}' ({})", command.program, program.display())
            }
            Stage::Exec => format!("cannot execute '{}'", command.program),
        };
        DriverError::io(message, source)
    }
}

/// `struct clone_args` of `clone3(2)`, up to the cgroup field (Linux 5.7).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
static NO_CLONE3: AtomicBool = AtomicBool::new(false);
static NO_INTO_CGROUP: AtomicBool = AtomicBool::new(false);

/// Starts the process and returns when it runs its program.
///
/// # Errors
/// [`SpawnError`] with the stage at which it failed; no process is left then.
pub fn spawn(plan: &Plan) -> Result<Spawned, SpawnError> {
    let (report, report_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| SpawnError { stage: Stage::Fork, source: e.into() })?;
    let raw = Raw::new(plan, report_write.as_raw_fd());
    let mut pidfd = None;
    let pid = crate::reaper::register(|| {
        let (pid, fd) = clone_process(&raw)?;
        pidfd = fd;
        Ok(pid)
    })?;
    drop(report_write);
    if let Err(error) = await_program(&report) {
        // SAFETY: the child is ours, has called _exit and was not waited for yet.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        crate::reaper::release(pid);
        return Err(error);
    }
    let pidfd = match pidfd {
        Some(fd) => fd,
        None => open_pidfd(pid)?,
    };
    Ok(Spawned { pid, pidfd })
}

/// Waits until a child either runs its program or has reported through the pipe why it does not.
///
/// # Errors
/// The report of the child.
pub fn await_program(report: &OwnedFd) -> Result<(), SpawnError> {
    let mut failure = [0_u8; 8];
    let read = loop {
        match rustix::io::read(report, &mut failure) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other.unwrap_or(0),
        }
    };
    if read < failure.len() {
        return Ok(());
    }
    let word = |i: usize| i32::from_ne_bytes([failure[i], failure[i + 1], failure[i + 2], failure[i + 3]]);
    let stage = STAGES.into_iter().find(|s| *s as i32 == word(0)).unwrap_or(Stage::Exec);
    Err(SpawnError { stage, source: io::Error::from_raw_os_error(word(4)) })
}

/// All stages, in the order of their numbers.
pub const STAGES: [Stage; 8] = [
    Stage::Fork,
    Stage::Session,
    Stage::Descriptors,
    Stage::Cgroup,
    Stage::Limits,
    Stage::Directory,
    Stage::Exec,
    Stage::Fence,
];

/// A descriptor of a registered child, which is not yet waited for, so that its pid is still its own.
///
/// # Errors
/// If there is none; the child is ended and collected then.
pub fn open_pidfd(pid: i32) -> Result<OwnedFd, SpawnError> {
    let opened = rustix::process::Pid::from_raw(pid)
        .ok_or(rustix::io::Errno::SRCH)
        .and_then(|p| rustix::process::pidfd_open(p, rustix::process::PidfdFlags::empty()));
    opened.map_err(|e| {
        // SAFETY: our own unreaped child.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
        crate::reaper::release(pid);
        SpawnError { stage: Stage::Fork, source: e.into() }
    })
}

/// Clones with all signals blocked, so that no handler of the parent runs in the child.
fn clone_process(raw: &Raw<'_>) -> Result<(i32, Option<OwnedFd>), SpawnError> {
    // SAFETY: sigset_t is plain memory; the calls only write to it.
    let old = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        old
    };
    let result = clone_blocked(raw);
    // SAFETY: restores the mask read above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut()) };
    result
}

fn clone_blocked(raw: &Raw<'_>) -> Result<(i32, Option<OwnedFd>), SpawnError> {
    if !NO_CLONE3.load(Ordering::Relaxed) {
        let mut into = raw.plan.cgroup.is_some() && !NO_INTO_CGROUP.load(Ordering::Relaxed);
        loop {
            match clone3(raw, into) {
                Ok(done) => return Ok(done),
                Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => {
                    NO_CLONE3.store(true, Ordering::Relaxed);
                    break;
                }
                // Old kernels and filters of container engines refuse the flag in several ways; a
                // machine that is out of processes or memory must not be mistaken for one.
                Err(e) if into && !matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) => {
                    NO_INTO_CGROUP.store(true, Ordering::Relaxed);
                    into = false;
                }
                Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => break,
                Err(source) => return Err(SpawnError { stage: Stage::Fork, source }),
            }
        }
    }
    // SAFETY: the child only runs `child`, which keeps to async-signal-safe calls and never returns.
    match unsafe { libc::fork() } {
        -1 => Err(SpawnError::last(Stage::Fork)),
        // SAFETY: as above.
        0 => unsafe { child(raw, true) },
        pid => Ok((pid, None)),
    }
}

fn clone3(raw: &Raw<'_>, into_cgroup: bool) -> io::Result<(i32, Option<OwnedFd>)> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: libc::CLONE_PIDFD.cast_unsigned().into(),
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD.cast_unsigned().into(),
        ..CloneArgs::default()
    };
    if into_cgroup && let Some((fd, _)) = &raw.plan.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(fd.cast_unsigned());
    }
    // SAFETY: without CLONE_VM this is a fork; the arguments outlive the call, and the
    // child only runs `child`, which never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, std::mem::size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: as above.
        0 => unsafe { child(raw, !into_cgroup) },
        // SAFETY: the kernel has just given us this descriptor.
        _ => Ok((pid as i32, Some(unsafe { OwnedFd::from_raw_fd(pidfd) }))),
    }
}

/// The plan as the pointers that system calls take.
struct Raw<'a> {
    plan: &'a Plan,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    report: RawFd,
}

impl<'a> Raw<'a> {
    fn new(plan: &'a Plan, report: RawFd) -> Self {
        let pointers = |list: &[CString]| -> Vec<*const c_char> {
            list.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
        };
        Self { plan, argv: pointers(&plan.argv), envp: pointers(&plan.envp), report }
    }
}

/// The life of the child up to its program.
///
/// # Safety
/// Only in a fresh child with all signals blocked.
unsafe fn child(raw: &Raw<'_>, join_cgroup: bool) -> ! {
    let plan = raw.plan;
    // SAFETY: every pointer comes from `plan` and `raw`, which this copy of the memory
    // keeps alive; only async-signal-safe functions are called.
    unsafe {
        // The raw call: libc refuses the two signals that it uses itself, which may be ignored too.
        // A kernel sigaction of zeroes is SIG_DFL without flags.
        let default = [0_u64; 4];
        for signal in 1..=64 {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                8_usize,
            );
        }
        if libc::setsid() == -1 {
            fail(raw, Stage::Session);
        }
        if join_cgroup
            && let Some((_, procs)) = &plan.cgroup
            && !write_file(procs.as_ptr(), b"0")
        {
            fail(raw, Stage::Cgroup);
        }
        for fd in &plan.tasks {
            if libc::write(*fd, b"0".as_ptr().cast(), 1) != 1 {
                fail(raw, Stage::Cgroup);
            }
        }
        if let Some(value) = &plan.oom_score_adj {
            write_file(c"/proc/self/oom_score_adj".as_ptr(), value.to_bytes());
        }
        for (resource, value) in &plan.rlimits {
            let limit = libc::rlimit { rlim_cur: *value, rlim_max: *value };
            if libc::setrlimit(*resource, &raw const limit) == -1 {
                fail(raw, Stage::Limits);
            }
        }
        if libc::chdir(plan.directory.as_ptr()) == -1 {
            fail(raw, Stage::Directory);
        }
        // The sources all lie above 2: the runner's own 0, 1 and 2 are open.
        for (from, to) in [(plan.stdin, 0), (plan.stdout, 1), (plan.stderr, 2)] {
            if libc::dup2(from, to) == -1 {
                fail(raw, Stage::Descriptors);
            }
        }
        if !enter(plan.enter) {
            fail(raw, Stage::Fence);
        }
        // Whatever somebody forgot to mark: nothing but 0 to 2 survives. Older kernels lack
        // the call or the flag; then the marks on our own descriptors have to do.
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::execve(plan.program.as_ptr(), raw.argv.as_ptr(), raw.envp.as_ptr());
        fail(raw, Stage::Exec)
    }
}

/// The network first: it does not belong to the user namespace, in which nobody has rights over it.
///
/// # Safety
/// As [`child`].
unsafe fn enter(into: Enter) -> bool {
    // SAFETY: by the contract of this function. The raw calls: those of libc change all threads of the
    // process that this one is a copy of, or believe they do.
    unsafe {
        if let Some(network) = into.network
            && libc::setns(network, libc::CLONE_NEWNET) == -1
        {
            return false;
        }
        let Some(user) = into.user else { return true };
        libc::setns(user, libc::CLONE_NEWUSER) == 0
            && libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) == 0
            && libc::syscall(libc::SYS_setresgid, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_setresuid, 0, 0, 0) == 0
    }
}

/// # Safety
/// As [`child`]; `path` is a C string.
unsafe fn write_file(path: *const c_char, bytes: &[u8]) -> bool {
    // SAFETY: by the contract of this function.
    unsafe {
        let fd = libc::open(path, libc::O_WRONLY | libc::O_CLOEXEC);
        if fd == -1 {
            return false;
        }
        let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        libc::close(fd);
        usize::try_from(written) == Ok(bytes.len())
    }
}

/// # Safety
/// As [`child`].
unsafe fn fail(raw: &Raw<'_>, stage: Stage) -> ! {
    // SAFETY: by the contract of this function; errno belongs to this thread.
    unsafe {
        let errno = *libc::__errno_location();
        let mut message = [0_u8; 8];
        message[..4].copy_from_slice(&(stage as i32).to_ne_bytes());
        message[4..].copy_from_slice(&errno.to_ne_bytes());
        libc::write(raw.report, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}
