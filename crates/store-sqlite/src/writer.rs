//! The one thread that writes. It takes whatever waits, executes it in one
//! transaction, commits, and only then answers everybody (group commit): the
//! batch grows by itself while a commit takes long, and no timer is involved.
//! It must never answer before the commit, and never die of one operation.
//!
//! A batch runs without savepoints first, because operations check before they
//! write. If one nevertheless fails half-way, the transaction is rolled back
//! and the batch repeated with a savepoint around each operation.

use crate::encode::Write;
use crate::error;
use crate::exec::{Fail, Failures, Known, Tx, int};
use fleetfoot_store::{HighWater, OpError, OpOk, Statistics, StoreError, StoreErrorKind};
use rusqlite::{Connection, ErrorCode, params};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Requests in one transaction at most.
const BATCH_REQUESTS: usize = 512;
/// No further request joins a transaction that has this many operations: bounds the wait of
/// those that came later.
const BATCH_OPERATIONS: usize = 4096;
/// After this long without a request the write-ahead log is checkpointed.
const IDLE: Duration = Duration::from_millis(250);
/// Frames (of 4 KiB) in the write-ahead log from which on it is checkpointed without waiting for
/// an idle moment.
const LOG_FRAMES: i64 = 16 * 1024;
/// Operations between two looks at the length of the write-ahead log.
const OPERATIONS_PER_LOOK: u64 = 4096;

/// One result per operation.
pub(crate) type Results = Vec<Result<OpOk, OpError>>;

/// What the writer answers. The operations come back, so that the caller frees them.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) result: Result<Results, StoreError>,
    _writes: Vec<Write>,
}

/// Operations of one caller.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) writes: Vec<Write>,
    pub(crate) reply: oneshot::Sender<Answer>,
}

/// What comes to the writer.
pub(crate) enum Message {
    /// Operations, committed together with those of others.
    Operations(Request),
    /// Work in a transaction of its own; it answers its caller itself, after the commit.
    Unit(Box<dyn FnOnce(&Connection) + Send>),
}

/// Runs `work` in a transaction of its own; after an error nothing of it took effect.
pub(crate) fn in_transaction<T>(
    conn: &Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = catch_unwind(AssertUnwindSafe(|| work(conn)))
        .unwrap_or(Err(rusqlite::Error::UnwindingPanic))
        .and_then(|value| conn.prepare_cached("COMMIT")?.execute([]).map(|_| value));
    if done.is_err() && !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK")?;
    }
    done
}

/// Counters for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    operations: AtomicU64,
    last_batch: AtomicU64,
    commit_micros: AtomicU64,
}

impl Counters {
    /// A snapshot; the numbers need not be of the same instant.
    pub(crate) fn read(&self) -> Statistics {
        Statistics {
            commits: self.commits.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            last_batch: self.last_batch.load(Ordering::Relaxed),
            commit_micros: self.commit_micros.load(Ordering::Relaxed),
        }
    }
}

/// State of the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    conn: Connection,
    dir: PathBuf,
    known: Known,
    saved: HighWater,
    counters: Arc<Counters>,
    since_look: u64,
    /// Something was committed since the last complete checkpoint.
    log_grew: bool,
}

/// Why a batch could not be committed as it ran.
enum Halt {
    /// An operation failed between two of its statements, or panicked.
    Half,
    /// The transaction is lost.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Halt {
    fn from(e: rusqlite::Error) -> Self {
        Self::Sql(e)
    }
}

impl Writer {
    /// Takes over the connection.
    pub(crate) fn new(conn: Connection, dir: PathBuf, counters: Arc<Counters>) -> rusqlite::Result<Self> {
        let saved = read_high_water(&conn)?;
        let known = Known::new(saved);
        Ok(Self { conn, dir, known, saved, counters, since_look: 0, log_grew: true })
    }

    /// Serves requests until every sender is gone.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        let mut ahead = None;
        while let Some(first) = ahead.take().or_else(|| self.next(messages)) {
            match first {
                Message::Operations(request) => ahead = self.gather(request, messages),
                Message::Unit(work) => {
                    work(&self.conn);
                    self.log_grew = true;
                }
            }
        }
        self.checkpoint("TRUNCATE");
        // Only statistics for the query planner: not worth a word if it fails.
        let _ = self.conn.execute_batch("PRAGMA optimize");
    }

    /// Serves a request with those that wait behind it; gives back what it took but cannot join them.
    fn gather(&mut self, first: Request, messages: &Receiver<Message>) -> Option<Message> {
        let mut operations = first.writes.len();
        let mut batch = vec![first];
        let mut ahead = None;
        while batch.len() < BATCH_REQUESTS && operations < BATCH_OPERATIONS {
            match messages.try_recv() {
                Ok(Message::Operations(request)) => {
                    operations += request.writes.len();
                    batch.push(request);
                }
                Ok(unit @ Message::Unit(_)) => {
                    ahead = Some(unit);
                    break;
                }
                Err(_) => break,
            }
        }
        self.serve(batch, operations as u64);
        ahead
    }

    /// Waits for a request, and uses the wait.
    fn next(&mut self, requests: &Receiver<Message>) -> Option<Message> {
        if self.log_grew {
            match requests.recv_timeout(IDLE) {
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    self.checkpoint("PASSIVE");
                    self.log_grew = false;
                }
            }
        }
        requests.recv().ok()
    }

    fn serve(&mut self, batch: Vec<Request>, operations: u64) {
        match self.commit(&batch) {
            Ok(results) => {
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                self.counters.operations.fetch_add(operations, Ordering::Relaxed);
                self.counters.last_batch.store(operations, Ordering::Relaxed);
                self.log_grew = true;
                self.since_look += operations.max(1);
                for (request, result) in batch.into_iter().zip(results) {
                    answer(request, Ok(result));
                }
            }
            Err(e) => {
                let failure = error::sqlite("nothing was written", &self.dir, e);
                tracing::error!(error = %failure, cause = ?failure.source, "a transaction failed");
                for request in batch {
                    answer(request, Err(again(&failure)));
                }
            }
        }
        self.bound_log();
    }

    /// Executes and commits a batch; after an error nothing of it took effect.
    fn commit(&mut self, batch: &[Request]) -> Result<Vec<Results>, rusqlite::Error> {
        let fast = catch_unwind(AssertUnwindSafe(|| self.attempt(batch, false)));
        match fast {
            Ok(Ok(results)) => return Ok(results),
            Ok(Err(Halt::Sql(e))) => {
                self.roll_back();
                return Err(e);
            }
            Ok(Err(Halt::Half)) | Err(_) => self.roll_back(),
        }
        match self.attempt(batch, true) {
            Ok(results) => Ok(results),
            Err(halt) => {
                self.roll_back();
                Err(match halt {
                    Halt::Sql(e) => e,
                    Halt::Half => rusqlite::Error::UnwindingPanic,
                })
            }
        }
    }

    fn attempt(&mut self, batch: &[Request], careful: bool) -> Result<Vec<Results>, Halt> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut all = Vec::with_capacity(batch.len());
        for request in batch {
            let mut failures = Failures::default();
            let mut results = Vec::with_capacity(request.writes.len());
            for write in &request.writes {
                let result = match failures.refuse(write) {
                    Some(refusal) => Err(refusal),
                    None if careful => self.execute_carefully(write)?,
                    None => self.execute(write)?,
                };
                if result.is_err() {
                    failures.note(write);
                }
                results.push(result);
            }
            all.push(results);
        }
        self.save_high_water()?;
        let begun = Instant::now();
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.commit_micros.fetch_add(micros, Ordering::Relaxed);
        self.saved = self.known.high;
        Ok(all)
    }

    fn execute(&mut self, write: &Write) -> Result<Result<OpOk, OpError>, Halt> {
        match (Tx { conn: &self.conn, known: &mut self.known }).execute(write) {
            Ok(ok) => Ok(Ok(ok)),
            Err(Fail::Op(e)) => Ok(Err(e)),
            Err(Fail::Sql(e)) if belongs_to_operation(&e) => Err(Halt::Half),
            Err(Fail::Sql(e)) => Err(Halt::Sql(e)),
        }
    }

    fn execute_carefully(&mut self, write: &Write) -> Result<Result<OpOk, OpError>, Halt> {
        let high = self.known.high;
        self.conn.prepare_cached("SAVEPOINT operation")?.execute([])?;
        let (conn, known) = (&self.conn, &mut self.known);
        let outcome = catch_unwind(AssertUnwindSafe(|| Tx { conn, known }.execute(write)));
        let failure = match outcome {
            Ok(Ok(ok)) => {
                self.conn.prepare_cached("RELEASE operation")?.execute([])?;
                return Ok(Ok(ok));
            }
            Ok(Err(Fail::Op(e))) => e,
            Ok(Err(Fail::Sql(e))) if belongs_to_operation(&e) => as_op_error(&e),
            Ok(Err(Fail::Sql(e))) => return Err(Halt::Sql(e)),
            Err(_) => {
                tracing::error!("an operation panicked; it was undone");
                OpError::Failed("internal error in the store".to_owned())
            }
        };
        self.conn.prepare_cached("ROLLBACK TO operation")?.execute([])?;
        self.conn.prepare_cached("RELEASE operation")?.execute([])?;
        self.known.forget();
        self.known.high = high;
        Ok(Err(failure))
    }

    fn save_high_water(&self) -> rusqlite::Result<()> {
        let h = &self.known.high;
        if *h == self.saved {
            return Ok(());
        }
        self.conn
            .prepare_cached(
                "UPDATE counters SET run = ?1, job = ?2, runner = ?3, token = ?4, epoch = ?5, change = ?6",
            )?
            .execute(params![
                int(h.run),
                int(h.job),
                int(h.runner),
                int(h.token),
                int(h.epoch),
                int(h.change)
            ])?;
        Ok(())
    }

    /// Back to what is committed.
    fn roll_back(&mut self) {
        // SQLite rolls back by itself after some errors.
        if !self.conn.is_autocommit()
            && let Err(e) = self.conn.execute_batch("ROLLBACK")
        {
            tracing::error!(error = %e, "cannot roll back");
        }
        self.known.forget();
        self.known.high = self.saved;
    }

    /// Keeps the write-ahead log from growing while there is never an idle moment.
    fn bound_log(&mut self) {
        if self.since_look < OPERATIONS_PER_LOOK {
            return;
        }
        self.since_look = 0;
        let frames = self.conn.query_row("PRAGMA wal_checkpoint(NOOP)", [], |r| r.get::<_, i64>(1));
        if frames.is_ok_and(|n| n > LOG_FRAMES) {
            self.checkpoint("PASSIVE");
        }
    }

    fn checkpoint(&self, mode: &str) {
        // A failure (a full disk) is no loss: the log stays, and the next checkpoint tries again.
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        if let Err(e) = self.conn.query_row(&sql, [], |_| Ok(())) {
            tracing::warn!(error = %e, "cannot checkpoint the write-ahead log");
        }
    }
}

/// Whether this failure is the fault of one operation, not of the database.
fn belongs_to_operation(e: &rusqlite::Error) -> bool {
    match e {
        rusqlite::Error::SqliteFailure(e, _) => {
            matches!(e.code, ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
        }
        rusqlite::Error::ToSqlConversionFailure(_) => true,
        _ => false,
    }
}

fn as_op_error(e: &rusqlite::Error) -> OpError {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE};
    match e {
        rusqlite::Error::SqliteFailure(f, _)
            if [SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE]
                .contains(&f.extended_code) =>
        {
            OpError::Conflict(e.to_string())
        }
        _ => OpError::Failed(format!("impossible row: {e}")),
    }
}

fn answer(request: Request, result: Result<Results, StoreError>) {
    // A caller that went away does not want its answer.
    let _ = request.reply.send(Answer { result, _writes: request.writes });
}

/// The same failure for each caller of a batch.
fn again(e: &StoreError) -> StoreError {
    let copy = StoreError::new(e.kind, e.message.clone());
    match &e.source {
        Some(source) => copy.caused_by(source.to_string()),
        None => copy,
    }
}

/// The counters as committed.
pub(crate) fn read_high_water(conn: &Connection) -> rusqlite::Result<HighWater> {
    conn.prepare_cached("SELECT run, job, runner, token, epoch, change FROM counters")?.query_row([], |r| {
        let n = |i| r.get::<_, i64>(i).map(i64::cast_unsigned);
        Ok(HighWater { run: n(0)?, job: n(1)?, runner: n(2)?, token: n(3)?, epoch: n(4)?, change: n(5)? })
    })
}

/// What a caller gets while the queue is full.
pub(crate) fn overloaded() -> StoreError {
    StoreError::new(StoreErrorKind::Overloaded, "too many writes are waiting; try again in a moment")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Durability, migrate, open_writer};
    use fleetfoot_store::conformance::fixtures::{create, new_run};
    use std::path::Path;

    fn writer(dir: &Path) -> Writer {
        let conn = open_writer(&dir.join("fleetfoot.db"), Durability::Full).unwrap();
        migrate(&conn, dir).unwrap();
        Writer::new(conn, dir.to_owned(), Arc::default()).unwrap()
    }

    fn request(writes: Vec<Write>) -> (Request, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (Request { writes, reply }, answer)
    }

    fn run(id: u64) -> Write {
        crate::encode::encode(vec![create(id, &[id])]).unwrap().remove(0)
    }

    fn count(writer: &Writer, table: &str) -> i64 {
        writer.conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap()
    }

    #[test]
    fn a_panic_undoes_its_operation_alone() {
        let temp = tempfile::tempdir().unwrap();
        let mut writer = writer(temp.path());
        let (first, first_answer) = request(vec![run(1), Write::Panic, run(2)]);
        let (second, second_answer) = request(vec![run(3)]);
        writer.serve(vec![first, second], 4);
        let results = first_answer.blocking_recv().unwrap().result.unwrap();
        assert_eq!(results[0], Ok(OpOk::Done));
        assert_eq!(results[1], Err(OpError::Failed("internal error in the store".to_owned())));
        assert_eq!(results[2], Ok(OpOk::Done));
        assert_eq!(second_answer.blocking_recv().unwrap().result.unwrap(), [Ok(OpOk::Done)]);
        assert_eq!((count(&writer, "runs"), count(&writer, "audit")), (3, 0));
        assert_eq!(read_high_water(&writer.conn).unwrap().run, 3);
        let (third, answer) = request(vec![run(4)]);
        writer.serve(vec![third], 1);
        assert_eq!(answer.blocking_recv().unwrap().result.unwrap(), [Ok(OpOk::Done)]);
    }

    #[test]
    fn a_caller_that_left_does_not_matter() {
        let temp = tempfile::tempdir().unwrap();
        let mut writer = writer(temp.path());
        let (gone, answer) = request(vec![run(1)]);
        drop(answer);
        writer.serve(vec![gone], 1);
        assert_eq!(count(&writer, "runs"), 1);
    }

    #[test]
    fn equal_contents_are_stored_once_and_collected() {
        let temp = tempfile::tempdir().unwrap();
        let mut writer = writer(temp.path());
        let other = {
            let mut new = new_run(3, &[3]);
            new.payload.document = "on: pull_request".into();
            crate::encode::encode(vec![fleetfoot_store::Op::CreateRun(Box::new(new))]).unwrap().remove(0)
        };
        let (all, answer) = request(vec![run(1), run(2), other]);
        writer.serve(vec![all], 3);
        assert!(answer.blocking_recv().unwrap().result.unwrap().iter().all(Result::is_ok));
        let counts = |w: &Writer| [count(w, "documents"), count(w, "specs"), count(w, "placements")];
        assert_eq!(counts(&writer), [2, 1, 1]);
        for (id, left) in [(1, [2, 1, 1]), (3, [1, 1, 1]), (2, [0, 0, 0])] {
            writer.conn.execute_batch(&format!(
                "UPDATE jobs SET status = 'completed', conclusion = 'success', finished_at = 1 WHERE run = {id};
                 UPDATE runs SET status = 'completed', conclusion = 'success', finished_at = 1 WHERE id = {id};"
            )).unwrap();
            let (delete, answer) = request(vec![Write::DeleteRun(fleetfoot_model::ids::RunId(id))]);
            writer.serve(vec![delete], 1);
            assert_eq!(answer.blocking_recv().unwrap().result.unwrap(), [Ok(OpOk::Done)]);
            assert_eq!(counts(&writer), left, "after run {id}");
        }
        for table in ["run_payloads", "jobs", "attempts"] {
            assert_eq!(count(&writer, table), 0, "{table}");
        }
    }
}
