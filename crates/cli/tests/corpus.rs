//! Real workflow files of public projects, run with the real binary: by `run`
//! on this machine, and by `submit` at a server. The files are read from a
//! folder beside the repository and run as they are, except where a case names
//! the steps that are left out because they download something. Where the
//! folder, or a tool that a workflow calls, is missing, the test says so and
//! passes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail by panicking and say why they skip"
)]

use fleetfoot_testkit::{Fleetfoot, GitRepository, TestServer};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_fleetfoot");

/// One workflow, the project it runs on, and what must come of it.
struct Case {
    /// File below the corpus.
    file: &'static str,
    /// Tools without which it cannot run.
    tools: &'static [&'static str],
    /// Names of steps that are left out, since they download something.
    left_out: &'static [&'static str],
    /// Files of the project; those that begin with `#!` are executable.
    project: &'static [(&'static str, &'static str)],
    /// Further arguments of `run` and `submit`.
    args: &'static [&'static str],
    /// Conclusion of the run.
    conclusion: &'static str,
    /// Jobs by name, with the steps in order and how each ended.
    jobs: &'static [(&'static str, &'static [(&'static str, &'static str)])],
    /// Lines that every job's log has in this order.
    log: &'static [&'static str],
    /// What no log may contain.
    never: &'static str,
}

const CHECKOUT: (&str, &str) = ("Run actions/checkout@v4", "success");

const CONFIGURE: &str = "#!/bin/sh\nset -e\necho checking for a C compiler\ncommand -v cc\n\
    sed \"s/@VERSION@/2.1/\" Makefile.in > Makefile\necho configured\n";

/// What `./configure` makes a Makefile of: a C program with a check and a distribution.
const MAKEFILE_IN: &str = "\
hello: hello.c
\t@cc -o hello -DVERSION='\"@VERSION@\"' hello.c
\t@echo built hello @VERSION@
check: hello
\t@test \"$$(./hello)\" = 'hello 2.1'
\t@echo PASS hello
distcheck: check
\t@tar -cf hello-@VERSION@.tar hello.c Makefile.in configure
\t@tar -tf hello-@VERSION@.tar
\t@echo ready for distribution
";

const HELLO_C: &str = "#include <stdio.h>\nint main(void) { puts(\"hello \" VERSION); return 0; }\n";

const BROKEN_C: &str = "#include <stdio.h>\nint main(void) { puts(\"broken \" VERSION); return 0; }\n";

const CASES: &[Case] = &[
    Case {
        file: "starter-workflows/blank.yml",
        tools: &[],
        left_out: &[],
        project: &[("README", "nothing to build\n")],
        args: &[],
        conclusion: "success",
        jobs: &[(
            "build",
            &[CHECKOUT, ("Run a one-line script", "success"), ("Run a multi-line script", "success")],
        )],
        log: &["Hello, world!", "Add other actions to build,", "test, and deploy your project."],
        never: "echo Hello",
    },
    Case {
        file: "starter-workflows/makefile.yml",
        tools: &["make", "cc", "tar"],
        left_out: &[],
        project: &[("configure", CONFIGURE), ("Makefile.in", MAKEFILE_IN), ("hello.c", HELLO_C)],
        args: &[],
        conclusion: "success",
        jobs: &[(
            "build",
            &[
                CHECKOUT,
                ("configure", "success"),
                ("Install dependencies", "success"),
                ("Run check", "success"),
                ("Run distcheck", "success"),
            ],
        )],
        log: &["configured", "built hello 2.1", "PASS hello", "hello.c", "ready for distribution"],
        never: "@VERSION@",
    },
    // The check fails: what follows it is skipped, and the exit code is 1.
    Case {
        file: "starter-workflows/c-cpp.yml",
        tools: &["make", "cc", "tar"],
        left_out: &[],
        project: &[("configure", CONFIGURE), ("Makefile.in", MAKEFILE_IN), ("hello.c", BROKEN_C)],
        args: &[],
        conclusion: "failure",
        jobs: &[(
            "build",
            &[
                CHECKOUT,
                ("configure", "success"),
                ("make", "success"),
                ("make check", "failure"),
                ("make distcheck", "skipped"),
            ],
        )],
        log: &["configured", "built hello 2.1", "Error 1"],
        never: "ready for distribution",
    },
    Case {
        file: "starter-workflows/manual.yml",
        tools: &[],
        left_out: &[],
        project: &[("README", "nothing to build\n")],
        args: &["--input", "name=Fleet Street"],
        conclusion: "success",
        jobs: &[("greet", &[("Send greeting", "success")])],
        log: &["Hello Fleet Street"],
        never: "World",
    },
    Case {
        file: "starter-workflows/manual.yml",
        tools: &[],
        left_out: &[],
        project: &[("README", "nothing to build\n")],
        args: &[],
        conclusion: "success",
        jobs: &[("greet", &[("Send greeting", "success")])],
        log: &["Hello World"],
        never: "inputs.name",
    },
    Case {
        file: "starter-workflows/rust.yml",
        tools: &["cargo"],
        left_out: &[],
        project: &[
            (
                "Cargo.toml",
                "[package]\nname = \"adder\"\nversion = \"0.3.0\"\nedition = \"2021\"\n[workspace]\n",
            ),
            ("Cargo.lock", "version = 4\n[[package]]\nname = \"adder\"\nversion = \"0.3.0\"\n"),
            (
                "src/lib.rs",
                "pub fn add(a: u8, b: u8) -> u8 { a + b }\n#[test]\nfn two_and_two() { assert_eq!(add(2, 2), 4); }\n",
            ),
        ],
        args: &[],
        conclusion: "success",
        jobs: &[("build", &[CHECKOUT, ("Build", "success"), ("Run tests", "success")])],
        // The colours come from CARGO_TERM_COLOR in the workflow's env.
        log: &["Compiling\u{1b}[0m adder v0.3.0", "test two_and_two ... ", "test result: "],
        never: "FAILED",
    },
    // Three legs; setup-node downloads Node.js, the one of this machine does.
    Case {
        file: "starter-workflows/node.js.yml",
        tools: &["node", "npm"],
        left_out: &["Use Node.js ${{ matrix.node-version }}"],
        project: &[
            (
                "package.json",
                r#"{"name": "leaf", "version": "1.0.0", "scripts": {"test": "node -e \"console.log('leaf holds', 6 * 7)\""}}"#,
            ),
            (
                "package-lock.json",
                r#"{"name": "leaf", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {"": {"name": "leaf", "version": "1.0.0"}}}"#,
            ),
        ],
        args: &[],
        conclusion: "success",
        jobs: &[("build (18.x)", NODE_STEPS), ("build (20.x)", NODE_STEPS), ("build (22.x)", NODE_STEPS)],
        log: &["up to date", "> node -e", "leaf holds 42"],
        never: "npm ERR!",
    },
    Case {
        file: "starter-workflows/cmake-single-platform.yml",
        tools: &["cmake", "ctest", "make", "cc"],
        left_out: &[],
        project: &[
            (
                "CMakeLists.txt",
                "cmake_minimum_required(VERSION 3.13)\nproject(hello C)\nadd_executable(hello hello.c)\n\
                 target_compile_definitions(hello PRIVATE VERSION=\"2.1\")\nenable_testing()\n\
                 add_test(NAME says_hello COMMAND hello)\nmessage(STATUS \"type ${CMAKE_BUILD_TYPE}\")\n",
            ),
            ("hello.c", HELLO_C),
        ],
        args: &[],
        conclusion: "success",
        jobs: &[(
            "build",
            &[CHECKOUT, ("Configure CMake", "success"), ("Build", "success"), ("Test", "success")],
        )],
        log: &["-- type Release", "Built target hello", "says_hello", "100% tests passed"],
        never: "CMake Error",
    },
];

const NODE_STEPS: &[(&str, &str)] = &[
    CHECKOUT,
    ("Run npm ci", "success"),
    ("Run npm run build --if-present", "success"),
    ("Run npm test", "success"),
];

fn corpus() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|p| p.join("shared/corpus"))
        .find(|p| p.is_dir());
    if found.is_none() {
        eprintln!("skipped: there is no shared/corpus beside the repository");
    }
    found
}

fn workflows(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            workflows(&path, found);
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            found.push(path);
        }
    }
}

/// The search path of the jobs: the toolchain that runs this test comes first,
/// since a proxy for it may need a home directory that jobs do not have.
fn search_path() -> String {
    let toolchain = std::env::var_os("CARGO").map(PathBuf::from);
    let first = toolchain.iter().filter_map(|cargo| cargo.parent().map(Path::to_owned));
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let all = first.chain(std::env::split_paths(&inherited));
    std::env::join_paths(all).unwrap().into_string().unwrap()
}

/// The first tool that does not even say its version.
fn missing(tools: &'static [&'static str]) -> Option<&'static str> {
    let works = |tool: &str| {
        let mut version = Command::new(tool);
        version.arg("--version").env("PATH", search_path()).env("HOME", "/nonexistent");
        version.output().is_ok_and(|o| o.status.success())
    };
    tools.iter().copied().find(|tool| !works(tool))
}

/// The text without the steps of these names: from the line `- name: NAME` to
/// the next line that is not deeper than its dash.
fn without_steps(text: &str, names: &[&str]) -> String {
    let mut out = String::new();
    let mut dropping: Option<usize> = None;
    let mut dropped = 0;
    for line in text.lines() {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if dropping.is_some_and(|dash| !body.is_empty() && indent <= dash) {
            dropping = None;
        }
        if body.strip_prefix("- name: ").is_some_and(|name| names.contains(&name)) {
            dropping = Some(indent);
            dropped += 1;
        }
        if dropping.is_none() {
            out.push_str(line);
            out.push('\n');
        }
    }
    assert_eq!(dropped, names.len(), "{names:?} in\n{text}");
    out
}

/// A committed repository with the project and the workflow; the workflow's path in it.
fn repository(case: &Case, corpus: &Path, at: &Path) -> (GitRepository, String) {
    use std::os::unix::fs::PermissionsExt;
    let repository = GitRepository::new(at);
    for (name, text) in case.project {
        repository.write(name, text);
        if text.starts_with("#!") {
            let path = repository.path().join(name);
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
    let original = std::fs::read_to_string(corpus.join(case.file)).unwrap();
    let text = match case.left_out {
        [] => original,
        names => without_steps(&original, names),
    };
    let path = format!(".github/workflows/{}", case.file.rsplit('/').next().unwrap());
    repository.write(&path, &text);
    repository.commit("first");
    (repository, path)
}

/// Runs every case that can run here; says which cannot.
fn each(corpus: &Path, mut run: impl FnMut(&Case, &GitRepository, &str)) {
    let mut ran = 0;
    for (n, case) in CASES.iter().enumerate() {
        if let Some(tool) = missing(case.tools) {
            eprintln!("skipped: {} needs {tool}", case.file);
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let (repository, path) = repository(case, corpus, &dir.path().join(format!("repo-{n}")));
        run(case, &repository, &path);
        ran += 1;
    }
    assert!(ran >= 4, "only {ran} workflows ran");
}

fn exit_code(case: &Case) -> i32 {
    i32::from(case.conclusion != "success")
}

/// Conclusions, names and order of jobs and steps, times and exit codes.
fn check_run(case: &Case, run: &Value) {
    assert_eq!((&run["status"], &run["conclusion"]), (&json!("completed"), &json!(case.conclusion)), "{run}");
    let jobs = run["jobs"].as_array().unwrap();
    let names: Vec<&str> = jobs.iter().map(|j| j["name"].as_str().unwrap()).collect();
    assert_eq!(names, case.jobs.iter().map(|j| j.0).collect::<Vec<_>>(), "{}", case.file);
    for (job, (name, expected)) in jobs.iter().zip(case.jobs) {
        assert_eq!(job["conclusion"], case.conclusion, "{}: {name}", case.file);
        let steps = job["steps"].as_array().unwrap();
        let ended: Vec<(&str, &str)> =
            steps.iter().map(|s| (s["name"].as_str().unwrap(), s["conclusion"].as_str().unwrap())).collect();
        assert_eq!(&ended, expected, "{}: {name}", case.file);
        let mut before = String::new();
        for step in steps.iter().filter(|s| s["conclusion"] != "skipped") {
            let (started, finished) = (step["started_at"].as_str(), step["finished_at"].as_str());
            let (started, finished) = (started.unwrap().to_owned(), finished.unwrap().to_owned());
            assert!(before <= started && started <= finished, "one after the other: {steps:?}");
            before = finished;
            assert_eq!(step["exit_code"] == 0, step["conclusion"] == "success", "{step}");
        }
    }
}

fn check_log(case: &Case, log: &str) {
    let mut rest = log;
    for line in case.log {
        let at = rest.find(line);
        let at = at.unwrap_or_else(|| panic!("{}: no '{line}' (in this place) in\n{log}", case.file));
        rest = &rest[at + line.len()..];
    }
    assert!(!log.contains(case.never), "{}: '{}' in\n{log}", case.file, case.never);
}

#[test]
fn every_file_passes_lint() {
    let Some(corpus) = corpus() else { return };
    let mut files = Vec::new();
    workflows(&corpus, &mut files);
    assert!(files.len() >= 60, "only {} files", files.len());
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["lint".to_owned()];
    args.extend(files.iter().map(|f| f.display().to_string()));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = Fleetfoot::new(BINARY, dir.path()).run(&args);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains(&format!("{} files, 0 errors", files.len())), "{done:?}");
}

#[test]
fn run_without_a_server() {
    let Some(corpus) = corpus() else { return };
    let home = tempfile::tempdir().unwrap();
    each(&corpus, |case, repository, path| {
        let fleetfoot = Fleetfoot::new(BINARY, repository.path())
            .env("PATH", search_path())
            .env("HOME", home.path().display().to_string());
        let mut args = vec!["run", "-W", path, "--output", "json"];
        args.extend(case.args);
        let done = fleetfoot.run(&args);
        assert_eq!(done.code, exit_code(case), "{done:?}");
        check_run(case, &done.json());
        // The data is the run; the log goes where people look.
        for (name, _) in case.jobs {
            match case.jobs {
                [_] => check_log(case, &done.stderr),
                _ => check_log(case, &own_lines(&done.stderr, name)),
            }
        }
        let changed = repository.git(&["status", "--porcelain"]);
        assert_eq!(changed, "", "{}: the working tree is untouched", case.file);
    });
}

/// The lines of one of several jobs.
fn own_lines(log: &str, job: &str) -> String {
    let prefix = format!("{job} | ");
    log.lines().filter_map(|l| l.strip_prefix(&prefix)).collect::<Vec<_>>().join("\n")
}

#[test]
fn submit_to_a_server() {
    let Some(corpus) = corpus() else { return };
    let mut server = TestServer::up_with(BINARY, &["--slots", "2"], &[("PATH", &search_path())]);
    each(&corpus, |case, repository, path| {
        let cli = server.cli().within(repository.path());
        let mut args = vec!["submit", path, "--wait", "--output", "json"];
        args.extend(case.args);
        let done = cli.run(&args);
        assert_eq!(done.code, exit_code(case), "{done:?}");
        let created = done.json();
        let run = created["run"].to_string();
        let shown = cli.run(&["show", &run, "--output", "json"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        check_run(case, &shown.json());
        let jobs = created["jobs"].as_array().unwrap();
        assert_eq!(jobs.len(), case.jobs.len(), "{created}");
        for job in jobs {
            let log = cli.run(&["logs", &job["id"].to_string()]);
            assert_eq!(log.code, 0, "{log:?}");
            check_log(case, &log.stdout);
        }
        let watched = cli.run(&["watch", &run, "--exit-status"]);
        assert_eq!(watched.code, exit_code(case), "{watched:?}");
    });
    assert_eq!(server.stop().code(), Some(0));
}
