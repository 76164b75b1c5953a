//! The containers of the cluster: reading them in the view, and reading one again on its host.

use std::sync::Arc;

use super::view::{ContainerEntry, View};
use super::{Cluster, EngineHandle, KnownContainer};
use crate::engine::{EngineError, EngineErrorKind, ObservedContainer};
use crate::model::{Container, ContainerId, EngineId};

impl Cluster {
    /// The containers, by id; with `all` also those that do not run.
    pub fn containers(&self, all: bool) -> Vec<Arc<Container>> {
        self.containers_after(None, all, usize::MAX)
    }

    /// The first `limit` containers whose id comes after `after`, by id; with `all` also those that do not run.
    ///
    /// A list that is read piece by piece has every container once that is there all the time, whatever comes and goes
    /// meanwhile.
    pub fn containers_after(&self, after: Option<&ContainerId>, all: bool, limit: usize) -> Vec<Arc<Container>> {
        let view = self.shared.view.read();
        let following = view.containers_after(after.map(ContainerId::as_str));
        let wanted = following.filter(|entry| all || entry.container.state.holds_resources()).take(limit);
        wanted.map(|entry| view.shown(entry)).collect()
    }

    /// One container.
    pub fn container(&self, id: &ContainerId) -> Option<KnownContainer> {
        let view = self.shared.view.read();
        view.container(id).map(|entry| known(&view, entry))
    }

    /// The containers whose id starts with `prefix`, at most `limit` of them.
    pub fn containers_by_prefix(&self, prefix: &str, limit: usize) -> Vec<KnownContainer> {
        let view = self.shared.view.read();
        view.by_prefix(prefix, limit).into_iter().map(|entry| known(&view, entry)).collect()
    }

    /// The container of that name, with or without Docker's slash. Names are unique per engine, so there may be several.
    pub fn containers_by_name(&self, name: &str) -> Vec<KnownContainer> {
        let name = name.trim_start_matches('/');
        let view = self.shared.view.read();
        let called = view.containers().filter(|entry| entry.container.name.trim_start_matches('/') == name);
        called.map(|entry| known(&view, entry)).collect()
    }

    /// Reads one container again and notes what was found.
    ///
    /// # Errors
    /// What the engine said; that there is no such container is noted as well.
    pub async fn refresh(&self, engine: &EngineId, id: &ContainerId) -> Result<ObservedContainer, EngineError> {
        let engine = self
            .handle(engine)
            .ok_or_else(|| EngineError::new(EngineErrorKind::NoSuchContainer, "inspect", "its engine was deleted"))?;
        self.refresh_on(&engine, id).await
    }

    /// The same on an engine as it was added: of one that is not that any more nothing is noted.
    pub(super) async fn refresh_on(
        &self,
        engine: &EngineHandle,
        id: &ContainerId,
    ) -> Result<ObservedContainer, EngineError> {
        let ticket = self.ticket();
        let mut found = engine.client().inspect(id).await;
        match &mut found {
            Ok(found) => {
                let orphans = self.recognise(engine.id(), std::slice::from_mut(found), ticket);
                self.with(engine, |view| view.observe(engine.id(), found.clone(), ticket));
                self.collect(orphans);
            }
            Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => {
                self.with(engine, |view| view.observe_gone_from(engine.id(), id, ticket));
            }
            Err(_) => {}
        }
        found
    }

    /// Notes that a container is not on an engine any more, as that says.
    pub(super) fn gone_from(&self, engine: &EngineHandle, id: &ContainerId) {
        let ticket = self.ticket();
        self.with(engine, |view| view.observe_gone_from(engine.id(), id, ticket));
    }

    /// Our containers that run on an engine and whose limits no inspection has shown yet.
    pub(super) fn limits_unknown(&self, engine: &EngineHandle) -> Vec<ContainerId> {
        self.shared.view.read().limits_unknown(engine.id())
    }

    /// Notes that a container was removed just now.
    pub fn removed(&self, id: &ContainerId) {
        let ticket = self.ticket();
        self.shared.view.write().observe_gone(id, ticket);
    }
}

fn known(view: &View, entry: &ContainerEntry) -> KnownContainer {
    let managed = entry.managed.as_ref();
    let ours = managed.filter(|managed| !managed.is_left_alone());
    KnownContainer {
        container: view.shown(entry),
        group: ours.and_then(|managed| managed.group().cloned()),
        user: ours.map(|managed| managed.user.clone()),
        replica: ours.and_then(|managed| managed.replica().cloned()),
        other_owner: managed.and_then(|managed| managed.other_owner().cloned()),
        other_platform: managed.and_then(|managed| managed.other_platform().cloned()),
    }
}
