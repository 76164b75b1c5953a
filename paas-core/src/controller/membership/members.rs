//! What is known of the hosts that register themselves. Plain data; no I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::model::EngineId;
use crate::registry::Member;

/// How long a refusal that goes on is not told again.
const TOLD: Duration = Duration::from_secs(600);

/// The hosts that register themselves, and what became of each.
#[derive(Debug, Default)]
pub(in crate::controller) struct Members {
    /// Who is in the registry, whatever became of it here, and the run of its agent.
    alive: BTreeMap<EngineId, Option<Uuid>>,
    /// The engines that are here because they registered themselves.
    adopted: BTreeMap<EngineId, AdoptedHost>,
    /// Those that somebody deleted while their agent ran: they stay out until it is started again.
    deleted: BTreeMap<EngineId, DeletedHost>,
    /// Those that cannot be taken in as things are, and why.
    refused: BTreeMap<EngineId, (Member, String)>,
    /// Claims on ids of others, and when they were told.
    told: BTreeMap<EngineId, (String, Instant)>,
}

/// A host that somebody deleted while its agent ran, as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::controller) struct DeletedHost {
    /// The run of the agent. Agents of versions before do not say it: such a host stays out until it has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_run: Option<Uuid>,
}

/// An engine that registered itself.
#[derive(Debug)]
pub(super) struct AdoptedHost {
    pub(super) presence: Presence,
    /// What Docker calls its daemon; empty until it was heard since the start.
    pub(super) daemon_id: String,
    /// The run of its agent, where that is known.
    agent_run: Option<Uuid>,
}

/// What is to be done about a host that is in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// It is taken in.
    Welcome,
    /// It is taken in, and it can be forgotten that somebody deleted it: its agent was started again since.
    StartedAgain,
    /// Somebody deleted it, and its agent is still the same one.
    StaysOut,
}

/// Whether the host of an engine is in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is.
    Alive,
    /// It should be, and is not listed: this server has just started, or the registry was away or lost what it knew. The host has a
    /// while to say so itself.
    Grace(Instant),
    /// It left, or its lease ran out.
    Lost(Instant),
}

impl Members {
    /// An engine that had registered itself before this server was started.
    pub(in crate::controller) fn expect(&mut self, id: EngineId) {
        let presence = Presence::Grace(Instant::now());
        self.adopted.insert(id, AdoptedHost { presence, daemon_id: String::new(), agent_run: None });
    }

    /// Somebody added the engine by hand: the registry has no say in it any more.
    pub(in crate::controller) fn added_by_hand(&mut self, id: &EngineId) {
        self.adopted.remove(id);
        self.deleted.remove(id);
        self.refused.remove(id);
    }

    /// What is to be kept of a host that is about to be deleted, if its agent runs.
    pub(in crate::controller) fn deletion_mark(&self, id: &EngineId) -> Option<DeletedHost> {
        if let Some(&agent_run) = self.alive.get(id) {
            return Some(DeletedHost { agent_run });
        }
        // It may only be cut off from the registry.
        let agent_run = self.adopted.get(id)?.agent_run?;
        Some(DeletedHost { agent_run: Some(agent_run) })
    }

    /// Somebody deleted the engine.
    pub(in crate::controller) fn deleted(&mut self, id: &EngineId) {
        self.adopted.remove(id);
        if let Some(mark) = self.deletion_mark(id) {
            self.deleted.insert(id.clone(), mark);
        }
    }

    /// Somebody deleted the host before this server was started.
    pub(super) fn was_deleted(&mut self, id: EngineId, mark: DeletedHost) {
        self.deleted.insert(id, mark);
    }

    /// These and no others are in the registry. Gives the hosts of which it is not known any more that they were deleted.
    pub(super) fn listed(&mut self, listed: &[Member]) -> Vec<EngineId> {
        self.alive = listed.iter().map(|member| (member.id.clone(), member.agent_run)).collect();
        self.refused.retain(|id, _| self.alive.contains_key(id));
        let now = Instant::now();
        for (id, engine) in &mut self.adopted {
            if engine.presence == Presence::Alive && !self.alive.contains_key(id) {
                engine.presence = Presence::Grace(now);
            }
        }
        let gone = self.deleted.keys().filter(|&id| !self.alive.contains_key(id)).cloned().collect::<Vec<_>>();
        gone.into_iter().filter(|id| self.forget_deletion_of(id)).collect()
    }

    /// A host is in the registry.
    pub(super) fn joined(&mut self, member: &Member) -> Joined {
        self.alive.insert(member.id.clone(), member.agent_run);
        match self.deleted.get(&member.id) {
            None => Joined::Welcome,
            Some(mark) if mark.agent_run.is_none() || mark.agent_run == member.agent_run => Joined::StaysOut,
            Some(_) => {
                self.deleted.remove(&member.id);
                Joined::StartedAgain
            }
        }
    }

    /// A host is not in the registry any more. True when it is not known any more either that somebody deleted it: the run of
    /// its agent is not known, so an agent that comes now counts as another one.
    pub(super) fn forget_deletion_of(&mut self, id: &EngineId) -> bool {
        let forgotten = self.deleted.get(id).is_some_and(|mark| mark.agent_run.is_none());
        if forgotten {
            self.deleted.remove(id);
        }
        forgotten
    }

    /// A host is not in the registry any more. True when it is an engine that becomes absent by this.
    pub(super) fn left(&mut self, id: &EngineId) -> bool {
        self.alive.remove(id);
        self.refused.remove(id);
        match self.adopted.get_mut(id) {
            Some(engine) if !matches!(engine.presence, Presence::Lost(_)) => {
                engine.presence = Presence::Lost(Instant::now());
                true
            }
            _ => false,
        }
    }

    /// A host was taken in, or is back.
    pub(super) fn take_in(&mut self, member: &Member) {
        let Member { daemon_id, agent_run, .. } = member.clone();
        let engine = AdoptedHost { presence: Presence::Alive, daemon_id, agent_run };
        self.adopted.insert(member.id.clone(), engine);
        self.refused.remove(&member.id);
    }

    pub(super) fn adopted(&self, id: &EngineId) -> Option<&AdoptedHost> {
        self.adopted.get(id)
    }

    pub(super) fn forget(&mut self, id: &EngineId) {
        self.adopted.remove(id);
    }

    /// The engine other than this that registered with the same daemon.
    pub(super) fn with_daemon(&self, member: &Member) -> Option<EngineId> {
        let is_it = |engine: &AdoptedHost| !member.daemon_id.is_empty() && engine.daemon_id == member.daemon_id;
        let same = |(id, engine): &(&EngineId, &AdoptedHost)| **id != member.id && is_it(engine);
        self.adopted.iter().find(same).map(|(id, _)| id.clone())
    }

    /// A host cannot be taken in. True when that is news.
    pub(super) fn refuse(&mut self, member: Member, reason: &str) -> bool {
        let before = self.refused.insert(member.id.clone(), (member, reason.to_owned()));
        before.is_none_or(|(_, before)| before != reason)
    }

    /// What became of a host that said this of itself: why it is no engine, or nothing where it is one. `None` while it was not
    /// heard of.
    pub(in crate::controller) fn verdict(&self, member: &Member) -> Option<Option<String>> {
        if self.alive.get(&member.id) != Some(&member.agent_run) {
            return None;
        }
        if self.deleted.contains_key(&member.id) {
            let id = &member.id;
            return Some(Some(format!(
                "engine {id} was deleted while its agent ran; start the agent again to add it again"
            )));
        }
        match self.refused.get(&member.id) {
            Some((refused, reason)) if refused.addr == member.addr => Some(Some(format!("{reason}; it is refused"))),
            _ => Some(None),
        }
    }

    /// Those that could not be taken in; things may have changed.
    pub(super) fn refused(&self) -> Vec<Member> {
        self.refused.values().map(|(member, _)| member.clone()).collect()
    }

    /// Somebody else claims the id of a host that is alive. True when that is news.
    pub(super) fn contested(&mut self, claimant: &Member) -> bool {
        let who = format!("{} {}", claimant.addr, claimant.daemon_id);
        let now = Instant::now();
        match self.told.get(&claimant.id) {
            Some((known, when)) if *known == who && now - *when < TOLD => false,
            _ => {
                self.told.insert(claimant.id.clone(), (who, now));
                true
            }
        }
    }

    /// Those that were expected for longer than `deadline`.
    pub(super) fn not_come(&self, deadline: Duration) -> Vec<EngineId> {
        self.since(|presence| matches!(presence, Presence::Grace(since) if since.elapsed() > deadline))
    }

    /// Those that were absent for longer than `deadline`.
    pub(super) fn long_absent(&self, deadline: Duration) -> Vec<EngineId> {
        self.since(|presence| matches!(presence, Presence::Lost(since) if since.elapsed() > deadline))
    }

    fn since(&self, is_over: impl Fn(&Presence) -> bool) -> Vec<EngineId> {
        self.adopted.iter().filter(|(_, engine)| is_over(&engine.presence)).map(|(id, _)| id.clone()).collect()
    }
}
