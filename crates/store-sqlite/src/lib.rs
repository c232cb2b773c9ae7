//! The embedded [`Store`]: SQLite in one file, one thread that writes, a few
//! connections that read.
//!
//! Durability: write-ahead log with `synchronous=FULL`; an answer is given
//! after the commit that contains the operation was flushed. Only this crate
//! knows SQL. It decides nothing about runs or runners: it checks what an
//! operation says that it expects, and refuses otherwise.

mod backup;
mod encode;
mod error;
mod exec;
mod lock;
mod observe;
mod projects;
mod read;
mod schema;
mod services;
mod triggers;
mod users;
mod writer;

pub use backup::restore;

use async_trait::async_trait;
use fleetfoot_model::api::{AuditEntry, RunFilter, TokenKind};
use fleetfoot_model::ids::{JobId, RunId, RunnerId, TokenId};
use fleetfoot_model::state::Conclusion;
use fleetfoot_model::time::Timestamp;
use fleetfoot_store::{
    AttemptRow, HighWater, IdempotencyRow, JobPayload, JobRow, Op, OpError, OpOk, RunPayload, RunRow,
    RunnerRow, Statistics, Store, StoreError, StoreErrorKind, TokenRow,
};
use lock::DirLock;
use parking_lot::Mutex;
use read::Reader;
use rusqlite::Connection;
use schema::Durability;
use std::fs::OpenOptions;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot};
use writer::{Counters, Message, Request, Writer};

/// Name of the database within the data directory.
const FILE: &str = "fleetfoot.db";

/// Calls with at least this many operations are encoded outside the async workers.
const ENCODE_INLINE: usize = 32;

/// How to open a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Connections that read, at least 1.
    pub readers: usize,
    /// Calls of `apply` that may wait for the writer; one more is refused as overloaded.
    pub queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 4, queue: 4096 }
    }
}

/// The store in one directory.
#[derive(Debug)]
pub struct SqliteStore {
    dir: PathBuf,
    readers: Arc<Readers>,
    queue: Option<SyncSender<Message>>,
    writer: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
    /// Given back last, after the writer ended.
    _lock: DirLock,
}

/// Connections that read, handed out one by one.
#[derive(Debug)]
struct Readers {
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
}

impl SqliteStore {
    /// Opens the store in this data directory, which is created if it is missing, and brings its
    /// schema up to date.
    ///
    /// # Errors
    /// `Locked` if another process has the directory, `TooNew` if a newer version wrote it,
    /// `Corrupt` if the file is not a database of Fleetfoot.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        Self::open_with(dir, options, Durability::Full)
    }

    /// Opens a store whose commits are not flushed: fast, and of no use after a power cut. For
    /// runs on this machine that nobody looks at later.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_scratch(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, Options::default(), Durability::Scratch)
    }

    fn open_with(dir: &Path, options: Options, durability: Durability) -> Result<Self, StoreError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| error::io(format!("cannot create the data directory {}", dir.display()), e))?;
        let lock = DirLock::take(dir)?;
        let path = dir.join(FILE);
        // SQLite gives its other files the mode of this one: hashes and sealed secrets are in it.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| error::io(format!("cannot open {}", path.display()), e))?;
        let failed = |e| error::sqlite("cannot open the database", dir, e);
        let conn = schema::open_writer(&path, durability).map_err(failed)?;
        schema::migrate(&conn, dir)?;
        let idle: Vec<_> = (0..options.readers.max(1))
            .map(|_| schema::open_reader(&path).map(Reader::new))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        let permits = Arc::new(Semaphore::new(idle.len()));
        let counters = Arc::new(Counters::default());
        let writer = Writer::new(conn, dir.to_owned(), counters.clone()).map_err(failed)?;
        let (queue, requests) = sync_channel(options.queue.max(1));
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&requests))
            .map_err(|e| error::io("cannot start the writer thread", e))?;
        Ok(Self {
            dir: dir.to_owned(),
            readers: Arc::new(Readers { idle: Mutex::new(idle), permits }),
            queue: Some(queue),
            writer: Some(writer),
            counters,
            _lock: lock,
        })
    }

    /// Runs `work` on the writer's thread in a transaction of its own and answers after the commit.
    /// If it fails, nothing of it took effect. For rows that no other operation touches: what
    /// belongs to runs and jobs goes through [`Store::apply`].
    async fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Unit(Box::new(move |conn| {
            // A caller that went away does not want its answer.
            let _ = reply.send(writer::in_transaction(conn, work));
        })))?;
        let done = answer.await.map_err(|_| error::closed())?;
        done.map_err(|e| error::sqlite(what, &self.dir, e))
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().ok_or_else(error::closed)?;
        match queue.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(writer::overloaded()),
            Err(TrySendError::Disconnected(_)) => Err(error::closed()),
        }
    }

    /// Runs a query in a short read transaction, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        query: impl FnOnce(&mut Reader) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.readers.clone();
        let permit = readers.permits.clone().acquire_owned().await.map_err(|_| error::closed())?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut reader = Borrowed::take(&readers);
            reader.transaction(query)
        });
        match done.await {
            Ok(result) => result.map_err(|e| error::sqlite(what, &self.dir, e)),
            Err(e) => Err(StoreError::new(StoreErrorKind::Other, what).caused_by(e)),
        }
    }
}

/// A reader that goes back to the others when it is dropped, also by a panic.
struct Borrowed<'r> {
    reader: Option<Reader>,
    home: &'r Readers,
}

impl<'r> Borrowed<'r> {
    /// Takes an idle reader; the caller holds a permit, so there is one.
    fn take(home: &'r Readers) -> Self {
        Self { reader: home.idle.lock().pop(), home }
    }

    fn transaction<T>(
        &mut self,
        query: impl FnOnce(&mut Reader) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let reader = self.reader.as_mut().ok_or(rusqlite::Error::InvalidQuery)?;
        // Deferred: it only reads. Several statements then see one state.
        reader.conn.prepare_cached("BEGIN DEFERRED")?.execute([])?;
        let result = query(reader);
        reader.conn.prepare_cached("ROLLBACK")?.execute([])?;
        result
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            if !reader.conn.is_autocommit() {
                let _ = reader.conn.execute_batch("ROLLBACK");
            }
            self.home.idle.lock().push(reader);
        }
    }
}

impl Drop for SqliteStore {
    /// Waits until what was accepted is written, so that the lock is not given back too early.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn apply(&self, ops: Vec<Op>) -> Result<Vec<Result<OpOk, OpError>>, StoreError> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let writes = if ops.len() < ENCODE_INLINE {
            encode::encode(ops)?
        } else {
            tokio::task::spawn_blocking(move || encode::encode(ops)).await.map_err(|e| {
                StoreError::new(StoreErrorKind::Other, "cannot encode operations").caused_by(e)
            })??
        };
        let (reply, answer) = oneshot::channel();
        self.send(Message::Operations(Request { writes, reply }))?;
        answer.await.map_err(|_| error::closed())?.result
    }

    async fn high_water(&self) -> Result<HighWater, StoreError> {
        self.read("cannot read the counters", |r| writer::read_high_water(&r.conn)).await
    }

    async fn open_runs(
        &self,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<(RunRow, Vec<JobRow>)>, StoreError> {
        self.read("cannot read open runs", move |r| read::open_runs(r, after, limit)).await
    }

    async fn run(&self, id: RunId) -> Result<Option<RunRow>, StoreError> {
        self.read("cannot read a run", move |r| read::run(r, id)).await
    }

    async fn run_payload(&self, id: RunId) -> Result<Option<RunPayload>, StoreError> {
        self.read("cannot read the payload of a run", move |r| read::run_payload(r, id)).await
    }

    async fn list_runs(
        &self,
        filter: &RunFilter,
        cursor: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        let filter = filter.clone();
        self.read("cannot list runs", move |r| read::list_runs(r, &filter, cursor, limit)).await
    }

    async fn run_attempts(
        &self,
        (project, name, number): (&str, &str, u64),
        cursor: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        let (project, name) = (project.to_owned(), name.to_owned());
        self.read("cannot list the attempts of a run", move |r| {
            read::run_attempts(r, (&project, &name, number), cursor, limit)
        })
        .await
    }

    async fn last_run_number(&self, project: &str, name: &str) -> Result<u64, StoreError> {
        let (project, name) = (project.to_owned(), name.to_owned());
        self.read("cannot count runs", move |r| read::last_run_number(r, &project, &name)).await
    }

    async fn run_jobs(&self, id: RunId, since: Option<u64>) -> Result<Vec<JobRow>, StoreError> {
        self.read("cannot read the jobs of a run", move |r| read::run_jobs(r, id, since)).await
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRow>, StoreError> {
        self.read("cannot read a job", move |r| read::job(r, id)).await
    }

    async fn job_payload(&self, id: JobId) -> Result<Option<JobPayload>, StoreError> {
        self.read("cannot read the payload of a job", move |r| read::job_payload(r, id)).await
    }

    async fn attempts(&self, job: JobId) -> Result<Vec<AttemptRow>, StoreError> {
        self.read("cannot read attempts", move |r| read::attempts(r, job)).await
    }

    async fn latest_attempts(&self, run: RunId) -> Result<Vec<AttemptRow>, StoreError> {
        self.read("cannot read attempts", move |r| read::latest_attempts(r, run)).await
    }

    async fn open_attempts(&self) -> Result<Vec<AttemptRow>, StoreError> {
        self.read("cannot read open attempts", |r| read::open_attempts(r)).await
    }

    async fn runners(&self) -> Result<Vec<RunnerRow>, StoreError> {
        self.read("cannot read runners", |r| read::runners(r)).await
    }

    async fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>, StoreError> {
        let hash = *hash;
        self.read("cannot look up a token", move |r| read::token_by_hash(r, &hash)).await
    }

    async fn tokens(&self, kind: Option<TokenKind>) -> Result<Vec<TokenRow>, StoreError> {
        self.read("cannot read tokens", move |r| read::tokens(r, kind)).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        self.read("cannot read a token", move |r| read::token(r, id)).await
    }

    async fn idempotent(&self, key: &str) -> Result<Option<IdempotencyRow>, StoreError> {
        let key = key.to_owned();
        self.read("cannot look up an idempotency key", move |r| read::idempotent(r, &key)).await
    }

    async fn audit(&self, cursor: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.read("cannot read the audit log", move |r| read::audit(r, cursor, limit)).await
    }

    async fn runs_finished_before(&self, before: Timestamp, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.read("cannot read finished runs", move |r| read::runs_finished_before(r, before, limit)).await
    }

    async fn runner_totals(
        &self,
        runner: Option<RunnerId>,
    ) -> Result<Vec<(RunnerId, Conclusion, u64)>, StoreError> {
        self.read("cannot read totals of runners", move |r| read::runner_totals(&r.conn, runner)).await
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let (from, to, dir) = (self.dir.join(FILE), to.to_owned(), self.dir.clone());
        tokio::task::spawn_blocking(move || backup::write(&from, &to, &dir))
            .await
            .map_err(|e| StoreError::new(StoreErrorKind::Other, "the backup did not end").caused_by(e))?
    }

    fn statistics(&self) -> Statistics {
        self.counters.read()
    }
}
