//! What the platform does not do unasked: act by an old store, or give a host up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::{App, Apps};
use crate::apps::convert::volume_name;
use crate::apps::{Desired, Volume};
use crate::cluster::{Cluster, EngineReach, ReplicaContainer};
use crate::model::EngineId;
use crate::store::tables::{PLATFORM, STORE};
use crate::store::{Collection, Result, Store, StoreErrorKind};

/// The key of what says that applications are acted on by this very store. It is in no copy of the store.
const RECONCILED: &str = "reconciled";
/// The key of the hosts that are gone for good.
const LOST_HOSTS: &str = "lost_hosts";

/// Applications are acted on by this store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reconciled {
    /// When somebody said that it is right although it is a copy, or older than what runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resumed: Option<Timestamp>,
}

/// Whether the store may be acted by, and which hosts are gone for good.
#[derive(Debug)]
pub(super) struct Caution {
    reconciled: Collection<Reconciled>,
    hosts: Collection<BTreeSet<EngineId>>,
    resumed: RwLock<Option<Timestamp>>,
    lost: RwLock<BTreeSet<EngineId>>,
}

impl Caution {
    pub(super) fn new(store: &Arc<dyn Store>) -> Self {
        Self {
            reconciled: Collection::new(store.clone(), STORE),
            hosts: Collection::new(store.clone(), PLATFORM),
            resumed: RwLock::default(),
            lost: RwLock::default(),
        }
    }

    /// Reads what is kept. Whether the store is one that was never acted by, and has applications all the same: a copy.
    pub(super) async fn load(&self, has_applications: bool) -> Result<bool> {
        let lost = self.hosts.get(LOST_HOSTS).await?;
        *self.lost.write() = lost.map(|lost| lost.value).unwrap_or_default();
        if let Some(kept) = self.reconciled.get(RECONCILED).await? {
            *self.resumed.write() = kept.value.resumed;
            return Ok(false);
        }
        if !has_applications {
            self.note_resumed(None).await?;
        }
        Ok(has_applications)
    }

    async fn note_resumed(&self, resumed: Option<Timestamp>) -> Result<()> {
        match self.reconciled.insert(RECONCILED, &Reconciled { resumed }).await {
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
                self.reconciled.update(RECONCILED, |kept| kept.resumed = resumed.or(kept.resumed)).await?;
            }
            other => drop(other?),
        }
        *self.resumed.write() = resumed;
        Ok(())
    }

    pub(super) async fn change_lost(&self, change: impl Fn(&mut BTreeSet<EngineId>) + Send) -> Result<()> {
        let mut first = BTreeSet::new();
        change(&mut first);
        let now = match self.hosts.insert(LOST_HOSTS, &first).await {
            Ok(_) => first,
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
                self.hosts.update(LOST_HOSTS, change).await?
            }
            Err(error) => return Err(error),
        };
        *self.lost.write() = now;
        Ok(())
    }

    /// The hosts that are gone for good.
    pub(super) fn lost(&self) -> BTreeSet<EngineId> {
        self.lost.read().clone()
    }
}

impl Apps {
    /// Acts on applications again, by the store as it is.
    ///
    /// # Errors
    /// The store did not take it.
    pub(crate) async fn resume(&self) -> Result<()> {
        self.caution.note_resumed(Some(self.now())).await?;
        *self.acts_since.lock() = self.now();
        self.observe_only.store(false, Ordering::Relaxed);
        self.wake_all();
        Ok(())
    }

    /// Stops acting where a container says that the store is older than what runs: it was made of a revision, or is of a
    /// generation, that no record has.
    pub(super) fn look_for_newer(&self, app: &App, desired: &Desired, known: &[ReplicaContainer]) {
        let newest = desired.revisions.keys().next_back().copied().unwrap_or_default();
        let resumed = *self.caution.resumed.read();
        // What a host brings back that was given up is cleared away.
        let lost = self.caution.lost();
        let is_newer = |container: &&ReplicaContainer| {
            // Of an earlier application of that name the revisions say nothing.
            let declared = desired.declared.zip(container.labels.declared);
            let is_of_it = !lost.contains(&container.engine) && declared.is_none_or(|(own, other)| other >= own);
            is_of_it && container.labels.revision > newest && resumed.is_none_or(|resumed| container.created > resumed)
        };
        let Some(container) = known.iter().find(is_newer) else { return };
        if !self.observe_only.swap(true, Ordering::Relaxed) {
            tracing::error!(
                app = %app.name,
                container = container.name,
                "the store is older than what runs, so nothing is done for applications; 'reconcile resume' has it go on"
            );
        }
    }

    /// Notes that a host is gone for good.
    ///
    /// # Errors
    /// The store did not take it.
    pub(crate) async fn lose_host(&self, engine: &EngineId) -> Result<()> {
        self.caution.change_lost(|lost| lost.extend([engine.clone()])).await?;
        self.wake_all();
        Ok(())
    }

    /// Healing needs no word any more when half of the hosts answer; the next time they do not, it stops again.
    pub(super) fn look_whether_half_answers(&self, cluster: &Cluster) {
        let (lost, reaches) = (self.caution.lost(), cluster.reaches());
        let hosts: Vec<_> = reaches.iter().filter(|(engine, _)| !lost.contains(*engine)).collect();
        let answering = hosts.iter().filter(|(_, reach)| **reach == EngineReach::Up).count();
        if answering * 2 >= hosts.len() {
            self.heal_now.store(false, Ordering::Relaxed);
        }
    }

    /// The replica whose own volume that is, by Docker's name of it: `shop/db.1`.
    pub(crate) fn owner_of_volume(&self, name: &str) -> Option<String> {
        // Of most it is seen that they are none.
        if name.contains('/') || name.matches('.').count() < 3 {
            return None;
        }
        self.all().into_iter().find_map(|app| {
            let documents = app.shown()?;
            let is_it = |volume: &&Volume| volume_name(&app.name, &volume.slot, &volume.name) == name;
            documents.desired().volumes.iter().find(is_it).map(|volume| format!("{}/{}", app.name, volume.slot))
        })
    }

    /// The volumes that are recorded on an engine, with their applications.
    pub(crate) fn volumes_on(&self, engine: &EngineId) -> Vec<(Arc<App>, Volume)> {
        let of_app = |app: Arc<App>| {
            let volumes = app.shown().map(|documents| documents.desired().volumes.clone()).unwrap_or_default();
            volumes.into_iter().map(move |volume| (app.clone(), volume)).collect::<Vec<_>>()
        };
        self.all().into_iter().flat_map(of_app).filter(|(_, volume)| volume.engine == *engine).collect()
    }
}
