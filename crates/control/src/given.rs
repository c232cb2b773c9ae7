//! What a job is given beside its specification: stored variables and secrets,
//! by precedence. The narrower scope wins (environment over project over
//! global), and what came with the run wins over all. A run that nobody
//! trusts gets no stored secret. Every secret that leaves is in the access log
//! before it leaves.

use crate::Inner;
use crate::actor::store_problem;
use crate::sync::Unassignable;
use fleetfoot_model::Problem;
use fleetfoot_model::ids::{AttemptRef, RunId};
use fleetfoot_model::plan::RunParams;
use fleetfoot_model::projects::Scope;
use fleetfoot_model::spec::{Contexts, JobSpec};
use indexmap::IndexMap;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is known without a look into the store, so that whoever stores nothing pays nothing.
#[derive(Debug, Default)]
pub(crate) struct StoredHints {
    secrets: AtomicBool,
    variables: AtomicBool,
    projects: Mutex<HashSet<String>>,
}

impl StoredHints {
    pub(crate) fn secrets_exist(&self) {
        self.secrets.store(true, Ordering::Release);
    }

    pub(crate) fn variables_exist(&self) {
        self.variables.store(true, Ordering::Release);
    }

    /// Looks once, at start; of secrets, nothing but whether there is a key for them.
    pub(crate) async fn load(
        &self,
        vault: &crate::Vault,
        store: &dyn fleetfoot_store::Store,
    ) -> Result<(), Problem> {
        let fail = |e| store_problem(&e);
        self.secrets.store(vault.has_secrets(), Ordering::Release);
        self.variables.store(!store.variables(None).await.map_err(fail)?.is_empty(), Ordering::Release);
        let projects = store.projects().await.map_err(fail)?;
        self.projects.lock().extend(projects);
        Ok(())
    }
}

fn scopes(project: &str, environment: Option<&str>) -> Vec<Scope> {
    let mut scopes = vec![Scope::Global, Scope::Project(project.to_owned())];
    scopes.extend(environment.map(|environment| Scope::Environment {
        project: project.to_owned(),
        environment: environment.to_owned(),
    }));
    scopes
}

/// Puts a value in place of one whose name differs in case at most.
fn put<T>(all: &mut IndexMap<String, T>, name: &str, value: T) {
    match all.iter_mut().find(|(k, _)| k.eq_ignore_ascii_case(name)) {
        Some((_, slot)) => *slot = value,
        None => {
            all.insert(name.to_owned(), value);
        }
    }
}

impl Inner {
    /// Makes the project of a new run known.
    pub(crate) async fn ensure_project(&self, project: &str) -> Result<(), Problem> {
        if self.stored.projects.lock().contains(project) {
            return Ok(());
        }
        self.store.ensure_project(project, self.clock.wall()).await.map_err(|e| store_problem(&e))?;
        self.stored.projects.lock().insert(project.to_owned());
        Ok(())
    }

    /// The variables of a run: global ones, those of its project, those that came with it.
    pub(crate) async fn run_variables(
        &self,
        project: &str,
        own: &IndexMap<String, String>,
    ) -> Result<IndexMap<String, String>, Problem> {
        if !self.stored.variables.load(Ordering::Acquire) {
            return Ok(own.clone());
        }
        let mut all = IndexMap::new();
        for scope in scopes(project, None) {
            for row in self.store.variables(Some(&scope)).await.map_err(|e| store_problem(&e))? {
                put(&mut all, &row.name, row.value);
            }
        }
        for (name, value) in own {
            put(&mut all, name, value.clone());
        }
        Ok(all)
    }

    /// Adds the variables of the job's environment to the contexts of its run.
    pub(crate) async fn add_environment_variables(
        &self,
        project: &str,
        spec: &JobSpec,
        params: &RunParams,
        contexts: &mut Contexts,
    ) -> Result<(), Problem> {
        let Some(environment) =
            spec.environment.as_ref().filter(|_| self.stored.variables.load(Ordering::Acquire))
        else {
            return Ok(());
        };
        let scope = Scope::Environment { project: project.to_owned(), environment: environment.name.clone() };
        let rows = self.store.variables(Some(&scope)).await.map_err(|e| store_problem(&e))?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut vars: IndexMap<String, Value> = match contexts.get("vars") {
            Some(Value::Object(map)) => map.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            _ => IndexMap::new(),
        };
        for row in rows {
            if !params.vars.keys().any(|own| own.eq_ignore_ascii_case(&row.name)) {
                put(&mut vars, &row.name, Value::String(row.value));
            }
        }
        contexts.insert("vars".to_owned(), vars.into_iter().collect::<serde_json::Map<_, _>>().into());
        Ok(())
    }

    /// The secrets of an attempt: all that came with the run, and those stored ones that its
    /// specification can mention.
    pub(crate) async fn attempt_secrets(
        &self,
        attempt: AttemptRef,
        run: RunId,
        project: &str,
        spec: &JobSpec,
        params: &RunParams,
        own: IndexMap<String, String>,
    ) -> Result<IndexMap<String, String>, Unassignable> {
        let environment = spec.environment.as_ref().map(|e| e.name.as_str());
        let mut all: IndexMap<String, (&'static str, String)> = IndexMap::new();
        if !params.untrusted && self.stored.secrets.load(Ordering::Acquire) {
            let wanted = mentions(spec);
            // The last row of a name is of the narrowest scope; only that one is opened.
            let mut rows = IndexMap::new();
            for scope in scopes(project, environment) {
                if wanted.is_nothing() {
                    break;
                }
                for row in self.store.secrets(Some(&scope)).await.map_err(|e| store_problem(&e))? {
                    let theirs = own.keys().any(|name| name.eq_ignore_ascii_case(&row.name));
                    if wanted.includes(&row.name) && !theirs {
                        rows.insert(row.name.clone(), row);
                    }
                }
            }
            for (name, row) in rows {
                let value = self.vault.open_secret(&row.scope, &name, row.key, &row.sealed);
                all.insert(name, (row.scope.word(), value.map_err(|e| Unassignable::Never(e.to_string()))?));
            }
        }
        for (name, value) in own {
            all.insert(name, ("run", value));
        }
        if !all.is_empty() {
            let used = all.iter().map(|(name, (scope, _))| ((*scope).to_owned(), name.clone())).collect();
            let at = self.clock.wall();
            let logged = self.store.record_secret_uses(attempt, run, project, environment, used, at);
            logged.await.map_err(|e| store_problem(&e))?;
        }
        Ok(all.into_iter().map(|(name, (_, value))| (name, value)).collect())
    }
}

/// Which secrets a specification can mention.
#[derive(Debug, PartialEq)]
enum Mentions {
    /// `toJSON(secrets)`, `secrets[...]`: which ones is not known before it runs.
    All,
    /// `secrets.NAME`; in capitals.
    Named(HashSet<String>),
}

impl Mentions {
    fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(self, Self::Named(names) if names.is_empty())
    }
}

/// Reads the specification as text: the word `secrets` with a name after it is that secret, without
/// one it may be any. Words in comments and scripts can only make it more than needed.
fn mentions(spec: &JobSpec) -> Mentions {
    match serde_json::to_value(spec) {
        Ok(value) => {
            let mut names = HashSet::new();
            if collect(&value, &mut names) { Mentions::Named(names) } else { Mentions::All }
        }
        Err(_) => Mentions::All,
    }
}

/// Whether all mentions in these texts have a name.
fn collect(value: &Value, names: &mut HashSet<String>) -> bool {
    match value {
        Value::String(text) => scan(text, names),
        Value::Array(items) => items.iter().all(|v| collect(v, names)),
        Value::Object(map) => map.values().all(|v| collect(v, names)),
        _ => true,
    }
}

fn scan(text: &str, names: &mut HashSet<String>) -> bool {
    const WORD: &[u8] = b"secrets";
    let bytes = text.as_bytes();
    let part = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    for (at, window) in bytes.windows(WORD.len()).enumerate() {
        let begins = at == 0 || !part(bytes[at - 1]);
        let rest = &bytes[at + WORD.len()..];
        if !window.eq_ignore_ascii_case(WORD) || !begins || rest.first().is_some_and(|b| part(*b)) {
            continue;
        }
        let rest = rest.trim_ascii_start();
        let Some(name) = rest.strip_prefix(b".").map(<[u8]>::trim_ascii_start) else { return false };
        let end = name.iter().position(|b| !part(*b)).unwrap_or(name.len());
        if end == 0 {
            return false;
        }
        names.insert(String::from_utf8_lossy(&name[..end]).to_uppercase());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::spec::{SecretAccess, SecretLayer};

    fn of(text: &str) -> Mentions {
        let env = vec![IndexMap::from([("A".to_owned(), text.to_owned())])];
        mentions(&JobSpec { env, ..JobSpec::default() })
    }

    fn named(names: &[&str]) -> Mentions {
        Mentions::Named(names.iter().map(|n| (*n).to_owned()).collect())
    }

    #[test]
    fn only_what_is_mentioned_is_given() {
        assert_eq!(of("${{ secrets.TOKEN }}"), named(&["TOKEN"]));
        assert_eq!(of("${{ Secrets . token || SECRETS.B_2 }}"), named(&["TOKEN", "B_2"]));
        assert_eq!(of("${{ mysecrets.A }} a-secrets.B ${{ secretsX }}"), named(&[]));
        assert_eq!(of("nothing"), named(&[]));
        for all in
            ["${{ toJSON(secrets) }}", "${{ secrets['A'] }}", "${{ secrets.* }}", "${{ secrets [ 'A' ] }}"]
        {
            assert_eq!(of(all), Mentions::All, "{all}");
        }
    }

    #[test]
    fn what_a_call_passes_on_is_a_mention() {
        let values = IndexMap::from([("inner".to_owned(), "${{ secrets.OUTER }}".to_owned())]);
        let layer = SecretLayer { values, ..SecretLayer::default() };
        let spec = JobSpec { secrets: SecretAccess::Mapped(vec![layer]), ..JobSpec::default() };
        assert_eq!(mentions(&spec), named(&["OUTER"]));
    }

    #[test]
    fn names_differ_in_more_than_case() {
        let mut all = IndexMap::from([("Region".to_owned(), 1)]);
        put(&mut all, "REGION", 2);
        put(&mut all, "ZONE", 3);
        assert_eq!(all, IndexMap::from([("Region".to_owned(), 2), ("ZONE".to_owned(), 3)]));
    }
}
