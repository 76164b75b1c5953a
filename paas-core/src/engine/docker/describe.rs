//! From the description of a container to what Docker wants to be told.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, EndpointSettings, HostConfig, HostConfigLogConfig, NetworkingConfig,
    PortBinding, PortMap, RestartPolicy as DockerRestartPolicy, RestartPolicyNameEnum,
};

use super::runtime;
use crate::engine::{CreateRequest, labels};
use crate::model::app::Sizes;
use crate::model::{BindPort, ContainerSpec, Cpus, RestartPolicy};

/// The weight that the kernel gives one CPU, and the least and most it takes.
const SHARES_PER_CPU: u64 = 1024;
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;

/// What Docker is told to make.
pub(super) fn container_body(request: &CreateRequest, log_config: Option<HostConfigLogConfig>) -> ContainerCreateBody {
    let spec = &request.spec;
    let (anonymous, binds): (Vec<_>, Vec<_>) = spec.volumes.iter().cloned().partition(|volume| !volume.contains(':'));
    let links: Vec<String> =
        request.links.iter().map(|(name, alias)| format!("{}:{alias}", name.trim_start_matches('/'))).collect();
    // One of the application is for those that ask for no other, nor for none.
    let of_app = request.network.as_ref().filter(|_| spec.is_in_default_network());
    let named = of_app.map(|network| network.name.as_str()).or(spec.named_network());
    // Docker keeps links of its default network on the container, those of other networks on the connection to it.
    let (host_links, network_links) = if named.is_some() { (Vec::new(), links) } else { (links, Vec::new()) };
    let aliases = of_app.map(|network| network.aliases.clone()).unwrap_or_default();
    let reserved = spec.reserved();
    let (body, host_config) = runtime::write(spec);
    let host_config = HostConfig {
        cpu_shares: Some(cpu_shares(reserved.cpus)),
        nano_cpus: spec.cpus.map(Cpus::nano),
        cpuset_cpus: spec.cpuset.clone(),
        memory: Some(reserved.memory.bytes()),
        // Docker would add as much swap again; a container would then use twice what is reserved for it.
        memory_swap: Some(reserved.memory.bytes()),
        binds: some(binds),
        links: some(host_links),
        network_mode: Some(named.unwrap_or(&spec.network_mode).to_owned()),
        port_bindings: some_ports(&spec.bind_ports),
        publish_all_ports: Some(spec.publish),
        restart_policy: Some(restart_policy(spec.restart_policy)),
        log_config,
        ..host_config
    };
    let endpoint =
        EndpointSettings { links: some(network_links), aliases: some(aliases), ..EndpointSettings::default() };
    let networking_config = named
        .filter(|_| endpoint != EndpointSettings::default())
        .map(|network| NetworkingConfig { endpoints_config: Some(HashMap::from([(network.to_owned(), endpoint)])) });
    ContainerCreateBody {
        image: Some(spec.name.to_string()),
        entrypoint: some(spec.entrypoint.clone()),
        cmd: some(spec.args.clone()),
        env: some(environment(request)),
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        labels: Some(labels::write(request)),
        exposed_ports: some(spec.bind_ports.iter().map(port_key).collect()),
        volumes: some(anonymous),
        host_config: Some(host_config),
        networking_config,
        ..body
    }
}

/// What Docker is told to change. Memory always goes with its swap: Docker refuses more memory than both may be together.
pub(super) fn update_body(sizes: &Sizes) -> ContainerUpdateBody {
    ContainerUpdateBody {
        cpu_shares: sizes.cpus.map(cpu_shares),
        nano_cpus: sizes.cpus.map(Cpus::nano),
        memory: Some(sizes.memory.bytes()),
        memory_swap: Some(sizes.memory.bytes()),
        restart_policy: Some(restart_policy(sizes.restart)),
        ..ContainerUpdateBody::default()
    }
}

/// The weight of a share of CPU among those who want more than there is.
fn cpu_shares(cpus: Cpus) -> i64 {
    let shares = cpus.milli().saturating_mul(SHARES_PER_CPU) / 1000;
    shares.clamp(MIN_SHARES, MAX_SHARES) as i64
}

fn environment(request: &CreateRequest) -> Vec<String> {
    let spec = &request.spec;
    let hidden = request.hidden_environment.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_text()?)));
    let user_data = spec.user_data.iter().map(|data| (ContainerSpec::USER_DATA_VARIABLE, data.as_str()));
    let variables = spec.environment.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    variables.chain(hidden).chain(user_data).map(|(key, value)| format!("{key}={value}")).collect()
}

fn port_key(port: &BindPort) -> String {
    format!("{}/{}", port.container_port, port.proto)
}

fn some_ports(ports: &[BindPort]) -> Option<PortMap> {
    let mut map = PortMap::new();
    for port in ports {
        // An empty text leaves the choice to Docker.
        let binding = PortBinding {
            host_ip: Some(port.host_ip.map(|ip| ip.to_string()).unwrap_or_default()),
            host_port: Some(port.host_port.map(|port| port.to_string()).unwrap_or_default()),
        };
        map.entry(port_key(port)).or_default().get_or_insert_default().push(binding);
    }
    (!map.is_empty()).then_some(map)
}

fn restart_policy(policy: RestartPolicy) -> DockerRestartPolicy {
    use RestartPolicyNameEnum as Name;
    let (name, retries) = match policy {
        RestartPolicy::No => (Name::NO, 0),
        RestartPolicy::Always => (Name::ALWAYS, 0),
        RestartPolicy::UnlessStopped => (Name::UNLESS_STOPPED, 0),
        RestartPolicy::OnFailure { maximum_retry } => (Name::ON_FAILURE, maximum_retry),
    };
    DockerRestartPolicy { name: Some(name), maximum_retry_count: Some(retries.into()) }
}

/// Nothing for an empty list: Docker then takes the image's own.
pub(super) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
