//! What the program does: read the settings, put the parts together, say where it listens, serve.

use std::fs::DirBuilder;
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use paas_core::auth::AuthSettings;
use paas_core::cluster::ClusterSettings;
use paas_core::controller::{Actor, Controller, ControllerError, Settings};
use paas_core::leadership::{Candidate, Term};
use paas_core::model::{EngineSpec, Invalid};
use paas_core::registry::{Registry, RegistryErrorKind, open_registry};
use paas_core::scheduler::{Binpack, Scheduler, Spread};
use paas_core::store::{Store, open_store};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{AdminPassword, Config, EnginesAtStart, LogFormat, Peers, SchedulerName};
use crate::ha::leader_proxy::Forwarder;
use crate::ha::{Node, TakeOver};
use crate::serve::{ServeOptions, serve, serve_with};
use crate::tls;

/// How long a server that begins waits for hosts that do not answer, before it serves without them.
const WAIT_READY: Duration = Duration::from_secs(2);

/// The status of a program that a second signal ended.
const ENDED_BY_SIGNAL: i32 = 130;

/// Runs a server until a signal ends it.
///
/// # Errors
/// Says what could not be opened, read or used, or that not everything ended in time.
pub async fn run(config: Config) -> Result<()> {
    start_log(&config.log, config.log_format)?;
    let stop = stop_on_signals()?;
    let tls = config.tls.as_ref().map(|files| tls::load(&files.cert, &files.key)).transpose()?;
    // Before anything is made: a second server on one machine must not touch the store of the first.
    let listener =
        TcpListener::bind(config.listen).with_context(|| format!("{} cannot be listened on", config.listen))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", listener.local_addr()?);
    if tls.is_none() && !config.listen.ip().is_loopback() {
        tracing::warn!("passwords and tokens travel in clear; give --tls-cert and --tls-key, or trust the network");
    }
    let parts = Parts::open(config, reachable(&url)).await?;
    let options = ServeOptions {
        tls,
        body_limit: parts.config.body_limit,
        shutdown_timeout: parts.config.shutdown_timeout,
        ..ServeOptions::default()
    };
    let listens = format!("paas-server {} listens on {url}", env!("CARGO_PKG_VERSION"));
    match parts.config.peers.clone() {
        None => {
            let controller = parts.controller(None).await?;
            say(&listens);
            serve(listener, controller, options, stop).await?;
        }
        Some(peers) => {
            say(&listens);
            serve_as_one_of_several(listener, parts, &peers, options, stop).await?;
        }
    }
    Ok(())
}

async fn serve_as_one_of_several(
    listener: TcpListener,
    parts: Parts,
    peers: &Peers,
    options: ServeOptions,
    stop: CancellationToken,
) -> Result<()> {
    let candidate =
        Candidate::new(parts.registry.clone(), peers.advertise.clone(), peers.lease).with_store(parts.store.clone());
    let forwarder = Forwarder::new(peers.ca.as_deref())?;
    let node = Node::new(candidate, forwarder, options.clone());
    let router = node.router();
    let take_over: TakeOver = Arc::new(move |term| {
        let parts = parts.clone();
        Box::pin(async move { parts.controller(Some(term)).await })
    });
    // Rings when the last request was answered: until then this server goes on leading.
    let end = CancellationToken::new();
    let running = tokio::spawn(node.run(take_over, stop.clone(), end.clone()));
    let finish = async move {
        end.cancel();
        if let Err(error) = running.await {
            tracing::error!(%error, "the election ended otherwise than it should");
        }
    };
    Ok(serve_with(listener, router, options, stop, finish).await?)
}

pub(crate) fn start_log(filter: &str, format: LogFormat) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| Invalid::new("log", format!("{filter:?} is no filter: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

/// Rings at the first SIGTERM or SIGINT. At the second the program ends at once.
pub(crate) fn stop_on_signals() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be heard")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be heard")?;
    let stop = CancellationToken::new();
    let rings = stop.clone();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        rings.cancel();
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(ENDED_BY_SIGNAL);
    });
    Ok(stop)
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// What a controller is made of, again for every term.
#[derive(Clone)]
struct Parts {
    config: Arc<Config>,
    store: Arc<dyn Store>,
    registry: Arc<dyn Registry>,
    /// Where a person on this machine reaches the server.
    url: Arc<str>,
}

impl Parts {
    async fn open(config: Config, url: String) -> Result<Self> {
        if config.store.is_none() {
            make_data_dir(&config.data_dir)?;
        }
        let store = open_store(config.store_url().as_str()).await.context("the store cannot be opened")?;
        let registry = open_registry(config.registry.as_str()).context("the registry cannot be opened")?;
        check_registry(&*registry).await?;
        Ok(Self { config: Arc::new(config), store, registry, url: url.into() })
    }

    /// A controller that has read the records and heard the hosts. With a term, it changes things as long as that lasts.
    async fn controller(&self, term: Option<Term>) -> Result<Controller> {
        let config = &self.config;
        let scheduler: Arc<dyn Scheduler> = match config.scheduler {
            SchedulerName::Spread => Arc::new(Spread::new(config.weights)),
            SchedulerName::Binpack => Arc::new(Binpack::new(config.weights)),
        };
        let settings = Settings {
            auth: AuthSettings { token_ttl: config.token_ttl, ..AuthSettings::default() },
            cluster: ClusterSettings {
                probe: config.probe,
                probe_interval: config.probe_interval,
                probe_timeout: config.probe_timeout,
                probe_misses: config.probe_misses,
                overbooking: config.overbooking,
                ..ClusterSettings::default()
            },
            retention: config.retention.clone(),
            ..Settings::default()
        };
        let mut builder = Controller::builder().store(self.store.clone()).registry(self.registry.clone());
        if let Some(term) = term {
            builder = builder.term(term);
        }
        let built = builder.scheduler(scheduler).settings(settings).build().await;
        let controller = built.context("the platform cannot start")?;
        // Told at once: if anything below fails, the password is known all the same.
        if let Some(password) = make_first_account(config, &controller).await? {
            say(&format!("The account 'admin' was made with {password}."));
            say(&format!("Log in with: paas-cli login --url {} --name admin", self.url));
        }
        add_engines(&config.engines, &controller).await?;
        controller.wait_ready(WAIT_READY).await;
        Ok(controller)
    }
}

/// Says what must be told a person at once. That the registry does not answer is no reason not to start: it may later, and
/// until then there is what was known of it.
pub(crate) async fn check_registry(registry: &dyn Registry) -> Result<()> {
    match registry.list().await {
        Err(error) if error.kind() == RegistryErrorKind::Unavailable => {
            tracing::warn!(%error, "starting without the registry");
            Ok(())
        }
        Err(error) => Err(error).context("the registry cannot be used"),
        Ok(_) => Ok(()),
    }
}

/// Only its owner may look into it: it holds certificates, and logins to registries.
pub(crate) fn make_data_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| {
        format!("the data directory {} cannot be made; choose another with --data-dir", path.display())
    })
}

/// The URL as one on this machine would write it.
fn reachable(url: &str) -> String {
    url.replace("//0.0.0.0:", "//localhost:").replace("//[::]:", "//localhost:")
}

/// Makes the first account, and says with which password; nothing when there were accounts already.
async fn make_first_account(config: &Config, controller: &Controller) -> Result<Option<String>> {
    let given = match &config.admin_password {
        None => None,
        Some(AdminPassword::Given(password)) => Some(password.clone()),
        Some(AdminPassword::File(path)) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the password file {} cannot be read", path.display()))?;
            let password = text.trim_end_matches(['\r', '\n']).to_owned();
            if password.is_empty() {
                bail!("the password file {} is empty", path.display());
            }
            Some(password)
        }
    };
    let is_given = given.is_some();
    let made = controller.ensure_admin(given).await.context("the account 'admin' cannot be made")?;
    Ok(made.map(|password| match is_given {
        true => "the password you gave".to_owned(),
        false => format!("the password {password} (it is shown only this once)"),
    }))
}

async fn add_engines(engines: &EnginesAtStart, controller: &Controller) -> Result<()> {
    match engines {
        EnginesAtStart::None => Ok(()),
        EnginesAtStart::Named(named) => {
            for spec in named {
                add_engine(spec.clone(), controller).await?;
            }
            Ok(())
        }
        EnginesAtStart::IfNoneIsKnown(spec) if controller.engines().is_empty() => {
            add_engine((**spec).clone(), controller).await
        }
        EnginesAtStart::IfNoneIsKnown(_) => Ok(()),
    }
}

async fn add_engine(spec: EngineSpec, controller: &Controller) -> Result<()> {
    let (id, addr) = (spec.id.clone(), spec.addr.to_string());
    if let Ok(known) = controller.engine(id.as_str()) {
        if known.addr != addr {
            tracing::warn!(%id, known = known.addr, given = addr, "the engine is known under another address, which stays");
        }
        return Ok(());
    }
    match controller.add_engine(&Actor::system(), spec).await {
        Ok(engine) => {
            tracing::info!(%id, addr, status = %engine.health.status, "added an engine");
            Ok(())
        }
        // The operator gave it another id since: it is in service, so nothing is missing.
        Err(ControllerError::EngineExists { reason }) => {
            tracing::warn!(%id, reason, "an engine was not added");
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("the engine {id} at {addr} cannot be added")),
    }
}

/// Says something to whoever started the program. That nobody listens is no reason to end.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
