//! `permissions`: the scopes of a job's token and their levels. What a called
//! workflow may have at most is decided here too; who checks a token is not.

use crate::source::Report;
use crate::yaml::{Kind, Node};
use indexmap::IndexMap;

/// Levels by scope. A scope that is not named is `none`.
pub(crate) type Permissions = IndexMap<String, String>;

const READ_WRITE: &[&str] = &["read", "write", "none"];
/// Scopes of a token and their levels.
const SCOPES: &[(&str, &[&str])] = &[
    ("actions", READ_WRITE),
    ("artifact-metadata", READ_WRITE),
    ("attestations", READ_WRITE),
    ("checks", READ_WRITE),
    ("code-quality", READ_WRITE),
    ("contents", READ_WRITE),
    ("copilot-requests", &["write", "none"]),
    ("deployments", READ_WRITE),
    ("discussions", READ_WRITE),
    ("drives", READ_WRITE),
    ("id-token", &["write", "none"]),
    ("issues", READ_WRITE),
    ("models", &["read", "none"]),
    ("packages", READ_WRITE),
    ("pages", READ_WRITE),
    ("pull-requests", READ_WRITE),
    ("repository-projects", READ_WRITE),
    ("security-events", READ_WRITE),
    ("statuses", READ_WRITE),
    ("vulnerability-alerts", &["read", "none"]),
];

impl Report<'_> {
    /// `read-all`, `write-all`, or a mapping of scopes; naming any sets the others to none.
    pub(super) fn permissions(&mut self, node: &Node) -> Option<Permissions> {
        let Kind::Mapping(entries) = &node.kind else {
            let wanted = match self.one_of(node, &["read-all", "write-all"])?.as_str() {
                "read-all" => "read",
                _ => "write",
            };
            let highest = |levels: &[&str]| match wanted {
                "write" if !levels.contains(&"write") => "read".to_owned(),
                wanted => wanted.to_owned(),
            };
            let given = SCOPES.iter().filter(|(_, levels)| wanted == "write" || levels.contains(&wanted));
            return Some(given.map(|(scope, levels)| ((*scope).to_owned(), highest(levels))).collect());
        };
        let known: Vec<&str> = SCOPES.iter().map(|(scope, _)| *scope).collect();
        let mut permissions = Permissions::new();
        for entry in entries.iter() {
            match SCOPES.iter().find(|(scope, _)| *scope == entry.name()) {
                Some((scope, levels)) => {
                    let level = self.one_of(&entry.value, levels);
                    permissions.extend(level.map(|level| ((*scope).to_owned(), level)));
                }
                None => self.unknown_key(entry, &known, "'permissions'"),
            }
        }
        Some(permissions)
    }
}

fn rank(level: Option<&String>) -> u8 {
    match level.map(String::as_str) {
        Some("write") => 2,
        Some("read") => 1,
        _ => 0,
    }
}

/// What is asked for beyond what is allowed, as `scope: level` with the level allowed.
pub(crate) fn excess<'a>(
    asked: &'a Permissions,
    allowed: &Permissions,
) -> impl Iterator<Item = (&'a str, &'a str, &'static str)> {
    asked.iter().filter_map(|(scope, level)| {
        let most = rank(allowed.get(scope));
        let word = ["none", "read", "write"][usize::from(most)];
        (rank(Some(level)) > most).then_some((scope.as_str(), level.as_str(), word))
    })
}

/// What is in force of `own` under a caller that has `caller`: never more than either.
pub(crate) fn reduced(own: Option<&Permissions>, caller: Option<&Permissions>) -> Option<Permissions> {
    let (Some(own), Some(caller)) = (own, caller) else { return own.or(caller).cloned() };
    let lower = |(scope, level): (&String, &String)| {
        let most = caller.get(scope);
        let level = if rank(Some(level)) <= rank(most) { Some(level) } else { most };
        Some((scope.clone(), level?.clone()))
    };
    Some(own.iter().filter_map(lower).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Permissions {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_called_workflow_can_only_have_less() {
        let caller = map(&[("contents", "read"), ("issues", "write")]);
        let own = map(&[("contents", "write"), ("issues", "read"), ("packages", "write")]);
        let expected = map(&[("contents", "read"), ("issues", "read")]);
        assert_eq!(reduced(Some(&own), Some(&caller)), Some(expected));
        assert_eq!(reduced(None, Some(&caller)), Some(caller.clone()));
        assert_eq!(reduced(Some(&own), None), Some(own.clone()));
        let beyond: Vec<_> = excess(&own, &caller).collect();
        assert_eq!(beyond, [("contents", "write", "read"), ("packages", "write", "none")]);
    }
}
