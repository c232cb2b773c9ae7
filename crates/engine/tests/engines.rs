//! Job containers, services and actions that are containers with real engines,
//! each of them private to its test.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::{Job, eventually, run_step, uses_step, workflow};
use fleetfoot_driver_container::{ContainerEngine, ContainerOptions, Endpoint, Pull};
use fleetfoot_engine::Fence;
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::spec::{ContainerSpec, StepSpec};
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_testkit::{EngineKind, FULL_IMAGE, GitRepository, PrivateEngine, SMALL_IMAGE, wait_until};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn image(image: &str) -> ContainerSpec {
    ContainerSpec { image: image.into(), ..ContainerSpec::default() }
}

/// Gives a job to a runner with this engine.
fn on(engine: &PrivateEngine, mut job: Job) -> Job {
    let options = ContainerOptions {
        tag: format!("test-{}", common::unique()),
        endpoint: Endpoint::Socket(engine.socket()),
        directory: Some(job.dir.path().join("containers")),
        pull: Pull::Missing,
        // Nothing is made ahead, so that nothing may be left.
        spare_networks: 0,
        ..ContainerOptions::default()
    };
    let containers = Arc::new(ContainerEngine::new(options).unwrap());
    job.fence = Some(Fence { containers: Some(containers), ..Fence::of(job.driver.clone()) });
    job
}

fn job(engine: &PrivateEngine, steps: Vec<StepSpec>) -> Job {
    on(engine, Job::new(steps))
}

/// Nothing of any job is left.
fn assert_clean(engine: &PrivateEngine) {
    // Engines remove some of them by themselves, a moment later.
    let left = || engine.output(&["ps", "--all", "--format", "{{.ID}} {{.Names}} {{.Status}}"]);
    wait_until(&format!("no container to remain: {}", left()), Duration::from_secs(10), || {
        left().is_empty().then_some(())
    });
    let networks = engine.output(&["network", "ls", "--format", "{{.Name}}"]);
    assert!(!networks.contains("fleetfoot"), "networks remain: {networks}");
}

async fn workflows_in_a_container(engine: &PrivateEngine) {
    for (name, _) in workflow::all() {
        let mut job = on(engine, workflow::load(&name));
        job.fence.as_mut().unwrap().image = Some(FULL_IMAGE.into());
        let result = job.run().await;
        let shown = workflow::shown(&job, &result);
        assert_eq!(shown, workflow::expected(&name), "{name}:\n{}\n{:?}", job.sink.all(), result.message);
        assert_eq!(result.boundary.boundary, Boundary::Container, "{name}");
    }
    assert_clean(engine);
}

async fn a_job_container_with_a_service(engine: &PrivateEngine) {
    let script = r#"
        echo "$0 | $GITHUB_WORKSPACE | $HOME | $RUNNER_TEMP | $OF_CONTAINER"
        test -n "${{ job.container.network }}" && echo "a network"
        # Podman's name server may answer for a moment with what was there before.
        for try in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://web/page 2>/dev/null && break; sleep 1; done
        test -e /var/run/docker.sock || echo "no socket"
        echo text > made; mkdir -p deep/er; echo text > deep/er/made; chmod 700 deep
    "#;
    let mut job = job(engine, vec![run_step("a", script), run_step("b", "cat deep/er/made")]);
    let mut app = image(SMALL_IMAGE);
    app.env = [("OF_CONTAINER".to_owned(), "--privileged, a=b \"it's\"".to_owned())].into_iter().collect();
    job.spec().container = Some(app);
    job.spec().services.insert("web".into(), web());
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}\n{:?}", job.sink.all(), result.message);
    assert_eq!(
        job.sink.out(),
        "/github/runner_temp/step_0.sh | /github/workspace | /github/home | /github/runner_temp | \
         --privileged, a=b \"it's\"\na network\nthe page\nno socket\ntext\n"
    );
    assert_eq!(result.boundary.boundary, Boundary::Container);
    assert_clean(engine);
}

/// A service with a page, healthy when it answers.
fn web() -> ContainerSpec {
    let mut web = image(SMALL_IMAGE);
    web.entrypoint = Some("sh".into());
    web.command =
        Some("-c 'mkdir /www && echo the page > /www/page && echo serving && exec httpd -f -h /www'".into());
    web.ports = vec!["80".into()];
    web.options = Some(
        "--health-cmd 'wget -q -O /dev/null http://127.0.0.1/page' --health-interval 1s --health-retries 20"
            .into(),
    );
    web
}

async fn a_service_beside_a_process(engine: &PrivateEngine) {
    let script = "exec 3<>/dev/tcp/127.0.0.1/${{ job.services.web.ports['80'] }}
        printf 'GET /page HTTP/1.0\\r\\n\\r\\n' >&3; tail -1 <&3";
    let mut job = job(engine, vec![run_step("a", script)]);
    job.spec().services.insert("web".into(), web());
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}\n{:?}", job.sink.all(), result.message);
    assert_eq!(job.sink.out(), "the page\n");
    assert!(job.sink.all().contains("::group::Output of the service 'web'\nserving\n"), "{}", job.sink.all());
    assert_eq!(result.boundary.boundary, Boundary::Process);
    assert_clean(engine);
}

async fn a_service_that_ends(engine: &PrivateEngine) {
    let mut job = on(engine, Job::new(vec![run_step("a", "echo never")]));
    let mut broken = image(SMALL_IMAGE);
    broken.entrypoint = Some("sh".into());
    broken.command = Some("-c 'echo it broke; exit 3'".into());
    // Without a check it would be taken for ready before it ends.
    broken.options = Some("--health-cmd true --health-interval 3s".into());
    job.spec().services.insert("broken".into(), broken);
    let result = job.run().await;
    assert_eq!(result.reason, Some(Reason::SetUpFailed), "{:?}", result.message);
    let message = result.message.unwrap();
    assert!(message.contains("the service 'broken'") && message.contains("it broke"), "{message}");
    assert_clean(engine);
}

const ACTION: &str = "
inputs: { who: { default: nobody } }
runs:
  using: docker
  image: Dockerfile
  entrypoint: /main.sh
  pre-entrypoint: /pre.sh
  post-entrypoint: /post.sh
  post-if: success()
  args: [ '${{ inputs.who }}', --privileged ]
  env: { OF_ACTION: 'for ${{ inputs.who }}' }
";

const MAIN: &str = r##"#!/bin/sh
echo "$1 / $2 / $INPUT_WHO / $OF_ACTION / $STATE_kept"
echo "pwd $(pwd) home $HOME"
echo "from=$2" >> "$GITHUB_OUTPUT"
echo kept=main >> "$GITHUB_STATE"
echo ADDED=2 >> "$GITHUB_ENV"
echo "# done" >> "$GITHUB_STEP_SUMMARY"
echo "::warning::careful"
cat "$GITHUB_EVENT_PATH" "$GITHUB_WORKSPACE/file"
echo
echo made > "$GITHUB_WORKSPACE/by-action"
"##;

async fn an_action_with_all_stages(engine: &PrivateEngine) {
    for contained in [false, true] {
        let mut job = job(
            engine,
            vec![
                run_step("first", "printf 'of the job' > file"),
                uses_step("a", "o/r@v1", &[("who", "me, \"$(id)\" it's")]),
                run_step("b", "echo ${{ steps.a.outputs.from }} $ADDED; cat by-action; rm by-action"),
            ],
        );
        let source = GitRepository::new(job.dir.path().join("source"));
        source.write("action.yml", ACTION);
        source.write("Dockerfile", &format!("FROM {SMALL_IMAGE}\nCOPY *.sh /\n"));
        source.write("main.sh", MAIN);
        source.write("pre.sh", "#!/bin/sh\necho pre\necho kept=pre >> \"$GITHUB_STATE\"\n");
        source.write("post.sh", "#!/bin/sh\necho post $STATE_kept $ADDED\n");
        for script in ["main.sh", "pre.sh", "post.sh"] {
            use std::os::unix::fs::PermissionsExt;
            let path = source.path().join(script);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        source.commit("an action");
        source.git(&["tag", "v1"]);
        let bare = job.dir.path().join("mirror/o/r.git");
        std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
        source.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
        job.config.actions.cache.mirror = Some(job.dir.path().join("mirror").to_string_lossy().into_owned());
        if contained {
            job.spec().container = Some(image(SMALL_IMAGE));
        }
        let result = job.run().await;
        assert_eq!(result.conclusion, Conclusion::Success, "{}\n{:?}", job.sink.all(), result.message);
        assert_eq!(
            job.sink.out(),
            "pre\nme, \"$(id)\" it's / --privileged / me, \"$(id)\" it's / for me, \"$(id)\" it's / pre\n\
             pwd /github/workspace home /github/home\n::warning::careful\n{}of the job\n--privileged 2\nmade\n\
             post main 2\n",
            "contained: {contained}"
        );
        assert_eq!(result.summaries.len(), 1);
        assert_eq!(result.annotations.len(), 1);
    }
    assert_clean(engine);
}

async fn steps_that_use_an_image(engine: &PrivateEngine) {
    let uses = format!("docker://{SMALL_IMAGE}");
    let odd = "'[%s]' '--privileged' --volume=/:/host 'a b' \"it's\" a=b,c '' 'new\nline' '$HOME'";
    let job = job(
        engine,
        vec![
            uses_step("a", &uses, &[("entrypoint", "printf"), ("args", odd)]),
            uses_step("b", &uses, &[("entrypoint", "sh"), ("args", "-c 'exit 7'")]),
        ],
    );
    let result = job.run().await;
    assert_eq!(
        job.sink.out(),
        "[--privileged][--volume=/:/host][a b][it's][a=b,c][][new\nline][$HOME]",
        "{:?}",
        result.message
    );
    assert_eq!((result.reason, result.exit_code), (Some(Reason::ExitCode), Some(7)));
    assert_clean(engine);
}

async fn what_cannot_be(engine: &PrivateEngine) {
    // No such image: its registry is not there.
    let mut missing = job(engine, vec![run_step("a", "echo never")]);
    missing.spec().container = Some(image("127.0.0.1:1/no/such:image"));
    let result = missing.run().await;
    assert_eq!(result.reason, Some(Reason::SetUpFailed));
    assert!(result.message.unwrap().contains("the image '127.0.0.1:1/no/such:image'"));
    // What is not allowed, and what is no option at all.
    for (field, value) in
        [("options", "--privileged"), ("volumes", "/etc:/host"), ("ports", "x:y"), ("image", "--help")]
    {
        let mut job = job(engine, vec![run_step("a", "echo never")]);
        let mut container = image(SMALL_IMAGE);
        match field {
            "options" => container.options = Some(value.into()),
            "volumes" => container.volumes = vec![value.into()],
            "ports" => container.ports = vec![value.into()],
            _ => container.image = value.into(),
        }
        job.spec().container = Some(container);
        let result = job.run().await;
        assert_eq!(result.conclusion, Conclusion::Failure, "{field}");
        let expected = [Some(Reason::BadSpecification), Some(Reason::LimitExceeded)];
        assert!(expected.contains(&result.reason), "{field}: {:?} {:?}", result.reason, result.message);
        assert!(job.sink.out().is_empty());
    }
    // JavaScript where there is no node.
    let mut script = on(engine, workflow::load("javascript"));
    script.config.node = None;
    script.config.passed_env.retain(|(name, _)| name != "PATH");
    script.config.passed_env.push(("PATH".into(), "/nowhere".into()));
    script.spec().container = Some(image(SMALL_IMAGE));
    script.spec().steps.remove(0);
    script.spec().steps.insert(0, run_step("make", "mkdir -p .github/actions/script; cd .github/actions/script; echo 'runs: {using: node20, main: main.js}' > action.yml; echo > main.js"));
    let result = script.run().await;
    assert_eq!(result.reason, Some(Reason::SetUpFailed), "{:?}", result.message);
    assert!(result.message.unwrap().contains("the image of this job has none"));
    assert_clean(engine);
}

async fn cancellations(engine: &PrivateEngine, registry: &str) {
    // In the middle of a pull: the registry takes the request and never answers.
    let mut pull = job(engine, vec![run_step("a", "echo never")]);
    pull.spec().container = Some(image(&format!("{registry}/some/image:1")));
    let started = Instant::now();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        pull.cancel.cancel();
    };
    let (result, ()) = tokio::join!(pull.run(), cancel);
    assert_eq!(result.conclusion, Conclusion::Cancelled, "{:?}", result.message);
    assert!(started.elapsed() < Duration::from_secs(15));

    // In the middle of a step, and of an action.
    let step = run_step("a", "trap '' INT TERM; echo begun; while true; do sleep 1; done");
    let action = uses_step(
        "a",
        &format!("docker://{SMALL_IMAGE}"),
        &[
            ("entrypoint", "sh"),
            ("args", "-c \"trap '' INT TERM; echo begun; while true; do sleep 1; done\""),
        ],
    );
    for step in [step, action] {
        let after = StepSpec { condition: Some("always()".into()), ..run_step("b", "echo after") };
        let mut job = job(engine, vec![step, after]);
        job.spec().container = Some(image(SMALL_IMAGE));
        let started = Instant::now();
        let cancel = async {
            eventually("the step begins", || job.sink.out().contains("begun")).await;
            job.cancel.cancel();
        };
        let (result, ()) = tokio::join!(job.run(), cancel);
        assert_eq!(result.conclusion, Conclusion::Cancelled, "{:?}", result.message);
        assert_eq!(job.sink.out(), "begun\nafter\n");
        assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
    }
    assert_clean(engine);
}

async fn all(kind: EngineKind) {
    // A registry that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = silent.local_addr().unwrap().to_string();
    let Some(engine) = PrivateEngine::start(kind, std::slice::from_ref(&registry)) else { return };
    engine.add_full_image();
    let begun = Instant::now();
    let lap = |what: &str| eprintln!("{}: {what} after {:?}", kind.name(), begun.elapsed());
    a_job_container_with_a_service(&engine).await;
    lap("job container");
    a_service_beside_a_process(&engine).await;
    lap("services");
    steps_that_use_an_image(&engine).await;
    lap("images");
    what_cannot_be(&engine).await;
    lap("refusals");
    cancellations(&engine, &registry).await;
    lap("cancellations");
    workflows_in_a_container(&engine).await;
    lap("workflows");
    an_action_with_all_stages(&engine).await;
    lap("action");
    a_service_that_ends(&engine).await;
    lap("a service that ends");
}

#[tokio::test]
async fn docker() {
    all(EngineKind::Docker).await;
}

#[tokio::test]
async fn podman() {
    all(EngineKind::Podman).await;
}
