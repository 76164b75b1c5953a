//! Containers as they were found on a host.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BoundPort, ContainerId, ContainerSpec, Cpus, EngineId, MemoryMb};

/// A container on one of the engines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Docker's id of it.
    pub id: ContainerId,
    /// Docker's name of it, with the slash that Docker puts before it.
    pub name: String,
    /// What it was asked to be. For a container that somebody else started: as much of it as Docker shows.
    #[serde(deserialize_with = "super::later::known")]
    pub image: Arc<ContainerSpec>,
    /// The engine it is on.
    pub engine: Arc<EngineSummary>,
    /// What it does now.
    pub state: ContainerState,
    /// Its ports, as Docker bound them. Empty unless it runs.
    #[serde(default)]
    pub ports: Vec<BoundPort>,
    /// When Docker made it.
    pub created: Timestamp,
    /// Whether this platform started it. Others' containers are shown and count against the engine's room.
    pub managed: bool,
}

/// What is said about an engine beside each of its containers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSummary {
    /// The engine's id.
    pub id: EngineId,
    /// Its address.
    pub addr: String,
    /// Its CPUs; 0 until it answered once.
    pub cpus: Cpus,
    /// Its memory in MB; 0 until it answered once.
    pub memory: MemoryMb,
    /// Its labels.
    pub labels: Vec<String>,
    /// True where the engine only pretends to run containers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, and not started yet.
    Created,
    /// Running.
    Running,
    /// Running, and frozen.
    Paused,
    /// Ended, and about to be started again by Docker.
    Restarting,
    /// Ended.
    Stopped,
    /// Its engine does not answer.
    Unknown,
}

impl ContainerState {
    /// Whether it holds CPU, memory and ports of its engine.
    pub const fn holds_resources(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting | Self::Unknown)
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_server_shows_of_a_description_is_no_reason_not_to_show_the_rest() {
        let id = "a".repeat(64);
        let read = |image: &str| {
            let engine = r#"{"id": "e", "addr": "tcp://e", "cpus": 1, "memory": 1, "labels": []}"#;
            serde_json::from_str::<Container>(&format!(
                r#"{{"id": "{id}", "name": "/a", "image": {image}, "engine": {engine}, "state": "running",
                    "created": "2026-01-01T00:00:00Z", "managed": true}}"#
            ))
        };
        let later = read(r#"{"name": "httpd", "user": "www", "later": {"a": 1}, "type": "gang"}"#).unwrap();
        let mut expected = ContainerSpec::new("httpd".parse().unwrap());
        expected.user = Some("www".to_owned());
        assert_eq!(*later.image, expected);
        assert!(read(r#"{"memory": 64}"#).is_err() && read("7").is_err(), "but there is an image");
    }
}
