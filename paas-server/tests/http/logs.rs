//! What the log says, and which request it says it of.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::program::{Running, program};
use crate::support::{Answer, Api, PASSWORD, TIMEOUT, unique};

/// A server whose log goes to `log`, and somebody who is logged in.
async fn logging(log: &Path, engine: &str) -> (Running, Api) {
    let engine = format!("one=sim://{}?{engine}", unique("logs"));
    let mut command = program(&["--listen", "127.0.0.1:0", "--store", "memory:", "--engine", &engine]);
    command.args(["--log", "debug", "--log-format", "json"]).env("PAAS_ADMIN_PASSWORD", PASSWORD);
    let server = Running::spawn(command.stderr(std::fs::File::create(log).unwrap()));
    let mut api = Api::new(&server.url());
    let login = api.post("/auth/login", &json!({"username": "admin", "password": PASSWORD})).await;
    api.token = Some(login.json()["token"].as_str().unwrap().to_owned());
    (server, api)
}

/// The lines that belong to a request, once there is one with this message.
async fn lines_of(id: &str, message: &str, log: &Path) -> Vec<Value> {
    let of_request = async {
        loop {
            let text = std::fs::read_to_string(log).unwrap();
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let lines: Vec<Value> =
                lines.filter(|line| line["span"]["id"] == id || line["spans"][0]["id"] == id).collect();
            if lines.iter().any(|line| line["message"] == message) {
                return lines;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(TIMEOUT, of_request).await;
    found.unwrap_or_else(|_| panic!("no line {message:?} of {id}: {}", std::fs::read_to_string(log).unwrap()))
}

#[tokio::test]
async fn every_line_of_a_launch_has_the_id_of_its_request() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (_server, api) = logging(&log, "cpus=8&memory=4096&latency_ms=20").await;
    let run = api.post("/api/containers?count=2", &json!({"name": "web", "memory": 64})).await;
    assert_eq!(run.status, 201, "{run:?}");
    let lines = lines_of(run.header("x-request-id"), "answered", &log).await;
    let launch = |line: &&Value| line["target"].as_str().is_some_and(|target| target.starts_with("paas_core::"));
    let started = lines.iter().filter(launch).filter(|line| line["message"] == "started").count();
    assert_eq!(started, 2, "{lines:#?}");
    assert!(lines.iter().all(|line| line["span"]["method"] == "POST"), "{lines:#?}");
}

#[tokio::test]
async fn what_goes_on_after_its_client_hung_up_has_the_id_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (_server, api) = logging(&log, "cpus=8&memory=4096&latency_ms=300").await;
    let id = Uuid::now_v7().to_string();
    let run = api.request(Method::POST, "/api/containers").header("x-request-id", &id);
    let run = run.header("accept", "application/x-ndjson").json(&json!({"name": "web", "memory": 64}));
    drop(run.send().await.unwrap());
    let lines = lines_of(&id, "done", &log).await;
    assert!(lines.iter().any(|line| line["message"] == "started"), "{lines:#?}");
}

#[tokio::test]
async fn a_request_keeps_the_id_that_it_brings_if_it_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, api) = logging(&folder.path().join("log"), "cpus=1").await;
    let id = Uuid::now_v7().to_string();
    let with = async |id: &str| Answer::of(api.request(Method::GET, "/healthz").header("x-request-id", id)).await;
    assert_eq!(with(&id).await.header("x-request-id"), id);
    let replaced = with("id=of a liar").await;
    assert!(Uuid::parse_str(replaced.header("x-request-id")).is_ok(), "{replaced:?}");
}
