//! What is on a simulated host: containers, bound ports, and what happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rand::Rng;

use super::logs::Line;
use super::{CreateRequest, EngineError, EngineErrorKind, EngineEvent, EngineUsage, ObservedContainer, Result};
use crate::engine::{LogStream, Managed};
use crate::model::{
    BindPort, BoundPort, ContainerId, ContainerSpec, ContainerState, HostPort, ImageRef, LaunchId, MemoryMb, Protocol,
    Resources,
};

/// How many events are kept for those who read again from a moment on.
const HISTORY: usize = 10_000;
/// Where Docker begins to look for a free port.
const FIRST_FREE_PORT: u16 = 32_768;
/// What a simulated program is said to use.
const USED_MEMORY: MemoryMb = MemoryMb::new(10);

#[derive(Debug, Default)]
pub(super) struct Host {
    containers: BTreeMap<ContainerId, Simulated>,
    names: BTreeSet<String>,
    /// Canonical names of the images that were pulled or used.
    images: BTreeSet<String>,
    bound: BTreeSet<HostPort>,
    next_port: u16,
    history: VecDeque<EngineEvent>,
    /// How many events there were before the first that is kept.
    forgotten: u64,
    last_time: Option<Timestamp>,
}

#[derive(Debug)]
struct Simulated {
    name: String,
    spec: Arc<ContainerSpec>,
    reserved: Resources,
    managed: Option<Managed>,
    state: ContainerState,
    ports: Vec<BoundPort>,
    created: Timestamp,
    log: Vec<Line>,
}

pub(super) fn check_image(operation: &'static str, image: &ImageRef) -> Result<()> {
    if image.base_name() == "missing" {
        return Err(EngineError::new(EngineErrorKind::NoSuchImage, operation, format!("no such image: {image}")));
    }
    Ok(())
}

impl Host {
    pub(super) fn create(&mut self, request: &CreateRequest) -> Result<ContainerId> {
        check_image("create the container", &request.spec.name)?;
        if self.names.contains(&request.name) {
            return Err(EngineError::new(
                EngineErrorKind::Conflict,
                "create the container",
                format!("the name {} is taken", request.name),
            ));
        }
        let linked = |name: &String| self.names.contains(name.trim_start_matches('/'));
        if let Some((missing, _)) = request.links.iter().find(|(name, _)| !linked(name)) {
            return Err(EngineError::new(
                EngineErrorKind::Refused,
                "create the container",
                format!("it links to {missing}, which is not here"),
            ));
        }
        let managed = Managed {
            platform: request.platform.as_str().into(),
            launch: request.launch,
            group: request.spec.group(),
            user: request.user.as_str().into(),
            mark: request.mark,
        };
        Ok(self.add(request.name.clone(), request.spec.clone(), request.spec.reserved(), Some(managed)))
    }

    pub(super) fn outsider_run(&mut self, name: &str, image: ImageRef, limits: Option<Resources>) -> ContainerId {
        let mut spec = ContainerSpec::new(image);
        spec.cpus = limits.map(|limits| limits.cpus);
        spec.memory = limits.map(|limits| limits.memory);
        let reserved = spec.reserved();
        let id = self.add(name.to_owned(), spec, reserved, None);
        // It publishes nothing, so there is nothing that could fail.
        let _ = self.start(&id);
        id
    }

    fn add(&mut self, name: String, spec: ContainerSpec, reserved: Resources, managed: Option<Managed>) -> ContainerId {
        let id = random_id();
        self.have_image(&spec.name);
        self.names.insert(name.clone());
        let container = Simulated {
            name,
            spec: Arc::new(spec),
            reserved,
            managed,
            state: ContainerState::Created,
            ports: Vec::new(),
            created: Timestamp::now().round(jiff::Unit::Second).unwrap_or_default(),
            log: Vec::new(),
        };
        self.containers.insert(id.clone(), container);
        self.tell("create", &id);
        id
    }

    pub(super) fn start(&mut self, id: &ContainerId) -> Result<()> {
        let container = self.get("start the container", id)?;
        if container.state == ContainerState::Running {
            return Ok(());
        }
        let spec = container.spec.clone();
        let ports = self.bind(&spec.bind_ports)?;
        let time = Timestamp::now();
        let line = |stream, text: String| Line { time, stream, text };
        if let Some(container) = self.containers.get_mut(id) {
            container.state = ContainerState::Running;
            container.ports = ports;
            container.log.push(line(LogStream::Stderr, format!("{} started", spec.name)));
            if spec.args.first().is_some_and(|program| program == "echo") {
                container.log.push(line(LogStream::Stdout, spec.args[1..].join(" ")));
            }
        }
        self.tell("start", id);
        Ok(())
    }

    fn bind(&mut self, asked: &[BindPort]) -> Result<Vec<BoundPort>> {
        let mut ports = Vec::with_capacity(asked.len());
        for port in asked {
            let wanted = port.host();
            let taken = |host: &HostPort| self.bound.iter().any(|other| other.conflicts_with(host));
            if let Some(host) = wanted.filter(taken) {
                for port in &ports {
                    self.bound.remove(&BoundPort::host(port));
                }
                let detail = format!("port {host} is bound already");
                return Err(EngineError::new(EngineErrorKind::PortTaken, "start the container", detail));
            }
            let host_port = wanted.map_or_else(|| self.free_port(port.proto), |host| host.port);
            let everywhere = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
            let bound = BoundPort {
                proto: port.proto,
                host_ip: Some(port.host_ip.unwrap_or(everywhere)),
                host_port,
                container_port: port.container_port,
            };
            self.bound.insert(bound.host());
            ports.push(bound);
        }
        Ok(ports)
    }

    fn free_port(&mut self, proto: Protocol) -> u16 {
        loop {
            self.next_port = self.next_port.checked_add(1).unwrap_or_default().max(FIRST_FREE_PORT);
            let candidate = HostPort { proto, ip: None, port: self.next_port };
            if !self.bound.iter().any(|other| other.conflicts_with(&candidate)) {
                return self.next_port;
            }
        }
    }

    pub(super) fn stop(&mut self, id: &ContainerId) -> Result<()> {
        if self.get("stop the container", id)?.state != ContainerState::Running {
            return Ok(());
        }
        self.tell("kill", id);
        self.end(id);
        self.tell("stop", id);
        Ok(())
    }

    /// The program ends; its ports are free.
    fn end(&mut self, id: &ContainerId) {
        if let Some(container) = self.containers.get_mut(id) {
            container.state = ContainerState::Stopped;
            for port in container.ports.drain(..) {
                self.bound.remove(&port.host());
            }
        }
        self.tell("die", id);
    }

    pub(super) fn restart(&mut self, id: &ContainerId) -> Result<()> {
        self.stop(id)?;
        self.start(id)?;
        self.tell("restart", id);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &ContainerId) -> Result<()> {
        if self.get("remove the container", id)?.state == ContainerState::Running {
            self.tell("kill", id);
            self.end(id);
        }
        self.tell("destroy", id);
        if let Some(container) = self.containers.remove(id) {
            self.names.remove(&container.name);
        }
        Ok(())
    }

    pub(super) fn inspect(&self, id: &ContainerId) -> Result<ObservedContainer> {
        self.get("inspect the container", id).map(|container| found(id, container))
    }

    pub(super) fn all(&self) -> Vec<ObservedContainer> {
        self.containers.iter().map(|(id, container)| found(id, container)).collect()
    }

    pub(super) fn images(&self) -> Vec<String> {
        self.images.iter().cloned().collect()
    }

    /// An image that is used for the first time is fetched first, and that is told.
    pub(super) fn have_image(&mut self, image: &ImageRef) {
        if self.images.insert(image.canonical()) {
            self.note("pull", None, image.to_string(), None, None);
        }
    }

    pub(super) fn usage(&self) -> EngineUsage {
        let running = || self.containers.values().filter(|container| container.state.holds_resources());
        let reserved: Resources = running().map(|container| container.reserved).sum();
        EngineUsage { cpus: reserved.cpus.as_f64() / 100.0, memory: USED_MEMORY * running().count() as u64 }
    }

    /// The lines that a program wrote, and whether it may write more.
    pub(super) fn log_of(&self, id: &ContainerId) -> Result<(Vec<Line>, bool)> {
        let container = self.get("read the output", id)?;
        Ok((container.log.clone(), container.state == ContainerState::Running))
    }

    /// Where to read on for everything after a moment; for everything from now on without one.
    pub(super) fn position_after(&self, since: Option<Timestamp>) -> u64 {
        let Some(since) = since else { return self.forgotten + self.history.len() as u64 };
        let earlier = self.history.iter().take_while(|event| event.time <= since).count();
        self.forgotten + earlier as u64
    }

    /// The events from a position on, and where to read on after them.
    pub(super) fn events_from(&self, position: u64) -> (Vec<EngineEvent>, u64) {
        let skipped = usize::try_from(position.saturating_sub(self.forgotten)).unwrap_or(usize::MAX);
        let events: Vec<EngineEvent> = self.history.iter().skip(skipped).cloned().collect();
        (events, self.forgotten + self.history.len() as u64)
    }

    fn get(&self, operation: &'static str, id: &ContainerId) -> Result<&Simulated> {
        let missing = || {
            EngineError::new(
                EngineErrorKind::NoSuchContainer,
                operation,
                format!("there is no container {}", id.short()),
            )
        };
        self.containers.get(id).ok_or_else(missing)
    }

    fn tell(&mut self, action: &str, id: &ContainerId) {
        let Some(container) = self.containers.get(id) else { return };
        let (name, image) = (container.name.clone(), container.spec.name.to_string());
        let launch = container.managed.as_ref().map(|managed| managed.launch);
        self.note(action, Some(id.clone()), name, Some(image), launch);
    }

    fn note(
        &mut self,
        action: &str,
        container: Option<ContainerId>,
        name: String,
        image: Option<String>,
        launch: Option<LaunchId>,
    ) {
        // Later than every event before, so that "since" a moment is never ambiguous.
        let tick = SignedDuration::from_nanos(1);
        let earliest = self.last_time.and_then(|last| last.checked_add(tick).ok());
        let time = earliest.map_or(Timestamp::now(), |earliest| earliest.max(Timestamp::now()));
        self.last_time = Some(time);
        self.history.push_back(EngineEvent { time, action: action.to_owned(), container, name, image, launch });
        if self.history.len() > HISTORY {
            self.history.pop_front();
            self.forgotten += 1;
        }
    }
}

fn found(id: &ContainerId, container: &Simulated) -> ObservedContainer {
    ObservedContainer {
        id: id.clone(),
        name: format!("/{}", container.name),
        spec: ContainerSpec::clone(&container.spec),
        reserved: container.reserved,
        state: container.state,
        ports: container.ports.clone(),
        created: container.created,
        managed: container.managed.clone(),
    }
}

fn random_id() -> ContainerId {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // 64 hexadecimal digits are an id.
    text.parse().unwrap_or_else(|_| random_id())
}
