//! Roots of images, made of programs of this machine. They must never hold
//! anything that a test wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A root with busybox under all its names.
pub(crate) fn small_root(directory: &Path) -> PathBuf {
    let root = directory.join("small");
    skeleton(&root);
    busybox(&root);
    root
}

fn skeleton(root: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for name in ["bin", "etc", "tmp", "root", "usr/bin", "home/user", "var/tmp"] {
        fs::create_dir_all(root.join(name)).expect("a directory");
    }
    for name in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o1777)).expect("rights");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
    fs::write(root.join("etc/passwd"), users).expect("users");
    fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n").expect("groups");
}

fn busybox(root: &Path) {
    let program =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).exists()).expect("busybox");
    fs::copy(program, root.join("bin/busybox")).expect("a copy");
    let list = Command::new(program).arg("--list").output().expect("the names of busybox");
    for name in String::from_utf8_lossy(&list.stdout).lines() {
        let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(name));
    }
}

/// A root with programs of this machine and the libraries that they need.
pub(crate) fn full_root(root: &Path) {
    skeleton(root);
    let copy = |from: &Path| {
        let to = root.join(from.strip_prefix("/").unwrap_or(from));
        if to.exists() {
            return;
        }
        fs::create_dir_all(to.parent().expect("a parent")).expect("directories");
        let _ = fs::copy(from, &to);
    };
    let programs = [
        "bash",
        "sh",
        "cat",
        "ls",
        "cp",
        "mv",
        "rm",
        "mkdir",
        "rmdir",
        "chmod",
        "chown",
        "touch",
        "echo",
        "printf",
        "env",
        "id",
        "sleep",
        "true",
        "false",
        "head",
        "tail",
        "wc",
        "tr",
        "sort",
        "grep",
        "sed",
        "find",
        "tar",
        "gzip",
        "date",
        "uname",
        "pwd",
        "test",
        "expr",
        "seq",
        "tee",
        "cut",
        "basename",
        "dirname",
        "readlink",
        "ln",
        "stat",
        "git",
        "node",
        "python3",
        "mktemp",
        "hostname",
        "ps",
        "kill",
        "awk",
        "mawk",
        "xargs",
        "cmp",
        "diff",
        "sha256sum",
        "mkfifo",
    ];
    let mut found = Vec::new();
    for name in programs {
        let places = ["/usr/bin", "/bin", "/usr/local/bin"];
        if let Some(path) = places.iter().map(|d| Path::new(d).join(name)).find(|p| p.exists()) {
            let real = fs::canonicalize(&path).expect("a program");
            copy(&real);
            let target = root.join("usr/bin").join(name);
            if !target.exists() {
                let _ = fs::copy(&real, &target);
            }
            let short = root.join("bin").join(name);
            if !short.exists() {
                let _ = std::os::unix::fs::symlink(format!("/usr/bin/{name}"), short);
            }
            found.push(real);
        }
    }
    for helper in
        ["/usr/lib/git-core/git", "/usr/lib/git-core/git-remote-https", "/usr/lib/git-core/git-remote-http"]
    {
        if Path::new(helper).exists() {
            copy(Path::new(helper));
            found.push(helper.into());
        }
    }
    let linked = Command::new("ldd").args(&found).output().expect("ldd");
    for word in String::from_utf8_lossy(&linked.stdout).split_whitespace() {
        if word.starts_with('/') && word.contains(".so") {
            copy(Path::new(word.trim_end_matches(':')));
        }
    }
}
