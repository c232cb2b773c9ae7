//! User namespaces without a process in them: tables of ids for mounts, or for
//! programs that enter them. It must never leave the process that opens the
//! namespace behind.

#![expect(unsafe_code, reason = "a child that does nothing but exist in a namespace")]

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

/// A namespace in which the first of each pair stands for the second, which is an id of ours: first for
/// users, then for groups. Needs root.
///
/// # Errors
/// If the runner may not make one.
pub fn namespace(users: &[(u32, u32)], groups: &[(u32, u32)]) -> io::Result<OwnedFd> {
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
    let opened = fill(pid, users, groups);
    // SAFETY: our own child, in our session, that nobody else waits for.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    opened
}

fn fill(pid: i32, users: &[(u32, u32)], groups: &[(u32, u32)]) -> io::Result<OwnedFd> {
    for (file, ids) in [("uid_map", users), ("gid_map", groups)] {
        let lines: String = ids.iter().map(|(inside, outside)| format!("{inside} {outside} 1\n")).collect();
        fs::write(format!("/proc/{pid}/{file}"), lines)?;
    }
    Ok(fs::File::open(format!("/proc/{pid}/ns/user"))?.into())
}
