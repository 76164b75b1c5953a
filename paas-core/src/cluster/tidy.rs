//! Removes what interrupted launches left on the hosts.
//!
//! A container of this platform that was made and never started, and that no launch under way is going to start, is such
//! a leftover: the server was killed between the two steps, or the answer to the first was lost. So is a container of a
//! launch that was given up while its engine did not answer. And so is one whose request was made again, and done elsewhere,
//! while its host was away.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::engine::{EngineErrorKind, FoundContainer};
use crate::model::{ContainerId, ContainerState, EngineId, EngineStatus, Event, EventKind, LaunchId};

use super::Cluster;

/// A container that should not be there.
#[derive(Clone, Debug)]
pub(super) struct Leftover {
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

/// The leftovers that are being removed. A host tells of one several times while it goes, and it goes once.
#[derive(Debug, Default)]
pub(super) struct Tidying(Mutex<HashSet<ContainerId>>);

impl Tidying {
    /// Whether this one is the caller's to remove. It says [`Tidying::over`] afterwards.
    fn begin(&self, id: &ContainerId) -> bool {
        self.0.lock().insert(id.clone())
    }

    fn over(&self, id: &ContainerId) {
        self.0.lock().remove(id);
    }
}

impl Cluster {
    /// Which of the containers look like leftovers. [`Cluster::tidy`] looks again before it removes one.
    pub(super) fn leftovers(&self, engine: &EngineId, found: &[FoundContainer]) -> Vec<Leftover> {
        let view = self.shared.view.read();
        let is_leftover = |found: &&FoundContainer| {
            found.managed.as_ref().is_some_and(|managed| {
                *managed.platform == *self.shared.platform
                    && !view.is_reserved(managed.launch)
                    && (found.state == ContainerState::Created || view.is_doomed(managed.launch))
            })
        };
        let leftover = |found: &FoundContainer| {
            let launch = found.managed.as_ref()?.launch;
            let (id, name) = (found.id.clone(), found.name.clone());
            Some(Leftover { engine: engine.clone(), why: Why::Interrupted, id, name, launch })
        };
        found.iter().filter(is_leftover).filter_map(leftover).collect()
    }

    /// Which containers are superseded, of those that share their place in a request with one of `ids`. The one that was
    /// launched last stays: it is the one that the caller was told of.
    pub(super) fn superseded(&self, ids: &[ContainerId]) -> Vec<Leftover> {
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
                        && !view.is_doomed(managed.launch)
                })
                .collect();
            // Ids of launches sort by time, and by the servers' clocks instead of the hosts'.
            same.sort_by_key(|(_, managed)| managed.launch);
            let Some((last, _)) = same.pop() else { continue };
            let runs = last.container.state.holds_resources()
                && view.state(&last.container.engine.id).is_some_and(|state| state.status == EngineStatus::Up);
            if runs {
                superseded.extend(same.into_iter().map(|(entry, managed)| Leftover {
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

    /// Removes a leftover, in the background, and records that. Given up at the end: who starts next finds it again.
    pub(super) fn tidy(&self, leftover: Leftover) {
        if !self.shared.tidying.begin(&leftover.id) {
            return;
        }
        let cluster = self.clone();
        self.shared.tasks.spawn(async move {
            let stop = cluster.shared.stop.clone();
            let id = leftover.id.clone();
            stop.run_until_cancelled(cluster.tidy_now(leftover)).await;
            cluster.shared.tidying.over(&id);
        });
    }

    async fn tidy_now(&self, leftover: Leftover) {
        let engine = &leftover.engine;
        let Some(connection) = self.connection(engine) else { return };
        let doomed = self.shared.view.read().is_doomed(leftover.launch);
        let is_superseded = || {
            let again = self.superseded(std::slice::from_ref(&leftover.id));
            again.iter().any(|other| other.id == leftover.id)
        };
        if leftover.why == Why::Superseded {
            if !is_superseded() {
                return;
            }
        } else if !doomed {
            // First that no launch is under way, then that it was not started: a launch id is used once, so between
            // the two nobody can have begun to start it.
            if self.shared.view.read().is_reserved(leftover.launch) {
                return;
            }
            match connection.inspect(&leftover.id).await {
                Ok(found) if found.state == ContainerState::Created => {}
                _ => return,
            }
        }
        let _removal = self.removing(&leftover.id);
        match connection.remove(&leftover.id).await {
            Ok(()) => {
                self.shared.view.write().undoom(leftover.launch);
                self.removed(&leftover.id);
                let name = leftover.name.trim_start_matches('/');
                tracing::info!(%engine, container = leftover.id.short(), "removed a leftover");
                let why = match leftover.why {
                    Why::Interrupted => "its launch had been interrupted",
                    Why::Superseded => "its request had been done again elsewhere",
                };
                let message = format!("removed {name} from {engine}: {why}");
                let event = Event::new(EventKind::CleanUp, message).on(engine).of(&leftover.id).tagged("cluster");
                self.record(event).await;
            }
            Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => self.removed(&leftover.id),
            Err(error) => tracing::warn!(%engine, container = leftover.id.short(), %error, "a leftover stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_leftover_is_removed_by_one_task_at_a_time() {
        let (tidying, id): (_, ContainerId) = (Tidying::default(), "0123456789abcdef".parse().unwrap());
        assert!(tidying.begin(&id));
        assert!(!tidying.begin(&id));
        tidying.over(&id);
        assert!(tidying.begin(&id));
    }
}
