//! What the reconciler is told, on simulated hosts.

use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

use super::*;
use crate::background::Background;
use crate::clock::Clock;
use crate::cluster::launches::Launches;
use crate::cluster::{ClusterSettings, Platform};
use crate::engine::{CreateRequest, DockerEngine, SimulatedEngine, VolumeRequest};
use crate::events::RecordingSink;
use crate::model::app::Sizes;
use crate::model::{EngineSpec, HealthStatus, LaunchId, MemoryMb, Resources, RestartPolicy, SimulatedHost};
use crate::scheduler::Spread;

struct Bench {
    cluster: Cluster,
    clock: Clock,
    host: SimulatedEngine,
    id: EngineId,
    changes: Receiver<AppChange>,
}

fn shop() -> AppName {
    "shop".parse().unwrap()
}

fn request(slot: Option<u32>) -> CreateRequest {
    let labels = ReplicaLabels {
        app: shop(),
        declared: None,
        component: "web".parse().unwrap(),
        slot,
        generation: 1,
        revision: 3,
        fingerprint: String::new(),
        image_id: None,
        run: None,
    };
    let mut spec = ContainerSpec::new("web:1".parse().unwrap());
    spec.memory = Some(MemoryMb::new(16));
    spec.environment.insert("PASSWORD".into(), "hunter2".into());
    CreateRequest {
        name: format!("shop.web.{}.1", slot.map_or_else(|| "before".to_owned(), |slot| slot.to_string())),
        spec,
        links: Vec::new(),
        platform: "test".into(),
        engine: "one".parse().unwrap(),
        launch: LaunchId::new(),
        user: "ann".into(),
        mark: None,
        log_rotation: None,
        replica: Some(labels),
        network: None,
        hidden_environment: Default::default(),
    }
}

impl Bench {
    async fn new() -> Self {
        let clock = Clock::manual("2030-01-01T00:00:00Z".parse().unwrap());
        let events = Arc::new(RecordingSink::default());
        let (platform, launches) = (Platform::new("test".to_owned()), Launches::in_memory(events.clone()));
        let (settings, scheduler) = (ClusterSettings::default(), Arc::new(Spread::default()));
        let background = Background::default();
        let cluster =
            Cluster::with_launches(settings, scheduler, events, platform, launches, background, clock.clone());
        let host = SimulatedEngine::new(&SimulatedHost::new("one"));
        let id: EngineId = "one".parse().unwrap();
        cluster.add_engine(EngineSpec::new(id.clone(), "sim://one".parse().unwrap()), Arc::new(host.clone()));
        cluster.wait_synced(&id).await;
        let changes = cluster.app_changes();
        Self { cluster, clock, host, id, changes }
    }

    /// A replica that runs, is known, and of which nothing is to be told any more.
    async fn replica(&mut self) -> ContainerId {
        let id = self.host.create(&request(Some(0))).await.unwrap().id;
        self.host.start(&id).await.unwrap();
        self.until(|known| known.is_some_and(|known| known.state == ContainerState::Running)).await;
        self.at_rest().await;
        id
    }

    fn known(&self) -> Option<ReplicaContainer> {
        self.cluster.replicas(&shop()).pop()
    }

    async fn until(&self, is_so: impl Fn(Option<&ReplicaContainer>) -> bool) {
        let reached = async {
            while !is_so(self.known().as_ref()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(30), reached).await;
        assert!(reached.is_ok(), "never; it is {:?}", self.known());
    }

    /// Waits until nothing happens any more, and forgets what was told.
    async fn at_rest(&mut self) {
        tokio::time::sleep(Duration::from_secs(5)).await;
        while self.changes.try_recv().is_ok() {}
    }

    async fn told(&mut self) -> Vec<AppChange> {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut told = Vec::new();
        loop {
            match self.changes.try_recv() {
                Ok(change) => told.push(change),
                Err(TryRecvError::Empty) => return told,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn reach(&self) -> EngineReach {
        self.cluster.reaches()[&self.id]
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_of_an_application_is_known_with_all_that_is_of_interest() {
    let mut bench = Bench::new().await;
    let id = bench.replica().await;
    let known = bench.known().unwrap();
    assert_eq!((&known.id, &*known.name, &known.engine), (&id, "shop.web.0.1", &bench.id));
    assert_eq!((known.labels.slot, known.labels.generation, known.labels.revision), (Some(0), 1, 3));
    assert!(known.run.started.is_some() && known.run.address.is_some() && known.limits_known);
    assert!(known.spec.environment.is_empty());
    assert_eq!(known.spec.memory, Some(MemoryMb::new(16)));
    assert_eq!(bench.cluster.replica_apps(), BTreeSet::from([shop()]));
    bench.cluster.audit().unwrap();
    bench.cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_to_one_is_read_and_told() {
    let mut bench = Bench::new().await;
    let id = bench.replica().await;
    let host = bench.host.clone();
    let sizes = Sizes { cpus: None, memory: MemoryMb::new(32), restart: RestartPolicy::Always };
    type Check = fn(&ReplicaContainer) -> bool;
    let mut check = async |what: &str, is_so: Check| {
        bench.until(|known| known.is_some_and(is_so)).await;
        assert!(bench.told().await.contains(&AppChange::App(shop())), "{what} is told");
        bench.cluster.audit().unwrap();
    };
    host.set_health(&id, HealthStatus::Unhealthy).unwrap();
    check("its health", |known| known.run.health == Some(HealthStatus::Unhealthy)).await;
    host.outsider_pause(&id).unwrap();
    check("that it is paused", |known| known.state == ContainerState::Paused).await;
    host.start(&id).await.unwrap();
    check("that it goes on", |known| known.state == ContainerState::Running).await;
    host.update(&id, &sizes).await.unwrap();
    check("its sizes", |known| {
        known.spec.memory == Some(MemoryMb::new(32)) && known.spec.restart_policy == RestartPolicy::Always
    })
    .await;
    host.outsider_end(&id, 3).unwrap();
    check("that it was started again", |known| known.run.restarts == 1 && known.exits.len() == 1).await;
    host.outsider_rename(&id, "mine").unwrap();
    check("its other name", |known| known.name == "mine").await;
    host.rename(&id, "shop.web.0.1").await.unwrap();
    check("its own name", |known| known.name == "shop.web.0.1").await;
    host.outsider_stop(&id).unwrap();
    check("that it was stopped", |known| known.state == ContainerState::Stopped && known.run.exit_code == Some(143))
        .await;
    host.start(&id).await.unwrap();
    check("that it was started", |known| known.state == ContainerState::Running && known.run.exit_code == Some(143))
        .await;
    host.outsider_remove(&id).unwrap();
    bench.until(|known| known.is_none()).await;
    assert!(bench.told().await.contains(&AppChange::App(shop())), "that it is gone");
    assert_eq!(bench.cluster.replica_apps(), BTreeSet::new());
    bench.cluster.audit().unwrap();
    bench.cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_renamed_stays_of_its_application_and_shows_no_secret() {
    let mut bench = Bench::new().await;
    let id = bench.replica().await;
    bench.host.outsider_rename(&id, "mine").unwrap();
    // Read by its event, and with all others.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(bench.known().unwrap().name, "mine");
        let known = bench.cluster.container(&id).unwrap();
        assert!(known.container.managed && known.replica.is_some());
    }
    assert_eq!(bench.cluster.named_like("mine"), [], "it is in nobody's way");
    bench.cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_program_that_ends_at_once_has_ended_once() {
    let bench = Bench::new().await;
    let id = bench.host.create(&request(None)).await.unwrap().id;
    bench.host.start(&id).await.unwrap();
    bench.host.outsider_end(&id, 4).unwrap();
    bench.until(|known| known.is_some_and(|known| !known.exits.is_empty())).await;
    let known = bench.known().unwrap();
    assert_eq!((known.labels.slot, known.run.exit_code, &*known.exits), (None, Some(4), &[bench.clock.now()][..]));
    bench.clock.advance(Duration::from_secs(601));
    assert_eq!(bench.known().unwrap().exits, []);
    bench.cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn reading_one_again_notes_what_was_found_and_tells_it() {
    let mut bench = Bench::new().await;
    let id = bench.replica().await;
    // Nobody hears of it.
    bench.host.break_streams();
    bench.host.set_health(&id, HealthStatus::Healthy).unwrap();
    bench.cluster.refresh(&bench.id, &id).await.unwrap();
    assert_eq!(bench.known().unwrap().run.health, Some(HealthStatus::Healthy));
    assert_eq!(bench.changes.try_recv(), Ok(AppChange::App(shop())));
    bench.at_rest().await;
    bench.cluster.refresh(&bench.id, &id).await.unwrap();
    assert_eq!(bench.told().await, [], "nothing is new");
    bench.cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn containers_of_others_that_have_such_a_name_are_found() {
    let mut bench = Bench::new().await;
    bench.replica().await;
    for name in ["shop.web.1.1", "shopping"] {
        bench.host.outsider_run_as(name, "db:1".parse().unwrap(), None);
    }
    bench.at_rest().await;
    assert_eq!(bench.cluster.named_like("shop."), [("shop.web.1.1".to_owned(), bench.id.clone())]);
    bench.cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn whether_an_engine_can_be_reached_is_told() {
    let mut bench = Bench::new().await;
    bench.at_rest().await;
    assert_eq!(bench.reach(), EngineReach::Up);
    let start = bench.clock.now();
    bench.host.set_daemon_gone(true);
    assert!(bench.told().await.contains(&AppChange::Engines));
    assert_eq!(bench.reach(), EngineReach::DaemonGone { since: start });
    bench.clock.advance(Duration::from_secs(10));
    bench.host.set_reachable(false);
    assert!(bench.told().await.contains(&AppChange::Engines));
    let EngineReach::Silent { since } = bench.reach() else { panic!("{:?}", bench.reach()) };
    assert!(since >= start);
    bench.host.set_reachable(true);
    bench.host.set_daemon_gone(false);
    assert!(bench.told().await.contains(&AppChange::Engines));
    assert_eq!(bench.reach(), EngineReach::Up);
    bench.cluster.set_absent(&bench.id, true);
    assert_eq!(bench.changes.try_recv(), Ok(AppChange::Engines));
    assert_eq!(bench.reach(), EngineReach::Silent { since: bench.clock.now() });
    assert_eq!(bench.cluster.engine(bench.id.as_str()).unwrap().health.since, bench.clock.now());
    bench.cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_changed_of_an_engine_is_told() {
    let mut bench = Bench::new().await;
    bench.at_rest().await;
    bench.cluster.set_draining(&bench.id, true);
    assert_eq!(bench.told().await, [AppChange::Engines], "its drain mark");
    bench.cluster.set_labels(&bench.id, &["ssd".to_owned()]);
    assert_eq!(bench.told().await, [AppChange::Engines], "its labels");
    let (app, component) = (shop(), "db".parse().unwrap());
    let volume = VolumeRequest { name: "shop.db.1.data".into(), platform: "test".into(), app, component, slot: 1 };
    let platform = bench.cluster.platform().to_owned();
    let id = bench.id.clone();
    let key = |name: &str| (id.clone(), name.to_owned());
    bench.host.create_volume(&VolumeRequest { platform, ..volume }).await.unwrap();
    assert_eq!(bench.told().await, [AppChange::Engines], "its volumes");
    assert_eq!(bench.cluster.volumes_of(&shop()), BTreeMap::from([(key("shop.db.1.data"), true)]));
    bench.host.outsider_remove_volume("shop.db.1.data").unwrap();
    bench.host.outsider_volume("shop.db.2.data");
    bench.host.outsider_volume("other");
    assert_eq!(bench.told().await, [AppChange::Engines]);
    assert_eq!(bench.cluster.volumes_of(&shop()), BTreeMap::from([(key("shop.db.2.data"), false)]));
    bench.cluster.note_volume(&bench.id, "shop.db.3.data");
    assert_eq!(bench.told().await, [AppChange::Engines]);
    let both = [(key("shop.db.2.data"), false), (key("shop.db.3.data"), true)];
    assert_eq!(bench.cluster.volumes_of(&shop()), BTreeMap::from(both));
    bench.cluster.remove_engine(&bench.id);
    assert_eq!(bench.told().await, [AppChange::Engines]);
    bench.cluster.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn that_room_became_free_is_told_once_for_all() {
    let mut bench = Bench::new().await;
    let ids: Vec<_> = (0..50).map(|_| bench.host.outsider_run("db:1".parse().unwrap(), None)).collect();
    bench.at_rest().await;
    for id in &ids {
        bench.host.outsider_stop(id).unwrap();
    }
    let told = bench.told().await;
    assert!((1..=2).contains(&told.len()) && told.iter().all(|change| *change == AppChange::Engines), "{told:?}");
    bench.cluster.with_snapshot(|snapshot| {
        assert_eq!(snapshot.get(&bench.id).unwrap().reserved, Resources::ZERO);
    });
    bench.cluster.shutdown().await;
}
