//! Cases about artifacts, caches and the blobs that hold their bytes.

use super::Harness;
use crate::*;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId, RunId};
use fleetfoot_model::time::Timestamp;

/// Runs all cases of this part.
pub async fn all(h: &dyn Harness) {
    parts_are_staged_replaced_and_committed(h).await;
    a_sealed_blob_does_not_change(h).await;
    artifacts_are_seen_when_they_are_finished(h).await;
    names_of_artifacts_are_unique_within_a_run(h).await;
    one_of_two_finishes_wins(h).await;
    files_of_an_artifact(h).await;
    caches_are_found_by_key_and_beginning(h).await;
    caches_are_immutable_and_listed(h).await;
    old_and_surplus_entries_are_named(h).await;
}

fn attempt(epoch: u64) -> AttemptRef {
    AttemptRef { job: JobId(1), attempt: 1, epoch: Epoch(epoch) }
}

fn part(object: &str, block: &str, size: u64) -> PartRow {
    PartRow { object: object.to_owned(), block: block.to_owned(), position: None, size }
}

fn artifact(name: &str, protocol: u8, at: i64) -> NewArtifact {
    NewArtifact {
        project: "default".to_owned(),
        run: RunId(1),
        attempt: attempt(9),
        name: name.to_owned(),
        protocol,
        media_type: "application/zip".to_owned(),
        created_at: Timestamp(at),
        expires_at: Timestamp(at + 1000),
        replaces: None,
    }
}

fn cache(git_ref: &str, key: &str, at: i64) -> NewCache {
    NewCache {
        project: "default".to_owned(),
        repository: "o/a".to_owned(),
        git_ref: git_ref.to_owned(),
        key: key.to_owned(),
        version: "v".to_owned(),
        attempt: attempt(9),
        created_at: Timestamp(at),
        replaces: None,
    }
}

async fn make(store: &dyn Store, new: NewArtifact) -> Made {
    store.create_artifact(new).await.expect("writes work").done().expect("the name is free")
}

async fn blob(store: &dyn Store, id: u64) -> BlobRow {
    store.blob(id).await.expect("reads work").expect("the blob exists")
}

async fn verified(store: &dyn Store, id: u64) -> Verified {
    let blob = blob(store, id).await;
    Verified { blob: id, generation: blob.generation, size: blob.length() }
}

async fn fill(store: &dyn Store, id: u64, size: u64) -> Verified {
    let staged = store.stage_part(id, part("o", "b", size)).await.expect("writes work");
    assert_eq!(staged, Guarded::Done(None));
    let committed = store.commit_parts(id, vec!["b".to_owned()]).await.expect("writes work");
    assert_eq!(committed, Guarded::Done(Vec::new()));
    verified(store, id).await
}

async fn save(store: &dyn Store, new: NewCache, size: u64) -> u64 {
    let at = new.created_at;
    let made = store.reserve_cache(new).await.expect("writes work").done().expect("it is free");
    let verified = fill(store, made.blob, size).await;
    let done = store.finish_cache(made.id, verified, at).await.expect("writes work");
    assert_eq!(done, Guarded::Done(()));
    made.id
}

/// A later part of the same name replaces an earlier one; the list decides what is content.
pub async fn parts_are_staged_replaced_and_committed(h: &dyn Harness) {
    let store = h.fresh().await;
    let id = make(&*store, artifact("a", 4, 1)).await.blob;
    for (object, block, old) in
        [("o1", "x", None), ("o2", "y", None), ("o3", "x", Some("o1")), ("o4", "z", None)]
    {
        let replaced = store.stage_part(id, part(object, block, 10)).await.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(replaced, Guarded::Done(old.map(str::to_owned)));
    }
    assert_eq!(store.project_bytes("default").await.unwrap_or_default(), 30);
    assert_eq!(blob(&*store, id).await.length(), 0, "nothing is committed yet");
    let commit = async |blocks: &[&str]| {
        let blocks = blocks.iter().map(|b| (*b).to_owned()).collect();
        store.commit_parts(id, blocks).await.expect("writes work")
    };
    assert_eq!(commit(&["x", "missing"]).await, Guarded::Refused);
    assert_eq!(commit(&["x", "x"]).await, Guarded::Refused);
    assert_eq!(commit(&["z", "x"]).await, Guarded::Done(vec!["o2".to_owned()]));
    let row = blob(&*store, id).await;
    let order: Vec<_> = row.committed().map(|p| p.object.as_str()).collect();
    assert_eq!((order, row.length()), (vec!["o4", "o3"], 20));
    assert_eq!(store.project_bytes("default").await.unwrap_or_default(), 20);
    assert_eq!(commit(&["z", "x"]).await, Guarded::Done(Vec::new()), "again is harmless");
}

/// Late writes are refused.
pub async fn a_sealed_blob_does_not_change(h: &dyn Harness) {
    let store = h.fresh().await;
    let made = make(&*store, artifact("a", 4, 1)).await;
    let seen = fill(&*store, made.blob, 5).await;
    let finished = store.finish_artifact(made.id, seen, [1; 32]).await.expect("writes work");
    assert_eq!(finished, Guarded::Done(()));
    let late = store.stage_part(made.blob, part("o2", "b", 1)).await.expect("writes work");
    assert_eq!(late, Guarded::Refused);
    assert_eq!(store.commit_parts(made.blob, Vec::new()).await.expect("writes work"), Guarded::Refused);
    assert_eq!(blob(&*store, made.blob).await.status, BlobStatus::Sealed);
    assert!(store.delete_artifact(made.id).await.expect("writes work"));
    assert!(!store.delete_artifact(made.id).await.expect("writes work"));
    assert_eq!(store.condemned_blobs(10).await.expect("reads work"), [made.blob]);
    store.forget_blob(made.blob).await.expect("writes work");
    assert!(store.blob(made.blob).await.expect("reads work").is_none());
    let next = make(&*store, artifact("a", 4, 1)).await;
    assert!(next.blob > made.blob && next.id > made.id, "ids are never reused");
}

/// An artifact is listed from its end on, and only if its bytes did not change since they were read.
pub async fn artifacts_are_seen_when_they_are_finished(h: &dyn Harness) {
    let store = h.fresh().await;
    let made = make(&*store, artifact("a", 4, 7)).await;
    let old = fill(&*store, made.blob, 5).await;
    store.stage_part(made.blob, part("o9", "late", 1)).await.expect("writes work");
    let refused = store.finish_artifact(made.id, old, [1; 32]).await.expect("writes work");
    assert_eq!(refused, Guarded::Refused, "it changed since");
    assert!(store.artifacts(RunId(1)).await.expect("reads work").is_empty());
    let now = verified(&*store, made.blob).await;
    store.finish_artifact(made.id, now, [1; 32]).await.expect("writes work").done().expect("it fits");
    let row = &store.artifacts(RunId(1)).await.expect("reads work")[0];
    assert_eq!((row.size, row.sha256, row.status), (5, Some([1; 32]), EntryStatus::Ready));
    assert_eq!((row.created_at, row.expires_at), (Timestamp(7), Timestamp(1007)));
    assert_eq!(store.artifact(made.id).await.expect("reads work").as_ref(), Some(row));
    assert_eq!(store.artifact_named(RunId(1), "a").await.expect("reads work").as_ref(), Some(row));
    assert!(store.artifact_named(RunId(2), "a").await.expect("reads work").is_none());
}

/// A name makes room only for whoever names the artifact that goes.
pub async fn names_of_artifacts_are_unique_within_a_run(h: &dyn Harness) {
    let store = h.fresh().await;
    let first = make(&*store, artifact("a", 4, 1)).await;
    let again = store.create_artifact(artifact("a", 4, 1)).await.expect("writes work");
    assert_eq!(again, Guarded::Refused);
    make(&*store, NewArtifact { run: RunId(2), ..artifact("a", 4, 1) }).await;
    let second = make(&*store, NewArtifact { replaces: Some(first.id), ..artifact("a", 4, 1) }).await;
    assert!(store.artifact(first.id).await.expect("reads work").is_none());
    assert_eq!(store.condemned_blobs(10).await.expect("reads work"), [first.blob]);
    assert!(store.artifact(second.id).await.expect("reads work").is_some());
}

/// Two that finish at once: exactly one does.
pub async fn one_of_two_finishes_wins(h: &dyn Harness) {
    let store = h.fresh().await;
    let made = make(&*store, artifact("a", 4, 1)).await;
    let seen = fill(&*store, made.blob, 5).await;
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.finish_artifact(made.id, seen, [n; 32]).await })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += u32::from(task.await.expect("it ends").expect("writes work") == Guarded::Done(()));
    }
    assert_eq!(won, 1);
}

/// Files of protocol 3: the last of a path counts, and only complete ones stay.
pub async fn files_of_an_artifact(h: &dyn Harness) {
    let store = h.fresh().await;
    let made = make(&*store, artifact("a", 3, 1)).await;
    let file = |path: &str, length| NewFile {
        artifact: made.id,
        attempt: attempt(9),
        path: path.to_owned(),
        gzip: length > 5,
        length,
        at: Timestamp(2),
    };
    let add = async |path, length| {
        store.add_file(file(path, length)).await.expect("writes work").done().expect("it is there")
    };
    let (first, second, half) = (add("x", 5).await, add("x", 9).await, add("half", 5).await);
    let seen = fill(&*store, second, 5).await;
    assert_eq!(store.seal_blob(seen).await.expect("writes work"), Guarded::Done(()));
    assert_eq!(store.finish_files(made.id).await.expect("writes work"), Guarded::Done(()));
    let files = store.files(made.id).await.expect("reads work");
    let expected = FileRow {
        artifact: made.id,
        path: "x".to_owned(),
        blob: second,
        gzip: true,
        length: 9,
        stored: 5,
        complete: true,
    };
    assert_eq!(files, [expected]);
    assert_eq!(store.artifacts(RunId(1)).await.expect("reads work")[0].size, 5);
    assert_eq!(store.condemned_blobs(10).await.expect("reads work"), [first, half]);
    let gone = NewFile { artifact: 999, ..file("x", 1) };
    assert_eq!(store.add_file(gone).await.expect("writes work"), Guarded::Refused);
    let four = make(&*store, artifact("four", 4, 1)).await;
    assert_eq!(store.finish_files(four.id).await.expect("writes work"), Guarded::Refused);
}

/// Exactly, by beginning (the newest), within scope and version; wild cards mean themselves.
pub async fn caches_are_found_by_key_and_beginning(h: &dyn Harness) {
    let store = h.fresh().await;
    let old = save(&*store, cache("main", "k-1", 1), 3).await;
    let new = save(&*store, cache("main", "k-2", 2), 3).await;
    save(&*store, cache("topic", "k-3", 3), 3).await;
    store.reserve_cache(cache("main", "k-4", 4)).await.expect("writes work").done().expect("it is free");
    let by = async |git_ref, prefix, version| {
        let found = store.cache_by_prefix("default", "o/a", git_ref, prefix, version).await;
        found.expect("reads work").map(|c| c.id)
    };
    assert_eq!(by("main", "k-", "v").await, Some(new), "what is being uploaded is not seen");
    assert_eq!(by("main", "k-1", "v").await, Some(old));
    for (git_ref, prefix, version) in [
        ("main", "k-", "w"),
        ("other", "k-", "v"),
        ("main", "K-", "v"),
        ("main", "k_", "v"),
        ("main", "%", "v"),
    ] {
        assert_eq!(by(git_ref, prefix, version).await, None, "{git_ref} {prefix} {version}");
    }
    let exact = store.cache_exact("default", "o/a", "main", "k-1", "v").await.expect("reads work");
    assert_eq!(exact.map(|c| c.id), Some(old));
    assert!(store.cache_exact("other", "o/a", "main", "k-1", "v").await.expect("reads work").is_none());
}

/// A complete entry is never replaced; a reservation makes room only for whoever names it.
pub async fn caches_are_immutable_and_listed(h: &dyn Harness) {
    let store = h.fresh().await;
    let id = save(&*store, cache("main", "a", 1), 3).await;
    let again = NewCache { replaces: Some(id), ..cache("main", "a", 2) };
    assert_eq!(store.reserve_cache(again).await.expect("writes work"), Guarded::Refused);
    let first = store.reserve_cache(cache("main", "b", 1)).await.expect("writes work").done().expect("free");
    assert_eq!(store.reserve_cache(cache("main", "b", 1)).await.expect("writes work"), Guarded::Refused);
    let second = NewCache { replaces: Some(first.id), ..cache("main", "b", 2) };
    let second = store.reserve_cache(second).await.expect("writes work").done().expect("it makes room");
    let seen = fill(&*store, second.blob, 4).await;
    let wrong = store.finish_cache(first.id, seen, Timestamp(3)).await.expect("writes work");
    assert_eq!(wrong, Guarded::Refused);
    store.finish_cache(second.id, seen, Timestamp(3)).await.expect("writes work").done().expect("it fits");
    let list = async |filter: CacheFilter, cursor, limit| {
        let found = store.caches(&filter, cursor, limit).await.expect("reads work");
        found.into_iter().map(|c| c.id).collect::<Vec<_>>()
    };
    assert_eq!(list(CacheFilter::default(), None, 10).await, [second.id, id]);
    assert_eq!(list(CacheFilter::default(), Some(second.id), 10).await, [id]);
    assert_eq!(list(CacheFilter::default(), None, 1).await, [second.id]);
    let named = |f: fn(&mut CacheFilter)| {
        let mut filter = CacheFilter::default();
        f(&mut filter);
        filter
    };
    assert_eq!(list(named(|f| f.key = Some("a".to_owned())), None, 10).await, [id]);
    assert_eq!(list(named(|f| f.key_prefix = Some("b".to_owned())), None, 10).await, [second.id]);
    assert!(list(named(|f| f.git_ref = Some("x".to_owned())), None, 10).await.is_empty());
    assert!(list(named(|f| f.repository = Some("x".to_owned())), None, 10).await.is_empty());
    assert!(list(named(|f| f.project = Some("x".to_owned())), None, 10).await.is_empty());
    assert!(store.delete_cache(id).await.expect("writes work"));
    assert!(!store.delete_cache(id).await.expect("writes work"));
    assert!(store.cache(id).await.expect("reads work").is_none());
}

/// What the housekeeping deletes.
pub async fn old_and_surplus_entries_are_named(h: &dyn Harness) {
    let store = h.fresh().await;
    let a = save(&*store, cache("main", "a", 10), 60).await;
    let b = save(&*store, cache("main", "b", 20), 60).await;
    let c = save(&*store, NewCache { repository: "o/b".to_owned(), ..cache("main", "c", 5) }, 90).await;
    let half =
        store.reserve_cache(cache("main", "half", 1)).await.expect("writes work").done().expect("free");
    assert_eq!(store.surplus_caches(100, 10).await.expect("reads work"), [a]);
    store.touch_cache(a, Timestamp(30)).await.expect("writes work");
    store.touch_cache(a, Timestamp(1)).await.expect("writes work");
    assert_eq!(store.surplus_caches(100, 10).await.expect("reads work"), [b], "the least recently used");
    assert_eq!(store.surplus_caches(120, 10).await.expect("reads work"), [0_u64; 0]);
    let stale = async |idle, unfinished| {
        store.stale_caches(Timestamp(idle), Timestamp(unfinished), 10).await.expect("reads work")
    };
    assert_eq!(stale(20, 1).await, [c]);
    assert_eq!(stale(0, 2).await, [half.id]);

    // Without a run of this number every artifact is an orphan.
    let made = make(&*store, artifact("a", 4, 1)).await;
    let orphans = store.stale_artifacts(Timestamp(0), Timestamp(0), 10).await.expect("reads work");
    assert_eq!(orphans, [made.id]);
    let results = store.apply(vec![super::fixtures::create(1, &[1])]).await.expect("writes work");
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let stale = async |now, unfinished| {
        store.stale_artifacts(Timestamp(now), Timestamp(unfinished), 10).await.expect("reads work")
    };
    assert!(stale(1000, 1).await.is_empty());
    assert_eq!(stale(1001, 1).await, [made.id], "expired");
    assert_eq!(stale(0, 2).await, [made.id], "never finished");
}
