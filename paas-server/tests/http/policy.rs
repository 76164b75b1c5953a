//! What each role may ask of a host: over HTTP, with the sentence that says which setting opens it.

use paas_core::controller::Policy;
use paas_core::model::Capability;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Server, Start, unique};

/// What is asked, which field is refused to a user, and which setting opens it.
fn cases() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let run = |field: &str, value: Value| json!({"name": "web", "memory": 8, field: value});
    let containers = "/api/containers";
    vec![
        (containers, run("volumes", json!(["/:/host"])), "volumes", "--allow-host-paths"),
        (containers, run("volumes", json!(["data:/d", "/srv/../etc:/x:ro"])), "volumes", "--allow-host-paths"),
        (containers, run("volumes", json!(["/var/run/docker.sock:/s"])), "volumes", "--allow-host-paths"),
        (containers, run("network_mode", json!("host")), "network_mode", "--allow-host-network"),
        (containers, run("bind_ports", json!([{"container_port": 80, "port": 80}])), "bind_ports", "--allow-low-ports"),
        (containers, run("cap_add", json!(["sys_admin"])), "cap_add", "--allow-capabilities"),
        (containers, run("devices", json!(["/dev/fuse"])), "devices", "--allow-devices"),
        (containers, run("sysctls", json!({"net.core.somaxconn": "1"})), "sysctls", "--allow-sysctls"),
        (containers, run("logging", json!({"driver": "syslog"})), "logging", "--allow-log-drivers"),
        ("/api/engines", json!({"id": "u", "addr": "unix:///nowhere/docker.sock"}), "addr", "--allow-unix-engines"),
    ]
}

fn with(policy: Policy) -> Start {
    Start { policy, ..Start::default() }
}

#[tokio::test]
async fn what_opens_a_host_is_refused_to_users_and_not_to_admins() {
    let server = Server::start().await;
    let (admin, user) = (server.admin().await, server.login("user").await);
    let before = server.state().await;
    for (path, body, field, setting) in cases() {
        let problem = user.post(path, &body).await.is_problem(403, "forbidden");
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(setting), "{problem}");
    }
    assert_eq!(server.state().await, before, "nothing was done");
    for (path, body, ..) in cases() {
        assert_ne!(admin.post(path, &body).await.status, 403, "{body}");
    }
    for open in [
        json!({"name": "web", "volumes": ["data:/d"]}),
        json!({"name": "web", "network_mode": "none"}),
        json!({"name": "web", "cap_add": ["NET_RAW"], "cap_drop": ["ALL"], "logging": {"driver": "local"}}),
    ] {
        assert_eq!(user.post("/api/containers", &open).await.status, 201, "{open}");
    }
}

#[tokio::test]
async fn each_setting_opens_what_it_says() {
    let open = Policy {
        host_paths: vec!["/".into()],
        host_network: true,
        low_ports: true,
        capabilities: vec![Capability::ALL],
        devices: vec!["/dev".into()],
        sysctls: vec!["net.*".into()],
        log_drivers: vec!["syslog".into()],
        unix_engines: true,
        ..Policy::default()
    };
    let server = Server::with(with(open)).await;
    let user = server.login("user").await;
    for (path, body, ..) in cases() {
        assert_ne!(user.post(path, &body).await.status, 403, "{body}");
    }
}

#[tokio::test]
async fn a_user_does_not_join_the_network_of_others_or_multiply_what_an_admin_made() {
    let server = Server::start().await;
    let (admin, user) = (server.admin().await, server.login("user").await);
    let run = |more: Value| {
        let mut body = json!({"name": "web", "memory": 8});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let id = |answer: &Answer| answer.json()[0]["id"].as_str().unwrap().to_owned();
    let of_admin = id(&admin.post("/api/containers", &run(json!({"volumes": ["/srv:/x"]}))).await);
    let of_user = id(&user.post("/api/containers", &run(json!({}))).await);
    let beside = |id: &str| run(json!({"network_mode": format!("container:{id}")}));
    let refused = user.post("/api/containers", &beside(&of_admin)).await.is_problem(403, "forbidden");
    assert_eq!(refused["field"], "network_mode", "{refused}");
    assert_eq!(user.post("/api/containers", &beside(&of_user)).await.status, 201);
    assert_eq!(admin.post("/api/containers", &beside(&of_user)).await.status, 201);
    let scale = |count: u32| format!("/api/containers/{of_admin}/scale?count={count}");
    user.post(&scale(2), &Value::Null).await.is_problem(403, "forbidden");
    assert_eq!(admin.post(&scale(2), &Value::Null).await.status, 204);
    assert_eq!(user.post(&scale(1), &Value::Null).await.status, 204, "fewer is no more than before");
    let stop = format!("/api/containers/{of_admin}/stop?timeout=0");
    assert_eq!(user.post(&stop, &Value::Null).await.status, 204);
}

#[tokio::test]
async fn simulated_hosts_are_for_those_who_say_so_and_a_join_token_registers_no_socket() {
    let server = Server::with(with(Policy { simulated_engines: false, ..Policy::default() })).await;
    let admin = server.admin().await;
    let simulated = json!({"id": "s", "addr": format!("sim://{}", unique("s"))});
    for api in [&admin, &server.login("user").await] {
        let refused = api.post("/api/engines", &simulated).await.is_problem(403, "forbidden");
        assert!(refused["field"] == "addr" && refused["detail"].as_str().unwrap().contains("--allow-simulated"));
    }
    let token = admin.post("/api/join-tokens", &Value::Null).await.json()["token"].as_str().unwrap().to_owned();
    let host = Api { token: Some(token), ..server.anonymous() };
    for addr in ["unix:///var/run/docker.sock", "sim://joined"] {
        let member =
            json!({"id": "j", "addr": addr, "cpus": 1, "memory": 64, "daemon_id": "d", "docker_version": "27"});
        let session = uuid::Uuid::new_v4();
        let heartbeat = json!({"session": session, "ttl_seconds": 5, "member": member});
        let refused = host.post("/join/engines/j", &heartbeat).await.is_problem(403, "forbidden");
        assert_eq!(refused["field"], "addr", "{refused}");
    }
    assert_eq!(server.controller.engines().len(), 1);
}
