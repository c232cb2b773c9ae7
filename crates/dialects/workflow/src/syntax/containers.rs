//! `environment`, `container` and `services` of a job, as written. What they
//! come to is evaluated in `plan`; nothing is started or looked up here.

use super::allowed;
use super::value::{Dynamic, Shape, Text};
use super::{Container, Containers, Env, Environment};
use crate::source::Report;
use crate::yaml::{Entry, Kind, Meaning, Node};

const CONTAINER_KEYS: &[&str] = &["image", "options", "env", "ports", "volumes", "credentials"];
const SERVICE_KEYS: &[&str] =
    &["image", "options", "env", "ports", "volumes", "credentials", "entrypoint", "command"];

impl Report<'_> {
    /// `environment`: a name, or a mapping.
    pub(super) fn environment(&mut self, entry: &Entry) -> Option<Environment> {
        let node = &entry.value;
        if !matches!(node.kind, Kind::Mapping(_)) {
            let name = self.text(node, Some(&allowed::LEG))?;
            return Some(Environment { name, url: None });
        }
        let fields = self.fields(node, &["name", "url", "deployment"], "'environment'")?;
        let url = fields.get("url").and_then(|n| self.text(n, Some(&allowed::ENVIRONMENT_URL)));
        if let Some(e) = fields.entry("deployment")
            && self.boolean(&e.value, &allowed::LEG).is_some()
        {
            self.not_enforced(
                e.key.start,
                "deployment",
                "No deployment is recorded at the forge, whatever it says",
            );
        }
        let Some(name) = fields.get("name") else {
            self.missing(node.start, "name");
            return None;
        };
        let name = self.text(name, Some(&allowed::LEG))?;
        Some(Environment { name, url: url.map(|t| t.raw) })
    }

    /// `container`: an image, or a mapping.
    pub(super) fn job_container(&mut self, node: &Node) -> Option<Container> {
        self.container(node, false)
    }

    /// `services`: containers by name, or one expression for all of them.
    pub(super) fn services(&mut self, node: &Node) -> Option<Containers> {
        if is_expression(node) {
            return self.dynamic(node, Some(&allowed::LEG)).map(Containers::Expression);
        }
        let mut services = indexmap::IndexMap::new();
        for entry in self.mapping(node, "a mapping of services")? {
            if let Some(container) = self.container(&entry.value, true) {
                services.insert(entry.name().to_owned(), container);
            }
        }
        Some(Containers::Map(services))
    }

    fn container(&mut self, node: &Node, service: bool) -> Option<Container> {
        let Kind::Mapping(_) = &node.kind else {
            let text = self.text(node, Some(&allowed::LEG))?;
            let image = text.raw.strip_prefix("docker://");
            if image.unwrap_or(&text.raw).is_empty() && (service || image.is_some()) {
                self.error(node.start, "unexpected-value", "Container image cannot be empty");
            }
            let known = self.dynamic(node, Some(&allowed::LEG))?;
            return Some(Container { known, env: Env::default(), username: None, password: None });
        };
        let fields = self.fields(node, if service { SERVICE_KEYS } else { CONTAINER_KEYS }, "a container")?;
        if fields.get("image").is_none() {
            self.missing(node.start, "image");
        }
        let mut known = Vec::new();
        for key in ["image", "options", "entrypoint", "command", "ports", "volumes"] {
            let Some(entry) = fields.entry(key) else { continue };
            let n = &entry.value;
            if !matches!(key, "ports" | "volumes") {
                self.text(n, Some(&allowed::LEG))?;
            } else if !is_expression(n) {
                for item in self.sequence(n, "a list").unwrap_or_default() {
                    self.non_empty(item, Some(&allowed::LEG));
                }
            }
            let name =
                Text { start: entry.key.start, end: entry.key.end, raw: key.to_owned(), template: None };
            known.push((name, self.dynamic(n, Some(&allowed::LEG))?));
        }
        let env = fields.get("env").map(|n| self.env(n, &allowed::RUNNER, true)).unwrap_or_default();
        let (username, password) = fields.get("credentials").map(|n| self.credentials(n)).unwrap_or_default();
        let known = Dynamic { start: node.start, shape: Shape::Mapping(known) };
        Some(Container { known, env, username, password })
    }

    fn credentials(&mut self, node: &Node) -> (Option<String>, Option<String>) {
        if is_expression(node) {
            self.error(
                node.start,
                "not-supported",
                "One expression for the whole mapping is not supported here",
            )
            .hint = Some("Write username and password, with an expression as each value".to_owned());
            return (None, None);
        }
        let Some(fields) = self.fields(node, &["username", "password"], "'credentials'") else {
            return (None, None);
        };
        let mut read = |key: &str| {
            let text = self.non_empty(fields.get(key)?, Some(&allowed::CREDENTIALS))?;
            Some(text.raw)
        };
        (read("username"), read("password"))
    }
}

fn is_expression(node: &Node) -> bool {
    node.as_scalar().is_some_and(|s| s.meaning == Meaning::Text && s.text.contains("${{"))
}
