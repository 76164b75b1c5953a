//! What goes to an engine and what comes back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::app::{AppName, ComponentName, SecretValue};
use crate::model::{
    BoundPort, ContainerId, ContainerSpec, ContainerState, Cpus, EngineId, Group, HealthStatus, ImageDigest, ImageRef,
    LaunchId, MemoryMb, RequestId, Resources, Subnets,
};

/// What a Docker host says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineInfo {
    /// Docker's own id of the daemon: the same under every address, and at every question. Empty where it has none that stays, as
    /// Podman: such a daemon is known by its containers and its address.
    pub daemon_id: String,
    /// CPUs the daemon can use.
    pub cpus: Cpus,
    /// Memory the daemon can use, MB.
    pub memory: MemoryMb,
    /// Version of Docker.
    pub docker_version: String,
    /// The images on the host, by Docker's image id.
    pub images: Vec<String>,
    /// The networks that somebody made there, by name and by id, and whose they are. `None` where the host does not tell, or can
    /// reach others than those that it tells of.
    pub networks: Option<BTreeMap<String, ObjectLabels>>,
    /// The volumes there that somebody named, and whose they are. `None` where the host does not tell.
    pub volumes: Option<BTreeMap<String, ObjectLabels>>,
    /// What the host says that it cannot do, such as limits that its kernel does not know.
    pub warnings: Vec<String>,
    /// The host's own clock, from before anything that is asked after this. `None` when it does not tell.
    pub time: Option<Timestamp>,
}

/// A container that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateRequest {
    /// Name for Docker, without a slash.
    pub name: String,
    /// What it shall be.
    pub spec: ContainerSpec,
    /// Containers on the same engine that it knows by a host name: Docker's name of each, and the host name.
    pub links: Vec<(String, String)>,
    /// The platform that makes it: written on the container, so that a platform cleans up after itself only.
    pub platform: String,
    /// The engine it is made on, by the platform's id.
    pub engine: EngineId,
    /// The attempt it belongs to.
    pub launch: LaunchId,
    /// Who asked for it.
    pub user: String,
    /// Which container of which request it is, where the request has a name.
    pub mark: Option<RequestMark>,
    /// How much of its output the host keeps, where that is in the host's hands; what Docker does by itself when absent.
    pub log_rotation: Option<LogRotation>,
    /// Which container of which application it is; absent for what `run` and scaling start.
    pub replica: Option<ReplicaLabels>,
    /// The network that it is in where its description names none.
    pub network: Option<AppNetwork>,
    /// Environment variables beside those of `spec`, whose values are secrets. They are in no label.
    pub hidden_environment: BTreeMap<String, SecretValue>,
}

/// A file that a container is given before it starts. `Debug` does not show what is in it.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerFile {
    /// Its absolute path in the container. The folder is a volume of the container's own; the name in it has 100 bytes at most.
    pub path: String,
    /// What is in it.
    pub content: Bytes,
    /// Its permissions.
    pub mode: u32,
    /// Its owner, by number.
    pub uid: u32,
    /// Its group, by number.
    pub gid: u32,
}

impl std::fmt::Debug for ContainerFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, content: _, mode, uid, gid } = self;
        let mut shown = f.debug_struct("ContainerFile");
        shown.field("path", path).field("mode", mode).field("uid", uid).field("gid", gid).finish_non_exhaustive()
    }
}

/// A network of an application, as one of its containers is in it. It is to be there before the container starts; see
/// [`DockerEngine::create_network`](super::DockerEngine::create_network).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppNetwork {
    /// Its name.
    pub name: String,
    /// What the other containers of the network call this one, beside its own name.
    pub aliases: Vec<String>,
}

/// Whose a network or a volume is: what a platform wrote on it. Empty on those of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectLabels {
    /// The platform that made it.
    pub platform: String,
    /// The application that it made it for.
    pub app: String,
}

/// A network that is to be made: a bridge on one host, for the containers of one application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// The platform that makes it: written on it.
    pub platform: String,
    /// The application it is for: written on it.
    pub app: AppName,
    /// Where its addresses are taken from when the host has none left of its own.
    pub subnets: Subnets,
}

/// A volume that is to be made, for one slot of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRequest {
    /// Its name.
    pub name: String,
    /// The platform that makes it: written on it.
    pub platform: String,
    /// The application it is for: written on it.
    pub app: AppName,
    /// The component it is for: written on it.
    pub component: ComponentName,
    /// The slot it is for: written on it.
    pub slot: u32,
}

/// Which container of which application one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaLabels {
    /// The application.
    pub app: AppName,
    /// When that one was declared, which tells it from an earlier one of its name; `None` where a version wrote it that did not
    /// note that.
    pub declared: Option<Timestamp>,
    /// Its component.
    pub component: ComponentName,
    /// The slot that it fills; `None` for a command of the component that is run once, which is no replica.
    pub slot: Option<u32>,
    /// Counts the containers of the slot.
    pub generation: u64,
    /// The revision it was made of.
    pub revision: u64,
    /// What it was made as, of [`ComponentSpec::fingerprint`](crate::model::app::ComponentSpec::fingerprint); empty where nobody
    /// knows. By it a container is known again whose revision was lost with the store.
    pub fingerprint: String,
    /// The id of the image that it was to be made of, where no registry has that; `None` where nobody could say it.
    pub image_id: Option<ImageDigest>,
    /// The number of a command that somebody asked for; `None` for a replica, and for the command that goes before its component is
    /// replaced.
    pub run: Option<u32>,
}

/// An image that an engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundImage {
    /// What the engine itself calls it: the same on every engine that got it from one place and keeps images in the same way.
    pub id: ImageDigest,
    /// What the registry calls it that its name says, where it is from there; mostly none where it was made or loaded here.
    pub digests: Vec<ImageDigest>,
    /// When it was made, wherever that was.
    pub created: Option<Timestamp>,
}

/// How much of a container's output its host keeps: the newest files of so many megabytes.
///
/// Only where the daemon keeps output in files of its own (its drivers `json-file` and `local`), and no part of what the
/// container is: two that differ in it are of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRotation {
    /// Largest size of one file, MB; at least 1.
    pub max_size_mb: u32,
    /// How many files; at least 1.
    pub max_files: u32,
}

impl Default for LogRotation {
    /// Three files of 10 MB. Docker itself would keep everything until the disk is full.
    fn default() -> Self {
        Self { max_size_mb: 10, max_files: 3 }
    }
}

/// A container that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Docker's id: 64 hexadecimal digits, unlike every other on any host.
    pub id: ContainerId,
    /// What the host could not do as it was asked, in its own words: "limitation discarded". The container is there all the
    /// same.
    pub warnings: Vec<String>,
}

/// Which container of which request one is. The record of its launch says so as well; on the container it outlives a store
/// that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestMark {
    /// The request.
    pub request: RequestId,
    /// The containers of a request are counted from 0.
    pub index: u32,
}

/// A container as found on a host.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedContainer {
    /// Docker's id.
    pub id: ContainerId,
    /// Docker's name, with the slash before it.
    pub name: String,
    /// What it was asked to be. For a container of an application, and for others', as much as Docker shows; without the
    /// environment for one of an application, since values of secrets may be in it.
    pub spec: ContainerSpec,
    /// What it counts as while it runs: the limits that Docker enforces, and where there is none what its spec asks for.
    pub reserved: Resources,
    /// Whether `reserved` was read from the limits that Docker enforces. A list does not show them, and then what was read
    /// before counts.
    pub limits_known: bool,
    /// What it does.
    pub state: ContainerState,
    /// Ports as bound.
    pub ports: Vec<BoundPort>,
    /// When it was made.
    pub created: Timestamp,
    /// What the platform wrote on it, if the platform made it.
    pub managed: Option<Managed>,
    /// What the platform wrote on a container of another name, if this one bears that: somebody renamed it, or copied the labels
    /// of another. Which of both, the record of the launch says, which knows the container by its id.
    pub labels_of_another: Option<Box<(ContainerSpec, Managed)>>,
    /// How its program does. Of a list this has only what the list shows, but for containers of applications.
    pub run: RunState,
}

/// How the program of a container does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunState {
    /// When it was started last, by the host's clock.
    pub started: Option<Timestamp>,
    /// When it ended last, by the host's clock.
    pub ended: Option<Timestamp>,
    /// The status it ended with last. `None` while it runs: Docker forgets it at the next start.
    pub exit_code: Option<i64>,
    /// What Docker's own health check says, while it runs and there is one.
    pub health: Option<HealthStatus>,
    /// How often Docker started it again by itself since somebody started it.
    pub restarts: u64,
    /// The address of the container in its network on the host, while it runs; of several networks in the first by name.
    pub address: Option<IpAddr>,
    /// Whether somebody has taken it out of the network that it was made for.
    pub network_lost: bool,
}

/// What the platform wrote on a container of its own. [`labels::read`](super::labels::read) makes it of the labels that
/// [`labels::write`](super::labels::write) made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// The platform that made it.
    pub platform: Arc<str>,
    /// The attempt it belongs to.
    pub launch: LaunchId,
    /// Who asked for it.
    pub user: Arc<str>,
    /// What of the platform it belongs to.
    pub owner: Owner,
}

/// What of the platform a container belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// What `run` and scaling start.
    Run {
        /// The group it belongs to.
        group: Group,
        /// Which container of which request it is, where the request has a name.
        mark: Option<RequestMark>,
    },
    /// An application.
    Replica(ReplicaLabels),
    /// Something that this version does not know, by its name: such a container is shown, and otherwise left alone.
    Other(Arc<str>),
    /// Another platform, [`Managed::platform`]. No label says that: the cluster finds it out.
    OtherPlatform,
}

impl Managed {
    /// The group it belongs to, if `run` or scaling started it.
    pub fn group(&self) -> Option<&Group> {
        match &self.owner {
            Owner::Run { group, .. } => Some(group),
            Owner::Replica(_) | Owner::Other(_) | Owner::OtherPlatform => None,
        }
    }

    /// Which container of which request it is, if it is one of a request that has a name.
    pub fn mark(&self) -> Option<RequestMark> {
        match &self.owner {
            Owner::Run { mark, .. } => *mark,
            Owner::Replica(_) | Owner::Other(_) | Owner::OtherPlatform => None,
        }
    }

    /// Which container of which application it is, if it is one.
    pub fn replica(&self) -> Option<&ReplicaLabels> {
        match &self.owner {
            Owner::Replica(labels) => Some(labels),
            Owner::Run { .. } | Owner::Other(_) | Owner::OtherPlatform => None,
        }
    }

    /// What it belongs to, if that is something which this version does not know.
    pub fn other_owner(&self) -> Option<&Arc<str>> {
        match &self.owner {
            Owner::Other(owner) => Some(owner),
            Owner::Run { .. } | Owner::Replica(_) | Owner::OtherPlatform => None,
        }
    }

    /// The platform that it belongs to, if that is another one.
    pub fn other_platform(&self) -> Option<&Arc<str>> {
        matches!(self.owner, Owner::OtherPlatform).then_some(&self.platform)
    }

    /// Whether it is shown and otherwise left alone: it belongs to another platform, or to something that this version does not
    /// know.
    pub fn is_left_alone(&self) -> bool {
        matches!(self.owner, Owner::Other(_) | Owner::OtherPlatform)
    }
}

/// Something that happened on a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EngineEvent {
    /// When, by the host's clock, to the nanosecond.
    pub time: Timestamp,
    /// What: Docker's own word, such as `start`, `die`, `destroy`.
    pub action: String,
    /// The container it happened to, if it was one.
    pub container: Option<ContainerId>,
    /// Docker's name of the container or other object, without slash.
    pub name: String,
    /// The image of the container, if it was one, as it was asked for.
    pub image: Option<String>,
    /// The attempt that the container belongs to, if a platform made it.
    pub launch: Option<LaunchId>,
    /// What else the host said of it.
    pub detail: EventDetail,
}

/// What a host says of an event beside what happened to what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EventDetail {
    /// The status that the program ended with; of `die` and `exec_die`.
    pub exit_code: Option<i64>,
    /// The signal that the container was sent, as the host says it: a number as a rule; of `kill`.
    pub signal: Option<String>,
    /// What the health check found: `healthy`, `unhealthy`, `starting`; of `health_status`.
    pub health: Option<String>,
    /// The container that has left a network, of an event of the network.
    pub disconnected: Option<ContainerId>,
}

/// What the containers of a host use.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineUsage {
    /// CPUs in use, on average since the last time of asking.
    pub cpus: f64,
    /// Memory in use, MB.
    pub memory: MemoryMb,
}

/// How far a pull is.
#[derive(Clone, Debug, PartialEq)]
pub struct PullProgress {
    /// The image.
    pub image: ImageRef,
    /// Docker's words: "Downloading", "Pull complete".
    pub status: String,
    /// Bytes fetched and bytes in all, over all layers known so far.
    pub bytes: Option<(u64, u64)>,
}

/// Which output of a container to read.
#[derive(Clone, Debug, PartialEq)]
pub struct LogOptions {
    /// Its standard output.
    pub stdout: bool,
    /// Its standard error.
    pub stderr: bool,
    /// Go on as new output comes, until the container ends.
    pub follow: bool,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail: Option<u64>,
    /// Only what came at or after this time.
    pub since: Option<Timestamp>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { stdout: true, stderr: true, follow: false, timestamps: false, tail: None, since: None }
    }
}

/// Which of its two outputs a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A piece of a container's output. Not always a whole line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Where it was written to.
    pub stream: LogStream,
    /// The bytes as written.
    pub bytes: Bytes,
}

/// What comes of a command that is run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecChunk {
    /// A piece of its output.
    Output(LogChunk),
    /// It ended, with this status. Nothing comes after that.
    Ended(i64),
}
