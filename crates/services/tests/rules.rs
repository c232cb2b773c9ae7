//! The rules over a real store and real objects, without HTTP: who may write which cache, what is
//! verified, quotas, retention.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use async_trait::async_trait;
use bytes::Bytes;
use fleetfoot_model::ids::{AttemptRef, Epoch, JobId, RunId};
use fleetfoot_model::time::Timestamp;
use fleetfoot_objects::{Objects, ObjectsConfig};
use fleetfoot_services::{
    ARTIFACT_SERVICE, Body, CACHE_SERVICE, CacheScopes, ErrorKind, Gate, Grant, Job, Keys, Limits,
    ServiceError, Services, Shelf,
};
use fleetfoot_store_sqlite::SqliteStore;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const BASE: &str = "http://127.0.0.1:1/";

/// Every attempt of an epoch below 1000 still runs.
struct Running;

#[async_trait]
impl Gate for Running {
    async fn is_open(&self, attempt: AttemptRef) -> bool {
        attempt.epoch.0 < 1000
    }
}

struct Bench {
    services: Arc<Services>,
    objects: Objects,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open_scratch(dir.path()).unwrap());
        let objects = Objects::open(&ObjectsConfig::directory(&dir.path().join("objects"))).unwrap();
        let shelf = Shelf { store, objects: objects.clone() };
        let services = Services::new(shelf.clone(), shelf, Keys::derive(&[1; 32]), limits);
        Self { services: Arc::new(services), objects, dir }
    }

    async fn call(
        &self,
        job: &Job,
        service: &str,
        method: &str,
        mut body: Value,
    ) -> Result<Value, ServiceError> {
        body["workflow_run_backend_id"] = json!(job.run_id());
        body["workflow_job_run_backend_id"] = json!(job.job_id());
        let bytes = serde_json::to_vec(&body).unwrap();
        self.services.twirp(job, &Running, (service, method), &bytes, BASE, NOW).await
    }

    fn grant(&self, url: &Value) -> Grant {
        let (path, query) = url.as_str().unwrap().split_once('?').unwrap();
        let id = path.rsplit('/').next().unwrap().parse().unwrap();
        let pairs: HashMap<_, _> = query
            .split('&')
            .map(|p| p.split_once('=').unwrap())
            .map(|(k, v)| (k.to_owned(), v.replace("%2F", "/").replace("%20", " ")))
            .collect();
        Grant::parse(self.services.keys(), id, &pairs, NOW).unwrap()
    }

    async fn artifact(&self, job: &Job, name: &str, blocks: &[&str]) -> Grant {
        let made =
            self.call(job, ARTIFACT_SERVICE, "CreateArtifact", json!({"name": name, "version": 7})).await;
        let grant = self.grant(&made.unwrap()["signed_upload_url"]);
        let mut ids = Vec::new();
        for (n, block) in blocks.iter().enumerate() {
            let id = format!("b{n}");
            self.services.put_block(&grant, &id, Some(block.len() as u64), body(block)).await.unwrap();
            ids.push(id);
        }
        self.services.put_block_list(&grant, ids).await.unwrap();
        grant
    }

    async fn finalize(
        &self,
        job: &Job,
        name: &str,
        size: usize,
        hash: Option<&str>,
    ) -> Result<Value, ServiceError> {
        let body = json!({"name": name, "size": size.to_string(), "hash": hash});
        self.call(job, ARTIFACT_SERVICE, "FinalizeArtifact", body).await
    }

    async fn save(&self, job: &Job, key: &str, content: &str) -> Value {
        let entry = json!({"key": key, "version": "v"});
        let made = self.call(job, CACHE_SERVICE, "CreateCacheEntry", entry).await.unwrap();
        if made["ok"] != json!(true) {
            return made;
        }
        let grant = self.grant(&made["signed_upload_url"]);
        self.services.put_whole(&grant, None, body(content)).await.unwrap();
        let entry = json!({"key": key, "version": "v", "size_bytes": content.len()});
        self.call(job, CACHE_SERVICE, "FinalizeCacheEntryUpload", entry).await.unwrap()
    }

    async fn restore(&self, job: &Job, key: &str, more: &[&str]) -> Option<(String, String)> {
        let entry = json!({"key": key, "version": "v", "restore_keys": more});
        let found = self.call(job, CACHE_SERVICE, "GetCacheEntryDownloadURL", entry).await.unwrap();
        if found["ok"] != json!(true) {
            return None;
        }
        let content = self.services.content(&self.grant(&found["signed_download_url"])).await.unwrap();
        let pieces: Vec<Bytes> = content.stream(0..content.length).try_collect().await.unwrap();
        let text = String::from_utf8(pieces.concat()).unwrap();
        Some((found["matched_key"].as_str().unwrap().to_owned(), text))
    }
}

fn body(text: &str) -> Body {
    stream::iter([Ok(Bytes::copy_from_slice(text.as_bytes()))]).boxed()
}

fn job(n: u64, git_ref: &str, read: &[&str], writes: bool) -> Job {
    Job {
        attempt: AttemptRef { job: JobId(n), attempt: 1, epoch: Epoch(n) },
        run: RunId(n),
        project: "default".to_owned(),
        caches: CacheScopes {
            repository: "o/a".to_owned(),
            read: std::iter::once(git_ref).chain(read.iter().copied()).map(str::to_owned).collect(),
            write: writes.then(|| git_ref.to_owned()),
        },
    }
}

fn main_job(n: u64) -> Job {
    job(n, "refs/heads/main", &[], true)
}

const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn size_and_digest_are_verified_and_what_is_final_stays() {
    let bench = Bench::new(Limits::default());
    let job = main_job(1);
    let grant = bench.artifact(&job, "a", &["hel", "lo"]).await;
    let wrong = format!("sha256:{}", "00".repeat(32));
    for (size, hash) in [(4, Some(HELLO)), (6, None), (5, Some(wrong.as_str())), (5, Some("md5:1"))] {
        let refused = bench.finalize(&job, "a", size, hash).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid, "{size} {hash:?}: {refused}");
    }
    assert_eq!(bench.finalize(&main_job(2), "a", 5, None).await.unwrap_err().kind, ErrorKind::Missing);
    let done = bench.finalize(&job, "a", 5, Some(HELLO)).await.unwrap();
    assert_eq!(bench.finalize(&job, "a", 5, Some(HELLO)).await.unwrap(), done, "a repeated request");
    assert_eq!(bench.finalize(&job, "a", 4, None).await.unwrap_err().kind, ErrorKind::Conflict);
    let late = bench.services.put_block(&grant, "b0", None, body("evil")).await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::Conflict);
    assert_eq!(
        bench.services.put_block_list(&grant, Vec::new()).await.unwrap_err().kind,
        ErrorKind::Conflict
    );
    let again = json!({"name": "a", "version": 4});
    let taken = bench.call(&job, ARTIFACT_SERVICE, "CreateArtifact", again).await.unwrap_err();
    assert_eq!(taken.kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn concurrent_finalizes_agree() {
    let bench = Arc::new(Bench::new(Limits::default()));
    let job = main_job(1);
    bench.artifact(&job, "a", &["hello"]).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (bench, job) = (bench.clone(), job.clone());
            tokio::spawn(async move { bench.finalize(&job, "a", 5, Some(HELLO)).await })
        })
        .collect();
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(task.await.unwrap().unwrap()["artifact_id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(bench.services.artifacts(RunId(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_retry_of_a_job_replaces_what_its_last_attempt_made() {
    let bench = Bench::new(Limits::default());
    let first = main_job(1);
    bench.artifact(&first, "a", &["hello"]).await;
    bench.finalize(&first, "a", 5, None).await.unwrap();
    let mut second = first.clone();
    second.attempt = AttemptRef { attempt: 2, epoch: Epoch(2), ..first.attempt };
    bench.artifact(&second, "a", &["again"]).await;
    bench.finalize(&second, "a", 5, None).await.unwrap();
    assert_eq!(bench.services.artifacts(RunId(1)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_pull_request_cannot_poison_a_branch() {
    let bench = Bench::new(Limits::default());
    let main = main_job(1);
    let pull = job(2, "refs/pull/5/merge", &["refs/heads/main"], true);
    let other = job(3, "refs/pull/6/merge", &["refs/heads/main"], true);
    assert_eq!(bench.save(&main, "deps-1", "good").await["ok"], true);
    assert_eq!(bench.save(&pull, "deps-2", "evil").await["ok"], true);
    let hit = |key: &str, text: &str| Some((key.to_owned(), text.to_owned()));
    assert_eq!(bench.restore(&pull, "deps-2", &[]).await, hit("deps-2", "evil"));
    assert_eq!(bench.restore(&pull, "deps-1", &[]).await, hit("deps-1", "good"));
    assert_eq!(bench.restore(&main, "deps-2", &[]).await, None);
    assert_eq!(bench.restore(&main, "x", &["deps-"]).await, hit("deps-1", "good"));
    assert_eq!(bench.restore(&other, "deps-2", &["deps-"]).await, hit("deps-1", "good"));
    let elsewhere =
        Job { caches: CacheScopes { repository: "o/b".to_owned(), ..main.caches.clone() }, ..main.clone() };
    assert_eq!(bench.restore(&elsewhere, "deps-1", &["deps"]).await, None, "another repository");
    let project = Job { project: "other".to_owned(), ..main.clone() };
    assert_eq!(bench.restore(&project, "deps-1", &["deps"]).await, None, "another project");
}

#[tokio::test]
async fn a_run_from_outside_reads_and_does_not_write() {
    let bench = Bench::new(Limits::default());
    bench.save(&main_job(1), "deps-1", "good").await;
    let fork = job(2, "refs/heads/main", &[], false);
    assert_eq!(bench.restore(&fork, "deps-1", &[]).await.unwrap().1, "good");
    let refused = bench.save(&fork, "deps-2", "evil").await;
    assert_eq!(refused["ok"], false);
    assert!(refused["message"].as_str().unwrap().starts_with("cache write denied:"), "{refused}");
}

#[tokio::test]
async fn keys_are_tried_in_order_and_the_newest_wins() {
    let bench = Bench::new(Limits::default());
    let job = main_job(1);
    for key in ["linux-a-1", "linux-b-1", "linux-a-2", "mac-1"] {
        bench.save(&job, key, key).await;
    }
    let found = async |key: &str, more: &[&str]| bench.restore(&job, key, more).await.map(|f| f.0);
    assert_eq!(found("linux-a-1", &["linux-"]).await.as_deref(), Some("linux-a-1"));
    assert_eq!(found("linux-a-", &[]).await.as_deref(), Some("linux-a-2"));
    assert_eq!(found("nothing", &["linux-b", "linux-"]).await.as_deref(), Some("linux-b-1"));
    assert_eq!(found("nothing", &["linux-", "mac"]).await.as_deref(), Some("linux-a-2"));
    assert_eq!(found("nothing", &["windows-"]).await, None);
    for bad in ["a,b", "", &"x".repeat(513)] {
        let entry = json!({"key": bad, "version": "v"});
        let refused = bench.call(&job, CACHE_SERVICE, "CreateCacheEntry", entry).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid, "{bad}");
    }
    assert_eq!(bench.save(&job, "mac-1", "evil").await["ok"], false, "an entry never changes");
    assert_eq!(bench.restore(&job, "mac-1", &[]).await.unwrap().1, "mac-1");
}

#[tokio::test]
async fn a_reservation_ends_with_its_job() {
    let bench = Bench::new(Limits::default());
    let entry = json!({"key": "k", "version": "v"});
    let reserve = async |n: u64| {
        bench.call(&main_job(n), CACHE_SERVICE, "CreateCacheEntry", entry.clone()).await.unwrap()["ok"]
            .clone()
    };
    assert_eq!(reserve(1).await, json!(true));
    assert_eq!(reserve(2).await, json!(false), "another job is saving it");
    assert_eq!(reserve(1).await, json!(true), "the same job tries again");
    let bench = Bench::new(Limits::default());
    let dead = main_job(5000);
    bench.call(&dead, CACHE_SERVICE, "CreateCacheEntry", entry.clone()).await.unwrap();
    assert_eq!(bench.save(&main_job(2), "k", "fresh").await["ok"], true, "the job before it is over");
}

#[tokio::test]
async fn quotas_hold() {
    let limits = Limits { blob_bytes: 100, project_bytes: 150, cache_bytes: 100, ..Limits::default() };
    let bench = Bench::new(limits);
    let job = main_job(1);
    let made = bench.call(&job, ARTIFACT_SERVICE, "CreateArtifact", json!({"name": "a", "version": 7})).await;
    let grant = bench.grant(&made.unwrap()["signed_upload_url"]);
    let block = "x".repeat(80);
    let put = async |id: &str, length: Option<u64>| {
        bench.services.put_block(&grant, id, length, body(&block)).await.map_err(|e| e.kind)
    };
    assert_eq!(put("a", Some(80)).await, Ok(()));
    assert_eq!(put("b", Some(80)).await, Err(ErrorKind::Quota), "of the artifact, as it was announced");
    assert_eq!(put("b", None).await, Err(ErrorKind::Quota), "of the artifact, when it shows");
    assert_eq!(put("a", Some(80)).await, Err(ErrorKind::Quota), "of the project, until the old part is gone");
    let objects = bench.objects.list("blobs").await.unwrap();
    assert_eq!(objects.len(), 1, "nothing is left of what was refused: {objects:?}");
}

#[tokio::test]
async fn the_least_recently_used_caches_go_first() {
    let bench = Bench::new(Limits { cache_bytes: 100, ..Limits::default() });
    let job = main_job(1);
    for key in ["a", "b", "c"] {
        assert_eq!(bench.save(&job, key, &"x".repeat(45)).await["ok"], true);
    }
    assert!(bench.restore(&job, "c", &[]).await.is_some());
    assert!(bench.restore(&job, "a", &[]).await.is_none());
    assert_eq!(bench.objects.list("blobs").await.unwrap().len(), 2, "its bytes are gone too");
}

#[tokio::test]
async fn the_housekeeping_deletes_what_is_over() {
    let bench = Bench::new(Limits::default());
    let job = main_job(1);
    bench.save(&job, "k", "cached").await;
    bench.artifact(&job, "half", &["never finished"]).await;
    assert_eq!(bench.objects.list("blobs").await.unwrap().len(), 2);
    let day = Duration::from_secs(24 * 3600);
    // The run is not in this store: its artifacts are orphans.
    let swept = bench.services.sweep(NOW).await.unwrap();
    assert_eq!((swept.artifacts, swept.caches), (1, 0));
    assert_eq!(bench.services.sweep(NOW + day * 6).await.unwrap().caches, 0);
    assert!(bench.restore(&job, "k", &[]).await.is_some());
    assert_eq!(bench.services.sweep(NOW + day * 8).await.unwrap().caches, 1);
    assert!(bench.objects.list("blobs").await.unwrap().is_empty());
    assert!(bench.dir.path().join("objects").exists());
}

#[tokio::test]
async fn hostile_names_are_refused() {
    let bench = Bench::new(Limits::default());
    let job = main_job(1);
    for name in ["../x", "..", "a/b", "a\\b", "%2e%2e%2fx", "a\0b", "/abs", "a:b", "", "a%5Cb"] {
        let refused =
            bench.call(&job, ARTIFACT_SERVICE, "CreateArtifact", json!({"name": name, "version": 7})).await;
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Invalid, "{name:?}");
    }
    let body =
        json!({"workflow_run_backend_id": "2", "workflow_job_run_backend_id": job.job_id(), "name": "a"});
    let bytes = serde_json::to_vec(&body).unwrap();
    let of = (ARTIFACT_SERVICE, "ListArtifacts");
    let refused = bench.services.twirp(&job, &Running, of, &bytes, BASE, NOW).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied, "another run's id");
}
