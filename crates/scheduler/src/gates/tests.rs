use super::*;
use proptest::prelude::*;

fn rules(branches: &[&str]) -> EnvironmentRules {
    EnvironmentRules { branches: branches.iter().map(|b| (*b).to_owned()).collect(), ..Default::default() }
}

#[test]
fn patterns_are_those_of_workflows() {
    for (pattern, text, expected) in [
        ("main", "main", true),
        ("main", "main2", false),
        ("*", "main", true),
        ("*", "feature/a", false),
        ("**", "feature/a/b", true),
        ("feature/*", "feature/a", true),
        ("feature/*", "feature/a/b", false),
        ("feature/**", "feature/a/b", true),
        ("releases/**-alpha", "releases/beta/3-alpha", true),
        ("v[12].[0-9]+.[0-9]+", "v1.10.1", true),
        ("v[12].[0-9]+.[0-9]+", "v3.10.1", false),
        ("*.jsx?", "page.js", true),
        ("*.jsx?", "page.jsx", true),
        ("*.jsx?", "page.jsxx", false),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("[", "[", true),
        ("", "", true),
        ("", "a", false),
        ("ü?b", "b", true),
    ] {
        assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn branches_and_tags_are_not_mixed_up() {
    let refused = |r: &EnvironmentRules, git_ref: Option<&str>| {
        matches!(demand("production", r, git_ref), Demand::Refused(_))
    };
    let main = rules(&["main", "release/**", "!release/old"]);
    for good in ["refs/heads/main", "main", "refs/heads/release/1"] {
        assert!(!refused(&main, Some(good)), "{good}");
    }
    for bad in ["refs/tags/main", "refs/pull/1/merge", "refs/heads/release/old", "refs/heads/mainz"] {
        assert!(refused(&main, Some(bad)), "{bad}");
    }
    assert!(refused(&main, None));
    let tags = rules(&["refs/tags/v*"]);
    assert!(!refused(&tags, Some("refs/tags/v1")));
    assert!(refused(&tags, Some("refs/heads/v1")));
    assert!(!refused(&rules(&["refs/heads/main"]), Some("main")));
    assert!(!refused(&rules(&[]), None));
    let Demand::Refused(message) = demand("production", &rules(&["main"]), Some("refs/heads/x")) else {
        panic!()
    };
    assert_eq!(message, "environment production takes jobs of main only, not of refs/heads/x");
}

#[test]
fn reviewers_and_timers_hold() {
    let both = EnvironmentRules { reviewers: vec!["a".to_owned()], wait_minutes: 2, ..Default::default() };
    let wait = Some(Duration::from_secs(120));
    assert_eq!(demand("e", &both, None), Demand::Hold { approval: true, wait });
    assert_eq!(demand("e", &EnvironmentRules::default(), None), Demand::Nothing);
}

/// What may happen to gates, over a few jobs.
#[derive(Clone, Debug)]
enum Event {
    Shut(u64, bool, Option<i64>),
    Approve(u64),
    Pass(i64),
    Forget(u64),
    Restart,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let job = 0..4_u64;
    let one = prop_oneof![
        (job.clone(), any::<bool>(), proptest::option::of(0..40_i64))
            .prop_map(|(j, a, d)| Event::Shut(j, a, d)),
        job.clone().prop_map(Event::Approve),
        (0..20_i64).prop_map(Event::Pass),
        job.prop_map(Event::Forget),
        Just(Event::Restart),
    ];
    proptest::collection::vec(one, 1..60)
}

proptest! {
    /// A gate opens exactly when it was approved (if it had to be) and its time is over, whatever
    /// happens in between, also when memory is built again from what was written down.
    #[test]
    fn no_gate_opens_before_its_approval_and_its_time(events in events()) {
        let mut gates = Gates::default();
        let mut now = 0_i64;
        // What a store would know: approval missing, due.
        let mut rows: HashMap<u64, (bool, Option<i64>)> = HashMap::new();
        for event in events {
            let gate = |job| Gate::Job(JobId(job));
            match event {
                Event::Shut(job, approval, wait) => {
                    let due = wait.map(|w| now + w);
                    gates.shut(gate(job), Shut { approval, due: due.map(Timestamp) });
                    rows.insert(job, (approval, due));
                    if !approval && due.is_none() {
                        rows.remove(&job);
                    }
                }
                Event::Approve(job) => {
                    let opened = gates.approve(gate(job), Timestamp(now));
                    let expected = rows.get_mut(&job).filter(|r| r.0).map(|r| {
                        r.0 = false;
                        r.1.is_none_or(|due| due <= now)
                    });
                    prop_assert_eq!(opened, expected);
                    if opened == Some(true) {
                        rows.remove(&job);
                    }
                }
                Event::Pass(time) => {
                    now += time;
                    for opened in gates.tick(Timestamp(now)) {
                        let Gate::Job(job) = opened else { panic!() };
                        let row = rows.remove(&job.0).expect("it was shut");
                        prop_assert!(!row.0, "approved");
                        prop_assert!(row.1.is_some_and(|due| due <= now), "its time is over");
                    }
                    prop_assert!(gates.next_due().is_none_or(|due| due > Timestamp(now)));
                }
                Event::Forget(job) => {
                    gates.forget(gate(job));
                    rows.remove(&job);
                }
                Event::Restart => {
                    gates = Gates::default();
                    for (job, (approval, due)) in &rows {
                        gates.shut(gate(*job), Shut { approval: *approval, due: due.map(Timestamp) });
                    }
                }
            }
            for job in 0..4 {
                prop_assert_eq!(gates.why(gate(job)).is_some(), rows.contains_key(&job), "job {}", job);
            }
        }
    }
}
