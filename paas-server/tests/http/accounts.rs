//! Login, logout, passwords, and the accounts themselves.

use serde_json::{Value, json};

use crate::support::{Api, PASSWORD, Server};

#[tokio::test]
async fn a_login_gives_a_token_that_a_logout_takes() {
    let server = Server::start().await;
    let mut api = server.anonymous();
    let answer = api.post("/auth/login", &json!({"username": "user", "password": PASSWORD})).await;
    assert_eq!(answer.status, 200);
    let login = answer.json();
    assert_eq!((&login["username"], &login["role"]), (&json!("user"), &json!("user")));
    assert!(login["expires"].as_str().unwrap().ends_with('Z'), "{login}");
    api.token = Some(login["token"].as_str().unwrap().to_owned());
    assert_eq!(api.get("/api/containers").await.status, 200);
    assert_eq!(api.post("/account/logout", &Value::Null).await.status, 204);
    api.get("/api/containers").await.is_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_logout_ends_one_login_and_no_other() {
    let server = Server::start().await;
    let (one, other) = (server.login("user").await, server.login("user").await);
    assert_eq!(one.post("/account/logout", &Value::Null).await.status, 204);
    assert_eq!(other.get("/api/containers").await.status, 200);
}

#[tokio::test]
async fn accounts_are_added_shown_and_deleted() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let new = json!({"id": "7", "username": "anna", "password": PASSWORD, "role": "user"});
    let added = admin.post("/api/account", &new).await;
    assert_eq!((added.status, added.text.as_str()), (204, ""));
    let anna = json!({"id": "7", "username": "anna", "role": "user"});
    assert_eq!(admin.get("/api/accounts/anna").await.json(), anna);
    let all = admin.get("/api/account").await.json();
    assert_eq!(all.as_array().unwrap().iter().map(|a| &a["username"]).collect::<Vec<_>>(), ["admin", "anna", "user"]);
    assert_eq!(admin.get("/api/accounts").await.json(), all);
    assert_eq!(admin.delete("/api/account?username=anna").await.status, 204);
    admin.get("/api/accounts/anna").await.is_problem(404, "account_not_found");
    let events = admin.get("/api/events?count=10").await.json();
    let kinds: Vec<_> = events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"add-account") && kinds.contains(&"delete-account"), "{events}");
    let deleted = events.as_array().unwrap().iter().find(|event| event["type"] == "delete-account").unwrap();
    assert_eq!(deleted["user"], "admin");
}

#[tokio::test]
async fn ones_own_password_is_changed_and_other_logins_end() {
    let server = Server::start().await;
    let (user, elsewhere) = (server.login("user").await, server.login("user").await);
    let change = |old: &str| json!({"password": "a better one than before", "old_password": old});
    user.post("/account/passwdchange", &change("not the old one")).await.is_problem(401, "wrong_password");
    assert_eq!(elsewhere.get("/api/containers").await.status, 200);
    assert_eq!(user.post("/account/passwdchange", &change(PASSWORD)).await.status, 204);
    assert_eq!(user.get("/api/containers").await.status, 200);
    elsewhere.get("/api/containers").await.is_problem(401, "unauthenticated");
    let login = json!({"username": "user", "password": "a better one than before"});
    assert_eq!(server.anonymous().post("/auth/login", &login).await.status, 200);
}

#[tokio::test]
async fn only_admins_change_the_passwords_of_others() {
    let server = Server::start().await;
    let (admin, user) = (server.admin().await, server.login("user").await);
    let change = |name: &str| json!({"username": name, "password": "a better one than before"});
    user.post("/account/passwdchange", &change("admin")).await.is_problem(403, "forbidden");
    user.post("/account/passwdchange", &change("nobody")).await.is_problem(403, "forbidden");
    admin.post("/account/passwdchange", &change("nobody")).await.is_problem(404, "account_not_found");
    assert_eq!(admin.post("/account/passwdchange", &change("user")).await.status, 204);
    user.get("/api/containers").await.is_problem(401, "unauthenticated");
    assert_eq!(admin.get("/api/containers").await.status, 200);
}

#[tokio::test]
async fn ones_own_password_is_changed_only_by_who_knows_it() {
    let server = Server::start().await;
    let (admin, user) = (server.admin().await, server.login("user").await);
    let new = "a better one than before";
    for (api, body) in [
        (&user, json!({"password": new})),
        (&user, json!({"password": new, "old_password": null})),
        (&user, json!({"password": new, "username": "user"})),
        (&admin, json!({"password": new})),
        (&admin, json!({"password": new, "username": "admin"})),
    ] {
        let problem = api.post("/account/passwdchange", &body).await.is_problem(400, "invalid_request");
        assert_eq!(problem["field"], "old_password", "{problem}");
    }
    server.login("user").await;
    server.login("admin").await;
    assert_eq!(admin.post("/account/passwdchange", &json!({"password": new, "username": "user"})).await.status, 204);
}

/// A client at another address of this machine.
fn at(server: &Server, address: [u8; 4]) -> Api {
    let http = crate::support::http().local_address(std::net::IpAddr::from(address)).build().unwrap();
    Api { http, url: server.url.replace("localhost", "127.0.0.1"), token: None }
}

#[tokio::test]
async fn who_guesses_a_password_keeps_nobody_out_elsewhere() {
    let server = Server::start().await;
    let (guesser, owner) = (at(&server, [127, 0, 0, 2]), at(&server, [127, 0, 0, 3]));
    let login = |password: &str| json!({"username": "admin", "password": password});
    for _ in 0..5 {
        guesser.post("/auth/login", &login("wrong-wrong")).await.is_problem(401, "wrong_password");
    }
    let throttled = guesser.post("/auth/login", &login(PASSWORD)).await;
    throttled.is_problem(429, "throttled");
    assert!(!throttled.header("retry-after").is_empty());
    assert_eq!(owner.post("/auth/login", &login(PASSWORD)).await.status, 200);
    // Nobody but another server says where somebody is.
    let claim = owner.request(reqwest::Method::POST, "/auth/login").json(&login("wrong-wrong"));
    for _ in 0..5 {
        let claim = claim.try_clone().unwrap().header("x-paas-forwarded", "1").header("x-paas-source", "127.0.0.4");
        crate::support::Answer::of(claim.header("x-paas-peer-key", "guess")).await.is_problem(401, "wrong_password");
    }
    owner.post("/auth/login", &login(PASSWORD)).await.is_problem(429, "throttled");
    let other = at(&server, [127, 0, 0, 4]);
    assert_eq!(other.post("/auth/login", &login(PASSWORD)).await.status, 200);
}
