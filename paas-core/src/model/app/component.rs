//! A component with every default filled in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ComponentName, DockerOptions, EnvValue, Parallel, Replicas, SecretName};
use crate::model::{BindPort, Cpus, ImageDigest, ImageRef, MemoryMb, RestartPolicy};

/// One kind of container of an application.
///
/// Everything has its default, lists whose order means nothing are sorted, and durations are in milliseconds: two components
/// mean the same exactly when they are equal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentSpec {
    /// Image to run.
    pub image: ImageRef,
    /// What the image was when it was declared, as its registry names it: containers are made of exactly that. Nothing where no
    /// registry has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<ImageDigest>,
    /// The same where no registry has it: the id that it had on hosts. Containers are made of exactly that, on the hosts that have it
    /// under that name. Nothing where nobody could say it: each host uses what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageDigest>,
    /// How many replicas there are to be.
    pub replicas: Replicas,
    /// Replaces the image's entry point when not empty.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Replaces the image's command when not empty.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// Secrets that the container finds as files, by path.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretFile>,
    /// Configuration files, by their path in the container.
    #[serde(default)]
    pub configs: BTreeMap<String, ConfigFile>,
    /// Limit of CPU; none when absent.
    #[serde(default)]
    pub cpus: Option<Cpus>,
    /// Limit of memory in MB; the platform's default when absent.
    #[serde(default)]
    pub memory: Option<MemoryMb>,
    /// The ports inside that health checks, routes and other components reach, by name. A single one is called `default`.
    #[serde(default)]
    pub ports: BTreeMap<String, u16>,
    /// Ports to publish on the host.
    #[serde(default)]
    pub publish: Vec<BindPort>,
    /// How it is found out whether a replica works. When absent: a TCP connection to its port, or that it keeps running.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// How a replica is stopped.
    pub stop: StopPolicy,
    /// How replicas are replaced.
    pub update: UpdatePolicy,
    /// When a replica is placed elsewhere because its host is silent.
    pub heal: HealPolicy,
    /// Where replicas are placed.
    #[serde(default)]
    pub place: PlacePolicy,
    /// What runs once before a rollout replaces anything.
    #[serde(default)]
    pub before: Option<BeforeCommand>,
    /// Volumes and host directories, by their path in the container.
    #[serde(default)]
    pub volumes: BTreeMap<String, VolumeMount>,
    /// What Docker does when a container ends by itself.
    pub restart: RestartPolicy,
    /// The names by which the ingress reaches it.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// The components it talks to.
    #[serde(default)]
    pub uses: BTreeSet<ComponentUse>,
    /// The components that are to be ready before it is started first.
    #[serde(default)]
    pub depends_on: BTreeSet<ComponentName>,
    /// Who outside the application may use it: `application/component`, or `application/*`.
    #[serde(default)]
    pub allow: BTreeSet<String>,
    /// What Docker is told beside that.
    #[serde(default)]
    pub docker: DockerOptions,
}

impl ComponentSpec {
    /// Whether a slot of it has a volume of its own, so that it cannot leave its host.
    pub fn is_pinned(&self) -> bool {
        self.pinned_volumes().next().is_some()
    }

    /// The volumes that each slot has of its own, by name.
    pub fn pinned_volumes(&self) -> impl Iterator<Item = &str> {
        self.volumes.values().filter(|volume| volume.pins()).map(|volume| volume.source.as_str())
    }

    /// The components of its own application that are to be ready before it.
    pub fn dependencies(&self) -> impl Iterator<Item = &ComponentName> {
        self.depends_on.iter().chain(self.used_here())
    }

    /// The components of its own application that it finds by their names: on its own host only.
    pub fn used_here(&self) -> impl Iterator<Item = &ComponentName> {
        self.uses.iter().filter(|used| used.app.is_none()).map(|used| &used.component)
    }
}

/// A secret that the container finds as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    /// Name of the secret.
    pub name: SecretName,
    /// Which of its values, as in [`EnvValue::Secret`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Permissions of the file.
    pub mode: u32,
    /// Who owns it; where nobody is named, the user of the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its group, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// A file that was sent with the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// The name of the file beside the application's own.
    pub source: String,
    /// SHA-256 of its content in hexadecimal digits; the client that sends the file fills it in.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Permissions of the file.
    pub mode: u32,
    /// Who owns it; where nobody is named, the user of the component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its group, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// How it is found out whether a replica works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// How often.
    pub interval_ms: u64,
    /// How long an answer may take.
    pub timeout_ms: u64,
    /// How long a replica may take to become healthy after its start.
    pub start_ms: u64,
    /// How many failures in a row make it unhealthy.
    pub failures: u32,
}

impl HealthCheck {
    /// That the port of a name takes connections: what is looked at where nothing is declared but a port.
    pub fn of_port(name: String) -> Self {
        let probe = Probe::Tcp { port: name };
        Self { probe, interval_ms: 2000, timeout_ms: 1000, start_ms: 60_000, failures: 3 }
    }
}

/// What a health check tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// A GET of this path at the port of that name is answered with 2xx or 3xx.
    Http {
        /// The path.
        path: String,
        /// The name of the port.
        port: String,
    },
    /// The port of that name takes a connection.
    Tcp {
        /// The name of the port.
        port: String,
    },
    /// The command ends with 0 inside the container.
    Command(Vec<String>),
}

/// How a replica is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPolicy {
    /// The signal it gets first.
    pub signal: String,
    /// How long it has until it is killed.
    pub grace_ms: u64,
}

impl Default for StopPolicy {
    fn default() -> Self {
        Self { signal: "SIGTERM".to_owned(), grace_ms: 30_000 }
    }
}

/// How replicas are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatePolicy {
    /// Whether the new or the old one goes first.
    pub order: UpdateOrder,
    /// How many at a time.
    pub parallel: Parallel,
    /// How long a new one has to stay healthy before it takes traffic.
    pub monitor_ms: u64,
    /// How long an old one may finish its requests.
    pub drain_ms: u64,
    /// How long a rollout goes on without a replica becoming ready.
    pub progress_ms: u64,
    /// What happens when a new one fails.
    pub on_failure: OnFailure,
}

/// Whether the new or the old replica goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// The new one first, where both can be there at once.
    Auto,
    /// The new one is ready before the old one goes.
    StartFirst,
    /// The old one is stopped before the new one is started.
    StopFirst,
}

/// What happens when a rollout fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Back to the newest revision that was rolled out entirely.
    Rollback,
    /// It stops where it is.
    Pause,
}

/// When a replica is placed elsewhere because its host is silent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealPolicy {
    /// After how long; never when absent.
    pub after_ms: Option<u64>,
    /// Only where it is certain that the other one has stopped.
    #[serde(default)]
    pub singleton: bool,
}

/// Where replicas are placed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacePolicy {
    /// Labels that the host must have.
    #[serde(default)]
    pub labels: BTreeSet<String>,
    /// Whether hosts with fewer replicas of it are preferred.
    #[serde(default)]
    pub spread: Spread,
    /// Labels of preferred hosts, the best first.
    #[serde(default)]
    pub prefer: Vec<String>,
}

/// What replicas of one component are spread over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Hosts: one with fewer of them is preferred.
    #[default]
    Host,
    /// Nothing: only the room of a host counts.
    None,
}

/// What runs once before a rollout replaces anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeforeCommand {
    /// The command, in a container like the component's own.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout_ms: u64,
    /// Whether it may be run again when nobody knows how it ended.
    #[serde(default)]
    pub retry: bool,
}

/// A volume or a directory of the host, in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Name of the volume, or the path on the host, which begins with a slash.
    pub source: String,
    /// As Docker writes it: `ro`, `z`, or nothing.
    #[serde(default)]
    pub mode: String,
    /// One volume for all slots on all hosts, by a driver that reaches it over the network.
    #[serde(default)]
    pub shared: bool,
}

impl VolumeMount {
    /// Whether it is a directory of the host.
    pub fn is_host_path(&self) -> bool {
        self.source.starts_with('/')
    }

    /// As Docker writes it, with the name that it has on the host.
    pub fn mount(&self, name: &str, target: &str) -> String {
        let mode = if self.mode.is_empty() { String::new() } else { format!(":{}", self.mode) };
        format!("{name}:{target}{mode}")
    }

    /// Whether each slot has one of its own, which stays on its host.
    pub fn pins(&self) -> bool {
        !self.shared && !self.is_host_path()
    }
}

/// A name by which the ingress reaches a component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// Host name.
    pub host: String,
    /// Beginning of the path.
    pub path: String,
    /// `auto`, `off`, or the name of a certificate.
    pub tls: String,
}

/// Another component that a component talks to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ComponentUse {
    /// Its application; the own one when absent.
    #[serde(default)]
    pub app: Option<super::AppName>,
    /// Its name.
    pub component: ComponentName,
    /// The port; every port when absent.
    #[serde(default)]
    pub port: Option<u16>,
}
