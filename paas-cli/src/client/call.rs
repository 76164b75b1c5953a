//! A request that can be sent to any server, and more than once.

use std::time::Duration;

use paas_core::model::Invalid;
use reqwest::header::HeaderName;
use reqwest::{Method, Request, RequestBuilder};
use serde::Serialize;
use uuid::Uuid;

use super::{ClientError, ServerUrl};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key, characters.
const LONGEST_KEY: usize = 255;

/// A request that can be sent to any server, and more than once.
pub(super) struct Call {
    path: Vec<String>,
    request: RequestBuilder,
    reads: bool,
    key: Option<String>,
    question: bool,
}

impl Call {
    /// A request for `path`. `request` is the same at some server, with which the rest of it is put together.
    ///
    /// A change below `/api` gets a key, a new one unless one was chosen, so that it is done once however often it is sent.
    pub(super) fn new(method: &Method, path: &[&str], request: RequestBuilder, chosen_key: Option<&str>) -> Self {
        let reads = *method == Method::GET;
        let with_key = !reads && path.first() == Some(&"api");
        let key = with_key.then(|| chosen_key.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned));
        let path = path.iter().map(|&segment| segment.to_owned()).collect();
        Self { path, request, reads, key, question: false }
    }

    /// The same without a key: it is not to be done twice, and no server can tell whether it was done.
    pub(super) fn without_key(self) -> Self {
        Self { key: None, ..self }
    }

    pub(super) fn query(self, query: &(impl Serialize + ?Sized)) -> Self {
        self.with(|request| request.query(query))
    }

    pub(super) fn json(self, body: &impl Serialize) -> Self {
        self.with(|request| request.json(body))
    }

    pub(super) fn body(self, content: Vec<u8>) -> Self {
        self.with(|request| request.header(reqwest::header::CONTENT_TYPE, "application/octet-stream").body(content))
    }

    pub(super) fn header(self, name: HeaderName, value: &'static str) -> Self {
        self.with(|request| request.header(name, value))
    }

    /// How long one server may take to answer in full.
    pub(super) fn timeout(self, timeout: Duration) -> Self {
        self.with(|request| request.timeout(timeout))
    }

    fn with(self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Self {
        Self { request: change(self.request), ..self }
    }

    /// Whether it may be sent again although it may have been done already.
    pub(super) fn is_repeatable(&self) -> bool {
        self.reads || self.key.is_some()
    }

    /// The same, if it reads: as one that any server answers at once, or not at all.
    pub(super) fn into_question(self) -> Self {
        Self { question: self.reads, ..self }
    }

    /// Whether it is answered at once, and nothing is changed by it.
    pub(super) fn is_question(&self) -> bool {
        self.question
    }

    /// The request as it is sent to one server.
    pub(super) fn to(&self, server: &ServerUrl) -> Result<Request, ClientError> {
        let wrong = |source| ClientError::Setup { what: "the request cannot be put together".to_owned(), source };
        let mut copy = self.request.try_clone().ok_or_else(|| wrong(None))?;
        if let Some(key) = &self.key {
            copy = copy.header(KEY, key);
        }
        let mut request = copy.build().map_err(|source| wrong(Some(source)))?;
        let mut url = server.join(&self.path);
        url.set_query(request.url().query());
        *request.url_mut() = url;
        Ok(request)
    }
}

/// A key that somebody chose.
pub(super) fn checked_key(key: &str) -> Result<String, ClientError> {
    if (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(key.to_owned());
    }
    Err(Invalid::new("key", format!("must be 1 to {LONGEST_KEY} visible ASCII characters; a UUID is good")).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    fn client() -> Client {
        Client::new("http://first".parse().unwrap(), None).unwrap()
    }

    fn sent(call: &Call) -> Request {
        call.to(&"http://first".parse().unwrap()).unwrap()
    }

    #[test]
    fn a_request_goes_to_any_server() {
        let call = client().request(Method::POST, &["api", "x"]).query(&[("count", 2)]).json(&"body");
        assert!(call.is_repeatable());
        let to = |url: &str| call.to(&url.parse().unwrap()).unwrap();
        let (one, other) = (to("http://one:5002"), to("https://other/paas"));
        assert_eq!(one.url().as_str(), "http://one:5002/api/x?count=2");
        assert_eq!(other.url().as_str(), "https://other/paas/api/x?count=2");
        assert_eq!(one.headers()[KEY], other.headers()[KEY]);
        assert_eq!(other.body().and_then(|body| body.as_bytes()), Some(&b"\"body\""[..]));
    }

    #[test]
    fn only_changes_of_the_platform_have_a_key() {
        for (method, path, expected) in [
            (Method::GET, &["api", "engines"][..], (false, true)),
            (Method::DELETE, &["api", "engines", "a"], (true, true)),
            (Method::POST, &["auth", "login"], (false, false)),
            (Method::POST, &["account", "logout"], (false, false)),
        ] {
            let call = client().request(method, path);
            assert_eq!((sent(&call).headers().contains_key(KEY), call.is_repeatable()), expected, "{path:?}");
        }
        let command = client().request(Method::POST, &["api", "apps", "shop", "exec"]).without_key();
        assert!(!sent(&command).headers().contains_key(KEY) && !command.is_repeatable());
    }

    #[test]
    fn a_key_is_chosen_or_new() {
        let key = |client: Client| sent(&client.request(Method::POST, &["api"])).headers()[KEY].clone();
        assert_eq!(key(client().with_key("mine").unwrap()), "mine");
        assert_ne!(key(client()), key(client()));
    }

    #[test]
    fn keys_are_visible_text() {
        assert_eq!(checked_key("deploy-7/web").unwrap(), "deploy-7/web");
        for bad in ["", "two words", "a\nb", "schön", &"x".repeat(256)] {
            assert!(checked_key(bad).is_err(), "{bad:?} was taken");
        }
    }
}
