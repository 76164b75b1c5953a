//! A real server as a process of its own, and a plain client of its API.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod agent;
pub(crate) mod bed;
pub(crate) mod daemon;
pub(crate) mod group;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

pub(crate) const PASSWORD: &str = "a-password-for-tests";

/// A program of this workspace. `cargo xtask test` builds them before the tests; so does `cargo build --workspace`.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join(name);
    assert!(program.is_file(), "{} is not built; run 'cargo build --workspace' first", program.display());
    program
}

/// A running server. Killed when dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) url: String,
    engines: Vec<String>,
    options: Vec<String>,
}

impl Server {
    /// Starts a server on a free port, with an empty store, and waits until it answers.
    pub(crate) async fn start(engines: &[&str]) -> Self {
        Self::start_with([127, 0, 0, 1].into(), engines, &[]).await
    }

    /// The same at another address of this machine, and with further options.
    pub(crate) async fn start_with(address: std::net::Ipv4Addr, engines: &[&str], options: &[&str]) -> Self {
        // Fails only when a test before this one did it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
        let engines: Vec<String> = engines.iter().map(|&engine| engine.to_owned()).collect();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let url = format!("http://{address}:{port}");
        let process = Self::spawn(&folder, &url, &engines, &options);
        let server = Self { process, folder, url, engines, options };
        server.wait().await;
        server
    }

    fn spawn(folder: &tempfile::TempDir, url: &str, engines: &[String], options: &[String]) -> Child {
        let log = fs::OpenOptions::new().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut command = Command::new(program("paas-server"));
        command.arg("--listen").arg(url.trim_start_matches("http://"));
        command.arg("--data-dir").arg(folder.path().join("data"));
        // The tests add and join hosts of every kind.
        command.args(["--allow-simulated", "--allow-unix-engines"]);
        for engine in engines {
            command.arg("--engine").arg(engine);
        }
        if engines.is_empty() {
            command.arg("--no-engine");
        }
        command.args(options).env("PAAS_ADMIN_PASSWORD", PASSWORD);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    async fn wait(&self) {
        let up = eventually(Duration::from_secs(20), || async {
            reqwest::get(format!("{}/healthz", self.url)).await.is_ok_and(|answer| answer.status().is_success())
        });
        assert!(up.await, "the server does not come up: {}", self.log());
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to end, and gives how long that took.
    pub(crate) fn terminate(&mut self) -> Duration {
        let begun = Instant::now();
        signal("-TERM", self.process.id());
        self.process.wait().unwrap();
        begun.elapsed()
    }

    /// Starts it again on the same store.
    pub(crate) async fn start_again(&mut self) {
        self.process = Self::spawn(&self.folder, &self.url, &self.engines, &self.options);
        self.wait().await;
    }

    /// The same, with further options from now on.
    pub(crate) async fn start_again_with(&mut self, options: &[&str]) {
        self.options.extend(options.iter().map(|&option| option.to_owned()));
        self.start_again().await;
    }

    /// Where it keeps its store and its key.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A client that is logged in as the first account.
    pub(crate) async fn admin(&self) -> Api {
        let mut api = Api { url: self.url.clone(), token: String::new(), http: reqwest::Client::new() };
        let answer = api.post("/auth/login", json!({"username": "admin", "password": PASSWORD})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        api.token = answer.body["token"].as_str().unwrap().to_owned();
        api
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// A plain client of the API.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) token: String,
    http: reqwest::Client,
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Api {
    /// A client of a server at which somebody logged in already.
    pub(crate) fn with_token(url: &str, token: &str) -> Self {
        Self { url: url.to_owned(), token: token.to_owned(), http: reqwest::Client::new() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        answer(self.request(Method::PUT, path).json(&body)).await
    }

    pub(crate) async fn call(&self, path: &str) -> Answer {
        answer(self.request(Method::POST, path)).await
    }

    /// The containers of one image, the stopped ones included.
    pub(crate) async fn containers_of(&self, image: &str) -> Vec<Value> {
        let all = self.get("/api/containers?all=true").await.body;
        all.as_array().unwrap().iter().filter(|container| container["image"]["name"] == image).cloned().collect()
    }

    /// Destroys everything of one image, as fast as it goes.
    pub(crate) async fn destroy_all(&self, image: &str) {
        let removals = self.containers_of(image).await.into_iter().map(|container| {
            let id = container["id"].as_str().unwrap().to_owned();
            async move { self.delete(&format!("/api/containers/{id}")).await }
        });
        for answer in futures::future::join_all(removals).await {
            assert!(answer.status == 204 || answer.status == 404, "{answer:?}");
        }
    }
}

pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let answer = request.timeout(Duration::from_secs(120)).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, body }
}

/// Waits until something is so; whether it came to be.
pub(crate) async fn eventually<F, Fut>(deadline: Duration, mut is_so: F) -> bool
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let begun = Instant::now();
    loop {
        if is_so().await {
            return true;
        }
        if begun.elapsed() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}
