//! One Docker host: the trait, Docker itself, and a simulated host.

mod connect;
#[cfg(feature = "docker")]
mod docker;
mod error;
pub mod labels;
mod simulated;
mod types;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;

use crate::model::{ContainerId, ImageRef, RegistryLogin};

pub use connect::{Connector, connect};
#[cfg(feature = "docker")]
pub use docker::{Docker, check_certificates};
pub use error::{EngineError, EngineErrorKind};
pub use simulated::{Asked, SimulatedEngine};
pub use types::{
    CreateRequest, EngineEvent, EngineInfo, EngineUsage, EventDetail, LogChunk, LogOptions, LogStream, Managed,
    ObservedContainer, PullProgress, RequestMark,
};

/// Result of an engine's operations.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// One Docker host.
///
/// Every operation has a deadline of its own inside the implementation, so that a host that hangs gives
/// [`EngineErrorKind::Unreachable`] and never hangs its caller. Dropping a future gives up waiting; the host may still
/// do what it was told.
#[cfg_attr(any(test, feature = "testing"), mockall::automock)]
#[async_trait]
pub trait DockerEngine: Send + Sync + fmt::Debug {
    /// Asks whether the host answers. At most `deadline`.
    async fn ping(&self, deadline: Duration) -> Result<()>;

    /// What the host says of itself.
    async fn info(&self) -> Result<EngineInfo>;

    /// Every container on the host, the stopped ones included.
    async fn list(&self) -> Result<Vec<ObservedContainer>>;

    /// One container.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    async fn inspect(&self, id: &ContainerId) -> Result<ObservedContainer>;

    /// Makes a container without starting it, and answers with its id.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchImage`], [`EngineErrorKind::Conflict`] (the name is taken),
    /// [`EngineErrorKind::Refused`] (Docker does not take the description).
    async fn create(&self, request: &CreateRequest) -> Result<ContainerId>;

    /// Starts a container. One that runs already is no error.
    ///
    /// # Errors
    /// [`EngineErrorKind::PortTaken`], [`EngineErrorKind::NoSuchContainer`], [`EngineErrorKind::Refused`].
    async fn start(&self, id: &ContainerId) -> Result<()>;

    /// Asks a container to end and kills it after `grace`. One that is stopped already is no error.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Stops a container as [`DockerEngine::stop`] does, and starts it again.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`], and those of [`DockerEngine::start`].
    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Kills a container if it runs and removes it, with its anonymous volumes.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    async fn remove(&self, id: &ContainerId) -> Result<()>;

    /// Pulls an image, and tells how far it is. The stream ends when the image is there, or with an error.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchImage`] when the registry does not have it or wants another login.
    async fn pull(
        &self,
        image: &ImageRef,
        login: Option<RegistryLogin>,
    ) -> Result<BoxStream<'static, Result<PullProgress>>>;

    /// Output of a container, as it comes.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>>;

    /// What happens to the containers of the host: what it still has from `since` on by its own clock, which may repeat
    /// what was given before, and then everything that comes, in the order of arrival and whatever time it carries; or
    /// everything from now on. When this has answered, nothing later is missed. Ends with an error when the host is lost.
    async fn events(&self, since: Option<Timestamp>) -> Result<BoxStream<'static, Result<EngineEvent>>>;

    /// What the running containers use at this moment.
    async fn usage(&self) -> Result<EngineUsage>;
}
