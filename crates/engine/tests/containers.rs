//! Job containers, services and actions that are containers, over an engine in
//! memory that remembers what was asked of it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::fake::{Behaviour, FakeEngine, FakeGvisor};
use common::{Job, eventually, run_step, uses_step};
use fleetfoot_engine::Fence;
use fleetfoot_model::Status;
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::spec::{ContainerSpec, StepSpec};
use fleetfoot_model::state::{Conclusion, Reason};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn image(image: &str) -> ContainerSpec {
    ContainerSpec { image: image.into(), ..ContainerSpec::default() }
}

/// A job on a runner with such an engine.
fn with_engine(steps: Vec<StepSpec>, behaviour: Behaviour) -> (Job, Arc<FakeEngine>) {
    let mut job = Job::new(steps);
    let engine = FakeEngine::new(job.driver.clone(), behaviour);
    job.fence = Some(Fence { containers: Some(engine.clone()), ..Fence::of(job.driver.clone()) });
    (job, engine)
}

fn names(job: &Job) -> Vec<String> {
    let steps = job.sink.steps.lock().unwrap();
    let shown = |c: Option<Conclusion>| c.map_or("-", Conclusion::as_result);
    steps.iter().map(|s| format!("{} {} {}", s.index, s.name, shown(s.conclusion))).collect()
}

/// The log of one step.
fn log_of(job: &Job, index: u16) -> String {
    let log = job.sink.log.lock().unwrap();
    let bytes: Vec<u8> =
        log.iter().filter(|(step, _, _)| *step == index).flat_map(|(_, _, b)| b.to_vec()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A step that writes a file of the workspace.
fn write(path: &str, text: &str) -> StepSpec {
    let text = text.replace("${{", "${{ '${{' }}");
    run_step("file", &format!("mkdir -p \"$(dirname {path})\"; cat > {path} <<'END'\n{text}\nEND"))
}

#[tokio::test]
async fn a_job_container_and_services_in_order_with_their_contexts() {
    let script = r#"
        echo "container ${{ job.container.id }} ${{ job.container.network }}"
        echo "service ${{ job.services.db.id }} ${{ job.services.db.network }} ${{ job.services.db.ports['5432'] }}"
        echo "image $OF_IMAGE, container $OF_CONTAINER, home $HOME, path ${PATH##*:}"
        echo "user [${USER:-}] shell ${BASH_VERSION:-none}"
        case "$GITHUB_WORKSPACE" in */github/workspace) echo workspace is inside;; esac
        case "$0 $GITHUB_OUTPUT $RUNNER_TEMP" in */github/runner_temp*/github/runner_temp*/github/runner_temp) echo files are inside;; esac
        [ "$(pwd -P)" = "$(cd "$GITHUB_WORKSPACE" && pwd -P)" ] && echo in the workspace
        echo "over $OVER"
        echo done=yes >> "$GITHUB_OUTPUT"
    "#;
    let behaviour = Behaviour { service_log: "ready with s3cret-word\nbye", ..Behaviour::default() };
    let steps = vec![run_step("a", script), run_step("b", "echo ${{ steps.a.outputs.done }}")];
    let (job, engine) = with_engine(steps, behaviour);
    let mut job = job.secret("PASSWORD", "s3cret-word");
    let spec = job.spec();
    spec.env = vec![[("OVER".to_owned(), "job".to_owned())].into_iter().collect()];
    let mut container = image("app:1");
    container.env = [("OF_CONTAINER", "${{ github.job }}"), ("OVER", "container")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into_iter()
        .collect();
    container.options = Some("--cpus 1".into());
    container.volumes = vec!["v:/v".into()];
    spec.container = Some(container);
    let mut db = image("db:2");
    db.username = Some("me".into());
    db.password = Some("${{ secrets.PASSWORD }}".into());
    db.ports = vec!["5432".into()];
    db.command = Some("serve 'two words' --privileged".into());
    spec.services.insert("db".into(), db);
    spec.services.insert("none".into(), image("${{ '' }}"));
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    insta::assert_snapshot!(engine.calls().join("\n"), @r#"
    open
    pull db:2 as me
    service db db:2 env={} ports=["5432"] entrypoint=None command=Some(["serve", "two words", "--privileged"])
    pull app:1
    cell app:1 env={"OF_CONTAINER": "build", "OVER": "container"} ports=[] volumes=["v:/v"] options="--cpus 1"
    wait db
    tear_down cell
    tear_down failed=false
    "#);
    insta::assert_snapshot!(job.sink.out(), @r"
    container id-of-cell fake_network
    service id-db fake_network 40001
    image yes, container build, home /github/home, path /image/bin
    user [] shell none
    workspace is inside
    files are inside
    in the workspace
    over job
    yes
    ");
    assert_eq!(result.boundary.boundary, Boundary::Container);
    insta::assert_snapshot!(names(&job).join("\n"), @r#"
    0 Initialize containers success
    1 Run echo "container id-of-cell fake_network" success
    2 Run echo yes success
    3 Stop containers success
    "#);
    insta::assert_snapshot!(log_of(&job, 0), @r#"
    db:2: pulling
    db:2: done
    app:1: pulling
    app:1: done
    The service 'db' is ready: port 5432 is port 40001 of the machine
    "#);
    insta::assert_snapshot!(log_of(&job, 3), @r#"
    ::group::Output of the service 'db'
    ready with ***
    bye
    ::endgroup::
    "#);
}

#[tokio::test]
async fn services_beside_a_job_without_a_container_are_reached() {
    let (mut job, engine) = with_engine(
        vec![run_step(
            "a",
            "echo ${{ job.services.db.ports['53/udp'] }} [${{ job.container.id }}] $OF_IMAGE",
        )],
        Behaviour::default(),
    );
    let mut db = image("db");
    db.ports = vec!["5432".into(), "53/udp".into()];
    job.spec().services.insert("db".into(), db);
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(job.sink.out(), "40002 []\n");
    // The job itself ran as a process, and the record says so.
    assert_eq!(result.boundary.boundary, Boundary::Process);
    assert_eq!(engine.calls().last().unwrap(), "tear_down failed=false");
}

#[tokio::test]
async fn a_stronger_boundary_takes_the_root_of_the_image() {
    let (mut job, engine) = with_engine(
        vec![run_step("a", "echo $OF_IMAGE ${{ job.services.db.ports['80'] }}; exit 3")],
        Behaviour::default(),
    );
    let driver = Arc::new(FakeGvisor { driver: job.driver.clone(), calls: engine.calls.clone() });
    job.fence = Some(Fence { driver, containers: Some(engine.clone()), image: Some("default".into()) });
    let mut db = image("db");
    db.ports = vec!["80".into()];
    job.spec().services.insert("db".into(), db);
    let result = job.run().await;
    assert_eq!(result.exit_code, Some(3), "{}", job.sink.all());
    assert_eq!(job.sink.out(), "yes 40001\n");
    insta::assert_snapshot!(engine.calls().join("\n"), @r#"
    open
    pull db
    service db db env={} ports=["80"] entrypoint=None command=None
    pull default
    unpack default
    prepare root=Some("/ sha256:0123")
    wait db
    reach 40001
    tear_down cell
    tear_down failed=true
    "#);
}

const ACTION: &str = "
inputs: { who: { default: nobody }, place: {} }
runs:
  using: docker
  image: Dockerfile
  entrypoint: ./main.sh
  post-entrypoint: ./after.sh
  args: [ '${{ inputs.who }}', --privileged ]
  env: { OF_ACTION: 'for ${{ inputs.who }}', OF_STEP: action }
";

const MAIN: &str = r##"#!/bin/sh
echo "$1 / $INPUT_WHO / $OF_ACTION / $OF_STEP"
echo "from=$2" >> "$GITHUB_OUTPUT"
echo kept=1 >> "$GITHUB_STATE"
echo ADDED=2 >> "$GITHUB_ENV"
echo "# done" >> "$GITHUB_STEP_SUMMARY"
echo "::warning::careful"
echo "$HOME $(cat "$GITHUB_EVENT_PATH")"
case "$GITHUB_WORKSPACE:$INPUT_PLACE" in */github/workspace:*/github/workspace/x) echo inside;; esac
"##;

#[tokio::test]
async fn an_action_from_a_recipe_with_post() {
    let mut step =
        uses_step("a", "./act", &[("who", "me, \"$(id)\" it's"), ("place", "${{ github.workspace }}/x")]);
    step.env = [("OF_STEP".to_owned(), "step".to_owned())].into_iter().collect();
    let steps = vec![
        write("act/action.yml", ACTION),
        write("act/Dockerfile", "FROM scratch"),
        write("after.sh", "#!/bin/sh\necho after $STATE_kept $OF_STEP $ADDED"),
        write("main.sh", MAIN),
        run_step("mode", "chmod +x *.sh"),
        step,
        run_step("b", "echo ${{ steps.a.outputs.from }} $ADDED [$OF_IMAGE]"),
    ];
    let (job, engine) = with_engine(steps, Behaviour::default());
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    insta::assert_snapshot!(job.sink.out(), @r#"
    me, "$(id)" it's / me, "$(id)" it's / for me, "$(id)" it's / step
    ::warning::careful
    /github/home {}
    inside
    --privileged 2 []
    after 1 step 2
    "#);
    insta::assert_snapshot!(engine.calls().join("\n"), @r#"
    open
    build Dockerfile: FROM scratch
    run built Some(["./main.sh"]) Some(["me, \"$(id)\" it's", "--privileged"])
    run built Some(["./after.sh"]) Some(["me, \"$(id)\" it's", "--privileged"])
    tear_down failed=false
    "#);
    assert_eq!(result.summaries.len(), 1);
    assert_eq!(result.annotations[0].message, "careful");
    assert!(log_of(&job, 5).contains("Step 1/1 : built\n"), "{}", job.sink.all());
    assert_eq!(result.boundary.boundary, Boundary::Process);
}

#[tokio::test]
async fn a_step_that_uses_an_image() {
    let with = [("entrypoint", "printf"), ("args", "'%s|' 'a b' --privileged -- \"it's\" a=b,c")];
    let (job, engine) = with_engine(
        vec![uses_step("a", "docker://tool:1", &with), uses_step("b", "docker://tool:1", &[])],
        Behaviour::default(),
    );
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert!(job.sink.out().starts_with("a b|--privileged|--|it's|a=b,c|"));
    // What the machine passes on to jobs is not for containers.
    assert!(!job.sink.out().contains("LOGNAME="));
    // One pull for both.
    assert_eq!(engine.calls().iter().filter(|c| c.starts_with("pull")).count(), 1);
    assert_eq!(names(&job)[2], "2 Stop containers success");
}

#[tokio::test]
async fn a_recipe_outside_of_the_workspace_is_not_read() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("Dockerfile"), "FROM secret").unwrap();
    let link = format!("ln -s {}/Dockerfile act/Dockerfile", outside.path().display());
    let steps = vec![write("act/action.yml", ACTION), run_step("l", &link), uses_step("a", "./act", &[])];
    let (job, engine) = with_engine(steps, Behaviour::default());
    let result = job.run().await;
    assert_eq!(result.reason, Some(Reason::BadSpecification));
    assert!(result.message.unwrap().contains("leads out of the workspace"));
    assert!(!engine.calls().iter().any(|c| c.starts_with("build")));
}

#[tokio::test]
async fn without_an_engine_the_error_says_what_to_do() {
    let mut job = Job::new(vec![uses_step("a", "docker://alpine:3", &[])]);
    let result = job.run().await;
    assert_eq!(result.reason, Some(Reason::SetUpFailed));
    insta::assert_snapshot!(result.message.unwrap(), @"step 'Run docker://alpine:3': 'docker://alpine:3' needs containers, and this runner offers none: install Docker or Podman on its machine (setting 'container_engine'; 'fleetfoot runner validate' says what is missing), or give the job to another runner");
    job = Job::new(vec![run_step("a", "echo here")]);
    job.spec().container = Some(image("${{ matrix.image }}"));
    job.spec().contexts.insert("matrix".into(), serde_json::json!({"image": "alpine"}));
    let result = job.run().await;
    assert_eq!(result.reason, Some(Reason::SetUpFailed));
    insta::assert_snapshot!(result.message.unwrap(), @"step 'Initialize containers': 'container' needs containers, and this runner offers none: install Docker or Podman on its machine (setting 'container_engine'; 'fleetfoot runner validate' says what is missing), or give the job to another runner");
    assert_eq!(names(&job), ["0 Initialize containers failure", "1 Run echo here skipped"]);
    assert!(job.sink.out().is_empty());
    // An empty image asks for none.
    job.spec().contexts.insert("matrix".into(), serde_json::json!({"image": ""}));
    assert_eq!(job.run().await.conclusion, Conclusion::Success);
}

#[tokio::test]
async fn what_goes_wrong_before_the_first_step() {
    let cases = [
        (
            Behaviour { missing: Some("app"), ..Behaviour::default() },
            Reason::SetUpFailed,
            "container: the image 'app': there is no such image",
        ),
        (
            Behaviour { unhealthy: Some("it died: boom"), ..Behaviour::default() },
            Reason::SetUpFailed,
            "the service 'db': it died: boom",
        ),
        (
            Behaviour { down: true, ..Behaviour::default() },
            Reason::SetUpFailed,
            "the engine does not answer (nothing is wrong with the job",
        ),
    ];
    for (behaviour, reason, words) in cases {
        let (mut job, engine) = with_engine(vec![run_step("a", "echo here")], behaviour.clone());
        job.spec().container = Some(image("app"));
        job.spec().services.insert("db".into(), image("db"));
        let result = job.run().await;
        assert_eq!(result.reason, Some(reason), "{behaviour:?}");
        let message = result.message.unwrap();
        assert!(message.contains(words), "{message}");
        assert!(job.sink.out().is_empty());
        assert!(names(&job)[0].ends_with("Initialize containers failure"));
        let last = engine.calls().last().cloned().unwrap();
        assert_eq!(last, if behaviour.down { "sweep" } else { "tear_down failed=true" });
    }
}

#[tokio::test]
async fn a_cancellation_ends_a_pull_and_a_wait() {
    let pull = Behaviour { endless: Some("app"), ..Behaviour::default() };
    let wait = Behaviour { never_healthy: true, ..Behaviour::default() };
    for (behaviour, awaited) in [(pull, "pull app"), (wait, "wait db")] {
        let (mut job, engine) = with_engine(vec![run_step("a", "echo here")], behaviour);
        job.spec().container = Some(image("app"));
        job.spec().services.insert("db".into(), image("db"));
        let started = Instant::now();
        let end = async {
            eventually(awaited, || engine.calls().iter().any(|c| c == awaited)).await;
            job.cancel.cancel();
        };
        let (result, ()) = tokio::join!(job.run(), end);
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!((result.conclusion, result.reason), (Conclusion::Cancelled, Some(Reason::Cancelled)));
        assert_eq!(engine.calls().last().unwrap(), "tear_down failed=true");
        assert!(job.sink.out().is_empty());
    }
}

#[tokio::test]
async fn a_job_timeout_ends_a_pull() {
    let behaviour = Behaviour { endless: Some("app"), ..Behaviour::default() };
    let (mut job, engine) = with_engine(vec![run_step("a", "echo here")], behaviour);
    job.spec().container = Some(image("app"));
    job.spec().timeout_seconds = 1;
    let result = job.run().await;
    assert_eq!((result.conclusion, result.reason), (Conclusion::TimedOut, Some(Reason::Timeout)));
    assert_eq!(engine.calls().last().unwrap(), "tear_down failed=true");
}

#[tokio::test]
async fn cancellation_and_timeout_of_an_action() {
    let (mut job, engine) = with_engine(
        vec![
            uses_step("a", "docker://endless", &[]),
            uses_step("b", "docker://tool", &[("entrypoint", "sleep"), ("args", "600")]),
        ],
        Behaviour { endless: Some("endless"), ..Behaviour::default() },
    );
    job.spec().steps[0].timeout_minutes = Some("0.01".into());
    job.spec().steps[0].continue_on_error = Some("true".into());
    let end = async {
        eventually("the action runs", || engine.calls().iter().any(|c| c.starts_with("run tool"))).await;
        job.cancel.cancel();
    };
    let (result, ()) = tokio::join!(job.run(), end);
    assert_eq!(result.conclusion, Conclusion::Cancelled, "{}", job.sink.all());
    assert_eq!(job.step("a").outcome, Some(Conclusion::TimedOut));
    assert_eq!(job.step("b").outcome, Some(Conclusion::Cancelled));
    assert_eq!(job.step("__stop_containers").status, Status::Completed);
    assert_eq!(engine.calls().last().unwrap(), "tear_down failed=true");
}
