//! Who is alive: engines that registered themselves and keep a lease, and the server that leads.
//!
//! Shaped after etcd: a lease is granted for a time and kept alive, and what was written under it vanishes with it.

mod embedded;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod url;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::{Cpus, EngineAddress, EngineId, HostUsage, MemoryMb};
use crate::store::LeaderKey;

pub use embedded::EmbeddedRegistry;
pub use error::{RegistryError, RegistryErrorKind};
#[cfg(feature = "etcd")]
pub use etcd::EtcdRegistry;
pub use url::{open_registry, registry_hosts};

/// Result of a registry's verbs.
pub type Result<T, E = RegistryError> = std::result::Result<T, E>;

/// What a Docker host says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Id of the engine.
    pub id: EngineId,
    /// Where its Docker answers.
    pub addr: EngineAddress,
    /// Its CPUs.
    pub cpus: Cpus,
    /// Its memory, MB.
    pub memory: MemoryMb,
    /// Its labels.
    #[serde(default)]
    pub labels: Vec<String>,
    /// What Docker calls the daemon, so that one daemon is not counted under two ids. Its address where it has no name that stays.
    pub daemon_id: String,
    /// Version of its Docker.
    pub docker_version: String,
    /// What is in use on the whole host, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<HostUsage>,
    /// The run of its agent, another one each time that the agent is started: known of those that register over the API. One
    /// that reaches the registry goes on with the lease of the run before, and nobody is to hear of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_run: Option<Uuid>,
}

impl Member {
    /// Whether both are the same daemon at the same place, whatever else is said of it.
    pub fn is_same_host(&self, other: &Self) -> bool {
        self.id == other.id && self.addr == other.addr && self.daemon_id == other.daemon_id
    }
}

/// A grant of time. What is bound to it vanishes when it runs out or is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub i64);

/// Point in the history of the registry. Only compared with others of the same registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

/// All members at one revision. Watching from that revision misses nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The members, by id.
    pub members: Vec<Member>,
    /// When this was so.
    pub revision: Revision,
}

/// Something that changed among the members.
#[derive(Clone, Debug, PartialEq)]
pub enum MemberChange {
    /// A member registered, or says something new of itself.
    Joined(Member, Revision),
    /// A member left, or its lease ran out.
    Left(EngineId, Revision),
    /// Somebody claimed the id of a member that is alive, and was refused. This is who it was.
    Refused(Member, Revision),
    /// Changes were missed that cannot be had any more: list again and watch from there.
    Lagged,
    /// The backend could not be heard for a while, and what happened meanwhile follows. Leases may have run out because the
    /// members could not reach it either.
    Resumed,
}

/// A backend that knows who is alive.
///
/// # Example
/// A registry that counts the leases that others grant, and what shows that it is still one. (The suite is in the feature
/// `testing`.)
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::time::Duration;
///
/// use async_trait::async_trait;
/// use futures::stream::BoxStream;
/// use paas_core::model::EngineId;
/// use paas_core::registry::{
///     EmbeddedRegistry, LeaseId, Listing, Member, MemberChange, Registry, Result, Revision,
/// };
/// use paas_core::store::LeaderKey;
///
/// #[derive(Debug)]
/// struct Counted {
///     inner: EmbeddedRegistry,
///     granted: AtomicUsize,
/// }
///
/// #[async_trait]
/// impl Registry for Counted {
///     async fn grant(&self, ttl: Duration) -> Result<LeaseId> {
///         self.granted.fetch_add(1, Ordering::Relaxed);
///         self.inner.grant(ttl).await
///     }
///     async fn keep_alive(&self, lease: LeaseId) -> Result<()> {
///         self.inner.keep_alive(lease).await
///     }
///     async fn revoke(&self, lease: LeaseId) -> Result<()> {
///         self.inner.revoke(lease).await
///     }
///     async fn register(&self, member: &Member, lease: LeaseId) -> Result<()> {
///         self.inner.register(member, lease).await
///     }
///     async fn holder(&self, id: &EngineId) -> Result<Option<(Member, LeaseId)>> {
///         self.inner.holder(id).await
///     }
///     async fn list(&self) -> Result<Listing> {
///         self.inner.list().await
///     }
///     async fn watch(&self, from: Revision) -> Result<BoxStream<'static, MemberChange>> {
///         self.inner.watch(from).await
///     }
///     async fn campaign(&self, election: &str, candidate: &str, lease: LeaseId) -> Result<Option<LeaderKey>> {
///         self.inner.campaign(election, candidate, lease).await
///     }
///     async fn leader(&self, election: &str) -> Result<Option<String>> {
///         self.inner.leader(election).await
///     }
///     async fn watch_leader(&self, election: &str) -> Result<BoxStream<'static, Option<String>>> {
///         self.inner.watch_leader(election).await
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let registry = Arc::new(Counted { inner: EmbeddedRegistry::new(), granted: AtomicUsize::new(0) });
/// # #[cfg(feature = "testing")]
/// paas_core::testing::registry::conforms(registry.clone()).await;
/// # });
/// ```
#[async_trait]
pub trait Registry: Send + Sync + fmt::Debug {
    /// Grants a lease of `ttl`, which must be kept alive before it runs out. At least one second.
    ///
    /// # Errors
    /// Only for trouble with the backend.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId>;

    /// Starts the time of a lease again.
    ///
    /// # Errors
    /// [`RegistryErrorKind::LeaseExpired`] when it ran out: what was bound to it is gone, register again.
    async fn keep_alive(&self, lease: LeaseId) -> Result<()>;

    /// Ends a lease at once, with all that is bound to it. One that ended already is no error.
    ///
    /// # Errors
    /// Only for trouble with the backend.
    async fn revoke(&self, lease: LeaseId) -> Result<()>;

    /// Registers a member under a lease. Again under the same lease, it replaces what the member said before. One that is
    /// refused because the id is taken is told to the watchers, once for as long as it says the same under the same lease.
    ///
    /// # Errors
    /// [`RegistryErrorKind::Taken`] when another live lease holds the id; [`RegistryErrorKind::LeaseExpired`].
    async fn register(&self, member: &Member, lease: LeaseId) -> Result<()>;

    /// Who is alive under an id, and the lease that holds it.
    ///
    /// # Errors
    /// Only for trouble with the backend.
    async fn holder(&self, id: &EngineId) -> Result<Option<(Member, LeaseId)>>;

    /// All members that are alive.
    ///
    /// # Errors
    /// Only for trouble with the backend.
    async fn list(&self) -> Result<Listing>;

    /// Every change after `from`, each once and in order.
    ///
    /// # Errors
    /// Only for trouble with the backend; a revision that is too old gives [`MemberChange::Lagged`] as first item.
    async fn watch(&self, from: Revision) -> Result<BoxStream<'static, MemberChange>>;

    /// Waits until `candidate` leads the election, under its lease, and answers then. It leads until the lease ends. A
    /// registry in etcd says which key shows that, so that a store on the same etcd can look at it with each write.
    /// Dropping the future gives up. Of several candidates the one that asked first comes first.
    ///
    /// # Errors
    /// [`RegistryErrorKind::LeaseExpired`] when the lease ends before.
    async fn campaign(&self, election: &str, candidate: &str, lease: LeaseId) -> Result<Option<LeaderKey>>;

    /// Who leads an election at this moment.
    ///
    /// # Errors
    /// Only for trouble with the backend.
    async fn leader(&self, election: &str) -> Result<Option<String>>;

    /// Who leads an election: at this moment, and again whenever that changes. Of several changes at once only the last is
    /// certain to be seen. The stream does not end; while the backend is away nothing comes.
    ///
    /// # Errors
    /// Only for trouble with the backend.
    async fn watch_leader(&self, election: &str) -> Result<BoxStream<'static, Option<String>>>;
}

/// The lease that keeps this very host registered already: its agent was started again, or speaks to another server, before
/// the lease of before was over. An agent that goes on with that lease, whose time is the one it was granted for, keeps the host
/// from being away for a moment when it ends.
///
/// # Errors
/// Only for trouble with the backend.
pub(crate) async fn lease_of_host(registry: &dyn Registry, member: &Member) -> Result<Option<LeaseId>> {
    match registry.holder(&member.id).await? {
        Some((known, lease)) if known.is_same_host(member) => match registry.keep_alive(lease).await {
            Ok(()) => Ok(Some(lease)),
            Err(error) if error.kind() == RegistryErrorKind::LeaseExpired => Ok(None),
            Err(error) => Err(error),
        },
        _ => Ok(None),
    }
}
