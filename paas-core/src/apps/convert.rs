//! From what is kept in the store to what the planner reads, and back.

use super::{
    Backend, BeforeFailure, BeforeState, Goal, Outcome, Replica, Rollout, RolloutReason, Slot, StepFailure, Volume,
};
use crate::model::app::{AppName, ComponentName};
use crate::store::records::{
    BackendRecord, BeforeFailureRecord, BeforeRecord, FailureRecord, GoalRecord, OutcomeRecord, ReplicaRecord,
    RolloutReasonRecord, RolloutRecord, VolumeRecord,
};

/// What is to become of an application; nothing where a later version invented it.
pub(super) fn goal_of(record: GoalRecord) -> Option<Goal> {
    match record {
        GoalRecord::Run => Some(Goal::Run),
        GoalRecord::Stop => Some(Goal::Stop),
        GoalRecord::Destroy => Some(Goal::Destroy),
        GoalRecord::Unknown => None,
    }
}

impl From<Goal> for GoalRecord {
    fn from(goal: Goal) -> Self {
        match goal {
            Goal::Run => Self::Run,
            Goal::Stop => Self::Stop,
            Goal::Destroy => Self::Destroy,
        }
    }
}

impl From<Outcome> for OutcomeRecord {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::RolledBack => Self::RolledBack,
            Outcome::Stopped => Self::Stopped,
        }
    }
}

/// The rollout of a record; nothing where a later version began it for a reason of its own.
pub(super) fn rollout_of(record: &RolloutRecord) -> Option<Rollout> {
    let reason = match record.reason {
        RolloutReasonRecord::Apply => RolloutReason::Apply,
        RolloutReasonRecord::Adopt => RolloutReason::Adopt,
        RolloutReasonRecord::Scale => RolloutReason::Scale,
        RolloutReasonRecord::Restart => RolloutReason::Restart,
        RolloutReasonRecord::Rollback => RolloutReason::Rollback { why: record.why.clone() },
        RolloutReasonRecord::Unknown => return None,
    };
    let before = record.before.iter().map(|(name, before)| (name.clone(), BeforeState::from(before))).collect();
    let failed = |(name, before): (&ComponentName, &BeforeRecord)| {
        Some((name.clone(), BeforeFailure::from(before.failed.as_ref()?)))
    };
    let before_failed = record.before.iter().filter_map(failed).collect();
    let engine = |(name, before): (&ComponentName, &BeforeRecord)| Some((name.clone(), before.engine.clone()?));
    let before_on = record.before.iter().filter_map(engine).collect();
    let output = record.output.clone();
    let (first, progressed) = (record.first.unwrap_or(record.to), record.progressed);
    Some(Rollout {
        before,
        before_on,
        before_failed,
        output,
        first,
        progressed,
        ..Rollout::new(record.to, reason, record.started)
    })
}

impl RolloutRecord {
    /// What is kept of a rollout, with what `known` has beside it.
    pub(in crate::apps) fn of(rollout: &Rollout, known: Option<&Self>) -> Self {
        let (reason, why) = match &rollout.reason {
            RolloutReason::Apply => (RolloutReasonRecord::Apply, String::new()),
            RolloutReason::Adopt => (RolloutReasonRecord::Adopt, String::new()),
            RolloutReason::Scale => (RolloutReasonRecord::Scale, String::new()),
            RolloutReason::Restart => (RolloutReasonRecord::Restart, String::new()),
            RolloutReason::Rollback { why } => (RolloutReasonRecord::Rollback, why.clone()),
        };
        Self {
            to: rollout.to,
            first: Some(rollout.first).filter(|&first| first != rollout.to),
            reason,
            why,
            started: rollout.started,
            progressed: rollout.progressed,
            before: rollout
                .before
                .iter()
                .map(|(name, state)| (name.clone(), BeforeRecord::of(rollout, name, *state)))
                .collect(),
            output: rollout.output.clone(),
            unknown: known
                .filter(|known| known.to == rollout.to)
                .map(|known| known.unknown.clone())
                .unwrap_or_default(),
        }
    }
}

impl From<&BeforeRecord> for BeforeState {
    fn from(record: &BeforeRecord) -> Self {
        match (record.lost, record.exit_code) {
            (true, _) => Self::Unknown,
            (false, Some(code)) => Self::Ended(code),
            (false, None) => Self::Running,
        }
    }
}

impl BeforeRecord {
    fn of(rollout: &Rollout, name: &ComponentName, state: BeforeState) -> Self {
        let (exit_code, lost) = match state {
            BeforeState::Running => (None, false),
            BeforeState::Ended(code) => (Some(code), false),
            BeforeState::Unknown => (None, true),
        };
        let engine = rollout.before_on.get(name).cloned();
        Self { exit_code, lost, engine, failed: rollout.before_failed.get(name).map(BeforeFailureRecord::from) }
    }
}

impl From<&BeforeFailureRecord> for BeforeFailure {
    fn from(record: &BeforeFailureRecord) -> Self {
        let BeforeFailureRecord { why, of_host, attempts, avoid } = record.clone();
        Self { why, of_host, attempts, avoid }
    }
}

impl From<&BeforeFailure> for BeforeFailureRecord {
    fn from(failure: &BeforeFailure) -> Self {
        let BeforeFailure { why, of_host, attempts, avoid } = failure.clone();
        Self { why, of_host, attempts, avoid }
    }
}

impl From<&ReplicaRecord> for Replica {
    fn from(record: &ReplicaRecord) -> Self {
        let backend = |backend: &BackendRecord| {
            let state = backend.draining.map_or(Backend::Serving, |since| Backend::Draining { since });
            (backend.generation, state)
        };
        let mut replica = Self::new(record.revision, record.generation, record.engine.clone());
        replica.made.extend(&record.made);
        replica.elsewhere.extend(record.elsewhere.iter().cloned());
        replica.before_rollout = record.before_rollout;
        replica.backends = record.backends.iter().map(backend).collect();
        replica.stopped.clone_from(&record.stopped);
        replica.kept = record.kept;
        replica.adopted = record.adopted;
        replica.avoid.clone_from(&record.avoid);
        replica.restarts = record.restarts;
        replica.completed = record.completed;
        replica.failed = record.failed.as_ref().map(StepFailure::from);
        replica.leaves = record.leaves;
        replica
    }
}

impl ReplicaRecord {
    /// What is kept of a slot, with what `known` has beside it.
    pub(in crate::apps) fn of(replica: &Replica, known: Option<&Self>) -> Self {
        let backend = |(&generation, backend): (&u64, &Backend)| BackendRecord {
            generation,
            draining: match backend {
                Backend::Serving => None,
                Backend::Draining { since } => Some(*since),
            },
        };
        Self {
            made: replica.made.clone(),
            elsewhere: replica.elsewhere.clone().into_iter().collect(),
            before_rollout: replica.before_rollout,
            backends: replica.backends.iter().map(backend).collect(),
            stopped: replica.stopped.clone(),
            kept: replica.kept,
            adopted: replica.adopted,
            avoid: replica.avoid.clone(),
            restarts: replica.restarts,
            completed: replica.completed,
            failed: replica.failed.as_ref().map(FailureRecord::from),
            leaves: replica.leaves,
            unknown: known.map(|known| known.unknown.clone()).unwrap_or_default(),
            ..Self::new(replica.revision, replica.generation, replica.engine.clone())
        }
    }
}

impl From<&FailureRecord> for StepFailure {
    fn from(record: &FailureRecord) -> Self {
        let FailureRecord { generation, engine, why, at, of_host, attempts, fetching } = record.clone();
        Self { generation, engine, why, at, of_host, attempts, fetching }
    }
}

impl From<&StepFailure> for FailureRecord {
    fn from(failure: &StepFailure) -> Self {
        let StepFailure { generation, engine, why, at, of_host, attempts, fetching } = failure.clone();
        Self { generation, engine, why, at, of_host, attempts, fetching }
    }
}

impl From<&VolumeRecord> for Volume {
    fn from(record: &VolumeRecord) -> Self {
        let slot = Slot { component: record.component.clone(), number: record.slot };
        let VolumeRecord { name, engine, made, taken, .. } = record.clone();
        Self { slot, name, engine, made, taken }
    }
}

/// What Docker calls the volume of a slot.
pub(super) fn volume_name(app: &AppName, slot: &Slot, name: &str) -> String {
    format!("{app}.{slot}.{name}")
}

/// The slot and the volume that Docker's name of one says.
pub(super) fn volume_of(app: &AppName, name: &str) -> Option<(Slot, String)> {
    let mut parts = name.strip_prefix(app.as_str())?.strip_prefix('.')?.splitn(3, '.');
    let slot = Slot { component: parts.next()?.parse().ok()?, number: parts.next()?.parse().ok()? };
    Some((slot, parts.next()?.to_owned()))
}

/// Docker's name of the network of an application.
pub(super) fn network_name(app: &AppName) -> String {
    format!("paas-{app}")
}

/// The slot of a replica's key.
pub(super) fn slot_of(app: &AppName, key: &str) -> Option<Slot> {
    let (component, number) = key.strip_prefix(app.as_str())?.strip_prefix('/')?.split_once('/')?;
    Some(Slot { component: component.parse().ok()?, number: number.parse().ok()? })
}
