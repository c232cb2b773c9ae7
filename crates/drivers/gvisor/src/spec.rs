//! The bundle of a cell: the skeleton of its root on the host, and the
//! configuration that `runsc` reads. What a job sees is decided here. It must
//! never write into the root of an image, and never show a directory for
//! writing that is not the job's own.

use crate::driver::{Network, Shared};
use fleetfoot_driver::{CellRequest, DriverError, DriverErrorKind, Mount};
use fleetfoot_driver_linux::lookup::path_text;
use fleetfoot_driver_linux::network::NAME_SERVER;
use fleetfoot_driver_linux::system;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Process 1, built by `build.rs`.
const INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));
/// Where it is inside.
const INIT_PATH: &str = "/.fleetfoot/init";
/// Home directory of the user inside.
pub(crate) const HOME: &str = "/home/fleetfoot";

/// Who the job is, and gVisor itself.
///
/// Without sockets of the host, `runsc` makes the user namespace of `Mapped` itself, as the bundle says.
/// With them it starts gVisor as whoever stands for root's files (releases of 2022 and later alike), who
/// could not even build its root; so there `runsc` as a whole is started as root of such a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A user namespace: user 1000 inside stands for root's files, gVisor itself for a user without any.
    Mapped,
    /// Root inside (without rights) is root outside; for machines without user namespaces.
    Same,
}

impl Identity {
    /// Whether `runsc` is to make the user namespace.
    fn by_runsc(self, network: Network) -> bool {
        self == Self::Mapped && network == Network::None
    }

    /// User and group inside.
    pub(crate) const fn inside(self) -> u32 {
        match self {
            Self::Mapped => 1000,
            Self::Same => 0,
        }
    }
}

/// Inside and outside.
type IdPairs = [(u32, u32); 2];

/// Who users and groups of a `Mapped` cell stand for.
pub(crate) const fn id_pairs(own: (u32, u32)) -> [IdPairs; 2] {
    let job = (Identity::Mapped.inside(), 0);
    [[(0, own.0), job], [(0, own.1), job]]
}

/// The directory of a cell on the host, removed with it.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) directory: PathBuf,
    config: Value,
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> DriverError {
    let what = what.into();
    move |e| DriverError::io(what, e)
}

impl Bundle {
    /// Builds skeleton and configuration in `directory`, which is made anew.
    pub(crate) fn make(
        shared: &Shared,
        request: &CellRequest,
        rlimits: &[(u32, u64)],
        identity: Identity,
        directory: PathBuf,
    ) -> Result<Self, DriverError> {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).map_err(io("cannot make the directory of the cell"))?;
        let mut bundle = Self { directory, config: Value::Null };
        let mut mounts = Mounts::default();
        mounts.tmpfs("/tmp", "1777", shared.options.tmp_bytes);
        mounts.tmpfs("/home", "1777", shared.options.tmp_bytes);
        mounts.tmpfs("/dev/shm", "1777", shared.options.shm_bytes);
        bundle.fill_root(shared, request, identity, &mut mounts)?;
        let mut own: Vec<Mount> = request.mounts.iter().filter(|m| m.host.exists()).cloned().collect();
        own.extend([&request.workspace, &request.temp].map(Mount::writable));
        // Parents first, each once.
        own.sort_by(|a, b| a.inside.cmp(&b.inside));
        own.dedup_by(|a, b| a.inside == b.inside);
        for mount in &own {
            bundle.show(&mut mounts, &mount.host, &mount.inside, mount.writable)?;
        }
        bundle.config = config(shared, &bundle.root(), mounts.0, rlimits, identity)?;
        let text = serde_json::to_vec(&bundle.config)
            .map_err(|e| DriverError::new(DriverErrorKind::Other, e.to_string()))?;
        fs::write(bundle.directory.join("config.json"), text).map_err(io("cannot write the bundle"))?;
        Ok(bundle)
    }

    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The place of a path of the inside in the skeleton.
    fn place(&self, inside: &Path) -> PathBuf {
        self.root().join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn fill_root(
        &self,
        shared: &Shared,
        request: &CellRequest,
        identity: Identity,
        mounts: &mut Mounts,
    ) -> Result<(), DriverError> {
        for name in
            ["tmp", "home", "dev/shm", "proc", "sys", "run", "root", "var", "mnt", "etc", ".fleetfoot"]
        {
            let place = self.root().join(name);
            fs::create_dir_all(&place).map_err(io("cannot make the root of the cell"))?;
        }
        let write = |path: &str, content: &[u8], mode: u32| {
            let place = self.place(Path::new(path));
            fs::write(&place, content)
                .and_then(|()| fs::set_permissions(&place, fs::Permissions::from_mode(mode)))
                .map_err(io(format!("cannot write '{path}' of the cell")))
        };
        write(INIT_PATH, INIT, 0o755)?;
        let _ = symlink("/tmp", self.root().join("var/tmp"));
        match &request.root {
            None => {
                for name in system::PROGRAMS {
                    self.show_entry(mounts, &Path::new("/").join(name), Path::new(name))?;
                }
                for path in system::etc_directories() {
                    self.show_entry(mounts, &path, &path)?;
                }
                for (path, content) in system::etc_files() {
                    write(&path.display().to_string(), &content, 0o644)?;
                }
                let id = identity.inside();
                for (path, content) in system::accounts(id, id, Path::new(HOME)) {
                    write(path, content.as_bytes(), 0o644)?;
                }
                self.write_name_servers(shared.options.network)?;
            }
            Some(root) => self.show_image(shared, request, &root.directory, mounts)?,
        }
        Ok(())
    }

    /// Everything at the top of an image that does not lie on the way to a directory of the job.
    fn show_image(
        &self,
        shared: &Shared,
        request: &CellRequest,
        image: &Path,
        mounts: &mut Mounts,
    ) -> Result<(), DriverError> {
        if !image.join("bin").exists() {
            let message = format!("'{}' is not the root of an image: it has no /bin", image.display());
            return Err(DriverError::new(DriverErrorKind::NotFound, message));
        }
        let entries = fs::read_dir(image).map_err(io("cannot read the root of the image"))?;
        for entry in entries.filter_map(Result::ok) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let top = Path::new("/").join(&name);
            let own = [&request.workspace, &request.temp].into_iter();
            let mut inside = own.chain(request.mounts.iter().map(|m| &m.inside));
            if name == "etc" {
                self.show_image_etc(shared, &entry.path(), mounts)?;
            } else if !system::OWN.contains(&name.as_str()) && !inside.any(|p| p.starts_with(&top)) {
                self.show_entry(mounts, &entry.path(), &top)?;
            }
        }
        Ok(())
    }

    /// The `/etc` of an image, entry by entry: it does not know the name servers of where it runs.
    fn show_image_etc(&self, shared: &Shared, etc: &Path, mounts: &mut Mounts) -> Result<(), DriverError> {
        for entry in fs::read_dir(etc).into_iter().flatten().filter_map(Result::ok) {
            let target = Path::new("/etc").join(entry.file_name());
            let place = self.place(&target);
            let kind = entry.file_type().map_err(io("cannot read the image"))?;
            if kind.is_file() {
                // Copied: a mount for each file would be dear. What only root may read stays away.
                let readable = entry.metadata().is_ok_and(|m| m.permissions().mode() & 0o004 != 0);
                if readable {
                    let _ = fs::copy(entry.path(), place);
                }
            } else {
                self.show_entry(mounts, &entry.path(), &target)?;
            }
        }
        self.write_name_servers(shared.options.network)
    }

    fn write_name_servers(&self, network: Network) -> Result<(), DriverError> {
        let names = match network {
            Network::Host => fs::read("/etc/resolv.conf").unwrap_or_default(),
            Network::Private => format!("nameserver {NAME_SERVER}\n").into_bytes(),
            Network::None => Vec::new(),
        };
        let place = self.place(Path::new("/etc/resolv.conf"));
        let _ = fs::remove_file(&place);
        fs::write(place, names).map_err(io("cannot write '/etc/resolv.conf' of the cell"))
    }

    /// A directory read-only, a link as it is; anything else is left out.
    fn show_entry(&self, mounts: &mut Mounts, host: &Path, inside: &Path) -> Result<(), DriverError> {
        let Ok(kind) = fs::symlink_metadata(host) else { return Ok(()) };
        let inside = Path::new("/").join(inside);
        if kind.is_symlink() {
            let to = fs::read_link(host).map_err(io(format!("cannot read the link '{}'", host.display())))?;
            return symlink(to, self.place(&inside)).map_err(io("cannot make a link of the cell"));
        }
        if kind.is_dir() { self.show(mounts, host, &inside, false) } else { Ok(()) }
    }

    fn show(
        &self,
        mounts: &mut Mounts,
        host: &Path,
        inside: &Path,
        writable: bool,
    ) -> Result<(), DriverError> {
        let (host_text, inside_text) = (path_text(host)?, path_text(inside)?);
        let place = self.place(inside);
        // A link in the skeleton could lead out of it.
        let ancestors = place.ancestors().take_while(|p| *p != self.directory);
        if ancestors.into_iter().any(|p| fs::symlink_metadata(p).is_ok_and(|m| m.is_symlink())) {
            let message = format!("'{inside_text}' lies behind a link of the cell's root");
            return Err(DriverError::new(DriverErrorKind::Unsupported, message));
        }
        let made = if host.is_dir() {
            fs::create_dir_all(&place)
        } else {
            let parent = place.parent().map_or(Ok(()), fs::create_dir_all);
            parent.and_then(|()| fs::write(&place, ""))
        };
        made.map_err(io(format!("cannot make the place for '{inside_text}'")))?;
        let access = if writable { "rw" } else { "ro" };
        mounts.0.push(json!({
            "destination": inside_text, "type": "bind", "source": host_text,
            "options": ["rbind", access, "nosuid", "nodev"],
        }));
        Ok(())
    }

    /// Removes everything on the host.
    pub(crate) fn remove(&self) -> std::io::Result<()> {
        remove(&self.directory)
    }
}

/// Removes the directory of a cell; one that is not there is fine.
pub(crate) fn remove(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[derive(Default)]
struct Mounts(Vec<Value>);

impl Mounts {
    fn tmpfs(&mut self, target: &str, mode: &str, bytes: u64) {
        self.0.push(json!({
            "destination": target, "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", format!("mode={mode}"), format!("size={bytes}")],
        }));
    }
}

fn config(
    shared: &Shared,
    root: &Path,
    mut mounts: Vec<Value>,
    rlimits: &[(u32, u64)],
    identity: Identity,
) -> Result<Value, DriverError> {
    mounts.insert(0, json!({ "destination": "/proc", "type": "proc", "source": "proc" }));
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if shared.options.network == Network::None {
        namespaces.push("network");
    }
    let mut linux = json!({});
    if identity.by_runsc(shared.options.network) {
        namespaces.push("user");
        let map = |pairs: IdPairs| {
            let line = |(inside, outside): (u32, u32)| json!({ "containerID": inside, "hostID": outside, "size": 1 });
            pairs.into_iter().map(line).collect::<Value>()
        };
        let [users, groups] = id_pairs(shared.options.host_ids);
        linux["uidMappings"] = map(users);
        linux["gidMappings"] = map(groups);
    }
    linux["namespaces"] = namespaces.into_iter().map(|n| json!({ "type": n })).collect();
    let limits: Vec<Value> = rlimits
        .iter()
        .filter_map(|(resource, value)| {
            Some(json!({ "type": rlimit_name(*resource)?, "hard": value, "soft": value }))
        })
        .collect();
    let id = identity.inside();
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": id, "gid": id }, "args": [INIT_PATH], "env": [], "cwd": "/",
            "capabilities": {
                "bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": [],
            },
            "rlimits": limits, "noNewPrivileges": true,
        },
        "root": { "path": path_text(root)?, "readonly": true },
        "hostname": "fleetfoot",
        "mounts": mounts,
        "linux": linux,
    }))
}

/// The name of a resource in a bundle.
const fn rlimit_name(resource: u32) -> Option<&'static str> {
    match resource {
        libc::RLIMIT_NPROC => Some("RLIMIT_NPROC"),
        libc::RLIMIT_NOFILE => Some("RLIMIT_NOFILE"),
        libc::RLIMIT_CORE => Some("RLIMIT_CORE"),
        _ => None,
    }
}
