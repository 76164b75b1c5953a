//! The live view of all engines and their containers.
//!
//! Lists, cluster info and scheduling read the view in memory and never ask the Docker hosts. Two tasks per engine keep
//! it true: `follow` reads the host's event stream and re-reads everything at an interval, `monitor` asks whether the
//! host answers. A host that hangs slows nobody else.
//!
//! The view also holds the reservations: placing reserves, under one short lock, and a [`Reservation`] gives back what it
//! holds unless it is turned into a container.

mod follow;
mod monitor;
mod probe;
mod recorder;
mod removing;
mod reservation;
mod tidy;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::{DockerEngine, EngineError, EngineErrorKind, EngineInfo, FoundContainer};
use crate::events::EventSink;
use crate::model::{
    ClusterInfo, Container, ContainerId, ContainerState, Cpus, Engine, EngineId, EngineSpec, EngineStatus, Event,
    EventKind, Group, HostUsage, LaunchId, RequestId, Resources,
};
use crate::scheduler::{PlacementRequest, Refusal, Scheduler};

pub use probe::ProbeKind;
use probe::Prober;
use recorder::Recorder;
pub use reservation::Reservation;
use view::{ContainerEntry, EngineEntry, Ticket, View};

/// How closely the engines are watched.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// How each engine is asked whether it is alive.
    pub probe: ProbeKind,
    /// How often it is asked.
    pub probe_interval: Duration,
    /// How long it may take to answer. An engine that is known to be slow gets up to `probe_misses` times that.
    pub probe_timeout: Duration,
    /// After how many missed probes in a row an engine is down; an answer that comes late ends the row.
    pub probe_misses: u32,
    /// How often everything on an engine is read again, beside the events.
    pub resync_interval: Duration,
    /// How often the use of CPU and memory is measured on a host that has no agent to say it; on one with more than ten
    /// containers, as much more rarely as it has more.
    pub usage_interval: Duration,
    /// How far the size of an engine may be exceeded: 1.0 not at all, 1.5 by half.
    pub overbooking: f64,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            probe: ProbeKind::default(),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(1),
            probe_misses: 2,
            resync_interval: Duration::from_secs(60),
            usage_interval: Duration::from_secs(10),
            overbooking: 1.0,
        }
    }
}

/// The engines, what runs on them, and what is promised. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    view: RwLock<View>,
    settings: ClusterSettings,
    prober: Prober,
    scheduler: Arc<dyn Scheduler>,
    events: Arc<dyn EventSink>,
    recorder: Recorder,
    /// The platform's name for itself, as written on its containers.
    platform: String,
    tickets: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
    watched: RwLock<std::collections::HashMap<EngineId, Watched>>,
    /// Rings whenever the status of an engine may be another.
    status_changes: Notify,
    tidying: tidy::Tidying,
    removing: removing::Removing,
}

/// The tasks of one engine.
#[derive(Clone, Debug)]
struct Watched {
    stop: CancellationToken,
    /// Rings when the engine answers again, or when somebody wants everything read anew.
    wake: Arc<Notify>,
}

/// A container and what the platform knows beside it.
#[derive(Clone, Debug)]
pub struct KnownContainer {
    /// The container as shown.
    pub container: Arc<Container>,
    /// The group it belongs to, if the platform started it.
    pub group: Option<Group>,
}

impl Cluster {
    /// An empty cluster. `platform` is the name written on the containers; events go to `events`.
    pub fn new(
        settings: ClusterSettings,
        scheduler: Arc<dyn Scheduler>,
        events: Arc<dyn EventSink>,
        platform: String,
    ) -> Self {
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let recorder = Recorder::spawn(events.clone(), &tasks, stop.clone());
        let shared = Shared {
            view: RwLock::default(),
            prober: Prober::new(settings.probe),
            settings,
            scheduler,
            events,
            recorder,
            platform,
            tickets: AtomicU64::new(1),
            tasks,
            stop,
            watched: RwLock::default(),
            status_changes: Notify::new(),
            tidying: tidy::Tidying::default(),
            removing: removing::Removing::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The platform's name for itself.
    pub fn platform(&self) -> &str {
        &self.shared.platform
    }

    // ---- engines ----

    /// Takes an engine in and begins to watch it. It takes containers as soon as it was read once.
    pub fn add_engine(&self, spec: EngineSpec, engine: Arc<dyn DockerEngine>) {
        let id = spec.id.clone();
        let watched = Watched { stop: self.shared.stop.child_token(), wake: Arc::new(Notify::new()) };
        self.shared.watched.write().insert(id.clone(), watched.clone());
        self.shared.view.write().add_engine(spec, engine.clone());
        let follow = follow::follow(self.clone(), id.clone(), engine.clone(), watched.wake.clone());
        let monitor = monitor::monitor(self.clone(), id.clone(), engine.clone(), watched.wake);
        let usage = monitor::measure(self.clone(), id, engine);
        for task in [Box::pin(follow) as futures::future::BoxFuture<'static, ()>, Box::pin(monitor), Box::pin(usage)] {
            let stop = watched.stop.clone();
            self.shared.tasks.spawn(async move {
                stop.run_until_cancelled(task).await;
            });
        }
    }

    /// Stops watching an engine and forgets it. Its containers go on running. False when there is none of that id.
    pub fn remove_engine(&self, id: &EngineId) -> bool {
        if let Some(watched) = self.shared.watched.write().remove(id) {
            watched.stop.cancel();
        }
        let removed = self.shared.view.write().remove_engine(id);
        self.shared.status_changes.notify_waiters();
        removed
    }

    /// Notes that an engine left the registry, or is back. While it is away it is down, even if its daemon answers.
    pub fn set_absent(&self, id: &EngineId, absent: bool) {
        self.shared.view.write().set_absent(id, absent);
        self.shared.status_changes.notify_waiters();
        if !absent && let Some(watched) = self.shared.watched.read().get(id) {
            watched.wake.notify_one();
        }
    }

    fn is_absent(&self, id: &EngineId) -> bool {
        self.shared.view.read().engine(id.as_str()).is_some_and(|entry| entry.absent)
    }

    /// Lets an engine take new containers, or not. False when there is none of that id.
    pub fn set_draining(&self, id: &EngineId, draining: bool) -> bool {
        self.shared.view.write().set_draining(id, draining)
    }

    /// Changes what containers can ask of an engine by label. False when there is none of that id.
    pub fn set_labels(&self, id: &EngineId, labels: &[String]) -> bool {
        self.shared.view.write().set_labels(id, labels)
    }

    /// Notes what an engine says of itself.
    pub(crate) fn set_info(&self, id: &EngineId, info: EngineInfo) {
        self.shared.view.write().set_info(id, info);
    }

    /// Notes what is in use on the host of an engine, containers and everything else; `None` when nobody says.
    pub fn set_host_usage(&self, id: &EngineId, usage: Option<HostUsage>) {
        self.shared.view.write().set_host_usage(id, usage);
    }

    fn tells_its_use(&self, id: &EngineId) -> bool {
        self.shared.view.read().engine(id.as_str()).is_some_and(|entry| entry.host_usage.is_some())
    }

    /// All engines, by id.
    pub fn engines(&self) -> Vec<Engine> {
        let view = self.shared.view.read();
        view.engines().map(|entry| shown_engine(&view, entry)).collect()
    }

    /// One engine.
    pub fn engine(&self, id: &str) -> Option<Engine> {
        let view = self.shared.view.read();
        view.engine(id).map(|entry| shown_engine(&view, entry))
    }

    /// What the operator said of an engine.
    pub fn engine_spec(&self, id: &EngineId) -> Option<Arc<EngineSpec>> {
        self.shared.view.read().engine(id.as_str()).map(|entry| entry.spec.clone())
    }

    /// The CPUs of an engine; none while it is not known how many it has.
    pub fn cpus(&self, id: &EngineId) -> Cpus {
        self.shared.view.read().engine(id.as_str()).map_or(Cpus::default(), |entry| entry.summary.cpus)
    }

    /// The way to talk to an engine, whether or not it answers.
    pub fn connection(&self, id: &EngineId) -> Option<Arc<dyn DockerEngine>> {
        self.shared.view.read().engine(id.as_str()).map(|entry| entry.engine.clone())
    }

    /// The engine that is in use at a place already; see [`crate::model::EngineAddress::place`].
    pub fn engine_at(&self, place: &str) -> Option<EngineId> {
        let view = self.shared.view.read();
        view.engines().find(|entry| entry.spec.addr.place() == place).map(|entry| entry.spec.id.clone())
    }

    /// The engine other than `id` that is this daemon already.
    pub fn engine_of_daemon(&self, id: &EngineId, daemon_id: &str) -> Option<EngineId> {
        self.shared.view.read().same_daemon(id, daemon_id).cloned()
    }

    /// The engines that are up.
    pub fn engines_up(&self) -> Vec<EngineId> {
        let view = self.shared.view.read();
        let up = view.engines().filter(|entry| entry.health.status == EngineStatus::Up);
        up.map(|entry| entry.spec.id.clone()).collect()
    }

    /// Whether an engine answers.
    pub fn status(&self, id: &EngineId) -> Option<EngineStatus> {
        self.shared.view.read().engine(id.as_str()).map(|entry| entry.health.status)
    }

    /// Waits until an engine was heard: it was read, or something is wrong with it, or it is gone.
    pub async fn until_heard(&self, id: &EngineId) {
        self.until(|view| view.engine(id.as_str()).is_none_or(|entry| !is_pending(entry))).await;
    }

    /// Waits until every engine that is known was heard.
    pub async fn until_all_heard(&self) {
        self.until(|view| !view.engines().any(is_pending)).await;
    }

    async fn until(&self, is_so: impl Fn(&View) -> bool) {
        loop {
            // Listens before it looks, so that no change is missed in between.
            let change = self.shared.status_changes.notified();
            if is_so(&self.shared.view.read()) {
                return;
            }
            change.await;
        }
    }

    /// Waits for an answer of an engine, as long as the engine is up: when it is found down meanwhile, nobody waits for
    /// the deadline of the call.
    ///
    /// # Errors
    /// What the engine said, or [`EngineErrorKind::Unreachable`].
    pub async fn while_up<T>(
        &self,
        id: &EngineId,
        answer: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        tokio::select! {
            biased;
            answer = answer => answer,
            () = self.until_lost(id) => {
                Err(EngineError::new(EngineErrorKind::Unreachable, "wait for the engine", "it stopped answering"))
            }
        }
    }

    async fn until_lost(&self, id: &EngineId) {
        while let Some(EngineStatus::Up | EngineStatus::Suspect) = self.status(id) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Totals over all engines.
    pub fn info(&self) -> ClusterInfo {
        let view = self.shared.view.read();
        let totals = view.totals();
        let counts = view.counts();
        ClusterInfo {
            cpus: totals.total.cpus,
            memory: totals.total.memory,
            reserved_cpus: totals.reserved.cpus,
            reserved_memory: totals.reserved.memory,
            used_cpus: totals.used_cpus,
            used_memory: totals.used_memory,
            container_count: counts.all,
            running_count: counts.running,
            unknown_count: counts.unknown,
            engine_count: view.engines().count(),
            engines_up: totals.up,
            image_count: totals.images,
            simulated_count: totals.simulated,
            leader: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    // ---- containers ----

    /// The containers, by id; with `all` also those that do not run.
    pub fn containers(&self, all: bool) -> Vec<Arc<Container>> {
        self.containers_after(None, all, usize::MAX)
    }

    /// The first `limit` containers whose id comes after `after`, by id; with `all` also those that do not run.
    ///
    /// A list that is read piece by piece has every container once that is there all the time, whatever comes and goes
    /// meanwhile.
    pub fn containers_after(&self, after: Option<&ContainerId>, all: bool, limit: usize) -> Vec<Arc<Container>> {
        let view = self.shared.view.read();
        let following = view.containers_after(after.map(ContainerId::as_str));
        let wanted = following.filter(|entry| all || entry.container.state.holds_resources()).take(limit);
        wanted.map(|entry| view.shown(entry)).collect()
    }

    /// One container.
    pub fn container(&self, id: &ContainerId) -> Option<KnownContainer> {
        let view = self.shared.view.read();
        view.container(id).map(|entry| known(&view, entry))
    }

    /// The containers whose id starts with `prefix`, at most `limit` of them.
    pub fn containers_by_prefix(&self, prefix: &str, limit: usize) -> Vec<KnownContainer> {
        let view = self.shared.view.read();
        view.by_prefix(prefix, limit).into_iter().map(|entry| known(&view, entry)).collect()
    }

    /// The container of that name, with or without Docker's slash. Names are unique per engine, so there may be several.
    pub fn containers_by_name(&self, name: &str) -> Vec<KnownContainer> {
        let name = name.trim_start_matches('/');
        let view = self.shared.view.read();
        let called = view.containers().filter(|entry| entry.container.name.trim_start_matches('/') == name);
        called.map(|entry| known(&view, entry)).collect()
    }

    /// The containers of a group that run.
    pub fn running_in_group(&self, group: &Group) -> Vec<Arc<Container>> {
        let view = self.shared.view.read();
        let running = view.group(group).filter(|entry| entry.container.state.holds_resources());
        running.map(|entry| entry.container.clone()).collect()
    }

    /// The containers that a request started, by their place in it. What was made and never started is not among them.
    pub fn of_request(&self, request: RequestId) -> BTreeMap<u32, Arc<Container>> {
        let view = self.shared.view.read();
        let started = view.of_request(request).filter(|(_, entry)| entry.container.state != ContainerState::Created);
        started.map(|(mark, entry)| (mark.index, view.shown(entry))).collect()
    }

    /// Reads one container again and notes what was found.
    ///
    /// # Errors
    /// What the engine said; that there is no such container is noted as well.
    pub async fn refresh(&self, engine: &EngineId, id: &ContainerId) -> Result<FoundContainer, EngineError> {
        let ticket = self.ticket();
        let connection = self
            .connection(engine)
            .ok_or_else(|| EngineError::new(EngineErrorKind::NoSuchContainer, "inspect", "its engine was deleted"))?;
        let found = connection.inspect(id).await;
        match &found {
            Ok(found) => self.shared.view.write().observe(engine, found.clone(), ticket),
            Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => {
                self.shared.view.write().observe_gone(id, ticket);
            }
            Err(_) => {}
        }
        found
    }

    /// Notes that a container was removed just now.
    pub fn removed(&self, id: &ContainerId) {
        let ticket = self.ticket();
        self.shared.view.write().observe_gone(id, ticket);
    }

    // ---- reservations ----

    /// Chooses an engine for each of `request.count` containers and reserves their room, in one step: all or nothing.
    ///
    /// # Errors
    /// Why there is not enough room.
    pub fn place(&self, mut request: PlacementRequest) -> Result<Vec<Reservation>, Refusal> {
        request.overbooking = self.shared.settings.overbooking;
        let placed = self.shared.view.write().place(&*self.shared.scheduler, &request)?;
        Ok(placed.into_iter().map(|(launch, engine)| Reservation::new(self.clone(), launch, engine)).collect())
    }

    /// Reserves what a container needs to be started, or to go on, where it is. `None` when it is not known any more.
    ///
    /// # Errors
    /// Why there is not enough room.
    pub fn reserve_start(&self, id: &ContainerId) -> Option<Result<Reservation, Refusal>> {
        let mut view = self.shared.view.write();
        let engine = view.container(id)?.container.engine.id.clone();
        let reserved = view.reserve_start(&*self.shared.scheduler, id, self.shared.settings.overbooking)?;
        Some(reserved.map(|launch| Reservation::new(self.clone(), launch, engine)))
    }

    /// How many reservations there are.
    pub fn reservation_count(&self) -> usize {
        self.shared.view.read().reservations()
    }

    /// Stops watching, and waits until every task has ended and every event is recorded.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Checks that every number of the view follows from what is on the engines and what is reserved.
    ///
    /// # Errors
    /// The first number that does not.
    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> Result<(), String> {
        self.shared.view.read().audit()
    }

    /// What an engine has promised at this moment.
    pub fn reserved(&self, id: &EngineId) -> Resources {
        self.shared.view.read().state(id).map_or(Resources::ZERO, |state| state.reserved)
    }

    /// For an observation that begins now: a newer one is not overwritten by it.
    pub(crate) fn ticket(&self) -> Ticket {
        self.shared.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes a new status, and records it as an event when it is one.
    async fn set_status(&self, id: &EngineId, status: EngineStatus, reason: Option<String>) {
        let before = self.shared.view.write().set_status(id, status, reason.clone());
        let Some(before) = before else { return };
        self.shared.status_changes.notify_waiters();
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        tracing::info!(engine = %id, %before, %status, "engine changed{why}");
        let event = Event::new(EventKind::EngineStatus, format!("engine {id} is {status}, was {before}{why}"));
        self.record(event.on(id).tagged("cluster")).await;
    }

    /// Records what the cluster found by itself. Losing such an event is worth a warning and no more.
    async fn record(&self, event: Event) {
        if let Err(error) = self.shared.events.record(std::slice::from_ref(&event)).await {
            tracing::warn!(%error, message = event.message, "an event could not be recorded");
        }
    }

    fn release(&self, launch: LaunchId) {
        self.shared.view.write().release(launch);
    }
}

fn is_pending(entry: &EngineEntry) -> bool {
    entry.health.status == EngineStatus::Pending
}

fn known(view: &View, entry: &ContainerEntry) -> KnownContainer {
    KnownContainer { container: view.shown(entry), group: entry.managed.as_ref().map(|managed| managed.group.clone()) }
}

fn shown_engine(view: &View, entry: &EngineEntry) -> Engine {
    let id = &entry.spec.id;
    let reserved = view.state(id).map_or(Resources::ZERO, |state| state.reserved);
    Engine {
        id: id.clone(),
        addr: entry.summary.addr.clone(),
        cpus: entry.summary.cpus,
        memory: entry.summary.memory,
        reserved_cpus: reserved.cpus,
        reserved_memory: reserved.memory,
        containers: view.containers_on(id),
        labels: entry.summary.labels.clone(),
        health: entry.health.clone(),
        draining: entry.spec.draining,
        tls: matches!(entry.spec.addr, crate::model::EngineAddress::Https { .. }),
        registry_user: entry.spec.registry_login.as_ref().map(|login| login.username.clone()),
        docker_version: entry.info.as_ref().map(|info| info.docker_version.clone()),
        simulated: entry.summary.simulated,
    }
}
