//! From what was written to what it means: defaults filled in, texts read, lists in order.

use std::collections::BTreeMap;

use super::{
    AppRequest, BeforeRequest, ComponentRequest, ConfigRequest, HealRequest, HealthRequest, Period, SecretRequest,
    StopRequest, UpdateRequest, VolumeRequest,
};
use crate::model::app::{
    AppName, AppSpec, BeforeCommand, ComponentName, ComponentSpec, ComponentUse, ConfigFile, DockerOptions, HealPolicy,
    HealthCheck, OnFailure, Parallel, PlacePolicy, Probe, Replicas, Route, SecretFile, StopPolicy, UpdateOrder,
    UpdatePolicy, VolumeMount,
};
use crate::model::{BindPort, ImageRef, Invalid, RestartPolicy};

/// The name of a port that is given as `port`.
pub(super) const DEFAULT_PORT: &str = "default";

/// The longest time that a replica may have to end: as long as may be asked for when stopping.
const LONGEST_GRACE_MS: u64 = 3_600_000;

impl AppRequest {
    /// What the application is to be. A component that does not say how many replicas it has keeps the number that it has in
    /// `current`, or has one.
    ///
    /// Normalising what [`AppRequest::from`] makes of a normalised application gives the same application again.
    ///
    /// # Errors
    /// Names the first field that cannot be as it is, by its path, and what would be right.
    pub fn normalise(&self, current: Option<&AppSpec>) -> Result<AppSpec, Invalid> {
        let name: AppName = self
            .app
            .as_deref()
            .ok_or_else(|| Invalid::new("app", "is missing: the name of the application"))?
            .parse()?;
        let mut components = BTreeMap::new();
        for (key, request) in &self.component {
            let within = |wrong: Invalid| Invalid::new(format!("component.{key}.{}", wrong.field), wrong.message);
            let key: ComponentName =
                key.parse().map_err(|wrong: Invalid| Invalid::new(format!("component.{key}"), wrong.message))?;
            let current = current.and_then(|app| app.components.get(&key));
            let component = request.normalise(current).map_err(within)?;
            components.insert(key, component);
        }
        let app = AppSpec { name, components };
        app.validate()?;
        Ok(app)
    }
}

impl ComponentRequest {
    fn normalise(&self, current: Option<&ComponentSpec>) -> Result<ComponentSpec, Invalid> {
        let image = self.image.as_deref().ok_or_else(|| Invalid::new("image", "is missing: the image to run"))?;
        let ports = self.all_ports()?;
        let volumes = volumes(&self.volumes)?;
        let is_pinned = volumes.values().any(VolumeMount::pins);
        let kept = current.map_or(Replicas::Count(1), |current| current.replicas);
        Ok(ComponentSpec {
            image: image.parse::<ImageRef>().map_err(|wrong| Invalid::new("image", wrong.message))?,
            digest: None,
            image_id: None,
            replicas: self.replicas.unwrap_or(kept),
            entrypoint: self.entrypoint.clone(),
            command: self.command.clone(),
            env: self.env.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
            secrets: secrets(&self.secrets)?,
            configs: configs(&self.configs)?,
            cpus: self.cpus,
            memory: self.memory,
            publish: publish(&self.publish)?,
            health: self.health.as_ref().map(|health| health_check(health, &ports)).transpose()?,
            ports,
            stop: stop_policy(&self.stop)?,
            update: update_policy(&self.update, is_pinned),
            heal: heal_policy(&self.heal)?,
            place: PlacePolicy {
                labels: self.place.labels.clone(),
                spread: self.place.spread,
                prefer: self.place.prefer.clone(),
            },
            before: self.before.as_ref().map(before_command),
            volumes,
            restart: restart_policy(self.restart.as_deref().unwrap_or("always"))?,
            routes: self.routes(),
            uses: self.uses.iter().map(|text| component_use(text)).collect::<Result<_, _>>()?,
            depends_on: self
                .depends_on
                .iter()
                .map(|name| name.parse().map_err(|wrong: Invalid| Invalid::new("depends_on", wrong.message)))
                .collect::<Result<_, _>>()?,
            allow: self.allow.iter().map(|text| allowed(text)).collect::<Result<_, _>>()?,
            docker: self.docker_options(),
        })
    }

    fn all_ports(&self) -> Result<BTreeMap<String, u16>, Invalid> {
        let mut ports = self.ports.clone();
        if let Some(port) = self.port
            && ports.insert(DEFAULT_PORT.to_owned(), port).is_some()
        {
            return Err(Invalid::new("port", "is named 'default' in 'ports' as well; write one of the two"));
        }
        Ok(ports)
    }

    fn routes(&self) -> Vec<Route> {
        let or = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
        let mut routes: Vec<Route> = self
            .route
            .iter()
            .map(|route| Route {
                host: route.host.to_ascii_lowercase(),
                path: or(&route.path, "/"),
                tls: or(&route.tls, "auto"),
            })
            .collect();
        routes.sort();
        routes
    }

    fn docker_options(&self) -> DockerOptions {
        // Docker itself takes capabilities in either case, and with or without the prefix.
        let capability = |name: &String| {
            let upper = name.to_ascii_uppercase();
            upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
        };
        DockerOptions {
            labels: self.labels.clone(),
            hostname: self.hostname.clone(),
            user: self.user.clone(),
            init: self.init,
            cap_add: self.cap_add.iter().map(capability).collect(),
            cap_drop: self.cap_drop.iter().map(capability).collect(),
            ulimits: self.ulimits.clone(),
            sysctls: self.sysctls.clone(),
            read_only: self.read_only,
            tmpfs: self.tmpfs.clone(),
            shm_size: self.shm_size,
            extra_hosts: self.extra_hosts.clone(),
            logging: self.logging.clone(),
            devices: self.devices.clone(),
            cpuset: self.cpuset.clone(),
            memory_reservation: self.memory_reservation,
            pids_limit: self.pids_limit,
        }
    }
}

fn or_seconds(given: Option<Period>, seconds: u64) -> u64 {
    given.map_or(seconds * 1000, Period::millis)
}

fn octal(field: &str, text: Option<&str>, default: u32) -> Result<u32, Invalid> {
    let Some(text) = text else { return Ok(default) };
    u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o7777).ok_or_else(|| {
        Invalid::new(field, format!("must be permissions in octal digits such as \"0400\", not {text:?}"))
    })
}

fn secrets(requests: &[SecretRequest]) -> Result<BTreeMap<String, SecretFile>, Invalid> {
    let mut files = BTreeMap::new();
    for secret in requests {
        let path = secret.file.clone().unwrap_or_else(|| format!("/run/secrets/{}", secret.name));
        let name = secret.name.parse().map_err(|wrong: Invalid| Invalid::new("secrets.name", wrong.message))?;
        let mode = octal("secrets.mode", secret.mode.as_deref(), 0o400)?;
        let file = SecretFile { name, version: None, mode, uid: secret.uid, gid: secret.gid };
        if files.insert(path.clone(), file).is_some() {
            return Err(Invalid::new("secrets", format!("two are to be at {path}")));
        }
    }
    Ok(files)
}

fn configs(requests: &[ConfigRequest]) -> Result<BTreeMap<String, ConfigFile>, Invalid> {
    let mut files = BTreeMap::new();
    for config in requests {
        let file = ConfigFile {
            source: config.source.clone(),
            sha256: config.sha256.clone(),
            mode: octal("configs.mode", config.mode.as_deref(), 0o444)?,
            uid: config.uid,
            gid: config.gid,
        };
        if files.insert(config.target.clone(), file).is_some() {
            return Err(Invalid::new("configs", format!("two are to be at {}", config.target)));
        }
    }
    Ok(files)
}

fn publish(texts: &[String]) -> Result<Vec<BindPort>, Invalid> {
    let read = |text: &String| text.parse().map_err(|wrong: Invalid| Invalid::new("publish", wrong.message));
    let mut ports: Vec<BindPort> = texts.iter().map(read).collect::<Result<_, _>>()?;
    ports.sort();
    ports.dedup();
    Ok(ports)
}

fn volumes(requests: &[VolumeRequest]) -> Result<BTreeMap<String, VolumeMount>, Invalid> {
    let mut mounts = BTreeMap::new();
    for volume in requests {
        let mount = VolumeMount { source: volume.name.clone(), mode: volume.mode.clone(), shared: volume.shared };
        if mount.is_host_path() && mount.shared {
            return Err(Invalid::new(
                "volumes",
                format!("{} is a directory of a host, which is not shared", volume.name),
            ));
        }
        if mounts.insert(volume.target.clone(), mount).is_some() {
            return Err(Invalid::new("volumes", format!("two are to be at {}", volume.target)));
        }
    }
    Ok(mounts)
}

fn health_check(health: &HealthRequest, ports: &BTreeMap<String, u16>) -> Result<HealthCheck, Invalid> {
    let port = || match (&health.port, ports.len()) {
        (Some(name), _) => Ok(name.clone()),
        (None, _) if ports.contains_key(DEFAULT_PORT) => Ok(DEFAULT_PORT.to_owned()),
        (None, 1) => Ok(ports.keys().next().cloned().unwrap_or_default()),
        (None, 0) => Err(Invalid::new("health", "needs a port; say which with 'port' of the component")),
        (None, _) => Err(Invalid::new("health.port", "must name one of the component's ports")),
    };
    let probe = match (&health.http, health.tcp, health.command.is_empty()) {
        (Some(path), false, true) => Probe::Http { path: path.clone(), port: port()? },
        (None, true, true) => Probe::Tcp { port: port()? },
        (None, false, false) => Probe::Command(health.command.clone()),
        _ => return Err(Invalid::new("health", "must have exactly one of http, tcp = true and command")),
    };
    Ok(HealthCheck {
        probe,
        interval_ms: or_seconds(health.interval, 2),
        timeout_ms: or_seconds(health.timeout, 1),
        start_ms: or_seconds(health.start, 60),
        failures: health.failures.unwrap_or(3),
    })
}

fn stop_policy(stop: &StopRequest) -> Result<StopPolicy, Invalid> {
    let StopPolicy { signal, grace_ms } = StopPolicy::default();
    let (grace, most) = (stop.grace.unwrap_or(Period::from_millis(grace_ms)), Period::from_millis(LONGEST_GRACE_MS));
    if grace > most {
        return Err(Invalid::new("stop.grace", format!("must be at most {most}, not {grace}")));
    }
    Ok(StopPolicy { signal: stop.signal.clone().unwrap_or(signal), grace_ms: grace.millis() })
}

fn update_policy(update: &UpdateRequest, is_pinned: bool) -> UpdatePolicy {
    // What an old version finds in a volume that a new one has written is not known to us.
    let on_failure = if is_pinned { OnFailure::Pause } else { OnFailure::Rollback };
    UpdatePolicy {
        order: update.order.unwrap_or(UpdateOrder::Auto),
        parallel: update.parallel.unwrap_or(Parallel::Count(1)),
        monitor_ms: or_seconds(update.monitor, 5),
        drain_ms: or_seconds(update.drain, 30),
        progress_ms: or_seconds(update.progress, 600),
        on_failure: update.on_failure.unwrap_or(on_failure),
    }
}

fn heal_policy(heal: &HealRequest) -> Result<HealPolicy, Invalid> {
    let after_ms = match heal.after.as_deref() {
        None => Some(5000),
        Some("never") => None,
        Some(text) => {
            let wrong = |message: String| Invalid::new("heal.after", format!("{message}; or \"never\""));
            Some(text.parse::<Period>().map_err(wrong)?.millis())
        }
    };
    Ok(HealPolicy { after_ms, singleton: heal.singleton })
}

fn before_command(before: &BeforeRequest) -> BeforeCommand {
    BeforeCommand { command: before.command.clone(), timeout_ms: or_seconds(before.timeout, 300), retry: before.retry }
}

fn restart_policy(text: &str) -> Result<RestartPolicy, Invalid> {
    let retries = |text: &str| text.parse().ok().map(|maximum_retry| RestartPolicy::OnFailure { maximum_retry });
    let policy = match text {
        "no" => Some(RestartPolicy::No),
        "always" => Some(RestartPolicy::Always),
        "unless-stopped" => Some(RestartPolicy::UnlessStopped),
        "on-failure" => Some(RestartPolicy::OnFailure { maximum_retry: 0 }),
        other => other.strip_prefix("on-failure:").and_then(retries),
    };
    let message = || format!("must be no, always, unless-stopped, on-failure or on-failure:3, not {text:?}");
    policy.ok_or_else(|| Invalid::new("restart", message()))
}

fn component_use(text: &str) -> Result<ComponentUse, Invalid> {
    let wrong =
        || Invalid::new("uses", format!("must be \"component:port\" or \"application/component:port\", not {text:?}"));
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port.parse().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let (app, component) = match name.split_once('/') {
        Some((app, component)) => (Some(app.parse().map_err(|_| wrong())?), component),
        None => (None, name),
    };
    Ok(ComponentUse { app, component: component.parse().map_err(|_| wrong())?, port })
}

fn allowed(text: &str) -> Result<String, Invalid> {
    let is_good = text.split_once('/').is_some_and(|(app, component)| {
        app.parse::<AppName>().is_ok() && (component == "*" || component.parse::<ComponentName>().is_ok())
    });
    if is_good {
        return Ok(text.to_owned());
    }
    Err(Invalid::new("allow", format!("must be \"application/component\" or \"application/*\", not {text:?}")))
}
