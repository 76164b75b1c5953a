//! Changes to containers, engines and accounts.

use std::time::Duration;

use crate::support::{Answer, Home, Server, container, finish, id};

#[tokio::test]
async fn containers_are_stopped_started_and_destroyed() {
    let mut server = Server::start([
        ("POST /api/containers/a/stop", Answer::done()),
        ("POST /api/containers/a/start", Answer::done()),
        ("POST /api/containers/a/restart", Answer::done()),
        ("DELETE /api/containers/a", Answer::done()),
    ])
    .await;
    let home = Home::logged_in(&server);
    for (arguments, asked) in [
        (vec!["stop", "a"], "POST /api/containers/a/stop"),
        (vec!["stop", "a", "--timeout", "0"], "POST /api/containers/a/stop?timeout=0"),
        (vec!["start", "a"], "POST /api/containers/a/start"),
        (vec!["restart", "-t", "3", "a"], "POST /api/containers/a/restart?timeout=3"),
        (vec!["destroy", "a"], "DELETE /api/containers/a"),
        (vec!["destroy", "a", "--platform", "p 1"], "DELETE /api/containers/a?platform=p+1"),
    ] {
        assert_eq!(home.run(&arguments).await.expect(0).stdout, "a\n");
        assert_eq!(server.asked_once().line, asked);
    }
}

#[tokio::test]
async fn what_is_waited_for_is_said_when_a_container_takes_long_to_end() {
    let slow = || Answer::done().after(Duration::from_secs(4));
    let server = Server::start([("POST /api/containers/a/stop", slow())]).await;
    let home = Home::logged_in(&server);
    let done = home.run(&["stop", "a"]).await;
    assert!(done.expect(0).stderr.contains("waiting for a to end by itself; it has as long as its description says"));
}

#[tokio::test]
async fn of_several_containers_some_may_fail() {
    let gone = || Answer::problem(404, "container_not_found", "no such container");
    let busy = Answer::problem(409, "conflict", "it is paused");
    let server = Server::start([
        ("DELETE /api/containers/a", Answer::done()),
        ("DELETE /api/containers/b", gone()),
        ("DELETE /api/containers/c", Answer::done()),
        ("DELETE /api/containers/d", gone()),
        ("DELETE /api/containers/e", busy),
    ])
    .await;
    let home = Home::logged_in(&server);

    let partly = home.run(&["destroy", "a", "b", "c"]).await;
    assert_eq!(partly.expect(5).stdout, "a\nc\n");
    assert_eq!(partly.stderr, "paas-cli: b: no such container\n");

    let json = home.run(&["destroy", "a", "b", "c", "--output", "json"]).await;
    assert_eq!(json.expect(5).stdout, "[\n  \"a\",\n  \"c\"\n]\n");

    let none = home.run(&["destroy", "b", "d"]).await;
    assert_eq!(none.expect(4).stdout, "");
    assert_eq!(none.stderr, "paas-cli: b: no such container\npaas-cli: d: no such container\n");

    home.run(&["destroy", "b", "e"]).await.expect(1);
    assert_eq!(home.run(&["destroy", "b"]).await.expect(4).stderr, "paas-cli: no such container\n");
}

#[tokio::test]
async fn the_documented_line_destroys_what_the_platform_started_and_nothing_else() {
    let others = container("b", "two").replace(r#""managed":true"#, r#""managed":false"#);
    let list = Answer::json(&format!("[{},{others}]", container("a", "one")));
    let route = format!("DELETE /api/containers/{}", id("a"));
    let mut server = Server::start([
        ("GET /api/containers", list.then(Answer::json(&format!("[{others}]"))).then(Answer::json("[]"))),
        (&route, Answer::done()),
    ])
    .await;
    let home = Home::logged_in(&server);
    let readme = include_str!("../../../README.md");
    let line = readme.lines().find(|line| line.contains("| paas-cli destroy")).expect("it is documented");
    let run = async || {
        let mut shell = home.command(&[]);
        let path = std::path::Path::new(env!("CARGO_BIN_EXE_paas-cli")).parent().unwrap().display().to_string();
        let mut shell_command = tokio::process::Command::new("bash");
        shell_command.args(["-euo", "pipefail", "-c", line]).env("PATH", format!("{path}:/usr/bin:/bin"));
        for (name, value) in shell.as_std_mut().get_envs() {
            shell_command.env(name, value.unwrap_or_default());
        }
        shell_command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        finish(shell_command).await
    };
    assert_eq!(run().await.expect(0).stdout, id("a") + "\n");
    let asked = server.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(asked[0].line, "GET /api/containers?all=true", "also what is stopped");
    assert_eq!(asked[1].line, route);
    // Only what others started, and then nothing at all.
    for _ in 0..2 {
        let done = run().await;
        assert_eq!((done.expect(0).stdout.as_str(), done.stderr.lines().count()), ("", 1), "{done:?}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn containers_are_named_by_stdin() {
    let mut server = Server::start([
        ("POST /api/containers/a/stop", Answer::done()),
        ("POST /api/containers/b/stop", Answer::done()),
    ])
    .await;
    let home = Home::logged_in(&server);
    let done = home.run_with("a\n\n  b \r\n", &["stop", "-", "--timeout", "3"]).await;
    assert_eq!(done.expect(0).stdout, "a\nb\n");
    assert_eq!(server.asked().len(), 2);
    let nothing = home.run_with("", &["stop", "-"]).await;
    assert_eq!(nothing.expect(0).stderr, "stdin names no container; nothing was done\n");
    // A table is no list of ids, and a name too many is a slip.
    home.run_with("ID  NAME  IMAGE\na   web   web:1\n", &["stop", "-"]).await.expect(2);
    home.run_with("a\n", &["stop", "-", "b"]).await.expect(2);
    home.run(&["stop"]).await.expect(2);
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn what_fails_for_every_container_is_said_once() {
    let refused = || Answer::problem(401, "unauthenticated", "no token");
    let server =
        Server::start([("DELETE /api/containers/a", refused()), ("DELETE /api/containers/b", refused())]).await;
    let done = Home::logged_in(&server).run(&["destroy", "a", "b"]).await;
    assert_eq!(done.expect(3).stderr.lines().count(), 1, "{}", done.stderr);
}

#[tokio::test]
async fn an_engine_is_added_and_deleted() {
    let engine = r#"{"id":"far","addr":"tcp://far:2375","cpus":0,"memory":0,"reserved_cpus":0,"reserved_memory":0,
        "containers":0,"labels":["ssd"],"draining":false,"tls":false,"registry_user":"puller",
        "health":{"status":"pending","since":"2026-01-31T12:00:00Z"}}"#;
    let mut server = Server::start([
        ("POST /api/engines", Answer::new(201, "application/json", engine)),
        ("DELETE /api/engines/far", Answer::done()),
    ])
    .await;
    let home = Home::logged_in(&server);
    let arguments = ["eadd", "--id", "far", "--addr", "tcp://far:2375", "--label", "ssd", "--registry-user", "puller"];
    let added = home.run_with("registry secret\n", &[&arguments[..], &["--registry-password-stdin"]].concat()).await;
    assert!(added.expect(0).stdout.contains("pending"), "{}", added.stdout);
    let body: serde_json::Value = serde_json::from_str(&server.asked_once().body).unwrap();
    assert_eq!(body["labels"][0], "ssd");
    assert_eq!(body["registry_login"]["password"], "registry secret");

    home.run(&arguments).await.expect(2);
    assert!(server.asked().is_empty(), "without its password nothing is asked for");

    home.run(&["edelete", "far"]).await.expect(0);
    assert_eq!(server.asked_once().line, "DELETE /api/engines/far?force=false");
}

#[tokio::test]
async fn a_login_to_an_image_registry_is_set_listed_and_deleted() {
    let listed = r#"[{"server":"r.example.org:5000","username":"puller"}]"#;
    let mut server = Server::start([
        ("POST /api/registry-logins", Answer::done()),
        ("GET /api/registry-logins", Answer::new(200, "application/json", listed)),
        ("DELETE /api/registry-logins/r.example.org:5000", Answer::done()),
    ])
    .await;
    let home = Home::logged_in(&server);
    let set = home.run_with("a secret\n", &["rladd", "--server", "r.example.org:5000", "--user", "puller"]).await;
    assert_eq!(set.expect(0).stderr, "images of r.example.org:5000 are pulled as puller\n");
    let body: serde_json::Value = serde_json::from_str(&server.asked_once().body).unwrap();
    let expected = serde_json::json!({"server": "r.example.org:5000", "username": "puller", "password": "a secret"});
    assert_eq!(body, expected);
    let wrong = home.run_with("x", &["rladd", "--server", "https://r.example.org", "--user", "puller"]).await;
    assert!(wrong.expect(2).stderr.contains("as in registry.example.org:5000"), "{}", wrong.stderr);
    assert!(server.asked().is_empty());
    let shown = home.run(&["registrylogins"]).await;
    assert_eq!(shown.expect(0).stdout, "SERVER              USER\nr.example.org:5000  puller\n");
    assert_eq!(home.run(&["registrylogins", "--quiet"]).await.expect(0).stdout, "r.example.org:5000\n");
    home.run(&["rldelete", "r.example.org:5000"]).await.expect(0);
}

#[tokio::test]
async fn an_account_gets_its_password_in_four_ways() {
    let mut server =
        Server::start([("POST /api/accounts", Answer::done()), ("DELETE /api/accounts/deployer", Answer::done())])
            .await;
    let home = Home::logged_in(&server);
    let arguments = ["aadd", "--id", "7", "--name", "deployer", "--role", "user"];
    let password = |server: &mut Server| {
        let body: serde_json::Value = serde_json::from_str(&server.asked_once().body).unwrap();
        assert_eq!((&body["id"], &body["username"], &body["role"]), (&"7".into(), &"deployer".into(), &"user".into()));
        body["password"].as_str().unwrap().to_owned()
    };

    home.run(&[&arguments[..], &["--password", "one"]].concat()).await.expect(0);
    assert_eq!(password(&mut server), "one");
    home.run_with("two\n", &[&arguments[..], &["--password-stdin"]].concat()).await.expect(0);
    assert_eq!(password(&mut server), "two");
    home.run_with("thr ee", &arguments).await.expect(0);
    assert_eq!(password(&mut server), "thr ee");
    let mut command = home.command(&arguments);
    command.env("PAAS_NEW_PASSWORD", "four");
    crate::support::finish(command).await.expect(0);
    assert_eq!(password(&mut server), "four");

    let none = home.run(&arguments).await;
    assert!(none.expect(2).stderr.contains("--password-stdin"), "{}", none.stderr);
    home.run(&["aadd", "--name", "a/b", "--password", "x"]).await.expect(2);
    assert!(server.asked().is_empty());

    home.run(&["adelete", "deployer"]).await.expect(0);
    assert_eq!(server.asked_once().line, "DELETE /api/accounts/deployer");
}

#[tokio::test]
async fn a_change_that_the_server_had_no_time_to_answer_is_asked_for_again_with_its_key() {
    let late =
        || Answer::problem(504, "timed_out", "there was no answer within 60 seconds").after(Duration::from_secs(2));
    let mut server = Server::start([("DELETE /api/containers/a", late().then(Answer::done()))]).await;
    // A server that works on it longer than servers are looked for is asked again all the same.
    let home = Home::logged_in(&server);
    assert_eq!(home.run(&["destroy", "a", "--retry-for", "1"]).await.expect(0).stdout, "a\n");
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].header("idempotency-key").is_some());
    assert_eq!(asked[0].header("idempotency-key"), asked[1].header("idempotency-key"));

    let server = Server::start([("DELETE /api/containers/a", late())]).await;
    let done = Home::logged_in(&server).run(&["destroy", "a", "--retry-for", "1"]).await;
    assert_eq!(done.expect(1).stderr, "paas-cli: there was no answer within 60 seconds\n", "there is an end");
}

#[tokio::test]
async fn what_a_server_warns_of_is_told_once_whatever_is_asked_for() {
    let follows = "the store takes nothing at this moment";
    let done = || Answer::done().with_header("x-paas-warning", follows);
    let server = Server::start([
        ("DELETE /api/containers/a", done()),
        ("DELETE /api/containers/b", done()),
        ("POST /api/containers/a/stop", done()),
        ("POST /account/logout", done()),
        ("GET /api/engines", Answer::json("[]").with_header("x-paas-warning", follows)),
    ])
    .await;
    let home = Home::logged_in(&server);
    let line = format!("paas-cli: warning: {follows}\n");
    assert_eq!(home.run(&["destroy", "a", "b"]).await.expect(0).stderr, line);
    assert_eq!(home.run(&["stop", "a", "--quiet"]).await.expect(0).stderr, line);
    assert!(home.run(&["engines"]).await.expect(0).stderr.contains(&line));
    assert!(home.run(&["logout"]).await.expect(0).stderr.starts_with(&line));
}
