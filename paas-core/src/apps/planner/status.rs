//! What a container is worth to its slot.

use std::time::Duration;

use jiff::Timestamp;

use crate::apps::{Backend, Cause, Health, ObservedContainer, Replica};
use crate::model::app::ComponentSpec;
use crate::model::{ContainerState, RestartPolicy};

/// How long a container without a health check has to run before it counts as healthy.
const SAME_START_MS: u64 = 5000;
/// How long a container that is in a crash loop has to run until it is in none any more.
const CALM_MS: u64 = 60_000;
/// How often a container has to end within ten minutes to be in a crash loop.
const CRASHES: usize = 3;

/// What a container on an engine that answers is worth to its slot.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Status {
    /// It passed its gate.
    Ready,
    /// It ended well, and is not to be started again.
    Completed,
    /// It runs, and may pass its gate at that time at the latest.
    Starting(Timestamp),
    /// It is healthy, and passes its gate at that time if it stays so.
    Monitored(Timestamp),
    /// It runs and is unhealthy.
    Sick(Timestamp),
    /// It ends again and again, since that time.
    CrashLooping(Timestamp),
    /// It was created and not started.
    NotStarted,
    /// It is paused.
    Paused,
    /// It ended.
    Ended,
    /// It runs, and nobody reaches it: somebody has taken it out of its network.
    NetworkLost,
}

pub(super) fn after(time: Timestamp, milliseconds: u64) -> Timestamp {
    time.saturating_add(Duration::from_millis(milliseconds)).unwrap_or(Timestamp::MAX)
}

/// Judges a container on an engine that answers. One that is well is watched for `monitor_ms` before it takes traffic.
pub(super) fn judge(
    container: &ObservedContainer,
    spec: &ComponentSpec,
    replica: Option<&Replica>,
    monitor_ms: u64,
    now: Timestamp,
) -> Status {
    match container.state {
        ContainerState::Created => Status::NotStarted,
        ContainerState::Paused => Status::Paused,
        ContainerState::Restarting => Status::CrashLooping(loop_began(container).unwrap_or(container.since)),
        _ if ended_well(container, spec, replica) => Status::Completed,
        // However often it had ended before, it did not end by itself.
        ContainerState::Stopped if was_stopped(container, replica) => Status::Ended,
        ContainerState::Stopped | ContainerState::Unknown => {
            loop_began(container).map_or(Status::Ended, Status::CrashLooping)
        }
        ContainerState::Running if container.network_lost => Status::NetworkLost,
        ContainerState::Running => judge_running(container, spec, replica, monitor_ms, now),
    }
}

fn judge_running(
    container: &ObservedContainer,
    spec: &ComponentSpec,
    replica: Option<&Replica>,
    monitor_ms: u64,
    now: Timestamp,
) -> Status {
    if let Some(since) = loops_since(container, now) {
        return Status::CrashLooping(since);
    }
    let serves = replica.is_some_and(|replica| replica.backends.contains_key(&container.generation));
    let health = match container.health {
        // Nobody has asked yet.
        Health::Unchecked if spec.health.is_some() && !serves => Health::Starting,
        health => health,
    };
    let healthy_since = match health {
        Health::Unhealthy { since } => return Status::Sick(since),
        Health::Starting => {
            let last = after(container.since, start_ms(spec));
            return if now < last { Status::Starting(last) } else { Status::Sick(last) };
        }
        Health::Healthy { since } => since,
        Health::Unchecked => {
            let believed = after(container.since, SAME_START_MS);
            if now < believed && !serves {
                return Status::Starting(believed);
            }
            believed
        }
    };
    let ready = after(healthy_since, monitor_ms);
    if serves || now >= ready { Status::Ready } else { Status::Monitored(ready) }
}

/// How long a container may take to become healthy.
pub(super) fn start_ms(spec: &ComponentSpec) -> u64 {
    spec.health.as_ref().map_or(60_000, |check| check.start_ms)
}

/// Since when a container that runs is in a crash loop all the same, if it is.
pub(in crate::apps) fn loops_since(container: &ObservedContainer, now: Timestamp) -> Option<Timestamp> {
    loop_began(container).filter(|_| now < calm_at(container))
}

/// When a container that ended again and again has run for so long that it counts as what its check says.
pub(super) fn calm_at(container: &ObservedContainer) -> Timestamp {
    after(container.since, CALM_MS)
}

/// When the end came that made it a crash loop.
fn loop_began(container: &ObservedContainer) -> Option<Timestamp> {
    container.exits.get(CRASHES - 1).copied()
}

/// Whether a container ended by itself, well, and is not to be started again.
pub(super) fn ended_well(container: &ObservedContainer, spec: &ComponentSpec, replica: Option<&Replica>) -> bool {
    let has_ended = container.state == ContainerState::Stopped;
    has_ended && !was_stopped(container, replica) && ends_well(container, spec)
}

/// Whether the last end of a container was a good one, after which it is not started again.
pub(super) fn ends_well(container: &ObservedContainer, spec: &ComponentSpec) -> bool {
    let stays_ended = matches!(spec.restart, RestartPolicy::No | RestartPolicy::OnFailure { .. });
    stays_ended && container.exit_code == Some(0)
}

/// Whether a container was stopped on purpose.
pub(super) fn was_stopped(container: &ObservedContainer, replica: Option<&Replica>) -> bool {
    replica.is_some_and(|replica| replica.stopped.contains(&container.generation))
}

/// Why a container that ended is started again.
pub(super) fn ended(container: &ObservedContainer, replica: Option<&Replica>) -> Cause {
    if was_stopped(container, replica) { Cause::WasStopped } else { Cause::Ended(container.exit_code) }
}

impl Status {
    /// Whether the slot has what it is to have.
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Ready | Self::Completed)
    }
}

/// How long a container has to finish what it has, if it is draining.
pub(super) fn drained_at(replica: Option<&Replica>, generation: u64, spec: &ComponentSpec) -> Drain {
    match replica.and_then(|replica| replica.backends.get(&generation)) {
        None => Drain::Outside,
        Some(Backend::Serving) => Drain::Serving,
        Some(Backend::Draining { since }) => Drain::Until(after(*since, spec.update.drain_ms)),
    }
}

/// Whether a container takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    /// It takes none.
    Outside,
    /// It takes some.
    Serving,
    /// It takes no more, and has until then to finish.
    Until(Timestamp),
}
