//! Several servers side by side, and a client that goes on asking them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Api, PASSWORD, program};

/// How many servers there are.
pub(crate) const SERVERS: usize = 3;
/// How long a request may take in all, with every attempt.
const TIMEOUT: Duration = Duration::from_secs(90);
/// How long one attempt may take: a server that is stopped never answers.
const ATTEMPT: Duration = Duration::from_secs(20);

/// One of the servers. Killed when dropped.
pub(crate) struct Peer {
    pub(crate) process: Child,
    /// Where it listens, and where the others reach it.
    pub(crate) url: String,
    arguments: Vec<String>,
    folder: PathBuf,
}

impl Peer {
    fn spawn(url: &str, arguments: &[String], folder: &Path) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = Command::new(program("paas-server"));
        command.current_dir(folder);
        command.arg("--listen").arg(url.trim_start_matches("http://")).args(["--advertise", url]).args(arguments);
        command.arg("--allow-simulated");
        command.env("PAAS_ADMIN_PASSWORD", PASSWORD).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    /// Starts it again, once it has ended.
    pub(crate) fn start_again(&mut self) {
        self.process = Self::spawn(&self.url, &self.arguments, &self.folder);
    }

    /// `leader`, `follower`, or nothing when it does not answer at once.
    pub(crate) async fn role(&self, http: &Client) -> Option<String> {
        let answer = http.get(format!("{}/healthz", self.url)).timeout(Duration::from_millis(300)).send().await.ok()?;
        Some(answer.json::<Value>().await.ok()?["role"].as_str()?.to_owned())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            eprintln!("the log of {}:\n{log}", self.url);
        }
    }
}

/// Several servers with one store and one registry.
pub(crate) struct Group {
    pub(crate) peers: Vec<Peer>,
    pub(crate) http: Client,
    _folder: tempfile::TempDir,
}

impl Group {
    /// Servers that reach etcd at one URL, with these engines.
    pub(crate) async fn start(etcd: &str, engines: &[String]) -> Self {
        Self::start_in(Self::folder(), &[etcd; SERVERS], engines).await
    }

    /// A folder with one for each server in it, which the server works in: see [`Group::start_in`].
    pub(crate) fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..SERVERS {
            std::fs::create_dir(folder.path().join(number.to_string())).unwrap();
        }
        folder
    }

    /// Servers that each reach etcd at a URL of their own, and work each in a folder of its own: what an address names by
    /// `/proc/self/cwd` is another file for each.
    pub(crate) async fn start_in(folder: tempfile::TempDir, etcd: &[&str; SERVERS], engines: &[String]) -> Self {
        Self::start_with_key(folder, etcd, engines, "../secret.key").await
    }

    /// The same with a key file each sees from its own folder: the same for all, or one for each.
    pub(crate) async fn start_with_key(
        folder: tempfile::TempDir,
        etcd: &[&str; SERVERS],
        engines: &[String],
        key: &str,
    ) -> Self {
        // Fails only when a test before this one did it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let peers = etcd.iter().enumerate().map(|(number, &etcd)| {
            let mut arguments = vec!["--store".to_owned(), etcd.to_owned(), "--registry".to_owned(), etcd.to_owned()];
            arguments.extend(["--secret-key-file".to_owned(), key.to_owned()]);
            arguments.extend(engines.iter().flat_map(|engine| ["--engine".to_owned(), engine.clone()]));
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let (url, folder) = (format!("http://127.0.0.1:{port}"), folder.path().join(number.to_string()));
            let process = Peer::spawn(&url, &arguments, &folder);
            Peer { process, url, arguments, folder }
        });
        let group = Self { peers: peers.collect(), http: Client::new(), _folder: folder };
        group.until_led(&[]).await;
        group
    }

    /// Waits until one of the servers leads, but for some; which one, and how long that took.
    pub(crate) async fn until_led(&self, but_for: &[usize]) -> (usize, Duration) {
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT {
            for (number, peer) in self.peers.iter().enumerate().filter(|(number, _)| !but_for.contains(number)) {
                if peer.role(&self.http).await.as_deref() == Some("leader") {
                    return (number, begun.elapsed());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no server leads");
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.peers.iter().map(|peer| peer.url.clone()).collect()
    }

    /// A client that is logged in, and does not give up.
    pub(crate) async fn client(&self) -> Persistent {
        self.client_at(self.urls()).await
    }

    /// The same, which knows the servers by other URLs.
    pub(crate) async fn client_at(&self, urls: Vec<String>) -> Persistent {
        let mut client = Persistent { urls, token: String::new(), http: self.http.clone() };
        let login = json!({"username": "admin", "password": PASSWORD});
        let (status, body) = client.send(Method::POST, "/auth/login", Some(&login)).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        client.token = body["token"].as_str().unwrap().to_owned();
        client
    }
}

/// A client that sends a request again, to one server after the other, until one of them says what became of it.
#[derive(Clone)]
pub(crate) struct Persistent {
    urls: Vec<String>,
    pub(crate) token: String,
    http: Client,
}

impl Persistent {
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let key = Uuid::now_v7().to_string();
        let begun = Instant::now();
        let mut last = String::new();
        for url in self.urls.iter().cycle() {
            assert!(begun.elapsed() < TIMEOUT, "{path} was never answered; at last {last}");
            let request = self.http.request(method.clone(), format!("{url}{path}")).bearer_auth(&self.token);
            let request = request.header("idempotency-key", &key).timeout(ATTEMPT);
            let request = match body {
                Some(body) => request.json(body),
                None => request,
            };
            match request.send().await {
                Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    last = answer.text().await.unwrap_or_default();
                }
                Ok(answer) => {
                    let status = answer.status();
                    match answer.text().await {
                        Ok(text) => return (status, serde_json::from_str(&text).unwrap_or(Value::String(text))),
                        Err(error) => last = error.to_string(),
                    }
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        unreachable!("the servers are tried for ever");
    }

    /// The same client, which asks this server first.
    pub(crate) fn begun_at(&self, number: usize) -> Self {
        let mut first = self.clone();
        first.urls.rotate_left(number);
        first
    }

    /// A plain client of one server.
    pub(crate) fn at(&self, number: usize) -> Api {
        Api::with_token(&self.urls[number], &self.token)
    }
}
