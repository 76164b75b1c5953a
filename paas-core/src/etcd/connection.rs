//! One connection at a time, made again when it is lost.

use std::fmt;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, GetOptions, Identity, TlsOptions};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{Address, EtcdError, EtcdErrorKind, Result};
use crate::store::LeaderKey;

/// How long a server may take until it has let us in and answered a first question.
const LET_IN: Duration = Duration::from_secs(3);
/// How long the network may take until it has found the server.
const REACH: Duration = Duration::from_secs(1);
/// A connection over which nothing comes is asked whether it is still there. etcd hangs up on who asks oftener than every
/// five seconds.
const STILL_THERE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(3));
/// The largest answer that is read. etcd's own pieces are of about 2 MB; what is listed in one piece can be more.
pub(crate) const LARGEST_ANSWER: usize = 64 << 20;

/// Whether asking twice does the same as asking once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Asked again if the answer was lost.
    Same,
    /// Asked again only if it is certain that nothing happened.
    Different,
}

/// A way to etcd. Connects when it is first used.
pub(crate) struct Connection {
    address: Address,
    options: ConnectOptions,
    deadline: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    /// Tells the links apart.
    links: u64,
    /// Which server answered last.
    endpoint: usize,
    /// When connecting last failed, and how.
    failed: Option<(Instant, EtcdError)>,
}

#[derive(Clone)]
struct Link {
    client: Client,
    number: u64,
    cluster_id: u64,
}

impl Connection {
    /// A way to `address` on which a call waits for its answer for `deadline`.
    pub(crate) fn new(address: Address, deadline: Duration) -> Self {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(REACH)
            .with_keep_alive(STILL_THERE.0, STILL_THERE.1)
            .with_keep_alive_while_idle(false)
            .with_require_leader(true);
        if let Some(login) = &address.login {
            options = options.with_user(&login.user, &login.password);
        }
        if let Some(tls) = &address.tls {
            let mut settings = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca));
            if let Some(own) = &tls.own {
                settings = settings.identity(Identity::from_pem(&own.cert, &own.key));
            }
            options = options.with_tls(settings);
        }
        Self { address, options, deadline, state: Mutex::default() }
    }

    /// What all our keys begin with; no slash at the end.
    pub(crate) fn prefix(&self) -> &str {
        &self.address.prefix
    }

    /// Whether a key is one that we see, and may read: of the same etcd, and below our prefix where there are permissions.
    pub(crate) async fn sees(&self, key: &LeaderKey) -> Result<bool> {
        let is_ours = self.address.login.is_none() || key.key.starts_with(&format!("{}/", self.prefix()));
        Ok(is_ours && self.link().await?.cluster_id == key.cluster_id)
    }

    /// Asks etcd something, and on another connection again when one is lost.
    ///
    /// # Errors
    /// After every server was tried, or when etcd says no.
    pub(crate) async fn call<T, Answer>(&self, effect: Effect, ask: impl Fn(Client) -> Answer) -> Result<T>
    where
        Answer: Future<Output = Result<T, EtcdError>>,
    {
        let mut attempts = 0;
        loop {
            let link = self.link().await?;
            let answer = timeout(self.deadline, ask(link.client.clone())).await;
            let error = match answer.unwrap_or_else(|_| Err(EtcdError::late("it does not answer in time"))) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.lost_the_connection {
                self.give_up(&link, error.wants_login()).await;
            }
            attempts += 1;
            let may_ask_again = effect == Effect::Same || error.nothing_happened;
            if !(error.kind() == EtcdErrorKind::Unavailable && may_ask_again && attempts < 2) {
                return Err(error);
            }
        }
    }

    /// A connection that works, as far as is known.
    async fn link(&self) -> Result<Link> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(link) = &state.link {
            return Ok(link.clone());
        }
        // Somebody else tried while this one waited for its turn: it would fare no better.
        if let Some((when, error)) = &state.failed
            && *when >= asked
        {
            return Err(error.clone());
        }
        match self.connect(state.endpoint).await {
            Ok(((client, cluster_id), endpoint)) => {
                let number = state.links + 1;
                let link = Link { client, number, cluster_id };
                *state = State { link: Some(link.clone()), links: number, endpoint, failed: None };
                Ok(link)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// The next call makes a new connection, and begins with the next server, unless this one only wants a new login.
    async fn give_up(&self, link: &Link, same_server: bool) {
        let mut state = self.state.lock().await;
        if state.link.as_ref().is_some_and(|present| present.number == link.number) {
            state.link = None;
            if !same_server {
                state.endpoint = (state.endpoint + 1) % self.address.endpoints.len();
            }
        }
    }

    /// A connection to the first server from `first` on that lets us in.
    async fn connect(&self, first: usize) -> Result<((Client, u64), usize)> {
        let endpoints = &self.address.endpoints;
        let mut failures: Vec<EtcdError> = Vec::new();
        for turn in 0..endpoints.len() {
            let index = (first + turn) % endpoints.len();
            let endpoint = &endpoints[index];
            let answer = timeout(LET_IN, self.connect_to(endpoint)).await;
            match answer.unwrap_or_else(|_| Err(EtcdError::late("it does not answer in time"))) {
                Ok(client) => return Ok((client, index)),
                Err(error) => failures.push(error.of_connecting(endpoint, self.address.tls.is_some())),
            }
        }
        // What a person can do something about comes first.
        let kind = if failures.iter().any(|error| error.kind() == EtcdErrorKind::Refused) {
            EtcdErrorKind::Refused
        } else {
            EtcdErrorKind::Unavailable
        };
        let said: Vec<String> = failures.iter().map(ToString::to_string).collect();
        Err(EtcdError::new(kind, said.join("; ")))
    }

    async fn connect_to(&self, endpoint: &str) -> Result<(Client, u64)> {
        let client = Client::connect([endpoint], Some(self.options.clone())).await?;
        // Connecting waits for nothing. The question shows whether the server answers, has a leader and lets us read, and
        // the answer that it knows everything that was ever answered, so that what is read later is not older.
        let one_key = GetOptions::new().with_keys_only();
        let answer = client.kv_client().get(self.address.prefix.as_str(), Some(one_key)).await?;
        Ok((client, answer.header().map_or(0, |header| header.cluster_id())))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}
