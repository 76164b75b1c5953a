//! The live view of all engines and their containers.
//!
//! Lists, cluster info and scheduling read the view in memory and never ask the Docker hosts. Three tasks per engine
//! keep it true: `follow` reads the host's event stream and re-reads everything at an interval, `monitor` asks whether the
//! host answers, `measure` what is in use. A host that hangs slows nobody else.
//!
//! The view also holds the reservations: placing reserves, under one short lock, and a [`Reservation`] gives back what it
//! holds unless it is turned into a container.

mod containers;
mod engines;
mod follow;
mod gc;
mod groups;
pub(crate) mod launches;
mod monitor;
mod platform;
mod probe;
mod recorder;
mod removals;
mod reservation;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::events::EventSink;
use crate::model::{Container, ContainerId, EngineId, EngineStatus, Event, EventKind, Group, LaunchId, Resources};
use crate::scheduler::{PlacementRequest, Refusal, Scheduler};

pub(crate) use groups::{Member, Standing};
use launches::Launches;
pub(crate) use platform::check_platform;
pub use platform::{Platform, adopt_platform};
pub use probe::ProbeKind;
use probe::Prober;
use recorder::Recorder;
pub use reservation::Reservation;
use view::{Ticket, View};

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

/// The engines, what runs on them, and what is reserved. Cheap to clone.
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
    /// What is written on the containers that are this platform's.
    platform: Platform,
    others: platform::OtherPlatforms,
    launches: Arc<Launches>,
    tickets: AtomicU64,
    tasks: TaskTracker,
    stop: CancellationToken,
    watched: RwLock<std::collections::HashMap<EngineId, Watched>>,
    /// Rings whenever the status of an engine may be another.
    status_changes: Notify,
    collecting: gc::Collecting,
    removing: removals::Removing,
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
    /// What of this platform it belongs to, if that is something which this version does not know. It is to be left alone.
    pub other_owner: Option<Arc<str>>,
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
        Self::with_launches(settings, scheduler, events, Platform::new(platform), launches)
    }

    /// An empty cluster that goes on with what the records of launches say.
    pub(crate) fn with_launches(
        settings: ClusterSettings,
        scheduler: Arc<dyn Scheduler>,
        events: Arc<dyn EventSink>,
        platform: Platform,
        launches: Launches,
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
            others: platform::OtherPlatforms::default(),
            launches: Arc::new(launches),
            tickets: AtomicU64::new(1),
            tasks,
            stop,
            watched: RwLock::default(),
            status_changes: Notify::new(),
            collecting: gc::Collecting::default(),
            removing: removals::Removing::default(),
        };
        Self { shared: Arc::new(shared) }
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

    /// Does something in the background until the cluster is shut down.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.shared.stop.clone();
        self.shared.tasks.spawn(async move {
            stop.run_until_cancelled(work).await;
        });
    }

    /// What an engine has reserved at this moment.
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
