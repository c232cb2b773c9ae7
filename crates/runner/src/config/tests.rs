use super::*;
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;

fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn message(name: &str, text: &str) -> String {
    let (dir, path) = file(name, text);
    read_file(&path).unwrap_err().to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn flags_over_environment_over_file_over_defaults() {
    let (_dir, path) = file("runner.toml", "name = 'file'\nslots = 3\nlabels = ['a']\nqueues = ['q']\n");
    let env = HashMap::from([
        ("FLEETFOOT_RUNNER_NAME", "env"),
        ("FLEETFOOT_RUNNER_SLOTS", "4"),
        ("FLEETFOOT_RUNNER_LABELS", "b, c,"),
        ("FLEETFOOT_RUNNER_DESCRIPTION", " "),
        ("FLEETFOOT_RUNNER_MAX_MEMORY", "2GiB"),
    ]);
    let read = |name: &str| env.get(name).map(|v| (*v).to_owned());
    let flags = PartialConfig { name: Some("flag".into()), ..PartialConfig::default() };
    let config = RunnerConfig::load(Some(&path), read, flags).unwrap();
    assert_eq!((config.name.as_str(), config.slots), ("flag", 4));
    assert_eq!(config.labels, [Label::from("b"), Label::from("c")]);
    assert_eq!(config.queues, ["q"]);
    assert_eq!((config.server.as_str(), config.description.as_str()), (DEFAULT_URL, ""));
    assert_eq!(config.limits.memory_bytes, Some(2 << 30));
}

#[test]
fn json_by_name_or_by_look() {
    for name in ["runner.json", "runner.conf"] {
        let (_dir, path) = file(name, r#"{"server": "http://x", "slots": 2, "max_log": 5}"#);
        let config = read_file(&path).unwrap();
        assert_eq!(
            (config.server.as_deref(), config.slots, config.max_log),
            (Some("http://x"), Some(2), Some(Size(5)))
        );
    }
}

#[test]
fn errors_have_a_place_and_a_suggestion() {
    insta::assert_snapshot!(message("a.toml", "server = 'http://x'\nslot = 3\n"), @r"
    a.toml:2:1: error[unknown-key]: there is no setting `slot`
     2 | slot = 3
       | ^
     hint: did you mean `slots`?
    ");
    insta::assert_snapshot!(message("a.json", "{\n  \"slots\": \"x\"\n}"), @r#"
    a.json:2:14: error[bad-configuration]: invalid type: string "x", expected usize
     2 |   "slots": "x"
       |              ^
    "#);
    insta::assert_snapshot!(message("a.toml", "max_memory = 'lots'\n"), @r"
    a.toml:1:14: error[bad-configuration]: 'lots' is not a size (examples: 1048576, 512M, 2GiB)
     1 | max_memory = 'lots'
       |              ^
    ");
    insta::assert_snapshot!(message("a.toml", "xyzzy = 1\n"), @r"
    a.toml:1:1: error[unknown-key]: there is no setting `xyzzy`
     1 | xyzzy = 1
       | ^
     hint: `fleetfoot runner setup` writes a file with every setting and what it means
    ");
    // A secret of the wrong shape is not shown.
    assert!(!message("a.toml", "token = [\"ffreg_secret\"]\n").contains("ffreg_secret"));
}

#[test]
fn wrong_values_are_refused() {
    let read = |name: &str| (name == "FLEETFOOT_RUNNER_SLOTS").then(|| "many".to_owned());
    let error = PartialConfig::from_env(read).unwrap_err().to_string();
    assert_eq!(error, "FLEETFOOT_RUNNER_SLOTS: 'many' is not a number of slots");
    let none = PartialConfig { slots: Some(0), ..PartialConfig::default() };
    assert_eq!(none.resolve().unwrap_err().to_string(), "slots: 0 is not between 1 and 1000");
    let label = PartialConfig { labels: Some(vec!["a,b".into()]), ..PartialConfig::default() };
    assert!(label.resolve().is_err());
}

#[test]
fn the_written_file_reads_back_and_every_example_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runner.toml");
    let config = PartialConfig {
        server: Some("http://x".into()),
        name: Some("a \"quoted\" name".into()),
        labels: Some(vec!["x".into(), "y".into()]),
        slots: Some(3),
        max_memory: Some(Size(7)),
        ..PartialConfig::default()
    };
    write_commented(&path, &config).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let back = read_file(&path).unwrap();
    assert_eq!(back.name, config.name);
    assert_eq!(back.labels, config.labels);
    assert_eq!((back.slots, back.max_memory), (config.slots, config.max_memory));
    assert!(back.token.is_none() && back.webhook.is_none());

    let text = std::fs::read_to_string(&path).unwrap();
    for field in FIELDS {
        assert!(text.contains(field.env) && text.contains(field.doc), "{field:?}");
        // The comment becomes a setting by removing the mark.
        let (_dir, path) = file("one.toml", &format!("{} = {}\n", field.key, field.example));
        read_file(&path).unwrap_or_else(|e| panic!("{}: {e}", field.key));
    }
}

#[test]
fn nothing_secret_in_debug() {
    let config = PartialConfig {
        token: Some(Secret::new("ffreg_x")),
        webhook: Some(Secret::new("http://h/key")),
        ..PartialConfig::default()
    };
    let shown = format!("{config:?} {:?}", config.clone().resolve().unwrap());
    assert!(!shown.contains("ffreg_x") && !shown.contains("key"), "{shown}");
}

#[test]
fn paths_hold_from_any_directory() {
    let config = PartialConfig {
        work_dir: Some("./work".into()),
        job_started_hook: Some("before.sh".into()),
        ..PartialConfig::default()
    };
    let config = config.resolve().unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.work_dir, here.join("work"));
    assert_eq!(config.token_file, here.join("work/runner-token.json"));
    assert_eq!(config.job_started_hook, Some(here.join("before.sh")));
}
