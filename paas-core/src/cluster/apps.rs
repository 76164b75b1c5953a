//! What those who keep applications read of the cluster, and note in it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::changes::AppChange;
use super::view::EngineReach;
use super::{Cluster, EngineHandle};
use crate::engine::{EngineEvent, ObjectLabels, ReplicaLabels, RunState};
use crate::model::app::AppName;
use crate::model::{BoundPort, ContainerId, ContainerSpec, ContainerState, EngineId};
use crate::scheduler::{Scheduler, Snapshot};

/// A container of an application, as it was observed last, with all times by the clock of this server.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaContainer {
    /// Which one it is.
    pub(crate) labels: ReplicaLabels,
    pub(crate) id: ContainerId,
    /// Docker's name of it, without a slash. Somebody may have given it another one than it was made with.
    pub(crate) name: String,
    pub(crate) engine: EngineId,
    /// What it did when its engine was heard last.
    pub(crate) state: ContainerState,
    pub(crate) created: Timestamp,
    /// How its program does. The status of the last end is here also while it runs again, if that end was seen.
    pub(crate) run: RunState,
    /// When its program ended: the newest of the last ten minutes, the oldest first.
    pub(crate) exits: Vec<Timestamp>,
    /// What Docker enforces and shows of it, without its environment.
    pub(crate) spec: Arc<ContainerSpec>,
    /// Whether `spec` has the limits that Docker enforces.
    pub(crate) limits_known: bool,
    pub(crate) ports: Vec<BoundPort>,
}

impl Cluster {
    /// The containers of an application that are known, as last observed, also on engines that do not answer.
    pub(crate) fn replicas(&self, app: &AppName) -> Vec<ReplicaContainer> {
        self.shared.view.read().replicas(app, self.shared.clock.now())
    }

    /// The applications of which any container is known.
    pub(crate) fn replica_apps(&self) -> BTreeSet<AppName> {
        self.shared.view.read().replica_apps().cloned().collect()
    }

    /// The containers that are of no application of this platform and whose name, without a slash, starts with `prefix`. Looks at
    /// every container.
    pub(crate) fn named_like(&self, prefix: &str) -> Vec<(String, EngineId)> {
        let view = self.shared.view.read();
        let others = view.containers().filter(|entry| entry.replica_labels().is_none());
        let named = others.filter_map(|entry| {
            let name = entry.container.name.trim_start_matches('/');
            name.starts_with(prefix).then(|| (name.to_owned(), entry.container.engine.id.clone()))
        });
        named.collect()
    }

    /// The volumes called like those of an application that containers mount which run and are none of its own, and what those are
    /// called. Looks at every container.
    pub(crate) fn mounts_of_others(&self, app: &AppName) -> Vec<(EngineId, String, String)> {
        let (view, prefix) = (self.shared.view.read(), format!("{app}."));
        let is_other = |entry: &&super::view::ContainerEntry| {
            entry.container.state.holds_resources() && entry.replica_labels().is_none_or(|labels| labels.app != *app)
        };
        let mut found = Vec::new();
        for entry in view.containers().filter(is_other) {
            let mounted = entry.container.image.volumes.iter().filter_map(|volume| Some(volume.split_once(':')?.0));
            let name = entry.container.name.trim_start_matches('/');
            found.extend(
                mounted
                    .filter(|volume| volume.starts_with(&prefix))
                    .map(|volume| (entry.container.engine.id.clone(), volume.to_owned(), name.to_owned())),
            );
        }
        found
    }

    /// Reads what the scheduler chooses from. Everything else that is read or noted waits meanwhile.
    pub(crate) fn with_snapshot<T>(&self, read: impl FnOnce(&Snapshot) -> T) -> T {
        read(self.shared.view.read().snapshot())
    }

    /// What chooses.
    pub(crate) fn scheduler(&self) -> &Arc<dyn Scheduler> {
        &self.shared.scheduler
    }

    /// Whether each engine can be reached.
    pub(crate) fn reaches(&self) -> BTreeMap<EngineId, EngineReach> {
        let view = self.shared.view.read();
        view.engines().map(|entry| (entry.spec.id.clone(), entry.reach())).collect()
    }

    /// The host of an engine gave a sign of life somewhere else than here: in the registry.
    pub(crate) fn note_sign_of_life(&self, id: &EngineId) {
        let now = self.shared.clock.now();
        self.shared.view.write().note_sign_of_life(id, now);
    }

    /// The volumes called like those of an application on every engine that tells of them, as last read, and those that were made
    /// here since; and whether they are its own.
    pub(crate) fn volumes_of(&self, app: &AppName) -> BTreeMap<(EngineId, String), bool> {
        let (view, prefix) = (self.shared.view.read(), format!("{app}."));
        let of = |entry: &super::view::EngineEntry| {
            let found = entry.volumes(&prefix).map(|(name, labels)| {
                let is_own = labels.is_none_or(|labels| self.is_of_app(labels, app));
                ((entry.spec.id.clone(), name.clone()), is_own)
            });
            found.collect::<Vec<_>>()
        };
        view.engines().flat_map(of).collect()
    }

    /// The engines where a network of that name is not the application's.
    pub(crate) fn engines_with_network_of_others(&self, name: &str, app: &AppName) -> BTreeSet<EngineId> {
        let view = self.shared.view.read();
        let has_it =
            |entry: &&super::view::EngineEntry| entry.network(name).is_some_and(|labels| !self.is_of_app(labels, app));
        view.engines().filter(has_it).map(|entry| entry.spec.id.clone()).collect()
    }

    /// Whether this platform, or one that it took over, made a network or a volume for an application.
    pub(crate) fn is_of_app(&self, labels: &ObjectLabels, app: &AppName) -> bool {
        self.shared.platform.owns(&labels.platform) && labels.app == app.as_str()
    }

    /// Notes that a volume was made.
    pub(crate) fn note_volume(&self, engine: &EngineId, name: &str) {
        self.shared.view.write().note_volume(engine, name);
    }

    /// Notes that a volume was removed.
    pub(crate) fn forget_volume(&self, engine: &EngineId, name: &str) {
        self.shared.view.write().forget_volume(engine, name);
    }

    /// Everything that happens from now on and that applications may have to do with. It says what to look at and not what is
    /// new: one that was missed is made up for by looking at everything.
    pub(crate) fn app_changes(&self) -> broadcast::Receiver<AppChange> {
        self.shared.view.read().changes().subscribe()
    }

    /// Notes that somebody sent a signal to a program, if it is one of an application.
    pub(super) fn note_signal(&self, engine: &EngineHandle, event: &EngineEvent) {
        let (Some(container), Some(_)) = (&event.container, event.launch) else { return };
        self.with(engine, |view| view.note_signal(container));
    }

    /// Notes that a program ended, if it is one of an application.
    pub(super) fn note_exit(&self, engine: &EngineHandle, event: &EngineEvent) {
        // Every container of ours bears its launch. That of somebody else need not be looked for.
        let (Some(container), Some(_)) = (&event.container, event.launch) else { return };
        let now = self.shared.clock.now();
        self.with(engine, |view| view.note_exit(container, now, event.detail.exit_code));
    }
}
