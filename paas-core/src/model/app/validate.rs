//! What no application could be is refused before anything is planned, with the path of the field.

use std::collections::{BTreeMap, BTreeSet};

use super::{AppSpec, ComponentName, ComponentSpec, Probe, Replicas, UpdateOrder};
use crate::model::Invalid;

/// The most components of an application. Chains of them are walked recursively.
const MAX_COMPONENTS: usize = 1000;

/// The most replicas of one component.
const MAX_REPLICAS: u32 = 10_000;

impl AppSpec {
    /// Checks everything that the types do not.
    ///
    /// # Errors
    /// Names the first field that cannot be as it is, by its path in the file, and what would be right.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.components.is_empty() {
            return Err(Invalid::new(
                "component",
                "an application has at least one; write [component.web] and its image",
            ));
        }
        if self.components.len() > MAX_COMPONENTS {
            let message = format!("must be at most {MAX_COMPONENTS}, not {}", self.components.len());
            return Err(Invalid::new("component", message));
        }
        for (name, component) in &self.components {
            component.validate().map_err(|wrong| within(name, wrong))?;
            self.validate_uses(component).map_err(|wrong| within(name, wrong))?;
        }
        let count = |component: &ComponentSpec| match component.replicas {
            Replicas::Count(count) => u64::from(count),
            Replicas::EachHost => 0,
        };
        let all: u64 = self.components.values().map(count).sum();
        if all > u64::from(MAX_REPLICAS) {
            let message = format!("all of an application must be at most {MAX_REPLICAS}, not {all}");
            return Err(Invalid::new("replicas", message));
        }
        self.validate_routes()?;
        if let Some(cycle) = self.cycle() {
            let names: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
            let message = format!("none can be started before the others: {}", names.join(" → "));
            let depends = self.components[cycle[0]].depends_on.contains(cycle[1]);
            let field = if depends { "depends_on" } else { "uses" };
            return Err(within(cycle[0], Invalid::new(field, message)));
        }
        Ok(())
    }

    /// Checks what depends on the number of hosts.
    ///
    /// # Errors
    /// As [`AppSpec::validate`].
    pub fn validate_for_hosts(&self, hosts: usize) -> Result<(), Invalid> {
        for (name, component) in &self.components {
            let Replicas::Count(count) = component.replicas else { continue };
            let Some(port) = component.publish.iter().find_map(|port| port.host()) else { continue };
            if usize::try_from(count).is_ok_and(|count| count > hosts) {
                let message = format!("{count} replicas want port {port} of a host each, and there are {hosts} hosts");
                return Err(within(name, Invalid::new("publish", message)));
            }
        }
        Ok(())
    }

    fn validate_uses(&self, component: &ComponentSpec) -> Result<(), Invalid> {
        for used in component.uses.iter().filter(|used| used.app.as_ref().is_none_or(|app| *app == self.name)) {
            let Some(other) = self.components.get(&used.component) else {
                return Err(Invalid::new("uses", format!("there is no component {}", used.component)));
            };
            if let Some(port) = used.port
                && !other.ports.values().any(|&known| known == port)
            {
                let message = format!("{} does not name {port} among its ports", used.component);
                return Err(Invalid::new("uses", message));
            }
        }
        match component.depends_on.iter().find(|name| !self.components.contains_key(*name)) {
            Some(name) => Err(Invalid::new("depends_on", format!("there is no component {name}"))),
            None => Ok(()),
        }
    }

    fn validate_routes(&self) -> Result<(), Invalid> {
        let mut taken = BTreeMap::new();
        for (name, component) in &self.components {
            for route in &component.routes {
                if let Some(other) = taken.insert((&route.host, &route.path), name) {
                    let message = format!("{}{} leads to {other} already", route.host, route.path);
                    return Err(within(name, Invalid::new("route", message)));
                }
            }
        }
        Ok(())
    }

    /// Components that wait for each other, the first one again at the end.
    fn cycle(&self) -> Option<Vec<&ComponentName>> {
        let mut finished = BTreeSet::new();
        self.components.keys().find_map(|name| self.cycle_from(name, &mut Vec::new(), &mut finished))
    }

    fn cycle_from<'a>(
        &'a self,
        name: &'a ComponentName,
        path: &mut Vec<&'a ComponentName>,
        finished: &mut BTreeSet<&'a ComponentName>,
    ) -> Option<Vec<&'a ComponentName>> {
        if let Some(start) = path.iter().position(|passed| *passed == name) {
            return Some(path[start..].iter().copied().chain([name]).collect());
        }
        if !finished.contains(name) {
            path.push(name);
            let next = self.components.get(name)?.dependencies();
            for next in next {
                if let Some(cycle) = self.cycle_from(next, path, finished) {
                    return Some(cycle);
                }
            }
            path.pop();
            finished.insert(name);
        }
        None
    }
}

fn within(name: &ComponentName, wrong: Invalid) -> Invalid {
    Invalid::new(format!("component.{name}.{}", wrong.field), wrong.message)
}

impl ComponentSpec {
    fn validate(&self) -> Result<(), Invalid> {
        self.validate_times()?;
        self.checked_container_spec()?.validate().map_err(in_words_of_the_file)?;
        if let Replicas::Count(count) = self.replicas
            && count > MAX_REPLICAS
        {
            return Err(Invalid::new("replicas", format!("must be at most {MAX_REPLICAS}, not {count}")));
        }
        self.validate_ports()?;
        self.validate_health()?;
        self.validate_files()?;
        self.validate_volumes()?;
        if self.before.as_ref().is_some_and(|before| before.command.is_empty()) {
            return Err(Invalid::new("before.command", "must not be empty"));
        }
        if let Some(label) = self.docker.labels.keys().find(|label| label.starts_with("paas.") || label.is_empty()) {
            return Err(Invalid::new(
                "labels",
                format!("{label:?} is not free: the platform's own begin with 'paas.'"),
            ));
        }
        Ok(())
    }

    fn validate_times(&self) -> Result<(), Invalid> {
        let before = self.before.as_ref().map(|before| ("before.timeout", before.timeout_ms));
        let times = [Some(("update.progress", self.update.progress_ms)), before];
        match times.into_iter().flatten().find(|(_, milliseconds)| *milliseconds == 0) {
            Some((field, _)) => Err(Invalid::new(field, "must be more than 0: it could only fail")),
            None => Ok(()),
        }
    }

    fn validate_ports(&self) -> Result<(), Invalid> {
        if let Some((name, _)) = self.ports.iter().find(|&(_, &port)| port == 0) {
            return Err(Invalid::new(format!("ports.{name}"), "must be 1 to 65535"));
        }
        if !self.routes.is_empty() && self.ports.is_empty() {
            return Err(Invalid::new("route", "leads to a port; say which with 'port'"));
        }
        for route in &self.routes {
            if !crate::model::validation::is_host_name(route.host.trim_start_matches("*.")) {
                return Err(Invalid::new("route.host", format!("must be a host name, not {:?}", route.host)));
            }
            if !route.path.starts_with('/') {
                return Err(Invalid::new("route.path", format!("must begin with '/', not {:?}", route.path)));
            }
        }
        Ok(())
    }

    fn validate_health(&self) -> Result<(), Invalid> {
        let Some(check) = &self.health else { return Ok(()) };
        match &check.probe {
            Probe::Http { path, .. }
                if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace() || c.is_control()) =>
            {
                let message = format!("must be a path such as /up, without spaces, not {path:?}");
                return Err(Invalid::new("health.http", message));
            }
            Probe::Http { port, .. } | Probe::Tcp { port } if !self.ports.contains_key(port) => {
                return Err(Invalid::new(
                    "health.port",
                    format!("there is no port called {port:?}; say which with 'port'"),
                ));
            }
            Probe::Command(command) if command.is_empty() => {
                return Err(Invalid::new("health.command", "must not be empty"));
            }
            _ => {}
        }
        if check.interval_ms == 0 || check.timeout_ms == 0 || check.failures == 0 {
            return Err(Invalid::new("health", "interval, timeout and failures must be more than 0"));
        }
        Ok(())
    }

    fn validate_volumes(&self) -> Result<(), Invalid> {
        let mut names = BTreeSet::new();
        if let Some(twice) = self.pinned_volumes().find(|name| !names.insert(*name)) {
            return Err(Invalid::new("volumes", format!("{twice} is mounted twice")));
        }
        if self.is_pinned() && self.update.order == UpdateOrder::StartFirst {
            let message = "start-first would have two containers on one volume; leave it out, or write stop-first";
            return Err(Invalid::new("update.order", message));
        }
        Ok(())
    }
}

/// The fields of a container have other names where they belong to a component.
fn in_words_of_the_file(wrong: Invalid) -> Invalid {
    let field = match wrong.field.as_str() {
        "name" => "image",
        "args" => "command",
        "environment" => "env",
        "labels" => "place.labels",
        "docker_labels" => "labels",
        "stop_signal" => "stop.signal",
        "stop_timeout" => "stop.grace",
        "restart_policy.maximum_retry" => "restart",
        ports if ports.starts_with("bind_ports") => "publish",
        same => same,
    };
    Invalid::new(field, wrong.message)
}
