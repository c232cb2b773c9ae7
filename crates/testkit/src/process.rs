//! Real processes of the binary, with directories of their own, ended when
//! the test ends. Signals go to one process by its id, never to a name.

use crate::wait::wait_until;
use fleetfoot_client::{Client, ClientConfig, Secret};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;

/// How long a process may take to say that it is ready.
const READY: Duration = Duration::from_secs(30);

/// What a finished command left.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }
}

/// The binary, with an environment in which nothing of the machine's is left.
#[derive(Clone, Debug)]
pub struct Fleetfoot {
    binary: PathBuf,
    env: Vec<(String, String)>,
    dir: PathBuf,
}

impl Fleetfoot {
    /// `binary` is `env!("CARGO_BIN_EXE_fleetfoot")` of the calling test; `dir` becomes working and home directory.
    pub fn new(binary: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), env: Vec::new(), dir: dir.into() }
    }

    /// With one more variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// In another directory.
    #[must_use]
    pub fn within(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// The command with these arguments, not started.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(args)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    ///
    /// # Panics
    /// If the binary cannot be started.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Finished {
        self.run_with_input(args, b"")
    }

    /// Runs to the end with these bytes on standard input.
    ///
    /// # Panics
    /// If the binary cannot be started.
    #[must_use]
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Finished {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdin = child.stdin.take().expect("standard input");
        let input = input.to_vec();
        // In a thread: a program that answers before it has read everything must not block us.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("the output of the binary");
        let _ = writer.join();
        Finished {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A process that runs until it is told to end; killed when dropped.
#[derive(Debug)]
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("standard output");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(READY).expect("the process says that it is ready")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        let _ = kill_process(pid, signal);
    }

    fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait_until("the process to end", limit, || self.child.try_wait().expect("the state of the process"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server process.
#[derive(Debug)]
pub struct TestServer {
    running: Running,
    fleetfoot: Fleetfoot,
    args: Vec<String>,
    data: PathBuf,
    /// What it printed when it was ready.
    pub ready: Value,
    _dir: Option<TempDir>,
}

impl TestServer {
    /// `fleetfoot up` on a free port, with these further arguments.
    #[must_use]
    pub fn up(binary: &str, args: &[&str]) -> Self {
        Self::fresh(binary, "up", args, &[])
    }

    /// The same with these variables in its environment, and so in that of the runner.
    #[must_use]
    pub fn up_with(binary: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::fresh(binary, "up", args, env)
    }

    /// `fleetfoot server` on a free port, with these further arguments.
    #[must_use]
    pub fn server(binary: &str, args: &[&str]) -> Self {
        Self::fresh(binary, "server", args, &[])
    }

    /// `fleetfoot server` on a free port with its state in `data`.
    #[must_use]
    pub fn server_at(binary: &str, data: &Path, args: &[&str]) -> Self {
        Self::fresh_at(binary, "server", Some(data), args, &[])
    }

    fn fresh(binary: &str, command: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::fresh_at(binary, command, None, args, env)
    }

    fn fresh_at(
        binary: &str,
        command: &str,
        data: Option<&Path>,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let data = data.map_or_else(|| dir.path().join("data"), Path::to_owned);
        let fleetfoot = env.iter().fold(Fleetfoot::new(binary, dir.path()), |f, (k, v)| f.env(k, *v));
        let mut all = vec![command.to_owned(), "--data".to_owned(), data.display().to_string()];
        all.extend(["--output", "json"].map(str::to_owned));
        all.extend(args.iter().map(|a| (*a).to_owned()));
        let mut server = Self::start(fleetfoot, all, "127.0.0.1:0", data);
        server._dir = Some(dir);
        server
    }

    fn start(fleetfoot: Fleetfoot, args: Vec<String>, listen: &str, data: PathBuf) -> Self {
        let mut all: Vec<&str> = args.iter().map(String::as_str).collect();
        all.extend(["--listen", listen]);
        let running = Running::start(fleetfoot.command(&all));
        let line = running.line();
        let ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        Self { running, fleetfoot, args, data, ready, _dir: None }
    }

    /// Its address.
    ///
    /// # Panics
    /// If it did not print one.
    #[must_use]
    pub fn url(&self) -> &str {
        self.ready["url"].as_str().expect("a url")
    }

    /// Its admin token.
    ///
    /// # Panics
    /// If it did not print one.
    #[must_use]
    pub fn admin_token(&self) -> &str {
        self.ready["admin_token"].as_str().expect("an admin token")
    }

    /// Its state directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// The command line against this server, as admin.
    #[must_use]
    pub fn cli(&self) -> Fleetfoot {
        self.fleetfoot.clone().env("FLEETFOOT_URL", self.url()).env("FLEETFOOT_TOKEN", self.admin_token())
    }

    /// A client of this server, as admin.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn client(&self) -> Client {
        let token = Secret::new(self.admin_token());
        Client::new(ClientConfig::new(self.url(), Some(token))).expect("a client")
    }

    /// A new registration token.
    ///
    /// # Panics
    /// If the server gives none.
    #[must_use]
    pub fn registration_token(&self) -> String {
        let made = self.cli().run(&["token", "create", "--registration", "--output", "json"]);
        made.json()["token"].as_str().expect("a token").to_owned()
    }

    /// SIGTERM, and its end.
    #[must_use]
    pub fn stop(&mut self) -> ExitStatus {
        self.running.signal(Signal::TERM);
        self.running.wait(Duration::from_secs(40))
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// SIGKILL, and a new process on the same state and port.
    ///
    /// # Panics
    /// If it does not come back.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.signal(Signal::KILL);
        self.running.wait(Duration::from_secs(10));
    }

    /// A new process on the same state and port.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        let listen = self.url().trim_start_matches("http://").to_owned();
        let again = Self::start(self.fleetfoot.clone(), self.args.clone(), &listen, self.data.clone());
        self.running = again.running;
        self.ready = again.ready;
    }
}

/// A runner process.
#[derive(Debug)]
pub struct TestRunner {
    running: Running,
    command: (Fleetfoot, Vec<String>),
    work_dir: PathBuf,
    _dir: TempDir,
}

impl TestRunner {
    /// Registers at the server and waits until it listens for jobs.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start(server: &TestServer, name: &str, slots: u32, labels: &[&str]) -> Self {
        let labels: Vec<&str> = labels.iter().flat_map(|l| ["--label", l]).collect();
        Self::start_at(server, server.url(), None, name, slots, &labels)
    }

    /// The same with further arguments, reaching the server under another address (a proxy), or with a work
    /// directory of the caller's.
    ///
    /// # Panics
    /// If it does not come up.
    #[must_use]
    pub fn start_at(
        server: &TestServer,
        url: &str,
        work_dir: Option<&Path>,
        name: &str,
        slots: u32,
        further: &[&str],
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let work_dir = work_dir.map_or_else(|| dir.path().join("work"), Path::to_owned);
        let fleetfoot = Fleetfoot { dir: dir.path().to_owned(), ..server.fleetfoot.clone() };
        let token = server.registration_token();
        let mut args = vec!["runner", "up", "--server", url, "--token", &token, "--name", name];
        let (slots, work) = (slots.to_string(), work_dir.display().to_string());
        args.extend(["--slots", &slots, "--work-dir", &work]);
        args.extend(further);
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let running = Self::launch(&fleetfoot, &args);
        Self { running, command: (fleetfoot, args), work_dir, _dir: dir }
    }

    fn launch(fleetfoot: &Fleetfoot, args: &[String]) -> Running {
        let all: Vec<&str> = args.iter().map(String::as_str).collect();
        let running = Running::start(fleetfoot.command(&all));
        while !running.line().contains("Listening for jobs") {}
        running
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// Its work directory.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// Any signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// SIGTERM, and its end.
    #[must_use]
    pub fn stop(&mut self) -> ExitStatus {
        self.running.signal(Signal::TERM);
        self.running.wait(Duration::from_secs(40))
    }

    /// Its end, without a signal.
    #[must_use]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.running.wait(limit)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.signal(Signal::KILL);
        self.running.wait(Duration::from_secs(10));
    }

    /// A new process with the same work directory.
    pub fn restart(&mut self) {
        self.running = Self::launch(&self.command.0, &self.command.1);
    }
}

/// Resident memory of a process in bytes; 0 if there is no such process.
#[must_use]
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
}
