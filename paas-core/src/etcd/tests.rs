//! Being let in, or not, by a real etcd.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::testing::etcd::Etcd;

const PASSWORD: &str = "p@ss:word/1";
const PASSWORD_IN_URL: &str = "p%40ss:word%2F1";

fn connection(rest: &str) -> Arc<Connection> {
    Arc::new(Connection::new(Address::parse(rest).unwrap(), Duration::from_secs(5)))
}

/// What etcd says to a first question.
async fn refusal(rest: &str) -> EtcdError {
    let connection = connection(rest);
    let error = connection.revision("/paas").await.expect_err(rest);
    let said = format!("{error} {error:?} {connection:?}");
    assert!(["p@ss", "p%40ss", "wrong-word"].iter().all(|password| !said.contains(password)), "{said}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_password_is_let_in() {
    let Some(mut etcd) = Etcd::start("only_the_right_password_is_let_in").await else { return };
    let host = etcd.host();
    let unknown = refusal(&format!("//paas:{PASSWORD_IN_URL}@{host}")).await;
    assert_eq!(unknown.kind(), EtcdErrorKind::Refused, "it asks for none: {unknown}");
    let before = connection(&format!("//{host}"));
    before.revision("/paas").await.unwrap();
    etcd.ask_for_passwords("paas", PASSWORD, "/paas").await;
    let mut told = Vec::new();
    for wrong in [format!("//{host}"), format!("//paas:wrong-word@{host}"), format!("//root2:{PASSWORD_IN_URL}@{host}")]
    {
        let error = refusal(&wrong).await;
        assert_eq!(error.kind(), EtcdErrorKind::Refused, "{error}");
        told.push(error.to_string());
    }
    assert!(told[0].contains("user name is empty") && told[1].contains("authentication failed"), "{told:?}");
    let elsewhere = refusal(&format!("//paas:{PASSWORD_IN_URL}@{host}/elsewhere")).await;
    assert_eq!(elsewhere.kind(), EtcdErrorKind::Refused);
    assert!(elsewhere.to_string().contains("permission denied"), "{elsewhere}");
    // Who was let in before they were asked for is not any more.
    assert!(before.revision("/paas").await.is_err());
    assert_eq!(before.revision("/paas").await.unwrap_err().kind(), EtcdErrorKind::Refused);

    let right = connection(&format!("//paas:{PASSWORD_IN_URL}@{host}"));
    right.revision("/paas").await.unwrap();
    let mut watch = right.watch("/paas/".to_owned(), None).await.unwrap();
    // A server that was started again has forgotten whom it let in; nobody notices.
    etcd.stop().await;
    etcd.start_again().await;
    right.revision("/paas").await.unwrap();
    let put = right.call(Effect::Same, |client| async move { Ok(client.kv_client().put("/paas/a", "1", None).await?) });
    put.await.unwrap();
    let mut heard = async || tokio::time::timeout(Duration::from_secs(10), watch.next()).await.unwrap();
    assert!(matches!(heard().await, Some(Seen::Resumed)), "after the break, and what happened meanwhile after that");
    assert!(matches!(heard().await, Some(Seen::Put(kv)) if kv.key() == b"/paas/a"));
}

/// An authority, and what it signed.
struct Signed {
    folder: tempfile::TempDir,
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Signed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca"), authority.pem()).unwrap();
        let signed = Self { folder, authority };
        signed.sign("server");
        signed.sign("client");
        signed
    }

    fn sign(&self, name: &str) {
        let mut parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.path(name), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}-key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked_both_ways() {
    let (ours, others) = (Signed::new(), Signed::new());
    const NAME: &str = "certificates_are_checked_both_ways";
    let files = ["server", "server-key", "ca"].map(|name| ours.path(name));
    let Some(etcd) = Etcd::start_with_tls(NAME, &files[0], &files[1], &files[2]).await else { return };
    let with = |ca: &str, own: &Signed| {
        let (cert, key) = (own.shown("client"), own.shown("client-key"));
        format!("//{}?ca={ca}&cert={cert}&key={key}", etcd.host())
    };
    connection(&with(&ours.shown("ca"), &ours)).revision("/paas").await.unwrap();
    let wrong_authority = refusal(&with(&others.shown("ca"), &ours)).await;
    assert_eq!(wrong_authority.kind(), EtcdErrorKind::Refused, "{wrong_authority}");
    assert!(wrong_authority.to_string().contains("invalid peer certificate"), "{wrong_authority}");
    let another_client = with(&ours.shown("ca"), &others);
    let no_client = format!("//{}?ca={}", etcd.host(), ours.shown("ca"));
    for wrong in [another_client, no_client] {
        let error = refusal(&wrong).await;
        let told = ["fatal alert", "may not accept this client's certificate"];
        assert!(told.iter().any(|told| error.to_string().contains(told)), "{error}");
    }
    let in_clear = refusal(&format!("//{}", etcd.host())).await;
    assert_eq!(in_clear.kind(), EtcdErrorKind::Unavailable, "{in_clear}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_passed_over() {
    let Some(etcd) = Etcd::start("a_server_that_is_not_there_is_passed_over").await else { return };
    // Nobody listens on port 1; a listener that never answers is worse.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let several = connection(&format!("//127.0.0.1:1,{},{}", silent.local_addr().unwrap(), etcd.host()));
    several.revision("/paas").await.unwrap();
    let asked = std::time::Instant::now();
    let all = (0..50).map(|_| several.revision("/paas"));
    assert!(futures::future::join_all(all).await.iter().all(Result::is_ok));
    assert!(asked.elapsed() < Duration::from_secs(2), "the one that answered is asked from then on");

    let none = connection(&format!("//127.0.0.1:1,{}", silent.local_addr().unwrap()));
    let asked = std::time::Instant::now();
    let all = futures::future::join_all((0..50).map(|_| none.revision("/paas"))).await;
    let waited = asked.elapsed();
    assert!(all.iter().all(|answer| answer.as_ref().is_err_and(|error| error.kind() == EtcdErrorKind::Unavailable)));
    assert!(waited < Duration::from_secs(8), "many that ask at once wait as long as one: {waited:?}");
    let said = all[0].as_ref().unwrap_err().to_string();
    assert!(said.contains("http://127.0.0.1:1: ") && said.contains("in time"), "{said}");
}
