//! A runner over HTTP that executes nothing: whatever it is given succeeds at
//! once. For measuring the control plane, and for tests of it.

use fleetfoot_client::{Client, ClientError, Secret};
use fleetfoot_model::api::RegisterRunner;
use fleetfoot_model::labels::Label;
use fleetfoot_model::sync::{AttemptReport, AttemptResult, Phase, RunnerInfo, SyncRequest};
use fleetfoot_model::{AttemptRef, Conclusion, RunnerId};
use std::collections::BTreeMap;

/// The runner.
pub struct FakeRunner {
    client: Client,
    id: RunnerId,
    instance: String,
    slots: u32,
    labels: Vec<Label>,
    sequence: u64,
    held: BTreeMap<u64, AttemptReport>,
    acknowledged: u64,
}

impl FakeRunner {
    /// Registers with the token of `admin`.
    ///
    /// # Errors
    /// If the server says no.
    pub async fn register(
        admin: &Client,
        name: &str,
        slots: u32,
        labels: &[&str],
    ) -> Result<Self, ClientError> {
        let labels: Vec<Label> = labels.iter().map(|l| Label::from(*l)).collect();
        let request = RegisterRunner {
            name: Some(name.to_owned()),
            slots: Some(slots),
            labels: labels.clone(),
            version: Some(fleetfoot_model::version::VERSION.to_owned()),
            ..RegisterRunner::default()
        };
        let registered = admin.register_runner(&request).await?;
        Ok(Self {
            client: admin.with_token(Some(&Secret::new(registered.token)))?,
            id: registered.id,
            instance: format!("fake-{name}"),
            slots,
            labels,
            sequence: 0,
            held: BTreeMap::new(),
            acknowledged: 0,
        })
    }

    /// Results that are durable at the server.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// One exchange: reports what it holds as finished, takes what it is given.
    /// Answers the attempts that were new.
    ///
    /// # Errors
    /// If the server says no or does not answer.
    pub async fn step(&mut self, wait_ms: u64) -> Result<Vec<AttemptRef>, ClientError> {
        self.sequence += 1;
        let request = SyncRequest {
            version: fleetfoot_model::version::VERSION.to_owned(),
            instance: self.instance.clone(),
            sequence: self.sequence,
            slots: self.slots,
            info: (self.sequence == 1)
                .then(|| RunnerInfo { labels: self.labels.clone(), ..RunnerInfo::default() }),
            attempts: self.held.values().cloned().collect(),
            wait_ms,
            ..SyncRequest::default()
        };
        let response = self.client.sync(self.id, &request).await?;
        for done in response.acknowledged.iter().chain(&response.fenced) {
            if self.held.remove(&done.job.0).is_some() {
                self.acknowledged += 1;
            }
        }
        let mut new = Vec::new();
        for assignment in response.assignments {
            let attempt = assignment.attempt;
            if self.held.insert(attempt.job.0, finished(attempt)).is_none() {
                new.push(attempt);
            }
        }
        Ok(new)
    }
}

fn finished(attempt: AttemptRef) -> AttemptReport {
    AttemptReport {
        attempt,
        phase: Phase::Finished,
        steps: None,
        result: Some(Box::new(AttemptResult {
            exit_code: Some(0),
            ..AttemptResult::new(Conclusion::Success)
        })),
    }
}
