//! The members of a group, and how each of them stands.

use std::sync::Arc;

use super::Cluster;
use crate::model::{Container, ContainerState, EngineStatus, Group, LaunchId};

/// How well a member of a group does: of those that are too many the first go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Its engine does not answer: whether it runs nobody knows.
    Unreachable,
    /// It ends again and again.
    Restarting,
    /// It runs on an engine that is to become empty.
    Draining,
    /// It runs.
    Running,
}

/// A member of a group that runs, as far as is known.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) container: Arc<Container>,
    pub(crate) standing: Standing,
    pub(crate) launch: LaunchId,
}

impl Cluster {
    /// The members of a group that run, or ran when they were last seen. Those that are to go anyway are not among them.
    pub(crate) fn members(&self, group: &Group) -> Vec<Member> {
        let view = self.shared.view.read();
        let member = |entry: &super::view::ContainerEntry| {
            let engine = view.engine(entry.container.engine.id.as_str())?;
            let launch = entry.managed.as_ref()?.launch;
            let state = entry.container.state;
            let standing = match engine.health.status {
                EngineStatus::Up | EngineStatus::Suspect if state == ContainerState::Restarting => Standing::Restarting,
                EngineStatus::Up | EngineStatus::Suspect if engine.spec.draining => Standing::Draining,
                EngineStatus::Up | EngineStatus::Suspect => Standing::Running,
                _ => Standing::Unreachable,
            };
            let is_unwanted = self.shared.launches.is_unwanted(&engine.spec.id, launch);
            let is_one = state.holds_resources() && !is_unwanted;
            is_one.then(|| Member { container: view.shown(entry), standing, launch })
        };
        view.group(group).filter_map(member).collect()
    }
}
