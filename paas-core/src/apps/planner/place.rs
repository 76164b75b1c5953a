//! Which host takes a container.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::status::after;
use super::view::View;
use super::{Component, Planner, sizes};
use crate::apps::convert::{network_name, volume_name};
use crate::apps::desired::hosts_of_used;
use crate::apps::{
    Action, Backend, Cause, Choice, Instance, ObservedContainer, Reach, Replica, RolloutReason, Slot, StepFailure,
    Subject, Volume,
};
use crate::model::EngineId;
use crate::model::app::{ComponentName, ComponentSpec, Spread};
use crate::scheduler::{PlacementRequest, Snapshot};

/// How long a slot waits after a first failure; twice as long after each further one.
const FIRST_PAUSE_MS: u64 = 1000;
/// The longest that it waits.
const LONGEST_PAUSE_MS: u64 = 60_000;

/// Where a slot has to be because of its volumes.
pub(super) struct VolumeHost {
    /// The host that has some of them.
    pub(super) engine: Option<EngineId>,
    /// Those that are to be made.
    missing: Vec<String>,
    /// Those that somebody else made there, and that are to be taken over.
    taken: Vec<String>,
}

impl<'a> Planner<'a> {
    /// Chooses the host of one more container of a slot, from `snapshot`: one that the slot avoids only where no other has room.
    /// The refusal is a sentence.
    pub(super) fn choose(
        &self,
        snapshot: &Snapshot,
        view: &View<'a>,
        only: Option<EngineId>,
        except: Option<&EngineId>,
    ) -> Result<(EngineId, PlacementRequest), String> {
        let mut request = sizes::request(view.spec, None);
        request.only = only;
        request.except = self.unusable(view);
        request.except.extend(except.cloned());
        request.except.extend(view.old.as_ref().and_then(|old| old.makes_room_on().cloned()));
        let beside = hosts_of_used(&self.placed, view.spec);
        let image = view.spec.exact_image();
        let scarce = self.observed.scarce.get(&image);
        for hosts in beside.iter().chain(scarce.map(|scarce| &scarce.hosts)) {
            let others = snapshot.engines().map(|host| &host.id).filter(|host| !hosts.contains(*host));
            request.except.extend(others.cloned());
        }
        let refused = |mut refusal: String| {
            if let Some(hosts) = &beside {
                refusal = beside_what_it_uses(view.spec, hosts, &refusal);
            }
            match scarce {
                Some(scarce) => format!("{refusal}; {}", scarce.say(&image)),
                None => refusal,
            }
        };
        let avoided = view.replica.into_iter().flat_map(|replica| replica.avoid.iter().cloned());
        let mut elsewhere = request.clone();
        elsewhere.except.extend(avoided);
        let best = |request: &PlacementRequest| {
            let engine = self.best(snapshot, view, request).map_err(refused)?;
            Ok((engine, request.clone()))
        };
        let found = best(&elsewhere);
        if found.is_ok() || elsewhere.except == request.except || self.pause_after_failure(view).is_some() {
            return found;
        }
        best(&request)
    }

    /// Why an engine takes a container, for people.
    fn explain(&self, view: &View<'a>, mut request: PlacementRequest, engine: &EngineId) -> Choice {
        let score = |engine: &EngineId, request: &_| {
            self.snapshot.get(engine).and_then(|engine| self.scheduler.score(engine, request))
        };
        let own = score(engine, &request);
        request.except.insert(engine.clone());
        let next = self.best(&self.snapshot, view, &request).ok();
        Choice { score: own, runner_up: next.map(|next| (next.clone(), score(&next, &request))) }
    }

    /// What a component uses and has nobody of on a host any more, after it was made elsewhere entirely.
    pub(super) fn no_longer_beside(&self, spec: &ComponentSpec, engine: &EngineId) -> Option<ComponentName> {
        let has_moved = |name: &&ComponentName| {
            let mut replicas = self.desired.replicas.iter().filter(|(slot, _)| slot.component == **name).peekable();
            let serves_elsewhere = |(_, replica): (&_, &Replica)| {
                let serves = replica.backends.get(&replica.generation) == Some(&Backend::Serving);
                serves && replica.engine != *engine
            };
            replicas.peek().is_some() && replicas.all(serves_elsewhere)
        };
        spec.used_here().find(has_moved).cloned()
    }

    fn best(&self, snapshot: &Snapshot, view: &View<'a>, request: &PlacementRequest) -> Result<EngineId, String> {
        let place = |request: &PlacementRequest| {
            let hosts = self.scheduler.place(snapshot, request).map_err(|refusal| refusal.to_string())?;
            hosts.into_iter().next().ok_or_else(|| "no host was chosen".to_owned())
        };
        for preferred in self.preferences(view, request) {
            if let Ok(engine) = place(&preferred) {
                return Ok(engine);
            }
        }
        place(request)
    }

    /// Until when a slot is not tried again where it failed, and why.
    pub(super) fn pause_after_failure(&self, view: &View<'a>) -> Option<(&'a StepFailure, Timestamp)> {
        let failed = view.replica?.failed.as_ref()?;
        let doublings = failed.attempts.saturating_sub(1).min(6);
        let until = after(failed.at, (FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS));
        (self.now < until).then_some((failed, until))
    }

    /// Narrower requests, the best first: hosts with the preferred labels, and those that have fewer of the component.
    fn preferences(&self, view: &View<'a>, request: &PlacementRequest) -> Vec<PlacementRequest> {
        if request.only.is_some() {
            return Vec::new();
        }
        let labels = view.spec.place.prefer.iter().map(Some).chain([None]);
        let none = BTreeMap::new();
        let placed = self.placed.get(&view.slot.component).unwrap_or(&none);
        let levels: BTreeSet<usize> = match view.spec.place.spread {
            Spread::Host => placed.values().copied().chain([0]).collect(),
            Spread::None => BTreeSet::from([usize::MAX]),
        };
        let mut requests = Vec::new();
        for label in labels {
            for &level in &levels {
                let mut narrower = request.clone();
                narrower.labels.extend(label.cloned());
                let fuller = placed.iter().filter(|&(_, &count)| count > level).map(|(engine, _)| engine.clone());
                narrower.except.extend(fuller);
                requests.push(narrower);
            }
        }
        requests
    }

    /// Hosts that do not answer us, and those where a container of somebody else has the name, or a network has that of ours.
    fn unusable(&self, view: &View<'a>) -> BTreeSet<EngineId> {
        let silent = self.observed.engines.keys().filter(|engine| !self.is_up(engine)).cloned();
        let networks = self.observed.networks_of_others.iter().cloned();
        silent.chain(networks).chain(self.in_the_way(view).map(|container| container.engine.clone())).collect()
    }

    /// Containers of somebody else that have the name of the next container of a slot.
    fn in_the_way(&self, view: &View<'a>) -> impl Iterator<Item = &'a ObservedContainer> + use<'a> {
        let name = format!("{}.{}.{}", self.desired.app, view.slot, view.next_generation());
        self.observed.containers.iter().filter(move |container| container.slot.is_none() && container.name == name)
    }

    /// Why no host takes a container, with what is in its way.
    pub(super) fn no_room(&self, view: &View<'a>, refusal: String) -> Cause {
        let others = self
            .in_the_way(view)
            .map(|other| format!("on {} somebody else's container is called {}", other.engine, other.name));
        let hosts: Vec<&str> = self.observed.networks_of_others.iter().map(EngineId::as_str).collect();
        let network = (!hosts.is_empty()).then(|| {
            let name = network_name(&self.desired.app);
            format!("network {name} on {} was not made by the platform: remove it", hosts.join(" and "))
        });
        Cause::NoRoom(others.chain(network).chain([refusal]).collect::<Vec<_>>().join("; "))
    }

    /// Makes a container for a slot, with the volumes that it lacks, or says why it cannot be.
    pub(super) fn create(
        &mut self,
        component: &Component<'a>,
        view: &View<'a>,
        avoid: Option<EngineId>,
        cause: Cause,
    ) -> Result<(), Cause> {
        let volumes = self.volume_host(view)?;
        if let Some(reason) = self.excluded(view, &[]) {
            return Err(reason);
        }
        let only = volumes.engine.clone().or_else(|| view.only.clone());
        let failed = self.pause_after_failure(view).map(|(failed, _)| failed);
        if let Some(why) = self.given_up(view) {
            return Err(Cause::CreateGivenUp { why });
        }
        let cannot = |failed: &StepFailure| Cause::CreateFailed { why: failed.why.clone() };
        if let Some(failed) = failed.filter(|failed| !failed.of_host) {
            return Err(cannot(failed));
        }
        let refused = |refusal| failed.map_or_else(|| self.no_room(view, refusal), cannot);
        let (engine, request) = self.choose(&self.snapshot, view, only, avoid.as_ref()).map_err(refused)?;
        let choice = self.explain(view, request, &engine);
        let missing = volumes.missing.into_iter().map(|volume| (volume, false));
        for (volume, taken) in missing.chain(volumes.taken.into_iter().map(|volume| (volume, true))) {
            let action = Action::CreateVolume { slot: view.slot.clone(), volume, engine: engine.clone(), taken };
            self.step(action, if taken { Cause::VolumeTaken } else { Cause::NewVolume });
        }
        self.reserve(component.name, view.spec, &engine);
        let replica = Instance { slot: view.slot.clone(), generation: view.next_generation(), engine };
        self.step(Action::Create { replica, revision: view.revision, avoid, choice }, cause);
        Ok(())
    }

    /// Why nothing more is made of a version whose rollout was stopped, and that is to blame itself: no host makes it, however often
    /// it is asked.
    fn given_up(&self, view: &View<'a>) -> Option<String> {
        let is_good = self.desired.is_target_good() || self.desired.last_done == Some(view.revision);
        let failed = view.replica?.failed.as_ref().filter(|failed| !is_good && !failed.of_host)?;
        Some(failed.why.clone())
    }

    /// As [`Planner::create`], and waits where it cannot be.
    pub(super) fn create_or_wait(&mut self, component: &Component<'a>, view: &View<'a>, cause: Cause) {
        if let Err(reason) = self.create(component, view, None, cause) {
            self.wait_to_create(view, reason);
        }
    }

    /// Waits until a container can be made: at the latest until the pause after a failure is over.
    pub(super) fn wait_to_create(&mut self, view: &View<'a>, reason: Cause) {
        let until = self.pause_after_failure(view).map(|(_, until)| until);
        self.wait(Subject::Slot(view.slot.clone()), until, reason);
    }

    fn reserve(&mut self, name: &ComponentName, spec: &ComponentSpec, engine: &EngineId) {
        self.snapshot.to_mut().reserve(engine, &sizes::request(spec, None));
        *self.placed.entry(name.clone()).or_default().entry(engine.clone()).or_default() += 1;
    }

    /// Where a slot has to be because of its volumes.
    ///
    /// # Errors
    /// Why it can be nowhere now.
    pub(super) fn volume_host(&self, view: &View<'a>) -> Result<VolumeHost, Cause> {
        let mut host = VolumeHost { engine: None, missing: Vec::new(), taken: Vec::new() };
        for name in view.spec.pinned_volumes() {
            let record = self.made_volume(view, name);
            let engine = match (record, self.volume_to_take(view, name, record)?) {
                (_, Some(engine)) => {
                    host.taken.push(name.to_owned());
                    engine
                }
                (Some(record), None) => &record.engine,
                (None, None) => {
                    host.missing.push(name.to_owned());
                    continue;
                }
            };
            if let Some(other) = host.engine.as_ref().filter(|other| *other != engine) {
                return Err(Cause::VolumesApart(other.clone(), engine.clone()));
            }
            host.engine = Some(engine.clone());
        }
        let Some(engine) = &host.engine else { return Ok(host) };
        if !self.is_up(engine) {
            return Err(Cause::WaitsForHost(engine.clone()));
        }
        // Docker would silently make an empty one, and the program would start on it.
        let is_gone = |name: &&str| {
            let key = (engine.clone(), view.slot.clone(), (*name).to_owned());
            let is_there = self.observed.volumes.contains(&key) || self.observed.volumes_of_others.contains(&key);
            !host.missing.iter().any(|missing| missing == name) && !is_there
        };
        if let Some(volume) = view.spec.pinned_volumes().find(is_gone) {
            return Err(Cause::VolumeGone { volume: volume.to_owned(), engine: engine.clone() });
        }
        if self.snapshot.get(engine).is_some_and(|host| host.draining) {
            return Err(Cause::PinnedToDrained(engine.clone()));
        }
        Ok(host)
    }

    /// The record of a volume of a slot. Nothing is in one that was not made: it is made again, and on another host where that is
    /// better.
    fn made_volume(&self, view: &View<'a>, name: &str) -> Option<&Volume> {
        self.desired.volumes.iter().find(|volume| volume.slot == view.slot && volume.name == name && volume.made)
    }

    /// Whether a host is where a volume of a slot is by its record, or where it might be made as long as there is none.
    fn may_be_on(&self, record: Option<&Volume>, engine: &EngineId) -> bool {
        record.map_or_else(|| !self.is_lost(engine), |record| record.engine == *engine)
    }

    /// The host of a volume of somebody else that has the name of one of a slot, and that is to be taken over: where adopting was
    /// asked for, and it is the only one.
    ///
    /// # Errors
    /// It is in the way.
    fn volume_to_take(
        &self,
        view: &View<'a>,
        name: &str,
        record: Option<&Volume>,
    ) -> Result<Option<&'a EngineId>, Cause> {
        if record.is_some_and(|record| record.taken) {
            return Ok(None);
        }
        let is_it = |(engine, slot, volume): &&(EngineId, Slot, String)| {
            *slot == view.slot && volume == name && self.may_be_on(record, engine)
        };
        let found: Vec<&EngineId> =
            self.observed.volumes_of_others.iter().filter(is_it).map(|(engine, ..)| engine).collect();
        let adopts = self.desired.rollout.as_ref().is_some_and(|rollout| rollout.reason == RolloutReason::Adopt);
        match found[..] {
            [] => Ok(None),
            [engine] if adopts => Ok(Some(engine)),
            _ => {
                let volume = volume_name(&self.desired.app, &view.slot, name);
                Err(Cause::VolumeOfOthers { volume, engines: found.into_iter().cloned().collect() })
            }
        }
    }

    /// Why no other container of a slot may run now: one of them, other than those of some generations, may run for all that is
    /// known, and there must never be two; or one of somebody else runs on its volume.
    pub(super) fn excluded(&self, view: &View<'a>, except: &[u64]) -> Option<Cause> {
        let excludes = |other: &&ObservedContainer| {
            let host = self.observed.engines.get(&other.engine);
            let may_run = other.state.holds_resources() && host != Some(&Reach::Lost);
            // A version that may run twice does not run beside one that may not.
            may_run && (is_exclusive(view.spec) || self.is_singleton(view, self.counts_as_of(view, other)))
        };
        let cause = if view.spec.is_pinned() { Cause::VolumeInUse } else { Cause::StillRuns };
        let mut others = self.containers_of(&view.slot).filter(|other| !except.contains(&other.generation));
        let seen = others.find(|other| excludes(other)).map(|_| cause);
        seen.or_else(|| self.excluded_by_unseen(view, except))
            .or_else(|| self.excluded_by_twin(view))
            .or_else(|| self.excluded_by_mount(view))
    }

    /// A container that is none of the application's runs on a volume of the slot.
    fn excluded_by_mount(&self, view: &View<'a>) -> Option<Cause> {
        view.spec.pinned_volumes().find_map(|name| {
            let record = self.made_volume(view, name);
            let is_it = |engine: &EngineId, slot: &Slot, volume: &str| {
                *slot == view.slot && volume == name && self.may_be_on(record, engine)
            };
            let mut mounted = self.observed.mounted_by_others.iter();
            let ((engine, ..), by) = mounted.find(|((engine, slot, volume), _)| is_it(engine, slot, volume))?;
            let volume = volume_name(&self.desired.app, &view.slot, name);
            Some(Cause::VolumeMounted { volume, engine: engine.clone(), by: by.clone() })
        })
    }

    /// One that only the record names may run as well, until its host was read or is given up.
    fn excluded_by_unseen(&self, view: &View<'a>, except: &[u64]) -> Option<Cause> {
        let replica = view.replica?;
        let is_alone = is_exclusive(view.spec);
        let newest = (replica.generation, &replica.engine, is_alone || self.is_singleton(view, replica.revision));
        let older = replica.elsewhere.iter().map(|(generation, engine)| (*generation, engine, is_alone));
        let is_seen = |generation| self.containers_of(&view.slot).any(|other| other.generation == generation);
        let may_run = |engine| !self.is_up(engine) && !self.is_lost(engine);
        older
            .chain([newest])
            .find(|&(generation, engine, excludes)| {
                excludes && may_run(engine) && !except.contains(&generation) && !is_seen(generation)
            })
            .and_then(|(_, engine, _)| self.no_answer(engine))
    }

    /// A copy of a container that must never run twice. That of a volume's has a copy of the volume.
    fn excluded_by_twin(&self, view: &View<'a>) -> Option<Cause> {
        let excludes = |twin: &&&ObservedContainer| {
            let may_run = twin.state.holds_resources() && !self.is_lost(&twin.engine);
            let is_singleton = view.spec.heal.singleton || self.is_singleton(view, self.counts_as_of(view, twin));
            twin.slot.as_ref() == Some(&view.slot) && may_run && is_singleton
        };
        self.twins.iter().find(excludes).map(|twin| Cause::Twin(view.instance(twin)))
    }

    fn counts_as_of(&self, view: &View<'a>, container: &ObservedContainer) -> u64 {
        view.replica.map_or(container.revision, |replica| self.counts_as(container, replica))
    }

    fn is_singleton(&self, view: &View<'a>, revision: u64) -> bool {
        self.desired.component(revision, &view.slot.component).is_some_and(|own| own.heal.singleton)
    }
}

/// Why no host will do, where a component has to be beside what it uses.
fn beside_what_it_uses(spec: &ComponentSpec, hosts: &BTreeSet<EngineId>, refusal: &str) -> String {
    let used: Vec<&str> = spec.used_here().map(ComponentName::as_str).collect();
    let hosts: Vec<&str> = hosts.iter().map(EngineId::as_str).collect();
    let where_it_is = if hosts.is_empty() { "on no host".to_owned() } else { format!("on {}", hosts.join(", ")) };
    format!("{refusal}; it has to be on a host with {}, which it uses and which is {where_it_is}", used.join(" and "))
}

/// Whether there must never be two containers of one slot at once.
pub(super) fn is_exclusive(spec: &ComponentSpec) -> bool {
    spec.is_pinned() || spec.heal.singleton
}
