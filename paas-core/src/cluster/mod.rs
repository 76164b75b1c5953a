//! The live view of all engines and their containers.
//!
//! Lists, cluster info and scheduling read the view in memory and never ask the Docker hosts. Three tasks per engine
//! keep it true: `follow` reads the host's event stream and re-reads everything at an interval, `monitor` asks whether the
//! host answers, `measure` what is in use. A host that hangs slows nobody else.
//!
//! The view also holds the reservations: placing reserves, under one short lock, and a [`Reservation`] gives back what it
//! holds unless it is turned into a container.

mod apps;
mod changes;
mod containers;
mod engines;
mod follow;
mod gc;
mod groups;
mod handle;
pub(crate) mod launches;
mod monitor;
mod placement;
mod platform;
mod probe;
mod recorder;
mod removals;
mod reservation;
mod twins;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::background::Background;
use crate::clock::Clock;
use crate::engine::ReplicaLabels;
use crate::events::EventSink;
use crate::model::{Container, ContainerId, EngineId, EngineStatus, Event, EventKind, Group, LaunchId, Resources};
use crate::scheduler::{PlacementRequest, Refusal, Scheduler};

pub(crate) use apps::ReplicaContainer;
pub(crate) use changes::AppChange;
pub(crate) use groups::{Member, Standing};
pub use handle::EngineHandle;
use launches::Launches;
pub(crate) use platform::check_platform;
pub use platform::{Platform, adopt_platform, disown_platform};
pub use probe::ProbeKind;
use probe::Prober;
use recorder::Recorder;
pub use reservation::Reservation;
pub(crate) use view::EngineReach;
pub(crate) use view::Ticket;
use view::View;

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
    /// Whether what is run inside of containers is recorded as events. Each check of a container's health is three of them, so
    /// they push everything else out of a log that is bounded.
    pub record_exec_events: bool,
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
            record_exec_events: false,
        }
    }
}

/// The engines, what runs on them, and what is reserved. Cheap to clone; with the last clone everything that watches the
/// engines ends.
#[derive(Clone, Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    /// Absent in what runs in the background itself, which must not keep itself alive.
    _owner: Option<Arc<Owner>>,
}

/// Ends what runs in the background when it is dropped.
#[derive(Debug)]
struct Owner(Background);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[derive(Debug)]
struct Shared {
    view: RwLock<View>,
    settings: ClusterSettings,
    prober: Prober,
    scheduler: Arc<dyn Scheduler>,
    recorder: Recorder,
    /// What is written on the containers that are this platform's.
    platform: Platform,
    platforms_seen: platform::SeenPlatforms,
    launches: Arc<Launches>,
    tickets: AtomicU64,
    /// How many engines were ever added: each has a number of its own.
    generations: AtomicU64,
    background: Background,
    /// Rings whenever the status of an engine may be another.
    status_changes: Notify,
    collecting: gc::Collecting,
    removing: removals::Removing,
    /// By which it is remembered when hosts were heard and programs ended.
    clock: Clock,
}

/// A container and what the platform knows beside it.
#[derive(Clone, Debug)]
pub struct KnownContainer {
    /// The container as shown.
    pub container: Arc<Container>,
    /// The group it belongs to, if `run` or scaling started it.
    pub group: Option<Group>,
    /// Who asked for it, if the platform started it.
    pub user: Option<Arc<str>>,
    /// Which container of which application it is, if it is one.
    pub replica: Option<ReplicaLabels>,
    /// What of this platform it belongs to, if that is something which this version does not know. It is to be left alone.
    pub other_owner: Option<Arc<str>>,
    /// The platform that it belongs to, if that is another one. It is to be left alone, unless somebody names that platform.
    pub other_platform: Option<Arc<str>>,
}

impl Cluster {
    /// An empty cluster. `platform` is the name written on the containers; events go to `events`. What it launches is
    /// remembered as long as it is there.
    pub fn new(
        settings: ClusterSettings,
        scheduler: Arc<dyn Scheduler>,
        events: Arc<dyn EventSink>,
        platform: String,
    ) -> Self {
        let launches = Launches::in_memory(events.clone());
        let (platform, background) = (Platform::new(platform), Background::default());
        Self::with_launches(settings, scheduler, events, platform, launches, background, Clock::system())
    }

    /// An empty cluster that goes on with what the records of launches say, with the table of what runs in the background.
    pub(crate) fn with_launches(
        settings: ClusterSettings,
        scheduler: Arc<dyn Scheduler>,
        events: Arc<dyn EventSink>,
        platform: Platform,
        launches: Launches,
        background: Background,
        clock: Clock,
    ) -> Self {
        let recorder = Recorder::spawn(events, &background);
        let shared = Shared {
            view: RwLock::default(),
            prober: Prober::new(settings.probe),
            settings,
            scheduler,
            recorder,
            platform,
            platforms_seen: platform::SeenPlatforms::default(),
            launches: Arc::new(launches),
            tickets: AtomicU64::new(1),
            generations: AtomicU64::new(1),
            background: background.clone(),
            status_changes: Notify::new(),
            collecting: gc::Collecting::default(),
            removing: removals::Removing::default(),
            clock,
        };
        let cluster = Self { shared: Arc::new(shared), _owner: Some(Arc::new(Owner(background.clone()))) };
        let in_background = cluster.in_background();
        let tell_of_room = move |report| changes::tell_of_room(in_background.clone(), report);
        background.spawn("engines/room", None, background.stopping().clone(), tell_of_room);
        cluster
    }

    /// The same cluster for what runs in the background: it keeps nothing running.
    pub(crate) fn in_background(&self) -> Self {
        Self { shared: self.shared.clone(), _owner: None }
    }

    /// The table of what runs in the background.
    pub fn background(&self) -> &Background {
        &self.shared.background
    }

    /// The platform's name for itself.
    pub fn platform(&self) -> &str {
        self.shared.platform.name()
    }

    /// The records of launches.
    pub(crate) fn launches(&self) -> &Arc<Launches> {
        &self.shared.launches
    }

    /// Chooses an engine for each of `request.count` containers and reserves their room, in one step: all or nothing.
    ///
    /// # Errors
    /// Why there is not enough room.
    pub fn place(&self, mut request: PlacementRequest) -> Result<Vec<Reservation>, Refusal> {
        request.overbooking = self.shared.settings.overbooking;
        let mut view = self.shared.view.write();
        let placed = view.place(&*self.shared.scheduler, &request)?;
        let reservation =
            |(launch, engine)| Some(Reservation::new(self.in_background(), launch, view.engine_handle(&engine)?));
        Ok(placed.into_iter().filter_map(reservation).collect())
    }

    /// Reserves what a container needs to be started, or to go on, where it is. `None` when it is not known any more.
    ///
    /// # Errors
    /// Why there is not enough room.
    pub fn reserve_start(&self, id: &ContainerId) -> Option<Result<Reservation, Refusal>> {
        let mut view = self.shared.view.write();
        let engine = view.engine_handle(&view.container(id)?.container.engine.id)?;
        let reserved = view.reserve_start(&*self.shared.scheduler, id, self.shared.settings.overbooking)?;
        Some(reserved.map(|launch| Reservation::new(self.in_background(), launch, engine)))
    }

    /// How many reservations there are.
    pub fn reservation_count(&self) -> usize {
        self.shared.view.read().reservations()
    }

    /// Stops watching, and waits until every task has ended and every event is recorded.
    pub async fn shutdown(&self) {
        self.shared.background.shutdown().await;
    }

    /// Checks that every number of the view follows from what is on the engines and what is reserved.
    ///
    /// # Errors
    /// The first number that does not.
    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> Result<(), String> {
        self.shared.view.read().audit()
    }

    /// What an engine has reserved at this moment.
    pub fn reserved(&self, id: &EngineId) -> Resources {
        self.shared.view.read().state(id).map_or(Resources::ZERO, |state| state.reserved)
    }

    /// For an observation that begins now: a newer one is not overwritten by it.
    pub(crate) fn ticket(&self) -> Ticket {
        self.shared.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes what is known of an engine, if it is still the one that was added as this. `None` if it is not.
    fn with<T>(&self, engine: &EngineHandle, change: impl FnOnce(&mut View) -> T) -> Option<T> {
        let mut view = self.shared.view.write();
        view.engine_handle(engine.id()).is_some_and(|known| known.is(engine)).then(|| change(&mut view))
    }

    /// Notes a new status, and records it as an event when it is one.
    fn set_status(&self, engine: &EngineHandle, status: EngineStatus, reason: Option<String>) {
        let id = engine.id();
        let is_pending = status == EngineStatus::Pending;
        let now = self.now();
        let changed = self.with(engine, |view| {
            let before = view.set_status(id, status, reason, now)?;
            let health = &view.engine(id.as_str())?.health;
            Some((before, health.status, health.reason.clone()))
        });
        let changed = changed.flatten();
        // Why a new engine does not answer is news as well.
        if is_pending || changed.is_some() {
            self.shared.status_changes.notify_waiters();
        }
        let Some((before, status, reason)) = changed else { return };
        let why = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        tracing::info!(engine = %id, %before, %status, "engine changed{why}");
        let mut event = Event::new(EventKind::EngineStatus, format!("engine {id} is {status}, was {before}{why}"));
        (event.status, event.reason) = (Some(status), reason);
        self.shared.recorder.put_own(event.on(id).tagged("cluster"));
    }

    /// What time it is, by the clock that everything here goes by.
    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Records what was found out by the way. It follows in the background, as what the cluster itself finds.
    pub(crate) fn record(&self, event: Event) {
        self.shared.recorder.put_own(event);
    }

    fn release(&self, launch: LaunchId) {
        self.shared.view.write().release(launch);
    }
}
