//! One host that is two engines, or a copy of another host: found by a container that both have.
//!
//! The id of a daemon tells that as a rule. Where a daemon has another id for each question, and where a machine was cloned and its
//! daemon's id renewed, the containers do: the id of a container is 256 random bits. Whichever engine shows a container of
//! another one is a duplicate: it gets nothing to do and is not counted.

use super::{Cluster, EngineHandle};
use crate::engine::ObservedContainer;
use crate::model::{ContainerId, EngineId, EngineStatus};

impl Cluster {
    /// Whether one of the containers that were found on an engine is known of another one. Then it is noted as a duplicate of that.
    pub(super) fn note_twin_among(&self, engine: &EngineHandle, found: &[ObservedContainer]) -> bool {
        let twin = self.shared.view.read().twin_among(engine.id(), found);
        if let Some((other, container)) = twin {
            self.note_twin_of(engine, &other, &container);
            return true;
        }
        self.note_twin(engine)
    }

    /// Whether a container was found on an engine that is known of another one, since it was read as a whole.
    pub(super) fn note_twin(&self, engine: &EngineHandle) -> bool {
        let twin = self.with(engine, |view| view.take_twin(engine.id())).flatten();
        let Some((other, container)) = twin else { return false };
        self.note_twin_of(engine, &other, &container);
        true
    }

    fn note_twin_of(&self, engine: &EngineHandle, other: &EngineId, container: &ContainerId) {
        let reason = format!(
            "container {} is on engine {other}, too: it is the same Docker daemon under another address, and one of the two engines \
             is to be deleted; or this machine was cloned: remove the containers that were copied with it, stop Docker here, delete \
             /var/lib/docker/engine-id (older ones: /etc/docker/key.json), and start it",
            container.short()
        );
        self.set_duplicate(engine, other, reason);
    }

    /// Notes that an engine is another one over again, or a copy of it.
    pub(super) fn set_duplicate(&self, engine: &EngineHandle, other: &EngineId, reason: String) {
        let was_one = engine.status() == EngineStatus::Duplicate;
        self.with(engine, |view| view.set_same_as(engine.id(), other));
        self.set_status(engine, EngineStatus::Duplicate, Some(reason));
        // What was noted of this one is of the other one, if they are one.
        if !was_one && let Some(other) = self.handle(other) {
            other.read_again();
        }
    }

    /// A launch on an engine was given up, and its container may be there, perhaps shown already as that of a launch under way.
    /// If the engine was found to be a duplicate meanwhile, it is on the other one.
    pub(crate) fn look_for_remains(&self, engine: &EngineId) {
        let other = self.shared.view.read().same_as(engine);
        if let Some(engine) = self.handle(other.as_ref().unwrap_or(engine)) {
            engine.read_again();
        }
    }
}
