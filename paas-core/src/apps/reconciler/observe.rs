//! What there is, as the planner reads it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::probe::check_of;
use super::{App, Apps, Making};
use crate::apps::convert::{network_name, volume_of};
use crate::apps::{Desired, Health, Move, Observed, ObservedContainer, Reach, Slot, rebalance};
use crate::cluster::{Cluster, EngineReach, ReplicaContainer};
use crate::executor::Executor;
use crate::model::app::{AppName, AppSpec, ComponentSpec, Sizes};
use crate::model::{ContainerState, EngineId, MemoryMb};
use crate::scheduler::Snapshot;

/// How many replicas are to move at most at a time. Each is chosen from all that are left.
const MOST_MOVES: usize = 500;

impl Apps {
    /// What is to move so that hosts are equally full. With many hosts and replicas that takes seconds, in which nobody else waits.
    pub(crate) async fn moves(&self, executor: &Executor) -> Option<Vec<Move>> {
        let now = self.now();
        let known = self.all().into_iter().filter_map(|app| {
            let documents = app.shown().filter(|documents| !documents.is_foreign())?;
            let desired = self.as_it_counts(documents.desired());
            let observed = self.observe(executor, &app, &desired, now);
            Some((desired, observed))
        });
        let known: Vec<(Desired, Observed)> = known.collect();
        let snapshot = executor.cluster.with_snapshot(Snapshot::clone);
        let scheduler = executor.cluster.scheduler().clone();
        let work = move || {
            let all: Vec<(&Desired, &Observed)> = known.iter().map(|(desired, observed)| (desired, observed)).collect();
            rebalance(&all, &snapshot, &*scheduler, now, MOST_MOVES)
        };
        tokio::task::spawn_blocking(work).await.ok()
    }

    /// Everything that was observed and may matter to an application.
    pub(super) fn observe(&self, executor: &Executor, app: &App, desired: &Desired, now: Timestamp) -> Observed {
        let cluster = &executor.cluster;
        // In this order: what is on a host that answered already is known, and so is what was just made.
        let reaches = cluster.reaches();
        let being_made = app.in_flight.lock().values().flatten().cloned().collect::<Vec<_>>();
        let known = cluster.replicas(&app.name);
        let seen: BTreeSet<String> = known.iter().map(|container| container.name.clone()).collect();
        let mut containers: Vec<ObservedContainer> = known
            .iter()
            .filter(|container| container.labels.slot.is_some())
            .map(|container| app.observed(cluster, desired, container, now))
            .collect();
        let unseen = being_made.iter().filter(|making| !seen.contains(&making.replica.container_name(&app.name)));
        containers.extend(unseen.map(|making| not_seen_yet(app, making)));
        let others = cluster.named_like(&format!("{}.", app.name));
        containers.extend(others.into_iter().map(|(name, engine)| of_somebody_else(name, engine, now)));
        let (images, scarce) = (app.images.lock().clone(), app.scarce_images(now));
        let is_unread = |(_, reach): &(&EngineId, &EngineReach)| matches!(reach, EngineReach::NotRead { .. });
        let unread = reaches.iter().filter(is_unread).map(|(engine, _)| engine.clone()).collect();
        let network = network_name(&desired.app);
        let networks_of_others = cluster.engines_with_network_of_others(&network, &desired.app);
        let mut found = Observed {
            engines: self.with_lost(reaches),
            unread,
            containers,
            networks_of_others,
            images,
            scarce,
            ..Observed::default()
        };
        if !desired.volumes.is_empty() || desired.components().any(|(_, component)| component.is_pinned()) {
            (found.volumes, found.volumes_of_others) = volumes(cluster, &desired.app);
            let mounted = cluster.mounts_of_others(&desired.app).into_iter().filter_map(|(engine, volume, by)| {
                let (slot, name) = volume_of(&desired.app, &volume)?;
                Some(((engine, slot, name), by))
            });
            found.mounted_by_others = mounted.collect();
        }
        found
    }

    /// Whether there are volumes of somebody else that have the name of one of an application, and were not taken over.
    pub(crate) fn has_volume_to_take(&self, cluster: &Cluster, desired: &Desired, spec: &AppSpec) -> bool {
        let is_taken = |slot: &Slot, name: &str| {
            desired.volumes.iter().any(|volume| volume.taken && volume.slot == *slot && volume.name == name)
        };
        volumes(cluster, &desired.app).1.iter().any(|(_, slot, name)| {
            let component = spec.components.get(&slot.component);
            component.is_some_and(|component| component.pinned_volumes().any(|pinned| pinned == name))
                && !is_taken(slot, name)
        })
    }

    fn with_lost(&self, reaches: BTreeMap<EngineId, EngineReach>) -> BTreeMap<EngineId, Reach> {
        let reach = |reach: EngineReach| match reach {
            EngineReach::Up => Reach::Up,
            EngineReach::NotRead { since } => Reach::Silent { since: since.max(self.may_be_silent_until) },
            EngineReach::Silent { since } => Reach::Silent { since },
            EngineReach::DaemonGone { since } => Reach::DaemonGone { since },
        };
        let mut reaches: BTreeMap<EngineId, Reach> =
            reaches.into_iter().map(|(engine, found)| (engine, reach(found))).collect();
        for engine in self.caution.lost() {
            let known = reaches.entry(engine).or_insert(Reach::Lost);
            if *known != Reach::Up {
                *known = Reach::Lost;
            }
        }
        reaches
    }
}

impl App {
    fn observed(
        &self,
        cluster: &Cluster,
        desired: &Desired,
        container: &ReplicaContainer,
        now: Timestamp,
    ) -> ObservedContainer {
        let ReplicaContainer { labels, run, state, created, .. } = container;
        let slot = labels.slot.map(|number| Slot { component: labels.component.clone(), number });
        let component = desired.component_of(labels);
        let serves = desired.takes_traffic(labels);
        let since = match state {
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => run.started,
            ContainerState::Stopped | ContainerState::Unknown => run.ended,
            ContainerState::Created => None,
        };
        ObservedContainer {
            name: container.name.clone(),
            engine: container.engine.clone(),
            slot,
            generation: labels.generation,
            of_another: desired.is_of_another(labels),
            revision: labels.revision,
            state: *state,
            since: since.unwrap_or(*created),
            created: *created,
            health: self.health_of(cluster, container, component, serves, now),
            network_lost: run.network_lost,
            complaint: self.probes.complaint(&container.id),
            exit_code: run.exit_code,
            exits: container.exits.clone(),
            sizes: container.limits_known.then(|| sizes(container)),
            fingerprint: Some(labels.fingerprint.clone()).filter(|known| !known.is_empty()),
        }
    }

    fn health_of(
        &self,
        cluster: &Cluster,
        container: &ReplicaContainer,
        component: Option<&ComponentSpec>,
        serves: bool,
        now: Timestamp,
    ) -> Health {
        if container.state != ContainerState::Running {
            return Health::Unchecked;
        }
        let is_simulated = cluster.engine_spec(&container.engine).is_some_and(|engine| engine.addr.is_simulated());
        if is_simulated && component.is_some_and(|component| check_of(component).is_some()) {
            // There is no program that could be asked.
            return Health::Healthy { since: container.run.started.unwrap_or(now) };
        }
        let probed = component.and_then(|component| self.probes.health(&container.id, component, serves));
        probed.unwrap_or_else(|| self.health.lock().of_docker(container, now))
    }
}

/// What Docker enforces.
fn sizes(container: &ReplicaContainer) -> Sizes {
    let spec = &container.spec;
    Sizes {
        cpus: spec.cpus,
        memory: spec.memory.unwrap_or(MemoryMb::DEFAULT_RESERVATION),
        restart: spec.restart_policy,
    }
}

/// A container that Docker is being asked for.
fn not_seen_yet(app: &App, making: &Making) -> ObservedContainer {
    let Making { replica, revision, since } = making;
    ObservedContainer {
        name: replica.container_name(&app.name),
        engine: replica.engine.clone(),
        slot: Some(replica.slot.clone()),
        generation: replica.generation,
        of_another: false,
        revision: *revision,
        state: ContainerState::Created,
        since: *since,
        created: *since,
        health: Health::Unchecked,
        network_lost: false,
        complaint: None,
        exit_code: None,
        exits: Vec::new(),
        sizes: None,
        fingerprint: None,
    }
}

fn of_somebody_else(name: String, engine: EngineId, now: Timestamp) -> ObservedContainer {
    ObservedContainer {
        name,
        engine,
        slot: None,
        generation: 0,
        of_another: false,
        revision: 0,
        state: ContainerState::Running,
        since: now,
        created: now,
        health: Health::Unchecked,
        network_lost: false,
        complaint: None,
        exit_code: None,
        exits: Vec::new(),
        sizes: None,
        fingerprint: None,
    }
}

type Volumes = BTreeSet<(EngineId, Slot, String)>;

/// The volumes of slots that are there, and those of others that have the name of one.
fn volumes(cluster: &Cluster, app: &AppName) -> (Volumes, Volumes) {
    let (mut own, mut of_others) = (Volumes::new(), Volumes::new());
    for ((engine, name), is_own) in cluster.volumes_of(app) {
        let Some((slot, volume)) = volume_of(app, &name) else { continue };
        if is_own { &mut own } else { &mut of_others }.insert((engine, slot, volume));
    }
    (own, of_others)
}
