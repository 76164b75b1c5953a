//! Containers.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use paas_core::model::{Container, ContainerSpec};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::progress::Redone;
use super::request::{CHANGE, all, segment};
use super::{Answer, Client, ClientError, Steps};

/// How to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunOptions {
    /// How many containers, 1 to 10000.
    pub count: u32,
    /// Whether the engines pull the image first.
    pub pull: bool,
}

/// Which containers are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ListQuery {
    /// Also those that do not run.
    pub all: bool,
    /// No more than so many, 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only those whose id comes after this: the last of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Only those that the platform started, and not what others started on its hosts. They are picked from what the server
    /// sends, so that with a limit there may be fewer.
    #[serde(skip)]
    pub managed: bool,
}

/// Whether an entry of the list of containers is one that the platform started.
fn is_managed(entry: &str) -> bool {
    #[derive(Deserialize)]
    struct Mark {
        #[serde(default)]
        managed: bool,
    }
    serde_json::from_str::<Mark>(entry).is_ok_and(|mark| mark.managed)
}

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogQuery {
    /// Go on with what is written from now on, until the container ends.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
    /// The output. When neither output nor errors are asked for, both are sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdout: bool,
    /// The errors.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stderr: bool,
    /// Put the time before each line.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timestamps: bool,
    /// Only so many lines, the last ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<u64>,
    /// Only what was written since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

#[derive(Serialize)]
struct Timeout {
    timeout: u32,
}

/// How long a container may have to end by its own description. A server that does not answer at all is noticed long before.
const LONGEST_GRACE: Duration = Duration::from_secs(3600);

impl Client {
    /// The containers that run, by id.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn containers(&self, query: &ListQuery) -> Result<Answer<Vec<Container>>, ClientError> {
        let call = self.request(Method::GET, &["api", "containers"]).query(query);
        self.fetch_list(call, if query.managed { is_managed } else { all }).await
    }

    /// One container, by id, unique prefix of it, or name.
    ///
    /// # Errors
    /// Status 404 when there is none, 400 when the prefix fits several.
    pub async fn container(&self, id: &str) -> Result<Answer<Container>, ClientError> {
        self.fetch(self.of_container(Method::GET, id, None)?).await
    }

    /// Starts containers.
    ///
    /// # Errors
    /// Status 400 when the description is wrong, 409 when there is no room. What fails later is in the stream.
    pub async fn run(&self, spec: &ContainerSpec, options: RunOptions) -> Result<Steps, ClientError> {
        self.operate(self.request(Method::POST, &["api", "containers"]).query(&options).json(spec), Redone::Whole).await
    }

    /// Brings the group of identical containers that `id` belongs to to a size of `count`, 0 to 10000.
    ///
    /// # Errors
    /// As [`Client::run`], and status 404 when there is no such container.
    pub async fn scale(&self, id: &str, count: u32) -> Result<Steps, ClientError> {
        self.operate(self.of_container(Method::POST, id, Some("scale"))?.query(&[("count", count)]), Redone::Rest).await
    }

    /// Starts a container that does not run.
    ///
    /// # Errors
    /// Status 404 when there is none, 409 when its engine has no room.
    pub async fn start(&self, id: &str) -> Result<(), ClientError> {
        self.order(self.of_container(Method::POST, id, Some("start"))?, CHANGE).await
    }

    /// Stops a container; kills it after `timeout_seconds`, 0 to 3600, or the container's own timeout when absent.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub async fn stop(&self, id: &str, timeout_seconds: Option<u32>) -> Result<(), ClientError> {
        self.end_and(id, "stop", timeout_seconds).await
    }

    /// Restarts a container; kills it after `timeout_seconds`, 0 to 3600, or the container's own timeout when absent.
    ///
    /// # Errors
    /// Status 404 when there is none.
    pub async fn restart(&self, id: &str, timeout_seconds: Option<u32>) -> Result<(), ClientError> {
        self.end_and(id, "restart", timeout_seconds).await
    }

    /// Kills a container and removes it: one of another platform if that is named, and no other.
    ///
    /// # Errors
    /// Status 404 when there is none, 409 when it is of a platform that is not named.
    pub async fn destroy(&self, id: &str, platform: Option<&str>) -> Result<(), ClientError> {
        let mut request = self.of_container(Method::DELETE, id, None)?;
        if let Some(platform) = platform {
            request = request.query(&[("platform", platform)]);
        }
        self.order(request, CHANGE).await
    }

    /// What a container wrote, as it comes. There is no end to it while `follow` is set and the container runs.
    ///
    /// # Errors
    /// Status 404 when there is no such container.
    pub async fn logs(
        &self,
        id: &str,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<Bytes, ClientError>>, ClientError> {
        let call = self.of_container(Method::GET, id, Some("logs"))?.query(query);
        Ok(self.send(&call, async |reply| Ok(reply)).await?.chunks())
    }

    async fn end_and(&self, id: &str, verb: &str, timeout_seconds: Option<u32>) -> Result<(), ClientError> {
        let mut request = self.of_container(Method::POST, id, Some(verb))?;
        let mut grace = LONGEST_GRACE;
        if let Some(timeout) = timeout_seconds {
            request = request.query(&Timeout { timeout });
            grace = Duration::from_secs(timeout.into());
        }
        self.order(request, CHANGE + grace).await
    }

    fn of_container(&self, method: Method, id: &str, verb: Option<&str>) -> Result<Call, ClientError> {
        // Docker writes names with a slash before them; a path cannot.
        let id = segment("id", id.trim_start_matches('/'))?;
        let path = ["api", "containers", id].into_iter().chain(verb);
        Ok(self.request(method, &path.collect::<Vec<_>>()))
    }
}
