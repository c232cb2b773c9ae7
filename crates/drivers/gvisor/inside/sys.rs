//! System calls, without a library. They must never be given a pointer that does not outlive them.

use core::arch::asm;

/// Numbers of system calls.
#[cfg(target_arch = "x86_64")]
pub mod nr {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MUNMAP: usize = 11;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RECVMSG: usize = 47;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const UNAME: usize = 63;
    pub const FCNTL: usize = 72;
    pub const CHDIR: usize = 80;
    pub const SETSID: usize = 112;
    pub const PRCTL: usize = 157;
    pub const GETDENTS64: usize = 217;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const MKDIRAT: usize = 258;
    pub const PPOLL: usize = 271;
    pub const SIGNALFD4: usize = 289;
    pub const DUP3: usize = 292;
}
#[cfg(target_arch = "aarch64")]
pub mod nr {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const MMAP: usize = 222;
    pub const MUNMAP: usize = 215;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RECVMSG: usize = 212;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
    pub const KILL: usize = 129;
    pub const UNAME: usize = 160;
    pub const FCNTL: usize = 25;
    pub const CHDIR: usize = 49;
    pub const SETSID: usize = 157;
    pub const PRCTL: usize = 167;
    pub const GETDENTS64: usize = 61;
    pub const EXIT_GROUP: usize = 94;
    pub const OPENAT: usize = 56;
    pub const MKDIRAT: usize = 34;
    pub const PPOLL: usize = 73;
    pub const SIGNALFD4: usize = 74;
    pub const DUP3: usize = 24;
}

#[cfg(target_arch = "x86_64")]
pub fn call(number: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the callers hand over valid pointers and lengths.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}
#[cfg(target_arch = "aarch64")]
pub fn call(number: usize, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the callers hand over valid pointers and lengths.
    unsafe {
        asm!("svc #0", in("x8") number, inlateout("x0") a[0] => result, in("x1") a[1], in("x2") a[2],
            in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    result
}

macro_rules! sys {
    ($number:ident $(, $arg:expr)*) => {{
        let given: &[usize] = &[$($arg as usize),*];
        let mut args = [0_usize; 6];
        args[..given.len()].copy_from_slice(given);
        $crate::sys::call($crate::sys::nr::$number, args)
    }};
}

/// CLONE_VM, CLONE_VFORK and SIGCHLD.
const BORROWED: usize = 0x100 | 0x4000 | 17;

/// Makes a child that lives in our memory, on a stack of its own, in `begin(argument)`; returns, with its id,
/// when it has another program or has ended.
pub fn vfork_onto(stack: usize, begin: extern "C" fn(usize) -> !, argument: usize) -> isize {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `stack` is the end of memory of the caller that nobody else uses meanwhile, aligned to a page;
    // the child never returns from `begin`, and leaves our registers and our stack as they are.
    unsafe {
        asm!("syscall", "test rax, rax", "jnz 2f", "xor ebp, ebp", "mov rdi, r12", "call r13", "ud2", "2:",
            inlateout("rax") nr::CLONE => result, in("rdi") BORROWED, in("rsi") stack, in("rdx") 0,
            in("r10") 0, in("r8") 0, in("r12") argument, in("r13") begin, lateout("rcx") _, lateout("r11") _);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("svc #0", "cbnz x0, 2f", "mov x29, #0", "mov x0, x9", "blr x10", "brk #1", "2:",
            in("x8") nr::CLONE, inlateout("x0") BORROWED => result, in("x1") stack, in("x2") 0, in("x3") 0,
            in("x4") 0, in("x9") argument, in("x10") begin);
    }
    result
}
