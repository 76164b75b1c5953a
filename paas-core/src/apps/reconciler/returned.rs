//! A host that was given up for good, and is back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Apps;
use super::carry_out::remove_container;
use crate::apps::{Desired, Slot};
use crate::cluster::{Cluster, EngineReach, ReplicaContainer};
use crate::executor::Executor;
use crate::model::EngineId;

/// When it is tried again that did not work.
const AGAIN: Duration = Duration::from_secs(10);

impl Apps {
    /// What is on a host that was given up and answers again, and that no record names any more, is removed: its slot was given to
    /// others, or is gone. What records name the planner takes away. Then the host is one like the others.
    pub(crate) fn look_for_returned(self: &Arc<Self>, executor: &Executor) {
        if self.returned(&executor.cluster).is_empty() {
            return;
        }
        // One at a time.
        let Ok(turn) = self.clearing.clone().try_lock_owned() else { return };
        let (apps, executor) = (self.clone(), executor.clone());
        let tracker = executor.cluster.background().tracker().clone();
        tracker.spawn(async move {
            executor.closing.run_until_cancelled(apps.clear_returned(&executor)).await;
            drop(turn);
        });
    }

    async fn clear_returned(&self, executor: &Executor) {
        loop {
            let returned = self.returned(&executor.cluster);
            if returned.is_empty() || self.clear(executor, &returned).await {
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Removes what no record names from hosts that are back. Whether nothing of it is left.
    async fn clear(&self, executor: &Executor, returned: &BTreeSet<EngineId>) -> bool {
        for container in self.unnamed(&executor.cluster, returned) {
            let (desired, name) = (Desired::none(container.labels.app.clone()), container.name.clone());
            tracing::warn!(container = name, engine = %container.engine, "left on a host that had been given up");
            if let Err(error) = remove_container(executor, &desired, container).await {
                tracing::warn!(container = name, %error, "it stays for now");
            }
        }
        // A round that is under way may be about to forget what is on a host that it takes for lost, and none is to do so before the
        // host is one like the others.
        let mut held = Vec::new();
        for app in self.all() {
            match self.documents(&app).await {
                Ok(documents) => held.push(documents),
                // Until its records can be read nobody knows.
                Err(_) => return false,
            }
        }
        if !self.unnamed(&executor.cluster, returned).is_empty() {
            return false;
        }
        let outcome = self.caution.change_lost(|lost| lost.retain(|engine| !returned.contains(engine))).await;
        outcome.inspect_err(|error| tracing::warn!(%error, "that a host is back was not written down")).is_ok()
    }

    /// What is on some hosts and no record names.
    fn unnamed(&self, cluster: &Cluster, engines: &BTreeSet<EngineId>) -> Vec<ReplicaContainer> {
        let all = cluster.replica_apps().into_iter().flat_map(|app| cluster.replicas(&app));
        let on_them = all.filter(|container| engines.contains(&container.engine));
        on_them.filter(|container| self.is_recorded(container) == Some(false)).collect()
    }

    /// The hosts that were given up and answer. By a store that may be an old one nothing is done about them.
    fn returned(&self, cluster: &Cluster) -> BTreeSet<EngineId> {
        if self.observe_only.load(Ordering::Relaxed) {
            return BTreeSet::new();
        }
        let reaches = cluster.reaches();
        self.caution.lost().into_iter().filter(|engine| reaches.get(engine) == Some(&EngineReach::Up)).collect()
    }

    /// Whether a record names a container; nothing where it cannot be read.
    fn is_recorded(&self, container: &ReplicaContainer) -> Option<bool> {
        let labels = &container.labels;
        let Some(app) = self.known(labels.app.as_str()) else { return Some(false) };
        let documents = app.shown.read().clone()?;
        if documents.desired().is_of_another(labels) {
            return Some(false);
        }
        let Some(number) = labels.slot else { return Some(documents.is_there()) };
        let slot = Slot { component: labels.component.clone(), number };
        let record = documents.desired().replicas.get(&slot);
        Some(record.is_some_and(|record| {
            // One of that number on another host is another one, by a version that did not write down when it was declared.
            let is_other = record.generation == labels.generation && record.engine != container.engine;
            record.made.contains(&labels.generation) && !is_other
        }))
    }
}
