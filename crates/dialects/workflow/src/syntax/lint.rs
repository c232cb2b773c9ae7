//! Traps that are no errors: conditions that are always true, and values that
//! strangers can choose inside of scripts.

use super::places;
use super::value::Text;
use crate::source::Report;
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
    "github.head_ref",
];

impl Report<'_> {
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
