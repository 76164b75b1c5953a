//! What is asked, and judging the answer.

use std::collections::HashMap;
use std::ops::Deref;
use std::time::Duration;

use paas_core::model::Invalid;
use reqwest::header::{AUTHORIZATION, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::call::Call;
use super::{Client, ClientError, Problem, ServerUrl};

/// Says something about an answer that is good all the same.
const WARNING: HeaderName = HeaderName::from_static("x-paas-warning");

/// How long a question may take.
pub(super) const ASK: Duration = Duration::from_secs(60);

/// How long a change may take: the server waits for Docker.
pub(super) const CHANGE: Duration = Duration::from_secs(90);

/// A typed answer, and the JSON that the server sent.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    value: T,
    json: String,
    unreadable: Vec<Unreadable>,
}

/// An entry of a list that makes no sense to this client: the server is newer, or something is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id or name, where at least that can be read.
    pub id: Option<String>,
    /// What is wrong with it.
    pub what: String,
}

impl<T> Answer<T> {
    /// What the server sent, unchanged: it may hold fields that this client does not know.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The entries of a list that are missing in the typed value, since they cannot be read.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
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
    pub(super) fn request(&self, method: Method, path: &[&str]) -> Call {
        let server = self.servers.at(0);
        let mut request = server.http.request(method.clone(), server.url.join(path));
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value.clone());
        }
        Call::new(&method, path, request, self.key.as_deref())
    }

    /// Asks for something that is answered in one piece, within [`ASK`].
    pub(super) async fn fetch<T: DeserializeOwned>(&self, call: Call) -> Result<Answer<T>, ClientError> {
        self.fetch_within(call, ASK).await
    }

    /// Asks for a list. An entry that cannot be read does not hide the others, see [`Answer::unreadable`]. `keep` says of the
    /// JSON of an entry whether it is wanted at all.
    pub(super) async fn fetch_list<T: DeserializeOwned>(
        &self,
        call: Call,
        keep: fn(&str) -> bool,
    ) -> Result<Answer<Vec<T>>, ClientError> {
        let (url, json) = self.send(&call.timeout(ASK).into_question(), Reply::text).await?;
        read_list(&url, json, keep)
    }

    /// The same with another limit.
    pub(super) async fn fetch_within<T: DeserializeOwned>(
        &self,
        call: Call,
        deadline: Duration,
    ) -> Result<Answer<T>, ClientError> {
        self.send(&call.timeout(deadline).into_question(), Reply::read).await
    }

    /// Sends a request of which only the success is of interest.
    pub(super) async fn order(&self, call: Call, deadline: Duration) -> Result<(), ClientError> {
        self.send(&call.timeout(deadline), async |_| Ok(())).await
    }
}

/// The beginning of a success, and the server that gives it.
pub(super) struct Reply {
    pub(super) url: ServerUrl,
    pub(super) response: Response,
}

impl Reply {
    /// Tells a success from a refusal.
    pub(super) async fn judge(url: &ServerUrl, response: Response) -> Result<Self, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(Self { url: url.clone(), response });
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if let (true, Some(to)) = (status.is_redirection(), header(LOCATION)) {
            return Err(ClientError::Elsewhere { url: url.clone(), to: to.to_owned() });
        }
        let retry_after = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        // The status says enough when the rest of the answer is lost.
        let body = response.bytes().await.unwrap_or_default();
        Err(ClientError::Refused(Box::new(Problem::read(status, retry_after, &body))))
    }

    /// What the server warns of beside its answer.
    pub(super) fn warning(&self) -> Option<String> {
        let warning = self.response.headers().get(WARNING)?;
        Some(String::from_utf8_lossy(warning.as_bytes()).into_owned())
    }

    /// The rest of it.
    pub(super) async fn read<T: DeserializeOwned>(self) -> Result<Answer<T>, ClientError> {
        let (url, json) = self.text().await?;
        let value = serde_json::from_str(&json).map_err(|error| ClientError::unexpected(&url, error.to_string()))?;
        Ok(Answer { value, json, unreadable: Vec::new() })
    }

    async fn text(self) -> Result<(ServerUrl, String), ClientError> {
        let Self { url, response } = self;
        let json = response.text().await.map_err(|error| ClientError::not_received(&url, error))?;
        Ok((url, json))
    }
}

/// A list, entry by entry. Fails when there is something and none of it can be read.
fn read_list<T: DeserializeOwned>(
    url: &ServerUrl,
    json: String,
    keep: fn(&str) -> bool,
) -> Result<Answer<Vec<T>>, ClientError> {
    let wrong = |error: serde_json::Error| ClientError::unexpected(url, error.to_string());
    let all: Vec<&RawValue> = serde_json::from_str(&json).map_err(wrong)?;
    let kept: Vec<&str> = all.iter().map(|entry| entry.get()).filter(|entry| keep(entry)).collect();
    let (mut value, mut unreadable) = (Vec::new(), Vec::new());
    for entry in &kept {
        match serde_json::from_str(entry) {
            Ok(read) => value.push(read),
            Err(error) => unreadable.push(Unreadable { id: id_of(entry), what: error.to_string() }),
        }
    }
    if let (true, Some(first)) = (value.is_empty(), unreadable.first()) {
        let whose = first.id.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
        return Err(ClientError::unexpected(url, format!("{whose}{}", first.what)));
    }
    let json = if kept.len() == all.len() { json } else { format!("[{}]", kept.join(",")) };
    Ok(Answer { value, json, unreadable })
}

/// What an entry of a list is called, whatever else is in it.
fn id_of(entry: &str) -> Option<String> {
    let fields: HashMap<String, Value> = serde_json::from_str(entry).ok()?;
    let named = ["id", "username", "server", "name"].into_iter().find_map(|name| fields.get(name)?.as_str());
    named.map(str::to_owned)
}

/// Every entry of a list is wanted.
pub(super) fn all(_: &str) -> bool {
    true
}

/// Something that can stand in a path as one segment.
pub(super) fn segment<'a>(field: &str, text: &'a str) -> Result<&'a str, ClientError> {
    match text {
        "" | "." | ".." => Err(Invalid::new(field, format!("must be an id or a name, not '{text}'")).into()),
        text => Ok(text),
    }
}
