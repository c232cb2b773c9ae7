//! Output of every kind, masking, commands and files of steps.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Job, run_step};
use fleetfoot_model::logs::Stream;
use fleetfoot_model::state::{Conclusion, Reason};
use serde_json::json;

#[tokio::test]
async fn bytes_arrive_as_they_were_written() {
    let job = Job::script(
        "printf 'a\\000b\\377\\376\\n'; head -c 100000000 /dev/zero | tr '\\0' x; echo; printf 'no newline'",
    );
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success);
    let out = job.sink.stream(Stream::Stdout);
    assert_eq!(&out[..6], b"a\0b\xff\xfe\n");
    assert_eq!(out.len(), 6 + 100_000_000 + 1 + 10);
    assert!(out[6..100_000_006].iter().all(|b| *b == b'x'));
    assert!(out.ends_with(b"x\nno newline"));
    assert_eq!(result.log_bytes, out.len() as u64);
    let largest = job.sink.log.lock().unwrap().iter().map(|(_, _, b)| b.len()).max().unwrap();
    assert!(largest <= fleetfoot_model::logs::MAX_FRAME);
}

#[tokio::test]
async fn closing_the_output_is_no_end() {
    let job = Job::script("echo before; exec 1>&- 2>&-; sleep 0.2; exit 4");
    assert_eq!(job.run().await.exit_code, Some(4));
    assert_eq!(job.sink.out(), "before\n");
}

#[tokio::test]
async fn the_log_has_a_limit_and_the_job_goes_on() {
    let mut job = Job::script("seq 1 100000; echo x=1 >> $GITHUB_OUTPUT; exit 5");
    job.config.max_log_bytes = 1000;
    let result = job.run().await;
    assert_eq!(result.exit_code, Some(5));
    assert_eq!(job.sink.stream(Stream::Stdout).len(), 1000);
    assert_eq!(
        job.sink.stream(Stream::Runner),
        b"\n[the log ends here: it reached its limit of 1000 bytes]\n"
    );
    assert_eq!(result.log_bytes as usize, job.sink.all().len());
}

#[tokio::test]
async fn secrets_are_masked_however_they_are_written() {
    let mut job = Job::script(
        "printf hun; sleep 0.05; printf te; sleep 0.05; echo r2-long; echo \"$S\" | base64; echo \"$S\" >&2\n\
         echo '::add-mask::learned-late'; echo learned-late; echo ${{ github.token }} | rev | rev",
    )
    .secret("S", "hunter2-long");
    job.config.separate_stderr = true;
    job.spec().env.push([("S".to_owned(), "${{ secrets.S }}".to_owned())].into());
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success);
    let all = job.sink.all();
    for secret in ["hunter2", "learned-late", "aHVudGVyMi1sb25n", "ffj_"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    assert_eq!(job.sink.out().lines().next(), Some("***"));
    assert_eq!(job.sink.stream(Stream::Stderr), b"***\n");
}

#[tokio::test]
async fn outputs_with_secrets_are_left_out() {
    let mut job = Job::script("echo a=harmless >> $GITHUB_OUTPUT; echo b=x-hunter2-x >> $GITHUB_OUTPUT")
        .secret("S", "hunter2");
    job.spec().outputs.insert("a".into(), "${{ steps.it.outputs.a }}".into());
    job.spec().outputs.insert("b".into(), "${{ steps.it.outputs.b }}".into());
    let result = job.run().await;
    assert_eq!(result.outputs.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(result.annotations[0].message, "the output 'b' is left out: it may contain a secret");
}

#[tokio::test]
async fn files_of_a_step_reach_the_next_ones() {
    let job = Job::new(vec![
        run_step(
            "a",
            "mkdir bin; printf '#!/bin/sh\\necho tool ran\\n' > bin/tool; chmod +x bin/tool\n\
             echo \"$PWD/bin\" >> $GITHUB_PATH\n\
             printf 'PLAIN=1\\nMULTI<<EOF\\ntwo\\nlines\\nEOF\\nGITHUB_SHA=forged\\n' >> $GITHUB_ENV\n\
             echo '# Hello' >> $GITHUB_STEP_SUMMARY\n\
             echo '::set-output name=old::way'\n\
             echo '::warning file=a.c,line=3::look'",
        ),
        run_step(
            "b",
            "tool; echo \"$PLAIN ${{ env.MULTI }}\"; echo ${{ steps.a.outputs.old }}; echo sha=$GITHUB_SHA",
        ),
    ])
    .context("github", json!({"sha": "0123", "event": {"k": 1}}));
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(job.sink.out(), "::warning file=a.c,line=3::look\ntool ran\n1 two\nlines\nway\nsha=0123\n");
    assert_eq!(result.summaries, [(0, "# Hello\n".to_owned())]);
    assert_eq!(result.annotations.len(), 2, "{:?}", result.annotations);
    assert_eq!((result.annotations[1].file.as_deref(), result.annotations[1].line), (Some("a.c"), Some(3)));
}

#[tokio::test]
async fn bad_files_fail_the_step() {
    for (script, part) in [
        ("echo nonsense >> $GITHUB_ENV", "$GITHUB_ENV: line 1: 'nonsense' is neither"),
        ("printf 'A<<EOF\\nx\\n' >> $GITHUB_OUTPUT", "$GITHUB_OUTPUT: line 1: the value of 'A' never ends"),
        ("echo NODE_OPTIONS=--require=x >> $GITHUB_ENV", "NODE_OPTIONS cannot be set"),
        ("rm $GITHUB_ENV; mkfifo $GITHUB_ENV", "not a regular file"),
    ] {
        let job = Job::script(script);
        let result = job.run().await;
        assert_eq!((result.conclusion, result.reason), (Conclusion::Failure, Some(Reason::BadSpecification)));
        assert!(job.step("it").message.unwrap().contains(part), "{}", job.sink.all());
    }
}

#[tokio::test]
async fn the_environment_is_what_was_given_and_nothing_else() {
    let mut job = Job::new(vec![run_step(
        "it",
        "env | sort; echo ---; cat; ls /proc/self/fd | wc -l; cat $GITHUB_EVENT_PATH; echo; pwd",
    )])
    .context("github", json!({"repository": "o/r", "ref": "refs/heads/main", "event": {"k": [1]}}));
    job.config.passed_env = vec![("PATH".into(), std::env::var("PATH").unwrap()), ("CI".into(), "no".into())];
    job.config.runner_name = "r1".into();
    job.assignment.env.insert("LAYER".into(), "submit".into());
    job.spec()
        .env
        .push([("LAYER".to_owned(), "workflow".to_owned()), ("B".into(), "${{ github.ref }}".into())].into());
    job.spec().env.push([("LAYER".to_owned(), "job".to_owned())].into());
    job.spec().steps[0].env = [("LAYER".to_owned(), "${{ env.LAYER }}/step".to_owned())].into();
    job.run().await;
    let out = job.sink.out();
    let root = job.config.work_dir.to_string_lossy().into_owned();
    let varying = ["PATH=", "FLEETFOOT_RUNNER_TAG=", "_=", "RUNNER_ARCH="];
    let shown: Vec<String> = out
        .lines()
        .filter(|l| !varying.iter().any(|v| l.starts_with(v)))
        .map(|l| l.replace(&root, "WORK").replace(&job.assignment.attempt.to_string(), "ATTEMPT"))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r#"
    B=refs/heads/main
    CI=true
    FLEETFOOT=true
    FLEETFOOT_ATTEMPT=ATTEMPT
    GITHUB_ACTION=it
    GITHUB_ACTIONS=true
    GITHUB_ENV=WORK/ATTEMPT/_temp/_runner_file_commands/set_env_0
    GITHUB_EVENT_PATH=WORK/ATTEMPT/_temp/_runner_file_commands/event.json
    GITHUB_JOB=build
    GITHUB_OUTPUT=WORK/ATTEMPT/_temp/_runner_file_commands/set_output_0
    GITHUB_PATH=WORK/ATTEMPT/_temp/_runner_file_commands/add_path_0
    GITHUB_REF=refs/heads/main
    GITHUB_REPOSITORY=o/r
    GITHUB_RETENTION_DAYS=90
    GITHUB_RUN_ID=5
    GITHUB_SERVER_URL=http://127.0.0.1:7878
    GITHUB_STATE=WORK/ATTEMPT/_temp/_runner_file_commands/save_state_0
    GITHUB_STEP_SUMMARY=WORK/ATTEMPT/_temp/_runner_file_commands/step_summary_0
    GITHUB_WORKSPACE=WORK/ATTEMPT/workspace
    LAYER=job/step
    PWD=WORK/ATTEMPT/workspace
    RUNNER_ENVIRONMENT=self-hosted
    RUNNER_NAME=r1
    RUNNER_OS=Linux
    RUNNER_TEMP=WORK/ATTEMPT/_temp
    RUNNER_TOOL_CACHE=WORK/_tool
    RUNNER_WORKSPACE=WORK/ATTEMPT
    SHLVL=1
    ---
    4
    {"k":[1]}
    WORK/ATTEMPT/workspace
    "#);
}

#[tokio::test]
async fn hooks_run_before_and_after() {
    let mut job = Job::script("echo step; exit 1");
    let hook = |name: &str, text: &str| {
        let path = job.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    job.config.job_started_hook = hook("started.sh", "echo started; echo FROM_HOOK=1 >> $GITHUB_ENV");
    job.config.job_completed_hook = hook("completed.sh", "echo completed $FROM_HOOK");
    let result = job.run().await;
    assert_eq!(result.exit_code, Some(1));
    assert_eq!(job.sink.out(), "started\nstep\ncompleted 1\n");
    let steps = job.sink.steps.lock().unwrap().clone();
    let names: Vec<(u16, &str)> = steps.iter().map(|s| (s.index, s.name.as_str())).collect();
    assert_eq!(names, [(0, "Set up runner"), (1, "Run echo step; exit 1"), (2, "Complete runner")]);
}
