//! What a component says with Docker's own words and meaning.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::{MemoryMb, Ulimit, ulimit};

/// What Docker is told of a container beside what the platform itself looks at. What is absent is Docker's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DockerOptions {
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// User, and perhaps group, of its processes.
    pub user: Option<String>,
    /// Whether a small init process reaps children.
    pub init: bool,
    /// Capabilities it gets.
    pub cap_add: BTreeSet<String>,
    /// Capabilities it does not get.
    pub cap_drop: BTreeSet<String>,
    /// Limits of its processes.
    #[serde(deserialize_with = "ulimit::read_kept")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel parameters of its name spaces.
    pub sysctls: BTreeMap<String, String>,
    /// Whether its root file system is read-only.
    pub read_only: bool,
    /// File systems in memory: `/run`, `/tmp:size=64m`.
    pub tmpfs: BTreeSet<String>,
    /// Size of `/dev/shm` in MB.
    pub shm_size: Option<MemoryMb>,
    /// Lines of its `/etc/hosts`: name and address.
    pub extra_hosts: BTreeMap<String, String>,
    /// Where its output goes.
    pub logging: Option<Logging>,
    /// Devices of the host: `/dev/fuse`, `/dev/sda:/dev/xvda:r`.
    pub devices: BTreeSet<String>,
    /// CPUs it may run on: `0-2,4`.
    pub cpuset: Option<String>,
    /// Memory that the kernel tries to leave it, MB.
    pub memory_reservation: Option<MemoryMb>,
    /// The most processes it may have; -1 for no limit.
    pub pids_limit: Option<i64>,
}

/// Where the output of a container goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// Docker's logging driver.
    pub driver: String,
    /// Its options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}
