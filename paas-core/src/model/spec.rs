//! What a container is asked to be: the "image" of the remote API.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BindPort, Cpus, EngineId, HostPort, ImageRef, MemoryMb, Resources, RestartPolicy};

/// The description of a container: everything that a run request says about it, and everything that an inspected
/// container gives back. It is written on the container itself as a label, so it survives the loss of every database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// Image to run.
    pub name: ImageRef,
    /// Share of CPU. Given: reserved and enforced as a limit. Absent: [`Cpus::DEFAULT_RESERVATION`] is reserved and
    /// enforced as a weight only, so the container may use what others leave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// CPUs it may run on, as Docker writes them: `0-2,4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// Memory in MB, reserved and enforced; [`MemoryMb::DEFAULT_RESERVATION`] when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryMb>,
    /// Replaces the image's entry point when not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Replaces the image's command when not empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Host name inside; Docker uses the short id when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Domain name inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// How it is placed.
    #[serde(default, rename = "type")]
    pub kind: ContainerType,
    /// Labels the engine must carry; `host:<engine id>` for [`ContainerType::Host`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", deserialize_with = "without_empty")]
    pub labels: BTreeSet<String>,
    /// Ports to publish on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bind_ports: Vec<BindPort>,
    /// Free text for the program inside, which reads it from the environment variable `PAAS_USER_DATA`. At most
    /// 100 KiB, without a zero byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// Volumes and host directories, as Docker writes them: `data:/var/lib/app`, `/srv/www:/www:ro`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Containers it talks to, by name or unique id prefix, and the host name it knows each by. It is placed on the
    /// same engine, and the names follow those containers when they restart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// What Docker does when it ends.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Publish every port that the image exposes, each on a free port of the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publish: bool,
    /// `bridge` (default), `host`, `none`, `container:<name>` or the name of a Docker network.
    #[serde(default = "default_network")]
    pub network_mode: String,
}

fn default_network() -> String {
    "bridge".to_owned()
}

/// The source system wrote `"labels": [""]` for "no labels".
fn without_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let labels = BTreeSet::<String>::deserialize(deserializer)?;
    Ok(labels.into_iter().filter(|label| !label.is_empty()).collect())
}

impl ContainerSpec {
    /// The name of the variable that holds `user_data` inside the container.
    pub const USER_DATA_VARIABLE: &'static str = "PAAS_USER_DATA";

    /// A container of `image` with every default.
    pub fn new(image: ImageRef) -> Self {
        Self {
            name: image,
            cpus: None,
            cpuset: None,
            memory: None,
            entrypoint: Vec::new(),
            args: Vec::new(),
            environment: BTreeMap::new(),
            hostname: None,
            domainname: None,
            kind: ContainerType::default(),
            labels: BTreeSet::new(),
            bind_ports: Vec::new(),
            user_data: None,
            volumes: Vec::new(),
            links: BTreeMap::new(),
            restart_policy: RestartPolicy::default(),
            publish: false,
            network_mode: default_network(),
        }
    }

    /// What is reserved for the container: the sizes it asks for, or the defaults.
    pub fn reserved(&self) -> Resources {
        Resources {
            cpus: self.cpus.unwrap_or(Cpus::DEFAULT_RESERVATION),
            memory: self.memory.unwrap_or(MemoryMb::DEFAULT_RESERVATION),
        }
    }

    /// The ports of the host that it asks for by number.
    pub fn host_ports(&self) -> Vec<HostPort> {
        self.bind_ports.iter().filter_map(BindPort::host).collect()
    }

    /// The engine that a container of type `host` asks for.
    pub fn asked_host(&self) -> Option<EngineId> {
        self.labels.iter().find_map(|label| label.strip_prefix("host:")?.parse().ok())
    }

    /// The network that it names and that somebody has to have made on its host; none for those that every host has.
    pub fn named_network(&self) -> Option<&str> {
        let mode = self.network_mode.as_str();
        let is_everywhere =
            matches!(mode, "" | "default" | "bridge" | "host" | "none") || mode.starts_with("container:");
        (!is_everywhere).then_some(mode)
    }

    /// The highest CPU of its host, counted from 0, that it asks for by number.
    pub fn highest_cpu(&self) -> Option<u32> {
        let numbers = self.cpuset.as_deref()?.split([',', '-']);
        numbers.filter_map(|number| number.parse::<u32>().ok()).max()
    }
}

/// How a container is placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerType {
    /// On any engine that carries every label asked for.
    #[default]
    Service,
    /// On an engine that has no container of that image yet; labels are not looked at.
    Unique,
    /// Both: every label asked for, and no container of that image yet.
    Multi,
    /// On the engine named by the label `host:<engine id>`.
    Host,
}

impl ContainerType {
    /// Whether the engine must carry the labels asked for.
    pub const fn needs_labels(self) -> bool {
        matches!(self, Self::Service | Self::Multi)
    }

    /// Whether the engine must be without a container of the same image.
    pub const fn needs_unique(self) -> bool {
        matches!(self, Self::Unique | Self::Multi)
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Unique => "unique",
            Self::Multi => "multi",
            Self::Host => "host",
        }
    }
}

impl fmt::Display for ContainerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec::new("httpd".parse().unwrap())
    }

    #[test]
    fn the_least_that_can_be_said_is_an_image() {
        let parsed: ContainerSpec = serde_json::from_str(r#"{"name":"httpd"}"#).unwrap();
        assert_eq!(parsed, spec());
        assert_eq!(parsed.reserved(), Resources { cpus: Cpus::from_milli(100), memory: MemoryMb::new(256) });
    }

    #[test]
    fn the_source_systems_own_example_is_read() {
        let text = r#"{"name":"ubuntu:14.04","cpus":0.1,"memory":20,"hostname":"714e01115f76","type":"service",
            "labels":[""],"restart_policy":{"name":"no"},"network_mode":"bridge"}"#;
        let parsed: ContainerSpec = serde_json::from_str(text).unwrap();
        assert!(parsed.labels.is_empty());
        parsed.validate().unwrap();
    }

    #[test]
    fn unknown_fields_and_types_are_refused() {
        assert!(serde_json::from_str::<ContainerSpec>(r#"{"name":"httpd","memroy":1}"#).is_err());
        assert!(serde_json::from_str::<ContainerSpec>(r#"{"name":"httpd","type":"gang"}"#).is_err());
        assert!(serde_json::from_str::<ContainerSpec>(r#"{"name":"httpd","memory":-1}"#).is_err());
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        let text = r#"{"name":"httpd","cpus":0.5,"cpuset":"0","memory":64,"entrypoint":["/bin/sh"],"args":["-c","true"],
            "environment":{"A":"1"},"hostname":"web","domainname":"example.org","type":"host","labels":["host:local"],
            "bind_ports":[{"proto":"tcp","host_ip":"127.0.0.1","port":8080,"container_port":80}],"user_data":"hi",
            "volumes":["data:/data"],"links":{"db":"database"},
            "restart_policy":{"name":"on-failure","maximum_retry":3},"publish":true,"network_mode":"bridge"}"#;
        let parsed: ContainerSpec = serde_json::from_str(text).unwrap();
        parsed.validate().unwrap();
        let given: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), given);
    }
}
