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
    /// How long requests and launches under way may take to end once the server is told to stop.
    pub shutdown_timeout: Duration,
    /// How long a request may take until it is answered; a stop and a restart as much longer as their grace is. What tells of
    /// its progress, runs, scales and pulls take as long as their hosts do.
    pub request_timeout: Duration,
    /// How long a reader of live events may take nothing of what there is for it. If it reads on after that, its stream ends, with
    /// a message that says so; when it has taken nothing for twice as long, its connection is closed.
    pub reader_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            tls: None,
            body_limit: 1 << 20,
            shutdown_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            reader_timeout: Duration::from_secs(30),
        }
    }
}
