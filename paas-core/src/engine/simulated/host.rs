//! What is on a simulated host: containers, bound ports, and what happened.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rand::Rng;

use super::logs::Line;
use super::{
    CreateRequest, Created, EngineError, EngineErrorKind, EngineEvent, EngineUsage, EventDetail, ObservedContainer,
    Result,
};
use crate::engine::{LogStream, Managed};
use crate::model::{
    BindPort, BoundPort, ContainerId, ContainerSpec, ContainerState, Cpus, HostPort, ImageRef, LaunchId, MemoryMb,
    Protocol, Resources,
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
    /// The networks that somebody made, once somebody made one.
    networks: Option<BTreeSet<String>>,
    /// What it says of every container that it makes.
    pub(super) warnings: Vec<String>,
    /// How far the clock of the host is ahead of the true one.
    ahead: SignedDuration,
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

/// A host gives no container more CPUs than it has.
fn check_cpus(spec: &ContainerSpec, cpus: Cpus) -> Result<()> {
    let unable = |detail| Err(EngineError::new(EngineErrorKind::Unable, "create the container", detail));
    if spec.cpus.is_some_and(|asked| asked > cpus) {
        return unable(format!("Range of CPUs is from 0.01 to {cpus}"));
    }
    let count = cpus.milli().div_ceil(1000);
    if spec.highest_cpu().is_some_and(|highest| u64::from(highest) >= count) {
        return unable(format!("Requested CPUs are not available, there are {count}"));
    }
    Ok(())
}

impl Host {
    /// Makes a container on a host of so many CPUs.
    pub(super) fn create(&mut self, request: &CreateRequest, cpus: Cpus) -> Result<Created> {
        check_image("create the container", &request.spec.name)?;
        check_cpus(&request.spec, cpus)?;
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
            other_owner: None,
        };
        let id = self.add(request.name.clone(), request.spec.clone(), request.spec.reserved(), Some(managed));
        Ok(Created { id, warnings: self.warnings.clone() })
    }

    pub(super) fn networks(&self) -> Option<BTreeSet<String>> {
        self.networks.clone()
    }

    pub(super) fn make_network(&mut self, name: &str) {
        self.networks.get_or_insert_default().insert(name.to_owned());
    }

    pub(super) fn remove_network(&mut self, name: &str) {
        self.networks.get_or_insert_default().remove(name);
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

    pub(super) fn outsider_copy(&mut self, id: &ContainerId, name: &str, owner: Option<&str>) -> Result<ContainerId> {
        let original = self.get("copy the container", id)?;
        let (spec, reserved) = (ContainerSpec::clone(&original.spec), original.reserved);
        let mut managed = original.managed.clone();
        if let (Some(managed), Some(owner)) = (&mut managed, owner) {
            managed.launch = LaunchId::new();
            managed.other_owner = Some(owner.into());
        }
        let copy = self.add(name.to_owned(), spec, reserved, managed);
        self.start(&copy)?;
        Ok(copy)
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
        let lacks = |network: &&str| self.networks.as_ref().is_some_and(|networks| !networks.contains(*network));
        if let Some(network) = spec.named_network().filter(lacks) {
            let detail = format!("network {network} not found");
            return Err(EngineError::new(EngineErrorKind::Unable, "start the container", detail));
        }
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
            // Without an address it is bound on all, for each family apart.
            let everywhere = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            for ip in port.host_ip.map_or(everywhere.to_vec(), |ip| vec![ip]) {
                let bound =
                    BoundPort { proto: port.proto, host_ip: Some(ip), host_port, container_port: port.container_port };
                self.bound.insert(bound.host());
                ports.push(bound);
            }
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
        self.tell_more("kill", id, signal("15"));
        self.end(id, 143);
        self.tell("stop", id);
        Ok(())
    }

    /// The program ends by itself with a status.
    pub(super) fn outsider_end(&mut self, id: &ContainerId, exit_code: i64) -> Result<()> {
        self.get("end the program", id)?;
        self.end(id, exit_code);
        Ok(())
    }

    /// A health check found something.
    pub(super) fn outsider_health(&mut self, id: &ContainerId, health: &str) -> Result<()> {
        self.get("check the health", id)?;
        for action in ["exec_create", "exec_start", "exec_die"] {
            self.tell(action, id);
        }
        let detail = EventDetail { health: Some(health.to_owned()), ..EventDetail::default() };
        self.tell_more("health_status", id, detail);
        Ok(())
    }

    /// Somebody else changes the limits of a container.
    pub(super) fn outsider_update(&mut self, id: &ContainerId, limits: Resources) -> Result<()> {
        self.get("update the container", id)?;
        if let Some(container) = self.containers.get_mut(id) {
            container.reserved = limits;
        }
        self.tell("update", id);
        Ok(())
    }

    /// A container of another host is here as well: this host is that one, or a copy of it.
    pub(super) fn outsider_twin(&mut self, other: &ObservedContainer) {
        let container = Simulated {
            name: other.name.trim_start_matches('/').to_owned(),
            spec: Arc::new(other.spec.clone()),
            reserved: other.reserved,
            managed: other.managed.clone(),
            state: other.state,
            ports: other.ports.clone(),
            created: other.created,
            log: Vec::new(),
        };
        self.containers.insert(other.id.clone(), container);
        self.tell("start", &other.id);
    }

    /// The clock of the host is set: forwards, or backwards where that is negative.
    pub(super) fn step_clock(&mut self, by: SignedDuration) {
        self.ahead = self.ahead.saturating_add(by);
        self.last_time = None;
    }

    /// What the clock of the host says.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::now().checked_add(self.ahead).unwrap_or_default()
    }

    /// The program ends; its ports are free.
    fn end(&mut self, id: &ContainerId, exit_code: i64) {
        if let Some(container) = self.containers.get_mut(id) {
            container.state = ContainerState::Stopped;
            for port in container.ports.drain(..) {
                self.bound.remove(&port.host());
            }
        }
        self.tell_more("die", id, EventDetail { exit_code: Some(exit_code), ..EventDetail::default() });
    }

    pub(super) fn restart(&mut self, id: &ContainerId) -> Result<()> {
        self.stop(id)?;
        self.start(id)?;
        self.tell("restart", id);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &ContainerId) -> Result<()> {
        if self.get("remove the container", id)?.state == ContainerState::Running {
            self.tell_more("kill", id, signal("9"));
            self.end(id, 137);
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
            self.note(About { name: image.to_string(), ..About::default() }, "pull", EventDetail::default());
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

    /// Where to read on for everything from a moment on; for everything from now on without one. As Docker does it: looks
    /// back from the newest, and no further than the first that is earlier, whatever is before that.
    pub(super) fn position_since(&self, since: Option<Timestamp>) -> u64 {
        let end = self.forgotten + self.history.len() as u64;
        let Some(since) = since else { return end };
        end - self.history.iter().rev().take_while(|event| event.time >= since).count() as u64
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
        self.tell_more(action, id, EventDetail::default());
    }

    fn tell_more(&mut self, action: &str, id: &ContainerId, detail: EventDetail) {
        let Some(container) = self.containers.get(id) else { return };
        let about = About {
            container: Some(id.clone()),
            name: container.name.clone(),
            image: Some(container.spec.name.to_string()),
            launch: container.managed.as_ref().map(|managed| managed.launch),
        };
        self.note(about, action, detail);
    }

    fn note(&mut self, about: About, action: &str, detail: EventDetail) {
        // Later than every event before, so that "since" a moment is never ambiguous.
        let tick = SignedDuration::from_nanos(1);
        let (now, earliest) = (self.now(), self.last_time.and_then(|last| last.checked_add(tick).ok()));
        let time = earliest.map_or(now, |earliest| earliest.max(now));
        self.last_time = Some(time);
        let About { container, name, image, launch } = about;
        let action = action.to_owned();
        self.history.push_back(EngineEvent { time, action, container, name, image, launch, detail });
        if self.history.len() > HISTORY {
            self.history.pop_front();
            self.forgotten += 1;
        }
    }
}

/// What an event is about.
#[derive(Debug, Default)]
struct About {
    container: Option<ContainerId>,
    name: String,
    image: Option<String>,
    launch: Option<LaunchId>,
}

fn signal(number: &str) -> EventDetail {
    EventDetail { signal: Some(number.to_owned()), ..EventDetail::default() }
}

fn found(id: &ContainerId, container: &Simulated) -> ObservedContainer {
    ObservedContainer {
        id: id.clone(),
        name: format!("/{}", container.name),
        spec: ContainerSpec::clone(&container.spec),
        reserved: container.reserved,
        limits_known: true,
        state: container.state,
        ports: container.ports.clone(),
        created: container.created,
        managed: container.managed.clone(),
    }
}

fn random_id() -> ContainerId {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    // 64 hexadecimal digits are an id.
    hex::encode(bytes).parse().unwrap_or_else(|_| random_id())
}
