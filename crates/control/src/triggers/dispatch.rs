//! Runs that somebody asks for: one workflow by hand, with typed inputs, or
//! every workflow that waits for a `repository_dispatch`.

use super::locate::{self, Located};
use super::process::{self, KIND};
use super::{Trouble, directories, reports};
use crate::submit::Provenance;
use crate::{Control, Permission, Principal};
use fleetfoot_forge::mirror::{File, GitErrorKind, Mirror, is_ref_name};
use fleetfoot_model::api::Created;
use fleetfoot_model::event::{EventFacts, Matching};
use fleetfoot_model::repos::DeliveryOutcome;
use fleetfoot_model::repos::{AcceptedDelivery, DispatchRepository, DispatchWorkflow};
use fleetfoot_model::{Code, Problem};
use fleetfoot_store::{DeliveryEnd, RepositoryRow, TriggerRun};
use indexmap::IndexMap;
use serde_json::json;

impl Control {
    /// Starts one workflow by hand.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `bad_request`, `bad_document` (inputs too), `forge_unreachable`.
    pub async fn dispatch_workflow(
        &self,
        who: &Principal,
        repository: u64,
        request: DispatchWorkflow,
    ) -> Result<Created, Problem> {
        who.require(Permission::Write)?;
        let row = self.repository_row(repository).await?;
        let mirror = self.inner.mirror_of(&row)?;
        let lock = self.inner.lock_of(row.id);
        let alone = lock.lock().await;
        mirror.prepare().await.map_err(Trouble::from)?;
        let located = find_ref(&mirror, &row, request.git_ref.as_deref()).await?;
        let files = mirror.workflows(&located.sha, directories(row.forge)).await.map_err(Trouble::from)?;
        let file = self.find_workflow(&files, &request.workflow, &located)?;
        let (document, called) = process::parse(self, &mirror, file, &located.sha).await??;
        drop(alone);
        let facts = EventFacts { name: "workflow_dispatch".to_owned(), ..EventFacts::default() };
        if document.matches(&facts) != Matching::Yes {
            return Err(Problem::new(
                Code::BadRequest,
                format!("{} cannot be started by hand: `on` does not name workflow_dispatch", file.path),
            )
            .with_hint("add `workflow_dispatch:` under `on:`"));
        }
        let payload = process::made_of(
            &row,
            json!({ "ref": located.git_ref, "workflow": file.path, "inputs": request.inputs }),
        );
        let mut run =
            process::request_of(self, &row, file, called, &located, ("workflow_dispatch", payload))?;
        run.inputs = request.inputs;
        let mut created = self.create_runs_of(who, vec![(run, Provenance::default())], None).await?;
        let created = created.pop().ok_or_else(|| Problem::new(Code::Internal, "no run was created"))?;
        self.note_dispatch(&row, &created, located.sha).await?;
        Ok(created)
    }

    /// Keeps the run among the deliveries, so that its commit shows the result.
    async fn note_dispatch(
        &self,
        row: &RepositoryRow,
        created: &Created,
        sha: String,
    ) -> Result<(), Problem> {
        let run = TriggerRun {
            run: created.run,
            repository: row.id,
            sha,
            event: "workflow_dispatch".to_owned(),
            depth: 0,
        };
        let mut new =
            self.new_made(row.id, &format!("dispatch:{}", created.run), "workflow_dispatch", &json!({}));
        // Not for the worker: it ends here, before it falls due.
        new.received_at = new.received_at + std::time::Duration::from_secs(60);
        let accepted = self.inner.store.accept_delivery(new).await.map_err(Trouble::from)?;
        if let fleetfoot_store::Accepted::New(id) = accepted {
            let end = DeliveryEnd {
                outcome: DeliveryOutcome::Started,
                runs: vec![run.clone()],
                notes: Vec::new(),
                error: None,
                next_try: None,
            };
            self.inner.store.end_delivery(id, end).await.map_err(Trouble::from)?;
        }
        reports::follow(self, run);
        Ok(())
    }

    fn find_workflow<'f>(
        &self,
        files: &'f [File],
        asked: &str,
        located: &Located,
    ) -> Result<&'f File, Problem> {
        let by_path = |f: &&File| f.path == asked || f.path.rsplit('/').next() == Some(asked);
        let by_name = |f: &&File| {
            let document = self.inner.documents.parse(KIND, &f.path, &f.text, &IndexMap::new());
            document.is_ok_and(|d| d.name() == Some(asked))
        };
        files.iter().find(by_path).or_else(|| files.iter().find(by_name)).ok_or_else(|| {
            let known: Vec<&str> = files.iter().map(|f| f.path.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let asked: String = asked.chars().take(100).collect();
            Problem::new(Code::NotFound, format!("there is no workflow '{asked}' at {}", located.git_ref))
                .with_hint(format!("its workflows are {known}"))
        })
    }

    /// Tells every workflow of the default branch that waits for this type.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `bad_request`.
    pub async fn dispatch_repository(
        &self,
        who: &Principal,
        repository: u64,
        request: DispatchRepository,
    ) -> Result<AcceptedDelivery, Problem> {
        who.require(Permission::Write)?;
        let row = self.repository_row(repository).await?;
        if !(1..=100).contains(&request.event_type.chars().count()) {
            return Err(Problem::new(Code::BadRequest, "event_type has 1 to 100 characters"));
        }
        let fields = json!({
            "action": request.event_type, "branch": row.default_branch, "client_payload": request.client_payload,
            "sender": { "login": who.audit_name(), "type": "User" },
        });
        let payload = process::made_of(&row, fields);
        let unique = crate::vault::random::<8>().map_err(|e| Problem::new(Code::Internal, e.to_string()))?;
        let name = format!("repository-dispatch:{}", u64::from_le_bytes(unique));
        let delivery = self.made(row.id, &name, "repository_dispatch", &payload).await?;
        Ok(AcceptedDelivery { delivery, duplicate: false })
    }
}

/// A branch, a tag or a full ref; absent means the default branch.
pub(super) async fn find_ref(
    mirror: &Mirror,
    row: &RepositoryRow,
    asked: Option<&str>,
) -> Result<Located, Problem> {
    let Some(asked) = asked.filter(|a| !a.is_empty()) else {
        return Ok(locate::default_branch(mirror, row).await?);
    };
    let unknown = || {
        let asked: String = asked.chars().take(100).collect();
        Problem::new(Code::NotFound, format!("the repository has no branch or tag '{asked}'"))
    };
    if !is_ref_name(asked) {
        return Err(unknown());
    }
    let candidates = if asked.starts_with("refs/") {
        vec![asked.to_owned()]
    } else {
        vec![format!("refs/heads/{asked}"), format!("refs/tags/{asked}")]
    };
    for git_ref in candidates {
        match mirror.fetch(&[&git_ref]).await {
            Ok(()) => {
                let sha = mirror.resolve(&git_ref).await.map_err(Trouble::from)?.ok_or_else(unknown)?;
                return Ok(Located { git_ref, sha });
            }
            Err(e) if e.kind == GitErrorKind::Missing => {}
            Err(e) => return Err(Trouble::from(e).into()),
        }
    }
    Err(unknown())
}
