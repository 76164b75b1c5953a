//! One layer of settings: what the flags and the environment say, or what the file says.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, ValueEnum};
use paas_core::cluster::ProbeKind;
use paas_core::files;
use paas_core::model::{Capability, Subnets};
use serde::Deserialize;

use super::units::{Size, Span};
use super::{BackendUrl, ConfigError};

const AFTER_HELP: &str = "\
Without any option this works: a SQLite file, this machine's Docker as engine 'local', and an account 'admin' whose \
random password is printed once, at the first start.

A file given with --config is TOML. Its keys are the long names of the options with '_' for '-', as in
  listen = \"0.0.0.0:5002\"
  engine = [\"one=tcp://10.0.0.1:2375\", \"two=tcp://10.0.0.2:2375\"]

'paas-server store' copies the state to another kind of store, and backs it up: see 'paas-server store --help'.
'paas-server key' brings the key that seals secrets to other servers, and changes it: see 'paas-server key --help'.
Beside every further Docker host, 'paas-server agent' lets that host join by itself: see 'paas-server agent --help'.

A flag comes before the environment, the environment before the file, the file before the default.";

/// The API server of a small platform-as-a-service over a handful of Docker hosts.
#[derive(Debug, Parser)]
#[command(name = "paas-server", version, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Flags {
    /// Read settings from this TOML file.
    #[arg(long, env = "PAAS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings that would be used, and end.
    #[arg(long)]
    pub print_config: bool,
    #[command(flatten)]
    pub(super) settings: Settings,
}

/// Settings as far as one layer has them.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Where to answer. Without a certificate only this machine can reach the default, 127.0.0.1:5002, because
    /// passwords and tokens would travel in clear; open it with 0.0.0.0:5002 on a network that you trust. With a
    /// certificate the default is 0.0.0.0:5002.
    #[arg(long, env = "PAAS_LISTEN", value_name = "IP:PORT")]
    pub(super) listen: Option<SocketAddr>,
    /// Where state is kept: 'sqlite:PATH', an etcd with a URL as for --registry, 'rethinkdb://user:password@host:port/database'
    /// (without TLS), or 'memory:' to forget everything at the end. In a password, write '@' as %40, ':' as %3A, '/' as %2F
    /// and '%' as %25; in the environment or the file others cannot see it. Default: paas.db in the data directory.
    #[arg(long, env = "PAAS_STORE", value_name = "URL", hide_env_values = true)]
    pub(super) store: Option<BackendUrl>,
    /// Where the database lies. Default: /var/lib/paas for root, otherwise paas in $XDG_DATA_HOME or ~/.local/share.
    #[arg(long, env = "PAAS_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// File with the key that seals passwords of registries and private keys in the store, readable by its owner only. It is
    /// made for a store that is new; every server of one store needs it, and so does a restore of a backup: see
    /// 'paas-server key --help'. Default: secret.key in the data directory.
    #[arg(long, env = "PAAS_SECRET_KEY_FILE", value_name = "FILE")]
    pub(super) secret_key_file: Option<PathBuf>,
    /// Who knows which hosts are alive: 'embedded:' (default), or etcd, as 'etcd://host:2379' or in full
    /// 'etcd://user:password@host1:2379,host2:2379/prefix?ca=FILE&cert=FILE&key=FILE'. It is reached over TLS when there is a
    /// ca; cert and key say who this server is. The variable is the better place for a password.
    #[arg(long, env = "PAAS_REGISTRY", value_name = "URL", hide_env_values = true)]
    pub(super) registry: Option<BackendUrl>,
    /// Be one of several servers that share a store and a registry (both of them etcd://, or the store rethinkdb://): one of
    /// them leads. The URL is where the others reach this one: scheme, host and port.
    #[arg(long, env = "PAAS_ADVERTISE", value_name = "URL")]
    pub(super) advertise: Option<String>,
    /// How long after the death of the server that leads another may lead, at the earliest: 2s to 60s. Default: 3s.
    #[arg(long, env = "PAAS_LEADER_LEASE", value_name = "TIME")]
    pub(super) leader_lease: Option<Span>,
    /// Trust what the certificates in this file (PEM) signed when a request is sent on to the server that leads.
    #[arg(long, env = "PAAS_PEER_CA", value_name = "FILE")]
    pub(super) peer_ca: Option<PathBuf>,
    /// Make the containers of the platform of this id this one's own: after its store was lost, or when its hosts come here. The
    /// server says at its start which platforms' containers it sees; those of others are shown and left alone. Once is enough.
    #[arg(long, env = "PAAS_PLATFORM", value_name = "ID")]
    pub(super) platform: Option<String>,
    /// Add this engine unless it is known already; several times, or several with commas. An address is
    /// unix:///var/run/docker.sock, tcp://host:2375, https://host:2376 or sim://name. Default, when no engine is known:
    /// local=$DOCKER_HOST, or local=unix:///var/run/docker.sock.
    #[arg(long, env = "PAAS_ENGINE", value_name = "ID=ADDRESS", value_delimiter = ',')]
    pub(super) engine: Option<Vec<String>>,
    /// Add no engine at start.
    #[arg(long, env = "PAAS_NO_ENGINE", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) no_engine: Option<bool>,
    /// Folders of the hosts that accounts other than admins may mount into containers, with everything below; several times, or
    /// several with commas. Default: none. A link in such a folder leads wherever it leads.
    #[arg(long, env = "PAAS_ALLOW_HOST_PATHS", value_name = "PATH", value_delimiter = ',')]
    pub(super) allow_host_paths: Option<Vec<String>>,
    /// Let accounts other than admins use the network of the host, and of containers that others started.
    #[arg(long, env = "PAAS_ALLOW_HOST_NETWORK", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) allow_host_network: Option<bool>,
    /// Let accounts other than admins take ports of the hosts below 1024.
    #[arg(long, env = "PAAS_ALLOW_LOW_PORTS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) allow_low_ports: Option<bool>,
    /// Capabilities beyond Docker's own that accounts other than admins may give containers, such as NET_ADMIN; ALL for all of
    /// them; several times, or several with commas. Default: none.
    #[arg(long, env = "PAAS_ALLOW_CAPABILITIES", value_name = "NAME", value_delimiter = ',')]
    pub(super) allow_capabilities: Option<Vec<Capability>>,
    /// Devices of the hosts that accounts other than admins may give containers, such as /dev/fuse, and folders of them with
    /// everything below; several times, or several with commas. Default: none.
    #[arg(long, env = "PAAS_ALLOW_DEVICES", value_name = "PATH", value_delimiter = ',')]
    pub(super) allow_devices: Option<Vec<String>>,
    /// Settings of the kernel that accounts other than admins may change within a container: net.core.somaxconn, or net.ipv4.* for
    /// all that begin so; several times, or several with commas. Default: none.
    #[arg(long, env = "PAAS_ALLOW_SYSCTLS", value_name = "NAME", value_delimiter = ',')]
    pub(super) allow_sysctls: Option<Vec<String>>,
    /// Log drivers by which accounts other than admins may send output away from the hosts, such as fluentd; several times, or
    /// several with commas. Default: none; json-file, local, journald and none are open to everybody.
    #[arg(long, env = "PAAS_ALLOW_LOG_DRIVERS", value_name = "NAME", value_delimiter = ',')]
    pub(super) allow_log_drivers: Option<Vec<String>>,
    /// Let accounts other than admins add engines at unix:// (sockets of this machine), and agents with a join token register
    /// them.
    #[arg(long, env = "PAAS_ALLOW_UNIX_ENGINES", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) allow_unix_engines: Option<bool>,
    /// Take simulated hosts (sim://) that are added later or join, and not only those that --engine names.
    #[arg(long, env = "PAAS_ALLOW_SIMULATED", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    pub(super) allow_simulated: Option<bool>,
    /// File with the password of 'admin' for the first start. It can also be in the variable PAAS_ADMIN_PASSWORD.
    #[arg(long, env = "PAAS_ADMIN_PASSWORD_FILE", value_name = "FILE")]
    pub(super) admin_password_file: Option<PathBuf>,
    /// From the environment only: arguments and files are too easily read by others.
    #[arg(skip)]
    #[serde(skip)]
    pub(super) admin_password: Option<String>,
    /// Serve HTTPS with this certificate (PEM; the chain, the server's own first).
    #[arg(long, env = "PAAS_TLS_CERT", value_name = "FILE")]
    pub(super) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, env = "PAAS_TLS_KEY", value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,
    /// The largest body of a request: bytes, or with k or M. Default: 1M.
    #[arg(long, env = "PAAS_BODY_LIMIT", value_name = "SIZE")]
    pub(super) body_limit: Option<Size>,
    /// How many connections may be open at once, from 16. When there are as many, the longest idle make room, first those
    /// without a login. Default: 10000, or half of the files that the process may open, if that is less.
    #[arg(long, env = "PAAS_MAX_CONNECTIONS", value_name = "COUNT")]
    pub(super) max_connections: Option<usize>,
    /// How long a login lasts: seconds, or with s, m, h or d. Default: 12h.
    #[arg(long, env = "PAAS_TOKEN_TTL", value_name = "TIME")]
    pub(super) token_ttl: Option<Span>,
    /// Forget events that are older: a time as above, or 0 to keep them for ever. Default: 90d.
    #[arg(long, env = "PAAS_EVENT_MAX_AGE", value_name = "TIME")]
    pub(super) event_max_age: Option<Span>,
    /// Of more events than that, forget the oldest; 0 for no limit. Default: 200000.
    #[arg(long, env = "PAAS_EVENT_MAX_COUNT", value_name = "COUNT")]
    pub(super) event_max_count: Option<usize>,
    /// How engines are chosen. Default: spread.
    #[arg(long, env = "PAAS_SCHEDULER", value_name = "NAME")]
    pub(super) scheduler: Option<SchedulerName>,
    /// Weight of free CPU in an engine's score. Default: 65.
    #[arg(long, env = "PAAS_CPU_WEIGHT", value_name = "NUMBER")]
    pub(super) cpu_weight: Option<f64>,
    /// Weight of free memory in an engine's score. Default: 35.
    #[arg(long, env = "PAAS_MEMORY_WEIGHT", value_name = "NUMBER")]
    pub(super) memory_weight: Option<f64>,
    /// How much more than an engine has may be reserved on it: 1.5 for half as much again. Default: 1, not at all.
    #[arg(long, env = "PAAS_OVERBOOKING", value_name = "FACTOR")]
    pub(super) overbooking: Option<f64>,
    /// Of each container's output an engine keeps files of this size, where its Docker keeps output in files (json-file,
    /// local): whole megabytes, such as 10M, or 0 to leave it to Docker. Default: 10M.
    #[arg(long, env = "PAAS_CONTAINER_LOG_SIZE", value_name = "SIZE")]
    pub(super) container_log_size: Option<Size>,
    /// How many such files, 1 to 1000. Default: 3.
    #[arg(long, env = "PAAS_CONTAINER_LOG_FILES", value_name = "COUNT")]
    pub(super) container_log_files: Option<u32>,
    /// Where networks of applications have their addresses from, on hosts whose Docker has none left, which is after about
    /// thirty networks: a range of /8 to /24, of which each network gets 256. Default: 10.210.0.0/16.
    #[arg(long, env = "PAAS_APP_SUBNETS", value_name = "RANGE")]
    pub(super) app_subnets: Option<Subnets>,
    /// Also record what is run inside of containers as events. Each check of a container's health is three of them.
    #[arg(long, env = "PAAS_RECORD_EXEC_EVENTS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub(super) record_exec_events: Option<bool>,
    /// How each engine is asked whether it is alive: 'ping' asks its Docker (default), 'tcp' connects to its port, 'icmp'
    /// sends an echo request to its host.
    #[arg(long, env = "PAAS_PROBE", value_name = "KIND")]
    pub(super) probe: Option<ProbeKind>,
    /// How often it is asked: seconds, or with ms, s or m. Default: 1s.
    #[arg(long, env = "PAAS_PROBE_INTERVAL", value_name = "TIME")]
    pub(super) probe_interval: Option<Span>,
    /// How long it may take to answer. Default: 1s.
    #[arg(long, env = "PAAS_PROBE_TIMEOUT", value_name = "TIME")]
    pub(super) probe_timeout: Option<Span>,
    /// After how many probes in a row without an answer it is down, 1 to 100. Default: 2.
    #[arg(long, env = "PAAS_PROBE_MISSES", value_name = "NUMBER")]
    pub(super) probe_misses: Option<u32>,
    /// How long a request may take until it is answered, such as 60s; a stop and a restart as much longer as their timeout is.
    /// Streams, runs, scales and pulls take as long as the hosts do. Default: 60s.
    #[arg(long, env = "PAAS_REQUEST_TIMEOUT", value_name = "TIME")]
    pub(super) request_timeout: Option<Span>,
    /// How long requests and launches under way may take to end at shutdown; 0 to wait for none. Default: 30s.
    #[arg(long, env = "PAAS_SHUTDOWN_TIMEOUT", value_name = "TIME")]
    pub(super) shutdown_timeout: Option<Span>,
    /// What to log: error, warn, info, debug, trace, or by part as in 'info,paas_server=debug'. Default: info.
    #[arg(long, env = "PAAS_LOG", value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// How to log. Default: text.
    #[arg(long, env = "PAAS_LOG_FORMAT", value_name = "FORMAT")]
    pub(super) log_format: Option<LogFormat>,
}

/// How engines are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchedulerName {
    /// The emptiest engine takes the container.
    #[default]
    Spread,
    /// The fullest engine that has room takes the container.
    Binpack,
}

impl fmt::Display for SchedulerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spread => "spread",
            Self::Binpack => "binpack",
        })
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl Settings {
    /// What this layer says, and what `below` says where this one is silent.
    ///
    /// Two settings belong together: naming engines in a layer takes back a `no_engine` below it, and the other way
    /// round.
    pub(super) fn or(self, below: Self) -> Self {
        let speaks_of_engines = self.engine.is_some() || self.no_engine.is_some();
        let (engine, no_engine) =
            if speaks_of_engines { (self.engine, self.no_engine) } else { (below.engine, below.no_engine) };
        Self {
            listen: self.listen.or(below.listen),
            store: self.store.or(below.store),
            data_dir: self.data_dir.or(below.data_dir),
            secret_key_file: self.secret_key_file.or(below.secret_key_file),
            registry: self.registry.or(below.registry),
            advertise: self.advertise.or(below.advertise),
            leader_lease: self.leader_lease.or(below.leader_lease),
            peer_ca: self.peer_ca.or(below.peer_ca),
            platform: self.platform.or(below.platform),
            engine,
            no_engine,
            allow_host_paths: self.allow_host_paths.or(below.allow_host_paths),
            allow_host_network: self.allow_host_network.or(below.allow_host_network),
            allow_low_ports: self.allow_low_ports.or(below.allow_low_ports),
            allow_capabilities: self.allow_capabilities.or(below.allow_capabilities),
            allow_devices: self.allow_devices.or(below.allow_devices),
            allow_sysctls: self.allow_sysctls.or(below.allow_sysctls),
            allow_log_drivers: self.allow_log_drivers.or(below.allow_log_drivers),
            allow_unix_engines: self.allow_unix_engines.or(below.allow_unix_engines),
            allow_simulated: self.allow_simulated.or(below.allow_simulated),
            admin_password_file: self.admin_password_file.or(below.admin_password_file),
            admin_password: self.admin_password.or(below.admin_password),
            tls_cert: self.tls_cert.or(below.tls_cert),
            tls_key: self.tls_key.or(below.tls_key),
            body_limit: self.body_limit.or(below.body_limit),
            max_connections: self.max_connections.or(below.max_connections),
            token_ttl: self.token_ttl.or(below.token_ttl),
            event_max_age: self.event_max_age.or(below.event_max_age),
            event_max_count: self.event_max_count.or(below.event_max_count),
            scheduler: self.scheduler.or(below.scheduler),
            cpu_weight: self.cpu_weight.or(below.cpu_weight),
            memory_weight: self.memory_weight.or(below.memory_weight),
            overbooking: self.overbooking.or(below.overbooking),
            container_log_size: self.container_log_size.or(below.container_log_size),
            container_log_files: self.container_log_files.or(below.container_log_files),
            app_subnets: self.app_subnets.or(below.app_subnets),
            record_exec_events: self.record_exec_events.or(below.record_exec_events),
            probe: self.probe.or(below.probe),
            probe_interval: self.probe_interval.or(below.probe_interval),
            probe_timeout: self.probe_timeout.or(below.probe_timeout),
            probe_misses: self.probe_misses.or(below.probe_misses),
            request_timeout: self.request_timeout.or(below.request_timeout),
            shutdown_timeout: self.shutdown_timeout.or(below.shutdown_timeout),
            log: self.log.or(below.log),
            log_format: self.log_format.or(below.log_format),
        }
    }
}

/// The settings of a file.
pub(super) fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = files::read_text(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| ConfigError::Toml { path: path.to_owned(), message: error.to_string() })
}
