use super::*;
use crate::daemon::attempt::verdict;
use fleetfoot_model::ids::{Epoch, JobId, RunId};
use fleetfoot_model::state::Reason;
use proptest::prelude::*;
use std::sync::Arc;

fn attempt(job: u64) -> AttemptRef {
    AttemptRef { job: JobId(job), attempt: 1, epoch: Epoch(job) }
}

fn assignment(job: u64) -> Assignment {
    Assignment {
        attempt: attempt(job),
        run: RunId(1),
        project: String::new(),
        spec: Arc::default(),
        contexts: Default::default(),
        env: Default::default(),
        secrets: Default::default(),
        job_token: String::new(),
        repository: None,
        server_url: String::new(),
        services: None,
    }
}

fn assign(jobs: &[u64]) -> SyncResponse {
    SyncResponse { assignments: jobs.iter().copied().map(assignment).collect(), ..SyncResponse::default() }
}

fn started(applied: &Applied) -> Vec<u64> {
    let job = |a: &Action| match a {
        Action::Start(a) => Some(a.attempt.job.0),
        _ => None,
    };
    applied.actions.iter().filter_map(job).collect()
}

fn done() -> AttemptResult {
    verdict(Reason::ExitCode, "x")
}

#[test]
fn a_late_answer_does_not_start_a_finished_attempt_again() {
    let mut table = Table::new(1, false);
    let (_, early) = table.request();
    let (_, first) = table.request();
    assert_eq!(started(&table.apply(&first, assign(&[1]))), [1]);
    assert!(table.finish(attempt(1), done()));
    let (request, report) = table.request();
    assert_eq!(request.attempts[0].phase, Phase::Finished);
    let acknowledged = SyncResponse { acknowledged: vec![attempt(1)], ..SyncResponse::default() };
    assert_eq!(table.apply(&report, acknowledged).actions, [Action::Forget(attempt(1))]);
    assert!(table.is_empty());
    // The answer to a request from before arrives only now.
    assert_eq!(started(&table.apply(&early, assign(&[1]))), [] as [u64; 0]);
    assert!(table.gone.is_empty(), "nothing is under way: nothing need be remembered");
}

#[test]
fn steps_are_sent_until_an_answer_came_and_then_no_more() {
    let mut table = Table::new(1, false);
    let (_, first) = table.request();
    table.apply(&first, assign(&[1]));
    table.steps(attempt(1), &[], Instant::now());
    let (request, lost) = table.request();
    assert!(request.attempts[0].steps.is_some());
    table.failed(&lost, Instant::now());
    assert!(table.soft_since().is_some(), "it is news again");
    let (request, sent) = table.request();
    assert!(request.attempts[0].steps.is_some());
    table.apply(&sent, SyncResponse::default());
    let (request, _) = table.request();
    assert!(request.attempts[0].steps.is_none());
}

#[test]
fn a_dying_attempt_keeps_its_slot_but_is_not_reported() {
    let mut table = Table::new(1, false);
    let (_, first) = table.request();
    table.apply(&first, assign(&[1]));
    let (_, second) = table.request();
    let fenced = SyncResponse { fenced: vec![attempt(1)], ..assign(&[2]) };
    let applied = table.apply(&second, fenced);
    assert_eq!(applied.actions, [Action::Kill(attempt(1))]);
    let (request, third) = table.request();
    assert!(request.attempts.is_empty());
    assert!(!table.finish(attempt(1), done()), "nobody wants the result");
    assert_eq!(started(&table.apply(&third, assign(&[2]))), [2]);
}

/// What can happen, in any order.
#[derive(Clone, Debug)]
enum Event {
    Send,
    Lose(usize),
    Answer { which: usize, assign: Vec<u64>, acknowledge: bool, fence: Option<u64>, cancel: Option<u64> },
    Finish(u64),
    Steps(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let job = 1u64..12;
    prop_oneof![
        3 => Just(Event::Send),
        1 => (0usize..4).prop_map(Event::Lose),
        4 => (0usize..4, prop::collection::vec(job.clone(), 0..4), any::<bool>(), prop::option::weighted(0.2, job.clone()), prop::option::weighted(0.2, job.clone()))
            .prop_map(|(which, assign, acknowledge, fence, cancel)| Event::Answer { which, assign, acknowledge, fence, cancel }),
        2 => job.clone().prop_map(Event::Finish),
        1 => job.prop_map(Event::Steps),
    ]
}

proptest! {
    /// Under any order of lost, late and repeated answers: within the slots, never the same attempt twice while an
    /// answer that could name it is under way, and every held attempt in every report.
    #[test]
    fn any_order_of_events(slots in 1usize..4, events in prop::collection::vec(event(), 0..120)) {
        let mut table = Table::new(slots, false);
        let mut under_way: Vec<Sent> = Vec::new();
        let mut executing: HashSet<u64> = HashSet::new();
        let mut reported: HashSet<u64> = HashSet::new();
        // When each attempt was let go of, by the sequence of the newest request then.
        let mut let_go: HashMap<u64, u64> = HashMap::new();
        for event in events {
            match event {
                Event::Send if under_way.len() < 4 => {
                    let (request, sent) = table.request();
                    let listed: HashSet<u64> = request.attempts.iter().map(|r| r.attempt.job.0).collect();
                    prop_assert_eq!(&listed, &reported);
                    for report in &request.attempts {
                        prop_assert_eq!(report.result.is_some(), report.phase == Phase::Finished);
                    }
                    under_way.push(sent);
                }
                Event::Send => {}
                Event::Lose(which) if !under_way.is_empty() => {
                    let sent = under_way.remove(which % under_way.len());
                    table.failed(&sent, Instant::now());
                }
                Event::Lose(_) => {}
                Event::Answer { which, assign: jobs, acknowledge, fence, cancel } if !under_way.is_empty() => {
                    let sent = under_way.remove(which % under_way.len());
                    let mut response = assign(&jobs);
                    response.fenced.extend(fence.map(attempt));
                    response.cancel.extend(cancel.map(attempt));
                    if acknowledge {
                        response.acknowledged = reported.iter().copied().map(attempt).collect();
                    }
                    let sequence = sent.sequence;
                    for action in table.apply(&sent, response).actions {
                        match action {
                            Action::Start(a) => {
                                let job = a.attempt.job.0;
                                prop_assert!(executing.insert(job), "{job} executes already");
                                prop_assert!(let_go.get(&job).is_none_or(|at| sequence > *at), "{job} was here before");
                                reported.insert(job);
                            }
                            Action::Kill(a) | Action::Forget(a) => {
                                reported.remove(&a.job.0);
                                let_go.insert(a.job.0, table.sequence);
                            }
                            Action::Cancel(a) => prop_assert!(executing.contains(&a.job.0)),
                        }
                    }
                    prop_assert!(executing.len() <= slots);
                }
                Event::Answer { .. } => {}
                Event::Finish(job) => {
                    if executing.remove(&job) {
                        prop_assert_eq!(table.finish(attempt(job), done()), reported.contains(&job));
                    }
                }
                Event::Steps(job) => table.steps(attempt(job), &[], Instant::now()),
            }
            prop_assert_eq!(table.running().len(), executing.len());
        }
    }
}
