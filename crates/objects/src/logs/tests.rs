use super::*;
use fleetfoot_model::{Epoch, JobId};
use std::ops::Range;
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

#[tokio::test]
async fn bytes_are_kept_as_they_are_over_many_segments() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, small_segments());
    let a = id(2);
    let mut expected = Vec::new();
    for n in 0..200_u32 {
        let mut line = format!("{n}: \0\r\u{1b}[1m ").into_bytes();
        line.extend_from_slice(&[0xff, 0xc3, 0x28, b'\n']);
        line.resize(line.len() + n as usize, b'x');
        let at = expected.len() as u64;
        store.append(a, at, frame(n as u16, i64::from(n) * 1000, &line).into()).await.unwrap();
        expected.extend_from_slice(&line);
    }
    assert!(segment::list(&store.dir_of(a)).unwrap().len() > 3, "several segments");
    assert_eq!(everything(&store, a).await, expected);
    for offset in (0..expected.len()).step_by(101) {
        let chunk = store.read(a, offset as u64, 333).await.unwrap();
        assert_eq!(chunk.bytes, expected[offset..expected.len().min(offset + 333)]);
    }
    let behind = store.read(a, expected.len() as u64 + 5, 10).await.unwrap();
    assert!(behind.bytes.is_empty() && behind.marks.is_empty());
    drop(store);
    let store = open(&dir, small_segments());
    assert_eq!(store.length(a).await.unwrap(), expected.len() as u64);
    assert_eq!(store.read(a, 9_000, 50).await.unwrap().bytes, expected[9_000..9_050]);
    assert_eq!(store.close_with_checksum(a).await.unwrap().1, crc32fast::hash(&expected));
}

#[tokio::test]
async fn nothing_is_an_empty_log() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogOptions::default());
    assert_eq!(store.length(id(3)).await.unwrap(), 0);
    assert!(store.read(id(3), 0, 10).await.unwrap().bytes.is_empty());
    assert!(store.stored().await.unwrap().is_empty(), "looking creates nothing");
    let mut follower = store.follow(id(3), 0);
    assert_eq!(store.close(id(3)).await.unwrap(), 0);
    assert!(follower.next().await.unwrap().is_none());
    drop(store);
    assert!(open(&dir, LogOptions::default()).is_closed(id(3)).await.unwrap());
}

#[tokio::test]
async fn limits_are_errors_that_store_nothing() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions { max_bytes_per_attempt: Some(10), max_append: 100, ..LogOptions::default() };
    let store = open(&dir, options);
    store.append(id(1), 0, frame(0, 0, b"12345678").into()).await.unwrap();
    let long = store.append(id(1), 8, frame(0, 0, b"abc").into()).await.unwrap_err();
    assert!(matches!(long, AppendError::TooLong { limit: 10 }), "{long}");
    let large = store.append(id(1), 8, frame(0, 0, &[b'x'; 100]).into()).await.unwrap_err();
    assert!(matches!(large, AppendError::TooLarge { limit: 100 }), "{large}");
    assert_eq!(store.append(id(1), 8, frame(0, 0, b"ab").into()).await.unwrap(), 10);
    assert_eq!(everything(&store, id(1)).await, b"12345678ab");
}

#[tokio::test]
async fn plain_text_goes_to_the_end_or_to_its_offset() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogOptions::default());
    let text = |offset, bytes: &'static [u8]| {
        let store = store.clone();
        async move { store.append_text(id(1), offset, Stream::Stderr, 3, Timestamp(9), bytes).await }
    };
    assert_eq!(text(None, b"a").await.unwrap(), 1);
    assert_eq!(text(None, b"a").await.unwrap(), 2, "without an offset a repetition is another line");
    assert_eq!(text(Some(1), b"ab").await.unwrap(), 3);
    assert_eq!(text(None, b"").await.unwrap(), 3);
    let chunk = store.read(id(1), 0, 10).await.unwrap();
    assert_eq!(&chunk.bytes[..], b"aab");
    let mark = Mark { offset: 0, time: Timestamp(9), step: 3, stream: Stream::Stderr };
    assert_eq!(chunk.marks, [mark], "equal neighbours are one mark");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_append_at_the_same_time_is_stored_once() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogOptions::default());
    for round in 0..20 {
        let body: Bytes = frame(0, 0, format!("round {round:03}\n").as_bytes()).into();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (store, body) = (store.clone(), body.clone());
                tokio::spawn(async move { store.append(id(1), round * 10, body).await.unwrap() })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), round * 10 + 10);
        }
    }
    assert_eq!(store.statistics().appends, 20);
    assert_eq!(everything(&store, id(1)).await.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_see_exactly_the_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogOptions { durable: false, ..small_segments() });
    let a = id(1);
    let early = tokio::spawn(follow_to_end(store.follow(a, 0)));
    let resumed = tokio::spawn(follow_to_end(store.follow(a, 700)));
    let stalled = store.follow(a, 0);
    let mut expected = Vec::new();
    for n in 0..500_u32 {
        let line = format!("line {n} {}\n", "é".repeat(n as usize % 50));
        store.append(a, expected.len() as u64, frame(0, i64::from(n), line.as_bytes()).into()).await.unwrap();
        expected.extend_from_slice(line.as_bytes());
        if n == 250 {
            tokio::task::yield_now().await;
        }
    }
    store.close(a).await.unwrap();
    assert_eq!(early.await.unwrap(), expected);
    assert_eq!(resumed.await.unwrap(), expected[700..]);
    assert_eq!(follow_to_end(stalled).await, expected, "it never looked until the end");
    assert_eq!(follow_to_end(store.follow(a, 0)).await, expected, "late");
    assert_eq!(follow_to_end(store.follow(a, expected.len() as u64)).await, b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_cancelled_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogOptions { durable: false, ..LogOptions::default() });
    let mut follower = store.follow(id(1), 0);
    let (mut sent, mut seen) = (Vec::new(), Vec::new());
    for n in 0..300_u32 {
        let line = format!("line {n}\n");
        store.append(id(1), sent.len() as u64, frame(0, 0, line.as_bytes()).into()).await.unwrap();
        sent.extend_from_slice(line.as_bytes());
        tokio::select! {
            biased;
            chunk = follower.next() => seen.extend_from_slice(&chunk.unwrap().unwrap().bytes),
            () = tokio::task::yield_now() => {}
        }
    }
    store.close(id(1)).await.unwrap();
    while let Some(chunk) = follower.next().await.unwrap() {
        assert_eq!(chunk.offset, seen.len() as u64);
        seen.extend_from_slice(&chunk.bytes);
    }
    assert_eq!(seen, sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_of_100_mb_passes_a_stalled_follower() {
    const PIECE: usize = 4 << 20;
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogOptions::default());
    let mut stalled = store.follow(id(1), 0);
    let payload: Vec<u8> = (0..PIECE).map(|i| (i * 31 % 251) as u8).collect();
    let body: Bytes = frame(0, 0, &payload).into();
    for n in 0..24 {
        store.append(id(1), n * PIECE as u64, body.clone()).await.unwrap();
        if n == 0 {
            assert_eq!(stalled.next().await.unwrap().unwrap().bytes.len(), 256 << 10);
        }
    }
    let (end, crc) = store.close_with_checksum(id(1)).await.unwrap();
    assert_eq!(end, 24 * PIECE as u64);
    let mut hasher = crc32fast::Hasher::new();
    let mut follower = store.follow(id(1), 0);
    while let Some(chunk) = follower.next().await.unwrap() {
        assert_eq!(chunk.marks.len(), 1);
        hasher.update(&chunk.bytes);
    }
    assert_eq!(hasher.finalize(), crc);
    while let Some(chunk) = stalled.next().await.unwrap() {
        assert_eq!(chunk.bytes[0], payload[chunk.offset as usize % PIECE]);
    }
    assert_eq!(stalled.offset(), end);
}

#[tokio::test]
async fn few_handles_and_little_memory_serve_many_attempts() {
    few_handles(8).await;
    few_handles(1_000).await;
}

async fn few_handles(known_attempts: usize) {
    let dir = TempDir::new().unwrap();
    let options = LogOptions { open_files: 4, known_attempts, durable: false, ..LogOptions::default() };
    let store = open(&dir, options);
    for round in 0..3_u64 {
        for job in 1..=60 {
            let line = format!("{round}.{job:03}");
            store.append(id(job), round * 5, frame(0, 0, line.as_bytes()).into()).await.unwrap();
            let open = store.statistics().open_files;
            assert!(open <= 5, "{open} files open");
        }
    }
    for job in 1..=60 {
        let expected = format!("0.{job:03}1.{job:03}2.{job:03}");
        assert_eq!(everything(&store, id(job)).await, expected.as_bytes());
    }
}

#[tokio::test]
async fn a_flipped_bit_is_an_error_and_not_an_answer() {
    let lines = ["first", "second", "third"];
    // Where the bit is, how much can still be read before it, and whether a fresh start notices at once.
    let block = |n: u64| 32 + n * (48 + 16) + lines[..n as usize].iter().map(|l| l.len() as u64).sum::<u64>();
    for (what, at, readable) in [
        ("bytes", block(1) + 48 + 16 + 2, 5),
        ("a mark", block(1) + 48 + 9, 5),
        ("a block header", block(1) + 8, 5),
        ("a length", block(1) + 17, 5),
        ("the segment header", 17, 0),
    ] {
        let dir = TempDir::new().unwrap();
        let store = open(&dir, LogOptions::default());
        let mut end = 0;
        for line in lines {
            end = store.append(id(1), end, frame(0, 0, line.as_bytes()).into()).await.unwrap();
        }
        flip(&segment_path(&dir, id(1), 0), at);
        let mut follower = store.follow(id(1), 0);
        let mut outcome = store.read(id(1), 0, 100).await.map(drop);
        assert!(matches!(outcome, Err(ObjectError::Corrupt { .. })), "{what}: {outcome:?}");
        if readable > 0 {
            assert_eq!(&store.read(id(1), 0, readable).await.unwrap().bytes[..], b"first", "{what}");
        }
        outcome = follower.next().await.map(drop);
        assert!(matches!(outcome, Err(ObjectError::Corrupt { .. })), "{what}: {outcome:?}");

        drop(store);
        let store = open(&dir, LogOptions::default());
        outcome = async {
            store.length(id(1)).await?;
            store.read(id(1), 0, 100).await.map(drop)
        }
        .await;
        assert!(matches!(outcome, Err(ObjectError::Corrupt { .. })), "{what}, reopened: {outcome:?}");
        assert!(store.statistics().corrupt > 0);
    }
}

#[tokio::test]
async fn bytes_that_look_like_a_block_are_only_bytes() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogOptions::default());
    store.append(id(1), 0, frame(0, 0, b"hello").into()).await.unwrap();
    // A job prints the file of another log, and then the append is torn.
    let copy = std::fs::read(segment_path(&dir, id(1), 0)).unwrap();
    store.append(id(2), 0, frame(0, 0, b"kept").into()).await.unwrap();
    store.append(id(2), 4, frame(0, 0, &copy).into()).await.unwrap();
    drop(store);
    let path = segment_path(&dir, id(2), 0);
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
    let store = open(&dir, LogOptions::default());
    assert_eq!(everything(&store, id(2)).await, b"kept");
    assert_eq!(store.append(id(2), 4, frame(0, 0, b"!").into()).await.unwrap(), 5);
    assert_eq!(everything(&store, id(2)).await, b"kept!");
}

#[tokio::test]
async fn removed_logs_end_their_followers() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, LogOptions::default());
    store.append(id(1), 0, frame(0, 0, b"x").into()).await.unwrap();
    let mut follower = store.follow(id(1), 1);
    let waiting = tokio::spawn(async move { follower.next().await });
    store.remove(id(1)).await.unwrap();
    let outcome = waiting.await.unwrap();
    assert!(matches!(outcome, Err(ObjectError::NotFound { .. })), "{outcome:?}");
    assert!(store.stored().await.unwrap().is_empty());
    assert_eq!(store.length(id(1)).await.unwrap(), 0);
    assert_eq!(store.append(id(1), 0, frame(0, 0, b"new").into()).await.unwrap(), 3);
    assert_eq!(everything(&store, id(1)).await, b"new");
}

#[tokio::test]
async fn archived_logs_are_read_after_eviction_and_after_the_disk_is_lost() {
    let (dir, remote) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let objects = Objects::open(&crate::ObjectsConfig::directory(remote.path())).unwrap();
    let options = LogOptions { archive: Some(objects.clone()), ..small_segments() };
    let store = open(&dir, options.clone());
    let mut expected = Vec::new();
    for n in 0..300_u32 {
        let line = format!("line {n} of the archived log\n");
        store.append(id(1), expected.len() as u64, frame(0, 0, line.as_bytes()).into()).await.unwrap();
        expected.extend_from_slice(line.as_bytes());
    }
    let early = store.archive(id(1)).await.unwrap_err();
    assert_eq!(early.to_string(), "log 1.1.7 is not closed");
    store.close(id(1)).await.unwrap();
    assert!(store.evict(id(1)).await.is_err(), "never before it is archived");
    store.archive(id(1)).await.unwrap();
    store.archive(id(1)).await.unwrap();
    assert!(store.stored().await.unwrap()[0].archived);

    let mut follower = store.follow(id(1), 0);
    assert!(store.evict(id(1)).await.unwrap() > expected.len() as u64);
    assert!(segment::list(&store.dir_of(id(1))).unwrap().is_empty());
    assert_eq!(store.read(id(1), 6_000, 100).await.unwrap().bytes, expected[6_000..6_100]);
    assert_eq!(segment::list(&store.dir_of(id(1))).unwrap().len(), 1, "only what was needed came back");
    assert_eq!(follower.next().await.unwrap().unwrap().bytes, expected);
    assert!(follower.next().await.unwrap().is_none());

    let empty = TempDir::new().unwrap();
    let store = open(&empty, options);
    store.restore(id(1)).await.unwrap();
    assert!(store.is_closed(id(1)).await.unwrap());
    assert_eq!(everything(&store, id(1)).await, expected);

    let swept = store.sweep(Timestamp(i64::MAX), |log| log.attempt == id(1)).await.unwrap();
    assert_eq!(swept.count, 0);
    let swept = store.sweep(Timestamp(i64::MAX), |_| false).await.unwrap();
    assert_eq!(swept.count, 1);
    assert!(objects.list("").await.unwrap().is_empty(), "the copies are gone as well");
    assert!(store.stored().await.unwrap().is_empty());
}

mod property;
