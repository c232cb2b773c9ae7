use super::report::BoundaryReport;
use super::*;
use crate::config::EngineChoice;
use fleetfoot_model::spec::ContainerSpec;

fn plan(config: BoundaryConfig) -> (tempfile::TempDir, BoundaryPlan) {
    let dir = tempfile::tempdir().unwrap();
    let tag = format!("test-{}-{}", std::process::id(), dir.path().file_name().unwrap().to_str().unwrap());
    let plan = BoundaryPlan { config, tag, directory: dir.path().to_owned(), memory: Memory::Trust };
    (dir, plan)
}

/// Boundaries of which these were tried, with this outcome.
fn with(config: BoundaryConfig, found: &[(Boundary, bool)]) -> (tempfile::TempDir, Boundaries) {
    let (dir, plan) = plan(config);
    let boundaries = Boundaries::new(plan).unwrap();
    for boundary in [Boundary::Sandbox, Boundary::Container, Boundary::Gvisor] {
        let works = found.contains(&(boundary, true));
        let mut report = BoundaryReport::broken(boundary, "the thing is missing", "install the thing");
        report.works = works;
        let made = works.then(|| Made::Driver(Arc::new(Named(boundary)) as Arc<dyn Driver>));
        *boundaries.slot(boundary).unwrap().try_lock().unwrap() = Some(Tried { report, made });
    }
    (dir, boundaries)
}

/// A driver that only has a name.
struct Named(Boundary);

#[async_trait]
impl Driver for Named {
    fn boundary(&self) -> Boundary {
        self.0
    }
    async fn prepare(&self, _request: CellRequest) -> Result<Box<dyn Cell>, DriverError> {
        Err(DriverError::new(DriverErrorKind::Unsupported, "only a name"))
    }
    async fn sweep(&self, _attempt: AttemptRef) -> Result<(), DriverError> {
        Ok(())
    }
}

fn job(min_boundary: Boundary) -> JobSpec {
    JobSpec { min_boundary, ..JobSpec::default() }
}

async fn chosen(boundaries: &Boundaries, spec: &JobSpec) -> Result<Boundary, String> {
    boundaries.choose(spec).await.map(|f| f.driver.boundary()).map_err(|r| r.message)
}

#[tokio::test]
async fn the_weakest_that_is_strong_enough() {
    let all = [(Boundary::Sandbox, true), (Boundary::Gvisor, true)];
    let (_dir, b) = with(BoundaryConfig::default(), &all);
    for (asked, got) in [
        (Boundary::Process, Boundary::Process),
        (Boundary::Sandbox, Boundary::Sandbox),
        (Boundary::Container, Boundary::Gvisor),
        (Boundary::Gvisor, Boundary::Gvisor),
    ] {
        assert_eq!(chosen(&b, &job(asked)).await, Ok(got), "{asked}");
    }
    let refused = chosen(&b, &job(Boundary::Microvm)).await.unwrap_err();
    assert_eq!(refused, "the boundary 'microvm' is demanded, which this runner does not have");
}

#[tokio::test]
async fn the_operator_sets_least_and_most() {
    let config = BoundaryConfig {
        default: Boundary::Sandbox,
        max: Some(Boundary::Sandbox),
        ..BoundaryConfig::default()
    };
    let all = [(Boundary::Sandbox, true), (Boundary::Gvisor, true)];
    let (_dir, b) = with(config.clone(), &all);
    assert_eq!(chosen(&b, &job(Boundary::Process)).await, Ok(Boundary::Sandbox));
    let refused = chosen(&b, &job(Boundary::Gvisor)).await.unwrap_err();
    insta::assert_snapshot!(refused, @"the boundary 'gvisor' is demanded, but this runner offers 'sandbox' at most (max_boundary)");
    assert!(b.ready().await.is_ok());

    let (_dir, b) = with(config, &[(Boundary::Sandbox, false)]);
    let refused = b.ready().await.unwrap_err().message;
    insta::assert_snapshot!(refused, @"the boundary 'sandbox' is demanded, which this runner cannot make: the thing is missing; install the thing");
}

#[tokio::test]
async fn containers_need_an_engine() {
    let (_dir, b) = with(BoundaryConfig::default(), &[(Boundary::Sandbox, true)]);
    let image = ContainerSpec { image: "alpine:3".into(), ..ContainerSpec::default() };
    let spec = JobSpec { container: Some(image), ..JobSpec::default() };
    let refused = chosen(&b, &spec).await.unwrap_err();
    insta::assert_snapshot!(refused, @"the job has a container or services, which this runner cannot make: the thing is missing; install the thing");
}

#[tokio::test]
async fn a_real_trial_is_offered_and_remembered() {
    let (_dir, plan) = plan(BoundaryConfig::default());
    let first = Boundaries::new(plan.clone()).unwrap();
    let offer = first.offer();
    assert_eq!(*offer.borrow(), Offer { boundary: Boundary::Process, containers: false });
    let reports = Box::pin(first.reports()).await;
    let sandbox = reports.iter().find(|r| r.boundary == Boundary::Sandbox).unwrap();
    if !sandbox.works {
        assert!(sandbox.missing.iter().any(|m| m.required && !m.fix.is_empty()), "{sandbox:?}");
        return;
    }
    assert!(offer.borrow().boundary >= Boundary::Sandbox);
    assert_eq!(cache::load(&plan, Boundary::Sandbox).map(|r| r.holds), Some(sandbox.holds.clone()));
    // Other settings were not tried.
    let network = crate::config::NetworkChoice::None;
    let config = BoundaryConfig { sandbox_network: network, ..plan.config.clone() };
    assert_eq!(cache::load(&BoundaryPlan { config, ..plan }, Boundary::Sandbox), None);
}

#[tokio::test]
async fn what_is_lost_is_not_offered_any_more() {
    let socket = EngineChoice::Socket("/nowhere/engine.sock".into());
    let config = BoundaryConfig { container_engine: socket, ..BoundaryConfig::default() };
    let (_dir, b) = with(config, &[(Boundary::Sandbox, true), (Boundary::Container, true)]);
    b.count().await;
    let both = Offer { boundary: Boundary::Container, containers: true };
    assert_eq!(*b.offer().borrow(), both);
    b.look_again().await;
    let less = Offer { boundary: Boundary::Sandbox, containers: false };
    assert_eq!(*b.offer().borrow(), less, "the engine does not answer");
}
