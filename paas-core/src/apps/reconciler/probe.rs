//! Checks of health that this server makes: of a path, or of a port that takes a connection.
//!
//! A container on the server's own machine is asked at its own address, any other one at a port that was published on its engine
//! for that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::DropGuard;

use super::App;
use crate::apps::{Desired, Health};
use crate::clock::Clock;
use crate::cluster::{Cluster, ReplicaContainer};
use crate::model::app::{ComponentSpec, HealthCheck, Probe};
use crate::model::{BindPort, BoundPort, ContainerId, ContainerState, EngineAddress, Protocol};
use crate::net;
use crate::wire::app::Period;

/// The checks that are made, by container.
#[derive(Debug, Default)]
pub(super) struct Probes(Mutex<HashMap<ContainerId, Made>>);

/// A check that is made, and what it said. It ends when this is dropped.
#[derive(Debug)]
struct Made {
    check: HealthCheck,
    at: Result<Place, &'static str>,
    started: Option<Timestamp>,
    said: Arc<Mutex<Said>>,
    _stop: DropGuard,
}

/// How long after the first answer that is none a new container is asked again; twice as long after each further one, up to the
/// interval of its check. Most programs serve within a fraction of a second, and a host that was lost waits for them.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Where a container is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
}

#[derive(Debug, Default)]
struct Said {
    health: Option<Health>,
    failures: u32,
    /// What was wrong the last time.
    complaint: Option<String>,
    /// Since when it fails.
    failing: Option<Timestamp>,
}

/// The check of a component that the platform makes itself, and the port in the container that it is made at.
pub(super) fn check_of(component: &ComponentSpec) -> Option<(HealthCheck, u16)> {
    match &component.health {
        Some(check) => match &check.probe {
            Probe::Http { port, .. } | Probe::Tcp { port } => {
                component.ports.get(port).map(|port| (check.clone(), *port))
            }
            Probe::Command(_) => None,
        },
        // Nothing is declared but a port: that it takes connections is what is known of it.
        None => component.ports.iter().next().map(|(name, port)| (HealthCheck::of_port(name.clone()), *port)),
    }
}

/// The port that is published for the check, where the container's own address cannot be reached.
pub(super) fn published_for_check(component: &ComponentSpec, address: &EngineAddress) -> Option<BindPort> {
    let (EngineAddress::Tcp { host, .. } | EngineAddress::Https { host, .. }) = address else { return None };
    let (_, container_port) = check_of(component)?;
    let is_published =
        component.publish.iter().any(|port| port.container_port == container_port && is_for_others(port.host_ip));
    let host_ip = net::without_brackets(host).parse().ok();
    let port = BindPort { proto: Protocol::Tcp, host_ip, host_port: None, container_port };
    (!is_published).then_some(port)
}

/// Whether a port that is published at an address of the host is reached from elsewhere.
fn is_for_others(address: Option<IpAddr>) -> bool {
    address.is_none_or(|address| !address.is_loopback())
}

impl Probes {
    /// What the check says of a container that serves already, or does not; nothing where this server makes none.
    pub(super) fn health(&self, id: &ContainerId, component: &ComponentSpec, serves: bool) -> Option<Health> {
        let (check, _) = check_of(component)?;
        let made = self.0.lock();
        let said = made.get(id).map(|made| made.said.lock().health(check.failures, serves));
        // One that is not asked yet was well when a server asked it last, or is new.
        said.or((!serves).then_some(Health::Starting))
    }

    /// What was wrong when the check of a container was made last.
    pub(super) fn complaint(&self, id: &ContainerId) -> Option<String> {
        self.0.lock().get(id).and_then(|made| made.said.lock().complaint.clone())
    }
}

impl App {
    /// Sees to it that each container that runs is checked as its component says, and no other.
    pub(super) fn probe(&self, cluster: &Cluster, desired: &Desired, known: &[ReplicaContainer], clock: &Clock) {
        self.health.lock().retain(|id| known.iter().any(|container| container.id == *id));
        let mut made = self.probes.0.lock();
        let mut wanted = HashMap::new();
        for container in known.iter().filter(|container| container.state == ContainerState::Running) {
            let component = desired.component_of(&container.labels);
            let Some((check, port)) = component.and_then(check_of) else { continue };
            let Some(at) = place_of(cluster, container, port) else { continue };
            let is_new = !desired.takes_traffic(&container.labels);
            wanted.insert(container.id.clone(), (check, at, container.run.started, is_new));
        }
        made.retain(|id, made| {
            wanted.get(id).is_some_and(|(check, at, started, _)| {
                made.check == *check && made.at == *at && made.started == *started
            })
        });
        for (id, (check, at, started, is_new)) in wanted {
            made.entry(id).or_insert_with(|| self.begin_probe(cluster, check, at, started, is_new, clock.clone()));
        }
    }

    fn begin_probe(
        &self,
        cluster: &Cluster,
        check: HealthCheck,
        at: Result<Place, &'static str>,
        started: Option<Timestamp>,
        is_new: bool,
        clock: Clock,
    ) -> Made {
        let stop = cluster.background().stopping().child_token();
        let said = Arc::<Mutex<Said>>::default();
        let (ends, wake) = (stop.clone(), self.wake.clone());
        let asking = keep_asking(check.clone(), at.clone(), said.clone(), wake, is_new, clock);
        cluster.background().tracker().spawn(async move { ends.run_until_cancelled(asking).await });
        Made { check, at, started, said, _stop: stop.drop_guard() }
    }
}

/// Where a port of a container is reached from here, or why it is not; nothing where there is no program that could be asked.
fn place_of(cluster: &Cluster, container: &ReplicaContainer, port: u16) -> Option<Result<Place, &'static str>> {
    let spec = cluster.engine_spec(&container.engine)?;
    let is_it = |bound: &&BoundPort| {
        bound.container_port == port && bound.proto == Protocol::Tcp && is_for_others(bound.host_ip)
    };
    match &spec.addr {
        EngineAddress::Unix(_) => {
            let address = container.run.address.ok_or("it has no address in any network");
            Some(address.map(|address| Place { host: address.to_string(), port }))
        }
        EngineAddress::Tcp { host, .. } | EngineAddress::Https { host, .. } => {
            let bound = container.ports.iter().find(is_it).ok_or("its port is not published on its host");
            Some(bound.map(|bound| Place { host: net::without_brackets(host).to_owned(), port: bound.host_port }))
        }
        EngineAddress::Simulated(_) => None,
    }
}

async fn keep_asking(
    check: HealthCheck,
    at: Result<Place, &'static str>,
    said: Arc<Mutex<Said>>,
    wake: Arc<Notify>,
    is_new: bool,
    clock: Clock,
) {
    let interval = Duration::from_millis(check.interval_ms);
    let mut pause = if is_new { FIRST_PAUSE.min(interval) } else { interval };
    loop {
        let limit = Duration::from_millis(check.timeout_ms);
        let too_late =
            || Err(format!("{} is not answered within {}", asked(&check.probe), Period::from_millis(check.timeout_ms)));
        let answer = match &at {
            Ok(at) => timeout(limit, ask(&check.probe, at)).await.unwrap_or_else(|_| too_late()),
            Err(why) => Err((*why).to_owned()),
        };
        let is_well = answer.is_ok();
        if said.lock().note(answer, check.failures, clock.now()) {
            wake.notify_one();
        }
        if is_well {
            pause = interval;
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(interval);
    }
}

impl Said {
    /// What is known of a container. One that served when this server began to ask was well: it is unhealthy only after as many
    /// failures as any other.
    fn health(&self, allowed: u32, serves: bool) -> Health {
        match (self.health, self.failing) {
            (Some(health), _) => health,
            (None, Some(since)) if serves && self.failures >= allowed => Health::Unhealthy { since },
            (None, _) if serves => Health::Unchecked,
            (None, _) => Health::Starting,
        }
    }

    /// Notes an answer. Whether the health is another one now.
    fn note(&mut self, answer: Result<(), String>, allowed: u32, since: Timestamp) -> bool {
        let before = (self.health, self.failures >= allowed);
        let is_well = answer.is_ok();
        self.complaint = answer.err();
        if is_well {
            (self.failures, self.failing) = (0, None);
            if !matches!(self.health, Some(Health::Healthy { .. })) {
                self.health = Some(Health::Healthy { since });
            }
        } else {
            self.failures = self.failures.saturating_add(1);
            self.failing.get_or_insert(since);
            // One that never was well is starting, for as long as it may.
            if matches!(self.health, Some(Health::Healthy { .. })) && self.failures >= allowed {
                self.health = Some(Health::Unhealthy { since });
            }
        }
        (self.health, self.failures >= allowed) != before
    }
}

/// What a container is asked, in words.
fn asked(probe: &Probe) -> String {
    match probe {
        Probe::Http { path, .. } => format!("GET {path}"),
        Probe::Tcp { port } => format!("a connection to port {port}"),
        Probe::Command(_) => "the command".to_owned(),
    }
}

/// Asks once.
///
/// # Errors
/// What is wrong, in words that follow a colon.
async fn ask(probe: &Probe, at: &Place) -> Result<(), String> {
    let not_taken = |error| format!("its port takes no connection: {error}");
    let connection = net::connect(&at.host, at.port).await.map_err(not_taken)?;
    match probe {
        Probe::Http { path, .. } => match ask_path(connection, at, path).await {
            Some(200..400) => Ok(()),
            Some(status) => Err(format!("{} is answered with {status}", asked(probe))),
            None => Err(format!("{} is not answered: the connection broke off", asked(probe))),
        },
        Probe::Tcp { .. } | Probe::Command(_) => Ok(()),
    }
}

/// The status that a GET of a path is answered with.
#[cfg(feature = "docker")]
async fn ask_path(connection: TcpStream, at: &Place, path: &str) -> Option<u16> {
    let (mut sender, exchange) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(connection)).await.ok()?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, format!("{}:{}", at.host, at.port))
        .header(hyper::header::USER_AGENT, "paas-health")
        .body(String::new())
        .ok()?;
    // Ends by itself: when the answer is there, or when this is given up.
    tokio::spawn(exchange);
    sender.send_request(request).await.ok().map(|answer| answer.status().as_u16())
}

/// Without Docker there is no container that could be asked.
#[cfg(not(feature = "docker"))]
async fn ask_path(_connection: TcpStream, _at: &Place, _path: &str) -> Option<u16> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn failed() -> Result<(), String> {
        Err("GET /up is answered with 503".to_owned())
    }

    #[test]
    fn a_container_that_served_when_the_server_began_to_ask_is_well_until_it_failed_often_enough() {
        let mut said = Said::default();
        assert_eq!(said.health(3, true), Health::Unchecked, "a new leader has asked nobody yet");
        assert_eq!(said.health(3, false), Health::Starting);
        assert!(!said.note(failed(), 3, at(1)) && !said.note(failed(), 3, at(2)));
        assert_eq!(said.health(3, true), Health::Unchecked);
        assert!(said.note(failed(), 3, at(3)), "that is news");
        assert_eq!(said.health(3, true), Health::Unhealthy { since: at(1) });
        assert_eq!(said.health(3, false), Health::Starting, "a new one may take its time");
        assert!(said.note(Ok(()), 3, at(4)));
        assert_eq!(said.health(3, true), Health::Healthy { since: at(4) });
        assert!(!said.note(Ok(()), 3, at(5)));
        assert_eq!(said.complaint, None, "all is well");
        assert!(!said.note(failed(), 3, at(6)) && !said.note(failed(), 3, at(7)) && said.note(failed(), 3, at(8)));
        assert_eq!(said.health(3, true), Health::Unhealthy { since: at(8) });
        assert_eq!(said.complaint.as_deref(), Some("GET /up is answered with 503"));
    }
}
