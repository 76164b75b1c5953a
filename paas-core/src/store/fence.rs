//! Writes that are made only as long as something holds.

use std::fmt;
use std::sync::Arc;

use super::{Result, StoreError, StoreErrorKind, Table};

/// What must hold for the writes of a store: see [`Store::fenced`](super::Store::fenced). Cheap to clone.
///
/// A store looks at its fence in the last step before a write is made or sent, after everything that may take time: a
/// queue, a lock, a connection. A process that was stopped in the middle of that wakes up, looks, and writes nothing.
#[derive(Clone, Default)]
pub struct Fence {
    holds: Vec<Arc<dyn Fn() -> bool + Send + Sync>>,
    leader_keys: Vec<Arc<LeaderKey>>,
}

/// The key in etcd that is there as long as a server leads. A store on the same etcd makes it a condition of each of its
/// transactions, so that etcd itself refuses what comes too late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderKey {
    /// Which etcd it is in.
    pub cluster_id: u64,
    /// The whole key.
    pub key: String,
    /// The revision that made the key. A key of the same name that is made later is another.
    pub create_revision: i64,
}

impl Fence {
    /// Lets writes through as long as `holds` says so. It is asked for each write, so it must be quick.
    pub fn new(holds: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { holds: vec![Arc::new(holds)], leader_keys: Vec::new() }
    }

    /// The same fence, which holds only as long as `key` is there as well, for stores that can see it.
    #[must_use]
    pub fn with_leader_key(mut self, key: LeaderKey) -> Self {
        self.leader_keys.push(Arc::new(key));
        self
    }

    /// Holds as long as both do.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.holds.extend(other.holds);
        self.leader_keys.extend(other.leader_keys);
        self
    }

    /// Whether writes may be made.
    pub fn holds(&self) -> bool {
        self.holds.iter().all(|holds| holds())
    }

    /// Refuses a write once the fence does not hold. For the use of backends, right before a write is made or sent.
    ///
    /// # Errors
    /// [`StoreErrorKind::Unavailable`]: nothing was written, and another server may do it.
    pub fn check(&self, operation: &'static str, table: Table, key: &str) -> Result<()> {
        if self.holds() { Ok(()) } else { Err(Self::refusal(operation, table, key)) }
    }

    /// What a write is refused with.
    pub fn refusal(operation: &'static str, table: Table, key: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Unavailable, operation, table, key)
            .with_detail("this server does not lead any more")
    }

    /// The keys in etcd that must be there.
    pub fn leader_keys(&self) -> impl Iterator<Item = &LeaderKey> {
        self.leader_keys.iter().map(|key| &**key)
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("holds", &self.holds()).field("leader_keys", &self.leader_keys).finish()
    }
}
