//! Serving the API on a listener, until told to stop.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use axum::Router;
use axum::middleware::from_fn;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use paas_core::controller::Controller;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::middleware::write_timeout::{WriteTimeout, mark};
use crate::routes::router;

pub use crate::options::ServeOptions;

/// How long a client may take to send the head of a request, or keep a connection without one.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// The least time the launches under way get to end, however long the clients took.
const LEAST_DRAIN: Duration = Duration::from_secs(1);

/// Why a server ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener cannot be used.
    #[error("connections cannot be accepted")]
    Listener(#[source] io::Error),
    /// Requests or launches were still under way when the time was over.
    #[error("requests or launches were still under way after {0:?} and were abandoned")]
    TimedOut(Duration),
}

/// Serves the API until `stop` rings. Then no connection is accepted any more, streams without an end are ended, requests
/// under way are answered, the controller is shut down, and this returns.
///
/// # Errors
/// [`ServeError::Listener`]; [`ServeError::TimedOut`] when that took longer than [`ServeOptions::shutdown_timeout`].
pub async fn serve(
    listener: TcpListener,
    controller: Controller,
    options: ServeOptions,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let app = App::new(controller.clone(), stop.clone(), &options);
    serve_with(listener, router(app), options, stop, async move { controller.shutdown().await }).await
}

/// The same for any router: `finish` ends what is behind it, after the last request was answered.
pub(crate) async fn serve_with(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    stop: CancellationToken,
    finish: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let service = router.layer(from_fn(mark)).into_make_service_with_connect_info::<SocketAddr>();
    let acceptor = WriteTimeout { deadline: options.reader_timeout, stop: stop.clone() };
    let handle = Handle::new();
    let server = hardened(axum_server::from_tcp(listener).map_err(ServeError::Listener)?.handle(handle.clone()));
    let mut serving = match options.tls {
        None => tokio::spawn(server.acceptor(acceptor).serve(service)),
        Some(config) => {
            let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(config)).acceptor(acceptor);
            tokio::spawn(server.acceptor(acceptor).serve(service))
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ended = &mut serving => {
            finish.await;
            return ended.map_err(io::Error::other).flatten().map_err(ServeError::Listener);
        }
    }
    let begun = Instant::now();
    tracing::info!("shutting down: requests under way are answered first");
    handle.graceful_shutdown(Some(options.shutdown_timeout));
    if let Err(error) = serving.await.map_err(io::Error::other).flatten() {
        tracing::warn!(%error, "connections did not end as they should");
    }
    let left = options.shutdown_timeout.saturating_sub(begun.elapsed()).max(LEAST_DRAIN);
    let launches = tokio::time::timeout(left, finish).await;
    if launches.is_err() || begun.elapsed() >= options.shutdown_timeout {
        return Err(ServeError::TimedOut(options.shutdown_timeout));
    }
    Ok(())
}

/// Without HTTP/2, and with no deadline for clients that connect and then say nothing.
fn hardened(server: Server<SocketAddr>) -> Server<SocketAddr> {
    let mut server = server.http1_only().first_request_timeout(HEAD_TIME);
    server.http_builder().http1().header_read_timeout(HEAD_TIME);
    server
}
