//! Two servers on one registry and one store, each with a listener of its own.

use std::net::TcpListener;

use futures::StreamExt;
use paas_core::auth::{AuthSettings, HashCost};
use paas_core::controller::{Actor, Settings};
use paas_core::engine::SimulatedEngine;
use paas_core::leadership::LEADER_FORMAT;
use paas_core::model::{EngineAddress, EngineSpec};
use paas_core::registry::{EmbeddedRegistry, Registry};
use paas_core::seal::Sealer;
use paas_core::store::tables::PLATFORM;
use paas_core::store::{MemoryStore, Store};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::serve::{ServeOptions, serve_with};

const LEASE: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(20);
const PASSWORD: &str = "correct horse battery";

/// What all servers share.
#[derive(Clone)]
struct Common {
    store: Arc<dyn Store>,
    registry: Arc<dyn Registry>,
    engine: String,
}

impl Common {
    fn new(test: &str, engine: &str) -> Self {
        let engine = format!("sim://{test}-{}?{engine}", uuid::Uuid::now_v7().simple());
        Self { store: Arc::new(MemoryStore::new()), registry: Arc::new(EmbeddedRegistry::new()), engine }
    }

    async fn controller(self, term: Term) -> anyhow::Result<Controller> {
        let hash_cost = HashCost { memory_kib: 8, passes: 1 };
        let auth = AuthSettings { hash_cost, ..AuthSettings::default() };
        let builder = Controller::builder().store(self.store).registry(self.registry).term(term);
        let controller = builder.settings(Settings { auth, ..Settings::default() }).build().await?;
        controller.ensure_admin(Some(PASSWORD.to_owned())).await?;
        if controller.engines().is_empty() {
            let spec = EngineSpec::new("one".parse()?, self.engine.parse()?);
            controller.add_engine(&Actor::system(), spec).await?;
        }
        controller.wait_ready(TIMEOUT).await;
        Ok(controller)
    }
}

/// A server that is one of several.
struct Server {
    url: String,
    node: Node,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start(common: &Common) -> Self {
        Self::start_if(common, Arc::new(|| Box::pin(async { Ok(()) })))
    }

    fn start_if(common: &Common, may_lead: MayLead) -> Self {
        Self::start_as(common, may_lead, ServeOptions::default())
    }

    fn start_as(common: &Common, may_lead: MayLead, options: ServeOptions) -> Self {
        // A choice for the whole process; that another test made it first is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let candidate = Candidate::new(common.registry.clone(), url.clone(), LEASE);
        let forwarder = Forwarder::new(None).unwrap();
        tokio::spawn(Forwarder::learn_peer_key(forwarder.peer_key(), common.store.clone()));
        let node = Node::new(candidate, forwarder, options.clone()).that_leads_if(may_lead);
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let common = common.clone();
        let take_over: TakeOver = Arc::new(move |term| Box::pin(common.clone().controller(term)));
        let running = tokio::spawn(node.clone().run(take_over, stop.clone(), end.clone()));
        let finish = async move {
            end.cancel();
            running.await.unwrap();
        };
        let (router, rings) = (node.router(), stop.clone());
        let serving = tokio::spawn(async move { serve_with(listener, router, options, rings, finish).await.unwrap() });
        Self { url, node, stop, serving }
    }

    async fn until_leading(&self) {
        let mut role = self.node.role.subscribe();
        let leads = role.wait_for(|role| matches!(role, Role::Leading(..)));
        drop(timeout(TIMEOUT, leads).await.expect("it never leads").unwrap());
    }

    /// Ends the term of a server that leads, as the loss of the registry would.
    fn depose(&self) {
        match &*self.node.role.borrow() {
            Role::Leading(_, term) => term.resign(),
            Role::Following => panic!("it does not lead"),
        }
    }

    async fn health(&self) -> Value {
        http().get(format!("{}/healthz", self.url)).send().await.unwrap().json().await.unwrap()
    }
}

/// A client that asks the servers themselves, whatever proxy the environment names.
fn http() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

/// A client that is logged in.
#[derive(Clone)]
struct Api {
    http: Client,
    token: String,
}

impl Api {
    async fn login(server: &Server) -> Self {
        let http = http();
        let login = json!({"username": "admin", "password": PASSWORD});
        let answer = http.post(format!("{}/auth/login", server.url)).json(&login).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let token = answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
        Self { http, token }
    }

    fn request(&self, server: &Server, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", server.url)).bearer_auth(&self.token)
    }

    async fn get(&self, server: &Server, path: &str) -> Value {
        self.request(server, Method::GET, path).send().await.unwrap().json().await.unwrap()
    }

    fn run(&self, server: &Server, count: usize) -> RequestBuilder {
        let path = format!("/api/containers?count={count}");
        self.request(server, Method::POST, &path).json(&json!({"name": "web", "memory": 16, "cpus": 0.01}))
    }
}

async fn two(test: &str, engine: &str) -> (Server, Server) {
    let common = Common::new(test, engine);
    let first = Server::start(&common);
    first.until_leading().await;
    (first, Server::start(&common))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_follows_answers_as_the_one_that_leads() {
    let (leader, follower) = two("answers", "cpus=8&memory=4096").await;
    let api = Api::login(&follower).await;
    let answer = api.run(&follower, 2).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert!(answer.headers().contains_key("x-request-id"));
    let started: Value = answer.json().await.unwrap();
    // What both log of a request has one id.
    let id = uuid::Uuid::now_v7().to_string();
    let listed =
        api.request(&follower, Method::GET, "/api/containers").header("x-request-id", &id).send().await.unwrap();
    assert_eq!(listed.headers()["x-request-id"], id.as_str());
    for server in [&leader, &follower] {
        assert_eq!(api.get(server, "/api/containers").await.as_array().unwrap().len(), 2);
        assert_eq!(api.get(server, "/api/cluster/info").await["leader"], leader.url);
    }
    // Streams come as they go.
    let path = format!("/api/containers/{}/scale?count=4", started[0]["id"].as_str().unwrap());
    let scale = api.request(&follower, Method::POST, &path).header("accept", "application/x-ndjson");
    let lines = scale.send().await.unwrap().text().await.unwrap();
    assert!(lines.lines().last().unwrap().contains("summary"), "{lines}");
    let mut live = api.request(&follower, Method::GET, "/api/events/live").send().await.unwrap().bytes_stream();
    api.run(&leader, 1).send().await.unwrap();
    assert!(timeout(TIMEOUT, live.next()).await.unwrap().is_some());
    // So do refusals.
    let wrong = http().get(format!("{}/api/containers", follower.url)).send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let nowhere = api.request(&follower, Method::GET, "/nowhere").send().await.unwrap();
    assert_eq!(nowhere.status(), StatusCode::NOT_FOUND);
    let large = api.request(&follower, Method::POST, "/api/containers").body(vec![b'x'; 2 << 20]).send().await.unwrap();
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);

    let (of_leader, of_follower) = (leader.health().await, follower.health().await);
    assert_eq!((&of_leader["role"], &of_leader["leader"]), (&json!("leader"), &json!(leader.url)));
    assert_eq!((&of_follower["role"], &of_follower["leader"]), (&json!("follower"), &json!(leader.url)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_takes_longer_than_other_requests_may_is_waited_for_through_a_server_that_follows() {
    let common = Common::new("slow-stop", "cpus=8&memory=4096");
    let EngineAddress::Simulated(host) = common.engine.parse().unwrap() else { panic!("it is simulated") };
    let host = SimulatedEngine::named(&host);
    let options = ServeOptions { request_timeout: Duration::from_secs(1), ..ServeOptions::default() };
    let start = || Server::start_as(&common, Arc::new(|| Box::pin(async { Ok(()) })), options.clone());
    let leader = start();
    leader.until_leading().await;
    let follower = start();
    let api = Api::login(&leader).await;
    let started: Value = api.run(&leader, 1).send().await.unwrap().json().await.unwrap();
    host.set_latency(Duration::from_millis(1300));
    let path = format!("/api/containers/{}/stop?timeout=20", started[0]["id"].as_str().unwrap());
    let key = |request: RequestBuilder| request.header("idempotency-key", "once");
    for _ in 0..2 {
        let answer = key(api.request(&follower, Method::POST, &path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        host.set_latency(Duration::ZERO);
    }
    let events = api.get(&leader, "/api/events?count=100").await;
    let stops = events.as_array().unwrap().iter().filter(|event| event["type"] == "stop-container");
    assert_eq!(stops.count(), 1, "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_passwords_through_a_server_that_follows_is_known_by_where_he_is() {
    let (leader, follower) = two("source", "cpus=8&memory=4096").await;
    let known =
        || leader.node.forwarder.peer_key().get().is_some() && follower.node.forwarder.peer_key().get().is_some();
    timeout(TIMEOUT, async {
        while !known() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the servers do not know each other");
    let login = async |server: &Server, from: [u8; 4], password: &str| {
        let http = Client::builder().no_proxy().local_address(std::net::IpAddr::from(from)).build().unwrap();
        let body = json!({"username": "admin", "password": password});
        let request = http.post(format!("{}/auth/login", server.url)).json(&body);
        // What a client says of itself counts for nothing.
        request.header("x-paas-source", "127.0.0.9").send().await.unwrap().status()
    };
    let (guesser, owner) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    for _ in 0..5 {
        assert_eq!(login(&follower, guesser, "wrong-wrong").await, StatusCode::UNAUTHORIZED);
    }
    // He is kept out at both, and nobody else is: neither the server that sent it on, nor who comes by it.
    for server in [&leader, &follower] {
        assert_eq!(login(server, guesser, PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(login(server, owner, PASSWORD).await, StatusCode::OK);
        assert_eq!(login(server, [127, 0, 0, 1], PASSWORD).await, StatusCode::OK);
    }
}

/// The first of these, in a process of its own: the environment of this one is also that of the other tests.
#[test]
fn no_proxy_stands_between_servers() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "ha::tests::a_server_that_follows_answers_as_the_one_that_leads"]);
    for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        // Nobody listens there.
        child.env(name, "http://127.0.0.1:9");
    }
    let output = child.env_remove("NO_PROXY").env_remove("no_proxy").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_hands_over_and_nothing_is_lost() {
    let (leader, follower) = two("hands-over", "cpus=8&memory=4096").await;
    let api = Api::login(&leader).await;
    let first: Value = api.run(&leader, 3).header("idempotency-key", "k").send().await.unwrap().json().await.unwrap();
    leader.stop.cancel();
    leader.serving.await.unwrap();
    follower.until_leading().await;
    assert_eq!(follower.health().await["role"], "leader");
    // The token is good, what runs is known, and the answer is given again.
    assert_eq!(api.get(&follower, "/api/containers").await.as_array().unwrap().len(), 3);
    let again = api.run(&follower, 3).header("idempotency-key", "k").send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_the_next_leader_and_one_that_was_cut_short_is_done_once() {
    let (leader, follower) = two("deposed", "cpus=8&memory=4096&latency_ms=100").await;
    let api = Api::login(&leader).await;
    let send = |server: &Server| api.run(server, 10).header("idempotency-key", "k").send();
    let cut_short = tokio::spawn(send(&leader));
    sleep(Duration::from_millis(500)).await;
    leader.depose();
    let cut_short = cut_short.await.unwrap().unwrap();
    assert_eq!(cut_short.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(cut_short.headers()["retry-after"], "1");
    assert_eq!(cut_short.json::<Value>().await.unwrap()["code"], "no_leader");
    // Whichever of the two leads next: the request waits for it.
    let done = send(&follower).await.unwrap();
    assert_eq!(done.status(), StatusCode::CREATED, "{}", done.text().await.unwrap());
    let exactly_ten = async {
        while api.get(&follower, "/api/containers?all=true").await.as_array().unwrap().len() != 10 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TIMEOUT, exactly_ten).await.expect("exactly what was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_a_request_is_sent_away_in_the_end() {
    let common = Common::new("nobody", "cpus=1");
    let lonely = Server::start(&common);
    lonely.until_leading().await;
    // Another that is gone stands in the registry as the one that leads.
    let lease = common.registry.grant(Duration::from_secs(60)).await.unwrap();
    let registry = common.registry.clone();
    let gone = tokio::spawn(async move { registry.campaign("leader", "http://127.0.0.1:1", lease).await });
    sleep(Duration::from_millis(50)).await;
    lonely.depose();
    gone.await.unwrap().unwrap();
    let refused = http().get(format!("{}/api/engines", lonely.url)).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "no_leader");
    let ball = http().get(format!("{}/api/engines", lonely.url)).header("x-paas-forwarded", "1");
    assert_eq!(ball.send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lonely.health().await["leader"], "http://127.0.0.1:1");
}

/// Takeovers that fail, and one that another server overtakes, leave nothing running.
#[tokio::test]
async fn takeovers_that_come_to_nothing_leave_nothing_behind() {
    let common = Common::new("comes-to-nothing", "cpus=8&memory=16384");
    let host = match common.engine.parse().unwrap() {
        paas_core::model::EngineAddress::Simulated(host) => paas_core::engine::SimulatedEngine::named(&host),
        other => panic!("{other}"),
    };
    let candidate = Candidate::new(common.registry.clone(), "http://nobody:1".to_owned(), LEASE);
    for round in 0..20 {
        let term = candidate.lead().await;
        let taking_over = common.clone().controller(term.clone());
        if round % 2 == 0 {
            // It is done, and then something fails.
            let controller = taking_over.await.unwrap();
            assert_eq!(host.open_streams(), 1, "in round {round}");
            drop(controller);
        } else {
            // The term is over before it is done.
            let _ = timeout(Duration::from_millis(round), taking_over).await;
        }
        term.resign();
    }
    let gone = async {
        while host.open_streams() > 0 {
            sleep(LOOK).await;
        }
    };
    assert!(timeout(TIMEOUT, gone).await.is_ok(), "{} streams are left", host.open_streams());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_could_not_lead_stands_aside_until_it_can_and_says_so() {
    let common = Common::new("aside", "cpus=8&memory=4096");
    let has_key = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let found = has_key.clone();
    let may_lead: MayLead = Arc::new(move || {
        let found = found.load(std::sync::atomic::Ordering::SeqCst);
        Box::pin(async move { if found { Ok(()) } else { anyhow::bail!("the key is in nobody's hands") } })
    });
    let aside = Server::start_if(&common, may_lead);
    sleep(LEASE).await;
    let health = aside.health().await;
    assert_eq!((&health["role"], &health["stands_for_election"]), (&json!("follower"), &json!(false)), "{health}");
    assert!(!health.to_string().contains("hands"), "what exactly is missing is for the log");
    let other = Server::start(&common);
    other.until_leading().await;
    assert_eq!(aside.health().await["leader"], other.url, "it serves all the same");
    has_key.store(true, std::sync::atomic::Ordering::SeqCst);
    other.stop.cancel();
    other.serving.await.unwrap();
    aside.until_leading().await;
    assert_eq!(aside.health().await["stands_for_election"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_an_older_version_only_follows_and_says_so() {
    let common = Common::new("older", "cpus=8&memory=4096");
    let newer = json!({ "format": 1, "leader_format": LEADER_FORMAT + 1 });
    common.store.insert(PLATFORM, "min_leader", newer).await.unwrap();
    let custody = Custody::Ephemeral(Sealer::ephemeral());
    let older = Server::start_if(&common, may_lead(custody, common.store.clone()));
    sleep(LEASE).await;
    let health = older.health().await;
    assert_eq!((&health["role"], &health["stands_for_election"]), (&json!("follower"), &json!(false)), "{health}");
    common.store.delete(PLATFORM, "min_leader", None).await.unwrap();
    older.until_leading().await;
    assert_eq!(older.health().await["stands_for_election"], Value::Null);
}
