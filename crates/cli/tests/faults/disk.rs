//! Full disks, on small file systems of their own. Where mounting is not
//! permitted these tests say so and do nothing.

use crate::support::*;
use fleetfoot_model::Code;
use fleetfoot_model::state::{Conclusion, Reason, RunnerState};
use fleetfoot_testkit::{TestRunner, TestServer};
use std::time::Duration;

#[test]
fn the_disk_of_the_server_is_full_for_a_while() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let mut server = TestServer::server_at(BINARY, &disk.path().join("data"), &[]);
    let _runner = TestRunner::start(&server, "spools", 1, &["linux"]);
    let api = Api::of(&server);
    let running = api.submit(&one_step(&numbered(150, 0.02)));
    api.printed(running.jobs[0].id, "line 1\n");
    disk.fill();

    // Small writes may still find room in files that exist; soon none does.
    let refused = wait_for("a submit to be refused", LONG, || {
        api.try_submit(&one_step(&format!("true {}", "x".repeat(20_000))), None).err()
    });
    assert_eq!(refused.code(), Some(Code::DiskFull), "{refused:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), one_step(&format!("true {}", "x".repeat(20_000)))).unwrap();
    let path = file.path().display().to_string();
    let told = server.cli().run(&["submit", "--kind", "workflow", &path]);
    assert_eq!(told.code, 3, "{told:?}");
    assert!(told.stderr.contains("disk of the server is full"), "{told:?}");
    let status = raw_submit(&server);
    assert_eq!(status, 507);
    assert!(api.run(running.run).is_ok(), "reading goes on");
    // The step has ended meanwhile; its runner waits with what it knows.
    std::thread::sleep(Duration::from_secs(3));
    disk.free();
    succeeded(&api.ended_job(&running, LONG));
    assert_eq!(api.log_text(running.jobs[0].id), numbered_text(150));
    succeeded(&api.ended_job(&api.submit(&one_step("echo after")), LONG));

    // What was written is whole: another process opens and reads it.
    server.kill_and_restart();
    succeeded(&api.ended_job(&running, LONG));
    assert_eq!(api.log_text(running.jobs[0].id), numbered_text(150));
    assert_eq!(server.stop().code(), Some(0));
    let store = fleetfoot_store_sqlite::SqliteStore::open(server.data(), Default::default());
    assert!(store.is_ok(), "{:?}", store.err());
}

fn raw_submit(server: &TestServer) -> u16 {
    let body = serde_json::json!({ "kind": "workflow", "document": one_step(&format!("true {}", "x".repeat(20_000))) });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let request = reqwest::Client::new()
        .post(format!("{}/api/v1/runs", server.url()))
        .bearer_auth(server.admin_token())
        .json(&body);
    runtime.block_on(request.send()).unwrap().status().as_u16()
}

#[test]
fn a_step_fills_the_disk_of_the_runner() {
    let Some(disk) = SmallDisk::mount(16) else { return };
    let server = TestServer::server(BINARY, &[]);
    let api = Api::of(&server);
    let work = disk.path().join("work");
    // By default a runner wants more room than this for any job, and says so instead of failing it.
    let fills = api.submit(&one_step("head -c 64M /dev/zero > fill"));
    let mut careful =
        TestRunner::start_at(&server, server.url(), Some(&work), "small", 1, &["--label", "linux"]);
    wait_for("the runner to say that it cannot work", LONG, || {
        (api.state("small") == RunnerState::Error).then_some(())
    });
    let why = server.cli().run(&["why", &fills.jobs[0].id.to_string()]);
    assert!(why.stdout.contains("report an error"), "{why:?}");
    assert_eq!(careful.stop().code(), Some(0));
    let further = ["--label", "linux", "--keep-free", "1M"];
    let mut runner = TestRunner::start_at(&server, server.url(), Some(&work), "small", 1, &further);

    // The program that fills it says so itself.
    let ended = api.ended_job(&fills, LONG);
    assert_eq!(ended.conclusion, Some(Conclusion::Failure));
    assert!(api.log_text(ended.id).contains("No space left on device"), "{}", api.log_text(ended.id));

    // One that does not care leaves no room for the files of the next step.
    let careless = api.submit(&job(
        "",
        &[
            "head -c 64M /dev/zero > fill || true\ndd if=/dev/zero of=fill2 bs=1 2>/dev/null || true",
            "echo next",
        ],
    ));
    let ended = api.ended_job(&careless, LONG);
    assert_eq!(ended.conclusion, Some(Conclusion::Failure), "{ended:?}");
    assert_eq!(ended.reason, Some(Reason::DiskFull), "{ended:?}");
    let message = ended.message.unwrap_or_default();
    assert!(message.to_lowercase().contains("space") || message.contains("full"), "{message}");

    let next = api.submit(&one_step("echo room again"));
    succeeded(&api.ended_job(&next, LONG));
    assert_eq!(std::fs::read_dir(runner.work_dir().join("jobs")).map_or(0, Iterator::count), 0);
    assert_eq!(runner.stop().code(), Some(0));
}
