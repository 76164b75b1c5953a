//! Which containers are identical: those that were asked to be the same in every field.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    BindPort, Capability, ContainerSpec, ContainerType, Cpus, HealthCheck, ImageRef, Logging, MemoryMb, RestartPolicy,
    Signal, Ulimit,
};

/// Name of the set of containers that were asked to be the same in every field. Scaling counts and changes such a set.
///
/// The source system compared image, run arguments and memory only; two applications that differ in their environment
/// would have been one to it, and scaling one down could have destroyed the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Group(Arc<str>);

impl Group {
    /// The name as text: 16 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl ContainerSpec {
    /// The group of identical containers it belongs to; see [`Group`].
    pub fn group(&self) -> Group {
        self.group_beside(&BTreeMap::new())
    }

    /// The same for a description that has fields, too, which this version does not know: containers that differ in them
    /// are not identical.
    pub(crate) fn group_beside(&self, unknown: &BTreeMap<String, serde_json::Value>) -> Group {
        // No map here has keys other than strings, so there always is a JSON form.
        let mut digest = Sha256::new_with_prefix(serde_json::to_vec(&Canonical::of(self)).unwrap_or_default());
        if !unknown.is_empty() {
            digest.update(serde_json::to_vec(unknown).unwrap_or_default());
        }
        Group(hex::encode(&digest.finalize()[..8]).into())
    }
}

/// A description without whatever has its default, so that a field that a later version adds changes the identity of no
/// container that does without it. A new field goes at the end, and is left out by default.
#[derive(Serialize)]
struct Canonical<'a> {
    name: &'a ImageRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpus: Option<Cpus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpuset: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryMb>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    args: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domainname: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "is_default")]
    kind: ContainerType,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    labels: &'a BTreeSet<String>,
    #[serde(skip_serializing_if = "<[BindPort]>::is_empty")]
    bind_ports: &'a [BindPort],
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    volumes: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    links: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    restart_policy: RestartPolicy,
    #[serde(skip_serializing_if = "is_default")]
    publish: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init: Option<bool>,
    #[serde(skip_serializing_if = "is_default")]
    read_only: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tmpfs: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    shm_size: Option<MemoryMb>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    cap_add: &'a BTreeSet<Capability>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    cap_drop: &'a BTreeSet<Capability>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ulimits: &'a BTreeMap<String, Ulimit>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctls: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    extra_hosts: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    logging: Option<&'a Logging>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    devices: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_reservation: Option<MemoryMb>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pids_limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<&'a Signal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_timeout: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<&'a HealthCheck>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    docker_labels: &'a BTreeMap<String, String>,
}

impl<'a> Canonical<'a> {
    fn of(spec: &'a ContainerSpec) -> Self {
        // Every field by its name: a new one does not compile before it stands here.
        let ContainerSpec {
            name,
            cpus,
            cpuset,
            memory,
            entrypoint,
            args,
            environment,
            hostname,
            domainname,
            kind,
            labels,
            bind_ports,
            user_data,
            volumes,
            links,
            restart_policy,
            publish,
            network_mode,
            user,
            init,
            read_only,
            tmpfs,
            shm_size,
            cap_add,
            cap_drop,
            ulimits,
            sysctls,
            extra_hosts,
            logging,
            devices,
            memory_reservation,
            pids_limit,
            stop_signal,
            stop_timeout,
            health,
            docker_labels,
        } = spec;
        Self {
            name,
            cpus: *cpus,
            cpuset: cpuset.as_deref(),
            memory: *memory,
            entrypoint,
            args,
            environment,
            hostname: hostname.as_deref(),
            domainname: domainname.as_deref(),
            kind: *kind,
            labels,
            bind_ports,
            user_data: user_data.as_deref(),
            volumes,
            links,
            restart_policy: *restart_policy,
            publish: *publish,
            network_mode: Some(network_mode.as_str()).filter(|mode| *mode != "bridge"),
            user: user.as_deref(),
            init: *init,
            read_only: *read_only,
            tmpfs,
            shm_size: *shm_size,
            cap_add,
            cap_drop,
            ulimits,
            sysctls,
            extra_hosts,
            logging: logging.as_ref(),
            devices,
            memory_reservation: *memory_reservation,
            pids_limit: *pids_limit,
            stop_signal: stop_signal.as_ref(),
            stop_timeout: *stop_timeout,
            health: health.as_ref(),
            docker_labels,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec::new("httpd:2".parse().unwrap())
    }

    #[test]
    fn only_equal_descriptions_share_a_group() {
        let mut other = spec();
        assert_eq!(other.group(), spec().group());
        other.environment.insert("A".into(), "1".into());
        assert_ne!(other.group(), spec().group());
        for change in [
            |spec: &mut ContainerSpec| spec.kind = ContainerType::Unique,
            |spec: &mut ContainerSpec| spec.restart_policy = RestartPolicy::Always,
            |spec: &mut ContainerSpec| spec.network_mode = "none".into(),
            |spec: &mut ContainerSpec| spec.publish = true,
        ] {
            let mut other = spec();
            change(&mut other);
            assert_ne!(other.group(), spec().group(), "{other:?}");
        }
    }

    #[test]
    fn what_has_its_default_is_not_part_of_the_identity() {
        let canonical = |spec: &ContainerSpec| serde_json::to_string(&Canonical::of(spec)).unwrap();
        assert_eq!(canonical(&spec()), r#"{"name":"httpd:2"}"#);
        let plain = Sha256::digest(r#"{"name":"httpd:2"}"#);
        assert_eq!(spec().group().as_str(), hex::encode(&plain[..8]));
    }

    #[test]
    fn every_field_is_part_of_the_identity() {
        let full: serde_json::Value = serde_json::from_str(include_str!("golden/spec-full.json")).unwrap();
        let least = spec().group();
        for (field, value) in full.as_object().unwrap().iter().filter(|(field, _)| *field != "name") {
            let one = serde_json::json!({"name": "httpd:2", field: value});
            let other: ContainerSpec = serde_json::from_value(one).unwrap();
            assert_ne!(other.group(), least, "{field}");
            let written = serde_json::to_value(Canonical::of(&other)).unwrap();
            assert_eq!(written, serde_json::json!({"name": "httpd:2", field: value}), "and nothing else is");
        }
        let whole: ContainerSpec = serde_json::from_value(full.clone()).unwrap();
        assert_eq!(serde_json::to_value(Canonical::of(&whole)).unwrap(), full);
    }

    #[test]
    fn fields_that_are_not_known_tell_groups_apart() {
        let unknown = |value: i32| BTreeMap::from([("later".to_owned(), serde_json::json!(value))]);
        assert_ne!(spec().group_beside(&unknown(1)), spec().group());
        assert_ne!(spec().group_beside(&unknown(1)), spec().group_beside(&unknown(2)));
    }
}
