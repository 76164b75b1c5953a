//! Launching containers: each is written down, made, started and accounted for.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::{ActionError, Executor, Failure, Progress, Pulls};
use crate::cluster::Reservation;
use crate::cluster::launches::{Fate, Launching, NewLaunch};
use crate::engine::{
    CreateRequest, Created, DockerEngine, EngineError, EngineErrorKind, ObservedContainer, RequestMark,
};
use crate::model::{
    Container, ContainerId, ContainerSpec, EngineId, Event, EventKind, Group, LaunchId, RequestId, UserName,
};
use crate::scheduler::PlacementRequest;
use crate::store::records::LaunchRecord;
use crate::store::{MAX_WRITES, StoreError};

/// How often a container whose ports Docker chooses is started before its ports count as taken.
const START_ATTEMPTS: usize = 5;

/// A description with everything found that it names.
#[derive(Clone, Debug)]
pub(crate) struct LaunchPlan {
    pub(crate) spec: ContainerSpec,
    /// Docker's name of each linked container, and the host name for it.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) only: Option<EngineId>,
}

impl LaunchPlan {
    pub(crate) fn placement(&self, count: usize) -> PlacementRequest {
        PlacementRequest { only: self.only.clone(), ..PlacementRequest::new(&self.spec, count) }
    }
}

/// Launches the containers of one operation.
#[derive(Debug)]
pub(crate) struct Launcher {
    executor: Executor,
    plan: LaunchPlan,
    group: Group,
    /// Who asks for it, unless it is the platform.
    user: Option<UserName>,
    /// The request it is for, if that has a name.
    request: Option<RequestId>,
    pulls: Option<Pulls>,
    steps: UnboundedSender<Progress>,
    /// Engines that cannot run this description: none of the other containers is tried there.
    unable: Mutex<BTreeSet<EngineId>>,
}

/// Launches of which the first are written down, so that Docker can be asked for them.
#[derive(Debug)]
pub(crate) struct Begun {
    first: Vec<One>,
    rest: Vec<Vec<(usize, Reservation)>>,
}

/// One container of the operation, on its way.
#[derive(Debug)]
struct One {
    index: usize,
    reservation: Reservation,
    launching: Launching,
}

/// An attempt that failed: why, and what it left.
struct Failed {
    error: ActionError,
    fate: Fate,
    launching: Launching,
}

impl Launcher {
    pub(crate) fn new(
        executor: Executor,
        plan: LaunchPlan,
        user: Option<UserName>,
        request: Option<RequestId>,
        pull: bool,
        steps: UnboundedSender<Progress>,
    ) -> Self {
        let pulls = pull.then(|| Pulls::new(executor.clone(), plan.spec.name.clone(), steps.clone()));
        Self { executor, group: plan.spec.group(), plan, user, request, pulls, steps, unable: Mutex::default() }
    }

    pub(crate) fn tell(&self, step: Progress) {
        step.log();
        // Nobody listens any more when the caller went away; the operation goes on all the same.
        let _ = self.steps.send(step);
    }

    /// Writes down the first launches, one for each reservation, each with its place in the request.
    ///
    /// # Errors
    /// The store did not take it. Nothing was asked of Docker, and nothing is left.
    pub(crate) async fn begin(&self, mut places: Vec<(usize, Reservation)>) -> Result<Begun, StoreError> {
        let mut rest = Vec::new();
        let mut first = places.drain(..places.len().min(MAX_WRITES)).collect::<Vec<_>>();
        while !places.is_empty() {
            rest.push(places.drain(..places.len().min(MAX_WRITES)).collect());
        }
        for (index, reservation) in first.iter().chain(rest.iter().flatten()) {
            self.tell(Progress::Decided { index: *index, engine: reservation.engine().clone() });
        }
        let first = self.write_down(&mut first).await?;
        Ok(Begun { first, rest })
    }

    /// Writes down that Docker is going to be asked for these, all or none.
    async fn write_down(&self, places: &mut Vec<(usize, Reservation)>) -> Result<Vec<One>, StoreError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let new = places.iter().map(|(index, reservation)| self.record(*index, reservation)).collect();
        let launchings = self.executor.cluster.launches().begin(new).await?;
        let one = |((index, reservation), launching)| One { index, reservation, launching };
        Ok(places.drain(..).zip(launchings).map(one).collect())
    }

    /// Launches all of them, each on one engine after the other until one starts it; how many were started, and how many
    /// failed.
    pub(crate) async fn launch_all(&self, begun: Begun) -> (usize, usize) {
        let first = begun.first.into_iter().map(|one| self.launch(one).map(|is_started| (is_started, 1)).boxed());
        let rest = begun.rest.into_iter().map(|places| self.launch_more(places).boxed());
        // Of each part, how many were started of how many.
        let mut parts: FuturesUnordered<BoxFuture<'_, (usize, usize)>> = first.chain(rest).collect();
        let (mut started, mut failed) = (0, 0);
        while let Some((of_part, all)) = parts.next().await {
            started += of_part;
            failed += all - of_part;
        }
        (started, failed)
    }

    async fn launch_more(&self, mut places: Vec<(usize, Reservation)>) -> (usize, usize) {
        let all = places.len();
        let mut launches: FuturesUnordered<_> = match self.write_down(&mut places).await {
            Ok(written) => written.into_iter().map(|one| self.launch(one)).collect(),
            Err(error) => {
                let error = ActionError::Store(error).to_string();
                for (index, reservation) in places {
                    self.fail(index, reservation.engine().clone(), error.clone());
                }
                return (0, all);
            }
        };
        let mut started = 0;
        while let Some(of_one) = launches.next().await {
            started += of_one;
        }
        (started, all)
    }

    fn fail(&self, index: usize, engine: EngineId, error: String) {
        self.tell(Progress::Failed(Failure { index, engine: Some(engine), container: None, error, deferred: false }));
    }

    /// Launches one container; how many were started.
    async fn launch(&self, mut one: One) -> usize {
        let mut failed_on = BTreeSet::new();
        loop {
            let (index, engine) = (one.index, one.reservation.engine().clone());
            let Failed { error, fate, launching } = match self.attempt(one).await {
                Ok((container, warnings)) => {
                    self.tell(Progress::Started { index, container: Box::new(container), warnings });
                    return 1;
                }
                Err(failed) => failed,
            };
            if error.is_unable() {
                // That is no failure of the engine's, so as many as there are may be tried for one that can.
                self.unable.lock().insert(engine.clone());
            } else {
                failed_on.insert(engine.clone());
            }
            let message = error.to_string();
            let next = self.elsewhere(&error, &failed_on).await;
            let Some(reservation) = next else {
                let event =
                    Event::new(EventKind::RunFailed, format!("{} was not started: {message}", self.plan.spec.name));
                launching.failed(fate, self.sign(event.on(&engine))).await;
                self.look_for_remains(fate, &engine);
                self.fail(index, engine, message);
                return 0;
            };
            let next = launching.next(fate, self.record(index, &reservation)).await;
            self.look_for_remains(fate, &engine);
            let launching = match next {
                Ok(launching) => launching,
                Err(store) => {
                    tracing::warn!(error = %store, "a launch is not tried elsewhere");
                    self.fail(index, engine, message);
                    return 0;
                }
            };
            self.tell(Progress::Retrying { index, engine, error: message });
            self.tell(Progress::Decided { index, engine: reservation.engine().clone() });
            one = One { index, reservation, launching };
        }
    }

    fn look_for_remains(&self, fate: Fate, engine: &EngineId) {
        if fate == Fate::Perhaps {
            self.executor.cluster.look_for_remains(engine);
        }
    }

    /// Room on an engine that did not fail yet, if another engine could help at all.
    async fn elsewhere(&self, error: &ActionError, failed_on: &BTreeSet<EngineId>) -> Option<Reservation> {
        let Executor { cluster, attempts, closing, .. } = &self.executor;
        if !error.is_of_the_engine() || failed_on.len() >= *attempts || closing.is_cancelled() {
            return None;
        }
        let except = failed_on.union(&self.unable.lock()).cloned().collect();
        let request = PlacementRequest { except, ..self.plan.placement(1) };
        cluster.place_anywhere(request).await.ok()?.pop()
    }

    /// Brings one container to life on the engine that has room for it. On failure nothing is left there, or, if the
    /// engine does not answer, will not be once it does. With the container comes what its host said of it.
    async fn attempt(&self, one: One) -> Result<(Container, Vec<String>), Failed> {
        let One { index, reservation, mut launching } = one;
        let engine = reservation.engine().clone();
        let of_engine = |source| ActionError::Engine { engine: engine.clone(), source };
        let Executor { cluster, slots, .. } = &self.executor;
        // Of the engine that has the room, and not of another that has its id by now.
        let Some(connection) = reservation.connection() else {
            let gone = EngineError::new(EngineErrorKind::Unreachable, "start the container", "the engine was deleted");
            return Err(Failed { error: of_engine(gone), fate: Fate::Nothing, launching });
        };
        if let Some(pulls) = &self.pulls
            && let Err(error) = pulls.pulled(&engine).await
        {
            return Err(Failed { error: of_engine(error), fate: Fate::Nothing, launching });
        }
        let slot = slots.start(&engine, cluster.cpu_count(&engine)).await;
        let request = self.request(&engine, reservation.launch(), index);
        let created = cluster.while_up(&engine, connection.create(&request)).await;
        let Created { id, warnings } = match created {
            Ok(created) => created,
            Err(error) => {
                let fate = match error.kind() {
                    EngineErrorKind::Unreachable | EngineErrorKind::Failed | EngineErrorKind::NotLeading => {
                        Fate::Perhaps
                    }
                    _ => Fate::Nothing,
                };
                return Err(Failed { error: of_engine(error), fate, launching });
            }
        };
        let started = cluster.while_up(&engine, self.start(&*connection, &id)).await;
        if let Err(error) = started {
            let fate = self.undo(&*connection, &engine, &id).await;
            return Err(Failed { error: of_engine(error), fate, launching });
        }
        // The next one need not wait for what is only to be known about this one.
        drop(slot);
        // What happens to it from here on is newer.
        let seen = cluster.ticket();
        let found = match cluster.while_up(&engine, connection.inspect(&id)).await {
            Ok(found) => found,
            Err(error) => {
                let fate = self.undo(&*connection, &engine, &id).await;
                return Err(Failed { error: of_engine(error), fate, launching });
            }
        };
        let event = self.run_event(&engine, &found);
        match launching.done(&id, &event, cluster.ticket()).await {
            Ok(()) => {}
            Err(error) if Launching::is_decided(&error) => {
                let fate = self.undo(&*connection, &engine, &id).await;
                return Err(Failed { error: ActionError::Store(error), fate, launching });
            }
            // It runs, and that is answered. Until the store has it, the container is found by its record as it is.
            Err(error) => {
                tracing::warn!(%error, %engine, container = id.short(), "that it runs is not written down yet");
                cluster.write_down_later(launching, id.clone(), event);
            }
        }
        reservation.commit(found, seen);
        match cluster.container(&id) {
            Some(known) => {
                self.note_warnings(&engine, &known.container, &warnings);
                Ok((Container::clone(&known.container), warnings))
            }
            None => {
                let kind = EngineErrorKind::NoSuchContainer;
                let gone = EngineError::new(kind, "start the container", "it was removed at once");
                // That it is done is written down, and goes with what is not there.
                let launching = cluster.launches().over(&engine, request.launch);
                Err(Failed { error: of_engine(gone), fate: Fate::Nothing, launching })
            }
        }
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

    /// What is written down of a launch before Docker is asked.
    fn record(&self, index: usize, reservation: &Reservation) -> NewLaunch {
        let launch = reservation.launch();
        let record = LaunchRecord {
            image: self.plan.spec.name.to_string(),
            group: Some(self.group.clone()),
            user: self.user.as_ref().map(UserName::to_string).unwrap_or_default(),
            request: self.request,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            ..LaunchRecord::asked(reservation.engine().clone(), self.name(launch), self.executor.cluster.now())
        };
        NewLaunch { launch, record }
    }

    /// Docker's name of a container: unlike any other's.
    fn name(&self, launch: LaunchId) -> String {
        let launch = launch.to_string();
        format!("{}-{}", self.plan.spec.name.base_name(), &launch[launch.len() - 8..])
    }

    fn request(&self, engine: &EngineId, launch: LaunchId, index: usize) -> CreateRequest {
        CreateRequest {
            name: self.name(launch),
            spec: self.plan.spec.clone(),
            links: self.plan.links.clone(),
            platform: self.executor.cluster.platform().to_owned(),
            engine: engine.clone(),
            launch,
            user: self.user.as_ref().map(UserName::to_string).unwrap_or_default(),
            log_rotation: self.executor.log_rotation,
            replica: None,
            network: None,
            hidden_environment: Default::default(),
            mark: self.request.and_then(|request| Some(RequestMark { request, index: u32::try_from(index).ok()? })),
        }
    }

    /// Removes what was made; what is left of it.
    async fn undo(&self, connection: &dyn DockerEngine, engine: &EngineId, id: &ContainerId) -> Fate {
        let cluster = &self.executor.cluster;
        let _removal = cluster.removing(id);
        match cluster.while_up(engine, connection.remove(id)).await {
            Ok(()) => cluster.removed(id),
            Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => cluster.removed(id),
            Err(error) => {
                tracing::warn!(%engine, container = id.short(), %error, "to be removed when the engine answers");
                return Fate::Perhaps;
            }
        }
        Fate::Nothing
    }

    fn run_event(&self, engine: &EngineId, found: &ObservedContainer) -> Event {
        let name = found.name.trim_start_matches('/');
        let message = format!("run {} on {engine} as {name}", self.plan.spec.name);
        self.sign(Event::new(EventKind::RunContainer, message).on(engine).of(&found.id))
    }

    fn note_warnings(&self, engine: &EngineId, container: &Container, warnings: &[String]) {
        for warning in warnings {
            let name = container.name.trim_start_matches('/');
            let event = Event::new(EventKind::RunWarning, format!("{name} runs on {engine}, which warns: {warning}"));
            tracing::warn!(%engine, container = container.id.short(), "{warning}");
            self.executor.cluster.record(self.sign(event.on(engine).of(&container.id)));
        }
    }

    fn sign(&self, event: Event) -> Event {
        match &self.user {
            Some(user) => event.by(user),
            None => event,
        }
    }
}
