//! Engines, the cluster as a whole, and images on it.

use paas_core::auth::{JoinToken, NewJoinToken};
use paas_core::model::{ClusterInfo, Engine, EngineId, EngineSpec, ImageRef, RegistryLogin, ShownRegistryLogin};
use paas_core::wire::PullRequest;
use reqwest::Method;

use super::progress::Redone;
use super::request::{CHANGE, all, segment};
use super::{Answer, Client, ClientError, Steps};

impl Client {
    /// All engines.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn engines(&self) -> Result<Answer<Vec<Engine>>, ClientError> {
        self.fetch_list(self.request(Method::GET, &["api", "engines"]), all).await
    }

    /// One engine.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub async fn engine(&self, id: &str) -> Result<Answer<Engine>, ClientError> {
        self.fetch(self.request(Method::GET, &["api", "engines", segment("id", id)?])).await
    }

    /// Adds an engine. It is `pending` in the answer when it does not answer yet.
    ///
    /// # Errors
    /// Status 409 when the id or the address is taken.
    pub async fn add_engine(&self, engine: &EngineSpec) -> Result<Answer<Engine>, ClientError> {
        self.fetch_within(self.request(Method::POST, &["api", "engines"]).json(engine), CHANGE).await
    }

    /// Deletes an engine; its containers go on running.
    ///
    /// # Errors
    /// Status 404 when there is none; without `force` 409 while containers of the platform run there.
    pub async fn delete_engine(&self, id: &str, force: bool) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &["api", "engines", segment("id", id)?]);
        self.order(request.query(&[("force", force)]), CHANGE).await
    }

    /// Keeps new containers away from an engine, or lets them come again.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub async fn set_draining(&self, id: &str, draining: bool) -> Result<Answer<Engine>, ClientError> {
        let verb = if draining { "drain" } else { "undrain" };
        self.fetch(self.request(Method::POST, &["api", "engines", segment("id", id)?, verb])).await
    }

    /// All join tokens, without the tokens. Admins only, as the next two.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn join_tokens(&self) -> Result<Answer<Vec<JoinToken>>, ClientError> {
        self.fetch_list(self.request(Method::GET, &["api", "join-tokens"]), all).await
    }

    /// Makes a join token.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn add_join_token(&self) -> Result<Answer<NewJoinToken>, ClientError> {
        self.fetch(self.request(Method::POST, &["api", "join-tokens"])).await
    }

    /// Deletes a join token.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub async fn delete_join_token(&self, id: &str) -> Result<(), ClientError> {
        self.order(self.request(Method::DELETE, &["api", "join-tokens", segment("id", id)?]), CHANGE).await
    }

    /// All logins to image registries, without their passwords. Admins only, as the next two.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn registry_logins(&self) -> Result<Answer<Vec<ShownRegistryLogin>>, ClientError> {
        self.fetch_list(self.request(Method::GET, &["api", "registry-logins"]), all).await
    }

    /// Sets the login of every engine to an image registry.
    ///
    /// # Errors
    /// Status 400 when it cannot be one.
    pub async fn set_registry_login(&self, login: &RegistryLogin) -> Result<(), ClientError> {
        self.order(self.request(Method::POST, &["api", "registry-logins"]).json(login), CHANGE).await
    }

    /// Deletes the login to an image registry.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub async fn delete_registry_login(&self, server: &str) -> Result<(), ClientError> {
        self.order(self.request(Method::DELETE, &["api", "registry-logins", segment("server", server)?]), CHANGE).await
    }

    /// Totals over all engines.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn cluster_info(&self) -> Result<Answer<ClusterInfo>, ClientError> {
        self.fetch(self.request(Method::GET, &["api", "cluster", "info"])).await
    }

    /// Pulls an image on the engines named; with none named, on every engine that is up.
    ///
    /// # Errors
    /// Status 404 when there is no such engine, 409 when none is up. What fails later is in the stream.
    pub async fn pull(&self, image: &ImageRef, engines: &[EngineId]) -> Result<Steps, ClientError> {
        let engines = (!engines.is_empty()).then(|| engines.to_vec());
        let body = PullRequest { name: image.clone(), engines };
        self.operate(self.request(Method::POST, &["api", "images", "pull"]).json(&body), Redone::Whole).await
    }
}
