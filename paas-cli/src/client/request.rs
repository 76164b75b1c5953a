//! Sending a request and judging the answer.

use std::error::Error;
use std::ops::Deref;
use std::time::Duration;

use paas_core::model::Invalid;
use reqwest::header::{AUTHORIZATION, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;

use super::{Client, ClientError, Problem};

/// How long a question may take.
pub(super) const ASK: Duration = Duration::from_secs(60);

/// How long a change may take: the server waits for Docker.
pub(super) const CHANGE: Duration = Duration::from_secs(90);

/// A typed answer, and the JSON that the server sent.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    value: T,
    json: String,
}

impl<T> Answer<T> {
    /// What the server sent, unchanged: it may hold fields that this client does not know.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The typed value alone.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Answer<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Client {
    pub(super) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let request = self.http.request(method, self.server.join(path));
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Sends a request and gives back the answer if it is a success.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let answer = request.send().await.map_err(|error| self.not_sent(error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        if let (true, Some(to)) = (status.is_redirection(), header(LOCATION)) {
            return Err(ClientError::Elsewhere { url: self.server.clone(), to: to.to_owned() });
        }
        let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        // The status says enough when the rest of the answer is lost.
        let body = answer.bytes().await.unwrap_or_default();
        Err(ClientError::Refused(Box::new(Problem::read(status, retry_after, &body))))
    }

    pub(super) async fn fetch<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<Answer<T>, ClientError> {
        let answer = self.send(request.timeout(ASK)).await?;
        self.read(answer).await
    }

    pub(super) async fn read<T: DeserializeOwned>(&self, answer: Response) -> Result<Answer<T>, ClientError> {
        let json = answer.text().await.map_err(|error| self.not_received(error))?;
        let value = serde_json::from_str(&json).map_err(|error| self.unexpected(error.to_string()))?;
        Ok(Answer { value, json })
    }

    /// Sends a request of which only the success is of interest.
    pub(super) async fn order(&self, request: RequestBuilder, patience: Duration) -> Result<(), ClientError> {
        self.send(request.timeout(patience)).await.map(drop)
    }

    pub(super) fn unexpected(&self, what: impl Into<String>) -> ClientError {
        ClientError::Unexpected { url: self.server.clone(), what: what.into() }
    }

    fn not_sent(&self, source: reqwest::Error) -> ClientError {
        let url = self.server.clone();
        let causes = || causes(&source);
        if causes().any(|cause| cause.is::<rustls::Error>()) {
            return ClientError::Untrusted { url, source };
        }
        let refused = |cause: &(dyn Error + 'static)| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        if causes().any(refused) {
            return ClientError::NoServer { url, source };
        }
        if source.is_connect() {
            return ClientError::Unreachable { url, source };
        }
        if source.is_timeout() {
            return ClientError::TimedOut { url, source };
        }
        ClientError::BrokenOff { url, source: Some(source) }
    }

    pub(super) fn not_received(&self, source: reqwest::Error) -> ClientError {
        let url = self.server.clone();
        if source.is_timeout() {
            return ClientError::TimedOut { url, source };
        }
        ClientError::BrokenOff { url, source: Some(source) }
    }
}

/// Something that can stand in a path as one segment.
pub(super) fn segment<'a>(field: &str, text: &'a str) -> Result<&'a str, ClientError> {
    match text {
        "" | "." | ".." => Err(Invalid::new(field, format!("must be an id or a name, not '{text}'")).into()),
        text => Ok(text),
    }
}

/// An error's causes, outermost first, with those that an I/O error carries inside and does not name as its source.
pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match inside {
            Some(inside) => Some(inside as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
