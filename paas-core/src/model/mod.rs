//! Passive types: what the platform talks about, with their names on the wire.
//!
//! Nothing in here does I/O or holds a lock. Wishes and observations are kept apart: an [`EngineSpec`] or a
//! [`ContainerSpec`] is what somebody asked for and is stored as given; an [`Engine`] or a [`Container`] is what was
//! found, and is rebuilt from the hosts at any time.

mod account;
mod address;
pub mod app;
mod capability;
mod cluster;
mod container;
mod device;
mod engine;
mod event;
mod group;
mod health;
mod id;
mod image;
mod later;
mod logging;
mod port;
mod registry_login;
mod restart_policy;
mod role;
mod runtime;
mod signal;
mod spec;
mod subnets;
#[cfg(test)]
mod tests;
pub(crate) mod tmpfs;
pub(crate) mod ulimit;
mod units;
mod validation;
mod volume;

pub use account::{Account, NewAccount};
pub use address::{EngineAddress, SimulatedHost};
pub use capability::Capability;
pub use cluster::ClusterInfo;
pub use container::{Container, ContainerState, EngineSummary};
pub use device::Device;
pub use engine::{Engine, EngineHealth, EngineSpec, EngineStatus, HostUsage, TlsMaterial};
pub use event::{Event, EventKind, TAG_DOCKER};
pub use group::Group;
pub use health::{HealthCheck, HealthCommand, HealthStatus};
pub use id::{AccountId, ContainerId, EngineId, EventId, LaunchId, RequestId, UserName};
pub use image::{ExactImage, ImageDigest, ImageRef, Scarce};
pub use logging::Logging;
pub use port::{BindPort, BoundPort, HostPort, Protocol};
pub use registry_login::{RegistryLogin, ShownRegistryLogin};
pub use restart_policy::RestartPolicy;
pub use role::{Role, RoleName};
pub use signal::Signal;
pub use spec::{ContainerSpec, ContainerType};
pub use subnets::Subnets;
pub use ulimit::Ulimit;
pub use units::{Cpus, MemoryMb, Resources};

/// A value that cannot be what it was given for.
///
/// The message is one sentence for the person who typed the value: what is wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// The field or parameter, by its name on the wire.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Invalid {
    /// An error about `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// A port as people write it, 1 to 65535: digits and nothing else, where Rust's own reading would take a sign, too.
fn port_number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| is_plain && port > 0)
}
