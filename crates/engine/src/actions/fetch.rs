//! Getting actions: all remote ones before the first step, with those that
//! they use in turn, so that a missing one fails the job before anything ran;
//! local ones when their step begins, because the repository is not there
//! earlier.

use super::{Loaded, MAX_DEPTH, uses_of};
use crate::attempt::Attempt;
use crate::frame::ActionPlace;
use crate::outcome::Outcome;
use fleetfoot_actions::{ActionError, ActionErrorKind, Manifest, Reference, RemoteReference, Runs};
use fleetfoot_model::spec::StepSpec;
use fleetfoot_model::state::{Conclusion, Reason};
use futures_util::StreamExt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Repositories that are fetched at a time.
const AT_ONCE: usize = 4;

/// An end of the search before its end.
type Stopped = Box<Outcome>;

type Fetching<'x> = Pin<Box<dyn Future<Output = Result<Arc<Loaded>, Stopped>> + Send + 'x>>;

impl Attempt<'_> {
    /// Whether some action has to be fetched before the first step.
    pub(crate) fn needs_actions(&self, steps: &[StepSpec]) -> bool {
        steps.iter().filter_map(uses_of).any(|uses| self.actions.is_remote(uses))
    }

    /// Fetches the actions of all steps, and what they use in turn.
    pub(crate) async fn prepare_actions(&self, index: u16, steps: &[StepSpec]) -> Result<(), Stopped> {
        // Those of the job itself at the same time; what they use in turn is seldom much.
        let mut wanted = Vec::new();
        for uses in steps.iter().filter_map(uses_of).filter(|uses| self.actions.is_remote(uses)) {
            let remote = RemoteReference::parse(uses).map_err(|e| stopped(&e.into()))?;
            if !wanted.iter().any(|(_, known)| *known == remote) {
                wanted.push((uses, remote));
            }
        }
        let mut fetches: Vec<Fetching<'_>> = Vec::with_capacity(wanted.len());
        for (uses, remote) in &wanted {
            fetches.push(Box::pin(self.fetch_action(index, uses, remote)));
        }
        let mut fetches = futures_util::stream::iter(fetches).buffered(AT_ONCE);
        while let Some(fetched) = fetches.next().await {
            fetched?;
        }
        drop(fetches);
        for (at, step) in steps.iter().enumerate() {
            if let Some(uses) = uses_of(step) {
                self.prepare_tree(index, at.to_string(), uses).await?;
            }
        }
        Ok(())
    }

    /// Fetches what one step uses.
    fn prepare_tree<'x>(
        &'x self,
        index: u16,
        path: String,
        uses: &'x str,
    ) -> Pin<Box<dyn Future<Output = Result<(), Stopped>> + Send + 'x>> {
        Box::pin(async move {
            if self.actions.is_built_in(uses) {
                return Ok(());
            }
            let reference = Reference::parse(uses).map_err(|e| stopped(&e.into()))?;
            let Reference::Remote(remote) = reference else { return Ok(()) };
            let loaded = self.fetch_action(index, uses, &remote).await?;
            self.adopt(index, path, loaded).await
        })
    }

    /// Puts an action in its place, and fetches what it uses.
    async fn adopt(&self, index: u16, path: String, loaded: Arc<Loaded>) -> Result<(), Stopped> {
        if path.split('/').count() > MAX_DEPTH {
            let message = format!(
                "the action '{}' is used more than {MAX_DEPTH} levels deep: does it use itself?",
                loaded.uses
            );
            return Err(Box::new(Outcome::failure(Reason::BadSpecification, message)));
        }
        self.actions.memory().loaded.insert(path.clone(), loaded.clone());
        if let Runs::Composite { steps } = &loaded.manifest.runs {
            for (at, step) in steps.iter().enumerate() {
                if let Some(uses) = uses_of(step) {
                    self.prepare_tree(index, format!("{path}/{at}"), uses).await?;
                }
            }
        }
        Ok(())
    }

    async fn fetch_action(
        &self,
        index: u16,
        uses: &str,
        remote: &RemoteReference,
    ) -> Result<Arc<Loaded>, Stopped> {
        let key = remote.to_string();
        if let Some(known) = self.actions.memory().fetched.get(&key) {
            return Ok(known.clone());
        }
        let fetched = tokio::select! {
            biased;
            () = self.kill.cancelled() => return Err(cancelled()),
            () = self.cancel.cancelled() => return Err(cancelled()),
            () = self.job_timeout() => {
                let message = format!("fetching the action '{uses}' took longer than the job may take");
                let failure = Outcome::failure(Reason::Timeout, message);
                return Err(Box::new(Outcome { conclusion: Conclusion::TimedOut, ..failure }));
            }
            fetched = self.actions.cache.fetch(remote) => fetched.map_err(|e| stopped(&e))?,
        };
        let repository = format!("{}@{}", remote.repository(), remote.git_ref);
        let verb = if fetched.cached { "Use cached" } else { "Download" };
        let line = format!("{verb} action repository '{repository}' (SHA:{})", fetched.sha);
        if self.actions.memory().told.insert(repository) {
            self.log.say(index, &line).await;
        }
        let source = fetched.clone();
        let manifest = load(move || source.manifest()).await?;
        let place = ActionPlace {
            path: self.cell.inside(&fetched.dir),
            repository: Some(remote.repository()),
            git_ref: Some(remote.git_ref.clone()),
        };
        let loaded = Arc::new(Loaded {
            uses: uses.to_owned(),
            dir: fetched.dir.clone(),
            fetched: Some(fetched),
            manifest,
            place: Arc::new(place),
        });
        self.actions.memory().fetched.insert(key, loaded.clone());
        Ok(loaded)
    }

    /// Reads an action of the workspace, and fetches what it uses.
    pub(super) async fn load_local(
        &self,
        index: u16,
        path: &str,
        uses: &str,
        directory: &str,
    ) -> Result<Arc<Loaded>, Stopped> {
        let dir = self.workspace.workspace.join(directory.trim_start_matches("./"));
        if self.is_fenced() && dir.exists() {
            // The runner reads the manifest, and the job may not choose where.
            self.real_within_workspace(&dir)
                .map_err(|message| Box::new(Outcome::failure(Reason::BadSpecification, message)))?;
        }
        let source = dir.clone();
        let manifest = load(move || Manifest::load(&source)).await.map_err(|mut e| {
            if !dir.is_dir()
                && let Some(message) = &mut e.message
            {
                message.push_str("; has a step before this one checked out the repository?");
            }
            e
        })?;
        let place = ActionPlace { path: self.cell.inside(&dir), repository: None, git_ref: None };
        let loaded =
            Arc::new(Loaded { uses: uses.to_owned(), dir, fetched: None, manifest, place: Arc::new(place) });
        self.adopt(index, path.to_owned(), loaded.clone()).await?;
        Ok(loaded)
    }
}

async fn load(
    read: impl FnOnce() -> Result<Manifest, ActionError> + Send + 'static,
) -> Result<Manifest, Stopped> {
    match tokio::task::spawn_blocking(read).await {
        Ok(manifest) => manifest.map_err(|e| stopped(&e)),
        Err(e) => {
            let message = format!("reading the action was cut short: {e}");
            Err(Box::new(Outcome::failure(Reason::SetUpFailed, message)))
        }
    }
}

fn cancelled() -> Stopped {
    Box::new(Outcome { reason: Some(Reason::Cancelled), ..Outcome::plain(Conclusion::Cancelled) })
}

fn stopped(error: &ActionError) -> Stopped {
    let reason = match error.kind() {
        ActionErrorKind::Unreachable | ActionErrorKind::Io | ActionErrorKind::Timeout => Reason::SetUpFailed,
        _ => Reason::BadSpecification,
    };
    Box::new(Outcome::failure(reason, error.message()))
}
