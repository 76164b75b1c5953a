//! What every handler has at hand.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::future::{Either, select};
use paas_core::auth::{Presented, Session};
use paas_core::controller::{Actor, Controller, RequestContext};
use tokio_util::sync::CancellationToken;

use crate::body;
use crate::options::ServeOptions;
use crate::problem::Answer;

/// How often a stream without an end looks whether its reader may still read.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The server's state. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) controller: Controller,
    /// Rings when the server begins to shut down: streams without an end are ended then. Shared, because a token counts its
    /// clones under a lock, and the state is cloned several times for each request.
    pub(crate) closing: Arc<CancellationToken>,
    /// The largest body, bytes.
    pub(crate) body_limit: usize,
    /// How long a client may take to send a body.
    body_timeout: Duration,
    /// How long a reader of live events may take nothing.
    pub(crate) reader_timeout: Duration,
    /// How long a request may take until it is answered.
    pub(crate) request_timeout: Duration,
}

/// Who asks. Only the chain in front of the handlers makes one, of a token that is worth something.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) session: Session,
    pub(crate) presented: Presented,
    /// Whether its role opens everything, so that it is not held to the policy.
    pub(crate) is_admin: bool,
    /// The request that is being done, where it has a key.
    pub(crate) request: Option<RequestContext>,
}

impl Caller {
    /// The caller as the one who does a change.
    pub(crate) fn actor(&self) -> Actor {
        let name = self.session.username.clone();
        let actor = if self.is_admin { Actor::admin(name) } else { Actor::user(name) };
        match &self.request {
            Some(request) => actor.by_request(request.clone()),
            None => actor,
        }
    }
}

impl App {
    /// The state of a server that closes when `closing` rings.
    pub(crate) fn new(controller: Controller, closing: CancellationToken, options: &ServeOptions) -> Self {
        let ServeOptions { body_limit, body_timeout, reader_timeout, request_timeout, .. } = *options;
        Self { controller, closing: Arc::new(closing), body_limit, body_timeout, reader_timeout, request_timeout }
    }

    /// Reads a whole body, as large and as slow as one may be.
    pub(crate) async fn read(&self, body: Body) -> Answer<Bytes> {
        body::read(body, self.body_limit, self.body_timeout).await
    }

    /// Ends when a stream for `caller` has to end: the server shuts down, or the token is not worth anything any more.
    pub(crate) fn until_over(&self, caller: Caller) -> impl Future<Output = ()> + Send + use<> {
        let app = self.clone();
        async move {
            let closing = std::pin::pin!(app.closing.cancelled());
            let locked_out = std::pin::pin!(async {
                while app.controller.auth().authenticate(&caller.presented).is_ok() {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            });
            match select(closing, locked_out).await {
                Either::Left(_) | Either::Right(_) => {}
            }
        }
    }
}
