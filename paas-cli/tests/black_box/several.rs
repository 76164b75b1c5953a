//! Several servers of one platform.

use std::time::{Duration, Instant};

use paas_cli::{Client, ClientError};

use crate::support::{Answer, Home, Server, TOKEN, finish, nowhere};

const LOGIN: &str = r#"{"token":"fresh","username":"admin","role":"admin","expires":"2100-01-01T00:00:00Z"}"#;

fn no_leader() -> Answer {
    Answer::problem(503, "no_leader", "no server leads at this moment").with_header("retry-after", "1")
}

fn shutting_down() -> Answer {
    Answer::problem(503, "shutting_down", "the server is shutting down")
}

fn engines() -> Answer {
    Answer::json("[]")
}

/// Two servers that answer a question for the engines, and a home with a login at both.
async fn two(first: Answer, second: Answer) -> (Server, Server, Home) {
    let first = Server::start([("GET /api/engines", first)]).await;
    let second = Server::start([("GET /api/engines", second)]).await;
    let home = Home::new();
    home.keep_login_at(&[&first.url(), &second.url()]);
    (first, second, home)
}

#[tokio::test]
async fn a_server_that_is_gone_is_passed_over() {
    let mut server = Server::start([("GET /api/engines", engines())]).await;
    let home = Home::new();
    home.keep_login_at(&[&nowhere().await, &nowhere().await, &server.url()]);
    let done = home.run(&["engines", "--quiet"]).await;
    assert_eq!((done.expect(0).stdout.as_str(), done.stderr.as_str()), ("", ""));
    assert_eq!(server.asked_once().header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));

    for gone in [shutting_down(), no_leader(), Answer::cut(), Answer::json("[").broken_off()] {
        let (mut first, mut second, home) = two(gone, engines()).await;
        home.run(&["engines"]).await.expect(0);
        first.asked_once();
        second.asked_once();
    }
}

#[tokio::test]
async fn the_one_that_answered_is_asked_first_the_next_time() {
    let (mut first, mut second, _) = two(shutting_down(), engines().then(engines()).then(shutting_down())).await;
    let urls = format!("{},{}", first.url(), second.url());
    let client = Client::of_several(urls.parse().unwrap(), None, None).unwrap().with_deadline(Duration::ZERO);
    assert_eq!(client.server().to_string(), first.url());
    client.engines().await.unwrap();
    client.engines().await.unwrap();
    assert_eq!((first.asked().len(), second.asked().len()), (1, 2));
    assert_eq!(client.server().to_string(), second.url());

    let gone = client.engines().await.unwrap_err();
    assert!(matches!(&gone, ClientError::NoneOfThem { reasons, is_uncertain: false } if reasons.len() == 2), "{gone}");
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1), "round and round");
}

#[tokio::test]
async fn a_client_can_be_used_in_a_task_of_its_own() {
    let server = Server::start([("GET /api/engines", engines())]).await;
    let client = Client::new(server.url().parse().unwrap(), None).unwrap();
    tokio::spawn(async move {
        client.engines().await.unwrap();
        let spec = serde_json::from_str(r#"{"name": "web"}"#).unwrap();
        let options = paas_cli::client::RunOptions { count: 1, pull: false };
        assert_eq!(client.run(&spec, options).await.err().unwrap().status(), Some(404));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn one_that_has_no_leader_for_a_while_is_waited_for() {
    let mut server = Server::start([("GET /api/engines", no_leader().then(no_leader()).then(engines()))]).await;
    let home = Home::logged_in(&server);
    let began = Instant::now();
    home.run(&["engines"]).await.expect(0);
    assert_eq!(server.asked().len(), 3);
    assert!(began.elapsed() >= Duration::from_secs(2), "no earlier than it wants to be asked");

    let (mut first, mut second, home) = two(no_leader(), no_leader().then(engines())).await;
    home.run(&["engines"]).await.expect(0);
    assert_eq!((first.asked().len(), second.asked().len()), (2, 2));
}

#[tokio::test]
async fn nobody_waits_longer_than_was_said() {
    let far = Answer::problem(503, "no_leader", "no server leads").with_header("retry-after", "60");
    let mut server = Server::start([("GET /api/engines", far)]).await;
    let home = Home::logged_in(&server);
    let done = home.run(&["engines"]).await;
    assert_eq!(done.expect(1).stderr, "paas-cli: no server leads (try again in 60 s)\n");
    server.asked_once();

    let mut server = Server::start([("GET /api/engines", no_leader())]).await;
    let home = Home::logged_in(&server);
    home.run(&["engines", "--retry-for", "2"]).await.expect(1);
    assert_eq!(server.asked().len(), 2);
    home.run(&["engines", "--retry-for", "0"]).await.expect(1);
    server.asked_once();
}

#[tokio::test]
async fn a_search_is_over_in_time_however_long_each_refusal_takes() {
    let (moment, hour) = (Duration::from_secs(2), Duration::from_secs(3600));
    let script = || no_leader().after(moment).then(no_leader().after(hour));
    let mut server = Server::start([("GET /api/engines", script()), ("POST /api/containers/a/stop", script())]).await;
    let home = Home::logged_in(&server);
    let question = home.run(&["engines", "--retry-for", "4"]).await;
    assert!(question.expect(1).stderr.contains("no server leads"), "what the server said is told: {question:?}");
    let change = home.run(&["stop", "a", "--retry-for", "4"]).await;
    assert!(change.expect(1).stderr.contains("does not answer in time"), "it may be done all the same: {change:?}");
    assert_eq!(server.asked().iter().filter(|asked| !asked.line.ends_with("/healthz")).count(), 4);
}

#[tokio::test]
async fn a_server_that_took_a_change_has_its_own_time() {
    let slow = Answer::done().after(Duration::from_secs(4));
    let mut server = Server::start([("POST /api/containers/a/stop", no_leader().then(slow))]).await;
    Home::logged_in(&server).run(&["stop", "a", "--retry-for", "2"]).await.expect(0);
    assert_eq!(server.asked().iter().filter(|asked| asked.line.starts_with("POST")).count(), 2);
}

#[tokio::test]
async fn one_server_that_hangs_is_given_up() {
    let hour = Duration::from_secs(3600);
    let engines = || ("GET /api/engines", engines().after(hour));
    let health = ("GET /healthz", Answer::done().after(hour));
    let stop = ("POST /api/containers/a/stop", Answer::done().after(hour));
    let (hangs, is_silent) = (Server::start([engines(), stop, health]).await, Server::start([engines()]).await);
    let run = async |server: &Server, arguments: &[&str]| {
        let done = Home::logged_in(server).run(arguments).await;
        assert!(done.expect(1).stderr.contains("does not answer in time"), "{done:?}");
    };
    tokio::join!(
        run(&hangs, &["engines", "--retry-for", "1"]),
        run(&hangs, &["stop", "a", "--retry-for", "1"]),
        run(&is_silent, &["engines"]),
    );
}

#[tokio::test]
async fn a_store_that_is_away_and_a_server_that_is_busy_are_waited_for() {
    let away = || Answer::problem(503, "store_unavailable", "the store is away");
    let busy = || Answer::problem(429, "busy", "too much to do").with_header("retry-after", "1");
    for refusal in [away, busy] {
        let mut server = Server::start([
            ("GET /api/engines", refusal().then(engines())),
            ("DELETE /api/containers/a", refusal().then(refusal()).then(Answer::done())),
            ("POST /auth/login", refusal()),
        ])
        .await;
        let home = Home::logged_in(&server);
        home.run(&["engines"]).await.expect(0);
        home.run(&["destroy", "a"]).await.expect(0);
        let asked = server.asked();
        assert_eq!(asked.len(), 5);
        let keys: Vec<_> = asked[2..].iter().map(|asked| asked.header("idempotency-key")).collect();
        assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");

        home.run_with("x", &["login", "--url", &server.url(), "--name", "a", "--password-stdin"]).await.expect(1);
        server.asked_once();
    }
    let mut server = Server::start([("GET /api/engines", away())]).await;
    let done = Home::logged_in(&server).run(&["engines", "--retry-for", "1"]).await;
    assert_eq!(done.expect(1).stderr, "paas-cli: the store is away\n");
    assert!(server.asked().len() > 1);

    let (mut first, mut second, home) = two(away(), engines()).await;
    home.run(&["engines"]).await.expect(0);
    assert_eq!((first.asked().len(), second.asked().len()), (1, 1));
}

#[tokio::test]
async fn when_none_answers_it_is_said_why_of_each() {
    let (first, second, _) = two(no_leader(), Answer::cut()).await;
    let urls = [nowhere().await, first.url(), second.url()];
    let done = Home::new().run(&["engines", "--url", &urls.join(","), "--retry-for", "1"]).await;
    let mut line = done.expect(1).stderr.clone();
    for (number, url) in urls.iter().enumerate() {
        line = line.replace(url, &format!("URL{}", number + 1));
    }
    insta::assert_snapshot!(line);
}

#[tokio::test]
async fn what_is_gone_for_one_container_is_not_waited_for_with_the_next() {
    let home = Home::new();
    home.keep_login_at(&[&nowhere().await, &nowhere().await]);
    let ids: Vec<_> = (0..40).map(|number| format!("c{number}")).collect();
    let began = Instant::now();
    let arguments: Vec<_> = ["destroy", "--retry-for", "2"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    home.run(&arguments).await.expect(1);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    for (status, code) in [
        (400, "invalid_request"),
        (401, "unauthenticated"),
        (404, "route_not_found"),
        (409, "conflict"),
        (422, "key_reused"),
        (500, "internal"),
        (503, "engine_unreachable"),
    ] {
        let (mut first, mut second, home) = two(Answer::problem(status, code, "no"), engines()).await;
        assert_ne!(home.run(&["engines"]).await.status, 0);
        first.asked_once();
        assert!(second.asked().is_empty(), "{code}");
    }
}

#[tokio::test]
async fn a_change_is_sent_again_under_its_key() {
    let lost = Server::start([("POST /api/containers/a/stop", Answer::cut())]).await;
    let next = Server::start([("POST /api/containers/a/stop", Answer::done())]).await;
    let (mut lost, mut next) = (lost, next);
    let home = Home::new();
    home.keep_login_at(&[&lost.url(), &next.url()]);
    home.run(&["stop", "a", "--timeout", "3"]).await.expect(0);
    let (first, second) = (lost.asked_once(), next.asked_once());
    assert_eq!(first.line, "POST /api/containers/a/stop?timeout=3");
    assert_eq!(first.line, second.line);
    let key = first.header("idempotency-key").unwrap();
    assert_eq!(second.header("idempotency-key"), Some(key));
    assert_eq!(key.as_bytes()[14], b'7', "a UUID that sorts by time: {key}");

    home.run(&["stop", "a", "--timeout", "3"]).await.expect(0);
    assert_ne!(next.asked_once().header("idempotency-key"), Some(key), "another request");
}

#[tokio::test]
async fn the_body_goes_with_a_change_to_the_next_server() {
    let refused = || Answer::problem(503, "no_leader", "no server leads at this moment");
    let mut first = Server::start([("POST /api/accounts", refused())]).await;
    let mut second = Server::start([("POST /api/accounts", Answer::done())]).await;
    let home = Home::new();
    home.keep_login_at(&[&first.url(), &second.url()]);
    home.run(&["aadd", "--name", "deployer", "--password", "correct horse"]).await.expect(0);
    let (first, second) = (first.asked_once(), second.asked_once());
    assert!(first.body.contains("correct horse"));
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn one_server_is_asked_again_when_its_answer_was_lost() {
    let mut server = Server::start([
        ("DELETE /api/containers/a", Answer::cut().then(Answer::done())),
        ("GET /api/engines", Answer::cut().then(engines())),
    ])
    .await;
    let home = Home::logged_in(&server);
    home.run(&["destroy", "a"]).await.expect(0);
    let keys: Vec<_> = server.asked().iter().map(|asked| asked.header("idempotency-key").map(str::to_owned)).collect();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].is_some() && keys[0] == keys[1]);
    home.run(&["engines"]).await.expect(0);
    assert!(server.asked().iter().all(|asked| asked.header("idempotency-key").is_none()));
}

#[tokio::test]
async fn login_logout_and_passwords_are_sent_once() {
    let script = || {
        [
            ("POST /auth/login", Answer::cut()),
            ("POST /account/logout", Answer::cut()),
            ("POST /account/passwdchange", Answer::cut()),
        ]
    };
    let (mut first, mut second) = (Server::start(script()).await, Server::start(script()).await);
    let urls = format!("{},{}", first.url(), second.url());
    let home = Home::new();
    home.keep_login_at(&[&first.url(), &second.url()]);
    home.run_with("x", &["login", "--url", &urls, "--name", "admin", "--password-stdin"]).await.expect(1);
    assert_eq!(first.asked_once().header("idempotency-key"), None);
    home.run_with("old\nnew\n", &["passwd"]).await.expect(1);
    assert_eq!(first.asked_once().header("idempotency-key"), None);
    home.run(&["logout"]).await.expect(1);
    first.asked_once();
    assert!(second.asked().is_empty());
}

#[tokio::test]
async fn a_login_at_one_is_good_at_all_of_them() {
    let script = || [("POST /auth/login", Answer::json(LOGIN)), ("GET /api/engines", engines())];
    let (mut first, mut second) = (Server::start(script()).await, Server::start(script()).await);
    let mut stranger = Server::start(script()).await;
    let (one, two) = (first.url(), second.url());
    let both = format!("{one},{two}");
    let home = Home::new();
    let arguments = ["login", "--url", &one, "--url", &two, "--name", "admin", "--password-stdin"];
    let login = home.run_with("secret", &arguments).await;
    assert!(login.expect(0).stderr.starts_with(&format!("logged in to {both} as admin")), "{}", login.stderr);
    first.asked_once();
    let kept = std::fs::read_to_string(home.credentials()).unwrap();
    assert!(kept.starts_with(&format!("url = [\"{one}\", \"{two}\"]\n")), "{kept}");

    home.run(&["engines"]).await.expect(0);
    assert_eq!(first.asked_once().header("authorization"), Some("Bearer fresh"));
    let mut command = home.command(&["engines"]);
    command.env("PAAS_URL", format!("{two}, {one}"));
    finish(command).await.expect(0);
    assert_eq!(second.asked_once().header("authorization"), Some("Bearer fresh"), "in any order");
    home.run(&["engines", "--url", &two]).await.expect(0);
    assert_eq!(second.asked_once().header("authorization"), Some("Bearer fresh"), "one of them alone");

    let more = format!("{},{both}", stranger.url());
    home.run(&["engines", "--url", &more]).await.expect(0);
    assert_eq!(stranger.asked_once().header("authorization"), None, "one that was not named at the login");
}

#[tokio::test]
async fn a_login_elsewhere_is_named_with_all_its_servers() {
    let refusal = Answer::problem(401, "unauthenticated", "send a token");
    let server = Server::start([("GET /api/engines", refusal)]).await;
    let home = Home::new();
    home.keep_login_at(&["http://a.example", "http://b.example"]);
    let done = home.run(&["engines", "--url", &server.url()]).await;
    let line = done.expect(3).stderr.replace(&server.url(), "HERE");
    let expected = "not logged in: the last login was at http://a.example,http://b.example, and its token is sent nowhere else; \
                    run paas-cli login --url HERE; or, for servers of one platform, once for all of them: paas-cli login --url \
                    http://a.example,http://b.example,HERE";
    assert_eq!(line, format!("paas-cli: {expected}\n"));
}

#[tokio::test]
async fn encrypted_and_open_servers_are_not_mixed() {
    let home = Home::new();
    home.keep_login_at(&["https://a.example", "http://b.example"]);
    let done = home.run(&["engines"]).await;
    assert!(done.expect(2).stderr.contains("use https:// for all"), "{}", done.stderr);
}

#[tokio::test]
async fn one_that_hangs_is_left_and_one_that_works_is_not() {
    let hour = Duration::from_secs(3600);
    let script = |answer: Answer, health: Answer| [("POST /api/containers/a/stop", answer), ("GET /healthz", health)];
    let mut hangs = Server::start(script(Answer::done().after(hour), Answer::done().after(hour))).await;
    let mut next = Server::start(script(Answer::done(), Answer::done())).await;
    let at = async |first: &Server, second: &Server| {
        let home = Home::new();
        home.keep_login_at(&[&first.url(), &second.url()]);
        home.run(&["stop", "a"]).await.expect(0);
    };
    let mut works = Server::start(script(Answer::done().after(Duration::from_secs(10)), Answer::done())).await;
    let idle = Server::start(script(Answer::done(), Answer::done())).await;
    tokio::join!(at(&hangs, &next), at(&works, &idle));
    let key = |server: &mut Server| {
        let asked: Vec<_> = server.asked().into_iter().filter(|asked| asked.line.starts_with("POST")).collect();
        assert_eq!(asked.len(), 1);
        asked[0].header("idempotency-key").map(str::to_owned)
    };
    assert_eq!(key(&mut hangs), key(&mut next));
    key(&mut works);
    let mut idle = idle;
    assert!(idle.asked().is_empty(), "what takes long is waited for");
}
