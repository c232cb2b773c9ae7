//! Prints what this machine offers to the sandbox boundary.
//!
//! `cargo run -p fleetfoot-driver-sandbox --example probe`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for people")]

use fleetfoot_driver_sandbox::{SandboxDriver, SandboxOptions};

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let probe = SandboxDriver::probe(SandboxOptions::default(), dir.path()).await;
    println!("{}", serde_json::to_string_pretty(&probe).unwrap());
}
