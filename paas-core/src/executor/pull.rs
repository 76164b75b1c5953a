//! Pulling images onto engines.

use std::collections::HashMap;
use std::sync::Arc;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedSender;

use super::{Executor, Progress};
use crate::engine::{EngineError, EngineErrorKind};
use crate::model::{EngineId, ImageRef, RegistryLogin, UserName};

/// Pulls of one image for one operation: at most one per engine, however many containers wait for it.
#[derive(Debug)]
pub(crate) struct Pulls {
    executor: Executor,
    image: ImageRef,
    steps: UnboundedSender<Progress>,
    outcomes: Mutex<HashMap<EngineId, Arc<OnceCell<Outcome>>>>,
}

/// Kind and detail of the error: several containers get the same one.
type Outcome = Result<(), (EngineErrorKind, String)>;

/// The login that an engine pulls an image with.
#[derive(Debug)]
pub(crate) enum PullLogin {
    /// There is none to the registry of the image.
    None,
    /// This one.
    Given(RegistryLogin),
    /// The platform has one to the registry, and does not send it there: no admin answers for the host.
    Withheld { added_by: UserName, registry: String },
}

impl PullLogin {
    /// What is sent to the host.
    pub(crate) fn sent(&self) -> Option<RegistryLogin> {
        match self {
            Self::Given(login) => Some(login.clone()),
            Self::None | Self::Withheld { .. } => None,
        }
    }

    /// The same error, which says so where the login may be what was missing. Another host may have it.
    pub(crate) fn explain(&self, error: EngineError) -> EngineError {
        match self {
            Self::Withheld { added_by, registry } if error.kind() != EngineErrorKind::Unreachable => {
                let why = format!(
                    "the platform's login to {registry} is not sent to this engine, which {added_by} added, who is no admin; an \
                     admin adopts it by adding the same again, or it has a login of its own"
                );
                error.retold(|said| format!("{said} ({why})")).with_kind(EngineErrorKind::Unable)
            }
            _ => error,
        }
    }
}

impl Pulls {
    pub(crate) fn new(executor: Executor, image: ImageRef, steps: UnboundedSender<Progress>) -> Self {
        Self { executor, image, steps, outcomes: Mutex::default() }
    }

    /// Waits until an engine has the image.
    pub(crate) async fn pulled(&self, engine: &EngineId) -> Result<(), EngineError> {
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
        let cluster = &self.executor.cluster;
        let gone = || EngineError::new(EngineErrorKind::Unreachable, "pull the image", "the engine was deleted");
        let connection = cluster.connection(engine).ok_or_else(gone)?;
        let login = (self.executor.find_login)(engine.clone(), self.image.clone()).await?;
        let whole = async {
            let mut progress = connection.pull(&self.image, login.sent()).await?;
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
        cluster.while_up(engine, whole).await.map_err(|error| login.explain(error))?;
        let _ = self.steps.send(Progress::Pulled { engine: engine.clone(), image: self.image.clone() });
        Ok(())
    }
}
