//! Schedules under an injected clock, and who has to wait for approval.

use super::cron::Cron;
use super::schedule::{Decision, decide, pass};
use crate::{Control, Options, Principal};
use fleetfoot_model::Timestamp;
use fleetfoot_model::plan::Dialect;
use fleetfoot_model::repos::{AddRepository, DeliveryOutcome, ForgeKind, ForkApproval};
use fleetfoot_objects::{LogOptions, LogStore};
use fleetfoot_store::{DeliveryRow, ScheduleRow};
use fleetfoot_store_sqlite::SqliteStore;
use fleetfoot_testkit::{FakeForge, MAINTAINER, STRANGER, wait_until_async};
use fleetfoot_workflow::WorkflowDialect;
use proptest::prelude::*;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);
const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;

async fn control(dir: &Path) -> Control {
    let store = Arc::new(SqliteStore::open_scratch(dir).unwrap());
    let logs = LogOptions { durable: false, ..LogOptions::default() };
    let logs = LogStore::open(&dir.join("logs"), logs).unwrap();
    let dialects: Vec<Arc<dyn Dialect>> = vec![Arc::new(WorkflowDialect)];
    Control::start(store, logs, dialects, Options::new(dir, "http://ci.example.org")).await.unwrap()
}

fn workflow(on: &str) -> String {
    format!("on:\n{on}\njobs:\n  build:\n    runs-on: linux\n    steps: [{{run: make}}]\n")
}

struct Stage {
    forge: FakeForge,
    control: Control,
    id: u64,
    secret: String,
    dir: tempfile::TempDir,
}

impl Stage {
    /// A repository whose first look is over. Schedules are left to the test.
    async fn new(on: &str, rule: ForkApproval) -> Self {
        let forge = FakeForge::new(ForgeKind::Gitea);
        forge.work().write(".gitea/workflows/ci.yml", &workflow(on));
        forge.push("refs/heads/main", "begin");
        let dir = tempfile::tempdir().unwrap();
        let control = control(dir.path()).await;
        let add = AddRepository {
            url: forge.clone_url(),
            forge: Some(ForgeKind::Gitea),
            name: Some("acme/app".to_owned()),
            fork_approval: rule,
            ..AddRepository::default()
        };
        let added = control.add_repository(&Principal::System, add).await.unwrap();
        control.inner.tasks.spawn(super::deliveries::work(control.clone()));
        let stage = Self { forge, control, id: added.repository.id, secret: added.webhook_secret, dir };
        stage.ended(1).await;
        stage
    }

    async fn deliveries(&self) -> Vec<DeliveryRow> {
        let mut all = self.control.inner.store.deliveries(self.id, None, 100).await.unwrap();
        all.reverse();
        all
    }

    /// The first `n` deliveries, when they are over.
    async fn ended(&self, n: usize) -> Vec<DeliveryRow> {
        wait_until_async("deliveries to end", LONG, || async {
            let all = self.deliveries().await;
            (all.len() >= n && all.iter().all(|d| d.outcome != DeliveryOutcome::Queued)).then_some(all)
        })
        .await
    }

    async fn deliver(&self, (event, payload): (String, Value)) -> u64 {
        let body = payload.to_string().into_bytes();
        let headers = self.forge.headers(&event, &body, &self.secret);
        let webhook = crate::Webhook { headers: &headers, body: &body };
        self.control.receive_webhook(self.id, &webhook).await.unwrap().delivery
    }

    /// Whether a pull request of this account from a fork waits, and why.
    async fn pull(&self, by: (u64, &str)) -> (bool, Option<String>) {
        let work = self.forge.work();
        let base = work.git(&["rev-parse", "HEAD"]);
        let head = work.commit("topic");
        work.git(&["push", "--quiet", "--force", "origin", &format!("{head}:refs/pull/5/head")]);
        work.git(&["reset", "--quiet", "--hard", &base]);
        let before = self.deliveries().await.len();
        // Another title each time: the same body would be a replay.
        let (event, mut payload) = self.forge.pull_event("opened", 5, &head, &base, by, true);
        payload["pull_request"]["title"] = Value::from(before);
        self.deliver((event, payload)).await;
        let ended = self.ended(before + 1).await;
        let run = ended[before].runs.first().copied().unwrap_or_else(|| panic!("{:?}", ended[before]));
        let params = self.control.inner.store.run_payload(run).await.unwrap().unwrap().params;
        (params.untrusted, params.awaits_approval)
    }

    async fn schedules(&self) -> Vec<ScheduleRow> {
        self.control.inner.store.schedules(Some(self.id)).await.unwrap()
    }

    async fn fired(&self) -> usize {
        self.deliveries().await.iter().filter(|d| d.event == "schedule").count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_wait_by_rule_and_accounts_count_by_number() {
    let stage = Stage::new("  push:\n  pull_request:", ForkApproval::FirstTime).await;
    let waits = stage.pull(STRANGER).await;
    assert_eq!(waits, (true, Some("the first contribution of mallory, from a fork".to_owned())));
    // A push makes its account known, whatever name somebody else takes.
    let sha = stage.forge.work().git(&["rev-parse", "HEAD"]);
    stage.deliver(stage.forge.push_event("refs/heads/main", None, &sha)).await;
    stage.ended(3).await;
    assert_eq!(stage.pull(MAINTAINER).await, (true, None));
    assert!(stage.pull((STRANGER.0, MAINTAINER.1)).await.1.is_some());
    // A merged pull request does so for its author.
    let head = stage.forge.work().git(&["rev-parse", "HEAD"]);
    let (event, mut merged) = stage.forge.pull_event("closed", 5, &head, &sha, STRANGER, true);
    merged["pull_request"]["merged"] = Value::from(true);
    let before = stage.deliveries().await.len();
    stage.deliver((event, merged)).await;
    stage.ended(before + 1).await;
    assert_eq!(stage.pull(STRANGER).await, (true, None));
    stage.control.shut_down().await;

    let always = Stage::new("  pull_request:", ForkApproval::Always).await;
    assert!(always.pull(MAINTAINER).await.1.unwrap().contains("alice"));
    always.control.shut_down().await;
    let never = Stage::new("  pull_request:", ForkApproval::Never).await;
    assert_eq!(never.pull(STRANGER).await, (true, None));
    never.control.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_fires_once_for_each_time_whatever_happens_to_the_clock() {
    let on = "  push:\n  schedule:\n    - cron: '30 3 * * *'\n      timezone: Europe/Berlin";
    let stage = Stage::new(on, ForkApproval::default()).await;
    let row = stage.schedules().await.remove(0);
    assert_eq!((row.workflow.as_str(), row.timezone.as_str()), (".gitea/workflows/ci.yml", "Europe/Berlin"));
    let due = row.next_at.unwrap();
    let at = |offset: i64| Timestamp(due.0 + offset);
    let look = async |control: &Control, offset: i64| pass(control, at(offset)).await.unwrap();
    assert_eq!(look(&stage.control, -MINUTE).await, Some(due));
    assert_eq!(stage.fired().await, 0);
    // Two looks at the same time, and one after a step back: one firing.
    let (a, b) = tokio::join!(pass(&stage.control, at(1)), pass(&stage.control, at(2)));
    a.unwrap();
    b.unwrap();
    look(&stage.control, -HOUR / 2).await;
    look(&stage.control, 3).await;
    assert_eq!(stage.fired().await, 1);
    let ended = stage.ended(2).await;
    let run = ended.iter().find(|d| d.event == "schedule").unwrap().runs[0];
    let params = stage.control.inner.store.run_payload(run).await.unwrap().unwrap().params;
    assert_eq!(
        (params.event_name.as_str(), &params.event["schedule"]),
        ("schedule", &Value::from("30 3 * * *"))
    );
    assert_eq!(params.event.get("fleetfoot"), None);

    // A restart remembers; half an hour late fires, a day late is skipped and said.
    stage.control.shut_down().await;
    let Stage { forge, control: old, id, secret, dir } = stage;
    drop(old);
    let again = control(dir.path()).await;
    let stage = Stage { forge, control: again, id, secret, dir };
    look(&stage.control, 5).await;
    assert_eq!(stage.fired().await, 1);
    let second = stage.schedules().await[0].next_at.unwrap();
    assert!(second > at(22 * HOUR));
    pass(&stage.control, Timestamp(second.0 + HOUR / 2)).await.unwrap();
    assert_eq!(stage.fired().await, 2);
    let third = stage.schedules().await[0].next_at.unwrap();
    pass(&stage.control, Timestamp(third.0 + 2 * HOUR)).await.unwrap();
    assert_eq!(stage.fired().await, 2);
    let row = stage.schedules().await.remove(0);
    assert!(row.note.unwrap().contains("skipped"));

    // A clock that was a year ahead for a while does not silence it for a year.
    let year = Timestamp(third.0 + 365 * 24 * HOUR);
    pass(&stage.control, year).await.unwrap();
    assert!(stage.schedules().await[0].next_at.unwrap() > year);
    pass(&stage.control, Timestamp(third.0 + 3 * HOUR)).await.unwrap();
    let fourth = stage.schedules().await[0].next_at.unwrap();
    assert!(fourth < Timestamp(third.0 + 26 * HOUR), "{fourth}");
    assert_eq!(stage.fired().await, 2);
    stage.control.shut_down().await;
}

proptest! {
    /// However the clock jumps, no time fires twice; and while it only runs on, none is left out.
    #[test]
    fn no_time_fires_twice(steps in prop::collection::vec((-90_i64..120, any::<bool>()), 1..120), forward in any::<bool>()) {
        let cron = Cron::parse("*/10 * * * *", "").unwrap();
        let begin = Timestamp(1_800_000_000_000_000);
        let mut row = ScheduleRow {
            id: 1, repository: 1, workflow: String::new(), cron: String::new(), timezone: String::new(),
            next_at: cron.next(begin), last_at: None, note: None,
        };
        let (mut now, mut fired) = (begin, Vec::new());
        for (minutes, big) in steps {
            let minutes = if forward { minutes.rem_euclid(9) + 1 } else if big { minutes } else { minutes.rem_euclid(7) };
            now = Timestamp(now.0 + minutes * MINUTE);
            match decide(&row, &cron, now) {
                Decision::Wait => {}
                Decision::Correct(next) => row.next_at = next,
                Decision::Fire(at, next) => {
                    fired.push(at);
                    row.last_at = Some(at);
                    row.next_at = next;
                }
                Decision::Skip(_, next) => row.next_at = next,
            }
        }
        let mut once = fired.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), fired.len());
        if forward {
            let expected = (now.0 - begin.0) / (10 * MINUTE);
            prop_assert!((fired.len() as i64 - expected).abs() <= 1, "{} of {expected}", fired.len());
        }
    }
}
