//! What applications need of a daemon: networks, volumes, commands, and how programs do.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};

use super::super::{describe, observed};
use super::fake::{Answer, Fake, daemon};
use super::web;
use crate::engine::{
    AppNetwork, CreateRequest, DockerEngine, EngineErrorKind, ExecChunk, LogChunk, LogStream, NetworkRequest,
    ObjectLabels, ObservedContainer, ReplicaLabels, RunState, VolumeRequest, labels,
};
use crate::model::app::Sizes;
use crate::model::{ContainerSpec, Cpus, HealthStatus, LaunchId, MemoryMb, RestartPolicy};

const ID: &str = "714e01115f76714e01115f76714e01115f76714e01115f76714e01115f764e01";
const SECRET: &str = "hunter2";

fn volume(name: &str) -> Value {
    json!({"Name": name, "Driver": "local", "Mountpoint": "/", "Labels": {}, "Scope": "local", "Options": null})
}

fn replica(spec: ContainerSpec) -> CreateRequest {
    let (app, component) = ("shop".parse().unwrap(), "web".parse().unwrap());
    CreateRequest {
        name: "shop.web.2.7".into(),
        spec,
        links: Vec::new(),
        platform: "p".into(),
        engine: "e".parse().unwrap(),
        launch: LaunchId::new(),
        user: "ann".into(),
        mark: None,
        log_rotation: None,
        replica: Some(ReplicaLabels {
            app,
            declared: None,
            component,
            slot: Some(2),
            generation: 7,
            revision: 12,
            fingerprint: String::new(),
            image_id: None,
            run: None,
        }),
        network: Some(AppNetwork { name: "shop".into(), aliases: vec!["web".into()] }),
        hidden_environment: Default::default(),
    }
}

/// What a daemon shows of a replica that has a secret in its environment, in a list and inspected.
fn shown(name: &str) -> (Value, Value) {
    let mut spec = web();
    spec.environment.insert("PASSWORD".into(), SECRET.into());
    let labels = json!(labels::write(&replica(spec)));
    let networks = json!({"shop": {"IPAddress": "172.18.0.5"}, "zoo": {"IPAddress": "172.19.0.5"}});
    let summary = json!({
        "Id": ID, "Names": [name], "Image": "web:1", "ImageID": "sha256:a", "State": "running", "Labels": labels,
        "Created": 1_714_979_289, "NetworkSettings": {"Networks": networks},
    });
    let inspected = json!({
        "Id": ID, "Name": name, "Image": "sha256:a", "RestartCount": 2,
        "State": {
            "Status": "running", "StartedAt": "2024-05-06T07:08:10Z", "FinishedAt": "0001-01-01T00:00:00Z", "ExitCode": 0,
            "Health": {"Status": "healthy"},
        },
        "Config": {"Labels": labels, "Image": "web:1", "Env": [format!("PASSWORD={SECRET}"), "PATH=/bin"]},
        "HostConfig": {
            "NanoCpus": 500_000_000, "Memory": 64 << 20, "NetworkMode": "shop",
            "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
        },
        "NetworkSettings": {"Networks": networks},
    });
    (summary, inspected)
}

async fn host_of_a_replica(name: &'static str) -> Fake {
    let (summary, inspected) = shown(name);
    daemon("1.44", move |asked| match asked.path.split('?').next().unwrap_or_default() {
        "/containers/json" => Answer::json(200, json!([summary])),
        path if path.starts_with("/containers/") => Answer::json(200, inspected.clone()),
        path if path.starts_with("/images/") => Answer::json(200, json!({"Id": "sha256:a"})),
        path => Answer::refusal(404, path),
    })
    .await
}

#[tokio::test]
async fn a_container_of_an_application_is_listed_as_docker_enforces_it_and_without_its_environment() {
    let host = host_of_a_replica("/shop.web.2.7").await;
    let listed = host.docker.list().await.unwrap().remove(0);
    assert_eq!(listed, host.docker.inspect(&ID.parse().unwrap()).await.unwrap());
    let ObservedContainer { spec, managed, reserved, limits_known, run, .. } = listed;
    assert!(managed.unwrap().replica().is_some() && limits_known);
    assert!(spec.environment.is_empty(), "{:?}", spec.environment);
    assert_eq!((spec.cpus, spec.memory), (Some(Cpus::from_milli(500)), Some(MemoryMb::new(64))));
    assert_eq!((spec.restart_policy, reserved.memory), (RestartPolicy::Always, MemoryMb::new(64)));
    let expected = RunState {
        started: Some("2024-05-06T07:08:10Z".parse().unwrap()),
        ended: None,
        exit_code: None,
        health: Some(HealthStatus::Healthy),
        restarts: 2,
        address: Some("172.18.0.5".parse().unwrap()),
        network_lost: false,
    };
    assert_eq!(run, expected);
}

#[test]
fn a_container_that_was_taken_out_of_its_network_is_known() {
    let is_lost = |mode: &str, networks: Value| {
        let whole = json!({
            "Id": ID, "Name": "/web", "State": {"Status": "running"}, "HostConfig": {"NetworkMode": mode},
            "NetworkSettings": {"Networks": networks},
        });
        observed::from_inspect(serde_json::from_value(whole).unwrap()).unwrap().run.network_lost
    };
    assert!(is_lost("shop", json!({})) && is_lost("shop", json!({"zoo": {"NetworkID": "b1"}})));
    assert!(!is_lost("shop", json!({"shop": {}})) && !is_lost("b1", json!({"shop": {"NetworkID": "b1"}})));
    assert!(!is_lost("bridge", json!({})) && !is_lost("host", json!({})) && !is_lost("container:a", json!({})));
}

#[tokio::test]
async fn the_environment_of_one_that_was_renamed_is_not_shown_either() {
    let host = host_of_a_replica("/mine").await;
    let listed = host.docker.list().await.unwrap().remove(0);
    assert_eq!(listed.managed, None);
    assert!(!format!("{listed:?}").contains(SECRET), "{listed:?}");
}

#[test]
fn how_a_program_ended_is_known_while_it_does_not_run() {
    let of = |state: Value| {
        let whole = json!({"Id": ID, "Name": "/web", "State": state, "NetworkSettings": {"Networks": {"a": {"IPAddress": ""}}}});
        observed::from_inspect(serde_json::from_value(whole).unwrap()).unwrap().run
    };
    let times = |status: &str, code: i64| {
        json!({
            "Status": status, "ExitCode": code, "StartedAt": "2024-05-06T07:08:10Z", "FinishedAt": "2024-05-06T07:08:09Z",
            "Health": {"Status": "unhealthy"},
        })
    };
    let ended = Some("2024-05-06T07:08:09Z".parse().unwrap());
    let run = of(times("running", 0));
    assert_eq!((run.ended, run.exit_code, run.health), (ended, None, Some(HealthStatus::Unhealthy)));
    for status in ["exited", "restarting"] {
        let run = of(times(status, 137));
        assert_eq!((run.ended, run.exit_code, run.health, run.address), (ended, Some(137), None, None), "{status}");
    }
    let never = json!({"Status": "created", "ExitCode": 0, "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"});
    assert_eq!(of(never), RunState::default());
}

#[test]
fn a_replica_is_in_the_network_of_its_application_unless_it_asks_for_another() {
    let body = |spec| serde_json::to_value(describe::container_body(&replica(spec), None)).unwrap();
    let usual = body(web());
    assert_eq!(usual["HostConfig"]["NetworkMode"], json!("shop"));
    assert_eq!(usual["NetworkingConfig"]["EndpointsConfig"]["shop"]["Aliases"], json!(["web"]));
    for mode in ["host", "none", "backend"] {
        let other = body(ContainerSpec { network_mode: mode.into(), ..web() });
        assert_eq!(other["HostConfig"]["NetworkMode"], json!(mode));
        assert_eq!(other.get("NetworkingConfig"), None, "{mode}");
    }
}

#[test]
fn memory_is_changed_with_its_swap_and_cpu_only_where_it_is_given() {
    let sizes = |cpus| Sizes { cpus, memory: MemoryMb::new(64), restart: RestartPolicy::Always };
    let body = |sizes| serde_json::to_value(describe::update_body(&sizes)).unwrap();
    let given = body(sizes(Some(Cpus::from_milli(500))));
    assert_eq!((&given["NanoCpus"], &given["CpuShares"]), (&json!(500_000_000), &json!(512)));
    assert_eq!((&given["Memory"], &given["MemorySwap"]), (&json!(64 << 20), &json!(64 << 20)));
    assert_eq!(given["RestartPolicy"]["Name"], json!("always"));
    let left = body(sizes(None));
    assert_eq!((left.get("NanoCpus"), left.get("CpuShares")), (None, None));
}

#[tokio::test]
async fn a_network_is_made_once_and_docker_is_told_to_look() {
    let network = NetworkRequest {
        name: "shop".into(),
        platform: "p".into(),
        app: "shop".parse().unwrap(),
        subnets: Default::default(),
    };
    let of = |platform: &str, app: &str| Ok(ObjectLabels { platform: platform.into(), app: app.into() });
    for (status, expected) in [(201, of("p", "shop")), (409, of("", "")), (500, Err(EngineErrorKind::Failed))] {
        let host = daemon("1.41", move |asked| match &*asked.path {
            "/networks/create" => Answer::json(status, json!({"Id": "x", "message": "no"})),
            _ => Answer::json(200, json!({"Id": "x", "Name": "shop"})),
        })
        .await;
        let outcome = host.docker.create_network(&network).await;
        assert_eq!(outcome.map_err(|error| error.kind()), expected, "{status}");
        let asked = host.asked.lock().iter().find(|asked| asked.path == "/networks/create").unwrap().clone();
        let sent: Value = serde_json::from_slice(&asked.body).unwrap();
        assert_eq!((&*asked.path, &sent["CheckDuplicate"]), ("/networks/create", &json!(true)));
        assert_eq!(sent["Labels"], json!({"paas.platform": "p", "paas.app": "shop"}));
    }
}

#[tokio::test]
async fn a_host_that_has_no_addresses_left_takes_those_of_the_platform() {
    let network = |range: &str| NetworkRequest {
        name: "shop".into(),
        platform: "p".into(),
        app: "shop".parse().unwrap(),
        subnets: range.parse().unwrap(),
    };
    for words in [
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
        "all predefined address pools have been fully subnetted",
    ] {
        let host = daemon("1.41", move |asked| match (&*asked.path, serde_json::from_slice::<Value>(&asked.body)) {
            ("/networks", _) => {
                Answer::json(200, json!([{"Name": "a", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}}]))
            }
            (_, Ok(sent)) if sent["IPAM"]["Config"][0]["Subnet"] == "10.9.1.0/24" => {
                Answer::refusal(403, "Pool overlaps with other one on this address space")
            }
            (_, Ok(sent)) if sent.get("IPAM").is_some() => Answer::json(201, json!({"Id": "x"})),
            _ => Answer::refusal(500, words),
        })
        .await;
        host.docker.create_network(&network("10.9.0.0/16")).await.unwrap();
        let sent: Value = serde_json::from_slice(&host.asked.lock().last().unwrap().body).unwrap();
        assert_eq!(sent["IPAM"]["Config"], json!([{"Subnet": "10.9.2.0/24"}]));
        let full = host.docker.create_network(&network("10.9.0.0/23")).await.unwrap_err();
        assert!(full.to_string().contains("--app-subnets"), "{full}");
    }
}

#[tokio::test]
async fn a_volume_says_which_slot_it_is_of() {
    let host = daemon("1.41", |_| Answer::json(201, volume("x"))).await;
    let nobodys = ObjectLabels::default();
    let (app, component) = ("shop".parse().unwrap(), "db".parse().unwrap());
    let request = VolumeRequest { name: "x".into(), platform: "p".into(), app, component, slot: 3 };
    assert_eq!(
        host.docker.create_volume(&request).await.unwrap(),
        nobodys,
        "Docker answers with the one that is there"
    );
    let sent: Value = serde_json::from_slice(&host.asked.lock().last().unwrap().body).unwrap();
    let labels = json!({"paas.platform": "p", "paas.app": "shop", "paas.component": "db", "paas.slot": "3"});
    assert_eq!((&sent["Name"], &sent["Labels"]), (&json!("x"), &labels));
}

#[tokio::test]
async fn what_is_not_there_need_not_go_and_what_is_in_use_stays() {
    let asked = async |status: u16| {
        let docker = daemon("1.41", move |_| Answer::refusal(status, "because")).await.docker;
        let network = docker.remove_network("shop").await.map_err(|error| error.kind());
        let volume = docker.remove_volume("data").await.map_err(|error| error.kind());
        (network, volume, docker.find_volume("data").await.map_err(|error| error.kind()))
    };
    use EngineErrorKind::{Conflict, Failed};
    assert_eq!(asked(404).await, (Ok(()), Ok(()), Ok(None)));
    assert_eq!(asked(403).await.0, Err(Conflict));
    assert_eq!(asked(409).await.1, Err(Conflict));
    assert_eq!(asked(500).await, (Err(Failed), Err(Failed), Err(Failed)));
}

#[tokio::test]
async fn a_host_says_which_volumes_it_has_but_for_those_that_docker_named() {
    let volumes = json!({"Volumes": [volume("data"), volume(ID)], "Warnings": null});
    for (status, expected) in [(200, Some(vec!["data".to_owned()])), (403, None)] {
        let volumes = volumes.clone();
        let host = daemon("1.41", move |asked| match asked.path.split('?').next().unwrap_or_default() {
            "/info" => Answer::json(200, json!({"ID": "one", "NCPU": 2})),
            "/volumes" => Answer::json(status, volumes.clone()),
            _ => Answer::json(200, json!([])),
        })
        .await;
        let info = host.docker.info().await.unwrap();
        assert_eq!(info.volumes.map(|volumes| volumes.into_keys().collect::<Vec<_>>()), expected);
    }
}

fn frame(kind: u8, bytes: &[u8]) -> Bytes {
    let head = [kind, 0, 0, 0].into_iter().chain((bytes.len() as u32).to_be_bytes());
    head.chain(bytes.iter().copied()).collect()
}

/// A daemon that runs a command whose output is over before it ends.
async fn host_of_a_command(start: impl Fn() -> Answer + Send + Sync + 'static) -> Fake {
    let asked_for_its_end = AtomicUsize::new(0);
    daemon("1.41", move |asked| match &*asked.path {
        path if path.ends_with("/exec") => Answer::json(201, json!({"Id": "e1"})),
        "/exec/e1/start" => start(),
        "/exec/e1/json" if asked_for_its_end.fetch_add(1, Ordering::SeqCst) < 2 => {
            Answer::json(200, json!({"ID": "e1", "Running": true, "ExitCode": null}))
        }
        "/exec/e1/json" => Answer::json(200, json!({"ID": "e1", "Running": false, "ExitCode": 3})),
        path => Answer::refusal(404, path),
    })
    .await
}

#[tokio::test]
async fn the_output_of_a_command_is_told_apart_and_then_comes_its_end() {
    let host = host_of_a_command(|| {
        let frames = [frame(1, b"out"), frame(2, b"err")];
        // Docker calls it so whether or not it comes in frames.
        Answer::stream("application/vnd.docker.raw-stream", stream::iter(frames))
    })
    .await;
    let id = ID.parse().unwrap();
    let command = ["ls".to_owned(), "-l".to_owned()];
    let items: Vec<_> = host.docker.exec(&id, &command).await.unwrap().map(|item| item.unwrap()).collect().await;
    let output = |stream, bytes| ExecChunk::Output(LogChunk { stream, bytes: Bytes::from_static(bytes) });
    let expected = [output(LogStream::Stdout, b"out"), output(LogStream::Stderr, b"err"), ExecChunk::Ended(3)];
    assert_eq!(items, expected);
    let asked = host.asked.lock().clone();
    let body = |end: &str| -> Value {
        serde_json::from_slice(&asked.iter().find(|asked| asked.path.ends_with(end)).unwrap().body).unwrap()
    };
    assert_eq!(body("/exec")["Cmd"], json!(command));
    assert_eq!(body("/start"), json!({"Detach": false, "Tty": false}));
}

#[tokio::test]
async fn a_command_that_cannot_be_run_or_whose_host_is_lost_is_an_error() {
    let id = ID.parse().unwrap();
    let refused = host_of_a_command(|| Answer::refusal(409, "container is paused")).await;
    let error = refused.docker.exec(&id, &["ls".to_owned()]).await.err().unwrap();
    assert_eq!(error.kind(), EngineErrorKind::Conflict);
    let cut = host_of_a_command(|| Answer::stream("x", stream::iter([frame(1, b"output").slice(..10)]))).await;
    let items: Vec<_> = cut.docker.exec(&id, &["ls".to_owned()]).await.unwrap().collect().await;
    assert_eq!(items.last().unwrap().as_ref().unwrap_err().kind(), EngineErrorKind::Unreachable);
    assert!(items.len() <= 2, "nothing comes after that: {items:?}");
}
