//! Operations that take long tell how far they are, as it happens.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::model::{Container, ContainerId, EngineId, ImageRef};

/// One step of an operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Progress {
    /// An engine fetches the image.
    Pulling {
        /// The engine.
        engine: EngineId,
        /// The image.
        image: ImageRef,
        /// Docker's words.
        status: String,
        /// Bytes fetched so far.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        current: Option<u64>,
        /// Bytes in all, as far as known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// An engine has the image.
    Pulled {
        /// The engine.
        engine: EngineId,
        /// The image.
        image: ImageRef,
    },
    /// A container has a place, and the room is reserved.
    Decided {
        /// Which container of the request, from 0.
        index: usize,
        /// Its engine.
        engine: EngineId,
    },
    /// A container runs.
    Started {
        /// Which container of the request, from 0.
        index: usize,
        /// The container.
        container: Box<Container>,
        /// What its host could not do as it was asked, in its own words.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// An engine failed; the container is tried on another.
    Retrying {
        /// Which container of the request, from 0.
        index: usize,
        /// The engine that failed.
        engine: EngineId,
        /// What it said.
        error: String,
    },
    /// A container, or an image on an engine, could not be had, and nothing is left of it; or a container could not be
    /// destroyed.
    Failed(Failure),
    /// A container was destroyed.
    Destroyed {
        /// The container.
        container: ContainerId,
        /// Where it was.
        engine: EngineId,
    },
    /// The operation is over. Always the last step.
    Summary {
        /// How many were asked for.
        requested: usize,
        /// How many were started.
        started: usize,
        /// How many were destroyed.
        destroyed: usize,
        /// How many failed.
        failed: usize,
    },
}

impl Progress {
    /// Logs the step, where the span says which request it belongs to.
    pub(crate) fn log(&self) {
        match self {
            Self::Pulling { engine, image, .. } => tracing::trace!(%engine, %image, "pulling"),
            Self::Pulled { engine, image } => tracing::debug!(%engine, %image, "pulled"),
            Self::Decided { index, engine } => tracing::debug!(index, %engine, "placed"),
            Self::Started { index, container, .. } => {
                tracing::debug!(index, engine = %container.engine.id, container = container.id.short(), "started");
            }
            Self::Retrying { index, engine, error } => {
                tracing::warn!(index, %engine, error, "a launch failed; it is tried on another engine");
            }
            Self::Failed(failure) => {
                let Failure { index, engine, container, error, .. } = failure;
                let (engine, container) =
                    (engine.as_ref().map(EngineId::as_str), container.as_ref().map(ContainerId::short));
                tracing::warn!(index, engine, container, error, "a container could not be had, or not be destroyed");
            }
            Self::Destroyed { container, engine } => {
                tracing::debug!(%engine, container = container.short(), "destroyed");
            }
            Self::Summary { requested, started, destroyed, failed } => {
                tracing::debug!(requested, started, destroyed, failed, "done");
            }
        }
    }
}

/// A container, or an image on an engine, that could not be had, or a container that could not be destroyed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Which container of the request, from 0.
    pub index: usize,
    /// The last engine it was tried on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineId>,
    /// The container that could not be destroyed. Where its engine does not answer, it may be gone all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerId>,
    /// Why, in one sentence.
    pub error: String,
    /// It is going to be done by itself: a container whose engine does not answer goes when the engine is back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deferred: bool,
}

/// What the host of a container could not do as it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaunchWarning {
    /// The container, which runs all the same.
    pub container: ContainerId,
    /// Its engine.
    pub engine: EngineId,
    /// What the host said.
    pub warning: String,
}

/// What an operation came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LaunchSummary {
    /// How many were asked for.
    pub requested: usize,
    /// What was started, in the order of starting.
    pub started: Vec<Container>,
    /// What was destroyed.
    pub destroyed: Vec<ContainerId>,
    /// What failed.
    pub failed: Vec<Failure>,
    /// What hosts could not do as they were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<LaunchWarning>,
    /// Whether the operation broke off in the middle, by a fault of the platform: what became of the rest is not known.
    #[serde(skip)]
    pub broke_off: bool,
}

impl LaunchSummary {
    /// Whether everything asked for was done.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && !self.broke_off
    }

    /// Notes a container that was started, and what its host said of it.
    pub fn add_started(&mut self, container: Container, warnings: Vec<String>) {
        let warned = warnings.into_iter().map(|warning| LaunchWarning {
            container: container.id.clone(),
            engine: container.engine.id.clone(),
            warning,
        });
        self.warnings.extend(warned);
        self.started.push(container);
    }
}

/// An operation under way: a stream of [`Progress`] that ends after [`Progress::Summary`].
///
/// Dropping it does not stop the operation.
#[derive(Debug)]
pub struct Operation {
    steps: mpsc::UnboundedReceiver<Progress>,
}

impl Operation {
    pub(crate) fn new() -> (mpsc::UnboundedSender<Progress>, Self) {
        // Bounded by the operation itself: a few steps per container asked for.
        let (sender, steps) = mpsc::unbounded_channel();
        (sender, Self { steps })
    }

    /// Waits for the end.
    pub async fn finish(mut self) -> LaunchSummary {
        let mut summary = LaunchSummary { broke_off: true, ..LaunchSummary::default() };
        while let Some(step) = self.next().await {
            match step {
                Progress::Started { container, warnings, .. } => summary.add_started(*container, warnings),
                Progress::Destroyed { container, .. } => summary.destroyed.push(container),
                Progress::Failed(failure) => summary.failed.push(failure),
                Progress::Summary { requested, .. } => (summary.requested, summary.broke_off) = (requested, false),
                Progress::Pulling { .. }
                | Progress::Pulled { .. }
                | Progress::Decided { .. }
                | Progress::Retrying { .. } => {}
            }
        }
        summary
    }
}

impl Stream for Operation {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Progress>> {
        self.steps.poll_recv(cx)
    }
}
