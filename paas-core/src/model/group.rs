//! Which containers are identical: those that were asked to be the same in every field.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BindPort, ContainerSpec, ContainerType, Cpus, ImageRef, MemoryMb, RestartPolicy};

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
    fn fields_that_are_not_known_tell_groups_apart() {
        let unknown = |value: i32| BTreeMap::from([("later".to_owned(), serde_json::json!(value))]);
        assert_ne!(spec().group_beside(&unknown(1)), spec().group());
        assert_ne!(spec().group_beside(&unknown(1)), spec().group_beside(&unknown(2)));
    }
}
