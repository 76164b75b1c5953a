//! Containers: run, list, show, stop, start, restart, scale, destroy.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Server};
use crate::tricky::{BREAKS, HALF, MISSING};

fn spec(image: &str) -> Value {
    json!({"name": image, "memory": 64})
}

#[tokio::test]
async fn containers_are_run_and_listed() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let answer = user.post("/api/containers?count=3&pull=false", &spec("web")).await;
    assert_eq!(answer.status, 201);
    let started = answer.json();
    assert_eq!(started.as_array().unwrap().len(), 3);
    for container in started.as_array().unwrap() {
        assert_eq!((&container["state"], &container["engine"]["id"]), (&json!("running"), &json!("one")));
        assert_eq!((&container["image"]["name"], &container["managed"]), (&json!("web"), &json!(true)));
        let id = container["id"].as_str().unwrap();
        for reference in [id, &id[..16], container["name"].as_str().unwrap().trim_start_matches('/')] {
            let shown = user.get(&format!("/api/containers/{reference}")).await;
            assert_eq!((shown.status, &shown.json()["id"]), (200, &container["id"]), "{reference}");
        }
    }
    assert_eq!(user.get("/api/containers").await.json().as_array().unwrap().len(), 3);
    let events = user.get("/api/events?count=10000").await.json();
    let runs = events.as_array().unwrap().iter().filter(|event| event["type"] == "run-container");
    assert_eq!(runs.filter(|event| event["user"] == "user").count(), 3);
}

#[tokio::test]
async fn a_list_is_read_whole_or_page_by_page() {
    let server = Server::start().await;
    let user = server.login("user").await;
    assert_eq!(user.get("/api/containers").await.json(), json!([]));
    // More than one piece of the stream, and not a whole number of them.
    for _ in 0..3 {
        let spec = json!({"name": "web", "memory": 6, "cpus": 0.01});
        assert_eq!(user.post("/api/containers?count=100", &spec).await.status, 201);
    }
    let whole = user.get("/api/containers").await.json();
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|container| container["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = ids(&whole);
    assert_eq!(all.len(), 300);
    assert!(all.is_sorted());
    for size in [7, 128, 256, 300, 10_000] {
        let mut paged = Vec::new();
        loop {
            let after = paged.last().map(|last| format!("&after={last}")).unwrap_or_default();
            let page = ids(&user.get(&format!("/api/containers?limit={size}{after}")).await.json());
            assert!(page.len() <= size);
            let is_last = page.len() < size;
            paged.extend(page);
            if is_last {
                break;
            }
        }
        assert_eq!(paged, all, "{size}");
    }
    let after_the_last = format!("/api/containers?after={}", all.last().unwrap());
    assert_eq!(user.get(&after_the_last).await.json(), json!([]));
}

#[tokio::test]
async fn the_clients_of_the_source_system_are_understood() {
    let server = Server::start().await;
    let token = server.admin().await.token.unwrap();
    let old = server.anonymous();
    let send = async |method: Method, path: &str, body: &'static str| {
        // Neither content type nor bearer token, and changes by GET.
        let request = old.request(method, path).header("X-Access-Token", format!("admin:{token}"));
        Answer::of(request.body(body)).await
    };
    let body = r#"{"name":"ubuntu:14.04","cpus":0.1,"memory":20,"type":"service","labels":[""],
        "restart_policy":{"name":"no"},"network_mode":"bridge"}"#;
    let run = send(Method::POST, "/api/containers?count=&pull=false", body).await;
    assert_eq!(run.status, 201, "{run:?}");
    let id = run.json()[0]["id"].as_str().unwrap().to_owned();
    for verb in ["stop", "start", "restart", "scale?count=2"] {
        let answer = send(Method::GET, &format!("/api/containers/{id}/{verb}"), "").await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{verb}");
    }
    assert_eq!(send(Method::GET, "/api/containers?all=1", "").await.json().as_array().unwrap().len(), 2);
    let account = r#"{"username":"old","password":"an old password","role":"user"}"#;
    assert_eq!(send(Method::POST, "/api/account", account).await.status, 204);
    assert_eq!(send(Method::DELETE, "/api/account", r#"{"username":"old"}"#).await.status, 204);
    assert_eq!(send(Method::DELETE, &format!("/api/containers/{id}"), "").await.status, 204);
}

#[tokio::test]
async fn a_container_is_stopped_started_restarted_and_destroyed() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let id = server.run("web", 1).await[0].clone();
    let path = format!("/api/containers/{id}");
    for (verb, state, listed) in [("stop?timeout=0", "stopped", 0), ("start", "running", 1), ("restart", "running", 1)]
    {
        let answer = user.send(Method::POST, &format!("{path}/{verb}")).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{verb}");
        assert_eq!(user.get(&path).await.json()["state"], state, "{verb}");
        assert_eq!(user.get("/api/containers").await.json().as_array().unwrap().len(), listed, "{verb}");
        assert_eq!(user.get("/api/containers?all=true").await.json().as_array().unwrap().len(), 1, "{verb}");
    }
    assert_eq!(user.delete(&path).await.status, 204);
    user.get(&path).await.is_problem(404, "container_not_found");
    user.delete(&path).await.is_problem(404, "container_not_found");
}

#[tokio::test]
async fn a_group_is_scaled_up_and_down() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let id = server.run("web", 1).await[0].to_string();
    let mut some_id = id;
    for count in [4, 4, 2] {
        let answer = user.send(Method::POST, &format!("/api/containers/{some_id}/scale?count={count}")).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""), "{count}");
        let all = user.get("/api/containers?all=true").await.json();
        assert_eq!(all.as_array().unwrap().len(), count);
        some_id = all[0]["id"].as_str().unwrap().to_owned();
    }
}

#[tokio::test]
async fn what_was_started_of_a_request_that_failed_in_part_is_told() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let answer = user.post("/api/containers?count=4", &spec(HALF)).await;
    assert_eq!(answer.status, 207, "{answer:?}");
    let summary = answer.json();
    assert_eq!(summary["requested"], 4);
    assert_eq!((summary["started"].as_array().unwrap().len(), summary["failed"].as_array().unwrap().len()), (2, 2));
    assert_eq!(summary["failed"][0]["engine"], "one");
    assert!(summary["failed"][0]["error"].as_str().unwrap().contains("it is the second"), "{summary}");
    let id = summary["started"][0]["id"].as_str().unwrap();
    let scaled = user.send(Method::POST, &format!("/api/containers/{id}/scale?count=6")).await;
    assert_eq!(scaled.status, 207, "{scaled:?}");
    assert_eq!(user.get("/api/containers?all=true").await.json().as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_run_that_breaks_off_in_the_middle_is_no_success() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let answer = user.post("/api/containers?count=2", &spec(BREAKS)).await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("internal")), "{answer:?}");
}

#[tokio::test]
async fn a_request_of_which_nothing_was_started_is_an_error() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let before = server.state().await;
    let problem = user.post("/api/containers?count=2", &spec(MISSING)).await.is_problem(502, "launch_failed");
    assert_eq!(problem["failures"].as_array().unwrap().len(), 2, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("no such image"), "{problem}");
    assert_eq!(server.state().await, before);
}

#[tokio::test]
async fn a_request_that_does_not_fit_is_refused_with_the_reasons() {
    let server = Server::start().await;
    let user = server.login("user").await;
    let before = server.state().await;
    let large = json!({"name": "web", "memory": 10_000});
    let problem = user.post("/api/containers?count=2", &large).await.is_problem(409, "no_room");
    assert!(problem["refusal"].is_object(), "{problem}");
    assert_eq!(server.state().await, before);
}
