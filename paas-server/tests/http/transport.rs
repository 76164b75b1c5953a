//! HTTP and TLS themselves.

use paas_server::serve::ServeOptions;
use paas_server::tls::{TlsError, load};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, Api, PASSWORD, Server, Start, certificate, http};
use crate::tricky::PANICS;

#[tokio::test]
async fn every_answer_has_an_id_and_is_kept_by_nobody() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let (one, other) = (admin.get("/api/containers").await, admin.get("/nothing").await);
    for answer in [&one, &other] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-request-id").len(), 36);
    }
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
}

#[tokio::test]
async fn a_handler_that_panics_costs_one_request() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let id = &server.run(PANICS, 1).await[0];
    let answer = admin.get(&format!("/api/containers/{id}/logs")).await;
    let problem = answer.is_problem(500, "internal");
    assert!(!problem.to_string().contains("panic"), "{problem}");
    assert_eq!(answer.header("x-request-id").len(), 36);
    assert_eq!(admin.get("/api/containers").await.status, 200);
}

#[tokio::test]
async fn a_client_that_asks_before_sending_is_told_before_it_sends() {
    let server = Server::start().await;
    let mut connection = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\nExpect: 100-continue\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_is_told_as_well() {
    const LENGTH: usize = 8 << 20;
    let server = Server::start().await;
    let mut connection = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!("POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&vec![b' '; LENGTH]).await.unwrap();
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn the_limit_of_a_body_is_a_setting() {
    let options = ServeOptions { body_limit: 2000, ..ServeOptions::default() };
    let server = Server::with(Start { options, ..Start::default() }).await;
    let admin = server.admin().await;
    let body = |size: usize| json!({"name": "web", "memory": 64, "user_data": "x".repeat(size)});
    assert_eq!(admin.post("/api/containers", &body(1000)).await.status, 201);
    admin.post("/api/containers", &body(2000)).await.is_problem(413, "too_large");
}

#[tokio::test]
async fn the_api_is_served_over_tls() {
    let (pem, config) = certificate();
    let options = ServeOptions { tls: Some(config), ..ServeOptions::default() };
    let server = Server::with(Start { options, ..Start::default() }).await;
    let root = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    let trusting = http().tls_certs_only([root]).build().unwrap();
    let mut api = server.anonymous();
    assert!(api.request(Method::GET, "/healthz").send().await.is_err(), "nobody vouches for the certificate");
    api.http = trusting;
    let login = api.post("/auth/login", &json!({"username": "admin", "password": PASSWORD})).await;
    assert_eq!(login.status, 200);
    api.token = Some(login.json()["token"].as_str().unwrap().to_owned());
    assert_eq!(api.post("/api/containers", &json!({"name": "web", "memory": 64})).await.status, 201);
    let in_clear = Api::new(&server.url.replace("https", "http")).request(Method::GET, "/healthz").send().await;
    assert!(in_clear.is_err(), "{in_clear:?}");
}

#[test]
fn certificates_that_cannot_be_used_are_told_by_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (make(), make());
    let cert = write("cert.pem", &one.cert.pem());
    let key = write("key.pem", &one.signing_key.serialize_pem());
    let other_key = write("other.pem", &other.signing_key.serialize_pem());
    let empty = write("empty.pem", "");
    assert!(load(&cert, &key).is_ok());
    assert!(matches!(load(&cert, &other_key), Err(TlsError::Unusable { .. })));
    assert!(matches!(load(&empty, &key), Err(TlsError::NotThere { what: "certificate", .. })));
    assert!(matches!(load(&cert, &empty), Err(TlsError::NotThere { what: "private key", .. })));
    assert!(matches!(load(&cert, &cert), Err(TlsError::NotThere { what: "private key", .. })));
    let error = load(&folder.path().join("none.pem"), &key).unwrap_err();
    assert!(matches!(error, TlsError::Unreadable { .. }) && error.to_string().contains("none.pem"));
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let server = Server::start().await;
    let mut connection = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    for _ in 0..3 {
        connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            answer.push(connection.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    let spent = Answer::of(server.anonymous().request(Method::GET, "/healthz")).await;
    assert_eq!(spent.status, 200);
}
