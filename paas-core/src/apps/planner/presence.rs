//! What a container on an engine that may not answer counts as.

use jiff::Timestamp;

use super::Planner;
use super::status::after;
use crate::apps::{Cause, Reach};
use crate::model::EngineId;
use crate::model::app::{ComponentSpec, Replicas};

/// How long a daemon may be away while its host lives. An upgrade of Docker takes 14 to 18 s, and shall move nothing.
const DAEMON_GONE_MS: u64 = 60_000;
/// How long a host has to be silent before a rollout ends without what is too many on it.
const LOST_MS: u64 = 5000;

/// Whether what is on an engine can be reached, and counts.
pub(super) enum Presence {
    /// It can be reached.
    Here,
    /// It cannot be reached, and counts as if it served: for that reason, until that time.
    Held(Cause, Option<Timestamp>),
    /// It counts no more, for that reason.
    Gone(Cause),
}

impl Planner<'_> {
    /// What becomes of the containers of a component on an engine.
    pub(super) fn presence(&self, engine: &EngineId, spec: &ComponentSpec) -> Presence {
        let silent = |seconds| Cause::HostSilent { engine: engine.clone(), seconds };
        let daemon_gone = |seconds| Cause::DaemonGone { engine: engine.clone(), seconds };
        match self.observed.engines.get(engine) {
            Some(Reach::Up) => Presence::Here,
            Some(Reach::CutOff) => Presence::Held(Cause::CutOff(engine.clone()), None),
            Some(Reach::Lost) => Presence::Gone(Cause::HostLost(engine.clone())),
            // That nobody knows it says nothing about what runs there.
            None => Presence::Held(Cause::HostUnknown(engine.clone()), None),
            Some(Reach::Silent { since }) => self.unanswered(engine, spec, *since, 0, silent),
            Some(Reach::DaemonGone { since }) => self.unanswered(engine, spec, *since, DAEMON_GONE_MS, daemon_gone),
        }
    }

    fn unanswered(
        &self,
        engine: &EngineId,
        spec: &ComponentSpec,
        since: Timestamp,
        at_least_ms: u64,
        cause: impl Fn(i64) -> Cause,
    ) -> Presence {
        let cause = match self.now < since {
            true => Cause::NotReadYet(engine.clone()),
            false => cause(self.now.duration_since(since).as_secs()),
        };
        if spec.is_pinned() {
            return Presence::Held(Cause::WaitsForHost(engine.clone()), None);
        }
        if spec.replicas == Replicas::EachHost {
            return Presence::Held(cause, None);
        }
        let Some(after_ms) = spec.heal.after_ms.filter(|_| !spec.heal.singleton) else {
            return Presence::Held(Cause::NotHealed(engine.clone()), None);
        };
        let healed_at = after(since, after_ms.max(at_least_ms));
        if self.now < healed_at {
            return Presence::Held(cause, Some(healed_at));
        }
        match self.too_many_silent() {
            Some(stopped) => Presence::Held(stopped, None),
            None => Presence::Gone(cause),
        }
    }

    /// Healing stops while more than half of the hosts are silent: then it is more likely that we are cut off. Each counts as soon
    /// as it is silent, since they seldom fall silent in the same second; one whose daemon alone is away after a while.
    fn too_many_silent(&self) -> Option<Cause> {
        let hosts = self.observed.engines.values().filter(|reach| **reach != Reach::Lost);
        let falls_silent = |reach: &Reach| matches!(reach, Reach::Silent { .. }) || self.is_silent(reach);
        let (of, silent) = (hosts.clone().count(), hosts.filter(|reach| falls_silent(reach)).count());
        (silent * 2 > of && !self.desired.heal_now).then_some(Cause::HealingStopped { silent, of })
    }

    /// Whether a host has been silent long enough for what ran there to be taken for dead.
    pub(super) fn is_silent(&self, reach: &Reach) -> bool {
        match reach {
            Reach::Silent { since } => self.now >= after(*since, LOST_MS),
            Reach::DaemonGone { since } => self.now >= after(*since, DAEMON_GONE_MS),
            Reach::Up | Reach::CutOff | Reach::Lost => false,
        }
    }

    /// Why an engine does not answer us, if it does not.
    pub(super) fn no_answer(&self, engine: &EngineId) -> Option<Cause> {
        let seconds = |since: &Timestamp| self.now.duration_since(*since).as_secs();
        let engine = engine.clone();
        match self.observed.engines.get(&engine) {
            Some(Reach::Up) => None,
            Some(Reach::Silent { since } | Reach::DaemonGone { since }) if self.now < *since => {
                Some(Cause::NotReadYet(engine))
            }
            Some(Reach::Silent { since }) => Some(Cause::HostSilent { engine, seconds: seconds(since) }),
            Some(Reach::DaemonGone { since }) => Some(Cause::DaemonGone { engine, seconds: seconds(since) }),
            Some(Reach::CutOff) => Some(Cause::CutOff(engine)),
            Some(Reach::Lost) => Some(Cause::HostLost(engine)),
            None => Some(Cause::HostUnknown(engine)),
        }
    }

    /// Whether somebody said that an engine is gone for good.
    pub(super) fn is_lost(&self, engine: &EngineId) -> bool {
        self.observed.engines.get(engine) == Some(&Reach::Lost)
    }

    /// Whether something new may be placed on an engine.
    pub(super) fn is_up(&self, engine: &EngineId) -> bool {
        self.observed.engines.get(engine) == Some(&Reach::Up)
    }
}
