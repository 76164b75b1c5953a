//! Makes applications what they are declared to be.
//!
//! One task per application, woken by a change of its documents, of its containers, of an engine, or by the time. Each round reads
//! everything anew, asks the planner what to do next, writes that down, and has it carried out. Steps of different slots are
//! carried out at once; a slot gets new steps when those before have ended. Nothing is kept in memory that a new leader would
//! miss: what it does not know (what a probe said, when a container ended) it learns again, and that costs time only.

mod before;
mod carry_out;
mod caution;
mod create;
mod follow;
mod health;
mod images;
mod last_lines;
mod observe;
mod once;
mod output;
mod probe;
mod removal;
mod returned;
mod round;
mod run;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::blobs::Blobs;
use super::documents::{Change, Documents, Tables};
use super::secrets::Secrets;
use super::{Desired, Instance, Slot};
use crate::clock::Clock;
use crate::events::Publisher;
use crate::model::app::AppName;
use crate::model::{EngineId, ExactImage, Scarce};
use crate::seal::Sealer;
use crate::store::records::OutputRecord;
use crate::store::tables::OUTPUTS;
use crate::store::{Collection, Result, Store, Write};
use caution::Caution;
use health::Health;
use last_lines::LinesRead;
use probe::Probes;

pub(crate) use follow::follow_applications;
pub(crate) use output::{FORGET as FORGET_OUTPUT, forget as forget_output};
pub(crate) use run::{NotRun, Run, RunContainer};

/// How long hosts may take to be read after a takeover: they run, and only this server has not seen them yet.
const AFTER_A_TAKEOVER: Duration = Duration::from_secs(10);
/// The same after a start: the hosts may have lost power together with the server, and take their time.
const AFTER_A_START: Duration = Duration::from_secs(120);

/// The applications of a platform: what is kept of them, and what is under way.
#[derive(Debug)]
pub(crate) struct Apps {
    store: Arc<dyn Store>,
    tables: Tables,
    /// What containers wrote last that were removed.
    outputs: Collection<OutputRecord>,
    /// How many bytes of that are kept, about.
    output_kept: AtomicUsize,
    /// Rings when that is too much.
    output_is_too_much: Notify,
    secrets: Secrets,
    blobs: Blobs,
    publisher: Publisher,
    clock: Clock,
    all: RwLock<BTreeMap<AppName, Arc<App>>>,
    /// Rings when an application was added, or forgotten.
    added: Notify,
    caution: Caution,
    /// Hosts that were not read since the start do not count as silent before that.
    may_be_silent_until: Timestamp,
    /// Since when this server acts on applications.
    acts_since: Mutex<Timestamp>,
    /// The store may be an old one: nothing is done until somebody says that it is right.
    observe_only: AtomicBool,
    /// Heal even though more than half of the hosts are silent.
    heal_now: AtomicBool,
    /// Held while hosts are cleared that had been given up.
    clearing: Arc<tokio::sync::Mutex<()>>,
}

/// One application.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) name: AppName,
    /// Held while a change of it is decided and written.
    kept: Arc<tokio::sync::Mutex<Kept>>,
    /// What is kept, for those who only look; nothing before it was read.
    shown: RwLock<Option<Arc<Documents>>>,
    /// Rings when there may be something to do.
    wake: Arc<Notify>,
    /// What is being done, by slot.
    in_flight: Mutex<BTreeMap<Target, Option<Making>>>,
    /// How often in a row steps failed, by slot.
    failures: Mutex<BTreeMap<Target, u32>>,
    health: Mutex<Health>,
    probes: Probes,
    /// Images that hosts were seen to have, or got.
    images: Mutex<BTreeSet<(EngineId, ExactImage)>>,
    /// Images that no registry gave when it was asked for last, where they are, and when that was.
    scarce: Mutex<BTreeMap<ExactImage, (Scarce, Timestamp)>>,
    /// What was read of containers because of which a rollout ends with the next round.
    lines_read: Mutex<LinesRead>,
    /// The commands that somebody waits for, by number.
    runs: Mutex<BTreeSet<u32>>,
    /// Rings when there is no such application any more, or never was.
    gone: CancellationToken,
}

/// What is kept of an application.
#[derive(Debug)]
struct Kept {
    documents: Arc<Documents>,
    /// Not so before it was read, and when a write left open what the store has.
    is_read: bool,
}

/// What steps are carried out for, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Slot(Slot),
    /// The command that goes before a component is replaced.
    Before(crate::model::app::ComponentName),
    /// A command that somebody asked for.
    Run(u32),
}

/// A container that is being made and may not be seen yet.
#[derive(Clone, Debug)]
struct Making {
    replica: Instance,
    revision: u64,
    since: Timestamp,
}

impl Apps {
    /// The applications that are kept in a store, which another server led until now, or none. Nothing is done for them yet.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn load(
        store: Arc<dyn Store>,
        sealer: Option<Sealer>,
        publisher: Publisher,
        clock: Clock,
        is_takeover: bool,
    ) -> Result<Self> {
        let patience = if is_takeover { AFTER_A_TAKEOVER } else { AFTER_A_START };
        let began = clock.now();
        let may_be_silent_until = began.saturating_add(patience).unwrap_or(Timestamp::MAX);
        let (tables, caution) = (Tables::new(&store), Caution::new(&store));
        let outputs = Collection::new(store.clone(), OUTPUTS);
        let (secrets, blobs) = (Secrets::new(&store, sealer), Blobs::new(&store));
        let apps = Self {
            store,
            tables,
            outputs,
            output_kept: AtomicUsize::new(0),
            output_is_too_much: Notify::new(),
            secrets,
            blobs,
            publisher,
            clock,
            all: RwLock::default(),
            added: Notify::new(),
            caution,
            may_be_silent_until,
            acts_since: Mutex::new(began),
            observe_only: AtomicBool::new(false),
            heal_now: AtomicBool::new(false),
            clearing: Arc::default(),
        };
        let names = apps.tables.names().await?;
        if apps.caution.load(!names.is_empty()).await? {
            tracing::warn!("the store is a copy, so nothing is done for applications; 'reconcile resume' has it go on");
            apps.observe_only.store(true, Ordering::Relaxed);
        }
        for name in names {
            let app = apps.app(&name);
            // One that cannot be read keeps no other from being looked after.
            if let Err(error) = apps.documents(&app).await {
                tracing::error!(app = %name, %error, "what is kept of an application cannot be read");
            }
        }
        Ok(apps)
    }

    /// All applications, by name, also one that is being declared at this moment.
    pub(crate) fn all(&self) -> Vec<Arc<App>> {
        self.all.read().values().cloned().collect()
    }

    /// The application of that name, whether or not there is one.
    pub(crate) fn app(&self, name: &AppName) -> Arc<App> {
        if let Some(app) = self.all.read().get(name) {
            return app.clone();
        }
        let mut all = self.all.write();
        let app = all.entry(name.clone()).or_insert_with(|| Arc::new(self.unknown(name))).clone();
        self.added.notify_one();
        app
    }

    /// An application that nothing is known of, to look at what it would be.
    pub(crate) fn unknown(&self, name: &AppName) -> App {
        App::new(name.clone(), Documents::none(self.tables.clone(), name))
    }

    /// The application of that name, if anything is known of it.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<App>> {
        let name: AppName = name.parse().ok()?;
        self.all.read().get(&name).cloned()
    }

    /// Forgets an application that there is not.
    pub(crate) fn forget(&self, app: &Arc<App>) {
        let mut all = self.all.write();
        if all.get(&app.name).is_some_and(|known| Arc::ptr_eq(known, app)) {
            all.remove(&app.name);
        }
        app.gone.cancel();
        self.added.notify_one();
    }

    /// Has all of them looked at.
    pub(crate) fn wake_all(&self) {
        self.all.read().values().for_each(|app| app.wake());
    }

    /// Heals although more than half of the hosts are silent, until half of them answer.
    pub(crate) fn heal_now(&self) {
        self.heal_now.store(true, Ordering::Relaxed);
        self.wake_all();
    }

    /// What is kept of an application, for a change of it: nobody else changes it meanwhile.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn documents(&self, app: &Arc<App>) -> Result<Held<'_>> {
        let mut kept = app.kept.clone().lock_owned().await;
        if !kept.is_read {
            kept.documents = Arc::new(Documents::load(self.tables.clone(), &app.name).await?);
            kept.is_read = true;
            app.show(kept.documents.clone());
        }
        Ok(Held { apps: self, app: app.clone(), kept })
    }

    /// Whether nothing is done for applications, because the store may be an old one.
    pub(crate) fn observes_only(&self) -> bool {
        self.observe_only.load(Ordering::Relaxed)
    }

    /// The secrets of all applications.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The configuration files of all applications.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// What time it is.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl App {
    fn new(name: AppName, documents: Documents) -> Self {
        Self {
            name,
            kept: Arc::new(tokio::sync::Mutex::new(Kept { documents: Arc::new(documents), is_read: false })),
            shown: RwLock::default(),
            wake: Arc::new(Notify::new()),
            in_flight: Mutex::default(),
            failures: Mutex::default(),
            health: Mutex::default(),
            probes: Probes::default(),
            images: Mutex::default(),
            scarce: Mutex::default(),
            lines_read: Mutex::default(),
            runs: Mutex::default(),
            gone: CancellationToken::new(),
        }
    }

    /// Whether it was forgotten: a change is to be made to the one that has its name by now.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Has it looked at.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    fn show(&self, documents: Arc<Documents>) {
        *self.shown.write() = Some(documents);
    }

    /// What is kept of it, if there is such an application.
    pub(crate) fn shown(&self) -> Option<Arc<Documents>> {
        self.shown.read().clone().filter(|documents| documents.is_there())
    }

    /// The slots whose containers Docker is being asked for.
    pub(crate) fn being_made(&self) -> BTreeSet<Slot> {
        self.in_flight.lock().values().flatten().map(|making| making.replica.slot.clone()).collect()
    }

    /// Whether anything is being done for it.
    pub(crate) fn is_busy(&self) -> bool {
        !self.in_flight.lock().is_empty()
    }
}

/// What is kept of an application, held for a change.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    apps: &'a Apps,
    app: Arc<App>,
    kept: OwnedMutexGuard<Kept>,
}

impl Held<'_> {
    /// What is kept.
    pub(crate) fn documents(&self) -> &Documents {
        &self.kept.documents
    }

    /// What the planner reads.
    pub(crate) fn desired(&self) -> &Desired {
        self.kept.documents.desired()
    }

    /// Writes a change, with what belongs to it, and has the application looked at.
    ///
    /// # Errors
    /// The store did not take all of it. It is read again before the next change.
    pub(crate) async fn commit(mut self, change: Change, with: Vec<Write>) -> Result<()> {
        self.kept.is_read = false;
        let documents = Arc::new(change.commit(&*self.apps.store, with).await?);
        self.app.show(documents.clone());
        *self.kept = Kept { documents, is_read: true };
        self.app.wake();
        Ok(())
    }
}
