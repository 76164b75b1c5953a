//! Lists and single things, in every form of output.

use crate::support::{Answer, Home, Server, TOKEN, container, id};

#[tokio::test]
async fn containers_come_as_table_json_or_ids() {
    let list = format!("[{},{}]", container("a", "one"), container("b", "two"));
    let mut server = Server::start([("GET /api/containers", Answer::json(&list))]).await;
    let home = Home::logged_in(&server);

    let table = home.run(&["containers"]).await;
    let lines: Vec<_> = table.expect(0).stdout.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("ID ") && lines[1].starts_with("a00000000000  c-a ") && lines[2].contains("two"));
    assert_eq!(table.stderr, "");
    let asked = server.asked_once();
    assert_eq!(asked.line, "GET /api/containers?all=false");
    assert_eq!(asked.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));

    let json = home.run(&["list-containers", "--all", "--output", "json"]).await;
    assert_eq!(server.asked_once().line, "GET /api/containers?all=true");
    assert!(
        json.expect(0).stdout.contains("\"later\": 1.50"),
        "fields this client does not know stay: {}",
        json.stdout
    );
    let without_space = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(without_space(&json.stdout), without_space(&list));

    let quiet = home.run(&["containers", "-q"]).await;
    assert_eq!(quiet.expect(0).stdout, format!("{}\n{}\n", id("a"), id("b")));
}

#[tokio::test]
async fn a_list_of_nothing_is_no_failure() {
    let server = Server::start([("GET /api/containers", Answer::json("[]"))]).await;
    let home = Home::logged_in(&server);
    assert!(home.run(&["containers"]).await.expect(0).stdout.starts_with("ID "));
    assert_eq!(home.run(&["containers", "--output", "json"]).await.expect(0).stdout, "[]\n");
    assert_eq!(home.run(&["containers", "--quiet"]).await.expect(0).stdout, "");
}

#[tokio::test]
async fn what_cannot_be_read_does_not_hide_the_rest() {
    let engine = |id: &str, cpus: &str| {
        format!(
            r#"{{"id":"{id}","addr":"tcp://{id}:2375","cpus":4,"memory":8192,"reserved_cpus":{cpus},"reserved_memory":0,
            "containers":0,"labels":[],"draining":false,"tls":false,
            "health":{{"status":"up","since":"2026-01-31T12:00:00Z"}}}}"#
        )
    };
    let impossible = engine("p1", "\"many\"");
    let later = container("b", "two").replace("running", "hibernating");
    let event = r#"{"id":"01949e5a-0000-7000-8000-000000000001","type":"login","time":"2026-01-31T12:00:00Z",
        "message":"admin logged in","tags":[],"user":"admin"}"#;
    let mut server = Server::start([
        ("GET /api/engines", Answer::json(&format!("[{},{impossible}]", engine("one", "0")))),
        ("GET /api/containers", Answer::json(&format!("[{},{later}]", container("a", "one")))),
        ("GET /api/events", Answer::json(&format!("[{event},7]"))),
    ])
    .await;
    let home = Home::logged_in(&server);
    let table = home.run(&["engines"]).await;
    assert!(table.expect(5).stdout.contains("tcp://one:2375"), "{}", table.stdout);
    assert!(table.stderr.starts_with("paas-cli: engine p1 cannot be shown: "), "{}", table.stderr);
    assert_eq!(table.stderr.lines().count(), 1);
    assert_eq!(home.run(&["engines", "--quiet"]).await.expect(5).stdout, "one\n");
    let json = home.run(&["engines", "--output", "json"]).await;
    assert!(json.expect(5).stdout.contains("many"), "what the server said is written all the same");

    let table = home.run(&["containers"]).await;
    assert!(table.expect(5).stdout.contains("a00000000000"), "{}", table.stdout);
    assert!(table.stderr.contains(&format!("container {} cannot be shown: ", id("b"))), "{}", table.stderr);
    let table = home.run(&["events"]).await;
    assert!(table.expect(5).stdout.contains("admin logged in"), "{}", table.stdout);
    assert!(table.stderr.starts_with("paas-cli: an event cannot be shown: "), "{}", table.stderr);
    server.asked();

    let none = Server::start([("GET /api/engines", Answer::json(&format!("[{impossible}]")))]).await;
    let done = Home::logged_in(&none).run(&["engines"]).await;
    assert!(done.expect(1).stderr.contains("p1: "), "{}", done.stderr);
}

#[tokio::test]
async fn what_others_started_can_be_left_out() {
    let others = container("b", "two").replace(r#""managed":true"#, r#""managed":false"#);
    let list = format!("[{},{others}]", container("a", "one"));
    let mut server = Server::start([("GET /api/containers", Answer::json(&list))]).await;
    let home = Home::logged_in(&server);
    assert_eq!(home.run(&["containers", "--quiet"]).await.expect(0).stdout.lines().count(), 2);
    server.asked();
    assert_eq!(home.run(&["containers", "--managed", "--quiet"]).await.expect(0).stdout, id("a") + "\n");
    assert_eq!(server.asked_once().line, "GET /api/containers?all=false");
    let table = home.run(&["containers", "-m"]).await;
    assert!(table.expect(0).stdout.contains("c-a") && !table.stdout.contains("c-b"), "{}", table.stdout);
    let json = home.run(&["containers", "-m", "--output", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&json.expect(0).stdout).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["id"]), (1, &id("a").into()));
}

#[tokio::test]
async fn every_other_list_and_thing_is_shown() {
    let engine = r#"{"id":"one","addr":"tcp://one:2375","cpus":4,"memory":8192,"reserved_cpus":0,"reserved_memory":0,
        "containers":0,"labels":[],"draining":false,"tls":false,
        "health":{"status":"up","since":"2026-01-31T12:00:00Z"}}"#;
    let account = r#"{"id":"1","username":"admin","role":"admin"}"#;
    let info = r#"{"cpus":4,"memory":8192,"reserved_cpus":0,"reserved_memory":0,"used_cpus":0.5,"used_memory":1,
        "container_count":0,"running_count":0,"engine_count":1,"engines_up":1,"image_count":0,"version":"9.9.9"}"#;
    let event = r#"{"id":"01949e5a-0000-7000-8000-000000000001","type":"login","time":"2026-01-31T12:00:00Z",
        "message":"admin logged in","tags":[],"user":"admin"}"#;
    let mut server = Server::start([
        ("GET /api/engines", Answer::json(&format!("[{engine}]"))),
        ("GET /api/engines/one", Answer::json(engine)),
        ("GET /api/accounts", Answer::json(&format!("[{account}]"))),
        ("GET /api/accounts/admin", Answer::json(account)),
        ("GET /api/cluster/info", Answer::json(info)),
        ("GET /api/events", Answer::json(&format!("[{event}]"))),
        ("GET /api/containers/c-a", Answer::json(&container("a", "one"))),
    ])
    .await;
    let home = Home::logged_in(&server);
    for (arguments, asked, told, ids) in [
        (vec!["engines"], "GET /api/engines", "tcp://one:2375", "one\n"),
        (vec!["engine", "one"], "GET /api/engines/one", "up since", "one\n"),
        (vec!["accounts"], "GET /api/accounts", "ROLE", "admin\n"),
        (vec!["account", "admin"], "GET /api/accounts/admin", "ROLE", "admin\n"),
        (vec!["clusterinfo"], "GET /api/cluster/info", "1 (1 up)", "9.9.9\n"),
        (vec!["events"], "GET /api/events?count=20", "admin logged in", "01949e5a-0000-7000-8000-000000000001\n"),
        (vec!["events", "7"], "GET /api/events?count=7", "admin logged in", "01949e5a-0000-7000-8000-000000000001\n"),
        // Docker's own way to write a name.
        (vec!["container", "/c-a"], "GET /api/containers/c-a", "c-a", &(id("a") + "\n")),
    ] {
        let table = home.run(&arguments).await;
        assert!(table.expect(0).stdout.contains(told), "{arguments:?}: {}", table.stdout);
        assert_eq!(server.asked_once().line, asked);
        let quiet = home.run(&[arguments.as_slice(), &["--quiet"]].concat()).await;
        assert_eq!(quiet.expect(0).stdout, ids, "{arguments:?}");
        let json = home.run(&[arguments.as_slice(), &["--output=json"]].concat()).await;
        assert!(json.expect(0).stdout.starts_with(['{', '[']), "{arguments:?}: {}", json.stdout);
        server.asked();
    }
}

#[tokio::test]
async fn names_cannot_lead_to_another_path() {
    let mut server = Server::start([]).await;
    let home = Home::logged_in(&server);
    home.run(&["container", "a/../../accounts?x"]).await.expect(4);
    assert_eq!(server.asked_once().line, "GET /api/containers/a%2F..%2F..%2Faccounts%3Fx");
    for nothing in ["", "..", ".", "/"] {
        home.run(&["destroy", nothing]).await.expect(2);
        home.run(&["edelete", "."]).await.expect(2);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let one = container("a", "one");
    let list = format!("[{}]", vec![one.as_str(); 2000].join(","));
    let server = Server::start([("GET /api/containers", Answer::json(&list))]).await;
    let home = Home::logged_in(&server);
    let mut command = home.command(&["containers"]);
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(crate::support::done(output).expect(0).stderr, "");
}
