//! One container: find, start, stop, restart, destroy, read its output.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;

use super::{Actor, Ambiguity, Controller, ControllerError, Result};
use crate::cluster::KnownContainer;
use crate::engine::{DockerEngine, EngineError, EngineErrorKind, LogChunk, LogOptions, ReplicaLabels};
use crate::model::{Container, ContainerId, ContainerState, EngineId, EngineStatus, Event, EventKind, Invalid};

/// The most containers that are listed when a name or a prefix fits several.
const CANDIDATES: usize = 10;

impl Controller {
    /// The containers on all engines, by id; with `all` also those that do not run.
    pub fn containers(&self, all: bool) -> Vec<Arc<Container>> {
        self.shared.cluster.containers(all)
    }

    /// The first `limit` containers whose id comes after `after`, by id; with `all` also those that do not run. A list that is
    /// read piece by piece has every container once that is there all the time.
    pub fn containers_after(&self, after: Option<&ContainerId>, all: bool, limit: usize) -> Vec<Arc<Container>> {
        self.shared.cluster.containers_after(after, all, limit)
    }

    /// One container, by its full id, its name with or without Docker's slash, or the first digits of its id, in that order: a
    /// name comes before the beginning of somebody else's id.
    ///
    /// # Errors
    /// [`ControllerError::ContainerNotFound`], [`ControllerError::ContainerAmbiguous`].
    pub fn container(&self, reference: &str) -> Result<Arc<Container>> {
        self.resolve(reference).map(|known| known.container)
    }

    pub(super) fn resolve(&self, reference: &str) -> Result<KnownContainer> {
        if reference.trim_start_matches('/').is_empty() {
            return Err(Invalid::new("id", "give the id of a container, the first digits of it, or its name").into());
        }
        let cluster = &self.shared.cluster;
        if let Some(known) = reference.parse().ok().and_then(|id| cluster.container(&id)) {
            return Ok(known);
        }
        let mut found = cluster.containers_by_name(reference);
        let is_name = !found.is_empty();
        if !is_name {
            found = cluster.containers_by_prefix(reference, CANDIDATES + 1);
        }
        match found.len() {
            0 => Err(ControllerError::ContainerNotFound { reference: reference.to_owned() }),
            1 => Ok(found.remove(0)),
            _ => Err(ControllerError::ContainerAmbiguous(Box::new(Ambiguity {
                reference: reference.to_owned(),
                is_name,
                is_all: found.len() <= CANDIDATES,
                candidates: found.into_iter().take(CANDIDATES).map(|known| known.container).collect(),
            }))),
        }
    }

    /// How long a container has to end when nobody says: its own `stop_timeout`, if it is there and has one.
    pub fn own_grace(&self, reference: &str) -> Option<Duration> {
        let known = self.resolve(reference).ok()?;
        known.container.image.stop_timeout.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Starts a container that is stopped, where it is. One that runs already is left as it is, and so is a replica of an
    /// application: whether that runs is the application's.
    ///
    /// # Errors
    /// [`ControllerError::NoRoom`] when its engine has no room for it any more; [`ControllerError::Engine`].
    pub async fn start(&self, actor: &Actor, reference: &str) -> Result<()> {
        if self.resolve(reference)?.replica.is_some() {
            return Ok(());
        }
        self.change(actor, reference, Change::of_ours(EventKind::StartContainer, "started"), |target| async move {
            target.connection.start(&target.container.id).await
        })
        .await
    }

    /// Asks a container to end, and kills it after `grace`. One that is stopped already is left as it is.
    ///
    /// # Errors
    /// [`ControllerError::Engine`]; [`ControllerError::ManagedByApplication`] for a replica, which would be started again.
    pub async fn stop(&self, actor: &Actor, reference: &str, grace: Duration) -> Result<()> {
        if let Some(replica) = self.resolve(reference)?.replica {
            let ReplicaLabels { app, component, .. } = replica;
            let reason = format!(
                "the container belongs to {app}/{component}, which would start it again: 'app stop {app}' stops the \
                 application, 'app scale {app}/{component} N' changes how many there are"
            );
            return Err(ControllerError::ManagedByApplication { reason });
        }
        self.change(actor, reference, Change::of_ours(EventKind::StopContainer, "stopped"), move |target| async move {
            target.connection.stop(&target.container.id, grace).await
        })
        .await
    }

    /// Stops a container as [`Controller::stop`] does, and starts it again. Its room stays its own meanwhile.
    ///
    /// # Errors
    /// As [`Controller::start`].
    pub async fn restart(&self, actor: &Actor, reference: &str, grace: Duration) -> Result<()> {
        self.change(
            actor,
            reference,
            Change::of_ours(EventKind::RestartContainer, "restarted"),
            move |target| async move { target.connection.restart(&target.container.id, grace).await },
        )
        .await
    }

    /// Kills a container and removes it.
    ///
    /// # Errors
    /// [`ControllerError::Engine`]; [`ControllerError::Conflict`] for a container of another platform.
    pub async fn destroy(&self, actor: &Actor, reference: &str) -> Result<()> {
        self.destroy_of(actor, reference, None).await
    }

    /// Destroys a container as [`Controller::destroy`] does, if it belongs to that other platform; without one, if it belongs to
    /// no other.
    ///
    /// # Errors
    /// As [`Controller::destroy`].
    pub async fn destroy_of(&self, actor: &Actor, reference: &str, platform: Option<&str>) -> Result<()> {
        let controller = self.clone();
        let how = Change { kind: EventKind::DestroyContainer, done: "destroyed", of: platform.map(str::to_owned) };
        self.change(actor, reference, how, |target| async move {
            let _slot = controller.shared.slots.removal(&target.engine).await;
            let _removal = controller.shared.cluster.removing(&target.container.id);
            target.connection.remove(&target.container.id).await
        })
        .await
    }

    /// Output of a container, as it comes.
    ///
    /// # Errors
    /// [`ControllerError::Engine`]; that it was lost on the way is an item of the stream.
    pub async fn logs(
        &self,
        reference: &str,
        options: &LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>> {
        let known = self.resolve(reference)?;
        let target = self.target(known)?;
        let logs = target.connection.logs(&target.container.id, options);
        self.shared.cluster.while_up(&target.engine, logs).await.map_err(|source| target.failed(source))
    }

    /// Does one thing to one container: nobody else does anything to it meanwhile, the view knows the outcome, and the
    /// event is stored before this answers. Goes on when the caller gives up waiting.
    async fn change<F, Fut>(&self, actor: &Actor, reference: &str, how: Change, act: F) -> Result<()>
    where
        F: FnOnce(Arc<Target>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), EngineError>> + Send + 'static,
    {
        self.check_open()?;
        let known = self.resolve(reference)?;
        let (controller, actor) = (self.clone(), actor.clone());
        let change = self.run_to_end(async move {
            let id = known.container.id.clone();
            let _one_change_at_a_time = controller.shared.container_locks.lock(id.as_str()).await;
            controller.check_open()?;
            // What it was may have changed while this waited.
            let known = controller
                .shared
                .cluster
                .container(&id)
                .ok_or_else(|| ControllerError::ContainerNotFound { reference: id.to_string() })?;
            controller.change_now(&actor, known, how, act).await
        });
        change.await.flatten()
    }

    async fn change_now<F, Fut>(&self, actor: &Actor, known: KnownContainer, how: Change, act: F) -> Result<()>
    where
        F: FnOnce(Arc<Target>) -> Fut,
        Fut: Future<Output = Result<(), EngineError>>,
    {
        let Change { kind, done, of } = how;
        check_owner(&known, of.as_deref())?;
        let cluster = &self.shared.cluster;
        let runs_already = known.container.state == ContainerState::Running;
        let needs_room = matches!(kind, EventKind::StartContainer | EventKind::RestartContainer);
        if needs_room && !runs_already && known.replica.is_none() {
            self.check_volumes_of_run(&known.container.image)?;
        }
        let target = Arc::new(self.target(known)?);
        let id = &target.container.id;
        if kind == EventKind::StartContainer && runs_already {
            return Ok(());
        }
        let reservation = if needs_room {
            let reserved = cluster.reserve_start(id).ok_or_else(|| not_found(&target))?;
            Some(reserved.map_err(ControllerError::NoRoom)?)
        } else {
            None
        };
        let outcome = cluster.while_up(&target.engine, act(target.clone())).await;
        match &outcome {
            Ok(()) if kind == EventKind::DestroyContainer => cluster.removed(id),
            Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => cluster.removed(id),
            // Whether it worked or not: the engine knows how the container is now.
            _ => drop(cluster.while_up(&target.engine, cluster.refresh(&target.engine, id)).await),
        }
        drop(reservation);
        match outcome {
            Ok(()) => {}
            Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => return Err(not_found(&target)),
            Err(source) => return Err(target.failed(source)),
        }
        let name = target.container.name.trim_start_matches('/');
        let event = Event::new(kind, format!("{done} {name} on {}", target.engine)).on(&target.engine).of(id);
        self.record(actor.sign(event)).await
    }

    /// The way to a container, if its engine answers.
    pub(super) fn target(&self, known: KnownContainer) -> Result<Target> {
        let cluster = &self.shared.cluster;
        let engine = known.container.engine.id.clone();
        let gone = || ControllerError::EngineNotFound { id: engine.to_string() };
        let connection = cluster.connection(&engine).ok_or_else(gone)?;
        let target = Target { container: known.container, engine: engine.clone(), connection };
        match cluster.status(&engine) {
            Some(EngineStatus::Up | EngineStatus::Suspect) => Ok(target),
            _ => Err(target.failed(EngineError::new(
                EngineErrorKind::Unreachable,
                "reach the container",
                "the engine does not answer; try again when it does",
            ))),
        }
    }
}

/// What is done to a container.
struct Change {
    kind: EventKind,
    /// The word for it, for the event.
    done: &'static str,
    /// The platform whose container it is, if somebody says that it is another one's.
    of: Option<String>,
}

impl Change {
    fn of_ours(kind: EventKind, done: &'static str) -> Self {
        Self { kind, done, of: None }
    }
}

/// A container and the way to it.
pub(super) struct Target {
    pub(super) container: Arc<Container>,
    pub(super) engine: EngineId,
    pub(super) connection: Arc<dyn DockerEngine>,
}

impl Target {
    pub(super) fn failed(&self, source: EngineError) -> ControllerError {
        ControllerError::Engine { engine: self.engine.clone(), source }
    }
}

/// Refuses to change what belongs to something of this platform that this version does not know, and what belongs to another
/// platform than the one that was named.
pub(super) fn check_owner(known: &KnownContainer, named: Option<&str>) -> Result<()> {
    let id = known.container.id.short();
    let reason = match (&known.other_platform, named, &known.other_owner) {
        (Some(platform), named, _) if named == Some(platform) => return Ok(()),
        (Some(platform), ..) => format!(
            "container {id} belongs to the platform {platform}, and only that one knows what it is for; ask its server, or destroy \
             it with --platform {platform}"
        ),
        (None, Some(named), _) => format!("container {id} does not belong to the platform {named}"),
        (None, None, Some(owner)) => {
            format!(
                "container {id} belongs to '{owner}', which this version of the server does not know; ask a newer one"
            )
        }
        (None, None, None) => return Ok(()),
    };
    Err(ControllerError::Conflict { reason })
}

fn not_found(target: &Target) -> ControllerError {
    ControllerError::ContainerNotFound { reference: target.container.id.to_string() }
}
