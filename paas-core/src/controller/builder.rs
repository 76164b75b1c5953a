//! Putting a controller together.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::join::HeartbeatSessions;
use super::locks::KeyedLocks;
use super::operations::Operations;
use super::records::Records;
use super::requests::AnswersToCome;
use super::{ConnectorBox, Controller, ControllerError, Result, Settings, Shared};
use crate::apps::reconciler::Apps;
use crate::auth::Authenticator;
use crate::background::Background;
use crate::clock::Clock;
use crate::cluster::launches::Launches;
use crate::cluster::{Cluster, Platform, check_platform};
use crate::engine::{Connector, DockerEngine, connect};
use crate::events::{BroadcastSink, EventLog, EventSink, Publisher, QueuedSink};
use crate::executor::slots::Slots;
use crate::leadership::{FencedEngine, FencedStore, Term, check_may_lead};
use crate::model::{EngineSpec, RegistryLogin, Role};
use crate::registry::{EmbeddedRegistry, Registry};
use crate::scheduler::{Scheduler, Spread};
use crate::seal::{self, Sealer};
use crate::store::tables::{
    DELETED_ENGINES, DRAINED_ENGINES, ENGINES, PLATFORM, REGISTERED_ENGINES, REGISTRY_LOGINS, REQUESTS,
};
use crate::store::{Collection, LowPriorityStore, MemoryStore, Store, StoreErrorKind, WatchedStore, transfer};

/// How many events a live reader may be behind before it misses some.
const LIVE_BACKLOG: usize = 4096;

/// Puts a controller together; every part has a working default.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use paas_core::controller::{Controller, Settings};
/// use paas_core::events::RecordingSink;
/// use paas_core::model::Role;
/// use paas_core::registry::open_registry;
/// use paas_core::scheduler::{Binpack, Weights};
/// use paas_core::seal::Sealer;
/// use paas_core::store::open_store;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let mut settings = Settings::default();
/// settings.cluster.probe_interval = Duration::from_secs(5);
/// settings.max_count = 100;
///
/// let controller = Controller::builder()
///     .store(open_store("memory:").await?)
///     .registry(open_registry("embedded:")?)
///     .scheduler(Arc::new(Binpack::new(Weights::new(50.0, 50.0)?)))
///     .sink(Arc::new(RecordingSink::default()))
///     .sealer(Sealer::ephemeral()) // for a store in memory, and for no other
///     .roles(vec![Role::admin()])
///     .settings(settings)
///     .build()
///     .await?;
/// # controller.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Default)]
pub struct ControllerBuilder {
    store: Option<Arc<dyn Store>>,
    registry: Option<Arc<dyn Registry>>,
    scheduler: Option<Arc<dyn Scheduler>>,
    sinks: Vec<Arc<dyn EventSink>>,
    connector: Option<Connector>,
    term: Option<Term>,
    sealer: Option<Sealer>,
    roles: Option<Vec<Role>>,
    platform: Option<String>,
    clock: Clock,
    settings: Settings,
}

impl ControllerBuilder {
    /// Where state is kept; in memory unless told otherwise. [`open_store`](crate::store::open_store) opens the one that a URL
    /// names. A store that outlives the process needs a [`sealer`](Self::sealer) before it takes secrets.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Who is alive; embedded unless told otherwise. [`open_registry`](crate::registry::open_registry) opens the one that a URL
    /// names.
    #[must_use]
    pub fn registry(mut self, registry: Arc<dyn Registry>) -> Self {
        self.registry = Some(registry);
        self
    }

    /// How engines are chosen; [`Spread`] by 65/35 unless told otherwise. An answer that names too few engines, or an unknown
    /// one, is refused; whether the containers fit there is not checked again.
    #[must_use]
    pub fn scheduler(mut self, scheduler: Arc<dyn Scheduler>) -> Self {
        self.scheduler = Some(scheduler);
        self
    }

    /// One more place that gets every event, after it was stored. It has a queue of its own: when it hangs or fails, nobody waits
    /// for it and nothing is undone; when it is too slow, it loses events, and the log says so. What it refuses is not offered
    /// again. When the controller shuts down the sink has two seconds for what is still in its queue.
    #[must_use]
    pub fn sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// How addresses become engines; [`connect`] unless told otherwise.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use paas_core::controller::Controller;
    /// use paas_core::engine::{self, DockerEngine, connect};
    /// use paas_core::model::EngineSpec;
    ///
    /// /// The usual engines, of which each is noted. One's own take their place here.
    /// fn noted(spec: &EngineSpec) -> engine::Result<Arc<dyn DockerEngine>> {
    ///     println!("engine {} at {}", spec.id, spec.addr);
    ///     connect(spec)
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let controller = Controller::builder().connector(Arc::new(noted)).build().await?;
    /// # controller.shutdown().await;
    /// # Ok::<(), paas_core::controller::ControllerError>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn connector(mut self, connector: Connector) -> Self {
        self.connector = Some(connector);
        self
    }

    /// For how long the controller may change anything: as long as its server leads. For ever unless told otherwise.
    #[must_use]
    pub fn term(mut self, term: Term) -> Self {
        self.term = Some(term);
        self
    }

    /// What seals the passwords and private keys in the store, and opens them. Unless told otherwise a controller with the
    /// default store in memory has a key of its own, and one with any other store takes no secrets: what is sealed has to
    /// be opened after a restart as well, so where the key is kept is for the program that embeds it to say.
    #[must_use]
    pub fn sealer(mut self, sealer: Sealer) -> Self {
        self.sealer = Some(sealer);
        self
    }

    /// The roles that accounts can have; `admin` and `user` unless told otherwise.
    #[must_use]
    pub fn roles(mut self, roles: Vec<Role>) -> Self {
        self.roles = Some(roles);
        self
    }

    /// The platform whose containers are this one's as well, by the name on them: for a store that was lost, or for hosts
    /// that came from another platform. None unless told otherwise: containers of another platform are left alone. The store
    /// keeps it as soon as a container of that name is seen; a new store takes it for its own name at once.
    #[must_use]
    pub fn platform(mut self, name: impl Into<String>) -> Self {
        self.platform = Some(name.into());
        self
    }

    /// What time it is; the clocks of this machine unless told otherwise. Tokens, the waits of those who guess passwords, and
    /// how long events and requests are kept go by it.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Everything that is a number, and the policy.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Reads what the store knows, and begins to watch the engines.
    ///
    /// # Errors
    /// The store cannot be read, or its secrets are sealed with a key that the sealer does not have.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn build(self) -> Result<Controller> {
        let sealer = self.sealer.or_else(|| self.store.is_none().then(Sealer::ephemeral));
        let mut store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new()));
        let mut connector = self.connector.unwrap_or_else(|| Arc::new(connect));
        let watched = WatchedStore::new(store);
        store = Arc::new(watched.clone());
        if let Some(term) = &self.term {
            store = Arc::new(FencedStore::new(store, term.clone()));
            connector = fenced(connector, term.clone());
        }
        transfer::check_whole(&*store).await.map_err(ControllerError::Store)?;
        check_may_lead(&store).await.map_err(ControllerError::Store)?;
        seal::claim(&*store, sealer.as_ref()).await.map_err(ControllerError::Store)?;
        if let Some(sealer) = &sealer {
            seal_everything(&*store, sealer).await;
        }
        if let Some(platform) = &self.platform {
            check_platform(platform)?;
        }
        let platform = Platform::of(store.clone(), self.platform.as_deref()).await.map_err(ControllerError::Store)?;
        let platform = platform.taking_over(self.platform.as_deref());
        make_peer_key(&store).await?;
        let low_priority = LowPriorityStore::new(store);
        let log = Arc::new(EventLog::beside_others(low_priority.clone()).with_clock(self.clock.clone()));
        let store: Arc<dyn Store> = Arc::new(low_priority);
        let live = Arc::new(BroadcastSink::new(LIVE_BACKLOG));
        let background = Background::default();
        let mut subscribers: Vec<Arc<dyn EventSink>> = vec![live.clone()];
        for (number, sink) in self.sinks.into_iter().enumerate() {
            subscribers.push(Arc::new(QueuedSink::new(sink, format!("events/sink/{number}"), &background)));
        }
        let publisher = Publisher::new(log.clone(), subscribers);
        let scheduler = self.scheduler.unwrap_or_else(|| Arc::new(Spread::default()));
        let launches = Launches::load(store.clone(), publisher.clone()).await.map_err(ControllerError::Store)?;
        let settings = self.settings.cluster.clone();
        // Whatever fails from here on, everything in the background ends with it.
        let sink = Arc::new(publisher.clone());
        let cluster =
            Cluster::with_launches(settings, scheduler, sink, platform, launches, background, self.clock.clone());
        let roles = self.roles.unwrap_or_else(|| vec![Role::admin(), Role::user()]);
        let auth = Authenticator::new(store.clone(), roles, self.settings.auth.clone(), self.clock.clone()).await?;
        // Whatever ends the cluster ends the rest.
        let closing = cluster.background().stopping().child_token();
        let answers = Arc::new(AnswersToCome::default());
        let records = Arc::new(Records::new(store.clone(), publisher.clone(), answers.clone()));
        let apps =
            Apps::load(store.clone(), sealer.clone(), publisher.clone(), self.clock.clone(), self.term.is_some());
        let apps = Arc::new(apps.await.map_err(ControllerError::Store)?);
        let shared = Shared {
            cluster,
            auth,
            apps,
            records,
            answers,
            watched,
            deleted: Collection::new(store.clone(), DELETED_ENGINES),
            registered: Collection::<EngineSpec>::sealed(store.clone(), REGISTERED_ENGINES, sealer.clone()),
            drained: Collection::<bool>::new(store.clone(), DRAINED_ENGINES),
            registry_logins: Collection::<RegistryLogin>::sealed(store.clone(), REGISTRY_LOGINS, sealer.clone()),
            requests: Collection::new(store.clone(), REQUESTS),
            engines: Collection::<EngineSpec>::sealed(store.clone(), ENGINES, sealer.clone()),
            sealer,
            store,
            registry: self.registry.unwrap_or_else(|| Arc::new(EmbeddedRegistry::new())),
            connector: ConnectorBox(connector),
            term: self.term,
            clock: self.clock,
            publisher,
            log,
            live,
            membership: tokio::sync::Mutex::default(),
            container_locks: KeyedLocks::default(),
            group_locks: KeyedLocks::default(),
            request_locks: KeyedLocks::default(),
            idempotency_locks: KeyedLocks::default(),
            slots: Arc::new(Slots::new(self.settings.starts_per_engine)),
            heartbeats: HeartbeatSessions::default(),
            operations: Operations::default(),
            closing,
            listed: CancellationToken::new(),
            settings: self.settings,
        };
        let controller = Controller::owning(shared);
        controller.load_engines().await?;
        controller.load_registered().await?;
        controller.begin_background_work();
        Ok(controller)
    }
}

/// The same engines, to be changed while `term` lasts.
fn fenced(connector: Connector, term: Term) -> Connector {
    Arc::new(move |spec: &EngineSpec| -> crate::engine::Result<Arc<dyn DockerEngine>> {
        Ok(Arc::new(FencedEngine::new(connector(spec)?, term.clone())))
    })
}

/// Seals what is not sealed yet, or with a key of before. What cannot be is told, and keeps nothing else from working.
async fn seal_everything(store: &dyn Store, sealer: &Sealer) {
    match seal::reseal(store, sealer).await {
        Ok(report) => {
            if report.records > 0 {
                tracing::info!(records = report.records, key = %sealer.fingerprint(), "sealed the secrets in the store");
            }
            for record in report.unreadable {
                tracing::error!(record, "a secret in the store cannot be opened");
            }
        }
        Err(error) => tracing::warn!(%error, "not every secret in the store could be sealed; the next start goes on"),
    }
}

/// What the servers of one platform know each other by.
const PEER_KEY: &str = "peer_key";

async fn make_peer_key(store: &Arc<dyn Store>) -> Result<()> {
    let random = [Uuid::new_v4(), Uuid::new_v4()].map(|half| half.simple().to_string());
    chosen_once(store, PEER_KEY, random.concat()).await.map(drop)
}

/// What the servers of the platform in `store` know each other by: a secret of theirs. The first that leads makes it; there
/// is none before.
///
/// # Errors
/// The store does not answer.
pub async fn peer_key(store: Arc<dyn Store>) -> Result<Option<String>> {
    let key = Collection::<String>::new(store, PLATFORM).get(PEER_KEY).await.map_err(ControllerError::Store)?;
    Ok(key.map(|key| key.value))
}

/// A value of this platform that the first server chooses.
async fn chosen_once(store: &Arc<dyn Store>, key: &str, value: String) -> Result<String> {
    let chosen = Collection::<String>::new(store.clone(), PLATFORM);
    if let Some(known) = chosen.get(key).await.map_err(ControllerError::Store)? {
        return Ok(known.value);
    }
    match chosen.insert(key, &value).await {
        Ok(_) => return Ok(value),
        Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {}
        Err(error) => return Err(ControllerError::Store(error)),
    }
    let known = chosen.get(key).await.map_err(ControllerError::Store)?;
    Ok(known.map(|known| known.value).unwrap_or_default())
}

impl fmt::Debug for ControllerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControllerBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
