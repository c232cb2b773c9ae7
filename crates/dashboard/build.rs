//! Embeds what `make web` built in `web/dist`: compresses every file once and
//! writes the table that `src/lib.rs` includes. Without a build the table is
//! empty, so that this crate needs nothing but Rust.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

#[path = "src/pack.rs"]
mod pack;

fn main() -> io::Result<()> {
    // Asked for now and not when this was compiled: a checkout may have been moved or copied since.
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let from = &here.join("../../web/dist");
    // A path that does not exist counts as changed at every build; an empty directory does not.
    if !from.exists() && from.parent().is_some_and(Path::is_dir) {
        let _ = fs::create_dir(from);
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/pack.rs");
    if from.exists() {
        println!("cargo::rerun-if-changed={}", from.display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let files = if from.is_dir() { pack::files(from)? } else { Vec::new() };
    let mut table = String::from("&[\n");
    for (number, file) in files.iter().enumerate() {
        let name = format!("{number}.bin");
        fs::write(out.join(&name), &file.body)?;
        table.push_str(&format!(
            "    Asset {{ path: {:?}, media_type: {:?}, gzip: {}, hash: {:?}, body: include_bytes!({name:?}) }},\n",
            file.path, file.media_type, file.gzip, file.hash,
        ));
    }
    table.push_str("]\n");
    fs::write(out.join("table.rs"), table)
}
