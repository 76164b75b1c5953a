//! A typed client of the remote API: one method per route.
//!
//! Answers keep the server's own JSON beside the typed value, see [`Answer`]. Operations that take long are streams.

mod accounts;
mod cluster;
mod containers;
mod error;
mod events;
mod lines;
mod progress;
mod request;
mod session;
mod url;

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Certificate, redirect};

pub use containers::{LogQuery, RunOptions};
pub use error::{ClientError, Problem};
pub use events::Live;
pub use paas_core::controller::{Failure, LaunchSummary, Progress};
pub use progress::Steps;
pub use request::Answer;
pub use session::Login;
pub use url::ServerUrl;

pub(crate) use request::causes;

/// How long the server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    server: ServerUrl,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// A client that trusts the certificates that the system trusts. Without `token` only [`Client::login`] is of use.
    ///
    /// Sets the process-wide TLS provider of rustls to ring when the program has not chosen one.
    ///
    /// # Errors
    /// [`ClientError::Setup`]: the token cannot be one, or the system's certificates cannot be read.
    pub fn new(server: ServerUrl, token: Option<&str>) -> Result<Self, ClientError> {
        Self::with_ca(server, token, None)
    }

    /// A client that also trusts what the certificates in `ca_pem` signed.
    ///
    /// # Errors
    /// As [`Client::new`], and when `ca_pem` holds no certificate in PEM.
    pub fn with_ca(server: ServerUrl, token: Option<&str>, ca_pem: Option<&[u8]>) -> Result<Self, ClientError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only when another thread has just installed one, which does as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("paas-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(on_the_same_server(server.clone()));
        if server.is_loopback() {
            builder = builder.no_proxy();
        }
        let authorities = ca_pem.map(certificates).transpose()?.unwrap_or_default();
        builder = if server.is_https() {
            builder.tls_certs_merge(authorities)
        } else {
            // Reading the system's certificates takes longer than most requests, and none is needed.
            builder.tls_certs_only(authorities)
        };
        let http = builder
            .build()
            .map_err(|source| ClientError::Setup { what: "TLS cannot be set up".to_owned(), source: Some(source) })?;
        let authorization = token.map(authorization).transpose()?;
        Ok(Self { http, server, authorization })
    }

    /// The server.
    pub fn server(&self) -> &ServerUrl {
        &self.server
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.server).finish_non_exhaustive()
    }
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
fn on_the_same_server(server: ServerUrl) -> redirect::Policy {
    redirect::Policy::custom(move |attempt| {
        if server.same_origin(attempt.url()) && attempt.previous().len() < 5 {
            attempt.follow()
        } else {
            attempt.stop()
        }
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
