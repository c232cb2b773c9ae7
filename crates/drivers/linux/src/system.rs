//! What of the host's own system a job may see where it gets the host's programs and not an image:
//! which directories, which files of `/etc`, and the accounts. Listed here and nowhere else; it must
//! never list a file that tells about the host's users, services or secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Programs and libraries of a host.
pub const PROGRAMS: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt"];
/// Directories that a boundary makes itself, also where an image has them.
pub const OWN: [&str; 6] = ["dev", "proc", "sys", "tmp", "run", "home"];
/// Files of `/etc` that programs need and that tell nothing about the host's users or services.
const ETC_FILES: [&str; 22] = [
    "bash.bashrc",
    "debian_version",
    "gai.conf",
    "gitconfig",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "lsb-release",
    "machine-id",
    "magic",
    "mime.types",
    "networks",
    "nsswitch.conf",
    "os-release",
    "profile",
    "protocols",
    "resolv.conf",
    "services",
    "shells",
    "timezone",
];
/// Directories of `/etc`, by the beginning of their name.
const ETC_DIRECTORIES: [&str; 13] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "dotnet",
    "fonts",
    "java",
    "ld.so.conf.d",
    "maven",
    "perl",
    "php",
    "pki",
    "python",
    "ssl",
];
/// Files of `/etc` above this size are not copied.
const MAX_COPY: u64 = 4 << 20;

/// Files of `/etc` with their content, as far as everybody may read them.
#[must_use]
pub fn etc_files() -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for name in ETC_FILES {
        let path = Path::new("/etc").join(name);
        // Followed, so that a link to somewhere that is not shown still has its content.
        let Ok(found) = fs::metadata(&path) else { continue };
        let for_everybody = found.permissions().mode() & 0o004 != 0;
        if found.is_file()
            && for_everybody
            && found.len() <= MAX_COPY
            && let Ok(content) = fs::read(&path)
        {
            files.push((path, content));
        }
    }
    files
}

/// Directories of `/etc`.
#[must_use]
pub fn etc_directories() -> Vec<PathBuf> {
    let wanted = |n: &str| ETC_DIRECTORIES.iter().any(|prefix| n.starts_with(prefix));
    let entries = fs::read_dir("/etc").into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|e| e.file_name().to_str().is_some_and(wanted) && e.path().is_dir())
        .map(|e| e.path())
        .collect()
}

/// Files of `/etc` that name the user of the job, `(path, content)`.
#[must_use]
pub fn accounts(uid: u32, gid: u32, home: &Path) -> [(&'static str, String); 4] {
    let home = home.display();
    let mut passwd = String::from("root:x:0:0:root:/root:/usr/sbin/nologin\n");
    let mut group = String::from("root:x:0:\ntty:x:5:\n");
    if uid != 0 {
        passwd.push_str(&format!("fleetfoot:x:{uid}:{gid}:fleetfoot:{home}:/bin/sh\n"));
    }
    if gid != 0 && gid != 5 {
        group.push_str(&format!("fleetfoot:x:{gid}:\n"));
    }
    passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    group.push_str("nogroup:x:65534:\n");
    [
        ("/etc/passwd", passwd),
        ("/etc/group", group),
        ("/etc/hostname", "fleetfoot\n".to_owned()),
        ("/etc/hosts", "127.0.0.1 localhost fleetfoot\n::1 localhost ip6-localhost\n".to_owned()),
    ]
}
