//! Pulling images onto engines.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedSender;

use super::{Actor, Controller, ControllerError, Failure, Operation, Progress, Result};
use crate::engine::{EngineError, EngineErrorKind};
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
        let pulls = Pulls::new(self.clone(), image.clone(), steps.clone());
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
                let failure =
                    Failure { index, engine: Some(engine.clone()), container: None, error: error.to_string() };
                let _ = steps.send(Progress::Failed(failure));
            }
        }
        let summary =
            Progress::Summary { requested: engines.len(), started: engines.len() - failed, destroyed: 0, failed };
        let _ = steps.send(summary);
    }
}

/// Pulls of one image for one operation: at most one per engine, however many containers wait for it.
#[derive(Debug)]
pub(super) struct Pulls {
    controller: Controller,
    image: ImageRef,
    steps: UnboundedSender<Progress>,
    outcomes: Mutex<HashMap<EngineId, Arc<OnceCell<Outcome>>>>,
}

/// Kind and detail of the error: several containers get the same one.
type Outcome = Result<(), (EngineErrorKind, String)>;

impl Pulls {
    pub(super) fn new(controller: Controller, image: ImageRef, steps: UnboundedSender<Progress>) -> Self {
        Self { controller, image, steps, outcomes: Mutex::default() }
    }

    /// Waits until an engine has the image.
    pub(super) async fn pulled(&self, engine: &EngineId) -> Result<(), EngineError> {
        let cell = self.outcomes.lock().entry(engine.clone()).or_default().clone();
        let outcome = cell.get_or_init(|| async {
            self.pull(engine).await.map_err(|error| (error.kind(), error.detail().to_owned()))
        });
        match outcome.await {
            Ok(()) => Ok(()),
            Err((kind, detail)) => Err(EngineError::new(*kind, "pull the image", detail.clone())),
        }
    }

    async fn pull(&self, engine: &EngineId) -> Result<(), EngineError> {
        let cluster = &self.controller.shared.cluster;
        let gone = || EngineError::new(EngineErrorKind::Unreachable, "pull the image", "the engine was deleted");
        let connection = cluster.connection(engine).ok_or_else(gone)?;
        let login = self.controller.login_for(engine, &self.image).await.map_err(|error| {
            EngineError::new(EngineErrorKind::Failed, "pull the image", error.to_string()).with_source(error)
        })?;
        let whole = async {
            let mut progress = connection.pull(&self.image, login).await?;
            while let Some(step) = progress.next().await {
                let step = step?;
                let _ = self.steps.send(Progress::Pulling {
                    engine: engine.clone(),
                    image: step.image,
                    status: step.status,
                    current: step.bytes.map(|(current, _)| current),
                    total: step.bytes.map(|(_, total)| total),
                });
            }
            Ok(())
        };
        cluster.while_up(engine, whole).await?;
        let _ = self.steps.send(Progress::Pulled { engine: engine.clone(), image: self.image.clone() });
        Ok(())
    }
}
