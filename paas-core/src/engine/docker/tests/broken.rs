use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::Docker;
use crate::engine::{DockerEngine, EngineError, EngineErrorKind, check_certificates};
use crate::model::{EngineAddress, TlsMaterial};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

async fn ping(address: &str, deadline: Duration) -> EngineError {
    let docker = Docker::new(&address.parse().unwrap(), None).unwrap();
    docker.ping(deadline).await.unwrap_err()
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = ping(&address, LONG).await;
    assert_eq!(error.kind(), EngineErrorKind::Unreachable);
    assert!(error.detail().contains(&address) && error.detail().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_socket_that_is_not_there_yet_is_unreachable_until_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let docker = Docker::new(&EngineAddress::Unix(path.display().to_string()), None).unwrap();
    assert_eq!(docker.ping(LONG).await.unwrap_err().kind(), EngineErrorKind::Unreachable);
    let listener = UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer_pings(&mut stream).await;
    });
    docker.ping(LONG).await.unwrap();
    server.abort();
}

#[tokio::test]
async fn a_host_that_takes_connections_and_never_answers_is_unreachable_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().await.unwrap());
        }
    });
    let start = Instant::now();
    let error = ping(&address, SHORT).await;
    assert_eq!(error.kind(), EngineErrorKind::Unreachable);
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    server.abort();
}

#[tokio::test]
async fn an_address_without_a_way_is_unreachable_in_time() {
    // 192.0.2.0/24 is for documentation (RFC 5737): there is a way to nobody there.
    let start = Instant::now();
    assert_eq!(ping("tcp://192.0.2.1:2375", SHORT).await.kind(), EngineErrorKind::Unreachable);
    assert!(start.elapsed() < LONG);
}

#[tokio::test]
async fn what_answers_but_is_no_docker_is_an_error_and_no_panic() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"220 mail.example.org ready\r\n").await;
        }
    });
    assert_eq!(ping(&address, LONG).await.kind(), EngineErrorKind::Unreachable);
    server.abort();
}

#[test]
fn an_address_that_is_not_docker_s_is_refused() {
    let error = Docker::new(&"sim://a".parse().unwrap(), None).unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Refused);
}

/// Answers every request with an empty 200, as `/_ping` is answered.
async fn answer_pings(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..count]);
        while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            seen.drain(..end + 4);
            let answer = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 0\r\n\r\n";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// A host that tells its time, gives one event, and is gone.
async fn dying_host(listener: TcpListener) -> Vec<String> {
    let event =
        r#"{"Type":"container","Action":"start","Actor":{"ID":"0123456789abcdef"},"timeNano":1900000000000000000}"#;
    let mut asked = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        loop {
            let count = stream.read(&mut buffer).await.unwrap();
            let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
            let Some(path) = head.split(' ').nth(1).map(str::to_owned) else { break };
            let body = match path.split('?').next().unwrap() {
                path if path.ends_with("/info") => r#"{"SystemTime":"2030-01-01T00:00:00.5Z"}"#.to_owned(),
                path if path.ends_with("/events") => format!("{event}\n"),
                _ => String::new(),
            };
            let is_last = path.contains("/events");
            // The length of a stream is not known, and so its end is not its end.
            let length = if is_last { body.len() + 1 } else { body.len() };
            let answer = format!("HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            asked.push(path);
            if is_last {
                return asked;
            }
        }
    }
}

#[tokio::test]
async fn events_end_with_an_error_when_the_host_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    let host = tokio::spawn(dying_host(listener));
    let docker = Docker::new(&address, None).unwrap();
    let events: Vec<_> = docker.events(None).await.unwrap().collect().await;
    let asked = host.await.unwrap();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0].as_ref().unwrap().action, "start");
    assert_eq!(events[1].as_ref().unwrap_err().kind(), EngineErrorKind::Unreachable);
    assert_eq!(asked[..2], ["/_ping", "/v1.41/info"], "the version is asked for once, and then spoken");
    assert!(asked[2].starts_with("/v1.41/events?since=1893456000.500000000&"), "{asked:?}");
    assert_eq!(docker.events(None).await.err().unwrap().kind(), EngineErrorKind::Unreachable);
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

struct Signed {
    cert: rcgen::Certificate,
    key: KeyPair,
}

fn signed(by: &Authority, host: &str, last_year: i32) -> Signed {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    let key = KeyPair::generate().unwrap();
    Signed { cert: params.signed_by(&key, by).unwrap(), key }
}

fn material(authority: &Authority, client: &Signed) -> TlsMaterial {
    TlsMaterial { ca_cert: authority.pem(), cert: client.cert.pem(), key: client.key.serialize_pem() }
}

/// A server that shows `server` and lets in those whom `clients` signed.
async fn tls_server(server: &Signed, clients: &Authority) -> EngineAddress {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(clients.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let key = PrivatePkcs8KeyDer::from(server.key.serialize_der());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                tokio::spawn(async move { answer_pings(&mut stream).await });
            }
        }
    });
    EngineAddress::Https { host: "127.0.0.1".into(), port }
}

async fn tls_ping(address: &EngineAddress, material: &TlsMaterial) -> Result<(), EngineError> {
    Docker::new(address, Some(material))?.ping(LONG).await
}

#[tokio::test]
async fn certificates_that_fit_let_in() {
    let ours = authority("ours");
    let address = tls_server(&signed(&ours, "127.0.0.1", 4000), &ours).await;
    tls_ping(&address, &material(&ours, &signed(&ours, "client", 4000))).await.unwrap();
}

#[tokio::test]
async fn certificates_that_do_not_fit_are_an_error_of_tls_that_says_why() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let good = signed(&ours, "client", 4000);
    let cases = [
        (
            "the server's is from another authority",
            signed(&theirs, "127.0.0.1", 4000),
            &ours,
            material(&ours, &good),
            "UnknownIssuer",
        ),
        ("the server's is expired", signed(&ours, "127.0.0.1", 2001), &ours, material(&ours, &good), "expired"),
        (
            "the server's is of another host",
            signed(&ours, "10.0.0.1", 4000),
            &ours,
            material(&ours, &good),
            "not valid for name",
        ),
        ("ours is from another authority", signed(&ours, "127.0.0.1", 4000), &theirs, material(&ours, &good), "alert"),
        (
            "ours is expired",
            signed(&ours, "127.0.0.1", 4000),
            &ours,
            material(&ours, &signed(&ours, "client", 2001)),
            "alert",
        ),
    ];
    for (case, server, clients, material, reason) in cases {
        let address = tls_server(&server, clients).await;
        let error = tls_ping(&address, &material).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Tls, "{case}: {error}");
        assert!(error.detail().contains(reason), "{case}: {error}");
    }
}

#[test]
fn certificates_that_are_not_valid_now_are_found_without_asking_the_host() {
    let ours = authority("ours");
    let good = material(&ours, &signed(&ours, "client", 4000));
    check_certificates(&good).unwrap();
    let expired = check_certificates(&material(&ours, &signed(&ours, "client", 2001))).unwrap_err();
    assert_eq!(expired.kind(), EngineErrorKind::Tls);
    assert_eq!(expired.detail(), "cert expired at 2001-01-01T00:00:00Z; have it renewed");
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = date_time_ymd(3000, 1, 1);
    let early = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let too_early = check_certificates(&TlsMaterial { ca_cert: early.pem(), ..good }).unwrap_err();
    assert!(too_early.detail().contains("ca_cert is not valid before 3000-01-01"), "{too_early}");
}

#[test]
fn material_that_cannot_be_used_is_found_without_asking_the_host() {
    let ours = authority("ours");
    let (one, other) = (signed(&ours, "client", 4000), signed(&ours, "client", 4000));
    let good = material(&ours, &one);
    let address = "https://host".parse().unwrap();
    Docker::new(&address, Some(&good)).unwrap();
    let cases = [
        ("another's key", Some(TlsMaterial { key: other.key.serialize_pem(), ..good.clone() })),
        ("no key", Some(TlsMaterial { key: String::new(), ..good.clone() })),
        ("no certificate", Some(TlsMaterial { cert: "nothing".into(), ..good.clone() })),
        ("no authority", Some(TlsMaterial { ca_cert: String::new(), ..good })),
        ("nothing at all", None),
    ];
    for (case, material) in cases {
        let error = Docker::new(&address, material.as_ref()).unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Tls, "{case}: {error}");
    }
}
