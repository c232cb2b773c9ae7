//! Actions with real processes: JavaScript with its three stages, composite
//! ones with theirs, local ones and those of a mirror.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Job, eventually, run_step, uses_step};
use fleetfoot_model::spec::{SecretAccess, SecretLayer, StepAction, StepSpec};
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_model::sync::JobServices;
use fleetfoot_testkit::GitRepository;
use std::path::Path;
use std::sync::Arc;

/// Whether there is a node; says so where there is none.
#[expect(clippy::print_stderr, reason = "says why a test is skipped")]
fn has_node() -> bool {
    let found = std::process::Command::new("node").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: node is not installed");
    }
    found
}

/// A JavaScript action that tells what it sees, and fails if asked.
const TELL: &str = r#"
const fs = require('fs');
const stage = require('path').basename(__filename, '.js');
const state = process.env.STATE_seen || '';
console.log(`${stage} ${process.env.INPUT_WHO} state=[${state}]`);
fs.appendFileSync(process.env.GITHUB_STATE, `seen=${state}${stage};\n`);
fs.appendFileSync(process.env.GITHUB_OUTPUT, `from=${stage}\n`);
if ((process.env.INPUT_FAIL || '') === stage) process.exit(3);
"#;

const TELL_YML: &str = "
name: tell
inputs:
  who: { default: nobody }
  fail: { default: '' }
  old-one: { deprecationMessage: use who, required: true }
outputs:
  from: { description: the stage }
runs: { using: node20, pre: pre.js, main: main.js, post: post.js }
";

fn write(root: &Path, path: &str, text: &str) {
    let full = root.join(path);
    std::fs::create_dir_all(full.parent().unwrap()).unwrap();
    std::fs::write(full, text).unwrap();
}

fn write_tell(root: &Path, directory: &str) {
    write(root, &format!("{directory}/action.yml"), TELL_YML);
    for stage in ["pre", "main", "post"] {
        write(root, &format!("{directory}/{stage}.js"), TELL);
    }
}

/// A mirror directory with the repository `owner/repo`, tagged `v1`, and its commit.
fn mirror(job: &mut Job, owner: &str, repo: &str, fill: impl Fn(&Path)) -> String {
    let mirror = job.dir.path().join("mirror");
    let source = job.dir.path().join(format!("source-{owner}-{repo}"));
    let repository = GitRepository::new(&source);
    fill(repository.path());
    let sha = repository.commit("an action");
    repository.git(&["tag", "v1"]);
    let bare = mirror.join(owner).join(format!("{repo}.git"));
    std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
    repository.git(&["clone", "--quiet", "--bare", ".", bare.to_str().unwrap()]);
    job.config.actions.cache.mirror = Some(mirror.to_string_lossy().into_owned());
    sha
}

/// A step that writes the files of a local action, in place of a checkout.
fn files(entries: &[(&str, &str)]) -> StepSpec {
    let mut script = String::new();
    for (path, text) in entries {
        // The script is a template, the files are not.
        let text = text.replace("${{", "${{ '${{' }}");
        script +=
            &format!("mkdir -p \"$(dirname {path})\"\ncat > {path} <<'END_OF_FILE'\n{text}\nEND_OF_FILE\n");
    }
    run_step("files", &script)
}

fn tell_files(directory: &str) -> StepSpec {
    let paths: Vec<String> =
        ["pre.js", "main.js", "post.js"].iter().map(|f| format!("{directory}/{f}")).collect();
    let yml = format!("{directory}/action.yml");
    let mut entries: Vec<(&str, &str)> = paths.iter().map(|p| (p.as_str(), TELL)).collect();
    entries.push((&yml, TELL_YML));
    files(&entries)
}

fn names(job: &Job) -> Vec<String> {
    let steps = job.sink.steps.lock().unwrap();
    steps
        .iter()
        .map(|s| format!("{} {} {}", s.index, s.name, s.conclusion.map_or("-", Conclusion::as_result)))
        .collect()
}

/// The lines of the log that the steps themselves printed.
fn told(job: &Job) -> Vec<String> {
    job.sink.out().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_local_javascript_action_has_main_and_post() {
    if !has_node() {
        return;
    }
    let mut job = Job::new(vec![
        tell_files(".github/actions/tell"),
        uses_step(
            "a",
            "./.github/actions/tell",
            &[("who", "${{ github.job }}"), ("what", "x"), ("old-one", "1")],
        ),
        run_step("b", "echo main said ${{ steps.a.outputs.from }}"),
    ]);
    job.spec().steps[1].name = Some("Tell".into());
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(told(&job), ["main build state=[]", "main said main", "post build state=[main;]"]);
    let names = names(&job);
    assert_eq!(&names[1..], ["1 Tell success", "2 Run echo main said main success", "3 Post Tell success"]);
    let warnings: Vec<&str> = result.annotations.iter().map(|a| a.message.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "Unexpected input(s) 'what', valid inputs are ['who', 'fail', 'old-one']",
            "Input 'old-one' has been deprecated with message: use who"
        ]
    );
    assert!(job.sink.all().contains("::group::Run ./.github/actions/tell\nwith:\n  who: build\n"));
}

#[tokio::test]
async fn a_missing_local_action_says_what_to_do() {
    let job = Job::new(vec![uses_step("a", "./nowhere", &[])]);
    let result = job.run().await;
    assert_eq!(result.reason, Some(Reason::BadSpecification));
    let message = job.step("a").message.unwrap();
    assert!(message.contains("has a step before this one checked out the repository?"), "{message}");
}

#[tokio::test]
async fn remote_actions_come_from_a_mirror_and_have_all_stages() {
    if !has_node() {
        return;
    }
    let mut job = Job::new(vec![
        run_step("first", "echo first"),
        uses_step("a", "acme/tell@v1", &[("who", "a"), ("fail", "main")]),
        uses_step("b", "acme/tell/sub@v1", &[("who", "b")]),
        run_step("last", "echo last"),
    ]);
    job.spec().steps[2].condition = Some("always()".into());
    let sha = mirror(&mut job, "acme", "tell", |root| {
        write_tell(root, ".");
        write_tell(root, "sub");
    });
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Failure, "{}", job.sink.all());
    assert_eq!(result.message.as_deref(), Some("step 'Run acme/tell@v1': exit code 3"));
    assert_eq!(
        told(&job),
        [
            "pre a state=[]",
            "pre b state=[]",
            "first",
            "main a state=[pre;]",
            "main b state=[pre;]",
            "post b state=[pre;main;]",
            "post a state=[pre;main;]",
        ]
    );
    insta::assert_snapshot!(names(&job).join("\n"), @r"
    0 Set up job success
    1 Pre Run acme/tell@v1 success
    2 Pre Run acme/tell/sub@v1 success
    3 Run echo first success
    4 Run acme/tell@v1 failure
    5 Run acme/tell/sub@v1 success
    6 Run echo last skipped
    7 Post Run acme/tell/sub@v1 success
    8 Post Run acme/tell@v1 success
    ");
    let log = job.sink.all();
    assert!(log.contains(&format!("Download action repository 'acme/tell@v1' (SHA:{sha})")), "{log}");
}

#[tokio::test]
async fn a_missing_action_fails_the_job_before_any_step() {
    let mut job = Job::new(vec![
        run_step("first", "echo first"),
        uses_step("a", "acme/nothing@v1", &[]),
        run_step("last", "echo last"),
    ]);
    job.spec().steps[2].condition = Some("always()".into());
    mirror(&mut job, "acme", "other", |root| write_tell(root, "."));
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Failure);
    assert!(result.message.unwrap().contains("acme/nothing"), "the message names the action");
    assert!(told(&job).is_empty());
    assert_eq!(job.step("last").conclusion, Some(Conclusion::Skipped));
}

#[tokio::test]
async fn actions_that_are_not_allowed_are_refused() {
    let mut job = Job::new(vec![uses_step("a", "acme/tell@v1", &[])]);
    mirror(&mut job, "acme", "tell", |root| write_tell(root, "."));
    job.config.actions.cache.allowed_owners = vec!["actions".into()];
    assert_eq!(job.run().await.reason, Some(Reason::BadSpecification));
    job.config.actions.cache.allowed_owners = vec!["acme".into()];
    job.config.actions.cache.sha_only = true;
    assert_eq!(job.run().await.reason, Some(Reason::BadSpecification));
}

#[tokio::test]
async fn composite_actions_nest_and_hand_outputs_up() {
    if !has_node() {
        return;
    }
    let outer = "
inputs: { word: { default: none } }
outputs:
  all: { value: '${{ steps.middle.outputs.all }}!' }
runs:
  using: composite
  steps:
    - id: same
      shell: bash
      run: |
        echo outer $WORD $LEVEL $(basename $GITHUB_ACTION_PATH) ${{ inputs.word }}
        echo ADDED=by-outer >> $GITHUB_ENV
        echo out=outer >> $GITHUB_OUTPUT
      env: { LEVEL: one }
    - id: middle
      uses: acme/nest/middle@v1
      with: { word: '${{ inputs.word }}-${{ steps.same.outputs.out }}' }
      env: { WORD: from-outer }
";
    let middle = "
inputs: { word: {} }
outputs:
  all: { value: '${{ steps.inner.outputs.all }}' }
runs:
  using: composite
  steps:
    - id: inner
      uses: acme/nest/inner@v1
      with: { word: '${{ inputs.word }}-middle' }
";
    let inner = "
inputs: { word: {} }
outputs:
  all: { value: '${{ inputs.word }}-${{ steps.tell.outputs.from }}' }
runs:
  using: composite
  steps:
    - id: tell
      uses: acme/nest/tell@v1
      with: { who: '${{ inputs.word }}' }
    - run: echo inner $WORD $ADDED
      shell: sh
";
    let mut job = Job::new(vec![
        uses_step("a", "acme/nest@v1", &[("word", "w")]),
        run_step("b", "echo \"${{ steps.a.outputs.all }} $ADDED ${{ steps.same.outputs.out }}.\""),
    ]);
    job.spec().steps[0].env.insert("WORD".into(), "from-step".into());
    mirror(&mut job, "acme", "nest", |root| {
        write(root, "action.yml", outer);
        write(root, "middle/action.yml", middle);
        write(root, "inner/action.yml", inner);
        write_tell(root, "tell");
    });
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    let told = told(&job);
    assert_eq!(told[0], "pre w--middle state=[]");
    assert!(told[1].starts_with("outer from-step one ") && told[1].ends_with(" w"), "{}", told[1]);
    assert_eq!(
        &told[2..],
        [
            "main w-outer-middle state=[pre;]",
            "inner from-outer by-outer",
            "w-outer-middle-main! by-outer .",
            "post w-outer-middle state=[pre;main;]",
        ]
    );
    insta::assert_snapshot!(names(&job).join("\n"), @r#"
    0 Set up job success
    1 Pre Run acme/nest@v1 success
    2 Run acme/nest@v1 success
    3 Run echo "w-outer-middle-main! $ADDED ." success
    4 Post Run acme/nest@v1 success
    "#);
}

#[tokio::test]
async fn status_functions_of_a_composite_action_speak_of_its_own_steps() {
    let action = "
outputs: { seen: { value: '${{ steps.s.outcome }} ${{ steps.f.outcome }} ${{ steps.f.conclusion }}' } }
runs:
  using: composite
  steps:
    - { id: s, run: 'echo own success, job ${{ job.status }}', shell: sh }
    - { id: f, run: exit 4, shell: sh, continue-on-error: true }
    - { run: echo still fine, shell: sh }
    - { run: exit 5, shell: sh }
    - { run: echo not this, shell: sh }
    - { if: failure(), run: echo but this, shell: sh }
";
    let mut job = Job::new(vec![
        files(&[("act/action.yml", action)]),
        run_step("bad", "exit 1"),
        uses_step("a", "./act", &[]),
        run_step("b", "echo ${{ steps.a.outputs.seen }}"),
    ]);
    for at in [2, 3] {
        job.spec().steps[at].condition = Some("always()".into());
    }
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Failure);
    assert_eq!(
        told(&job),
        ["own success, job failure", "still fine", "but this", "success failure success"],
        "{}",
        job.sink.all()
    );
    let step = job.step("a");
    assert_eq!((step.conclusion, step.exit_code), (Some(Conclusion::Failure), Some(5)));
}

#[tokio::test]
async fn composite_actions_see_no_secrets_and_do_not_use_themselves_for_ever() {
    let secrets = "runs: { using: composite, steps: [{ run: 'echo ${{ secrets.A }}', shell: sh }] }";
    let itself = "runs: { using: composite, steps: [{ uses: ./itself }] }";
    let job = Job::new(vec![
        files(&[("secrets/action.yml", secrets), ("itself/action.yml", itself)]),
        uses_step("a", "./secrets", &[]),
    ])
    .secret("A", "hidden-value");
    assert_eq!(job.run().await.conclusion, Conclusion::Failure);
    let mut job = job;
    job.spec().steps[1] = uses_step("a", "./itself", &[]);
    let result = job.run().await;
    assert_eq!(result.reason, Some(Reason::BadSpecification), "{}", job.sink.all());
    assert!(result.message.unwrap().contains("does it use itself?"));
}

#[tokio::test]
async fn services_are_for_actions_and_not_for_scripts() {
    if !has_node() {
        return;
    }
    let main = "for (const n of ['ACTIONS_RUNTIME_URL', 'ACTIONS_RESULTS_URL', 'ACTIONS_CACHE_URL', \
         'ACTIONS_CACHE_SERVICE_V2', 'ACTIONS_ID_TOKEN_REQUEST_URL', 'GITHUB_SERVER_URL', \
         'GITHUB_ACTION_REPOSITORY', 'GITHUB_ACTION_REF', 'GITHUB_ACTION', 'INPUT_TWO_WORDS-X']) \
         console.log(`${n}=${process.env[n]}`); console.log(process.env.ACTIONS_RUNTIME_TOKEN);";
    let yml = "
inputs: { two words-x: { default: '${{ github.token }}${{ runner.os }}' } }
runs: { using: node24, main: main.js }";
    let mut job = Job::new(vec![
        uses_step("a", "acme/env@v1", &[]),
        run_step("b", "env | grep -c ^ACTIONS_ || true; echo $GITHUB_SERVER_URL"),
    ]);
    mirror(&mut job, "acme", "env", |root| {
        write(root, "action.yml", yml);
        write(root, "main.js", main);
    });
    job.assignment.services = Some(JobServices {
        runtime_url: "http://127.0.0.1:1/".into(),
        results_url: "http://127.0.0.1:2/".into(),
        cache_url: "http://127.0.0.1:3/".into(),
        runtime_token: "runtime-token-value".into(),
        id_token_url: Some("http://127.0.0.1:4/?x=1".into()),
    });
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    insta::assert_snapshot!(job.sink.out(), @r"
    ACTIONS_RUNTIME_URL=http://127.0.0.1:1/
    ACTIONS_RESULTS_URL=http://127.0.0.1:2/
    ACTIONS_CACHE_URL=http://127.0.0.1:3/
    ACTIONS_CACHE_SERVICE_V2=True
    ACTIONS_ID_TOKEN_REQUEST_URL=http://127.0.0.1:4/?x=1
    GITHUB_SERVER_URL=https://github.com
    GITHUB_ACTION_REPOSITORY=acme/env
    GITHUB_ACTION_REF=v1
    GITHUB_ACTION=a
    INPUT_TWO_WORDS-X=***Linux
    ***
    0
    http://127.0.0.1:7878
    ");
}

#[tokio::test]
async fn without_node_the_message_says_what_to_do() {
    let mut job = Job::new(vec![tell_files("tell"), uses_step("a", "./tell", &[])]);
    job.config.node = Some(job.dir.path().join("no-such-node"));
    let result = job.run().await;
    assert_eq!(result.reason, Some(Reason::SetUpFailed));
    assert!(result.message.unwrap().contains("correct the setting 'node'"));
}

#[tokio::test]
async fn a_secret_asks_for_debug_messages() {
    let script = "echo '::debug::to be seen'; echo debug=$RUNNER_DEBUG";
    let job = Job::script(script);
    job.run().await;
    assert_eq!(job.sink.out(), "debug=\n");
    let job = Job::script(script).secret("ACTIONS_STEP_DEBUG", "true");
    job.run().await;
    assert_eq!(job.sink.out(), "::debug::to be seen\ndebug=1\n");
}

#[tokio::test]
async fn the_real_checkout_runs_if_the_built_in_one_is_switched_off() {
    if !has_node() {
        return;
    }
    let mut job = Job::new(vec![uses_step("a", "actions/checkout@v1", &[])]);
    mirror(&mut job, "actions", "checkout", |root| {
        write(root, "action.yml", "runs: { using: node20, main: main.js }");
        write(root, "main.js", "console.log('the real one')");
    });
    job.config.actions.builtin_checkout = false;
    job.run().await;
    assert_eq!(told(&job), ["the real one"], "{}", job.sink.all());
}

#[tokio::test]
async fn a_post_step_runs_after_a_timeout_and_can_be_cancelled() {
    if !has_node() {
        return;
    }
    let yml = "runs: { using: node20, main: main.js, post: post.js }";
    let slow = "console.log('post begins'); setTimeout(() => console.log('never'), 60000);";
    let mut job = Job::new(vec![
        files(&[("slow/action.yml", yml), ("slow/main.js", "console.log('main')"), ("slow/post.js", slow)]),
        uses_step("a", "./slow", &[]),
        run_step("b", "sleep 60"),
    ]);
    job.spec().steps[2].timeout_minutes = Some("0.002".into());
    let (sink, cancel) = (job.sink.clone(), job.cancel.clone());
    let canceller = tokio::spawn(async move {
        eventually("the post step begins", || sink.out().contains("post begins")).await;
        cancel.cancel();
    });
    let result = job.run().await;
    canceller.await.unwrap();
    assert_eq!(result.conclusion, Conclusion::Cancelled);
    assert_eq!(job.step("b").conclusion, Some(Conclusion::TimedOut));
    assert_eq!(job.step("__post_a").conclusion, Some(Conclusion::Cancelled), "{:?}", names(&job));
    assert_eq!(told(&job), ["main", "post begins"]);
}

#[tokio::test]
async fn a_called_workflow_sees_the_secrets_that_were_passed_on() {
    let script = "echo \"[${{ secrets.THERE }}] [${{ secrets.HERE }}] [${{ secrets.OTHER }}]\"; echo lower-$(echo INNER-VALUE | tr A-Z a-z)";
    let mut job = Job::script(script).secret("HERE", "outer-value").secret("OTHER", "other-value");
    let layer = |pairs: &[(&str, &str)]| SecretLayer {
        values: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        contexts: [("matrix".to_owned(), serde_json::json!({"x": "1"}))].into_iter().collect(),
    };
    job.spec().secrets = SecretAccess::Mapped(vec![
        layer(&[("MIDDLE", "${{ secrets.HERE }}-${{ matrix.x }}")]),
        layer(&[("THERE", "inner-value")]),
    ]);
    assert_eq!(job.run().await.conclusion, Conclusion::Success);
    assert_eq!(told(&job), ["[***] [] []", "lower-***"]);
    job.spec().secrets = SecretAccess::Mapped(vec![layer(&[("X", "${{ nonsense")])]);
    let result = job.run().await;
    assert_eq!(result.reason, Some(Reason::BadSpecification));
    assert!(result.message.unwrap().starts_with("secrets.X: "));
}

#[tokio::test]
async fn problem_matchers_make_annotations() {
    let matcher = r#"{"problemMatcher": [{"owner": "cc", "pattern": [{"regexp":
        "^(.+):(\\d+):(\\d+): (error|warning): (.+)$",
        "file": 1, "line": 2, "column": 3, "severity": 4, "message": 5}]}]}"#;
    let job = Job::new(vec![
        files(&[("m.json", matcher)]),
        run_step("a", "echo 'x.c:1:1: error: too early'\necho '::add-matcher::m.json'\necho \"$PWD/src/a.c:3:4: error: a password\""),
        run_step("b", "printf 'b.c:5:6: warn'; sleep 0.1; echo 'ing: halves'\nfor i in $(seq 30); do echo \"c.c:$i:1: error: many\"; done"),
        run_step("c", "echo '::remove-matcher owner=cc::'\necho 'd.c:1:1: error: too late'"),
    ])
    .secret("P", "password");
    let result = job.run().await;
    let shown: Vec<String> = result
        .annotations
        .iter()
        .map(|a| {
            let place = (a.file.as_deref().unwrap_or("-"), a.line.unwrap_or(0), a.column.unwrap_or(0));
            format!("{} {} {}:{}:{} {}", a.step, a.level, place.0, place.1, place.2, a.message)
        })
        .collect();
    assert_eq!(shown.len(), 12, "{shown:?}");
    assert_eq!(
        &shown[..3],
        ["1 error src/a.c:3:4 a ***", "2 warning b.c:5:6 halves", "2 error c.c:1:1 many"]
    );
    assert!(job.sink.out().contains("d.c:1:1: error: too late"));
}

#[tokio::test]
async fn jobs_share_the_cache() {
    if !has_node() {
        return;
    }
    let mut job = Job::new(vec![uses_step("a", "acme/tell@v1", &[])]);
    mirror(&mut job, "acme", "tell", |root| write_tell(root, "."));
    assert_eq!(job.run().await.conclusion, Conclusion::Success);
    let first = Arc::clone(&job.sink);
    job.sink = Arc::default();
    assert_eq!(job.run().await.conclusion, Conclusion::Success);
    assert!(first.all().contains("Download action repository"));
    assert!(job.sink.all().contains("Use cached action repository"), "{}", job.sink.all());
}

#[tokio::test]
async fn conditions_of_stages_and_state_by_command() {
    if !has_node() {
        return;
    }
    let yml = |post_if: &str| {
        format!(
            "runs: {{ using: node20, pre: pre.js, pre-if: 'false', main: main.js, post: post.js, post-if: {post_if} }}"
        )
    };
    let main = "console.log('::save-state name=a::from ' + process.env.INPUT_X)";
    let post = "console.log('post ' + process.env.STATE_a)";
    let mut job = Job::new(vec![
        uses_step("a", "acme/x/failure@v1", &[("x", "one")]),
        uses_step("b", "acme/x/success@v1", &[("x", "two")]),
        uses_step("c", "acme/x/always@v1", &[("x", "${{ job.status }}")]),
        run_step("d", "exit 1"),
        uses_step("e", "acme/x/always@v1", &[]),
    ]);
    mirror(&mut job, "acme", "x", |root| {
        for (directory, post_if) in
            [("failure", "failure()"), ("success", "success()"), ("always", "runner.os != ''")]
        {
            write(root, &format!("{directory}/action.yml"), &yml(post_if));
            write(root, &format!("{directory}/pre.js"), "console.log('never')");
            write(root, &format!("{directory}/main.js"), main);
            write(root, &format!("{directory}/post.js"), post);
        }
    });
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Failure);
    assert_eq!(told(&job), ["post from success", "post from one"], "{}", job.sink.all());
    assert_eq!(job.step("__pre_a").conclusion, Some(Conclusion::Skipped));
    assert_eq!(job.step("__post_b").conclusion, Some(Conclusion::Skipped));
    assert!(job.sink.steps.lock().unwrap().iter().all(|s| s.id != "__post_e"), "its main never ran");
}

#[tokio::test]
async fn a_fenced_attempt_runs_no_post_step() {
    if !has_node() {
        return;
    }
    let mut job = Job::new(vec![uses_step("a", "acme/tell@v1", &[]), run_step("b", "echo begun; sleep 60")]);
    mirror(&mut job, "acme", "tell", |root| write_tell(root, "."));
    let (sink, kill) = (job.sink.clone(), job.kill.clone());
    let killer = tokio::spawn(async move {
        eventually("the second step begins", || sink.out().contains("begun")).await;
        kill.cancel();
    });
    let result = job.run().await;
    killer.await.unwrap();
    assert_eq!(result.conclusion, Conclusion::Cancelled);
    assert!(!job.sink.out().contains("post "), "{}", job.sink.all());
    assert_eq!(job.step("__post_a").conclusion, Some(Conclusion::Skipped));
}

#[tokio::test]
async fn background_actions_share_nothing_by_accident() {
    if !has_node() {
        return;
    }
    let mut job = Job::new(vec![
        uses_step("a", "acme/tell@v1", &[("who", "a")]),
        uses_step("b", "acme/tell@v1", &[("who", "b")]),
        StepSpec { action: StepAction::Wait { steps: Vec::new() }, ..run_step("w", "") },
        run_step("c", "echo ${{ steps.a.outputs.from }} ${{ steps.b.outputs.from }}"),
    ]);
    for at in [0, 1] {
        job.spec().steps[at].background = true;
    }
    mirror(&mut job, "acme", "tell", |root| write_tell(root, "."));
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    let mut told = told(&job);
    told.sort();
    let expected = [
        "main a state=[pre;]",
        "main b state=[pre;]",
        "main main",
        "post a state=[pre;main;]",
        "post b state=[pre;main;]",
        "pre a state=[]",
        "pre b state=[]",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_forge_that_does_not_answer_does_not_hold_a_cancelled_job() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut job = Job::new(vec![uses_step("a", "acme/tell@v1", &[])]);
    job.config.actions.cache.base_url = format!("http://{}", silent.local_addr().unwrap());
    let (sink, cancel) = (job.sink.clone(), job.cancel.clone());
    let canceller = tokio::task::spawn_blocking(move || {
        // Git has connected: the fetch is under way.
        let _connection = silent.accept().unwrap();
        assert_eq!(sink.steps.lock().unwrap()[0].name, "Set up job");
        cancel.cancel();
        _connection
    });
    let result = job.run().await;
    drop(canceller.await.unwrap());
    assert_eq!(result.conclusion, Conclusion::Cancelled);
    assert_eq!(job.step("__set_up_job").conclusion, Some(Conclusion::Cancelled));
    assert_eq!(job.step("a").conclusion, Some(Conclusion::Skipped));
    // The time of the job counts here too.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    job.config.actions.cache.base_url = format!("http://{}", silent.local_addr().unwrap());
    job.cancel = tokio_util::sync::CancellationToken::new();
    job.spec().timeout_seconds = 1;
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::TimedOut);
    assert!(result.message.unwrap().contains("took longer than the job may take"));
}

#[tokio::test]
async fn the_action_of_the_repository_itself() {
    let action = "
inputs: { word: { default: 'from ${{ github.action }}' } }
runs:
  using: composite
  steps: [{ run: 'echo ${{ inputs.word }} $(basename ${{ github.action_path }})', shell: sh, working-directory: sub }]";
    let job = Job::new(vec![
        files(&[("action.yml", action), ("sub/keep", "")]),
        uses_step("itself", "./", &[]),
        run_step("after", "echo ${{ github.action_path }}."),
    ]);
    assert_eq!(job.run().await.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(told(&job), ["from itself workspace", "."]);
}

#[tokio::test]
async fn the_address_of_a_deployment_is_known_at_its_end() {
    let script = "echo \"host=app.example\" >> \"$GITHUB_OUTPUT\"";
    let mut job = Job::new(vec![run_step("deploy", script)]);
    job.spec().environment = Some(fleetfoot_model::spec::EnvironmentUse {
        name: "production".into(),
        url: Some("https://${{ steps.deploy.outputs.host }}/".into()),
    });
    let result = job.run().await;
    assert_eq!(result.environment_url.as_deref(), Some("https://app.example/"));
}
