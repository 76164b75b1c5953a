use super::Cluster;
use crate::engine::{ReplicaLabels, RunState};
use crate::model::app::AppName;
use crate::model::*;
use crate::scheduler::{Scheduler, Snapshot};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::broadcast;
#[derive(Clone, Debug)]
pub(crate) enum AppChange { App(AppName), Engines }
#[derive(Debug)]
pub(crate) struct Changes(pub(crate) broadcast::Sender<AppChange>);
impl Default for Changes { fn default() -> Self { Self(broadcast::channel(1024).0) } }
#[derive(Clone, Debug)]
pub(crate) struct ReplicaContainer { pub(crate) labels: ReplicaLabels, pub(crate) id: ContainerId, pub(crate) name: String, pub(crate) engine: EngineId, pub(crate) state: ContainerState, pub(crate) created: Timestamp, pub(crate) run: RunState, pub(crate) exits: Vec<Timestamp>, pub(crate) spec: Arc<ContainerSpec>, pub(crate) reserved: Resources, pub(crate) limits_known: bool, pub(crate) ports: Vec<BoundPort>, pub(crate) launch: LaunchId }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineReach { Up, NotRead { since: Timestamp }, Silent { since: Timestamp }, DaemonGone { since: Timestamp } }
impl Cluster {
    pub(crate) fn replicas(&self, app: &AppName) -> Vec<ReplicaContainer> {
        let view = self.shared.view.read();
        view.containers().filter_map(|e| { let m = e.managed.as_ref()?; let labels = m.replica()?.clone(); if labels.app != *app { return None } 
            Some(ReplicaContainer { labels, id: e.container.id.clone(), name: e.container.name.trim_start_matches('/').to_owned(), engine: e.container.engine.id.clone(), state: e.container.state, created: e.container.created, run: e.run.clone(), exits: e.exits.clone(), spec: e.container.image.clone(), reserved: Resources::ZERO, limits_known: true, ports: e.container.ports.clone(), launch: m.launch }) }).collect()
    }
    pub(crate) fn named_like(&self, prefix: &str) -> Vec<(String, EngineId)> {
        let view = self.shared.view.read();
        view.containers().filter(|e| e.managed.as_ref().is_none_or(|m| m.replica().is_none())).map(|e| (e.container.name.trim_start_matches('/').to_owned(), e.container.engine.id.clone())).filter(|(n, _)| n.starts_with(prefix)).collect()
    }
    pub(crate) fn with_snapshot<T>(&self, f: impl FnOnce(&Snapshot) -> T) -> T { let view = self.shared.view.read(); f(view.snap()) }
    pub(crate) fn scheduler(&self) -> &Arc<dyn Scheduler> { &self.shared.scheduler }
    pub(crate) fn reaches(&self) -> BTreeMap<EngineId, EngineReach> {
        self.engines().into_iter().map(|e| (e.id.clone(), match e.health.status { EngineStatus::Up | EngineStatus::Suspect => EngineReach::Up, EngineStatus::Pending => EngineReach::NotRead { since: e.health.since }, _ => EngineReach::Silent { since: e.health.since } })).collect()
    }
    pub(crate) fn volumes(&self) -> BTreeSet<(EngineId, String)> {
        let view = self.shared.view.read();
        view.engines().flat_map(|e| e.info.iter().flat_map(|i| i.volumes.iter().flatten()).map(|v| (e.spec.id.clone(), v.clone()))).collect()
    }
    pub(crate) fn note_volume(&self, engine: &EngineId, name: &str) { self.shared.view.write().note_volume(engine, name) }
    pub(crate) fn app_changes(&self) -> broadcast::Receiver<AppChange> { self.shared.view.read().changes.0.subscribe() }
}
impl super::view::View {
    fn note_volume(&mut self, engine: &EngineId, name: &str) { self.add_volume(engine, name) }
}
