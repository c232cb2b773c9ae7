//! Process 1 of a cell on gVisor: starts the commands that the runner asks for, collects whatever ends,
//! and tells the runner how commands ended. A program of its own, without libraries, because it has to
//! run in any root: an image need not have a shell, and need not have the libraries of the host.
//!
//! It speaks through the socket that is its standard input (`src/wire.rs` is the other side) and takes
//! the descriptors of a command from there. It ends with that socket, and the cell with it. It must
//! never trust that memory or processes are there to be had, and never allocate but for a request.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::cell::Cell;

#[macro_use]
mod sys;
mod tree;

use tree::end_tree;

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {main}", "ud2", main = sym live);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "bl {main}", "brk #1", main = sym live);

const EINTR: isize = -4;
const ENOENT: isize = -2;
const EACCES: isize = -13;
const ENOTDIR: isize = -20;
const ENOMEM: isize = -12;
const SIGKILL: i32 = 9;
const SIGCHLD: usize = 17;
const CLOEXEC: usize = 0o2_000_000;
const CLOEXEC_MESSAGE: usize = 0x4000_0000;
const AT_FDCWD: isize = -100;

// The same numbers as in `src/wire.rs`.
const SPAWN: u32 = 1;
const SIGNAL: u32 = 2;
const READY: u32 = 1;
const STARTED: u32 = 2;
const FAILED: u32 = 3;
const ENDED: u32 = 4;
/// Stages of a failed start, as `fleetfoot_driver_linux::spawn::Stage` numbers them.
const STAGE_FORK: i32 = 0;
const STAGE_SESSION: i32 = 1;
const STAGE_DESCRIPTORS: i32 = 2;
const STAGE_DIRECTORY: i32 = 5;
const STAGE_EXEC: i32 = 6;

/// Commands that are remembered.
const COMMANDS: usize = 2048;
/// Bytes of the stack of a command before its program.
const STACK: usize = 64 << 10;

#[repr(C)]
struct Reply {
    kind: u32,
    id: u32,
    a: i32,
    b: i32,
    user_us: u64,
    system_us: u64,
    max_rss_kib: u64,
    text: [u8; 56],
}

const EMPTY: Reply =
    Reply { kind: 0, id: 0, a: 0, b: 0, user_us: 0, system_us: 0, max_rss_kib: 0, text: [0; 56] };

#[derive(Clone, Copy)]
struct Started {
    id: u32,
    pid: i32,
    ended: bool,
}

struct State {
    socket: usize,
    commands: [Started; COMMANDS],
    next: usize,
    /// End of the stack on which a command begins.
    stack: usize,
}

extern "C" fn live() -> ! {
    // 4 = PR_SET_DUMPABLE: the commands run as the same user and shall not look into this process.
    sys!(PRCTL, 4, 0);
    let socket = sys!(FCNTL, 0, 1030, 10);
    let null = sys!(OPENAT, AT_FDCWD, c"/dev/null".as_ptr(), 2, 0);
    if socket < 0 || null < 0 {
        exit(70);
    }
    for fd in 0..3_usize {
        if fd != null as usize {
            sys!(DUP3, null, fd, 0);
        }
    }
    if null > 2 {
        sys!(CLOSE, null);
    }
    // Only process 1 knows when its file system in memory is there.
    sys!(MKDIRAT, AT_FDCWD, c"/home/fleetfoot".as_ptr(), 0o700);
    let children: u64 = 1 << (SIGCHLD - 1);
    sys!(RT_SIGPROCMASK, 0, &raw const children, 0, 8);
    let signals = sys!(SIGNALFD4, -1_isize, &raw const children, 8, CLOEXEC | 0o4000);
    if signals < 0 {
        exit(71);
    }
    let stack = sys!(MMAP, 0, STACK, 3, 0x22, -1_isize, 0);
    if stack < 0 && stack > -4096 {
        exit(72);
    }
    let mut state = State {
        socket: socket as usize,
        commands: [Started { id: 0, pid: 0, ended: true }; COMMANDS],
        next: 0,
        stack: stack as usize + STACK,
    };
    state.ready();
    loop {
        // struct pollfd: descriptor, wanted events, found events.
        let mut poll = [[socket as i32, 1], [signals as i32, 1]];
        let found = sys!(PPOLL, poll.as_mut_ptr(), 2, 0, 0, 8);
        if found < 0 {
            continue;
        }
        if poll[1][1] >> 16 != 0 {
            let mut sink = [0_u8; 1280];
            sys!(READ, signals, sink.as_mut_ptr(), sink.len());
        }
        state.collect();
        if poll[0][1] >> 16 != 0 {
            state.serve();
        }
    }
}

impl State {
    fn ready(&self) {
        let mut names = [0_u8; 390];
        let mut reply = Reply { kind: READY, ..EMPTY };
        if sys!(UNAME, names.as_mut_ptr()) == 0 {
            // The release is the third of six fields of 65 bytes.
            for (to, from) in reply.text.iter_mut().zip(&names[130..185]) {
                *to = *from;
            }
        }
        self.answer(&reply);
    }

    fn answer(&self, reply: &Reply) {
        let (mut from, mut left) = (&raw const *reply as usize, size_of::<Reply>());
        while left > 0 {
            match sys!(WRITE, self.socket, from, left) {
                EINTR => {}
                wrote if wrote > 0 => {
                    from += wrote as usize;
                    left -= wrote as usize;
                }
                // Nobody is there any more.
                _ => exit(0),
            }
        }
    }

    /// Takes one request.
    fn serve(&mut self) {
        let mut header = [0_u32; 2];
        let mut fds = [-1_i32; 3];
        self.receive(&mut header, &mut fds);
        let length = header[0] as usize;
        // Room for the text and for a pointer to each of its strings: at most one a byte.
        let room = length + (length + 8) * 8;
        let memory = sys!(MMAP, 0, room, 3, 0x22, -1_isize, 0);
        if memory < 0 && memory > -4096 {
            exit(72);
        }
        let body = memory as *mut u8;
        let mut have = 0;
        while have < length {
            // SAFETY: within the mapping.
            match sys!(READ, self.socket, unsafe { body.add(have) }, length - have) {
                EINTR => {}
                got if got > 0 => have += got as usize,
                _ => exit(0),
            }
        }
        // SAFETY: the mapping is that long, is aligned to a page, and lives until it is unmapped below.
        let body = unsafe { core::slice::from_raw_parts(body, length) };
        // SAFETY: as above; behind the text, rounded up to where a pointer may be.
        let pointers = unsafe {
            let at = (memory as usize + length + 7) & !7;
            core::slice::from_raw_parts_mut(at as *mut usize, length)
        };
        match header[1] {
            SPAWN => self.spawn(body, pointers, fds),
            SIGNAL => self.signal(body),
            _ => exit(73),
        }
        sys!(MUNMAP, memory, room);
        for fd in fds {
            if fd >= 0 {
                sys!(CLOSE, fd);
            }
        }
    }

    fn receive(&self, header: &mut [u32; 2], fds: &mut [i32; 3]) {
        let mut have = 0;
        while have < 8 {
            let iov = [header.as_mut_ptr() as usize + have, 8 - have];
            let mut control = [0_u64; 8];
            // struct msghdr: name, its length, vectors, their number, control, its length, flags.
            let mut message =
                [0, 0, iov.as_ptr() as usize, 1, control.as_mut_ptr() as usize, size_of_val(&control), 0];
            match sys!(RECVMSG, self.socket, message.as_mut_ptr(), CLOEXEC_MESSAGE) {
                EINTR => continue,
                got if got > 0 => have += got as usize,
                _ => exit(0),
            }
            // One control message with SCM_RIGHTS (1) of SOL_SOCKET (1): length, both numbers, descriptors.
            if message[5] >= 16 && control[1] == 1 << 32 | 1 {
                let count = (control[0] as usize).saturating_sub(16) / 4;
                for n in 0..count.min(3) {
                    fds[n] = (control[2 + n / 2] >> (32 * (n % 2))) as i32;
                }
            }
        }
    }

    fn spawn(&mut self, body: &[u8], pointers: &mut [usize], fds: [i32; 3]) {
        let word = |n: usize| number(body, n);
        let (id, programs, args, env) = (word(0), word(1) as usize, word(2) as usize, word(3) as usize);
        let failed =
            |stage: i32, errno: isize| Reply { kind: FAILED, id, a: stage, b: -errno as i32, ..EMPTY };
        if !point_to_strings(body, pointers, 1 + programs + args, env) || fds.iter().any(|fd| *fd < 0) {
            return self.answer(&failed(STAGE_DESCRIPTORS, -22));
        }
        let argv = &pointers[1 + programs..];
        let birth = Birth {
            directory: pointers[0],
            programs: &pointers[1..=programs],
            argv,
            envp: &argv[args + 1..],
            fds,
            told: Cell::new([0; 2]),
        };
        // It borrows our memory until its program runs, and we wait: a copy would be dear here.
        let pid = sys::vfork_onto(self.stack, born, &raw const birth as usize);
        if pid < 0 {
            return self.answer(&failed(STAGE_FORK, if pid == -11 { pid } else { ENOMEM.min(pid) }));
        }
        let [stage, errno] = birth.told.get();
        if errno != 0 {
            sys!(WAIT4, pid, 0, 0, 0);
            return self.answer(&failed(stage, -errno as isize));
        }
        self.commands[self.next % COMMANDS] = Started { id, pid: pid as i32, ended: false };
        self.next += 1;
        self.answer(&Reply { kind: STARTED, id, a: pid as i32, ..EMPTY });
    }

    /// Collects everything that has ended; tells of commands, forgets what they left behind.
    fn collect(&mut self) {
        loop {
            let mut status = 0_i32;
            let mut usage = [0_u64; 18];
            let pid = sys!(WAIT4, -1_isize, &raw mut status, 1, usage.as_mut_ptr());
            if pid <= 0 {
                return;
            }
            let found = self.commands.iter_mut().find(|c| !c.ended && c.pid == pid as i32);
            if let Some(command) = found {
                command.ended = true;
                let reply = Reply {
                    kind: ENDED,
                    id: command.id,
                    a: status,
                    user_us: usage[0] * 1_000_000 + usage[1],
                    system_us: usage[2] * 1_000_000 + usage[3],
                    max_rss_kib: usage[4],
                    ..EMPTY
                };
                self.answer(&reply);
            }
        }
    }

    fn signal(&self, body: &[u8]) {
        let (id, signal, tree) = (number(body, 0), number(body, 1) as i32, number(body, 2) != 0);
        let Some(command) = self.commands.iter().find(|c| c.pid != 0 && c.id == id) else { return };
        if tree {
            // Not the group first: what descends from it is found through it.
            end_tree(command.pid);
        }
        if !command.ended {
            sys!(KILL, -command.pid, signal);
        }
    }
}

/// What a command is born with.
struct Birth<'a> {
    directory: usize,
    programs: &'a [usize],
    argv: &'a [usize],
    envp: &'a [usize],
    fds: [i32; 3],
    /// Why it failed: stage and number of the error.
    told: Cell<[i32; 2]>,
}

/// Makes pointers to the strings of a request: directory, programs, arguments, and environment, with a null
/// pointer behind each of the last two. `false` if they are not all there.
fn point_to_strings(body: &[u8], pointers: &mut [usize], before_env: usize, env: usize) -> bool {
    let wanted = before_env + env;
    let (mut at, mut n, mut slot) = (16, 0, 0);
    while n < wanted && slot + 2 < pointers.len() {
        if n == before_env {
            pointers[slot] = 0;
            slot += 1;
        }
        pointers[slot] = body.as_ptr() as usize + at;
        slot += 1;
        n += 1;
        while at < body.len() && body[at] != 0 {
            at += 1;
        }
        at += 1;
    }
    if n == before_env {
        pointers[slot] = 0;
        slot += 1;
    }
    pointers[slot] = 0;
    n == wanted && at <= body.len()
}

/// The life of a command up to its program, in the memory of process 1, which waits: nothing is changed in it but
/// what it is told.
extern "C" fn born(birth: usize) -> ! {
    // SAFETY: process 1 holds it until this process runs its program or ends.
    let birth = unsafe { &*(birth as *const Birth<'_>) };
    let fail = |stage: i32, errno: isize| -> ! {
        birth.told.set([stage, -errno as i32]);
        exit(127)
    };
    let session = sys!(SETSID);
    if session < 0 {
        fail(STAGE_SESSION, session);
    }
    for (n, fd) in birth.fds.iter().enumerate() {
        let done = sys!(DUP3, *fd, n, 0);
        if done < 0 {
            fail(STAGE_DESCRIPTORS, done);
        }
    }
    let entered = sys!(CHDIR, birth.directory);
    if entered < 0 {
        fail(STAGE_DIRECTORY, entered);
    }
    let none = 0_u64;
    sys!(RT_SIGPROCMASK, 2, &raw const none, 0, 8);
    let mut error = ENOENT;
    for program in birth.programs {
        match sys!(EXECVE, *program, birth.argv.as_ptr(), birth.envp.as_ptr()) {
            ENOENT | ENOTDIR => {}
            EACCES => error = EACCES,
            other => fail(STAGE_EXEC, other),
        }
    }
    fail(STAGE_EXEC, error)
}

fn number(body: &[u8], n: usize) -> u32 {
    match body.get(n * 4..n * 4 + 4) {
        Some(b) => u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
        None => 0,
    }
}

fn exit(code: i32) -> ! {
    loop {
        sys!(EXIT_GROUP, code);
    }
}

#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(74)
}

/// Named by code of the compiler's library that could unwind, which nothing here does.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// What the compiler calls for larger values.
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    let mut n = 0;
    while n < length {
        // SAFETY: by the contract. Volatile, so that this does not become a call of itself.
        unsafe { to.add(n).write_volatile(from.add(n).read_volatile()) };
        n += 1;
    }
    to
}

/// As [`memcpy`].
///
/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    let mut n = 0;
    while n < length {
        // SAFETY: by the contract.
        unsafe { to.add(n).write_volatile(value as u8) };
        n += 1;
    }
    to
}
