//! A small world that plays fair: what is asked for is done, and time goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use crate::apps::{
    Action, BeforeState, Cause, Desired, Goal, Health, Instance, Observed, ObservedContainer, Outcome, Reach,
    RolloutReason, Slot, Step, plan,
};
use crate::model::app::{AppSpec, Probe};
use crate::model::{ContainerState, Cpus, EngineId, EngineStatus, MemoryMb, Resources};
use crate::scheduler::{EngineState, PlacementRequest, Snapshot, Spread};
use crate::wire::app::read_files;

/// What a host is, beside what runs there.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) memory: u64,
    pub(super) labels: BTreeSet<String>,
    pub(super) draining: bool,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) desired: Desired,
    pub(super) observed: Observed,
    pub(super) hosts: BTreeMap<EngineId, Host>,
    pub(super) now: Timestamp,
    /// Revisions whose containers never become healthy.
    pub(super) sick_revisions: BTreeSet<u64>,
    /// Revisions whose containers end at once.
    pub(super) crashing_revisions: BTreeSet<u64>,
    /// Hosts on which no container can be made.
    pub(super) full_hosts: BTreeSet<EngineId>,
    /// How containers end when they are stopped.
    pub(super) exit_code: i64,
    /// How the rollouts ended.
    pub(super) outcomes: Vec<(Outcome, String)>,
}

pub(super) fn spec(toml: &str) -> AppSpec {
    let text = format!("app = 'shop'\n{toml}");
    read_files(&[("paas.toml", &text)], |_| None).unwrap().normalise(None).unwrap()
}

pub(super) fn slot(text: &str) -> Slot {
    let (component, number) = text.split_once('.').unwrap();
    Slot { component: component.parse().unwrap(), number: number.parse().unwrap() }
}

pub(super) fn engine(id: &str) -> EngineId {
    id.parse().unwrap()
}

impl World {
    /// Hosts of 4 CPUs and 4096 MB, and an application that was just applied.
    pub(super) fn new(hosts: &[&str], toml: &str) -> Self {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let host = || Host { memory: 4096, labels: BTreeSet::new(), draining: false };
        Self {
            desired: Desired::first(spec(toml), now),
            observed: Observed {
                engines: hosts.iter().map(|id| (engine(id), Reach::Up)).collect(),
                ..Observed::default()
            },
            hosts: hosts.iter().map(|id| (engine(id), host())).collect(),
            now,
            sick_revisions: BTreeSet::new(),
            crashing_revisions: BTreeSet::new(),
            full_hosts: BTreeSet::new(),
            exit_code: 143,
            outcomes: Vec::new(),
        }
    }

    /// The same, when everything runs.
    pub(super) fn running(hosts: &[&str], toml: &str) -> Self {
        let mut world = Self::new(hosts, toml);
        world.rest();
        assert!(world.desired.rollout.is_none(), "{}", world.show());
        world
    }

    pub(super) fn apply(&mut self, toml: &str) {
        self.begin(toml, RolloutReason::Apply);
    }

    pub(super) fn begin(&mut self, toml: &str, reason: RolloutReason) {
        self.desired.begin(spec(toml), reason, self.now);
    }

    pub(super) fn reach(&mut self, id: &str, reach: Reach) {
        self.observed.engines.insert(engine(id), reach);
        let is_up = reach == Reach::Up;
        for container in self.observed.containers.iter_mut().filter(|container| container.engine.as_str() == id) {
            match (is_up, container.state) {
                (false, ContainerState::Running) => container.state = ContainerState::Unknown,
                (true, ContainerState::Unknown) => container.state = ContainerState::Running,
                _ => {}
            }
        }
    }

    /// Somebody removes copies of containers: those that the records do not name. Whether there were any.
    pub(super) fn remove_copies(&mut self) -> bool {
        let count = self.observed.containers.len();
        for copy in self.steps().into_iter().filter_map(|step| match step.cause {
            Cause::Twin(copy) => Some(copy),
            _ => None,
        }) {
            self.observed.containers.retain(|container| !is(container, &copy));
        }
        self.observed.containers.len() < count
    }

    pub(super) fn silent_for(&mut self, id: &str, seconds: i64) {
        self.reach(id, Reach::Silent { since: self.ago(seconds) });
    }

    /// Another server leads now, and the host has not answered it yet.
    pub(super) fn not_seen(&mut self, id: &str, reach: Reach) {
        self.reach(id, reach);
        self.observed.containers.retain(|container| container.engine.as_str() != id);
    }

    pub(super) fn ago(&self, seconds: i64) -> Timestamp {
        self.now - SignedDuration::from_secs(seconds)
    }

    pub(super) fn host(&mut self, id: &str) -> &mut Host {
        self.hosts.get_mut(id).unwrap()
    }

    /// A host that is new.
    pub(super) fn add_host(&mut self, id: &str) {
        self.observed.engines.insert(engine(id), Reach::Up);
        self.hosts.insert(engine(id), Host { memory: 4096, labels: BTreeSet::new(), draining: false });
    }

    /// The newest container of a slot.
    pub(super) fn container(&mut self, of: &str) -> &mut ObservedContainer {
        let slot = slot(of);
        let containers = self.observed.containers.iter_mut().filter(|container| container.slot.as_ref() == Some(&slot));
        containers.max_by_key(|container| container.generation).unwrap()
    }

    pub(super) fn lose_container(&mut self, of: &str) {
        let slot = slot(of);
        self.observed.containers.retain(|container| container.slot.as_ref() != Some(&slot));
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (id, host) in &self.hosts {
            let total = Resources { cpus: Cpus::from_milli(4000), memory: MemoryMb::new(host.memory) };
            let mut state = EngineState::new(id.clone(), total);
            (state.labels, state.draining) = (host.labels.clone(), host.draining);
            if self.observed.engines[id] != Reach::Up {
                state.status = EngineStatus::Down;
            }
            snapshot.insert(state);
        }
        for container in self.observed.containers.iter().filter(|container| container.state.holds_resources()) {
            let spec =
                container.slot.as_ref().and_then(|slot| self.desired.component(container.revision, &slot.component));
            if let Some(spec) = spec {
                let mut request = PlacementRequest::new(&spec.container_spec(), 1);
                if let Some(sizes) = container.sizes {
                    let cpus = sizes.cpus.unwrap_or(Cpus::DEFAULT_RESERVATION);
                    request.resources = Resources { cpus, memory: sizes.memory };
                }
                snapshot.reserve(&container.engine, &request);
            }
        }
        snapshot
    }

    pub(super) fn steps(&self) -> Vec<Step> {
        plan(&self.desired, &self.observed, &self.snapshot(), &Spread::default(), self.now)
    }

    /// Does what is planned now. Whether there was anything to do.
    pub(super) fn act(&mut self) -> bool {
        self.desired.note_gone(&self.observed);
        let steps = self.steps();
        for step in &steps {
            self.carry_out(step);
        }
        steps.iter().any(|step| !step.action.is_wait())
    }

    pub(super) fn carry_out(&mut self, step: &Step) {
        self.desired.record(step, self.now);
        match &step.action {
            Action::CreateVolume { slot, volume, engine, taken: false } => {
                self.observed.volumes.insert((engine.clone(), slot.clone(), volume.clone()));
            }
            Action::Fetch { slot, revision, engine } if self.full_hosts.contains(engine) => {
                let why = "no space left on device".to_owned();
                self.desired.note_failed_fetch(slot, *revision, engine, why, true, self.now);
            }
            Action::Fetch { slot, revision, engine } => {
                let image = self.desired.component(*revision, &slot.component).unwrap().exact_image();
                self.observed.images.insert((engine.clone(), image));
            }
            Action::Create { replica, .. } if self.full_hosts.contains(&replica.engine) => {
                let why = "no space left on device".to_owned();
                self.desired.note_failure(&replica.slot, replica.generation, &replica.engine, why, true, self.now);
            }
            Action::Create { replica, revision, .. } => self.create(replica, *revision),
            Action::Start(replica) | Action::Restart(replica) => {
                let has_check = self.has_check(replica);
                let now = self.now;
                let container = self.found(replica);
                (container.state, container.since, container.exit_code) = (ContainerState::Running, now, None);
                container.health = if has_check { Health::Starting } else { Health::Unchecked };
            }
            Action::Stop(replica) | Action::SetAside(replica) => {
                let (now, exit_code) = (self.now, self.exit_code);
                let container = self.found(replica);
                (container.state, container.since) = (ContainerState::Stopped, now);
                container.exit_code = Some(exit_code);
            }
            Action::Remove(replica) => {
                self.found(replica);
                self.observed.containers.retain(|container| !is(container, replica));
            }
            Action::Rename(replica) => {
                let name = replica.container_name(&self.desired.app);
                self.found(replica).name = name;
            }
            Action::UpdateInPlace(replica, sizes) => self.found(replica).sizes = Some(*sizes),
            Action::Finish(outcome) => self.outcomes.push((*outcome, step.cause.to_string())),
            _ => {}
        }
    }

    fn found(&mut self, replica: &Instance) -> &mut ObservedContainer {
        assert_eq!(self.observed.engines[&replica.engine], Reach::Up, "{replica} is asked of a host that answers");
        let container = self.observed.containers.iter_mut().find(|container| is(container, replica));
        container.unwrap_or_else(|| panic!("{replica} is there"))
    }

    fn has_check(&self, replica: &Instance) -> bool {
        let container = self.observed.containers.iter().find(|container| is(container, replica)).unwrap();
        self.component_of(container).is_some_and(|spec| spec.health.is_some())
    }

    fn component_of(&self, container: &ObservedContainer) -> Option<&crate::model::app::ComponentSpec> {
        self.desired.component(container.revision, &container.slot.as_ref()?.component)
    }

    fn create(&mut self, replica: &Instance, revision: u64) {
        assert_eq!(self.observed.engines[&replica.engine], Reach::Up, "{replica} is made on a host that answers");
        let name = replica.container_name(&self.desired.app);
        let mut there = self.observed.containers.iter().filter(|container| container.engine == replica.engine);
        assert!(there.all(|container| container.name != name), "{name} is free");
        let spec = self.desired.component(revision, &replica.slot.component).unwrap();
        let probe = spec.health.as_ref().map(|check| &check.probe);
        let has_check = matches!(probe, Some(Probe::Http { .. } | Probe::Tcp { .. } | Probe::Command(_)));
        let container = ObservedContainer {
            name,
            engine: replica.engine.clone(),
            slot: Some(replica.slot.clone()),
            generation: replica.generation,
            of_another: false,
            revision,
            state: ContainerState::Running,
            since: self.now,
            created: self.now,
            health: if has_check { Health::Starting } else { Health::Unchecked },
            complaint: None,
            network_lost: false,
            exit_code: None,
            exits: Vec::new(),
            sizes: Some(spec.sizes()),
            fingerprint: Some(spec.fingerprint()),
        };
        self.observed.containers.push(container);
    }

    /// Time goes on by a second.
    pub(super) fn tick(&mut self) {
        self.now += SignedDuration::from_secs(1);
        if let Some(rollout) = &mut self.desired.rollout {
            rollout.before.values_mut().for_each(|state| *state = BeforeState::Ended(0));
        }
        let now = self.now;
        // A check from outside is made of old containers, too.
        let is_checked = |container: &ObservedContainer| {
            let slot = container.slot.as_ref()?;
            let spec = self.desired.component(self.desired.replicas.get(slot)?.revision, &slot.component)?;
            spec.health.as_ref().map(|_| ())
        };
        let checked: Vec<bool> = self.observed.containers.iter().map(|one| is_checked(one).is_some()).collect();
        for (container, is_checked) in self.observed.containers.iter_mut().zip(checked) {
            if is_checked && container.health == Health::Unchecked {
                container.health = Health::Starting;
            }
            if container.state != ContainerState::Running {
                continue;
            }
            if self.crashing_revisions.contains(&container.revision) {
                (container.state, container.since, container.exit_code) = (ContainerState::Stopped, now, Some(1));
                container.exits.push(now);
            }
            if container.health == Health::Starting && !self.sick_revisions.contains(&container.revision) {
                container.health = Health::Healthy { since: now };
            }
        }
        for container in &mut self.observed.containers {
            container.exits.retain(|&time| now.duration_since(time) <= SignedDuration::from_mins(10));
        }
    }

    pub(super) fn pass(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.act();
            self.tick();
        }
    }

    /// Until there was nothing to do for a long time.
    pub(super) fn rest(&mut self) {
        let mut quiet = 0;
        for _ in 0..5000 {
            quiet = if self.act() { 0 } else { quiet + 1 };
            self.check();
            // Longer than any time of the planner but the end of a crash loop.
            if quiet > 700 {
                return;
            }
            self.tick();
        }
        panic!("it does not come to rest:\n{}", self.show());
    }

    /// What holds at any time.
    pub(super) fn check(&self) {
        for container in self.observed.containers.iter().filter(|container| container.state.holds_resources()) {
            let spec = self.component_of(container);
            let is_exclusive = spec.is_some_and(|spec| spec.is_pinned() || spec.heal.singleton);
            let running = self
                .observed
                .containers
                .iter()
                .filter(|other| other.slot == container.slot && other.state.holds_resources());
            assert!(!is_exclusive || running.count() == 1, "two at once:\n{}", self.show());
        }
    }

    pub(super) fn serving(&self, component: &str) -> usize {
        let replicas = self.desired.replicas.iter().filter(|(slot, _)| slot.component.as_str() == component);
        let serves = |(slot, replica): &(&Slot, &crate::apps::Replica)| {
            self.observed.containers.iter().any(|container| {
                container.slot.as_ref() == Some(*slot)
                    && container.state == ContainerState::Running
                    && replica.backends.get(&container.generation) == Some(&crate::apps::Backend::Serving)
            })
        };
        replicas.filter(serves).count()
    }

    /// The situation and the plan, for people.
    pub(super) fn show(&self) -> String {
        let mut text = String::new();
        let rollout = self.desired.rollout.as_ref();
        let about = match (self.desired.goal, rollout) {
            (Goal::Stop, _) => "to be stopped".to_owned(),
            (Goal::Destroy, _) => "to be destroyed".to_owned(),
            (Goal::Run, None) => "no rollout".to_owned(),
            (Goal::Run, Some(rollout)) => format!("rollout: {:?}", rollout.reason),
        };
        writeln!(text, "application: revision {}, {about}", self.desired.target).unwrap();
        for (id, reach) in &self.observed.engines {
            let seconds = |since: &Timestamp| self.now.duration_since(*since).as_secs();
            let reach = match reach {
                Reach::Up => "up".to_owned(),
                Reach::Silent { since } => format!("silent for {} s", seconds(since)),
                Reach::DaemonGone { since } => format!("its Docker gone for {} s", seconds(since)),
                Reach::CutOff => "cut off".to_owned(),
                Reach::Lost => "gone for good".to_owned(),
            };
            let draining = if self.hosts[id].draining { ", drained" } else { "" };
            writeln!(text, "host {id}: {reach}{draining}").unwrap();
        }
        for container in &self.observed.containers {
            let replica = container.slot.as_ref().and_then(|slot| self.desired.replicas.get(slot));
            let backend = replica.and_then(|replica| replica.backends.get(&container.generation));
            let kept = replica.is_some_and(|replica| replica.kept == Some(container.generation));
            let health = match container.health {
                Health::Unchecked => "",
                Health::Starting => ", starting",
                Health::Healthy { .. } => ", healthy",
                Health::Unhealthy { .. } => ", unhealthy",
            };
            let backend = match backend {
                Some(crate::apps::Backend::Serving) => ", serving",
                Some(crate::apps::Backend::Draining { .. }) => ", draining",
                None if kept => ", kept",
                None => "",
            };
            let (name, host, state) = (&container.name, &container.engine, container.state);
            writeln!(text, "container {name} on {host}: revision {}, {state}{health}{backend}", container.revision)
                .unwrap();
        }
        text.push_str("plan:\n");
        let steps = self.steps();
        for step in &steps {
            let again = match &step.action {
                Action::Wait { until: Some(until), .. } => {
                    format!(" (again in {} s)", until.duration_since(self.now).as_secs())
                }
                _ => String::new(),
            };
            writeln!(text, "  {step}{again}").unwrap();
        }
        if steps.is_empty() {
            text.push_str("  nothing to do\n");
        }
        text
    }
}

fn is(container: &ObservedContainer, replica: &Instance) -> bool {
    container.slot.as_ref() == Some(&replica.slot)
        && container.generation == replica.generation
        && container.engine == replica.engine
}
