//! Random histories: chunks, retries, overlaps, restarts, torn and lost tails.
//! The byte, the step and the time at an offset are functions of the offset,
//! so that whatever is stored can be checked without remembering it.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    /// Append this many bytes, beginning this far before the end, in frames of this size.
    Append { back: u64, length: u64, frame: u64 },
    /// Start anew.
    Restart,
    /// Crash in the middle of an append that was never answered: a part of its bytes is there.
    Torn { length: u64, cut: f64, zeros: bool },
    /// The disk lost the end of what it had flushed.
    Lost { cut: f64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..200_u64, 0..3_000_u64, 1..500_u64).prop_map(|(back, length, frame)| Step::Append { back, length, frame }),
        1 => (0..20_u64, 1..600_000_u64).prop_map(|(back, length)| Step::Append { back, length, frame: 5_000 }),
        1 => Just(Step::Restart),
        2 => (1..400_000_u64, 0.0..1.0, any::<bool>()).prop_map(|(length, cut, zeros)| Step::Torn { length, cut, zeros }),
        1 => (0.0..1.0).prop_map(|cut| Step::Lost { cut }),
    ]
}

fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9) >> 13) as u8
}

fn body(from: u64, length: u64, frame: u64) -> Bytes {
    let (mut out, mut at) = (Vec::new(), from);
    while at < from + length {
        // A frame never crosses a multiple of 100, where the step changes.
        let to = (from + length).min(at + frame).min((at / 100 + 1) * 100);
        let bytes: Vec<u8> = (at..to).map(byte).collect();
        out.extend_from_slice(&super::frame((at / 100) as u16, (at / 100) as i64 * 2_000, &bytes));
        at = to;
    }
    out.into()
}

async fn check(store: &LogStore, end: u64) {
    let mut at = 0;
    while at < end {
        let chunk = store.read(id(1), at, 70_001).await.unwrap();
        assert_eq!(chunk.end, end);
        assert_eq!(chunk.marks[0].offset, at);
        let mut marks = chunk.marks.iter().peekable();
        let mut mark = marks.next().unwrap();
        for (offset, &found) in (at..).zip(chunk.bytes.iter()) {
            if marks.peek().is_some_and(|m| m.offset == offset) {
                mark = marks.next().unwrap();
            }
            assert_eq!(found, byte(offset), "byte {offset}");
            assert_eq!((mark.step, mark.time.0), ((offset / 100) as u16, (offset / 100) as i64 * 2_000));
        }
        assert!(marks.next().is_none(), "marks behind the bytes");
        assert!(!chunk.bytes.is_empty());
        at = chunk.next_offset();
    }
}

/// The last segment's file.
fn last(store: &LogStore) -> Option<PathBuf> {
    let dir = store.dir_of(id(1));
    segment::list(&dir).unwrap().last().map(|&s| dir.join(segment::name(s)))
}

fn cut(path: &Path, range: Range<u64>, at: f64, zeros: bool) {
    let keep = range.start + ((range.end - range.start) as f64 * at) as u64;
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(keep).unwrap();
    if zeros {
        file.set_len(range.end).unwrap();
    }
}

async fn history(steps: Vec<Step>) {
    let dir = TempDir::new().unwrap();
    let options = LogOptions { durable: false, segment_bytes: 100_000, ..LogOptions::default() };
    let mut store = open(&dir, options.clone());
    let mut end = 0;
    for step in steps {
        match step {
            Step::Append { back, length, frame } => {
                let from = end - back.min(end);
                let stored = store.append(id(1), from, body(from, length, frame)).await.unwrap();
                end = end.max(from + length);
                assert_eq!(stored, end);
            }
            Step::Restart => {
                drop(store);
                store = open(&dir, options.clone());
                assert_eq!(store.length(id(1)).await.unwrap(), end);
            }
            Step::Torn { length, cut: at, zeros } => {
                let before = last(&store).map(|p| (std::fs::metadata(&p).unwrap().len(), p));
                store.append(id(1), end, body(end, length, 700)).await.unwrap();
                let path = last(&store).unwrap();
                drop(store);
                let written = std::fs::metadata(&path).unwrap().len();
                // An earlier torn tail may have been longer than what was written now.
                let from = before.filter(|(_, p)| *p == path).map_or(0, |(l, _)| l.min(written));
                cut(&path, from..written, at, zeros);
                store = open(&dir, options.clone());
                let now = store.length(id(1)).await.unwrap();
                assert!((end..=end + length).contains(&now), "{end} was acknowledged, {now} is there");
                end = now;
            }
            Step::Lost { cut: at } => {
                let Some(path) = last(&store) else { continue };
                drop(store);
                cut(&path, 0..std::fs::metadata(&path).unwrap().len(), at, false);
                store = open(&dir, options.clone());
                let now = store.length(id(1)).await.unwrap();
                assert!(now <= end);
                end = now;
            }
        }
        check(&store, end).await;
    }
    let all: Vec<u8> = (0..end).map(byte).collect();
    assert_eq!(store.close_with_checksum(id(1)).await.unwrap(), (end, crc32fast::hash(&all)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_stored_is_a_prefix_of_what_was_sent(steps in prop::collection::vec(step(), 1..25)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(history(steps));
    }
}
