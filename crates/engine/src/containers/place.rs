//! Where a job runs: in its container, in the root of its image under a
//! stronger boundary, or as the runner runs jobs without one; and the services
//! beside it. All of it happens before the first step, in a line of the list of
//! steps of its own if there are containers. Nothing of the job has run then.

use super::mounts;
use crate::attempt::Attempt;
use crate::fence::Fence;
use crate::frame::Frame;
use crate::outcome::{Outcome, driver_message, driver_reason};
use crate::reports::Entry;
use crate::scope::Spot;
use fleetfoot_driver::containers::{Container, Credentials, Group, ImageSource, Service};
use fleetfoot_driver::{Cell, CellRequest, DriverError, Root};
use fleetfoot_expr::{Object, Value};
use fleetfoot_model::boundary::Boundary;
use fleetfoot_model::spec::ContainerSpec;
use fleetfoot_model::state::{Conclusion, Reason};
use futures_util::future::try_join_all;
use indexmap::IndexMap;
use std::path::Path;
use std::sync::Arc;

/// Where a job runs.
pub(crate) struct Placed {
    pub(crate) cell: Box<dyn Cell>,
    /// The variables that its image and its container set, if it sees the file system of an image.
    pub(crate) image_env: Option<Vec<(String, String)>>,
    /// `job.container` and `job.services`.
    pub(crate) job: Object,
}

/// A container of the job, evaluated.
pub(crate) struct Wanted {
    /// `container`, or `services.NAME`, for messages.
    key: String,
    /// Of the service; empty for the container of the job.
    name: String,
    source: ImageSource,
    reference: String,
    env: IndexMap<String, String>,
    ports: Vec<String>,
    volumes: Vec<String>,
    options: String,
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
}

/// The containers that a job asks for.
#[derive(Default)]
pub(crate) struct Asked {
    job: Option<Wanted>,
    services: Vec<Wanted>,
}

impl Asked {
    pub(crate) fn is_empty(&self) -> bool {
        self.job.is_none() && self.services.is_empty()
    }
}

impl Attempt<'_> {
    /// Which containers the job asks for; an empty image asks for none.
    pub(crate) fn asked(&self, fence: &Fence, frame: &Frame) -> Result<Asked, Box<Outcome>> {
        let spec = &self.assignment.spec;
        let read = |key: &str, name: &str, container: &ContainerSpec| {
            self.wanted(key, name, container, frame)
                .map_err(|message| Box::new(Outcome::failure(Reason::BadSpecification, message)))
        };
        let mut asked = Asked::default();
        if let Some(container) = &spec.container {
            asked.job = read("container", "", container)?;
        }
        if let (None, Some(image)) = (&asked.job, &fence.image) {
            let plain = ContainerSpec { image: literal(image), ..ContainerSpec::default() };
            asked.job = read("the container that this runner demands", "", &plain)?;
        }
        for (name, container) in &spec.services {
            asked.services.extend(read(&format!("services.{name}"), name, container)?);
        }
        Ok(asked)
    }

    fn wanted(
        &self,
        key: &str,
        name: &str,
        written: &ContainerSpec,
        frame: &Frame,
    ) -> Result<Option<Wanted>, String> {
        let spot = Spot::default();
        let scope = self.scope(frame, &frame.env, &spot);
        let text = |field: &str, template: &str| {
            self.text(template, &scope).map_err(|e| format!("{key}.{field}: {e}"))
        };
        let image = text("image", &written.image)?;
        let image = image.trim();
        let image = image.strip_prefix("docker://").unwrap_or(image);
        if image.is_empty() {
            return Ok(None);
        }
        let list = |field: &str, templates: &[String]| -> Result<Vec<String>, String> {
            templates.iter().map(|template| text(field, template)).collect()
        };
        let words = |field: &str, template: &Option<String>| -> Result<Option<Vec<String>>, String> {
            let Some(template) = template else { return Ok(None) };
            let line = text(field, template)?;
            let words = shlex::split(&line).ok_or_else(|| format!("{key}.{field}: a quote is not closed"))?;
            Ok((!words.is_empty()).then_some(words))
        };
        let credential = |field: &str, template: &Option<String>| {
            template.as_deref().map_or_else(|| Ok(String::new()), |t| text(field, t))
        };
        let username = credential("credentials.username", &written.username)?;
        let password = credential("credentials.password", &written.password)?;
        if !password.is_empty() {
            self.log.masker.add(&password);
        }
        let credentials =
            (!username.is_empty() || !password.is_empty()).then_some(Credentials { username, password });
        let mut env = IndexMap::with_capacity(written.env.len());
        for (variable, template) in &written.env {
            env.insert(variable.clone(), text(&format!("env.{variable}"), template)?);
        }
        Ok(Some(Wanted {
            key: key.to_owned(),
            name: name.to_owned(),
            source: ImageSource::Reference { reference: image.to_owned(), credentials },
            reference: image.to_owned(),
            env,
            ports: list("ports", &written.ports)?,
            volumes: list("volumes", &written.volumes)?,
            options: written.options.as_deref().map_or_else(|| Ok(String::new()), |o| text("options", o))?,
            entrypoint: words("entrypoint", &written.entrypoint)?,
            command: words("command", &written.command)?,
        }))
    }

    /// Makes the place where the job runs. `request` is for a boundary without an image.
    pub(crate) async fn place(
        &self,
        fence: &Fence,
        asked: Asked,
        request: CellRequest,
        node: Option<&Path>,
    ) -> Result<Placed, Box<Outcome>> {
        if asked.is_empty() {
            let cell = self.without_image(fence, request).await?;
            return Ok(Placed { cell, image_env: None, job: Object::new() });
        }
        self.publish();
        let index = self.begin(Entry::Containers, None);
        let work = self.place_containers(index, fence, asked, request, node);
        let (placed, outcome) = match Box::pin(work).await {
            Ok(placed) => (Some(placed), Outcome::plain(Conclusion::Success)),
            Err(outcome) => (None, *outcome),
        };
        let name = self.reports().name(Entry::Containers);
        let mut done = self.finish(Entry::Containers, "", &name, false, outcome).await;
        placed.ok_or_else(|| {
            done.outcome.message = done.outcome.message.map(|m| format!("step '{name}': {m}"));
            Box::new(done.outcome)
        })
    }

    async fn without_image(
        &self,
        fence: &Fence,
        request: CellRequest,
    ) -> Result<Box<dyn Cell>, Box<Outcome>> {
        fence.driver.prepare(request).await.map_err(|e| {
            let message = format!("cannot prepare the boundary: {}", driver_message(&e));
            Box::new(Outcome::failure(driver_reason(&e), message))
        })
    }

    async fn place_containers(
        &self,
        index: u16,
        fence: &Fence,
        asked: Asked,
        request: CellRequest,
        node: Option<&Path>,
    ) -> Result<Placed, Box<Outcome>> {
        let leash = self.leash();
        let what = asked.job.iter().chain(&asked.services).next().map_or("", |w| w.key.as_str());
        let group = self.bounded(&leash, self.containers.group(&format!("'{what}'"))).await?;
        let mut services = Vec::new();
        for wanted in &asked.services {
            let container = self.pulled(index, group, wanted).await?;
            services.push(self.bounded(&leash, group.service(&wanted.name, container)).await?);
        }
        let (cell, image_env) = match &asked.job {
            None => (self.without_image(fence, request).await?, None),
            Some(wanted) => {
                let container = self.pulled(index, group, wanted).await?;
                let mut env = container.image.env.clone();
                env.extend(container.env.clone());
                let cell = if fence.driver.boundary() > Boundary::Container {
                    self.in_root(index, fence, group, wanted, container, request, node).await?
                } else {
                    self.bounded(&leash, group.cell(container)).await?
                };
                (cell, Some(env))
            }
        };
        let in_group = asked.job.is_some() && fence.driver.boundary() <= Boundary::Container;
        let ready = self.ready(index, group, &services, (!in_group).then_some(&*cell));
        if let Err(outcome) = ready.await {
            cell.kill_all().await;
            let _ = cell.tear_down().await;
            return Err(outcome);
        }
        let network = group.network();
        let mut job = Object::new();
        if in_group {
            let id = cell.id().unwrap_or_default();
            let container: Object =
                [("id", Value::from(id.as_str())), ("network", Value::from(network.as_str()))]
                    .into_iter()
                    .collect();
            job.insert("container", container);
        }
        job.insert("services", described(&services, &network));
        Ok(Placed { cell, image_env, job })
    }

    /// The image of a container, and what it is started with.
    async fn pulled(
        &self,
        index: u16,
        group: &Arc<dyn Group>,
        wanted: &Wanted,
    ) -> Result<Container, Box<Outcome>> {
        // The same image for other credentials is not the same: they may not open it.
        let key = format!("{} {:?}", wanted.reference, wanted.source);
        let image = self.containers.image(group, (&self.log, index), &key, &wanted.source);
        let image = self.bounded(&self.leash(), image).await.map_err(|mut outcome| {
            outcome.message =
                outcome.message.map(|m| format!("{}: the image '{}': {m}", wanted.key, wanted.reference));
            outcome
        })?;
        Ok(Container {
            image,
            env: wanted.env.clone(),
            ports: wanted.ports.clone(),
            volumes: wanted.volumes.clone(),
            options: wanted.options.clone(),
            entrypoint: wanted.entrypoint.clone(),
            command: wanted.command.clone(),
            mounts: Vec::new(),
            working_directory: None,
        })
    }

    /// The root of an image under a boundary that needs no container engine to run.
    #[expect(clippy::too_many_arguments, reason = "one call, and no two of them belong together")]
    async fn in_root(
        &self,
        index: u16,
        fence: &Fence,
        group: &Arc<dyn Group>,
        wanted: &Wanted,
        container: Container,
        request: CellRequest,
        node: Option<&Path>,
    ) -> Result<Box<dyn Cell>, Box<Outcome>> {
        let boundary = fence.driver.boundary();
        if !wanted.volumes.is_empty() {
            let message = format!("{}.volumes cannot be had in the boundary {boundary}", wanted.key);
            return Err(Box::new(Outcome::failure(Reason::BadSpecification, message)));
        }
        for (field, given) in [("options", !wanted.options.is_empty()), ("ports", !wanted.ports.is_empty())] {
            if given {
                let line =
                    format!("Warning: {}.{field} has no effect in the boundary {boundary}", wanted.key);
                self.log.say(index, &line).await;
            }
        }
        let image = container.image;
        let directory = self.bounded(&self.leash(), group.unpack(&image)).await?;
        let root = Root { directory, image: image.digest.clone().unwrap_or(image.id), env: image.env };
        let mounts = mounts(self.config, self.workspace, node, true);
        self.without_image(fence, CellRequest { root: Some(root), mounts, ..request }).await
    }

    /// Waits until all services are healthy; `beside` is the cell of a job that is not on their network.
    async fn ready(
        &self,
        index: u16,
        group: &Arc<dyn Group>,
        services: &[Service],
        beside: Option<&dyn Cell>,
    ) -> Result<(), Box<Outcome>> {
        let healthy = try_join_all(services.iter().map(|service| async move {
            group.wait_healthy(service).await.map_err(|e| DriverError {
                message: format!("the service '{}': {}", service.name, e.message),
                ..e
            })
        }));
        let waited = self.containers.progress.along(&self.log, index, healthy);
        self.bounded(&self.leash(), waited).await?;
        for service in services {
            for (port, host) in &service.ports {
                let line = format!(
                    "The service '{}' is ready: port {port} is port {host} of the machine",
                    service.name
                );
                self.log.say(index, &line).await;
                let Some(cell) = beside.filter(|_| !port.ends_with("/udp")) else { continue };
                self.bounded(&self.leash(), cell.reach(*host)).await?;
            }
        }
        Ok(())
    }
}

/// `job.services`.
fn described(services: &[Service], network: &str) -> Object {
    let mut described = Object::new();
    for service in services {
        let ports: Object =
            service.ports.iter().map(|(port, host)| (port.as_str(), Value::from(host.to_string()))).collect();
        let entry: Object = [
            ("id", Value::from(service.id.as_str())),
            ("network", Value::from(network)),
            ("ports", Value::from(ports)),
        ]
        .into_iter()
        .collect();
        described.insert(service.name.as_str(), entry);
    }
    described
}

/// Text that no template changes.
fn literal(text: &str) -> String {
    text.replace("${{", "${{ '${{' }}")
}
