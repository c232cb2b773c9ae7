use super::*;

fn node(key: &str, needs: &[&str]) -> PlanNode {
    PlanNode {
        key: key.to_owned(),
        needs: needs.iter().map(|n| (*n).to_owned()).collect(),
        names: vec![key.to_owned()],
    }
}

/// `lint`, `build` -> `test` -> `deploy`; one job each, 1 to 4.
fn diamond() -> Graph {
    let mut graph = Graph::new(&[
        node("lint", &[]),
        node("build", &[]),
        node("test", &["build"]),
        node("deploy", &["test", "lint"]),
    ]);
    for (n, key) in ["lint", "build", "test", "deploy"].into_iter().enumerate() {
        graph.set_jobs(key, &[JobId(n as u64 + 1)]);
    }
    graph
}

fn ids(jobs: &[u64]) -> Vec<JobId> {
    jobs.iter().map(|id| JobId(*id)).collect()
}

fn outputs(pairs: &[(&str, &str)]) -> IndexMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn end(graph: &mut Graph, job: u64, conclusion: Conclusion) -> Vec<u64> {
    graph.job_ended(JobId(job), conclusion, false, &IndexMap::new()).into_iter().map(|j| j.0).collect()
}

#[test]
fn nodes_become_ready_when_what_they_need_has_ended() {
    let mut g = diamond();
    assert_eq!(g.ready(), ["lint", "build"]);
    g.resolved("lint", &ids(&[1]), true);
    g.resolved("build", &ids(&[2]), true);
    assert_eq!(g.ready(), Vec::<&str>::new());
    assert_eq!(g.waiting_needs(JobId(4)), ["lint", "test"]);
    end(&mut g, 2, Conclusion::Success);
    assert_eq!(g.ready(), ["test"]);
    g.resolved("test", &ids(&[3]), true);
    end(&mut g, 3, Conclusion::Failure);
    assert_eq!(g.waiting_needs(JobId(4)), ["lint"]);
    end(&mut g, 1, Conclusion::Success);
    assert_eq!(g.ready(), ["deploy"]);
    let needs: Vec<_> = g.needs("deploy").into_iter().map(|(key, need)| (key, need.result)).collect();
    assert_eq!(needs, [("lint".to_owned(), Conclusion::Success), ("test".to_owned(), Conclusion::Failure)]);
    let ancestors: Vec<_> = g.ancestors("deploy").into_values().map(|need| need.result).collect();
    assert_eq!(ancestors, [Conclusion::Success, Conclusion::Success, Conclusion::Failure]);
    assert_eq!((g.conclusion(), g.open_jobs()), (None, ids(&[4])));
    g.skipped("deploy");
    assert_eq!((g.conclusion(), g.open_jobs()), (Some(Conclusion::Failure), vec![]));
    assert_eq!((g.node_of(JobId(3)), g.node_of(JobId(9))), (Some("test"), None));
}

#[test]
fn a_skip_is_a_result_of_its_own() {
    let mut g = diamond();
    g.skipped("build");
    assert_eq!(g.node_result("build"), Some(Conclusion::Skipped));
    assert_eq!(g.ready(), ["lint", "test"]);
    assert_eq!(g.needs("test")["build"].result, Conclusion::Skipped);
    end(&mut g, 2, Conclusion::Success);
    assert_eq!(g.node_result("build"), Some(Conclusion::Skipped), "an end is final");
}

#[test]
fn a_node_is_as_good_as_its_worst_leg() {
    use Conclusion::{Cancelled, Failure, Skipped, Success, TimedOut};
    for (legs, result) in [
        ([Success, Success, Success], Success),
        ([Success, Skipped, Success], Success),
        ([Skipped, Skipped, Skipped], Skipped),
        ([Success, Cancelled, Success], Cancelled),
        ([Cancelled, Failure, Success], Failure),
        ([Success, Success, TimedOut], Failure),
    ] {
        let mut g = Graph::new(&[node("a", &[]), node("b", &["a"])]);
        g.set_jobs("a", &ids(&[1]));
        g.resolved("a", &ids(&[1, 2, 3]), false);
        for (job, conclusion) in (1..).zip(legs) {
            assert_eq!(g.node_result("a"), None);
            end(&mut g, job, conclusion);
        }
        assert_eq!(g.node_result("a"), Some(result), "{legs:?}");
    }
}

#[test]
fn outputs_of_legs_merge_and_the_last_written_wins() {
    let mut g = Graph::new(&[node("a", &[]), node("b", &["a"])]);
    g.resolved("a", &ids(&[1, 2, 3]), true);
    g.job_ended(
        JobId(3),
        Conclusion::Success,
        false,
        &outputs(&[("x", "three"), ("only", "3"), ("none", "")]),
    );
    g.job_ended(JobId(1), Conclusion::Success, false, &outputs(&[("x", "one")]));
    g.job_ended(JobId(2), Conclusion::Success, false, &outputs(&[("x", "")]));
    assert_eq!(g.needs("b")["a"].outputs, outputs(&[("x", "one"), ("only", "3"), ("none", "")]));
}

#[test]
fn fail_fast_cancels_the_siblings_once() {
    let mut g = Graph::new(&[node("a", &[])]);
    g.resolved("a", &ids(&[1, 2, 3, 4]), true);
    assert_eq!(end(&mut g, 1, Conclusion::Success), [0; 0]);
    assert_eq!(end(&mut g, 2, Conclusion::TimedOut), [3, 4]);
    assert_eq!(g.overdue(), ids(&[3, 4]));
    assert_eq!(end(&mut g, 3, Conclusion::Failure), [0; 0]);
    assert_eq!(end(&mut g, 4, Conclusion::Cancelled), [0; 0]);
    assert_eq!(g.conclusion(), Some(Conclusion::Failure));
    let mut calm = Graph::new(&[node("a", &[])]);
    calm.resolved("a", &ids(&[1, 2]), false);
    assert_eq!(end(&mut calm, 1, Conclusion::Failure), [0; 0]);
}

#[test]
fn a_leg_that_may_fail_counts_as_success() {
    let mut g = Graph::new(&[node("a", &[]), node("b", &["a"])]);
    g.set_jobs("b", &ids(&[9]));
    g.resolved("a", &ids(&[1, 2]), true);
    assert_eq!(g.job_ended(JobId(1), Conclusion::Failure, true, &IndexMap::new()), []);
    end(&mut g, 2, Conclusion::Success);
    assert_eq!(g.needs("b")["a"].result, Conclusion::Success);
    g.resolved("b", &ids(&[9]), true);
    end(&mut g, 9, Conclusion::Success);
    assert_eq!(g.conclusion(), Some(Conclusion::Success));
}

#[test]
fn how_a_run_ends() {
    let run = |ends: [Conclusion; 2], cancelled: bool| {
        let mut g = Graph::new(&[node("a", &[]), node("b", &[])]);
        for (job, (key, conclusion)) in (1..).zip(["a", "b"].into_iter().zip(ends)) {
            g.resolved(key, &ids(&[job]), true);
            end(&mut g, job, conclusion);
        }
        if cancelled {
            g.cancel();
        }
        g.conclusion().unwrap()
    };
    use Conclusion::{Cancelled, Failure, Skipped, Success, TimedOut};
    assert_eq!(run([Success, Success], false), Success);
    assert_eq!(run([Success, Skipped], false), Success);
    assert_eq!(run([Skipped, Skipped], false), Skipped);
    assert_eq!(run([Success, TimedOut], false), Failure);
    assert_eq!(run([Success, Cancelled], false), Cancelled, "its group superseded a job");
    assert_eq!(run([Failure, Cancelled], false), Failure);
    assert_eq!(run([Failure, Cancelled], true), Cancelled);
    assert_eq!(run([Success, Success], true), Success, "the cancellation came too late");
    assert_eq!(run([Failure, Success], true), Failure);
    assert_eq!(Graph::new(&[]).conclusion(), Some(Success));
}

#[test]
fn a_cancelled_run_ends_without_deciding_its_nodes() {
    let mut g = diamond();
    g.resolved("build", &ids(&[2]), true);
    g.cancel();
    assert!(g.is_cancelled());
    for job in g.open_jobs() {
        end(&mut g, job.0, Conclusion::Cancelled);
    }
    assert_eq!(g.ready(), Vec::<&str>::new());
    assert_eq!(g.conclusion(), Some(Conclusion::Cancelled));
}

#[test]
fn a_node_that_could_not_be_decided_fails_the_run() {
    let mut g = diamond();
    g.failed("lint", Conclusion::Failure);
    assert_eq!(g.needs("deploy")["lint"].result, Conclusion::Failure);
    for key in ["build", "test", "deploy"] {
        g.skipped(key);
    }
    assert_eq!(g.conclusion(), Some(Conclusion::Failure));
}

#[test]
fn placeholders_give_way_to_the_legs() {
    let mut g = Graph::new(&[node("a", &[]), node("b", &["a"])]);
    g.set_jobs("b", &ids(&[5, 6]));
    g.resolved("a", &ids(&[1]), true);
    end(&mut g, 1, Conclusion::Success);
    g.resolved("b", &ids(&[5, 7, 8]), true);
    assert_eq!(g.jobs_of("b"), ids(&[5, 7, 8]));
    assert_eq!(g.node_of(JobId(6)), None);
    assert!(g.is_resolved("b"));
}

#[test]
fn a_restored_graph_goes_on_where_it_was() {
    let plan = [node("a", &[]), node("b", &["a"])];
    let job = |key: &str, id: u64, ended: Option<(Conclusion, i64, &str)>| RestoredJob {
        key: key.to_owned(),
        id: JobId(id),
        ended: ended.map(|(c, _, out)| (c, outputs(&[("x", out)]))),
        finished_at: ended.map(|(_, at, _)| Timestamp(at)),
        continue_on_error: false,
    };
    let nodes = [RestoredNode { key: "a".to_owned(), resolved: true, fail_fast: true }];
    let mut jobs = vec![
        job("a", 1, Some((Conclusion::Success, 30, "late"))),
        job("a", 2, Some((Conclusion::Failure, 20, "early"))),
        job("a", 3, None),
        job("b", 4, None),
    ];
    let g = Graph::restore(&plan, &nodes, &jobs, false);
    assert_eq!((g.overdue(), g.ready()), (ids(&[3]), vec![]));
    jobs[2] = job("a", 3, Some((Conclusion::Cancelled, 40, "")));
    let g = Graph::restore(&plan, &nodes, &jobs, true);
    assert!(g.is_cancelled());
    assert_eq!(g.ready(), ["b"]);
    assert_eq!(
        g.needs("b")["a"],
        NeedResult { result: Conclusion::Failure, outputs: outputs(&[("x", "late")]) }
    );
}
