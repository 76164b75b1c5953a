//! Makes and starts the containers of applications, each on the engine that was chosen for it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use super::Executor;
use crate::cluster::{ReplicaContainer, Reservation, Ticket};
use crate::engine::{
    AppNetwork, ContainerFile, CreateRequest, DockerEngine, EngineError, EngineErrorKind, LogChunk, NetworkRequest,
    ObservedContainer, ReplicaLabels,
};
use crate::model::app::SecretValue;
use crate::model::{ContainerId, ContainerSpec, EngineId, ExactImage, ImageRef};
use crate::scheduler::PlacementRequest;

/// What a container writes.
pub(crate) type Output = BoxStream<'static, Result<LogChunk, EngineError>>;

/// A container of an application that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewReplica {
    /// Docker's name, which no other container of the application ever has.
    pub(crate) name: String,
    pub(crate) labels: ReplicaLabels,
    /// What it is to be, without the values of secrets.
    pub(crate) spec: ContainerSpec,
    /// Environment variables whose values are secrets.
    pub(crate) hidden_environment: BTreeMap<String, SecretValue>,
    /// Files that it finds when it starts, each in a folder that is an anonymous volume of `spec`.
    pub(crate) files: Vec<ContainerFile>,
    /// The network of its application, unless it is to be in another one.
    pub(crate) network: Option<AppNetwork>,
    /// The volumes that have to be there already, by Docker's name.
    pub(crate) volumes: Vec<String>,
}

impl Executor {
    /// Makes a container on an engine and starts it, or goes on with the one that was made before the answer was lost. When it
    /// fails nothing is left, unless the engine does not answer.
    ///
    /// # Errors
    /// What the engine said, or why there is no room for it there.
    pub(crate) async fn make_replica(&self, engine: &EngineId, new: &NewReplica) -> Result<ContainerId, EngineError> {
        self.make(engine, new, false).await.map(|(id, _)| id)
    }

    /// The same, with all that it writes.
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn make_attached(
        &self,
        engine: &EngineId,
        new: &NewReplica,
    ) -> Result<(ContainerId, Output), EngineError> {
        self.make(engine, new, true).await.map(|(id, output)| (id, output.unwrap_or_else(|| stream::empty().boxed())))
    }

    async fn make(
        &self,
        engine: &EngineId,
        new: &NewReplica,
        attach: bool,
    ) -> Result<(ContainerId, Option<Output>), EngineError> {
        let reservation = self.reserve_replica(engine, new)?;
        let gone = || EngineError::new(EngineErrorKind::Unreachable, MAKE, "the engine was deleted");
        let connection = reservation.connection().ok_or_else(gone)?;
        self.cluster.while_up(engine, self.prepare(&*connection, engine, new)).await?;
        let slot = self.slots.start(engine, self.cluster.cpu_count(engine)).await;
        let made =
            self.cluster.while_up(engine, self.create_and_start(&*connection, engine, new, attach, &reservation)).await;
        drop(slot);
        match made {
            Ok((found, seen, output)) => {
                let id = found.id.clone();
                reservation.commit(found, seen);
                Ok((id, output))
            }
            Err(error) => {
                if may_have_been_made(&error) {
                    self.clear_away(&*connection, engine, new).await;
                }
                Err(error)
            }
        }
    }

    async fn create_and_start(
        &self,
        connection: &dyn DockerEngine,
        engine: &EngineId,
        new: &NewReplica,
        attach: bool,
        reservation: &Reservation,
    ) -> Result<(ObservedContainer, Ticket, Option<Output>), EngineError> {
        let id = self.create_replica(connection, engine, new, reservation).await?;
        // It may have been made before, and nobody knows whether it had its files by then.
        let started = async {
            put_files(connection, &id, &new.files).await?;
            let output = if attach { Some(connection.attach(&id).await?) } else { None };
            connection.start(&id).await.map(|()| output)
        };
        let output = match started.await {
            Ok(output) => output,
            Err(error) => {
                self.discard(connection, engine, &id).await;
                return Err(error);
            }
        };
        let seen = self.cluster.ticket();
        Ok((connection.inspect(&id).await?, seen, output))
    }

    /// Looks for what may have been made although an error was the answer, and removes it. Until the host has said what there is,
    /// nothing else is to be made in its place; one that answers no more is read when it is back.
    async fn clear_away(&self, connection: &dyn DockerEngine, engine: &EngineId, new: &NewReplica) {
        let look = async {
            loop {
                match connection.list().await {
                    Ok(all) => return Ok(all),
                    Err(error) => tracing::warn!(%engine, %error, "whether {} was made is not known yet", new.name),
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let Ok(all) = self.cluster.while_up(engine, look).await else { return };
        if let Some(found) = all.iter().find(|found| new.is(found)) {
            self.discard(connection, engine, &found.id).await;
        }
    }

    /// Has an engine get an image, unless it has it.
    ///
    /// # Errors
    /// What the engine or the registry said; [`EngineErrorKind::NoSuchImage`] where it has another one under that name.
    pub(crate) async fn fetch_image(&self, engine: &EngineId, image: &ExactImage) -> Result<(), EngineError> {
        let gone = || EngineError::new(EngineErrorKind::Unreachable, "pull the image", "the engine was deleted");
        let connection = self.cluster.connection(engine).ok_or_else(gone)?;
        let fetch = async {
            if connection.find_image(&image.name).await?.is_none() {
                self.pull_onto(&*connection, engine, &image.name).await?;
            }
            self.check_image(&*connection, image).await
        };
        self.cluster.while_up(engine, fetch).await
    }

    /// Starts a container that is there, or lets one go on that is paused. `files` are for one that was never started.
    ///
    /// # Errors
    /// What the engine said, or why it has no room for it any more.
    pub(crate) async fn start_replica(
        &self,
        container: &ReplicaContainer,
        files: &[ContainerFile],
    ) -> Result<(), EngineError> {
        let ReplicaContainer { id, engine, .. } = container;
        let reserved = self.cluster.reserve_start(id);
        let no_room = |refusal| EngineError::new(EngineErrorKind::Unable, START, format!("{refusal}"));
        let reservation = reserved.transpose().map_err(no_room)?;
        let gone = || EngineError::new(EngineErrorKind::Unreachable, START, "the engine was deleted");
        let connection = self.cluster.connection(engine).ok_or_else(gone)?;
        let _slot = self.slots.start(engine, self.cluster.cpu_count(engine)).await;
        let started = async {
            put_files(&*connection, id, files).await?;
            connection.start(id).await
        };
        let outcome = self.cluster.while_up(engine, started).await;
        // Whether it worked or not: the engine knows how the container is now.
        let _ = self.cluster.while_up(engine, self.cluster.refresh(engine, id)).await;
        drop(reservation);
        outcome
    }

    fn reserve_replica(&self, engine: &EngineId, new: &NewReplica) -> Result<Reservation, EngineError> {
        let request = PlacementRequest { only: Some(engine.clone()), ..PlacementRequest::new(&new.spec, 1) };
        let no_room = |refusal: String| EngineError::new(EngineErrorKind::Unable, MAKE, refusal);
        let placed = self.cluster.place(request).map_err(|refusal| no_room(refusal.to_string()))?;
        placed.into_iter().next().ok_or_else(|| no_room("no engine was chosen".to_owned()))
    }

    /// Sees to it that its image and its network are there, and that its volumes are: Docker would silently make empty ones. To fetch
    /// an image may take long, and takes no other container its turn to start.
    async fn prepare(
        &self,
        connection: &dyn DockerEngine,
        engine: &EngineId,
        new: &NewReplica,
    ) -> Result<(), EngineError> {
        for volume in &new.volumes {
            if connection.find_volume(volume).await?.is_none() {
                let detail = format!("volume {volume} is gone from {engine}");
                return Err(EngineError::new(EngineErrorKind::Unable, MAKE, detail));
            }
        }
        if connection.find_image(&new.spec.name).await?.is_none() {
            self.pull_onto(connection, engine, &new.spec.name).await?;
        }
        let Some(network) = &new.network else { return Ok(()) };
        let platform = self.cluster.platform().to_owned();
        let (name, app) = (network.name.clone(), new.labels.app.clone());
        let request = NetworkRequest { name, platform, app, subnets: self.app_subnets };
        let labels = connection.create_network(&request).await?;
        if self.cluster.is_of_app(&labels, &request.app) {
            return Ok(());
        }
        let detail = format!("network {} is there, and was not made by the platform: remove it", request.name);
        Err(EngineError::new(EngineErrorKind::Unable, MAKE, detail))
    }

    async fn create_replica(
        &self,
        connection: &dyn DockerEngine,
        engine: &EngineId,
        new: &NewReplica,
        reservation: &Reservation,
    ) -> Result<ContainerId, EngineError> {
        let request = CreateRequest {
            name: new.name.clone(),
            spec: new.spec.clone(),
            links: Vec::new(),
            platform: self.cluster.platform().to_owned(),
            engine: engine.clone(),
            launch: reservation.launch(),
            user: String::new(),
            mark: None,
            log_rotation: self.log_rotation,
            replica: Some(new.labels.clone()),
            network: new.network.clone(),
            hidden_environment: new.hidden_environment.clone(),
        };
        // As late as can be: somebody may have moved its tag while it was waited for a turn.
        let image = ExactImage { name: new.spec.name.clone(), id: new.labels.image_id.clone() };
        self.check_image(connection, &image).await?;
        match connection.create(&request).await {
            Ok(created) => {
                for warning in &created.warnings {
                    tracing::warn!(%engine, container = new.name, "{warning}");
                }
                Ok(created.id)
            }
            // It was made before, and the answer was lost.
            Err(error) if error.kind() == EngineErrorKind::Conflict => {
                let all = connection.list().await?;
                all.iter().find(|found| new.is(found)).map(|found| found.id.clone()).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn pull_onto(
        &self,
        connection: &dyn DockerEngine,
        engine: &EngineId,
        image: &ImageRef,
    ) -> Result<(), EngineError> {
        let login = (self.find_login)(engine.clone(), image.clone()).await?;
        // What a registry says seldom names the image.
        let about = |error: EngineError| login.explain(error.about(image));
        let mut progress = connection.pull(image, login.sent()).await.map_err(about)?;
        while let Some(step) = progress.next().await {
            step.map_err(about)?;
        }
        Ok(())
    }

    /// Removes what was made and is not to stay. What cannot be removed is known from then on, and goes later.
    async fn discard(&self, connection: &dyn DockerEngine, engine: &EngineId, id: &ContainerId) {
        let _removal = self.cluster.removing(id);
        match self.cluster.while_up(engine, connection.remove(id)).await {
            Ok(()) => self.cluster.removed(id),
            Err(error) => {
                tracing::warn!(%engine, container = id.short(), %error, "what is not to stay cannot be removed");
                if self.cluster.while_up(engine, self.cluster.refresh(engine, id)).await.is_err() {
                    self.cluster.look_for_remains(engine);
                }
            }
        }
    }
}

impl NewReplica {
    /// Whether a container is the one that was to be made.
    fn is(&self, found: &ObservedContainer) -> bool {
        let labels = found.managed.as_ref().and_then(|managed| managed.replica());
        found.name.trim_start_matches('/') == self.name && labels == Some(&self.labels)
    }
}

/// Whether there may be a container all the same: the answer was lost, or it was made and something failed after that.
fn may_have_been_made(error: &EngineError) -> bool {
    matches!(error.kind(), EngineErrorKind::Unreachable | EngineErrorKind::Failed | EngineErrorKind::NoSuchContainer)
}

/// When a host is asked again that could not say what there is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

async fn put_files(
    connection: &dyn DockerEngine,
    id: &ContainerId,
    files: &[ContainerFile],
) -> Result<(), EngineError> {
    if files.is_empty() { Ok(()) } else { connection.put_files(id, files).await }
}

const MAKE: &str = "make the container";
const START: &str = "start the container";
