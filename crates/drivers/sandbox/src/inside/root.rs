//! Builds the root of a cell out of detached copies of mounts, in a file system
//! in memory that is made read-only in the end. What it shows of the host is
//! listed here and nowhere else; it must never show a directory for writing
//! that is not the job's own.

use super::zygote::{Doing, Failure};
use crate::sys;
use crate::wire::{Setup, Shown};
use fleetfoot_driver_linux::system;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Hidden behind an empty file or an empty directory: secrets and levers of the kernel.
const MASKED: [&str; 13] = [
    "acpi",
    "asound",
    "interrupts",
    "kallsyms",
    "kcore",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "scsi",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
];
const READ_ONLY: [&str; 4] = ["bus", "fs", "irq", "sys"];

const FENCED: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A detached copy of a mount, and where it belongs.
struct Tree {
    fd: OwnedFd,
    target: PathBuf,
    is_directory: bool,
}

/// Everything that comes from outside.
pub(super) struct Sources {
    shown: Vec<Tree>,
    writable: Vec<Tree>,
    links: Vec<(PathBuf, PathBuf)>,
    /// Directories that are made anew, with their modes, because something is shown in them.
    directories: Vec<(PathBuf, u32)>,
    files: Vec<(PathBuf, Vec<u8>)>,
    sys: Option<OwnedFd>,
}

/// Whether `place` lies in `target`, a copy of `path`, which has nothing there.
fn is_without(path: &Path, target: &Path, place: &Path) -> bool {
    place.strip_prefix(target).is_ok_and(|rest| !rest.as_os_str().is_empty() && !path.join(rest).exists())
}

fn take(path: &Path, target: PathBuf, recursive: bool) -> Result<Tree, Failure> {
    let what = || format!("take '{}' for the sandbox", path.display());
    let is_directory = fs::metadata(path).doing(what())?.is_dir();
    Ok(Tree { fd: sys::clone_tree(path, recursive).doing(what())?, target, is_directory })
}

fn show(path: &Path, target: PathBuf) -> Result<Tree, Failure> {
    let tree = take(path, target, true)?;
    sys::set_attributes(tree.fd.as_fd(), true, FENCED | libc::MOUNT_ATTR_RDONLY, None)
        .doing(format!("make '{}' read-only", path.display()))?;
    Ok(tree)
}

/// A file or directory for reading; the runner's own is shown as the job's, so that modes that shut
/// everybody else out do not shut the job out.
fn show_further(one: &Shown, id_map: Option<&OwnedFd>) -> Result<Tree, Failure> {
    if let Some(map) = id_map.filter(|_| one.own) {
        let tree = take(&one.host, one.inside.clone(), false)?;
        let attributes = FENCED | libc::MOUNT_ATTR_RDONLY;
        if sys::set_attributes(tree.fd.as_fd(), false, attributes, Some(map.as_fd())).is_ok() {
            return Ok(tree);
        }
    }
    show(&one.host, one.inside.clone())
}

/// Takes copies of all mounts that the root will be made of. Before the new namespaces are entered
/// where the runner is root (only then may owners be mapped), after that otherwise.
pub(super) fn take_sources(setup: &Setup, id_map: Option<&OwnedFd>) -> Result<Sources, Failure> {
    let mut sources = Sources {
        shown: Vec::new(),
        writable: Vec::new(),
        links: Vec::new(),
        directories: Vec::new(),
        files: Vec::new(),
        sys: None,
    };
    let names: Vec<String> = if setup.image {
        let taken = |name: &String| !system::OWN.contains(&name.as_str());
        let entries = fs::read_dir(&setup.base).doing("read the root of the image")?;
        entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(taken).collect()
    } else {
        system::PROGRAMS.iter().map(|s| (*s).to_owned()).collect()
    };
    let places: Vec<&Path> =
        setup.read_only.iter().chain(&setup.writable).map(|one| one.inside.as_path()).collect();
    for name in names {
        sources.add(&setup.base.join(&name), Path::new("/").join(&name), &places)?;
    }
    if !setup.image {
        sources.add_etc()?;
    }
    let id_map = id_map.filter(|_| setup.id_mapped);
    for one in &setup.read_only {
        sources.shown.push(show_further(one, id_map)?);
    }
    for device in DEVICES {
        let path = Path::new("/dev").join(device);
        let tree = take(&path, path.clone(), false)?;
        let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
        sys::set_attributes(tree.fd.as_fd(), false, attributes, None).doing("fence a device")?;
        sources.shown.push(tree);
    }
    for one in &setup.writable {
        // A mapped copy cannot have foreign mounts below it.
        let tree = take(&one.host, one.inside.clone(), id_map.is_none())?;
        sys::set_attributes(tree.fd.as_fd(), id_map.is_none(), FENCED, id_map.map(AsFd::as_fd))
            .doing(format!("map the owner of '{}'", one.host.display()))?;
        sources.writable.push(tree);
    }
    if !setup.isolate_network {
        // A view of the host's devices may only be made by the owner of its network: copy what is there.
        let fd = sys::clone_tree(Path::new("/sys"), true).doing("take '/sys' for the sandbox")?;
        let attributes = FENCED | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC;
        sys::set_attributes(fd.as_fd(), true, attributes, None).doing("make '/sys' read-only")?;
        sources.sys = Some(fd);
    }
    Ok(sources)
}

impl Sources {
    /// A directory, or a link as it is; what does not exist is left out. A directory in which something
    /// else is to be shown at a place that it does not have is shown entry by entry.
    fn add(&mut self, path: &Path, target: PathBuf, places: &[&Path]) -> Result<(), Failure> {
        let Ok(kind) = fs::symlink_metadata(path) else { return Ok(()) };
        if kind.is_symlink() {
            let to = fs::read_link(path).doing(format!("read the link '{}'", path.display()))?;
            self.links.push((target, to));
        } else if kind.is_dir() && places.iter().any(|place| is_without(path, &target, place)) {
            self.directories.push((target.clone(), kind.permissions().mode() & 0o777));
            for entry in fs::read_dir(path).doing(format!("read '{}'", path.display()))? {
                let name = entry.doing(format!("read '{}'", path.display()))?.file_name();
                let inside = target.join(&name);
                if !places.contains(&inside.as_path()) {
                    self.add(&path.join(&name), inside, places)?;
                }
            }
        } else if kind.is_dir() || kind.is_file() {
            self.shown.push(show(path, target)?);
        }
        Ok(())
    }

    fn add_etc(&mut self) -> Result<(), Failure> {
        self.files.extend(system::etc_files());
        for path in system::etc_directories() {
            self.add(&path, path.clone(), &[])?;
        }
        Ok(())
    }
}

/// Runs in process 1, with all capabilities inside the new namespaces. Returns what is missing.
pub(super) fn build(setup: &Setup, sources: Sources) -> Result<Vec<String>, Failure> {
    let mut missing = Vec::new();
    sys::prctl(libc::PR_SET_KEEPCAPS, 1).doing("keep capabilities")?;
    sys::become_user(setup.uid, setup.gid).doing("become the user of the sandbox")?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0).doing("hide the memory")?;
    sys::make_private().doing("leave the mounts of the host")?;
    rustix::process::umask(rustix::fs::Mode::empty());
    // Some place to put the new root on; nothing is hidden by it that is still needed.
    let tmp = Path::new("/tmp");
    let plain = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount(c"tmpfs", tmp, plain, "mode=755,size=16m").doing("mount a file system for the root")?;
    std::env::set_current_dir(tmp).doing("enter the new root")?;

    for (directory, mode) in &sources.directories {
        make_directory(directory, *mode)?;
    }
    for (link, to) in &sources.links {
        make_parent(link)?;
        symlink(to, inside(link)).doing(format!("link '{}'", link.display()))?;
    }
    for name in ["tmp", "home", "dev", "proc", "sys", "run", "root", "var", "mnt"] {
        make_directory(&Path::new("/").join(name), 0o755)?;
    }
    let tmpfs = |target: &str, options: String| {
        make_directory(Path::new(target), 0o755)?;
        sys::mount(c"tmpfs", &inside(Path::new(target)), plain, &options).doing(format!("mount '{target}'"))
    };
    tmpfs("/tmp", format!("mode=1777,size={}", setup.tmp_bytes))?;
    tmpfs("/home", format!("mode=755,size={}", setup.tmp_bytes))?;
    tmpfs("/dev", "mode=755,size=64k".into())?;
    make_directory(&super::super::driver::home(), 0o700)?;
    if !Path::new("./var/tmp").exists() {
        let _ = symlink("/tmp", "./var/tmp");
    }
    if !setup.image {
        write_etc(setup, &sources.files)?;
    }
    // Parents first: what is shown later would hide what is below it.
    let mut trees: Vec<&Tree> = sources.shown.iter().chain(&sources.writable).collect();
    trees.sort_by_key(|tree| tree.target.components().count());
    for tree in trees {
        attach(tree)?;
    }
    if setup.image {
        resolve_names(setup)?;
    }
    fill_dev(setup, &mut missing)?;
    mount_proc(&mut missing)?;
    mount_sys(setup, &sources, &mut missing);
    rustix::system::sethostname(b"fleetfoot").map_err(io::Error::from).doing("set the host name")?;
    sys::pivot_here().doing("pivot into the root")?;
    for path in ["/dev", "/"] {
        let fd = open_path(Path::new(path)).doing("open the root")?;
        sys::set_attributes(fd.as_fd(), false, FENCED | libc::MOUNT_ATTR_RDONLY, None)
            .doing(format!("make '{path}' read-only"))?;
    }
    Ok(missing)
}

/// The place in the root that is being built, which is the current directory.
fn inside(target: &Path) -> PathBuf {
    Path::new(".").join(target.strip_prefix("/").unwrap_or(target))
}

fn make_directory(target: &Path, mode: u32) -> Result<(), Failure> {
    let path = inside(target);
    if path.is_dir() {
        return Ok(());
    }
    make_parent(target)?;
    fs::DirBuilder::new().mode(mode).create(&path).doing(format!("make '{}'", target.display()))
}

fn make_parent(target: &Path) -> Result<(), Failure> {
    let Some(parent) = target.parent() else { return Ok(()) };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(inside(parent))
        .doing(format!("make the place for '{}'", target.display()))
}

fn attach(tree: &Tree) -> Result<(), Failure> {
    let path = inside(&tree.target);
    if tree.is_directory {
        make_directory(&tree.target, 0o755)?;
    } else if !path.exists() {
        make_parent(&tree.target)?;
        fs::write(&path, "").doing(format!("make the place for '{}'", tree.target.display()))?;
    }
    sys::attach(tree.fd.as_fd(), &path).doing(format!("show '{}'", tree.target.display()))
}

fn write_etc(setup: &Setup, files: &[(PathBuf, Vec<u8>)]) -> Result<(), Failure> {
    make_directory(Path::new("/etc"), 0o755)?;
    let write = |path: &Path, content: &[u8]| {
        let place = inside(path);
        fs::write(&place, content).doing(format!("write '{}'", path.display()))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o644)).doing("set a mode")
    };
    for (path, content) in files {
        write(path, content)?;
    }
    if let Some(server) = &setup.name_server {
        write(Path::new("/etc/resolv.conf"), format!("nameserver {server}\n").as_bytes())?;
    }
    for (path, content) in system::accounts(setup.uid, setup.gid, &crate::driver::home()) {
        write(Path::new(path), content.as_bytes())?;
    }
    Ok(())
}

/// An image does not know the name servers of where it runs.
fn resolve_names(setup: &Setup) -> Result<(), Failure> {
    let place = Path::new("./etc/resolv.conf");
    if !fs::symlink_metadata(place).is_ok_and(|m| m.is_file()) {
        return Ok(());
    }
    let content = match &setup.name_server {
        Some(server) => format!("nameserver {server}\n").into_bytes(),
        None => fs::read("/etc/resolv.conf").unwrap_or_default(),
    };
    let source = Path::new("./run/resolv.conf");
    fs::write(source, content).doing("write '/etc/resolv.conf'")?;
    fs::set_permissions(source, fs::Permissions::from_mode(0o644)).doing("set a mode")?;
    let tree = sys::clone_tree(source, false).doing("show '/etc/resolv.conf'")?;
    sys::set_attributes(tree.as_fd(), false, FENCED | libc::MOUNT_ATTR_RDONLY, None)
        .and_then(|()| sys::attach(tree.as_fd(), place))
        .doing("show '/etc/resolv.conf'")
}

fn fill_dev(setup: &Setup, missing: &mut Vec<String>) -> Result<(), Failure> {
    for (link, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(to, Path::new("./dev").join(link)).doing("link a device")?;
    }
    let plain = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    make_directory(Path::new("/dev/shm"), 0o755)?;
    let options = format!("mode=1777,size={}", setup.shm_bytes);
    sys::mount(c"tmpfs", Path::new("./dev/shm"), plain, &options).doing("mount '/dev/shm'")?;
    make_directory(Path::new("/dev/pts"), 0o755)?;
    let options = "newinstance,ptmxmode=0666,mode=620";
    if sys::mount(c"devpts", Path::new("./dev/pts"), libc::MS_NOSUID | libc::MS_NOEXEC, options).is_err() {
        missing.push("/dev/pts".into());
    }
    make_directory(Path::new("/dev/mqueue"), 0o755)?;
    if sys::mount(c"mqueue", Path::new("./dev/mqueue"), plain, "").is_err() {
        missing.push("/dev/mqueue".into());
    }
    Ok(())
}

/// A `/proc` of the new pid namespace, without what concerns the whole machine.
fn mount_proc(missing: &mut Vec<String>) -> Result<(), Failure> {
    let plain = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let proc = Path::new("./proc");
    sys::mount(c"proc", proc, plain, "").doing("mount '/proc'")?;
    for name in MASKED {
        let path = proc.join(name);
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let what = || format!("hide '/proc/{name}'");
        if found.is_dir() {
            sys::mount(c"tmpfs", &path, plain | libc::MS_RDONLY, "size=0,mode=555").doing(what())?;
        } else {
            let null = sys::clone_tree(Path::new("./dev/null"), false).doing(what())?;
            sys::attach(null.as_fd(), &path).doing(what())?;
        }
    }
    for name in READ_ONLY {
        let path = proc.join(name);
        if !path.exists() {
            missing.push(format!("/proc/{name}"));
            continue;
        }
        let what = || format!("make '/proc/{name}' read-only");
        let tree = sys::clone_tree(&path, true).doing(what())?;
        sys::set_attributes(tree.as_fd(), true, libc::MOUNT_ATTR_RDONLY, None).doing(what())?;
        sys::attach(tree.as_fd(), &path).doing(what())?;
    }
    Ok(())
}

/// Some tools read `/sys`; none needs it to exist.
fn mount_sys(setup: &Setup, sources: &Sources, missing: &mut Vec<String>) {
    let path = Path::new("./sys");
    let done = match &sources.sys {
        Some(tree) => sys::attach(tree.as_fd(), path),
        None => {
            debug_assert!(setup.isolate_network, "otherwise a copy was taken");
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
            sys::mount(c"sysfs", path, flags, "")
        }
    };
    if done.is_err() {
        missing.push("/sys".into());
        return;
    }
    for name in ["firmware", "kernel/debug", "kernel/security", "kernel/tracing"] {
        let path = path.join(name);
        if fs::metadata(&path).is_ok_and(|m| m.is_dir() && m.nlink() > 0) {
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC | libc::MS_RDONLY;
            let _ = sys::mount(c"tmpfs", &path, flags, "size=0,mode=555");
        }
    }
}

fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?)
}
