//! System calls of the keeper, for the two architectures that it is made for.
//! It must never hold an idea of what they are for.

use core::arch::{asm, global_asm};

pub const RLIMIT_DATA: usize = 2;
pub const RLIMIT_NPROC: usize = 6;
pub const PR_SET_DUMPABLE: usize = 4;
pub const PR_SET_CHILD_SUBREAPER: usize = 36;
pub const SIGCHLD: u64 = 1 << 16;
pub const SIGTERM: u64 = 1 << 14;
pub const SIGTERM_NUMBER: u32 = 15;
pub const SIGKILL_NUMBER: i32 = 9;
pub const WNOHANG: usize = 1;
pub const CLONE_VFORK: usize = 0x4000;
pub const ENOENT: i32 = 2;
pub const EACCES: i32 = 13;
pub const ENOTDIR: i32 = 20;
pub const AT_FDCWD: i32 = -100;
pub const O_CLOEXEC: usize = 0x80000;

#[cfg(target_arch = "x86_64")]
mod arch {
    pub const O_DIRECTORY: usize = 0x10000;
    pub const O_NOFOLLOW: usize = 0x20000;
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MUNMAP: usize = 11;
    pub const SIGACTION: usize = 13;
    pub const SIGPROCMASK: usize = 14;
    pub const NANOSLEEP: usize = 35;
    pub const GETPID: usize = 39;
    pub const SOCKET: usize = 41;
    pub const CONNECT: usize = 42;
    pub const SENDTO: usize = 44;
    pub const RECVMSG: usize = 47;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const CHDIR: usize = 80;
    pub const SETSID: usize = 112;
    pub const PRCTL: usize = 157;
    pub const GETDENTS64: usize = 217;
    pub const EXIT_GROUP: usize = 231;
    pub const WAITID: usize = 247;
    pub const OPENAT: usize = 257;
    pub const FCHOWNAT: usize = 260;
    pub const PPOLL: usize = 271;
    pub const SIGNALFD4: usize = 289;
    pub const DUP3: usize = 292;
    pub const STATFS: usize = 137;
    pub const PRLIMIT64: usize = 302;
}

#[cfg(target_arch = "aarch64")]
mod arch {
    pub const O_DIRECTORY: usize = 0x4000;
    pub const O_NOFOLLOW: usize = 0x8000;
    pub const DUP3: usize = 24;
    pub const CHDIR: usize = 49;
    pub const FCHOWNAT: usize = 54;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const GETDENTS64: usize = 61;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PPOLL: usize = 73;
    pub const SIGNALFD4: usize = 74;
    pub const EXIT_GROUP: usize = 94;
    pub const WAITID: usize = 95;
    pub const NANOSLEEP: usize = 101;
    pub const KILL: usize = 129;
    pub const SIGACTION: usize = 134;
    pub const SIGPROCMASK: usize = 135;
    pub const SETSID: usize = 157;
    pub const PRCTL: usize = 167;
    pub const GETPID: usize = 172;
    pub const SOCKET: usize = 198;
    pub const CONNECT: usize = 203;
    pub const SENDTO: usize = 206;
    pub const RECVMSG: usize = 212;
    pub const MUNMAP: usize = 215;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const WAIT4: usize = 260;
    pub const STATFS: usize = 43;
    pub const PRLIMIT64: usize = 261;
}

use arch::*;
pub use arch::{O_DIRECTORY, O_NOFOLLOW};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call keeper_main",
    "ud2",
);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x0, sp", "bl keeper_main", "brk #1");

// The precompiled `core` names it, and nothing here ever unwinds.
global_asm!(".globl rust_eh_personality", "rust_eh_personality:");

#[cfg(target_arch = "x86_64")]
unsafe fn call(number: usize, a: [usize; 6]) -> isize {
    let result: isize;
    asm!(
        "syscall",
        inlateout("rax") number as isize => result,
        in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
        lateout("rcx") _, lateout("r11") _,
        options(nostack),
    );
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn call(number: usize, a: [usize; 6]) -> isize {
    let result: isize;
    asm!(
        "svc 0",
        in("x8") number,
        inlateout("x0") a[0] as isize => result,
        in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
        options(nostack),
    );
    result
}

// The compiler makes calls of these out of copies and comparisons. Volatile, so that it does not make
// a call of the loop itself.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    for i in 0..n {
        to.add(i).write_volatile(from.add(i).read_volatile());
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut n = 0;
    while text.add(n).read_volatile() != 0 {
        n += 1;
    }
    n
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, n: usize) -> *mut u8 {
    for i in 0..n {
        to.add(i).write_volatile(value as u8);
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    for i in 0..n {
        let (x, y) = (a.add(i).read_volatile(), b.add(i).read_volatile());
        if x != y {
            return x as i32 - y as i32;
        }
    }
    0
}

pub fn exit(code: i32) -> ! {
    loop {
        unsafe { call(EXIT_GROUP, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

pub unsafe fn prctl(what: usize, value: usize) {
    call(PRCTL, [what, value, 0, 0, 0, 0]);
}

/// Limits of this process and of all that come from it, not to be raised again. Zero is no limit.
pub unsafe fn limit(resource: usize, most: u64) {
    if most > 0 {
        let both = [most, most];
        call(PRLIMIT64, [0, resource, both.as_ptr() as usize, 0, 0, 0]);
    }
}

/// What kind of file system lies at a path; zero if that cannot be said.
pub unsafe fn file_system(path: *const u8) -> u64 {
    let mut found = [0u64; 16];
    call(STATFS, [path as usize, found.as_mut_ptr() as usize, 0, 0, 0, 0]);
    found[0]
}

pub unsafe fn read(fd: i32, into: *mut u8, n: usize) -> isize {
    call(READ, [fd as usize, into as usize, n, 0, 0, 0])
}

pub unsafe fn write(fd: i32, from: *const u8, n: usize) -> isize {
    call(WRITE, [fd as usize, from as usize, n, 0, 0, 0])
}

/// To a socket whose other end may be gone, without the signal.
pub unsafe fn send(fd: i32, bytes: &[u8]) -> isize {
    const MSG_NOSIGNAL: usize = 0x4000;
    call(SENDTO, [fd as usize, bytes.as_ptr() as usize, bytes.len(), MSG_NOSIGNAL, 0, 0])
}

pub unsafe fn close(fd: i32) {
    call(CLOSE, [fd as usize, 0, 0, 0, 0, 0]);
}

pub unsafe fn open(dir: i32, path: *const u8, flags: usize) -> isize {
    call(OPENAT, [dir as usize, path as usize, flags, 0, 0, 0])
}

pub unsafe fn chown_at(dir: i32, path: *const u8, uid: u32, gid: u32) -> isize {
    const AT_SYMLINK_NOFOLLOW: usize = 0x100;
    call(FCHOWNAT, [dir as usize, path as usize, uid as usize, gid as usize, AT_SYMLINK_NOFOLLOW, 0])
}

pub unsafe fn dup_onto(fd: i32, target: i32) {
    call(DUP3, [fd as usize, target as usize, 0, 0, 0, 0]);
}

pub unsafe fn chdir(path: *const u8) -> isize {
    call(CHDIR, [path as usize, 0, 0, 0, 0, 0])
}

pub unsafe fn setsid() {
    call(SETSID, [0; 6]);
}

pub unsafe fn getpid() -> i32 {
    call(GETPID, [0; 6]) as i32
}

pub unsafe fn kill(pid: i32, signal: i32) -> isize {
    call(KILL, [pid as isize as usize, signal as usize, 0, 0, 0, 0])
}

pub unsafe fn execve(path: *const u8, argv: *const usize, envp: *const usize) -> isize {
    call(EXECVE, [path as usize, argv as usize, envp as usize, 0, 0, 0])
}

/// 0 in the child, which goes on with a copy of everything.
pub unsafe fn fork(flags: usize) -> isize {
    const SIGCHLD_NUMBER: usize = 17;
    call(CLONE, [flags | SIGCHLD_NUMBER, 0, 0, 0, 0, 0])
}

/// A private copy of a file that may be written to.
pub unsafe fn mmap(bytes: usize, fd: i32) -> isize {
    const READ_WRITE: usize = 3;
    const PRIVATE: usize = 2;
    call(MMAP, [0, bytes, READ_WRITE, PRIVATE, fd as usize, 0])
}

pub unsafe fn munmap(base: usize, bytes: usize) {
    call(MUNMAP, [base, bytes, 0, 0, 0, 0]);
}

pub unsafe fn pause(nanoseconds: usize) {
    let time = [0usize, nanoseconds];
    call(NANOSLEEP, [time.as_ptr() as usize, 0, 0, 0, 0, 0]);
}

/// Blocks signals, and makes a descriptor that tells of them.
pub unsafe fn block_signals(set: u64) -> i32 {
    const SETMASK: usize = 2;
    call(SIGPROCMASK, [SETMASK, &raw const set as usize, 0, 8, 0, 0]);
    call(SIGNALFD4, [usize::MAX, &raw const set as usize, 8, O_CLOEXEC, 0, 0]) as i32
}

/// All signals as a program expects them: not blocked, not ignored. Engines hand some down ignored.
pub unsafe fn reset_signals() {
    const SETMASK: usize = 2;
    let default = [0u64; 4];
    for number in 1..=64 {
        call(SIGACTION, [number, default.as_ptr() as usize, 0, 8, 0, 0]);
    }
    let none = 0u64;
    call(SIGPROCMASK, [SETMASK, &raw const none as usize, 0, 8, 0, 0]);
}

#[repr(C)]
pub struct PollFd {
    fd: i32,
    events: i16,
    pub revents: i16,
}

impl PollFd {
    pub fn read(fd: i32) -> Self {
        Self { fd, events: 1, revents: 0 }
    }
}

pub unsafe fn poll(polled: &mut [PollFd; 2]) {
    call(PPOLL, [polled.as_mut_ptr() as usize, 2, 0, 0, 8, 0]);
}

/// The beginning of the kernel's `struct rusage`, and room for the rest.
#[repr(C)]
#[derive(Default)]
pub struct Usage {
    pub utime_s: u64,
    pub utime_us: u64,
    pub stime_s: u64,
    pub stime_us: u64,
    pub maxrss_kib: u64,
    /// Sizes that Linux does not count, faults and swaps.
    unused: [u64; 6],
    pub inblock: u64,
    pub oublock: u64,
    rest: [u64; 5],
}

/// Pid (0: nobody has ended, negative: nobody is left), status and usage of a child that has ended.
pub unsafe fn wait_any(options: usize) -> (isize, i32, Usage) {
    let mut status = 0i32;
    let mut usage = Usage::default();
    let pid = call(WAIT4, [usize::MAX, &raw mut status as usize, options, &raw mut usage as usize, 0, 0]);
    (pid, status, usage)
}

/// Looks at a child that has ended and leaves it: pid (0: none has ended, negative: none is left), status
/// in the form of `wait4`, usage.
pub unsafe fn look_at_ended() -> (isize, i32, Usage) {
    const ALL: usize = 0;
    const EXITED_NOHANG_NOWAIT: usize = 4 | 1 | 0x0100_0000;
    let mut found = [0i32; 32];
    let mut usage = Usage::default();
    let rc =
        call(WAITID, [ALL, 0, found.as_mut_ptr() as usize, EXITED_NOHANG_NOWAIT, &raw mut usage as usize, 0]);
    // How it ended, then (behind a gap) who, as whom, and with what.
    let (code, pid, status) = (found[2], found[4], found[6]);
    let status = if code == 1 { status << 8 } else { status };
    (if rc < 0 { rc } else { pid as isize }, status, usage)
}

/// Collects one child that has ended.
pub unsafe fn collect_one(pid: i32) {
    call(WAIT4, [pid as usize, 0, WNOHANG, 0, 0, 0]);
}

pub unsafe fn connect(path: &[u8]) -> isize {
    const UNIX_STREAM_CLOEXEC: usize = 1 | 0x80000;
    let fd = call(SOCKET, [1, UNIX_STREAM_CLOEXEC, 0, 0, 0, 0]);
    let mut address = [0u8; 110];
    address[0] = 1;
    for (i, b) in path.iter().enumerate() {
        address[2 + i] = *b;
    }
    let rc = call(CONNECT, [fd as usize, address.as_ptr() as usize, 2 + path.len(), 0, 0, 0]);
    if rc < 0 { rc } else { fd }
}

/// Takes up to two bytes, and the descriptors that came with the first.
pub unsafe fn receive(fd: i32, word: &mut [u8; 2], fds: &mut [i32; 5]) -> isize {
    const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
    let mut control = [0u64; 8];
    let io = [word.as_mut_ptr() as usize, word.len()];
    // name, length of name, parts, number of parts, control, length of control, flags
    let mut message = [0usize, 0, io.as_ptr() as usize, 1, control.as_mut_ptr() as usize, 64, 0];
    let got = call(RECVMSG, [fd as usize, message.as_mut_ptr() as usize, MSG_CMSG_CLOEXEC, 0, 0, 0]);
    // A header of a length, level SOL_SOCKET (1) and kind SCM_RIGHTS (1), then the descriptors.
    if got > 0 && message[5] >= 16 && control[1] == (1 | 1 << 32) {
        let count = (control[0] as usize - 16) / 4;
        let first = (control.as_ptr() as *const i32).add(4);
        for (i, slot) in fds.iter_mut().enumerate().take(count) {
            *slot = first.add(i).read();
        }
    }
    got
}

/// Calls `each` with name and kind of every entry.
pub unsafe fn each_entry(dir: i32, each: &mut dyn FnMut(*const u8, u8)) {
    let mut buffer = [0u64; 512];
    loop {
        let base = buffer.as_mut_ptr() as *const u8;
        let got = call(GETDENTS64, [dir as usize, base as usize, 4096, 0, 0, 0]);
        if got <= 0 {
            return;
        }
        let mut at = 0;
        while at < got as usize {
            let entry = base.add(at);
            let length = (entry.add(16) as *const u16).read_unaligned();
            each(entry.add(19), entry.add(18).read());
            at += length as usize;
        }
    }
}
