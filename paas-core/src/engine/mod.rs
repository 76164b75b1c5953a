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

use crate::model::app::Sizes;
use crate::model::{ContainerId, ImageDigest, ImageRef, RegistryLogin};

pub use connect::{Connector, connect};
#[cfg(feature = "docker")]
pub use docker::{Docker, check_certificates};
pub use error::{EngineError, EngineErrorKind};
pub use simulated::{Asked, SimulatedEngine};
pub use types::{
    AppNetwork, ContainerFile, CreateRequest, Created, EngineEvent, EngineInfo, EngineUsage, EventDetail, ExecChunk,
    FoundImage, LogChunk, LogOptions, LogRotation, LogStream, Managed, NetworkRequest, ObjectLabels, ObservedContainer,
    Owner, PullProgress, ReplicaLabels, RequestMark, RunState, VolumeRequest,
};

/// Result of an engine's operations.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// One Docker host.
///
/// Every operation has a deadline of its own inside the implementation, so that a host that hangs gives
/// [`EngineErrorKind::Unreachable`] and never hangs its caller. Dropping a future gives up waiting; the host may still
/// do what it was told.
///
/// An engine of your own speaks to something else than Docker, or stands before another engine and does one thing
/// differently. A [`Connector`] makes it of an address, see
/// [`ControllerBuilder::connector`](crate::controller::ControllerBuilder::connector).
///
/// # What the platform relies on
/// - The id of a container is 64 hexadecimal digits and unlike every other on any host, also in its first 12: as Docker's,
///   which are random. Two engines that show one container are taken for the same daemon.
/// - So are two with one [`EngineInfo::daemon_id`].
/// - What the platform writes on a container stays there as long as the container: [`labels::write`] makes labels of a
///   [`CreateRequest`], and [`labels::read`] makes the [`Managed`] of them.
/// - [`ObservedContainer::spec`] is the description that the container was made with, field by field; but of a container of an
///   application it is what the host enforces, and without the environment.
/// - Ports of the host are bound, and shown, while a container runs. A port that the description leaves open is chosen then.
/// - [`DockerEngine::create`] fetches no image. That is what [`DockerEngine::pull`] is for.
/// - A volume that a description names and that is not there is made by [`DockerEngine::create`], empty, as Docker does.
/// - A change is on the event stream: at least `create`, `start`, `die` when a container ends for whatever reason, and
///   `destroy`. Each has the id of the container, its name without a slash, its image as it was asked for, and its launch.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use futures::stream::BoxStream;
/// use paas_core::engine::*;
/// use paas_core::model::app::Sizes;
/// use paas_core::model::{ContainerId, ImageDigest, ImageRef, RegistryLogin, SimulatedHost};
///
/// /// Gives every container at least a minute to end.
/// #[derive(Debug)]
/// struct Patient(Arc<dyn DockerEngine>);
///
/// #[async_trait::async_trait]
/// impl DockerEngine for Patient {
///     async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
///         self.0.stop(id, grace.max(Duration::from_secs(60))).await
///     }
///     async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
///         self.0.restart(id, grace.max(Duration::from_secs(60))).await
///     }
///     // The rest is as before.
///     async fn ping(&self, deadline: Duration) -> Result<()> {
///         self.0.ping(deadline).await
///     }
///     async fn info(&self) -> Result<EngineInfo> {
///         self.0.info().await
///     }
///     async fn list(&self) -> Result<Vec<ObservedContainer>> {
///         self.0.list().await
///     }
///     async fn inspect(&self, id: &ContainerId) -> Result<ObservedContainer> {
///         self.0.inspect(id).await
///     }
///     async fn create(&self, request: &CreateRequest) -> Result<Created> {
///         self.0.create(request).await
///     }
///     async fn start(&self, id: &ContainerId) -> Result<()> {
///         self.0.start(id).await
///     }
///     async fn remove(&self, id: &ContainerId) -> Result<()> {
///         self.0.remove(id).await
///     }
///     async fn pull(
///         &self,
///         image: &ImageRef,
///         login: Option<RegistryLogin>,
///     ) -> Result<BoxStream<'static, Result<PullProgress>>> {
///         self.0.pull(image, login).await
///     }
///     async fn registry_digest(&self, image: &ImageRef, login: Option<RegistryLogin>) -> Result<ImageDigest> {
///         self.0.registry_digest(image, login).await
///     }
///     async fn find_image(&self, image: &ImageRef) -> Result<Option<FoundImage>> {
///         self.0.find_image(image).await
///     }
///     async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
///         self.0.logs(id, options).await
///     }
///     async fn events(
///         &self,
///         since: Option<jiff::Timestamp>,
///     ) -> Result<BoxStream<'static, Result<EngineEvent>>> {
///         self.0.events(since).await
///     }
///     async fn usage(&self) -> Result<EngineUsage> {
///         self.0.usage().await
///     }
///     async fn update(&self, id: &ContainerId, sizes: &Sizes) -> Result<()> {
///         self.0.update(id, sizes).await
///     }
///     async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
///         self.0.rename(id, name).await
///     }
///     async fn create_network(&self, network: &NetworkRequest) -> Result<ObjectLabels> {
///         self.0.create_network(network).await
///     }
///     async fn find_network(&self, name: &str) -> Result<Option<ObjectLabels>> {
///         self.0.find_network(name).await
///     }
///     async fn remove_network(&self, name: &str) -> Result<()> {
///         self.0.remove_network(name).await
///     }
///     async fn create_volume(&self, volume: &VolumeRequest) -> Result<ObjectLabels> {
///         self.0.create_volume(volume).await
///     }
///     async fn remove_volume(&self, name: &str) -> Result<()> {
///         self.0.remove_volume(name).await
///     }
///     async fn put_files(&self, id: &ContainerId, files: &[ContainerFile]) -> Result<()> {
///         self.0.put_files(id, files).await
///     }
///     async fn find_volume(&self, name: &str) -> Result<Option<ObjectLabels>> {
///         self.0.find_volume(name).await
///     }
///     async fn exec(
///         &self,
///         id: &ContainerId,
///         command: &[String],
///     ) -> Result<BoxStream<'static, Result<ExecChunk>>> {
///         self.0.exec(id, command).await
///     }
///     async fn attach(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<LogChunk>>> {
///         self.0.attach(id).await
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let engine = Patient(Arc::new(SimulatedEngine::new(&SimulatedHost::new("example"))));
/// // With the feature "testing", which is for your tests. The image must have `sleep` and `echo`.
/// # #[cfg(feature = "testing")]
/// paas_core::testing::engine::conforms(Arc::new(engine), "web:1".parse().unwrap()).await;
/// # });
/// ```
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

    /// Makes a container without starting it, and answers with its id and with what the host left undone of the request.
    /// Does not fetch the image.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchImage`], [`EngineErrorKind::Conflict`] (the name is taken), [`EngineErrorKind::Unable`]
    /// (this host does not have what it takes).
    async fn create(&self, request: &CreateRequest) -> Result<Created>;

    /// Starts a container; one that is paused goes on. One that runs already is no error.
    ///
    /// # Errors
    /// [`EngineErrorKind::PortTaken`], [`EngineErrorKind::NoSuchContainer`], [`EngineErrorKind::Unable`] (this host lacks
    /// something), [`EngineErrorKind::Refused`] (no host could).
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

    /// Puts files into a container that was created and not started. The folder of each is one of its anonymous volumes, so that it
    /// can be written where the root cannot, outlives a restart, and goes with the container. A file that is there already is
    /// replaced.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`]; [`EngineErrorKind::Refused`] for a path or an owner that no archive has room for.
    async fn put_files(&self, id: &ContainerId, files: &[ContainerFile]) -> Result<()>;

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

    /// The digest that the registry has for an image now, asked in the way in which this engine would pull it. At most 10 s.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchImage`] when the registry does not have it or wants another login, or there is no registry of that
    /// name; others where it does not answer.
    async fn registry_digest(&self, image: &ImageRef, login: Option<RegistryLogin>) -> Result<ImageDigest>;

    /// What the engine itself has under the name of an image. Nothing where it has none.
    async fn find_image(&self, image: &ImageRef) -> Result<Option<FoundImage>>;

    /// Output of a container, as it comes; also of one that has ended. The stream ends with what there is, or, when the
    /// options say to follow, with the container.
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

    /// Changes what Docker can change in a container as it is, running or not: its share of CPU, its memory and swap, and what
    /// is done when it ends by itself. Without a share of CPU, that stays as it is.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`], [`EngineErrorKind::Unable`] (the host has not got that much).
    async fn update(&self, id: &ContainerId, sizes: &Sizes) -> Result<()>;

    /// Gives a container another name, without a slash. One that bears another name than is written on it is not the platform's
    /// any more, until it has its own again.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`], [`EngineErrorKind::Conflict`] (the name is taken).
    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()>;

    /// Makes a bridge network, unless there is one of that name, which stays as it is. Says whose it is.
    ///
    /// # Errors
    /// [`EngineErrorKind::Failed`], such as when the host has no addresses left for another network.
    async fn create_network(&self, network: &NetworkRequest) -> Result<ObjectLabels>;

    /// Whose the network of that name is, if there is one.
    async fn find_network(&self, name: &str) -> Result<Option<ObjectLabels>>;

    /// Removes a network. One that is not there is no error.
    ///
    /// # Errors
    /// [`EngineErrorKind::Conflict`] while containers that run are in it.
    async fn remove_network(&self, name: &str) -> Result<()>;

    /// Makes a volume of the host, unless there is one of that name, which keeps what is in it. Says whose it is.
    ///
    /// # Errors
    /// [`EngineErrorKind::Conflict`] where there is one of another driver.
    async fn create_volume(&self, volume: &VolumeRequest) -> Result<ObjectLabels>;

    /// Removes a volume with what is in it. One that is not there is no error.
    ///
    /// # Errors
    /// [`EngineErrorKind::Conflict`] while a container has it, running or not.
    async fn remove_volume(&self, name: &str) -> Result<()>;

    /// Whose the volume of that name is, if there is one.
    async fn find_volume(&self, name: &str) -> Result<Option<ObjectLabels>>;

    /// Runs a command in a container that runs, without a terminal and without input, and gives its output as it comes. The
    /// stream ends with [`ExecChunk::Ended`]; where it ends otherwise, nobody knows what became of the command. Dropping the
    /// stream does not end the command.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`], [`EngineErrorKind::Conflict`] (it does not run).
    async fn exec(&self, id: &ContainerId, command: &[String]) -> Result<BoxStream<'static, Result<ExecChunk>>>;

    /// What a container without a terminal writes from now on, as it comes, whatever the engine keeps of it as its log: asked
    /// before the container is started, that is every byte. The stream ends when the container has ended. Where nobody reads it, the
    /// container waits.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchContainer`].
    async fn attach(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<LogChunk>>>;
}
