//! A process that appends is killed; a disk that holds logs and objects is full.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

use bytes::Bytes;
use fleetfoot_model::logs::{Stream, frame_header};
use fleetfoot_model::{AttemptRef, Epoch, JobId, Timestamp};
use fleetfoot_objects::{AppendError, ErrorKind, LogOptions, LogStore, Objects, ObjectsConfig};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const CHILD: &str = "FLEETFOOT_OBJECTS_CHILD";

fn id(job: u64) -> AttemptRef {
    AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(1) }
}

fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

fn body(from: u64, length: u64) -> Bytes {
    let mut out = frame_header(length as u32, Stream::Stdout, 0, Timestamp(0)).to_vec();
    out.extend((from..from + length).map(byte));
    out.into()
}

async fn check(store: &LogStore, attempt: AttemptRef, end: u64) {
    let mut at = 0;
    while at < end {
        let chunk = store.read(attempt, at, 1 << 20).await.unwrap();
        assert!(!chunk.bytes.is_empty(), "the log ends at {at} of {end}");
        assert!((at..).zip(chunk.bytes.iter()).all(|(offset, &b)| b == byte(offset)), "behind {at}");
        at = chunk.next_offset();
    }
}

/// Not a test on its own: appends to four logs until it is killed and says what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_appends() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let options = LogOptions { segment_bytes: 300_000, ..LogOptions::default() };
    let store = LogStore::open(Path::new(&dir), options).unwrap();
    let writers: Vec<_> = (1..=4_u64)
        .map(|job| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut end = 0;
                for n in 0.. {
                    let length = 1 + byte(n) as u64 * if n % 7 == 0 { 700 } else { 3 };
                    end = store.append(id(job), end, body(end, length)).await.unwrap();
                    println!("\nacked {job} {end}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn no_acknowledged_byte_is_lost_by_a_kill() {
    let dir = TempDir::new().unwrap();
    for lines in [5, 60, 400] {
        let logs = dir.path().join(lines.to_string());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends", "--nocapture"])
            .env(CHILD, &logs)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = [0_u64; 5];
        let mut seen = 0;
        // What was still in the pipe when it died was acknowledged as well.
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(rest) = line.strip_prefix("acked ") else { continue };
            if let Some((job, end)) = rest.split_once(' ')
                && let (Ok(job), Ok(end)) = (job.parse::<usize>(), end.parse())
            {
                acknowledged[job] = end;
                seen += 1;
            }
            if seen == lines {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= lines, "the child only acknowledged {seen} appends");

        let store = LogStore::open(&logs, LogOptions::default()).unwrap();
        for job in 1..=4_u64 {
            let end = store.length(id(job)).await.unwrap();
            assert!(
                end >= acknowledged[job as usize],
                "{end} of {} bytes are there",
                acknowledged[job as usize]
            );
            check(&store, id(job), end).await;
            let from = end.saturating_sub(1000);
            let end = store.append(id(job), from, body(from, 5000)).await.unwrap();
            check(&store, id(job), end).await;
        }
    }
}

/// A small file system of its own; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(dir).output();
        match mounted {
            Ok(out) if out.status.success() => Some(Self(dir.to_owned())),
            Ok(out) => {
                println!("skipped: no tmpfs can be mounted: {}", String::from_utf8_lossy(&out.stderr).trim());
                None
            }
            Err(e) => {
                println!("skipped: no tmpfs can be mounted: {e}");
                None
            }
        }
    }

    fn grow(&self) {
        let done = Command::new("mount").args(["-o", "remount,size=16m"]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_a_clear_error_and_passes() {
    let dir = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let store = LogStore::open(&dir.path().join("logs"), LogOptions::default()).unwrap();
    let objects = Objects::open(&ObjectsConfig::directory(&dir.path().join("objects"))).unwrap();
    objects.put("kept", Bytes::from_static(b"old")).await.unwrap();

    let mut end = 0;
    let full = loop {
        match store.append(id(1), end, body(end, 50_000)).await {
            Ok(now) => end = now,
            Err(e) => break e,
        }
        assert!(end < 2 << 20);
    };
    assert!(matches!(full, AppendError::Full), "{full}");
    assert_eq!(store.length(id(1)).await.unwrap(), end);
    check(&store, id(1), end).await;
    for _ in 0..3 {
        let again = store.append(id(1), end, body(end, 400_000)).await.unwrap_err();
        assert!(matches!(again, AppendError::Full), "{again}");
    }
    // In one piece and in parts.
    for length in [4 << 20, 20 << 20] {
        let put = objects.put("kept", vec![1; length].into()).await.unwrap_err();
        assert_eq!(put.kind(), ErrorKind::Full, "{put:?}");
        assert_eq!(objects.get("kept").await.unwrap(), "old", "the old object is unharmed");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while std::fs::read_dir(dir.path().join("objects")).unwrap().count() > 1 {
            assert!(tokio::time::Instant::now() < deadline, "something half-written stays");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    disk.grow();
    end = store.append(id(1), end, body(end, 400_000)).await.unwrap();
    store.close(id(1)).await.unwrap();
    let store = LogStore::open(&dir.path().join("logs"), LogOptions::default()).unwrap();
    assert_eq!(store.length(id(1)).await.unwrap(), end);
    check(&store, id(1), end).await;
}
