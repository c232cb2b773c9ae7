//! A runner over HTTP that takes jobs and holds them, until the test says that
//! they are over. For tests of what a running job may do.

use fleetfoot_client::{Client, ClientError, Secret};
use fleetfoot_model::api::RegisterRunner;
use fleetfoot_model::labels::Label;
use fleetfoot_model::sync::{
    Assignment, AttemptReport, AttemptResult, Phase, RunnerInfo, SyncRequest, SyncResponse,
};
use fleetfoot_model::{AttemptRef, Conclusion, RunnerId};
use std::collections::BTreeMap;

/// The runner.
pub struct HoldingRunner {
    client: Client,
    id: RunnerId,
    labels: Vec<Label>,
    sequence: u64,
    held: BTreeMap<u64, AttemptReport>,
}

impl HoldingRunner {
    /// Registers with the token of `admin`, with room for many jobs.
    ///
    /// # Errors
    /// If the server says no.
    pub async fn register(admin: &Client, labels: &[&str]) -> Result<Self, ClientError> {
        let labels: Vec<Label> = labels.iter().map(|l| Label::from(*l)).collect();
        let request = RegisterRunner {
            name: Some("holding".to_owned()),
            slots: Some(64),
            labels: labels.clone(),
            version: Some(fleetfoot_model::version::VERSION.to_owned()),
            ..RegisterRunner::default()
        };
        let registered = admin.register_runner(&request).await?;
        let client = admin.with_token(Some(&Secret::new(registered.token)))?;
        Ok(Self { client, id: registered.id, labels, sequence: 0, held: BTreeMap::new() })
    }

    /// One exchange.
    async fn sync(&mut self, wait_ms: u64) -> Result<SyncResponse, ClientError> {
        self.sequence += 1;
        let request = SyncRequest {
            version: fleetfoot_model::version::VERSION.to_owned(),
            instance: "holding".to_owned(),
            sequence: self.sequence,
            slots: 64,
            info: (self.sequence == 1)
                .then(|| RunnerInfo { labels: self.labels.clone(), ..RunnerInfo::default() }),
            attempts: self.held.values().cloned().collect(),
            wait_ms,
            ..SyncRequest::default()
        };
        self.client.sync(self.id, &request).await
    }

    /// Waits for the next job and holds it. Also says that the others are still held.
    ///
    /// # Errors
    /// If the server says no or does not answer.
    pub async fn take(&mut self) -> Result<Assignment, ClientError> {
        loop {
            let response = self.sync(2000).await?;
            for assignment in response.assignments {
                let attempt = assignment.attempt;
                let report = AttemptReport { attempt, phase: Phase::Running, steps: None, result: None };
                if self.held.insert(attempt.job.0, report).is_none() {
                    // It counts as started when the server has heard of it.
                    self.sync(1).await?;
                    return Ok(assignment);
                }
            }
        }
    }

    /// Ends an attempt with success, and waits until that is durable.
    ///
    /// # Errors
    /// If the server says no or does not answer.
    pub async fn finish(&mut self, attempt: AttemptRef) -> Result<(), ClientError> {
        let result = AttemptResult { exit_code: Some(0), ..AttemptResult::new(Conclusion::Success) };
        if let Some(report) = self.held.get_mut(&attempt.job.0) {
            report.phase = Phase::Finished;
            report.result = Some(Box::new(result));
        }
        loop {
            let response = self.sync(2000).await?;
            if response.acknowledged.iter().chain(&response.fenced).any(|a| *a == attempt) {
                self.held.remove(&attempt.job.0);
                return Ok(());
            }
        }
    }
}
