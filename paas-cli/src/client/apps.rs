//! Applications.

use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use paas_core::wire::app::{
    AppPlan, AppStatus, AppSummary, Applied, ApplyRequest, FieldChange, Moved, RestartRequest, Revision,
    RevisionSummary, RollbackRequest, ScaleRequest, SecretSet, SecretSummary, SetSecretRequest,
};
use reqwest::Method;
use serde::Serialize;

use super::call::Call;
use super::request::{CHANGE, all, segment};
use super::{Answer, Client, ClientError};

/// Which part of the output of an application is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AppLogQuery {
    /// Only that of this component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Go on with what is written from now on, also by replicas that are started later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
    /// Put the time before each line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timestamps: bool,
    /// Only so many lines of each replica, the last ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
    /// Only what was written since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// The last lines of containers that were removed, instead. Goes with `component` and `tail` only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub previous: bool,
}

impl Client {
    /// The applications, by name.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn apps(&self) -> Result<Answer<Vec<AppSummary>>, ClientError> {
        self.fetch_list(self.request(Method::GET, &["api", "apps"]), all).await
    }

    /// One application.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub async fn app(&self, name: &str) -> Result<Answer<AppStatus>, ClientError> {
        self.fetch(self.of_app(Method::GET, name, &[])?).await
    }

    /// What [`Client::apply_app`] would do. Nothing is changed.
    ///
    /// # Errors
    /// Status 400 when the file cannot be as it is.
    pub async fn plan_app(&self, name: &str, request: &ApplyRequest) -> Result<Answer<AppPlan>, ClientError> {
        self.fetch_within(self.of_app(Method::POST, name, &["plan"])?.json(request), CHANGE).await
    }

    /// Declares an application: it is to be as the file says from now on.
    ///
    /// # Errors
    /// Status 400 when the file cannot be as it is, 409 when the application is not what it was when it was planned, or when
    /// a rollout of it is under way.
    pub async fn apply_app(&self, name: &str, request: &ApplyRequest) -> Result<Answer<Applied>, ClientError> {
        self.fetch_within(self.of_app(Method::PUT, name, &[])?.json(request), CHANGE).await
    }

    /// Removes the containers of an application, and its volumes if asked to, and forgets it.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub async fn destroy_app(&self, name: &str, delete_volumes: bool) -> Result<(), ClientError> {
        let call = self.of_app(Method::DELETE, name, &[])?.query(&[("delete_volumes", delete_volumes)]);
        self.order(call, CHANGE).await
    }

    /// The revisions of an application that are kept, newest first.
    ///
    /// # Errors
    /// Status 404 when there is no such application.
    pub async fn app_revisions(&self, name: &str) -> Result<Answer<Vec<RevisionSummary>>, ClientError> {
        self.fetch_list(self.of_app(Method::GET, name, &["revisions"])?, all).await
    }

    /// One of them in full.
    ///
    /// # Errors
    /// Status 404 when there is no such application, or no such revision of it.
    pub async fn app_revision(&self, name: &str, revision: u64) -> Result<Answer<Revision>, ClientError> {
        self.fetch(self.of_app(Method::GET, name, &["revisions", &revision.to_string()])?).await
    }

    /// What is different between two of them.
    ///
    /// # Errors
    /// As [`Client::app_revision`].
    pub async fn app_diff(&self, name: &str, from: u64, to: u64) -> Result<Answer<Vec<FieldChange>>, ClientError> {
        self.fetch(self.of_app(Method::GET, name, &["diff"])?.query(&[("from", from), ("to", to)])).await
    }

    /// Makes an application what it was in an earlier revision.
    ///
    /// # Errors
    /// As [`Client::app_revision`], and status 409 when a rollout is under way.
    pub async fn rollback_app(&self, name: &str, request: RollbackRequest) -> Result<Answer<Applied>, ClientError> {
        self.fetch_within(self.of_app(Method::POST, name, &["rollback"])?.json(&request), CHANGE).await
    }

    /// Gives a component another number of replicas.
    ///
    /// # Errors
    /// Status 404 when there is no such application, 400 when it has no such component.
    pub async fn scale_app(&self, name: &str, request: &ScaleRequest) -> Result<Answer<Applied>, ClientError> {
        self.fetch_within(self.of_app(Method::POST, name, &["scale"])?.json(request), CHANGE).await
    }

    /// Makes every container of an application again.
    ///
    /// # Errors
    /// Status 404 when there is no such application, 409 when a rollout is under way.
    pub async fn restart_app(&self, name: &str, request: RestartRequest) -> Result<Answer<Applied>, ClientError> {
        self.fetch_within(self.of_app(Method::POST, name, &["restart"])?.json(&request), CHANGE).await
    }

    /// Stops the containers of an application and keeps them.
    ///
    /// # Errors
    /// Status 404 when there is no such application.
    pub async fn stop_app(&self, name: &str) -> Result<Answer<Applied>, ClientError> {
        self.fetch_within(self.of_app(Method::POST, name, &["stop"])?, CHANGE).await
    }

    /// Lets an application that was stopped run again.
    ///
    /// # Errors
    /// Status 404 when there is no such application.
    pub async fn start_app(&self, name: &str) -> Result<Answer<Applied>, ClientError> {
        self.fetch_within(self.of_app(Method::POST, name, &["start"])?, CHANGE).await
    }

    /// What the replicas of an application wrote, as it comes; each line begins with its replica, `web.1 | `. There is no end
    /// to it while `follow` is set and the application is there.
    ///
    /// # Errors
    /// Status 404 when there is no such application.
    pub async fn app_logs(
        &self,
        name: &str,
        query: &AppLogQuery,
    ) -> Result<BoxStream<'static, Result<Bytes, ClientError>>, ClientError> {
        let call = self.of_app(Method::GET, name, &["logs"])?.query(query);
        Ok(self.send(&call, async |reply| Ok(reply)).await?.chunks())
    }

    /// Sends a configuration file of an application that is going to be applied. `sha256` is that of its content, in hexadecimal
    /// digits.
    ///
    /// # Errors
    /// Status 400 when it is too large.
    pub async fn put_blob(&self, app: &str, sha256: &str, content: Vec<u8>) -> Result<(), ClientError> {
        let call = self.of_app(Method::PUT, app, &["blobs", segment("sha256", sha256)?])?;
        self.order(call.body(content), CHANGE).await
    }

    /// The secrets of an application, without their values.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn secrets(&self, app: &str) -> Result<Answer<Vec<SecretSummary>>, ClientError> {
        self.fetch_list(self.of_app(Method::GET, app, &["secrets"])?, all).await
    }

    /// Sets a secret of an application.
    ///
    /// # Errors
    /// Status 400 when it can have no such value; 409 when it is to be rolled out and another rollout is under way.
    pub async fn set_secret(
        &self,
        app: &str,
        name: &str,
        request: &SetSecretRequest,
    ) -> Result<Answer<SecretSet>, ClientError> {
        let call = self.of_app(Method::PUT, app, &["secrets", segment("secret", name)?])?;
        self.fetch_within(call.json(request), CHANGE).await
    }

    /// Deletes a secret of an application.
    ///
    /// # Errors
    /// Status 404 when there is none, 409 when something uses it.
    pub async fn delete_secret(&self, app: &str, name: &str) -> Result<(), ClientError> {
        self.order(self.of_app(Method::DELETE, app, &["secrets", segment("secret", name)?])?, CHANGE).await
    }

    /// Places replicas of silent hosts elsewhere although more than half of the hosts are silent. Admins only, as the next two.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn heal_now(&self) -> Result<(), ClientError> {
        self.order(self.request(Method::POST, &["api", "reconcile", "heal"]), CHANGE).await
    }

    /// Has replicas move from full hosts to emptier ones, or with `dry_run` says only which. Admins only.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn rebalance(&self, dry_run: bool) -> Result<Answer<Vec<Moved>>, ClientError> {
        let call = self.request(Method::POST, &["api", "reconcile", "rebalance"]);
        self.fetch_within(call.query(&[("dry_run", dry_run)]), CHANGE).await
    }

    /// What would be done first for each application as it is recorded, also while the platform only observes. Admins only.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn plan_all(&self) -> Result<Answer<Vec<AppPlan>>, ClientError> {
        self.fetch_within(self.request(Method::GET, &["api", "reconcile", "plan"]), CHANGE).await
    }

    /// Lets the platform act on applications again, after its store was restored.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn resume_reconciling(&self) -> Result<(), ClientError> {
        self.order(self.request(Method::POST, &["api", "reconcile", "resume"]), CHANGE).await
    }

    /// Says that a host is gone for good. Answers with the names of the volumes that are lost with it.
    ///
    /// # Errors
    /// Status 404 when there is no such host.
    pub async fn host_lost(&self, id: &str, lose_volumes: bool) -> Result<Answer<Vec<String>>, ClientError> {
        let call = self.request(Method::POST, &["api", "engines", segment("id", id)?, "lost"]);
        self.fetch_within(call.query(&[("lose_volumes", lose_volumes)]), CHANGE).await
    }

    pub(super) fn of_app(&self, method: Method, name: &str, rest: &[&str]) -> Result<Call, ClientError> {
        let path = ["api", "apps", segment("app", name)?].into_iter().chain(rest.iter().copied());
        Ok(self.request(method, &path.collect::<Vec<_>>()))
    }
}
