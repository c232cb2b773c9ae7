//! Makes the keeper: a program without libraries, for the target's processor,
//! linked by the linker that the build of everything else needs anyway.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=keeper");
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let out = PathBuf::from(var("OUT_DIR")).join("keeper");
    let architecture = var("CARGO_CFG_TARGET_ARCH");
    if var("CARGO_CFG_TARGET_OS") != "linux" || !["x86_64", "aarch64"].contains(&architecture.as_str()) {
        // The driver says then that it cannot run commands in containers.
        std::fs::write(&out, b"").unwrap_or_else(|e| panic!("cannot write {}: {e}", out.display()));
        return;
    }
    let mut rustc = Command::new(var("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "keeper"]);
    rustc.args(["--target", &var("TARGET"), "keeper/main.rs", "-o"]).arg(&out);
    for option in [
        "panic=abort",
        "opt-level=s",
        "strip=symbols",
        "relocation-model=static",
        "force-unwind-tables=no",
        "link-arg=-nostartfiles",
        "link-arg=-nostdlib",
        "link-arg=-static",
        "link-arg=-Wl,--gc-sections,--build-id=none,-z,noexecstack",
    ] {
        rustc.args(["-C", option]);
    }
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    // Flags of the outer build (coverage, sanitizers) are not for a program without a library.
    rustc.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    let status = rustc.status().unwrap_or_else(|e| panic!("cannot start rustc: {e}"));
    assert!(status.success(), "the keeper of containers could not be compiled");
}
