//! One thing in full, as a list of names and values.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use paas_core::model::{
    Account, Capability, ClusterInfo, Container, ContainerSpec, Engine, HealthCheck, HealthCommand, MemoryMb,
    RestartPolicy,
};

use super::table::of_fields;
use super::tables::{container_name, container_state, engine_status, ports, time};

/// Names and values; what is not set is left out.
type Fields = Vec<(&'static str, String)>;

fn put(fields: &mut Fields, name: &'static str, value: impl Into<String>) {
    let value = value.into();
    if !value.is_empty() {
        fields.push((name, value));
    }
}

pub(crate) fn container(container: &Container) -> String {
    let engine = &container.engine;
    let mut fields = vec![
        ("ID", container.id.to_string()),
        ("NAME", container_name(container).to_owned()),
        ("STATE", container_state(container)),
        ("IMAGE", container.image.name.to_string()),
        ("ENGINE", format!("{} ({})", engine.id, engine.addr)),
        ("CREATED", time(container.created)),
        ("MANAGED", yes_or_no(container.managed)),
    ];
    put(&mut fields, "PORTS", ports(&container.ports));
    describe(&mut fields, &container.image);
    of_fields(fields)
}

fn describe(fields: &mut Fields, spec: &ContainerSpec) {
    let reserved = spec.reserved();
    let pairs = |map: &BTreeMap<String, String>, between: &str| {
        map.iter().map(|(key, value)| format!("{key}{between}{value}")).collect::<Vec<_>>().join(" ")
    };
    put(fields, "CPUS", reserved.cpus.to_string());
    put(fields, "CPUSET", spec.cpuset.clone().unwrap_or_default());
    put(fields, "MEMORY", format!("{}MB", reserved.memory));
    put(fields, "TYPE", spec.kind.as_str());
    put(fields, "LABELS", spec.labels.iter().map(String::as_str).collect::<Vec<_>>().join(","));
    put(fields, "ENTRYPOINT", words(&spec.entrypoint));
    put(fields, "ARGS", words(&spec.args));
    put(fields, "ENVIRONMENT", pairs(&spec.environment, "="));
    put(fields, "HOSTNAME", spec.hostname.clone().unwrap_or_default());
    put(fields, "DOMAINNAME", spec.domainname.clone().unwrap_or_default());
    put(fields, "ASKED PORTS", spec.bind_ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    put(fields, "PUBLISH", if spec.publish { "all" } else { "" });
    put(fields, "VOLUMES", spec.volumes.join(" "));
    put(fields, "LINKS", pairs(&spec.links, ":"));
    put(fields, "RESTART", restart(spec.restart_policy));
    put(fields, "NETWORK", spec.network_mode.clone());
    if let Some(data) = &spec.user_data {
        put(fields, "USER DATA", format!("{} bytes", data.len()));
    }
    describe_runtime(fields, spec);
}

/// What goes to Docker as it is.
fn describe_runtime(fields: &mut Fields, spec: &ContainerSpec) {
    let pairs = |map: &BTreeMap<String, String>| words(map.iter().map(|(key, value)| format!("{key}={value}")));
    let names = |all: &BTreeSet<Capability>| all.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(",");
    let megabytes = |size: Option<MemoryMb>| size.map(|size| format!("{size}MB")).unwrap_or_default();
    put(fields, "USER", spec.user.clone().unwrap_or_default());
    put(fields, "INIT", spec.init.map(yes_or_no).unwrap_or_default());
    put(fields, "READ ONLY", if spec.read_only { "yes" } else { "" });
    put(fields, "TMPFS", words(&spec.tmpfs));
    put(fields, "SHM SIZE", megabytes(spec.shm_size));
    put(fields, "CAP ADD", names(&spec.cap_add));
    put(fields, "CAP DROP", names(&spec.cap_drop));
    put(fields, "ULIMITS", words(spec.ulimits.iter().map(|(name, limit)| format!("{name}={limit}"))));
    put(fields, "SYSCTLS", pairs(&spec.sysctls));
    put(fields, "EXTRA HOSTS", words(&spec.extra_hosts));
    if let Some(logging) = &spec.logging {
        put(fields, "LOG DRIVER", logging.driver.clone().unwrap_or_default());
        put(fields, "LOG OPTIONS", pairs(&logging.options));
    }
    put(fields, "DEVICES", words(&spec.devices));
    put(fields, "MEMORY RESERVATION", megabytes(spec.memory_reservation));
    put(fields, "PIDS LIMIT", spec.pids_limit.map(|limit| limit.to_string()).unwrap_or_default());
    put(fields, "STOP SIGNAL", spec.stop_signal.as_ref().map(ToString::to_string).unwrap_or_default());
    put(fields, "STOP TIMEOUT", spec.stop_timeout.map(|seconds| format!("{seconds}s")).unwrap_or_default());
    put(fields, "HEALTH CHECK", spec.health.as_ref().map(health).unwrap_or_default());
    put(fields, "DOCKER LABELS", pairs(&spec.docker_labels));
}

fn health(check: &HealthCheck) -> String {
    let command = match &check.command {
        _ if check.disabled => return "none".to_owned(),
        None => "that of the image".to_owned(),
        Some(HealthCommand::Shell(line)) => line.clone(),
        Some(HealthCommand::Exec(program)) => words(program),
    };
    let times = [("interval", check.interval), ("timeout", check.timeout), ("start period", check.start_period)];
    let times = times.into_iter().filter_map(|(name, time)| {
        let time = SignedDuration::try_from(time?).ok()?;
        Some(format!("{name} {time:#}"))
    });
    let retries = check.retries.map(|retries| format!("retries {retries}"));
    let how: Vec<String> = times.chain(retries).collect();
    if how.is_empty() { command } else { format!("{command} ({})", how.join(", ")) }
}

/// Words as a shell would take them apart again.
fn words(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let quoted = words.into_iter().map(|word| match word.as_ref() {
        word if !word.is_empty() && word.chars().all(plain) => word.to_owned(),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

fn restart(policy: RestartPolicy) -> String {
    match policy {
        RestartPolicy::OnFailure { maximum_retry } if maximum_retry > 0 => {
            format!("{}:{maximum_retry}", policy.name())
        }
        policy => policy.name().to_owned(),
    }
}

/// What is to be known of an engine that an account other than an admin added.
pub(crate) const NO_LOGINS: &str =
    "the platform's logins to registries are not sent there until an admin adopts it with the same eadd";

pub(crate) fn engine(engine: &Engine) -> String {
    let mut fields = vec![
        ("ID", engine.id.to_string()),
        ("ADDR", engine.addr.clone()),
        ("STATUS", format!("{} since {}", engine_status(engine), time(engine.health.since))),
    ];
    put(&mut fields, "REASON", engine.health.reason.clone().unwrap_or_default());
    if let Some(milliseconds) = engine.health.response_time_ms {
        put(&mut fields, "ANSWERS IN", format!("{milliseconds}ms"));
    }
    put(&mut fields, "CPUS", format!("{} of {} reserved", engine.reserved_cpus, engine.cpus));
    put(&mut fields, "MEMORY", format!("{} of {}MB reserved", engine.reserved_memory, engine.memory));
    put(&mut fields, "CONTAINERS", engine.containers.to_string());
    put(&mut fields, "LABELS", engine.labels.join(","));
    put(&mut fields, "TLS", yes_or_no(engine.tls));
    put(&mut fields, "REGISTRY USER", engine.registry_user.clone().unwrap_or_default());
    let added_by = engine.added_by.as_ref().map(|user| format!("{user}, no admin: {NO_LOGINS}"));
    put(&mut fields, "ADDED BY", added_by.unwrap_or_default());
    put(&mut fields, "VERSION", engine.docker_version.clone().unwrap_or_default());
    put(&mut fields, "WARNINGS", engine.warnings.join("; "));
    of_fields(fields)
}

pub(crate) fn account(account: &Account) -> String {
    of_fields([
        ("NAME", account.username.to_string()),
        ("ROLE", account.role.to_string()),
        ("ID", account.id.to_string()),
    ])
}

pub(crate) fn cluster(info: &ClusterInfo) -> String {
    let simulated = match info.simulated_count {
        0 => String::new(),
        count => format!(", {count} simulated"),
    };
    let unknown = match info.unknown_count {
        0 => String::new(),
        count => format!(", {count} unknown"),
    };
    let mut fields = vec![
        ("ENGINES", format!("{} ({} up{simulated})", info.engine_count, info.engines_up)),
        ("CONTAINERS", format!("{} ({} running{unknown})", info.container_count, info.running_count)),
        ("IMAGES", info.image_count.to_string()),
        ("CPUS", format!("{} ({} reserved, {:.2} used)", info.cpus, info.reserved_cpus, info.used_cpus)),
        ("MEMORY", format!("{}MB ({}MB reserved, {}MB used)", info.memory, info.reserved_memory, info.used_memory)),
    ];
    put(&mut fields, "LEADER", info.leader.clone().unwrap_or_default());
    put(&mut fields, "VERSION", info.version.clone());
    of_fields(fields)
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}
