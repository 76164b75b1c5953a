//! Pulling images onto engines.

use futures::future::join_all;
use tokio::sync::mpsc::UnboundedSender;

use super::{Actor, Controller, ControllerError, Failure, Operation, Progress, Result};
use crate::executor::Pulls;
use crate::model::{EngineId, Event, EventKind, ImageRef, Invalid};

impl Controller {
    /// Pulls an image on the engines named, or on every engine that is up.
    ///
    /// # Errors
    /// [`ControllerError::EngineNotFound`]; [`ControllerError::Conflict`] when no engine is up.
    pub async fn pull(&self, actor: &Actor, image: ImageRef, engines: Option<Vec<EngineId>>) -> Result<Operation> {
        self.check_open()?;
        let engines = match engines {
            Some(engines) if engines.is_empty() => {
                return Err(Invalid::new("engines", "name at least one, or leave it out for all that are up").into());
            }
            Some(mut engines) => {
                engines.sort();
                engines.dedup();
                for engine in &engines {
                    self.engine(engine.as_str())?;
                }
                engines
            }
            None => self.shared.cluster.engines_up(),
        };
        if engines.is_empty() {
            return Err(ControllerError::Conflict { reason: "no engine is up that could pull".to_owned() });
        }
        let (steps, operation) = Operation::new();
        let controller = self.clone();
        let actor = actor.clone();
        self.shared.operations.spawn(async move { controller.pull_all(&actor, image, engines, steps).await });
        Ok(operation)
    }

    async fn pull_all(&self, actor: &Actor, image: ImageRef, engines: Vec<EngineId>, steps: UnboundedSender<Progress>) {
        let pulls = Pulls::new(self.executor(), image.clone(), steps.clone());
        let outcomes = join_all(engines.iter().map(|engine| pulls.pulled(engine))).await;
        let mut failed = 0;
        for (index, (engine, outcome)) in engines.iter().zip(outcomes).enumerate() {
            let message = match &outcome {
                Ok(()) => format!("pulled {image} on {engine}"),
                Err(error) => format!("{image} was not pulled on {engine}: {error}"),
            };
            let event = Event::new(EventKind::Other("pull-image".to_owned()), message).on(engine);
            if let Err(error) = self.record(actor.sign(event)).await {
                tracing::warn!(%error, "a pull could not be recorded");
            }
            if let Err(error) = outcome {
                failed += 1;
                let failure = Failure {
                    index,
                    engine: Some(engine.clone()),
                    container: None,
                    error: error.to_string(),
                    deferred: false,
                };
                let _ = steps.send(Progress::Failed(failure));
            }
        }
        let summary =
            Progress::Summary { requested: engines.len(), started: engines.len() - failed, destroyed: 0, failed };
        let _ = steps.send(summary);
    }
}
