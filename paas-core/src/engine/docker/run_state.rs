//! How the program of a container does, from what Docker shows of it.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{ContainerState as Shown, ContainerSummaryHealthStatusEnum, EndpointSettings};
use jiff::Timestamp;

use crate::engine::RunState;
use crate::model::{ContainerState, HealthStatus};

/// That of a container as inspected.
pub(super) fn from_inspect(
    state: ContainerState,
    shown: &Shown,
    restarts: Option<i64>,
    mode: Option<&str>,
    networks: HashMap<String, EndpointSettings>,
) -> RunState {
    let runs = runs(state);
    let network_lost = mode.is_some_and(|mode| lacks(&networks, mode));
    let ended = shown.finished_at.as_deref().and_then(time);
    let health = shown.health.as_ref().and_then(|health| health.status);
    RunState {
        started: shown.started_at.as_deref().and_then(time),
        ended,
        // While it runs Docker shows 0, whatever it was.
        exit_code: shown.exit_code.filter(|_| !runs && ended.is_some()),
        health: health.filter(|_| runs).and_then(|health| self::health(health.as_ref())),
        restarts: restarts.and_then(|restarts| restarts.try_into().ok()).unwrap_or_default(),
        address: if runs { address(networks) } else { None },
        network_lost,
    }
}

/// That of a container as listed: as much of it as a list shows.
pub(super) fn from_summary(
    state: ContainerState,
    health: Option<ContainerSummaryHealthStatusEnum>,
    networks: HashMap<String, EndpointSettings>,
) -> RunState {
    if !runs(state) {
        return RunState::default();
    }
    let health = health.and_then(|health| self::health(health.as_ref()));
    RunState { health, address: address(networks), ..RunState::default() }
}

fn runs(state: ContainerState) -> bool {
    matches!(state, ContainerState::Running | ContainerState::Paused)
}

/// Docker writes a time that never was as the first of the year 1.
fn time(text: &str) -> Option<Timestamp> {
    text.parse::<Timestamp>().ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

/// What Docker's word for a state of health means. A list and an inspection have the same words, in types of their own.
fn health(word: &str) -> Option<HealthStatus> {
    match word {
        "starting" => Some(HealthStatus::Starting),
        "healthy" => Some(HealthStatus::Healthy),
        "unhealthy" => Some(HealthStatus::Unhealthy),
        _ => None,
    }
}

/// Whether a container is not in the network that its mode names, where that is one that somebody made. Docker shows the network of
/// one that does not run, too.
fn lacks(networks: &HashMap<String, EndpointSettings>, mode: &str) -> bool {
    let is_of_docker = matches!(mode, "" | "default" | "bridge" | "host" | "none") || mode.contains(':');
    let is_it = |(name, endpoint): (&String, &EndpointSettings)| {
        name == mode || endpoint.network_id.as_deref().is_some_and(|id| id.starts_with(mode))
    };
    !is_of_docker && !networks.iter().any(is_it)
}

/// The address in the first network, by name, in which it has one.
fn address(networks: HashMap<String, EndpointSettings>) -> Option<IpAddr> {
    let ip = |text: Option<String>| text.and_then(|text| text.parse::<IpAddr>().ok());
    let of = |endpoint: EndpointSettings| ip(endpoint.ip_address).or(ip(endpoint.global_ipv6_address));
    let addresses = networks.into_iter().filter_map(|(name, endpoint)| Some((name, of(endpoint)?)));
    addresses.min().map(|(_, address)| address)
}
