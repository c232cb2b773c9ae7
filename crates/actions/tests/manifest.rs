//! Manifests: every kind, what is refused and in which words, and input that
//! wants to be expensive.

#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_actions::{ActionErrorKind, Manifest, Runs};
use fleetfoot_model::diagnostic::{Diagnostics, Source};
use fleetfoot_model::spec::StepAction;
use std::path::Path;
use std::time::{Duration, Instant};

fn parse(text: &str) -> Result<Manifest, Diagnostics> {
    Manifest::parse(&Source::new("action.yml", text.as_bytes().to_vec()))
}

fn codes(text: &str) -> Vec<String> {
    parse(text).unwrap_err().0.into_iter().map(|d| format!("{}:{} {}", d.line, d.column, d.code)).collect()
}

#[test]
fn a_javascript_action_with_everything() {
    let manifest = parse(
        "name: Cache
description: Braces ${{ anything }} are only text here
author: somebody
branding: {icon: archive, color: gray-dark}
inputs:
  path:
    description: 'With ${{ braces }}'
    required: true
  token: {default: '${{ github.token }}', required: 'false', type: string}
  count: {default: 3.10}
  nothing:
  old: {deprecationMessage: use path}
outputs:
  cache-hit: {description: whether}
runs:
  using: Node20
  main: ../dist/index.js
  pre: pre.js
  pre-if: runner.os == 'Linux'
  post: post.js
  post-if: success() && env.X
",
    )
    .unwrap();
    assert_eq!(manifest.name, "Cache");
    assert!(manifest.inputs["path"].required);
    assert!(!manifest.inputs["token"].required);
    assert_eq!(manifest.inputs["token"].default.as_deref(), Some("${{ github.token }}"));
    assert_eq!(manifest.inputs["count"].default.as_deref(), Some("3.1"));
    assert_eq!(manifest.inputs["nothing"].default, None);
    assert_eq!(manifest.inputs["old"].deprecation_message.as_deref(), Some("use path"));
    assert_eq!(manifest.outputs["cache-hit"].value, None);
    let expected = Runs::Node {
        version: "20".to_owned(),
        main: "../dist/index.js".to_owned(),
        pre: Some("pre.js".to_owned()),
        pre_if: Some("runner.os == 'Linux'".to_owned()),
        post: Some("post.js".to_owned()),
        post_if: Some("success() && env.X".to_owned()),
    };
    assert_eq!(manifest.runs, expected);
}

#[test]
fn every_version_of_node_and_no_other() {
    for version in ["12", "16", "20", "24"] {
        let manifest = parse(&format!("runs: {{using: node{version}, main: a.js}}")).unwrap();
        assert!(matches!(manifest.runs, Runs::Node { version: v, .. } if v == version));
    }
    for using in ["node", "node8", "node22x", "plugin", "go", "nodeé", "''"] {
        assert!(parse(&format!("runs: {{using: {using}, main: a.js}}")).is_err(), "{using}");
    }
    insta::assert_snapshot!(parse("name: x\nruns:\n  using: node8\n  main: a.js\n").unwrap_err(), @r"
    action.yml:3:10: error[using]: 'using: node8' is not supported
     3 |   using: node8
       |          ^
     hint: Use 'docker', 'node12', 'node16', 'node20', 'node24' or 'composite' instead
    ");
}

#[test]
fn a_composite_action_has_ids_and_templates() {
    let manifest = parse(
        "inputs: {who: {default: World}}
outputs:
  random: {description: number, value: '${{ steps.random.outputs.n }}'}
runs:
  using: composite
  steps:
    - run: echo ${{ inputs.who }}
      shell: bash
    - run: echo again
      shell: ${{ inputs.shell }}
      if: ${{ !cancelled() && runner.os == 'Linux' }}
      working-directory: ${{ github.action_path }}
      continue-on-error: true
    - uses: actions/checkout@v4
      with: {ref: '${{ github.ref }}'}
    - id: random
      uses: ./local
      env: {A: '${{ hashFiles(''x'') }}'}
",
    )
    .unwrap();
    let Runs::Composite { steps } = &manifest.runs else { panic!("{manifest:?}") };
    let ids: Vec<&str> = steps.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(ids, ["__run", "__run_2", "__actions_checkout", "random"]);
    let StepAction::Run { script, shell, .. } = &steps[0].action else { panic!() };
    assert_eq!((script.as_str(), shell.as_deref()), ("echo ${{ inputs.who }}", Some("bash")));
    assert_eq!(steps[1].continue_on_error.as_deref(), Some("true"));
    assert_eq!(steps[2].line, 14);
    assert_eq!(manifest.outputs["random"].value.as_deref(), Some("${{ steps.random.outputs.n }}"));
    assert!(manifest.warnings.is_empty());
}

#[test]
fn a_container_action() {
    let manifest = parse(
        "runs:
  using: docker
  image: docker://alpine:3.20
  args: ['${{ inputs.a }}', 2, true]
  entrypoint: /main.sh
  pre-entrypoint: /pre.sh
  pre-if: always()
  post-entrypoint: /post.sh
  post-if: failure()
  env: {A: '${{ inputs.a }}', B: 1}
",
    )
    .unwrap();
    let Runs::Docker { image, args, env, pre_entrypoint, post_if, .. } = manifest.runs else { panic!() };
    assert_eq!(image, "docker://alpine:3.20");
    assert_eq!(args, ["${{ inputs.a }}", "2", "true"]);
    assert_eq!(env["B"], "1");
    assert_eq!(pre_entrypoint.as_deref(), Some("/pre.sh"));
    assert_eq!(post_if.as_deref(), Some("failure()"));
}

#[test]
fn findings_have_their_places() {
    assert_eq!(codes(""), ["1:1 empty"]);
    assert_eq!(codes("name: x"), ["1:1 missing-key"]);
    assert_eq!(codes("runs: {main: x}"), ["1:7 missing-key"]);
    assert_eq!(codes("runs: {using: node20}"), ["1:7 missing-key"]);
    assert_eq!(codes("runs: {using: composite}"), ["1:7 missing-key"]);
    assert_eq!(codes("runs: {using: docker}"), ["1:7 missing-key"]);
    assert_eq!(codes("runs: {using: node20, main: x, steps: []}"), ["1:32 unknown-key"]);
    assert_eq!(codes("runs: {using: node20, main: [x]}"), ["1:29 unexpected-value"]);
    assert_eq!(codes("runs: {using: node20, main: '${{ inputs.x }}'}"), ["1:30 expression-not-allowed"]);
    assert_eq!(codes("runs: {using: node20, main: x, post-if: nope()}"), ["1:41 expression"]);
    assert_eq!(codes("runs: {using: docker, image: x, args: ['${{ github.ref }}']}"), ["1:45 expression"]);
    assert_eq!(codes("inputs: {a: {}, A: {}}\nruns: {using: node20, main: x}").len(), 1);
    assert_eq!(
        codes("inputs: {a: {default: '${{ secrets.X }}'}}\nruns: {using: node20, main: x}"),
        ["1:28 expression"]
    );
    let step = |step: &str| codes(&format!("runs:\n  using: composite\n  steps:\n    - {step}\n"));
    assert_eq!(step("{run: a, shell: bash, name: '${{ secrets.X }}'}"), ["4:40 expression"]);
    assert_eq!(step("{run: a, shell: bash, if: vars.X}"), ["4:33 expression"]);
    assert_eq!(step("{run: a, shell: bash, env: {A: '${{ needs.X }}'}}"), ["4:43 expression"]);
    assert_eq!(step("{run: a, shell: zsh}"), ["4:23 shell"]);
    assert_eq!(step("{run: a, shell: bash, background: true}"), ["4:29 not-supported"]);
    assert_eq!(step("{wait-all: true}"), ["4:8 not-supported"]);
    assert_eq!(step("{uses: nonsense}"), ["4:14 uses"]);
    insta::assert_snapshot!(
        parse("runs:\n  using: composite\n  steps:\n    - run: make\n").unwrap_err(), @r"
    action.yml:4:7: error[missing-key]: Required property is missing: shell
     4 |     - run: make
       |       ^
     hint: Steps of an action name their shell, because no default reaches them: shell: bash
    ");
}

#[test]
fn a_dangerous_script_is_a_warning() {
    let text = "runs:\n  using: composite\n  steps:\n    - {run: 'echo ${{ github.event.issue.title }}', shell: bash}\n";
    let manifest = parse(text).unwrap();
    assert_eq!(manifest.warnings.len(), 1);
    assert_eq!(manifest.warnings[0].code, "script-injection");
}

#[test]
fn manifests_are_found_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let none = Manifest::load(dir.path()).unwrap_err();
    assert_eq!(none.kind(), ActionErrorKind::NoManifest);
    assert!(none.to_string().contains("actions/checkout"), "{none}");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("Dockerfile", "FROM scratch\n");
    let manifest = Manifest::load(dir.path()).unwrap();
    assert!(matches!(manifest.runs, Runs::Docker { image, .. } if image == "Dockerfile"));
    write("action.yaml", "name: b\nruns: {using: node20, main: b.js}\n");
    assert_eq!(Manifest::load(dir.path()).unwrap().name, "b");
    write("action.yml", "name: a\nruns: {using: node20, main: a.js}\n");
    assert_eq!(Manifest::load(dir.path()).unwrap().name, "a");
    write("action.yml", "name: a\nruns: {using: nope}\n");
    let broken = Manifest::load(dir.path()).unwrap_err();
    assert_eq!(broken.kind(), ActionErrorKind::BadManifest);
    assert!(broken.to_string().contains("action.yml:2:15: error[using]"), "{broken}");
    assert_eq!(Manifest::load(Path::new("/nonexistent")).unwrap_err().kind(), ActionErrorKind::NoManifest);
}

#[test]
fn links_and_pipes_are_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (inside, outside) = (dir.path().join("a/b"), dir.path().join("outside.yml"));
    std::fs::create_dir_all(&inside).unwrap();
    std::fs::write(&outside, "runs: {using: node20, main: secret.js}").unwrap();
    let manifest = inside.join("action.yml");
    std::os::unix::fs::symlink(&outside, &manifest).unwrap();
    assert_eq!(Manifest::load(&inside).unwrap_err().kind(), ActionErrorKind::NoManifest);
    assert_eq!(
        Manifest::load_within(&inside, &dir.path().join("a")).unwrap_err().kind(),
        ActionErrorKind::NoManifest
    );
    assert!(Manifest::load_within(&inside, dir.path()).is_ok());
    std::fs::remove_file(&manifest).unwrap();
    std::os::unix::fs::symlink("action.yml", &manifest).unwrap();
    assert_eq!(Manifest::load(&inside).unwrap_err().kind(), ActionErrorKind::NoManifest);
    std::fs::remove_file(&manifest).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&manifest).status();
    if made.is_ok_and(|s| s.success()) {
        assert_eq!(Manifest::load(&inside).unwrap_err().kind(), ActionErrorKind::NoManifest);
    } else {
        eprintln!("no mkfifo: the part with a pipe is skipped");
    }
}

#[test]
fn expensive_input_is_refused_at_once() {
    let begin = Instant::now();
    let ten = format!("name: x\ndescription: {}\nruns: {{using: node20, main: x}}\n", "y".repeat(10 << 20));
    assert_eq!(codes(&ten), ["1:1 too-large"]);
    assert!(parse(&format!("runs: {}", "[".repeat(400_000))).is_err());
    assert!(parse(&format!("runs: {}", "{a: ".repeat(200_000))).is_err());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..30 {
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
    }
    bomb += "runs: {using: node20, main: x}\n";
    assert!(parse(&bomb).is_err());
    let steps = "    - {run: '${{ nope', shell: bash}\n".repeat(20_000);
    let many = parse(&format!("runs:\n  using: composite\n  steps:\n{steps}")).unwrap_err();
    assert!(many.0.len() <= 200, "{}", many.0.len());
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("action.yml"), ten).unwrap();
    let error = Manifest::load(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ActionErrorKind::BadManifest);
    assert!(error.to_string().len() < 2_000, "{}", error.to_string().len());
}
