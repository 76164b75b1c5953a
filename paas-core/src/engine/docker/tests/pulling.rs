//! Pulls of a real host, from a registry that this test plays.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::query_parameters::RemoveImageOptions;
use futures::TryStreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Host, on_real_host};
use crate::engine::{DockerEngine, EngineError, EngineErrorKind, PullProgress};
use crate::model::{ImageRef, RegistryLogin};
use crate::testing::docker;

const USER: &str = "somebody";
/// In base64 this has the two letters that differ between the alphabets, wherever it begins.
const PASSWORD: &str = "~~~???>>>~~~???>>>";
/// The first byte of a TLS connection.
const TLS_HANDSHAKE: u8 = 22;
const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry with one image, `app:1`, for one user.
struct Registry {
    manifest: Vec<u8>,
    blobs: Vec<(String, Vec<u8>)>,
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

impl Registry {
    fn new() -> Self {
        // A layer that no host has yet: the page in it is another one each time.
        let mut layer = docker::web_files();
        let page = docker::WEB_PAGE.as_bytes();
        let at = layer.windows(page.len()).rposition(|window| window == page).unwrap();
        let other = format!("{:06}", jiff::Timestamp::now().subsec_nanosecond() / 1000);
        layer[at..at + page.len()].copy_from_slice(other.as_bytes());
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        })
        .to_string()
        .into_bytes();
        let part = |kind: &str, content: &[u8]| {
            let kind = format!("application/vnd.docker.{kind}");
            json!({"mediaType": kind, "size": content.len(), "digest": digest(content)})
        };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
            "config": part("container.image.v1+json", &config),
            "layers": [part("image.rootfs.diff.tar.gzip", &layer)],
        });
        let blobs = vec![(digest(&config), config), (digest(&layer), layer)];
        Self { manifest: manifest.to_string().into_bytes(), blobs }
    }

    fn answer(&self, head: &str) -> (&str, &str, &[u8]) {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let login = format!("Basic {}", BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}")));
        if !head.contains(&login) {
            return ("401 Unauthorized", "text/plain", b"");
        }
        if path == "/v2/" {
            return ("200 OK", "application/json", b"{}");
        }
        if path.starts_with("/v2/app/manifests/") && (path.ends_with("/1") || path.contains("sha256:")) {
            return ("200 OK", MANIFEST_TYPE, &self.manifest);
        }
        match self.blobs.iter().find(|(digest, _)| path == format!("/v2/app/blobs/{digest}")) {
            Some((_, content)) => ("200 OK", "application/octet-stream", content),
            None => (
                "404 Not Found",
                "application/json",
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            ),
        }
    }

    /// Serves until the test ends; answers with host and port.
    async fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let registry = Arc::new(self);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let registry = Arc::clone(&registry);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            // Docker tries TLS first, and gives up at once where the connection is closed.
                            Ok(byte) if byte.is_ascii() && byte != TLS_HANDSHAKE => head.push(byte),
                            _ => return,
                        }
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let (status, kind, body) = registry.answer(&head);
                    let digest = digest(body);
                    let answer = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
                         Docker-Content-Digest: {digest}\r\nWWW-Authenticate: Basic realm=\"test\"\r\n\
                         Docker-Distribution-Api-Version: registry/2.0\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                    if !head.starts_with("HEAD ") {
                        let _ = stream.write_all(body).await;
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        address
    }
}

async fn pull(host: &Host, image: &ImageRef, login: Option<RegistryLogin>) -> Result<Vec<PullProgress>, EngineError> {
    host.engine.pull(image, login).await?.try_collect().await
}

#[tokio::test]
async fn an_image_is_pulled_with_a_login_and_shows_progress() {
    on_real_host("an_image_is_pulled_with_a_login_and_shows_progress", async |host| {
        if !host.address.to_string().starts_with("unix:") {
            return docker::skip("an_image_is_pulled_with_a_login_and_shows_progress", "the host is another machine");
        }
        let registry = Registry::new().serve().await;
        let image: ImageRef = format!("{registry}/app:1").parse().unwrap();
        let login = |password: &str| {
            Some(RegistryLogin { server: Some(registry.clone()), username: USER.into(), password: password.into() })
        };
        for wrong in [None, login("wrong")] {
            let error = pull(host, &image, wrong).await.unwrap_err();
            assert_eq!(error.kind(), EngineErrorKind::NoSuchImage, "{error}");
        }
        let none: ImageRef = format!("{registry}/app:2").parse().unwrap();
        let error = pull(host, &none, login(PASSWORD)).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::NoSuchImage, "{error}");

        let progress = pull(host, &image, login(PASSWORD)).await.unwrap();
        let there = host.raw.inspect_image(image.as_str()).await;
        let removed = host.raw.remove_image(image.as_str(), None::<RemoveImageOptions>, None).await;
        assert!(there.is_ok() && removed.is_ok(), "{there:?} {removed:?}");
        assert!(progress.iter().all(|step| step.image == image));
        let bytes: Vec<(u64, u64)> = progress.iter().filter_map(|step| step.bytes).collect();
        assert!(bytes.iter().all(|(done, all)| done <= all), "{bytes:?}");
        assert!(bytes.last().is_some_and(|(done, all)| done == all), "{bytes:?}");
    })
    .await;
}

#[tokio::test]
async fn a_registry_that_is_away_ends_the_pull_with_an_error() {
    on_real_host("a_registry_that_is_away_ends_the_pull_with_an_error", async |host| {
        // Nothing listens on port 1.
        let image = "localhost:1/paas-core-test/none:1".parse().unwrap();
        let error = pull(host, &image, None).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Failed, "{error}");
    })
    .await;
}
