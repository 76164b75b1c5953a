//! A server on a free port, and a client of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use paas_core::auth::{AuthSettings, HashCost};
use paas_core::controller::{Actor, Controller, Policy, RunRequest, Settings};
use paas_core::engine::SimulatedEngine;
use paas_core::model::{ContainerId, ContainerSpec, EngineSpec, EngineStatus, NewAccount, RoleName, SimulatedHost};
use paas_core::store::Store;
use paas_server::serve::{ServeError, ServeOptions, serve};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::tricky;

/// Long enough for the slowest machine, so that reaching it means that something never happens.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A server that serves. It is stopped when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) controller: Controller,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<Result<(), ServeError>>,
    /// The name of the simulated host behind the engine `one`.
    pub(crate) host: String,
}

/// How a server is started.
pub(crate) struct Start {
    /// Properties of the simulated host, as in its address.
    pub(crate) engine: &'static str,
    pub(crate) token_ttl: Duration,
    pub(crate) policy: Policy,
    pub(crate) options: ServeOptions,
    /// Where state is kept; in memory of its own without.
    pub(crate) store: Option<Arc<dyn Store>>,
    /// How much the system keeps for a client that does not read, bytes; as much as it likes without.
    pub(crate) send_buffer: Option<u32>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            engine: "cpus=8&memory=16384",
            token_ttl: Duration::from_secs(3600),
            policy: Policy::default(),
            options: ServeOptions::default(),
            store: None,
            send_buffer: None,
        }
    }
}

/// A name that no other test has: simulated hosts of one name are one.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::now_v7().simple())
}

impl Server {
    /// A server with the accounts `admin` and `user`, and the engine `one`.
    pub(crate) async fn start() -> Self {
        Self::with(Start::default()).await
    }

    pub(crate) async fn with(start: Start) -> Self {
        // Hashes as cheap as they come: the tests are about other things.
        let hash_cost = HashCost { memory_kib: 8, passes: 1 };
        let auth = AuthSettings { token_ttl: start.token_ttl, hash_cost };
        let settings = Settings { auth, policy: start.policy, ..Settings::default() };
        let mut builder = Controller::builder().connector(tricky::connector()).settings(settings);
        if let Some(store) = start.store {
            builder = builder.store(store).sealer(paas_core::seal::Sealer::ephemeral());
        }
        let controller = builder.build().await.unwrap();
        controller.ensure_admin(Some(PASSWORD.to_owned())).await.unwrap();
        let host = unique("http");
        let server = Self::serve(controller, start.options, start.send_buffer, host);
        server.add_account("user", "user").await;
        server.add_engine("one", &format!("sim://{}?{}", server.host, start.engine)).await;
        server
    }

    fn serve(controller: Controller, options: ServeOptions, send_buffer: Option<u32>, host: String) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Every connection has it from the listener.
        if let Some(size) = send_buffer {
            socket.set_send_buffer_size(size).unwrap();
        }
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = socket.listen(128).unwrap().into_std().unwrap();
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        // By name, because certificates are made out to names.
        let url = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, controller.clone(), options, stop.clone()));
        Self { url, controller, stop, serving, host }
    }

    pub(crate) async fn add_account(&self, name: &str, role: &str) {
        let username = name.parse().unwrap();
        let new = NewAccount { id: None, username, password: PASSWORD.to_owned(), role: RoleName::new(role) };
        self.controller.add_account(&Actor::system(), new).await.unwrap();
    }

    pub(crate) async fn add_engine(&self, id: &str, addr: &str) {
        let spec = EngineSpec::new(id.parse().unwrap(), addr.parse().unwrap());
        self.controller.add_engine(&Actor::system(), spec).await.unwrap();
        let is_up = || self.controller.engine(id).is_ok_and(|engine| engine.health.status == EngineStatus::Up);
        eventually("the engine is up", is_up).await;
    }

    /// The simulated host behind the engine `one`, as it is started by default.
    pub(crate) fn simulated(&self) -> SimulatedEngine {
        let memory = paas_core::model::MemoryMb::new(16384);
        let cpus = paas_core::model::Cpus::from_milli(8000);
        SimulatedEngine::named(&SimulatedHost { cpus, memory, ..SimulatedHost::new(self.host.clone()) })
    }

    /// Runs containers past the API; their ids.
    pub(crate) async fn run(&self, image: &str, count: usize) -> Vec<ContainerId> {
        let mut spec = ContainerSpec::new(image.parse().unwrap());
        spec.memory = Some(paas_core::model::MemoryMb::new(64));
        let request = RunRequest { spec, count, pull: false };
        let summary = self.controller.run(&Actor::system(), request).await.unwrap().finish().await;
        assert!(summary.is_complete(), "{:?}", summary.failed);
        summary.started.into_iter().map(|container| container.id).collect()
    }

    /// A client without a token.
    pub(crate) fn anonymous(&self) -> Api {
        Api::new(&self.url)
    }

    /// A client that is logged in.
    pub(crate) async fn login(&self, name: &str) -> Api {
        let issued = self.controller.login(name, PASSWORD).await.unwrap();
        Api { token: Some(issued.token), ..self.anonymous() }
    }

    pub(crate) async fn admin(&self) -> Api {
        self.login("admin").await
    }

    /// Everything that a request that is refused must leave as it is.
    pub(crate) async fn state(&self) -> Vec<String> {
        let containers = self.controller.containers(true);
        let mut state: Vec<String> =
            containers.iter().map(|container| format!("container {} {}", container.id, container.state)).collect();
        state.extend(self.controller.engines().iter().map(|engine| format!("engine {} {}", engine.id, engine.addr)));
        let accounts = self.controller.accounts().await.unwrap();
        state.extend(accounts.iter().map(|account| format!("account {} {}", account.username, account.role)));
        let info = self.controller.cluster_info();
        state.push(format!("reserved {} {}", info.reserved_cpus, info.reserved_memory));
        state
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An HTTP client in the making.
pub(crate) fn http() -> reqwest::ClientBuilder {
    // A choice for the whole process; that another test made it first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

/// A client of the API, with a token or without.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    pub(crate) http: reqwest::Client,
}

impl Api {
    /// A client without a token.
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), token: None, http: http().build().unwrap() }
    }

    /// A request with the token. The path is sent as it is.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(&self, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    /// Begins a request and hangs up at once when `reached` is there.
    pub(crate) async fn hang_up(&self, request: reqwest::RequestBuilder, reached: impl Future<Output = ()>) {
        let sent = tokio::spawn(request.send());
        reached.await;
        sent.abort();
        assert!(sent.await.is_err(), "it was answered before");
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path).await
    }

    /// The answer before its body, for streams.
    pub(crate) async fn open(&self, path: &str) -> Response {
        let response = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.timeout(TIMEOUT).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// One JSON document per line.
    pub(crate) fn lines(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), "application/x-ndjson");
        self.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Asserts that this is a problem document of that status and code, with a sentence for people.
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        problem
    }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < TIMEOUT, "it never comes about that {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A certificate for `localhost`, and the configuration of a server that has it.
pub(crate) fn certificate() -> (String, Arc<rustls::ServerConfig>) {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (made.cert.pem(), paas_server::tls::load(&cert, &key).unwrap())
}
