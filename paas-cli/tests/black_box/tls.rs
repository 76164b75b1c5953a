//! The server over TLS.

use std::net::SocketAddr;

use axum_server::tls_rustls::RustlsConfig;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::support::{Answer, Home, router};

/// A server whose certificate an authority signed; its address and the authority's certificate.
async fn server() -> (SocketAddr, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap().pem();
    let config = RustlsConfig::from_pem(certificate.into_bytes(), key.serialize_pem().into_bytes()).await.unwrap();

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (router, asked) = router([("GET /api/engines", Answer::json("[]"))]);
    tokio::spawn(async move {
        let _asked = asked;
        axum_server::from_tcp_rustls(listener, config).unwrap().serve(router.into_make_service()).await
    });
    (address, authority_pem)
}

#[tokio::test]
async fn the_authority_of_a_server_can_be_named() {
    let (address, authority) = server().await;
    let home = Home::new();
    let url = format!("https://{address}");
    let place = tempfile::tempdir().unwrap();
    let ca = place.path().join("ca.pem");
    std::fs::write(&ca, authority).unwrap();
    let ca = ca.to_str().unwrap();
    home.run(&["engines", "--url", &url, "--ca", ca]).await.expect(0);

    let untrusted = home.run(&["engines", "--url", &url]).await;
    assert!(untrusted.expect(1).stderr.contains("--ca"), "{}", untrusted.stderr);

    let wrong_name =
        home.run(&["engines", "--url", &format!("https://localhost:{}", address.port()), "--ca", ca]).await;
    assert!(wrong_name.expect(1).stderr.contains("cannot be trusted"), "{}", wrong_name.stderr);

    std::fs::write(place.path().join("none.pem"), "nothing").unwrap();
    let none = home.run(&["engines", "--url", &url, "--ca", place.path().join("none.pem").to_str().unwrap()]).await;
    assert!(none.expect(1).stderr.contains("no certificate"), "{}", none.stderr);
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_told_as_a_failure() {
    let (address, _) = server().await;
    let done = Home::new().run(&["engines", "--url", &format!("http://{address}")]).await;
    assert!(done.expect(1).stderr.starts_with("paas-cli: "), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1);
}
