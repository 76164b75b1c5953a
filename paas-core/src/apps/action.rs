//! What is to be done, and why.

use std::fmt;

use jiff::Timestamp;

use super::{Instance, Slot};
use crate::model::EngineId;
use crate::model::app::{ComponentName, Sizes};

/// One thing to do, with its cause.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What.
    pub action: Action,
    /// Why.
    pub cause: Cause,
}

/// What is to be done. Whatever changes a record is recorded before Docker is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Name a volume of a slot in a record, then make it, unless it is there. The step that creates the container follows, and is
    /// recorded only when the volume is there.
    CreateVolume {
        /// Whose it is.
        slot: Slot,
        /// Its name in the component.
        volume: String,
        /// Where.
        engine: EngineId,
        /// Whether it is there, made by somebody else, and only its record is to be made.
        taken: bool,
    },
    /// Have a host get the image of a slot in a revision, before anything is stopped for it.
    Fetch {
        /// The slot.
        slot: Slot,
        /// The revision.
        revision: u64,
        /// The host.
        engine: EngineId,
    },
    /// Name the container in the record of its slot, then create and start it.
    Create {
        /// The container.
        replica: Instance,
        /// The revision it is made of, which the slot shall have from now on.
        revision: u64,
        /// A host that the slot shall avoid from now on.
        avoid: Option<EngineId>,
        /// Why that host.
        choice: Choice,
    },
    /// Start a container that is there: created, stopped or paused.
    Start(Instance),
    /// Stop a container and start it again.
    Restart(Instance),
    /// Stop a container and leave it there.
    Stop(Instance),
    /// Stop a container that failed in a rollout, and keep it for inspection.
    SetAside(Instance),
    /// Stop a container and remove it.
    Remove(Instance),
    /// Give a container its name back.
    Rename(Instance),
    /// Change what Docker can change in a running container.
    UpdateInPlace(Instance, Sizes),
    /// The container is what the slot shall have in that revision: only the record changes.
    Assign {
        /// The container.
        replica: Instance,
        /// The revision.
        revision: u64,
    },
    /// Make a record of a container that was found: it counts as of that revision.
    Adopt {
        /// The container.
        replica: Instance,
        /// The revision.
        revision: u64,
    },
    /// The container takes traffic from now on.
    Admit(Instance),
    /// The container takes no more traffic, and finishes what it has.
    Drain(Instance),
    /// The container need not make room on its host any more: only the record changes.
    Stay(Instance),
    /// The container has ended well, and its slot needs no other: only the record changes.
    Complete(Instance),
    /// Forget the record of a slot of which nothing is left.
    Forget(Slot),
    /// Run the command that goes before a component is replaced.
    RunBefore(ComponentName),
    /// Make a new revision that is a copy of that one, and roll it out instead.
    Rollback {
        /// The revision to go back to.
        to: u64,
    },
    /// End the rollout.
    Finish(Outcome),
    /// Nothing can be done yet.
    Wait {
        /// What waits.
        subject: Subject,
        /// When to look again, if nothing happens before.
        until: Option<Timestamp>,
    },
}

/// How a host was chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Its score, where the scheduler chooses by one; see [`Scheduler::score`](crate::scheduler::Scheduler::score).
    pub score: Option<f64>,
    /// The host that would have been next, and its score; nothing where no other will do.
    pub runner_up: Option<(EngineId, Option<f64>)>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(score) = self.score {
            write!(f, "score {score:.1}; ")?;
        }
        match &self.runner_up {
            Some((engine, Some(score))) => write!(f, "next {engine} with {score:.1}"),
            Some((engine, None)) => write!(f, "next {engine}"),
            None => f.write_str("no other will do"),
        }
    }
}

/// What waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The application.
    App,
    /// A component.
    Component(ComponentName),
    /// A slot.
    Slot(Slot),
}

/// How a rollout ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as the revision says, and nothing old is left.
    Done,
    /// Everything is as it was before.
    RolledBack,
    /// It ended in between.
    Stopped,
}

/// Why a rollout cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// In a sentence.
    pub why: String,
    /// Whose output may tell more.
    pub witness: Option<Witness>,
}

/// A container whose output may tell why a rollout cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// One of a slot.
    Replica(Instance),
    /// The command that goes before a component.
    Before(ComponentName),
}

impl Action {
    /// The container that it is about, if it is about one.
    pub fn replica(&self) -> Option<&Instance> {
        match self {
            Self::Create { replica, .. }
            | Self::Start(replica)
            | Self::Restart(replica)
            | Self::Stop(replica)
            | Self::SetAside(replica)
            | Self::Remove(replica)
            | Self::Rename(replica)
            | Self::UpdateInPlace(replica, _)
            | Self::Assign { replica, .. }
            | Self::Adopt { replica, .. }
            | Self::Admit(replica)
            | Self::Drain(replica)
            | Self::Stay(replica)
            | Self::Complete(replica) => Some(replica),
            Self::CreateVolume { .. }
            | Self::Fetch { .. }
            | Self::Forget(_)
            | Self::RunBefore(_)
            | Self::Rollback { .. }
            | Self::Finish(_)
            | Self::Wait { .. } => None,
        }
    }

    /// The slot that it is about, if it is about one.
    pub fn slot(&self) -> Option<&Slot> {
        match self {
            Self::CreateVolume { slot, .. }
            | Self::Fetch { slot, .. }
            | Self::Forget(slot)
            | Self::Wait { subject: Subject::Slot(slot), .. } => Some(slot),
            other => other.replica().map(|replica| &replica.slot),
        }
    }

    /// Whether it is nothing but waiting.
    pub fn is_wait(&self) -> bool {
        matches!(self, Self::Wait { .. })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.cause)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateVolume { slot, volume, engine, taken } => {
                let verb = if *taken { "take over" } else { "create" };
                write!(f, "{verb} volume {volume} of {slot} on {engine}")
            }
            Self::Fetch { slot, revision, engine } => {
                write!(f, "fetch the image of {slot} on {engine}, revision {revision}")
            }
            Self::Create { replica, revision, .. } => write!(f, "create {replica}, revision {revision}"),
            Self::Start(replica) => write!(f, "start {replica}"),
            Self::Restart(replica) => write!(f, "restart {replica}"),
            Self::Stop(replica) => write!(f, "stop {replica}"),
            Self::SetAside(replica) => write!(f, "stop and keep {replica}"),
            Self::Remove(replica) => write!(f, "remove {replica}"),
            Self::Rename(replica) => write!(f, "rename {replica}"),
            Self::UpdateInPlace(replica, sizes) => {
                write!(f, "update {replica} in place to ")?;
                if let Some(cpus) = sizes.cpus {
                    write!(f, "{cpus} CPUs, ")?;
                }
                write!(f, "{} MB, restart {}", sizes.memory, sizes.restart.name())
            }
            Self::Assign { replica, revision } => write!(f, "keep {replica} as revision {revision}"),
            Self::Adopt { replica, revision } => write!(f, "adopt {replica} as revision {revision}"),
            Self::Admit(replica) => write!(f, "admit {replica}"),
            Self::Drain(replica) => write!(f, "drain {replica}"),
            Self::Stay(replica) => write!(f, "leave {replica} where it is"),
            Self::Complete(replica) => write!(f, "note {replica} as completed"),
            Self::Forget(slot) => write!(f, "forget {slot}"),
            Self::RunBefore(component) => write!(f, "run the command before {component}"),
            Self::Rollback { to } => write!(f, "roll back to revision {to}"),
            Self::Finish(Outcome::Done) => f.write_str("finish, done"),
            Self::Finish(Outcome::RolledBack) => f.write_str("finish, rolled back"),
            Self::Finish(Outcome::Stopped) => f.write_str("finish, stopped"),
            Self::Wait { subject, .. } => match subject {
                Subject::App => f.write_str("wait"),
                Subject::Component(name) => write!(f, "wait {name}"),
                Subject::Slot(slot) => write!(f, "wait {slot}"),
            },
        }
    }
}

/// Why something is done, or is not done yet.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each says itself in words, below")]
pub enum Cause {
    FirstStart,
    Missing,
    Changed(Vec<&'static str>),
    UnknownRevision(u64),
    Restart,
    Drained(EngineId),
    MakesRoom(EngineId),
    LacksLabel { engine: EngineId, label: String },
    NotBeside { engine: EngineId, used: ComponentName },
    BelongsElsewhere(EngineId),
    HostSilent { engine: EngineId, seconds: i64 },
    DaemonGone { engine: EngineId, seconds: i64 },
    HostLost(EngineId),
    HostUnknown(EngineId),
    NotStarted,
    Ended(Option<i64>),
    WasStopped,
    Paused,
    Renamed(String),
    Sick { seconds: i64 },
    CrashLooping { exits: usize },
    NetworkLost,
    Ready,
    Replaced,
    Elsewhere,
    Surplus,
    LeftTheFile,
    NothingLeft,
    SameContainer,
    FillsTheSlot,
    SizesDiffer,
    Found,
    AppStopped,
    AppDestroyed,
    GateFailed(Verdict),
    Declared,
    AllReady,
    NewVolume,
    VolumeTaken,
    BeforeItStops,
    NewRollout,
    KeptRuns,
    Starting,
    Monitored,
    Draining,
    CutOff(EngineId),
    NotReadYet(EngineId),
    HealingStopped { silent: usize, of: usize },
    WaitsForHost(EngineId),
    NotHealed(EngineId),
    VolumeGone { volume: String, engine: EngineId },
    VolumeOfOthers { volume: String, engines: Vec<EngineId> },
    VolumeMounted { volume: String, engine: EngineId, by: String },
    VolumeInUse,
    VolumesApart(EngineId, EngineId),
    StillRuns,
    CreateFailed { why: String },
    CreateGivenUp { why: String },
    NoRoom(String),
    NoRoomInPlace(EngineId),
    WaitsForComponent(ComponentName),
    BeforeRuns,
    BeforeNotStarted { why: String },
    OthersFirst,
    BelowItsNumber,
    MajoritySick { sick: usize, of: usize },
    BackOff,
    PinnedToDrained(EngineId),
    Orphan(Instance),
    Twin(Instance),
    ObserveOnly,
    RolloutStopped(u64),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstStart => f.write_str("nothing fills the slot yet"),
            Self::Missing => f.write_str("its container is gone"),
            Self::Changed(fields) => write!(f, "{} changed", fields.join(", ")),
            Self::UnknownRevision(number) => write!(f, "revision {number} is not known"),
            Self::Restart => f.write_str("a restart was asked for"),
            Self::Drained(engine) => write!(f, "host {engine} is drained"),
            Self::MakesRoom(engine) => write!(f, "host {engine} is fuller than others"),
            Self::LacksLabel { engine, label } => write!(f, "host {engine} lacks label {label}"),
            Self::NotBeside { engine, used } => write!(f, "{used}, which it uses, is not on host {engine} any more"),
            Self::BelongsElsewhere(engine) => write!(f, "the slot is the one of host {engine}"),
            Self::HostSilent { engine, seconds } => write!(f, "host {engine} is silent for {seconds} s"),
            Self::DaemonGone { engine, seconds } => write!(f, "Docker on {engine} does not answer for {seconds} s"),
            Self::HostLost(engine) => write!(f, "host {engine} is gone for good"),
            Self::HostUnknown(engine) => {
                write!(f, "host {engine} is not known, and nobody said that it is gone for good")
            }
            Self::NotStarted => f.write_str("it was created and not started"),
            Self::Ended(Some(code)) => write!(f, "it ended with {code}"),
            Self::Ended(None) => f.write_str("it ended"),
            Self::WasStopped => f.write_str("it was stopped"),
            Self::Paused => f.write_str("it is paused"),
            Self::Renamed(name) => write!(f, "it is called {name}"),
            Self::Sick { seconds } => write!(f, "it is unhealthy for {seconds} s"),
            Self::CrashLooping { exits: 0 | 1 } => f.write_str("it ended, and Docker starts it again"),
            Self::CrashLooping { exits } => write!(f, "crash-looping: it ended {exits} times within 10 min"),
            Self::NetworkLost => f.write_str("it was taken out of its network"),
            Self::Ready => f.write_str("it is ready"),
            Self::Replaced => f.write_str("its successor is ready"),
            Self::Elsewhere => f.write_str("the slot is filled by another"),
            Self::Surplus => f.write_str("there are to be fewer"),
            Self::LeftTheFile => f.write_str("the component is not in the file any more"),
            Self::NothingLeft => f.write_str("nothing of it is left"),
            Self::SameContainer => f.write_str("what changed is no part of the container"),
            Self::FillsTheSlot => f.write_str("it fills the slot"),
            Self::SizesDiffer => f.write_str("Docker enforces other limits"),
            Self::Found => f.write_str("image and specification are the same"),
            Self::AppStopped => f.write_str("the application is stopped"),
            Self::AppDestroyed => f.write_str("the application is destroyed"),
            Self::GateFailed(verdict) => f.write_str(&verdict.why),
            Self::Declared => f.write_str("the component says so"),
            Self::AllReady => f.write_str("every replica is ready and nothing old is left"),
            Self::NewVolume => f.write_str("the slot has none yet"),
            Self::VolumeTaken => f.write_str("it is there, and to be adopted"),
            Self::BeforeItStops => f.write_str("nothing stops before it is there"),
            Self::NewRollout => f.write_str("a later rollout has replaced it"),
            Self::KeptRuns => f.write_str("it failed, and is kept to be looked at only"),
            Self::Starting => f.write_str("starting"),
            Self::Monitored => f.write_str("healthy, and watched before it takes traffic"),
            Self::Draining => f.write_str("draining"),
            Self::CutOff(engine) => write!(f, "host {engine} is cut off from here, and others reach it"),
            Self::NotReadYet(engine) => write!(f, "host {engine} has not said yet what it does"),
            Self::HealingStopped { silent, of } => {
                write!(f, "healing stopped: {silent} of {of} hosts are silent")
            }
            Self::WaitsForHost(engine) => write!(f, "waits for host {engine}, which has its volume"),
            Self::NotHealed(engine) => write!(f, "host {engine} is silent, and the component is not healed"),
            Self::VolumeGone { volume, engine } => write!(f, "host {engine} no longer has volume {volume}"),
            Self::VolumeOfOthers { volume, engines } => {
                let hosts: Vec<_> = engines.iter().map(EngineId::as_str).collect();
                let cure = match hosts.len() {
                    1 => "remove it, or take it over with --adopt",
                    _ => "remove all but one of them, and take that over with --adopt",
                };
                write!(f, "volume {volume} on {} was not made by the platform: {cure}", hosts.join(" and "))
            }
            Self::VolumeMounted { volume, engine, by } => {
                write!(f, "container {by} on host {engine} mounts volume {volume}: it is to be stopped first")
            }
            Self::VolumeInUse => f.write_str("another container may still use its volume"),
            Self::VolumesApart(one, other) => write!(f, "it has a volume on host {one} and one on host {other}"),
            Self::StillRuns => f.write_str("another container of the slot may still run"),
            Self::CreateFailed { why } => write!(f, "it could not be made: {why}"),
            Self::CreateGivenUp { why } => {
                write!(f, "it could not be made: {why}; it is tried again with the next apply or restart")
            }
            Self::NoRoomInPlace(engine) => write!(f, "host {engine} has no room for its new limits"),
            Self::NoRoom(refusal) => write!(f, "pending: {refusal}"),
            Self::WaitsForComponent(name) => write!(f, "{name} is to be ready first"),
            Self::BeforeRuns => f.write_str("the command of before is to end first"),
            Self::BeforeNotStarted { why } => write!(f, "the command of before could not be started yet: {why}"),
            Self::OthersFirst => f.write_str("others go first"),
            Self::BelowItsNumber => f.write_str("the component has fewer ready replicas than it is to have"),
            Self::MajoritySick { sick, of } => {
                write!(f, "{sick} of {of} are unhealthy at once: it is more likely what they depend on")
            }
            Self::BackOff => f.write_str("unhealthy, and restarted not long ago"),
            Self::PinnedToDrained(engine) => write!(f, "host {engine} is drained, and has its volume"),
            Self::Orphan(replica) => write!(f, "orphaned: no record names {replica}"),
            Self::Twin(replica) => {
                write!(
                    f,
                    "{replica} is a copy of its container: two hosts were made of one, or two engines are one host"
                )
            }
            Self::RolloutStopped(number) => write!(f, "the rollout of revision {number} was stopped"),
            Self::ObserveOnly => f.write_str("the store may be an old one; nothing is done before 'reconcile resume'"),
        }
    }
}
