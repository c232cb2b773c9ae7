use super::*;
use fleetfoot_model::{Epoch, JobId};
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

pub(super) fn id(job: u64) -> AttemptRef {
    AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(7) }
}

fn small_segments() -> LogOptions {
    LogOptions { segment_bytes: 4096, ..LogOptions::default() }
}

fn open(dir: &TempDir, options: LogOptions) -> LogStore {
    LogStore::open(dir.path(), options).unwrap()
}

fn frame(step: u16, time: i64, bytes: &[u8]) -> Vec<u8> {
    let mut out = frame_header(bytes.len() as u32, Stream::Stdout, step, Timestamp(time)).to_vec();
    out.extend_from_slice(bytes);
    out
}

async fn everything(store: &LogStore, attempt: AttemptRef) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let chunk = store.read(attempt, out.len() as u64, 10_000).await.unwrap();
        if chunk.bytes.is_empty() {
            return out;
        }
        assert_eq!(chunk.marks[0].offset, out.len() as u64);
        out.extend_from_slice(&chunk.bytes);
    }
}

async fn follow_to_end(mut follower: LogFollower) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(chunk) = follower.next().await.unwrap() {
        assert!(chunk.bytes.len() <= 256 << 10);
        out.extend_from_slice(&chunk.bytes);
    }
    out
}

fn segment_path(dir: &TempDir, attempt: AttemptRef, start: u64) -> PathBuf {
    dir.path()
        .join(format!("{:02}", attempt.job.0 % SHARDS))
        .join(attempt.to_string())
        .join(segment::name(start))
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

#[tokio::test]
async fn appends_are_idempotent_and_marked() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogOptions::default());
    let a = id(1);
    let body = [frame(0, 1_000, b"one\n"), frame(0, 1_900, b"two\n"), frame(1, 1_900, b"three")].concat();
    assert_eq!(store.append(a, 0, body.clone().into()).await.unwrap(), 13);
    assert_eq!(store.append(a, 0, body.clone().into()).await.unwrap(), 13, "a retry changes nothing");
    let longer = [body, frame(2, 5_000, b" four")].concat();
    assert_eq!(store.append(a, 0, longer.into()).await.unwrap(), 18, "only the new part is added");
    let gap = store.append(a, 20, frame(0, 0, b"x").into()).await.unwrap_err();
    assert!(matches!(gap, AppendError::Gap { expected: 18 }), "{gap}");
    let bad = store.append(a, 18, Bytes::from_static(b"nonsense")).await.unwrap_err();
    assert!(matches!(bad, AppendError::BadFrame(_)), "{bad}");

    let chunk = store.read(a, 5, 100).await.unwrap();
    assert_eq!(&chunk.bytes[..], b"wo\nthree four");
    let marks: Vec<_> = chunk.marks.iter().map(|m| (m.offset, m.step, m.time.0)).collect();
    assert_eq!(marks, [(5, 0, 1_000), (8, 1, 1_900), (13, 2, 5_000)], "the first mark covers the offset");
    assert_eq!((chunk.end, chunk.closed), (18, false));

    assert_eq!(store.close(a).await.unwrap(), 18);
    assert_eq!(store.close_with_checksum(a).await.unwrap(), (18, crc32fast::hash(b"one\ntwo\nthree four")));
    assert_eq!(store.append(a, 13, frame(2, 5_000, b" four").into()).await.unwrap(), 18, "still a retry");
    let late = store.append(a, 18, frame(0, 0, b"x").into()).await.unwrap_err();
    assert!(matches!(late, AppendError::Closed), "{late}");

    drop(store);
    let store = open(&dir, LogOptions::default());
    assert!(store.is_closed(a).await.unwrap());
    assert_eq!(everything(&store, a).await, b"one\ntwo\nthree four");
    assert_eq!(store.close_with_checksum(a).await.unwrap().1, crc32fast::hash(b"one\ntwo\nthree four"));
}
