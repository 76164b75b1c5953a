//! What a container is asked to be: the "image" of the remote API.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    BindPort, Capability, Cpus, EngineId, HealthCheck, HostPort, ImageRef, Logging, MemoryMb, Resources, RestartPolicy,
    Signal, Ulimit,
};

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
    /// User, and perhaps group, that the program runs as, by name or number: `1000:1000`. The image's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether Docker puts a small program before that of the image, which takes care of processes that nobody waits for. What the
    /// host does by itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Nothing can be written but to volumes and `tmpfs`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// File systems in memory, as Docker writes them: `/run`, `/tmp:size=64m`. What is in them counts as memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
    /// Size of `/dev/shm` in MB, which counts as memory; Docker has 64 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<MemoryMb>,
    /// Capabilities beyond those that Docker gives.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_add: BTreeSet<Capability>,
    /// Capabilities that Docker gives, and this one does without.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cap_drop: BTreeSet<Capability>,
    /// Limits of each process, by name: `nofile`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Settings of the kernel that the container has for itself: `net.core.somaxconn`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Host names that it knows beside others, as Docker writes them: `db.example.org:10.0.0.5`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<String>,
    /// Where its output goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// Devices of the host, as Docker writes them: `/dev/fuse`, `/dev/sda:/dev/xvda:r`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Memory in MB that the kernel leaves to it when the host runs short; at most `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<MemoryMb>,
    /// How many processes and threads it may have; -1 for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    /// The signal that asks it to end; that of the image, or `SIGTERM`, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<Signal>,
    /// How many seconds it has to end before it is killed, where a stop does not say; 10 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<u32>,
    /// How Docker finds out whether it is well; as the image says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Labels for Docker and whoever else reads them. `labels` are those of the engine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub docker_labels: BTreeMap<String, String>,
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
            user: None,
            init: None,
            read_only: false,
            tmpfs: Vec::new(),
            shm_size: None,
            cap_add: BTreeSet::new(),
            cap_drop: BTreeSet::new(),
            ulimits: BTreeMap::new(),
            sysctls: BTreeMap::new(),
            extra_hosts: Vec::new(),
            logging: None,
            devices: Vec::new(),
            memory_reservation: None,
            pids_limit: None,
            stop_signal: None,
            stop_timeout: None,
            health: None,
            docker_labels: BTreeMap::new(),
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

    /// Whether it is in the network that every host has for those that name none.
    pub fn is_in_default_network(&self) -> bool {
        matches!(self.network_mode.as_str(), "" | "default" | "bridge")
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
    fn what_can_be_written_in_several_ways_is_read_in_all_of_them() {
        let text = r#"{"name":"httpd","cap_add":["cap_net_admin","NET_ADMIN"],"ulimits":{"nofile":1024},"stop_signal":"int",
            "health":{"command":"curl localhost || exit 1","interval":"1m30s","timeout":"1.5s"}}"#;
        let parsed: ContainerSpec = serde_json::from_str(text).unwrap();
        let written = serde_json::to_value(&parsed).unwrap();
        assert_eq!(written["cap_add"], serde_json::json!(["NET_ADMIN"]));
        assert_eq!(written["ulimits"], serde_json::json!({"nofile": {"soft": 1024, "hard": 1024}}));
        assert_eq!((&written["stop_signal"], &written["health"]["interval"]), (&"SIGINT".into(), &"1m 30s".into()));
        let (health, milliseconds) = (parsed.health.unwrap(), std::time::Duration::from_millis);
        assert_eq!((health.interval, health.timeout), (Some(milliseconds(90_000)), Some(milliseconds(1500))));
        assert_eq!(health.command, Some(crate::model::HealthCommand::Shell("curl localhost || exit 1".into())));
        for wrong in [
            r#""cap_add":["ROOT"]"#,
            r#""stop_signal":"SIGNOTHING""#,
            r#""shm_size":-1"#,
            r#""ulimits":{"nofile":{"soft":1}}"#,
            r#""health":{"interval":"-1s"}"#,
            r#""health":{"interval":5}"#,
            r#""logging":{"drvier":"local"}"#,
        ] {
            assert!(
                serde_json::from_str::<ContainerSpec>(&format!(r#"{{"name":"httpd",{wrong}}}"#)).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        let text = include_str!("golden/spec-full.json");
        let parsed: ContainerSpec = serde_json::from_str(text).unwrap();
        parsed.validate().unwrap();
        let given: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), given);
    }
}
