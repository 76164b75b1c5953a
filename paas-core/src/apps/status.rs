//! How an application is, for people and programs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::documents::Documents;
use super::planner::loops_since;
use super::reconciler::{App, Apps};
use super::{Backend, Desired, Goal, Observed, ObservedContainer, Reach, Replica, RolloutReason, Slot, Step};
use crate::cluster::{Cluster, ReplicaContainer};
use crate::executor::Executor;
use crate::model::app::{ComponentName, ComponentSpec, Replicas};
use crate::model::{BoundPort, ContainerState, EngineAddress};
use crate::store::records::{EndedRecord, OutcomeRecord};
use crate::wire::app::{
    AppState, AppStatus, AppSummary, ComponentStatus, ReplicaStatus, RolloutOutcome, RolloutResult, RolloutStatus,
};

impl Apps {
    /// How an application is; nothing where there is none.
    pub(crate) fn status(&self, executor: &Executor, app: &Arc<App>) -> Option<AppStatus> {
        let documents = app.shown()?;
        let (observed, steps) = self.look(executor, app, documents.desired(), &BTreeMap::new());
        let known = executor.cluster.replicas(&app.name);
        let (cluster, making) = (&executor.cluster, app.being_made());
        let now = self.now();
        let looked = Looked { cluster, desired: documents.desired(), observed, steps, known, making, now };
        Some(looked.status(&documents))
    }
}

/// What there is, and what is to be done.
struct Looked<'a> {
    cluster: &'a Cluster,
    desired: &'a Desired,
    observed: Observed,
    steps: Vec<Step>,
    known: Vec<ReplicaContainer>,
    /// The slots whose containers Docker is being asked for.
    making: BTreeSet<Slot>,
    now: Timestamp,
}

impl Looked<'_> {
    fn status(&self, documents: &Documents) -> AppStatus {
        let component: std::collections::BTreeMap<ComponentName, ComponentStatus> =
            self.desired.components().map(|(name, spec)| (name.clone(), self.component(name, spec))).collect();
        let ready = component.values().map(|component| component.ready).sum();
        let of_one = |component: &ComponentStatus| match component.declared {
            Replicas::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Replicas::EachHost => component.replicas.len(),
        };
        let replicas = component.values().map(of_one).sum();
        let changed = documents.revisions().next_back().map(|(_, revision)| revision.created);
        let rollout = self.desired.rollout.as_ref();
        let summary = AppSummary {
            name: self.desired.app.clone(),
            state: self.state(ready == replicas),
            revision: self.desired.target,
            ready,
            replicas,
            components: component.keys().cloned().collect(),
            changed: changed.unwrap_or_default(),
        };
        let no_slot = |step: &&Step| step.action.slot().is_none();
        AppStatus {
            summary,
            rollout: rollout.map(|rollout| RolloutStatus {
                to: rollout.to,
                reason: reason_of(&rollout.reason).to_owned(),
                why: why_of(&rollout.reason).to_owned(),
                output: rollout.output.clone(),
                started: rollout.started,
            }),
            last_rollout: documents.ended().map(result_of),
            component,
            notes: self.steps.iter().filter(no_slot).map(ToString::to_string).collect(),
        }
    }

    fn state(&self, is_ready: bool) -> AppState {
        match self.desired.goal {
            Goal::Destroy => AppState::Removing,
            Goal::Stop => AppState::Stopped,
            Goal::Run if self.desired.rollout.is_some() => AppState::RollingOut,
            Goal::Run if !self.desired.is_target_good() => AppState::RolloutStopped,
            Goal::Run if is_ready => AppState::Running,
            Goal::Run => AppState::Degraded,
        }
    }

    fn component(&self, name: &ComponentName, spec: &ComponentSpec) -> ComponentStatus {
        let kept = self.desired.replicas.keys().filter(|slot| slot.component == *name).map(|slot| slot.number);
        // Those of a component with one on each host have gaps where a host is drained or gone.
        let declared: BTreeSet<u32> = match spec.replicas {
            Replicas::Count(count) => (1..=count).collect(),
            Replicas::EachHost => kept.clone().collect(),
        };
        let numbers: BTreeSet<u32> = declared.iter().copied().chain(kept).collect();
        let slots = numbers.into_iter().map(|number| Slot { component: name.clone(), number });
        let replicas: Vec<ReplicaStatus> = slots.map(|slot| self.replica(&slot)).collect();
        let serves = |number: &u32| self.serves(&Slot { component: name.clone(), number: *number });
        let ready = declared.iter().filter(|number| serves(number)).count();
        ComponentStatus { image: spec.image.to_string(), declared: spec.replicas, ready, replicas }
    }

    /// Whether a container of a slot serves, the newest or one before.
    fn serves(&self, slot: &Slot) -> bool {
        let Some(replica) = self.desired.replicas.get(slot) else { return false };
        let serves = |container: &ObservedContainer| {
            replica.backends.get(&container.generation) == Some(&Backend::Serving)
                && container.state == ContainerState::Running
                && !container.network_lost
                && loops_since(container, self.now).is_none()
                && self.observed.engines.get(&container.engine) == Some(&Reach::Up)
        };
        is_completed(replica) || self.containers_of(slot).any(serves)
    }

    fn containers_of<'a>(&'a self, slot: &'a Slot) -> impl Iterator<Item = &'a ObservedContainer> {
        self.observed.containers.iter().filter(move |container| container.slot.as_ref() == Some(slot))
    }

    fn replica(&self, slot: &Slot) -> ReplicaStatus {
        let replica = self.desired.replicas.get(slot);
        let newest = replica.and_then(|replica| {
            self.containers_of(slot)
                .find(|found| found.generation == replica.generation && found.engine == replica.engine)
        });
        let known = newest.and_then(|newest| self.known.iter().find(|known| known.name == newest.name));
        let step = self.steps.iter().find(|step| step.action.slot() == Some(slot));
        ReplicaStatus {
            slot: slot.number,
            revision: replica.map(|replica| replica.revision),
            engine: replica.map(|replica| replica.engine.clone()),
            container: known.map(|known| known.id.clone()),
            name: newest.map(|newest| newest.name.clone()).unwrap_or_default(),
            state: self.word(replica, newest).to_owned(),
            reason: match self.making.contains(slot) {
                true => "being made".to_owned(),
                false => step.map(|step| step.cause.to_string()).unwrap_or_default(),
            },
            ports: known.map(|known| self.ports(known)).unwrap_or_default(),
        }
    }

    /// How a replica is, in a word.
    fn word(&self, replica: Option<&Replica>, container: Option<&ObservedContainer>) -> &'static str {
        let Some(replica) = replica else { return "pending" };
        if is_completed(replica) {
            return "completed";
        }
        if self.observed.engines.get(&replica.engine) != Some(&Reach::Up) {
            return "unreachable";
        }
        let Some(container) = container else { return "pending" };
        match (container.state, container.health, replica.backends.get(&container.generation)) {
            (ContainerState::Running, ..) if container.network_lost => "no-network",
            (ContainerState::Running, ..) if loops_since(container, self.now).is_some() => "crash-looping",
            (ContainerState::Running, super::Health::Unhealthy { .. }, _) => "unhealthy",
            (ContainerState::Running, _, Some(Backend::Serving)) => "ready",
            (ContainerState::Running, _, Some(Backend::Draining { .. })) => "draining",
            (ContainerState::Running, _, _) if self.desired.goal != Goal::Run => "stopping",
            (ContainerState::Running | ContainerState::Created, _, _) => "starting",
            (ContainerState::Paused, _, _) => "paused",
            (ContainerState::Restarting, _, _) => "crash-looping",
            (ContainerState::Stopped | ContainerState::Unknown, _, _) => "stopped",
        }
    }

    fn ports(&self, known: &ReplicaContainer) -> Vec<String> {
        let spec = self.cluster.engine_spec(&known.engine);
        let host = match spec.as_ref().map(|spec| &spec.addr) {
            Some(EngineAddress::Tcp { host, .. } | EngineAddress::Https { host, .. }) => host.clone(),
            _ => "localhost".to_owned(),
        };
        let place = |port: &BoundPort| match port.host_ip.filter(|ip| !ip.is_unspecified()) {
            Some(ip) => format!("{} → {}", port.container_port, SocketAddr::new(ip, port.host_port)),
            None => format!("{} → {host}:{}", port.container_port, port.host_port),
        };
        known.ports.iter().map(place).collect()
    }
}

/// Whether the newest container of a slot ended well, and the slot needs no other: wherever that container is by now.
fn is_completed(replica: &Replica) -> bool {
    replica.completed == Some(replica.generation)
}

fn reason_of(reason: &RolloutReason) -> &'static str {
    match reason {
        RolloutReason::Apply => "apply",
        RolloutReason::Adopt => "adopt",
        RolloutReason::Scale => "scale",
        RolloutReason::Restart => "restart",
        RolloutReason::Rollback { .. } => "rollback",
    }
}

fn why_of(reason: &RolloutReason) -> &str {
    match reason {
        RolloutReason::Rollback { why } => why,
        _ => "",
    }
}

fn result_of(ended: &EndedRecord) -> RolloutResult {
    let outcome = match ended.outcome {
        OutcomeRecord::Done => RolloutOutcome::Done,
        OutcomeRecord::RolledBack => RolloutOutcome::RolledBack,
        OutcomeRecord::Stopped => RolloutOutcome::Stopped,
        OutcomeRecord::Unknown => RolloutOutcome::Unknown,
    };
    RolloutResult { to: ended.to, outcome, why: ended.why.clone(), output: ended.output.clone(), ended: ended.at }
}
