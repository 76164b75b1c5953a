//! Operations that are sent again, because their stream broke off or because somebody asks what became of them.

use serde_json::Value;

use crate::operations::{started, summary};
use crate::support::{Answer, Home, Server, container, id};

const RUN: &str = "POST /api/containers";
const SCALE: &str = "POST /api/containers/a/scale";
const SENT_AGAIN: &str = "the connection broke off; the request was sent again\n";

fn failed(index: usize) -> String {
    format!(r#"{{"event":"failed","index":{index},"engine":"two","error":"cannot start"}}"#)
}

/// Two servers, of which the first breaks off its stream, and a home with a login at both.
async fn two(route: &str, first: &[&str], second: Answer) -> (Server, Server, Home) {
    let first = Server::start([(route, Answer::steps(first).broken_off())]).await;
    let second = Server::start([(route, second)]).await;
    let home = Home::new();
    home.keep_login_at(&[&first.url(), &second.url()]);
    (first, second, home)
}

#[tokio::test]
async fn a_stream_goes_on_at_the_next_server() {
    let decided = r#"{"event":"decided","index":1,"engine":"one"}"#;
    let retrying = r#"{"event":"retrying","index":1,"engine":"two","error":"cannot start"}"#;
    let pulled = r#"{"event":"pulled","engine":"one","image":"httpd"}"#;
    let before = [pulled, decided, &started(0, "a", "one"), retrying];
    let again = [pulled, &started(0, "a", "one"), decided, retrying, &started(1, "b", "one"), &summary(2, 2, 0, 0)];
    let (mut first, mut second, home) = two(RUN, &before, Answer::steps(&again)).await;
    let done = home.run(&["run", "--name", "httpd", "--count", "2"]).await;
    assert_eq!(done.expect(0).stdout.lines().count(), 3);
    let told = "pulled httpd on one\nstarted a00000000000 on one\ncontainer 2 is tried elsewhere; two: cannot start\n";
    assert_eq!(done.stderr, format!("{told}{SENT_AGAIN}started b00000000000 on one\n"));
    let (first, second) = (first.asked_once(), second.asked_once());
    assert_eq!((&first.line, &first.body), (&second.line, &second.body));
    assert!(first.header("idempotency-key").is_some());
    assert_eq!(first.header("idempotency-key"), second.header("idempotency-key"));
    assert_eq!(second.header("accept"), Some("application/x-ndjson"));
}

#[tokio::test]
async fn a_stream_that_ends_without_its_summary_is_asked_for_again() {
    let whole = Answer::steps(&[&started(0, "a", "one"), &started(1, "b", "one"), &summary(2, 2, 0, 0)]);
    let nothing = Answer::steps(&[]);
    let some = Answer::steps(&[&started(0, "a", "one")]);
    let mut server = Server::start([(RUN, Answer::cut().then(nothing).then(some).then(whole))]).await;
    let home = Home::logged_in(&server);
    let done = home.run(&["run", "--name", "httpd", "-n", "2", "-q"]).await;
    assert_eq!(done.expect(0).stdout, format!("{}\n{}\n", id("a"), id("b")));
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|again| again.header("idempotency-key") == asked[0].header("idempotency-key")));
}

#[tokio::test]
async fn an_answer_in_one_piece_goes_on_as_well() {
    let whole = format!("[{},{}]", container("a", "one"), container("b", "two"));
    let second = Answer::new(201, "application/json", &whole);
    let (_first, _second, home) = two(RUN, &[&started(0, "a", "one")], second).await;
    let done = home.run(&["run", "--name", "httpd", "-n", "2", "-q"]).await;
    assert_eq!(done.expect(0).stdout, format!("{}\n{}\n", id("a"), id("b")));
}

#[tokio::test]
async fn what_failed_before_the_break_counts_only_if_it_fails_again() {
    let mended = Answer::steps(&[&started(0, "a", "one"), &started(1, "b", "one"), &summary(2, 2, 0, 0)]);
    let (_first, _second, home) = two(RUN, &[&started(0, "a", "one"), &failed(1)], mended).await;
    let done = home.run(&["run", "--name", "httpd", "-n", "2", "-q"]).await;
    assert_eq!((done.expect(0).stdout.lines().count(), done.stderr.as_str()), (2, ""));

    let (_first, _second, home) =
        two(RUN, &[&failed(1)], Answer::steps(&[&started(0, "a", "one"), &failed(1), &summary(2, 1, 0, 1)])).await;
    let done = home.run(&["run", "--name", "httpd", "-n", "2", "-q"]).await;
    assert_eq!(done.expect(5).stderr, "paas-cli: 1 container not started on two: cannot start\n");
}

#[tokio::test]
async fn a_container_that_was_lost_with_its_host_gives_its_place_to_another() {
    let again = Answer::steps(&[&started(1, "b", "one"), &started(0, "c", "one"), &summary(2, 2, 0, 0)]);
    let (_first, _second, home) = two(RUN, &[&started(0, "a", "two"), &started(1, "b", "one")], again).await;
    let done = home.run(&["run", "--name", "httpd", "-n", "2", "-q"]).await;
    assert_eq!(done.expect(0).stdout, format!("{}\n{}\n", id("c"), id("b")));
}

#[tokio::test]
async fn a_scale_adds_up_what_each_server_did() {
    let rest = Answer::steps(&[&started(0, "c", "one"), &summary(3, 1, 0, 0)]);
    let (_first, _second, home) = two(SCALE, &[&started(0, "b", "one"), &failed(1)], rest).await;
    let done = home.run(&["scale", "a", "3", "--output", "json"]).await;
    let json: Value = serde_json::from_str(&done.expect(0).stdout).unwrap();
    assert_eq!((&json["requested"], json["started"].as_array().unwrap().len()), (&3.into(), 2));
    assert_eq!(json["failed"].as_array().unwrap().len(), 0);

    let destroyed = |name| format!(r#"{{"event":"destroyed","container":"{}","engine":"one"}}"#, id(name));
    let still = r#"{"event":"failed","index":0,"engine":"one","error":"it stays"}"#;
    let rest = Answer::steps(&[still, &summary(1, 0, 0, 1)]);
    let (_first, _second, home) = two(SCALE, &[&destroyed("c"), &destroyed("b")], rest).await;
    let done = home.run(&["scale", "a", "1"]).await;
    assert!(done.expect(5).stderr.ends_with("2 done, 1 failed\n"), "{}", done.stderr);
}

#[tokio::test]
async fn a_pull_goes_on_too() {
    let pulled = |engine| format!(r#"{{"event":"pulled","engine":"{engine}","image":"httpd:2"}}"#);
    let again = Answer::steps(&[&pulled("one"), &pulled("two"), &summary(2, 2, 0, 0)]);
    let (_first, _second, home) = two("POST /api/images/pull", &[&pulled("one")], again).await;
    let done = home.run(&["pull", "httpd:2", "-q"]).await;
    assert_eq!(done.expect(0).stdout, "one\ntwo\n");
}

#[tokio::test]
async fn what_remains_unknown_is_told_with_the_key_to_ask_again() {
    let server = Server::start([(RUN, Answer::steps(&[&started(0, "a", "one")]))]).await;
    let arguments = ["run", "--name", "httpd", "--retry-for", "1", "--key", "deploy-7"];
    let done = Home::logged_in(&server).run(&arguments).await;
    assert_eq!(done.expect(5).stdout.lines().count(), 2, "what is known is written all the same");
    let hint = "it may go on all the same; to see what became of it, add --key deploy-7\n";
    let told = format!("broke off before the end\n{hint}");
    assert!(done.stderr.ends_with(&told) && done.stderr.matches("started a").count() == 1, "{}", done.stderr);

    let server = Server::start([(RUN, Answer::cut())]).await;
    let home = Home::logged_in(&server);
    let done = home.run(&["run", "--name", "httpd", "--retry-for", "0"]).await;
    assert!(done.expect(1).stderr.contains("broke off") && done.stderr.contains("add --key 0"), "{}", done.stderr);
    let done = home.run(&["run", "--name", "httpd", "--retry-for", "0", "--quiet"]).await;
    assert_eq!(done.expect(1).stderr.lines().count(), 1, "{}", done.stderr);
}

#[tokio::test]
async fn a_refusal_after_the_break_is_told_beside_what_was_done() {
    let (_first, _second, home) =
        two(RUN, &[&started(0, "a", "one")], Answer::problem(409, "no_room", "no engine has room")).await;
    let done = home.run(&["run", "--name", "httpd", "-n", "2", "-q"]).await;
    assert_eq!(done.expect(5).stdout, id("a") + "\n");
    assert_eq!(done.stderr, "paas-cli: no engine has room\n");
}

#[tokio::test]
async fn a_key_may_be_chosen() {
    let whole = || Answer::steps(&[&started(0, "b", "one"), &summary(1, 1, 0, 0)]);
    let mut server = Server::start([(RUN, whole()), (SCALE, whole())]).await;
    let home = Home::logged_in(&server);
    for arguments in [&["run", "--name", "httpd"][..], &["scale", "a", "2"]] {
        home.run(&[arguments, &["--key", "deploy-7"]].concat()).await.expect(0);
        assert_eq!(server.asked_once().header("idempotency-key"), Some("deploy-7"));
        home.run(arguments).await.expect(0);
        assert_ne!(server.asked_once().header("idempotency-key"), Some("deploy-7"));
    }
}
