//! Every route for everybody: who gets what. A route that has no row here fails the test.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use paas_server::route_table::ROUTES;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, PASSWORD, Server, Start, unique};

/// What a route answers to an admin, to a user, and to somebody without a valid token.
struct Row {
    method: Method,
    /// As in the route table.
    route: &'static str,
    /// The path that is asked, made of the id of the container that runs.
    path: fn(&str) -> String,
    body: fn() -> Value,
    admin: u16,
    user: u16,
    nobody: u16,
}

macro_rules! row {
    ($method:ident $route:literal, $path:expr, $body:expr => $admin:literal $user:literal $nobody:literal) => {
        Row {
            method: Method::$method,
            route: $route,
            path: $path,
            body: || $body,
            admin: $admin,
            user: $user,
            nobody: $nobody,
        }
    };
}

/// In an order in which each finds what it needs: what deletes comes late, and the logout last.
fn rows() -> Vec<Row> {
    vec![
        row!(GET "/healthz", |_| "/healthz".into(), Value::Null => 200 200 200),
        row!(POST "/auth/login", |_| "/auth/login".into(), json!({"username": "admin", "password": PASSWORD}) => 200 200 200),
        row!(GET "/api/account", |_| "/api/account".into(), Value::Null => 200 403 401),
        row!(GET "/api/accounts", |_| "/api/accounts".into(), Value::Null => 200 403 401),
        row!(POST "/api/account", |_| "/api/account".into(), account("anna") => 204 403 401),
        row!(POST "/api/accounts", |_| "/api/accounts".into(), account("otto") => 204 403 401),
        row!(GET "/api/accounts/{name}", |_| "/api/accounts/anna".into(), Value::Null => 200 403 401),
        row!(DELETE "/api/accounts/{name}", |_| "/api/accounts/anna".into(), Value::Null => 204 403 401),
        row!(DELETE "/api/account", |_| "/api/account".into(), json!({"username": "otto"}) => 204 403 401),
        row!(GET "/api/engines", |_| "/api/engines".into(), Value::Null => 200 200 401),
        row!(POST "/api/engines", |_| "/api/engines".into(), json!({"id": "two", "addr": format!("sim://{}", unique("two"))}) => 201 201 401),
        row!(GET "/api/engines/{id}", |_| "/api/engines/two".into(), Value::Null => 200 200 401),
        row!(POST "/api/engines/{id}/drain", |_| "/api/engines/two/drain".into(), Value::Null => 200 200 401),
        row!(POST "/api/engines/{id}/undrain", |_| "/api/engines/two/undrain".into(), Value::Null => 200 200 401),
        // What is for admins alone is refused to others before it is read; the parameter is no such.
        row!(POST "/api/engines/{id}/lost", |_| "/api/engines/two/lost?x=1".into(), Value::Null => 400 403 401),
        row!(DELETE "/api/engines/{id}", |_| "/api/engines/two".into(), Value::Null => 204 204 401),
        row!(GET "/api/registry-logins", |_| "/api/registry-logins".into(), Value::Null => 200 403 401),
        row!(POST "/api/registry-logins", |_| "/api/registry-logins".into(), json!({"server": "r.example.org", "username": "u", "password": "p"}) => 204 403 401),
        row!(DELETE "/api/registry-logins/{server}", |_| "/api/registry-logins/r.example.org".into(), Value::Null => 204 403 401),
        row!(GET "/api/join-tokens", |_| "/api/join-tokens".into(), Value::Null => 200 403 401),
        row!(POST "/api/join-tokens", |_| "/api/join-tokens".into(), Value::Null => 201 403 401),
        row!(DELETE "/api/join-tokens/{id}", |_| "/api/join-tokens/none".into(), Value::Null => 404 403 401),
        row!(POST "/join/engines/{id}", |_| "/join/engines/two".into(), json!({}) => 401 401 401),
        row!(DELETE "/join/engines/{id}", |_| "/join/engines/two".into(), Value::Null => 401 401 401),
        row!(GET "/api/cluster/info", |_| "/api/cluster/info".into(), Value::Null => 200 200 401),
        row!(GET "/api/events", |_| "/api/events?count=5".into(), Value::Null => 200 200 401),
        row!(GET "/api/events/live", |_| "/api/events/live".into(), Value::Null => 200 200 401),
        row!(GET "/api/containers", |_| "/api/containers".into(), Value::Null => 200 200 401),
        row!(POST "/api/containers", |_| "/api/containers".into(), json!({"name": "other", "memory": 64}) => 201 201 401),
        row!(GET "/api/containers/{id}", |id| format!("/api/containers/{id}"), Value::Null => 200 200 401),
        row!(GET "/api/containers/{id}/logs", |id| format!("/api/containers/{id}/logs"), Value::Null => 200 200 401),
        row!(GET "/api/containers/{id}/scale", |id| format!("/api/containers/{id}/scale?count=2"), Value::Null => 204 204 401),
        row!(POST "/api/containers/{id}/scale", |id| format!("/api/containers/{id}/scale?count=2"), Value::Null => 204 204 401),
        row!(GET "/api/containers/{id}/stop", |id| format!("/api/containers/{id}/stop"), Value::Null => 204 204 401),
        row!(POST "/api/containers/{id}/stop", |id| format!("/api/containers/{id}/stop?timeout=0"), Value::Null => 204 204 401),
        row!(GET "/api/containers/{id}/start", |id| format!("/api/containers/{id}/start"), Value::Null => 204 204 401),
        row!(POST "/api/containers/{id}/start", |id| format!("/api/containers/{id}/start"), Value::Null => 204 204 401),
        row!(GET "/api/containers/{id}/restart", |id| format!("/api/containers/{id}/restart"), Value::Null => 204 204 401),
        row!(POST "/api/containers/{id}/restart", |id| format!("/api/containers/{id}/restart"), Value::Null => 204 204 401),
        row!(DELETE "/api/containers/{id}", |id| format!("/api/containers/{id}"), Value::Null => 204 204 401),
        // Who may use applications is told with 400 that no route has such a parameter.
        row!(GET "/api/apps", |_| "/api/apps?x=1".into(), Value::Null => 400 400 401),
        row!(GET "/api/apps/{app}", |_| "/api/apps/shop?x=1".into(), Value::Null => 400 400 401),
        row!(PUT "/api/apps/{app}", |_| "/api/apps/shop?x=1".into(), Value::Null => 400 400 401),
        row!(DELETE "/api/apps/{app}", |_| "/api/apps/shop?x=1".into(), Value::Null => 400 400 401),
        row!(POST "/api/apps/{app}/plan", |_| "/api/apps/shop/plan?x=1".into(), Value::Null => 400 400 401),
        row!(GET "/api/apps/{app}/revisions", |_| "/api/apps/shop/revisions?x=1".into(), Value::Null => 400 400 401),
        row!(GET "/api/apps/{app}/revisions/{n}", |_| "/api/apps/shop/revisions/one".into(), Value::Null => 400 400 401),
        row!(GET "/api/apps/{app}/diff", |_| "/api/apps/shop/diff?x=1".into(), Value::Null => 400 400 401),
        row!(POST "/api/apps/{app}/rollback", |_| "/api/apps/shop/rollback?x=1".into(), Value::Null => 400 400 401),
        row!(POST "/api/apps/{app}/scale", |_| "/api/apps/shop/scale?x=1".into(), Value::Null => 400 400 401),
        row!(POST "/api/apps/{app}/restart", |_| "/api/apps/shop/restart?x=1".into(), Value::Null => 400 400 401),
        row!(POST "/api/apps/{app}/stop", |_| "/api/apps/shop/stop?x=1".into(), Value::Null => 400 400 401),
        row!(POST "/api/apps/{app}/start", |_| "/api/apps/shop/start?x=1".into(), Value::Null => 400 400 401),
        row!(GET "/api/apps/{app}/rollout", |_| "/api/apps/shop/rollout?x=1".into(), Value::Null => 400 400 401),
        row!(GET "/api/apps/{app}/logs", |_| "/api/apps/shop/logs?x=1".into(), Value::Null => 400 400 401),
        row!(POST "/api/apps/{app}/exec", |_| "/api/apps/shop/exec?x=1".into(), Value::Null => 400 400 401),
        row!(POST "/api/apps/{app}/run", |_| "/api/apps/shop/run?x=1".into(), Value::Null => 400 400 401),
        row!(PUT "/api/apps/{app}/blobs/{sha256}", |_| "/api/apps/shop/blobs/none?x=1".into(), Value::Null => 400 400 401),
        row!(GET "/api/apps/{app}/secrets", |_| "/api/apps/shop/secrets?x=1".into(), Value::Null => 400 400 401),
        row!(PUT "/api/apps/{app}/secrets/{name}", |_| "/api/apps/shop/secrets/url?x=1".into(), Value::Null => 400 400 401),
        row!(DELETE "/api/apps/{app}/secrets/{name}", |_| "/api/apps/shop/secrets/url?x=1".into(), Value::Null => 400 400 401),
        row!(POST "/api/reconcile/heal", |_| "/api/reconcile/heal?x=1".into(), Value::Null => 400 403 401),
        row!(GET "/api/reconcile/plan", |_| "/api/reconcile/plan?x=1".into(), Value::Null => 400 403 401),
        row!(POST "/api/reconcile/rebalance", |_| "/api/reconcile/rebalance?x=1".into(), Value::Null => 400 403 401),
        row!(POST "/api/reconcile/resume", |_| "/api/reconcile/resume?x=1".into(), Value::Null => 400 403 401),
        row!(POST "/api/images/pull", |_| "/api/images/pull".into(), json!({"name": "httpd"}) => 200 403 401),
        row!(POST "/account/passwdchange", |_| "/account/passwdchange".into(), json!({"password": "another good one", "old_password": PASSWORD}) => 204 204 401),
        row!(POST "/account/logout", |_| "/account/logout".into(), Value::Null => 204 204 401),
    ]
}

fn account(name: &str) -> Value {
    json!({"username": name, "password": PASSWORD, "role": "user"})
}

impl Row {
    /// The status of the answer. Bodies are not read: some never end.
    async fn ask(&self, api: &Api, container: &str) -> u16 {
        let mut request = api.request(self.method.clone(), &(self.path)(container));
        let body = (self.body)();
        if !body.is_null() {
            request = request.json(&body);
        }
        request.send().await.unwrap().status().as_u16()
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.route)
    }
}

#[test]
fn every_route_has_a_row() {
    let table: BTreeSet<String> = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    let rows: BTreeSet<String> = rows().iter().map(Row::name).collect();
    let without: Vec<_> = table.symmetric_difference(&rows).collect();
    assert!(without.is_empty(), "these are in the route table or among the rows, and not in both: {without:?}");
}

#[tokio::test]
async fn each_role_gets_what_it_may_have() {
    let mut matrix = String::new();
    let mut columns = Vec::new();
    for name in ["admin", "user"] {
        let server = Server::start().await;
        let api = server.login(name).await;
        let container = server.run("web", 1).await[0].to_string();
        let mut column = Vec::new();
        for row in rows() {
            column.push(row.ask(&api, &container).await);
        }
        columns.push(column);
    }
    for ((row, admin), user) in rows().iter().zip(&columns[0]).zip(&columns[1]) {
        writeln!(matrix, "{:<42} admin {admin}  user {user}  nobody {}", row.name(), row.nobody).unwrap();
        assert_eq!((*admin, *user), (row.admin, row.user), "{}", row.name());
    }
    insta::assert_snapshot!(matrix);
}

/// Asks for everything with clients that may have nothing, and sees that nothing was done.
async fn get_nothing(server: &Server, apis: &[Api]) {
    let container = server.run("web", 1).await[0].to_string();
    let before = server.state().await;
    for row in rows() {
        for (number, api) in apis.iter().enumerate() {
            assert_eq!(row.ask(api, &container).await, row.nobody, "{} for number {number}", row.name());
        }
    }
    assert_eq!(server.state().await, before);
}

#[tokio::test]
async fn without_a_token_that_is_worth_something_nobody_gets_anything() {
    let server = Server::start().await;
    let anonymous = server.anonymous();
    let of = |token: &str| Api { token: Some(token.to_owned()), ..anonymous.clone() };
    let logged_out = server.admin().await;
    assert_eq!(logged_out.post("/account/logout", &Value::Null).await.status, 204);
    let valid = server.admin().await.token.unwrap();
    let cut = &valid[..valid.len() - 1];
    get_nothing(&server, &[anonymous.clone(), of("wrong"), of(cut), of(""), logged_out]).await;
}

#[tokio::test]
async fn a_token_that_has_expired_is_worth_nothing() {
    let server = Server::with(Start { token_ttl: Duration::from_secs(1), ..Start::default() }).await;
    let api = server.admin().await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    get_nothing(&server, &[api]).await;
}

#[tokio::test]
async fn a_token_is_taken_from_either_header_and_belongs_to_its_user() {
    let server = Server::start().await;
    let token = server.admin().await.token.unwrap();
    let anonymous = server.anonymous();
    let status = async |name: &str, value: String| {
        let request = anonymous.request(Method::GET, "/api/accounts").header(name, value);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("X-Access-Token", format!("admin:{token}")).await, 200);
    assert_eq!(status("Authorization", format!("Bearer {token}")).await, 200);
    assert_eq!(status("X-Access-Token", format!("user:{token}")).await, 401);
    assert_eq!(status("X-Access-Token", token.clone()).await, 401);
    assert_eq!(status("Authorization", format!("Basic {token}")).await, 401);
    let refused = anonymous.get("/api/accounts").await;
    refused.is_problem(401, "unauthenticated");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn what_an_account_may_do_ends_with_the_account() {
    let server = Server::start().await;
    let user = server.login("user").await;
    assert_eq!(user.get("/api/containers").await.status, 200);
    assert_eq!(server.admin().await.delete("/api/accounts/user").await.status, 204);
    user.get("/api/containers").await.is_problem(401, "unauthenticated");
}
