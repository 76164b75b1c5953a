//! Hosts that are not plain Docker on a closed network: over TLS, with Podman, and with images that need a login.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use paas_core::testing::{docker, skip};
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::bed::{self, idle};
use support::{Api, PASSWORD, Server, eventually, program};
use xtask::bed::Hosts;

/// The command line, logged in at a server, with a home of its own.
struct CommandLine {
    home: tempfile::TempDir,
    url: String,
}

impl CommandLine {
    fn at(server: &Server) -> Self {
        let cli = Self { home: tempfile::tempdir().unwrap(), url: server.url.clone() };
        let login = cli.command(&["login", "--name", "admin"]).env("PAAS_PASSWORD", PASSWORD).output().unwrap();
        assert!(login.status.success(), "{login:?}");
        cli
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("paas-cli"));
        command.args(arguments).args(["--url", &self.url]);
        command.env("PAAS_CONFIG_DIR", self.home.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

/// Everything that somebody can read of the platform, and its log.
async fn everything_readable(server: &Server, api: &Api) -> String {
    let mut all = server.log();
    for path in ["/api/engines", "/api/engines/tls", "/api/events?count=1000", "/api/registry-logins"] {
        all.push_str(&api.get(path).await.body.to_string());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_over_tls_serves_those_whom_it_trusts_and_is_added_by_nobody_else() {
    const NAME: &str = "a_host_over_tls_serves_those_whom_it_trusts_and_is_added_by_nobody_else";
    let Some(bed) = bed::up(NAME, Hosts::new(1).tls([1])).await else { return };
    let address = bed.address(1).unwrap();
    assert!(address.starts_with("https://"), "{address}");
    let files = bed.client_files();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let server = Server::start(&[]).await;
    let api = server.admin().await;
    let cli = CommandLine::at(&server);
    let add = |cert: &str, key: &str, ca: &str| {
        let tls = ["--tls-ca", ca, "--tls-cert", cert, "--tls-key", key];
        cli.run(&[&["eadd", "--id", "tls", "--addr", &address], &tls[..]].concat())
    };

    // Somebody else's certificate, no certificate at all, and a key that is another's: each is told why.
    let strangers = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert, strangers.cert.pem()).unwrap();
    fs::write(&key, strangers.signing_key.serialize_pem()).unwrap();
    let (cert, key, ca) = (path(&cert), path(&key), path(&files.ca));
    for (cert, key, ca, reason) in [
        (&cert, &key, &ca, "alert"),
        (&path(&files.cert), &path(&files.key), &cert, "UnknownIssuer"),
        (&path(&files.cert), &key, &ca, "do not fit"),
    ] {
        let refused = add(cert, key, ca);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(reason), "{reason}: {said}");
    }
    assert!(api.get("/api/engines").await.body.as_array().unwrap().is_empty(), "what is refused is not kept");

    let added = add(&path(&files.cert), &path(&files.key), &ca);
    assert!(added.status.success(), "{added:?}");
    let run = api.post("/api/containers?count=2", idle()).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    assert_eq!(bed::running(&bed, 1).await, [2]);
    let engine = api.get("/api/engines/tls").await.body;
    assert_eq!((&engine["tls"], &engine["health"]["status"]), (&json!(true), &json!("up")));
    // No line of the key is to be read anywhere.
    let secret = fs::read_to_string(&files.key).unwrap();
    let line = secret.lines().find(|line| line.len() > 40).unwrap();
    assert!(!everything_readable(&server, &api).await.contains(line));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_podman_host_runs_containers_as_a_docker_host_does() {
    const NAME: &str = "a_podman_host_runs_containers_as_a_docker_host_does";
    let Some(bed) = bed::up(NAME, Hosts::new(2).podman([2])).await else { return };
    let (_server, api) = bed::serve(&bed, 2).await;
    let mut spec = idle();
    spec["bind_ports"] = json!([{"container_port": 80}]);
    spec["environment"] = json!({"GREETING": "hello"});
    let run = api.post("/api/containers?count=4", spec.clone()).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    assert_eq!(bed::running(&bed, 2).await, [2, 2], "both kinds of hosts share the work");
    bed::until_true(&bed, &api, &[1, 2]).await;
    let on_podman = |one: &&Value| one["engine"]["id"] == json!(bed::id(2));
    let container = run.body.as_array().unwrap().iter().find(on_podman).unwrap().clone();
    assert_eq!(container["image"]["environment"], spec["environment"]);
    assert!(container["ports"][0]["port"].as_u64().unwrap() > 0);
    let path = |verb: &str| format!("/api/containers/{}{verb}", container["id"].as_str().unwrap());
    for (verb, state) in [("/stop?timeout=1", "stopped"), ("/start", "running"), ("/restart?timeout=1", "running")] {
        let done = api.call(&path(verb)).await;
        assert_eq!(done.status, StatusCode::NO_CONTENT, "{verb}: {}", done.body);
        assert_eq!(api.get(&path("")).await.body["state"], state, "{verb}");
    }
    // What somebody does with Podman itself shows as well.
    let id = container["id"].as_str().unwrap();
    assert!(bed.docker(2).args(["rm", "--force", id]).output().unwrap().status.success());
    let gone = || async { api.get(&path("")).await.status == StatusCode::NOT_FOUND };
    assert!(eventually(Duration::from_secs(10), gone).await);
    api.destroy_all(bed::IMAGE).await;
    bed::until_true(&bed, &api, &[1, 2]).await;
}

/// A way to a host under another address: one daemon that looks like two.
async fn another_address(host: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let host = host.clone();
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(host).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    address
}

/// Podman has another id for each question, so only what runs there tells that two engines are one host.
#[tokio::test(flavor = "multi_thread")]
async fn one_podman_host_under_two_addresses_is_counted_once() {
    const NAME: &str = "one_podman_host_under_two_addresses_is_counted_once";
    let Some(bed) = bed::up(NAME, Hosts::new(2).podman([2])).await else { return };
    let server = Server::start(&[]).await;
    let api = server.admin().await;
    let address = bed.address(2).unwrap();
    let other = another_address(address.trim_start_matches("tcp://").to_owned()).await;
    for (id, addr) in [("p1", &address), ("p2", &other)] {
        assert_eq!(api.post("/api/engines", json!({"id": id, "addr": addr})).await.status, StatusCode::CREATED);
    }
    let run = api.post("/api/containers?count=4", idle()).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    let engines = async || api.get("/api/engines").await.body.as_array().unwrap().clone();
    let duplicates = async || {
        let all = engines().await;
        all.into_iter().filter(|engine| engine["health"]["status"] == "duplicate").collect::<Vec<_>>()
    };
    assert!(eventually(Duration::from_secs(20), || async { duplicates().await.len() == 1 }).await);
    let reason = duplicates().await[0]["health"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("same Docker daemon") && reason.contains("cloned"), "{reason}");
    let all_there = || async { api.containers_of(bed::IMAGE).await.len() == 4 };
    assert!(eventually(Duration::from_secs(20), all_there).await);
    api.destroy_all(bed::IMAGE).await;
    let nothing = || async { engines().await.iter().all(|engine| engine["reserved_memory"] == json!(0)) };
    assert!(eventually(Duration::from_secs(20), nothing).await, "{:?}", engines().await);
    // It works as one, still.
    assert_eq!(api.post("/api/containers?count=2", idle()).await.status, StatusCode::CREATED);
    api.destroy_all(bed::IMAGE).await;
}

/// Debian's image registry on a free port of this machine, for one user. Killed when dropped.
struct Registry {
    process: Child,
    host: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    async fn start(test: &str) -> Option<Self> {
        for needed in ["docker-registry", "htpasswd"] {
            if Command::new(needed).arg("--help").output().is_err() {
                skip::skip(test, &format!("{needed} is not installed"));
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let users = Command::new("htpasswd").args(["-Bbn", "puller", "a-registry-secret"]).output().unwrap();
        fs::write(file("users"), users.stdout).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let settings = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": file("images")}},
            "http": {"addr": host},
            "auth": {"htpasswd": {"realm": "test", "path": file("users")}},
        });
        // JSON is YAML.
        fs::write(file("config.yml"), settings.to_string()).unwrap();
        let log = fs::File::create(file("log")).unwrap();
        let mut command = Command::new("docker-registry");
        command.args(["serve", &file("config.yml")]).stdout(log.try_clone().unwrap()).stderr(log);
        let registry = Self { process: command.spawn().unwrap(), host, _folder: folder };
        let url = format!("http://{}/v2/", registry.host);
        let up = || async { reqwest::get(&url).await.is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED) };
        assert!(eventually(Duration::from_secs(20), up).await, "the registry does not come up");
        Some(registry)
    }

    /// Puts the image of the tests there, in a version that its label says; its name.
    fn push(&self, web: &str, version: &str) -> String {
        // By Docker's own program: its login is a file.
        let login = tempfile::tempdir().unwrap();
        let docker = |arguments: &[&str]| {
            let done = Command::new("docker").arg("--config").arg(login.path()).args(arguments).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        };
        let image = format!("{}/private/web:1", self.host);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("Dockerfile"), format!("FROM {web}\nLABEL version={version}\n")).unwrap();
        docker(&["build", "--quiet", "--tag", &image, folder.path().to_str().unwrap()]);
        docker(&["login", "--username", "puller", "--password", "a-registry-secret", &self.host]);
        docker(&["push", &image]);
        docker(&["rmi", &image]);
        image
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_pulled_with_the_login_of_the_platform_or_of_the_engine() {
    const NAME: &str = "a_private_image_is_pulled_with_the_login_of_the_platform_or_of_the_engine";
    let Some(address) = docker::daemon(NAME).await else { return };
    let server = Server::start(&[&format!("local={address}")]).await;
    let api = server.admin().await;
    let Some(registry) = Registry::start(NAME).await else { return };
    let web = docker::web_image(&address).await;
    let client = docker::client(&address).await;
    let image = registry.push(web, "1");
    let spec = json!({"name": image, "args": ["sleep", "3600"], "memory": 16, "cpus": 0.05});
    let forget = async || {
        api.destroy_all(&image).await;
        let options = bollard::query_parameters::RemoveImageOptionsBuilder::new().build();
        client.remove_image(&image, Some(options), None).await.unwrap();
    };

    // Without a login, and with a wrong one, nothing is started, and the reason is told.
    let refused = api.post("/api/containers?pull=true", spec.clone()).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::BAD_GATEWAY, &json!("launch_failed")));
    let login = |password: &str| json!({"server": registry.host, "username": "puller", "password": password});
    assert_eq!(api.post("/api/registry-logins", login("wrong")).await.status, StatusCode::NO_CONTENT);
    let refused = api.post("/api/containers?pull=true", spec.clone()).await;
    assert_eq!(refused.status, StatusCode::BAD_GATEWAY, "{}", refused.body);

    assert_eq!(api.post("/api/registry-logins", login("a-registry-secret")).await.status, StatusCode::NO_CONTENT);
    let run = api.post("/api/containers?pull=true", spec.clone()).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    forget().await;

    // The platform's login is gone; the engine has one of its own.
    assert_eq!(api.delete(&format!("/api/registry-logins/{}", registry.host)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(api.post("/api/containers?pull=true", spec.clone()).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(api.delete("/api/engines/local").await.status, StatusCode::NO_CONTENT);
    let engine = json!({"id": "tls", "addr": address.to_string(), "registry_login": login("a-registry-secret")});
    assert_eq!(api.post("/api/engines", engine).await.status, StatusCode::CREATED);
    let run = api.post("/api/containers?pull=true", spec).await;
    assert_eq!(run.status, StatusCode::CREATED, "{}", run.body);
    forget().await;
    let readable = everything_readable(&server, &api).await;
    assert!(readable.contains("puller") && !readable.contains("a-registry-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_keeps_the_image_that_it_was_declared_with_wherever_its_tag_points() {
    const NAME: &str = "an_application_keeps_the_image_that_it_was_declared_with_wherever_its_tag_points";
    let Some(address) = docker::daemon(NAME).await else { return };
    let server = Server::start(&[&format!("local={address}")]).await;
    let api = server.admin().await;
    let Some(registry) = Registry::start(NAME).await else { return };
    let web = docker::web_image(&address).await;
    let client = docker::client(&address).await;
    let login = json!({"server": registry.host, "username": "puller", "password": "a-registry-secret"});
    assert_eq!(api.post("/api/registry-logins", login).await.status, StatusCode::NO_CONTENT);
    let image = registry.push(web, "1");
    let file = |refresh: bool| {
        let component = json!({"image": image, "command": ["sleep", "3600"], "memory": 16, "stop": {"grace": "1s"}, "update": {"monitor": "0s", "drain": "0s"}});
        json!({"app": {"component": {"web": component}}, "refresh_images": refresh})
    };
    let until = async |number: u64, wanted: &str| {
        let there = async || {
            let app = api.get("/api/apps/tags").await;
            let name = format!("tags.web.1.{number}");
            let found = client.inspect_container(&name, None).await.ok();
            let version = found.and_then(|found| found.config?.labels?.remove("version"));
            app.body["state"] == "running" && version.as_deref() == Some(wanted)
        };
        assert!(eventually(Duration::from_secs(60), there).await, "{}", api.get("/api/apps/tags").await.body);
    };
    let applied = api.put("/api/apps/tags", file(false)).await;
    assert_eq!(applied.status, StatusCode::OK, "{}", applied.body);
    until(1, "1").await;

    // Published anew: nothing changes, also where the container is made again and the image is fetched for it.
    registry.push(web, "2");
    let plan = api.post("/api/apps/tags/plan", file(false)).await;
    assert_eq!(plan.body["changes"], json!([]), "{}", plan.body);
    assert!(plan.body["notes"][0].as_str().unwrap().contains("points elsewhere"), "{}", plan.body);
    let again = api.put("/api/apps/tags", file(false)).await;
    assert_eq!(again.body, json!({"revision": 1, "changed": false}));
    let options = bollard::query_parameters::RemoveContainerOptionsBuilder::new().force(true).build();
    client.remove_container("tags.web.1.1", Some(options)).await.unwrap();
    until(2, "1").await;

    let applied = api.put("/api/apps/tags", file(true)).await;
    assert_eq!(applied.body, json!({"revision": 2, "changed": true}));
    until(3, "2").await;
    assert_eq!(api.delete("/api/apps/tags").await.status, StatusCode::NO_CONTENT);
    let gone = async || api.get("/api/apps/tags").await.status == StatusCode::NOT_FOUND;
    assert!(eventually(Duration::from_secs(60), gone).await);
}
