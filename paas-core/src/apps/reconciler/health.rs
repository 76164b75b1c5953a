//! Since when Docker's own checks of containers say what they say.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::apps;
use crate::cluster::ReplicaContainer;
use crate::model::{ContainerId, HealthStatus};

/// What was said last of each container, and since when. A new leader counts from when it hears it first.
#[derive(Debug, Default)]
pub(super) struct Health(HashMap<ContainerId, (HealthStatus, Timestamp)>);

impl Health {
    /// What Docker says of a container that runs.
    pub(super) fn of_docker(&mut self, container: &ReplicaContainer, now: Timestamp) -> apps::Health {
        let Some(said) = container.run.health else {
            self.0.remove(&container.id);
            return apps::Health::Unchecked;
        };
        let (known, since) = self.0.entry(container.id.clone()).or_insert((said, now));
        if *known != said {
            (*known, *since) = (said, now);
        }
        match said {
            HealthStatus::Starting => apps::Health::Starting,
            HealthStatus::Healthy => apps::Health::Healthy { since: *since },
            HealthStatus::Unhealthy => apps::Health::Unhealthy { since: *since },
        }
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, is_there: impl Fn(&ContainerId) -> bool) {
        self.0.retain(|id, _| is_there(id));
    }
}
