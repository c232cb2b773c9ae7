//! Ordinary users for tests that run as root: numbers that nobody has, with a
//! home of their own. The files of the machine that name users are changed in
//! a mount namespace only. Nothing of a user may outlive its test.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Ids of users that are subordinate to one.
const SUBORDINATE: u32 = 65_536;

/// Puts files in the place of those of the machine, gives everybody `/dev/net/tun` as most machines do,
/// and becomes the user. Arguments: directory with the files, user, program and its arguments.
const ENTER: &str = "set -e; d=$1 u=$2; shift 2
for f in passwd group subuid subgid; do mount --bind \"$d/$f\" \"/etc/$f\"; done
if mknod \"$d/tun\" c 10 200 2>/dev/null; then chmod 666 \"$d/tun\"; mount --bind \"$d/tun\" /dev/net/tun; fi
exec setpriv --reuid \"$u\" --regid \"$u\" --clear-groups --inh-caps=-all \"$@\"";

/// An ordinary user.
#[derive(Clone, Debug)]
pub struct User {
    id: u32,
    directory: PathBuf,
}

impl User {
    /// A new one, at home below the directory, which everybody may pass through then.
    pub(crate) fn new(below: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = 2_000_000 + (std::process::id() % 2_000) * 16 + NEXT.fetch_add(1, Ordering::Relaxed) % 16;
        let user = Self { id, directory: below.join(format!("user-{id}")) };
        let open = fs::Permissions::from_mode(0o711);
        fs::set_permissions(below, open.clone()).expect("rights");
        for name in ["home", "run", "tmp"] {
            let path = user.directory.join(name);
            fs::create_dir_all(&path).expect("a directory");
            chown(&path, Some(id), Some(id)).expect("an owner");
        }
        fs::set_permissions(&user.directory, open).expect("rights");
        let home = user.home();
        let write = |name: &str, text: String| fs::write(user.directory.join(name), text).expect("a file");
        let machine = |name: &str| fs::read_to_string(Path::new("/etc").join(name)).unwrap_or_default();
        write("passwd", format!("{}tester:x:{id}:{id}::{}:/bin/sh\n", machine("passwd"), home.display()));
        write("group", format!("{}tester:x:{id}:\n", machine("group")));
        let first = 100_000_000 + (id - 2_000_000) * SUBORDINATE;
        for name in ["subuid", "subgid"] {
            write(name, format!("tester:{first}:{SUBORDINATE}\n"));
        }
        user
    }

    /// Its number, and that of its group.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Its home, which it may write to.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.directory.join("home")
    }

    fn surroundings<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("XDG_RUNTIME_DIR", self.directory.join("run"))
            .env("TMPDIR", self.directory.join("tmp"))
            .current_dir(self.home())
    }

    /// A program run by this user.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.surroundings(&mut command).uid(self.id).gid(self.id);
        command
    }

    /// The same for a user that the machine knows by name, with subordinate ids.
    pub(crate) fn command_with_ids(&self, program: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "enter"]);
        command.arg(&self.directory).arg(self.id.to_string()).arg(program);
        self.surroundings(&mut command);
        command
    }

    /// Runs a test of this very program, one that is marked as ignored, as this user.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn test(&self, name: &str, variables: &[(&str, &OsStr)]) -> Output {
        // The program lies where this user may not look.
        let own = self.directory.join("test");
        fs::copy(std::env::current_exe().expect("this program"), &own).expect("a copy");
        let mut command = self.command(&own);
        command.args(["--exact", name, "--ignored", "--nocapture"]).envs(variables.iter().copied());
        command.output().expect("the test starts")
    }

    /// Ends whatever runs as this user: nobody else has its number.
    pub(crate) fn end_processes(&self) {
        use std::os::unix::fs::MetadataExt;
        for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
            let own = entry.metadata().is_ok_and(|m| m.uid() == self.id);
            if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| own) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}
