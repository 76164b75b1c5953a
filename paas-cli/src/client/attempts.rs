//! Sending a request until a server takes it: to one after the other, and again after a pause, for a while.

use std::time::Duration;

use paas_core::backoff::Backoff;
use reqwest::Response;
use tokio::time::{Instant, sleep, timeout_at};

use super::call::Call;
use super::request::Reply;
use super::servers::{Server, Servers};
use super::{Client, ClientError, Problem, ServerUrl, TIMEOUT};

/// The pauses before all servers are asked again.
const PAUSES: Backoff = Backoff::new(PAUSE, Duration::from_secs(1));
const PAUSE: Duration = Duration::from_millis(250);

/// After how long a silence a server is asked whether it is still there, and how long it may take to say so.
const SILENCE: Duration = Duration::from_secs(3);
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

impl Client {
    /// Sends a request to one server after the other until one takes it, and takes from its answer what is of interest.
    pub(super) async fn send<T>(
        &self,
        call: &Call,
        take: impl AsyncFn(Reply) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.send_on(call, &mut Search::new(self), take).await
    }

    /// The same where some servers were asked already.
    pub(super) async fn send_on<T>(
        &self,
        call: &Call,
        search: &mut Search,
        take: impl AsyncFn(Reply) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        loop {
            let place = search.place;
            let server = self.servers.at(place);
            let last_moment = search.last_moment(call, self.deadline, self.servers.count());
            let attempt = async {
                let sent = server.http.execute(call.to(&server.url)?);
                let response = in_time(last_moment, &server.url, sent).await?;
                let reply = Reply::judge(&server.url, response).await?;
                if let Some(warning) = reply.warning() {
                    self.warn(&warning);
                }
                take(reply).await
            };
            let outcome = self.while_alive(place, call, attempt).await;
            match outcome {
                Ok(taken) => {
                    self.servers.answered(place);
                    search.taken();
                    return Ok(taken);
                }
                Err(error) => self.go_on(call, search, error).await?,
            }
        }
    }

    /// Goes on to the next server, after a pause when all were asked. Fails when that is of no use.
    pub(super) async fn go_on(&self, call: &Call, search: &mut Search, error: ClientError) -> Result<(), ClientError> {
        let Some(setback) = Setback::of(&error).filter(|setback| call.allows(*setback)) else {
            if error.problem().is_some() {
                self.servers.answered(search.place);
            }
            return Err(error);
        };
        search.note(setback, error, call.is_question());
        let servers = self.servers.count();
        if servers == 1 && search.nothing_was_there {
            return Err(search.reason(&self.servers));
        }
        search.place = (search.place + 1) % servers;
        // One that is busy passes on what all of them would say: they have one leader and one store.
        if setback == Setback::Busy || search.asked.is_multiple_of(servers) {
            let pause = search.next_pause();
            if self.servers.given_up() || search.elapsed() + pause >= self.deadline {
                self.servers.give_up();
                return Err(search.reason(&self.servers));
            }
            sleep(pause).await;
        }
        Ok(())
    }

    /// Waits for what a server has to say, as long as there is a server. One that hangs would hold up a request for long,
    /// where another, or the same once it is started again, could take it at once.
    pub(super) async fn while_alive<T>(
        &self,
        place: usize,
        call: &Call,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        if !call.is_repeatable() {
            return answer.await;
        }
        tokio::select! {
            answer = answer => answer,
            error = death(self.servers.at(place)) => Err(error),
        }
    }
}

/// Returns when a server does not say that it is alive, twice in a row.
async fn death(server: &Server) -> ClientError {
    sleep(SILENCE).await;
    let mut missed = false;
    loop {
        // Whatever it says, it is alive.
        let asked = server.http.get(server.url.join(&["healthz"])).timeout(SIGN_OF_LIFE).send().await;
        match asked {
            Err(error) if missed => return ClientError::TimedOut { url: server.url.clone(), source: Some(error) },
            outcome => missed = outcome.is_err(),
        }
        sleep(if missed { PAUSE } else { SILENCE }).await;
    }
}

/// The beginning of an answer, unless it does not come before the last moment there is for it.
async fn in_time(
    last_moment: Option<Instant>,
    url: &ServerUrl,
    sent: impl Future<Output = reqwest::Result<Response>>,
) -> Result<Response, ClientError> {
    let sent = match last_moment {
        Some(moment) => timeout_at(moment, sent).await,
        None => Ok(sent.await),
    };
    match sent {
        Ok(sent) => sent.map_err(|error| ClientError::not_sent(url, error)),
        Err(_) => Err(ClientError::TimedOut { url: url.clone(), source: None }),
    }
}

/// What another server, or the same a little later, may set right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setback {
    /// There is no server, or it is about to go. Nothing was done.
    Gone,
    /// The servers are about to agree on who leads. Nothing was done.
    Leaderless,
    /// The store of the servers is away, or they have too much to do. Nothing is kept of the request.
    Busy,
    /// The answer was lost. What was asked for may have been done.
    Unheard,
}

impl Setback {
    fn of(error: &ClientError) -> Option<Self> {
        match error {
            ClientError::NoServer { .. } | ClientError::Unreachable { .. } => Some(Self::Gone),
            ClientError::TimedOut { .. } | ClientError::BrokenOff { .. } => Some(Self::Unheard),
            ClientError::Refused(problem) if problem.is_timed_out() => Some(Self::Unheard),
            ClientError::Refused(problem) if problem.status == 503 => match problem.code.as_str() {
                "shutting_down" => Some(Self::Gone),
                "no_leader" => Some(Self::Leaderless),
                "store_unavailable" => Some(Self::Busy),
                _ => None,
            },
            ClientError::Refused(problem) if problem.status == 429 => Some(Self::Busy),
            _ => None,
        }
    }
}

impl Call {
    fn allows(&self, setback: Setback) -> bool {
        match setback {
            Setback::Gone | Setback::Leaderless => true,
            // Logins are throttled so that nobody tries one after the other.
            Setback::Busy | Setback::Unheard => self.is_repeatable(),
        }
    }
}

/// Whether an attempt was given up because the time was over.
fn is_cut(error: &ClientError) -> bool {
    matches!(error, ClientError::TimedOut { source: None, .. })
}

/// The search for a server that takes a request.
pub(super) struct Search {
    /// The server that is asked, or is next.
    pub(super) place: usize,
    /// How often one was asked in vain.
    asked: usize,
    /// When the first one was; absent while nothing is searched for.
    began: Option<Instant>,
    /// When the last one was.
    attempted: Instant,
    /// How long a server took at most until it was clear that it does not take the request.
    slowest: Duration,
    pauses: Backoff,
    /// When the servers want to be asked again, if they said so since all were asked.
    retry_after: Option<Duration>,
    /// Whether a server took the request once and ran out of the time that it has for one.
    timed_out: bool,
    /// What each server failed with.
    failures: Vec<(usize, ClientError)>,
    /// Whether no server was found at all.
    nothing_was_there: bool,
}

impl Search {
    /// One that begins where the last answer came from.
    pub(super) fn new(client: &Client) -> Self {
        Self {
            place: client.servers.first(),
            asked: 0,
            began: None,
            attempted: Instant::now(),
            slowest: Duration::ZERO,
            pauses: PAUSES,
            retry_after: None,
            timed_out: false,
            failures: Vec::new(),
            nothing_was_there: true,
        }
    }

    /// The request gets on: what went wrong until now is no reason to give up earlier the next time.
    pub(super) fn succeeds(&mut self) {
        (self.asked, self.began) = (0, None);
        self.pauses.reset();
        self.failures.clear();
    }

    /// A server took the request. Its own time begins, which is no part of the search.
    fn taken(&mut self) {
        if self.asked == 0 {
            self.began = None;
        }
    }

    fn elapsed(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Until when the attempt that begins now must be answered, if there is a limit beside the one of the request itself:
    /// so that a search is over in time although each server takes long to say that it does not take the request.
    ///
    /// A question is answered at once, or not at all. A change may take as long as it takes, once a server has it, which
    /// cannot be told from a server that will refuse it late; so it is cut short only where the servers were seen to be slow
    /// in refusing.
    fn last_moment(&mut self, call: &Call, deadline: Duration, servers: usize) -> Option<Instant> {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        self.attempted = now;
        // Each server is asked once, however short the search is to be.
        let first_time = self.asked < servers;
        if call.is_question() {
            return Some(began + if first_time { deadline.max(TIMEOUT) } else { deadline });
        }
        (!first_time && now + self.slowest > began + deadline).then_some(began + deadline)
    }

    fn note(&mut self, setback: Setback, error: ClientError, is_question: bool) {
        if self.began.is_none() {
            (self.began, self.attempted) = (Some(Instant::now()), Instant::now());
        }
        let took = self.attempted.elapsed();
        if error.problem().is_some_and(Problem::is_timed_out) && !self.timed_out {
            // A server took it: that is no time spent on finding one. Once, so that there is an end.
            self.timed_out = true;
            self.began = self.began.map(|began| began + took);
        } else {
            self.slowest = self.slowest.max(took);
        }
        self.asked += 1;
        self.nothing_was_there &= setback == Setback::Gone;
        if let Some(seconds) = error.problem().and_then(|problem| problem.retry_after) {
            let after = Duration::from_secs(seconds);
            self.retry_after = Some(self.retry_after.map_or(after, |before| before.min(after)));
        }
        match self.failures.iter_mut().find(|(place, _)| *place == self.place) {
            // That an answer was lost says more than that there has been none since.
            Some((_, before)) if before.is_uncertain() && setback != Setback::Unheard => {}
            // That the time was over says nothing, where the server said something before and nothing can have been done.
            Some((_, before)) if is_question && before.problem().is_some() && is_cut(&error) => {}
            Some((_, before)) => *before = error,
            None => self.failures.push((self.place, error)),
        }
    }

    /// How long to wait before all servers are asked again.
    fn next_pause(&mut self) -> Duration {
        self.pauses.next_pause().max(self.retry_after.take().unwrap_or_default())
    }

    /// Why no server took the request.
    fn reason(&mut self, servers: &Servers) -> ClientError {
        let mut failures = std::mem::take(&mut self.failures);
        match failures.pop() {
            Some((_, error)) if servers.count() == 1 => error,
            last => {
                failures.extend(last);
                failures.sort_by_key(|(place, _)| *place);
                let is_uncertain = failures.iter().any(|(_, error)| error.is_uncertain());
                let reasons = failures.into_iter().map(|(place, error)| (servers.at(place).url.clone(), error));
                ClientError::NoneOfThem { reasons: reasons.collect(), is_uncertain }
            }
        }
    }
}
