//! From an event to commits: which one holds the workflow files, which ref the
//! run is about, what changed. All of it by the mirror.

use super::Trouble;
use fleetfoot_forge::mirror::{GitErrorKind, Mirror};
use fleetfoot_forge::{Change, Happening, Place};
use fleetfoot_model::event::ChangedPaths;
use fleetfoot_model::repos::ForgeKind;
use fleetfoot_store::RepositoryRow;
use std::time::Duration;

/// Looks for the merge of a pull request that a forge makes a moment after its webhook.
const MERGE_LOOKS: u32 = 3;
const MERGE_PAUSE: Duration = Duration::from_millis(700);

/// What a run is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    /// Full ref; empty if the event has none.
    pub(super) git_ref: String,
    /// Commit.
    pub(super) sha: String,
}

fn gone(what: &str) -> Trouble {
    Trouble { message: format!("the repository has no {what} (any more)"), passing: false, forge: false }
}

/// Finds and fetches the commit of an event.
pub(super) async fn locate(
    mirror: &Mirror,
    row: &RepositoryRow,
    event: &Happening,
) -> Result<Located, Trouble> {
    match &event.place {
        Place::Commit { git_ref, sha } => {
            mirror.ensure(sha, Some(git_ref)).await?;
            Ok(Located { git_ref: git_ref.clone(), sha: sha.clone() })
        }
        Place::Ref { git_ref } => tip(mirror, git_ref).await,
        Place::Base { branch, sha } => {
            let git_ref = format!("refs/heads/{branch}");
            match sha {
                Some(sha) => {
                    mirror.ensure(sha, Some(&git_ref)).await?;
                    Ok(Located { git_ref, sha: sha.clone() })
                }
                None => tip(mirror, &git_ref).await,
            }
        }
        Place::Pull { number, head } => pull(mirror, row, event, *number, head).await,
        Place::Default => default_branch(mirror, row).await,
    }
}

/// The tip of the default branch, fresh from the forge.
pub(super) async fn default_branch(mirror: &Mirror, row: &RepositoryRow) -> Result<Located, Trouble> {
    let branch = match &row.default_branch {
        Some(branch) => branch.clone(),
        None => {
            let refs = mirror.remote_refs().await?;
            refs.default_branch.ok_or_else(|| gone("default branch"))?
        }
    };
    tip(mirror, &format!("refs/heads/{branch}")).await
}

/// The tip of a ref, fresh from the forge.
pub(super) async fn tip(mirror: &Mirror, git_ref: &str) -> Result<Located, Trouble> {
    mirror.fetch(&[git_ref]).await?;
    let sha = mirror.resolve(git_ref).await?.ok_or_else(|| gone(git_ref))?;
    Ok(Located { git_ref: git_ref.to_owned(), sha })
}

/// The merge of a pull request where the forge makes one, else its head.
async fn pull(
    mirror: &Mirror,
    row: &RepositoryRow,
    event: &Happening,
    number: u64,
    head: &str,
) -> Result<Located, Trouble> {
    let (merge, head_ref) = match row.forge {
        ForgeKind::Github => (Some(format!("refs/pull/{number}/merge")), format!("refs/pull/{number}/head")),
        // These two make no merge.
        ForgeKind::Gitea | ForgeKind::Forgejo => (None, format!("refs/pull/{number}/head")),
        ForgeKind::Gitlab => (
            Some(format!("refs/merge-requests/{number}/merge")),
            format!("refs/merge-requests/{number}/head"),
        ),
    };
    let base = match &event.change {
        Change::Pull { base, .. } => Some(format!("refs/heads/{base}")),
        _ => None,
    };
    let open = event.action.as_deref() != Some("closed");
    let mut looks = if open { MERGE_LOOKS } else { 1 };
    if let Some(merge) = merge {
        while looks > 0 {
            looks -= 1;
            let refs: Vec<&str> = [Some(merge.as_str()), Some(head_ref.as_str()), base.as_deref()]
                .into_iter()
                .flatten()
                .collect();
            match mirror.fetch(&refs).await {
                Ok(()) => {
                    if let Some(sha) = mirror.resolve(&merge).await?
                        && mirror.commit(&sha).await?.0.iter().any(|parent| parent == head)
                    {
                        return Ok(Located { git_ref: merge, sha });
                    }
                }
                // No merge: it conflicts, or is not made yet.
                Err(e) if e.kind == GitErrorKind::Missing => {}
                Err(e) => return Err(e.into()),
            }
            if looks > 0 {
                tokio::time::sleep(MERGE_PAUSE).await;
            }
        }
    }
    if let Some(base) = &base {
        match mirror.fetch(&[base]).await {
            Ok(()) => {}
            Err(e) if e.kind == GitErrorKind::Missing => {}
            Err(e) => return Err(e.into()),
        }
    }
    mirror.ensure(head, Some(&head_ref)).await?;
    Ok(Located { git_ref: head_ref, sha: head.to_owned() })
}

/// The files that an event changed.
pub(super) async fn changed(
    mirror: &Mirror,
    row: &RepositoryRow,
    change: &Change,
) -> Result<ChangedPaths, Trouble> {
    let known = |paths| Ok(ChangedPaths::Listed(paths));
    match change {
        Change::None => Ok(ChangedPaths::Unknown),
        // Three dots: since they parted.
        Change::Pull { base, head } => {
            let base = format!("refs/heads/{base}");
            mirror.ensure(head, None).await?;
            match mirror.merge_base(&base, head).await? {
                Some(from) => known(mirror.changed(&from, head).await?),
                None => Ok(ChangedPaths::Unknown),
            }
        }
        // Two dots: from one tip to the other.
        Change::Push { before: Some(before), after, .. } => match mirror.ensure(before, None).await {
            Ok(()) => known(mirror.changed(before, after).await?),
            // What was force-pushed away may be gone: then there is nothing to compare with.
            Err(e) if e.kind == GitErrorKind::Missing => Ok(ChangedPaths::Unknown),
            Err(e) => Err(e.into()),
        },
        Change::Push { before: None, oldest, after } => {
            if let Some(oldest) = oldest
                && mirror.has(oldest).await?
            {
                return match mirror.commit(oldest).await?.0.first() {
                    Some(parent) => known(mirror.changed(parent, after).await?),
                    None => known(mirror.all_files(after).await?),
                };
            }
            let Some(branch) = &row.default_branch else { return Ok(ChangedPaths::Unknown) };
            match mirror.merge_base(&format!("refs/heads/{branch}"), after).await? {
                Some(from) if from != *after => known(mirror.changed(&from, after).await?),
                _ => Ok(ChangedPaths::Unknown),
            }
        }
    }
}

/// Whether a commit message asks for no runs.
pub(super) fn says_skip(message: &str) -> bool {
    let lower = message.to_lowercase();
    let words = ["[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]"];
    if words.iter().any(|w| lower.contains(w)) {
        return true;
    }
    // A trailer: in the last paragraph, which is not the first.
    lower.trim_end().rsplit_once("\n\n").is_some_and(|(_, last)| {
        last.lines().any(|l| matches!(l.trim(), "skip-checks: true" | "skip-checks:true"))
    })
}

#[cfg(test)]
mod tests {
    use super::says_skip;

    #[test]
    fn messages_that_skip() {
        for yes in [
            "x [skip ci]",
            "[CI SKIP] x",
            "a\n\n[no ci]",
            "x\n\nskip-checks: true\n",
            "x\n\ny\n\nskip-checks:true",
        ] {
            assert!(says_skip(yes), "{yes}");
        }
        for no in ["", "skip ci", "skip-checks: true", "x\nskip-checks: true", "[skip] [ci]"] {
            assert!(!says_skip(no), "{no}");
        }
    }
}
