//! A service, and the component it becomes.

use std::collections::BTreeMap;

use super::fields::{Field, Fields};
use super::not_taken::{Fate, KEYS};
use super::project::{Dependency, Project};
use super::{Importer, Wrong, read_dotenv, values};
use crate::model::Ulimit;
use crate::model::app::{EnvValue, Logging};
use crate::wire::app::{ComponentRequest, EnvRequest};

/// A service on its way to a component.
pub(super) struct Service<'s, 'i> {
    pub(super) importer: &'s mut Importer<'i>,
    pub(super) project: &'s Project,
    /// The service itself.
    pub(super) field: &'s Field,
    /// What is left of its keys.
    pub(super) fields: Fields,
    pub(super) component: ComponentRequest,
    name: &'s str,
}

impl<'s, 'i> Service<'s, 'i> {
    pub(super) fn new(
        importer: &'s mut Importer<'i>,
        project: &'s Project,
        name: &'s str,
        field: &'s Field,
        fields: Fields,
    ) -> Self {
        Self { importer, project, field, fields, component: ComponentRequest::default(), name }
    }

    /// The component. `mounted` says which service has a volume first.
    pub(super) fn component(
        mut self,
        dependencies: Vec<Dependency>,
        mounted: &mut BTreeMap<String, String>,
    ) -> Result<ComponentRequest, Wrong> {
        let ours = self.fields.take("x-paas");
        let build = self.image()?;
        self.program()?;
        self.environment()?;
        self.ports()?;
        self.volumes(mounted)?;
        self.secrets()?;
        self.configs()?;
        self.depends_on(dependencies)?;
        self.healthcheck()?;
        self.restart()?;
        self.deploy()?;
        self.sizes()?;
        self.stopping()?;
        self.docker_options()?;
        self.labels()?;
        self.networks()?;
        self.not_taken();
        if let Some(ours) = ours {
            self.component = super::overlay::lay_over(&self.component, ours)?;
        }
        if self.component.image.is_none() {
            let component = &self.project.components[self.name];
            return Err(match build {
                Some(build) => build.wrong(format!(
                    "nothing is built here: build and push the image, and name it with image: REGISTRY/NAME:TAG or --image {component}=…"
                )),
                None => self.field.wrong("has no image; name it with image: NAME:TAG"),
            });
        }
        Ok(self.component)
    }

    /// The text of a key.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Wrong> {
        self.fields.take(key).map(|field| field.text()).transpose()
    }

    fn flag(&mut self, key: &str) -> Result<bool, Wrong> {
        self.fields.take(key).map_or(Ok(false), |field| field.flag())
    }

    fn texts(&mut self, key: &str) -> Result<Vec<String>, Wrong> {
        self.fields.take(key).map_or(Ok(Vec::new()), Field::texts)
    }

    /// The image, and how it would be built.
    fn image(&mut self) -> Result<Option<Field>, Wrong> {
        let image = self.text("image")?;
        let given = self.importer.input.images.get(&self.project.components[self.name]);
        self.component.image = given.cloned().or(image);
        let build = self.fields.take("build");
        if let Some(build) = build.as_ref().filter(|_| self.component.image.is_some()) {
            self.importer.note(build, "nothing is built here; the image is taken as it is");
        }
        Ok(build)
    }

    fn program(&mut self) -> Result<(), Wrong> {
        let words = |field: Field| if field.is_list() { field.texts() } else { field.parsed(values::words) };
        if let Some(entrypoint) = self.fields.take("entrypoint") {
            let words = words(entrypoint)?;
            // Of nothing, Compose makes no entry point, also where the image has one.
            self.component.entrypoint = if words.is_empty() { vec![String::new()] } else { words };
        }
        if let Some(command) = self.fields.take("command") {
            self.component.command = words(command)?;
        }
        Ok(())
    }

    fn environment(&mut self) -> Result<(), Wrong> {
        if let Some(files) = self.fields.take("env_file") {
            let files = if files.is_list() { files.list()? } else { vec![files] };
            for file in files {
                for (name, value) in self.env_file(file)? {
                    self.component.env.insert(name, EnvRequest(EnvValue::Text(value)));
                }
            }
        }
        let Some(environment) = self.fields.take("environment") else { return Ok(()) };
        for (name, value, field) in environment.pairs()? {
            match value.or_else(|| (self.importer.input.variable)(&name)) {
                Some(value) => drop(self.component.env.insert(name, EnvRequest(EnvValue::Text(value)))),
                None => self.importer.note(&field, format!("{name} has no value where this runs, and is left out")),
            }
        }
        Ok(())
    }

    /// The variables in a file: its path, or `{path, required, format}`.
    fn env_file(&mut self, file: Field) -> Result<BTreeMap<String, String>, Wrong> {
        let (mut path, mut is_required) = (file.clone(), true);
        if file.is_map() {
            let mut fields = file.clone().fields()?;
            path = fields.take("path").ok_or_else(|| file.wrong("has no path"))?;
            is_required = fields.take("required").map_or(Ok(true), |required| required.flag())?;
            if let Some(format) = fields.take("format") {
                self.importer.refuse(&format, "each line is read as Compose does without it");
            }
            fields.end()?;
        }
        let name = path.text()?;
        let text = match (self.importer.input.other_file)(&name) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !is_required => return Ok(BTreeMap::new()),
            Err(error) => return Err(path.wrong(format!("cannot read {name}: {error}"))),
        };
        read_dotenv(&text, self.importer.input.variable).map_err(|wrong| path.wrong(format!("{name}, {wrong}")))
    }

    fn depends_on(&mut self, dependencies: Vec<Dependency>) -> Result<(), Wrong> {
        for Dependency { service, condition, is_required, field } in dependencies {
            let Some(component) = self.project.components.get(&service) else {
                match self.project.left_out.get(&service) {
                    _ if !is_required => continue,
                    Some(profiles) => {
                        let message =
                            format!("{service} is left out, since it has profiles; add --profile ({profiles})");
                        return Err(field.wrong(message));
                    }
                    None => return Err(field.wrong(format!("there is no service {service}"))),
                }
            };
            if condition == "service_completed_successfully" {
                self.component.depends_on.insert(component.clone());
                let instead = "before: {command: […]} under x-paas runs it once in each rollout";
                self.importer.note(&field, format!("is waited for when the application is first started; {instead}"));
            } else if !self.component.uses.contains(component) {
                // Where order matters in Compose, it is because the one talks to the other.
                self.component.uses.push(component.clone());
            }
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Wrong> {
        self.component.restart = self.text("restart")?;
        if self.component.restart.is_none() && self.project.completed.contains(self.name) {
            self.component.restart = Some("no".to_owned());
        }
        Ok(())
    }

    fn stopping(&mut self) -> Result<(), Wrong> {
        self.component.stop.signal = self.text("stop_signal")?;
        self.component.stop.grace = self.fields.take("stop_grace_period").map(|field| field.period()).transpose()?;
        Ok(())
    }

    fn docker_options(&mut self) -> Result<(), Wrong> {
        self.component.hostname = self.text("hostname")?;
        self.component.user = self.text("user")?;
        self.component.init = self.flag("init")?;
        self.component.read_only = self.flag("read_only")?;
        self.component.cap_add = self.texts("cap_add")?.into_iter().collect();
        self.component.cap_drop = self.texts("cap_drop")?.into_iter().collect();
        self.component.cpuset = self.text("cpuset")?;
        self.component.shm_size = self.fields.take("shm_size").map(|field| field.memory()).transpose()?;
        self.devices()?;
        self.extra_hosts()?;
        self.ulimits()?;
        self.logging()?;
        for (name, value, field) in self.fields.take("sysctls").map_or(Ok(Vec::new()), Field::pairs)? {
            let value = value.ok_or_else(|| field.wrong(format!("{name} has no value")))?;
            self.component.sysctls.insert(name, value);
        }
        Ok(())
    }

    fn devices(&mut self) -> Result<(), Wrong> {
        for device in self.fields.take("devices").map_or(Ok(Vec::new()), Field::list)? {
            if !device.is_map() {
                self.component.devices.insert(device.text()?);
                continue;
            }
            let mut fields = device.clone().fields()?;
            let source = fields.take("source").ok_or_else(|| device.wrong("has no source"))?.text()?;
            let mut text = source.clone();
            let permissions = fields.take("permissions").map(|field| field.text()).transpose()?;
            let target = fields.take("target").map(|field| field.text()).transpose()?;
            for part in [target.or_else(|| permissions.is_some().then_some(source)), permissions].into_iter().flatten()
            {
                text = format!("{text}:{part}");
            }
            fields.end()?;
            self.component.devices.insert(text);
        }
        Ok(())
    }

    /// `host=address`, `host:address`, or a map.
    fn extra_hosts(&mut self) -> Result<(), Wrong> {
        let Some(hosts) = self.fields.take("extra_hosts") else { return Ok(()) };
        let pairs = if hosts.is_list() {
            let pair = |part: Field| {
                let text = part.text()?;
                let pair = text.split_once('=').or_else(|| text.split_once(':'));
                let (host, address) = pair.ok_or_else(|| part.wrong(format!("must be HOST=ADDRESS, not {text:?}")))?;
                Ok((host.to_owned(), address.to_owned(), part))
            };
            hosts.list()?.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?
        } else {
            hosts.fields()?.rest().map(|(host, field)| Ok((host, field.text()?, field))).collect::<Result<_, _>>()?
        };
        for (host, address, field) in pairs {
            if self.component.extra_hosts.insert(host.clone(), address.trim_matches(['[', ']']).to_owned()).is_some() {
                self.importer.refuse(&field, format!("{host} has one address; the last one is taken"));
            }
        }
        Ok(())
    }

    fn ulimits(&mut self) -> Result<(), Wrong> {
        let Some(ulimits) = self.fields.take("ulimits") else { return Ok(()) };
        for (name, field) in ulimits.fields()?.rest() {
            let limit = if field.is_map() {
                let mut fields = field.clone().fields()?;
                let mut number = |key| fields.take(key).ok_or_else(|| field.wrong("needs soft and hard"))?.number();
                let limit = Ulimit { soft: number("soft")?, hard: number("hard")? };
                fields.end()?;
                limit
            } else {
                let number = field.number()?;
                Ulimit { soft: number, hard: number }
            };
            self.component.ulimits.insert(name, limit);
        }
        Ok(())
    }

    fn logging(&mut self) -> Result<(), Wrong> {
        let Some(logging) = self.fields.take("logging") else { return Ok(()) };
        let mut fields = logging.fields()?;
        let driver = fields.take("driver").map(|field| field.text()).transpose()?;
        let mut options = BTreeMap::new();
        for (name, value, field) in fields.take("options").map_or(Ok(Vec::new()), Field::pairs)? {
            options.insert(name, value.ok_or_else(|| field.wrong("has no value"))?);
        }
        fields.end()?;
        self.component.logging = Some(Logging { driver: driver.unwrap_or_else(|| "json-file".to_owned()), options });
        Ok(())
    }

    fn labels(&mut self) -> Result<(), Wrong> {
        let Some(labels) = self.fields.take("labels") else { return Ok(()) };
        let mut of_proxies = None;
        for (name, value, field) in labels.pairs()? {
            if name.starts_with("traefik.") || name.starts_with("caddy") {
                of_proxies.get_or_insert(field);
            }
            self.component.labels.insert(name, value.unwrap_or_default());
        }
        if let Some(field) = of_proxies {
            let instead = "the platform's own ingress is told by route: [{host: NAME}] under x-paas";
            self.importer.note(&field, format!("labels of a proxy mean something only to that proxy; {instead}"));
        }
        Ok(())
    }

    fn networks(&mut self) -> Result<(), Wrong> {
        if let Some(mode) = self.fields.take("network_mode") {
            let reason = match mode.text()?.as_str() {
                "bridge" | "default" => None,
                "host" => Some("a component has a network of its own; publish what shall be reached with ports"),
                "none" => {
                    Some("a component always has a network; no port that is not published is reached from outside")
                }
                _ => {
                    Some("components do not share a network; reach the other one by its name, or run both in one image")
                }
            };
            reason.into_iter().for_each(|reason| self.importer.refuse(&mode, reason));
        }
        let Some(networks) = self.fields.take("networks").filter(Field::is_map) else { return Ok(()) };
        for (_, network) in networks.fields()?.rest() {
            for (key, field) in network.fields()?.rest() {
                match key.as_str() {
                    "aliases" => self.importer.note(&field, "a component is reached by its own name alone"),
                    "priority" | "gw_priority" => {}
                    _ => self.importer.refuse(&field, "addresses are given by Docker"),
                }
            }
        }
        Ok(())
    }

    /// Notes what is left.
    fn not_taken(&mut self) {
        let left = std::mem::take(&mut self.fields);
        for (key, field) in left.rest() {
            match KEYS.iter().find(|(known, ..)| *known == key) {
                Some((_, Fate::Noted, reason)) => self.importer.note(&field, *reason),
                Some((_, Fate::Refused, reason)) => self.importer.refuse(&field, *reason),
                None => self.importer.refuse(&field, "is no key of a service that Compose has"),
            }
        }
    }
}
