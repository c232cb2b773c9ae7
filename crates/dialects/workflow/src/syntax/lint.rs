//! Traps that are no errors: conditions that are always true, values that
//! strangers can choose inside of scripts, their code where secrets are, and
//! commands that are going away. None of it makes a document unusable.

use super::places;
use super::value::Text;
use crate::source::{Report, clip};
use crate::yaml::Node;

/// What a stranger can write, in lower case and dotted.
const UNTRUSTED: &[&str] = &[
    "github.event.issue.title",
    "github.event.issue.body",
    "github.event.pull_request.title",
    "github.event.pull_request.body",
    "github.event.pull_request.head.ref",
    "github.event.pull_request.head.label",
    "github.event.pull_request.head.repo.default_branch",
    "github.event.comment.body",
    "github.event.review.body",
    "github.event.review_comment.body",
    "github.event.discussion.title",
    "github.event.discussion.body",
    "github.event.head_commit.message",
    "github.event.head_commit.author.email",
    "github.event.head_commit.author.name",
    "github.event.workflow_run.head_branch",
    "github.event.workflow_run.head_commit.message",
    "github.event.workflow_run.head_commit.author.email",
    "github.event.workflow_run.head_commit.author.name",
    "github.event.commits.*.message",
    "github.event.commits.*.author.email",
    "github.event.commits.*.author.name",
    "github.event.pages.*.page_name",
    "github.event.pull_request.head.repo.description",
    "github.event.pull_request.head.repo.homepage",
    "github.event.head_commit.committer.email",
    "github.event.head_commit.committer.name",
    "github.event.commits.*.committer.email",
    "github.event.commits.*.committer.name",
    "github.event.workflow_run.display_title",
    "github.event.workflow_run.head_repository.description",
    "github.event.workflow_run.pull_requests.*.head.ref",
    "github.event.merge_group.head_commit.message",
    "github.event.answer.body",
    "github.head_ref",
];

/// What names the code of a stranger, where it is checked out.
const FOREIGN_CODE: &[&str] = &[
    "github.event.pull_request.head.sha",
    "github.event.pull_request.head.ref",
    "github.event.pull_request.head.repo.full_name",
    "github.event.pull_request.head.repo.clone_url",
    "github.event.pull_request.merge_commit_sha",
    "github.event.workflow_run.head_sha",
    "github.event.workflow_run.head_branch",
    "github.event.workflow_run.head_commit.id",
    "github.event.workflow_run.head_repository.full_name",
    "github.head_ref",
];
/// Events that strangers cause and that come with secrets.
pub(super) const PRIVILEGED: &[&str] = &["pull_request_target", "workflow_run"];

/// Commands that have become files, with the file.
const DEPRECATED: &[(&str, &str, &str)] = &[
    ("::set-output ", "set-output", "echo \"name=value\" >> \"$GITHUB_OUTPUT\""),
    ("::save-state ", "save-state", "echo \"name=value\" >> \"$GITHUB_STATE\""),
    ("::set-env ", "set-env", "echo \"name=value\" >> \"$GITHUB_ENV\""),
    ("::add-path::", "add-path", "echo \"path\" >> \"$GITHUB_PATH\""),
];

impl Report<'_> {
    /// A script that prints commands which runners take no more, or not for long.
    pub(super) fn warn_deprecated(&mut self, script: &Text) {
        if !script.raw.contains("::") || self.is_crowded() {
            return;
        }
        for (command, name, file) in DEPRECATED {
            let Some(offset) = script.raw.find(command) else { continue };
            let at = places::locate(self.source, script.start, script.end, &script.raw, offset);
            self.warning(at, "deprecated-command", format!("The command '{name}' is deprecated")).hint =
                Some(format!("Write to the file instead: {file}"));
        }
    }

    /// A checkout of what a stranger wrote, in a workflow that has secrets.
    pub(super) fn warn_foreign_code(&mut self, name: &str, value: &Text) {
        if !self.privileged || !matches!(name, "ref" | "repository") || self.is_crowded() {
            return;
        }
        let expressions = || value.template.iter().flat_map(|t| t.expressions());
        let foreign = value.raw.contains("refs/pull/")
            || expressions()
                .flat_map(|(_, expr)| expr.references())
                .any(|(path, _)| FOREIGN_CODE.contains(&path.as_str()));
        if foreign {
            let message = "The code of a stranger is checked out in a workflow that has secrets and a token that can write";
            self.warning(value.start, "untrusted-checkout", message).hint = Some(
                "Build it in a workflow for pull_request, and never run what is checked out here".to_owned(),
            );
        }
    }

    /// An action or workflow by a name that can move.
    pub(super) fn note_unpinned(&mut self, at: usize, uses: &str) {
        let Some((_, git_ref)) = uses.split_once('@').filter(|_| !uses.starts_with("docker://")) else {
            return;
        };
        if git_ref.len() == 40 && git_ref.bytes().all(|b| b.is_ascii_hexdigit()) {
            return;
        }
        let message = format!("'{}' is not pinned to a commit", clip(uses, 200));
        self.info(at, "unpinned", message, "Name the full SHA of a commit, with the version in a comment");
    }

    /// An `if` with text around its expression.
    pub(super) fn warn_always_true(&mut self, node: &Node) {
        let message = "The condition is always true: there is text around ${{ }}";
        self.warning(node.start, "if-always-true", message).hint =
            Some("Put the whole condition inside of ${{ }}, or leave the braces away; a block scalar needs |- instead of |".to_owned());
    }

    /// A script with a value in it that somebody outside can choose.
    pub(super) fn warn_untrusted(&mut self, script: &Text) {
        let Some(template) = script.template.as_ref().filter(|_| !self.is_crowded()) else { return };
        for (_, expr) in template.expressions() {
            if is_test(&expr.to_string().to_lowercase()) {
                continue;
            }
            let found = expr.references().into_iter().find(|(path, _)| UNTRUSTED.contains(&path.as_str()));
            let Some((path, offset)) = found else { continue };
            let at = places::locate(self.source, script.start, script.end, &script.raw, offset);
            let message =
                format!("'{path}' is chosen by whoever caused the event and becomes part of the script");
            self.warning(at, "script-injection", message).hint =
                Some("Pass it by 'env' and use the variable, quoted, in the script".to_owned());
        }
    }
}

/// Whether an expression gives a boolean, whatever it looks at: one comparison
/// or test that no `&&` or `||` follows, since those give their operands.
fn is_test(text: &str) -> bool {
    let test = ["contains(", "startswith(", "endswith(", "!"].iter().any(|t| text.starts_with(t));
    (test || text.contains(" == ") || text.contains(" != "))
        && !text.contains(" && ")
        && !text.contains(" || ")
}
