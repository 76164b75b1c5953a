//! Planning, applying and following a rollout.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Answer, Done, Home, Server, finish};

const FILE: &str = "app = 'shop'\n[component.web]\nimage = 'shop:1.9'\nreplicas = 2\n";

/// What is answered to a plan: `changes` and `steps` as lists of JSON.
fn plan(changes: &str, steps: &str) -> Answer {
    Answer::json(&format!(r#"{{"app": "shop", "base": 3, "changes": [{changes}], "steps": [{steps}], "later": 1.50}}"#))
}

fn plan_that_adds() -> Answer {
    plan(
        r#"{"field": "component.web", "new": "", "new_containers": false}"#,
        r#"{"action": "create web.1.1 on a, revision 4", "cause": "nothing fills the slot yet", "adds": true}"#,
    )
}

fn plan_that_replaces() -> Answer {
    plan(
        r#"{"field": "component.web.image", "old": "shop:1.8", "new": "shop:1.9", "new_containers": true}"#,
        r#"{"action": "create web.1.2 on a, revision 4", "cause": "image changed"}"#,
    )
}

fn applied(changed: bool) -> Answer {
    Answer::json(&format!(r#"{{"revision": 4, "changed": {changed}}}"#))
}

/// How the application is: whether it is rolled out, how the last rollout ended, and its replicas.
fn app(rolling: bool, last: &str, replicas: &str) -> Answer {
    let rollout =
        if rolling { r#""rollout": {"to": 4, "reason": "apply", "started": "2026-01-31T12:00:00Z"},"# } else { "" };
    Answer::json(&format!(
        r#"{{"name": "shop", "state": "running", "revision": 4, "ready": 1, "replicas": 1, "components": ["web"],
            "changed": "2026-01-31T12:00:00Z", {rollout} {last} "component": {{"web": {{"image": "shop:1.9", "declared": 1,
            "ready": 1, "replicas": [{replicas}]}}}}, "notes": []}}"#
    ))
}

fn last(outcome: &str, why: &str) -> String {
    format!(r#""last_rollout": {{"to": 4, "outcome": "{outcome}", "why": "{why}", "ended": "2026-01-31T12:00:09Z"}},"#)
}

fn replica(engine: &str, revision: u64, state: &str) -> String {
    format!(r#"{{"slot": 1, "revision": {revision}, "engine": "{engine}", "state": "{state}"}}"#)
}

fn not_there() -> Answer {
    Answer::problem(404, "app_not_found", "there is no application 'shop'")
}

/// A place with a `paas.toml`, where the program is run.
struct Place(tempfile::TempDir);

impl Place {
    fn new(text: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("paas.toml"), text).unwrap();
        Self(place)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    async fn run(&self, home: &Home, arguments: &[&str]) -> Done {
        let mut command = home.command(arguments);
        command.current_dir(self.0.path()).env("FROM_ENVIRONMENT", "env");
        finish(command).await
    }
}

#[tokio::test]
async fn what_only_adds_is_applied_and_followed_until_it_is_done() {
    let app = not_there()
        .then(app(true, "", &replica("a", 4, "starting")))
        .then(app(true, "", &replica("a", 4, "starting")))
        .then(app(false, &last("done", ""), &replica("a", 4, "ready")));
    let mut server = Server::start([
        ("POST /api/apps/shop/plan", plan_that_adds()),
        ("PUT /api/apps/shop", applied(true)),
        ("GET /api/apps/shop", app),
    ])
    .await;
    let place = Place::new(FILE);
    let done = place.run(&Home::logged_in(&server), &["deploy", "--message", "first"]).await;
    assert_eq!(done.expect(0).stdout, "shop: revision 4\n");
    assert_eq!(
        done.stderr,
        "shop: revision 3 → 4\n  + component.web\nsteps\n  create web.1.1 on a, revision 4  nothing fills the slot yet\n\
         web.1 on a: starting, revision 4\nweb.1 on a: ready, revision 4\n\
         shop runs revision 4, 1 of 1 replicas ready\n"
    );
    let asked = server.asked();
    let lines: Vec<&str> = asked.iter().map(|asked| asked.line.as_str()).collect();
    let look = "GET /api/apps/shop";
    assert_eq!(lines, ["POST /api/apps/shop/plan", look, "PUT /api/apps/shop", look, look, look]);
    let body: Value = serde_json::from_str(&asked[2].body).unwrap();
    assert_eq!((&body["base"], &body["message"]), (&3.into(), &"first".into()));
    assert_eq!((&body["supersede"], &body["adopt"]), (&false.into(), &false.into()));
    assert_eq!((&body["app"]["app"], &body["app"]["component"]["web"]["replicas"]), (&"shop".into(), &2.into()));
    assert!(asked[2].header("idempotency-key").is_some(), "it takes effect once");
}

#[tokio::test]
async fn what_is_there_already_is_up_to_date() {
    let mut server = Server::start([
        ("POST /api/apps/shop/plan", plan("", "")),
        ("PUT /api/apps/shop", applied(false)),
        ("GET /api/apps/shop", app(false, &last("rolled-back", "of old"), "")),
    ])
    .await;
    let (home, place) = (Home::logged_in(&server), Place::new(FILE));
    let done = place.run(&home, &["deploy"]).await;
    assert_eq!((done.expect(0).stdout.as_str(), done.stderr.as_str()), ("shop is up to date (revision 4)\n", ""));
    assert_eq!(server.asked().len(), 3, "there is nothing to follow");
    let json = place.run(&home, &["deploy", "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&json.expect(0).stdout).unwrap()["changed"], false);
    assert_eq!(place.run(&home, &["deploy", "--quiet"]).await.expect(0).stdout, "shop\n");
}

#[tokio::test]
async fn what_is_being_rolled_out_already_is_followed() {
    let app = app(true, "", &replica("a", 4, "starting")).then(app(
        false,
        &last("stopped", "no room"),
        &replica("a", 4, "starting"),
    ));
    let server = Server::start([
        ("POST /api/apps/shop/plan", plan("", "")),
        ("PUT /api/apps/shop", applied(false)),
        ("GET /api/apps/shop", app),
    ])
    .await;
    let done = Place::new(FILE).run(&Home::logged_in(&server), &["deploy"]).await;
    assert!(done.expect(1).stderr.contains("the rollout of shop stopped: no room"), "{}", done.stderr);
}

#[tokio::test]
async fn what_a_container_wrote_last_is_shown_when_its_version_fails() {
    let output =
        r#""output": {"container": "web.1.2 on a", "lines": ["Error: no database", "    at main.js:3"]}, "ended""#;
    let ended = last("rolled-back", "web.1.2 on a ended with 1 before it was ready").replace(r#""ended""#, output);
    let app = app(true, "", &replica("a", 4, "starting")).then(app(false, &ended, &replica("a", 3, "ready")));
    let server = Server::start([
        ("POST /api/apps/shop/plan", plan_that_adds()),
        ("PUT /api/apps/shop", applied(true)),
        ("GET /api/apps/shop", app),
    ])
    .await;
    let home = Home::logged_in(&server);
    let done = Place::new(FILE).run(&home, &["deploy"]).await;
    let told = "the last lines of web.1.2 on a:\n  Error: no database\n      at main.js:3\n";
    assert!(done.expect(1).stderr.contains(told), "{}", done.stderr);
    assert!(done.stderr.contains("shop was rolled back: web.1.2 on a ended with 1"), "{}", done.stderr);
    for command in ["show", "rollout"] {
        let shown = home.run(&["app", command, "shop"]).await;
        assert!(shown.expect(0).stdout.contains(told.trim_end()), "{}", shown.stdout);
    }
}

#[tokio::test]
async fn what_replaces_something_needs_a_yes() {
    let mut server = Server::start([
        ("POST /api/apps/shop/plan", plan_that_replaces()),
        ("PUT /api/apps/shop", applied(true)),
        ("GET /api/apps/shop", app(false, "", "")),
    ])
    .await;
    let (home, place) = (Home::logged_in(&server), Place::new(FILE));
    let refused = place.run(&home, &["deploy"]).await;
    assert!(refused.expect(2).stderr.contains("add --yes to apply it"), "{}", refused.stderr);
    assert!(refused.stderr.contains("~ component.web.image  shop:1.8 → shop:1.9   new containers"), "{refused:?}");
    assert_eq!(server.asked().len(), 1, "nothing was applied");
    place.run(&home, &["deploy", "--yes", "--supersede", "--adopt", "--no-wait"]).await.expect(0);
    let asked = server.asked();
    assert_eq!(asked.len(), 3, "the rollout is not waited for");
    let body: Value = serde_json::from_str(&asked[2].body).unwrap();
    assert_eq!((&body["supersede"], &body["adopt"]), (&true.into(), &true.into()));
}

#[tokio::test]
async fn what_is_refused_as_a_whole_is_not_sent() {
    let plan = r#"{"app": "shop", "base": 3, "changes": [{"field": "component.web.image", "new": "no:1", "new_containers": true}],
        "steps": [], "refused": ["component.web.image: no:1 is on no host, and in no registry: manifest unknown"]}"#;
    let mut server = Server::start([("POST /api/apps/shop/plan", Answer::json(plan))]).await;
    let done = Place::new(FILE).run(&Home::logged_in(&server), &["deploy", "--yes"]).await;
    assert!(done.expect(1).stderr.contains("  component.web.image: no:1 is on no host"), "{}", done.stderr);
    assert!(
        done.stderr.ends_with("paas-cli: nothing is applied: see the plan for what is refused\n"),
        "{}",
        done.stderr
    );
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_rollout_that_is_not_done_has_failed() {
    for (outcome, told) in [
        (
            "rolled-back",
            "paas-cli: shop was rolled back: web.1 is not ready; 'paas-cli app show shop' shows what runs\n",
        ),
        (
            "stopped",
            "paas-cli: the rollout of shop stopped: web.1 is not ready; 'paas-cli app show shop' shows what runs\n",
        ),
    ] {
        let before = app(false, &last("done", ""), "");
        let app = before.then(app(true, "", "")).then(app(false, &last(outcome, "web.1 is not ready"), ""));
        let server = Server::start([
            ("POST /api/apps/shop/plan", plan_that_replaces()),
            ("PUT /api/apps/shop", applied(true)),
            ("GET /api/apps/shop", app),
        ])
        .await;
        let done = Place::new(FILE).run(&Home::logged_in(&server), &["deploy", "--yes"]).await;
        assert!(done.expect(1).stderr.ends_with(told), "{}", done.stderr);
        assert_eq!(done.stdout, "shop: revision 4\n");
    }
}

#[tokio::test]
async fn how_an_earlier_rollout_ended_is_no_failure_of_this_change() {
    let server = Server::start([
        ("POST /api/apps/shop/scale", applied(true)),
        ("GET /api/apps/shop", app(false, &last("rolled-back", "of old"), "")),
    ])
    .await;
    Home::logged_in(&server).run(&["app", "scale", "shop/web", "3"]).await.expect(0);
}

#[tokio::test]
async fn a_server_that_is_away_for_a_while_is_asked_again() {
    let app = app(false, "", "")
        .then(app(true, "", &replica("a", 4, "starting")))
        .then(Answer::problem(503, "no_leader", "no server leads"))
        .then(Answer::cut())
        .then(Answer::problem(503, "shutting_down", "the server is shutting down"))
        .then(app(false, &last("done", ""), &replica("a", 4, "ready")));
    let server = Server::start([
        ("POST /api/apps/shop/plan", plan_that_adds()),
        ("PUT /api/apps/shop", applied(true)),
        ("GET /api/apps/shop", app),
    ])
    .await;
    let done = Place::new(FILE).run(&Home::logged_in(&server), &["deploy", "--retry-for", "0"]).await;
    let told: Vec<&str> = done.expect(0).stderr.lines().skip(4).collect();
    assert_eq!(told[0], "web.1 on a: starting, revision 4");
    assert_eq!(told[1], "asking again: no server leads");
    assert_eq!(told[2..], ["web.1 on a: ready, revision 4", "shop runs revision 4, 1 of 1 replicas ready"]);
}

#[tokio::test]
async fn a_refusal_ends_the_wait() {
    let app = app(false, "", "").then(app(true, "", "")).then(not_there());
    let server = Server::start([
        ("POST /api/apps/shop/plan", plan_that_adds()),
        ("PUT /api/apps/shop", applied(true)),
        ("GET /api/apps/shop", app),
    ])
    .await;
    let done = Place::new(FILE).run(&Home::logged_in(&server), &["deploy"]).await;
    assert!(done.expect(4).stderr.ends_with("paas-cli: there is no application 'shop'\n"), "{}", done.stderr);
}

#[tokio::test]
async fn a_rollout_that_takes_too_long_goes_on_without_its_client() {
    let server = Server::start([
        ("POST /api/apps/shop/plan", plan_that_adds()),
        ("PUT /api/apps/shop", applied(true)),
        ("GET /api/apps/shop", app(true, "", "")),
    ])
    .await;
    let done = Place::new(FILE).run(&Home::logged_in(&server), &["deploy", "--timeout", "1s"]).await;
    let told = "paas-cli: the rollout of shop did not end within 1 s; it goes on, and 'paas-cli app rollout shop --follow' \
        shows it again\n";
    assert!(done.expect(1).stderr.ends_with(told), "{}", done.stderr);
}

#[tokio::test]
async fn a_plan_is_shown_and_may_be_told_by_the_status() {
    let mut server = Server::start([("POST /api/apps/shop/plan", plan_that_replaces())]).await;
    let (home, place) = (Home::logged_in(&server), Place::new(FILE));
    let shown = place.run(&home, &["app", "plan", "-f", "paas.toml"]).await;
    assert_eq!(
        shown.expect(0).stdout,
        "shop: revision 3 → 4\n  ~ component.web.image  shop:1.8 → shop:1.9   new containers\nsteps\n  \
         create web.1.2 on a, revision 4  image changed\n"
    );
    assert_eq!(server.asked_once().line, "POST /api/apps/shop/plan");
    place.run(&home, &["app", "plan", "-f", "paas.toml", "--exit-code"]).await.expect(6);
    let json = place.run(&home, &["app", "plan", "-f", "paas.toml", "--output", "json"]).await;
    assert!(json.expect(0).stdout.contains("\"later\": 1.50"), "{}", json.stdout);
    let same = Server::start([("POST /api/apps/shop/plan", plan("", ""))]).await;
    let none = place.run(&Home::logged_in(&same), &["app", "plan", "-f", "paas.toml", "--exit-code"]).await;
    assert_eq!(none.expect(0).stdout, "shop is up to date (revision 3)\n");
}

#[tokio::test]
async fn files_are_laid_over_each_other_and_filled_in() {
    let mut server = Server::start([("POST /api/apps/shop/plan", plan("", ""))]).await;
    let (home, place) = (Home::logged_in(&server), Place::new(""));
    let base = "app = 'shop'\n[component.web]\nimage = 'shop:${VERSION}'\nenv = { A = '${FROM_ENVIRONMENT}' }\n\
        [component.db]\nimage = 'postgres:17'\n";
    let files = [place.file("base.toml", base), place.file("production.toml", "[component.web]\nreplicas = 3\n")];
    let [base, production] = files.each_ref().map(|path| path.to_str().unwrap());
    let arguments = ["app", "plan", "-f", base, "-f", production, "--var", "VERSION=1.9", "--image", "db=postgres:18"];
    place.run(&home, &arguments).await.expect(0);
    let body: Value = serde_json::from_str(&server.asked_once().body).unwrap();
    let component = &body["app"]["component"];
    assert_eq!((&component["web"]["image"], &component["web"]["replicas"]), (&"shop:1.9".into(), &3.into()));
    assert_eq!((&component["web"]["env"]["A"], &component["db"]["image"]), (&"env".into(), &"postgres:18".into()));
    home.run_with(FILE, &["app", "plan", "-f", "-"]).await.expect(0);
    assert_eq!(server.asked_once().line, "POST /api/apps/shop/plan");
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_told_with_its_place() {
    let mut server = Server::start([]).await;
    let (home, place) = (Home::logged_in(&server), Place::new("app = 'shop'\n[component.web]\nimge = 'shop'\n"));
    let unknown = place.run(&home, &["deploy"]).await;
    assert!(unknown.expect(2).stderr.starts_with("paas-cli: paas.toml:3:1: unknown field `imge`"), "{unknown:?}");
    place.file("paas.toml", "app = 'shop'\n[component.web]\nimage = 'shop:${VERSION}'\n");
    let open = place.run(&home, &["deploy"]).await;
    assert!(open.expect(2).stderr.contains("${VERSION} has no value"), "{open:?}");
    place.file("paas.toml", "[component.web]\nimage = 'shop'\n");
    assert!(place.run(&home, &["deploy"]).await.expect(2).stderr.contains("write app = \"NAME\""));
    let no_component = place.run(&home, &["deploy", "--image", "db=postgres:18"]).await;
    assert!(no_component.expect(2).stderr.contains("the file has no component db"), "{no_component:?}");
    let missing = place.run(&home, &["app", "apply", "-f", "nowhere.toml"]).await;
    assert!(missing.expect(2).stderr.starts_with("paas-cli: cannot read nowhere.toml: "), "{missing:?}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn refusals_of_the_server_are_told() {
    for (status, code, told, exit) in [
        (400, "invalid_request", "component.web.port: must be a port", 2),
        (403, "forbidden", "volumes: host paths are for admins", 3),
        (409, "app_changed", "revision 4 is the newest by now; plan again", 1),
        (409, "rollout_under_way", "revision 4 is being rolled out; wait, or add --supersede", 1),
    ] {
        let server = Server::start([
            ("POST /api/apps/shop/plan", plan_that_adds()),
            ("PUT /api/apps/shop", Answer::problem(status, code, told)),
            ("GET /api/apps/shop", not_there()),
        ])
        .await;
        let done = Place::new(FILE).run(&Home::logged_in(&server), &["deploy", "--quiet"]).await;
        assert_eq!(done.expect(exit).stderr, format!("paas-cli: {told}\n"));
        assert_eq!(done.stdout, "");
    }
}

#[tokio::test]
async fn configuration_files_are_sent_before_the_application_that_has_them() {
    // printf 'a = 1' | sha256sum
    const SUM: &str = "b5bc1ffd90912fb18bef6e7d80909192c7a6492896320156d67fbaf104c6544a";
    let sum = paas_core::wire::app::ConfigRequest::sum_of(b"a = 1");
    assert_eq!(sum, SUM);
    let blob = format!("PUT /api/apps/shop/blobs/{sum}");
    let mut server = Server::start([
        ("POST /api/apps/shop/plan", plan_that_adds()),
        ("GET /api/apps/shop", not_there().then(app(false, &last("done", ""), ""))),
        (blob.as_str(), Answer::new(204, "text/plain", "")),
        ("PUT /api/apps/shop", applied(true)),
    ])
    .await;
    let place = Place::new(&format!("{FILE}configs = [{{ source = 'web.conf', target = '/etc/web/web.conf' }}]\n"));
    let home = Home::logged_in(&server);
    let missing = place.run(&home, &["deploy"]).await;
    assert!(missing.expect(2).stderr.contains("component.web.configs: web.conf: cannot be read"), "{}", missing.stderr);
    assert!(server.asked().is_empty());
    place.file("web.conf", "a = 1");
    place.run(&home, &["deploy"]).await.expect(0);
    let asked = server.asked();
    let at = |line: &str| asked.iter().position(|asked| asked.line == line).unwrap();
    assert!(at(&blob) > at("POST /api/apps/shop/plan") && at(&blob) < at("PUT /api/apps/shop"), "{asked:?}");
    assert_eq!(asked[at(&blob)].body, "a = 1");
    assert!(asked[at("PUT /api/apps/shop")].body.contains(&sum));
}
