//! A server that is killed while Docker starts containers of a request: what is answered in the end is what runs, once.

use std::collections::BTreeSet;
use std::time::Duration;

use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use paas_core::testing::{docker, tier};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::SEED_VARIABLE;
use super::support::{Api, Server, eventually};

/// How many requests are made in every test run; `cargo xtask test --long` makes more.
const REQUESTS: usize = 10;
/// How many containers each asks for.
const COUNT: usize = 3;
/// The longest time from a request to the kill, milliseconds: starts are slowed, and take about as long.
const LONGEST_LIFE: u64 = 2500;
const IMAGE: &str = "paas-test-killed-launches:1";

/// The containers of the image on the host, and whether each runs, by Docker's own account.
async fn really_there(client: &bollard::Docker) -> BTreeSet<(String, bool)> {
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let all = client.list_containers(Some(options)).await.unwrap();
    let of_it = all.into_iter().filter(|container| container.image.as_deref() == Some(IMAGE));
    let shown = |container: bollard::models::ContainerSummary| {
        let runs = container.state == Some(bollard::models::ContainerSummaryStateEnum::RUNNING);
        Some((container.id?, runs))
    };
    of_it.filter_map(shown).collect()
}

async fn remove_all(client: &bollard::Docker) {
    for (id, _) in really_there(client).await {
        let options = RemoveContainerOptionsBuilder::new().force(true).build();
        // The server may be at it as well.
        let _ = client.remove_container(&id, Some(options)).await;
    }
}

/// Makes a request of that key. Its answer, if one came.
async fn run(api: &Api, key: &str) -> Option<(StatusCode, Value)> {
    let spec = json!({"name": IMAGE, "cpus": 0.05, "memory": 8});
    let request = api.request(Method::POST, &format!("/api/containers?count={COUNT}"));
    let request = request.header("Idempotency-Key", key).json(&spec).timeout(Duration::from_secs(120));
    let answer = request.send().await.ok()?;
    Some((answer.status(), answer.json().await.ok()?))
}

fn ids(answer: &Value) -> BTreeSet<String> {
    answer.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_docker_what_is_answered_is_what_runs() {
    let Some(address) = docker::daemon("on_docker_what_is_answered_is_what_runs").await else { return };
    let client = docker::client(&address).await;
    let web = docker::web_image(&address).await;
    let (repository, tag) = IMAGE.split_once(':').unwrap();
    let options = bollard::query_parameters::TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
    client.tag_image(web, Some(options)).await.unwrap();
    remove_all(&client).await;
    let seed = std::env::var(SEED_VARIABLE).ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("the same moments again: {SEED_VARIABLE}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Server::start(&[&format!("local={address}")]).await;
    let api = server.admin().await;
    for number in 0..tier::rounds(REQUESTS) {
        let key = format!("killed-{number}");
        let mut answered = None;
        for _ in 0..random.random_range(1..3) {
            let life = Duration::from_millis(random.random_range(0..LONGEST_LIFE));
            let kill = async {
                tokio::time::sleep(life).await;
                server.kill();
            };
            let (answer, ()) = tokio::join!(run(&api, &key), kill);
            answered = answered.or(answer.filter(|(status, _)| *status == StatusCode::CREATED));
            server.start_again().await;
        }
        let (status, answer) = run(&api, &key).await.unwrap();
        assert_eq!(status, StatusCode::CREATED, "request {number}: {answer}");
        let expected: BTreeSet<(String, bool)> = ids(&answer).into_iter().map(|id| (id, true)).collect();
        assert_eq!(expected.len(), COUNT, "request {number}: {answer}");
        if let Some((_, before)) = answered {
            assert_eq!(ids(&before), ids(&answer), "request {number} was answered otherwise before");
        }
        // Docker may still be at what a server that is dead told it.
        let agree = || async { really_there(&client).await == expected };
        let is_so = eventually(Duration::from_secs(10), agree).await;
        assert!(is_so, "request {number}: answered {expected:#?}, there are {:#?}", really_there(&client).await);
        let events = api.get("/api/events?count=1000").await.body;
        for (id, _) in &expected {
            let runs = |event: &&Value| event["type"] == "run-container" && event["container"] == **id;
            let told = events.as_array().unwrap().iter().filter(runs).count();
            assert_eq!(told, 1, "request {number}: {id} has one event of its run");
        }
        api.destroy_all(IMAGE).await;
    }
    assert!(really_there(&client).await.is_empty());
}
