//! Sending a request on to the server that leads, and its answer back, both as they come.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use paas_core::controller::peer_key;
use paas_core::files;
use paas_core::store::Store;
use reqwest::Client;

use crate::extract::Source;

/// How long the other server may take to accept a connection. What it takes to answer is up to the request.
const CONNECT: Duration = Duration::from_secs(2);
/// How often an idle connection asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Marks what was sent on once, so that two servers that each take the other for the leader do not play ball.
const FORWARDED: HeaderName = HeaderName::from_static("x-paas-forwarded");

/// Headers that concern one connection and not what is sent over it (RFC 9110, section 7.6.1), and the host, which is
/// another one.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
];

/// Where a request that was sent on came from, and what shows that another server of this platform says so. Without the
/// latter nobody is believed: a client that names other people's addresses could keep them out.
const SOURCE: HeaderName = HeaderName::from_static("x-paas-source");
const PEER_KEY: HeaderName = HeaderName::from_static("x-paas-peer-key");

/// How long to wait before the store is asked again for the key.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A client of the other servers.
pub(crate) struct Forwarder {
    http: Client,
    peer_key: Arc<OnceLock<HeaderValue>>,
}

impl Forwarder {
    /// Trusts what the operating system trusts, and what the certificates in `ca` signed.
    pub(crate) fn new(ca: Option<&Path>) -> Result<Self> {
        // Whatever proxy the environment names: it need not reach the other server, and over plain HTTP it could read the tokens.
        let mut builder = Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT)
            .tcp_keepalive(KEEPALIVE)
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = ca {
            let pem = files::read(path, files::LARGEST_TEXT)
                .with_context(|| format!("the certificates in {} cannot be read", path.display()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .with_context(|| format!("{} holds no certificates in PEM", path.display()))?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self { http: builder.build().context("HTTP cannot be spoken")?, peer_key: Arc::default() })
    }

    /// Also says where requests come from, and believes the other servers, as soon as `store` has what they know each other
    /// by: the first of them that leads makes it.
    pub(crate) async fn learn_peer_key(key: Arc<OnceLock<HeaderValue>>, store: Arc<dyn Store>) {
        loop {
            let found = peer_key(store.clone()).await;
            if let Some(value) = found.ok().flatten().and_then(|found| HeaderValue::from_str(&found).ok()) {
                let _ = key.set(value);
                return;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Where the key is kept once it is known.
    pub(crate) fn peer_key(&self) -> Arc<OnceLock<HeaderValue>> {
        self.peer_key.clone()
    }

    /// Where a request comes from that another server of the platform sent on.
    pub(crate) fn source(&self, headers: &HeaderMap) -> Option<Source> {
        let (said, known) = (headers.get(PEER_KEY)?, self.peer_key.get()?);
        if !is_same(said.as_bytes(), known.as_bytes()) {
            return None;
        }
        let source = headers.get(SOURCE)?.to_str().ok()?.parse().ok()?;
        Some(Source(Some(source)))
    }

    /// Says where a request comes from that is sent on.
    fn name_source(&self, parts: &Parts, headers: &mut HeaderMap) {
        headers.remove(SOURCE);
        headers.remove(PEER_KEY);
        let source = Source::of(&parts.extensions).0.and_then(|source| HeaderValue::from_str(&source.to_string()).ok());
        if let (Some(source), Some(key)) = (source, self.peer_key.get()) {
            headers.insert(SOURCE, source);
            headers.insert(PEER_KEY, key.clone());
        }
    }

    /// Sends a request on to `leader`, until `deposed` says that this one leads no more: a server that hangs gives no other
    /// sign.
    ///
    /// # Errors
    /// [`Lost`] when there was no answer.
    pub(crate) async fn forward(
        &self,
        leader: &str,
        parts: &Parts,
        body: Bytes,
        deposed: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Response, Lost> {
        let mut deposed = Box::pin(deposed);
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = without_those_of_the_connection(parts.headers.clone());
        headers.insert(FORWARDED, HeaderValue::from_static("1"));
        self.name_source(parts, &mut headers);
        let url = format!("{}{path}", leader.trim_end_matches('/'));
        let request = self.http.request(parts.method.clone(), url).headers(headers).body(body);
        let sent = tokio::select! {
            sent = request.send() => sent,
            () = &mut deposed => return Err(Lost { was_sent: true }),
        };
        let answer = sent.map_err(|error| {
            tracing::warn!(leader, %error, "the server that leads does not answer");
            Lost { was_sent: !error.is_connect() }
        })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        // Broken off, so that nobody takes what came for the whole.
        let broken_off = deposed.map(|()| Err(io::Error::other("the server that led leads no more")));
        let bytes = answer.bytes_stream().map_err(io::Error::other);
        let bytes = select_with_end(bytes, broken_off.into_stream());
        let mut response = Body::from_stream(bytes).into_response();
        *response.status_mut() = status;
        *response.headers_mut() = without_those_of_the_connection(headers);
        Ok(response)
    }
}

/// Compares secrets: the time it takes says nothing about how much of it was right.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

/// There was no answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Whether it may have been done all the same.
    pub(crate) was_sent: bool,
}

/// What comes from `stream`, until it ends; or until `end` has something to say, which is the last then.
fn select_with_end<T>(
    stream: impl Stream<Item = T> + Send + 'static,
    end: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = T> + Send {
    let state = Some((stream.boxed(), end.boxed()));
    futures::stream::unfold(state, |state| async move {
        let (mut stream, mut end) = state?;
        tokio::select! {
            biased;
            item = stream.next() => item.map(|item| (item, Some((stream, end)))),
            last = end.next() => last.map(|last| (last, None)),
        }
    })
}

pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
}

fn without_those_of_the_connection(mut headers: HeaderMap) -> HeaderMap {
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_broken_off_ends_with_an_error_and_what_is_whole_does_not() {
        use futures::stream::{iter, pending};

        let whole: Vec<_> = select_with_end(iter([1, 2]), pending()).collect().await;
        assert_eq!(whole, [1, 2]);
        let cut: Vec<_> = select_with_end(iter([1]).chain(pending()), iter([9])).collect().await;
        assert_eq!(cut, [1, 9]);
    }

    #[test]
    fn headers_of_the_connection_stay_behind() {
        let headers = HeaderMap::from_iter([
            (header::HOST, HeaderValue::from_static("a")),
            (header::TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
            (header::AUTHORIZATION, HeaderValue::from_static("Bearer x")),
        ]);
        let left = without_those_of_the_connection(headers);
        assert_eq!(left.len(), 1);
        assert!(left.contains_key(header::AUTHORIZATION));
    }

    #[test]
    fn only_another_server_says_where_a_request_comes_from() {
        // A choice for the whole process; that another test made it first is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let forwarder = Forwarder::new(None).unwrap();
        let headers = |key: &'static str| {
            HeaderMap::from_iter([
                (SOURCE, HeaderValue::from_static("10.1.2.3")),
                (PEER_KEY, HeaderValue::from_static(key)),
            ])
        };
        assert!(forwarder.source(&headers("")).is_none(), "nothing is known yet");
        forwarder.peer_key.set(HeaderValue::from_static("secret")).unwrap();
        assert!(forwarder.source(&headers("guess")).is_none());
        let believed = forwarder.source(&headers("secret")).unwrap();
        assert_eq!(believed.0, Some("10.1.2.3".parse().unwrap()));
        // What a client says of itself does not get any further.
        let (parts, ()) = axum::http::Request::new(()).into_parts();
        let mut sent = headers("secret");
        forwarder.name_source(&parts, &mut sent);
        assert!(sent.is_empty());
    }
}
