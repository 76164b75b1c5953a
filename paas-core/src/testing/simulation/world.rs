//! The world of one seed: its hosts, its store, and one server after the other.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Outcome;
use super::declared::Declared;
use super::events::Faults;
use super::fate::{Life, Weather};
use super::host::ReachedHost;
use super::programs;
use super::store::ReachedStore;
use super::witness::Witness;
use crate::background::BackgroundTask;
use crate::clock::Clock;
use crate::controller::{Actor, Controller, RunRequest};
use crate::engine::{Connector, DockerEngine, SimulatedEngine};
use crate::leadership::{Candidate, Term};
use crate::model::{ContainerSpec, EngineSpec, EngineStatus, MemoryMb, RestartPolicy, SimulatedHost};
use crate::registry::EmbeddedRegistry;
use crate::seal::Sealer;
use crate::store::{MemoryStore, Store};

/// How often it is looked at what holds while nothing else happens, and how often programs do something.
const TICK: Duration = Duration::from_millis(500);
/// The memory of a host in MB: room for everything, unless somebody else takes it.
const MEMORY: u64 = 1536;
/// How long a server may take until it leads.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);

/// A world.
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) random: StdRng,
    pub(super) clock: Clock,
    pub(super) hosts: BTreeMap<String, SimulatedEngine>,
    pub(super) store: Arc<dyn Store>,
    pub(super) backup: Option<Arc<dyn Store>>,
    pub(super) weather: Weather,
    pub(super) witness: Arc<Witness>,
    pub(super) server: Option<Server>,
    /// When the next server begins.
    pub(super) next_server: Timestamp,
    pub(super) servers: usize,
    pub(super) declared: Declared,
    pub(super) faults: Faults,
    registry: Arc<EmbeddedRegistry>,
}

/// A server, until it is killed.
pub(super) struct Server {
    pub(super) controller: Controller,
    pub(super) life: Life,
    term: Option<Term>,
    /// What users have asked it for.
    asked: Vec<JoinHandle<()>>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // The time of day is the same for each seed.
        let clock = Clock::with_tokio(Timestamp::from_second(1_767_225_600).expect("a time of day"));
        let names = ["a", "b", "c", "d", "e"].into_iter().take(random.random_range(2..=5));
        let host = |name: &str| {
            let seed = random.random();
            let settings = SimulatedHost { memory: MemoryMb::new(MEMORY), seed, ..SimulatedHost::new(name) };
            (name.to_owned(), SimulatedEngine::with_clock(&settings, clock.clone()))
        };
        let hosts: BTreeMap<String, SimulatedEngine> = names.map(host).collect();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let declared = Declared::new(&mut random);
        Self {
            seed,
            weather: Weather::new(random.random()),
            witness: Arc::new(Witness::new(clock.clone(), hosts.clone(), store.clone())),
            next_server: clock.now(),
            faults: Faults::new(&mut random),
            random,
            clock,
            hosts,
            store,
            backup: None,
            server: None,
            servers: 0,
            declared,
            registry: Arc::new(EmbeddedRegistry::new()),
        }
    }

    /// Lets everything happen, and says what came of it.
    pub(super) async fn go(mut self) -> Outcome {
        self.live().await;
        let broken = self.witness.broken();
        if let Some(server) = self.server.take() {
            server.end();
        }
        let (story, hash, rollouts) = self.witness.story();
        Outcome { seed: self.seed, broken, story, hash, rollouts, servers: self.servers }
    }

    async fn live(&mut self) {
        self.begin().await;
        for _ in 0..self.random.random_range(15..50) {
            self.happen().await;
            let pauses = [0, 200, 1000, 3000, 8000, 20_000];
            let longest = pauses[self.random.random_range(0..pauses.len())];
            let pause = self.random.random_range(0..=longest);
            if !self.pass(Duration::from_millis(pause)).await {
                return;
            }
        }
        self.come_to_rest().await;
    }

    /// The first server, the hosts, and what `run` starts beside everything else.
    async fn begin(&mut self) {
        self.serve(true).await;
        let controller = self.server.as_ref().expect("the first server").controller.clone();
        for name in self.hosts.keys() {
            let spec = EngineSpec::new(name.parse().unwrap(), format!("sim://{name}").parse().unwrap());
            controller.add_engine(&ann(), spec).await.expect("a host that answers");
        }
        let all_up = || controller.engines().iter().all(|engine| engine.health.status == EngineStatus::Up);
        while !all_up() {
            sleep(TICK).await;
        }
        let spec = ContainerSpec {
            memory: Some(MemoryMb::new(32)),
            restart_policy: RestartPolicy::UnlessStopped,
            ..ContainerSpec::new(programs::GOOD.parse().unwrap())
        };
        let operation =
            controller.run(&ann(), RunRequest { spec, count: 2, pull: false }).await.expect("there is room");
        let started = operation.finish().await.started;
        self.witness.note_runs(started.into_iter().map(|container| container.id));
    }

    /// Time goes on. Whether everything held.
    pub(super) async fn pass(&mut self, time: Duration) -> bool {
        let end = tokio::time::Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            sleep(left.min(TICK)).await;
            self.look().await;
            if self.witness.broken().is_some() {
                return false;
            }
            if tokio::time::Instant::now() >= end {
                return true;
            }
        }
    }

    async fn look(&mut self) {
        programs::go_on(&self.hosts, self.clock.now());
        self.witness.look();
        if self.server.as_ref().is_some_and(|server| server.life.is_over()) {
            self.bury();
        }
        if self.server.is_none() && self.clock.now() >= self.next_server {
            let is_takeover = self.random.random_bool(0.7);
            self.serve(is_takeover).await;
        }
        if let Some(server) = &self.server {
            self.look_at(server);
        }
        self.note_calm();
    }

    fn look_at(&self, server: &Server) {
        if let Err(wrong) = server.controller.cluster().audit() {
            self.witness.complain(format!("the view is wrong: {wrong}"));
        }
        let panicked = |task: &BackgroundTask| task.last_error.as_deref() == Some("it panicked");
        if let Some(task) = server.controller.background().tasks().into_iter().find(panicked) {
            self.witness.complain(format!("{} panicked", task.name));
        }
    }

    /// From the moment at which everything serves, nothing but rollouts makes it smaller.
    fn note_calm(&mut self) {
        let Some(server) = self.server.as_ref().filter(|_| !self.faults.disturb() && !self.witness.is_calm()) else {
            return;
        };
        if super::rest::is_whole(&server.controller) && !self.witness.is_restored() {
            self.witness.is_whole();
        }
    }

    /// The server is dead: the next one comes after a while.
    pub(super) fn bury(&mut self) {
        if let Some(server) = self.server.take() {
            self.witness.tell("the server is dead");
            server.end();
        }
        let pause = [0, 3000, 3000, 15_000][self.random.random_range(0..4)];
        self.next_server = self.clock.now() + Duration::from_millis(self.random.random_range(0..=pause));
    }

    /// Another server leads, on the same store and the same hosts.
    async fn serve(&mut self, is_takeover: bool) {
        let began = timeout(BEGINS_WITHIN, async {
            loop {
                if let Some(server) = self.try_to_serve(is_takeover).await {
                    return server;
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
        let Ok(server) = began.await else { return self.witness.complain("no server begins") };
        self.servers += 1;
        self.witness.tell(if is_takeover { "another server leads" } else { "a server is started" });
        self.server = Some(server);
    }

    async fn try_to_serve(&self, is_takeover: bool) -> Option<Server> {
        let life = Life::default();
        let reached =
            |store: Arc<dyn Store>| ReachedStore::new(store, life.clone(), self.weather.clone(), self.witness.clone());
        let store: Arc<dyn Store> = Arc::new(reached(self.store.clone()));
        let mut builder = Controller::builder()
            .store(store)
            .connector(self.connector(&life))
            .sealer(sealer())
            .clock(self.clock.clone());
        let mut kept = None;
        if is_takeover {
            let candidate = Candidate::new(self.registry.clone(), "server", Duration::from_secs(3));
            let term = candidate.with_clock(self.clock.clone()).lead().await;
            kept = Some(term.clone());
            builder = builder.term(term);
        }
        match builder.build().await {
            Ok(controller) => Some(Server { controller, life, term: kept, asked: Vec::new() }),
            Err(error) => {
                self.witness.tell(format!("a server cannot begin: {error}"));
                life.end();
                kept.inspect(Term::resign);
                None
            }
        }
    }

    fn connector(&self, life: &Life) -> Connector {
        let (hosts, life) = (self.hosts.clone(), life.clone());
        let (weather, witness) = (self.weather.clone(), self.witness.clone());
        Arc::new(move |spec: &EngineSpec| -> crate::engine::Result<Arc<dyn DockerEngine>> {
            let name = spec.id.as_str();
            let engine = hosts[name].clone();
            Ok(Arc::new(ReachedHost::new(name, engine, life.clone(), weather.clone(), witness.clone())))
        })
    }

    /// Somebody asks the server for something, and does not wait for the answer.
    pub(super) fn ask<W, T>(&mut self, what: String, work: impl FnOnce(Controller) -> W)
    where
        W: Future<Output = crate::controller::Result<T>> + Send + 'static,
    {
        let Some(server) = &mut self.server else { return };
        self.witness.tell(format!("asked: {what}"));
        let (work, witness) = (work(server.controller.clone()), self.witness.clone());
        server.asked.push(tokio::spawn(async move {
            if let Err(error) = work.await {
                witness.tell(format!("refused: {what}: {error}"));
            }
        }));
    }
}

impl Server {
    /// Nothing is left of it.
    fn end(self) {
        self.life.end();
        self.asked.iter().for_each(JoinHandle::abort);
        self.controller.background().stop();
        self.term.inspect(Term::resign);
    }
}

pub(super) fn ann() -> Actor {
    Actor::user("ann".parse().expect("a name"))
}

/// The key of every store of every world.
fn sealer() -> Sealer {
    static SEALER: LazyLock<Sealer> = LazyLock::new(Sealer::ephemeral);
    SEALER.clone()
}
