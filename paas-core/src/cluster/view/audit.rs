//! A check of the arithmetic, for tests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Allocation, View};
use crate::model::app::AppName;
use crate::model::{ContainerId, EngineId, EngineStatus, HostPort, Resources};

impl View {
    /// Checks the arithmetic: recomputes every engine's numbers from the holds.
    pub(in crate::cluster) fn audit(&self) -> Result<(), String> {
        for (id, host) in &self.engines {
            let on_it = self
                .containers
                .values()
                .filter(|entry| entry.container.engine.id == *id)
                .map(|entry| &entry.allocation);
            let reserved = self.reservations.values().filter(|reserved| reserved.engine == *id).map(|r| &r.allocation);
            let holds: Vec<&Allocation> = on_it.chain(reserved).collect();
            let state = self.snapshot.get(id).ok_or_else(|| format!("{id} is not in the snapshot"))?;
            let reserved: Resources = holds.iter().filter_map(|allocation| allocation.resources).sum();
            let running = holds.iter().filter(|allocation| allocation.resources.is_some()).count();
            let ports: BTreeSet<HostPort> =
                holds.iter().flat_map(|allocation| allocation.ports.iter().copied()).collect();
            let images = holds.iter().filter(|allocation| allocation.image.is_some()).count();
            if (reserved, running, &ports, images)
                != (state.reserved, state.containers, &state.host_ports, state.images.values().sum())
            {
                return Err(format!(
                    "{id}: the allocations say {reserved:?} in {running} with {images} images, ports {ports:?}; the snapshot says {state:?}"
                ));
            }
            if host.ports.len() != state.host_ports.len() {
                return Err(format!("{id}: ports are counted apart"));
            }
        }
        for (id, entry) in &self.containers {
            if entry.allocation != self.allocation_of(id, entry) {
                return Err(format!("{id} takes {:?}, and should take something else: {entry:?}", entry.allocation));
            }
            let engine = &entry.container.engine.id;
            if !self.engines.get(engine).is_some_and(|host| host.containers.contains(id)) {
                return Err(format!("{id} is not among the containers of {engine}"));
            }
        }
        if self.engines.values().map(|host| host.containers.len()).sum::<usize>() != self.containers.len() {
            return Err("a container is among those of two engines".to_owned());
        }
        if let Some((id, host)) = self.engines.iter().find(|(_, host)| !host.warnings.is_empty()) {
            return Err(format!("{id}: {:?}", host.warnings));
        }
        let running = self.containers.values().filter(|entry| entry.container.state.holds_resources()).count();
        if running != self.running {
            return Err(format!("{running} containers run, and {} are counted", self.running));
        }
        let down = self.engines.iter().filter(|(_, host)| host.health.status == EngineStatus::Down);
        if !down.map(|(id, _)| id).eq(&self.down) {
            return Err(format!("{:?} are noted as down", self.down));
        }
        let mut daemons: HashMap<String, BTreeSet<EngineId>> = HashMap::new();
        for (id, info) in self
            .engines
            .iter()
            .filter_map(|(id, host)| Some((id, host.info.as_ref()?)))
            .filter(|(_, info)| !info.daemon_id.is_empty())
        {
            daemons.entry(info.daemon_id.clone()).or_default().insert(id.clone());
        }
        if self.daemons != daemons {
            return Err(format!("the daemons are {daemons:?}, and {:?} are noted", self.daemons));
        }
        let mut by_app: BTreeMap<AppName, BTreeSet<ContainerId>> = BTreeMap::new();
        for (id, entry) in &self.containers {
            if entry.replica.is_some() != entry.replica_labels().is_some() {
                return Err(format!("{id} is half a container of an application: {entry:?}"));
            }
            if let Some(labels) = entry.replica_labels() {
                by_app.entry(labels.app.clone()).or_default().insert(id.clone());
            }
        }
        if *self.replicas.by_app() != by_app {
            return Err(format!("the applications have {by_app:?}, and {:?} are noted", self.replicas.by_app()));
        }
        self.snapshot.audit()
    }
}
