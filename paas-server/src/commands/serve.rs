//! `paas-server`: read the settings, put the parts together, say where it listens, serve.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use paas_core::leadership::Candidate;
use tokio_util::sync::CancellationToken;

use crate::bootstrap::Parts;
use crate::config::{Config, Peers};
use crate::ha::leader_proxy::Forwarder;
use crate::ha::{Node, TakeOver, may_lead};
use crate::process::{raise_descriptor_limit, say, start_log, stop_on_signals};
use crate::serve::{ServeOptions, serve, serve_with};
use crate::tls;

/// How long everything may take that comes after requests and launches have ended, or were given up.
const AFTER_SHUTDOWN: Duration = Duration::from_secs(3);

/// Runs a server until a signal ends it.
///
/// # Errors
/// Says what could not be opened, read or used, or that not everything ended in time.
pub async fn run(config: Config) -> Result<()> {
    start_log(&config.log, config.log_format)?;
    let stop = stop_on_signals(config.shutdown_timeout + AFTER_SHUTDOWN)?;
    let max_connections = config.max_connections.min(connections_by_descriptors());
    if max_connections < config.max_connections {
        tracing::info!(max_connections, "fewer connections at once than asked for, because of the limit of open files");
    }
    let tls = config.tls.as_ref().map(|files| tls::load(&files.cert, &files.key)).transpose()?;
    // Before anything is made: a second server on one machine must not touch the store of the first.
    let listener = TcpListener::bind(config.listen).with_context(|| {
        format!("{} cannot be listened on; see what does, or choose another address with --listen", config.listen)
    })?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", listener.local_addr()?);
    if tls.is_none() && !config.listen.ip().is_loopback() {
        tracing::warn!("passwords and tokens travel in clear; give --tls-cert and --tls-key, or trust the network");
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        %url,
        store = %config.store_url(),
        registry = %config.registry,
        advertise = config.peers.as_ref().map(|peers| peers.advertise.as_str()),
        scheduler = %config.scheduler,
        max_connections,
        "starting"
    );
    // A server that is stopped while it still waits for its store or for hosts ends at once.
    let Some(parts) = stop.run_until_cancelled(Parts::open(config, reachable(&url))).await else { return Ok(()) };
    let parts = parts?;
    let options = ServeOptions {
        tls,
        body_limit: parts.config.body_limit,
        shutdown_timeout: parts.config.shutdown_timeout,
        max_connections,
        request_timeout: parts.config.request_timeout,
        ..ServeOptions::default()
    };
    let listens = format!("paas-server {} listens on {url}", env!("CARGO_PKG_VERSION"));
    let served = match parts.config.peers.clone() {
        None => match stop.run_until_cancelled(parts.controller(None)).await {
            Some(Ok(controller)) => {
                say(&listens);
                serve(listener, controller, options, stop).await.map_err(Into::into)
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        },
        Some(peers) => {
            say(&listens);
            serve_as_one_of_several(listener, parts.clone(), &peers, options, stop).await
        }
    };
    parts.finish().await;
    served
}

/// Half of the descriptors are for connections; the rest are for the store, the engines and what clients read of them.
fn connections_by_descriptors() -> usize {
    raise_descriptor_limit().map_or(usize::MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX).max(1))
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
    let learn = Forwarder::learn_peer_key(forwarder.peer_key(), parts.store.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(learn));
    let may_lead = may_lead(parts.custody.clone(), parts.store.clone());
    let node = Node::new(candidate, forwarder, options.clone()).that_leads_if(may_lead);
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

/// The URL as one on this machine would write it.
fn reachable(url: &str) -> String {
    url.replace("//0.0.0.0:", "//localhost:").replace("//[::]:", "//localhost:")
}
