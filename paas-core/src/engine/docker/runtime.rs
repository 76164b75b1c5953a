//! What of a description goes to Docker as it is, and back: one function for each way, beside each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bollard::models::{
    ContainerConfig, ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig,
    ResourcesUlimits,
};

use super::describe::some;
use super::observed::{non_empty, positive};
use crate::engine::{LogRotation, labels};
use crate::model::{Capability, ContainerSpec, Device, HealthCheck, HealthCommand, Logging, MemoryMb, Ulimit, tmpfs};

/// What Docker shows of a container that does not ask for another size or signal.
const DEFAULT_SHM_SIZE: MemoryMb = MemoryMb::new(64);
const DEFAULT_SIGNAL: &str = "SIGTERM";
/// How Docker writes how a command is run.
const NO_CHECK: &str = "NONE";
const EXEC: &str = "CMD";
const SHELL: &str = "CMD-SHELL";

/// What Docker is told; the rest is for the caller to fill in.
pub(super) fn write(spec: &ContainerSpec) -> (ContainerCreateBody, HostConfig) {
    let body = ContainerCreateBody {
        user: spec.user.clone(),
        stop_signal: spec.stop_signal.as_ref().map(ToString::to_string),
        stop_timeout: spec.stop_timeout.map(i64::from),
        healthcheck: spec.health.as_ref().map(health_config),
        ..ContainerCreateBody::default()
    };
    let names = |capabilities: &BTreeSet<Capability>| some(capabilities.iter().map(ToString::to_string).collect());
    let tmpfs =
        spec.tmpfs.iter().map(|one| tmpfs::parts(one)).map(|(path, options)| (path.to_owned(), options.to_owned()));
    let sysctls = spec.sysctls.iter().map(|(name, value)| (name.clone(), value.clone()));
    let ulimits = spec.ulimits.iter().map(|(name, limit)| ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    });
    // One that is none is refused before; see `ContainerSpec::validate`.
    let devices = spec.devices.iter().filter_map(|device| Device::parse(device).ok()).map(|device| DeviceMapping {
        path_on_host: Some(device.host.to_owned()),
        path_in_container: Some(device.container.to_owned()),
        cgroup_permissions: Some(device.permissions.to_owned()),
    });
    let host = HostConfig {
        init: spec.init,
        readonly_rootfs: spec.read_only.then_some(true),
        tmpfs: some_map(tmpfs.collect()),
        shm_size: spec.shm_size.map(MemoryMb::bytes),
        cap_add: names(&spec.cap_add),
        cap_drop: names(&spec.cap_drop),
        ulimits: some(ulimits.collect()),
        sysctls: some_map(sysctls.collect()),
        extra_hosts: some(spec.extra_hosts.clone()),
        devices: some(devices.collect()),
        memory_reservation: spec.memory_reservation.map(MemoryMb::bytes),
        pids_limit: spec.pids_limit,
        ..HostConfig::default()
    };
    (body, host)
}

/// As much of it as Docker shows of somebody else's container. What has Docker's default says nothing.
pub(super) fn read(spec: &mut ContainerSpec, config: &ContainerConfig, host: &HostConfig) {
    let capabilities = |shown: &Option<Vec<String>>| {
        shown.iter().flatten().filter_map(|name| name.parse::<Capability>().ok()).collect()
    };
    let size = |bytes: Option<i64>| bytes.and_then(positive).map(MemoryMb::from_bytes_ceil);
    spec.user = non_empty(config.user.clone());
    spec.stop_signal = non_empty(config.stop_signal.clone())
        .filter(|signal| signal != DEFAULT_SIGNAL)
        .and_then(|signal| signal.parse().ok());
    spec.stop_timeout = config.stop_timeout.and_then(|seconds| seconds.try_into().ok());
    spec.health = config.healthcheck.as_ref().and_then(health_check);
    spec.docker_labels = shown_map(&config.labels).filter(|(name, _)| !labels::is_own(name)).collect();
    spec.init = host.init;
    spec.read_only = host.readonly_rootfs.unwrap_or_default();
    let mut tmpfs: Vec<_> = shown_map(&host.tmpfs)
        .map(|(path, options)| if options.is_empty() { path } else { format!("{path}:{options}") })
        .collect();
    tmpfs.sort_unstable();
    spec.tmpfs = tmpfs;
    spec.shm_size = size(host.shm_size).filter(|size| *size != DEFAULT_SHM_SIZE);
    spec.cap_add = capabilities(&host.cap_add);
    spec.cap_drop = capabilities(&host.cap_drop);
    let ulimit =
        |shown: &ResourcesUlimits| Some((shown.name.clone()?, Ulimit { soft: shown.soft?, hard: shown.hard? }));
    spec.ulimits = host.ulimits.iter().flatten().filter_map(ulimit).collect();
    spec.sysctls = shown_map(&host.sysctls).collect();
    spec.extra_hosts = host.extra_hosts.clone().unwrap_or_default();
    spec.logging = host.log_config.as_ref().and_then(logging);
    spec.devices = host.devices.iter().flatten().filter_map(device).collect();
    spec.memory_reservation = size(host.memory_reservation);
    spec.pids_limit = host.pids_limit.filter(|limit| *limit > 0);
}

/// Where the output goes: to `driver`, as far as it is known. Where that keeps files and `asked` does not say how large, they are
/// as large as `rotation` says. The driver is named, so that the options never meet one that does not take them.
pub(super) fn log_config(
    driver: Option<String>,
    asked: Option<&Logging>,
    rotation: Option<LogRotation>,
) -> Option<HostConfigLogConfig> {
    let mut options: HashMap<_, _> = asked.map(|asked| asked.options.clone()).unwrap_or_default().into_iter().collect();
    let keeps_files = matches!(driver.as_deref(), Some("json-file" | "local"));
    let rotation = rotation.filter(|_| keeps_files);
    if asked.is_none() && rotation.is_none() {
        return None;
    }
    if let Some(LogRotation { max_size_mb, max_files }) = rotation
        && !options.contains_key("max-size")
    {
        options.insert("max-size".to_owned(), format!("{max_size_mb}m"));
        options.entry("max-file".to_owned()).or_insert_with(|| max_files.to_string());
    }
    Some(HostConfigLogConfig { typ: driver, config: some_map(options) })
}

fn logging(shown: &HostConfigLogConfig) -> Option<Logging> {
    let options: BTreeMap<_, _> = shown_map(&shown.config).collect();
    let driver = non_empty(shown.typ.clone()).filter(|driver| driver != "json-file" || !options.is_empty())?;
    Some(Logging { driver: Some(driver), options })
}

fn device(shown: &DeviceMapping) -> Option<String> {
    let host = shown.path_on_host.as_deref()?;
    let container = shown.path_in_container.as_deref().filter(|path| !path.is_empty()).unwrap_or(host);
    let permissions = shown.cgroup_permissions.as_deref().filter(|letters| !letters.is_empty()).unwrap_or("rwm");
    Some(Device { host, container, permissions }.to_string())
}

fn health_config(health: &HealthCheck) -> HealthConfig {
    let word = str::to_owned;
    let test = match &health.command {
        _ if health.disabled => Some(vec![word(NO_CHECK)]),
        None => None,
        Some(HealthCommand::Shell(line)) => Some(vec![word(SHELL), line.clone()]),
        Some(HealthCommand::Exec(words)) => Some([word(EXEC)].into_iter().chain(words.iter().cloned()).collect()),
    };
    let nanoseconds = |time: Option<Duration>| time.map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
    HealthConfig {
        test,
        interval: nanoseconds(health.interval),
        timeout: nanoseconds(health.timeout),
        start_period: nanoseconds(health.start_period),
        retries: health.retries.map(i64::from),
        ..HealthConfig::default()
    }
}

fn health_check(shown: &HealthConfig) -> Option<HealthCheck> {
    let (how, words) = shown.test.as_deref().and_then(<[String]>::split_first).unzip();
    let words = words.unwrap_or_default();
    let command = match how.map(String::as_str) {
        Some(NO_CHECK) => return Some(HealthCheck { disabled: true, ..HealthCheck::default() }),
        Some(SHELL) => Some(HealthCommand::Shell(words.join(" "))),
        Some(EXEC) => Some(HealthCommand::Exec(words.to_vec())),
        _ => None,
    };
    let time = |nanoseconds: Option<i64>| nanoseconds.and_then(positive).map(Duration::from_nanos);
    let health = HealthCheck {
        disabled: false,
        command,
        interval: time(shown.interval),
        timeout: time(shown.timeout),
        start_period: time(shown.start_period),
        retries: shown.retries.and_then(positive).and_then(|retries| retries.try_into().ok()),
    };
    (health != HealthCheck::default()).then_some(health)
}

fn some_map(map: HashMap<String, String>) -> Option<HashMap<String, String>> {
    (!map.is_empty()).then_some(map)
}

fn shown_map(shown: &Option<HashMap<String, String>>) -> impl Iterator<Item = (String, String)> {
    shown.iter().flatten().map(|(name, value)| (name.clone(), value.clone()))
}
