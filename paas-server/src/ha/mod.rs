//! One of several servers: it leads, or sends every request on to the one that does.
//!
//! Requests are sent on, and not redirected: a client that is redirected to another host leaves its token behind, and
//! may not reach that host at all.

pub(crate) mod leader_proxy;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use paas_core::controller::Controller;
use paas_core::leadership::{Candidate, Term, check_may_lead};
use paas_core::store::{Store, StoreErrorKind};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::app::App;
use crate::body::read;
use crate::connections::Connection;
use crate::custody::Custody;
use crate::ha::leader_proxy::{Forwarder, is_forwarded};
use crate::middleware::idempotency;
use crate::middleware::request_id::identified;
use crate::options::ServeOptions;
use crate::problem::{Answer, Problem};
use crate::route_table::{Access, access_of_unknown};
use crate::routes::{health, router};

/// How long a request waits for a server to lead before it is sent away.
const LEADER_TIMEOUT: Duration = Duration::from_secs(8);
/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// How long a server that could not take over leaves it to the others.
const STEP_BACK: Duration = Duration::from_secs(1);
/// How often a server that cannot lead looks whether it could by now, and one that could whether it still can.
const LOOK_WHILE_BARRED: Duration = Duration::from_secs(1);
const LOOK_WHETHER_BARRED: Duration = Duration::from_secs(5);

/// Makes the controller of a term: reads the records and the hosts.
pub(crate) type TakeOver =
    Arc<dyn Fn(Term) -> futures::future::BoxFuture<'static, anyhow::Result<Controller>> + Send + Sync>;

/// Whether this server could lead, and if not, why.
pub(crate) type MayLead = Arc<dyn Fn() -> futures::future::BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// A server may lead when it has the key of the store, and its version is not too old for what is in there. A store that does
/// not answer says nothing about that: it shows when the platform is taken over.
pub(crate) fn may_lead(custody: Custody, store: Arc<dyn Store>) -> MayLead {
    Arc::new(move || {
        let (custody, store) = (custody.clone(), store.clone());
        Box::pin(async move {
            custody.check(&*store).await?;
            match check_may_lead(&store).await {
                Err(error) if error.kind() == StoreErrorKind::Broken => Err(error.into()),
                _ => Ok(()),
            }
        })
    })
}

/// A server among several. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Node {
    may_lead: Option<MayLead>,
    /// Why it does not stand for election.
    barred: watch::Sender<Option<String>>,
    role: watch::Sender<Role>,
    candidate: Candidate,
    /// Who leads, as the registry says; while that is away, who was known last.
    leader: watch::Receiver<Option<String>>,
    forwarder: Arc<Forwarder>,
    options: ServeOptions,
}

/// What a server is at this moment.
#[derive(Clone)]
enum Role {
    /// It does what is asked for itself.
    Leading(Router, Term),
    /// It sends on what is asked.
    Following,
}

impl Node {
    pub(crate) fn new(candidate: Candidate, forwarder: Forwarder, options: ServeOptions) -> Self {
        let (role, barred) = (watch::Sender::new(Role::Following), watch::Sender::new(None));
        let leader = candidate.watch_leader();
        Self { may_lead: None, barred, role, candidate, leader, forwarder: Arc::new(forwarder), options }
    }

    /// The same server, which stands for election only while it could lead.
    pub(crate) fn that_leads_if(mut self, may_lead: MayLead) -> Self {
        self.may_lead = Some(may_lead);
        self
    }

    /// Looks whether it could lead, and says so when that is not as it was.
    async fn is_barred(&self) -> bool {
        let Some(may_lead) = &self.may_lead else { return false };
        let why = may_lead().await.err().map(|error| format!("{error:#}"));
        let is_barred = why.is_some();
        self.barred.send_if_modified(|before| {
            let is_news = *before != why;
            match &why {
                Some(why) if is_news => tracing::error!("does not stand for election: {why}"),
                None if is_news => tracing::info!("stands for election again"),
                _ => {}
            }
            *before = why;
            is_news
        });
        is_barred
    }

    /// Stands for election until it is elected, and not while it could not lead.
    async fn elected(&self) -> Term {
        loop {
            while self.is_barred().await {
                sleep(LOOK_WHILE_BARRED).await;
            }
            let barred = async {
                loop {
                    sleep(LOOK_WHETHER_BARRED).await;
                    if self.is_barred().await {
                        return;
                    }
                }
            };
            tokio::select! {
                term = self.candidate.lead() => return term,
                () = barred => {}
            }
        }
    }

    /// Stands for election again and again, and leads when elected, until `end` rings. Streams without an end are ended when
    /// `stop` rings, which comes before.
    pub(crate) async fn run(self, take_over: TakeOver, stop: CancellationToken, end: CancellationToken) {
        while !end.is_cancelled() {
            let Some(term) = end.run_until_cancelled(self.elected()).await else { return };
            tracing::info!(name = self.candidate.name(), "elected; taking over");
            let began = Instant::now();
            let taken = tokio::select! {
                taken = take_over(term.clone()) => taken,
                () = term.over() => continue,
                () = end.cancelled() => return term.resign(),
            };
            match taken {
                Ok(controller) => {
                    tracing::info!(took = ?began.elapsed(), "leads");
                    self.lead(controller, term, &stop, &end).await;
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "cannot lead; leaving it to the others");
                    term.resign();
                    sleep(STEP_BACK).await;
                }
            }
        }
    }

    async fn lead(&self, controller: Controller, term: Term, stop: &CancellationToken, end: &CancellationToken) {
        let closing = stop.child_token();
        let app = App::new(controller.clone(), closing.clone(), &self.options);
        self.role.send_replace(Role::Leading(router(app), term.clone()));
        tokio::select! {
            () = term.over() => tracing::warn!("leads no more: the lease could not be kept"),
            () = end.cancelled() => {}
        }
        self.role.send_replace(Role::Following);
        closing.cancel();
        // What is still under way is refused every change once the term is over, so this does not take long then.
        if timeout(self.options.shutdown_timeout, controller.shutdown()).await.is_err() {
            tracing::error!("launches were still under way and were abandoned");
            controller.background().stop();
        }
        term.resign();
    }

    /// What answers every request.
    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(dispatch).with_state(self.clone())
    }

    async fn answer(&self, mut request: Request) -> Response {
        if let Some(source) = self.forwarder.source(request.headers()) {
            request.extensions_mut().insert(source);
        }
        if let Some(router) = self.leading() {
            return led(router, request).await;
        }
        identified(request, |request| self.answer_without_leading(request)).await
    }

    async fn answer_without_leading(&self, request: Request) -> Response {
        if request.uri().path() == health::PATH {
            let leader = self.leader.borrow().clone();
            return health::following(leader, self.barred.borrow().is_some()).into_response();
        }
        if is_forwarded(request.headers()) {
            return Problem::no_leader("the server that led leads no more").into_response();
        }
        // The leader knows the tokens: below the guarded prefixes it does nothing without a good one.
        let is_guarded = access_of_unknown(request.uri().path()) != Access::Public;
        let connection = request.extensions().get::<Connection>().cloned();
        let response = self.follow(request).await.unwrap_or_else(IntoResponse::into_response);
        if let Some(connection) = connection.filter(|_| is_guarded && response.status().is_success()) {
            connection.authenticated();
        }
        response
    }

    /// Sends a request on to the leader. While there is none, it waits; what was not sent yet, or may be sent twice, waits
    /// again when the one that led is gone.
    async fn follow(&self, request: Request) -> Answer {
        let gives_up = Instant::now() + LEADER_TIMEOUT;
        let (parts, body) = request.into_parts();
        let body = read(body, self.options.body_limit, self.options.body_timeout).await?;
        let mut why = "no server leads at this moment";
        while Instant::now() < gives_up {
            if let Some(router) = self.leading() {
                return Ok(led(router, Request::from_parts(parts, Body::from(body))).await);
            }
            let leader = self.leader.borrow().clone();
            if let Some(leader) = leader.filter(|leader| leader != self.candidate.name()) {
                let deposed = until_deposed(self.leader.clone(), leader.clone());
                match self.forwarder.forward(&leader, &parts, body.clone(), deposed).await {
                    Ok(response) => return Ok(response),
                    Err(lost) if lost.was_sent && !idempotency::has_key(&parts.headers) => {
                        return Err(Problem::no_leader("the server that led went away in the middle of this"));
                    }
                    Err(_) => why = "the server that leads does not answer",
                }
            }
            // Another is being elected, or this one takes over.
            sleep(LOOK).await;
        }
        Err(Problem::no_leader(why))
    }

    fn leading(&self) -> Option<Router> {
        match &*self.role.borrow() {
            Role::Leading(router, term) if !term.is_over() => Some(router.clone()),
            _ => None,
        }
    }
}

/// Ends when `leader` leads no more, as far as the registry says. Of a registry that is away nobody knows anything.
async fn until_deposed(mut known: watch::Receiver<Option<String>>, leader: String) {
    // Fails only when nothing more is to be known.
    if known.wait_for(|known| known.as_ref() != Some(&leader)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn led(router: Router, request: Request) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

async fn dispatch(State(node): State<Node>, request: Request) -> Response {
    node.answer(request).await
}

#[cfg(test)]
mod tests;
