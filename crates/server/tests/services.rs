//! The services for jobs over HTTP: hostile addresses and tokens, ranges, identity tokens.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod support;

use fleetfoot_model::plan::{Dialect, Document, Plan, Resolution, ResolveArgs, RunInfo, RunParams};
use fleetfoot_model::spec::{Contexts, EnvironmentUse};
use fleetfoot_model::{Diagnostic, Diagnostics, Source};
use fleetfoot_server::ServerOptions;
use fleetfoot_workflow::WorkflowDialect;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use std::sync::Arc;
use support::Bench;

/// Workflows whose jobs have an environment and may ask for identity tokens.
struct Granting;

#[derive(Debug)]
struct GrantingDocument(Arc<dyn Document>);

impl Dialect for Granting {
    fn kind(&self) -> &'static str {
        "workflow"
    }

    fn parse(&self, source: &Source) -> Result<Arc<dyn Document>, Diagnostics> {
        Ok(Arc::new(GrantingDocument(WorkflowDialect.parse(source)?)))
    }
}

impl Document for GrantingDocument {
    fn warnings(&self) -> &[Diagnostic] {
        self.0.warnings()
    }

    fn contexts(&self, run: &RunInfo) -> Result<Contexts, Diagnostics> {
        self.0.contexts(run)
    }

    fn plan(&self, contexts: &Contexts, params: &RunParams) -> Result<Plan, Diagnostics> {
        self.0.plan(contexts, params)
    }

    fn resolve(&self, node: &str, args: &ResolveArgs<'_>) -> Result<Resolution, Diagnostic> {
        let mut resolution = self.0.resolve(node, args)?;
        if let Resolution::Run { jobs, .. } = &mut resolution {
            for job in jobs {
                let spec = Arc::make_mut(&mut job.spec);
                spec.permissions = Some([("id-token".to_owned(), "write".to_owned())].into_iter().collect());
                spec.environment = Some(EnvironmentUse { name: "production".to_owned(), url: None });
            }
        }
        Ok(resolution)
    }
}

/// A running job, as its actions see it.
struct Job {
    run: u64,
    attempt: Value,
    runner: (u64, String),
    services: Value,
    http: reqwest::Client,
}

impl Job {
    async fn start(bench: &Bench, name: &str) -> Self {
        let repository = json!({"url": "https://forge.example/octo/app", "name": "octo/app",
            "ref": "refs/heads/main", "sha": "0123456789012345678901234567890123456789"});
        let body = json!({"kind": "workflow", "document": support::DOCUMENT, "repository": repository,
            "path": ".github/workflows/ci.yml", "event": "push"});
        let created = bench.json(bench.admin("POST", "/api/v1/runs").json(&body), 201).await;
        let runner = bench.runner(name).await;
        for sequence in 1.. {
            let body = json!({"version": fleetfoot_model::version::VERSION, "instance": name,
                "sequence": sequence, "slots": 1, "wait_ms": 2000, "info": {"labels": ["test"]}});
            let url = format!("/api/v1/runners/{}/sync", runner.0);
            let sync = bench.request("POST", &url).bearer_auth(&runner.1).json(&body);
            let answer = bench.json(sync, 200).await;
            if let Some(given) = answer["assignments"].get(0) {
                return Self {
                    run: created["run"].as_u64().unwrap(),
                    attempt: given["attempt"].clone(),
                    runner,
                    services: given["services"].clone(),
                    http: bench.http.clone(),
                };
            }
            assert!(sequence < 10, "no job came");
        }
        unreachable!()
    }

    fn token(&self) -> &str {
        self.services["runtime_token"].as_str().unwrap()
    }

    async fn end(&self, bench: &Bench) {
        let done = json!({"job_id": self.attempt["job"], "conclusion": "success"});
        let url = format!("/runners/{}/complete-job", self.runner.0);
        bench.json(bench.request("POST", &url).bearer_auth(&self.runner.1).json(&done), 200).await;
    }

    fn twirp(&self, method: &str, mut body: Value) -> RequestBuilder {
        let a = &self.attempt;
        body["workflow_run_backend_id"] = json!(self.run.to_string());
        body["workflow_job_run_backend_id"] = json!(format!("{}.{}.{}", a["job"], a["attempt"], a["epoch"]));
        let base = self.services["results_url"].as_str().unwrap();
        let url = format!("{base}twirp/github.actions.results.api.v1.ArtifactService/{method}");
        self.http.post(url).bearer_auth(self.token()).json(&body)
    }

    async fn ok(&self, method: &str, body: Value) -> Value {
        support::json(self.twirp(method, body).send().await.unwrap(), 200).await
    }

    /// An artifact of one block; its address for reading and for writing.
    async fn artifact(&self, name: &str, bytes: &[u8]) -> (String, String) {
        let made = self.ok("CreateArtifact", json!({"name": name, "version": 7})).await;
        let write = made["signed_upload_url"].as_str().unwrap().to_owned();
        assert_eq!(self.put(&format!("{write}&comp=block&blockid=YQ"), bytes.to_vec()).await, 201);
        let list = b"<BlockList><Latest>YQ</Latest></BlockList>".to_vec();
        assert_eq!(self.put(&format!("{write}&comp=blocklist"), list).await, 201);
        self.ok("FinalizeArtifact", json!({"name": name, "size": bytes.len().to_string()})).await;
        let found = self.ok("GetSignedArtifactURL", json!({"name": name})).await;
        (found["signed_url"].as_str().unwrap().to_owned(), write)
    }

    async fn put(&self, url: &str, body: Vec<u8>) -> u16 {
        self.http
            .put(url)
            .header("x-ms-version", "2025-05-05")
            .body(body)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    async fn get(&self, url: &str) -> u16 {
        self.http.get(url).send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn addresses_cannot_be_bent_and_end_with_their_attempt() {
    let bench = Bench::new().await;
    let job = Job::start(&bench, "one").await;
    let (read, write) = job.artifact("a", b"hello").await;
    assert_eq!(job.get(&read).await, 200);
    for bent in [
        read.replace("op=r", "op=w"),
        read.replace("of=artifact", "of=cache"),
        read.replace("/blobs/1?", "/blobs/2?"),
        read.replace("exp=", "exp=9"),
        format!("{}0", &read[..read.len() - 1]).replace("sig=0", "sig=1"),
        read.split("&sig").next().unwrap().to_owned(),
        read.split('?').next().unwrap().to_owned(),
        write.clone(),
    ] {
        if bent != read {
            assert_eq!(job.get(&bent).await, 403, "{bent}");
        }
    }
    let block = format!("{write}&comp=block&blockid=YQ");
    assert_eq!(job.put(&read.replace('?', "?comp=block&blockid=YQ&"), vec![0]).await, 403, "for reading");
    assert_eq!(job.put(&block, b"evil".to_vec()).await, 409, "it is final");
    let fresh = job.ok("CreateArtifact", json!({"name": "b", "version": 7})).await;
    let fresh = format!("{}&comp=block&blockid=YQ", fresh["signed_upload_url"].as_str().unwrap());
    let large = vec![7; 12 << 20];
    assert_eq!(job.put(&fresh, large).await, 201, "larger than a request of the API may be");

    job.end(&bench).await;
    assert_eq!(job.put(&fresh, vec![0]).await, 403);
    assert_eq!(job.get(&read).await, 403);
    let late = job.twirp("ListArtifacts", json!({})).send().await.unwrap();
    let late = support::json(late, 401).await;
    assert_eq!(late["code"], "unauthenticated");
    bench.stop().await;
}

#[tokio::test]
async fn a_token_is_good_for_its_own_run_alone() {
    let bench = Bench::new().await;
    let mine = Job::start(&bench, "one").await;
    let other = Job::start(&bench, "two").await;
    mine.artifact("a", b"hello").await;
    // The ids of a run with the token of another one.
    let crossed = Job { services: other.services.clone(), ..Job::start(&bench, "three").await };
    assert_eq!(crossed.twirp("ListArtifacts", json!({})).send().await.unwrap().status(), 403);
    let base = mine.services["runtime_url"].as_str().unwrap();
    let path = format!("{base}_apis/pipelines/workflows/{}/artifacts", mine.run);
    let body = json!({"Type": "actions_storage", "Name": "files"});
    let ask = |token: &str| mine.http.post(&path).bearer_auth(token.to_owned()).json(&body).send();
    assert_eq!(ask(other.token()).await.unwrap().status(), 404);
    let made = support::json(ask(mine.token()).await.unwrap(), 201).await;
    let container = made["fileContainerResourceUrl"].as_str().unwrap();
    let put = |token: &str, item: &str| {
        let encoded: String = item.bytes().map(|b| format!("%{b:02X}")).collect();
        let put = mine.http.put(format!("{container}?itemPath={encoded}")).bearer_auth(token.to_owned());
        put.header("content-range", "bytes 0-4/5").body("hello").send()
    };
    assert_eq!(put(other.token(), "files/x").await.unwrap().status(), 404);
    for item in
        ["files/../x", "x", "other/x", "files//x", "files/a\\b", "files/%2e%2e/x", "files/a\0b", "files/"]
    {
        assert_eq!(put(mine.token(), item).await.unwrap().status(), 400, "{item}");
    }
    assert_eq!(put(mine.token(), "files/x").await.unwrap().status(), 200);
    for token in ["", "garbage", bench.admin.as_str(), "a.b.c"] {
        assert_eq!(ask(token).await.unwrap().status(), 401, "{token}");
    }
    let bent = format!("{}x", mine.token());
    assert_eq!(ask(&bent).await.unwrap().status(), 401);
    let nobody = mine.http.post(&path).json(&body).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    bench.stop().await;
}

#[tokio::test]
async fn downloads_have_ranges_and_names() {
    let bench = Bench::new().await;
    let job = Job::start(&bench, "one").await;
    let (read, _) = job.artifact("a b", b"hello").await;
    let listed = bench.json(bench.admin("GET", &format!("/api/v1/runs/{}/artifacts", job.run)), 200).await;
    let artifact = &listed["artifacts"][0];
    let digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert_eq!((&artifact["name"], &artifact["digest"]), (&json!("a b"), &json!(digest)));
    let path = format!("/api/v1/artifacts/{}", artifact["id"]);
    assert_eq!(bench.json(bench.admin("GET", &path), 200).await, *artifact);
    let api = bench.admin("GET", &format!("{path}/download"));
    for (request, name) in [(api, "signed"), (job.http.get(&read), "api")] {
        let whole = request.try_clone().unwrap().send().await.unwrap();
        assert_eq!(whole.headers()["content-type"], "application/zip", "{name}");
        let disposition = whole.headers()["content-disposition"].to_str().unwrap();
        assert_eq!(disposition, "attachment; filename*=UTF-8''a%20b.zip");
        assert_eq!(whole.headers()["content-length"], "5");
        assert_eq!(whole.text().await.unwrap(), "hello");
        let part = request.try_clone().unwrap().header("range", "bytes=1-3").send().await.unwrap();
        assert_eq!(
            (part.status().as_u16(), part.headers()["content-range"].to_str().unwrap()),
            (206, "bytes 1-3/5")
        );
        assert_eq!(part.text().await.unwrap(), "ell");
        let beyond = request.header("range", "bytes=5-").send().await.unwrap();
        assert_eq!(beyond.status(), 416);
    }
    let head = job.http.head(&read).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "5"));
    bench.json(bench.admin("DELETE", &path), 204).await;
    bench.problem(bench.admin("GET", &path), 404).await;
    assert_eq!(job.get(&read).await, 404);
    bench.stop().await;
}

#[tokio::test]
async fn identity_tokens_verify_with_the_published_keys() {
    let bench = Bench::with_dialects(ServerOptions::default(), vec![Arc::new(Granting)]).await;
    let job = Job::start(&bench, "one").await;
    let address = job.services["id_token_url"].as_str().expect("the permission is there");
    let ask =
        |token: &str| job.http.get(format!("{address}&audience=sts.example")).bearer_auth(token.to_owned());
    assert_eq!(ask("garbage").send().await.unwrap().status(), 401);
    let token = bench.json(ask(job.token()), 200).await["value"].as_str().unwrap().to_owned();

    let discovery = bench.json(bench.request("GET", "/.well-known/openid-configuration"), 200).await;
    assert_eq!(discovery["issuer"], json!(bench.url));
    let keys = bench.json(job.http.get(discovery["jwks_uri"].as_str().unwrap()), 200).await;
    let kid = decode_header(&token).unwrap().kid.unwrap();
    let key = keys["keys"].as_array().unwrap().iter().find(|k| k["kid"] == json!(kid)).unwrap();
    let (n, e) = (key["n"].as_str().unwrap(), key["e"].as_str().unwrap());
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&["sts.example"]);
    validation.set_issuer(&[&bench.url]);
    let key = DecodingKey::from_rsa_components(n, e).unwrap();
    let claims = decode::<Value>(&token, &key, &validation).unwrap().claims;
    for (name, expected) in [
        ("sub", "repo:octo/app:environment:production"),
        ("repository", "octo/app"),
        ("repository_owner", "octo"),
        ("ref", "refs/heads/main"),
        ("ref_type", "branch"),
        ("sha", "0123456789012345678901234567890123456789"),
        ("run_id", &job.run.to_string()),
        ("event_name", "push"),
        ("environment", "production"),
        ("runner_environment", "self-hosted"),
        ("job_workflow_ref", "octo/app/.github/workflows/ci.yml@refs/heads/main"),
    ] {
        assert_eq!(claims[name], expected, "{name} in {claims}");
    }
    let bent = format!("{}A{}", &token[..token.len() - 10], &token[token.len() - 9..]);
    assert!(decode::<Value>(&bent, &key, &validation).is_err() || bent == token);
    job.end(&bench).await;
    assert_eq!(ask(job.token()).send().await.unwrap().status(), 401);
    bench.stop().await;
}

#[tokio::test]
async fn without_the_permission_there_is_no_identity() {
    let bench = Bench::new().await;
    let job = Job::start(&bench, "one").await;
    assert!(job.services.get("id_token_url").is_none(), "{}", job.services);
    let url = format!("{}/_services/oidc/token?api-version=2.0&audience=x", bench.url);
    assert_eq!(job.http.get(url).bearer_auth(job.token()).send().await.unwrap().status(), 403);
    bench.stop().await;
}
