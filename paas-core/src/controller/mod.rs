//! What a user of the platform can ask for.
//!
//! One file per resource: [`containers`](self), launches, scaling, engines, accounts and events. Nothing here speaks
//! HTTP, so that another program can embed it:
//!
//! ```
//! # async fn example() -> Result<(), paas_core::controller::ControllerError> {
//! use paas_core::controller::Controller;
//!
//! let controller = Controller::builder().build().await?; // memory store, embedded registry, spread scheduler
//! # controller.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod accounts;
mod actor;
mod apps;
mod builder;
mod change;
mod containers;
mod engines;
mod error;
mod join;
mod launch;
mod live;
mod locks;
mod membership;
mod operations;
mod policy;
mod pull;
mod records;
mod registry_logins;
mod requests;
mod scale;
mod settings;
mod views;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::apps::reconciler::{Apps, FORGET_OUTPUT, follow_applications, forget_output};
use crate::auth::Authenticator;
use crate::background::{Background, Report};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::engine::Connector;
use crate::events::{BroadcastSink, EventError, EventLog, Publisher};
use crate::executor::slots::Slots;
use crate::leadership::Term;
use crate::model::{ClusterInfo, EngineSpec, Event, RegistryLogin};
use crate::registry::Registry;
use crate::seal::Sealer;
use crate::store::records::KeptRequest;
use crate::store::{Collection, Store, StoreErrorKind, StoreHealth, WatchedStore};

pub use crate::executor::{Failure, LaunchSummary, LaunchWarning, Operation, Progress};
pub use crate::store::records::KeptAnswer;
pub use accounts::{LoggedOut, PasswordChange};
pub use actor::Actor;
pub use apps::PreviousOutput;
pub use apps::RollSecret;
pub use builder::{ControllerBuilder, peer_key};
pub use error::{Ambiguity, ControllerError, Result};
pub use launch::RunRequest;
pub use policy::Policy;
pub use requests::{Begin, IdempotentRequest, RequestContext};
pub use settings::Settings;
pub use views::ClusterView;

use locks::KeyedLocks;
use operations::Operations;

/// The platform. Cheap to clone; every clone is the same one. With the last clone everything ends that runs in the background;
/// operations that are under way come to their end first, and containers go on running.
#[derive(Clone, Debug)]
pub struct Controller {
    shared: Arc<Shared>,
    /// Absent in what runs in the background itself, which must not keep itself alive.
    _owner: Option<Arc<Owner>>,
}

/// Ends what runs in the background when it is dropped.
#[derive(Debug)]
struct Owner {
    closing: CancellationToken,
    background: Background,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.closing.cancel();
        self.background.stop();
    }
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    cluster: Cluster,
    auth: Authenticator,
    apps: Arc<Apps>,
    /// For writes to several collections at once.
    store: Arc<dyn Store>,
    /// How the store answers.
    watched: WatchedStore,
    /// Records of what was done while the store took nothing.
    records: Arc<records::Records>,
    /// Answers among them.
    answers: Arc<requests::AnswersToCome>,
    engines: Collection<EngineSpec>,
    /// Engines that registered themselves.
    registered: Collection<EngineSpec>,
    /// Hosts that register themselves and were deleted while their agent ran.
    deleted: Collection<membership::DeletedHost>,
    /// Engines that registered themselves and are drained.
    drained: Collection<bool>,
    registry_logins: Collection<RegistryLogin>,
    /// What seals secrets, and hashes what may be one.
    sealer: Option<Sealer>,
    requests: Collection<KeptRequest>,
    registry: Arc<dyn Registry>,
    connector: ConnectorBox,
    /// For how long anything may be changed; for ever without.
    term: Option<Term>,
    clock: Clock,
    /// Stores an event and gives it to everybody who subscribes.
    publisher: Publisher,
    log: Arc<EventLog>,
    live: Arc<BroadcastSink>,
    /// One change of the set of engines at a time: ids, addresses and daemons are unique together.
    membership: tokio::sync::Mutex<membership::Members>,
    container_locks: KeyedLocks,
    group_locks: KeyedLocks,
    /// Of operations with a name, until they have come to their end.
    request_locks: KeyedLocks,
    /// Of requests with a key, until they are answered.
    idempotency_locks: KeyedLocks,
    slots: Arc<Slots>,
    heartbeats: join::HeartbeatSessions,
    operations: Operations,
    closing: CancellationToken,
    /// Rings when the registry was read for the first time.
    listed: CancellationToken,
}

/// How the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreState {
    /// What it did with what it was asked last.
    pub health: StoreHealth,
    /// How many records of what was done wait until it takes them.
    pub records_waiting: usize,
}

/// A connector is a closure, which has no form to print.
struct ConnectorBox(Connector);

impl std::fmt::Debug for ConnectorBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Controller {
    fn owning(shared: Shared) -> Self {
        let owner = Owner { closing: shared.closing.clone(), background: shared.cluster.background().clone() };
        Self { shared: Arc::new(shared), _owner: Some(Arc::new(owner)) }
    }

    /// The same controller for what runs in the background: it keeps nothing running.
    fn in_background(&self) -> Self {
        Self { shared: self.shared.clone(), _owner: None }
    }

    fn begin_background_work(&self) {
        let Shared { settings, closing, .. } = &*self.shared;
        let background = self.background();
        let (records, end) = (self.shared.records.clone(), background.stopping().clone());
        let write = move |report| records.clone().write_all(end.clone(), report);
        background.spawn_to_its_end("records/write", write);
        let controller = self.in_background();
        background
            .spawn("registry/follow", None, closing.clone(), move |report| controller.clone().follow_registry(report));
        let controller = self.in_background();
        let forget = move |report| controller.clone().forget_old_requests(report);
        background.spawn("requests/forget", Some(requests::LOOK), closing.clone(), forget);
        let controller = self.in_background();
        let forget = move |report| controller.clone().forget_unused_blobs(report);
        background.spawn("blobs/forget", Some(apps::configs::LOOK), closing.clone(), forget);
        let (apps, executor) = (self.shared.apps.clone(), self.in_background().executor());
        let (table, stop) = (background.clone(), closing.clone());
        background.spawn("apps/follow", None, closing.clone(), move |_| {
            follow_applications(apps.clone(), executor.clone(), table.clone(), stop.clone())
        });
        let apps = self.shared.apps.clone();
        background.spawn("outputs/forget", Some(FORGET_OUTPUT), closing.clone(), move |report| {
            forget_output(apps.clone(), report)
        });
        let (controller, period) = (self.in_background(), Some(settings.retention.interval));
        let forget = move |report| controller.clone().forget_old_events(report);
        background.spawn("events/forget", period, closing.clone(), forget);
    }

    /// The table of what runs in the background.
    pub fn background(&self) -> &Background {
        self.shared.cluster.background()
    }

    /// A builder with working defaults.
    pub fn builder() -> ControllerBuilder {
        ControllerBuilder::default()
    }

    /// The live view of engines and containers.
    pub fn cluster(&self) -> ClusterView<'_> {
        ClusterView::new(&self.shared.cluster)
    }

    /// Tokens and roles: who presents a token, and what that opens.
    pub fn auth(&self) -> &Authenticator {
        &self.shared.auth
    }

    /// Who is alive.
    pub fn registry(&self) -> &Arc<dyn Registry> {
        &self.shared.registry
    }

    /// Totals over all engines.
    pub fn cluster_info(&self) -> ClusterInfo {
        let leader = self.shared.term.as_ref().map(|term| term.name().to_owned());
        ClusterInfo { leader, ..self.shared.cluster.info() }
    }

    /// Whether another server may lead by now. Then nothing that was begun here is certain to have been done.
    pub fn is_deposed(&self) -> bool {
        self.shared.term.as_ref().is_some_and(Term::is_over)
    }

    /// Waits until every engine that is known was read once, so that what runs is known; at most `deadline`, for hosts that
    /// do not answer.
    pub async fn wait_ready(&self, deadline: Duration) {
        let settled = async {
            self.shared.listed.cancelled().await;
            self.shared.cluster.wait_all_synced().await;
        };
        if tokio::time::timeout(deadline, settled).await.is_err() {
            tracing::info!("not every engine was heard yet; the others serve");
        }
    }

    /// The newest `count` events, the newest first. Asking for more than there are gives what there is.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn events(&self, count: usize) -> Result<Vec<Event>> {
        self.shared.log.newest(count).await.map_err(event_error)
    }

    /// Takes no more work, waits until what is under way has ended, and stops watching the engines. Containers go on
    /// running.
    pub async fn shutdown(&self) {
        self.shared.closing.cancel();
        self.shared.operations.close();
        self.shared.operations.wait().await;
        // After the operations, so that what is written at the end has their records, too.
        self.shared.cluster.shutdown().await;
    }

    async fn forget_old_events(self, report: Report) {
        self.shared.log.keep(&self.shared.settings.retention, &report).await;
    }

    /// How the store answers, and how many records of what was done wait for it.
    pub fn store_state(&self) -> StoreState {
        let records_waiting = self.shared.records.waiting() + self.shared.cluster.launches().waiting();
        StoreState { health: self.shared.watched.health(), records_waiting }
    }

    fn check_open(&self) -> Result<()> {
        if self.shared.closing.is_cancelled() { Err(ControllerError::ShuttingDown) } else { Ok(()) }
    }
}

fn event_error(error: EventError) -> ControllerError {
    match error {
        EventError::Store(error) => ControllerError::Store(error),
        EventError::Sink(cause) => ControllerError::Store(
            crate::store::StoreError::new(StoreErrorKind::Unavailable, "record", crate::store::tables::EVENTS, "")
                .with_source(cause),
        ),
    }
}

#[cfg(test)]
mod tests;
