//! What runs inside: the zygote, process 1, and the short life of a command
//! before its program. It shares nothing with the runner but a socket.
//!
//! The zygote is this very binary, executed anew under another name. A
//! constructor that runs before `main` recognises the name, so every program
//! that links this crate (the product, tests, tools) can be a zygote without
//! doing anything for it, and nothing of `main` ever runs in one.

mod child;
mod root;
mod zygote;

use crate::sys;
use std::ffi::{CStr, c_char, c_int};

/// `argv[0]` of a zygote.
pub(crate) const NAME: &CStr = c"fleetfoot-sandbox";

#[expect(unsafe_code, reason = "a section of the binary that the C library calls before main")]
#[used]
// SAFETY: the section holds pointers to functions of exactly this form.
#[unsafe(link_section = ".init_array")]
static ENTRY: extern "C" fn(c_int, *const *const c_char, *const *const c_char) = entry;

/// Keeps the constructor in the binary: whoever starts a zygote calls this.
pub(crate) fn is_linked() -> bool {
    std::hint::black_box(ENTRY as usize) != 0
}

#[cfg(target_env = "gnu")]
fn is_zygote(argc: c_int, argv: *const *const c_char) -> bool {
    // SAFETY: this C library passes the vector of arguments of the process, `argc` long.
    #[expect(unsafe_code, reason = "reading argv[0]")]
    unsafe {
        argc == 1 && !argv.is_null() && CStr::from_ptr(*argv) == NAME
    }
}

/// Other C libraries call constructors without arguments.
#[cfg(not(target_env = "gnu"))]
fn is_zygote(_argc: c_int, _argv: *const *const c_char) -> bool {
    std::fs::read("/proc/self/cmdline").is_ok_and(|line| line == NAME.to_bytes_with_nul())
}

extern "C" fn entry(argc: c_int, argv: *const *const c_char, _envp: *const *const c_char) {
    if is_zygote(argc, argv) {
        zygote::main();
        sys::exit_now(0);
    }
}
