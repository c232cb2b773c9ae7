//! Cancelling a step that does not want to end.

use crate::support::*;
use fleetfoot_model::state::Conclusion;
use fleetfoot_testkit::{TestRunner, TestServer};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[test]
fn a_step_that_ignores_signals_is_dead_in_time_and_always_steps_run() {
    let server = TestServer::server(BINARY, &[]);
    let _runner = TestRunner::start(&server, "patient", 1, &["linux"]);
    let api = Api::of(&server);
    let dir = tempfile::tempdir().unwrap();
    let (signalled, pid) = (dir.path().join("signalled"), dir.path().join("pid"));
    let stubborn = format!(
        "{PAUSE_SH}trap 'echo $EPOCHREALTIME INT >> {0}' INT; trap 'echo $EPOCHREALTIME TERM >> {0}' TERM\n\
         echo $$ > {1}; echo ready; while true; do pause 1; done",
        signalled.display(),
        pid.display()
    );
    let mut document = job("", &[&stubborn, "echo never"]);
    document.push_str("      - if: always()\n        run: echo cleaned up\n");
    let created = api.submit(&document);
    let id = created.jobs[0].id;
    api.printed(id, "ready\n");
    let pid: u32 = file_with_line(&pid).trim().parse().unwrap();

    let begin = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "compared with a time that a shell writes down")]
    let asked = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    api.cancel(created.run);
    // Twice is the same as once.
    api.cancel(created.run);
    wait_for("the step to be dead", Duration::from_secs(15), || alive(pid).is_none().then_some(()));
    assert!(begin.elapsed() <= Duration::from_secs(15), "{:?}", begin.elapsed());
    let ended = api.ended_job(&created, LONG);
    assert_eq!(ended.conclusion, Some(Conclusion::Cancelled), "{:?}", ended.message);
    assert_eq!(api.run(created.run).unwrap().conclusion, Some(Conclusion::Cancelled));
    assert_eq!(api.log_text(id), "ready\ncleaned up\n");
    let steps: Vec<_> = ended.steps.iter().map(|s| s.conclusion).collect();
    assert_eq!(steps, [Conclusion::Cancelled, Conclusion::Skipped, Conclusion::Success].map(Some));

    let text = std::fs::read_to_string(&signalled).unwrap();
    let (times, names): (Vec<f64>, Vec<&str>) = text
        .lines()
        .map(|l| l.split_once(' ').unwrap())
        .map(|(time, name)| (time.replace(',', ".").parse::<f64>().unwrap(), name))
        .unzip();
    assert_eq!(names, ["INT", "TERM"], "the ladder, each rung once");
    assert!(times[0] - asked <= 1.0, "the first signal came after {} s", times[0] - asked);
    assert_eq!(processes_of(&server), Vec::<String>::new());
}
