//! The life of a command between its birth and its program: into its groups,
//! down to its user, without capabilities, behind the filter. The child is a
//! sibling of the zygote, hence a child of the runner. It must never execute
//! the program if a part of the fence failed.

#![expect(unsafe_code, reason = "clone3, filter and execve have no safe form")]

use crate::seccomp;
use crate::sys;
use crate::wire::{Request, Setup};
use fleetfoot_driver_linux::spawn::Stage;
use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The filter for system calls in the form of the kernel.
pub(super) struct Filter(Vec<libc::sock_filter>);

impl Filter {
    pub(super) fn new(packed: &[u64]) -> Self {
        Self(packed.iter().map(|i| seccomp::unpack(*i)).collect())
    }

    /// Installs the filter in this process, for good.
    pub(super) fn install(&self) -> io::Result<()> {
        let length = u16::try_from(self.0.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
        let program = libc::sock_fprog { len: length, filter: self.0.as_ptr().cast_mut() };
        const MODE: libc::c_ulong = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
        // SAFETY: the kernel copies the instructions during the call.
        let rc = unsafe { libc::prctl(libc::PR_SET_SECCOMP, MODE, &raw const program, 0, 0) };
        if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
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

/// Everything that the child needs, ready before it exists.
struct Prepared<'a> {
    setup: &'a Setup,
    filter: &'a Filter,
    programs: Vec<CString>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    directory: CString,
    standard: [RawFd; 3],
    report: RawFd,
    group: Option<RawFd>,
    tasks: Vec<RawFd>,
    rlimits: &'a [(u32, u64)],
}

/// Makes the command. Its failures after this are reported through its own pipe.
pub(super) fn start(setup: &Setup, request: &Request, fds: &[OwnedFd], filter: &Filter) -> io::Result<i32> {
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let mut fds = fds.iter().map(AsRawFd::as_raw_fd);
    let mut next = || fds.next().ok_or_else(invalid);
    let standard = [next()?, next()?, next()?];
    let report = next()?;
    let group = if request.cgroup { Some(next()?) } else { None };
    let strings = |list: &[String]| -> io::Result<Vec<CString>> {
        list.iter().map(|s| CString::new(s.as_str()).map_err(|_| invalid())).collect()
    };
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (strings(&request.argv)?, strings(&request.envp)?);
    let prepared = Prepared {
        setup,
        filter,
        programs: strings(&request.programs)?,
        argv: pointers(&argv),
        envp: pointers(&envp),
        directory: CString::new(request.directory.as_str()).map_err(|_| invalid())?,
        standard,
        report,
        group,
        tasks: fds.collect(),
        rlimits: &request.rlimits,
    };
    match clone(&prepared, true) {
        // An old kernel, or a group that is not ours to be born in: the child moves itself.
        Err(e)
            if prepared.group.is_some() && !matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) =>
        {
            clone(&prepared, false)
        }
        other => other,
    }
}

fn clone(prepared: &Prepared<'_>, into_group: bool) -> io::Result<i32> {
    let mut args = CloneArgs { flags: libc::CLONE_PARENT.cast_unsigned().into(), ..CloneArgs::default() };
    if into_group && let Some(fd) = prepared.group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(fd.cast_unsigned());
    }
    // SAFETY: without CLONE_VM this is a fork of a single-threaded process; the child only runs
    // `live`, which never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, std::mem::size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => live(prepared, !into_group),
        _ => Ok(pid as i32),
    }
}

fn live(prepared: &Prepared<'_>, join: bool) -> ! {
    let Err((stage, error)) = become_command(prepared, join);
    let mut message = [0_u8; 8];
    message[..4].copy_from_slice(&(stage as i32).to_ne_bytes());
    message[4..].copy_from_slice(&error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes());
    // SAFETY: writes a value of ours.
    unsafe { libc::write(prepared.report, message.as_ptr().cast(), message.len()) };
    sys::exit_now(127)
}

fn become_command(
    prepared: &Prepared<'_>,
    join: bool,
) -> Result<std::convert::Infallible, (Stage, io::Error)> {
    let at = |stage: Stage| move |e: io::Error| (stage, e);
    let check = |rc: libc::c_int| if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(rc) };
    // SAFETY: plain numbers.
    check(unsafe { libc::setsid() }).map_err(at(Stage::Session))?;
    if join && let Some(group) = prepared.group {
        // SAFETY: a C string that outlives the call.
        let procs =
            check(unsafe { libc::openat(group, c"cgroup.procs".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) });
        procs.and_then(join_group).map_err(at(Stage::Cgroup))?;
    }
    for tasks in &prepared.tasks {
        join_group(*tasks).map_err(at(Stage::Cgroup))?;
    }
    for (resource, value) in prepared.rlimits {
        sys::limit_resource(*resource, *value).map_err(at(Stage::Limits))?;
    }
    sys::become_user(prepared.setup.uid, prepared.setup.gid).map_err(at(Stage::Fence))?;
    sys::set_capabilities(0).map_err(at(Stage::Fence))?;
    // SAFETY: a C string that outlives the call.
    check(unsafe { libc::chdir(prepared.directory.as_ptr()) }).map_err(at(Stage::Directory))?;
    // Received descriptors all lie above 2: the zygote's own 0, 1 and 2 are open.
    for (from, to) in prepared.standard.iter().zip(0..) {
        // SAFETY: plain numbers.
        check(unsafe { libc::dup2(*from, to) }).map_err(at(Stage::Descriptors))?;
    }
    // SAFETY: marks only; the report pipe stays usable until the program runs.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(marked as i32).map_err(at(Stage::Descriptors))?;
    prepared.filter.install().map_err(at(Stage::Fence))?;
    let mut denied = None;
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for program in &prepared.programs {
        // SAFETY: vectors of C strings that end with a null pointer and outlive the call.
        unsafe { libc::execve(program.as_ptr(), prepared.argv.as_ptr(), prepared.envp.as_ptr()) };
        last = io::Error::last_os_error();
        match last.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => denied = Some(io::Error::from_raw_os_error(libc::EACCES)),
            _ => return Err((Stage::Exec, last)),
        }
    }
    Err((Stage::Exec, denied.unwrap_or(last)))
}

/// Moves this process into a group by its opened file of members.
fn join_group(fd: RawFd) -> io::Result<()> {
    // SAFETY: writes a constant.
    let written = unsafe { libc::write(fd, b"0".as_ptr().cast(), 1) };
    if written == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
