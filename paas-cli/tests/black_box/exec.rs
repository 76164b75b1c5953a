//! Commands that are run for applications.

use crate::support::{Answer, Home, Server};

const OUT: &str = r#"{"event":"output","stream":"stdout","text":"one\n"}"#;
const ERR: &str = r#"{"event":"output","stream":"stderr","text":"oops\n"}"#;

fn ended(status: i64) -> String {
    format!(r#"{{"event":"ended","status":{status}}}"#)
}

#[tokio::test]
async fn output_and_status_are_those_of_the_command() {
    let answer = Answer::steps(&[OUT, ERR, r#"{"event":"a later one"}"#, &ended(7)]);
    let mut server = Server::start([("POST /api/apps/shop/exec", answer)]).await;
    let done = Home::logged_in(&server).run(&["exec", "shop/web.2", "--", "ls", "-l", "--all"]).await;
    assert_eq!((done.expect(7).stdout.as_str(), done.stderr.as_str()), ("one\n", "oops\n"));
    let asked = server.asked_once();
    assert_eq!(asked.body, r#"{"component":"web","slot":2,"command":["ls","-l","--all"]}"#);
    assert_eq!(asked.header("idempotency-key"), None, "it is not done twice");
}

#[tokio::test]
async fn a_command_that_is_done_ends_with_0_and_any_other_status_is_one() {
    for (status, expected) in [(0, 0), (1, 1), (255, 255), (256, 255), (-1, 255)] {
        let server = Server::start([("POST /api/apps/shop/exec", Answer::steps(&[&ended(status)]))]).await;
        let done = Home::logged_in(&server).run(&["exec", "shop", "--", "true"]).await;
        assert_eq!(done.expect(expected).stderr, "");
    }
}

#[tokio::test]
async fn where_nobody_knows_how_it_ended_that_is_said() {
    let lost = r#"{"event":"broken-off","detail":"the host is away"}"#;
    for (answer, told) in [
        (Answer::steps(&[OUT, lost]), "paas-cli: nobody knows how the command ended: the host is away\n"),
        (
            Answer::steps(&[OUT]),
            "paas-cli: nobody knows how the command ended: the answer of the server ended before it\n",
        ),
    ] {
        let server = Server::start([("POST /api/apps/shop/exec", answer)]).await;
        let done = Home::logged_in(&server).run(&["exec", "shop", "--", "true"]).await;
        assert_eq!((done.expect(1).stdout.as_str(), done.stderr.as_str()), ("one\n", told));
    }
    let mut server = Server::start([("POST /api/apps/shop/exec", Answer::steps(&[OUT]).broken_off())]).await;
    Home::logged_in(&server).run(&["exec", "shop", "--", "true"]).await.expect(1);
    assert_eq!(server.asked().len(), 1, "it is not asked again");
}

#[tokio::test]
async fn what_is_refused_has_the_status_of_every_command() {
    let script = [
        ("POST /api/apps/gone/exec", Answer::problem(404, "app_not_found", "there is no application 'gone'")),
        ("POST /api/apps/shop/exec", Answer::problem(409, "conflict", "no replica of shop/web is ready")),
    ];
    let server = Server::start(script).await;
    let home = Home::logged_in(&server);
    for (target, status) in [("gone", 4), ("shop", 1), ("shop/web.0", 2), ("shop/web.x", 2), ("Shop", 2)] {
        home.run(&["exec", target, "--", "true"]).await.expect(status);
    }
    home.run(&["exec", "shop"]).await.expect(2);
}

#[tokio::test]
async fn a_command_that_is_run_once_is_passed_on_alike() {
    let mut server = Server::start([("POST /api/apps/shop/run", Answer::steps(&[OUT, &ended(3)]))]).await;
    let done = Home::logged_in(&server).run(&["app", "run", "shop/web", "--", "rake", "db:seed"]).await;
    assert_eq!(done.expect(3).stdout, "one\n");
    let asked = server.asked_once();
    assert_eq!(asked.body, r#"{"component":"web","command":["rake","db:seed"]}"#);
    assert_eq!(asked.header("idempotency-key"), None);
}
