//! The record of a launch: one attempt to bring one container to life, written before Docker is asked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{ContainerId, EngineId, Group, LaunchId, RequestId};
use crate::store::tables::LAUNCHES;
use crate::store::{Action, Write};

/// The format that is written here.
const FORMAT: u32 = 1;

/// What is kept of a launch, as long as its container is there. Its key is the id of the launch.
///
/// Only a container that such a record names is ever removed without being asked to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchRecord {
    /// The format it was written in.
    #[serde(default = "first_format")]
    pub format: u32,
    /// The engine that was asked.
    pub engine: EngineId,
    /// Docker's name of the container, without a slash. It was chosen before Docker was asked, and nobody else's is so.
    pub name: String,
    /// The image, as asked for.
    #[serde(default)]
    pub image: String,
    /// The group of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Who asked for it; empty for the platform.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The request it is for, where that has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// Which container of the request it is, from 0.
    #[serde(default)]
    pub index: u32,
    /// When it was written first.
    pub began: Timestamp,
    /// How far it is.
    pub state: LaunchState,
    /// Docker's id of the container, once somebody may have been told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerId>,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// How far a launch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaunchState {
    /// Docker is being asked, or was when the server died. Nobody was told of the container.
    Asked,
    /// The container was started, and the caller may have been told.
    Done,
    /// It was given up: whatever it left goes when it is seen.
    Abandoned,
    /// The container was done and is one too many: it could not be reached when its group became smaller, and goes when
    /// it is seen.
    Surplus,
    /// Something that a later version invented. Left alone.
    #[serde(other)]
    Unknown,
}

const fn first_format() -> u32 {
    1
}

impl LaunchRecord {
    /// A launch that Docker is going to be asked for.
    pub fn asked(engine: EngineId, name: String, began: Timestamp) -> Self {
        Self {
            format: FORMAT,
            engine,
            name,
            image: String::new(),
            group: None,
            user: String::new(),
            request: None,
            index: 0,
            began,
            state: LaunchState::Asked,
            container: None,
            unknown: serde_json::Map::new(),
        }
    }

    /// The write that forgets the record of a launch, whether or not it is there.
    pub(crate) fn clearance(launch: LaunchId) -> Write {
        Write::new(LAUNCHES, launch.to_string(), Action::Clear)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = include_str!("golden/launch-1.json");

    #[test]
    fn the_first_format_is_read_for_ever_and_written_as_it_was() {
        let kept: Vec<serde_json::Value> = serde_json::from_str(FIRST).unwrap();
        let read: Vec<LaunchRecord> = kept.iter().cloned().map(|one| serde_json::from_value(one).unwrap()).collect();
        assert_eq!(read[0].state, LaunchState::Asked);
        assert_eq!((read[1].state, read[1].index, &*read[1].user), (LaunchState::Done, 7, "ann"));
        assert!(read[1].container.is_some() && read[1].request.is_some() && read[1].group.is_some());
        assert_eq!((read[2].state, read[3].state), (LaunchState::Abandoned, LaunchState::Surplus));
        for (kept, read) in kept.iter().zip(&read) {
            assert_eq!(serde_json::to_value(read).unwrap(), *kept);
        }
    }

    #[test]
    fn what_a_later_version_added_is_kept_and_what_is_missing_has_its_default() {
        let later = serde_json::json!({
            "format": 9, "engine": "a", "name": "web-1", "began": "2026-01-02T03:04:05Z", "state": "paused",
            "generation": {"number": 3},
        });
        let mut read: LaunchRecord = serde_json::from_value(later).unwrap();
        assert_eq!((read.state, read.container.clone(), &*read.image), (LaunchState::Unknown, None, ""));
        read.state = LaunchState::Done;
        assert_eq!(serde_json::to_value(&read).unwrap()["generation"]["number"], 3);
    }
}
