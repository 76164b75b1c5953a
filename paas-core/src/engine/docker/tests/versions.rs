//! Daemons of one version and of another: Docker 29 takes nothing below 1.44, and Docker 20.10 nothing above 1.41.

use std::time::Duration;

use futures::TryStreamExt;
use serde_json::json;

use super::fake::{Answer, Fake, daemon};
use super::web;
use crate::engine::{CreateRequest, DockerEngine, LogOptions};
use crate::model::LaunchId;

const ID: &str = "714e01115f76714e01115f76714e01115f76714e01115f76714e01115f764e01";

async fn host() -> Fake {
    daemon("1.41", |asked| match (&*asked.method, asked.path.split('?').next().unwrap_or_default()) {
        (_, "/info") => Answer::json(200, json!({"ID": "one", "NCPU": 2, "SystemTime": "2030-01-01T00:00:00Z"})),
        (_, "/images/json" | "/networks" | "/containers/json") => Answer::json(200, json!([])),
        ("POST", "/containers/create") => Answer::json(201, json!({"Id": ID, "Warnings": []})),
        (_, "/events") => Answer::stream("application/json", futures::stream::empty()),
        (_, path) if path.ends_with("/json") => Answer::json(200, json!({"Id": ID, "Config": {"Tty": true}})),
        (_, path) if path.ends_with("/logs") => Answer::stream("text/plain", futures::stream::empty()),
        _ => Answer::json(200, json!({})),
    })
    .await
}

/// Everything that an engine can be asked.
async fn ask_everything(host: &Fake) {
    let docker = &host.docker;
    docker.ping(Duration::from_secs(10)).await.unwrap();
    docker.info().await.unwrap();
    docker.list().await.unwrap();
    let request = CreateRequest {
        name: "web-1".into(),
        spec: web(),
        links: Vec::new(),
        platform: "p".into(),
        engine: "e".parse().unwrap(),
        launch: LaunchId::new(),
        user: "admin".into(),
        mark: None,
        log_rotation: None,
        replica: None,
        network: None,
        hidden_environment: Default::default(),
    };
    let id = docker.create(&request).await.unwrap().id;
    docker.start(&id).await.unwrap();
    docker.inspect(&id).await.unwrap();
    docker.logs(&id, &LogOptions::default()).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    docker.stop(&id, Duration::ZERO).await.unwrap();
    docker.restart(&id, Duration::ZERO).await.unwrap();
    docker.pull(&web().name, None).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    drop(docker.events(None).await.unwrap());
    docker.usage().await.unwrap();
    docker.remove(&id).await.unwrap();
}

#[tokio::test]
async fn nothing_is_asked_in_a_version_that_the_daemon_does_not_take() {
    let host = host().await;
    // One after the other on the same address, as when Docker is updated under way, and taken back.
    for versions in [(24, 41), (44, 52), (24, 41), (44, 99)] {
        *host.versions.lock() = versions;
        ask_everything(&host).await;
        assert_eq!(*host.wrong_versions.lock(), Vec::<String>::new(), "{versions:?}");
    }
    // The first question of all is the version.
    assert_eq!(host.asked.lock()[0].path, "/_ping");
}
