//! Login, logout, passwords, and where the token goes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::support::{Answer, Home, Server, TOKEN, finish};

const LOGIN: &str = r#"{"token":"fresh","username":"admin","role":"admin","expires":"2100-01-01T00:00:00Z"}"#;

async fn server() -> Server {
    Server::start([
        ("POST /auth/login", Answer::json(LOGIN)),
        ("POST /account/logout", Answer::done()),
        ("POST /account/passwdchange", Answer::done()),
        ("GET /api/engines", Answer::json("[]")),
    ])
    .await
}

#[tokio::test]
async fn a_login_is_kept_and_used() {
    let mut server = server().await;
    let home = Home::new();
    let arguments = ["login", "--url", &server.url(), "--name", "admin", "--password-stdin"];
    let login = home.run_with("pass word\n", &arguments).await;
    assert_eq!(login.expect(0).stdout, "");
    assert!(login.stderr.contains("logged in") && !login.stderr.contains("fresh"), "{}", login.stderr);
    let asked = server.asked_once();
    assert_eq!(asked.body, r#"{"username":"admin","password":"pass word"}"#);
    assert_eq!(asked.header("authorization"), None);
    assert_eq!(std::fs::metadata(home.credentials()).unwrap().mode() & 0o777, 0o600);

    home.run(&["engines"]).await.expect(0);
    assert_eq!(server.asked_once().header("authorization"), Some("Bearer fresh"));
}

#[tokio::test]
async fn what_a_login_warns_of_is_told_once() {
    let warning = "the token could not be stored";
    let body = LOGIN.replace('}', &format!(r#","warning":"{warning}"}}"#));
    for answer in [Answer::json(&body), Answer::json(&body).with_header("x-paas-warning", warning)] {
        let server = Server::start([("POST /auth/login", answer)]).await;
        let arguments = ["login", "--url", &server.url(), "--name", "admin", "--password-stdin"];
        let login = Home::new().run_with("pass word\n", &arguments).await;
        let told = format!("paas-cli: warning: {warning}\nlogged in to ");
        assert!(login.expect(0).stderr.starts_with(&told), "{}", login.stderr);
    }
}

#[tokio::test]
async fn the_password_may_come_from_the_environment() {
    let mut server = server().await;
    let home = Home::new();
    let mut command = home.command(&["login", "--name", "admin", "--output", "json"]);
    command.env("PAAS_PASSWORD", "from env").env("PAAS_URL", server.url());
    let login = finish(command).await;
    assert!(login.expect(0).stdout.contains("\"token\": \"fresh\""), "asked for by --output json");
    assert!(server.asked_once().body.contains("from env"));
}

#[tokio::test]
async fn a_login_needs_a_name_and_a_password() {
    let mut server = server().await;
    let home = Home::new();
    let url = server.url();
    home.run(&["login", "--url", &url, "--name", "admin"]).await.expect(2);
    home.run_with("secret\n", &["login", "--url", &url, "--password-stdin"]).await.expect(2);
    assert!(server.asked().is_empty());
    assert!(!home.credentials().exists());
}

#[tokio::test]
async fn a_wrong_password_keeps_the_last_login() {
    let answer = Answer::problem(401, "wrong_password", "name and password do not fit");
    let server = Server::start([("POST /auth/login", answer)]).await;
    let home = Home::logged_in(&server);
    let done = home.run_with("wrong", &["login", "--name", "admin", "--password-stdin"]).await;
    assert_eq!(done.expect(3).stderr, "paas-cli: name and password do not fit\n");
    assert!(std::fs::read_to_string(home.credentials()).unwrap().contains(TOKEN));
}

#[tokio::test]
async fn a_damaged_login_can_be_written_anew() {
    let server = server().await;
    let home = Home::new();
    std::fs::write(home.credentials(), "token = 7").unwrap();
    let done = home.run(&["engines"]).await;
    assert!(done.expect(1).stderr.contains("paas-cli login"), "{}", done.stderr);
    let arguments = ["login", "--url", &server.url(), "--name", "admin", "--password-stdin"];
    home.run_with("secret\n", &arguments).await.expect(0);
    home.run(&["engines"]).await.expect(0);
    assert_eq!(std::fs::metadata(home.credentials()).unwrap().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn the_token_of_one_server_is_not_sent_to_another() {
    let mut first = server().await;
    let refusal = Answer::problem(401, "unauthenticated", "send a token");
    let mut second = Server::start([("GET /api/engines", refusal)]).await;
    let home = Home::logged_in(&first);
    let done = home.run(&["engines", "--url", &second.url()]).await;
    assert_eq!(second.asked_once().header("authorization"), None);
    let line = done.expect(3).stderr.replace(&first.url(), "FIRST").replace(&second.url(), "SECOND");
    let expected = "not logged in: the last login was at FIRST, and its token is sent nowhere else; run paas-cli login --url SECOND; \
                    or, for servers of one platform, once for all of them: paas-cli login --url FIRST,SECOND";
    assert_eq!(line, format!("paas-cli: {expected}\n"));
    assert!(first.asked().is_empty());
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_token_away() {
    let mut other = server().await;
    let to = format!("{}/api/engines", other.url());
    let server =
        Server::start([("GET /api/engines", Answer::new(307, "text/plain", "").with_header("location", &to))]).await;
    let done = Home::logged_in(&server).run(&["engines"]).await;
    assert!(done.expect(1).stderr.contains(&other.url()), "{}", done.stderr);
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn options_go_before_the_environment_and_that_before_the_login() {
    let mut server = server().await;
    let url = server.url();
    let home = Home::logged_in(&server);
    let mut command = home.command(&["engines"]);
    command.env("PAAS_TOKEN", "of-env");
    finish(command).await.expect(0);
    assert_eq!(server.asked_once().header("authorization"), Some("Bearer of-env"));

    let mut command = home.command(&["engines", "--token", "of-option", "--url", &url]);
    command.env("PAAS_TOKEN", "of-env").env("PAAS_URL", "http://127.0.0.1:9");
    finish(command).await.expect(0);
    assert_eq!(server.asked_once().header("authorization"), Some("Bearer of-option"));

    let mut command = home.command(&["engines"]);
    command.env("PAAS_TOKEN", "").env("PAAS_URL", "").env("PAAS_CA", "");
    finish(command).await.expect(0);
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(server.asked_once().header("authorization"), Some(bearer.as_str()), "empty is not set");
}

#[tokio::test]
async fn a_token_may_begin_with_a_hyphen() {
    let mut server = server().await;
    let home = Home::new();
    for arguments in [["engines", "--token", "-abc"], ["--token", "--abc", "engines"]] {
        home.run(&[&arguments[..], &["--url", &server.url()]].concat()).await.expect(0);
        let token = arguments.iter().find(|word| word.ends_with("abc")).unwrap();
        assert_eq!(server.asked_once().header("authorization"), Some(format!("Bearer {token}").as_str()));
    }
}

#[tokio::test]
async fn a_server_is_known_without_its_scheme() {
    let mut server = server().await;
    let short = server.address.to_string();
    let home = Home::new();
    home.keep_login(&short);
    home.run(&["engines"]).await.expect(0);
    home.run(&["engines", "--url", &short]).await.expect(0);
    let mut command = home.command(&["engines"]);
    command.env("PAAS_URL", &short);
    finish(command).await.expect(0);
    home.run(&["engines", "--url", &server.url()]).await.expect(0);
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    let token = format!("Bearer {TOKEN}");
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some(&token)), "it is the server of the login");

    let login = home.run_with("secret", &["login", "--url", &short, "--name", "admin", "--password-stdin"]).await;
    assert!(login.expect(0).stderr.starts_with(&format!("logged in to http://{short} as admin")), "{}", login.stderr);
}

#[tokio::test]
async fn a_proxy_is_not_asked_for_this_machine() {
    let mut server = server().await;
    let home = Home::logged_in(&server);
    let mut command = home.command(&["engines"]);
    command.env("http_proxy", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9");
    finish(command).await.expect(0);
    server.asked_once();
}

#[tokio::test]
async fn a_token_that_others_can_read_is_warned_about() {
    let server = server().await;
    let home = Home::logged_in(&server);
    std::fs::set_permissions(home.credentials(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let done = home.run(&["engines"]).await;
    assert!(done.expect(0).stderr.contains("others can read the token"), "{}", done.stderr);
}

#[tokio::test]
async fn logout_ends_the_token_and_forgets_it() {
    let mut server = server().await;
    let home = Home::logged_in(&server);
    home.run(&["logout"]).await.expect(0);
    let asked = server.asked_once();
    assert_eq!(asked.line, "POST /account/logout");
    assert_eq!(asked.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert!(!home.credentials().exists());
    home.run(&["logout", "--url", &server.url()]).await.expect(0);
    assert!(server.asked().is_empty(), "there is nothing left to end");
}

#[tokio::test]
async fn logout_forgets_the_token_even_when_the_server_is_away() {
    let home = Home::new();
    home.keep_login("http://127.0.0.1:9");
    let done = home.run(&["logout"]).await;
    assert!(done.expect(1).stderr.contains("forgotten here"), "{}", done.stderr);
    assert!(!home.credentials().exists());
}

#[tokio::test]
async fn logout_of_another_token_keeps_the_login() {
    let mut server = server().await;
    let home = Home::logged_in(&server);
    home.run(&["logout", "--token", "another"]).await.expect(0);
    assert_eq!(server.asked_once().header("authorization"), Some("Bearer another"));
    assert!(home.credentials().exists());
}

#[tokio::test]
async fn passwords_are_changed() {
    let mut server = server().await;
    let home = Home::logged_in(&server);
    home.run_with("old one\nnew one\n", &["passwd"]).await.expect(0);
    assert_eq!(server.asked_once().body, r#"{"password":"new one","old_password":"old one"}"#);

    let mut command = home.command(&["passwd"]);
    command.env("PAAS_PASSWORD", "old").env("PAAS_NEW_PASSWORD", "new");
    finish(command).await.expect(0);
    assert_eq!(server.asked_once().body, r#"{"password":"new","old_password":"old"}"#);

    home.run_with("theirs\n", &["passwd", "--name", "deployer", "--password-stdin"]).await.expect(0);
    assert_eq!(server.asked_once().body, r#"{"password":"theirs","username":"deployer"}"#);

    home.run_with("old one\n", &["passwd"]).await.expect(2);
    assert!(server.asked().is_empty());
}
