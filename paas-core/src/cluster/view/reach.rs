//! Whether engines can be reached, and since when not.

use std::mem::discriminant;

use jiff::Timestamp;

use super::{EngineEntry, View};
use crate::cluster::probe::Heard;
use crate::model::{EngineId, EngineStatus};

/// Whether an engine can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineReach {
    /// It answers, and its containers were read.
    Up,
    /// It was added or found, and its containers were never read by this server; or it is another engine over again.
    NotRead {
        /// Its last sign of life, or when it was added.
        since: Timestamp,
    },
    /// Nobody answers.
    Silent {
        /// Its last sign of life.
        since: Timestamp,
    },
    /// The host lives, and its daemon does not answer.
    DaemonGone {
        /// When the daemon answered last.
        since: Timestamp,
    },
}

/// What was heard of an engine last, and when, by the clock of this server.
#[derive(Debug)]
pub(in crate::cluster) struct Signs {
    /// Whether its containers were read since it was added.
    read: bool,
    /// The last sign of life of its host, whatever that was.
    host: Timestamp,
    /// The last sign of life of its daemon.
    daemon: Timestamp,
    /// Whether, at the last probe, the host lived and its daemon was not heard.
    last: Last,
    /// When it left the registry.
    left: Option<Timestamp>,
}

/// What became of the last probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Heard(Heard),
    /// The host said that nobody listens.
    Refused,
    Silent,
}

impl Signs {
    /// Those of an engine that was added now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { read: false, host: now, daemon: now, last: Last::Silent, left: None }
    }

    fn heard(&mut self, heard: Heard, status: EngineStatus, now: Timestamp) {
        (self.last, self.host) = (Last::Heard(heard), now);
        // Where only the host is asked, its daemon is followed all the same while it is up.
        if heard == Heard::Daemon || matches!(status, EngineStatus::Up | EngineStatus::Suspect) {
            self.daemon = now;
        }
    }
}

impl EngineEntry {
    pub(in crate::cluster) fn reach(&self) -> EngineReach {
        let Signs { read, host, daemon, last, left } = self.signs;
        if self.absent {
            return match last {
                Last::Refused => EngineReach::DaemonGone { since: daemon },
                _ => EngineReach::Silent { since: left.map_or(host, |left| left.min(host)) },
            };
        }
        match self.health.status {
            EngineStatus::Pending | EngineStatus::Duplicate => EngineReach::NotRead { since: host },
            _ if !read => EngineReach::NotRead { since: host },
            EngineStatus::Up | EngineStatus::Suspect => EngineReach::Up,
            EngineStatus::Down => match last {
                Last::Refused | Last::Heard(Heard::Host) => EngineReach::DaemonGone { since: daemon },
                Last::Silent | Last::Heard(Heard::Daemon) => EngineReach::Silent { since: host },
            },
        }
    }
}

impl View {
    /// Changes what is known of an engine, and tells it where the engine can be reached as before no more, or again. `None` where
    /// there is none of that id.
    pub(super) fn change_engine<T>(&mut self, id: &EngineId, change: impl FnOnce(&mut EngineEntry) -> T) -> Option<T> {
        let entry = self.engines.get_mut(id)?;
        let before = entry.reach();
        let outcome = change(entry);
        if discriminant(&before) != discriminant(&entry.reach()) {
            self.changes.engines();
        }
        Some(outcome)
    }

    /// A probe was answered.
    pub(in crate::cluster) fn note_heard(&mut self, id: &EngineId, heard: Heard, now: Timestamp) {
        self.change_engine(id, |entry| entry.signs.heard(heard, entry.health.status, now));
    }

    /// A probe was not answered. That nobody listens is said by the host, which lives then.
    pub(in crate::cluster) fn note_unheard(&mut self, id: &EngineId, nobody_listens: bool, now: Timestamp) {
        self.change_engine(id, |entry| {
            entry.signs.last = if nobody_listens { Last::Refused } else { Last::Silent };
            if nobody_listens {
                entry.signs.host = now;
            }
        });
    }

    /// The host gave another sign of life.
    pub(in crate::cluster) fn note_sign_of_life(&mut self, id: &EngineId, now: Timestamp) {
        self.change_engine(id, |entry| entry.signs.host = now);
    }

    /// The containers of an engine were read.
    pub(super) fn note_read(&mut self, id: &EngineId) {
        self.change_engine(id, |entry| entry.signs.read = true);
    }

    /// An engine left the registry, or is back.
    pub(super) fn note_left(&mut self, id: &EngineId, left: Option<Timestamp>) {
        self.change_engine(id, |entry| {
            entry.absent = left.is_some();
            entry.signs.left = left;
        });
    }
}
