//! Moving replicas from full hosts to emptier ones.

use std::collections::BTreeMap;

use crate::apps::documents::Beside;
use crate::apps::{Desired, Goal, Move};
use crate::controller::{Actor, Controller, ControllerError, Result};
use crate::model::app::AppName;
use crate::model::{Event, EventKind};
use crate::wire::app::Moved;

impl Controller {
    /// Has replicas move from the fullest hosts until the scores of all hosts differ by less than ten points, at most 500 of them at a time;
    /// with `dry_run` only says which. Gives them in their order, each with what it gains.
    ///
    /// Answers when that is decided and recorded: whoever leads goes on with it. Of each component one replica moves at a time, when
    /// no rollout is under way and all of the others are ready; one that finds no room when its turn comes stays.
    ///
    /// # Errors
    /// The store did not take it: of some applications it may be recorded.
    pub async fn rebalance(&self, actor: &Actor, dry_run: bool) -> Result<Vec<Moved>> {
        self.owned(actor, move |controller, actor| async move {
            controller.check_open()?;
            let moves = controller.shared.apps.moves(&controller.executor()).await;
            let moves = moves.ok_or(ControllerError::Panicked)?;
            if !dry_run && !moves.is_empty() {
                controller.begin_moves(&actor, &moves).await?;
            }
            Ok(moves.into_iter().map(Moved::from).collect())
        })
        .await
    }

    async fn begin_moves(&self, actor: &Actor, moves: &[Move]) -> Result<()> {
        let mut by_app: BTreeMap<&AppName, Vec<&Move>> = BTreeMap::new();
        for moved in moves {
            by_app.entry(&moved.app).or_default().push(moved);
        }
        let apps = &self.shared.apps;
        for (name, moves) in by_app {
            let Some(app) = apps.known(name.as_str()) else { continue };
            let held = apps.documents(&app).await.map_err(ControllerError::Store)?;
            let mut desired = Desired::clone(held.desired());
            // Somebody may have changed it since it was decided.
            if held.documents().is_foreign() || desired.goal != Goal::Run || desired.rollout.is_some() {
                continue;
            }
            moves.iter().for_each(|moved| desired.leave(&moved.replica));
            let message = match moves.len() {
                1 => format!("{name}: a replica moves to an emptier host"),
                count => format!("{name}: {count} replicas move to emptier hosts"),
            };
            let mut event = actor.sign(Event::new(EventKind::Rebalance, message).tagged("app"));
            event.name = Some(name.to_string());
            let insertion = self.shared.publisher.insertion(&event).map_err(ControllerError::Store)?;
            let change = held.documents().change_to(desired, &Beside::default(), apps.now());
            let change = change.map_err(ControllerError::Store)?;
            held.commit(change, vec![insertion]).await.map_err(ControllerError::Store)?;
            self.shared.publisher.publish(event).await;
        }
        Ok(())
    }
}

impl From<Move> for Moved {
    fn from(moved: Move) -> Self {
        let Move { app, replica, to, gain } = moved;
        // A tenth of a point is as exact as anybody wants to know it.
        let gain = (gain * 10.0).round() / 10.0;
        Self { app, replica: replica.slot.to_string(), from: replica.engine, to, gain }
    }
}
