use std::collections::{BTreeMap, HashMap};

use bollard::models::{ContainerInspectResponse, ContainerSummary, CreateImageInfo, EventMessage};
use serde_json::{Value, json};

use super::super::pull::Layers;
use super::super::{describe, events, observed, whole_seconds};
use super::web;
use crate::engine::{CreateRequest, EventDetail, ObservedContainer, labels};
use crate::model::{ContainerSpec, ContainerState, Cpus, HealthCheck, LaunchId, MemoryMb, Resources, RestartPolicy};

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
        log_rotation: None,
        replica: None,
        network: None,
        hidden_environment: Default::default(),
    }
}

fn body(spec: ContainerSpec) -> serde_json::Value {
    serde_json::to_value(describe::container_body(&request(spec), None)).unwrap()
}

fn labels_of(spec: &ContainerSpec) -> HashMap<String, String> {
    labels::write(&request(spec.clone()))
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
    let from_list = listed(json!({"Names": ["/web-1"], "Labels": labels, "Ports": [port6, unpublished, port]}));
    assert_eq!(from_list.spec, spec);
    assert_eq!(&*from_list.managed.as_ref().unwrap().user, "admin");
    assert_eq!(from_list.ports.len(), 2, "one for each family of addresses: {:?}", from_list.ports);
    let both = json!([{"HostIp": "0.0.0.0", "HostPort": "49153"}, {"HostIp": "::", "HostPort": "49153"}]);
    let from_inspect = inspected(json!({
        "Name": "/web-1",
        "Config": {"Labels": labels, "Image": "anything"},
        "NetworkSettings": {"Ports": {"80/tcp": both, "443/tcp": null}},
    }));
    assert!(from_inspect.limits_known && !from_list.limits_known);
    assert_eq!(from_inspect, ObservedContainer { limits_known: true, ..from_list });
}

#[test]
fn every_value_comes_back_byte_for_byte() {
    let value = "-----BEGIN\na=b \"c\" $HOME \\n \u{fc} \t'x'\r\n-----END";
    let mut spec = web();
    spec.environment = [("K".to_owned(), value.to_owned()), ("A B".to_owned(), "=".to_owned())].into();
    spec.args = vec!["sh".into(), "-c".into(), value.into()];
    let sent = body(spec.clone());
    assert_eq!(sent["Env"], json!(["A B==", format!("K={value}")]));
    assert_eq!(sent["Cmd"][2], json!(value));
    // What Docker keeps and shows is what was sent; the group is found again by it.
    let found = inspected(json!({"Name": "/web-1", "Config": {"Labels": sent["Labels"], "Image": "httpd:2"}}));
    assert_eq!(found.spec, spec);
    assert_eq!(found.managed.unwrap().group(), Some(&spec.group()));
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

/// A description that says everything.
fn full() -> ContainerSpec {
    serde_json::from_str(include_str!("../../../model/golden/spec-full.json")).unwrap()
}

#[test]
fn what_goes_to_docker_as_it_is_is_written_as_docker_wants_it() {
    let body = body(full());
    assert_eq!(
        (&body["User"], &body["StopSignal"], &body["StopTimeout"]),
        (&json!("1000:www"), &json!("SIGINT"), &json!(30))
    );
    let second = 1_000_000_000_u64;
    let health = json!({"Test": ["CMD", "true"], "Interval": 2 * second, "Timeout": 1_500_000_000_u64,
        "StartPeriod": 90 * second, "Retries": 3});
    assert_eq!(body["Healthcheck"], health);
    assert_eq!(body["Labels"]["org.example"], json!("x"));
    let expected = json!({
        "Init": false, "ReadonlyRootfs": true, "Tmpfs": {"/run": "size=1m"}, "ShmSize": 32 << 20, "CapAdd": ["NET_ADMIN"],
        "CapDrop": ["ALL"], "Ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": -1}],
        "Sysctls": {"net.core.somaxconn": "1024"}, "ExtraHosts": ["db:10.0.0.5"],
        "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}],
        "MemoryReservation": 32 << 20, "PidsLimit": 100,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(body["HostConfig"][field], *value, "{field}");
    }
}

#[test]
fn what_is_not_asked_for_is_not_sent() {
    let body = body(ContainerSpec { user_data: None, ..web() });
    for field in ["User", "StopSignal", "StopTimeout", "Healthcheck"] {
        assert_eq!(body.get(field), None, "{field}");
    }
    let host = &body["HostConfig"];
    let of_host =
        ["Init", "ReadonlyRootfs", "Tmpfs", "ShmSize", "CapAdd", "CapDrop", "Ulimits", "Sysctls", "ExtraHosts"];
    for field in of_host.into_iter().chain(["LogConfig", "Devices", "MemoryReservation", "PidsLimit"]) {
        assert_eq!(host.get(field), None, "{field}");
    }
}

#[test]
fn a_health_check_is_a_line_for_the_shell_a_program_that_of_the_image_or_none() {
    for (health, test) in [
        (json!({"command": "a | b"}), json!(["CMD-SHELL", "a | b"])),
        (json!({"command": ["a", "b c"]}), json!(["CMD", "a", "b c"])),
        (json!({"retries": 2}), Value::Null),
        (json!({"disabled": true}), json!(["NONE"])),
    ] {
        let health: HealthCheck = serde_json::from_value(health).unwrap();
        let sent = body(ContainerSpec { health: Some(health.clone()), ..web() })["Healthcheck"].clone();
        assert_eq!(sent["Test"], test);
        let shown = inspected(json!({"Config": {"Image": "httpd", "Healthcheck": sent}})).spec;
        assert_eq!(shown.health, Some(health));
    }
}

#[test]
fn what_docker_was_told_of_somebody_elses_container_is_shown_as_it_was_told() {
    let (asked, mut sent) = (full(), body(full()));
    // Without its format nobody takes the rest of the platform's labels for its own.
    sent["Labels"].as_object_mut().unwrap().remove("paas.version");
    let mut host = sent["HostConfig"].take();
    host["LogConfig"] = json!({"Type": "local", "Config": {"max-size": "1m"}});
    let shown = inspected(json!({"Name": "/web-1", "Config": sent, "HostConfig": host}));
    assert!(shown.managed.is_none());
    let (asked, shown) = (serde_json::to_value(asked).unwrap(), serde_json::to_value(shown.spec).unwrap());
    // Which engine it is for, and what becomes of a text for the program and of links, Docker is not told in so many words.
    const OURS: [&str; 5] = ["type", "labels", "user_data", "environment", "links"];
    for field in asked.as_object().unwrap().keys().filter(|field| !OURS.contains(&field.as_str())) {
        assert_eq!(shown[field], asked[field], "{field}");
    }
}

#[test]
fn what_docker_shows_of_everything_by_default_says_nothing() {
    let shown = inspected(json!({
        "Config": {"Image": "httpd:2", "User": "", "StopSignal": "SIGTERM", "Labels": {}, "Healthcheck": {}},
        "HostConfig": {
            "Init": null, "ReadonlyRootfs": false, "ShmSize": 64 << 20, "CapAdd": null, "CapDrop": null, "Ulimits": null,
            "ExtraHosts": null, "LogConfig": {"Type": "json-file", "Config": {}}, "Devices": [], "MemoryReservation": 0,
            "PidsLimit": 0,
        },
    }));
    assert_eq!(shown.spec, ContainerSpec::new("httpd:2".parse().unwrap()));
    let of_later_docker = inspected(json!({
        "Config": {"Image": "httpd:2"},
        "HostConfig": {"CapAdd": ["CAP_NET_ADMIN", "CAP_OF_LATER"], "Tmpfs": {"/b": "", "/a": "rw"}, "PidsLimit": -1},
    }))
    .spec;
    assert_eq!(of_later_docker.cap_add.iter().map(|one| one.as_str()).collect::<Vec<_>>(), ["NET_ADMIN"]);
    assert_eq!((of_later_docker.tmpfs, of_later_docker.pids_limit), (vec!["/a:rw".into(), "/b".into()], None));
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
        "Mounts": [
            {"Type": "volume", "Name": "shop.db.1.data", "Destination": "/stolen"},
            {"Type": "volume", "Name": "data", "Destination": "/data"},
            {"Type": "volume", "Name": "a".repeat(64), "Destination": "/cache"},
            {"Type": "bind", "Source": "/srv", "Destination": "/www"},
        ],
    }))
    .spec;
    assert_eq!(spec.name.as_str(), "httpd:2");
    assert_eq!((spec.hostname, spec.domainname.as_deref()), (None, Some("example.org")));
    assert_eq!((spec.entrypoint, spec.args), (vec!["/run".to_owned()], vec!["a".to_owned()]));
    assert_eq!(spec.environment, BTreeMap::from([("A".into(), "1=2".into()), ("B".into(), String::new())]));
    assert_eq!(spec.volumes, ["data:/data", "/cache", "shop.db.1.data:/stolen"]);
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
            "Actor": {
                "ID": ID,
                "Attributes": {"name": "web", "image": "httpd:2", "paas.launch": launch.to_string(), "container": ID},
            },
        }))
        .unwrap()
    };
    let event = events::engine_event(message("exec_create: sh -c true", "container")).unwrap();
    assert_eq!(event.action, "exec_create");
    assert_eq!(event.time.as_nanosecond(), 1_700_000_000_123_456_789);
    assert_eq!(event.container.unwrap().as_str(), ID);
    assert_eq!((event.name.as_str(), event.image.as_deref()), ("web", Some("httpd:2")));
    assert_eq!(event.launch, Some(launch), "the labels of a container are among what is told of it");
    assert_eq!(event.detail, EventDetail::default(), "what an exec runs may hold secrets");
    let health = events::engine_event(message("health_status: unhealthy", "container")).unwrap();
    assert_eq!((health.action.as_str(), health.detail.health.as_deref()), ("health_status", Some("unhealthy")));
    assert_eq!(events::engine_event(message("pull", "image")).unwrap().container, None);
    let left = events::engine_event(message("disconnect", "network")).unwrap();
    assert_eq!((left.container, left.detail.disconnected.unwrap().as_str()), (None, ID), "which is read again then");
    assert_eq!(events::docker_time(event.time), "1700000000.123456789");
}

#[test]
fn an_event_says_how_a_program_ended_and_by_which_signal() {
    let detail = |action: &str, attribute: (&str, &str)| {
        let message = json!({
            "Type": "container", "Action": action, "timeNano": 1_700_000_000_123_456_789_i64,
            "Actor": {"ID": ID, "Attributes": {"name": "web", "image": "httpd:2", attribute.0: attribute.1}},
        });
        events::engine_event(serde_json::from_value(message).unwrap()).unwrap().detail
    };
    assert_eq!(detail("die", ("exitCode", "3")).exit_code, Some(3));
    assert_eq!(detail("die", ("containerExitCode", "137")).exit_code, Some(137), "Podman's word");
    assert_eq!(detail("kill", ("signal", "15")).signal.as_deref(), Some("15"));
    let labelled = [("start", ("exitCode", "3")), ("create", ("signal", "9")), ("die", ("exitCode", "three"))];
    for (action, attribute) in labelled {
        assert_eq!(detail(action, attribute), EventDetail::default(), "{action}: a label of that name says nothing");
    }
}

#[test]
fn what_docker_enforces_is_what_a_container_of_ours_counts_as() {
    let mut spec = ContainerSpec::new("httpd:2".parse().unwrap());
    spec.memory = Some(MemoryMb::new(64));
    let labels = labels_of(&spec);
    let host = |host: serde_json::Value| {
        inspected(json!({"Name": "/web-1", "HostConfig": host, "Config": {"Labels": labels.clone()}}))
    };
    let asked = spec.reserved();
    assert_eq!(host(json!({"Memory": 64 << 20})).reserved, asked);
    let raised = host(json!({"Memory": 3_u64 << 30, "NanoCpus": 1_500_000_000_u64}));
    assert_eq!(raised.reserved, Resources { cpus: Cpus::from_milli(1500), memory: MemoryMb::new(3072) });
    assert_eq!(
        (&raised.spec, raised.managed.as_ref().unwrap().group().unwrap().clone()),
        (&spec, spec.group()),
        "as it was asked"
    );
    assert_eq!(host(json!({"Memory": 0})).reserved, asked, "a host that discards limits");
    assert!(!listed(json!({"Labels": labels.clone()})).limits_known && raised.limits_known);
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
