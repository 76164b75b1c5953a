//! A typed client of the remote API: one method per route.
//!
//! Answers keep the server's own JSON beside the typed value, see [`Answer`]. Operations that take long are streams.
//!
//! Of several servers of one platform, see [`Client::of_several`], one that is gone is passed over. Whatever a server did
//! not take is sent to the next, and so is every change whose answer was lost: it carries an `Idempotency-Key`, and so takes
//! effect once.

mod accounts;
mod apps;
mod attempts;
mod call;
mod cluster;
mod containers;
mod error;
mod events;
mod exec;
mod lines;
mod progress;
mod request;
mod servers;
mod session;
mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Certificate, redirect};

pub use apps::AppLogQuery;
pub use containers::{ListQuery, LogQuery, RunOptions};
pub use error::{ClientError, Problem};
pub use events::Live;
pub use exec::CommandSteps;
pub use paas_core::controller::{Failure, LaunchSummary, Progress};
pub use progress::{Note, Step, Steps};
pub use request::{Answer, Unreadable};
pub use servers::ServerUrls;
pub use session::Login;
pub use url::ServerUrl;

pub(crate) use error::causes;
use servers::{Server, Servers};

/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same where there is another one that may be quicker.
const CONNECT_TIMEOUT_OF_SEVERAL: Duration = Duration::from_secs(2);

/// How long a client looks for a server that takes a request, when it is not told otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to the servers of a platform. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    servers: Arc<Servers>,
    authorization: Option<HeaderValue>,
    deadline: Duration,
    /// The key of every change, instead of a new one for each.
    key: Option<String>,
    /// Who is told what a server warns of.
    on_warning: Option<OnWarning>,
}

/// What hears the warnings of servers.
type OnWarning = Arc<dyn Fn(&str) + Send + Sync>;

impl Client {
    /// A client that trusts the certificates that the system trusts. Without `token` only [`Client::login`] is of use.
    ///
    /// Sets the process-wide TLS provider of rustls to ring when the program has not chosen one.
    ///
    /// # Errors
    /// [`ClientError::Setup`]: the token cannot be one, or the system's certificates cannot be read.
    pub fn new(server: ServerUrl, token: Option<&str>) -> Result<Self, ClientError> {
        Self::of_several(server.into(), token, None)
    }

    /// A client that also trusts what the certificates in `ca_pem` signed.
    ///
    /// # Errors
    /// As [`Client::new`], and when `ca_pem` holds no certificate in PEM.
    pub fn with_ca(server: ServerUrl, token: Option<&str>, ca_pem: Option<&[u8]>) -> Result<Self, ClientError> {
        Self::of_several(server.into(), token, ca_pem)
    }

    /// A client of several servers of one platform. It speaks to the first of them until that one cannot be connected to,
    /// hangs, is shutting down or knows of none that leads; then to the next, and so on, and stays with the one that answered.
    ///
    /// # Errors
    /// As [`Client::with_ca`].
    pub fn of_several(servers: ServerUrls, token: Option<&str>, ca_pem: Option<&[u8]>) -> Result<Self, ClientError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only when another thread has just installed one, which does as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let authorities = ca_pem.map(certificates).transpose()?.unwrap_or_default();
        let several = servers.iter().count() > 1;
        let mut list: Vec<Server> = Vec::new();
        for url in servers.iter() {
            let alike = list.iter().find(|known| same_way(&known.url, url)).map(|known| known.http.clone());
            let http = match alike {
                Some(http) => http,
                None => http(url, several, &authorities)?,
            };
            list.push(Server { url: url.clone(), http });
        }
        let authorization = token.map(authorization).transpose()?;
        Ok(Self {
            servers: Arc::new(Servers::new(list)),
            authorization,
            deadline: TIMEOUT,
            key: None,
            on_warning: None,
        })
    }

    /// The same client, but one that looks for a server that takes a request for so long, and not for [`TIMEOUT`]. With zero
    /// each server is asked once. A server that took a request has its own time to answer.
    ///
    /// After a search in vain each server is asked once for the next request: of many requests not every one waits as long.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The same client, but one that passes on what a server warns of in an answer that is good all the same: the sentence of
    /// `X-Paas-Warning`, and of a login also its [`Login::warning`], which may be the same. Otherwise nobody hears of it.
    #[must_use]
    pub fn on_warning(self, tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { on_warning: Some(Arc::new(tell)), ..self }
    }

    fn warn(&self, warning: &str) {
        if let Some(tell) = &self.on_warning {
            tell(warning);
        }
    }

    /// A client whose change has this `Idempotency-Key`, 1 to 255 visible ASCII characters. It is for one change, which may be
    /// sent again with it within a day, by this program or another, and takes effect once. Every change of other clients has a
    /// key of its own.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: it cannot be one.
    pub fn with_key(&self, key: &str) -> Result<Self, ClientError> {
        Ok(Self { key: Some(call::checked_key(key)?), ..self.clone() })
    }

    /// The server that answered last; the first one before any did.
    pub fn server(&self) -> &ServerUrl {
        &self.servers.at(self.servers.first()).url
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", self.server()).finish_non_exhaustive()
    }
}

/// Whether the two are spoken to in the same way, whatever their addresses.
fn same_way(one: &ServerUrl, other: &ServerUrl) -> bool {
    (one.is_https(), one.is_loopback()) == (other.is_https(), other.is_loopback())
}

/// What speaks to a server and to those like it.
fn http(server: &ServerUrl, several: bool, authorities: &[Certificate]) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("paas-cli/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(if several { CONNECT_TIMEOUT_OF_SEVERAL } else { CONNECT_TIMEOUT })
        .redirect(on_the_same_server());
    if server.is_loopback() {
        builder = builder.no_proxy();
    }
    let authorities = authorities.iter().cloned();
    builder = if server.is_https() {
        builder.tls_certs_merge(authorities)
    } else {
        // Reading the system's certificates takes longer than most requests, and none is needed.
        builder.tls_certs_only(authorities)
    };
    builder
        .build()
        .map_err(|source| ClientError::Setup { what: "TLS cannot be set up".to_owned(), source: Some(source) })
}

fn authorization(token: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ClientError::Setup {
        what: "the token has characters that no token has".to_owned(),
        source: None,
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, ClientError> {
    let none = |source| ClientError::Setup { what: "the CA file holds no certificate in PEM".to_owned(), source };
    let found = Certificate::from_pem_bundle(pem).map_err(|source| none(Some(source)))?;
    if found.is_empty() { Err(none(None)) } else { Ok(found) }
}

/// A server may move its own paths, and must not send the token elsewhere.
fn on_the_same_server() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let asked = attempt.previous().first();
        let same = asked.is_some_and(|asked| asked.origin() == attempt.url().origin());
        if same && attempt.previous().len() < 5 { attempt.follow() } else { attempt.stop() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        let server: ServerUrl = ServerUrl::DEFAULT.parse().unwrap();
        assert!(Client::new(server.clone(), Some("a\nb")).is_err());
        assert!(Client::with_ca(server.clone(), None, Some(b"no certificate")).is_err());
        assert!(Client::new(server, Some("abc")).is_ok());
    }

    #[test]
    fn a_client_never_shows_its_token() {
        let client = Client::new(ServerUrl::DEFAULT.parse().unwrap(), Some("topsecret")).unwrap();
        assert!(!format!("{client:?}").contains("topsecret"));
    }
}
