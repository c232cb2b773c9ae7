//! Adding, showing, changing and removing repositories. Secrets go in sealed
//! and come out in one answer only: that of the add.

use super::Trouble;
use crate::actor::store_problem;
use crate::vault::random;
use crate::{Control, Permission, Principal};
use fleetfoot_forge::api::usual_api_url;
use fleetfoot_forge::mirror::{self, Mirror};
use fleetfoot_forge::webhook::hex_of;
use fleetfoot_model::repos::{
    AddRepository, AddedRepository, ForgeKind, ReportView, RepositoryView, ScheduleView, UpdateRepository,
};
use fleetfoot_model::{Code, Problem};
use fleetfoot_store::RepositoryRow;
use serde_json::json;

/// What the webhook's secret is sealed for.
pub(super) const WEBHOOK_SECRET: &str = "webhook secret of a repository";
/// What an access token is sealed for.
const ACCESS_TOKEN: &str = "access token of a repository";
/// Reports shown with a repository.
const SHOWN_REPORTS: usize = 20;
/// Shortest interval of polling, seconds.
const LEAST_POLL: u32 = 5;

impl Control {
    /// Adds a repository. Its forge is asked first, so that a mistake shows at once.
    ///
    /// # Errors
    /// `forbidden`, `bad_request`, `forge_unreachable`, `conflict` if the project has it already.
    pub async fn add_repository(
        &self,
        who: &Principal,
        request: AddRepository,
    ) -> Result<AddedRepository, Problem> {
        who.require(Permission::Administer)?;
        let mut row = row_of(&request)?;
        row.created_at = self.inner.clock.wall();
        let probe = Mirror::new(&self.inner.options.data_dir, row.url.as_str(), request.token.clone());
        let refs = probe.remote_refs().await.map_err(Trouble::from)?;
        row.default_branch = refs.default_branch;
        let secret = hex_of(&random::<32>().map_err(internal)?);
        row.webhook_secret = self.seal(WEBHOOK_SECRET, &secret)?;
        if let Some(token) = request.token.as_deref().filter(|t| !t.is_empty()) {
            row.token = Some(self.seal(ACCESS_TOKEN, token)?);
        }
        let added = self.inner.store.add_repository(row.clone()).await.map_err(|e| store_problem(&e))?;
        row.id = added.ok_or_else(|| {
            Problem::new(
                Code::Conflict,
                format!("project {} has the repository {} already", row.project, row.url),
            )
            .with_hint("`fleetfoot repo list` shows it; `fleetfoot repo update` changes it")
        })?;
        let subject = format!("repository:{}", row.id);
        let audit = self.audit_op(who, "repository.add", &subject, json!({ "url": row.url }));
        self.apply(vec![audit]).await?;
        // Fetched beside this answer: schedules are read then, and the first push finds a warm mirror.
        self.inner.triggers.polls.notify_one();
        self.made(row.id, &format!("scan:{}", row.created_at.0), super::process::SCAN, &json!({})).await?;
        let webhook_url = self.webhook_url(row.id);
        let mut webhook_error = None;
        if request.create_webhook {
            let created = async {
                let client = self.inner.forge_client()?;
                let remote = self.inner.remote_of(&row)?;
                client.create_webhook(&remote, &webhook_url, &secret).await.map_err(|e| Trouble {
                    message: e.message,
                    passing: false,
                    forge: true,
                })
            };
            webhook_error = created.await.err().map(|e| e.message);
        }
        Ok(AddedRepository {
            webhook_created: request.create_webhook && webhook_error.is_none(),
            repository: self.view(row),
            webhook_url,
            webhook_secret: secret,
            webhook_error,
        })
    }

    /// All repositories.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn repositories(&self, who: &Principal) -> Result<Vec<RepositoryView>, Problem> {
        who.require(Permission::Read)?;
        let rows = self.inner.store.repositories().await.map_err(|e| store_problem(&e))?;
        Ok(rows.into_iter().map(|row| self.view(row)).collect())
    }

    /// One repository with its schedules and reports.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn repository(&self, who: &Principal, id: u64) -> Result<RepositoryView, Problem> {
        who.require(Permission::Read)?;
        let mut view = self.view(self.repository_row(id).await?);
        let schedules = self.inner.store.schedules(Some(id)).await.map_err(|e| store_problem(&e))?;
        view.schedules = Some(
            schedules
                .into_iter()
                .map(|s| ScheduleView {
                    workflow: s.workflow,
                    cron: s.cron,
                    timezone: Some(s.timezone).filter(|z| !z.is_empty()),
                    next_at: s.next_at,
                    last_at: s.last_at,
                    note: s.note,
                })
                .collect(),
        );
        let reports = self.inner.store.reports(id, SHOWN_REPORTS).await.map_err(|e| store_problem(&e))?;
        view.reports = Some(
            reports
                .into_iter()
                .map(|r| ReportView {
                    run: r.run,
                    sha: r.sha,
                    context: r.context,
                    state: r.state,
                    sent: r.sent,
                    tries: r.tries,
                    next_try: r.next_try,
                    error: r.error,
                })
                .collect(),
        );
        Ok(view)
    }

    /// Changes a repository.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `bad_request`.
    pub async fn update_repository(
        &self,
        who: &Principal,
        id: u64,
        request: UpdateRepository,
    ) -> Result<RepositoryView, Problem> {
        who.require(Permission::Administer)?;
        let mut row = self.repository_row(id).await?;
        if let Some(token) = &request.token {
            row.token = if token.is_empty() { None } else { Some(self.seal(ACCESS_TOKEN, token)?) };
        }
        if let Some(poll) = request.poll_seconds {
            row.poll_seconds = poll_interval(Some(poll).filter(|p| *p > 0))?;
        }
        row.share_token = request.share_token.unwrap_or(row.share_token);
        row.project = request.project.unwrap_or(row.project);
        row.fork_approval = request.fork_approval.unwrap_or(row.fork_approval);
        if !self.inner.store.update_repository(row.clone()).await.map_err(|e| store_problem(&e))? {
            return Err(no_repository(id));
        }
        self.apply(vec![self.audit_op(who, "repository.update", &format!("repository:{id}"), json!({}))])
            .await?;
        self.inner.triggers.polls.notify_one();
        Ok(self.view(row))
    }

    /// Removes a repository: its deliveries, schedules and reports, not its runs.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn remove_repository(&self, who: &Principal, id: u64) -> Result<(), Problem> {
        who.require(Permission::Administer)?;
        if !self.inner.store.remove_repository(id).await.map_err(|e| store_problem(&e))? {
            return Err(no_repository(id));
        }
        let lock = self.inner.lock_of(id);
        let _nobody_reads = lock.lock().await;
        // What stays of it costs space and nothing else: its number never comes again.
        if let Err(e) = tokio::fs::remove_dir_all(mirror::directory(&self.inner.options.data_dir, id)).await {
            tracing::debug!(repository = id, error = %e, "no mirror was removed");
        }
        self.inner.triggers.mirrors.lock().remove(&id);
        self.apply(vec![self.audit_op(who, "repository.remove", &format!("repository:{id}"), json!({}))])
            .await
    }

    pub(super) async fn repository_row(&self, id: u64) -> Result<RepositoryRow, Problem> {
        let row = self.inner.store.repository(id).await.map_err(|e| store_problem(&e))?;
        row.ok_or_else(|| no_repository(id))
    }

    fn seal(&self, purpose: &str, text: &str) -> Result<Vec<u8>, Problem> {
        self.inner.vault.seal_text(purpose, text).map_err(internal)
    }

    fn webhook_url(&self, id: u64) -> String {
        format!("{}/hooks/{id}", self.inner.options.server_url.trim_end_matches('/'))
    }

    fn view(&self, row: RepositoryRow) -> RepositoryView {
        RepositoryView {
            webhook_url: self.webhook_url(row.id),
            id: row.id,
            forge: row.forge,
            name: row.name,
            url: row.url,
            api_url: row.api_url,
            web_url: row.web_url,
            project: row.project,
            default_branch: row.default_branch,
            has_token: row.token.is_some(),
            share_token: row.share_token,
            poll_seconds: row.poll_seconds,
            fork_approval: row.fork_approval,
            created_at: row.created_at,
            schedules: None,
            reports: None,
            error: row.error,
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn internal(error: crate::VaultError) -> Problem {
    Problem::new(Code::Internal, error.to_string())
}

fn no_repository(id: u64) -> Problem {
    Problem::new(Code::NotFound, format!("there is no repository {id}"))
        .with_hint("`fleetfoot repo list` shows them")
}

fn poll_interval(seconds: Option<u32>) -> Result<Option<u32>, Problem> {
    match seconds {
        Some(s) if s < LEAST_POLL => {
            // A forge that is asked all the time locks us out.
            let message = format!("a repository is polled every {LEAST_POLL} seconds at most");
            Err(Problem::new(Code::BadRequest, message))
        }
        other => Ok(other),
    }
}

fn row_of(request: &AddRepository) -> Result<RepositoryRow, Problem> {
    let bad = |message: String, hint: &str| Problem::new(Code::BadRequest, message).with_hint(hint);
    let url = request.url.trim();
    if let Some(problem) = mirror::problem_of_url(url) {
        return Err(bad(
            format!("'{}' cannot be fetched: {problem}", url.chars().take(200).collect::<String>()),
            "use an address like https://github.com/OWNER/NAME.git",
        ));
    }
    let (origin, path) = origin_and_path(url);
    let Some(forge) = request.forge.or_else(|| guessed(&origin)) else {
        return Err(bad(
            format!("what software runs at {url} does not show in its address"),
            "say it with --forge github, gitea, forgejo or gitlab",
        ));
    };
    let name = match &request.name {
        Some(name) => name.trim_matches('/').to_owned(),
        None => name_of(forge, &path, origin.is_empty()),
    };
    if name.is_empty() || !fleetfoot_forge::mirror::is_ref_name(&name) || !name.contains('/') {
        return Err(bad(format!("'{name}' is not OWNER/NAME"), "say it with --name OWNER/NAME"));
    }
    let api_url = match &request.api_url {
        Some(api) if api.starts_with("https://") || api.starts_with("http://") => {
            api.trim_end_matches('/').to_owned()
        }
        Some(api) => return Err(bad(format!("'{api}' is not an http address"), "see --api-url")),
        None if origin.is_empty() => String::new(),
        None => usual_api_url(forge, &origin),
    };
    let web_url = if origin.is_empty() { url.to_owned() } else { format!("{origin}/{name}") };
    Ok(RepositoryRow {
        id: 0,
        forge,
        name,
        url: url.to_owned(),
        api_url,
        web_url,
        project: request.project.clone().unwrap_or_else(|| "default".to_owned()),
        default_branch: None,
        webhook_secret: Vec::new(),
        token: None,
        share_token: request.share_token,
        poll_seconds: poll_interval(request.poll_seconds)?,
        fork_approval: request.fork_approval,
        refs: None,
        error: None,
        created_at: fleetfoot_model::Timestamp(0),
    })
}

/// `https://host` where a browser finds the repository, empty if nowhere; and its path.
fn origin_and_path(url: &str) -> (String, String) {
    if let Some((scheme, rest)) = url.split_once("://") {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = authority.rsplit('@').next().unwrap_or_default();
        return match scheme {
            "http" | "https" => (format!("{scheme}://{host}"), path.to_owned()),
            "file" => (String::new(), path.to_owned()),
            _ => (format!("https://{}", host.split(':').next().unwrap_or_default()), path.to_owned()),
        };
    }
    match url.split_once(':') {
        Some((host, path)) if !url.starts_with('/') => {
            let host = host.rsplit('@').next().unwrap_or_default();
            (format!("https://{host}"), path.to_owned())
        }
        _ => (String::new(), url.to_owned()),
    }
}

/// Well-known hosts, and hosts that are named after their software.
fn guessed(origin: &str) -> Option<ForgeKind> {
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let has = |word: &str| host.split(['.', '-', ':']).any(|part| part == word);
    match host {
        "codeberg.org" => Some(ForgeKind::Forgejo),
        _ if has("github") => Some(ForgeKind::Github),
        _ if has("gitlab") => Some(ForgeKind::Gitlab),
        _ if has("forgejo") => Some(ForgeKind::Forgejo),
        _ if has("gitea") => Some(ForgeKind::Gitea),
        _ => None,
    }
}

/// The end of a path: two parts, at a GitLab all of them, because its groups nest.
fn name_of(forge: ForgeKind, path: &str, local: bool) -> String {
    let path = path.trim_matches('/').trim_end_matches(".git");
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    if forge == ForgeKind::Gitlab && !local {
        return parts.join("/");
    }
    parts[parts.len().saturating_sub(2)..].join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(url: &str, forge: Option<ForgeKind>) -> Result<RepositoryRow, Problem> {
        row_of(&AddRepository { url: url.to_owned(), forge, ..AddRepository::default() })
    }

    #[test]
    fn addresses_tell_forge_name_and_api() {
        for (url, forge, name, api) in [
            ("https://github.com/o/r.git", ForgeKind::Github, "o/r", "https://api.github.com"),
            ("git@github.com:o/r.git", ForgeKind::Github, "o/r", "https://api.github.com"),
            ("https://codeberg.org/o/r", ForgeKind::Forgejo, "o/r", "https://codeberg.org/api/v1"),
            ("https://gitlab.com/g/s/r.git", ForgeKind::Gitlab, "g/s/r", "https://gitlab.com/api/v4"),
            (
                "ssh://git@gitea.example.org:2222/o/r",
                ForgeKind::Gitea,
                "o/r",
                "https://gitea.example.org/api/v1",
            ),
            ("http://gitea.local:3000/o/r", ForgeKind::Gitea, "o/r", "http://gitea.local:3000/api/v1"),
        ] {
            let row = row(url, None).unwrap();
            assert_eq!((row.forge, row.name.as_str(), row.api_url.as_str()), (forge, name, api), "{url}");
        }
        let local = row("/srv/git/o/r.git", Some(ForgeKind::Gitea)).unwrap();
        assert_eq!((local.name.as_str(), local.api_url.as_str()), ("o/r", ""));
        for bad in
            ["https://git.example.org/o/r", "https://token@github.com/o/r", "ext::sh", "https://github.com/r"]
        {
            assert_eq!(row(bad, None).unwrap_err().code, Code::BadRequest, "{bad}");
        }
    }
}
