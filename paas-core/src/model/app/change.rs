//! What takes a running container from one specification to another.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ComponentSpec, DockerOptions, HealthCheck, Probe};
use crate::model::{Cpus, MemoryMb, RestartPolicy};

/// What Docker changes in a container without making a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Limit of CPU.
    pub cpus: Option<Cpus>,
    /// Limit of memory.
    pub memory: MemoryMb,
    /// What Docker does when the container ends by itself.
    pub restart: RestartPolicy,
}

/// What it takes to give a container other sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it has them.
    None,
    /// `docker update`.
    InPlace,
    /// A new container, because of these fields.
    NewContainer(Vec<&'static str>),
}

impl Sizes {
    /// What it takes to come from `self` to `wanted`.
    ///
    /// A limit that is taken away needs a new container: asked to do so, Docker answers that it did, and does nothing.
    pub fn change_to(&self, wanted: &Self) -> Change {
        if self == wanted {
            return Change::None;
        }
        if self.cpus.is_some() && wanted.cpus.is_none() {
            return Change::NewContainer(vec!["cpus"]);
        }
        Change::InPlace
    }
}

impl ComponentSpec {
    /// What Docker changes without making a new container.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            cpus: self.cpus,
            memory: self.memory.unwrap_or(MemoryMb::DEFAULT_RESERVATION),
            restart: self.docker_restart(),
        }
    }

    /// What its containers are, as a number in hexadecimal digits: the same for two components exactly where no field differs that
    /// needs a new container. A field that a later version adds changes it only where that field says something.
    pub fn fingerprint(&self) -> String {
        let Self {
            image: _,
            digest: _,
            image_id,
            entrypoint,
            command,
            env,
            secrets,
            configs,
            publish,
            health,
            stop,
            volumes,
            uses,
            docker,
            // The rest is no part of the container, or changed in place.
            replicas: _,
            cpus: _,
            memory: _,
            ports: _,
            update: _,
            heal: _,
            place: _,
            before: _,
            restart: _,
            routes: _,
            depends_on: _,
            allow: _,
        } = self;
        let mut parts = serde_json::json!({
            "image": self.pinned_image().canonical(), "image_id": image_id, "entrypoint": entrypoint, "command": command,
            "env": env, "secrets": secrets, "configs": configs, "publish": publish, "health": command_check(health.as_ref()), "stop": stop,
            "volumes": volumes, "uses": uses, "docker": docker,
        });
        remove_empty(&mut parts);
        hex::encode(Sha256::digest(parts.to_string()))
    }

    /// The fields in which `wanted` differs so that a new container is needed, by their names in the file.
    ///
    /// Not among them are the sizes, which Docker changes in place, and what is no part of the container: the number of
    /// replicas, policies, routes, and checks that are made from outside.
    pub fn fields_for_a_new_container(&self, wanted: &Self) -> Vec<&'static str> {
        // Every field by its name: a new one does not compile before it stands here.
        let Self {
            image: _,
            digest: _,
            image_id,
            replicas: _,
            entrypoint,
            command,
            env,
            secrets,
            configs,
            cpus: _,
            memory: _,
            ports: _,
            publish,
            health,
            stop,
            update: _,
            heal: _,
            place: _,
            before: _,
            volumes,
            restart: _,
            routes: _,
            uses,
            depends_on: _,
            allow: _,
            docker,
        } = self;
        let mut fields = Vec::new();
        let mut note = |name, differs: bool| {
            if differs {
                fields.push(name);
            }
        };
        let is_other_name = self.pinned_image().canonical() != wanted.pinned_image().canonical();
        note("image", is_other_name || *image_id != wanted.image_id);
        note("entrypoint", *entrypoint != wanted.entrypoint);
        note("command", *command != wanted.command);
        note("env", *env != wanted.env);
        note("secrets", *secrets != wanted.secrets);
        note("configs", *configs != wanted.configs);
        note("publish", *publish != wanted.publish);
        note("health", command_check(health.as_ref()) != command_check(wanted.health.as_ref()));
        note("stop", *stop != wanted.stop);
        note("volumes", *volumes != wanted.volumes);
        note("uses", *uses != wanted.uses);
        docker.note_differences(&wanted.docker, &mut note);
        fields
    }
}

/// Removes what says nothing, so that it is the same whether or not a field is there.
fn remove_empty(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.values_mut().for_each(remove_empty);
        fields.retain(|_, value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        });
    }
}

/// The check that is part of the container: Docker runs it itself.
fn command_check(health: Option<&HealthCheck>) -> Option<&HealthCheck> {
    health.filter(|check| matches!(check.probe, Probe::Command(_)))
}

impl DockerOptions {
    fn note_differences(&self, wanted: &Self, note: &mut impl FnMut(&'static str, bool)) {
        let Self {
            labels,
            hostname,
            user,
            init,
            cap_add,
            cap_drop,
            ulimits,
            sysctls,
            read_only,
            tmpfs,
            shm_size,
            extra_hosts,
            logging,
            devices,
            cpuset,
            memory_reservation,
            pids_limit,
        } = self;
        note("labels", *labels != wanted.labels);
        note("hostname", *hostname != wanted.hostname);
        note("user", *user != wanted.user);
        note("init", *init != wanted.init);
        note("cap_add", *cap_add != wanted.cap_add);
        note("cap_drop", *cap_drop != wanted.cap_drop);
        note("ulimits", *ulimits != wanted.ulimits);
        note("sysctls", *sysctls != wanted.sysctls);
        note("read_only", *read_only != wanted.read_only);
        note("tmpfs", *tmpfs != wanted.tmpfs);
        note("shm_size", *shm_size != wanted.shm_size);
        note("extra_hosts", *extra_hosts != wanted.extra_hosts);
        note("logging", *logging != wanted.logging);
        note("devices", *devices != wanted.devices);
        note("cpuset", *cpuset != wanted.cpuset);
        note("memory_reservation", *memory_reservation != wanted.memory_reservation);
        note("pids_limit", *pids_limit != wanted.pids_limit);
    }
}
