//! An application on the hosts of the bed: what is declared, what the platform says of it, and what is really there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bollard::models::ContainerSummary;
use bollard::query_parameters::ListContainersOptionsBuilder;
use serde_json::{Value, json};
use xtask::bed::Bed;

use super::support::bed::IMAGE;
use super::support::{Answer, Api};

/// How long something may take that is waited for, and is not measured.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A component that serves a page, asked for it every second, and replaced as fast as that can be.
pub(crate) fn web(replicas: usize) -> Value {
    json!({
        "image": IMAGE,
        "replicas": replicas,
        "memory": 16,
        "cpus": 0.05,
        "port": 80,
        "health": {"http": "/", "interval": "1s", "timeout": "1s", "start": "20s", "failures": 3},
        "stop": {"signal": "SIGKILL", "grace": "1s"},
        "update": {"order": "start-first", "monitor": "1s", "drain": "1s"},
    })
}

/// The same with another value in its environment: what has to be made again.
pub(crate) fn version(mut component: Value, version: usize) -> Value {
    component["env"] = json!({"VERSION": version.to_string()});
    component
}

/// An application of the one component `web`.
pub(crate) fn of(web: Value) -> Value {
    json!({"component": {"web": web}})
}

/// One application, and a server that looks after it.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) api: Api,
    pub(crate) name: String,
}

impl Shop {
    pub(crate) fn new(api: &Api, name: &str) -> Self {
        Self { api: api.clone(), name: name.to_owned() }
    }

    pub(crate) fn path(&self) -> String {
        format!("/api/apps/{}", self.name)
    }

    /// Sends what is to be.
    pub(crate) async fn put(&self, request: Value) -> Answer {
        let request = self.api.request(reqwest::Method::PUT, &self.path()).json(&request);
        super::support::answer(request).await
    }

    /// Applies a file, and gives the number of the revision.
    pub(crate) async fn apply(&self, app: Value) -> u64 {
        let applied = self.put(json!({"app": app})).await;
        assert_eq!(applied.status, 200, "{}", applied.body);
        applied.body["revision"].as_u64().unwrap()
    }

    pub(crate) async fn status(&self) -> Value {
        self.api.get(&self.path()).await.body
    }

    /// Waits until something is so of what the platform says; what it says then, and how long that took.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> (Value, Duration) {
        let begun = Instant::now();
        loop {
            let status = self.status().await;
            if is_so(&status) {
                return (status, begun.elapsed());
            }
            assert!(begun.elapsed() < LONG, "not {what}: {status:#}\n{}", self.latest_events().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until no rollout is under way; how the last one ended.
    pub(crate) async fn until_ended(&self) -> Value {
        let (status, _) = self.until("at the end of its rollout", |status| status["rollout"].is_null()).await;
        status["last_rollout"].clone()
    }

    /// Applies a file and waits until it is there.
    pub(crate) async fn roll_out(&self, app: Value) -> u64 {
        let revision = self.apply(app).await;
        let ended = self.until_ended().await;
        assert_eq!((&ended["outcome"], &ended["to"]), (&json!("done"), &json!(revision)), "{ended}");
        revision
    }

    /// Removes it, and waits until nothing of it is left.
    pub(crate) async fn destroy(&self) {
        let destroyed = self.api.delete(&format!("{}?delete_volumes=true", self.path())).await;
        assert_eq!(destroyed.status, 204, "{}", destroyed.body);
        let gone = || async { self.api.get(&self.path()).await.status == 404 };
        assert!(super::support::eventually(LONG, gone).await, "it is still there: {:#}", self.status().await);
    }

    /// What the events say, the newest last.
    pub(crate) async fn events(&self, count: usize) -> Vec<String> {
        let events = self.api.get(&format!("/api/events?count={count}")).await.body;
        events.as_array().unwrap().iter().filter_map(|event| event["message"].as_str().map(str::to_owned)).collect()
    }

    async fn latest_events(&self) -> String {
        format!("the latest events: {:#?}", self.events(40).await)
    }
}

/// The replicas of `web` that are ready.
pub(crate) fn ready(status: &Value) -> usize {
    status["ready"].as_u64().and_then(|ready| ready.try_into().ok()).unwrap_or_default()
}

/// Whether so many replicas are to be, all of them are ready, and nothing is left to do.
pub(crate) fn rests_with(status: &Value, replicas: usize) -> bool {
    let all = status["component"]["web"]["replicas"].as_array().cloned().unwrap_or_default();
    status["state"] == "running" && all.len() == replicas && all.iter().all(|replica| replica["state"] == "ready")
}

/// Where each replica of `web` that runs serves its page.
pub(crate) fn pages(status: &Value) -> Vec<String> {
    let replicas = status["component"]["web"]["replicas"].as_array().cloned().unwrap_or_default();
    let page = |replica: &Value| {
        let port = replica["ports"][0].as_str()?;
        Some(format!("http://{}/", port.split_once(" → ")?.1))
    };
    replicas.iter().filter_map(page).collect()
}

/// The containers of `web` by id.
pub(crate) fn containers(status: &Value) -> BTreeSet<String> {
    let replicas = status["component"]["web"]["replicas"].as_array().cloned().unwrap_or_default();
    replicas.iter().filter_map(|replica| replica["container"].as_str().map(str::to_owned)).collect()
}

/// A container of an application, by its daemon's own account.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) host: usize,
    pub(crate) id: String,
    pub(crate) name: String,
    /// Its slot: `web.1`. Empty for the command that goes before.
    pub(crate) slot: String,
    pub(crate) runs: bool,
}

/// The containers of an application on these hosts.
pub(crate) async fn found(bed: &Bed, hosts: &[usize], app: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for &host in hosts {
        let client = bollard::Docker::connect_with_unix(
            &bed.socket(host).display().to_string(),
            30,
            bollard::API_DEFAULT_VERSION,
        );
        let client = client.unwrap().negotiate_version().await.unwrap();
        let of_app = format!("paas.app={app}");
        let filters = std::collections::HashMap::from([("label", vec![of_app.as_str()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let all = client.list_containers(Some(options)).await.unwrap();
        found.extend(all.iter().map(|container| found_on(host, container)));
    }
    found
}

fn found_on(host: usize, container: &ContainerSummary) -> Found {
    let label = |key: &str| container.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let names = container.names.clone().unwrap_or_default();
    Found {
        host,
        id: container.id.clone().unwrap(),
        name: names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
        slot: label("paas.slot")
            .filter(|slot| !slot.is_empty())
            .map(|slot| format!("{}.{slot}", label("paas.component").unwrap_or_default()))
            .unwrap_or_default(),
        runs: container.state.is_some_and(|state| state.to_string() == "running"),
    }
}

/// What is not as it should be at rest: each slot has one container, which runs and has its own name, and there is no other.
pub(crate) fn not_at_rest(found: &[Found], app: &str, replicas: usize) -> Option<String> {
    let mut slots: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
    for container in found.iter().filter(|container| !container.slot.is_empty()) {
        slots.entry(&container.slot).or_default().push(container);
    }
    let wrong = |(slot, containers): (&&str, &Vec<&Found>)| {
        let is_named = |found: &&Found| found.runs && found.name.starts_with(&format!("{app}.{slot}."));
        (containers.len() != 1 || !containers.iter().all(is_named)).then(|| format!("{slot} has {containers:?}"))
    };
    let of_number = (slots.len() != replicas).then(|| format!("{} slots are filled, not {replicas}", slots.len()));
    slots.iter().find_map(wrong).or(of_number)
}

/// Waits until an application rests with so many replicas, by the platform's account and by the daemons'; how long that took.
pub(crate) async fn until_at_rest(bed: &Bed, hosts: &[usize], shop: &Shop, replicas: usize) -> Duration {
    let begun = Instant::now();
    loop {
        let status = shop.status().await;
        let wrong = match rests_with(&status, replicas) {
            true => not_at_rest(&found(bed, hosts, &shop.name).await, &shop.name, replicas),
            false => Some(format!("the platform says {status:#}")),
        };
        let Some(wrong) = wrong else { return begun.elapsed() };
        assert!(begun.elapsed() < LONG, "not at rest: {wrong}\n{}", shop.latest_events().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
