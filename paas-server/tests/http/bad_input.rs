//! Requests that cannot be: the right status, the right code, a sentence that helps, and nothing changed.

use bytes::Bytes;
use futures::stream;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Server, unique};

/// A request, and how it is refused: status, code, and the field that is named.
type Case = (Method, String, Value, u16, &'static str, &'static str);

fn case(method: Method, path: &str, body: Value, status: u16, code: &'static str, field: &'static str) -> Case {
    (method, path.to_owned(), body, status, code, field)
}

/// Sends each request, and sees that it is refused as it should be and that nothing came of it.
async fn all_are_refused(server: &Server, cases: Vec<Case>) {
    let admin = server.admin().await;
    let before = server.state().await;
    for (method, path, body, status, code, field) in cases {
        let request = admin.request(method.clone(), &path);
        let answer = Answer::of(if body.is_null() { request } else { request.json(&body) }).await;
        let problem = answer.is_problem(status, code);
        if !field.is_empty() {
            assert_eq!(problem["field"], field, "{method} {path} {body}: {problem}");
        }
        assert_eq!(server.state().await, before, "{method} {path} {body}");
    }
}

#[tokio::test]
async fn descriptions_of_containers_that_cannot_be() {
    let server = Server::start().await;
    server.run("web", 1).await;
    let run = |body: Value, status, code, field| case(Method::POST, "/api/containers", body, status, code, field);
    let bad = |body, field| run(body, 400, "invalid_request", field);
    let cases = vec![
        bad(json!({}), "body"),
        bad(json!([]), "body"),
        bad(json!(["httpd"]), "body"),
        bad(json!("httpd"), "body"),
        bad(json!({"name": "httpd", "memroy": 64}), "memroy"),
        bad(json!({"name": "httpd", "memory": "much"}), "memory"),
        bad(json!({"name": "httpd", "memory": -1}), "memory"),
        bad(json!({"name": "httpd", "memory": 1.5}), "memory"),
        bad(json!({"name": "httpd", "memory": 1}), "memory"),
        bad(json!({"name": "httpd", "cpus": -1}), "cpus"),
        bad(json!({"name": "httpd", "cpus": 1e9}), "cpus"),
        bad(json!({"name": "httpd", "type": "gang"}), "type"),
        bad(json!({"name": "httpd", "labels": "all"}), "labels"),
        bad(json!({"name": "httpd", "bind_ports": [{"container_port": 0}]}), "bind_ports.container_port"),
        bad(json!({"name": "httpd", "bind_ports": [{"container_port": 70000}]}), "bind_ports[0].container_port"),
        bad(json!({"name": "httpd", "bind_ports": [{"container_port": 80, "colour": 1}]}), "bind_ports[0].colour"),
        bad(json!({"name": "httpd", "restart_policy": {"name": "perhaps"}}), ""),
        bad(json!({"name": "httpd", "links": {"nobody": "db"}}), "links"),
        bad(json!({"name": "httpd", "cap_add": ["ROOT"]}), "cap_add[0]"),
        bad(json!({"name": "httpd", "stop_signal": "NOTHING"}), "stop_signal"),
        bad(json!({"name": "httpd", "shm_size": -1}), "shm_size"),
        bad(json!({"name": "httpd", "ulimits": {"nofile": {"soft": 2, "hard": 1}}}), "ulimits"),
        bad(json!({"name": "httpd", "ulimits": {"nofile": "many"}}), "ulimits.nofile"),
        bad(json!({"name": "httpd", "health": {"command": "true", "interval": "10us"}}), "health.interval"),
        bad(json!({"name": "httpd", "health": {"command": "true", "interval": "soon"}}), "health.interval"),
        bad(json!({"name": "httpd", "logging": {"drvier": "local"}}), "logging.drvier"),
        bad(json!({"name": ""}), "name"),
        bad(json!({"name": "Not An Image"}), "name"),
        bad(json!({"name": "httpd:"}), "name"),
        bad(json!({"name": "../etc/passwd"}), "name"),
        run(json!({"name": "httpd", "memory": 1_000_000}), 409, "no_room", ""),
        run(json!({"name": "httpd", "labels": ["nowhere"]}), 409, "no_room", ""),
    ];
    all_are_refused(&server, cases).await;
}

#[tokio::test]
async fn counts_that_cannot_be() {
    let server = Server::start().await;
    let id = server.run("web", 1).await[0].to_string();
    let mut cases = Vec::new();
    for count in ["0", "-1", "1.5", "many", "10001", "99999999999999999999", "%00", "1&count=2"] {
        let run = format!("/api/containers?count={count}");
        cases.push(case(Method::POST, &run, json!({"name": "httpd", "memory": 64}), 400, "invalid_request", "count"));
        let events = format!("/api/events?count={count}");
        cases.push(case(Method::GET, &events, Value::Null, 400, "invalid_request", "count"));
        // A group can be scaled to nothing.
        let methods = if count == "0" { vec![] } else { vec![Method::GET, Method::POST] };
        for method in methods {
            let scale = format!("/api/containers/{id}/scale?count={count}");
            cases.push(case(method, &scale, Value::Null, 400, "invalid_request", "count"));
        }
    }
    let scale = format!("/api/containers/{id}/scale");
    cases.push(case(Method::POST, &scale, Value::Null, 400, "invalid_request", "count"));
    // Each of these would fit by itself; all of them do not, and then none is started.
    let many = "/api/containers?count=10000";
    cases.push(case(Method::POST, many, json!({"name": "httpd", "memory": 64}), 409, "no_room", ""));
    cases.push(case(Method::POST, &format!("{scale}?count=10000"), Value::Null, 409, "no_room", ""));
    all_are_refused(&server, cases).await;
}

#[tokio::test]
async fn parameters_that_are_not_there() {
    let server = Server::start().await;
    let id = server.run("web", 1).await[0].to_string();
    let get = |path: String, field| case(Method::GET, &path, Value::Null, 400, "invalid_request", field);
    let of = |rest: &str| format!("/api/containers/{id}{rest}");
    let cases = vec![
        get("/api/containers?al=true".into(), "al"),
        get("/api/containers?all=perhaps".into(), "all"),
        get("/api/containers?all=true&all=false".into(), "all"),
        get("/api/containers?limit=0".into(), "limit"),
        get("/api/containers?after=not-an-id".into(), "after"),
        get("/api/events?limit=3".into(), "limit"),
        get("/api/engines?all=true".into(), "all"),
        get("/api/cluster/info?verbose=1".into(), "verbose"),
        get(of("/stop?grace=1"), "grace"),
        get(of("/stop?timeout=-1"), "timeout"),
        get(of("/stop?timeout=3601"), "timeout"),
        get(of("/restart?timeout=soon"), "timeout"),
        get(of("/start?timeout=1"), "timeout"),
        get(of("/logs?tail=-1"), "tail"),
        get(of("/logs?since=yesterday"), "since"),
        get(of("/logs?follow=maybe"), "follow"),
        get(of("/logs?stdout=false&stderr=false"), "stdout"),
        case(Method::DELETE, &of("?force=true"), Value::Null, 400, "invalid_request", "force"),
        case(Method::POST, "/api/containers?pull=x", json!({"name": "httpd"}), 400, "invalid_request", "pull"),
    ];
    all_are_refused(&server, cases).await;
}

#[tokio::test]
async fn applications_that_cannot_be() {
    let server = Server::start().await;
    let of = |method, rest: &str, body, field| {
        case(method, &format!("/api/apps/{rest}"), body, 400, "invalid_request", field)
    };
    let get = |rest: &str, field| of(Method::GET, rest, Value::Null, field);
    let shop = |component: Value| json!({"app": {"app": "shop", "component": {"web": component}}});
    let put = |body: Value, field| of(Method::PUT, "shop", body, field);
    let mut cases = vec![
        put(json!([]), "body"),
        put(json!({"app": {"app": "blog"}}), "app.app"),
        put(json!({"app": {"app": "shop"}, "force": true}), "force"),
        put(json!({"app": {"app": "shop"}, "base": -1}), "base"),
        put(json!({"app": {"app": "shop", "components": {}}}), "app.components"),
        put(shop(json!({"imge": "web"})), "app.component.web.imge"),
        put(shop(json!({"image": "web", "replicas": "all"})), "app.component.web.replicas"),
        put(shop(json!({"image": "web", "update": {"parallel": 0}})), "app.component.web.update.parallel"),
        put(shop(json!({"image": "web", "volumes": ["data"]})), "app.component.web.volumes[0]"),
        of(Method::PUT, "Shop", json!({"app": {"app": "Shop"}}), "app"),
        of(Method::POST, "shop/plan", json!({"app": {"app": "blog"}}), "app.app"),
        of(Method::POST, "shop/plan", shop(json!({"imge": "web"})), "app.component.web.imge"),
        of(Method::DELETE, "shop?delete_volumes=perhaps", Value::Null, "delete_volumes"),
        of(Method::DELETE, "shop?force=true", Value::Null, "force"),
        of(Method::POST, "shop/scale", Value::Null, ""),
        of(Method::POST, "shop/scale", json!({}), "body"),
        of(Method::POST, "shop/scale", json!({"replicas": -1}), "replicas"),
        of(Method::POST, "shop/scale", json!({"component": "no_name", "replicas": 1}), "component"),
        of(Method::POST, "shop/rollback", json!({"to": "before"}), "to"),
        of(Method::POST, "shop/rollback", json!({"revision": 3}), "revision"),
        of(Method::POST, "shop/restart", json!({"component": "web"}), "component"),
        get("shop/revisions/first", "revision"),
        get("shop/revisions/-1", "revision"),
        get("shop/diff?from=1", "to"),
        get("shop/diff?to=1", "from"),
        get("shop/diff?from=0&to=1", "from"),
        get("shop/logs?component=no_name", "component"),
        get("shop/logs?tail=-1", "tail"),
        get("shop/logs?since=yesterday", "since"),
        get("shop/logs?stdout=true", "stdout"),
        case(Method::POST, "/api/engines/one/lost?lose_volumes=2", Value::Null, 400, "invalid_request", "lose_volumes"),
    ];
    for name in ["Shop", "no_name", "-shop", "shop-", "a.b", "%20", &"x".repeat(33)] {
        let field = if name == "%20" { "id" } else { "app" };
        for rest in ["", "/revisions", "/logs", "/diff?from=1&to=2"] {
            cases.push(get(&format!("{name}{rest}"), field));
        }
        for verb in ["rollback", "restart", "stop", "start"] {
            cases.push(of(Method::POST, &format!("{name}/{verb}"), Value::Null, field));
        }
        cases.push(of(Method::DELETE, name, Value::Null, field));
    }
    all_are_refused(&server, cases).await;
}

#[tokio::test]
async fn containers_that_are_not_there_or_not_meant() {
    let server = Server::start().await;
    // With seventeen ids two begin with the same digit.
    let mut ids: Vec<String> = server.run("web", 17).await.iter().map(ToString::to_string).collect();
    ids.sort();
    let twins: Vec<&String> = ids.windows(2).find(|two| two[0][..1] == two[1][..1]).unwrap().iter().collect();
    let digit = &twins[0][..1];
    let mut cases = Vec::new();
    for (reference, status, code) in [
        ("ffffffffffffffffffffffffffffffff", 404, "container_not_found"),
        ("no-such-name", 404, "container_not_found"),
        ("%F0%9F%A6%80", 404, "container_not_found"),
        ("..", 404, "container_not_found"),
        (digit, 400, "container_ambiguous"),
        ("%20", 400, "invalid_request"),
        ("%2F", 400, "invalid_request"),
        ("%FF", 400, "invalid_request"),
    ] {
        // Two dots alone would be taken for a step upwards before they are sent.
        if reference == ".." {
            continue;
        }
        let path = format!("/api/containers/{reference}");
        let mut ask = |method, rest: &str| {
            cases.push(case(method, &format!("{path}{rest}"), Value::Null, status, code, ""));
        };
        ask(Method::GET, "");
        ask(Method::DELETE, "");
        ask(Method::GET, "/logs");
        ask(Method::POST, "/scale?count=2");
        for verb in ["/start", "/stop", "/restart"] {
            ask(Method::GET, verb);
            ask(Method::POST, verb);
        }
    }
    all_are_refused(&server, cases).await;
    let problem = server.admin().await.get(&format!("/api/containers/{digit}")).await.json();
    let candidates: Vec<&str> =
        problem["candidates"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert!(candidates.len() > 1 && candidates.iter().all(|id| id.starts_with(digit)), "{problem}");
}

#[tokio::test]
async fn accounts_that_cannot_be() {
    let server = Server::start().await;
    let add = |body: Value, status, code, field| case(Method::POST, "/api/accounts", body, status, code, field);
    let account =
        |name: &str, password: &str, role: &str| json!({"username": name, "password": password, "role": role});
    let cases = vec![
        add(account("user", PASSWORD, "user"), 409, "account_exists", ""),
        add(account("admin", PASSWORD, "user"), 409, "account_exists", ""),
        add(account("new", PASSWORD, "emperor"), 400, "invalid_request", "role"),
        add(account("new", "", "user"), 400, "invalid_request", "password"),
        add(account("", PASSWORD, "user"), 400, "invalid_request", "username"),
        add(account("a b", PASSWORD, "user"), 400, "invalid_request", "username"),
        add(account("a/b", PASSWORD, "user"), 400, "invalid_request", "username"),
        add(json!({"username": "new", "password": PASSWORD}), 400, "invalid_request", ""),
        add(json!({"username": "new", "password": PASSWORD, "role": "user", "x": 1}), 400, "invalid_request", "x"),
        case(Method::DELETE, "/api/accounts/admin", Value::Null, 409, "last_admin", ""),
        case(Method::DELETE, "/api/account", json!({"username": "admin"}), 409, "last_admin", ""),
        case(Method::DELETE, "/api/account?username=nobody", Value::Null, 404, "account_not_found", ""),
        case(Method::DELETE, "/api/account", Value::Null, 400, "invalid_request", "username"),
        case(Method::DELETE, "/api/account?username=a", json!({"username": "b"}), 400, "invalid_request", "username"),
        case(Method::GET, "/api/accounts/nobody", Value::Null, 404, "account_not_found", ""),
        case(Method::DELETE, "/api/accounts/nobody", Value::Null, 404, "account_not_found", ""),
        case(Method::POST, "/account/passwdchange", json!({"password": ""}), 400, "invalid_request", "password"),
        case(Method::POST, "/account/passwdchange", json!({}), 400, "invalid_request", ""),
    ];
    all_are_refused(&server, cases).await;
}

#[tokio::test]
async fn engines_that_cannot_be() {
    let server = Server::start().await;
    let add = |body: Value, status, code, field| case(Method::POST, "/api/engines", body, status, code, field);
    let fresh = || format!("sim://{}", unique("fresh"));
    let pem = json!({"ca_cert": "x", "cert": "y", "key": "z"});
    let cases = vec![
        add(json!({"id": "one", "addr": fresh()}), 409, "engine_exists", ""),
        add(json!({"id": "two", "addr": format!("sim://{}", server.host)}), 409, "engine_exists", ""),
        add(json!({"id": "two", "addr": format!("tcp://{}.twin:2375", server.host)}), 409, "engine_exists", ""),
        add(json!({"id": "two", "addr": "ftp://host"}), 400, "invalid_request", "addr"),
        add(json!({"id": "two", "addr": ""}), 400, "invalid_request", "addr"),
        add(json!({"id": "", "addr": fresh()}), 400, "invalid_request", "id"),
        add(json!({"id": "a/b", "addr": fresh()}), 400, "invalid_request", "id"),
        add(json!({"id": "two"}), 400, "invalid_request", ""),
        add(json!({"id": "two", "addr": fresh(), "size": 1}), 400, "invalid_request", "size"),
        add(json!({"id": "two", "addr": fresh(), "cpus": 0}), 400, "invalid_request", "cpus"),
        add(json!({"id": "two", "addr": fresh(), "memory": 0}), 400, "invalid_request", "memory"),
        add(json!({"id": "two", "addr": fresh(), "labels": [""]}), 400, "invalid_request", "labels"),
        add(json!({"id": "two", "addr": fresh(), "tls": pem}), 400, "invalid_request", "tls"),
        case(Method::GET, "/api/engines/none", Value::Null, 404, "engine_not_found", ""),
        case(Method::DELETE, "/api/engines/none", Value::Null, 404, "engine_not_found", ""),
        case(
            Method::POST,
            "/api/images/pull",
            json!({"name": "httpd", "engines": ["none"]}),
            404,
            "engine_not_found",
            "",
        ),
        case(
            Method::POST,
            "/api/images/pull",
            json!({"name": "httpd", "engines": []}),
            400,
            "invalid_request",
            "engines",
        ),
        case(Method::POST, "/api/images/pull", json!({"name": "NO"}), 400, "invalid_request", "name"),
    ];
    all_are_refused(&server, cases).await;
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let before = server.state().await;
    for path in ["/api/containers", "/api/engines", "/api/accounts", "/api/images/pull", "/account/passwdchange"] {
        for body in ["", "{", "{\"name\":}", "{\"name\":\"httpd\"} and more", "\u{0}", "nonsense"] {
            let request = admin.request(Method::POST, path).header("content-type", "application/json").body(body);
            Answer::of(request).await.is_problem(400, "invalid_request");
        }
        let deep = "[".repeat(100_000);
        Answer::of(admin.request(Method::POST, path).body(deep)).await.is_problem(400, "invalid_request");
        Answer::of(admin.request(Method::POST, path).body(&b"{\"name\": \"\xff\"}"[..]))
            .await
            .is_problem(400, "invalid_request");
        for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            let request = admin.request(Method::POST, path).header("content-type", media_type).body("{}");
            Answer::of(request).await.is_problem(415, "unsupported_media_type");
        }
    }
    let problem = Answer::of(admin.request(Method::POST, "/api/containers").body("{\n  \"name\": }")).await.json();
    assert!(problem["detail"].as_str().unwrap().contains("line 2"), "{problem}");
    assert_eq!(server.state().await, before);
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let before = server.state().await;
    let large = format!("{{\"name\": \"httpd\", \"user_data\": \"{}\"}}", "x".repeat(2 << 20));
    for path in ["/api/containers", "/auth/login"] {
        let told = Answer::of(admin.request(Method::POST, path).body(large.clone())).await;
        told.is_problem(413, "too_large");
        let chunks: Vec<_> = large.as_bytes().chunks(50_000).map(Bytes::copy_from_slice).collect();
        let untold = reqwest::Body::wrap_stream(stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)));
        Answer::of(admin.request(Method::POST, path).body(untold)).await.is_problem(413, "too_large");
    }
    assert_eq!(server.state().await, before);
}

#[tokio::test]
async fn logins_that_are_wrong() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    for (name, password) in [("user", "wrong"), ("nobody", PASSWORD), ("", ""), ("user", "")] {
        let answer = nobody.post("/auth/login", &json!({"username": name, "password": password})).await;
        answer.is_problem(401, "wrong_password");
    }
    nobody.post("/auth/login", &json!({"username": "user"})).await.is_problem(400, "invalid_request");
    nobody.post("/auth/login", &json!({"username": "user", "password": 1})).await.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let server = Server::start().await;
    let nobody = server.anonymous();
    let guess = json!({"username": "user", "password": "guess"});
    for _ in 0..100 {
        let answer = nobody.post("/auth/login", &guess).await;
        if answer.status == 429 {
            answer.is_problem(429, "throttled");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
            return;
        }
        answer.is_problem(401, "wrong_password");
    }
    panic!("a hundred guesses were let through");
}
