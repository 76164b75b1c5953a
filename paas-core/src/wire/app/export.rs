//! From what an application means back to what somebody could have written.

use super::normalise::DEFAULT_PORT;
use super::{
    AppRequest, BeforeRequest, ComponentRequest, ConfigRequest, EnvRequest, HealRequest, HealthRequest, Period,
    PlaceRequest, RouteRequest, SecretRequest, StopRequest, UpdateRequest, VolumeRequest,
};
use crate::model::RestartPolicy;
use crate::model::app::{AppSpec, ComponentSpec, ComponentUse, EnvValue, HealthCheck, Probe};

impl From<&AppSpec> for AppRequest {
    /// Everything is said, also what has its default.
    fn from(app: &AppSpec) -> Self {
        let component = app.components.iter().map(|(name, component)| (name.to_string(), component.into())).collect();
        Self { app: Some(app.name.to_string()), component }
    }
}

impl From<&ComponentSpec> for ComponentRequest {
    fn from(spec: &ComponentSpec) -> Self {
        let docker = spec.docker.clone();
        let mut ports = spec.ports.clone();
        let period = |milliseconds| Some(Period::from_millis(milliseconds));
        Self {
            image: Some(spec.image.to_string()),
            replicas: Some(spec.replicas),
            entrypoint: spec.entrypoint.clone(),
            command: spec.command.clone(),
            env: spec.env.iter().map(|(name, value)| (name.clone(), variable(value))).collect(),
            secrets: secrets(spec),
            configs: configs(spec),
            cpus: spec.cpus,
            memory: spec.memory,
            port: ports.remove(DEFAULT_PORT),
            ports,
            publish: spec.publish.iter().map(ToString::to_string).collect(),
            health: spec.health.as_ref().map(health),
            stop: StopRequest { signal: Some(spec.stop.signal.clone()), grace: period(spec.stop.grace_ms) },
            update: UpdateRequest {
                order: Some(spec.update.order),
                parallel: Some(spec.update.parallel),
                monitor: period(spec.update.monitor_ms),
                drain: period(spec.update.drain_ms),
                progress: period(spec.update.progress_ms),
                on_failure: Some(spec.update.on_failure),
            },
            heal: HealRequest {
                after: Some(
                    spec.heal.after_ms.map_or_else(|| "never".to_owned(), |ms| Period::from_millis(ms).to_string()),
                ),
                singleton: spec.heal.singleton,
            },
            place: PlaceRequest {
                labels: spec.place.labels.clone(),
                spread: spec.place.spread,
                prefer: spec.place.prefer.clone(),
            },
            before: spec.before.as_ref().map(|before| BeforeRequest {
                command: before.command.clone(),
                timeout: period(before.timeout_ms),
                retry: before.retry,
            }),
            volumes: volumes(spec),
            restart: Some(restart(spec.restart)),
            route: routes(spec),
            uses: spec.uses.iter().map(component_use).collect(),
            depends_on: spec.depends_on.iter().map(ToString::to_string).collect(),
            allow: spec.allow.clone(),
            labels: docker.labels,
            hostname: docker.hostname,
            user: docker.user,
            init: docker.init,
            cap_add: docker.cap_add,
            cap_drop: docker.cap_drop,
            ulimits: docker.ulimits,
            sysctls: docker.sysctls,
            read_only: docker.read_only,
            tmpfs: docker.tmpfs,
            shm_size: docker.shm_size,
            extra_hosts: docker.extra_hosts,
            logging: docker.logging,
            devices: docker.devices,
            cpuset: docker.cpuset,
            memory_reservation: docker.memory_reservation,
            pids_limit: docker.pids_limit,
        }
    }
}

/// A file names a secret and no value of it: whoever applies the file takes the newest.
fn variable(value: &EnvValue) -> EnvRequest {
    EnvRequest(match value {
        EnvValue::Secret { secret, .. } => EnvValue::Secret { secret: secret.clone(), version: None },
        EnvValue::Text(text) => EnvValue::Text(text.clone()),
    })
}

fn octal(mode: u32) -> Option<String> {
    Some(format!("{mode:04o}"))
}

fn secrets(spec: &ComponentSpec) -> Vec<SecretRequest> {
    let request = |(path, file): (&String, &crate::model::app::SecretFile)| SecretRequest {
        name: file.name.to_string(),
        file: Some(path.clone()),
        mode: octal(file.mode),
        uid: file.uid,
        gid: file.gid,
    };
    spec.secrets.iter().map(request).collect()
}

fn configs(spec: &ComponentSpec) -> Vec<ConfigRequest> {
    let request = |(path, file): (&String, &crate::model::app::ConfigFile)| ConfigRequest {
        source: file.source.clone(),
        target: path.clone(),
        mode: octal(file.mode),
        uid: file.uid,
        gid: file.gid,
        sha256: file.sha256.clone(),
    };
    spec.configs.iter().map(request).collect()
}

fn volumes(spec: &ComponentSpec) -> Vec<VolumeRequest> {
    let request = |(path, volume): (&String, &crate::model::app::VolumeMount)| VolumeRequest {
        name: volume.source.clone(),
        target: path.clone(),
        mode: volume.mode.clone(),
        shared: volume.shared,
    };
    spec.volumes.iter().map(request).collect()
}

fn routes(spec: &ComponentSpec) -> Vec<RouteRequest> {
    let request = |route: &crate::model::app::Route| RouteRequest {
        host: route.host.clone(),
        path: Some(route.path.clone()),
        tls: Some(route.tls.clone()),
    };
    spec.routes.iter().map(request).collect()
}

fn health(check: &HealthCheck) -> HealthRequest {
    let mut request = HealthRequest {
        interval: Some(Period::from_millis(check.interval_ms)),
        timeout: Some(Period::from_millis(check.timeout_ms)),
        start: Some(Period::from_millis(check.start_ms)),
        failures: Some(check.failures),
        ..HealthRequest::default()
    };
    match check.probe.clone() {
        Probe::Http { path, port } => (request.http, request.port) = (Some(path), Some(port)),
        Probe::Tcp { port } => (request.tcp, request.port) = (true, Some(port)),
        Probe::Command(command) => request.command = command,
    }
    request
}

fn restart(policy: RestartPolicy) -> String {
    match policy {
        RestartPolicy::OnFailure { maximum_retry } if maximum_retry > 0 => format!("on-failure:{maximum_retry}"),
        other => other.name().to_owned(),
    }
}

fn component_use(used: &ComponentUse) -> String {
    let app = used.app.as_ref().map(|app| format!("{app}/")).unwrap_or_default();
    let port = used.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{app}{}{port}", used.component)
}
