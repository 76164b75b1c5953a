//! Carries out what was decided: launches containers and pulls images, as many at once on each engine as it does well.
//!
//! What shall run is the controller's to decide; where there is room is the cluster's. Here an action is brought to its end,
//! whatever its engine does meanwhile, and each step is told as it happens.

mod images;
mod launch;
mod progress;
mod pull;
mod replica;
pub(crate) mod slots;

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::engine::{EngineError, EngineErrorKind, LogRotation};
use crate::model::{EngineId, ImageRef, Subnets};
use crate::store::StoreError;

pub(crate) use images::Said;
pub(crate) use launch::{LaunchPlan, Launcher};
pub use progress::{Failure, LaunchSummary, LaunchWarning, Operation, Progress};
pub(crate) use pull::{PullLogin, Pulls};
pub(crate) use replica::{NewReplica, Output};
use slots::Slots;

/// Finds the login that an engine pulls an image with.
pub(crate) type FindLogin =
    Arc<dyn Fn(EngineId, ImageRef) -> BoxFuture<'static, Result<PullLogin, EngineError>> + Send + Sync>;

/// Carries out what was decided. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) cluster: Cluster,
    pub(crate) slots: Arc<Slots>,
    /// On how many engines a container is tried.
    pub(crate) attempts: usize,
    /// How much of each container's output its host keeps.
    pub(crate) log_rotation: Option<LogRotation>,
    /// Where networks of applications have their addresses from.
    pub(crate) app_subnets: Subnets,
    /// Nothing more is tried from then on.
    pub(crate) closing: CancellationToken,
    pub(crate) find_login: FindLogin,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActionError {
    /// The engine did not do it.
    #[error("engine {engine} {source}")]
    Engine {
        /// The engine.
        engine: EngineId,
        /// What it said.
        source: EngineError,
    },
    /// The store did not take that it is going to be done, or that it was.
    #[error("the platform's own records cannot be read or written")]
    Store(#[source] StoreError),
}

impl ActionError {
    /// Whether the same could work on another engine.
    fn is_of_the_engine(&self) -> bool {
        matches!(self, Self::Engine { source, .. } if source.is_of_the_engine())
    }

    /// Whether the engine cannot run such a container, whatever is done about it.
    fn is_unable(&self) -> bool {
        matches!(self, Self::Engine { source, .. } if source.kind() == EngineErrorKind::Unable)
    }
}
