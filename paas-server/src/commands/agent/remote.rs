//! Registering over the API of a server.

use std::error::Error;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use paas_core::agent::Registrar;
use paas_core::model::EngineId;
use paas_core::registry::Member;
use reqwest::{Client, RequestBuilder};
use uuid::Uuid;

use crate::routes::join::Heartbeat;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Says to a server that this host is alive.
pub(super) struct RemoteRegistrar {
    http: Client,
    url: String,
    token: String,
    session: Uuid,
}

impl RemoteRegistrar {
    /// Of the server at `url`, with a join token.
    pub(super) fn new(url: &str, token: String, ca: Option<&[u8]>) -> Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        anyhow::ensure!(
            url.starts_with("http://") || url.starts_with("https://"),
            "{url:?} is no address of a server; write https://host:5002"
        );
        let mut builder = Client::builder().timeout(ANSWER).redirect(reqwest::redirect::Policy::none());
        if let Some(pem) = ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).context("the certificates cannot be read")?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().context("HTTP cannot be spoken")?;
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
