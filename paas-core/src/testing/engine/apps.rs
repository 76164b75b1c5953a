//! What an engine must do so that applications can be kept on it.

use futures::StreamExt;
use jiff::Timestamp;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Bench, GRACE, TIMEOUT, assert_refused};
use crate::engine::{
    AppNetwork, ContainerFile, CreateRequest, EngineErrorKind, ExecChunk, LogChunk, LogOptions, LogStream,
    NetworkRequest, ObjectLabels, ReplicaLabels, VolumeRequest,
};
use crate::model::app::Sizes;
use crate::model::{
    ContainerId, ContainerSpec, ContainerState, Cpus, HealthCheck, HealthCommand, HealthStatus, ImageRef, MemoryMb,
    Resources, RestartPolicy, Subnets,
};

pub(super) fn sizes(cpus: Option<u64>, memory: u64) -> Sizes {
    let (cpus, memory) = (cpus.map(Cpus::from_milli), MemoryMb::new(memory));
    Sizes { cpus, memory, restart: RestartPolicy::OnFailure { maximum_retry: 3 } }
}

fn labels(slot: Option<u32>) -> ReplicaLabels {
    let (app, component) = ("conformance".parse().unwrap(), "web".parse().unwrap());
    let (declared, fingerprint) = (Some(Timestamp::UNIX_EPOCH), String::new());
    ReplicaLabels {
        app,
        declared,
        component,
        slot,
        generation: 3,
        revision: 12,
        fingerprint,
        image_id: None,
        run: None,
    }
}

fn unique(what: &str) -> String {
    format!("conformance-{what}-{}", Uuid::now_v7())
}

/// What came, of which nothing failed.
fn written(chunks: Vec<crate::engine::Result<LogChunk>>) -> Vec<u8> {
    chunks.into_iter().flat_map(|chunk| chunk.expect("a piece of output").bytes).collect()
}

impl Bench {
    fn replica(&self, spec: ContainerSpec) -> CreateRequest {
        CreateRequest { replica: Some(labels(Some(1))), ..self.request(spec) }
    }

    pub(super) async fn says_how_a_program_does(&self) {
        let mut spec = self.sleeping();
        let command = Some(HealthCommand::Exec(vec!["echo".to_owned()]));
        spec.health = Some(HealthCheck { command, ..HealthCheck::default() });
        let id = self.engine.create(&self.request(spec)).await.unwrap().id;
        let run = self.inspected(&id).await.run;
        assert_eq!((run.started, run.ended, run.exit_code, run.health), (None, None, None, None), "it never ran");
        self.engine.start(&id).await.unwrap();
        let first = self.inspected(&id).await.run;
        assert!(first.started.is_some() && first.address.is_some(), "it was started, and has an address: {first:?}");
        assert_eq!((first.ended, first.exit_code, first.restarts), (None, None, 0), "it never ended");
        assert!(
            matches!(first.health, Some(HealthStatus::Starting | HealthStatus::Healthy)),
            "one with a health check is starting, or well already: {first:?}"
        );
        self.engine.stop(&id, GRACE).await.unwrap();
        let ended = self.inspected(&id).await.run;
        assert_eq!(ended.started, first.started, "it was started when it was");
        assert!(ended.ended >= first.started && ended.exit_code.is_some_and(|code| code != 0), "killed: {ended:?}");
        assert_eq!((ended.health, ended.address), (None, None), "what does not run is neither well nor anywhere");
        self.engine.start(&id).await.unwrap();
        let second = self.inspected(&id).await.run;
        assert!(second.started >= ended.ended, "it was started again: {second:?} after {ended:?}");
        assert_eq!((second.ended, second.exit_code), (ended.ended, None), "that it ended before is still known");
        self.engine.remove(&id).await.unwrap();
    }

    pub(super) async fn keeps_which_container_of_an_application_one_is(&self) {
        for slot in [Some(0), None] {
            let mut request = self.replica(self.sleeping());
            request.replica = Some(labels(slot));
            request.spec.environment.insert("PASSWORD".to_owned(), "secret".to_owned());
            let id = self.engine.create(&request).await.unwrap().id;
            self.engine.start(&id).await.unwrap();
            let found = self.inspected(&id).await;
            let managed = found.managed.as_ref().expect("it is the platform's");
            assert_eq!(managed.replica(), request.replica.as_ref(), "which one it is, is written on it");
            assert_eq!(
                (managed.launch, managed.group()),
                (request.launch, None),
                "it has a launch, and is in no group"
            );
            assert_eq!(found.spec.name, request.spec.name, "its image is as it was asked for");
            assert!(found.spec.environment.is_empty(), "values of secrets may be in the environment: it is not shown");
            let listed = self.engine.list().await.unwrap().into_iter().find(|listed| listed.id == id);
            assert_eq!(listed, Some(found), "a list has all of it, also how its program does");
            self.engine.remove(&id).await.unwrap();
        }
    }

    pub(super) async fn changes_sizes(&self) {
        let id = self.engine.create(&self.replica(self.sleeping())).await.unwrap().id;
        self.engine.start(&id).await.unwrap();
        let before = self.inspected(&id).await;
        for (cpus, memory) in [(Some(500), 32), (None, 64), (None, 16)] {
            let wanted = sizes(cpus, memory);
            self.engine.update(&id, &wanted).await.unwrap();
            let found = self.inspected(&id).await;
            let enforced = Resources { cpus: Cpus::from_milli(500), memory: MemoryMb::new(memory) };
            assert_eq!(found.reserved, enforced, "what is not given stays as it was");
            let shown = (found.spec.cpus, found.spec.memory, found.spec.restart_policy);
            assert_eq!(shown, (Some(enforced.cpus), Some(enforced.memory), wanted.restart), "it is shown");
            let state = (found.state, found.run.started);
            assert_eq!(state, (ContainerState::Running, before.run.started), "it goes on running");
        }
        let too_many = sizes(Some(1_000_000), 16);
        assert_refused(self.engine.update(&id, &too_many).await, EngineErrorKind::Unable, "a share of 1000 CPUs");
        self.engine.remove(&id).await.unwrap();
    }

    pub(super) async fn changes_names(&self) {
        let (first, second) = (self.running(self.sleeping()).await, self.running(self.sleeping()).await);
        let name = |name: &str| name.trim_start_matches('/').to_owned();
        let (own, taken, other) = (name(&first.name), name(&second.name), unique("renamed"));
        let refused = self.engine.rename(&first.id, &taken).await;
        assert_refused(refused, EngineErrorKind::Conflict, "giving a container the name of another");
        self.engine.rename(&first.id, &other).await.unwrap();
        let renamed = self.inspected(&first.id).await;
        assert_eq!(renamed.name, format!("/{other}"), "it has its new name");
        assert_eq!(renamed.managed, None, "what is written on it is of a container of another name");
        let written = renamed.labels_of_another.as_ref().map(|written| &written.1);
        assert_eq!(written, first.managed.as_ref(), "which is told all the same");
        self.engine.rename(&first.id, &own).await.expect("its own name is free");
        assert_eq!(self.inspected(&first.id).await, first, "it is again what it was");
        for id in [first.id, second.id] {
            self.engine.remove(&id).await.unwrap();
        }
    }

    pub(super) async fn makes_networks(&self) {
        let name = unique("network");
        let (platform, app) = ("conformance".to_owned(), "conformance".parse().unwrap());
        let network = NetworkRequest { name: name.clone(), platform, app, subnets: Subnets::default() };
        let labels = ObjectLabels { platform: network.platform.clone(), app: network.app.to_string() };
        let another = NetworkRequest { platform: "another".to_owned(), ..network.clone() };
        for request in [&network, &another] {
            let made = self.engine.create_network(request).await.expect("making one that is there is no error");
            assert_eq!(made, labels, "whose it is");
        }
        assert_eq!(self.engine.find_network(&name).await.unwrap().as_ref(), Some(&labels), "it is there");
        if let Some(networks) = self.engine.info().await.unwrap().networks {
            assert_eq!(networks.get(&name), Some(&labels), "info: the network is there: {networks:?}");
        }
        let mut request = self.replica(self.sleeping());
        request.network = Some(AppNetwork { name: name.clone(), aliases: vec!["web".to_owned()] });
        let id = self.engine.create(&request).await.unwrap().id;
        self.engine.start(&id).await.expect("the network is there");
        assert!(self.inspected(&id).await.run.address.is_some(), "it has an address in it");
        let refused = self.engine.remove_network(&name).await;
        assert_refused(refused, EngineErrorKind::Conflict, "removing a network that a container is in");
        self.engine.remove(&id).await.unwrap();
        for _ in 0..2 {
            self.engine.remove_network(&name).await.expect("removing one that is not there is no error");
        }
        let id = match self.engine.create(&request).await {
            Ok(created) => created.id,
            Err(error) => return assert_eq!(error.kind(), EngineErrorKind::Unable, "its network is gone: {error}"),
        };
        assert_refused(self.engine.start(&id).await, EngineErrorKind::Unable, "starting one whose network is gone");
        self.engine.remove(&id).await.unwrap();
    }

    pub(super) async fn makes_volumes(&self) {
        let name = unique("volume");
        let volume = VolumeRequest {
            name: name.clone(),
            platform: "conformance".to_owned(),
            app: "conformance".parse().unwrap(),
            component: "web".parse().unwrap(),
            slot: 1,
        };
        assert_eq!(self.engine.find_volume(&name).await.unwrap(), None, "it is not there yet");
        let labels = ObjectLabels { platform: volume.platform.clone(), app: volume.app.to_string() };
        let another = VolumeRequest { app: "another".parse().unwrap(), ..volume.clone() };
        for request in [&volume, &another] {
            let made = self.engine.create_volume(request).await.expect("making one that is there is no error");
            assert_eq!(made, labels, "whose it is");
        }
        assert_eq!(self.engine.find_volume(&name).await.unwrap().as_ref(), Some(&labels), "it is there");
        if let Some(volumes) = self.engine.info().await.unwrap().volumes {
            assert_eq!(volumes.get(&name), Some(&labels), "info: the volume is there: {volumes:?}");
        }
        let spec = ContainerSpec { volumes: vec![format!("{name}:/data")], ..self.sleeping() };
        let id = self.engine.create(&self.request(spec)).await.unwrap().id;
        let refused = self.engine.remove_volume(&name).await;
        assert_refused(refused, EngineErrorKind::Conflict, "removing a volume that a container has");
        self.engine.remove(&id).await.unwrap();
        assert!(self.engine.find_volume(&name).await.unwrap().is_some(), "it stays when its container goes");
        for _ in 0..2 {
            self.engine.remove_volume(&name).await.expect("removing one that is not there is no error");
        }
        assert_eq!(self.engine.find_volume(&name).await.unwrap(), None, "it is gone");
        let spec = ContainerSpec { volumes: vec![format!("{name}:/data")], ..self.sleeping() };
        let id = self.engine.create(&self.request(spec)).await.unwrap().id;
        let nobodys = Some(ObjectLabels::default());
        assert_eq!(self.engine.find_volume(&name).await.unwrap(), nobodys, "Docker has made one by itself");
        self.engine.remove(&id).await.unwrap();
        self.engine.remove_volume(&name).await.unwrap();
    }

    pub(super) async fn knows_images(&self) {
        let found = self.engine.find_image(&self.image).await.unwrap();
        assert!(found.is_some(), "find_image: containers were made of {}", self.image);
        assert_eq!(self.engine.find_image(&self.image).await.unwrap(), found, "find_image: it is the same as before");
        let missing: ImageRef = "localhost:9/conformance/missing:1".parse().unwrap();
        assert_eq!(self.engine.find_image(&missing).await.unwrap(), None, "find_image: one that nobody has");
        let refused = self.engine.registry_digest(&missing, None).await;
        assert!(refused.is_err(), "registry_digest: of what nobody has: {refused:?}");
    }

    pub(super) async fn runs_commands(&self) {
        let found = self.running(self.sleeping()).await;
        let command = ["echo", "hello", "world"];
        assert_eq!(self.said(&found.id, &command).await, "hello world\n", "the output of: echo hello world");
        self.engine.stop(&found.id, GRACE).await.unwrap();
        let refused = self.engine.exec(&found.id, &command.map(str::to_owned)).await.map(drop);
        assert_refused(refused, EngineErrorKind::Conflict, "running a command in a container that does not run");
        self.engine.remove(&found.id).await.unwrap();
    }

    pub(super) async fn attaches_to_containers(&self) {
        let mut spec = self.sleeping();
        spec.args = ["echo", "hello"].map(str::to_owned).to_vec();
        let id = self.engine.create(&self.request(spec)).await.unwrap().id;
        let output = self.engine.attach(&id).await.unwrap();
        self.engine.start(&id).await.unwrap();
        self.engine.stop(&id, GRACE).await.unwrap();
        let chunks = timeout(TIMEOUT, output.collect::<Vec<_>>()).await.expect("attach: it ends with the container");
        let attached = written(chunks);
        let logs = self.engine.logs(&id, &LogOptions::default()).await.unwrap();
        let kept = timeout(TIMEOUT, logs.collect::<Vec<_>>()).await.expect("logs: they end");
        assert_eq!(attached, written(kept), "attach: what a container writes is what its log has");
        self.engine.remove(&id).await.unwrap();
    }

    pub(super) async fn puts_files_into_containers(&self) {
        let file = |path: &str, content: &'static str| ContainerFile {
            path: path.to_owned(),
            content: content.into(),
            mode: 0o400,
            uid: 0,
            gid: 0,
        };
        let mut request = self.replica(self.sleeping());
        request.spec.read_only = true;
        request.spec.volumes = vec!["/run/secrets".to_owned(), "/etc/web/more".to_owned()];
        let id = self.engine.create(&request).await.unwrap().id;
        let (key, config) = ("/run/secrets/key", "/etc/web/more/web.conf");
        self.engine.put_files(&id, &[file(key, "first"), file(config, "a = 1\n")]).await.unwrap();
        self.engine.put_files(&id, &[file(key, "second")]).await.expect("one that is there is replaced");
        self.engine.start(&id).await.unwrap();
        assert_eq!(self.said(&id, &["cat", key, config]).await, "seconda = 1\n", "the program finds both");
        self.engine.restart(&id, GRACE).await.unwrap();
        assert_eq!(self.said(&id, &["cat", key]).await, "second", "it is there when the container was started again");
        self.engine.remove(&id).await.unwrap();
        let gone = self.engine.put_files(&id, &[file(key, "third")]).await;
        assert_refused(gone, EngineErrorKind::NoSuchContainer, "putting a file into a container that is gone");
    }

    /// What a command writes, which ends with 0.
    async fn said(&self, id: &ContainerId, command: &[&str]) -> String {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        let output = self.engine.exec(id, &command).await.unwrap();
        let chunks = timeout(TIMEOUT, output.collect::<Vec<_>>()).await.expect("the output ends with the command");
        let chunks: Vec<ExecChunk> = chunks.into_iter().map(|chunk| chunk.unwrap()).collect();
        let (last, output) = chunks.split_last().expect("there is an end");
        assert_eq!(*last, ExecChunk::Ended(0), "{command:?} ends, and that comes last: {output:?}");
        let mut text = Vec::new();
        for chunk in output {
            match chunk {
                ExecChunk::Output(chunk) if chunk.stream == LogStream::Stdout => text.extend_from_slice(&chunk.bytes),
                other => panic!("{command:?} writes to standard output and ends once, and here came {other:?}"),
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}
