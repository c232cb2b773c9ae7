//! Finds and ends a command with everything that comes from it. It must never touch process 1.

use crate::{AT_FDCWD, CLOEXEC, SIGKILL};

const SIGSTOP: i32 = 19;
/// Processes that one look at all of them can hold.
const PROCESSES: usize = 8192;

#[derive(Clone, Copy)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
    marked: bool,
}

/// Ends everything in the session and everything that descends from it, as far as its ancestors live:
/// first all of it is stopped, so that nothing new appears while it is looked for.
pub fn end_tree(leader: i32) {
    let mut all = [Process { pid: 0, parent: 0, session: 0, marked: false }; PROCESSES];
    let mut known = 0;
    for _ in 0..16 {
        let count = look(&mut all);
        let mut marked = 0;
        loop {
            let before = marked;
            for n in 0..count {
                let process = all[n];
                let descends = || all[..count].iter().any(|p| p.marked && p.pid == process.parent);
                if !process.marked
                    && process.pid > 1
                    && (process.pid == leader || process.session == leader || descends())
                {
                    all[n].marked = true;
                    marked += 1;
                }
            }
            if marked == before {
                break;
            }
        }
        for process in all[..count].iter().filter(|p| p.marked) {
            sys!(KILL, process.pid, SIGSTOP);
        }
        if marked == known {
            for process in all[..count].iter().filter(|p| p.marked) {
                sys!(KILL, process.pid, SIGKILL);
            }
            return;
        }
        known = marked;
    }
    for process in all.iter().filter(|p| p.marked) {
        sys!(KILL, process.pid, SIGKILL);
    }
}

/// Lists all processes.
fn look(all: &mut [Process]) -> usize {
    let proc = sys!(OPENAT, AT_FDCWD, c"/proc".as_ptr(), CLOEXEC, 0);
    let mut count = 0;
    let mut entries = [0_u8; 8192];
    loop {
        let got = sys!(GETDENTS64, proc, entries.as_mut_ptr(), entries.len());
        if got <= 0 {
            break;
        }
        let mut at = 0;
        // struct linux_dirent64: inode, offset, length of the record (16), kind (18), name (19).
        while at + 19 < got as usize && count < all.len() {
            let length = entries[at + 16] as usize | (entries[at + 17] as usize) << 8;
            if entries[at + 19].is_ascii_digit()
                && let Some(process) = read_stat(proc, &entries[at + 19..at + length.max(20)])
            {
                all[count] = process;
                count += 1;
            }
            if length == 0 {
                break;
            }
            at += length;
        }
    }
    sys!(CLOSE, proc);
    count
}

fn read_stat(proc: isize, name: &[u8]) -> Option<Process> {
    let mut path = [0_u8; 32];
    let mut length = 0;
    for byte in name.iter().take_while(|b| **b != 0).take(20).chain(b"/stat") {
        path[length] = *byte;
        length += 1;
    }
    let file = sys!(OPENAT, proc, path.as_ptr(), CLOEXEC, 0);
    if file < 0 {
        return None;
    }
    let mut text = [0_u8; 512];
    let got = sys!(READ, file, text.as_mut_ptr(), text.len());
    sys!(CLOSE, file);
    let text = text.get(..usize::try_from(got).ok()?)?;
    let close = text.iter().rposition(|b| *b == b')')?;
    // Behind the name: state, parent, group, session.
    let mut fields = text[close + 1..].split(|b| *b == b' ').filter(|f| !f.is_empty());
    let (_, parent, _, session) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let pid = decimal(name.split(|b| *b == 0).next()?);
    Some(Process { pid, parent: decimal(parent), session: decimal(session), marked: false })
}

fn decimal(text: &[u8]) -> i32 {
    let mut value = 0_i32;
    for byte in text.iter().filter(|b| b.is_ascii_digit()) {
        value = value.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
    }
    value
}
