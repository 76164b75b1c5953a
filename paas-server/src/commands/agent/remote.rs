//! Registering over the API of a server.

use std::error::Error;
use std::net::{ToSocketAddrs, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use paas_core::agent::Registrar;
use paas_core::model::EngineId;
use paas_core::registry::Member;
use paas_core::wire::Heartbeat;
use reqwest::{Client, RequestBuilder, Url};
use uuid::Uuid;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Where a server is.
#[derive(Clone, Debug)]
pub(super) struct ServerUrl(Url);

impl ServerUrl {
    /// Reads `http://host:port` or `https://host:port`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let mut url = url.with_context(|| format!("{text:?} is no address of a server; write https://host:5002"))?;
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// The host with the port, that is the one of the scheme where none is given.
    pub(super) fn host_and_port(&self) -> String {
        let port = self.0.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", self.0.host_str().unwrap_or_default())
    }

    /// Whether it is the very machine that this runs on. A name that cannot be looked up yet is taken for another machine.
    fn is_on_this_machine(&self) -> bool {
        let mut addresses = self.host_and_port().to_socket_addrs().into_iter().flatten().map(|address| address.ip());
        // Only an address of one's own can be bound.
        addresses.any(|ip| ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok())
    }
}

/// Says to a server that this host is alive.
pub(super) struct RemoteRegistrar {
    http: Client,
    url: String,
    token: String,
    session: Uuid,
}

impl RemoteRegistrar {
    /// Of the server at `url`, with a join token.
    pub(super) fn new(server: &ServerUrl, token: String, ca: Option<&[u8]>) -> Result<Self> {
        let mut builder = Client::builder().timeout(ANSWER).redirect(reqwest::redirect::Policy::none());
        if server.is_on_this_machine() {
            // A proxy that the environment names is for the way to other machines.
            builder = builder.no_proxy();
        }
        if let Some(pem) = ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).context("the certificates cannot be read")?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().context("HTTP cannot be spoken")?;
        let url = server.0.as_str().trim_end_matches('/').to_owned();
        Ok(Self { http, url, token, session: Uuid::now_v7() })
    }

    async fn send(&self, request: RequestBuilder) -> Result<(), Box<dyn Error + Send + Sync>> {
        let answer = request.bearer_auth(&self.token).send().await?;
        if answer.status().is_success() {
            return Ok(());
        }
        let status = answer.status();
        let problem: serde_json::Value = answer.json().await.unwrap_or_default();
        let detail = match (status.as_u16(), problem["detail"].as_str()) {
            (401, _) => "the join token is wrong or was deleted; make one with 'paas-cli jtadd'".to_owned(),
            (_, Some(detail)) => detail.to_owned(),
            (_, None) => format!("{} answers {status}", self.url),
        };
        Err(detail.into())
    }
}

#[async_trait]
impl Registrar for RemoteRegistrar {
    async fn say(&self, member: &Member, ttl: Duration) -> Result<(), Box<dyn Error + Send + Sync>> {
        let heartbeat = Heartbeat { session: self.session, ttl_seconds: ttl.as_secs(), member: member.clone() };
        // An id has plain characters only, so it needs no encoding.
        let url = format!("{}/join/engines/{}", self.url, member.id);
        self.send(self.http.post(url).json(&heartbeat)).await
    }

    async fn leave(&self, id: &EngineId) -> Result<(), Box<dyn Error + Send + Sync>> {
        let url = format!("{}/join/engines/{id}", self.url);
        self.send(self.http.delete(url).query(&[("session", self.session)])).await
    }
}

impl std::fmt::Debug for RemoteRegistrar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteRegistrar").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_given_as_a_url() {
        for (text, host) in [
            ("http://127.0.0.1:5002", "127.0.0.1:5002"),
            ("https://paas.example.org/", "paas.example.org:443"),
            ("http://[::1]/paas?x#y", "[::1]:80"),
        ] {
            assert_eq!(ServerUrl::parse(text).unwrap().host_and_port(), host);
        }
        for text in ["", "paas:5002", "10.0.0.1:5002", "ftp://paas", "https://"] {
            assert!(ServerUrl::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_has_an_address_of_this_machine_is_on_this_machine() {
        for (text, is) in [
            ("http://127.0.0.1:5002", true),
            ("http://127.9.9.9", true),
            ("http://localhost:1", true),
            ("http://[::1]:1", true),
            // For documentation: nobody has them.
            ("http://192.0.2.1:5002", false),
            ("http://no.such.host.invalid", false),
        ] {
            assert_eq!(ServerUrl::parse(text).unwrap().is_on_this_machine(), is, "{text}");
        }
    }
}
