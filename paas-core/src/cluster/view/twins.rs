//! Containers that two engines show: the engines are one host, or copies of one.

use super::View;
use crate::engine::ObservedContainer;
use crate::model::{ContainerId, EngineId, EngineStatus};

impl View {
    /// The other engine that has a container. One that is a duplicate, or away from the registry, has none.
    pub(super) fn elsewhere(&self, engine: &EngineId, id: &ContainerId) -> Option<EngineId> {
        let other = &self.containers.get(id)?.container.engine.id;
        let entry = self.engines.get(other).filter(|_| other != engine)?;
        let counts = !entry.absent && entry.health.status != EngineStatus::Duplicate;
        counts.then(|| other.clone())
    }

    pub(in crate::cluster) fn set_same_as(&mut self, engine: &EngineId, other: &EngineId) {
        self.same_as.insert(engine.clone(), other.clone());
    }

    /// The engine of which this one is a duplicate.
    pub(in crate::cluster) fn same_as(&self, engine: &EngineId) -> Option<EngineId> {
        self.same_as.get(engine).cloned()
    }

    /// The engines that are duplicates of this one.
    pub(in crate::cluster) fn duplicates_of(&self, engine: &EngineId) -> Vec<EngineId> {
        self.same_as.iter().filter(|(_, other)| *other == engine).map(|(one, _)| one.clone()).collect()
    }

    /// Another engine that has one of these containers, and which.
    pub(in crate::cluster) fn twin_among(
        &self,
        engine: &EngineId,
        found: &[ObservedContainer],
    ) -> Option<(EngineId, ContainerId)> {
        found.iter().find_map(|found| Some((self.elsewhere(engine, &found.id)?, found.id.clone())))
    }

    /// The engine that has a container which was found on this one, and which that is; once.
    pub(in crate::cluster) fn take_twin(&mut self, engine: &EngineId) -> Option<(EngineId, ContainerId)> {
        let twin = self.twins.remove(engine)?;
        self.engines.contains_key(&twin.0).then_some(twin)
    }
}
