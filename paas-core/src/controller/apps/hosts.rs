//! What is said of hosts and of the store, for all applications at once.

use crate::apps::documents::Beside;
use crate::controller::{Actor, Controller, ControllerError, Result};
use crate::model::{EngineId, EngineStatus, Event, EventKind};

impl Controller {
    /// Heals although more than half of the hosts are silent, until half of them answer, or this server ends.
    ///
    /// # Errors
    /// The event could not be kept.
    pub async fn heal_now(&self, actor: &Actor) -> Result<()> {
        let event = Event::new(EventKind::HealNow, "healing goes on although more than half of the hosts are silent");
        self.record(actor.sign(event)).await?;
        self.shared.apps.heal_now();
        Ok(())
    }

    /// Acts on applications again after a store was restored or is older than what runs.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn resume_reconciling(&self, actor: &Actor) -> Result<()> {
        self.owned(actor, |controller, actor| async move {
            controller.check_open()?;
            controller.shared.apps.resume().await.map_err(ControllerError::Store)?;
            let event = Event::new(EventKind::ResumeReconciling, "applications are acted on again");
            controller.record(actor.sign(event)).await
        })
        .await
    }

    /// Says that a host is gone for good: what ran there is made elsewhere, with empty volumes where `lose_volumes` says so. Gives
    /// the volumes that are lost, by name.
    ///
    /// # Errors
    /// [`ControllerError::EngineNotFound`]; [`ControllerError::Conflict`] for a host that answers, and for one that has volumes
    /// without `lose_volumes`.
    pub async fn host_lost(&self, actor: &Actor, engine: &EngineId, lose_volumes: bool) -> Result<Vec<String>> {
        let engine = engine.clone();
        self.owned(actor, move |controller, actor| async move {
            controller.check_open()?;
            controller.host_lost_now(&actor, &engine, lose_volumes).await
        })
        .await
    }

    async fn host_lost_now(&self, actor: &Actor, engine: &EngineId, lose_volumes: bool) -> Result<Vec<String>> {
        let apps = &self.shared.apps;
        self.check_silent(engine)?;
        let on_it = apps.volumes_on(engine);
        let names: Vec<String> =
            on_it.iter().map(|(app, volume)| format!("{}/{} {}", app.name, volume.slot, volume.name)).collect();
        if !names.is_empty() && !lose_volumes {
            let reason = format!(
                "host {engine} has volumes that would be lost: {}; say --lose-volumes where that is to be",
                names.join(", ")
            );
            return Err(ControllerError::Conflict { reason });
        }
        // First of all, so that what is lost with it is asked for again where this ends in between.
        apps.lose_host(engine).await.map_err(ControllerError::Store)?;
        for (app, _) in on_it {
            let held = apps.documents(&app).await.map_err(ControllerError::Store)?;
            if let Err(answers) = self.check_silent(engine) {
                apps.look_for_returned(&self.executor());
                return Err(answers);
            }
            let mut desired = held.desired().clone();
            desired.lose_volumes_on(engine);
            let change = held.documents().change_to(desired, &Beside::default(), apps.now());
            let change = change.map_err(ControllerError::Store)?;
            held.commit(change, Vec::new()).await.map_err(ControllerError::Store)?;
        }
        // It may be back already.
        apps.look_for_returned(&self.executor());
        let event = Event::new(EventKind::HostLost, format!("host {engine} is gone for good")).on(engine);
        self.record(actor.sign(event)).await?;
        Ok(names)
    }

    /// Whether a host may be given up: it does not answer.
    fn check_silent(&self, engine: &EngineId) -> Result<()> {
        let known = self.shared.cluster.engine(engine.as_str());
        let Some(health) = known.map(|engine| engine.health) else {
            return Err(ControllerError::EngineNotFound { id: engine.to_string() });
        };
        let reason = match health.status {
            EngineStatus::Up | EngineStatus::Suspect => format!("host {engine} answers; drain it to have it emptied"),
            EngineStatus::Pending if health.reason.is_none() => {
                format!("nobody knows yet whether host {engine} answers; try again in a moment")
            }
            _ => return Ok(()),
        };
        Err(ControllerError::Conflict { reason })
    }
}
