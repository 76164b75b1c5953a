//! The container that a component is run as.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{ComponentSpec, DockerOptions, EnvValue, HealthCheck, Probe, StopPolicy};
use crate::model::{
    Capability, ContainerSpec, ExactImage, HealthCheck as DockerCheck, HealthCommand, ImageRef, Invalid,
    Logging as DockerLogging, RestartPolicy, Signal,
};

/// Lets a program send packets of every kind, in the name of any other container of its network. Docker gives it to all.
const NET_RAW: &str = "NET_RAW";

impl ComponentSpec {
    /// The fields it has that are accepted, checked and kept, and that nothing carries out so far, by their names in the file.
    pub fn fields_not_carried_out(&self) -> Vec<&'static str> {
        let of_others = self.uses.iter().any(|used| used.app.is_some());
        let fields = [
            ("route", !self.routes.is_empty()),
            ("allow", !self.allow.is_empty()),
            ("what it uses of other applications", of_others),
        ];
        fields.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect()
    }

    /// The image in the state that it was declared in.
    pub fn pinned_image(&self) -> ImageRef {
        self.digest.as_ref().map_or_else(|| self.image.clone(), |digest| self.image.at(digest))
    }

    /// The same, also where no registry has it.
    pub fn exact_image(&self) -> ExactImage {
        ExactImage { name: self.pinned_image(), id: self.image_id.clone() }
    }

    /// What `run` would be asked for to start a container of it.
    ///
    /// Left out are what a replica has of its own (its volumes have the names of the component, and not those of its slot),
    /// the values of secrets, and configuration files.
    pub fn container_spec(&self) -> ContainerSpec {
        let variables = self.env.iter().filter_map(|(name, value)| match value {
            EnvValue::Text(text) => Some((name.clone(), text.clone())),
            EnvValue::Secret { .. } => None,
        });
        let volumes = self.volumes.iter().map(|(target, volume)| volume.mount(&volume.source, target));
        let docker = &self.docker;
        ContainerSpec {
            cpus: self.cpus,
            cpuset: docker.cpuset.clone(),
            memory: self.memory,
            entrypoint: self.entrypoint.clone(),
            args: self.command.clone(),
            environment: variables.collect(),
            hostname: docker.hostname.clone(),
            labels: self.place.labels.clone(),
            bind_ports: self.publish.clone(),
            volumes: volumes.collect(),
            restart_policy: self.docker_restart(),
            user: docker.user.clone(),
            init: docker.init.then_some(true),
            read_only: docker.read_only,
            tmpfs: docker.tmpfs.iter().cloned().collect(),
            shm_size: docker.shm_size,
            // Values that are none were refused when the application was declared.
            cap_add: docker.capabilities_added().unwrap_or_default(),
            cap_drop: docker.capabilities_dropped().unwrap_or_default(),
            ulimits: docker.ulimits.clone(),
            sysctls: docker.sysctls.clone(),
            extra_hosts: docker.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect(),
            logging: docker.logging.as_ref().map(|logging| DockerLogging {
                driver: Some(logging.driver.clone()),
                options: logging.options.clone(),
            }),
            devices: docker.devices.iter().cloned().collect(),
            memory_reservation: docker.memory_reservation,
            pids_limit: docker.pids_limit,
            stop_signal: self.stop.signal().ok(),
            stop_timeout: Some(self.stop.grace_seconds()),
            health: self.health.as_ref().and_then(docker_check),
            docker_labels: docker.labels.clone(),
            ..ContainerSpec::new(self.pinned_image())
        }
    }

    /// What Docker is told of when to start it again. With `always` it would also start what the platform has stopped and keeps, as
    /// soon as its daemon is started again: beside the one that took its place, and on the same volume.
    pub fn docker_restart(&self) -> RestartPolicy {
        match self.restart {
            RestartPolicy::Always => RestartPolicy::UnlessStopped,
            other => other,
        }
    }

    /// The same, where every value can be one.
    ///
    /// # Errors
    /// Names the field of the file whose value Linux or Docker would not take.
    pub(super) fn checked_container_spec(&self) -> Result<ContainerSpec, Invalid> {
        self.docker.capabilities_added()?;
        self.docker.capabilities_dropped()?;
        self.stop.signal()?;
        Ok(self.container_spec())
    }
}

impl StopPolicy {
    fn signal(&self) -> Result<Signal, Invalid> {
        self.signal.parse().map_err(|wrong: Invalid| Invalid::new("stop.signal", wrong.message))
    }

    /// How long a replica has to end, in whole seconds, rounded up.
    pub fn grace_seconds(&self) -> u32 {
        u32::try_from(self.grace_ms.div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

impl DockerOptions {
    fn capabilities_added(&self) -> Result<BTreeSet<Capability>, Invalid> {
        capabilities("cap_add", &self.cap_add)
    }

    /// Those that are named, and the one that a program seldom needs and may do harm with.
    fn capabilities_dropped(&self) -> Result<BTreeSet<Capability>, Invalid> {
        let mut dropped = capabilities("cap_drop", &self.cap_drop)?;
        let keeps_it = self.cap_add.contains(NET_RAW) || self.cap_add.contains("ALL");
        if !keeps_it && !self.cap_drop.contains("ALL") {
            dropped.extend(NET_RAW.parse::<Capability>());
        }
        Ok(dropped)
    }
}

fn capabilities(field: &str, names: &BTreeSet<String>) -> Result<BTreeSet<Capability>, Invalid> {
    names.iter().map(|name| name.parse().map_err(|wrong: Invalid| Invalid::new(field, wrong.message))).collect()
}

/// The check that Docker makes itself: only a command is.
fn docker_check(check: &HealthCheck) -> Option<DockerCheck> {
    let Probe::Command(command) = &check.probe else { return None };
    let time = |milliseconds| Some(Duration::from_millis(milliseconds));
    Some(DockerCheck {
        disabled: false,
        command: Some(HealthCommand::Exec(command.clone())),
        interval: time(check.interval_ms),
        timeout: time(check.timeout_ms),
        start_period: time(check.start_ms),
        retries: Some(check.failures),
    })
}
