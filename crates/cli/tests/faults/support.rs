//! What these tests share: the API as blocking calls, documents, and a look at processes.

use fleetfoot_client::{Client, ClientError};
use fleetfoot_model::api::{AuditEntry, CancelRun, CreateRun, Created, JobView, RunView, RunnerView};
use fleetfoot_model::state::{Conclusion, RunnerState, Status};
use fleetfoot_model::{JobId, RunId};
use fleetfoot_testkit::TestServer;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");
/// For everything that has no deadline of its own: a loaded machine may be slow, a hang must end.
pub(crate) const LONG: Duration = Duration::from_secs(40);
/// How often a condition that costs a request is looked at.
const PAUSE: Duration = Duration::from_millis(30);

/// Asks seldom enough that waiting does not load the machine.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begin.elapsed() < limit, "waited {limit:?} for: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until a file has a line, and answers what it holds.
pub(crate) fn file_with_line(path: &Path) -> String {
    wait_for(&format!("{} to be written", path.display()), LONG, || {
        std::fs::read_to_string(path).ok().filter(|t| t.ends_with('\n'))
    })
}

/// The API of one server, blocking.
pub(crate) struct Api {
    client: Client,
    runtime: Runtime,
}

impl Api {
    pub(crate) fn of(server: &TestServer) -> Self {
        Self { client: server.client(), runtime: Runtime::new().unwrap() }
    }

    /// For another thread.
    pub(crate) fn again(&self) -> Self {
        Self { client: self.client.clone(), runtime: Runtime::new().unwrap() }
    }

    pub(crate) fn try_submit(&self, document: &str, key: Option<&str>) -> Result<Created, ClientError> {
        let run = CreateRun { kind: "workflow".into(), document: document.into(), ..CreateRun::default() };
        self.runtime.block_on(self.client.create_run(&run, key))
    }

    pub(crate) fn submit(&self, document: &str) -> Created {
        self.try_submit(document, None).unwrap()
    }

    pub(crate) fn run(&self, run: RunId) -> Result<RunView, ClientError> {
        self.runtime.block_on(self.client.run(run))
    }

    pub(crate) fn job(&self, job: JobId) -> JobView {
        self.runtime.block_on(self.client.job(job)).unwrap()
    }

    /// The run when it is over. A server that is away meanwhile is waited for.
    pub(crate) fn ended(&self, run: RunId, limit: Duration) -> RunView {
        wait_for(&format!("the end of run {run}"), limit, || {
            self.run(run).ok().filter(|r| r.status == Status::Completed)
        })
    }

    /// The only job of a run that is over.
    pub(crate) fn ended_job(&self, created: &Created, limit: Duration) -> JobView {
        self.ended(created.run, limit);
        self.job(created.jobs[0].id)
    }

    pub(crate) fn cancel(&self, run: RunId) {
        self.runtime.block_on(self.client.cancel_run(run, &CancelRun::default())).unwrap();
    }

    pub(crate) fn log(&self, job: JobId) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let piece =
                self.runtime.block_on(self.client.job_log(job, None, all.len() as u64, None)).unwrap();
            all.extend_from_slice(&piece.bytes);
            if all.len() as u64 >= piece.end {
                return all;
            }
        }
    }

    pub(crate) fn log_text(&self, job: JobId) -> String {
        String::from_utf8_lossy(&self.log(job)).into_owned()
    }

    /// Waits until the log of a job contains a text.
    pub(crate) fn printed(&self, job: JobId, text: &str) {
        wait_for(&format!("job {job} to print {text}"), LONG, || {
            self.log_text(job).contains(text).then_some(())
        });
    }

    pub(crate) fn audit(&self) -> Vec<AuditEntry> {
        self.runtime.block_on(self.client.audit(&Default::default())).unwrap().items
    }

    fn runner(&self, name: &str) -> RunnerView {
        let runners = self.runtime.block_on(self.client.runners()).unwrap().items;
        runners.into_iter().find(|r| r.name == name).unwrap()
    }

    pub(crate) fn state(&self, runner: &str) -> RunnerState {
        self.runner(runner).state
    }

    /// Completed jobs of a runner by conclusion.
    pub(crate) fn completed(&self, runner: &str) -> Vec<(String, u64)> {
        self.runner(runner).completed.into_iter().collect()
    }
}

/// A workflow of one job with one step.
pub(crate) fn one_step(script: &str) -> String {
    job("", &[script])
}

/// A workflow of one job: further keys of the job as lines of YAML, and its steps.
pub(crate) fn job(keys: &str, scripts: &[&str]) -> String {
    let mut text = "on: push\njobs:\n  a:\n    runs-on: linux\n".to_owned();
    for line in keys.lines() {
        text.push_str(&format!("    {line}\n"));
    }
    text.push_str("    steps:\n");
    for script in scripts {
        // A string of JSON is a scalar of YAML.
        text.push_str(&format!("      - run: {}\n", serde_json::to_string(script).unwrap()));
    }
    text
}

/// Shell text that defines `pause SECONDS`: waits without starting a process.
pub(crate) const PAUSE_SH: &str = "mkfifo \"$RUNNER_TEMP/p.$$\"; exec 9<>\"$RUNNER_TEMP/p.$$\"; pause() { read -rt \"$1\" -u 9 || true; }\n";

/// Shell text that prints `line 1` to `line N`, one every `every` seconds.
pub(crate) fn numbered(lines: u32, every: f64) -> String {
    format!("{PAUSE_SH}for ((i=1; i<={lines}; i++)); do echo \"line $i\"; pause {every}; done\n")
}

/// What [`numbered`] prints.
pub(crate) fn numbered_text(lines: u32) -> String {
    (1..=lines).map(|i| format!("line {i}\n")).collect()
}

pub(crate) fn succeeded(job: &JobView) {
    assert_eq!(
        (job.status, job.conclusion),
        (Status::Completed, Some(Conclusion::Success)),
        "reason {:?}, message {:?}",
        job.reason,
        job.message
    );
}

/// Start of a living process in clock ticks since boot; `None` if there is none or it is a zombie.
pub(crate) fn alive(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    (fields[0] != "Z" && fields[0] != "X").then(|| fields[19].to_owned())
}

/// Living processes that carry the mark of a job of this server, by what they run.
pub(crate) fn processes_of(server: &TestServer) -> Vec<String> {
    let address = server.url().trim_start_matches("http://").replace([':', '.'], "-");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let ours = environ.split(|b| *b == 0).any(|e| {
            let e = String::from_utf8_lossy(e);
            e.starts_with("FLEETFOOT_RUNNER_TAG=") && e.ends_with(&address)
        });
        if ours && alive(pid).is_some() {
            let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            found.push(format!("{pid}: {}", line.replace('\0', " ")));
        }
    }
    found
}

/// Directories of the control groups that a process is in, other than the roots.
pub(crate) fn control_groups(pid: u32) -> Vec<std::path::PathBuf> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut found = Vec::new();
    for line in groups.lines() {
        let path = line.splitn(3, ':').nth(2).unwrap_or_default().trim_start_matches('/');
        if !path.contains("fleetfoot") {
            continue;
        }
        for mount in mounts.lines().filter(|m| m.contains(" cgroup")) {
            let dir = Path::new(mount.split(' ').nth(1).unwrap_or_default()).join(path);
            if dir.is_dir() {
                found.push(dir);
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// A small file system of its own, unmounted when dropped.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    pub(crate) fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=0700"), "fleetfoot-test"])
            .arg(dir.path())
            .output();
        match done {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                eprintln!("skipped: this machine does not permit mounting a tmpfs ({other:?})");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the space that is left.
    pub(crate) fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.path().join("filler")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still ends keeps no file system in the table.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
