//! Run, scale and pull.

use serde_json::Value;

use crate::support::{Answer, Home, Server, container, id};

pub(crate) fn started(index: usize, name: &str, engine: &str) -> String {
    format!(r#"{{"event":"started","index":{index},"container":{}}}"#, container(name, engine))
}

pub(crate) fn summary(requested: usize, started: usize, destroyed: usize, failed: usize) -> String {
    format!(
        r#"{{"event":"summary","requested":{requested},"started":{started},"destroyed":{destroyed},"failed":{failed}}}"#
    )
}

async fn running(answer: Answer) -> (Server, Home) {
    let server = Server::start([("POST /api/containers", answer)]).await;
    let home = Home::logged_in(&server);
    (server, home)
}

fn all_goes_well() -> Answer {
    Answer::steps(&[
        r#"{"event":"pulling","engine":"one","image":"httpd","status":"Downloading","current":1024,"total":4096}"#,
        r#"{"event":"pulling","engine":"one","image":"httpd","status":"Downloading","current":4096,"total":4096}"#,
        r#"{"event":"pulled","engine":"one","image":"httpd"}"#,
        r#"{"event":"decided","index":0,"engine":"one"}"#,
        r#"{"event":"decided","index":1,"engine":"two"}"#,
        r#"{"event":"retrying","index":1,"engine":"two","error":"cannot start"}"#,
        &started(1, "b", "one"),
        &started(0, "a", "one"),
        &summary(2, 2, 0, 0),
    ])
}

#[tokio::test]
async fn run_tells_its_steps_and_lists_what_was_started() {
    let (mut server, home) = running(all_goes_well()).await;
    let arguments = ["run", "--name", "httpd", "--port", "tcp/::80", "--memory", "100", "--pull", "false"];
    let done = home.run(&arguments).await;
    assert_eq!(done.expect(0).stdout.lines().count(), 3);
    assert!(done.stdout.contains("b00000000000"));
    assert_eq!(
        done.stderr,
        "pulling httpd on one\npulled httpd on one\ncontainer 2 is tried elsewhere; two: cannot start\n\
         started b00000000000 on one\nstarted a00000000000 on one\n"
    );
    let asked = server.asked_once();
    assert_eq!(asked.line, "POST /api/containers?count=1&pull=false");
    assert_eq!(asked.header("accept"), Some("application/x-ndjson"));
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!((&body["name"], &body["memory"]), (&"httpd".into(), &100.into()));
    assert_eq!(body["bind_ports"][0]["container_port"], 80);

    let quiet = home.run(&["run", "--name", "httpd", "-n", "2", "--pull", "true", "-q"]).await;
    assert_eq!(quiet.expect(0).stdout, format!("{}\n{}\n", id("b"), id("a")));
    assert_eq!(quiet.stderr, "");
    assert_eq!(server.asked_once().line, "POST /api/containers?count=2&pull=true");

    let json = home.run(&["run", "--name", "httpd", "--output", "json"]).await;
    let json: Value = serde_json::from_str(&json.expect(0).stdout).unwrap();
    assert_eq!((&json["requested"], json["started"].as_array().unwrap().len()), (&2.into(), 2));
}

#[tokio::test]
async fn what_a_newer_server_tells_besides_is_shown_and_nothing_is_lost() {
    let warning = r#"{"event":"warned","engine":"one","message":"Limitation discarded.","more":{"a":[1]}}"#;
    let strange = r#"{"event":"weather","sun":true}"#;
    let steps = [warning, warning, strange, &started(0, "a", "one"), &summary(1, 1, 0, 0)];
    let (_server, home) = running(Answer::steps(&steps)).await;
    let done = home.run(&["run", "--name", "httpd"]).await;
    assert!(done.expect(0).stdout.contains("a00000000000"));
    let told = ["warned on one: Limitation discarded.", r#"weather: {"event":"weather","sun":true}"#];
    assert_eq!(done.stderr.lines().take(2).collect::<Vec<_>>(), told);
    assert_eq!(done.stderr.lines().count(), 3);
    let quiet = home.run(&["run", "--name", "httpd", "--quiet"]).await;
    assert_eq!((quiet.expect(0).stdout.as_str(), quiet.stderr.as_str()), (format!("{}\n", id("a")).as_str(), ""));

    // What should be known and cannot be read is no small matter: the answer would be wrong.
    let (_server, home) = running(Answer::steps(&[r#"{"event":"started","index":0}"#])).await;
    let done = home.run(&["run", "--name", "httpd", "--retry-for", "0"]).await;
    assert!(done.expect(1).stderr.contains("does not answer as this platform does"), "{}", done.stderr);
}

#[tokio::test]
async fn a_group_is_scaled_to_nothing() {
    let destroyed = format!(r#"{{"event":"destroyed","container":"{}","engine":"one"}}"#, id("a"));
    let answer = Answer::steps(&[&destroyed, &summary(0, 0, 1, 0)]);
    let server = Server::start([("POST /api/containers/a/scale?count=0", answer)]).await;
    let done = Home::logged_in(&server).run(&["scale", "a", "0"]).await;
    assert_eq!(done.expect(0).stderr, "destroyed a00000000000 on one\n");
}

#[tokio::test]
async fn what_goes_when_its_engine_is_back_is_named_and_has_not_failed() {
    let deferred = |index, name| {
        format!(
            r#"{{"event":"failed","index":{index},"engine":"two","container":"{}","error":"it is away","deferred":true}}"#,
            id(name)
        )
    };
    let answer = Answer::steps(&[&deferred(0, "a"), &deferred(1, "b"), &summary(3, 0, 0, 2)]);
    let server = Server::start([("POST /api/containers/c/scale?count=3", answer)]).await;
    let done = Home::logged_in(&server).run(&["scale", "c", "3", "--quiet"]).await;
    let line = "paas-cli: 2 containers not brought to that size on two (a00000000000, b00000000000): it is away\n";
    assert_eq!(done.expect(0).stderr, line);
    let failed = deferred(2, "d").replace(r#","deferred":true"#, "");
    let answer = Answer::steps(&[&deferred(0, "a"), &failed, &summary(3, 0, 0, 2)]);
    let server = Server::start([("POST /api/containers/c/scale?count=3", answer)]).await;
    Home::logged_in(&server).run(&["scale", "c", "3"]).await.expect(5);
}

#[tokio::test]
async fn a_description_comes_from_stdin() {
    let (mut server, home) = running(Answer::steps(&[&started(0, "a", "one"), &summary(1, 1, 0, 0)])).await;
    home.run_with(r#"{"name": "web", "cpus": 0.5}"#, &["run", "--file", "-", "--memory", "64"]).await.expect(0);
    let body: Value = serde_json::from_str(&server.asked_once().body).unwrap();
    assert_eq!((&body["name"], &body["cpus"], &body["memory"]), (&"web".into(), &0.5.into(), &64.into()));
}

#[tokio::test]
async fn what_failed_is_told_together() {
    let failed = |index| format!(r#"{{"event":"failed","index":{index},"engine":"two","error":"cannot start"}}"#);
    let steps = Answer::steps(&[&started(0, "a", "one"), &failed(1), &failed(2), &summary(3, 1, 0, 2)]);
    let (_server, home) = running(steps).await;
    let done = home.run(&["run", "--name", "httpd", "-n", "3", "--quiet"]).await;
    assert_eq!(done.expect(5).stdout, id("a") + "\n");
    assert_eq!(done.stderr, "paas-cli: 2 containers not started on two: cannot start\n");

    let (_server, home) = running(Answer::steps(&[&failed(0), &summary(1, 0, 0, 1)])).await;
    let done = home.run(&["run", "--name", "httpd"]).await;
    assert_eq!(done.expect(1).stdout, "");
    assert_eq!(done.stderr, "paas-cli: 1 container not started on two: cannot start\n");
}

#[tokio::test]
async fn an_answer_in_one_piece_will_do_as_well() {
    let all = Answer::new(201, "application/json", &format!("[{}]", container("a", "one")));
    let (_server, home) = running(all).await;
    assert_eq!(home.run(&["run", "--name", "httpd", "-q"]).await.expect(0).stdout, id("a") + "\n");

    let some = format!(
        r#"{{"requested":2,"started":[{}],"destroyed":[],"failed":[{{"index":1,"error":"no"}}]}}"#,
        container("a", "one")
    );
    let (_server, home) = running(Answer::new(207, "application/json", &some)).await;
    let done = home.run(&["run", "--name", "httpd", "-q"]).await;
    assert_eq!(done.expect(5).stdout, id("a") + "\n");
    assert_eq!(done.stderr, "paas-cli: 1 container not started: no\n");
}

#[tokio::test]
async fn a_refusal_before_the_first_step_is_told() {
    let (_server, home) = running(Answer::problem(409, "no_room", "no engine has room for 100 MB")).await;
    let done = home.run(&["run", "--name", "httpd", "--output", "json"]).await;
    assert_eq!(done.expect(1).stdout, "");
    assert_eq!(done.stderr, "paas-cli: no engine has room for 100 MB\n");
}

#[tokio::test]
async fn scale_starts_or_destroys() {
    let destroyed = format!(r#"{{"event":"destroyed","container":"{}","engine":"one"}}"#, id("b"));
    let mut server = Server::start([
        ("POST /api/containers/a/scale?count=3", Answer::steps(&[&started(0, "c", "two"), &summary(3, 1, 0, 0)])),
        ("POST /api/containers/a/scale?count=1", Answer::steps(&[&destroyed, &summary(1, 0, 1, 0)])),
        ("POST /api/containers/a/scale?count=2", Answer::done()),
        ("POST /api/containers/x/scale", Answer::problem(404, "container_not_found", "no such container")),
    ])
    .await;
    let home = Home::logged_in(&server);
    assert!(home.run(&["scale", "a", "3"]).await.expect(0).stdout.contains("c00000000000"));
    assert_eq!(server.asked_once().header("accept"), Some("application/x-ndjson"));

    let less = home.run(&["scale", "a", "1"]).await;
    assert_eq!((less.expect(0).stdout.as_str(), less.stderr.as_str()), ("", "destroyed b00000000000 on one\n"));
    let json = home.run(&["scale", "a", "1", "--output", "json"]).await;
    let json: Value = serde_json::from_str(&json.expect(0).stdout).unwrap();
    assert_eq!(json["destroyed"][0], id("b"));

    home.run(&["scale", "a", "2"]).await.expect(0);
    assert_eq!(home.run(&["scale", "x", "2"]).await.expect(4).stderr, "paas-cli: no such container\n");
}

#[tokio::test]
async fn pull_lists_the_engines_that_have_the_image() {
    let pulled = |engine| format!(r#"{{"event":"pulled","engine":"{engine}","image":"httpd:2"}}"#);
    let failed = r#"{"event":"failed","index":1,"engine":"two","error":"no such image"}"#;
    let steps = Answer::steps(&[&pulled("one"), failed, &summary(2, 1, 0, 1)]);
    let mut server = Server::start([("POST /api/images/pull", steps)]).await;
    let home = Home::logged_in(&server);

    let done = home.run(&["pull", "httpd:2"]).await;
    assert_eq!(done.expect(5).stdout, "ENGINE  IMAGE\none     httpd:2\n");
    assert!(done.stderr.contains("paas-cli: 1 image not pulled on two: no such image\n"), "{}", done.stderr);
    assert_eq!(server.asked_once().body, r#"{"name":"httpd:2"}"#);

    let quiet = home.run(&["pull", "httpd:2", "--engine", "one", "--engine", "two", "--quiet"]).await;
    assert_eq!(quiet.expect(5).stdout, "one\n");
    assert_eq!(server.asked_once().body, r#"{"name":"httpd:2","engines":["one","two"]}"#);
}
