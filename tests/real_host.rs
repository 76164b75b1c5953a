//! The whole system on a real Docker host: server process, HTTP, daemon, containers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bollard::query_parameters::{InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use paas_core::model::EngineAddress;
use paas_core::testing::docker;
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{Api, Server, eventually};

/// An image of its own for every test, so that tests that run at once do not see each other's containers.
async fn image(address: &EngineAddress, test: &str) -> String {
    let web = docker::web_image(address).await;
    let client = docker::client(address).await;
    let repository = format!("paas-test-{test}");
    let options = bollard::query_parameters::TagImageOptionsBuilder::new().repo(&repository).tag("1").build();
    client.tag_image(web, Some(options)).await.unwrap();
    let image = format!("{repository}:1");
    remove_all(&client, &image).await;
    image
}

/// Ids of everything on the host that was made of an image, by Docker's own account.
async fn really_there(client: &bollard::Docker, image: &str) -> Vec<String> {
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let all = client.list_containers(Some(options)).await.unwrap();
    let of_it = all.into_iter().filter(|container| container.image.as_deref() == Some(image));
    of_it.filter_map(|container| container.id).collect()
}

/// Waits until so many containers of an image are there, so that what comes next comes in the middle of a launch.
async fn until_there(client: &bollard::Docker, image: &str, count: usize) {
    let there = || async { really_there(client, image).await.len() >= count };
    assert!(eventually(Duration::from_secs(60), there).await, "not even {count} of {image} are there");
}

async fn remove_all(client: &bollard::Docker, image: &str) {
    for id in really_there(client, image).await {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        // Another may be at it already.
        let _ = client.remove_container(&id, Some(options)).await;
    }
}

async fn reserved(api: &Api) -> (f64, u64) {
    let info = api.get("/api/cluster/info").await.body;
    (info["reserved_cpus"].as_f64().unwrap(), info["reserved_memory"].as_u64().unwrap())
}

fn local(address: &EngineAddress) -> String {
    format!("local={address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_containers_in_one_request_all_answer() {
    let Some(address) = docker::daemon("thirty_containers_in_one_request_all_answer").await else { return };
    let image = image(&address, "thirty").await;
    let server = Server::start(&[&local(&address)]).await;
    let api = server.admin().await;
    let spec = json!({"name": image, "cpus": 0.05, "memory": 8, "bind_ports": [{"container_port": 80}]});
    let run = api.post("/api/containers?count=30", spec).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    let started = run.body.as_array().unwrap();
    assert_eq!(started.len(), 30);
    let ports: BTreeSet<u64> = started.iter().map(|one| one["ports"][0]["port"].as_u64().unwrap()).collect();
    assert_eq!(ports.len(), 30, "each has a port of its own");
    for port in ports {
        let page = || async {
            let page = reqwest::get(format!("http://127.0.0.1:{port}/")).await;
            page.is_ok_and(|page| page.status().is_success())
        };
        assert!(eventually(Duration::from_secs(20), page).await, "port {port} does not answer");
    }
    let client = docker::client(&address).await;
    assert_eq!(really_there(&client, &image).await.len(), 30);

    let id = started[0]["id"].as_str().unwrap();
    let down = api.call(&format!("/api/containers/{id}/scale?count=2")).await;
    assert_eq!(down.status, StatusCode::NO_CONTENT, "{}", down.body);
    assert_eq!(really_there(&client, &image).await.len(), 2);
    api.destroy_all(&image).await;
    assert!(really_there(&client, &image).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_fit_starts_nothing_and_says_why() {
    let Some(address) = docker::daemon("what_cannot_fit_starts_nothing_and_says_why").await else { return };
    let image = image(&address, "cannot-fit").await;
    let server = Server::start(&[&local(&address)]).await;
    let api = server.admin().await;
    let run = api.post("/api/containers?count=3", json!({"name": image, "memory": 1_000_000})).await;
    assert_eq!((run.status, &run.body["code"]), (StatusCode::CONFLICT, &json!("no_room")), "{}", run.body);
    let why = run.body["detail"].as_str().unwrap();
    assert!(why.contains("1 engine") && why.contains("1000000 MB"), "{why}");
    assert!(really_there(&docker::client(&address).await, &image).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_half_way_leaves_nothing() {
    let Some(address) = docker::daemon("what_fails_half_way_leaves_nothing").await else { return };
    let image = image(&address, "half-way").await;
    let client = docker::client(&address).await;
    let server = Server::start(&[&local(&address)]).await;
    let api = server.admin().await;

    let missing = api.post("/api/containers?count=2", json!({"name": "paas-test-nowhere:1"})).await;
    assert_eq!((missing.status, &missing.body["code"]), (StatusCode::BAD_GATEWAY, &json!("launch_failed")));
    assert!(missing.body.to_string().contains("paas-test-nowhere"), "{}", missing.body);
    assert!(really_there(&client, "paas-test-nowhere:1").await.is_empty());

    // Taken by a program that Docker knows nothing of, so the scheduler cannot know it either.
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let before = really_there(&client, &image).await;
    let spec = json!({"name": image, "memory": 16, "bind_ports": [{"port": port, "container_port": 80}]});
    let run = api.post("/api/containers", spec.clone()).await;
    assert_eq!(run.status, StatusCode::BAD_GATEWAY, "{}", run.body);
    assert_eq!(really_there(&client, &image).await, before, "nothing is left of it");
    let of_ours = api.containers_of(&image).await;
    assert!(of_ours.is_empty(), "{of_ours:?}");

    // The room is free again, and so is the port.
    drop(taken);
    let run = api.post("/api/containers", spec).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    api.destroy_all(&image).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_finds_everything_again() {
    let Some(address) = docker::daemon("a_killed_server_finds_everything_again").await else { return };
    let image = image(&address, "killed").await;
    let client = docker::client(&address).await;
    let mut server = Server::start(&[&local(&address)]).await;
    let mut seen_half_way = 0;
    for begun in [1, 3, 5, 7] {
        let api = server.admin().await;
        let run = tokio::spawn({
            let (api, spec) = (api.clone(), json!({"name": image, "memory": 8, "cpus": 0.05}));
            async move { api.request(reqwest::Method::POST, "/api/containers?count=10").json(&spec).send().await }
        });
        until_there(&client, &image, begun).await;
        server.kill();
        // It may have answered just before.
        let _ = run.await.unwrap();
        server.start_again().await;

        let api = server.admin().await;
        let agree = || async {
            let there: BTreeSet<String> = really_there(&client, &image).await.into_iter().collect();
            let listed = api.containers_of(&image).await;
            let known: BTreeSet<String> = listed.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
            known == there && listed.iter().all(|one| one["state"] == "running" && one["managed"] == true)
        };
        assert!(eventually(Duration::from_secs(30), agree).await, "{:#?}", api.containers_of(&image).await);
        let found = api.containers_of(&image).await;
        seen_half_way += usize::from(!found.is_empty() && found.len() < 10);
        // Manageable, and with nothing reserved for what was lost.
        if let Some(one) = found.first() {
            let id = one["id"].as_str().unwrap();
            assert_eq!(api.call(&format!("/api/containers/{id}/stop?timeout=0")).await.status, StatusCode::NO_CONTENT);
        }
        api.destroy_all(&image).await;
    }
    assert!(seen_half_way > 0, "no kill came in the middle of a launch");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_with_docker_shows_within_a_second() {
    let Some(address) = docker::daemon("what_others_do_with_docker_shows_within_a_second").await else { return };
    let image = image(&address, "others").await;
    let server = Server::start(&[&local(&address)]).await;
    let api = server.admin().await;
    let client = docker::client(&address).await;
    let body = bollard::models::ContainerCreateBody {
        image: Some(image.clone()),
        cmd: Some(vec!["sleep".into(), "3600".into()]),
        ..Default::default()
    };
    let id = client.create_container(None, body).await.unwrap().id;
    let state = |wanted: &'static str| {
        let (api, id) = (api.clone(), id.clone());
        move || {
            let (api, id) = (api.clone(), id.clone());
            async move { api.get(&format!("/api/containers/{id}")).await.body["state"] == wanted }
        }
    };
    client.start_container(&id, None).await.unwrap();
    let begun = Instant::now();
    assert!(eventually(Duration::from_secs(10), state("running")).await);
    let shown_after = begun.elapsed();
    let shown = api.get(&format!("/api/containers/{id}")).await.body;
    assert_eq!((&shown["managed"], &shown["image"]["name"]), (&json!(false), &json!(image)));
    let tells = |event: &Value| {
        event["type"] == "start" && event["container"] == json!(id) && event["tags"] == json!(["docker"])
    };
    // It may be seen to run, when it is read for its creation, before Docker says that it was started.
    let is_told = || async {
        let events = api.get("/api/events?count=1000").await.body;
        events.as_array().unwrap().iter().any(tells)
    };
    assert!(eventually(Duration::from_secs(10), is_told).await, "{:#}", api.get("/api/events?count=1000").await.body);
    let reserved = reserved(&api).await;
    assert!(reserved.1 >= 256, "one without limits counts with the default: {reserved:?}");

    client.kill_container(&id, None).await.unwrap();
    assert!(eventually(Duration::from_secs(10), state("stopped")).await);
    let options = RemoveContainerOptionsBuilder::new().force(true).build();
    client.remove_container(&id, Some(options)).await.unwrap();
    let gone = || async { api.get(&format!("/api/containers/{id}")).await.status == StatusCode::NOT_FOUND };
    assert!(eventually(Duration::from_secs(10), gone).await);
    println!("a container started by hand was shown after {shown_after:?}");
}

/// A second Docker daemon on this machine, that may be stopped and killed. Without networks of its own.
struct SecondDaemon {
    process: std::process::Child,
    folder: tempfile::TempDir,
}

/// Whether there is a dockerd that can be started a second time; says so loudly when there is none.
/// Docker's own command line at a host.
fn docker_command(address: &EngineAddress, arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.arg("--host").arg(address.to_string()).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Docker stamps an event before it puts it in order, so under load they come in another order than their times.
#[tokio::test(flavor = "multi_thread")]
async fn of_sixty_that_come_and_go_at_once_every_event_is_in_the_log() {
    const NAME: &str = "of_sixty_that_come_and_go_at_once_every_event_is_in_the_log";
    const COUNT: usize = 60;
    let Some(address) = docker::daemon(NAME).await else { return };
    let image = image(&address, "every-event").await;
    let server = Server::start(&[&local(&address)]).await;
    let api = server.admin().await;
    let mut running: Vec<_> = (0..COUNT)
        .map(|_| docker_command(&address, &["run", "--rm", "--detach", &image, "true"]).spawn().unwrap())
        .collect();
    for one in &mut running {
        assert!(tokio::task::block_in_place(|| one.wait()).unwrap().success());
    }
    let client = docker::client(&address).await;
    let gone = || async { really_there(&client, &image).await.is_empty() };
    assert!(eventually(Duration::from_secs(120), gone).await, "they do not end");
    let told = async || {
        let events = api.get("/api/events?count=10000").await.body;
        let mut actions: std::collections::BTreeMap<String, BTreeSet<String>> = std::collections::BTreeMap::new();
        let mut all = 0;
        for event in events.as_array().unwrap().iter().filter(|event| event["image"] == json!(image)) {
            let container = event["container"].as_str().unwrap().to_owned();
            all +=
                usize::from(actions.entry(event["type"].as_str().unwrap().to_owned()).or_default().insert(container));
        }
        let of_note: Vec<usize> = ["create", "start", "die", "destroy"]
            .iter()
            .map(|action| actions.get(*action).map_or(0, BTreeSet::len))
            .collect();
        let twice = events.as_array().unwrap().iter().filter(|event| event["image"] == json!(image)).count() - all;
        (of_note, twice)
    };
    let complete = || async { told().await == (vec![COUNT; 4], 0) };
    assert!(eventually(Duration::from_secs(10), complete).await, "create, start, die, destroy: {:?}", told().await);
    // Connect and disconnect are of the network and name no container, so they are counted at most: others may be at work.
    let events = api.get("/api/events?count=10000").await.body;
    let ended =
        events.as_array().unwrap().iter().find(|event| event["type"] == "die" && event["image"] == json!(image));
    assert_eq!(ended.unwrap()["exit_code"], json!(0));
    for action in ["connect", "disconnect"] {
        let count = events.as_array().unwrap().iter().filter(|event| event["type"] == action).count();
        assert!(count >= COUNT, "{action}: {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_raised_with_docker_counts_and_the_group_stays() {
    let Some(address) = docker::daemon("a_limit_that_is_raised_with_docker_counts_and_the_group_stays").await else {
        return;
    };
    let image = image(&address, "raised").await;
    let mut server = Server::start(&[]).await;
    let mut api = server.admin().await;
    let engine = json!({"id": "local", "addr": address.to_string(), "memory": 1_000_000});
    assert_eq!(api.post("/api/engines", engine).await.status, StatusCode::CREATED);
    let spec = json!({"name": image, "memory": 64, "args": ["sleep", "600"]});
    let run = api.post("/api/containers", spec.clone()).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    let id = run.body[0]["id"].as_str().unwrap().to_owned();
    let update = ["update", "--memory", "900g", "--memory-swap", "900g", &id];
    assert!(docker_command(&address, &update).status().unwrap().success());
    const RAISED: u64 = 900 * 1024;
    let memory = async |api: &Api| api.get("/api/engines/local").await.body["reserved_memory"].as_u64().unwrap();
    assert!(eventually(Duration::from_secs(5), || async { memory(&api).await >= RAISED }).await);
    let too_much = json!({"name": image, "memory": 100_000});
    let refused = api.post("/api/containers", too_much).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::CONFLICT, &json!("no_room")), "{}", refused.body);
    let shown = api.get(&format!("/api/containers/{id}")).await.body;
    assert_eq!(shown["image"]["memory"], json!(64), "as it was asked");
    // A server that starts later sees a list, which does not show limits, and finds out all the same.
    server.terminate();
    server.start_again().await;
    api = server.admin().await;
    assert!(eventually(Duration::from_secs(60), || async { memory(&api).await >= RAISED }).await);
    api.destroy_all(&image).await;
}

fn can_start_a_second_daemon(test: &str) -> bool {
    let there = Command::new("dockerd").arg("--version").output().is_ok_and(|version| version.status.success());
    if !there {
        docker::skip(test, "there is no dockerd to start a second time");
    }
    there
}

impl SecondDaemon {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Self::spawn(&folder);
        let daemon = Self { process, folder };
        daemon.wait().await;
        daemon
    }

    /// Ends it at once, as a crash would.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    async fn start_again(&mut self) {
        // What the crash left behind keeps the next one from starting.
        for stale in ["pid", "docker.sock", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.folder.path().join(stale));
        }
        self.process = Self::spawn(&self.folder);
        self.wait().await;
    }

    fn spawn(folder: &tempfile::TempDir) -> std::process::Child {
        let at = |name: &str| folder.path().join(name).display().to_string();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(at("log")).unwrap();
        // In a network of its own, or it would take the bridge away from the first; and with an identity of its own.
        let script = format!(
            "mkdir -p {etc} /etc/docker && mount --bind {etc} /etc/docker && exec dockerd --host unix://{socket} \
             --data-root {data} --exec-root {exec} --pidfile {pid} --bridge none --iptables=false",
            etc = at("etc"),
            socket = at("docker.sock"),
            data = at("data"),
            exec = at("exec"),
            pid = at("pid"),
        );
        Command::new("unshare")
            .args(["--mount", "--net", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    async fn wait(&self) {
        let address: EngineAddress = self.address().parse().unwrap();
        let up = || async {
            let docker = paas_core::engine::Docker::new(&address, None).unwrap();
            paas_core::engine::DockerEngine::ping(&docker, Duration::from_secs(1)).await.is_ok()
        };
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(eventually(Duration::from_secs(60), up).await, "the second daemon does not come up: {}", log());
    }

    fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }
}

impl Drop for SecondDaemon {
    fn drop(&mut self) {
        support::signal("-CONT", self.process.id());
        support::signal("-TERM", self.process.id());
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_slows_nothing_else() {
    const NAME: &str = "a_daemon_that_hangs_slows_nothing_else";
    let Some(address) = docker::daemon(NAME).await else { return };
    if !can_start_a_second_daemon(NAME) {
        return;
    }
    let image = image(&address, "hangs").await;
    let second = SecondDaemon::start().await;
    let mut server = Server::start(&[&local(&address), &format!("hangs={}", second.address())]).await;
    let api = server.admin().await;
    let status = |wanted: &'static str| {
        let api = api.clone();
        move || {
            let api = api.clone();
            async move { api.get("/api/engines/hangs").await.body["health"]["status"] == wanted }
        }
    };
    assert!(eventually(Duration::from_secs(20), status("up")).await);
    support::signal("-STOP", second.process.id());
    assert!(eventually(Duration::from_secs(10), status("down")).await);

    // Everything goes on: what would wait for the hanging daemon would wait for its deadline of ten seconds and more.
    for path in ["/api/containers?all=true", "/api/engines", "/api/cluster/info"] {
        let begun = Instant::now();
        assert_eq!(api.get(path).await.status, StatusCode::OK);
        assert!(begun.elapsed() < Duration::from_secs(5), "{path} took {:?}", begun.elapsed());
    }
    let run = api.post("/api/containers?count=2", json!({"name": image, "memory": 16})).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    assert!(run.body.as_array().unwrap().iter().all(|one| one["engine"]["id"] == "local"));
    api.destroy_all(&image).await;

    support::signal("-CONT", second.process.id());
    assert!(eventually(Duration::from_secs(10), status("up")).await);
    support::signal("-STOP", second.process.id());
    let took = server.terminate();
    assert!(took < Duration::from_secs(10), "shutting down took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_dies_half_way_leaves_nothing_unaccounted_for() {
    const NAME: &str = "a_daemon_that_dies_half_way_leaves_nothing_unaccounted_for";
    let Some(_) = docker::daemon(NAME).await else { return };
    if !can_start_a_second_daemon(NAME) {
        return;
    }
    let mut second = SecondDaemon::start().await;
    let address: EngineAddress = second.address().parse().unwrap();
    docker::web_image(&address).await;
    let server = Server::start(&[&format!("dies={}", second.address())]).await;
    let api = server.admin().await;
    let spec = json!({"name": docker::WEB_IMAGE, "args": ["sleep", "3600"], "memory": 8, "cpus": 0.05, "network_mode": "none"});
    let run = tokio::spawn({
        let api = api.clone();
        async move { api.post("/api/containers?count=20", spec).await }
    });
    until_there(&docker::client(&address).await, docker::WEB_IMAGE, 5).await;
    second.kill();
    let answer = run.await.unwrap();
    assert!(answer.status == StatusCode::MULTI_STATUS || answer.status == StatusCode::BAD_GATEWAY, "{answer:?}");
    let reserved = reserved(&api).await;
    let started = answer.body["started"].as_array().map_or(0, Vec::len) as u64;
    assert_eq!(reserved.1, started * 8, "what failed holds nothing: {answer:?}");

    second.start_again().await;
    let client = docker::client(&address).await;
    let agree = || async {
        let there: BTreeSet<String> = really_there(&client, docker::WEB_IMAGE).await.into_iter().collect();
        let listed = api.containers_of(docker::WEB_IMAGE).await;
        let known: BTreeSet<String> = listed.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
        let up = api.get("/api/engines/dies").await.body["health"]["status"] == "up";
        up && known == there && there.len() as u64 == started && listed.iter().all(|one| one["state"] != "created")
    };
    let there = || async { really_there(&client, docker::WEB_IMAGE).await.len() };
    assert!(eventually(Duration::from_secs(60), agree).await, "{started} started, {} there", there().await);
    api.destroy_all(docker::WEB_IMAGE).await;
    assert_eq!(there().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_description_survives_a_restart() {
    let Some(address) = docker::daemon("everything_of_a_description_survives_a_restart").await else { return };
    let image = image(&address, "describe").await;
    let mut server = Server::start(&[&local(&address)]).await;
    let api = server.admin().await;
    let front = api.post("/api/containers", json!({"name": image, "memory": 16})).await.body[0].clone();
    let spec = json!({
        "name": image, "cpus": 0.25, "cpuset": "0", "memory": 32, "entrypoint": ["/bin/sleep"], "args": ["3600"],
        "environment": {"GREETING": "hello \"world\""}, "hostname": "inside", "domainname": "example.org",
        "type": "service", "bind_ports": [{"proto": "tcp", "host_ip": "127.0.0.1", "container_port": 80}],
        "user_data": "free text\nof two lines", "volumes": ["/data"], "links": {front["name"].as_str().unwrap(): "front"},
        "restart_policy": {"name": "on-failure", "maximum_retry": 3}, "publish": true, "network_mode": "bridge",
        "user": "1000:1000", "init": true, "read_only": true, "tmpfs": ["/run:size=1m"], "shm_size": 8,
        "cap_add": ["SYS_NICE"], "cap_drop": ["MKNOD", "NET_RAW"], "ulimits": {"nofile": {"soft": 512, "hard": 1024}},
        "sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"}, "extra_hosts": ["elsewhere:10.0.0.5", "six:fd00::5"],
        "logging": {"driver": "json-file", "options": {"max-size": "1m"}}, "devices": ["/dev/zero:/dev/nothing:r"],
        "memory_reservation": 16, "pids_limit": 50, "stop_signal": "SIGINT", "stop_timeout": 1,
        "health": {"command": ["true"], "interval": "1s", "timeout": "1s", "start_period": "5s", "retries": 2},
        "docker_labels": {"org.example.label": "a = b"},
    });
    let run = api.post("/api/containers", spec.clone()).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    let before = run.body[0].clone();
    assert_eq!(before["image"], spec);
    let id = before["id"].as_str().unwrap();
    let client = docker::client(&address).await;
    let inspected = async || client.inspect_container(id, None::<InspectContainerOptions>).await.unwrap();
    let raw = inspected().await;
    let shown = (serde_json::to_value(raw.config).unwrap(), serde_json::to_value(raw.host_config).unwrap());
    for (field, value) in [
        ("User", json!("1000:1000")),
        ("StopSignal", json!("SIGINT")),
        ("StopTimeout", json!(1)),
        (
            "Healthcheck",
            json!({"Test": ["CMD", "true"], "Interval": 1_000_000_000, "Timeout": 1_000_000_000,
            "StartPeriod": 5_000_000_000_u64, "Retries": 2}),
        ),
    ] {
        assert_eq!(shown.0[field], value, "{field}");
    }
    assert_eq!(shown.0["Labels"]["org.example.label"], json!("a = b"));
    for (field, value) in [
        ("Init", json!(true)),
        ("ReadonlyRootfs", json!(true)),
        ("Tmpfs", json!({"/run": "size=1m"})),
        ("ShmSize", json!(8 << 20)),
        ("Ulimits", json!([{"Name": "nofile", "Soft": 512, "Hard": 1024}])),
        ("Sysctls", json!({"net.ipv4.ip_unprivileged_port_start": "0"})),
        ("ExtraHosts", json!(["elsewhere:10.0.0.5", "six:fd00::5"])),
        ("Devices", json!([{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/nothing", "CgroupPermissions": "r"}])),
        ("MemoryReservation", json!(16 << 20)),
        ("PidsLimit", json!(50)),
    ] {
        assert_eq!(shown.1[field], value, "{field}");
    }
    let healthy = || async {
        let health = inspected().await.state.and_then(|state| state.health).and_then(|health| health.status);
        health.is_some_and(|status| status.to_string() == "healthy")
    };
    assert!(eventually(Duration::from_secs(20), healthy).await, "Docker makes the check");
    server.kill();
    server.start_again().await;
    let api = server.admin().await;
    let path = format!("/api/containers/{}", before["id"].as_str().unwrap());
    let back = || async { api.get(&path).await.status == StatusCode::OK };
    assert!(eventually(Duration::from_secs(20), back).await);
    assert_eq!(api.get(&path).await.body, before);
    api.destroy_all(&image).await;
}
