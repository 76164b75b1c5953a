//! A component as it is written: nearly everything may be left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::Period;
use crate::model::app::{EnvValue, Logging, OnFailure, Parallel, Replicas, SecretName, Spread, UpdateOrder};
use crate::model::{Cpus, MemoryMb, Ulimit};

/// `[component.NAME]` of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "each field is explained where it is normalised: crate::model::app::ComponentSpec")]
pub struct ComponentRequest {
    pub image: Option<String>,
    pub replicas: Option<Replicas>,
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub env: BTreeMap<String, EnvRequest>,
    pub secrets: Vec<SecretRequest>,
    pub configs: Vec<ConfigRequest>,
    pub cpus: Option<Cpus>,
    pub memory: Option<MemoryMb>,
    pub port: Option<u16>,
    pub ports: BTreeMap<String, u16>,
    pub publish: Vec<String>,
    pub health: Option<HealthRequest>,
    pub stop: StopRequest,
    pub update: UpdateRequest,
    pub heal: HealRequest,
    pub place: PlaceRequest,
    pub before: Option<BeforeRequest>,
    pub volumes: Vec<VolumeRequest>,
    pub restart: Option<String>,
    pub route: Vec<RouteRequest>,
    pub uses: Vec<String>,
    pub depends_on: BTreeSet<String>,
    pub allow: BTreeSet<String>,
    pub labels: BTreeMap<String, String>,
    pub hostname: Option<String>,
    pub user: Option<String>,
    pub init: bool,
    pub cap_add: BTreeSet<String>,
    pub cap_drop: BTreeSet<String>,
    pub ulimits: BTreeMap<String, Ulimit>,
    pub sysctls: BTreeMap<String, String>,
    pub read_only: bool,
    pub tmpfs: BTreeSet<String>,
    pub shm_size: Option<MemoryMb>,
    pub extra_hosts: BTreeMap<String, String>,
    pub logging: Option<Logging>,
    pub devices: BTreeSet<String>,
    pub cpuset: Option<String>,
    pub memory_reservation: Option<MemoryMb>,
    pub pids_limit: Option<i64>,
}

/// A secret as a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRequest {
    /// Name of the secret.
    pub name: String,
    /// Path of the file in the container; `/run/secrets/NAME` when absent.
    #[serde(default)]
    pub file: Option<String>,
    /// Permissions in octal digits; `0400` when absent.
    #[serde(default)]
    pub mode: Option<String>,
    /// Who owns it, by number; the `user` of the component when absent, or root where that is none or a name.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Its group, likewise.
    #[serde(default)]
    pub gid: Option<u32>,
}

/// A file that is sent with the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigRequest {
    /// Name of the file beside the application's own.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Permissions in octal digits; `0444` when absent.
    #[serde(default)]
    pub mode: Option<String>,
    /// Who owns it, by number; the `user` of the component when absent, or root where that is none or a name.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Its group, likewise.
    #[serde(default)]
    pub gid: Option<u32>,
    /// SHA-256 of the content; the program that sends the file fills it in.
    #[serde(default)]
    pub sha256: Option<String>,
}

impl ConfigRequest {
    /// The most that one file may have, bytes.
    pub const LARGEST: usize = 512 << 10;
    /// The most that all files of an application may have together, bytes.
    pub const LARGEST_TOGETHER: u64 = 4 << 20;

    /// The SHA-256 of what is in a file, as it is written.
    pub fn sum_of(content: &[u8]) -> String {
        hex::encode(Sha256::digest(content))
    }
}

/// How it is found out whether a replica works: exactly one of `http`, `tcp` and `command`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see crate::model::app::HealthCheck")]
pub struct HealthRequest {
    pub http: Option<String>,
    pub tcp: bool,
    pub command: Vec<String>,
    pub port: Option<String>,
    pub interval: Option<Period>,
    pub timeout: Option<Period>,
    pub start: Option<Period>,
    pub failures: Option<u32>,
}

/// How a replica is stopped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see crate::model::app::StopPolicy")]
pub struct StopRequest {
    pub signal: Option<String>,
    pub grace: Option<Period>,
}

/// How replicas are replaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see crate::model::app::UpdatePolicy")]
pub struct UpdateRequest {
    pub order: Option<UpdateOrder>,
    pub parallel: Option<Parallel>,
    pub monitor: Option<Period>,
    pub drain: Option<Period>,
    pub progress: Option<Period>,
    pub on_failure: Option<OnFailure>,
}

/// When a replica is placed elsewhere. `after` is a duration or `never`, which may stand in the place of the table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see crate::model::app::HealPolicy")]
pub struct HealRequest {
    pub after: Option<String>,
    pub singleton: bool,
}

impl<'de> Deserialize<'de> for HealRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Table {
            after: Option<String>,
            singleton: bool,
        }
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = HealRequest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"never\", or { after = \"5s\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<HealRequest, E> {
                Ok(HealRequest { after: Some(text.to_owned()), singleton: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<HealRequest, A::Error> {
                let Table { after, singleton } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(HealRequest { after, singleton })
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// Where replicas are placed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see crate::model::app::PlacePolicy")]
pub struct PlaceRequest {
    pub labels: BTreeSet<String>,
    pub spread: Spread,
    pub prefer: Vec<String>,
}

/// What runs once before a rollout replaces anything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "see crate::model::app::BeforeCommand")]
pub struct BeforeRequest {
    pub command: Vec<String>,
    pub timeout: Option<Period>,
    pub retry: bool,
}

/// A name by which the ingress reaches the component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "see crate::model::app::Route")]
pub struct RouteRequest {
    pub host: String,
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub tls: Option<String>,
}

/// A volume: `data:/var/lib/app:ro`, or a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs, reason = "see crate::model::app::VolumeMount")]
pub struct VolumeRequest {
    pub name: String,
    pub target: String,
    pub mode: String,
    pub shared: bool,
}

impl<'de> Deserialize<'de> for VolumeRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            name: String,
            target: String,
            #[serde(default)]
            mode: String,
            #[serde(default)]
            shared: bool,
        }
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = VolumeRequest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"NAME:/path\", \"/host/path:/path:ro\", or { name = \"NAME\", target = \"/path\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<VolumeRequest, E> {
                let parts: Vec<&str> = text.split(':').collect();
                let (name, target, mode) = match *parts.as_slice() {
                    [name, target] => (name, target, ""),
                    [name, target, mode] => (name, target, mode),
                    _ => return Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                };
                Ok(VolumeRequest {
                    name: name.to_owned(),
                    target: target.to_owned(),
                    mode: mode.to_owned(),
                    shared: false,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<VolumeRequest, A::Error> {
                let Table { name, target, mode, shared } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(VolumeRequest { name, target, mode, shared })
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// The value of an environment variable: a text, or `{ secret = "name" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct EnvRequest(pub EnvValue);

impl<'de> Deserialize<'de> for EnvRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            secret: SecretName,
        }
        fn plain(text: String) -> EnvRequest {
            EnvRequest(EnvValue::Text(text))
        }
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = EnvRequest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or { secret = \"name\" }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<EnvRequest, E> {
                Ok(plain(text.to_owned()))
            }

            // A port or a flag is easily written without quotes, and there is one way only to write it as text.
            fn visit_u64<E: Error>(self, number: u64) -> Result<EnvRequest, E> {
                Ok(plain(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<EnvRequest, E> {
                Ok(plain(number.to_string()))
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<EnvRequest, E> {
                Ok(plain(flag.to_string()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EnvRequest, A::Error> {
                let Table { secret } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(EnvRequest(EnvValue::Secret { secret, version: None }))
            }
        }
        deserializer.deserialize_any(Form)
    }
}
