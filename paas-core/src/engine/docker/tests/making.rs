//! What a daemon is told when a container is made, and what it says to that.

use serde_json::{Value, json};

use super::fake::{Answer, Fake, daemon};
use super::web;
use crate::engine::{CreateRequest, DockerEngine, EngineErrorKind, LogRotation};
use crate::model::LaunchId;

const ID: &str = "714e01115f76714e01115f76714e01115f76714e01115f76714e01115f764e01";

fn request(log_rotation: Option<LogRotation>) -> CreateRequest {
    CreateRequest {
        name: "web-1".into(),
        spec: web(),
        links: Vec::new(),
        platform: "p".into(),
        engine: "e".parse().unwrap(),
        launch: LaunchId::new(),
        user: "admin".into(),
        mark: None,
        log_rotation,
        replica: None,
        network: None,
        hidden_environment: Default::default(),
    }
}

/// A daemon that keeps output so, and answers to a creation with that.
async fn host(driver: &'static str, status: u16, answer: Value) -> Fake {
    daemon("1.44", move |asked| match &*asked.path {
        "/info" => Answer::json(
            200,
            json!({"ID": "one", "NCPU": 2, "LoggingDriver": driver, "Warnings": ["WARNING: No swap limit support"]}),
        ),
        path if path.starts_with("/images/json") => Answer::json(200, json!([])),
        path if path.starts_with("/images/") && path.ends_with("/json") => Answer::json(200, json!({"Id": "sha256:a"})),
        path if path.starts_with("/networks") => {
            let network = |name: &str| json!({"Name": name, "Id": format!("{name}-id")});
            Answer::json(200, json!([network("bridge"), network("host"), network("none"), network("backend")]))
        }
        path if path.starts_with("/containers/create") => Answer::json(status, answer.clone()),
        path => Answer::refusal(404, path),
    })
    .await
}

#[tokio::test]
async fn output_is_limited_where_the_daemon_keeps_it_itself_and_nowhere_else() {
    let made = || json!({"Id": ID, "Warnings": []});
    for (driver, limited) in [("json-file", true), ("local", true), ("journald", false), ("none", false), ("", false)] {
        for knows_already in [false, true] {
            let host = host(driver, 201, made()).await;
            if knows_already {
                host.docker.info().await.unwrap();
            }
            host.docker.create(&request(Some(LogRotation { max_size_mb: 10, max_files: 3 }))).await.unwrap();
            let sent: Value = serde_json::from_slice(&host.asked.lock().last().unwrap().body).unwrap();
            let wanted = json!({"Type": driver, "Config": {"max-size": "10m", "max-file": "3"}});
            let expected = if limited { wanted } else { Value::Null };
            assert_eq!(sent["HostConfig"]["LogConfig"], expected, "{driver}");
        }
    }
    let unasked = host("json-file", 201, made()).await;
    unasked.docker.create(&request(None)).await.unwrap();
    assert!(unasked.asked.lock().iter().all(|asked| asked.path != "/info"), "nothing is asked for nothing");
}

#[tokio::test]
async fn output_goes_where_it_is_asked_to_go_and_is_limited_where_nobody_says_how() {
    let none: [(&str, &str); 0] = [];
    let limits = [("max-size", "10m"), ("max-file", "3")];
    let cases = [
        ("json-file", json!({"driver": "local"}), "local", limits.to_vec()),
        ("journald", json!({"driver": "local"}), "local", limits.to_vec()),
        ("json-file", json!({"driver": "syslog"}), "syslog", none.to_vec()),
        ("json-file", json!({"driver": "none"}), "none", none.to_vec()),
        ("json-file", json!({"options": {"tag": "x"}}), "json-file", [&limits[..], &[("tag", "x")]].concat()),
        ("journald", json!({"options": {"tag": "x"}}), "journald", vec![("tag", "x")]),
        // One file of that size is what Docker makes of it; it is not made three.
        ("local", json!({"options": {"max-size": "1m"}}), "local", vec![("max-size", "1m")]),
        ("local", json!({"options": {"max-file": "2"}}), "local", vec![("max-size", "10m"), ("max-file", "2")]),
    ];
    for (own, asked, driver, options) in cases {
        let host = host(own, 201, json!({"Id": ID, "Warnings": []})).await;
        let mut request = request(Some(LogRotation { max_size_mb: 10, max_files: 3 }));
        request.spec.logging = Some(serde_json::from_value(asked.clone()).unwrap());
        host.docker.create(&request).await.unwrap();
        let sent: Value = serde_json::from_slice(&host.asked.lock().last().unwrap().body).unwrap();
        let sent = &sent["HostConfig"]["LogConfig"];
        let options: serde_json::Map<_, _> = options.into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        assert_eq!(sent["Type"], json!(driver), "{own}: {asked}");
        assert_eq!(sent["Config"].as_object().cloned().unwrap_or_default(), options, "{own}: {asked}");
    }
}

#[tokio::test]
async fn a_paused_container_goes_on_when_it_is_started() {
    let hint = "cannot start a paused container, try unpause instead";
    for state in ["paused", "running"] {
        let host = daemon("1.44", move |asked| match &*asked.path {
            path if path.ends_with("/start") => Answer::refusal(409, hint),
            path if path.ends_with("/json") => Answer::json(200, json!({"Id": ID, "State": {"Status": state}})),
            path if path.ends_with("/unpause") => Answer::json(204, json!(null)),
            path => Answer::refusal(404, path),
        })
        .await;
        let outcome = host.docker.start(&ID.parse().unwrap()).await;
        if state == "paused" {
            outcome.unwrap();
            assert!(host.asked.lock().last().unwrap().path.ends_with("/unpause"));
        } else {
            let error = outcome.unwrap_err();
            assert_eq!((error.kind(), error.detail()), (EngineErrorKind::Conflict, hint), "refused for another reason");
        }
    }
}

#[tokio::test]
async fn what_docker_warns_of_comes_with_the_container() {
    let warning = "Your kernel does not support memory limit capabilities. Limitation discarded.";
    let host = host("json-file", 201, json!({"Id": ID, "Warnings": [warning]})).await;
    let created = host.docker.create(&request(None)).await.unwrap();
    assert_eq!((created.id.as_str(), created.warnings), (ID, vec![warning.to_owned()]));
}

#[tokio::test]
async fn a_host_says_which_networks_it_has_and_what_it_cannot_do() {
    let info = host("json-file", 201, json!({})).await.docker.info().await.unwrap();
    let networks: Vec<String> = info.networks.unwrap().into_keys().collect();
    assert_eq!(networks, ["backend", "backend-id"], "those that every host has need no mention");
    assert_eq!(info.warnings, ["WARNING: No swap limit support"]);
    // Behind some proxies one may not ask for networks; a worker of a swarm makes them when they are wanted.
    let worker = json!({"LocalNodeState": "active", "ControlAvailable": false});
    for (status, swarm) in [(403, json!({})), (200, worker)] {
        let host = daemon("1.44", move |asked| match &*asked.path {
            "/info" => Answer::json(200, json!({"ID": "one", "NCPU": 2, "Swarm": swarm})),
            path if path.starts_with("/images/json") => Answer::json(200, json!([])),
            _ => Answer::json(status, json!([])),
        })
        .await;
        assert_eq!(host.docker.info().await.unwrap().networks, None);
    }
}

#[tokio::test]
async fn what_is_missing_beside_the_image_is_this_host_s_affair() {
    let plugin = json!({"message": "create pv: error looking up volume plugin nope: plugin \"nope\" not found"});
    let host = host("json-file", 404, plugin).await;
    assert_eq!(host.docker.create(&request(None)).await.unwrap_err().kind(), EngineErrorKind::Unable);
}
