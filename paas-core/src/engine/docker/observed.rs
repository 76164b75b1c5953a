//! From what Docker shows of a container to a container as found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerSummary, HostConfig, MountPoint, Network, PortMap, PortSummary,
    PortSummaryTypeEnum, RestartPolicyNameEnum, Volume,
};
use jiff::Timestamp;

use super::{run_state, runtime};
use crate::engine::{Managed, ObjectLabels, ObservedContainer, labels};
use crate::model::{
    BindPort, BoundPort, ContainerId, ContainerSpec, ContainerState, Cpus, ImageRef, MemoryMb, Protocol, Resources,
    RestartPolicy,
};

/// The period of a CPU quota when Docker shows none, microseconds.
const DEFAULT_CPU_PERIOD: i64 = 100_000;

/// The networks that somebody made, by name and by id.
pub(super) fn networks(all: Vec<Network>) -> BTreeMap<String, ObjectLabels> {
    let made = all.into_iter().filter(|network| !matches!(network.name.as_deref(), Some("bridge" | "host" | "none")));
    made.flat_map(|network| {
        let labels = labels::of_object(&network.labels.unwrap_or_default());
        [network.name, network.id].into_iter().flatten().map(move |name| (name, labels.clone()))
    })
    .collect()
}

/// The volumes that somebody named.
pub(super) fn volumes(all: Vec<Volume>) -> BTreeMap<String, ObjectLabels> {
    let named = all.into_iter().filter(|volume| is_named(&volume.name));
    named.map(|volume| (volume.name, labels::of_object(&volume.labels))).collect()
}

/// Whether somebody named a volume. Those that Docker names itself, by 64 digits, come and go with their containers.
fn is_named(volume: &str) -> bool {
    volume.len() != 64 || !volume.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A container as inspected. Nothing when Docker gives it no id.
pub(super) fn from_inspect(inspected: ContainerInspectResponse) -> Option<ObservedContainer> {
    let id: ContainerId = inspected.id?.parse().ok()?;
    let config = inspected.config.unwrap_or_default();
    let host = inspected.host_config.unwrap_or_default();
    let shown = inspected.state.unwrap_or_default();
    let state = shown.status.map_or(ContainerState::Stopped, |status| state(status.as_ref()));
    let network = inspected.network_settings.unwrap_or_default();
    let networks = network.networks.unwrap_or_default();
    let mode = host.network_mode.as_deref();
    let run = run_state::from_inspect(state, &shown, inspected.restart_count, mode, networks);
    let ports = network.ports.unwrap_or_default();
    let created = inspected.created.and_then(|text| text.parse::<Timestamp>().ok()).unwrap_or_default();
    let limits = (cpu_limit(&host), host.memory.and_then(positive).map(MemoryMb::from_bytes_ceil));
    let name = inspected.name.unwrap_or_else(|| format!("/{}", id.short()));
    let (spec, managed) = config.labels.as_ref().and_then(|labels| labels::read(labels, &name)).unzip();
    let labels_of_another = config.labels.as_ref().and_then(|labels| labels::read_of_another(labels, &name));
    let is_replica = |managed: &Managed| managed.replica().is_some();
    let spec = match spec {
        Some(spec) if !managed.as_ref().is_some_and(is_replica) => spec,
        _ => {
            let mut spec = shown_spec(&id, inspected.image.as_deref(), config, host);
            let others = mounts_beside(&spec.volumes, inspected.mounts.unwrap_or_default());
            spec.volumes.extend(others);
            spec
        }
    };
    Some(ObservedContainer {
        name,
        reserved: enforced(limits, spec.reserved()),
        limits_known: true,
        spec,
        ports: if state.holds_resources() { bound_ports(inspected_ports(&ports)) } else { Vec::new() },
        state,
        created: whole_second(created),
        managed,
        labels_of_another,
        run,
        id,
    })
}

/// A container as listed. Of others' containers a list shows neither limits nor much of their description.
pub(super) fn from_summary(summary: ContainerSummary) -> Option<ObservedContainer> {
    let id: ContainerId = summary.id?.parse().ok()?;
    let state = summary.state.map_or(ContainerState::Stopped, |status| state(status.as_ref()));
    let created = summary.created.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_default();
    let name = own_name(summary.names.unwrap_or_default()).unwrap_or_else(|| format!("/{}", id.short()));
    let labels_of_another = summary.labels.as_ref().and_then(|labels| labels::read_of_another(labels, &name));
    let (spec, managed) = match summary.labels.as_ref().and_then(|labels| labels::read(labels, &name)) {
        Some((spec, managed)) => (spec, Some(managed)),
        None => {
            let mut spec = ContainerSpec::new(image_ref(&[summary.image, summary.image_id]));
            if let Some(mode) = summary.host_config.and_then(|host| host.network_mode) {
                spec.network_mode = network_mode(mode);
            }
            (spec, None)
        }
    };
    let listed = summary.ports.unwrap_or_default();
    let networks = summary.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let run = run_state::from_summary(state, summary.health.and_then(|health| health.status), networks);
    Some(ObservedContainer {
        name,
        reserved: spec.reserved(),
        limits_known: false,
        spec,
        ports: if state.holds_resources() { bound_ports(listed.iter().filter_map(listed_port)) } else { Vec::new() },
        state,
        created,
        managed,
        labels_of_another,
        run,
        id,
    })
}

/// Docker lists a container under the names that its linked containers know it by, too: `/web/db` beside `/db`.
fn own_name(names: Vec<String>) -> Option<String> {
    names.into_iter().min_by_key(|name| name.matches('/').count())
}

/// A list shows whole seconds. An inspected container is to be the same container.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// What Docker's word for a state means. A list and an inspection have the same words, in types of their own.
fn state(word: &str) -> ContainerState {
    match word {
        "created" => ContainerState::Created,
        // One that is told to stop holds what it has until it is gone.
        "running" | "stopping" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        _ => ContainerState::Stopped,
    }
}

fn listed_port(port: &PortSummary) -> Option<BoundPort> {
    let proto = match port.typ {
        Some(PortSummaryTypeEnum::UDP) => Protocol::Udp,
        Some(PortSummaryTypeEnum::SCTP) => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    Some(BoundPort {
        proto,
        host_ip: port.ip.as_deref().and_then(|ip| ip.parse().ok()),
        host_port: port.public_port.filter(|&port| port > 0)?,
        container_port: port.private_port,
    })
}

fn inspected_ports(ports: &PortMap) -> impl Iterator<Item = BoundPort> {
    ports.iter().filter_map(|(key, bindings)| Some((port_key(key)?, bindings.as_ref()?))).flat_map(
        |((proto, container_port), bindings)| {
            bindings.iter().filter_map(move |binding| {
                let host_ip = binding.host_ip.as_deref().and_then(|ip| ip.parse().ok());
                let host_port = binding.host_port.as_deref()?.parse().ok().filter(|&port| port > 0)?;
                Some(BoundPort { proto, host_ip, host_port, container_port })
            })
        },
    )
}

/// `80/tcp` as Docker writes the port of a container.
fn port_key(key: &str) -> Option<(Protocol, u16)> {
    let (port, proto) = key.split_once('/').unwrap_or((key, ""));
    Some((proto.parse().ok()?, port.parse().ok()?))
}

/// The ports in order, those of both families apart.
fn bound_ports(ports: impl Iterator<Item = BoundPort>) -> Vec<BoundPort> {
    let mut all: Vec<BoundPort> = ports.collect();
    all.sort_unstable();
    all.dedup();
    // Kept as long as the container, and most have one.
    all.shrink_to_fit();
    all
}

/// What a container counts as: the limits that Docker enforces, which `docker update` may have changed since it was made,
/// and what it asked for where Docker enforces none.
fn enforced((cpus, memory): (Option<Cpus>, Option<MemoryMb>), asked: Resources) -> Resources {
    let bounded = |memory: MemoryMb| memory.min(MemoryMb::MAX);
    Resources { cpus: cpus.unwrap_or(asked.cpus), memory: memory.map_or(asked.memory, bounded) }
}

/// The named volumes that a container mounts by `--mount` or `--volumes-from`, which are not among its binds. In order: Docker has
/// none.
fn mounts_beside(known: &[String], mounts: Vec<MountPoint>) -> BTreeSet<String> {
    let volumes = mounts.into_iter().filter_map(|mount| {
        let name = mount.name.filter(|name| mount.typ.as_deref() == Some("volume") && is_named(name))?;
        Some(format!("{name}:{}", mount.destination?))
    });
    let is_it = |known: &String, volume: &str| {
        known.strip_prefix(volume).is_some_and(|mode| mode.is_empty() || mode.starts_with(':'))
    };
    let is_known = |volume: &String| known.iter().any(|known| is_it(known, volume));
    volumes.filter(|volume| !is_known(volume)).collect()
}

/// As much of a description as Docker shows of a container of somebody else, or of an application. The environment of the latter
/// is left out.
fn shown_spec(id: &ContainerId, image_id: Option<&str>, config: ContainerConfig, host: HostConfig) -> ContainerSpec {
    let image_id = image_id.map(str::to_owned);
    let mut spec = ContainerSpec::new(image_ref(&[config.image.clone(), image_id]));
    runtime::read(&mut spec, &config, &host);
    spec.cpus = cpu_limit(&host);
    spec.memory = host.memory.and_then(positive).map(MemoryMb::from_bytes_ceil);
    spec.cpuset = non_empty(host.cpuset_cpus);
    spec.entrypoint = config.entrypoint.unwrap_or_default();
    spec.args = config.cmd.unwrap_or_default();
    if !config.labels.as_ref().is_some_and(labels::may_have_secrets) {
        spec.environment = variables(config.env.unwrap_or_default());
    }
    // Docker's own choice, the short id, says nothing.
    spec.hostname = non_empty(config.hostname).filter(|name| name != id.short());
    spec.domainname = non_empty(config.domainname);
    spec.bind_ports = asked_ports(&host.port_bindings.unwrap_or_default());
    spec.volumes = host.binds.unwrap_or_default();
    spec.volumes.extend(config.volumes.unwrap_or_default());
    spec.links = links(&host.links.unwrap_or_default());
    spec.publish = host.publish_all_ports.unwrap_or_default();
    spec.network_mode = network_mode(host.network_mode.unwrap_or_default());
    if let Some(policy) = host.restart_policy {
        let retries = policy.maximum_retry_count.and_then(|count| count.try_into().ok()).unwrap_or_default();
        spec.restart_policy = match policy.name {
            Some(RestartPolicyNameEnum::ALWAYS) => RestartPolicy::Always,
            Some(RestartPolicyNameEnum::UNLESS_STOPPED) => RestartPolicy::UnlessStopped,
            Some(RestartPolicyNameEnum::ON_FAILURE) => RestartPolicy::OnFailure { maximum_retry: retries },
            _ => RestartPolicy::No,
        };
    }
    spec
}

/// What is given: Docker shows some of what is not as an empty text.
pub(super) fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The first text that is an image reference. A container whose image has no readable name still takes room, and must
/// not be lost for that.
fn image_ref(candidates: &[Option<String>]) -> ImageRef {
    let known = candidates.iter().flatten().find_map(|text| text.parse().ok());
    known.unwrap_or_else(|| "unknown".parse().expect("a plain word is an image reference"))
}

/// The limit on CPU, however it was set.
fn cpu_limit(host: &HostConfig) -> Option<Cpus> {
    if let Some(nano) = host.nano_cpus.and_then(positive) {
        return Some(Cpus::from_nano_ceil(nano));
    }
    let quota = host.cpu_quota.and_then(positive)?;
    let period = host.cpu_period.filter(|&period| period > 0).unwrap_or(DEFAULT_CPU_PERIOD);
    Some(Cpus::from_nano_ceil(quota.saturating_mul(1_000_000_000) / period.unsigned_abs()))
}

pub(super) fn positive(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|&number| number > 0)
}

fn variables(env: Vec<String>) -> BTreeMap<String, String> {
    env.into_iter()
        .map(|variable| match variable.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (variable, String::new()),
        })
        .collect()
}

fn asked_ports(bindings: &PortMap) -> Vec<BindPort> {
    let mut ports: Vec<BindPort> = Vec::new();
    for (key, bindings) in bindings {
        let Some((proto, container_port)) = port_key(key) else { continue };
        ports.extend(bindings.iter().flatten().map(|binding| BindPort {
            proto,
            host_ip: binding.host_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()),
            host_port: binding.host_port.as_deref().and_then(|port| port.parse().ok()).filter(|&port| port > 0),
            container_port,
        }));
    }
    ports.sort_unstable();
    ports
}

/// Docker shows a link as `/target:/owner/alias`.
fn links(shown: &[String]) -> BTreeMap<String, String> {
    let parts = |link: &String| {
        let (target, alias) = link.split_once(':')?;
        let alias = alias.rsplit('/').next().unwrap_or(alias);
        Some((target.trim_start_matches('/').to_owned(), alias.to_owned()))
    };
    shown.iter().filter_map(parts).collect()
}

fn network_mode(mode: String) -> String {
    match mode.as_str() {
        "" | "default" => "bridge".to_owned(),
        _ => mode,
    }
}
