//! What every handler shares: the control plane, the limits, the counters and
//! the tasks in flight. It decides nothing about runs or runners.

use crate::cookies::CookieNames;
use crate::error::{Answer, Failure};
use crate::metrics::HttpMetrics;
use crate::options::ServerOptions;
use fleetfoot_control::Control;
use fleetfoot_model::{Code, Problem};
use fleetfoot_oidc::Relying;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Bodies up to this size do not count against the budget: they are cheap,
/// and ten thousand syncs must not meet at one counter.
const FREE_BODY: usize = 64 << 10;

/// Shared state; cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) control: Control,
    pub(crate) options: ServerOptions,
    /// Whether `/metrics` needs no token.
    pub(crate) open_metrics: bool,
    /// Cancelled when streams and waits must end.
    pub(crate) closing: CancellationToken,
    /// Changes in flight: they outlive the connection that asked for them.
    pub(crate) tasks: TaskTracker,
    pub(crate) metrics: Arc<HttpMetrics>,
    /// What our cookies are called.
    pub(crate) cookies: CookieNames,
    /// OpenID providers.
    pub(crate) relying: Relying,
    requests: Semaphore,
    streams: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

impl std::ops::Deref for App {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    pub(crate) fn new(
        control: Control,
        options: ServerOptions,
        loopback: bool,
        closing: CancellationToken,
        metrics: Arc<HttpMetrics>,
        relying: Relying,
    ) -> Self {
        let cookies = CookieNames::new(&control.installation());
        Self(Arc::new(Shared {
            control,
            cookies,
            open_metrics: options.open_metrics.unwrap_or(loopback),
            closing,
            tasks: TaskTracker::new(),
            metrics,
            relying,
            requests: Semaphore::new(options.max_requests),
            streams: Arc::new(Semaphore::new(options.max_streams)),
            bodies: Arc::new(Semaphore::new(kib(options.max_body_bytes_in_flight) as usize)),
            options,
        }))
    }

    /// Runs a change to its end, even when the client goes away or the
    /// request's time is over.
    pub(crate) async fn change<T, F>(&self, work: F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        match self.tasks.spawn(work).await {
            Ok(done) => Ok(done?),
            Err(e) => Err(Failure::new(Code::Internal, format!("a change ended without an answer: {e}"))),
        }
    }

    /// A place among the requests at the same time.
    pub(crate) fn admit(&self) -> Answer<tokio::sync::SemaphorePermit<'_>> {
        self.requests.try_acquire().map_err(|_| {
            self.metrics.shed.inc();
            Failure::new(Code::Overloaded, "too many requests at the same time")
        })
    }

    /// A place among the streams; it is free again when the permit is dropped.
    pub(crate) fn admit_stream(&self) -> Answer<OwnedSemaphorePermit> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            self.metrics.shed.inc();
            Failure::new(Code::Overloaded, format!("{} streams are open already", self.options.max_streams))
        })
    }

    /// The same for one that is passed on while it arrives: it waits for its turn, so that the client
    /// feels the pressure instead of an error.
    pub(crate) async fn await_body(&self, bytes: usize) -> Answer<Option<OwnedSemaphorePermit>> {
        if bytes <= FREE_BODY {
            return Ok(None);
        }
        let room = kib(bytes.min(self.options.max_body_bytes_in_flight));
        let waiting = Arc::clone(&self.bodies).acquire_many_owned(room);
        match tokio::time::timeout(self.options.request_timeout, waiting).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => {
                self.metrics.shed.inc();
                Err(Failure::new(Code::Overloaded, "too many large requests at the same time"))
            }
        }
    }

    /// Room for a request body of up to `bytes`.
    pub(crate) fn admit_body(&self, bytes: usize) -> Answer<Option<OwnedSemaphorePermit>> {
        if bytes <= FREE_BODY {
            return Ok(None);
        }
        match Arc::clone(&self.bodies).try_acquire_many_owned(kib(bytes)) {
            Ok(permit) => Ok(Some(permit)),
            Err(_) => {
                self.metrics.shed.inc();
                Err(Failure::new(Code::Overloaded, "too many large requests at the same time"))
            }
        }
    }
}

/// Kibibytes, rounded up.
fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}
