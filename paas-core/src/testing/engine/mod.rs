//! What every engine must do. Run [`conforms`] on yours.
//!
//! Every property makes containers of its own and removes them, so the suite can run on a host that others use.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod apps;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;
use uuid::Uuid;

use crate::engine::{
    CreateRequest, DockerEngine, EngineErrorKind, EngineEvent, LogOptions, LogStream, ObservedContainer, Result,
    RunState,
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
/// The host must have the image, and a container of it must run until it is stopped; that of `testing::docker` will do. The
/// suite runs `sleep`, `echo` and `cat` in it. An engine that runs no programs pretends that `echo hello world` wrote that line to
/// standard output. No host has the image `conformance/missing:1`.
///
/// An engine
///
/// - says what it is, and gives every container an id of its own, unlike others in its first 12 digits;
/// - makes, starts, stops, restarts and removes containers; starting one that runs and stopping one that is stopped is no
///   error, and only one that runs has ports;
/// - gives back every field of a description as it was given, and who made the container for whom;
/// - refuses images, containers, names and ports that there are not or that are taken, each with its kind of error;
/// - makes containers that are linked to others on the same host;
/// - tells `create`, `start`, `die` and `destroy` in that order, also of what was before, for one that asks since when;
/// - gives the output of containers, also when they have ended;
/// - says since when a program runs, and how it ended;
/// - changes sizes and names of containers, and says what it enforces of a container of an application, without its environment;
/// - makes networks and volumes, once each, and removes none that is in use;
/// - runs commands in containers. One that runs no programs pretends that `echo hello world` does;
/// - puts files into the volumes of containers. One that runs no programs pretends that `cat` writes them.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
///
/// use paas_core::engine::SimulatedEngine;
/// use paas_core::model::SimulatedHost;
///
/// let engine = SimulatedEngine::new(&SimulatedHost::new("conforms"));
/// paas_core::testing::engine::conforms(Arc::new(engine), "web:1".parse().unwrap()).await;
/// # });
/// ```
///
/// # Panics
/// At the first thing that the engine does not do as it must.
pub async fn conforms(engine: Arc<dyn DockerEngine>, image: ImageRef) {
    let bench = Bench { engine, image };
    bench.says_what_it_is().await;
    bench.gives_each_container_an_id_of_its_own().await;
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
    bench.says_how_a_program_does().await;
    bench.keeps_which_container_of_an_application_one_is().await;
    bench.changes_sizes().await;
    bench.changes_names().await;
    bench.makes_networks().await;
    bench.makes_volumes().await;
    bench.knows_images().await;
    bench.runs_commands().await;
    bench.attaches_to_containers().await;
    bench.puts_files_into_containers().await;
}

/// A container but for what a list need not know: the limits, and how its program does.
fn as_listed(found: ObservedContainer) -> ObservedContainer {
    ObservedContainer { limits_known: true, run: RunState::default(), ..found }
}

/// Fails, and says what was expected, unless an operation was refused with that kind of error.
#[track_caller]
fn assert_refused<T: Debug>(outcome: Result<T>, kind: EngineErrorKind, what: &str) {
    match outcome {
        Err(error) if error.kind() == kind => {}
        Err(error) => panic!("{what} must be refused as {kind:?}, and was as {:?}: {error}", error.kind()),
        Ok(answer) => panic!("{what} must be refused as {kind:?}, and was answered with {answer:?}"),
    }
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
            replica: None,
            network: None,
            hidden_environment: Default::default(),
        }
    }

    async fn running(&self, spec: ContainerSpec) -> ObservedContainer {
        let id = self.engine.create(&self.request(spec)).await.unwrap().id;
        self.engine.start(&id).await.unwrap();
        self.engine.inspect(&id).await.unwrap()
    }

    async fn inspected(&self, id: &ContainerId) -> ObservedContainer {
        self.engine.inspect(id).await.unwrap()
    }

    /// A container as listed, to be compared with it as inspected.
    async fn listed(&self, id: &ContainerId) -> Vec<ObservedContainer> {
        let all = self.engine.list().await.unwrap().into_iter().filter(|found| found.id == *id);
        all.map(as_listed).collect()
    }

    async fn says_what_it_is(&self) {
        self.engine.ping(TIMEOUT).await.unwrap();
        let (first, second) = (self.engine.info().await.unwrap(), self.engine.info().await.unwrap());
        assert_eq!(first.daemon_id, second.daemon_id, "info: a daemon has the same id at every question");
        assert!(!first.docker_version.is_empty(), "info: there is a version");
        assert!(first.cpus > Cpus::ZERO && first.memory > MemoryMb::ZERO, "info: a host has CPUs and memory");
        self.engine.usage().await.unwrap();
    }

    /// People, and the platform, take two containers of one id for one.
    async fn gives_each_container_an_id_of_its_own(&self) {
        let mut ids = Vec::new();
        for _ in 0..2 {
            ids.push(self.engine.create(&self.request(self.sleeping())).await.unwrap().id);
        }
        assert_eq!(ids[0].as_str().len(), 64, "an id has 64 digits");
        assert_ne!(ids[0].short(), ids[1].short(), "ids differ in their first digits, as random ones do");
        for id in ids {
            self.engine.remove(&id).await.unwrap();
        }
    }

    async fn brings_a_container_through_its_life(&self) {
        let mut spec = self.sleeping();
        spec.bind_ports = vec!["127.0.0.1::80".parse().unwrap()];
        let id = self.engine.create(&self.request(spec)).await.unwrap().id;
        let made = self.engine.inspect(&id).await.unwrap();
        assert_eq!((made.state, made.ports.len()), (ContainerState::Created, 0), "made, and without ports");
        for _ in 0..2 {
            self.engine.start(&id).await.expect("starting one that runs is no error");
            let started = self.engine.inspect(&id).await.unwrap();
            let (state, ports) = (started.state, &started.ports);
            assert_eq!((state, ports.len()), (ContainerState::Running, 1), "started, and its port is bound: {ports:?}");
            assert!(ports[0].host_port > 0, "the port of the host is a number that was chosen");
            assert_eq!(ports[0].container_port, 80, "the port inside is the one that was asked for");
        }
        for _ in 0..2 {
            self.engine.stop(&id, GRACE).await.expect("stopping one that is stopped is no error");
            let stopped = self.engine.inspect(&id).await.unwrap();
            assert_eq!((stopped.state, stopped.ports.len()), (ContainerState::Stopped, 0), "stopped: no ports");
        }
        for _ in 0..2 {
            self.engine.restart(&id, GRACE).await.expect("one that is stopped restarts, and one that runs");
            assert_eq!(self.engine.inspect(&id).await.unwrap().state, ContainerState::Running, "restarted, it runs");
        }
        let listed = self.listed(&id).await;
        assert_eq!(listed, [as_listed(self.inspected(&id).await)], "listed once, and as inspected");
        self.engine.remove(&id).await.expect("one that runs is killed and removed");
        assert!(self.listed(&id).await.is_empty(), "what was removed is not listed");
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
        assert_eq!(found.spec, spec, "every field of the description is as it was given");
        let asked = Resources { cpus: Cpus::from_milli(250), memory: MemoryMb::new(16) };
        assert_eq!(found.reserved, asked, "what was asked for is reserved");
        assert_eq!(found.name, format!("/{}", request.name), "a container's name has a slash before it");
        assert_eq!(self.listed(&id).await, [as_listed(found)], "listed as inspected");
        self.engine.remove(&id).await.unwrap();
        self.engine.remove(&other.id).await.unwrap();
    }

    async fn keeps_what_the_platform_wrote(&self) {
        let request = self.request(self.sleeping());
        let id = self.engine.create(&request).await.unwrap().id;
        let managed = self.engine.inspect(&id).await.unwrap().managed.expect("it is the platform's");
        assert_eq!(&*managed.platform, &*request.platform, "the platform is written on it");
        assert_eq!(&*managed.user, &*request.user, "who asked for it is written on it");
        assert_eq!(managed.launch, request.launch, "its launch is written on it");
        let group = request.spec.group();
        assert_eq!(managed.group(), Some(&group), "its group is that of its description");
        self.engine.remove(&id).await.unwrap();
    }

    async fn refuses_what_is_not_there(&self) {
        let missing = ContainerSpec::new("conformance/missing:1".parse().unwrap());
        let made = self.engine.create(&self.request(missing)).await;
        assert_refused(
            made,
            EngineErrorKind::NoSuchImage,
            "creating a container of conformance/missing:1, an image nobody has,",
        );
        let nobody: ContainerId = "0123456789abcdef".repeat(4).parse().unwrap();
        let outcomes = [
            ("inspect", self.engine.inspect(&nobody).await.map(drop)),
            ("start", self.engine.start(&nobody).await),
            ("stop", self.engine.stop(&nobody, GRACE).await),
            ("restart", self.engine.restart(&nobody, GRACE).await),
            ("remove", self.engine.remove(&nobody).await),
            ("logs", self.engine.logs(&nobody, &LogOptions::default()).await.map(drop)),
            ("update", self.engine.update(&nobody, &apps::sizes(None, 32)).await),
            ("rename", self.engine.rename(&nobody, "conformance-nobody").await),
            ("exec", self.engine.exec(&nobody, &["echo".to_owned()]).await.map(drop)),
            ("attach", self.engine.attach(&nobody).await.map(drop)),
        ];
        for (operation, outcome) in outcomes {
            let what = format!("{operation} of a container that there is not");
            assert_refused(outcome, EngineErrorKind::NoSuchContainer, &what);
        }
    }

    async fn gives_a_name_once(&self) {
        let request = self.request(self.sleeping());
        let id = self.engine.create(&request).await.unwrap().id;
        let again = CreateRequest { launch: LaunchId::new(), ..request };
        assert_refused(
            self.engine.create(&again).await,
            EngineErrorKind::Conflict,
            "creating a container under a taken name",
        );
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
        assert_refused(
            self.engine.start(&second).await,
            EngineErrorKind::PortTaken,
            "starting a container whose port is taken",
        );
        let bound = self.engine.inspect(&first.id).await.unwrap().ports;
        assert_eq!(bound[0].host_port, port, "whoever has the port keeps it");
        self.engine.remove(&first.id).await.unwrap();
        self.engine.start(&second).await.expect("the port is free again");
        assert_eq!(self.engine.inspect(&second).await.unwrap().ports[0].host_port, port, "the port that was asked for");
        self.engine.remove(&second).await.unwrap();
    }

    async fn links_to_what_is_there(&self) {
        let other = self.running(self.sleeping()).await;
        let mut request = self.request(self.sleeping());
        request.links = vec![(other.name.trim_start_matches('/').to_owned(), "other".to_owned())];
        let id = self.engine.create(&request).await.unwrap().id;
        self.engine.start(&id).await.unwrap();
        assert_eq!(self.engine.inspect(&id).await.unwrap().state, ContainerState::Running, "one with a link runs");
        self.engine.remove(&id).await.unwrap();
        self.engine.remove(&other.id).await.unwrap();
    }

    async fn until_destroyed(
        &self,
        id: &ContainerId,
        events: &mut (impl futures::Stream<Item = Result<EngineEvent>> + Unpin),
    ) -> Vec<EngineEvent> {
        let mut seen: Vec<EngineEvent> = Vec::new();
        while seen.last().is_none_or(|event| event.action != "destroy") {
            let next = timeout(TIMEOUT, events.next()).await;
            let next =
                next.unwrap_or_else(|_| panic!("the container was removed, and no event destroy came after {seen:?}"));
            let event = next.expect("the events do not end while the host is there").unwrap();
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
        assert_eq!(actions, of_note, "the events of a container that is made, started and removed");
        assert!(seen.is_sorted_by_key(|event| event.time), "in the order in which they happened: {seen:?}");
        for event in &seen {
            assert_eq!(event.name, request.name, "an event has the container's name, without a slash");
        }
        assert_eq!(seen[0].image.as_deref(), Some(self.image.as_str()), "an event has the image, as it was asked for");
    }

    async fn tells_what_happened_since(&self) {
        let mut events = self.engine.events(None).await.unwrap();
        let found = self.running(self.sleeping()).await;
        self.engine.remove(&found.id).await.unwrap();
        let seen = self.until_destroyed(&found.id, &mut events).await;
        drop(events);
        let start = seen.iter().position(|event| event.action == "start").expect("there is an event start");
        let mut again = self.engine.events(Some(seen[start].time)).await.unwrap();
        let again = self.until_destroyed(&found.id, &mut again).await;
        // That moment itself may be told once more.
        let is_same = again == seen[start..] || again == seen[start + 1..];
        assert!(is_same, "events since a moment are those that came from then on, and came {again:?} of {seen:?}");
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
        assert_eq!(String::from_utf8_lossy(&text), "hello world\n", "the output of: echo hello world");
        assert!(chunks.iter().all(|chunk| chunk.stream == LogStream::Stdout), "echo writes to standard output");
        let nothing = LogOptions { tail: Some(0), ..LogOptions::default() };
        let logs = self.engine.logs(&found.id, &nothing).await.unwrap();
        assert_eq!(logs.collect::<Vec<_>>().await.len(), 0, "of the output the last 0 lines are nothing (tail)");
        self.engine.remove(&found.id).await.unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Created, EngineError, EngineInfo, EngineUsage, MockDockerEngine};

    #[tokio::test]
    #[should_panic(expected = "ids differ in their first digits, as random ones do")]
    async fn says_what_is_wrong_with_ids_that_are_counted() {
        let mut engine = MockDockerEngine::new();
        engine.expect_ping().returning(|_| Ok(()));
        engine.expect_usage().returning(|| Ok(EngineUsage::default()));
        engine.expect_info().returning(|| {
            Ok(EngineInfo {
                daemon_id: "counting".to_owned(),
                cpus: Cpus::from_milli(1000),
                memory: MemoryMb::new(1024),
                docker_version: "1".to_owned(),
                images: Vec::new(),
                networks: None,
                volumes: None,
                warnings: Vec::new(),
                time: None,
            })
        });
        let mut made = 0;
        engine.expect_create().returning(move |_| {
            made += 1;
            Ok(Created { id: format!("{made:064}").parse().unwrap(), warnings: Vec::new() })
        });
        conforms(Arc::new(engine), "web:1".parse().unwrap()).await;
    }

    #[test]
    #[should_panic(expected = "removing nobody must be refused as NoSuchContainer, and was answered with ()")]
    fn says_what_was_to_be_refused() {
        assert_refused(Ok(()), EngineErrorKind::NoSuchContainer, "removing nobody");
    }

    #[test]
    #[should_panic(
        expected = "removing nobody must be refused as NoSuchContainer, and was as Failed: cannot remove: no disk"
    )]
    fn says_how_it_was_refused_instead() {
        let failed = EngineError::new(EngineErrorKind::Failed, "remove", "no disk");
        assert_refused::<()>(Err(failed), EngineErrorKind::NoSuchContainer, "removing nobody");
    }
}
