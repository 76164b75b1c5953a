//! What stands beside the services, and which services there are.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Field, Fields};
use super::interpolate::Variables;
use super::node::{Node, Value};
use super::service::Service;
use super::{Importer, Wrong};
use crate::model::app::{AppName, ComponentName};
use crate::wire::app::AppRequest;

/// What the services of a file refer to.
#[derive(Debug, Default)]
pub(super) struct Project {
    pub(super) app: Option<String>,
    /// What each service is called here.
    pub(super) components: BTreeMap<String, String>,
    /// Services that are left out, and the profiles they have.
    pub(super) left_out: BTreeMap<String, String>,
    /// Services that others wait for to end.
    pub(super) completed: BTreeSet<String>,
    /// Declared volumes.
    pub(super) volumes: BTreeSet<String>,
    /// Declared configurations, and the file of each that has one.
    pub(super) configs: BTreeMap<String, Option<String>>,
    /// Declared secrets.
    pub(super) secrets: BTreeSet<String>,
}

/// A service that is taken.
struct Chosen {
    name: String,
    field: Field,
    /// What is left of its keys.
    fields: Fields,
    dependencies: Vec<Dependency>,
}

/// A service that another one depends on.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) service: String,
    pub(super) condition: String,
    pub(super) is_required: bool,
    pub(super) field: Field,
}

/// Puts variables in. Extensions are nobody's business but those who wrote them, apart from our own.
pub(super) fn fill(root: &mut Node, variables: &mut Variables<'_>) -> Result<(), Wrong> {
    let Value::Map(entries) = &mut root.value else { return Ok(()) };
    let ours = entries.iter_mut().filter(|entry| !entry.key.starts_with("x-") || entry.key == "x-paas");
    ours.map(|entry| &mut entry.node).try_for_each(|node| variables.fill(node))
}

impl Importer<'_> {
    /// The application that a file declares.
    pub(super) fn application(&mut self, root: Field) -> Result<AppRequest, Wrong> {
        let at_all = root.clone();
        let mut root = root.fields()?;
        // It has meant nothing for years.
        root.take("version");
        let mut project = Project { app: self.app_name(&mut root)?, ..Project::default() };
        let services = root.take("services").ok_or_else(|| at_all.wrong("has no services, and so nothing to run"))?;
        self.declared_networks(root.take("networks"))?;
        self.declared_volumes(&mut project, root.take("volumes"))?;
        self.declared_configs(&mut project, root.take("configs"))?;
        self.declared_secrets(&mut project, root.take("secrets"))?;
        if let Some(field) = root.take("include") {
            self.refuse(&field, "name the files one after the other, each with -f");
        }
        for (_, field) in root.rest() {
            self.refuse(&field, "is not known here");
        }
        let services = self.services(&mut project, services)?;
        let mut app = AppRequest { app: project.app.clone(), ..AppRequest::default() };
        let mut places = BTreeMap::new();
        let mut mounted = BTreeMap::new();
        for Chosen { name, field, fields, dependencies } in services {
            let component =
                Service::new(self, &project, &name, &field, fields).component(dependencies, &mut mounted)?;
            let name = project.components[&name].clone();
            places.insert(name.clone(), field);
            app.component.insert(name, component);
        }
        check(&app, &places, &at_all)?;
        Ok(app)
    }

    /// The name of the application: that of `x-paas`, or Compose's own, or the one that was given.
    fn app_name(&mut self, root: &mut Fields) -> Result<Option<String>, Wrong> {
        let mut ours = None;
        if let Some(field) = root.take("x-paas") {
            let mut fields = field.fields()?;
            ours = fields.take("app");
            if let Some((key, field)) = fields.rest().next() {
                return Err(field.wrong_key(format!("only app can stand here; {key} stands in x-paas of a service")));
            }
        }
        let theirs = root.take("name");
        let Some(field) = ours.or(theirs) else { return Ok(self.input.name.map(str::to_owned)) };
        let instead = "write another one as x-paas: {app: NAME}";
        field.parsed(|name| name.parse::<AppName>().map_err(|wrong| format!("{}; {instead}", wrong.message)))?;
        Ok(Some(field.text()?))
    }

    /// The services that are taken, with what each depends on.
    fn services(&mut self, project: &mut Project, services: Field) -> Result<Vec<Chosen>, Wrong> {
        let mut taken = Vec::new();
        for (name, field) in services.fields()?.rest() {
            let mut fields = field.clone().fields()?;
            let profiles = fields.take("profiles").map(Field::texts).transpose()?.unwrap_or_default();
            let is_wanted = |profile: &String| self.input.profiles.contains(profile);
            if !profiles.is_empty() && !self.input.profiles.contains("*") && !profiles.iter().any(is_wanted) {
                let profiles = profiles.join(", ");
                self.note(&field, format!("is left out; --profile takes it, too (it has {profiles})"));
                project.left_out.insert(name, profiles);
                continue;
            }
            let dependencies = fields.take("depends_on").map(dependencies).transpose()?.unwrap_or_default();
            let completed = dependencies.iter().filter(|other| other.condition == "service_completed_successfully");
            project.completed.extend(completed.map(|other| other.service.clone()));
            let component = self.component_name(&name, &field)?;
            if project.components.values().any(|known| *known == component) {
                return Err(field.wrong(format!("would be {component}, as another service is; rename one of them")));
            }
            project.components.insert(name.clone(), component);
            taken.push(Chosen { name, field, fields, dependencies });
        }
        Ok(taken)
    }

    /// What a service is called here.
    fn component_name(&mut self, service: &str, field: &Field) -> Result<String, Wrong> {
        let Err(wrong) = service.parse::<ComponentName>() else { return Ok(service.to_owned()) };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = service.chars().map(plain).collect();
        let name = name.trim_matches('-').to_owned();
        if name.parse::<ComponentName>().is_err() {
            return Err(field.wrong(format!("the name {}; rename the service", wrong.message)));
        }
        self.refuse(
            field,
            format!("is called {name} here, and other components reach it by that name; rename the service"),
        );
        Ok(name)
    }

    fn declared_networks(&mut self, networks: Option<Field>) -> Result<(), Wrong> {
        let Some(all) = networks else { return Ok(()) };
        let mut names = Vec::new();
        for (name, network) in all.clone().fields()?.rest() {
            let mut fields = network.clone().fields()?;
            if fields.take("external").is_some_and(|external| external.flag().unwrap_or(true)) {
                self.refuse(
                    &network,
                    "is made outside; another application is reached with uses: [\"APP/COMPONENT:PORT\"] under x-paas",
                );
            } else if let Some(internal) = fields.take("internal") {
                self.refuse(
                    &internal,
                    "the network of an application leads out; publish no port where nobody shall come in",
                );
            } else if name != "default" || fields.rest().next().is_some() {
                names.push(name);
            }
        }
        if !names.is_empty() {
            let reason = "an application has one network, in which every component reaches every other by its name";
            self.note(&all, format!("{reason} ({})", names.join(", ")));
        }
        Ok(())
    }

    fn declared_volumes(&mut self, project: &mut Project, volumes: Option<Field>) -> Result<(), Wrong> {
        for (name, volume) in volumes.map(Field::fields).transpose()?.into_iter().flat_map(Fields::rest) {
            let mut fields = volume.fields()?;
            let external = fields.take("external");
            let is_external = external.as_ref().is_some_and(|external| external.flag().unwrap_or(true));
            if let Some(external) = external.filter(|_| is_external) {
                self.refuse(&external, "the platform makes its own volumes; copy into them what the other one holds");
            }
            if let Some(name) = fields.take("name") {
                self.note(&name, "a volume is named after its component and slot");
            }
            fields.take("labels");
            let driver = fields.take("driver").filter(|driver| driver.text().is_ok_and(|driver| driver != "local"));
            for field in driver.into_iter().chain(fields.take("driver_opts")) {
                let instead = "write it under x-paas as volumes: [{name: NAME, target: /path, shared: true}]";
                self.refuse(
                    &field,
                    format!("each replica has a volume of its own on its host; for one that all hosts reach {instead}"),
                );
            }
            fields.end()?;
            project.volumes.insert(name);
        }
        Ok(())
    }

    fn declared_configs(&mut self, project: &mut Project, configs: Option<Field>) -> Result<(), Wrong> {
        for (name, config) in configs.map(Field::fields).transpose()?.into_iter().flat_map(Fields::rest) {
            let mut fields = config.clone().fields()?;
            let file = fields.take("file").map(|file| file.text()).transpose()?;
            if file.is_none() {
                self.refuse(&config, "write what it holds into a file beside this one, and name that with file: PATH");
            }
            project.configs.insert(name, file.map(|file| file.trim_start_matches("./").to_owned()));
        }
        Ok(())
    }

    fn declared_secrets(&mut self, project: &mut Project, secrets: Option<Field>) -> Result<(), Wrong> {
        let app = project.app.clone().unwrap_or_else(|| "APP".to_owned());
        for (name, secret) in secrets.map(Field::fields).transpose()?.into_iter().flat_map(Fields::rest) {
            let mut fields = secret.clone().fields()?;
            let file = fields.take("file").map(|file| file.text()).transpose()?;
            let file = file.unwrap_or_else(|| "FILE".to_owned());
            self.note(
                &secret,
                format!("is not sent with the application; set it: paas-cli secret set {app} {name} < {file}"),
            );
            project.secrets.insert(name);
        }
        Ok(())
    }
}

/// What a service depends on, in either form.
fn dependencies(field: Field) -> Result<Vec<Dependency>, Wrong> {
    let plain = |service: String, field: Field| Dependency {
        service,
        condition: "service_started".to_owned(),
        is_required: true,
        field,
    };
    if field.is_list() {
        return field.list()?.into_iter().map(|part| Ok(plain(part.text()?, part))).collect();
    }
    let detailed = |(service, field): (String, Field)| {
        let mut fields = field.clone().fields()?;
        let mut dependency = plain(service, field);
        if let Some(condition) = fields.take("condition") {
            dependency.condition = condition.text()?;
            let known = ["service_started", "service_healthy", "service_completed_successfully"];
            if !known.contains(&dependency.condition.as_str()) {
                return Err(condition.wrong(format!("must be one of {}", known.join(", "))));
            }
        }
        if let Some(required) = fields.take("required") {
            dependency.is_required = required.flag()?;
        }
        // A component that is replaced does not restart others: they reach the new one by the same name.
        fields.take("restart");
        fields.end()?;
        Ok(dependency)
    };
    field.fields()?.rest().map(detailed).collect()
}

/// Whether it can be an application, whatever it is called.
fn check(app: &AppRequest, places: &BTreeMap<String, Field>, root: &Field) -> Result<(), Wrong> {
    let mut app = app.clone();
    app.app.get_or_insert_with(|| "app".to_owned());
    app.normalise(None).map(drop).map_err(|invalid| {
        let component = invalid.field.strip_prefix("component.").and_then(|field| field.split('.').next());
        let field = component.and_then(|name| places.get(name));
        Wrong { place: field.unwrap_or(root).place, message: format!("{}: {}", invalid.field, invalid.message) }
    })
}
