//! Networks and volumes of a simulated host.

use std::collections::BTreeMap;

use super::{About, Host, Simulated};
use crate::engine::{ContainerFile, EngineError, EngineErrorKind, EventDetail, ObjectLabels, Result};
use crate::model::ContainerId;

impl Host {
    pub(in crate::engine::simulated) fn networks(&self) -> Option<BTreeMap<String, ObjectLabels>> {
        let others = self.networks.as_ref()?.iter().map(|name| (name.clone(), ObjectLabels::default()));
        Some(others.chain(self.own_networks.clone()).collect())
    }

    pub(in crate::engine::simulated) fn volumes(&self) -> BTreeMap<String, ObjectLabels> {
        self.volumes.clone()
    }

    pub(in crate::engine::simulated) fn network(&self, name: &str) -> Option<ObjectLabels> {
        let is_of_others = self.networks.as_ref().is_some_and(|networks| networks.contains(name));
        self.own_networks.get(name).cloned().or_else(|| is_of_others.then(ObjectLabels::default))
    }

    pub(super) fn has_network(&self, name: &str) -> bool {
        self.network(name).is_some()
    }

    pub(in crate::engine::simulated) fn create_network(&mut self, name: &str, labels: ObjectLabels) -> ObjectLabels {
        if let Some(there) = self.network(name) {
            return there;
        }
        self.own_networks.insert(name.to_owned(), labels.clone());
        self.tell_of(name, "create");
        labels
    }

    pub(in crate::engine::simulated) fn remove_unused_network(&mut self, name: &str) -> Result<()> {
        let is_in_it = |container: &Simulated| {
            let networks = [container.network.as_deref(), container.spec.named_network()];
            container.state.holds_resources() && networks.contains(&Some(name))
        };
        in_use("remove the network", self.containers.values().find(|container| is_in_it(container)))?;
        let was_own = self.own_networks.remove(name).is_some();
        let was_others = self.networks.as_mut().is_some_and(|networks| networks.remove(name));
        if was_own || was_others {
            self.tell_of(name, "destroy");
        }
        Ok(())
    }

    pub(in crate::engine::simulated) fn create_volume(&mut self, name: &str, labels: ObjectLabels) -> ObjectLabels {
        if let Some(there) = self.volume(name) {
            return there;
        }
        self.volumes.insert(name.to_owned(), labels.clone());
        self.tell_of(name, "create");
        labels
    }

    pub(in crate::engine::simulated) fn put_files(&mut self, id: &ContainerId, files: &[ContainerFile]) -> Result<()> {
        const OPERATION: &str = "put files into the container";
        self.get(OPERATION, id)?;
        let Some(container) = self.containers.get_mut(id) else { return Ok(()) };
        for file in files {
            let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            if !container.spec.volumes.iter().any(|volume| volume == folder) {
                let detail = format!("{folder} is no volume of {}", container.name);
                return Err(EngineError::new(EngineErrorKind::Unable, OPERATION, detail));
            }
            container.files.insert(file.path.clone(), file.clone());
        }
        Ok(())
    }

    pub(in crate::engine::simulated) fn files(&self, id: &ContainerId) -> Vec<ContainerFile> {
        self.containers.get(id).map(|container| container.files.values().cloned().collect()).unwrap_or_default()
    }

    pub(in crate::engine::simulated) fn remove_volume(&mut self, name: &str) -> Result<()> {
        let has_it = |container: &Simulated| container.volumes().any(|volume| volume == name);
        in_use("remove the volume", self.containers.values().find(|container| has_it(container)))?;
        if self.volumes.remove(name).is_some() {
            self.tell_of(name, "destroy");
        }
        Ok(())
    }

    /// Tells of what is no container.
    fn tell_of(&mut self, name: &str, action: &str) {
        self.note(About { name: name.to_owned(), ..About::default() }, action, EventDetail::default());
    }

    pub(in crate::engine::simulated) fn volume(&self, name: &str) -> Option<ObjectLabels> {
        self.volumes.get(name).cloned()
    }
}

/// Refuses what a container has.
fn in_use(operation: &'static str, by: Option<&Simulated>) -> Result<()> {
    let Some(container) = by else { return Ok(()) };
    Err(EngineError::new(EngineErrorKind::Conflict, operation, format!("{} uses it", container.name)))
}
