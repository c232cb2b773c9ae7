//! Thin, checked forms of the system calls that no safe crate offers to us:
//! mounts by descriptor, namespaces, identities, capabilities. Each does one
//! call and nothing else; policy lives with the callers.

#![expect(unsafe_code, reason = "system calls without a safe form")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path as C string.
pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn check(rc: libc::c_long) -> io::Result<libc::c_long> {
    if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

/// `open_tree`: a detached copy of what is mounted at `path`.
pub(crate) fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    // SAFETY: a C string that outlives the call.
    let fd = check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `mount_setattr` on a detached tree or, with an empty descriptor, on a path.
pub(crate) fn set_attributes(
    tree: BorrowedFd<'_>,
    recursive: bool,
    set: u64,
    idmap: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let attributes = libc::mount_attr {
        attr_set: set | if idmap.is_some() { libc::MOUNT_ATTR_IDMAP } else { 0 },
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: idmap.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned())),
    };
    // SAFETY: pointers to values that outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            std::mem::size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// `move_mount`: attaches a detached tree at `target`.
pub(crate) fn attach(tree: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    // SAFETY: C strings that outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// `mount(2)` of a new file system.
pub(crate) fn mount(kind: &CStr, target: &Path, flags: libc::c_ulong, options: &str) -> io::Result<()> {
    let target = c_path(target)?;
    let options = CString::new(options).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: C strings that outlive the call.
    let rc =
        unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    check(rc.into()).map(drop)
}

/// Takes the whole tree of mounts out of propagation.
pub(crate) fn make_private() -> io::Result<()> {
    // SAFETY: C strings; the other pointers may be null for a change of propagation.
    let rc = unsafe {
        libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    };
    check(rc.into()).map(drop)
}

/// Makes the current directory the root and drops the old one.
pub(crate) fn pivot_here() -> io::Result<()> {
    // SAFETY: C strings that outlive the calls.
    unsafe {
        check(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH).into())?;
        check(libc::chdir(c"/".as_ptr()).into())?;
    }
    Ok(())
}

/// `unshare(2)`.
pub(crate) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers; the caller is single-threaded.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// Gives up all supplementary groups.
pub(crate) fn drop_groups() -> io::Result<()> {
    // SAFETY: an empty list may be null.
    check(unsafe { libc::setgroups(0, std::ptr::null()) }.into()).map(drop)
}

/// Becomes this user and group, in all three forms.
pub(crate) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: plain numbers.
    unsafe {
        check(libc::setresgid(gid, gid, gid).into())?;
        check(libc::setresuid(uid, uid, uid).into())?;
    }
    Ok(())
}

/// `prctl` with one argument.
pub(crate) fn prctl(option: libc::c_int, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: only used with options whose argument is a number.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) }.into()).map(drop)
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Sets effective and permitted capabilities to `mask`, inheritable to none.
pub(crate) fn set_capabilities(mask: u64) -> io::Result<()> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let half = |bits: u64| {
        let bits = (bits & 0xffff_ffff) as u32;
        CapData { effective: bits, permitted: bits, inheritable: 0 }
    };
    let data = [half(mask), half(mask >> 32)];
    // SAFETY: the structures of the kernel's interface, version 3, outlive the call.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    Ok(())
}

/// Empties the bounding set: no program that is executed from now on gains anything.
pub(crate) fn empty_bounding_set() -> io::Result<()> {
    for capability in 0..64 {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            // Beyond the last one that this kernel knows.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

/// Sets a resource limit, clamped to the hard maximum in force; returns what holds.
pub(crate) fn limit_resource(resource: u32, wanted: u64) -> io::Result<u64> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes to a value of ours.
    check(unsafe { libc::getrlimit(resource, &raw mut now) }.into())?;
    let value = wanted.min(now.rlim_max);
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: reads a value of ours.
    check(unsafe { libc::setrlimit(resource, &raw const limit) }.into())?;
    Ok(value)
}

/// `fork(2)` of a single-threaded process: the child may do anything. `None` in the child.
pub(crate) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the callers are single-threaded, so that no lock can be held by a thread that is gone.
    let pid = check(unsafe { libc::fork() }.into())? as i32;
    Ok((pid != 0).then_some(pid))
}

/// Ends the process without running anything of it.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Ignores a signal.
pub(crate) fn ignore(signal: libc::c_int) {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Lets go of all descriptors from `first` to `last`.
pub(crate) fn close_range(first: u32, last: u32) {
    // SAFETY: the callers own no value that lives in this range.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// `PR_SET_NO_NEW_PRIVS`, for good and for all children.
pub(crate) fn prctl_no_new_privs() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// `mount(2)` of a device.
pub(crate) fn mount_device(
    device: &Path,
    kind: &CStr,
    target: &Path,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let (device, target) = (c_path(device)?, c_path(target)?);
    // SAFETY: C strings that outlive the call.
    let rc = unsafe { libc::mount(device.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) };
    check(rc.into()).map(drop)
}

/// Unmounts what is at `target`, as soon as nobody uses it any more.
pub(crate) fn unmount(target: &Path) -> io::Result<()> {
    let target = c_path(target)?;
    // SAFETY: a C string that outlives the call.
    let rc = unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) };
    check(rc.into()).map(drop)
}
