//! Reusable workflows: what a call becomes in the graph, what its jobs see,
//! and what is wrong with calls.
#![allow(clippy::unwrap_used, reason = "tests")]

use fleetfoot_model::Conclusion::{self, *};
use fleetfoot_model::diagnostic::Source;
use fleetfoot_model::plan::{
    Document, NeedResult, Plan, PlannedJob, Resolution, ResolveArgs, RunInfo, RunParams,
};
use fleetfoot_model::spec::{Contexts, SecretAccess};
use fleetfoot_workflow::WorkflowDocument;
use indexmap::IndexMap;
use serde_json::json;

fn files(pairs: &[(&str, &str)]) -> IndexMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn parse(main: &str, called: &[(&str, &str)]) -> Result<WorkflowDocument, String> {
    WorkflowDocument::parse_with(&Source::new("main.yml", main.as_bytes()), &files(called)).map_err(|found| {
        let lines = found.0.iter().map(|d| {
            let hint = d.hint.as_deref().map(|h| format!(" ({h})")).unwrap_or_default();
            format!("{}:{}:{}: {}: {}{hint}", d.file, d.line, d.column, d.code, d.message)
        });
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// A run that is played through by hand.
struct Play {
    document: WorkflowDocument,
    contexts: Contexts,
    params: RunParams,
    plan: Plan,
    ended: IndexMap<String, NeedResult>,
}

impl Play {
    fn new(main: &str, called: &[(&str, &str)]) -> Self {
        Self::with(main, called, RunParams { event_name: "push".to_owned(), ..RunParams::default() })
    }

    fn with(main: &str, called: &[(&str, &str)], params: RunParams) -> Self {
        let document = parse(main, called).unwrap_or_else(|e| panic!("{e}"));
        let info = RunInfo { params: params.clone(), ..RunInfo::default() };
        let contexts = document.contexts(&info).unwrap();
        let plan = document.plan(&contexts, &params).unwrap_or_else(|e| panic!("{e}"));
        Self { document, contexts, params, plan, ended: IndexMap::new() }
    }

    fn graph(&self) -> String {
        let line = |node: &fleetfoot_model::plan::PlanNode| {
            format!("{} <- [{}] {:?}", node.key, node.needs.join(", "), node.names)
        };
        self.plan.nodes.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn end(&mut self, key: &str, result: Conclusion, outputs: &[(&str, &str)]) -> &mut Self {
        assert!(self.plan.nodes.iter().any(|n| n.key == key), "there is no node {key}:\n{}", self.graph());
        let outputs = outputs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.ended.insert(key.to_owned(), NeedResult { result, outputs });
        self
    }

    fn resolve(&self, key: &str) -> Result<Resolution, String> {
        let node = self.plan.nodes.iter().find(|n| n.key == key).unwrap_or_else(|| panic!("no node {key}"));
        let needs = node.needs.iter().map(|n| (n.clone(), self.ended[n].clone())).collect();
        let args = ResolveArgs {
            contexts: &self.contexts,
            params: &self.params,
            needs: &needs,
            ancestors: &self.ended,
            cancelled: false,
        };
        self.document.resolve(key, &args).map_err(|d| format!("{}:{}: {}", d.file, d.line, d.message))
    }

    fn jobs(&self, key: &str) -> Vec<PlannedJob> {
        match self.resolve(key).unwrap_or_else(|e| panic!("{e}")) {
            Resolution::Run { jobs, .. } => jobs,
            Resolution::Skip => Vec::new(),
        }
    }
}

const MAIN: &str = "
on: push
permissions: {contents: read, issues: write}
jobs:
  prepare:
    runs-on: x
    outputs: {version: '1'}
    steps: [{run: make}]
  build:
    needs: prepare
    uses: ./.github/workflows/build.yml
    with:
      version: ${{ needs.prepare.outputs.version }}
      fast: true
    secrets: {TOKEN: '${{ secrets.MY_TOKEN }}-${{ needs.prepare.outputs.version }}'}
  deploy:
    needs: [build]
    if: needs.build.outputs.image != ''
    runs-on: x
    env: {IMAGE: '${{ needs.build.outputs.image }}'}
    steps: [{run: 'echo ${{ needs.build.result }}'}]
";

const BUILD: &str = "
on:
  workflow_call:
    inputs:
      version: {type: string, required: true}
      fast: {type: boolean}
      jobs: {type: number, default: 4}
    secrets:
      TOKEN: {required: true}
    outputs:
      image: {value: '${{ jobs.pack.outputs.image }}:${{ inputs.version }}'}
jobs:
  compile:
    runs-on: ${{ inputs.fast && 'big' || 'small' }}
    permissions: {contents: read}
    steps: [{run: make}]
  pack:
    name: Pack ${{ inputs.version }}
    needs: compile
    runs-on: x
    outputs: {image: app}
    steps: [{run: make}]
";

const BUILD_PATH: &str = "./.github/workflows/build.yml";

#[test]
fn a_call_is_inlined() {
    let mut play = Play::new(MAIN, &[(BUILD_PATH, BUILD)]);
    insta::assert_snapshot!(play.graph(), @r#"
    prepare <- [] ["prepare"]
    build/compile <- [prepare] ["build / compile"]
    build/pack <- [build/compile, prepare] ["build / pack"]
    deploy <- [build/compile, build/pack] ["deploy"]
    "#);
    play.end("prepare", Success, &[("version", "7")]);
    let compile = &play.jobs("build/compile")[0];
    assert_eq!(compile.spec.name, "build / compile");
    assert_eq!(compile.spec.key, "compile");
    assert_eq!(compile.placement.labels[0].0.as_str(), "big");
    assert_eq!(compile.spec.contexts["inputs"], json!({"version": "7", "fast": true, "jobs": 4}));
    assert_eq!(compile.spec.contexts["needs"], json!({}));
    assert_eq!(compile.spec.permissions, Some(IndexMap::from([("contents".to_owned(), "read".to_owned())])));
    let SecretAccess::Mapped(layers) = &compile.spec.secrets else { panic!("all secrets") };
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0].values["TOKEN"], "${{ secrets.MY_TOKEN }}-${{ needs.prepare.outputs.version }}");
    assert_eq!(layers[0].contexts["needs"]["prepare"]["outputs"]["version"], "7");
    assert!(!layers[0].contexts.contains_key("github"), "only what the templates look at");

    play.end("build/compile", Success, &[]);
    let pack = &play.jobs("build/pack")[0];
    assert_eq!(pack.spec.name, "build / Pack 7");
    assert_eq!(pack.spec.contexts["needs"], json!({"compile": {"result": "success", "outputs": {}}}));
    assert_eq!(pack.spec.permissions.as_ref().unwrap()["issues"], "write", "inherited from the caller");

    play.end("build/pack", Success, &[("image", "app")]);
    let deploy = &play.jobs("deploy")[0];
    let build = &deploy.spec.contexts["needs"]["build"];
    assert_eq!(*build, json!({"result": "success", "outputs": {"image": "app:7"}}));
    assert!(deploy.spec.secrets.is_all());
}

#[test]
fn a_call_that_does_not_happen_is_skipped_whole() {
    let mut play = Play::new(MAIN, &[(BUILD_PATH, BUILD)]);
    play.end("prepare", Failure, &[]);
    assert_eq!(play.resolve("build/compile"), Ok(Resolution::Skip));
    play.end("build/compile", Skipped, &[]);
    assert_eq!(play.resolve("build/pack"), Ok(Resolution::Skip));
    play.end("build/pack", Skipped, &[]);
    assert_eq!(play.resolve("deploy"), Ok(Resolution::Skip));
}

#[test]
fn inner_jobs_look_at_inner_jobs_only() {
    let main = "on: push\njobs:\n  a: {runs-on: x, steps: [{run: x}]}\n  b: {needs: a, if: always(), uses: ./b.yml}\n  c:\n    needs: b\n    if: failure()\n    runs-on: x\n    steps: [{run: x}]\n";
    let inner = "on: workflow_call\njobs:\n  one: {runs-on: x, steps: [{run: x}]}\n  two: {needs: one, if: failure(), runs-on: x, steps: [{run: x}]}\n";
    let mut play = Play::new(main, &[("./b.yml", inner)]);
    play.end("a", Failure, &[]);
    assert_eq!(play.jobs("b/one").len(), 1, "the failure of a is the business of the call");
    play.end("b/one", Success, &[]);
    assert_eq!(play.resolve("b/two"), Ok(Resolution::Skip));
    play.end("b/one", Failure, &[]);
    assert_eq!(play.jobs("b/two").len(), 1);
    play.end("b/two", Success, &[]);
    assert_eq!(play.jobs("c")[0].spec.contexts["needs"]["b"]["result"], "failure");
}

const MATRIX: &str = "
on: push
jobs:
  each:
    strategy: {matrix: {os: [linux, mac/arm]}}
    uses: ./each.yml
    with: {os: '${{ matrix.os }}'}
    secrets: inherit
  after:
    needs: each
    runs-on: x
    steps: [{run: x}]
";
const EACH: &str = "
on:
  workflow_call:
    inputs: {os: {type: string}}
    outputs: {last: {value: '${{ jobs.two.outputs.os }}'}}
jobs:
  one: {runs-on: '${{ inputs.os }}', strategy: {matrix: {n: [1, 2]}}, steps: [{run: x}]}
  two: {needs: one, runs-on: x, steps: [{run: x}]}
";

#[test]
fn a_known_matrix_makes_copies() {
    let mut play = Play::new(MATRIX, &[("./each.yml", EACH)]);
    insta::assert_snapshot!(play.graph(), @r#"
    each (linux)/one <- [] ["each (linux) / one (1)", "each (linux) / one (2)"]
    each (linux)/two <- [each (linux)/one] ["each (linux) / two"]
    each (mac_arm)/one <- [] ["each (mac/arm) / one (1)", "each (mac/arm) / one (2)"]
    each (mac_arm)/two <- [each (mac_arm)/one] ["each (mac/arm) / two"]
    after <- [each (linux)/one, each (linux)/two, each (mac_arm)/one, each (mac_arm)/two] ["after"]
    "#);
    let jobs = play.jobs("each (mac_arm)/one");
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0].placement.labels[0].0.as_str(), "mac/arm");
    assert_eq!(jobs[1].spec.contexts["matrix"], json!({"n": 2}));
    assert!(jobs[0].spec.secrets.is_all());
    for os in ["linux", "mac_arm"] {
        play.end(&format!("each ({os})/one"), Success, &[]);
        play.end(&format!("each ({os})/two"), Success, &[("os", if os == "linux" { "linux" } else { "" })]);
    }
    let needs = &play.jobs("after")[0].spec.contexts["needs"];
    assert_eq!(*needs, json!({"each": {"result": "success", "outputs": {"last": "linux"}}}));
}

#[test]
fn a_matrix_of_outputs_becomes_legs_of_inner_nodes() {
    let main = MATRIX
        .replace("  each:\n", "  list: {runs-on: x, steps: [{run: x}]}\n  each:\n    needs: list\n")
        .replace("[linux, mac/arm]", "'${{ fromJSON(needs.list.outputs.os) }}'");
    let mut play = Play::new(&main, &[("./each.yml", EACH)]);
    insta::assert_snapshot!(play.graph(), @r#"
    list <- [] ["list"]
    each/one <- [list] ["each / one (1)", "each / one (2)"]
    each/two <- [each/one, list] ["each / two"]
    after <- [each/one, each/two] ["after"]
    "#);
    play.end("list", Success, &[("os", r#"["a", "b"]"#)]);
    let names = |jobs: Vec<PlannedJob>| jobs.iter().map(|j| j.spec.name.clone()).collect::<Vec<_>>();
    assert_eq!(
        names(play.jobs("each/one")),
        ["each (a) / one (1)", "each (a) / one (2)", "each (b) / one (1)", "each (b) / one (2)"]
    );
    play.end("each/one", Success, &[]);
    assert_eq!(names(play.jobs("each/two")), ["each (a) / two", "each (b) / two"]);
    play.end("each/two", Success, &[("os", "b")]);
    assert_eq!(play.jobs("after")[0].spec.contexts["needs"]["each"]["outputs"]["last"], "b");
    play.end("list", Success, &[("os", "nonsense")]);
    assert!(play.resolve("each/one").unwrap_err().starts_with("main.yml:"));
}

#[test]
fn calls_within_calls() {
    let main = "on: push\njobs:\n  a:\n    uses: octo/tools/a.yml@v1\n    with: {n: 3}\n    secrets: {OUTER: '${{ secrets.X }}'}\n  z: {needs: a, runs-on: x, steps: [{run: x}]}\n";
    let a = "on:\n  workflow_call:\n    inputs: {n: {type: number}}\n    secrets: {OUTER: {}}\n    outputs: {sum: {value: '${{ jobs.b.outputs.twice }}'}}\njobs:\n  b:\n    uses: ./b.yml\n    with: {text: 'n${{ inputs.n }}'}\n    secrets: {INNER: '${{ secrets.OUTER }}'}\n";
    let b = "on:\n  workflow_call:\n    inputs: {text: {type: string}}\n    secrets: {INNER: {}}\n    outputs: {twice: {value: '${{ inputs.text }}${{ jobs.c.outputs.text }}'}}\nconcurrency: {group: 'g-${{ inputs.text }}', cancel-in-progress: true}\njobs:\n  c: {runs-on: '${{ inputs.text }}', steps: [{run: x}]}\n";
    let document = parse(main, &[("octo/tools/a.yml@v1", a)]).unwrap();
    assert_eq!(document.missing(), ["octo/tools/b.yml@v1"], "local to the repository of its caller");
    let mut play = Play::new(main, &[("octo/tools/a.yml@v1", a), ("octo/tools/b.yml@v1", b)]);
    insta::assert_snapshot!(play.graph(), @r#"
    a/b/c <- [] ["a / b / c"]
    z <- [a/b/c] ["z"]
    "#);
    let c = &play.jobs("a/b/c")[0];
    assert_eq!(c.placement.labels[0].0.as_str(), "n3");
    let SecretAccess::Mapped(layers) = &c.spec.secrets else { panic!("all secrets") };
    let names: Vec<_> = layers.iter().flat_map(|layer| layer.values.keys()).collect();
    assert_eq!(names, ["OUTER", "INNER"]);
    let group = c.placement.concurrency.as_ref().unwrap();
    assert_eq!((group.group.as_str(), group.cancel_in_progress), ("g-n3", true));
    play.end("a/b/c", Success, &[("text", "x")]);
    assert_eq!(play.jobs("z")[0].spec.contexts["needs"]["a"]["outputs"]["sum"], "n3x");
}

#[test]
fn a_filter_knows_calls() {
    let params = |job: &str| RunParams {
        event_name: "push".to_owned(),
        jobs: vec![job.to_owned()],
        ..RunParams::default()
    };
    let keys = |job: &str| {
        let play = Play::with(MATRIX, &[("./each.yml", EACH)], params(job));
        play.plan.nodes.iter().map(|n| n.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys("each").len(), 4);
    assert_eq!(keys("each (linux)"), ["each (linux)/one", "each (linux)/two"]);
    assert_eq!(keys("Each (linux)/ONE"), ["each (linux)/one"]);
    assert_eq!(keys("after").len(), 5);
    let mut one_leg = params("after");
    one_leg.matrix.insert("os".to_owned(), vec!["linux".to_owned()]);
    let play = Play::with(MATRIX, &[("./each.yml", EACH)], one_leg);
    assert_eq!(play.plan.nodes.len(), 3);
}

#[test]
fn what_is_missing_is_named_and_keeps_the_run_from_being_planned() {
    let document = parse(MAIN, &[]).unwrap();
    assert_eq!(document.missing(), [BUILD_PATH]);
    let contexts = document.contexts(&RunInfo::default()).unwrap();
    let found = document.plan(&contexts, &RunParams::default()).unwrap_err();
    insta::assert_snapshot!(found, @r"
    main.yml:1:1: error[missing-workflow]: The workflow calls './.github/workflows/build.yml', which is not here
     hint: Send the called workflows along, as `files` by their references
    ");
}

#[test]
fn wrong_calls_are_found() {
    let main = "
on: push
permissions: {contents: read}
jobs:
  one:
    uses: ./.github/workflows/build.yml
    with: {versoin: 1, fast: 'yes', jobs: '4'}
    secrets: {TOKEM: x}
  two: {uses: ./not-callable.yml}
  three: {uses: ./wide.yml}
  four: {uses: ./broken.yml}
";
    let wide =
        "on: workflow_call\njobs:\n  a: {runs-on: x, permissions: {contents: write}, steps: [{run: x}]}\n";
    let found = parse(
        main,
        &[
            (BUILD_PATH, BUILD),
            ("./not-callable.yml", "on: push\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n"),
            ("./wide.yml", wide),
            ("./broken.yml", "on: workflow_call\njobs:\n  a: {runs_on: x, steps: [{run: x}]}\n"),
        ],
    )
    .unwrap_err();
    insta::assert_snapshot!(found, @r"
    broken.yml:3:3: missing-key: Required property is missing: runs-on (Name the labels of the runners that may take it, such as: runs-on: self-hosted)
    broken.yml:3:7: unknown-key: Unexpected value 'runs_on' (Did you mean 'runs-on'?)
    main.yml:6:11: missing-input: Input version is required, but not provided while calling. (Add it under 'with' of this job: version: ...)
    main.yml:6:11: missing-secret: Secret TOKEN is required, but not provided while calling. (Pass it under 'secrets' of this job, or all of them: secrets: inherit)
    main.yml:7:12: unknown-input: Invalid input, versoin is not defined in the referenced workflow. (Did you mean 'version'?)
    main.yml:7:30: input-type: Unexpected value 'yes' (The input 'fast' of the called workflow is a boolean)
    main.yml:7:43: input-type: Unexpected value '4' (The input 'jobs' of the called workflow is a number)
    main.yml:8:15: unknown-secret: Invalid secret, TOKEM is not defined in the referenced workflow. (Did you mean 'TOKEN'?)
    main.yml:9:15: not-callable: error parsing called workflow './not-callable.yml': workflow is not reusable as it is missing a `on.workflow_call` trigger (Add workflow_call to its 'on')
    main.yml:10:17: permissions: Error calling workflow './wide.yml'. The nested job 'a' is requesting 'contents: write', but is only allowed 'contents: read'. (A called workflow can have at most what its caller has)
    ");
}

#[test]
fn calls_end_somewhere() {
    let call = |to: &str| format!("on: [push, workflow_call]\njobs:\n  next: {{uses: ./{to}.yml}}\n");
    let last = "on: workflow_call\njobs: {a: {runs-on: x, steps: [{run: x}]}}\n".to_owned();
    let found = parse(&call("a"), &[("./a.yml", &call("b")), ("./b.yml", &call("a"))]).unwrap_err();
    insta::assert_snapshot!(found, @r"
    b.yml:3:16: call-cycle: The workflow calls itself: a.yml -> b.yml -> a.yml
    ");
    let chain = |n: usize| {
        let name = |i: usize| format!("./w{i}.yml");
        let mut texts: Vec<(String, String)> =
            (1..n).map(|i| (name(i), call(&format!("w{}", i + 1)))).collect();
        texts.push((name(n), last.clone()));
        let texts: Vec<(&str, &str)> = texts.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        parse(&call("w1"), &texts).map(drop)
    };
    assert_eq!(chain(9), Ok(()));
    insta::assert_snapshot!(chain(10).unwrap_err(), @r"
    main.yml:3:16: too-many-levels: Workflows call each other over 11 levels, the limit is 10
    ");
    let many: String = (0..51).map(|i| format!("  j{i}: {{uses: ./w{i}.yml}}\n")).collect();
    let found = parse(&format!("on: push\njobs:\n{many}"), &[]).unwrap_err();
    insta::assert_snapshot!(found, @r"
    main.yml:53:15: too-many-workflows: A run can call at most 50 different workflows
    ");
    // Every level calls the next one many times.
    let wide = |to: &str| {
        let jobs: String = (0..20).map(|i| format!("  j{i}: {{uses: ./{to}.yml}}\n")).collect();
        format!("on: [push, workflow_call]\njobs:\n{jobs}")
    };
    let found = parse(&wide("a"), &[("./a.yml", &wide("b")), ("./b.yml", &wide("c")), ("./c.yml", &last)])
        .unwrap_err();
    insta::assert_snapshot!(found, @r"
    main.yml:3:14: too-many-jobs: The called workflows have more than 2000 jobs together
    ");
}

#[test]
fn the_called_workflow_checks_what_expressions_give() {
    let main = "on: push\njobs:\n  a: {runs-on: x, steps: [{run: x}]}\n  b:\n    needs: a\n    uses: ./b.yml\n    with: {flag: '${{ needs.a.outputs.flag }}'}\n";
    let b = "on: {workflow_call: {inputs: {flag: {type: boolean}}}}\njobs: {c: {runs-on: x, steps: [{run: x}]}}\n";
    let mut play = Play::new(main, &[("./b.yml", b)]);
    play.end("a", Success, &[("flag", "true")]);
    assert_eq!(play.resolve("b/c"), Err("main.yml:7: Unexpected value 'true'".to_owned()));
    play.end("a", Success, &[]);
    assert_eq!(play.jobs("b/c")[0].spec.contexts["inputs"], json!({"flag": false}));
}
