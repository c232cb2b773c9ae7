//! `jobs.<id>.uses`: a reusable workflow, what it is given, and where it is.
//! The called document itself is not looked at here.

use super::allowed;
use super::value::{Dynamic, Text};
use crate::source::{Report, clip};
use crate::yaml::{Entry, Kind, Node};
use indexmap::IndexMap;

/// A call as written.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) uses: Text,
    pub(crate) reference: Reference,
    pub(crate) with: IndexMap<String, Given>,
    pub(crate) secrets: PassedSecrets,
    /// Where the `with` and `secrets` of the call are, for what is missing there.
    pub(crate) at: usize,
}

/// One value under `with`.
#[derive(Debug)]
pub(crate) struct Given {
    /// Where its name stands.
    pub(crate) at: usize,
    pub(crate) value: Dynamic,
}

/// `secrets` of a call.
#[derive(Debug, Default)]
pub(crate) enum PassedSecrets {
    #[default]
    None,
    Inherit,
    /// Templates with the places of their names.
    Map(IndexMap<String, (usize, Text)>),
}

/// Where a called workflow is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A path in the repository of the caller.
    Local(String),
    /// A path in another repository, at a ref.
    Remote { repository: String, path: String, git_ref: String },
}

impl Reference {
    /// Reads `./path`, `$/path` or `OWNER/REPO/path@ref`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let clean = |path: &str| !path.is_empty() && path.split('/').all(|s| !matches!(s, "" | "." | ".."));
        if let Some(path) = text.strip_prefix("./").or_else(|| text.strip_prefix("$/")) {
            return (clean(path) && !path.contains('@')).then(|| Self::Local(path.to_owned()));
        }
        let (place, git_ref) = text.split_once('@')?;
        let mut parts = place.splitn(3, '/');
        let (owner, repository, path) = (parts.next()?, parts.next()?, parts.next()?);
        let good = clean(owner) && clean(repository) && clean(path) && !git_ref.is_empty();
        (good && !git_ref.contains('@')).then(|| Self::Remote {
            repository: format!("{owner}/{repository}"),
            path: path.to_owned(),
            git_ref: git_ref.to_owned(),
        })
    }

    /// The same, seen from the main document: what is local to a document of another repository is there.
    pub(crate) fn within(&self, base: Option<&Self>) -> Self {
        match (self, base) {
            (Self::Local(path), Some(Self::Remote { repository, git_ref, .. })) => {
                Self::Remote { repository: repository.clone(), path: path.clone(), git_ref: git_ref.clone() }
            }
            _ => self.clone(),
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => write!(f, "./{path}"),
            Self::Remote { repository, path, git_ref } => write!(f, "{repository}/{path}@{git_ref}"),
        }
    }
}

impl Report<'_> {
    pub(super) fn call(
        &mut self,
        node: &Node,
        with: Option<&Entry>,
        secrets: Option<&Entry>,
    ) -> Option<Call> {
        let uses = self.non_empty(node, None)?;
        let given = self.call_inputs(with);
        let secrets = self.call_secrets(secrets);
        let Some(reference) = Reference::parse(&uses.raw) else {
            let message = format!(
                "Expected format {{org}}/{{repo}}/path@ref or ./path. Actual '{}'",
                clip(&uses.raw, 200)
            );
            self.error(node.start, "uses", message);
            return None;
        };
        self.note_unpinned(node.start, &uses.raw);
        Some(Call { at: node.start, uses, reference, with: given, secrets })
    }

    fn call_inputs(&mut self, with: Option<&Entry>) -> IndexMap<String, Given> {
        let mut given = IndexMap::new();
        let Some(entry) = with else { return given };
        for input in self.mapping(&entry.value, "a mapping of inputs").unwrap_or_default() {
            if !matches!(input.value.kind, Kind::Scalar(_)) {
                self.unexpected(&input.value, "a string, a number or a boolean");
                continue;
            }
            if let Some(value) = self.dynamic(&input.value, Some(&allowed::LEG)) {
                given.insert(input.name().to_owned(), Given { at: input.key.start, value });
            }
        }
        given
    }

    fn call_secrets(&mut self, secrets: Option<&Entry>) -> PassedSecrets {
        let Some(entry) = secrets else { return PassedSecrets::None };
        if entry.value.as_scalar().is_some_and(|s| s.text == "inherit") {
            return PassedSecrets::Inherit;
        }
        let mut map = IndexMap::new();
        for secret in self.mapping(&entry.value, "'inherit' or a mapping of secrets").unwrap_or_default() {
            if let Some(text) = self.text(&secret.value, Some(&allowed::LEG_AND_SECRETS)) {
                map.insert(secret.name().to_owned(), (secret.key.start, text));
            }
        }
        PassedSecrets::Map(map)
    }
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn references_in_all_forms() {
        for good in
            ["./.github/workflows/a.yml", "octo/tools/.github/workflows/a.yml@v1", "o/r/a@refs/heads/x"]
        {
            assert_eq!(Reference::parse(good).unwrap().to_string(), good);
        }
        for bad in
            ["", "./", "./../a.yml", "./a.yml@v1", "o/r@v1", "o/r/a", "o/r/../a@v1", "a.yml", "o//a@v1"]
        {
            assert_eq!(Reference::parse(bad), None, "{bad}");
        }
        let base = Reference::parse("octo/tools/a.yml@v1");
        let inner = Reference::parse("./b.yml").unwrap().within(base.as_ref());
        assert_eq!(inner.to_string(), "octo/tools/b.yml@v1");
    }
}
