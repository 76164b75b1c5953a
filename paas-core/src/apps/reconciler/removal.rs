//! What is left to do when the containers of an application are gone.

use std::sync::Arc;
use std::time::Duration;

use super::round::Next;
use super::{App, Apps, Held};
use crate::apps::convert::{network_name, volume_name};
use crate::cluster::EngineReach;
use crate::engine::EngineErrorKind;
use crate::executor::Executor;
use crate::model::{EngineId, Event, EventKind};
use crate::store::Result;

/// When a volume is removed again that could not be removed.
const AGAIN: Duration = Duration::from_secs(10);

impl Apps {
    /// Forgets an application that was destroyed, when nothing of it is left: its networks go, and its volumes where that was
    /// asked for. Hosts that do not answer keep a network without containers.
    pub(super) async fn forget_when_nothing_is_left(
        &self,
        executor: &Executor,
        app: &Arc<App>,
        held: Held<'_>,
    ) -> Result<Next> {
        let desired = held.desired().clone();
        // What was on a host that is gone for good is not waited for; if it is back, it is cleared.
        let (lost, reaches) = (self.caution.lost(), executor.cluster.reaches());
        let is_gone = |engine: &EngineId| lost.contains(engine) && reaches.get(engine) != Some(&EngineReach::Up);
        let is_left = executor.cluster.replicas(&app.name).iter().any(|container| !is_gone(&container.engine));
        // A command of it, which no record names, may be on a host that this server has not read yet.
        let is_unread = |(engine, reach): (&EngineId, &EngineReach)| {
            matches!(reach, EngineReach::NotRead { .. }) && !lost.contains(engine)
        };
        if is_left || reaches.iter().any(is_unread) || !desired.replicas.is_empty() {
            return Ok(Next::At(None));
        }
        let cluster = &executor.cluster;
        for engine in cluster.engines_up() {
            let Some(connection) = cluster.connection(&engine) else { continue };
            let name = network_name(&desired.app);
            let removal = async {
                match connection.find_network(&name).await? {
                    Some(labels) if cluster.is_of_app(&labels, &desired.app) => connection.remove_network(&name).await,
                    _ => Ok(()),
                }
            };
            if let Err(error) = cluster.while_up(&engine, removal).await {
                tracing::warn!(app = %desired.app, %engine, %error, "the network of an application stays");
            }
        }
        let mut stays = desired.volumes.clone();
        let mut words = format!("{}: nothing of it is left", desired.app);
        if held.documents().removes_volumes() {
            stays.clear();
            for volume in &desired.volumes {
                let name = volume_name(&desired.app, &volume.slot, &volume.name);
                let Some(connection) = cluster.connection(&volume.engine) else { continue };
                let removal = async {
                    match connection.find_volume(&name).await? {
                        Some(labels) if !cluster.is_of_app(&labels, &desired.app) => Ok(false),
                        _ => connection.remove_volume(&name).await.map(|()| true),
                    }
                };
                match cluster.while_up(&volume.engine, removal).await {
                    Ok(true) => cluster.forget_volume(&volume.engine, &name),
                    Ok(false) => {
                        words.push_str(&format!(" but volume {name} on {}: somebody else made it", volume.engine));
                    }
                    // A container has it that is none of ours, or was renamed while nobody looked: that is for a person to decide.
                    Err(error) if error.kind() == EngineErrorKind::Conflict => {
                        words.push_str(&format!(" but volume {name} on {}: {}", volume.engine, error.detail()));
                        stays.push(volume.clone());
                    }
                    Err(error) => {
                        tracing::warn!(app = %desired.app, engine = %volume.engine, %error, "volume {name} stays");
                        return Ok(Next::At(self.now().checked_add(AGAIN).ok()));
                    }
                }
            }
        }
        // Before the record goes: afterwards nobody would look for it, and another application may have the name.
        self.forget_output_of(&desired.app).await?;
        let event = Event::new(EventKind::DestroyApp, words).tagged("app");
        let insertion = self.publisher.insertion(&event)?;
        // Before the record of the application: whoever declares one of that name finds none of these.
        self.secrets.remove_all(&app.name).await?;
        let change = held.documents().removal(&stays);
        held.commit(change, vec![insertion]).await?;
        self.publisher.publish(event).await;
        self.forget(app);
        Ok(Next::At(None))
    }
}
