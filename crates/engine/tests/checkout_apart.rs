//! `actions/checkout` for jobs that are fenced in: git works where the job
//! cannot get at it, and the job can use what it gives.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::fake::{Behaviour, FakeEngine};
use common::{Job, git_http, run_step, uses_step};
use fleetfoot_engine::Fence;
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::spec::{ContainerSpec, Repository, StepSpec};
use fleetfoot_model::state::{Conclusion, Reason};
use fleetfoot_testkit::GitRepository;

/// A job in a container, over a repository that a server gives.
fn job(steps: Vec<StepSpec>) -> Option<Job> {
    if !git_http::is_there() {
        eprintln!("skipped: git is without its HTTP programs");
        return None;
    }
    let mut job = Job::new(steps);
    let inner = GitRepository::new(job.dir.path().join("inner"));
    std::fs::write(inner.path().join("inner"), "x").unwrap();
    inner.commit("inner");
    let source = GitRepository::new(job.dir.path().join("source"));
    std::fs::write(source.path().join("file"), "one\n").unwrap();
    source.commit("first");
    source.git(&["branch", "old"]);
    std::fs::write(source.path().join("file"), "two\n").unwrap();
    let root = job.dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let bare = |repository: &GitRepository, name: &str| {
        let to = root.join(name);
        repository.git(&["clone", "--quiet", "--bare", ".", to.to_str().unwrap()]);
    };
    bare(&inner, "inner.git");
    let url = git_http::serve(root.clone());
    let modules = |inner: &str| format!("[submodule \"inner\"]\n\tpath = inner\n\turl = {inner}\n");
    let inner_path = inner.path().to_str().unwrap();
    source.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner_path, "inner"]);
    std::fs::write(source.path().join(".gitmodules"), modules("../inner.git")).unwrap();
    let sha = source.commit("second");
    let evil = modules(inner_path);
    source.git(&["checkout", "-q", "-b", "evil"]);
    std::fs::write(source.path().join(".gitmodules"), evil).unwrap();
    source.commit("a submodule of the machine");
    bare(&source, "own.git");
    job.assignment.repository = Some(Repository {
        url: format!("{url}/own.git"),
        sha: Some(sha),
        git_ref: Some("refs/heads/main".into()),
        ..Repository::default()
    });
    let engine = FakeEngine::new(job.driver.clone(), Behaviour::default());
    job.fence = Some(Fence { containers: Some(engine), ..Fence::of(job.driver.clone()) });
    job.spec().container = Some(ContainerSpec { image: "app".into(), ..ContainerSpec::default() });
    Some(job)
}

#[tokio::test]
async fn what_the_job_prepared_has_no_effect() {
    // Everything that git would run if it looked at what the job made.
    let traps = "
        printf '#!/bin/sh\\ntouch \"%s\"\\n' \"$TRAP\" > trap.sh; chmod +x trap.sh
        git init -q . && git config core.fsmonitor \"$PWD/trap.sh\" && git config core.sshCommand \"$PWD/trap.sh\"
        git config core.hooksPath \"$PWD\" && cp trap.sh post-checkout && cp trap.sh .git/hooks/post-checkout
        mkdir bin && cp trap.sh bin/git && echo \"$PWD/bin\" >> $GITHUB_PATH
        { echo \"GIT_EXEC_PATH=$PWD/bin\"; echo \"PATH=$PWD/bin:$PATH\"; echo \"GIT_CONFIG_COUNT=1\";
          echo GIT_CONFIG_KEY_0=core.fsmonitor; echo \"GIT_CONFIG_VALUE_0=$PWD/trap.sh\"; echo \"HOME=$PWD\"; } >> $GITHUB_ENV
        mkdir keep && ln -s / away";
    let steps = vec![
        run_step("traps", traps),
        uses_step("get", "actions/checkout@v4", &[("submodules", "true")]),
        run_step(
            "show",
            "unset GIT_EXEC_PATH GIT_CONFIG_COUNT; PATH=/usr/bin:/bin; ls -A; cat file inner/inner; git status --porcelain; git log --format=%s",
        ),
        uses_step("old", "actions/checkout@v4", &[("ref", "old"), ("path", "sub/old"), ("clean", "false")]),
        run_step("more", "cat sub/old/file file"),
    ];
    let Some(mut job) = job(steps) else { return };
    let trap = job.dir.path().join("trapped");
    job.spec().env = vec![[("TRAP".to_owned(), trap.to_string_lossy().into_owned())].into_iter().collect()];
    let result = job.run().await;
    assert_eq!(result.conclusion, Conclusion::Success, "{}", job.sink.all());
    assert_eq!(result.boundary.boundary, Boundary::Container);
    assert!(!trap.exists(), "git ran what the job had prepared");
    let all = job.sink.out();
    let out: Vec<&str> = all.lines().filter(|l| !l.starts_with("Submodule")).collect();
    insta::assert_snapshot!(out.join(" "), @".git .gitmodules file inner two xsecond one two");
}

#[tokio::test]
async fn directories_of_the_machine_are_no_repositories() {
    for with in [
        vec![("repository", "/OWN/inner")],
        vec![("repository", "file:///OWN/inner")],
        vec![("ref", "evil"), ("submodules", "true")],
    ] {
        let Some(mut job) = job(vec![uses_step("get", "actions/checkout@v4", &with)]) else { return };
        let own = job.dir.path().to_string_lossy().into_owned();
        if let fleetfoot_model::spec::StepAction::Uses { with, .. } = &mut job.spec().steps[0].action {
            with.values_mut().for_each(|v| *v = v.replace("/OWN", &own));
        }
        let result = job.run().await;
        assert_eq!(result.conclusion, Conclusion::Failure, "{with:?}: {}", job.sink.all());
        assert!(matches!(result.reason, Some(Reason::BadSpecification | Reason::ExitCode)), "{with:?}");
    }
}
