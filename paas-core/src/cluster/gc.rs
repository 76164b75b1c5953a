//! Removes what interrupted launches left on the hosts.
//!
//! A container of this platform that was made and never started, and that no launch under way is going to start, is such
//! a orphan: the server was killed between the two steps, or the answer to the first was lost. So is a container of a
//! launch that was given up while its engine did not answer. And so is one whose request was made again, and done elsewhere,
//! while its host was away.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::engine::{EngineErrorKind, ObservedContainer};
use crate::model::{ContainerId, ContainerState, EngineId, EngineStatus, Event, EventKind, LaunchId};

use super::Cluster;

/// A container that should not be there.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    engine: EngineId,
    why: Why,
    id: ContainerId,
    name: String,
    launch: LaunchId,
}

/// Why a container should not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Its launch did not come to its end.
    Interrupted,
    /// The same container of the same request was started elsewhere, later: its host was away when the request was made
    /// again.
    Superseded,
}

/// The orphans that are being removed. A host tells of one several times while it goes, and it goes once.
#[derive(Debug, Default)]
pub(super) struct Collecting(Mutex<HashSet<ContainerId>>);

impl Collecting {
    /// Whether this one is the caller's to remove. It says [`Collecting::over`] afterwards.
    fn begin(&self, id: &ContainerId) -> bool {
        self.0.lock().insert(id.clone())
    }

    fn over(&self, id: &ContainerId) {
        self.0.lock().remove(id);
    }
}

impl Cluster {
    /// Which of the containers look like orphans. [`Cluster::collect`] looks again before it removes one.
    pub(super) fn orphans(&self, engine: &EngineId, found: &[ObservedContainer]) -> Vec<Orphan> {
        let view = self.shared.view.read();
        let is_orphan = |found: &&ObservedContainer| {
            found.managed.as_ref().is_some_and(|managed| {
                *managed.platform == *self.shared.platform
                    && !view.is_reserved(managed.launch)
                    && (found.state == ContainerState::Created || view.is_abandoned(managed.launch))
            })
        };
        let orphan = |found: &ObservedContainer| {
            let launch = found.managed.as_ref()?.launch;
            let (id, name) = (found.id.clone(), found.name.clone());
            Some(Orphan { engine: engine.clone(), why: Why::Interrupted, id, name, launch })
        };
        found.iter().filter(is_orphan).filter_map(orphan).collect()
    }

    /// Which containers are superseded, of those that share their place in a request with one of `ids`. The one that was
    /// launched last stays: it is the one that the caller was told of.
    pub(super) fn superseded(&self, ids: &[ContainerId]) -> Vec<Orphan> {
        let view = self.shared.view.read();
        let mut superseded = Vec::new();
        for entry in ids.iter().filter_map(|id| view.container(id)) {
            let Some(mark) = entry.managed.as_ref().and_then(|managed| managed.mark) else { continue };
            let mut same: Vec<_> = view
                .of_request(mark.request)
                .filter(|(other, _)| other.index == mark.index)
                .filter_map(|(_, entry)| Some((entry, entry.managed.as_ref()?)))
                .filter(|(entry, managed)| {
                    *managed.platform == *self.shared.platform
                        && entry.container.state != ContainerState::Created
                        && !view.is_reserved(managed.launch)
                        && !view.is_abandoned(managed.launch)
                })
                .collect();
            // Ids of launches sort by time, and by the servers' clocks instead of the hosts'.
            same.sort_by_key(|(_, managed)| managed.launch);
            let Some((last, _)) = same.pop() else { continue };
            let runs = last.container.state.holds_resources()
                && view.state(&last.container.engine.id).is_some_and(|state| state.status == EngineStatus::Up);
            if runs {
                superseded.extend(same.into_iter().map(|(entry, managed)| Orphan {
                    engine: entry.container.engine.id.clone(),
                    why: Why::Superseded,
                    id: entry.container.id.clone(),
                    name: entry.container.name.clone(),
                    launch: managed.launch,
                }));
            }
        }
        superseded
    }

    /// Removes a orphan, in the background, and records that. Given up at the end: who starts next finds it again.
    pub(super) fn collect(&self, orphan: Orphan) {
        if !self.shared.collecting.begin(&orphan.id) {
            return;
        }
        let cluster = self.clone();
        self.shared.tasks.spawn(async move {
            let stop = cluster.shared.stop.clone();
            let id = orphan.id.clone();
            stop.run_until_cancelled(cluster.collect_now(orphan)).await;
            cluster.shared.collecting.over(&id);
        });
    }

    async fn collect_now(&self, orphan: Orphan) {
        let engine = &orphan.engine;
        let Some(connection) = self.connection(engine) else { return };
        let abandoned = self.shared.view.read().is_abandoned(orphan.launch);
        let is_superseded = || {
            let again = self.superseded(std::slice::from_ref(&orphan.id));
            again.iter().any(|other| other.id == orphan.id)
        };
        if orphan.why == Why::Superseded {
            if !is_superseded() {
                return;
            }
        } else if !abandoned {
            // First that no launch is under way, then that it was not started: a launch id is used once, so between
            // the two nobody can have begun to start it.
            if self.shared.view.read().is_reserved(orphan.launch) {
                return;
            }
            match connection.inspect(&orphan.id).await {
                Ok(found) if found.state == ContainerState::Created => {}
                _ => return,
            }
        }
        let _removal = self.removing(&orphan.id);
        match connection.remove(&orphan.id).await {
            Ok(()) => {
                self.shared.view.write().clear_abandoned(orphan.launch);
                self.removed(&orphan.id);
                let name = orphan.name.trim_start_matches('/');
                tracing::info!(%engine, container = orphan.id.short(), "removed a orphan");
                let why = match orphan.why {
                    Why::Interrupted => "its launch had been interrupted",
                    Why::Superseded => "its request had been done again elsewhere",
                };
                let message = format!("removed {name} from {engine}: {why}");
                let event = Event::new(EventKind::CleanUp, message).on(engine).of(&orphan.id).tagged("cluster");
                self.record(event).await;
            }
            Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => self.removed(&orphan.id),
            Err(error) => tracing::warn!(%engine, container = orphan.id.short(), %error, "a orphan stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leftover_is_removed_by_one_task_at_a_time() {
        let (collecting, id): (_, ContainerId) = (Collecting::default(), "0123456789abcdef".parse().unwrap());
        assert!(collecting.begin(&id));
        assert!(!collecting.begin(&id));
        collecting.over(&id);
        assert!(collecting.begin(&id));
    }
}
