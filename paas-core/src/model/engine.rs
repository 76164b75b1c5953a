//! Docker hosts: what the operator says of one, and what was found.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::units::any_cpus;
use super::validation::{LABELS, is_label, shortened};
use super::{Cpus, EngineAddress, EngineId, Invalid, MemoryMb, RegistryLogin, UserName};

/// What an operator says of a Docker host. Stored as given, secrets included; never sent out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineSpec {
    /// The engine's id.
    pub id: EngineId,
    /// Where it answers, and which kind it is.
    pub addr: EngineAddress,
    /// CPUs to give out; what the host reports when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// Memory to give out, MB; what the host reports when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryMb>,
    /// Labels that containers can ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Certificates for an `https://` address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMaterial>,
    /// Login to an image registry, for this engine alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_login: Option<RegistryLogin>,
    /// True while the engine shall get no new containers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// The account that added it, where that is no admin's. The platform writes it, whatever it is asked. Such an engine is sent
    /// none of the platform's logins to image registries. Nothing on an engine of a version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_by: Option<UserName>,
}

impl EngineSpec {
    /// An engine at `addr` of which everything else is found by asking it.
    pub fn new(id: EngineId, addr: EngineAddress) -> Self {
        Self {
            id,
            addr,
            cpus: None,
            memory: None,
            labels: Vec::new(),
            tls: None,
            registry_login: None,
            draining: false,
            added_by: None,
        }
    }

    /// Checks everything that the types do not.
    ///
    /// # Errors
    /// Names the first field that cannot be so, and what would be right.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.addr.validate()?;
        if self.cpus == Some(Cpus::ZERO) {
            return Err(Invalid::new("cpus", "must be more than 0; leave it out to use what the host reports"));
        }
        if self.memory.is_some_and(|memory| memory == MemoryMb::ZERO || memory > MemoryMb::MAX) {
            return Err(Invalid::new(
                "memory",
                format!("must be 1 to {} MB; leave it out to use what the host reports", MemoryMb::MAX),
            ));
        }
        if let Some(label) = self.labels.iter().find(|label| !is_label(label)) {
            return Err(Invalid::new("labels", format!("{:?} {LABELS}", shortened(label))));
        }
        if let Some(login) = &self.registry_login {
            login.validate().map_err(|wrong| Invalid::new(format!("registry_login.{}", wrong.field), wrong.message))?;
        }
        if self.tls.is_some() && !matches!(self.addr, EngineAddress::Https { .. }) {
            return Err(Invalid::new("tls", "certificates are for an https:// address"));
        }
        Ok(())
    }
}

/// Certificates for an engine that wants TLS; each in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsMaterial {
    /// Certificate of the authority that signed the engine's certificate.
    pub ca_cert: String,
    /// Our own certificate.
    pub cert: String,
    /// The private key of our certificate.
    pub key: String,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsMaterial(..)")
    }
}

/// An engine as shown to people: what was asked and what was found. Holds no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// The engine's id.
    pub id: EngineId,
    /// Where it answers.
    pub addr: String,
    /// CPUs to give out; 0 until it answered once.
    #[serde(deserialize_with = "any_cpus")]
    pub cpus: Cpus,
    /// Memory to give out, MB; 0 until it answered once.
    pub memory: MemoryMb,
    /// CPUs reserved for containers and for placements in flight.
    #[serde(deserialize_with = "any_cpus")]
    pub reserved_cpus: Cpus,
    /// Memory reserved for containers and for placements in flight, MB.
    pub reserved_memory: MemoryMb,
    /// Containers on it, the stopped ones included.
    pub containers: usize,
    /// Labels that containers can ask for.
    pub labels: Vec<String>,
    /// Whether it answers.
    pub health: EngineHealth,
    /// True while it gets no new containers.
    pub draining: bool,
    /// Whether it is reached with TLS.
    pub tls: bool,
    /// The user it logs in to the image registry as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_user: Option<String>,
    /// The account that added it, where that is no admin's: it is sent none of the platform's logins to image registries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_by: Option<UserName>,
    /// Version of Docker; absent until it answered once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_version: Option<String>,
    /// What a person should know of it beside its health, a sentence each: what the host says that it cannot do, such as
    /// limits that its kernel does not know, and what makes no sense about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// True where it only pretends to run containers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulated: bool,
}

/// Whether an engine answers, and how fast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineHealth {
    /// Where it stands.
    pub status: EngineStatus,
    /// How long its last answer took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_time_ms: Option<u64>,
    /// Why it is not up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when the status is what it is.
    pub since: Timestamp,
}

/// What is in use on a whole host: by containers, and by everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostUsage {
    /// CPUs in use, on average over the last while.
    pub cpus: f64,
    /// Memory in use, MB: what is not available to programs any more.
    pub memory: MemoryMb,
}

/// Where an engine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineStatus {
    /// Added, and has not answered yet.
    Pending,
    /// Answers, and takes containers.
    Up,
    /// Missed a probe; takes no containers until it answers again.
    Suspect,
    /// Does not answer.
    Down,
    /// Is the same Docker daemon as another engine, and takes no containers.
    Duplicate,
}

impl EngineStatus {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Duplicate => "duplicate",
        }
    }
}

impl fmt::Display for EngineStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
