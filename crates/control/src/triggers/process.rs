//! From a delivery to runs: find the commit, read its workflows, ask each
//! whether the event starts it, create the runs. It may be done twice (after
//! a crash) and gives the same runs both times.

use super::locate::{self, Located};
use super::{Trouble, directories, reports, schedule};
use crate::submit::Provenance;
use crate::{Control, Idempotency, Principal};
use fleetfoot_forge::mirror::{File, Mirror};
use fleetfoot_forge::{Change, Happening, NotAnEvent, Place, normalise};
use fleetfoot_model::Problem;
use fleetfoot_model::api::CreateRun;
use fleetfoot_model::event::{ChangedPaths, EventFacts, Matching};
use fleetfoot_model::plan::Document;
use fleetfoot_model::repos::{ForgeKind, ForkApproval};
use fleetfoot_model::spec::Repository;
use fleetfoot_store::{DeliveryRow, DeliverySource, RepositoryRow, TriggerRun};
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::sync::Arc;

/// The kind of document that repositories hold.
pub(super) const KIND: &str = "workflow";
/// A look at the default branch that starts nothing.
pub(super) const SCAN: &str = "fleetfoot:scan";
/// Where events that were made here keep what workflows must not see.
pub(super) const OWN: &str = "fleetfoot";
/// Documents that one workflow may call.
const MAX_CALLED: usize = 50;
/// Accounts that need no approval, in GitHub's words.
const KNOWN: [&str; 4] = ["OWNER", "MEMBER", "COLLABORATOR", "CONTRIBUTOR"];

/// What became of a delivery.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) runs: Vec<TriggerRun>,
    pub(super) notes: Vec<String>,
}

/// Carries out a delivery.
pub(super) async fn process(control: &Control, delivery: &DeliveryRow) -> Result<Done, Trouble> {
    let inner = &control.inner;
    let Some(mut row) = inner.store.repository(delivery.repository).await? else {
        return Err(Trouble {
            message: "the repository was removed".to_owned(),
            passing: false,
            forge: false,
        });
    };
    let mut payload: Value = serde_json::from_str(delivery.payload.as_deref().unwrap_or("null"))
        .map_err(|e| Trouble { message: e.to_string(), passing: false, forge: false })?;
    let (kind, own) = match delivery.source {
        DeliverySource::Webhook => (row.forge, None),
        DeliverySource::Made => (ForgeKind::Github, payload.as_object_mut().and_then(|map| map.remove(OWN))),
    };
    let own = own.unwrap_or(Value::Null);
    let mirror = inner.mirror_of(&row)?;
    let lock = inner.lock_of(row.id);
    let _alone = lock.lock().await;
    mirror.prepare().await?;
    let mut done = Done::default();
    if delivery.event == SCAN {
        let located = locate::default_branch(&mirror, &row).await?;
        let branch = located.git_ref.strip_prefix("refs/heads/").map(str::to_owned);
        schedule::scan(control, &row, &mirror, &located.sha).await?;
        inner.store.note_repository(row.id, branch, None).await?;
        done.notes.push("the default branch was looked at".to_owned());
        return Ok(done);
    }
    let happenings = match normalise(kind, &delivery.event, &payload) {
        Ok(all) => all,
        Err(e @ NotAnEvent::Uninteresting(_)) => {
            done.notes.push(e.to_string());
            return Ok(done);
        }
        Err(e) => return Err(Trouble { message: e.to_string(), passing: false, forge: false }),
    };
    follow_default_branch(control, &mut row, &happenings).await?;
    for happening in happenings {
        let mut work = Work { control, row: &row, mirror: &mirror, delivery, own: &own, event: happening };
        work.remember_contributors().await?;
        work.run(&mut done).await?;
    }
    if row.error.is_some() {
        inner.store.note_repository(row.id, None, None).await?;
    }
    Ok(done)
}

/// A forge says with every event which branch is the default one.
async fn follow_default_branch(
    control: &Control,
    row: &mut RepositoryRow,
    happenings: &[Happening],
) -> Result<(), Trouble> {
    let said = happenings.iter().find_map(|h| h.payload.pointer("/repository/default_branch")?.as_str());
    let Some(branch) = said.filter(|b| fleetfoot_forge::mirror::is_ref_name(b)) else { return Ok(()) };
    if row.default_branch.as_deref() != Some(branch) {
        row.default_branch = Some(branch.to_owned());
        control.inner.store.note_repository(row.id, row.default_branch.clone(), row.error.clone()).await?;
    }
    Ok(())
}

/// One event of a delivery.
struct Work<'a> {
    control: &'a Control,
    row: &'a RepositoryRow,
    mirror: &'a Mirror,
    delivery: &'a DeliveryRow,
    own: &'a Value,
    event: Happening,
}

impl Work<'_> {
    /// Who pushes may write, and whose pull request was merged contributed.
    async fn remember_contributors(&self) -> Result<(), Trouble> {
        if self.delivery.source != DeliverySource::Webhook {
            return Ok(());
        }
        let merged = self.event.payload.pointer("/pull_request/merged") == Some(&Value::Bool(true));
        let account = match self.event.name.as_str() {
            "push" => self.event.actor.id,
            "pull_request" if merged => self.event.author.as_ref().and_then(|a| a.id),
            _ => None,
        };
        if let Some(account) = account {
            self.control.inner.store.add_contributor(self.row.id, account).await?;
        }
        Ok(())
    }

    async fn run(&mut self, done: &mut Done) -> Result<(), Trouble> {
        let name = self.event.name.clone();
        let located = locate::locate(self.mirror, self.row, &self.event).await?;
        if self.is_skipped(&located).await? {
            done.notes.push(format!("{name}: the commit message asks for no runs"));
            self.rescan(&located).await?;
            return Ok(());
        }
        let files = self.mirror.workflows(&located.sha, directories(self.row.forge)).await?;
        if files.is_empty() {
            done.notes.push(format!("{name}: commit {} has no workflows", &located.sha[..12]));
        }
        let only = self.own.get("workflow").and_then(Value::as_str);
        let mut facts = self.facts();
        for file in files.iter().filter(|f| only.is_none_or(|path| path == f.path)) {
            let note = |text: &str| format!("{}: {text}", file.path);
            let document = match self.parse(file, &located).await? {
                Ok(document) => document,
                Err(problem) => {
                    done.notes.push(note(&problem.detail));
                    self.report_broken(file, &located, &problem).await?;
                    continue;
                }
            };
            let (document, called) = document;
            let mut answer = document.matches(&facts);
            if answer == Matching::NeedsPaths {
                facts.paths = locate::changed(self.mirror, self.row, &self.event.change).await?;
                answer = document.matches(&facts);
            }
            match answer {
                Matching::Yes => {}
                Matching::No(reason) => {
                    done.notes.push(note(&reason));
                    continue;
                }
                Matching::NeedsPaths => continue,
            }
            match self.create(file, called, &located).await {
                Ok(run) => done.runs.push(run),
                Err(trouble) if trouble.passing => return Err(trouble),
                Err(trouble) => done.notes.push(note(&trouble.message)),
            }
        }
        self.rescan(&located).await
    }

    /// Schedules are those of the default branch: every push to it may change them.
    async fn rescan(&self, located: &Located) -> Result<(), Trouble> {
        let branch = self.row.default_branch.as_deref().unwrap_or_default();
        if self.event.name == "push" && located.git_ref.strip_prefix("refs/heads/") == Some(branch) {
            schedule::scan(self.control, self.row, self.mirror, &located.sha).await?;
        }
        Ok(())
    }

    async fn is_skipped(&self, located: &Located) -> Result<bool, Trouble> {
        let sha = match (&self.event.change, self.event.name.as_str()) {
            (Change::Push { .. }, _) => &located.sha,
            (Change::Pull { head, .. }, "pull_request") => head,
            _ => return Ok(false),
        };
        let message = match &self.event.message {
            Some(message) => message.clone(),
            None if self.mirror.has(sha).await? => self.mirror.commit(sha).await?.1,
            None => String::new(),
        };
        Ok(locate::says_skip(&message))
    }

    fn facts(&self) -> EventFacts {
        let text = |pointer: &str| self.event.payload.pointer(pointer).and_then(Value::as_str);
        EventFacts {
            name: self.event.name.clone(),
            action: self.event.action.clone(),
            git_ref: self.event.filter_ref.clone(),
            paths: ChangedPaths::NotAsked,
            workflow: text("/workflow_run/name").map(str::to_owned),
        }
    }

    /// A workflow with the documents of the same repository that it calls.
    async fn parse(
        &self,
        file: &File,
        located: &Located,
    ) -> Result<Result<(Arc<dyn Document>, IndexMap<String, String>), Problem>, Trouble> {
        parse(self.control, self.mirror, file, &located.sha).await
    }

    async fn create(
        &self,
        file: &File,
        called: IndexMap<String, String>,
        located: &Located,
    ) -> Result<TriggerRun, Trouble> {
        let event = &self.event;
        let provenance = Provenance {
            actor: Some(event.actor.login.clone()).filter(|login| !login.is_empty()),
            untrusted: event.is_fork,
            awaits_approval: self.approval().await?,
        };
        let mut payload = event.payload.clone();
        if event.name == "push" && payload.pointer("/head_commit").is_none_or(Value::is_null) {
            let (_, message) = self.mirror.commit(&located.sha).await?;
            if let Some(map) = payload.as_object_mut() {
                map.insert("head_commit".to_owned(), json!({ "id": located.sha, "message": message }));
            }
        }
        let request = request_of(self.control, self.row, file, called, located, (&event.name, payload))?;
        let request = CreateRun {
            secrets: if event.is_fork { IndexMap::new() } else { request.secrets.clone() },
            ..request
        };
        let key = format!("delivery:{}:{}:{}", self.delivery.id, event.name, file.path);
        let idempotency =
            Idempotency { request_hash: *blake3::hash(key.as_bytes()).as_bytes(), key: short(key) };
        let mut created = self
            .control
            .create_runs_of(&Principal::System, vec![(request, provenance)], Some(idempotency))
            .await?;
        let run = created.pop().map(|c| c.run).ok_or_else(|| Trouble {
            message: "no run was created".to_owned(),
            passing: false,
            forge: false,
        })?;
        Ok(TriggerRun {
            run,
            repository: self.row.id,
            sha: event.report_sha.clone().unwrap_or_else(|| located.sha.clone()),
            event: event.name.clone(),
            depth: self
                .own
                .get("depth")
                .and_then(Value::as_u64)
                .and_then(|d| u32::try_from(d).ok())
                .unwrap_or(0),
        })
    }

    /// Why a run waits for somebody, by the rule of the repository. Accounts count by their number.
    async fn approval(&self) -> Result<Option<String>, Trouble> {
        if !self.event.is_fork {
            return Ok(None);
        }
        let author = self.event.author.clone().unwrap_or_default();
        let who = if author.login.is_empty() {
            author.id.map_or_else(|| "an unknown account".to_owned(), |id| format!("account {id}"))
        } else {
            author.login.clone()
        };
        match self.row.fork_approval {
            ForkApproval::Never => Ok(None),
            ForkApproval::Always => Ok(Some(format!("a pull request from a fork, by {who}"))),
            ForkApproval::FirstTime => {
                let by_forge = self.event.association.as_deref().is_some_and(|a| KNOWN.contains(&a));
                let known = by_forge || self.contributed(author.id).await?;
                // Somebody else may act on the pull request: both must be known.
                let actor = &self.event.actor;
                let acts_alone = actor.id.is_none() || actor.id == author.id;
                if known && (acts_alone || self.contributed(actor.id).await? || by_forge) {
                    return Ok(None);
                }
                Ok(Some(format!("the first contribution of {who}, from a fork")))
            }
        }
    }

    async fn contributed(&self, account: Option<u64>) -> Result<bool, Trouble> {
        match account {
            Some(account) => Ok(self.control.inner.store.is_contributor(self.row.id, account).await?),
            None => Ok(false),
        }
    }

    /// The author of a push sees at the commit that a workflow cannot be used.
    async fn report_broken(&self, file: &File, located: &Located, problem: &Problem) -> Result<(), Trouble> {
        let shown = matches!(self.event.place, Place::Commit { .. } | Place::Pull { .. });
        if !shown || self.event.name == "create" {
            return Ok(());
        }
        let sha = self.event.report_sha.as_deref().unwrap_or(&located.sha);
        reports::broken(self.control, self.row, sha, &file.path, &self.event.name, &problem.detail).await
    }
}

/// Keys have at most 255 characters; paths may have more.
fn short(key: String) -> String {
    if key.len() <= 200 { key } else { format!("delivery-hash:{}", blake3::hash(key.as_bytes()).to_hex()) }
}

/// Parses a workflow, and gathers the documents of its repository that it calls.
pub(super) async fn parse(
    control: &Control,
    mirror: &Mirror,
    file: &File,
    sha: &str,
) -> Result<Result<(Arc<dyn Document>, IndexMap<String, String>), Problem>, Trouble> {
    let mut called = IndexMap::new();
    loop {
        let document = match control.inner.documents.parse(KIND, &file.path, &file.text, &called) {
            Ok(document) => document,
            Err(problem) => return Ok(Err(problem)),
        };
        let before = called.len();
        // Those of other repositories are fetched when the run is made.
        for reference in document.missing().iter().filter(|r| r.starts_with("./")).take(MAX_CALLED) {
            if called.len() < MAX_CALLED
                && let Some(text) = mirror.file(sha, reference.trim_start_matches("./")).await?
            {
                called.insert(reference.clone(), text);
            }
        }
        if called.len() == before {
            return Ok(Ok((document, called)));
        }
    }
}

/// The run of a workflow for an event, with the shared token if the repository has one to share.
pub(super) fn request_of(
    control: &Control,
    row: &RepositoryRow,
    file: &File,
    called: IndexMap<String, String>,
    located: &Located,
    (name, payload): (&str, Value),
) -> Result<CreateRun, Trouble> {
    let mut secrets = IndexMap::new();
    if row.share_token
        && let Some(token) = control.inner.token_of(row)?
    {
        secrets.insert("GITHUB_TOKEN".to_owned(), token);
    }
    Ok(CreateRun {
        kind: KIND.to_owned(),
        document: file.text.clone(),
        path: Some(file.path.clone()),
        event: Some(json!({ "name": name, "payload": payload })),
        secrets,
        project: Some(row.project.clone()),
        repository: Some(Repository {
            url: row.url.clone(),
            name: Some(row.name.clone()),
            git_ref: Some(located.git_ref.clone()).filter(|r| !r.is_empty()),
            sha: Some(located.sha.clone()),
        }),
        files: called,
        ..CreateRun::default()
    })
}

/// Repository and sender of events that are made here.
pub(super) fn shell(row: &RepositoryRow) -> Value {
    let (owner, name) = row.name.rsplit_once('/').unwrap_or(("", &row.name));
    json!({
        "repository": {
            "name": name, "full_name": row.name, "owner": { "login": owner }, "default_branch": row.default_branch,
            "clone_url": row.url, "html_url": row.web_url,
        },
        "sender": { "login": "", "type": "Bot" },
    })
}

/// The same with these fields.
pub(super) fn made_of(row: &RepositoryRow, fields: Value) -> Value {
    let mut payload = shell(row);
    if let (Some(map), Value::Object(fields)) = (payload.as_object_mut(), fields) {
        map.extend(fields);
    }
    payload
}
