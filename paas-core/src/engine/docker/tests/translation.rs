use std::collections::{BTreeMap, HashMap};

use bollard::models::{ContainerInspectResponse, ContainerSummary, CreateImageInfo, EventMessage};
use serde_json::json;

use super::super::pull::Layers;
use super::super::{describe, events, observed, whole_seconds};
use super::web;
use crate::engine::{CreateRequest, ObservedContainer, labels};
use crate::model::{ContainerSpec, ContainerState, Cpus, LaunchId, MemoryMb, Resources, RestartPolicy};

const ID: &str = "714e01115f76714e01115f76714e01115f76714e01115f76714e01115f764e01";

fn request(spec: ContainerSpec) -> CreateRequest {
    CreateRequest {
        name: "web-1".into(),
        spec,
        links: vec![("/db-1".into(), "database".into())],
        platform: "p".into(),
        engine: "e".parse().unwrap(),
        launch: LaunchId::new(),
        user: "admin".into(),
        mark: None,
    }
}

fn body(spec: ContainerSpec) -> serde_json::Value {
    serde_json::to_value(describe::container_body(&request(spec))).unwrap()
}

fn inspected(value: serde_json::Value) -> ObservedContainer {
    let mut whole = json!({
        "Id": ID, "Name": "/web", "Created": "2024-05-06T07:08:09.123456789Z", "State": {"Status": "running"},
        "Image": format!("sha256:{}", "a".repeat(64)),
    });
    whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    let response: ContainerInspectResponse = serde_json::from_value(whole).unwrap();
    observed::from_inspect(response).unwrap()
}

fn listed(value: serde_json::Value) -> ObservedContainer {
    let mut whole =
        json!({"Id": ID, "Names": ["/web"], "Image": "httpd:2", "Created": 1_714_979_289, "State": "running"});
    whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    let summary: ContainerSummary = serde_json::from_value(whole).unwrap();
    observed::from_summary(summary).unwrap()
}

#[test]
fn a_share_of_cpu_that_is_asked_for_is_a_limit_and_a_default_one_is_a_weight_only() {
    let host = &body(ContainerSpec { cpus: Some(Cpus::from_milli(1500)), ..web() })["HostConfig"];
    assert_eq!((&host["NanoCpus"], &host["CpuShares"]), (&json!(1_500_000_000), &json!(1536)));
    let host = &body(web())["HostConfig"];
    assert_eq!((&host["NanoCpus"], &host["CpuShares"]), (&json!(null), &json!(102)));
    let least = &body(ContainerSpec { cpus: Some(Cpus::from_milli(1)), ..web() })["HostConfig"];
    assert_eq!(least["CpuShares"], json!(2));
    let most = &body(ContainerSpec { cpus: Some(Cpus::MAX), ..web() })["HostConfig"];
    assert_eq!(most["CpuShares"], json!(262_144));
}

#[test]
fn memory_is_always_limited_and_no_swap_added() {
    let host = &body(ContainerSpec { memory: None, ..web() })["HostConfig"];
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(256 << 20), &json!(256 << 20)));
}

#[test]
fn ports_and_volumes_are_written_as_docker_wants_them() {
    let spec = ContainerSpec {
        bind_ports: ["tcp/::80", "tcp/127.0.0.1:8080:80", "udp/:53:53"].map(|port| port.parse().unwrap()).into(),
        volumes: ["/cache", "data:/data", "/srv:/www:ro"].map(str::to_owned).into(),
        ..web()
    };
    let body = body(spec);
    assert_eq!(body["ExposedPorts"], json!({"80/tcp": {}, "53/udp": {}}));
    let ports = &body["HostConfig"]["PortBindings"];
    assert_eq!(ports["80/tcp"], json!([{"HostIp": "", "HostPort": ""}, {"HostIp": "127.0.0.1", "HostPort": "8080"}]));
    assert_eq!(ports["53/udp"], json!([{"HostIp": "", "HostPort": "53"}]));
    assert_eq!(body["Volumes"], json!({"/cache": {}}));
    assert_eq!(body["HostConfig"]["Binds"], json!(["data:/data", "/srv:/www:ro"]));
}

#[test]
fn links_go_where_the_network_wants_them() {
    let of_default_network = body(web());
    assert_eq!(of_default_network["HostConfig"]["Links"], json!(["db-1:database"]));
    assert_eq!(of_default_network.get("NetworkingConfig"), None);
    let of_own_network = body(ContainerSpec { network_mode: "backend".into(), ..web() });
    assert_eq!(of_own_network["HostConfig"].get("Links"), None);
    assert_eq!(of_own_network["NetworkingConfig"]["EndpointsConfig"]["backend"]["Links"], json!(["db-1:database"]));
}

#[test]
fn what_is_not_given_is_left_to_the_image() {
    let body = body(ContainerSpec { user_data: None, ..web() });
    for field in ["Entrypoint", "Cmd", "Env", "Hostname", "Domainname", "ExposedPorts", "Volumes"] {
        assert_eq!(body.get(field), None, "{field}");
    }
}

#[test]
fn our_own_container_is_known_by_its_labels_in_a_list_and_inspected() {
    let spec = ContainerSpec { cpus: Some(Cpus::from_milli(250)), ..web() };
    let labels = json!(labels::write(&request(spec.clone())));
    let port = json!({"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 49153, "Type": "tcp"});
    let port6 = json!({"IP": "::", "PrivatePort": 80, "PublicPort": 49153, "Type": "tcp"});
    let unpublished = json!({"PrivatePort": 443, "Type": "tcp"});
    let from_list = listed(json!({"Labels": labels, "Ports": [port6, unpublished, port]}));
    assert_eq!(from_list.spec, spec);
    assert_eq!(&*from_list.managed.as_ref().unwrap().user, "admin");
    assert_eq!(from_list.ports.len(), 1, "one port, not one for each family of addresses: {:?}", from_list.ports);
    let both = json!([{"HostIp": "0.0.0.0", "HostPort": "49153"}, {"HostIp": "::", "HostPort": "49153"}]);
    let from_inspect = inspected(json!({
        "Config": {"Labels": labels, "Image": "anything"},
        "NetworkSettings": {"Ports": {"80/tcp": both, "443/tcp": null}},
    }));
    assert_eq!(from_inspect, from_list);
}

#[test]
fn different_ports_of_ipv4_and_ipv6_are_two() {
    let both = json!([{"HostIp": "0.0.0.0", "HostPort": "49153"}, {"HostIp": "::", "HostPort": "49154"}]);
    assert_eq!(inspected(json!({"NetworkSettings": {"Ports": {"80/tcp": both}}})).ports.len(), 2);
}

#[test]
fn a_container_that_does_not_run_has_no_ports() {
    let port = json!({"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 80, "Type": "tcp"});
    assert!(listed(json!({"State": "exited", "Ports": [port]})).ports.is_empty());
}

#[test]
fn every_state_of_docker_is_one_of_ours() {
    use ContainerState::*;
    for (docker, ours) in [
        ("created", Created),
        ("running", Running),
        ("paused", Paused),
        ("restarting", Restarting),
        ("exited", Stopped),
        ("dead", Stopped),
        ("removing", Stopped),
    ] {
        assert_eq!(listed(json!({"State": docker})).state, ours, "{docker}");
        assert_eq!(inspected(json!({"State": {"Status": docker}})).state, ours, "{docker}");
    }
}

#[test]
fn the_limits_of_others_count_and_the_default_where_they_have_none() {
    let reserved = |host| inspected(json!({"HostConfig": host, "Config": {"Image": "httpd"}})).reserved;
    let default = Resources { cpus: Cpus::DEFAULT_RESERVATION, memory: MemoryMb::DEFAULT_RESERVATION };
    assert_eq!(reserved(json!({"NanoCpus": 0, "Memory": 0})), default);
    assert_eq!(
        reserved(json!({"NanoCpus": 1_500_000_000_u64, "Memory": (100 << 20) + 1})),
        Resources { cpus: Cpus::from_milli(1500), memory: MemoryMb::new(101) }
    );
    assert_eq!(reserved(json!({"CpuQuota": 50_000})).cpus, Cpus::from_milli(500));
    assert_eq!(reserved(json!({"CpuQuota": 50_000, "CpuPeriod": 25_000})).cpus, Cpus::from_milli(2000));
    assert_eq!(reserved(json!({"CpuQuota": -1, "Memory": -1})), default);
}

#[test]
fn somebody_elses_container_is_described_as_docker_shows_it() {
    let spec = inspected(json!({
        "Config": {
            "Image": "httpd:2", "Hostname": "714e01115f76", "Domainname": "example.org", "Entrypoint": ["/run"],
            "Cmd": ["a"], "Env": ["A=1=2", "B"], "Volumes": {"/cache": {}},
        },
        "HostConfig": {
            "Binds": ["data:/data"], "Links": ["/db:/web/database"], "NetworkMode": "default", "CpusetCpus": "0",
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "", "HostPort": ""}]},
            "PublishAllPorts": true, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        },
    }))
    .spec;
    assert_eq!(spec.name.as_str(), "httpd:2");
    assert_eq!((spec.hostname, spec.domainname.as_deref()), (None, Some("example.org")));
    assert_eq!((spec.entrypoint, spec.args), (vec!["/run".to_owned()], vec!["a".to_owned()]));
    assert_eq!(spec.environment, BTreeMap::from([("A".into(), "1=2".into()), ("B".into(), String::new())]));
    assert_eq!(spec.volumes, ["data:/data", "/cache"]);
    assert_eq!(spec.links, BTreeMap::from([("db".into(), "database".into())]));
    assert_eq!((spec.network_mode.as_str(), spec.cpuset.as_deref()), ("bridge", Some("0")));
    let ports: Vec<String> = spec.bind_ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["tcp/::80", "tcp/127.0.0.1:8080:80"]);
    assert_eq!((spec.publish, spec.restart_policy), (true, RestartPolicy::OnFailure { maximum_retry: 3 }));
}

#[test]
fn a_container_without_a_readable_image_is_not_lost() {
    let name = |image: &str| inspected(json!({"Config": {"Image": image}})).spec.name.to_string();
    let id = format!("sha256:{}", "a".repeat(64));
    assert_eq!(name(&id), id);
    assert_eq!(name("Not An Image"), id);
    let nameless = inspected(json!({"Image": "", "Config": {"Image": ""}}));
    assert_eq!(nameless.spec.name.as_str(), "unknown");
}

#[test]
fn the_name_of_a_linked_container_is_its_own() {
    assert_eq!(listed(json!({"Names": ["/web-1/database", "/db-1"]})).name, "/db-1");
}

#[test]
fn an_event_has_docker_s_word_and_the_time_to_the_nanosecond() {
    let launch = LaunchId::new();
    let message = |action: &str, kind: &str| -> EventMessage {
        serde_json::from_value(json!({
            "Type": kind, "Action": action, "time": 1_700_000_000, "timeNano": 1_700_000_000_123_456_789_i64,
            "Actor": {"ID": ID, "Attributes": {"name": "web", "image": "httpd:2", "paas.launch": launch.to_string()}},
        }))
        .unwrap()
    };
    let event = events::engine_event(message("exec_create: sh -c true", "container")).unwrap();
    assert_eq!(event.action, "exec_create");
    assert_eq!(event.time.as_nanosecond(), 1_700_000_000_123_456_789);
    assert_eq!(event.container.unwrap().as_str(), ID);
    assert_eq!((event.name.as_str(), event.image.as_deref()), ("web", Some("httpd:2")));
    assert_eq!(event.launch, Some(launch), "the labels of a container are among what is told of it");
    assert_eq!(events::engine_event(message("health_status: healthy", "container")).unwrap().action, "health_status");
    assert_eq!(events::engine_event(message("pull", "image")).unwrap().container, None);
    assert_eq!(events::docker_time(event.time), "1700000000.123456789");
}

#[test]
fn the_layers_of_a_pull_are_summed_up() {
    let image = "httpd".parse().unwrap();
    let mut layers = Layers::default();
    let mut after = |layer: &str, status: &str, bytes: Option<(i64, i64)>| {
        let detail = bytes.map(|(current, total)| json!({"current": current, "total": total})).unwrap_or(json!({}));
        let info: CreateImageInfo =
            serde_json::from_value(json!({"id": layer, "status": status, "progressDetail": detail})).unwrap();
        layers.progress(&image, info).bytes
    };
    assert_eq!(after("latest", "Pulling from library/httpd", None), None);
    assert_eq!(after("a", "Downloading", Some((10, 100))), Some((10, 100)));
    assert_eq!(after("b", "Downloading", Some((5, 50))), Some((15, 150)));
    assert_eq!(after("a", "Download complete", None), Some((105, 150)));
    assert_eq!(after("a", "Extracting", Some((1, 100))), Some((105, 150)));
    assert_eq!(after("b", "Pull complete", None), Some((150, 150)));
}

#[test]
fn a_container_never_gets_less_time_than_it_was_given() {
    use std::time::Duration;
    assert_eq!(whole_seconds(Duration::from_millis(1500)), 2);
    assert_eq!(whole_seconds(Duration::ZERO), 0);
    assert_eq!(whole_seconds(Duration::MAX), i32::MAX);
}

#[test]
fn spoiled_labels_make_it_somebody_elses() {
    let labels = HashMap::from([("paas.version", "1"), ("paas.spec", "{")]);
    assert_eq!(listed(json!({"Labels": labels})).managed, None);
}
