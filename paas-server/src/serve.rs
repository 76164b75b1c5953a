//! Serving the API on a listener, until it is stopped.

use std::future::{Ready, ready};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};
use paas_core::controller::Controller;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower_http::add_extension::AddExtension;

use crate::app::App;
use crate::connections::{Connection, Connections, Counted};
use crate::middleware::write_timeout::{Reading, Timed, WriteTimeout};
use crate::routes::router;

pub use crate::options::ServeOptions;

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
/// [`ServeError::Listener`]; [`ServeError::TimedOut`] when that took longer than [`ServeOptions::shutdown_timeout`], unless that is
/// zero: then nothing is waited for.
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
    let service = router.layer(from_fn(follow)).into_make_service_with_connect_info::<SocketAddr>();
    let connections = Connections::new(options.max_connections);
    let timeout = WriteTimeout { deadline: options.reader_timeout, stop: stop.clone() };
    let acceptor = Admission { timeout, connections: connections.clone() };
    let handle = Handle::new();
    let server = axum_server::from_tcp(listener).map_err(ServeError::Listener)?.handle(handle.clone());
    let server = hardened(server, options.head_timeout).accept_error_handler(move |from, error| match from {
        Some(from) => tracing::debug!(%from, %error, "a connection was not taken in"),
        None => connections.accept_failed(error),
    });
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
    let waits = !options.shutdown_timeout.is_zero();
    match waits {
        true => tracing::info!("shutting down: requests under way are answered first"),
        false => tracing::info!("shutting down without waiting for requests under way"),
    }
    handle.graceful_shutdown(Some(options.shutdown_timeout));
    if let Err(error) = serving.await.map_err(io::Error::other).flatten() {
        tracing::warn!(%error, "connections did not end as they should");
    }
    let requests_abandoned = begun.elapsed() >= options.shutdown_timeout;
    let left = options.shutdown_timeout.saturating_sub(begun.elapsed()).max(LEAST_DRAIN);
    let launches_abandoned = tokio::time::timeout(left, finish).await.is_err();
    match requests_abandoned || launches_abandoned {
        true if waits => Err(ServeError::TimedOut(options.shutdown_timeout)),
        // Nobody wanted to wait.
        true if launches_abandoned => {
            tracing::warn!("launches were still under way and were abandoned");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Without HTTP/2, and with no deadline for clients that connect and then say nothing.
fn hardened(server: Server<SocketAddr>, head_timeout: Duration) -> Server<SocketAddr> {
    let mut server = server.http1_only().first_request_timeout(head_timeout);
    server.http_builder().http1().header_read_timeout(head_timeout);
    server
}

/// What every connection goes through when it is accepted. Small writes are sent at once.
#[derive(Clone, Debug)]
struct Admission {
    timeout: WriteTimeout,
    connections: Connections,
}

impl Admission {
    fn admit<S>(&self, stream: TcpStream, service: S) -> io::Result<Admitted<S>> {
        stream.set_nodelay(true)?;
        let from = stream.peer_addr()?.ip();
        let (stream, connection) = self.connections.admit(stream, from)?;
        let (stream, reading) = self.timeout.wrap(stream);
        Ok((stream, AddExtension::new(AddExtension::new(service, reading), connection)))
    }
}

type Admitted<S> = (Timed<Counted<TcpStream>>, AddExtension<AddExtension<S, Reading>, Connection>);

impl<S> Accept<TcpStream, S> for Admission {
    type Stream = Timed<Counted<TcpStream>>;
    type Service = AddExtension<AddExtension<S, Reading>, Connection>;
    type Future = Ready<io::Result<Admitted<S>>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        ready(self.admit(stream, service))
    }
}

/// Lets a connection know of its requests and answers.
async fn follow(request: Request, next: Next) -> Response {
    let (reading, connection) = (request.extensions().get::<Reading>(), request.extensions().get::<Connection>());
    let (Some(reading), Some(connection)) = (reading.cloned(), connection.cloned()) else {
        return next.run(request).await;
    };
    let under_way = connection.request();
    let response = next.run(request).await;
    reading.answers(&response);
    under_way.until_answered(response)
}
