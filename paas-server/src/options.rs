//! How to serve: what the listener, the middleware and the handlers are given.

use std::sync::Arc;
use std::time::Duration;

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Certificate and key; plain HTTP without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The largest body of a request, bytes.
    pub body_limit: usize,
    /// How long requests and launches under way may take to end once the server is stopped; zero to wait for none.
    pub shutdown_timeout: Duration,
    /// How long a request may take until it is answered; a stop and a restart as much longer as their grace is. What tells of
    /// its progress, runs, scales and pulls take as long as their hosts do.
    pub request_timeout: Duration,
    /// How long a reader of live events may take nothing of what there is for it. If it reads on after that, its stream ends, with
    /// a message that says so; when it has taken nothing for twice as long, its connection is closed.
    pub reader_timeout: Duration,
    /// How long a client may take to send the head of a request, or keep a connection without one.
    pub head_timeout: Duration,
    /// How long it may take to send the body.
    pub body_timeout: Duration,
    /// How many connections may be open at once, more than 0. When there are as many, the longest idle make room, first those
    /// on which no good token was ever sent.
    pub max_connections: usize,
}

/// As many connections as one server has a use for. An idle one costs some kilobytes.
pub(crate) const MOST_CONNECTIONS: usize = 10_000;

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            tls: None,
            body_limit: 1 << 20,
            shutdown_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            reader_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            max_connections: MOST_CONNECTIONS,
        }
    }
}
