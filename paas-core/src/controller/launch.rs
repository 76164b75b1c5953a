//! Running containers: place, reserve, launch, and account for each.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::pull::Pulls;
use super::{Actor, Controller, ControllerError, Failure, Operation, Progress, Result};
use crate::cluster::Reservation;
use crate::engine::{
    CreateRequest, Created, DockerEngine, EngineError, EngineErrorKind, ObservedContainer, RequestMark,
};
use crate::model::{Container, ContainerId, ContainerSpec, EngineId, Event, EventKind, Invalid, LaunchId, RequestId};
use crate::scheduler::PlacementRequest;

/// How often a container whose ports Docker chooses is started before its ports count as taken.
const START_ATTEMPTS: usize = 5;

/// A request to run containers.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// What each shall be.
    pub spec: ContainerSpec,
    /// How many, from 1 to [`super::Settings::max_count`].
    pub count: usize,
    /// Whether each engine pulls the image first.
    pub pull: bool,
}

impl Controller {
    /// Starts containers, spread over the engines, all at once as far as the engines let.
    ///
    /// Answers when every container has a place and the room is reserved. Each is then launched, on another engine if
    /// the first one fails, and the operation tells of each. A failed one leaves nothing behind.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`]; [`ControllerError::NoRoom`] when not all of them fit: then nothing is started.
    pub async fn run(&self, actor: &Actor, request: RunRequest) -> Result<Operation> {
        self.check_run(actor, &request)?;
        let plan = self.plan(&request.spec)?;
        let placed = self.shared.cluster.place_anywhere(plan.placement(request.count)).await;
        let reservations = placed.map_err(ControllerError::NoRoom)?;
        let (steps, operation) = Operation::new();
        let launcher = self.launcher(actor, plan, request.pull, steps);
        self.shared.operations.spawn(async move {
            let (started, failed) = launcher.launch_all(reservations.into_iter().enumerate().collect()).await;
            launcher.tell(Progress::Summary { requested: request.count, started, destroyed: 0, failed });
        });
        Ok(operation)
    }

    /// The same for a request that may be made again, by whoever did not hear what became of it: what an earlier one of the
    /// same `id` started counts, also one that an earlier server was at when it died, and only what is missing is started.
    ///
    /// # Errors
    /// As [`Controller::run`].
    pub async fn run_once(&self, actor: &Actor, request: RunRequest, id: RequestId) -> Result<Operation> {
        self.check_run(actor, &request)?;
        // Until the one before has come to its end, what is missing is not known.
        let one_at_a_time = self.shared.request_locks.lock(&id.to_string()).await;
        let cluster = &self.shared.cluster;
        let there = cluster.of_request(id);
        let is_missing = |index: &usize| u32::try_from(*index).is_ok_and(|index| !there.contains_key(&index));
        let missing: Vec<usize> = (0..request.count).filter(is_missing).collect();
        let plan = self.plan(&request.spec)?;
        let reservations = match missing.len() {
            0 => Vec::new(),
            count => cluster.place_anywhere(plan.placement(count)).await.map_err(ControllerError::NoRoom)?,
        };
        let (steps, operation) = Operation::new();
        let launcher = Launcher { request: Some(id), ..self.launcher(actor, plan, request.pull, steps) };
        self.shared.operations.spawn(async move {
            let _one_at_a_time = one_at_a_time;
            let before = there.len();
            for (index, container) in there {
                let container = Box::new(Container::clone(&container));
                launcher.tell(Progress::Started { index: index as usize, container, warnings: Vec::new() });
            }
            let (started, failed) = launcher.launch_all(missing.into_iter().zip(reservations).collect()).await;
            let started = before + started;
            launcher.tell(Progress::Summary { requested: request.count, started, destroyed: 0, failed });
        });
        Ok(operation)
    }

    fn check_run(&self, actor: &Actor, request: &RunRequest) -> Result<()> {
        self.check_open()?;
        self.check_count(request.count)?;
        request.spec.validate()?;
        self.check_policy_of_run(actor, &request.spec)
    }

    pub(super) fn check_count(&self, count: usize) -> Result<()> {
        let most = self.shared.settings.max_count;
        if (1..=most).contains(&count) {
            return Ok(());
        }
        Err(Invalid::new("count", format!("must be 1 to {most}, not {count}")).into())
    }

    /// Finds the containers that a description names, and so the only engine that will do.
    pub(super) fn plan(&self, spec: &ContainerSpec) -> Result<Plan> {
        let mut only: Option<(EngineId, String)> = None;
        let mut links = Vec::new();
        let beside = spec.network_mode.strip_prefix("container:").map(|target| (target, None));
        let named = spec.links.iter().map(|(target, alias)| (target.as_str(), Some(alias.clone())));
        for (target, alias) in named.chain(beside) {
            let field = if alias.is_some() { "links" } else { "network_mode" };
            let other = self.container(target).map_err(|error| Invalid::new(field, error.to_string()))?;
            let engine = other.engine.id.clone();
            match &only {
                Some((first, name)) if *first != engine => {
                    return Err(Invalid::new(
                        field,
                        format!("{name} is on engine {first} and {target} on {engine}; they must be on one"),
                    )
                    .into());
                }
                _ => only = Some((engine, target.to_owned())),
            }
            if let Some(alias) = alias {
                links.push((other.name.trim_start_matches('/').to_owned(), alias));
            }
        }
        Ok(Plan { spec: spec.clone(), links, only: only.map(|(engine, _)| engine) })
    }

    pub(super) fn launcher(&self, actor: &Actor, plan: Plan, pull: bool, steps: UnboundedSender<Progress>) -> Launcher {
        let pulls = pull.then(|| Pulls::new(self.clone(), plan.spec.name.clone(), steps.clone()));
        Launcher {
            controller: self.clone(),
            actor: actor.clone(),
            plan,
            pulls,
            steps,
            request: None,
            unable: Mutex::default(),
        }
    }
}

/// A description with everything found that it names.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    spec: ContainerSpec,
    /// Docker's name of each linked container, and the host name for it.
    pub(super) links: Vec<(String, String)>,
    pub(super) only: Option<EngineId>,
}

impl Plan {
    pub(super) fn placement(&self, count: usize) -> PlacementRequest {
        PlacementRequest { only: self.only.clone(), ..PlacementRequest::new(&self.spec, count) }
    }
}

/// Launches the containers of one operation.
#[derive(Debug)]
pub(super) struct Launcher {
    controller: Controller,
    actor: Actor,
    plan: Plan,
    pulls: Option<Pulls>,
    steps: UnboundedSender<Progress>,
    /// The request it is for, if that has a name.
    request: Option<RequestId>,
    /// Engines that cannot run this description: none of the other containers is tried there.
    unable: Mutex<BTreeSet<EngineId>>,
}

impl Launcher {
    pub(super) fn tell(&self, step: Progress) {
        step.log();
        // Nobody listens any more when the caller went away; the operation goes on all the same.
        let _ = self.steps.send(step);
    }

    /// Launches one container per reservation, each with its place in the request; how many were started, and how many
    /// failed.
    pub(super) async fn launch_all(&self, reservations: Vec<(usize, Reservation)>) -> (usize, usize) {
        for (index, reservation) in &reservations {
            self.tell(Progress::Decided { index: *index, engine: reservation.engine().clone() });
        }
        let mut launches: FuturesUnordered<_> =
            reservations.into_iter().map(|(index, reservation)| self.launch(index, reservation)).collect();
        let (mut started, mut failed) = (0, 0);
        while let Some(is_started) = launches.next().await {
            if is_started {
                started += 1;
            } else {
                failed += 1;
            }
        }
        (started, failed)
    }

    /// Launches one container, on one engine after the other until one starts it. Whether one did.
    async fn launch(&self, index: usize, mut reservation: Reservation) -> bool {
        let mut failed_on = BTreeSet::new();
        loop {
            let engine = reservation.engine().clone();
            let error = match self.attempt(index, reservation).await {
                Ok((container, warnings)) => {
                    self.tell(Progress::Started { index, container: Box::new(container), warnings });
                    return true;
                }
                Err(error) => error,
            };
            if matches!(&error, ControllerError::Engine { source, .. } if source.kind() == EngineErrorKind::Unable) {
                // That is no failure of the engine's, so as many as there are may be tried for one that can.
                self.unable.lock().insert(engine.clone());
            } else {
                failed_on.insert(engine.clone());
            }
            let message = error.to_string();
            match self.elsewhere(&error, &failed_on).await {
                Some(next) => {
                    self.tell(Progress::Retrying { index, engine, error: message });
                    self.tell(Progress::Decided { index, engine: next.engine().clone() });
                    reservation = next;
                }
                None => {
                    self.note_failure(&engine, &message).await;
                    let failure = Failure { index, engine: Some(engine), container: None, error: message };
                    self.tell(Progress::Failed(failure));
                    return false;
                }
            }
        }
    }

    /// Room on an engine that did not fail yet, if another engine could help at all.
    async fn elsewhere(&self, error: &ControllerError, failed_on: &BTreeSet<EngineId>) -> Option<Reservation> {
        let of_the_engine = matches!(error, ControllerError::Engine { source, .. } if source.is_of_the_engine());
        let shared = &self.controller.shared;
        if !of_the_engine || failed_on.len() >= shared.settings.attempts || shared.closing.is_cancelled() {
            return None;
        }
        let except = failed_on.union(&self.unable.lock()).cloned().collect();
        let request = PlacementRequest { except, ..self.plan.placement(1) };
        shared.cluster.place_anywhere(request).await.ok()?.pop()
    }

    /// Brings one container to life on the engine that has room for it. On failure nothing is left there, or, if the
    /// engine does not answer, will not be once it does. With the container comes what its host said of it.
    async fn attempt(&self, index: usize, reservation: Reservation) -> Result<(Container, Vec<String>)> {
        let engine = reservation.engine().clone();
        let failed = |source| ControllerError::Engine { engine: engine.clone(), source };
        let shared = &self.controller.shared;
        // Of the engine that has the room, and not of another that has its id by now.
        let connection = reservation.connection().ok_or_else(|| {
            failed(EngineError::new(EngineErrorKind::Unreachable, "start the container", "the engine was deleted"))
        })?;
        if let Some(pulls) = &self.pulls {
            pulls.pulled(&engine).await.map_err(failed)?;
        }
        let slot = shared.slots.start(&engine).await;
        let request = self.request(&engine, reservation.launch(), index);
        let created = shared.cluster.while_up(&engine, connection.create(&request)).await;
        let Created { id, warnings } = match created {
            Ok(created) => created,
            Err(error) => {
                if error.kind() == EngineErrorKind::Unreachable || error.kind() == EngineErrorKind::Failed {
                    reservation.abandon();
                }
                return Err(failed(error));
            }
        };
        let started = shared.cluster.while_up(&engine, self.start(&*connection, &id)).await;
        if let Err(error) = started {
            self.undo(&*connection, reservation, &id).await;
            return Err(failed(error));
        }
        // The next one need not wait for what is only to be known about this one.
        slot.done();
        // What happens to it from here on is newer.
        let seen = shared.cluster.ticket();
        let found = match shared.cluster.while_up(&engine, connection.inspect(&id)).await {
            Ok(found) => found,
            Err(error) => {
                self.undo(&*connection, reservation, &id).await;
                return Err(failed(error));
            }
        };
        if let Err(error) = self.note_success(&engine, &found).await {
            self.undo(&*connection, reservation, &id).await;
            return Err(error);
        }
        reservation.commit(found, seen);
        let known = shared.cluster.container(&id).ok_or_else(|| {
            failed(EngineError::new(EngineErrorKind::NoSuchContainer, "start the container", "it was removed at once"))
        })?;
        self.note_warnings(&engine, &known.container, &warnings).await;
        Ok((Container::clone(&known.container), warnings))
    }

    /// Starts a container. Where Docker chooses the ports it may come to one that somebody else has, and gives up after
    /// ten in a row; it goes on from there when it is asked again.
    async fn start(&self, connection: &dyn DockerEngine, id: &ContainerId) -> Result<(), EngineError> {
        let chooses_all_ports = self.plan.spec.host_ports().is_empty();
        let mut attempts = 0;
        loop {
            attempts += 1;
            match connection.start(id).await {
                Err(error)
                    if error.kind() == EngineErrorKind::PortTaken && chooses_all_ports && attempts < START_ATTEMPTS => {
                }
                outcome => return outcome,
            }
        }
    }

    fn request(&self, engine: &EngineId, launch: LaunchId, index: usize) -> CreateRequest {
        let launch_text = launch.to_string();
        let unlike_any_other = &launch_text[launch_text.len() - 8..];
        CreateRequest {
            name: format!("{}-{unlike_any_other}", self.plan.spec.name.base_name()),
            spec: self.plan.spec.clone(),
            links: self.plan.links.clone(),
            platform: self.controller.shared.cluster.platform().to_owned(),
            engine: engine.clone(),
            launch,
            user: self.actor.name().to_owned(),
            log_rotation: self.controller.shared.settings.log_rotation,
            mark: self.request.and_then(|request| Some(RequestMark { request, index: u32::try_from(index).ok()? })),
        }
    }

    async fn undo(&self, connection: &dyn DockerEngine, reservation: Reservation, id: &ContainerId) {
        let cluster = &self.controller.shared.cluster;
        let engine = reservation.engine().clone();
        let _removal = cluster.removing(id);
        match cluster.while_up(&engine, connection.remove(id)).await {
            Ok(()) => cluster.removed(id),
            Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => cluster.removed(id),
            Err(error) => {
                tracing::warn!(%engine, container = id.short(), %error, "to be removed when the engine answers");
                reservation.abandon();
            }
        }
    }

    async fn note_success(&self, engine: &EngineId, found: &ObservedContainer) -> Result<()> {
        let name = found.name.trim_start_matches('/');
        let message = format!("run {} on {engine} as {name}", self.plan.spec.name);
        let event = Event::new(EventKind::RunContainer, message).on(engine).of(&found.id);
        self.controller.record(self.actor.sign(event)).await
    }

    async fn note_warnings(&self, engine: &EngineId, container: &Container, warnings: &[String]) {
        for warning in warnings {
            let name = container.name.trim_start_matches('/');
            let event = Event::new(EventKind::RunWarning, format!("{name} runs on {engine}, which warns: {warning}"));
            tracing::warn!(%engine, container = container.id.short(), "{warning}");
            if let Err(error) = self.controller.record(self.actor.sign(event.on(engine).of(&container.id))).await {
                tracing::warn!(%error, "a warning of a host could not be recorded");
            }
        }
    }

    async fn note_failure(&self, engine: &EngineId, error: &str) {
        let message = format!("{} was not started: {error}", self.plan.spec.name);
        let event = Event::new(EventKind::RunFailed, message).on(engine);
        if let Err(error) = self.controller.record(self.actor.sign(event)).await {
            tracing::warn!(%error, "a failed launch could not be recorded");
        }
    }
}
