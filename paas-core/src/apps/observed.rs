//! What engines say: what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::Slot;
use crate::model::app::{AppName, Sizes};
use crate::model::{ContainerState, EngineId, ExactImage, Scarce};

/// Everything that was observed and may matter to one application.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// All engines of the platform. What is recorded on one that is not among them counts as if it ran: only [`Reach::Lost`] says
    /// that it is gone for good, and is made again elsewhere.
    pub engines: BTreeMap<EngineId, Reach>,
    /// Those of them that were never read since this server leads: of what is there only the records tell.
    pub unread: BTreeSet<EngineId>,
    /// The containers of the application, and those of others that have a name like one of its own. Also those on engines that
    /// do not answer, as they were seen last, if they were: a server that has just become the leader has not seen them.
    pub containers: Vec<ObservedContainer>,
    /// The volumes of slots that are there, made by the platform.
    pub volumes: BTreeSet<(EngineId, Slot, String)>,
    /// Volumes of somebody else that have the name of one of a slot.
    pub volumes_of_others: BTreeSet<(EngineId, Slot, String)>,
    /// Volumes that a container mounts which runs and is none of the application's, and what it is called.
    pub mounted_by_others: BTreeMap<(EngineId, Slot, String), String>,
    /// The engines where a network of somebody else has the name of that of the application.
    pub networks_of_others: BTreeSet<EngineId>,
    /// Images that engines are known to have, beside those of which they have containers.
    pub images: BTreeSet<(EngineId, ExactImage)>,
    /// Images that no registry has, as far as is known: containers of them are made on the hosts that have them.
    pub scarce: BTreeMap<ExactImage, Scarce>,
}

/// Whether an engine can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It answers, and its containers were read: what is not among them is not there.
    Up,
    /// It does not, and nobody else gets an answer.
    Silent {
        /// When it gave its last sign of life.
        since: Timestamp,
    },
    /// The host lives, and its Docker does not answer.
    DaemonGone {
        /// Since when.
        since: Timestamp,
    },
    /// Others get an answer: its containers go on serving.
    CutOff,
    /// Somebody said that it is gone for good.
    Lost,
}

/// A container on an engine.
#[derive(Clone, Debug)]
pub struct ObservedContainer {
    /// Its name, without a slash.
    pub name: String,
    /// Its engine.
    pub engine: EngineId,
    /// The slot of the application that it fills; nothing for a container of somebody else.
    pub slot: Option<Slot>,
    /// Its generation.
    pub generation: u64,
    /// Whether it was made for another application of that name, which was destroyed, or whose records were lost: then no record
    /// names it, whatever its generation.
    pub of_another: bool,
    /// The revision it was made of.
    pub revision: u64,
    /// What it does.
    pub state: ContainerState,
    /// When it began to do so: for a running one its start.
    pub since: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// What its health check says.
    pub health: Health,
    /// Whether somebody has taken it out of its network.
    pub network_lost: bool,
    /// What was wrong the last time that the platform asked, in words that follow a colon.
    pub complaint: Option<String>,
    /// How it ended.
    pub exit_code: Option<i64>,
    /// When it ended by itself, in the last ten minutes, the oldest first.
    pub exits: Vec<Timestamp>,
    /// What Docker enforces; nothing while that is not known.
    pub sizes: Option<Sizes>,
    /// What it was made as, where that is known: of
    /// [`ComponentSpec::fingerprint`](crate::model::app::ComponentSpec::fingerprint).
    pub fingerprint: Option<String>,
}

/// What a health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// There is none.
    Unchecked,
    /// It has not succeeded since the start.
    Starting,
    /// It succeeds.
    Healthy {
        /// Since when.
        since: Timestamp,
    },
    /// It failed as many times in a row as the component allows.
    Unhealthy {
        /// Since when.
        since: Timestamp,
    },
}

/// One container of a slot, there or to be made. Shown as `web.2.7 on host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The slot.
    pub slot: Slot,
    /// Counts the containers of the slot.
    pub generation: u64,
    /// The host.
    pub engine: EngineId,
}

impl Instance {
    /// Docker's name of the container. Dots, which no name of an application or a component has, keep `a-b` and `c` apart from
    /// `a` and `b-c`.
    pub fn container_name(&self, app: &AppName) -> String {
        format!("{app}.{}.{}", self.slot, self.generation)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} on {}", self.slot, self.generation, self.engine)
    }
}
