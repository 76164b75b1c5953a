//! What can be set, and from where: flag before environment before file before default.

mod backend;
mod layer;
mod units;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use paas_core::auth::AuthSettings;
use paas_core::cluster::{ClusterSettings, ProbeKind};
use paas_core::controller::Policy;
use paas_core::engine::LogRotation;
use paas_core::events::Retention;
use paas_core::model::{EngineAddress, EngineId, EngineSpec, Invalid, Subnets};
use paas_core::scheduler::Weights;

use crate::arguments::parse;
use crate::options::{MOST_CONNECTIONS, ServeOptions};

pub use backend::BackendUrl;
pub use layer::{Flags, LogFormat, SchedulerName};

/// The port of the API.
const PORT: u16 = 5002;

/// Backends that live in one server and are of no use to several.
const SERVE_ONE: [&str; 3] = ["sqlite", "memory", "embedded"];

/// How long the server that leads may be silent. etcd counts leases in whole seconds.
const DEFAULT_LEASE: Duration = Duration::from_secs(3);

/// The engine of a server that is given none.
const LOCAL_DOCKER: &str = "local=unix:///var/run/docker.sock";

/// With fewer connections than that, clients would keep closing each other's.
const LEAST_CONNECTIONS: usize = 16;

/// What the program was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve.
    Serve,
    /// To print its configuration.
    Print,
}

/// Everything that is set about a server.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the API answers.
    pub listen: SocketAddr,
    /// URL of the store; the SQLite file in the data directory when `None`.
    pub store: Option<BackendUrl>,
    /// Where the database is kept unless `store` says otherwise.
    pub data_dir: PathBuf,
    /// File with the key that seals secrets in the store.
    pub secret_key_file: PathBuf,
    /// URL of the registry.
    pub registry: BackendUrl,
    /// How this server is one of several; alone when `None`.
    pub peers: Option<Peers>,
    /// The platform whose containers are taken over; of none when `None`.
    pub platform: Option<String>,
    /// Engines that are added at start unless they are known already.
    pub engines: EnginesAtStart,
    /// What may be asked of the hosts.
    pub policy: Policy,
    /// The password of `admin` at the first start; a random one when `None`.
    pub admin_password: Option<AdminPassword>,
    /// Certificate and key.
    pub tls: Option<TlsFiles>,
    /// The largest body of a request, bytes.
    pub body_limit: usize,
    /// How many connections may be open at once, as far as the limit of open files lets them.
    pub max_connections: usize,
    /// How long a token is valid.
    pub token_ttl: Duration,
    /// How many events are kept, and for how long.
    pub retention: Retention,
    /// How engines are chosen.
    pub scheduler: SchedulerName,
    /// How much free CPU and free memory count in an engine's score.
    pub weights: Weights,
    /// By how much the size of an engine may be exceeded; 1.0 for not at all.
    pub overbooking: f64,
    /// How much of each container's output its engine keeps; `None` to leave that to Docker.
    pub log_rotation: Option<LogRotation>,
    /// Where networks of applications have their addresses from, on hosts whose Docker has none left.
    pub app_subnets: Subnets,
    /// Whether what is run inside of containers is recorded as events.
    pub record_exec_events: bool,
    /// How each engine is asked whether it is alive.
    pub probe: ProbeKind,
    /// How often it is asked.
    pub probe_interval: Duration,
    /// How long it may take to answer.
    pub probe_timeout: Duration,
    /// After how many probes in a row without an answer it is down.
    pub probe_misses: u32,
    /// How long a request may take until it is answered.
    pub request_timeout: Duration,
    /// How long requests and launches under way may take to end when the server is stopped.
    pub shutdown_timeout: Duration,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// What a server says of itself to those beside it, and knows of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peers {
    /// Where the others reach this one: scheme, host and port.
    pub advertise: String,
    /// How long the lease of the server that leads lasts.
    pub lease: Duration,
    /// Certificates that vouch for the others.
    pub ca: Option<PathBuf>,
}

/// Engines that a server starts with.
#[derive(Clone, Debug, PartialEq)]
pub enum EnginesAtStart {
    /// Those that were named.
    Named(Vec<EngineSpec>),
    /// None was named: this one, if no engine is known at all.
    IfNoneIsKnown(Box<EngineSpec>),
    /// Only those that are known already.
    None,
}

/// Where the first password comes from.
#[derive(Clone, PartialEq)]
pub enum AdminPassword {
    /// A file that holds nothing else.
    File(PathBuf),
    /// The environment.
    Given(String),
}

impl fmt::Debug for AdminPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Given(_) => f.write_str("Given(..)"),
        }
    }
}

/// The server's certificate and its key, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those that vouch for it.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The arguments are wrong, or ask for help.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration file {} is wrong: {message}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A setting cannot be what it is.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Config {
    /// The configuration by arguments, environment and the file that these name, and what to do with it.
    ///
    /// # Errors
    /// [`ConfigError`]; that help or version were asked for is [`ConfigError::Arguments`], too.
    pub fn load<I, T>(arguments: I) -> Result<(Self, Purpose), ConfigError>
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let flags: Flags = parse(arguments)?;
        let purpose = if flags.print_config { Purpose::Print } else { Purpose::Serve };
        let mut settings = match &flags.config {
            Some(path) => flags.settings.or(layer::read(path)?),
            None => flags.settings,
        };
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        settings.admin_password = variable("PAAS_ADMIN_PASSWORD");
        Ok((Self::of(settings, variable("DOCKER_HOST"))?, purpose))
    }

    fn of(settings: layer::Settings, docker_host: Option<String>) -> Result<Self, ConfigError> {
        let tls = match (settings.tls_cert, settings.tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => return Err(Invalid::new("tls-key", "is missing; a certificate needs its key").into()),
            (None, Some(_)) => return Err(Invalid::new("tls-cert", "is missing; a key needs its certificate").into()),
        };
        let default_address = if tls.is_some() { [0, 0, 0, 0] } else { [127, 0, 0, 1] };
        let engines = match (settings.engine, settings.no_engine) {
            (Some(named), Some(true)) if !named.is_empty() => {
                let message =
                    "is given together with --engine, and the two contradict each other; leave one of them out";
                return Err(Invalid::new("no-engine", message).into());
            }
            (_, Some(true)) => EnginesAtStart::None,
            (Some(named), _) => EnginesAtStart::Named(named.iter().map(|text| engine(text)).collect::<Result<_, _>>()?),
            (None, _) => match docker_host {
                Some(host) => EnginesAtStart::IfNoneIsKnown(Box::new(docker_host_engine(&host)?)),
                None => EnginesAtStart::IfNoneIsKnown(Box::new(engine(LOCAL_DOCKER)?)),
            },
        };
        let admin_password = match (settings.admin_password_file, settings.admin_password) {
            (Some(path), _) => Some(AdminPassword::File(path)),
            (None, Some(password)) => Some(AdminPassword::Given(password)),
            (None, None) => None,
        };
        let peers = peers(settings.advertise, settings.leader_lease.map(|lease| lease.0), settings.peer_ca)?;
        let watching = ClusterSettings::default();
        let data_dir = settings.data_dir.unwrap_or_else(default_data_dir);
        let config = Self {
            listen: settings.listen.unwrap_or_else(|| SocketAddr::from((default_address, PORT))),
            store: settings.store,
            secret_key_file: settings.secret_key_file.unwrap_or_else(|| secret_key_in(&data_dir)),
            data_dir,
            registry: settings.registry.unwrap_or_else(|| BackendUrl::new("embedded:")),
            peers,
            platform: settings.platform,
            engines,
            policy: Policy {
                host_paths: settings.allow_host_paths.unwrap_or_default(),
                host_network: settings.allow_host_network.unwrap_or(false),
                low_ports: settings.allow_low_ports.unwrap_or(false),
                capabilities: settings.allow_capabilities.unwrap_or_default(),
                devices: settings.allow_devices.unwrap_or_default(),
                sysctls: settings.allow_sysctls.unwrap_or_default(),
                log_drivers: settings.allow_log_drivers.unwrap_or_default(),
                unix_engines: settings.allow_unix_engines.unwrap_or(false),
                simulated_engines: settings.allow_simulated.unwrap_or(false),
            },
            admin_password,
            tls,
            body_limit: settings.body_limit.map_or(ServeOptions::default().body_limit, |limit| limit.0),
            max_connections: settings.max_connections.unwrap_or(MOST_CONNECTIONS),
            token_ttl: settings.token_ttl.map_or(AuthSettings::default().token_ttl, |ttl| ttl.0),
            retention: retention(settings.event_max_age.map(|age| age.0), settings.event_max_count),
            scheduler: settings.scheduler.unwrap_or_default(),
            weights: weights(settings.cpu_weight, settings.memory_weight)?,
            overbooking: settings.overbooking.unwrap_or(watching.overbooking),
            app_subnets: settings.app_subnets.unwrap_or_default(),
            log_rotation: log_rotation(settings.container_log_size.map(|size| size.0), settings.container_log_files)?,
            record_exec_events: settings.record_exec_events.unwrap_or(watching.record_exec_events),
            probe: settings.probe.unwrap_or(watching.probe),
            probe_interval: settings.probe_interval.map_or(watching.probe_interval, |interval| interval.0),
            probe_timeout: settings.probe_timeout.map_or(watching.probe_timeout, |timeout| timeout.0),
            probe_misses: settings.probe_misses.unwrap_or(watching.probe_misses),
            request_timeout: settings
                .request_timeout
                .map_or(ServeOptions::default().request_timeout, |timeout| timeout.0),
            shutdown_timeout: settings
                .shutdown_timeout
                .map_or(ServeOptions::default().shutdown_timeout, |timeout| timeout.0),
            log: settings.log.unwrap_or_else(|| "info".to_owned()),
            log_format: settings.log_format.unwrap_or_default(),
        };
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), Invalid> {
        if !(1.0..=100.0).contains(&self.overbooking) {
            let message = format!("must be a number from 1 (none) to 100, not {}", self.overbooking);
            return Err(Invalid::new("overbooking", message));
        }
        let is_folder = |path: &String| path.starts_with('/') && !path.split('/').any(|part| part == "..");
        for (setting, paths, example) in [
            ("allow-host-paths", &self.policy.host_paths, "/srv"),
            ("allow-devices", &self.policy.devices, "/dev/fuse"),
        ] {
            if let Some(path) = paths.iter().find(|path| !is_folder(path)) {
                let message = format!("must be absolute paths without '..', as in {example}, not {path:?}");
                return Err(Invalid::new(setting, message));
            }
        }
        let (store, registry) = (self.store_url(), self.registry.clone());
        let for_one = [store.scheme(), registry.scheme()].into_iter().find(|&scheme| SERVE_ONE.contains(&scheme));
        if let (Some(_), Some(scheme)) = (&self.peers, for_one) {
            let message =
                format!("{scheme}: serves one server only; several need a registry and a store that all reach");
            return Err(Invalid::new("advertise", message));
        }
        if self.token_ttl.is_zero() {
            return Err(Invalid::new("token-ttl", "must be more than nothing"));
        }
        let probing = Duration::from_millis(10)..=Duration::from_secs(3600);
        for (name, time) in [("probe-interval", self.probe_interval), ("probe-timeout", self.probe_timeout)] {
            if !probing.contains(&time) {
                return Err(Invalid::new(name, "must be 10ms to 1h"));
            }
        }
        if !(1..=100).contains(&self.probe_misses) {
            return Err(Invalid::new("probe-misses", format!("must be 1 to 100, not {}", self.probe_misses)));
        }
        if self.max_connections < LEAST_CONNECTIONS {
            return Err(Invalid::new("max-connections", format!("must be at least {LEAST_CONNECTIONS}")));
        }
        if self.request_timeout < Duration::from_secs(1) {
            return Err(Invalid::new("request-timeout", "must be at least 1s"));
        }
        if self.body_limit < 1024 {
            return Err(Invalid::new("body-limit", "must be at least 1024 bytes"));
        }
        Ok(())
    }

    /// The URL of the store.
    pub fn store_url(&self) -> BackendUrl {
        self.store.clone().unwrap_or_else(|| store_in(&self.data_dir))
    }
}

/// The store of a server that is given none.
pub(crate) fn store_in(data_dir: &Path) -> BackendUrl {
    BackendUrl::new(format!("sqlite:{}", data_dir.join("paas.db").display()))
}

/// The key file of a server that is told of none.
pub(crate) fn secret_key_in(data_dir: &Path) -> PathBuf {
    data_dir.join("secret.key")
}

/// Prints as TOML that can be given back as a configuration file. The first password is left out, and those in URLs are
/// replaced by stars.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A text in JSON is the same text in TOML.
        let text = |text: &dyn fmt::Display| serde_json::Value::String(text.to_string());
        let path = |path: &Path| text(&path.display());
        let span = |span: Duration| match span.subsec_millis() {
            0 => span.as_secs().to_string(),
            _ => text(&format!("{}ms", span.as_millis())).to_string(),
        };
        writeln!(f, "listen = {}", text(&self.listen))?;
        writeln!(f, "store = {}", text(&self.store_url()))?;
        writeln!(f, "data_dir = {}", path(&self.data_dir))?;
        writeln!(f, "secret_key_file = {}", path(&self.secret_key_file))?;
        writeln!(f, "registry = {}", text(&self.registry))?;
        if let Some(peers) = &self.peers {
            writeln!(f, "advertise = {}", text(&peers.advertise))?;
            writeln!(f, "leader_lease = {}", span(peers.lease))?;
            if let Some(ca) = &peers.ca {
                writeln!(f, "peer_ca = {}", path(ca))?;
            }
        }
        if let Some(platform) = &self.platform {
            writeln!(f, "platform = {}", text(platform))?;
        }
        match &self.engines {
            EnginesAtStart::Named(engines) => {
                let engines = engines.iter().map(|engine| text(&format!("{}={}", engine.id, engine.addr)));
                writeln!(f, "engine = {}", serde_json::Value::Array(engines.collect()))?;
            }
            EnginesAtStart::IfNoneIsKnown(engine) => {
                writeln!(f, "# engine: {}={} if none is known", engine.id, engine.addr)?;
            }
            EnginesAtStart::None => writeln!(f, "no_engine = true")?,
        }
        let Policy {
            host_paths,
            host_network,
            low_ports,
            capabilities,
            devices,
            sysctls,
            log_drivers,
            unix_engines,
            simulated_engines,
        } = &self.policy;
        writeln!(f, "allow_host_paths = {}", serde_json::Value::from(host_paths.clone()))?;
        writeln!(f, "allow_host_network = {host_network}")?;
        writeln!(f, "allow_low_ports = {low_ports}")?;
        let capabilities: Vec<&str> = capabilities.iter().map(|capability| capability.as_str()).collect();
        writeln!(f, "allow_capabilities = {}", serde_json::Value::from(capabilities))?;
        writeln!(f, "allow_devices = {}", serde_json::Value::from(devices.clone()))?;
        writeln!(f, "allow_sysctls = {}", serde_json::Value::from(sysctls.clone()))?;
        writeln!(f, "allow_log_drivers = {}", serde_json::Value::from(log_drivers.clone()))?;
        writeln!(f, "allow_unix_engines = {unix_engines}")?;
        writeln!(f, "allow_simulated = {simulated_engines}")?;
        if let Some(AdminPassword::File(file)) = &self.admin_password {
            writeln!(f, "admin_password_file = {}", path(file))?;
        }
        if let Some(tls) = &self.tls {
            writeln!(f, "tls_cert = {}", path(&tls.cert))?;
            writeln!(f, "tls_key = {}", path(&tls.key))?;
        }
        writeln!(f, "body_limit = {}", self.body_limit)?;
        writeln!(f, "max_connections = {}", self.max_connections)?;
        writeln!(f, "token_ttl = {}", span(self.token_ttl))?;
        writeln!(f, "event_max_age = {}", span(self.retention.max_age.unwrap_or_default()))?;
        writeln!(f, "event_max_count = {}", self.retention.max_count.unwrap_or_default())?;
        writeln!(f, "scheduler = {}", text(&self.scheduler))?;
        writeln!(f, "cpu_weight = {:?}", self.weights.cpu)?;
        writeln!(f, "memory_weight = {:?}", self.weights.memory)?;
        writeln!(f, "overbooking = {:?}", self.overbooking)?;
        match self.log_rotation {
            Some(LogRotation { max_size_mb, max_files }) => {
                writeln!(f, "container_log_size = \"{max_size_mb}M\"")?;
                writeln!(f, "container_log_files = {max_files}")?;
            }
            None => writeln!(f, "container_log_size = 0")?,
        }
        writeln!(f, "app_subnets = \"{}\"", self.app_subnets)?;
        writeln!(f, "record_exec_events = {}", self.record_exec_events)?;
        writeln!(f, "probe = {}", text(&self.probe))?;
        writeln!(f, "probe_interval = {}", span(self.probe_interval))?;
        writeln!(f, "probe_timeout = {}", span(self.probe_timeout))?;
        writeln!(f, "probe_misses = {}", self.probe_misses)?;
        writeln!(f, "request_timeout = {}", span(self.request_timeout))?;
        writeln!(f, "shutdown_timeout = {}", span(self.shutdown_timeout))?;
        writeln!(f, "log = {}", text(&self.log))?;
        writeln!(f, "log_format = {}", text(&self.log_format))
    }
}

fn peers(advertise: Option<String>, lease: Option<Duration>, ca: Option<PathBuf>) -> Result<Option<Peers>, Invalid> {
    let Some(advertise) = advertise else {
        return match (lease, ca) {
            (None, None) => Ok(None),
            (Some(_), _) => Err(Invalid::new("leader-lease", "is for one of several servers; give --advertise, too")),
            (None, Some(_)) => Err(Invalid::new("peer-ca", "is for one of several servers; give --advertise, too")),
        };
    };
    let authority = advertise.strip_prefix("https://").or_else(|| advertise.strip_prefix("http://"));
    let authority = authority.map(|authority| authority.trim_end_matches('/'));
    let is_plain = |authority: &str| {
        authority.parse::<axum::http::uri::Authority>().is_ok_and(|parsed| {
            !authority.contains('@') && !parsed.host().is_empty() && !matches!(parsed.host(), "0.0.0.0" | "[::]")
        })
    };
    if !authority.is_some_and(is_plain) {
        let message = format!("must be a URL that the others reach, as in https://paas-1:5002, not {advertise:?}");
        return Err(Invalid::new("advertise", message));
    }
    let lease = lease.unwrap_or(DEFAULT_LEASE);
    if !(Duration::from_secs(2)..=Duration::from_secs(60)).contains(&lease) {
        return Err(Invalid::new("leader-lease", "must be 2s to 60s"));
    }
    Ok(Some(Peers { advertise: advertise.trim_end_matches('/').to_owned(), lease, ca }))
}

/// Nothing for a limit means none: who wants no event kept has no use for events.
fn retention(max_age: Option<Duration>, max_count: Option<usize>) -> Retention {
    let default = Retention::default();
    Retention {
        max_age: max_age.or(default.max_age).filter(|age| !age.is_zero()),
        max_count: max_count.or(default.max_count).filter(|&count| count != 0),
        ..default
    }
}

/// Nothing for the size leaves output to Docker.
fn log_rotation(size: Option<usize>, files: Option<u32>) -> Result<Option<LogRotation>, Invalid> {
    const MB: usize = 1 << 20;
    let default = LogRotation::default();
    let max_size_mb = match size {
        Some(0) => return Ok(None),
        Some(size) if size % MB == 0 => u32::try_from(size / MB).unwrap_or(u32::MAX),
        Some(size) => {
            let message = format!("must be whole megabytes, such as 10M, or 0 to leave it to Docker, not {size} bytes");
            return Err(Invalid::new("container-log-size", message));
        }
        None => default.max_size_mb,
    };
    let max_files = files.unwrap_or(default.max_files);
    if !(1..=1000).contains(&max_files) {
        return Err(Invalid::new("container-log-files", format!("must be 1 to 1000, not {max_files}")));
    }
    Ok(Some(LogRotation { max_size_mb, max_files }))
}

fn weights(cpu: Option<f64>, memory: Option<f64>) -> Result<Weights, Invalid> {
    let default = Weights::default();
    Weights::new(cpu.unwrap_or(default.cpu), memory.unwrap_or(default.memory))
        .map_err(|error| Invalid::new("cpu-weight and memory-weight", error.message))
}

fn engine(text: &str) -> Result<EngineSpec, Invalid> {
    let wrong = |message: String| Invalid::new("engine", message);
    let (id, addr) = text.split_once('=').ok_or_else(|| wrong(format!("write ID=ADDRESS, not {text:?}")))?;
    let id: EngineId = id.trim().parse().map_err(|error: Invalid| wrong(format!("the id {}", error.message)))?;
    let addr: EngineAddress = addr.trim().parse().map_err(|error: Invalid| wrong(error.message))?;
    Ok(EngineSpec::new(id, addr))
}

fn docker_host_engine(host: &str) -> Result<EngineSpec, Invalid> {
    engine(&format!("local={host}")).map_err(|error| {
        Invalid::new("DOCKER_HOST", format!("{}; or give --engine ID=ADDRESS, or --no-engine", error.message))
    })
}

/// The system's place for such data when root runs the server, otherwise the user's own.
pub(crate) fn default_data_dir() -> PathBuf {
    if runs_as_root() {
        return PathBuf::from("/var/lib/paas");
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_user = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    of_user.map_or_else(|| PathBuf::from("paas-data"), |data| data.join("paas"))
}

fn runs_as_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // A process owns its own entry.
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

#[cfg(test)]
mod tests;
