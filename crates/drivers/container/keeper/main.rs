//! The keeper: the first process of a container that runs commands. A program
//! without any library, so that it works in every image, also in an empty one.
//! `build.rs` makes it, the driver carries it and mounts it into containers.
//!
//! It connects to the runner, starts what the runner asks for with descriptors
//! that the runner passes, collects what ends, and ends when the runner goes
//! away: with it the kernel ends everything in the container. For each command
//! there is a supervisor, a copy of this process, to which daemons of that
//! command fall, so that a whole tree can be ended. It must never decide
//! anything (which program, which environment): the runner did that already.
//!
//! `src/keeper/` has the other side, and the form of the messages.
#![no_std]
#![no_main]
#![allow(unsafe_op_in_unsafe_fn, reason = "this whole program is system calls")]

mod sys;

use core::ptr::{addr_of, addr_of_mut};
use sys::*;

/// Messages of a report have this many bytes.
const MESSAGE: usize = 64;
/// Processes that a look into `/proc` can hold.
const PROCESSES: usize = 1 << 16;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(101)
}

/// `stack` is as the kernel leaves it: argc, arguments, null, environment, null.
#[unsafe(no_mangle)]
unsafe extern "C" fn keeper_main(stack: *const usize) -> ! {
    let argc = *stack;
    let argv = stack.add(1) as *const *const u8;
    let envp = argv.add(argc + 1);
    if argc >= 4 && byte(*argv.add(1)) == b'o' {
        own(argc, argv)
    }
    // `keep MEMORY PROCESSES` where no control group holds them.
    if argc >= 4 {
        limit(RLIMIT_DATA, number(*argv.add(2)));
        limit(RLIMIT_NPROC, number(*argv.add(3)));
    }
    keep(envp)
}

unsafe fn byte(at: *const u8) -> u8 {
    *at
}

/// Connects, says what it finds, and serves.
unsafe fn keep(envp: *const *const u8) -> ! {
    // Nobody inside may look into this process, trace it, or take its descriptors.
    prctl(PR_SET_DUMPABLE, 0);
    let control = connect(b"/.fleetfoot/socket\0");
    if control < 0 {
        exit(120)
    }
    write_all(control as i32, &file_system(c"/".as_ptr() as *const u8).to_le_bytes());
    say_environment(control as i32, envp);
    let signals = block_signals(SIGCHLD | SIGTERM);
    loop {
        let mut polled = [PollFd::read(control as i32), PollFd::read(signals)];
        poll(&mut polled);
        if polled[1].revents != 0 && taken(signals) == SIGTERM_NUMBER {
            exit(143)
        }
        while wait_any(WNOHANG).0 > 0 {}
        if polled[0].revents != 0 {
            serve(control as i32, signals);
        }
    }
}

/// One request of the runner.
unsafe fn serve(control: i32, signals: i32) {
    let mut fds = [-1i32; 5];
    let mut word = [0u8; 2];
    let got = receive(control, &mut word, &mut fds);
    if got <= 0 {
        // The runner is gone: everything here goes too.
        exit(137)
    }
    match word[0] {
        b'R' if fds[4] >= 0 => {
            let pid = fork(0);
            if pid == 0 {
                close(control);
                close(signals);
                supervise(&fds)
            }
            if pid < 0 {
                tell(fds[4], b'P', -pid as i32);
            }
            for fd in fds {
                close(fd);
            }
        }
        b'K' => {
            end_everything();
            write_all(control, b"k");
        }
        b'E' => exit(word[1] as i32),
        _ => {
            for fd in fds {
                if fd >= 0 {
                    close(fd);
                }
            }
        }
    }
}

/// The strings of the environment lie one behind the other.
unsafe fn say_environment(control: i32, envp: *const *const u8) {
    let first = *envp;
    let mut length = 0usize;
    let mut at = 0;
    while !(*envp.add(at)).is_null() {
        let mut end = *envp.add(at);
        while *end != 0 {
            end = end.add(1);
        }
        length = end.add(1) as usize - first as usize;
        at += 1;
    }
    write_all(control, &(length as u32).to_le_bytes());
    let mut sent = 0;
    while sent < length {
        let n = write(control, first.add(sent), length - sent);
        if n <= 0 {
            exit(121)
        }
        sent += n as usize;
    }
}

/// A message of a report: what, and a number.
unsafe fn tell(report: i32, what: u8, number: i32) {
    let mut message = [0u8; MESSAGE];
    message[0] = what;
    put(&mut message, 4, &number.to_le_bytes());
    send(report, &message);
}

unsafe fn end_everything() {
    // Whoever forks while we walk is met by the next round.
    while kill(-1, SIGKILL_NUMBER) == 0 {
        while wait_any(0).0 > 0 {}
    }
    while wait_any(WNOHANG).0 > 0 {}
}

/// Starts one command, stays its parent and that of its daemons, and ends when all have.
unsafe fn supervise(fds: &[i32; 5]) -> ! {
    let [request, stdin, stdout, stderr, report] = *fds;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    let signals = block_signals(SIGCHLD);
    let plan = Plan::map(request);
    close(request);
    // The parent goes on when the program is there, or could not be started.
    let leader = fork(CLONE_VFORK);
    if leader == 0 {
        lead(&plan, [stdin, stdout, stderr], report)
    }
    for fd in [stdin, stdout, stderr] {
        close(fd);
    }
    plan.unmap();
    let mut supervisor =
        Supervisor { leader: leader as i32, report, ended: leader <= 0, released: leader <= 0 };
    if leader < 0 {
        tell(report, b'P', -leader as i32);
        exit(1)
    }
    tell(report, b'S', 0);
    let mut listening = true;
    loop {
        let mut polled = [PollFd::read(signals), PollFd::read(if listening { report } else { -1 })];
        poll(&mut polled);
        if polled[0].revents != 0 {
            taken(signals);
            if supervisor.collect() {
                exit(0)
            }
        }
        if polled[1].revents != 0 {
            listening = supervisor.obey();
        }
    }
}

struct Supervisor {
    leader: i32,
    report: i32,
    /// The leader has ended, and the runner was told.
    ended: bool,
    /// The runner knows, or does not ask any more. Until then the leader is not collected, so that its
    /// number is nobody else's.
    released: bool,
}

impl Supervisor {
    /// Collects what has ended; `true` if nothing is left.
    unsafe fn collect(&mut self) -> bool {
        loop {
            let (pid, status, usage) = look_at_ended();
            if pid <= 0 {
                return pid < 0;
            }
            if pid == self.leader as isize && !self.released {
                if !self.ended {
                    self.tell_end(status, &usage);
                }
                // Others that ended wait behind it, not for long.
                return false;
            }
            collect_one(pid as i32);
        }
    }

    unsafe fn tell_end(&mut self, status: i32, usage: &Usage) {
        self.ended = true;
        let mut message = [0u8; MESSAGE];
        message[0] = b'X';
        put(&mut message, 4, &status.to_le_bytes());
        let numbers = [
            usage.utime_s * 1_000_000 + usage.utime_us,
            usage.stime_s * 1_000_000 + usage.stime_us,
            usage.maxrss_kib,
            usage.inblock,
            usage.oublock,
        ];
        for (i, number) in numbers.iter().enumerate() {
            put(&mut message, 8 + i * 8, &number.to_le_bytes());
        }
        send(self.report, &message);
    }

    unsafe fn release(&mut self) {
        self.released = true;
        if self.collect() {
            exit(0)
        }
    }

    /// One request about this command; `false` if nobody asks any more.
    unsafe fn obey(&mut self) -> bool {
        let mut word = [0u8; 2];
        if read(self.report, word.as_mut_ptr(), 2) < 2 {
            self.release();
            return false;
        }
        match word[0] {
            // Before its leader is collected the number of the group is nobody else's.
            b'D' => self.release(),
            b'G' if !self.ended => {
                kill(-self.leader, word[1] as i32);
            }
            b'T' => {
                if !self.ended {
                    kill(-self.leader, SIGKILL_NUMBER);
                }
                for _ in 0..1000 {
                    let found = end_descendants();
                    if self.collect() {
                        exit(0)
                    }
                    if found == 0 {
                        break;
                    }
                    pause(1_000_000);
                }
            }
            _ => {}
        }
        true
    }
}

static mut PIDS: [i32; PROCESSES] = [0; PROCESSES];
static mut PARENTS: [i32; PROCESSES] = [0; PROCESSES];
static mut OURS: [bool; PROCESSES] = [false; PROCESSES];

/// Ends everything below this process; answers how many were found.
unsafe fn end_descendants() -> usize {
    let (pids, parents, ours) =
        (&mut *addr_of_mut!(PIDS), &mut *addr_of_mut!(PARENTS), &mut *addr_of_mut!(OURS));
    let count = processes(pids, parents);
    let me = getpid();
    for mark in ours.iter_mut().take(count) {
        *mark = false;
    }
    let mut found = 0;
    loop {
        let before = found;
        for i in 0..count {
            if ours[i] || pids[i] == me {
                continue;
            }
            let below = parents[i] == me || (0..count).any(|j| ours[j] && pids[j] == parents[i]);
            if below {
                ours[i] = true;
                found += 1;
            }
        }
        if found == before {
            break;
        }
    }
    for i in 0..count {
        if ours[i] {
            kill(pids[i], SIGKILL_NUMBER);
        }
    }
    found
}

/// All processes that are not dead, with their parents.
unsafe fn processes(pids: &mut [i32; PROCESSES], parents: &mut [i32; PROCESSES]) -> usize {
    let mut count = 0;
    let proc = open(AT_FDCWD, c"/proc".as_ptr() as *const u8, O_DIRECTORY | O_CLOEXEC);
    if proc < 0 {
        return 0;
    }
    each_entry(proc as i32, &mut |name, _| {
        let mut pid = 0i32;
        let mut path = [0u8; 32];
        let mut length = 0;
        while *name.add(length) != 0 {
            let c = *name.add(length);
            if !c.is_ascii_digit() || length > 9 {
                return;
            }
            pid = pid * 10 + (c - b'0') as i32;
            path[length] = c;
            length += 1;
        }
        put(&mut path, length, b"/stat\0");
        let stat = open(proc as i32, path.as_ptr(), O_CLOEXEC);
        if stat < 0 || count >= PROCESSES {
            return;
        }
        let mut text = [0u8; 512];
        let got = read(stat as i32, text.as_mut_ptr(), text.len());
        close(stat as i32);
        let Some(parent) = parent_of(&text[..(got.max(0) as usize).min(512)]) else { return };
        pids[count] = pid;
        parents[count] = parent;
        count += 1;
    });
    close(proc as i32);
    count
}

/// Field 4 of a stat line, counted from the last bracket; none for the dead.
fn parent_of(text: &[u8]) -> Option<i32> {
    let close = text.iter().rposition(|c| *c == b')')?;
    let rest = text.get(close + 2..)?;
    if matches!(rest.first(), Some(b'Z' | b'X')) {
        return None;
    }
    let mut parent = 0;
    for c in rest.get(2..)? {
        match c {
            b'0'..=b'9' => parent = parent * 10 + (c - b'0') as i32,
            _ => break,
        }
    }
    Some(parent)
}

/// The new process on its way to being the program.
unsafe fn lead(plan: &Plan, stdio: [i32; 3], report: i32) -> ! {
    setsid();
    for (target, fd) in stdio.iter().enumerate() {
        dup_onto(*fd, target as i32);
    }
    reset_signals();
    // The kernel adds who we are, in the runner's own numbers.
    tell(report, b'H', 0);
    let failed = |what: u8, error: i32| -> ! {
        tell(report, what, error);
        exit(127)
    };
    let rc = chdir(plan.directory());
    if rc < 0 {
        failed(b'W', -rc as i32)
    }
    failed(b'E', search(plan))
}

/// Becomes the first program that can be executed; comes back with the error if none can.
unsafe fn search(plan: &Plan) -> i32 {
    let mut error = ENOENT;
    for i in 0..plan.programs {
        let rc = -execve(plan.pointer(i), plan.argv(), plan.envp()) as i32;
        // As a shell does it: a refusal is remembered, and the search goes on.
        if rc != ENOENT && rc != ENOTDIR {
            error = rc;
            if rc != EACCES {
                break;
            }
        }
    }
    error
}

/// What the runner wants to be run, as it laid it out: four counts (programs,
/// arguments, variables, bytes), then one offset for each program, null-ended
/// arguments, null-ended variables and the directory, then the strings.
struct Plan {
    base: *mut usize,
    bytes: usize,
    programs: usize,
    args: usize,
    vars: usize,
}

impl Plan {
    unsafe fn map(fd: i32) -> Self {
        let mut head = [0usize; 4];
        read(fd, head.as_mut_ptr() as *mut u8, 32);
        let bytes = head[3];
        let base = mmap(bytes, fd);
        if base < 0 && base > -4096 {
            exit(122)
        }
        let plan = Self { base: base as *mut usize, bytes, programs: head[0], args: head[1], vars: head[2] };
        // Offsets become addresses; zero stays the end of a list.
        let slots = plan.programs + plan.args + 1 + plan.vars + 1 + 1;
        for i in 0..slots {
            let slot = plan.base.add(4 + i);
            if *slot != 0 {
                *slot += base as usize;
            }
        }
        plan
    }

    unsafe fn unmap(&self) {
        munmap(self.base as usize, self.bytes);
    }

    unsafe fn pointer(&self, slot: usize) -> *const u8 {
        *self.base.add(4 + slot) as *const u8
    }

    unsafe fn argv(&self) -> *const usize {
        self.base.add(4 + self.programs)
    }

    unsafe fn envp(&self) -> *const usize {
        self.argv().add(self.args + 1)
    }

    unsafe fn directory(&self) -> *const u8 {
        self.pointer(self.programs + self.args + 1 + self.vars + 1)
    }
}

/// `own UID GID PATH...`: gives everything below the paths to a user.
unsafe fn own(argc: usize, argv: *const *const u8) -> ! {
    let (uid, gid) = (number(*argv.add(2)) as u32, number(*argv.add(3)) as u32);
    let mut failures = 0;
    for i in 4..argc {
        own_below(AT_FDCWD, *argv.add(i), uid, gid, &mut failures, 0);
    }
    exit(if failures == 0 { 0 } else { 1 })
}

unsafe fn own_below(dir: i32, name: *const u8, uid: u32, gid: u32, failures: &mut u32, depth: u32) {
    if chown_at(dir, name, uid, gid) < 0 {
        *failures += 1;
    }
    // Links are not followed, so that nothing outside is reached.
    let fd = open(dir, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if fd < 0 {
        return;
    }
    if depth >= 1000 {
        *failures += 1;
    } else {
        each_entry(fd as i32, &mut |name, _| {
            let dots = *name == b'.' && (*name.add(1) == 0 || (*name.add(1) == b'.' && *name.add(2) == 0));
            if !dots {
                own_below(fd as i32, name, uid, gid, failures, depth + 1);
            }
        });
    }
    close(fd as i32);
}

unsafe fn number(text: *const u8) -> u64 {
    let (mut value, mut at) = (0u64, text);
    while (*at).is_ascii_digit() {
        value = value.wrapping_mul(10).wrapping_add((*at - b'0') as u64);
        at = at.add(1);
    }
    value
}

/// Copies without the panics of slices.
fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    for (i, b) in bytes.iter().enumerate() {
        if let Some(slot) = into.get_mut(at + i) {
            *slot = *b;
        }
    }
}

unsafe fn write_all(fd: i32, bytes: &[u8]) {
    if write(fd, bytes.as_ptr(), bytes.len()) < 0 {
        exit(121)
    }
}

/// Takes one signal from a signal descriptor.
unsafe fn taken(signals: i32) -> u32 {
    let mut information = [0u32; 32];
    read(signals, addr_of!(information) as *mut u8, 128);
    addr_of_mut!(information[0]).read()
}
