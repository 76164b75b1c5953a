//! What every engine must do. Run [`conforms`] on yours.
//!
//! The image must have `sleep` and `echo`, and start by default something that does not end: the one of
//! [`super::docker`] does. Every property makes containers of its own and removes them, so the suite can run on a host that
//! others use.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;
use uuid::Uuid;

use crate::engine::{
    CreateRequest, DockerEngine, EngineErrorKind, EngineEvent, LogOptions, LogStream, ObservedContainer,
};
use crate::model::{
    ContainerId, ContainerSpec, ContainerState, Cpus, HealthCheck, HealthCommand, ImageRef, LaunchId, MemoryMb,
    Resources, RestartPolicy, Ulimit,
};

/// How long to wait for what must happen.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a program may take to end; those of the suite do not listen.
const GRACE: Duration = Duration::ZERO;

/// An engine, an image to run on it, and what must be removed afterwards.
struct Bench {
    engine: Arc<dyn DockerEngine>,
    image: ImageRef,
}

/// Runs the whole suite.
///
/// # Panics
/// At the first thing that the engine does not do as it must.
pub async fn conforms(engine: Arc<dyn DockerEngine>, image: ImageRef) {
    let bench = Bench { engine, image };
    bench.says_what_it_is().await;
    bench.brings_a_container_through_its_life().await;
    bench.keeps_every_field_of_a_description().await;
    bench.keeps_what_the_platform_wrote().await;
    bench.refuses_what_is_not_there().await;
    bench.gives_a_name_once().await;
    bench.binds_a_port_once().await;
    bench.links_to_what_is_there().await;
    bench.tells_what_happens_in_order().await;
    bench.tells_what_happened_since().await;
    bench.gives_the_output_of_programs().await;
}

impl Bench {
    fn sleeping(&self) -> ContainerSpec {
        let mut spec = ContainerSpec::new(self.image.clone());
        spec.args = vec!["sleep".to_owned(), "3600".to_owned()];
        spec.memory = Some(MemoryMb::new(16));
        spec
    }

    fn request(&self, spec: ContainerSpec) -> CreateRequest {
        CreateRequest {
            name: format!("conformance-{}", Uuid::now_v7()),
            spec,
            links: Vec::new(),
            platform: "conformance".to_owned(),
            engine: "conformance".parse().unwrap(),
            launch: LaunchId::new(),
            user: "ann".to_owned(),
            mark: None,
            log_rotation: None,
        }
    }

    async fn running(&self, spec: ContainerSpec) -> ObservedContainer {
        let id = self.engine.create(&self.request(spec)).await.unwrap().id;
        self.engine.start(&id).await.unwrap();
        self.engine.inspect(&id).await.unwrap()
    }

    /// A container as listed, to be compared with it as inspected: a list need not know the limits.
    async fn listed(&self, id: &ContainerId) -> Vec<ObservedContainer> {
        let all = self.engine.list().await.unwrap().into_iter().filter(|found| found.id == *id);
        all.map(|found| ObservedContainer { limits_known: true, ..found }).collect()
    }

    async fn says_what_it_is(&self) {
        self.engine.ping(TIMEOUT).await.unwrap();
        let (first, second) = (self.engine.info().await.unwrap(), self.engine.info().await.unwrap());
        assert_eq!(first.daemon_id, second.daemon_id);
        assert!(!first.docker_version.is_empty());
        assert!(first.cpus > Cpus::ZERO && first.memory > MemoryMb::ZERO);
        self.engine.usage().await.unwrap();
    }

    async fn brings_a_container_through_its_life(&self) {
        let mut spec = self.sleeping();
        spec.bind_ports = vec!["127.0.0.1::80".parse().unwrap()];
        let id = self.engine.create(&self.request(spec)).await.unwrap().id;
        let made = self.engine.inspect(&id).await.unwrap();
        assert_eq!((made.state, made.ports.len()), (ContainerState::Created, 0));
        for _ in 0..2 {
            self.engine.start(&id).await.expect("starting one that runs is no error");
            let started = self.engine.inspect(&id).await.unwrap();
            assert_eq!((started.state, started.ports.len()), (ContainerState::Running, 1));
            assert!(started.ports[0].host_port > 0);
            assert_eq!(started.ports[0].container_port, 80);
        }
        for _ in 0..2 {
            self.engine.stop(&id, GRACE).await.expect("stopping one that is stopped is no error");
            let stopped = self.engine.inspect(&id).await.unwrap();
            assert_eq!((stopped.state, stopped.ports.len()), (ContainerState::Stopped, 0));
        }
        for _ in 0..2 {
            self.engine.restart(&id, GRACE).await.expect("one that is stopped restarts, and one that runs");
            assert_eq!(self.engine.inspect(&id).await.unwrap().state, ContainerState::Running);
        }
        let listed = self.listed(&id).await;
        assert_eq!(listed, [self.engine.inspect(&id).await.unwrap()], "listed once, and as inspected");
        self.engine.remove(&id).await.unwrap();
        assert!(self.listed(&id).await.is_empty());
    }

    async fn keeps_every_field_of_a_description(&self) {
        let other = self.running(self.sleeping()).await;
        let mut spec = self.sleeping();
        spec.cpus = Some(Cpus::from_milli(250));
        spec.cpuset = Some("0".to_owned());
        spec.entrypoint = vec!["sleep".to_owned()];
        spec.args = vec!["3600".to_owned()];
        spec.environment = BTreeMap::from([("GREETING".to_owned(), "hello \"world\" = $1".to_owned())]);
        spec.hostname = Some("inside".to_owned());
        spec.domainname = Some("example.org".to_owned());
        spec.bind_ports = vec!["127.0.0.1::80".parse().unwrap(), "udp/::53".parse().unwrap()];
        spec.user_data = Some("free text\nof two lines".to_owned());
        spec.volumes = vec!["/data".to_owned()];
        spec.links = BTreeMap::from([(other.name.clone(), "other".to_owned())]);
        spec.restart_policy = RestartPolicy::OnFailure { maximum_retry: 3 };
        spec.publish = true;
        spec.user = Some("0:0".to_owned());
        spec.read_only = true;
        spec.tmpfs = vec!["/run:size=1m".to_owned()];
        spec.shm_size = Some(MemoryMb::new(8));
        spec.cap_drop = ["MKNOD".parse().unwrap()].into();
        spec.ulimits = BTreeMap::from([("core".to_owned(), Ulimit { soft: 0, hard: 0 })]);
        spec.extra_hosts = vec!["elsewhere:10.0.0.5".to_owned()];
        spec.memory_reservation = Some(MemoryMb::new(8));
        spec.pids_limit = Some(100);
        spec.stop_signal = Some("SIGINT".parse().unwrap());
        spec.stop_timeout = Some(30);
        let command = Some(HealthCommand::Exec(vec!["echo".to_owned()]));
        spec.health = Some(HealthCheck { command, interval: Some(Duration::from_secs(60)), ..HealthCheck::default() });
        spec.docker_labels = BTreeMap::from([("org.example.label".to_owned(), "a = b".to_owned())]);
        let mut request = self.request(spec.clone());
        request.links = vec![(other.name.trim_start_matches('/').to_owned(), "other".to_owned())];
        let id = self.engine.create(&request).await.unwrap().id;
        self.engine.start(&id).await.unwrap();
        let found = self.engine.inspect(&id).await.unwrap();
        assert_eq!(found.spec, spec);
        assert_eq!(found.reserved, Resources { cpus: Cpus::from_milli(250), memory: MemoryMb::new(16) });
        assert_eq!(found.name, format!("/{}", request.name));
        assert_eq!(self.listed(&id).await, [found]);
        self.engine.remove(&id).await.unwrap();
        self.engine.remove(&other.id).await.unwrap();
    }

    async fn keeps_what_the_platform_wrote(&self) {
        let request = self.request(self.sleeping());
        let id = self.engine.create(&request).await.unwrap().id;
        let managed = self.engine.inspect(&id).await.unwrap().managed.expect("it is the platform's");
        assert_eq!((&*managed.platform, &*managed.user), (&*request.platform, &*request.user));
        assert_eq!((managed.launch, managed.group), (request.launch, request.spec.group()));
        self.engine.remove(&id).await.unwrap();
    }

    async fn refuses_what_is_not_there(&self) {
        let missing = ContainerSpec::new("conformance/missing:1".parse().unwrap());
        let error = self.engine.create(&self.request(missing)).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::NoSuchImage);
        let nobody: ContainerId = "0123456789abcdef".repeat(4).parse().unwrap();
        let outcomes = [
            self.engine.inspect(&nobody).await.map(drop),
            self.engine.start(&nobody).await,
            self.engine.stop(&nobody, GRACE).await,
            self.engine.restart(&nobody, GRACE).await,
            self.engine.remove(&nobody).await,
            self.engine.logs(&nobody, &LogOptions::default()).await.map(drop),
        ];
        for (number, outcome) in outcomes.into_iter().enumerate() {
            assert_eq!(outcome.unwrap_err().kind(), EngineErrorKind::NoSuchContainer, "operation {number}");
        }
    }

    async fn gives_a_name_once(&self) {
        let request = self.request(self.sleeping());
        let id = self.engine.create(&request).await.unwrap().id;
        let again = CreateRequest { launch: LaunchId::new(), ..request };
        assert_eq!(self.engine.create(&again).await.unwrap_err().kind(), EngineErrorKind::Conflict);
        self.engine.remove(&id).await.unwrap();
        let id = self.engine.create(&again).await.expect("the name is free again").id;
        self.engine.remove(&id).await.unwrap();
    }

    async fn binds_a_port_once(&self) {
        let mut spec = self.sleeping();
        spec.bind_ports = vec!["127.0.0.1::80".parse().unwrap()];
        let first = self.running(spec.clone()).await;
        let port = first.ports[0].host_port;
        spec.bind_ports = vec![format!("127.0.0.1:{port}:80").parse().unwrap()];
        let second = self.engine.create(&self.request(spec)).await.unwrap().id;
        assert_eq!(self.engine.start(&second).await.unwrap_err().kind(), EngineErrorKind::PortTaken);
        assert_eq!(self.engine.inspect(&first.id).await.unwrap().ports[0].host_port, port);
        self.engine.remove(&first.id).await.unwrap();
        self.engine.start(&second).await.expect("the port is free again");
        assert_eq!(self.engine.inspect(&second).await.unwrap().ports[0].host_port, port);
        self.engine.remove(&second).await.unwrap();
    }

    async fn links_to_what_is_there(&self) {
        let other = self.running(self.sleeping()).await;
        let mut request = self.request(self.sleeping());
        request.links = vec![(other.name.trim_start_matches('/').to_owned(), "other".to_owned())];
        let id = self.engine.create(&request).await.unwrap().id;
        self.engine.start(&id).await.unwrap();
        assert_eq!(self.engine.inspect(&id).await.unwrap().state, ContainerState::Running);
        self.engine.remove(&id).await.unwrap();
        self.engine.remove(&other.id).await.unwrap();
    }

    async fn until_destroyed(
        &self,
        id: &ContainerId,
        events: &mut (impl futures::Stream<Item = crate::engine::Result<EngineEvent>> + Unpin),
    ) -> Vec<EngineEvent> {
        let mut seen: Vec<EngineEvent> = Vec::new();
        while seen.last().is_none_or(|event| event.action != "destroy") {
            let event = timeout(TIMEOUT, events.next()).await.expect("every event is told").unwrap().unwrap();
            if event.container.as_ref() == Some(id) {
                seen.push(event);
            }
        }
        seen
    }

    async fn tells_what_happens_in_order(&self) {
        let mut events = self.engine.events(None).await.unwrap();
        let request = self.request(self.sleeping());
        let id = self.engine.create(&request).await.unwrap().id;
        self.engine.start(&id).await.unwrap();
        self.engine.remove(&id).await.unwrap();
        let seen = self.until_destroyed(&id, &mut events).await;
        let of_note = ["create", "start", "die", "destroy"];
        let actions: Vec<&str> =
            seen.iter().map(|event| event.action.as_str()).filter(|action| of_note.contains(action)).collect();
        assert_eq!(actions, of_note);
        assert!(seen.is_sorted_by_key(|event| event.time));
        assert!(seen.iter().all(|event| event.name == request.name));
        assert!(seen[0].image.as_deref().is_some_and(|image| image == self.image.as_str()));
    }

    async fn tells_what_happened_since(&self) {
        let mut events = self.engine.events(None).await.unwrap();
        let found = self.running(self.sleeping()).await;
        self.engine.remove(&found.id).await.unwrap();
        let seen = self.until_destroyed(&found.id, &mut events).await;
        drop(events);
        let start = seen.iter().position(|event| event.action == "start").unwrap();
        let mut again = self.engine.events(Some(seen[start].time)).await.unwrap();
        let again = self.until_destroyed(&found.id, &mut again).await;
        // That moment itself may be told once more.
        assert!(again == seen[start..] || again == seen[start + 1..], "{again:?} of {seen:?}");
    }

    async fn gives_the_output_of_programs(&self) {
        let mut spec = self.sleeping();
        spec.args = ["echo", "hello", "world"].map(str::to_owned).to_vec();
        let found = self.running(spec).await;
        let options = LogOptions { stderr: false, follow: true, ..LogOptions::default() };
        if found.state == ContainerState::Running {
            // A real program ends by itself; a simulated one is told to.
            self.engine.stop(&found.id, Duration::from_secs(5)).await.unwrap();
        }
        let logs = self.engine.logs(&found.id, &options).await.unwrap();
        let chunks: Vec<_> =
            timeout(TIMEOUT, logs.collect::<Vec<_>>()).await.expect("the output ends with the program");
        let chunks: Vec<_> = chunks.into_iter().map(|chunk| chunk.unwrap()).collect();
        let text: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes.to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&text), "hello world\n");
        assert!(chunks.iter().all(|chunk| chunk.stream == LogStream::Stdout));
        let nothing = LogOptions { tail: Some(0), ..LogOptions::default() };
        let logs = self.engine.logs(&found.id, &nothing).await.unwrap();
        assert_eq!(logs.collect::<Vec<_>>().await.len(), 0);
        self.engine.remove(&found.id).await.unwrap();
    }
}
