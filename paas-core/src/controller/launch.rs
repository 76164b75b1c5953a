//! Running containers: place, reserve, and have them launched.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::oneshot;

use super::{Actor, Controller, ControllerError, Operation, Progress, Result};
use crate::cluster::Reservation;
use crate::cluster::launches::{OfRequest, Settled};
use crate::engine::{EngineError, EngineErrorKind};
use crate::executor::{Executor, FindLogin, LaunchPlan, Launcher};
use crate::model::{
    Container, ContainerId, ContainerSpec, ContainerState, EngineId, EngineStatus, Invalid, LaunchId, RequestId,
};

/// A request to run containers.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRequest {
    /// What each shall be.
    pub spec: ContainerSpec,
    /// How many, from 1 to [`Settings::max_count`](super::Settings::max_count).
    pub count: usize,
    /// Whether each engine pulls the image first.
    pub pull: bool,
}

impl Controller {
    /// Starts containers, spread over the engines, all at once as far as the engines let.
    ///
    /// Answers when every container has a place, the room is reserved, and it is written down what is going to be asked of
    /// Docker. Each is then launched, on another engine if the first one fails, and the operation tells of each. A failed
    /// one leaves nothing behind.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`]; [`ControllerError::NoRoom`] when not all of them fit, and [`ControllerError::Store`]
    /// when the store does not answer: then nothing is started.
    pub async fn run(&self, actor: &Actor, request: RunRequest) -> Result<Operation> {
        self.check_run(actor, &request)?;
        let plan = self.plan(&request.spec)?;
        let places = self.shared.cluster.place_anywhere(plan.placement(request.count)).await;
        let places = places.map_err(ControllerError::NoRoom)?;
        let places = places.into_iter().enumerate().collect();
        self.launch(actor, plan, &request, None, BTreeMap::new(), places, ()).await
    }

    /// The same for a request that may be made again, by a client that did not hear what became of it: what an earlier one of
    /// the same `id` started counts, also one that an earlier server was at when it died, and only what is missing is started.
    ///
    /// What that was is decided by the records of its launches. A container that may have been answered is answered again,
    /// also while its host is away; one that nobody was told of is either found running, and answered from then on, or given up.
    ///
    /// # Errors
    /// As [`Controller::run`].
    pub async fn run_once(&self, actor: &Actor, request: RunRequest, id: RequestId) -> Result<Operation> {
        self.check_run(actor, &request)?;
        // Until the one before has come to its end, what is missing is not known.
        let one_at_a_time = self.shared.request_locks.lock(&id.to_string()).await;
        self.check_open()?;
        let there = self.started_by(id, &request.spec).await?;
        let plan = self.plan(&request.spec)?;
        let missing: Vec<usize> = (0..request.count).filter(|index| !there.contains_key(index)).collect();
        let reservations = match missing.len() {
            0 => Vec::new(),
            count => {
                let places = self.shared.cluster.place_anywhere(plan.placement(count)).await;
                places.map_err(ControllerError::NoRoom)?
            }
        };
        let places = missing.into_iter().zip(reservations).collect();
        self.launch(actor, plan, &request, Some(id), there, places, one_at_a_time).await
    }

    /// The containers that a request started, by their place in it, once it is known what became of each of its launches.
    async fn started_by(&self, id: RequestId, spec: &ContainerSpec) -> Result<BTreeMap<usize, Arc<Container>>> {
        let cluster = &self.shared.cluster;
        let of_request = cluster.launches().of_request(id);
        let unsettled = of_request.into_iter().filter(|launch| launch.fate == Settled::Not);
        self.settle_launches(unsettled.map(|launch| (launch.engine, launch.launch)).collect()).await?;
        let mut there = BTreeMap::new();
        for launch in cluster.launches().of_request(id) {
            let Settled::Done(container) = &launch.fate else { continue };
            if let Some(container) = self.as_answered(&launch, container, spec).await? {
                there.insert(launch.index as usize, container);
            }
        }
        Ok(there)
    }

    /// Finds out what became of launches that were interrupted, to the end also when nobody waits for the answer any more.
    pub(super) async fn settle_launches(&self, launches: Vec<(EngineId, LaunchId)>) -> Result<()> {
        let cluster = self.shared.cluster.clone();
        self.run_to_end(async move { cluster.settle(launches).await }).await?.map_err(ControllerError::Store)
    }

    /// A container that somebody may have been told of: as it is, or as much as is known of it while its host is away.
    /// `None` when it is gone.
    async fn as_answered(
        &self,
        launch: &OfRequest,
        id: &ContainerId,
        spec: &ContainerSpec,
    ) -> Result<Option<Arc<Container>>> {
        let cluster = &self.shared.cluster;
        if let Some(known) = cluster.container(id) {
            return Ok(Some(known.container));
        }
        let is_away = !matches!(cluster.status(&launch.engine), None | Some(EngineStatus::Up | EngineStatus::Suspect));
        let Some(engine) = cluster.engine_summary(&launch.engine).filter(|_| is_away) else { return Ok(None) };
        let record = cluster.launches().record(launch.launch).await.map_err(ControllerError::Store)?;
        Ok(record.map(|record| {
            Arc::new(Container {
                id: id.clone(),
                name: format!("/{}", record.name),
                image: Arc::new(spec.clone()),
                engine,
                state: ContainerState::Unknown,
                ports: Vec::new(),
                created: record.began,
                managed: true,
            })
        }))
    }

    /// Has what is missing launched, in a task of its own. Answers when that is written down. `guard` is held until the end.
    #[allow(clippy::too_many_arguments, reason = "they are what one operation is made of")]
    async fn launch(
        &self,
        actor: &Actor,
        plan: LaunchPlan,
        request: &RunRequest,
        id: Option<RequestId>,
        there: BTreeMap<usize, Arc<Container>>,
        places: Vec<(usize, Reservation)>,
        guard: impl Send + 'static,
    ) -> Result<Operation> {
        let (steps, operation) = Operation::new();
        let launcher = Launcher::new(self.executor(), plan, actor.user_name().cloned(), id, request.pull, steps);
        let (begun, is_begun) = oneshot::channel();
        let requested = request.count;
        self.spawn_to_end(async move {
            let _guard = guard;
            let before = there.len();
            for (index, container) in there {
                let container = Box::new(Container::clone(&container));
                launcher.tell(Progress::Started { index, container, warnings: Vec::new() });
            }
            let launches = match launcher.begin(places).await {
                Ok(launches) => launches,
                Err(error) => return drop(begun.send(Err(error))),
            };
            // The caller may have gone away.
            let _ = begun.send(Ok(()));
            let (started, failed) = launcher.launch_all(launches).await;
            launcher.tell(Progress::Summary { requested, started: before + started, destroyed: 0, failed });
        });
        match is_begun.await {
            Ok(Ok(())) => Ok(operation),
            Ok(Err(error)) => Err(ControllerError::Store(error)),
            // The task ended without a word.
            Err(_) => Err(ControllerError::Panicked),
        }
    }

    /// What carries out what is decided here.
    pub(super) fn executor(&self) -> Executor {
        let controller = self.clone();
        let find_login: FindLogin = Arc::new(move |engine, image| {
            let controller = controller.clone();
            let found = async move {
                controller.login_for(&engine, &image).await.map_err(|error| {
                    let detail = error.to_string();
                    EngineError::new(EngineErrorKind::Failed, "pull the image", detail).with_source(error)
                })
            };
            found.boxed()
        });
        Executor {
            cluster: self.shared.cluster.clone(),
            slots: self.shared.slots.clone(),
            attempts: self.shared.settings.attempts,
            log_rotation: self.shared.settings.log_rotation,
            app_subnets: self.shared.settings.app_subnets,
            closing: self.shared.closing.clone(),
            find_login,
        }
    }

    fn check_run(&self, actor: &Actor, request: &RunRequest) -> Result<()> {
        self.check_open()?;
        self.check_count(request.count, 1)?;
        request.spec.validate()?;
        self.check_policy_of_run(actor, &request.spec)
    }

    /// Checks how many containers are asked for: at least so many.
    pub(super) fn check_count(&self, count: usize, least: usize) -> Result<()> {
        let most = self.shared.settings.max_count;
        if (least..=most).contains(&count) {
            return Ok(());
        }
        Err(Invalid::new("count", format!("must be {least} to {most}, not {count}")).into())
    }

    /// Finds the containers that a description names, and so the only engine that will do.
    pub(super) fn plan(&self, spec: &ContainerSpec) -> Result<LaunchPlan> {
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
        Ok(LaunchPlan { spec: spec.clone(), links, only: only.map(|(engine, _)| engine) })
    }
}
