//! A server that is killed at any moment of a run, again and again: what was answered is what runs, once.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::engine::{
    ContainerFile, CreateRequest, Created, EngineEvent, EngineInfo, EngineUsage, ExecChunk, FoundImage, LogChunk,
    LogOptions, NetworkRequest, ObjectLabels, ObservedContainer, PullProgress, VolumeRequest,
};
use crate::leadership::Candidate;
use crate::model::app::Sizes;
use crate::model::{ContainerId, ContainerState, ImageDigest, ImageRef, RequestId};
use crate::registry::EmbeddedRegistry;

/// How many schedules of kills are tried.
const SCHEDULES: u64 = 1000;
/// Chooses one schedule again, and that alone.
const SEED_VARIABLE: &str = "PAAS_TEST_SEED";

type Outcome<T> = crate::engine::Result<T>;

/// A host that does what it was told, also when the caller is gone.
#[derive(Clone, Debug)]
struct Diligent(SimulatedEngine);

/// Goes on when nobody waits for it any more.
async fn anyway<T: Send + 'static>(work: impl Future<Output = Outcome<T>> + Send + 'static) -> Outcome<T> {
    tokio::spawn(work).await.unwrap()
}

#[async_trait]
impl DockerEngine for Diligent {
    async fn ping(&self, deadline: Duration) -> Outcome<()> {
        self.0.ping(deadline).await
    }

    async fn info(&self) -> Outcome<EngineInfo> {
        self.0.info().await
    }

    async fn list(&self) -> Outcome<Vec<ObservedContainer>> {
        self.0.list().await
    }

    async fn inspect(&self, id: &ContainerId) -> Outcome<ObservedContainer> {
        self.0.inspect(id).await
    }

    async fn create(&self, request: &CreateRequest) -> Outcome<Created> {
        let (host, request) = (self.0.clone(), request.clone());
        anyway(async move { host.create(&request).await }).await
    }

    async fn start(&self, id: &ContainerId) -> Outcome<()> {
        let (host, id) = (self.0.clone(), id.clone());
        anyway(async move { host.start(&id).await }).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Outcome<()> {
        self.0.stop(id, grace).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Outcome<()> {
        self.0.restart(id, grace).await
    }

    async fn remove(&self, id: &ContainerId) -> Outcome<()> {
        let (host, id) = (self.0.clone(), id.clone());
        anyway(async move { host.remove(&id).await }).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        login: Option<crate::model::RegistryLogin>,
    ) -> Outcome<BoxStream<'static, Outcome<PullProgress>>> {
        self.0.pull(image, login).await
    }

    async fn registry_digest(&self, image: &ImageRef, login: Option<RegistryLogin>) -> Outcome<ImageDigest> {
        self.0.registry_digest(image, login).await
    }

    async fn find_image(&self, image: &ImageRef) -> Outcome<Option<FoundImage>> {
        self.0.find_image(image).await
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Outcome<BoxStream<'static, Outcome<LogChunk>>> {
        self.0.logs(id, options).await
    }

    async fn events(&self, since: Option<Timestamp>) -> Outcome<BoxStream<'static, Outcome<EngineEvent>>> {
        self.0.events(since).await
    }

    async fn usage(&self) -> Outcome<EngineUsage> {
        self.0.usage().await
    }

    async fn update(&self, id: &ContainerId, sizes: &Sizes) -> Outcome<()> {
        self.0.update(id, sizes).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Outcome<()> {
        self.0.rename(id, name).await
    }

    async fn create_network(&self, network: &NetworkRequest) -> Outcome<ObjectLabels> {
        self.0.create_network(network).await
    }

    async fn find_network(&self, name: &str) -> Outcome<Option<ObjectLabels>> {
        self.0.find_network(name).await
    }

    async fn remove_network(&self, name: &str) -> Outcome<()> {
        self.0.remove_network(name).await
    }

    async fn create_volume(&self, volume: &VolumeRequest) -> Outcome<ObjectLabels> {
        self.0.create_volume(volume).await
    }

    async fn remove_volume(&self, name: &str) -> Outcome<()> {
        self.0.remove_volume(name).await
    }

    async fn put_files(&self, id: &ContainerId, files: &[ContainerFile]) -> Outcome<()> {
        self.0.put_files(id, files).await
    }

    async fn find_volume(&self, name: &str) -> Outcome<Option<ObjectLabels>> {
        self.0.find_volume(name).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String]) -> Outcome<BoxStream<'static, Outcome<ExecChunk>>> {
        self.0.exec(id, command).await
    }

    async fn attach(&self, id: &ContainerId) -> Outcome<BoxStream<'static, Outcome<LogChunk>>> {
        self.0.attach(id).await
    }
}

/// Hosts, a store, and one server after the other.
struct World {
    hosts: HashMap<String, SimulatedEngine>,
    store: Arc<dyn Store>,
    registry: Arc<EmbeddedRegistry>,
    random: StdRng,
    /// The containers that somebody was told of.
    told: BTreeSet<ContainerId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let hosts = ["a", "b", "c"].into_iter().map(|name| {
            let latency = Duration::from_millis(random.random_range(1..400));
            let settings = SimulatedHost { memory: MemoryMb::new(1024), latency, ..SimulatedHost::new(name) };
            (name.to_owned(), SimulatedEngine::new(&settings))
        });
        let hosts = hosts.collect();
        let (store, registry) = (Arc::new(MemoryStore::new()), Arc::new(EmbeddedRegistry::new()));
        Self { hosts, store, registry, random, told: BTreeSet::new() }
    }

    /// A server that leads until its term is resigned: from then on it is as if it had been killed.
    async fn serve(&self) -> (Controller, crate::leadership::Term) {
        let term = Candidate::new(self.registry.clone(), "one", Duration::from_secs(3)).lead().await;
        let hosts = self.hosts.clone();
        let connector: Connector = Arc::new(move |spec: &EngineSpec| -> crate::engine::Result<Arc<dyn DockerEngine>> {
            Ok(Arc::new(Diligent(hosts[spec.id.as_str()].clone())))
        });
        let builder = Controller::builder().store(self.store.clone()).connector(connector).term(term.clone());
        let controller = builder.build().await.unwrap();
        for name in self.hosts.keys() {
            if controller.engine(name).is_err() {
                controller.add_engine(&ann(), engine_spec(name)).await.unwrap();
            }
        }
        controller.wait_ready(Duration::from_secs(2)).await;
        (controller, term)
    }

    /// Makes the request, and kills the server after a while. Whether it was answered before.
    async fn run_and_kill(&mut self, count: usize, id: RequestId, life: Option<Duration>) -> Option<Vec<ContainerId>> {
        let (controller, term) = self.serve().await;
        let request = RunRequest { spec: small(), count, pull: false };
        let told = Arc::new(parking_lot::Mutex::new(BTreeSet::new()));
        let answer = async {
            let mut steps = controller.run_once(&ann(), request, id).await.ok()?;
            let (mut started, mut is_complete) = (Vec::new(), false);
            while let Some(step) = steps.next().await {
                // Nobody hears what a server says after its end.
                if term.is_over() {
                    return None;
                }
                match step {
                    Progress::Started { container, .. } => {
                        told.lock().insert(container.id.clone());
                        started.push(container.id.clone());
                    }
                    Progress::Summary { failed, .. } => is_complete = failed == 0,
                    _ => {}
                }
            }
            is_complete.then_some(started)
        };
        let answer = match life {
            Some(life) => tokio::time::timeout(life, answer).await.ok().flatten(),
            None => answer.await,
        };
        self.told.extend(told.lock().iter().cloned());
        term.resign();
        controller.shared.cluster.shutdown().await;
        answer
    }

    fn there(&self) -> BTreeSet<ContainerId> {
        self.hosts.values().flat_map(|host| host.really_there()).map(|found| found.id).collect()
    }

    fn all_run(&self) -> bool {
        let mut all = self.hosts.values().flat_map(|host| host.really_there());
        all.all(|found| found.state == ContainerState::Running)
    }
}

fn small() -> ContainerSpec {
    ContainerSpec { memory: Some(MemoryMb::new(16)), ..web() }
}

async fn run_schedule(seed: u64) {
    let again = format!("the same kills again: {SEED_VARIABLE}={seed}");
    let mut world = World::new(seed);
    let id = RequestId::of("ann", "killed");
    let count = world.random.random_range(1..5);
    let mut away: Option<String> = None;
    for _ in 0..world.random.random_range(1..5) {
        let life = Duration::from_millis(world.random.random_range(0..2500));
        world.run_and_kill(count, id, Some(life)).await;
        // Now and then a host is away for a life or two.
        if let Some(name) = away.take() {
            world.hosts[&name].set_reachable(true);
        } else if world.random.random_bool(0.2) {
            let name = ["a", "b", "c"][world.random.random_range(0..3)].to_owned();
            world.hosts[&name].set_reachable(false);
            away = Some(name);
        }
        if world.random.random_bool(0.5) {
            tokio::time::sleep(Duration::from_millis(world.random.random_range(0..1000))).await;
        }
    }
    let mut answer = None;
    for _ in 0..5 {
        answer = world.run_and_kill(count, id, None).await;
        if answer.is_some() {
            break;
        }
    }
    let answer: BTreeSet<ContainerId> =
        answer.unwrap_or_else(|| panic!("never answered; {again}")).into_iter().collect();
    assert_eq!(answer.len(), count, "{again}");
    world.hosts.values().for_each(|host| host.set_reachable(true));
    // The next leader removes what is left, and nothing else, however long it looks.
    let (controller, _term) = world.serve().await;
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(world.there(), answer, "what was answered is not what is there; {again}");
    assert!(world.all_run(), "{again}");
    assert!(world.told.is_subset(&answer), "somebody was told of another one; {again}");
    let events = controller.events(1000).await.unwrap();
    for container in &answer {
        let runs =
            |event: &&Event| event.kind.as_str() == "run-container" && event.container.as_ref() == Some(container);
        let by: Vec<_> = events.iter().filter(runs).map(|event| event.user.clone()).collect();
        assert_eq!(by, [Some("ann".parse().unwrap())], "{container} has one event that says who did it; {again}");
    }
    controller.cluster().audit().unwrap();
    assert_eq!(controller.cluster().reservation_count(), 0, "{again}");
    controller.shared.cluster.shutdown().await;
}

#[test]
fn what_was_answered_is_what_runs_whenever_the_server_is_killed() {
    let given = std::env::var(SEED_VARIABLE).ok().map(|seed| seed.parse().unwrap());
    let seeds = given.map_or(0..SCHEDULES, |seed: u64| seed..seed + 1);
    for seed in seeds {
        // Of a server that was killed nothing is left; so not of those of the schedule before.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run_schedule(seed));
    }
}
