use super::*;
use crate::LogOptions;
use bytes::Bytes;
use fleetfoot_model::logs::{Stream, frame_header};
use fleetfoot_model::observe::SHOWN_LINE;
use fleetfoot_model::{Epoch, JobId, Timestamp};
use proptest::prelude::*;
use std::path::Path;
use tempfile::TempDir;

fn id(job: u64) -> AttemptRef {
    AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(7) }
}

fn open(dir: &Path) -> LogStore {
    let options = LogOptions { durable: false, segment_bytes: 300_000, ..LogOptions::default() };
    LogStore::open(dir, options).unwrap()
}

fn frame(step: u16, bytes: &[u8]) -> Bytes {
    let mut out = frame_header(bytes.len() as u32, Stream::Stderr, step, Timestamp(i64::from(step))).to_vec();
    out.extend_from_slice(bytes);
    out.into()
}

/// The lines by the definition: what line feeds separate.
fn split(text: &[u8], closed: bool) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let last = all.pop().unwrap_or_default();
    if closed && !last.is_empty() {
        all.push(last);
    }
    all
}

fn shown(line: &[u8]) -> String {
    let cut = &line[..line.len().min(SHOWN_LINE)];
    String::from_utf8_lossy(cut.strip_suffix(b"\r").unwrap_or(cut)).into_owned()
}

async fn check(store: &LogStore, text: &[u8], closed: bool) {
    let all = split(text, closed);
    let total = store.line_total(id(1)).await.unwrap();
    assert_eq!((total.lines, total.bytes, total.complete), (all.len() as u64, text.len() as u64, closed));
    for (from, count) in [(1, 3), (all.len() as u64 / 2, 4), (all.len() as u64, 1), (all.len() as u64 + 1, 5)]
    {
        let found = store.lines(id(1), LineRange::From(from), count, 1 << 20).await.unwrap();
        let from = from.max(1);
        let expected: Vec<_> = all.iter().skip(from as usize - 1).take(count as usize).collect();
        assert_eq!(found.from, from);
        assert_eq!(found.lines.len(), expected.len(), "from {from} of {}", all.len());
        for (i, (line, bytes)) in found.lines.iter().zip(&expected).enumerate() {
            assert_eq!((line.n, &line.text), (from + i as u64, &shown(bytes)));
            assert_eq!(line.bytes, (bytes.len() > SHOWN_LINE).then_some(bytes.len() as u64));
        }
        let next = from + found.lines.len() as u64;
        assert_eq!(found.next, (next <= all.len() as u64).then_some(next));
    }
    let tail = store.lines(id(1), LineRange::Last(2), 2, 1 << 20).await.unwrap();
    assert_eq!(tail.lines.len(), all.len().min(2));
    let rest = text.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    let partial = (!closed && !rest.is_empty()).then(|| (all.len() as u64 + 1, shown(rest)));
    assert_eq!(tail.partial.map(|l| (l.n, l.text)), partial);
}

fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let line = prop_oneof![
        Just(Vec::new()),
        "[a-c]{0,9}".prop_map(String::into_bytes),
        Just(b"caf\xc3\xa9 \xff\r".to_vec()),
        Just(vec![b'x'; 70_000]),
        Just(vec![b'y'; 600_000]),
    ];
    let text = proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join(&b'\n'));
    let many = Just(b"0123456789\n".repeat(40_000));
    proptest::collection::vec(prop_oneof![4 => text, 1 => many], 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// However a log came about, whoever counts, and whenever: the lines are those between line feeds.
    #[test]
    fn lines_are_what_line_feeds_separate(pieces in texts(), restart in any::<bool>(), look in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = TempDir::new().unwrap();
            let mut store = open(dir.path());
            let mut text: Vec<u8> = Vec::new();
            for piece in &pieces {
                for part in piece.chunks(3 << 20) {
                    store.append(id(1), text.len() as u64, frame(0, part)).await.unwrap();
                    text.extend_from_slice(part);
                }
                if restart {
                    store = open(dir.path());
                }
                if look {
                    check(&store, &text, false).await;
                }
            }
            check(&store, &text, false).await;
            store.close(id(1)).await.unwrap();
            check(&store, &text, true).await;
            let store = open(dir.path());
            check(&store, &text, true).await;
        });
    }
}

async fn search(
    store: &LogStore,
    asked: &str,
    regex: bool,
    case: bool,
    after: u64,
    limit: usize,
) -> LogSearch {
    let pattern = LogPattern::new(asked, regex, case).unwrap();
    store.search(id(1), pattern, after, limit, Duration::from_secs(60)).await.unwrap()
}

#[tokio::test]
async fn searches_find_lines_and_places() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let text = "one Fish\ntwo fish, fish\r\n\nred é fish 𝄞 fish\nblue";
    store.append(id(1), 0, frame(3, text.as_bytes())).await.unwrap();
    let found = search(&store, "fish", false, true, 0, 10).await;
    let lines: Vec<_> = found.matches.iter().map(|m| (m.line, m.step, m.at.clone())).collect();
    assert_eq!(lines, [(2, 3, vec![[4, 8], [10, 14]]), (4, 3, vec![[6, 10], [14, 18]])]);
    assert_eq!((found.count, found.complete, found.searched_to, found.next), (2, true, 4, None));
    assert_eq!(search(&store, "fish", false, false, 0, 10).await.count, 3);
    assert_eq!(search(&store, "^(one|blue)", true, true, 0, 10).await.count, 1, "the last line still grows");
    assert_eq!(search(&store, r"fish\s+red", true, false, 0, 10).await.count, 0, "not over several lines");
    assert_eq!(search(&store, r"fish$", true, false, 0, 10).await.count, 3);
    let part = search(&store, "fish", false, false, 1, 1).await;
    assert_eq!((part.matches[0].line, part.count, part.next), (2, 2, Some(2)));
    assert_eq!(search(&store, "fish", false, false, 2, 1).await.next, None);
    store.close(id(1)).await.unwrap();
    assert_eq!(search(&store, "BLUE", false, false, 0, 1).await.matches[0].line, 5);
    for bad in ["", "(", "a\nb", &"x".repeat(2000)] {
        assert!(LogPattern::new(bad, true, false).is_err(), "{bad}");
    }
    assert!(LogPattern::new(r"(\w{200}){200}", true, true).unwrap_err().contains("too large"));
}

#[tokio::test]
async fn a_search_goes_on_where_its_time_ended() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let mut text = Vec::new();
    for n in 0..400_000 {
        let word = if n % 1000 == 999 { "needle" } else { "hay" };
        text.extend_from_slice(format!("{n} {word} and more of it\n").as_bytes());
    }
    for (i, part) in text.chunks(4 << 20).enumerate() {
        store.append(id(1), (i * (4 << 20)) as u64, frame(0, part)).await.unwrap();
    }
    let (mut after, mut lines, mut calls) = (0, Vec::new(), 0);
    loop {
        let pattern = LogPattern::new("needle", false, true).unwrap();
        let found = store.search(id(1), pattern, after, 50, Duration::ZERO).await.unwrap();
        lines.extend(found.matches.iter().map(|m| m.line));
        calls += 1;
        match found.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert!(calls > 4, "{calls}");
    assert_eq!(lines, (1..=400).map(|n| n * 1000).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_closed_log_is_opened_from_what_was_kept() {
    let dir = TempDir::new().unwrap();
    let text = "::group::a\nline of some length\n::endgroup::\n".repeat(60_000);
    {
        let store = open(dir.path());
        store.append(id(1), 0, frame(2, text.as_bytes())).await.unwrap();
        store.close(id(1)).await.unwrap();
        store.outline(id(1)).await.unwrap();
    }
    let store = open(dir.path());
    let log = store.dir_of(id(1));
    assert!(log.join(index::FILE).exists() && log.join(outline::FILE).exists());
    let before = store.statistics().read_bytes;
    let found = store.lines(id(1), LineRange::From(90_000), 10, 1 << 20).await.unwrap();
    assert_eq!((found.total, found.lines.len()), (180_000, 10));
    assert!(store.statistics().read_bytes - before <= 3 * index::GRANULE, "the whole log was read");
    let outline = store.outline(id(1)).await.unwrap();
    assert_eq!((outline.total_lines, outline.groups.len(), outline.truncated), (180_000, 10_000, true));
    assert!(store.statistics().read_bytes - before <= 3 * index::GRANULE, "the whole log was read");
    // What was kept is no more than a shortcut.
    std::fs::write(log.join(index::FILE), b"damaged").unwrap();
    std::fs::write(log.join(outline::FILE), b"damaged").unwrap();
    let again = open(dir.path());
    assert_eq!(again.line_total(id(1)).await.unwrap().lines, 180_000);
    assert_eq!(again.outline(id(1)).await.unwrap(), outline);
    again.remove(id(1)).await.unwrap();
    assert_eq!(again.lines(id(1), LineRange::From(1), 1, 1).await.unwrap().total, 0);
}
