//! Builds process 1 of the cells (`inside/init.rs`): a program of its own for the same machine, static
//! and without libraries. Cargo cannot build a second target of another kind within a crate, so this
//! asks the compiler for it.
#![allow(clippy::unwrap_used, reason = "a build that cannot go on has to stop")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=inside");
    let env = |name: &str| std::env::var(name).unwrap();
    let out = Path::new(&env("OUT_DIR")).join("init");
    let mut command = Command::new(env("RUSTC"));
    command
        .args(["--edition=2024", "--crate-type=bin", "--crate-name=fleetfoot_gvisor_init"])
        .args(["--target", &env("TARGET")])
        .args(["-Copt-level=2", "-Cpanic=abort", "-Cstrip=symbols", "-Crelocation-model=static"])
        .args(["-Cdebug-assertions=off", "-Coverflow-checks=off", "-Cdebuginfo=0"])
        .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static"])
        .args(["-Clink-arg=-Wl,--build-id=none", "-Clink-arg=-Wl,-z,noexecstack"])
        .arg("-o")
        .arg(&out)
        .arg("inside/init.rs");
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        command.arg(format!("-Clinker={linker}"));
    }
    let done = command.status().unwrap();
    assert!(done.success(), "the program inside gVisor could not be built");
}
