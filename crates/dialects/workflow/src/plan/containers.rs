//! What `container`, `services` and `environment` of one leg come to, as far
//! as it is known before the job runs. The rest stays a template for the runner.

use super::evaluate::Evaluator;
use super::resolve::literal;
use crate::syntax::{Container, Containers, Env, Environment};
use fleetfoot_expr::Value;
use fleetfoot_model::diagnostic::Diagnostic;
use fleetfoot_model::spec::{ContainerSpec, EnvironmentUse};
use indexmap::IndexMap;

impl Evaluator<'_> {
    /// An environment whose name comes to nothing is none.
    pub(super) fn environment(&self, written: &Environment) -> Result<Option<EnvironmentUse>, Diagnostic> {
        let name = self.string(&written.name)?;
        Ok((!name.is_empty()).then(|| EnvironmentUse { name, url: written.url.clone() }))
    }

    /// `None` if the image comes to nothing: then there is no container.
    pub(super) fn container(&self, written: &Container) -> Result<Option<ContainerSpec>, Diagnostic> {
        let value = self.value(&written.known)?;
        let Some(mut spec) = self.known(written.known.start, &value)? else { return Ok(None) };
        match &written.env {
            Env::Map(map) => spec.env.extend(map.clone()),
            Env::Expression(text) => {
                let value = self.text(text)?;
                spec.env = self.names(text.start, &value)?;
            }
        }
        spec.username = written.username.clone().or(spec.username);
        spec.password = written.password.clone().or(spec.password);
        Ok(Some(spec))
    }

    /// Services without an image are left out.
    pub(super) fn services(
        &self,
        written: &Containers,
    ) -> Result<IndexMap<String, ContainerSpec>, Diagnostic> {
        let mut services = IndexMap::new();
        match written {
            Containers::Map(map) => {
                for (name, container) in map {
                    services.extend(self.container(container)?.map(|spec| (name.clone(), spec)));
                }
            }
            Containers::Expression(dynamic) => {
                let value = self.value(dynamic)?;
                if value == Value::Null {
                    return Ok(services);
                }
                let Some(object) = value.as_object() else {
                    return Err(self.unexpected(dynamic.start, &value, "a mapping of services"));
                };
                for (name, value) in object.iter() {
                    services.extend(self.known(dynamic.start, value)?.map(|spec| (name.to_owned(), spec)));
                }
            }
        }
        Ok(services)
    }

    /// A container of nothing but values: an image, or a mapping.
    fn known(&self, at: usize, value: &Value) -> Result<Option<ContainerSpec>, Diagnostic> {
        let text = |key: &str| {
            let value = value.get(key).filter(|v| **v != Value::Null)?;
            Some(literal(&value.to_display_string())).filter(|text| !text.is_empty())
        };
        let image = if value.is_primitive() {
            value.to_display_string()
        } else {
            value.get("image").map(Value::to_display_string).unwrap_or_default()
        };
        let image = image.strip_prefix("docker://").unwrap_or(&image);
        if image.is_empty() {
            return Ok(None);
        }
        let mut spec = ContainerSpec { image: literal(image), ..ContainerSpec::default() };
        if value.as_object().is_some() {
            spec.options = text("options");
            spec.entrypoint = text("entrypoint");
            spec.command = text("command");
            spec.ports = self.list(at, value.get("ports"))?;
            spec.volumes = self.list(at, value.get("volumes"))?;
            if let Some(env) = value.get("env").filter(|v| **v != Value::Null) {
                spec.env = self.names(at, env)?;
            }
            let credential =
                |key: &str| Some(literal(&value.get("credentials")?.get(key)?.to_display_string()));
            spec.username = credential("username");
            spec.password = credential("password");
        }
        Ok(Some(spec))
    }

    fn list(&self, at: usize, value: Option<&Value>) -> Result<Vec<String>, Diagnostic> {
        let Some(value) = value.filter(|v| **v != Value::Null) else { return Ok(Vec::new()) };
        let Some(items) = value.as_array() else { return Err(self.unexpected(at, value, "a list")) };
        Ok(items
            .iter()
            .map(|item| literal(&item.to_display_string()))
            .filter(|item| !item.is_empty())
            .collect())
    }

    fn names(&self, at: usize, value: &Value) -> Result<IndexMap<String, String>, Diagnostic> {
        let Some(object) = value.as_object() else {
            return Err(self.unexpected(at, value, "a mapping of names to values"));
        };
        Ok(object
            .iter()
            .map(|(name, value)| (name.to_owned(), literal(&value.to_display_string())))
            .collect())
    }
}
