//! A control plane and an executor made by hand: the daemon is tested between
//! them, with faults on either side.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(dead_code, unreachable_pub, reason = "every test binary uses its part")]

use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId, RunId};
use fleetfoot_model::logs::{Stream, frames};
use fleetfoot_model::spec::JobSpec;
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_model::sync::{Assignment, AttemptResult, Phase, RunnerInfo, SyncRequest, SyncResponse};
use fleetfoot_model::time::Timestamp;
use fleetfoot_runner::daemon::{self, DaemonError, Ending, Setup, Stage};
use fleetfoot_runner::executor::{AttemptSink, Executor};
use fleetfoot_runner::journal::Journal;
use fleetfoot_runner::notice::Notice;
use fleetfoot_runner::transport::{ControlPlane, TransportError};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Waits for a condition, at most 20 seconds.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "timed out waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Faults of the way to the server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Nothing arrives.
    pub down: bool,
    /// Every n-th request is carried out, and its answer lost.
    pub lose_every: Option<u64>,
    /// Every n-th sync answers an old answer again, after the new one was made.
    pub repeat_old: bool,
}

#[derive(Default)]
pub struct World {
    pub queue: VecDeque<(AttemptRef, String)>,
    /// Leased and not over, with whether the runner has listed it, and whether a cancel is wanted.
    pub leased: HashMap<AttemptRef, Lease>,
    pub logs: HashMap<AttemptRef, Vec<u8>>,
    /// Results as first reported; a second report is counted.
    pub results: HashMap<AttemptRef, AttemptResult>,
    pub repeated_results: u64,
    /// Log bytes at the time of the result.
    pub log_at_result: HashMap<AttemptRef, usize>,
    pub faults: Faults,
    pub requests: u64,
    pub syncs: u64,
    pub appends: u64,
    pub most_held: usize,
    pub last: Option<SyncRequest>,
    pub info: Option<RunnerInfo>,
    pub old: Option<SyncResponse>,
    pub drained: bool,
    pub shut_down: bool,
    pub version: Option<String>,
    pub unauthorized: bool,
    newest: u64,
}

#[derive(Clone, Default)]
pub struct Lease {
    name: String,
    listed: bool,
    pub cancel: bool,
}

#[derive(Default)]
pub struct Plane {
    pub world: Mutex<World>,
    changed: Notify,
}

impl Plane {
    pub fn submit(&self, job: u64, name: &str) -> AttemptRef {
        let attempt = attempt(job);
        self.world.lock().queue.push_back((attempt, name.to_owned()));
        self.changed.notify_waiters();
        attempt
    }

    pub fn change(&self, f: impl FnOnce(&mut World)) {
        f(&mut self.world.lock());
        self.changed.notify_waiters();
    }

    pub fn has_result(&self, attempt: AttemptRef) -> bool {
        self.world.lock().results.contains_key(&attempt)
    }

    /// Takes in the request; answers what there is to say, and whether that is anything.
    fn exchange(&self, request: &SyncRequest) -> (SyncResponse, bool) {
        let mut world = self.world.lock();
        let world = &mut *world;
        let mut response = SyncResponse {
            version: world.version.clone().unwrap_or_else(|| "0.1.0".into()),
            lease_ms: 15_000,
            shut_down: world.shut_down,
            drain: world.drained,
            ..SyncResponse::default()
        };
        for report in &request.attempts {
            match world.leased.get_mut(&report.attempt) {
                Some(lease) => {
                    lease.listed = true;
                    if lease.cancel && !matches!(report.phase, Phase::Cancelling | Phase::Finished) {
                        response.cancel.push(report.attempt);
                    }
                    if let Some(result) = &report.result {
                        world.leased.remove(&report.attempt);
                        let length = world.logs.get(&report.attempt).map_or(0, Vec::len);
                        world.log_at_result.insert(report.attempt, length);
                        world.results.insert(report.attempt, (**result).clone());
                        response.acknowledged.push(report.attempt);
                    }
                }
                None if report.phase == Phase::Finished && world.results.contains_key(&report.attempt) => {
                    world.repeated_results += 1;
                    response.acknowledged.push(report.attempt);
                }
                None => response.fenced.push(report.attempt),
            }
        }
        let running = request.attempts.iter().filter(|r| r.phase != Phase::Finished).count();
        world.most_held = world.most_held.max(running);
        while world.leased.len() < request.slots as usize && !request.draining && request.error.is_none() {
            let Some((attempt, name)) = world.queue.pop_front() else { break };
            world.leased.insert(attempt, Lease { name, ..Lease::default() });
        }
        for (attempt, lease) in &world.leased {
            if !lease.listed {
                response.assignments.push(assignment(*attempt, &lease.name));
            }
        }
        let anything = !(response.assignments.is_empty()
            && response.acknowledged.is_empty()
            && response.fenced.is_empty()
            && response.cancel.is_empty())
            || response.shut_down;
        (response, anything)
    }
}

pub fn attempt(job: u64) -> AttemptRef {
    AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(job * 10) }
}

pub fn assignment(attempt: AttemptRef, name: &str) -> Assignment {
    Assignment {
        attempt,
        run: RunId(1),
        project: "default".into(),
        spec: Arc::new(JobSpec { name: name.into(), ..JobSpec::default() }),
        contexts: Default::default(),
        env: Default::default(),
        secrets: Default::default(),
        job_token: "ffj_x".into(),
        repository: None,
        server_url: "http://fake".into(),
        services: None,
    }
}

fn lost() -> TransportError {
    TransportError::unavailable("the answer was lost")
}

#[async_trait]
impl ControlPlane for Plane {
    async fn sync(&self, request: SyncRequest) -> Result<SyncResponse, TransportError> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(request.wait_ms);
        let lose = {
            let mut world = self.world.lock();
            if world.faults.down {
                return Err(TransportError::unavailable("down"));
            }
            if world.unauthorized {
                return Err(TransportError::Unauthorized("unknown token".into()));
            }
            world.requests += 1;
            world.syncs += 1;
            world.newest = world.newest.max(request.sequence);
            world.last = Some(request.clone());
            world.info = request.info.clone().or(world.info.take());
            world.faults.lose_every.is_some_and(|n| world.requests.is_multiple_of(n))
        };
        self.changed.notify_waiters();
        loop {
            let changed = self.changed.notified();
            if self.world.lock().newest > request.sequence {
                return Ok(SyncResponse {
                    version: "0.1.0".into(),
                    lease_ms: 15_000,
                    ..SyncResponse::default()
                });
            }
            let (response, anything) = self.exchange(&request);
            let over = tokio::time::Instant::now() >= deadline;
            if anything || over {
                if lose {
                    return Err(lost());
                }
                let mut world = self.world.lock();
                if world.faults.repeat_old
                    && let Some(old) = world.old.replace(response.clone())
                {
                    let mut both = response;
                    both.assignments.extend(old.assignments);
                    both.acknowledged.extend(old.acknowledged);
                    both.cancel.extend(old.cancel);
                    return Ok(both);
                }
                return Ok(response);
            }
            let _ = tokio::time::timeout_at(deadline, changed).await;
            if self.world.lock().faults.down {
                return Err(TransportError::unavailable("down"));
            }
        }
    }

    async fn append_log(&self, attempt: AttemptRef, offset: u64, body: Bytes) -> Result<u64, TransportError> {
        tokio::task::yield_now().await;
        let mut world = self.world.lock();
        if world.faults.down {
            return Err(TransportError::unavailable("down"));
        }
        world.requests += 1;
        world.appends += 1;
        if !world.leased.contains_key(&attempt) {
            return Err(TransportError::Stale);
        }
        let lose = world.faults.lose_every.is_some_and(|n| world.requests.is_multiple_of(n));
        let log = world.logs.entry(attempt).or_default();
        let offset = usize::try_from(offset).unwrap();
        if offset > log.len() {
            return Err(TransportError::Gap { expected: log.len() as u64 });
        }
        let bytes: Vec<u8> = frames(&body).flat_map(|f| f.expect("whole frames").bytes.to_vec()).collect();
        let known = (log.len() - offset).min(bytes.len());
        assert_eq!(&log[offset..offset + known], &bytes[..known], "the same offset, the same bytes");
        log.extend_from_slice(&bytes[known..]);
        let end = log.len() as u64;
        if lose { Err(lost()) } else { Ok(end) }
    }
}

/// Executes jobs by their names: `noop`, `log N`, `log N then wait`, `wait`, `panic`.
#[derive(Default)]
pub struct Hands {
    pub executions: Mutex<HashMap<AttemptRef, u32>>,
    pub running: Mutex<usize>,
    pub most: Mutex<usize>,
    pub killed: Mutex<Vec<AttemptRef>>,
    pub swept: Mutex<Vec<AttemptRef>>,
    pub go: CancellationToken,
}

/// The bytes that job number `job` prints.
pub fn text(job: JobId, length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i / 80 + i + usize::try_from(job.0).unwrap()) % 251).unwrap()).collect()
}

pub fn result(conclusion: Conclusion, reason: Option<Reason>) -> AttemptResult {
    let mut result: AttemptResult = serde_json::from_str(r#"{"conclusion":"success"}"#).unwrap();
    (result.conclusion, result.reason) = (conclusion, reason);
    result
}

#[async_trait]
impl Executor for Hands {
    fn boundary(&self) -> Boundary {
        Boundary::Process
    }

    async fn run(
        &self,
        assignment: Arc<Assignment>,
        sink: Arc<dyn AttemptSink>,
        cancel: CancellationToken,
        kill: CancellationToken,
    ) -> AttemptResult {
        let attempt = assignment.attempt;
        *self.executions.lock().entry(attempt).or_default() += 1;
        {
            let mut running = self.running.lock();
            *running += 1;
            let mut most = self.most.lock();
            *most = (*most).max(*running);
        }
        let words: Vec<&str> = assignment.spec.name.split(' ').collect();
        let mut end = result(Conclusion::Success, None);
        if let ["log", length, ..] = words[..] {
            let bytes = Bytes::from(text(attempt.job, length.parse().unwrap()));
            for start in (0..bytes.len()).step_by(64 << 10) {
                let chunk = bytes.slice(start..bytes.len().min(start + (64 << 10)));
                sink.log(0, Stream::Stdout, Timestamp(1), chunk).await;
            }
        }
        if let ["repeat", length] = words[..] {
            let line = Bytes::from("0123456789".repeat(6554));
            let mut left: usize = length.parse().unwrap();
            while left > 0 {
                let chunk = line.slice(..line.len().min(left).min(64 << 10));
                left -= chunk.len();
                sink.log(0, Stream::Stdout, Timestamp(1), chunk).await;
            }
        }
        match words[..] {
            ["wait"] | ["log", _, "then", "wait"] => tokio::select! {
                biased;
                () = kill.cancelled() => {
                    self.killed.lock().push(attempt);
                    end = result(Conclusion::Cancelled, Some(Reason::Cancelled));
                }
                () = cancel.cancelled() => end = result(Conclusion::Cancelled, Some(Reason::Cancelled)),
                () = self.go.cancelled() => {}
            },
            ["log", length, "then", "log"] => {
                self.go.cancelled().await;
                let bytes = Bytes::from(text(attempt.job, length.parse().unwrap()));
                sink.log(0, Stream::Stdout, Timestamp(2), bytes).await;
            }
            ["panic"] => {
                *self.running.lock() -= 1;
                panic!("on purpose");
            }
            _ => {}
        }
        *self.running.lock() -= 1;
        end
    }

    async fn sweep(&self, attempt: AttemptRef) -> Result<(), String> {
        self.swept.lock().push(attempt);
        Ok(())
    }
}

pub struct Rig {
    pub plane: Arc<Plane>,
    pub hands: Arc<Hands>,
    pub stage: watch::Sender<Stage>,
    pub notices: Arc<Mutex<Vec<Notice>>>,
    pub daemon: JoinHandle<Result<Ending, DaemonError>>,
}

pub struct Options {
    pub slots: usize,
    pub one_off: bool,
}

pub fn start(dir: &Path, options: Options, plane: Arc<Plane>, hands: Arc<Hands>) -> Rig {
    start_with(dir, options, plane.clone(), plane, hands)
}

pub fn start_with(
    dir: &Path,
    options: Options,
    plane: Arc<Plane>,
    transport: Arc<dyn ControlPlane>,
    hands: Arc<Hands>,
) -> Rig {
    let (stage, shutdown) = watch::channel(Stage::Run);
    let (_info, info) = watch::channel(RunnerInfo::default());
    let notices = Arc::new(Mutex::new(Vec::new()));
    let sink = notices.clone();
    let setup = Setup {
        url: "http://fake".into(),
        slots: options.slots,
        one_off: options.one_off,
        info,
        sample: Box::new(Default::default),
        journal: Journal::open(&dir.join("journal"), "fake/1".into()).unwrap(),
        transport,
        executor: hands.clone(),
        notices: Arc::new(move |notice| sink.lock().push(notice.clone())),
    };
    let daemon = tokio::spawn(daemon::run(setup, shutdown));
    Rig { plane, hands, stage, notices, daemon }
}

impl Rig {
    pub async fn stop(self) -> Ending {
        self.stage.send(Stage::Drain).unwrap();
        self.end().await
    }

    pub async fn end(self) -> Ending {
        tokio::time::timeout(Duration::from_secs(20), self.daemon).await.unwrap().unwrap().unwrap()
    }
}
