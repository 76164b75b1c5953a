//! What is on a simulated host: containers, bound ports, and what happened.

mod changes;
mod objects;
mod outsiders;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use super::logs::Line;
use super::{
    CreateRequest, Created, EngineError, EngineErrorKind, EngineEvent, EngineUsage, EventDetail, ObservedContainer,
    Result,
};
use crate::clock::Clock;
use crate::engine::{ContainerFile, FoundImage, LogStream, Managed, ObjectLabels, Owner, RunState};
use crate::model::app::SecretValue;
use crate::model::{
    BindPort, BoundPort, ContainerId, ContainerSpec, ContainerState, Cpus, HealthStatus, HostPort, ImageDigest,
    ImageRef, LaunchId, MemoryMb, Protocol, Resources, RestartPolicy,
};

/// How many events are kept for those who read again from a moment on.
const HISTORY: usize = 10_000;
/// Where Docker begins to look for a free port.
const FIRST_FREE_PORT: u16 = 32_768;
/// The addresses of containers: 172.17.0.1 and those after it.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([172, 17, 0, 1]);
/// The last name of images that the registry still lists, and nobody gets.
const WITHDRAWN: &str = "withdrawn";
/// What a simulated program is said to use.
const USED_MEMORY: MemoryMb = MemoryMb::new(10);

#[derive(Debug, Default)]
pub(super) struct Host {
    containers: BTreeMap<ContainerId, Simulated>,
    names: BTreeSet<String>,
    /// Canonical names of the images that were pulled or used.
    images: BTreeSet<String>,
    /// Canonical names of images that it does not have, and that no registry has.
    lacking: BTreeSet<String>,
    /// What tags point to and when that was made, where somebody moved them.
    moved: BTreeMap<String, (ImageDigest, Timestamp)>,
    /// What the registry has, by canonical name.
    registry: BTreeMap<String, ImageDigest>,
    bound: BTreeSet<HostPort>,
    next_port: u16,
    history: VecDeque<EngineEvent>,
    /// How many events there were before the first that is kept.
    forgotten: u64,
    last_time: Option<Timestamp>,
    /// The networks that somebody made, once somebody made one.
    networks: Option<BTreeSet<String>>,
    /// The networks that the platform made.
    own_networks: BTreeMap<String, ObjectLabels>,
    volumes: BTreeMap<String, ObjectLabels>,
    /// How many addresses were given to containers.
    addresses: u32,
    /// Whether the health checks of containers pass at once. Nothing runs that could be checked.
    checks_pass: bool,
    /// What it says of every container that it makes.
    pub(super) warnings: Vec<String>,
    /// What time it really is.
    clock: Clock,
    /// How far the clock of the host is ahead of the true one.
    ahead: SignedDuration,
    /// Where the ids of its containers come from, if they are to be the same another time.
    ids: Option<StdRng>,
}

#[derive(Debug)]
struct Simulated {
    name: String,
    /// The name that is written on it: under another one what is written on it says nothing.
    own_name: String,
    /// What it was made of.
    image: Option<ImageDigest>,
    spec: Arc<ContainerSpec>,
    reserved: Resources,
    /// The limit of CPU, where there is one.
    cpus: Option<Cpus>,
    restart: RestartPolicy,
    /// Whether somebody stopped it, and nobody has started it since.
    is_stopped_on_purpose: bool,
    managed: Option<Managed>,
    /// The network of the platform that it is in.
    network: Option<String>,
    state: ContainerState,
    ports: Vec<BoundPort>,
    created: Timestamp,
    run: RunState,
    log: Vec<Line>,
    hidden_environment: BTreeMap<String, SecretValue>,
    files: BTreeMap<String, ContainerFile>,
}

impl Simulated {
    fn new(
        name: String,
        spec: ContainerSpec,
        reserved: Resources,
        managed: Option<Managed>,
        created: Timestamp,
    ) -> Self {
        Self {
            own_name: name.clone(),
            image: None,
            name,
            cpus: spec.cpus,
            restart: spec.restart_policy,
            is_stopped_on_purpose: false,
            spec: Arc::new(spec),
            reserved,
            managed,
            network: None,
            state: ContainerState::Created,
            ports: Vec::new(),
            created: created.round(jiff::Unit::Second).unwrap_or_default(),
            run: RunState::default(),
            log: Vec::new(),
            hidden_environment: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// The volumes with a name that are mounted into it.
    fn volumes(&self) -> impl Iterator<Item = &str> {
        let sources = self.spec.volumes.iter().filter_map(|volume| Some(volume.split_once(':')?.0));
        sources.filter(|source| !source.starts_with('/'))
    }

    fn is_checked(&self) -> bool {
        self.spec.health.as_ref().is_some_and(|health| !health.disabled)
    }
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
    /// A host of a clock, whose containers have the ids that follow from a seed.
    pub(super) fn with_clock(clock: Clock, seed: u64) -> Self {
        Self { clock, ids: Some(StdRng::seed_from_u64(seed)), ..Self::default() }
    }

    /// A host on which health checks pass.
    pub(super) fn in_good_health() -> Self {
        Self { checks_pass: true, ..Self::default() }
    }

    /// Makes a container on a host of so many CPUs.
    pub(super) fn create(&mut self, request: &CreateRequest, cpus: Cpus) -> Result<Created> {
        self.check_image("create the container", &request.spec.name)?;
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
        let owner = match &request.replica {
            Some(labels) => Owner::Replica(labels.clone()),
            None => Owner::Run { group: request.spec.group(), mark: request.mark },
        };
        let managed = Managed {
            platform: request.platform.as_str().into(),
            launch: request.launch,
            user: request.user.as_str().into(),
            owner,
        };
        let (spec, reserved) = (request.spec.clone(), request.spec.reserved());
        let mut container = Simulated::new(request.name.clone(), spec, reserved, Some(managed), self.clock.now());
        let network = request.network.as_ref().filter(|_| request.spec.is_in_default_network());
        container.network = network.map(|network| network.name.clone());
        container.hidden_environment.clone_from(&request.hidden_environment);
        let id = self.add(container);
        Ok(Created { id, warnings: self.warnings.clone() })
    }

    pub(super) fn hidden_environment(&self, id: &ContainerId) -> BTreeMap<String, SecretValue> {
        self.containers.get(id).map(|container| container.hidden_environment.clone()).unwrap_or_default()
    }

    fn add(&mut self, mut container: Simulated) -> ContainerId {
        let id = match &mut self.ids {
            Some(random) => random_id(random),
            None => random_id(&mut rand::rng()),
        };
        self.have_image(&container.spec.name);
        container.image = Some(self.found_image(&container.spec.name).id);
        self.names.insert(container.name.clone());
        for volume in container.volumes() {
            self.volumes.entry(volume.to_owned()).or_default();
        }
        self.containers.insert(id.clone(), container);
        self.tell("create", &id);
        id
    }

    pub(super) fn start(&mut self, id: &ContainerId) -> Result<()> {
        match self.get("start the container", id)?.state {
            ContainerState::Running => return Ok(()),
            ContainerState::Paused => {
                self.set_state(id, ContainerState::Running, "unpause");
                return Ok(());
            }
            _ => {}
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.run.restarts = 0;
            container.is_stopped_on_purpose = false;
        }
        self.begin(id)
    }

    /// The program begins: its ports are bound.
    fn begin(&mut self, id: &ContainerId) -> Result<()> {
        let container = self.get("start the container", id)?;
        let (spec, network) = (container.spec.clone(), container.network.clone());
        // Which there are of those that others made may be unknown; which there are of the platform's is known.
        let named = spec.named_network().filter(|network| self.networks.is_some() && !self.has_network(network));
        let own = network.as_deref().filter(|network| !self.has_network(network));
        if let Some(network) = named.or(own) {
            let detail = format!("network {network} not found");
            return Err(EngineError::new(EngineErrorKind::Unable, "start the container", detail));
        }
        let ports = self.bind(&spec.bind_ports)?;
        self.addresses += 1;
        let address = Ipv4Addr::from_bits(FIRST_ADDRESS + self.addresses);
        let (time, now) = (self.clock.now(), self.now());
        let line = |stream, text: String| Line { time, stream, text };
        if let Some(container) = self.containers.get_mut(id) {
            container.state = ContainerState::Running;
            container.ports = ports;
            container.run.started = Some(now);
            container.run.exit_code = None;
            let health = if self.checks_pass { HealthStatus::Healthy } else { HealthStatus::Starting };
            container.run.health = container.is_checked().then_some(health);
            container.run.address = Some(IpAddr::V4(address));
            container.log.push(line(LogStream::Stderr, format!("{} started", spec.name)));
            if spec.args.first().is_some_and(|program| program == "echo") {
                container.log.push(line(LogStream::Stdout, spec.args[1..].join(" ")));
            }
            if spec.args.first().is_some_and(|program| program == "printenv") {
                for (name, value) in &container.hidden_environment {
                    let written = format!("{name}={}", String::from_utf8_lossy(value.expose()));
                    container.log.push(line(LogStream::Stdout, written));
                }
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
        if !self.get("stop the container", id)?.state.holds_resources() {
            return Ok(());
        }
        self.tell_more("kill", id, signal("15"));
        if let Some(container) = self.containers.get_mut(id) {
            container.is_stopped_on_purpose = true;
        }
        self.end(id, 143);
        self.tell("stop", id);
        Ok(())
    }

    fn set_state(&mut self, id: &ContainerId, state: ContainerState, action: &str) {
        if let Some(container) = self.containers.get_mut(id) {
            container.state = state;
        }
        self.tell(action, id);
    }

    fn check_runs(&self, operation: &'static str, id: &ContainerId) -> Result<()> {
        match self.get(operation, id)?.state {
            ContainerState::Running => Ok(()),
            state => {
                let detail = format!("the container does not run: it is {state}");
                Err(EngineError::new(EngineErrorKind::Conflict, operation, detail))
            }
        }
    }

    /// What the clock of the host says.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().checked_add(self.ahead).unwrap_or_default()
    }

    /// The program ends; its ports are free.
    fn end(&mut self, id: &ContainerId, exit_code: i64) {
        let now = self.now();
        if let Some(container) = self.containers.get_mut(id) {
            container.state = ContainerState::Stopped;
            let run = &mut container.run;
            (run.ended, run.exit_code, run.health, run.address) = (Some(now), Some(exit_code), None, None);
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
        if self.get("remove the container", id)?.state.holds_resources() {
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

    /// From now on the host lacks an image, which is in no registry; or has it.
    pub(super) fn set_lacking(&mut self, image: &ImageRef, lacks: bool) {
        match lacks {
            true => drop(self.lacking.insert(image.canonical())),
            false => drop(self.lacking.remove(&image.canonical())),
        }
    }

    pub(super) fn check_image(&self, operation: &'static str, image: &ImageRef) -> Result<()> {
        if matches!(image.base_name(), "missing" | WITHDRAWN) || self.lacking.contains(&image.canonical()) {
            return Err(EngineError::new(EngineErrorKind::NoSuchImage, operation, format!("no such image: {image}")));
        }
        Ok(())
    }

    pub(super) fn images(&self) -> Vec<String> {
        self.images.iter().cloned().collect()
    }

    pub(super) fn set_image(&mut self, image: &ImageRef, id: ImageDigest) {
        let now = self.clock.now();
        self.moved.insert(image.canonical(), (id, now));
    }

    /// What is there under the name of an image.
    pub(super) fn found_image(&self, image: &ImageRef) -> FoundImage {
        let moved = self.moved.get(&image.canonical()).cloned();
        let (id, created) = moved.unwrap_or_else(|| (made_up_digest(image), Timestamp::UNIX_EPOCH));
        FoundImage { id, digests: image.digest().into_iter().collect(), created: Some(created) }
    }

    pub(super) fn image_of(&self, id: &ContainerId) -> Option<ImageDigest> {
        self.containers.get(id)?.image.clone()
    }

    /// From now on the registry has an image.
    pub(super) fn publish(&mut self, image: &ImageRef, digest: ImageDigest) {
        self.registry.insert(image.canonical(), digest);
    }

    /// From now on it does not have it any more.
    pub(super) fn unpublish(&mut self, image: &ImageRef) {
        self.registry.remove(&image.canonical());
    }

    /// What the registry has of an image. It has none that nobody published.
    pub(super) fn published(&self, image: &ImageRef) -> Result<ImageDigest> {
        let missing =
            || EngineError::new(EngineErrorKind::NoSuchImage, "ask the registry", format!("no such image: {image}"));
        if image.base_name() == WITHDRAWN {
            return Ok(made_up_digest(image));
        }
        self.registry.get(&image.canonical()).cloned().ok_or_else(missing)
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
    let (own, of_another) = container.managed.clone().map_or((None, None), |managed| {
        if container.name == container.own_name { (Some(managed), None) } else { (None, Some(managed)) }
    });
    ObservedContainer {
        id: id.clone(),
        name: format!("/{}", container.name),
        spec: shown_spec(container),
        reserved: container.reserved,
        limits_known: true,
        state: container.state,
        ports: container.ports.clone(),
        created: container.created,
        managed: own,
        labels_of_another: of_another.map(|managed| Box::new((shown_spec(container), managed))),
        run: container.run.clone(),
    }
}

/// What an image is whose content nobody has made.
fn made_up_digest(image: &ImageRef) -> ImageDigest {
    let digits = hex::encode(Sha256::digest(image.canonical()));
    format!("sha256:{digits}").parse().expect("a hash has as many digits")
}

/// What Docker shows: of a container of an application what it enforces, and nothing that is in the environment.
fn shown_spec(container: &Simulated) -> ContainerSpec {
    let mut spec = ContainerSpec::clone(&container.spec);
    if container.managed.as_ref().is_some_and(|managed| managed.replica().is_some()) {
        (spec.cpus, spec.memory) = (container.cpus, Some(container.reserved.memory));
        spec.restart_policy = container.restart;
        spec.environment.clear();
        spec.user_data = None;
    }
    spec
}

fn random_id(random: &mut impl Rng) -> ContainerId {
    let mut bytes = [0_u8; 32];
    random.fill_bytes(&mut bytes);
    // 64 hexadecimal digits are an id.
    hex::encode(bytes).parse().unwrap_or_else(|_| random_id(random))
}
