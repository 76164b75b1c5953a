//! What goes to an engine and what comes back.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::model::{
    BoundPort, ContainerId, ContainerSpec, ContainerState, Cpus, EngineId, Group, ImageRef, LaunchId, MemoryMb,
    RequestId, Resources,
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
    /// The networks that somebody made there, by name and by id. `None` where the host does not tell, or can reach others
    /// than those that it tells of.
    pub networks: Option<BTreeSet<String>>,
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
    /// What it was asked to be; for others' containers as much as Docker shows.
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
}

/// What the platform wrote on a container of its own. [`labels::read`](super::labels::read) makes it of the labels that
/// [`labels::write`](super::labels::write) made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// The platform that made it.
    pub platform: Arc<str>,
    /// The attempt it belongs to.
    pub launch: LaunchId,
    /// The group it belongs to.
    pub group: Group,
    /// Who asked for it.
    pub user: Arc<str>,
    /// Which container of which request it is, where the request has a name.
    pub mark: Option<RequestMark>,
    /// What of the platform it belongs to, where that is something this version does not know: such a container is shown,
    /// and otherwise left alone.
    pub other_owner: Option<Arc<str>>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
