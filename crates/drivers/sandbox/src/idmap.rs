//! User namespaces that only serve as tables of ids for mounts: files of the
//! runner appear as the job's inside, and what the job writes is the runner's
//! on disk. It must never leave the process that opens the namespace behind.

#![expect(unsafe_code, reason = "a child that does nothing but exist in a namespace")]

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

/// A namespace in which `on_disk` ids are shown as `shown` ids. Needs root.
pub(crate) fn namespace(on_disk: (u32, u32), shown: (u32, u32)) -> io::Result<OwnedFd> {
    #[repr(C)]
    #[derive(Default)]
    struct Arguments {
        flags: u64,
        unused: [u64; 3],
        exit_signal: u64,
        more: [u64; 3],
    }
    let arguments = Arguments {
        flags: libc::CLONE_NEWUSER.cast_unsigned().into(),
        exit_signal: libc::SIGCHLD.cast_unsigned().into(),
        ..Arguments::default()
    };
    // SAFETY: without CLONE_VM this is a fork; the child makes only the system call `pause`, which
    // needs no memory.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, std::mem::size_of::<Arguments>()) };
    if pid == -1 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        loop {
            // SAFETY: as above.
            unsafe {
                libc::syscall(libc::SYS_ppoll, std::ptr::null::<u8>(), 0, std::ptr::null::<u8>(), 0, 0)
            };
        }
    }
    let pid = pid as i32;
    let opened = fill(pid, on_disk, shown);
    // SAFETY: our own child, in our session, that nobody else waits for.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    opened
}

fn fill(pid: i32, on_disk: (u32, u32), shown: (u32, u32)) -> io::Result<OwnedFd> {
    fs::write(format!("/proc/{pid}/uid_map"), format!("{} {} 1", on_disk.0, shown.0))?;
    fs::write(format!("/proc/{pid}/gid_map"), format!("{} {} 1", on_disk.1, shown.1))?;
    Ok(fs::File::open(format!("/proc/{pid}/ns/user"))?.into())
}
