//! The way to a Docker host: one connection for each request, over a socket, TCP or TLS.
//!
//! This is ours and not bollard's because bollard wants certificates as files, trusts the operating system's authorities
//! beside the given one, refuses a socket that is not there yet, and never notices that the far end of an event stream
//! has lost its power.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, body_full};
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::tls;
use crate::engine::{EngineError, EngineErrorKind, Result};
use crate::model::{EngineAddress, TlsMaterial};
use crate::net;

/// The header in which a daemon tells the newest version of the API that it speaks.
const API_VERSION: &str = "api-version";

/// How long a connection may be silent before the far end is asked for a sign of life, how often it is asked again, and
/// how many times. A host that vanished without a word is noticed after 30 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

enum Target {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16, name: ServerName<'static>, config: Arc<ClientConfig> },
}

/// Version of Docker's API: major and minor number.
pub(super) type Version = (u32, u32);

pub(super) struct Transport {
    target: Target,
    host_header: HeaderValue,
    /// What both sides speak; unknown until the daemon answered, and again after it could not be reached.
    version: Mutex<Option<Version>>,
}

impl Transport {
    /// Does no I/O.
    pub(super) fn new(address: &EngineAddress, material: Option<&TlsMaterial>) -> Result<Self> {
        let refused = |detail: String| EngineError::new(EngineErrorKind::Refused, "connect", detail);
        let without_brackets = |host: &str| net::without_brackets(host).to_owned();
        let (target, authority) = match address {
            EngineAddress::Unix(path) => (Target::Unix(path.into()), "localhost".to_owned()),
            EngineAddress::Tcp { host, port } => {
                (Target::Tcp { host: without_brackets(host), port: *port }, format!("{host}:{port}"))
            }
            EngineAddress::Https { host, port } => {
                let material = material.ok_or_else(|| {
                    EngineError::new(EngineErrorKind::Tls, "connect", format!("{address} needs certificates"))
                })?;
                let config = tls::client_config(material)?;
                let name = tls::server_name(host)?;
                let target = Target::Tls { host: without_brackets(host), port: *port, name, config };
                (target, format!("{host}:{port}"))
            }
            EngineAddress::Simulated(_) => return Err(refused(format!("{address} is no Docker host"))),
        };
        let host_header = HeaderValue::from_str(&authority).map_err(|err| refused(err.to_string()))?;
        Ok(Self { target, host_header, version: Mutex::new(None) })
    }

    /// Sends one request on a connection of its own, and answers when the head of the response is there.
    pub(super) async fn send(&self, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
        let mut sender = match self.open().await {
            Ok(sender) => sender,
            Err(err) => {
                // The daemon that comes back may be another version.
                *self.version.lock() = None;
                return Err(err);
            }
        };
        let known = *self.version.lock();
        let version = match known {
            Some(version) => Some(version),
            None => self.ask_version(&mut sender).await?,
        };
        *request.uri_mut() = versioned(request.uri(), version)?;
        request.headers_mut().insert(HOST, self.host_header.clone());
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        self.learn(response.headers());
        Ok(response)
    }

    /// The version that both sides speak, as far as the daemon told.
    pub(super) fn version(&self) -> Option<Version> {
        *self.version.lock()
    }

    async fn ask_version<B>(&self, sender: &mut SendRequest<B>) -> Result<Option<Version>, Error>
    where
        B: Body + 'static,
        Request<B>: From<BollardRequest>,
    {
        let ping = Request::get("/_ping").header(HOST, self.host_header.clone()).body(body_full(Bytes::new()))?;
        let response = sender.send_request(ping.into()).await?;
        self.learn(response.headers());
        // The body is read so that the connection is free for the request that waits.
        let mut body = std::pin::pin!(response.into_body());
        while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            frame?;
        }
        Ok(*self.version.lock())
    }

    /// Every answer of a daemon carries its version, so a change is followed even if the daemon was never missed.
    fn learn(&self, headers: &HeaderMap) {
        let spoken = headers.get(API_VERSION).and_then(|value| parse_version(value.to_str().ok()?));
        if let Some(spoken) = spoken {
            *self.version.lock() = Some(spoken.min(newest_understood()));
        }
    }

    async fn open<B>(&self) -> Result<SendRequest<B>, Error>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match &self.target {
            Target::Unix(path) => handshake(UnixStream::connect(path).await?).await,
            Target::Tcp { host, port } => handshake(connect_tcp(host, *port).await?).await,
            Target::Tls { host, port, name, config } => {
                let stream = connect_tcp(host, *port).await?;
                handshake(TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await?).await
            }
        }
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = net::connect(host, port).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(KEEPALIVE_RETRIES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

async fn handshake<T, B>(stream: T) -> Result<SendRequest<B>, Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends by itself: when the response is read or dropped, or the request is given up. Its errors reach the request.
    tokio::spawn(connection);
    Ok(sender)
}

fn newest_understood() -> Version {
    let newest = API_DEFAULT_VERSION;
    (newest.major_version as u32, newest.minor_version as u32)
}

fn parse_version(text: &str) -> Option<Version> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Path and query of `uri` below the version that both sides speak. A daemon that tells no version gets the path without
/// one, and takes it for its own.
fn versioned(uri: &Uri, version: Option<Version>) -> Result<Uri, Error> {
    let text = uri.path_and_query().map_or("/", |path| path.as_str());
    let is_version = |part: &str| part.strip_prefix('v').and_then(parse_version).is_some();
    let path = match text[1..].split_once('/') {
        Some((first, rest)) if is_version(first) => &text[text.len() - rest.len() - 1..],
        _ => text,
    };
    match version {
        Some((major, minor)) => Ok(format!("/v{major}.{minor}{path}").parse()?),
        None => Ok(path.parse()?),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    #[test]
    fn paths_get_the_version_that_both_sides_speak() {
        let of = |text: &str, version| versioned(&text.parse().unwrap(), version).unwrap().to_string();
        assert_eq!(of("http://localhost/v1.53/info", Some((1, 41))), "/v1.41/info");
        assert_eq!(of("http://localhost/info?a=b", Some((1, 41))), "/v1.41/info?a=b");
        assert_eq!(of("http://localhost/v1.53/info", None), "/info");
        assert_eq!(of("http://localhost/volumes/v1/x", Some((1, 41))), "/v1.41/volumes/v1/x");
    }

    #[test]
    fn the_older_of_both_versions_is_spoken() {
        let transport = Transport::new(&EngineAddress::Unix("/nowhere".into()), None).unwrap();
        let answer = |version: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(API_VERSION), HeaderValue::from_static(version))])
        };
        transport.learn(&answer("1.41"));
        assert_eq!(*transport.version.lock(), Some((1, 41)));
        transport.learn(&answer("1.999"));
        assert_eq!(*transport.version.lock(), Some(newest_understood()));
        transport.learn(&answer("none"));
        assert_eq!(*transport.version.lock(), Some(newest_understood()));
    }
}
