//! What others do on a simulated host, and what happens to its containers by themselves.

use jiff::SignedDuration;

use super::{Host, Simulated};
use crate::engine::{EventDetail, ObservedContainer, Owner, Result};
use crate::model::{
    ContainerId, ContainerSpec, ContainerState, HealthStatus, ImageRef, LaunchId, Resources, RestartPolicy,
};

/// What Docker says of a container whose end it did not see.
const AFTER_POWER_LOSS: i64 = 255;

impl Host {
    pub(in crate::engine::simulated) fn make_network(&mut self, name: &str) {
        self.networks.get_or_insert_default().insert(name.to_owned());
    }

    pub(in crate::engine::simulated) fn remove_network(&mut self, name: &str) {
        self.networks.get_or_insert_default().remove(name);
    }

    pub(in crate::engine::simulated) fn outsider_run(
        &mut self,
        name: &str,
        image: ImageRef,
        limits: Option<Resources>,
    ) -> ContainerId {
        let mut spec = ContainerSpec::new(image);
        spec.cpus = limits.map(|limits| limits.cpus);
        spec.memory = limits.map(|limits| limits.memory);
        let reserved = spec.reserved();
        let id = self.add(Simulated::new(name.to_owned(), spec, reserved, None, self.clock.now()));
        // It publishes nothing, so there is nothing that could fail.
        let _ = self.start(&id);
        id
    }

    pub(in crate::engine::simulated) fn outsider_copy(
        &mut self,
        id: &ContainerId,
        name: &str,
        owner: Option<&str>,
    ) -> Result<ContainerId> {
        let original = self.get("copy the container", id)?;
        let (spec, reserved) = (ContainerSpec::clone(&original.spec), original.reserved);
        let mut managed = original.managed.clone();
        if let (Some(managed), Some(owner)) = (&mut managed, owner) {
            managed.launch = LaunchId::new();
            managed.owner = Owner::Other(owner.into());
        }
        let copy = self.add(Simulated::new(name.to_owned(), spec, reserved, managed, self.clock.now()));
        self.start(&copy)?;
        Ok(copy)
    }

    /// The program ends by itself with a status. It is started again where its restart policy says so.
    pub(in crate::engine::simulated) fn outsider_end(&mut self, id: &ContainerId, exit_code: i64) -> Result<()> {
        let container = self.get("end the program", id)?;
        let restarts = container.run.restarts;
        let again = match container.restart {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { maximum_retry } => {
                exit_code != 0 && (maximum_retry == 0 || restarts < u64::from(maximum_retry))
            }
        };
        self.end(id, exit_code);
        if !again {
            return Ok(());
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.run.restarts = restarts + 1;
        }
        self.begin(id)
    }

    /// The health check found something.
    pub(in crate::engine::simulated) fn set_health(&mut self, id: &ContainerId, health: HealthStatus) -> Result<()> {
        self.get("check the health", id)?;
        if let Some(container) = self.containers.get_mut(id) {
            container.run.health = Some(health);
        }
        for action in ["exec_create", "exec_start", "exec_die"] {
            self.tell(action, id);
        }
        let detail = EventDetail { health: Some(health.to_string()), ..EventDetail::default() };
        self.tell_more("health_status", id, detail);
        Ok(())
    }

    /// Somebody else pauses a container.
    pub(in crate::engine::simulated) fn outsider_pause(&mut self, id: &ContainerId) -> Result<()> {
        self.check_runs("pause the container", id)?;
        self.set_state(id, ContainerState::Paused, "pause");
        Ok(())
    }

    /// Somebody else changes the limits of a container.
    pub(in crate::engine::simulated) fn outsider_update(&mut self, id: &ContainerId, limits: Resources) -> Result<()> {
        self.get("update the container", id)?;
        if let Some(container) = self.containers.get_mut(id) {
            (container.reserved, container.cpus) = (limits, Some(limits.cpus));
        }
        self.tell("update", id);
        Ok(())
    }

    /// A container of another host is here as well: this host is that one, or a copy of it.
    pub(in crate::engine::simulated) fn outsider_twin(&mut self, other: &ObservedContainer) {
        let name = other.name.trim_start_matches('/').to_owned();
        let container = Simulated {
            state: other.state,
            ports: other.ports.clone(),
            created: other.created,
            run: other.run.clone(),
            ..Simulated::new(name, other.spec.clone(), other.reserved, other.managed.clone(), other.created)
        };
        self.containers.insert(other.id.clone(), container);
        self.tell("start", &other.id);
    }

    /// The machine loses power: what runs ends without a word, and what the daemon would have told is forgotten.
    pub(in crate::engine::simulated) fn lose_power(&mut self) {
        let running: Vec<ContainerId> = self.ids_of(|container| container.state.holds_resources());
        for id in running {
            self.end(&id, AFTER_POWER_LOSS);
        }
        self.forgotten += self.history.len() as u64;
        self.history.clear();
    }

    /// The machine has power again: its daemon starts the containers whose restart policy says so.
    pub(in crate::engine::simulated) fn regain_power(&mut self) {
        let starts_again = |container: &Simulated| match container.restart {
            // One that was never started has not ended.
            _ if container.state != ContainerState::Stopped => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !container.is_stopped_on_purpose,
            RestartPolicy::OnFailure { .. } => {
                !container.is_stopped_on_purpose && container.run.exit_code == Some(AFTER_POWER_LOSS)
            }
            RestartPolicy::No => false,
        };
        for id in self.ids_of(starts_again) {
            // One whose port is taken stays as it is, as on a real host.
            let _ = self.begin(&id);
        }
    }

    fn ids_of(&self, is_one: impl Fn(&Simulated) -> bool) -> Vec<ContainerId> {
        self.containers.iter().filter(|(_, container)| is_one(container)).map(|(id, _)| id.clone()).collect()
    }

    /// The clock of the host is set: forwards, or backwards where that is negative.
    pub(in crate::engine::simulated) fn step_clock(&mut self, by: SignedDuration) {
        self.ahead = self.ahead.saturating_add(by);
        self.last_time = None;
    }
}
