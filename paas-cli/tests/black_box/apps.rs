//! Applications, apart from deploying them.

use serde_json::Value;

use crate::support::{Answer, Home, Server};

const APP: &str = r#"{"name": "shop", "state": "running", "revision": 4, "ready": 1, "replicas": 1, "components": ["web"],
    "changed": "2026-01-31T12:00:00Z", "last_rollout": {"to": 4, "outcome": "done", "ended": "2026-01-31T12:00:09Z"},
    "component": {"web": {"image": "shop:1.9", "declared": 1, "ready": 1, "replicas": [
    {"slot": 1, "revision": 4, "engine": "a", "name": "shop.web.1.1", "state": "ready"}]}}, "later": 1.50}"#;

const REVISION: &str = r#"{"revision": 4, "created": "2026-01-31T12:00:00Z", "images": {"web": "shop:1.9"}, "current": true,
    "app": {"app": "shop", "component": {"web": {"image": "shop:1.9", "replicas": 1, "command": [], "env": {"A": "1"}}}}}"#;

const APPLIED: &str = r#"{"revision": 5, "changed": true}"#;

#[tokio::test]
async fn every_list_and_thing_is_shown() {
    let summary = format!("[{APP}]");
    let revisions = format!("[{REVISION}]");
    let diff = r#"[{"field": "component.web.image", "old": "shop:1.8", "new": "shop:1.9", "new_containers": true}]"#;
    let mut server = Server::start([
        ("GET /api/apps", Answer::json(&summary)),
        ("GET /api/apps/shop", Answer::json(APP)),
        ("GET /api/apps/shop/revisions", Answer::json(&revisions)),
        ("GET /api/apps/shop/revisions/3", Answer::json(REVISION)),
        ("GET /api/apps/shop/diff", Answer::json(diff)),
    ])
    .await;
    let home = Home::logged_in(&server);
    for (arguments, asked, told, ids) in [
        (&["app", "list"][..], "GET /api/apps", "shop  running  4         1/1", "shop\n"),
        (&["app", "show", "shop"], "GET /api/apps/shop", "web.1    ready  4         a     shop.web.1.1", "shop\n"),
        (&["app", "rollout", "shop"], "GET /api/apps/shop", "last rollout: revision 4, done at", "shop\n"),
        (&["app", "history", "shop"], "GET /api/apps/shop/revisions", "web=shop:1.9", "4\n"),
        (
            &["app", "diff", "shop", "3", "4"],
            "GET /api/apps/shop/diff?from=3&to=4",
            "~ component.web.image  shop:1.8 → shop:1.9   new containers",
            "component.web.image\n",
        ),
        (
            &["app", "export", "shop", "--revision", "3"],
            "GET /api/apps/shop/revisions/3",
            "[component.web]\nimage = \"shop:1.9\"",
            "shop\n",
        ),
    ] {
        let table = home.run(arguments).await;
        assert!(table.expect(0).stdout.contains(told), "{arguments:?}: {}", table.stdout);
        assert_eq!(server.asked_once().line, asked);
        let quiet = home.run(&[arguments, &["--quiet"]].concat()).await;
        assert_eq!(quiet.expect(0).stdout, ids, "{arguments:?}");
        let json = home.run(&[arguments, &["--output=json"]].concat()).await;
        assert!(serde_json::from_str::<Value>(&json.expect(0).stdout).is_ok(), "{arguments:?}: {}", json.stdout);
        server.asked();
    }
    let json = home.run(&["app", "show", "shop", "--output", "json"]).await;
    assert!(json.expect(0).stdout.contains("\"later\": 1.50"), "it is the answer of the server: {}", json.stdout);
}

#[tokio::test]
async fn without_a_number_the_revision_that_is_to_run_is_exported() {
    let mut server = Server::start([
        ("GET /api/apps/shop", Answer::json(APP)),
        ("GET /api/apps/shop/revisions/4", Answer::json(REVISION)),
    ])
    .await;
    let done = Home::logged_in(&server).run(&["app", "export", "shop"]).await;
    assert!(done.expect(0).stdout.starts_with("app = \"shop\"\n"), "{}", done.stdout);
    assert!(!done.stdout.contains("command"), "what is empty is left out: {}", done.stdout);
    assert_eq!(server.asked()[1].line, "GET /api/apps/shop/revisions/4");
}

#[tokio::test]
async fn changes_say_what_is_wanted_and_are_waited_for() {
    let mut server = Server::start([
        ("GET /api/apps/shop", Answer::json(APP)),
        ("POST /api/apps/shop/rollback", Answer::json(APPLIED)),
        ("POST /api/apps/shop/scale", Answer::json(APPLIED)),
        ("POST /api/apps/shop/restart", Answer::json(APPLIED)),
    ])
    .await;
    let home = Home::logged_in(&server);
    for (arguments, body) in [
        (&["app", "rollback", "shop"][..], r#"{"to":null,"supersede":false}"#),
        (&["app", "rollback", "shop", "3", "--supersede"], r#"{"to":3,"supersede":true}"#),
        (&["app", "scale", "shop/web", "5"], r#"{"component":"web","replicas":5}"#),
        (&["app", "scale", "shop", "0"], r#"{"component":null,"replicas":0}"#),
        (&["app", "restart", "shop"], r#"{"supersede":false}"#),
    ] {
        let done = home.run(arguments).await;
        assert_eq!(done.expect(0).stdout, "shop: revision 5\n", "{arguments:?}");
        assert_eq!(done.stderr, "shop runs revision 4, 1 of 1 replicas ready\n");
        let asked = server.asked();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert_eq!(asked[1].line, format!("POST /api/apps/shop/{}", arguments[1]));
        assert_eq!(asked[1].body, body);
        let alone = home.run(&[arguments, &["--no-wait"]].concat()).await;
        assert_eq!((alone.expect(0).stderr.as_str(), server.asked().len()), ("", 2));
    }
}

#[tokio::test]
async fn a_rollback_that_does_not_get_there_is_a_failure() {
    for (outcome, status) in [("done", 0), ("rolled-back", 1), ("stopped", 1)] {
        let ended = APP.replace(r#""to": 4, "outcome": "done""#, &format!(r#""to": 5, "outcome": "{outcome}""#));
        let answers = Answer::json(APP).then(Answer::json(&ended));
        let server =
            Server::start([("GET /api/apps/shop", answers), ("POST /api/apps/shop/rollback", Answer::json(APPLIED))])
                .await;
        Home::logged_in(&server).run(&["app", "rollback", "shop"]).await.expect(status);
    }
}

#[tokio::test]
async fn an_application_is_stopped_and_started() {
    let mut server = Server::start([
        ("POST /api/apps/shop/stop", Answer::json(APPLIED).then(Answer::json(r#"{"revision": 5, "changed": false}"#))),
        ("POST /api/apps/shop/start", Answer::json(APPLIED)),
    ])
    .await;
    let home = Home::logged_in(&server);
    assert_eq!(home.run(&["app", "stop", "shop"]).await.expect(0).stdout, "shop is being stopped\n");
    assert_eq!(home.run(&["app", "stop", "shop"]).await.expect(0).stdout, "shop is stopped already\n");
    assert_eq!(home.run(&["app", "start", "shop"]).await.expect(0).stdout, "shop is being started (revision 5)\n");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn an_application_is_removed_only_with_a_yes() {
    let mut server = Server::start([("DELETE /api/apps/shop", Answer::done())]).await;
    let home = Home::logged_in(&server);
    let refused = home.run(&["app", "destroy", "shop", "--delete-volumes"]).await;
    let told = "paas-cli: this removes shop and its volumes; add --yes to do so\n";
    assert_eq!((refused.expect(2).stderr.as_str(), server.asked().len()), (told, 0));
    assert_eq!(
        home.run(&["app", "destroy", "shop", "--yes"]).await.expect(0).stderr,
        "shop is being removed; 'paas-cli app list' shows it until it is gone\n"
    );
    assert_eq!(server.asked_once().line, "DELETE /api/apps/shop?delete_volumes=false");
    home.run(&["app", "destroy", "shop", "--yes", "--delete-volumes"]).await.expect(0);
    assert_eq!(server.asked_once().line, "DELETE /api/apps/shop?delete_volumes=true");
}

#[tokio::test]
async fn the_output_of_replicas_is_written_as_it_comes() {
    let text = "web.1 | one\nweb.2 | two\n";
    let mut server = Server::start([("GET /api/apps/shop/logs", Answer::new(200, "text/plain", text))]).await;
    let home = Home::logged_in(&server);
    assert_eq!(home.run(&["app", "logs", "shop"]).await.expect(0).stdout, text);
    assert_eq!(server.asked_once().line, "GET /api/apps/shop/logs");
    let since = ["--since", "2026-01-31T12:00:00Z"];
    let arguments = [&["app", "logs", "shop/web", "--follow", "--tail", "5", "-t"][..], &since].concat();
    home.run(&arguments).await.expect(0);
    let query = "component=web&follow=true&timestamps=true&tail=5&since=2026-01-31T12%3A00%3A00Z";
    assert_eq!(server.asked_once().line, format!("GET /api/apps/shop/logs?{query}"));
    home.run(&["app", "logs", "shop", "--previous", "-n", "5"]).await.expect(0);
    assert_eq!(server.asked_once().line, "GET /api/apps/shop/logs?tail=5&previous=true");
    home.run(&["app", "logs", "shop", "--previous", "--follow"]).await.expect(2);
}

#[tokio::test]
async fn a_rollout_is_followed_to_its_end() {
    let rolling = APP.replace(
        r#""last_rollout""#,
        r#""rollout": {"to": 4, "reason": "apply", "started": "2026-01-31T12:00:00Z"}, "last_rollout""#,
    );
    let answer = Answer::json(&rolling.replace("\"ready\"}", "\"starting\"}")).then(Answer::json(APP));
    let server = Server::start([("GET /api/apps/shop", answer)]).await;
    let done = Home::logged_in(&server).run(&["app", "rollout", "shop", "--follow"]).await;
    assert_eq!(
        done.expect(0).stderr,
        "web.1 on a: starting, revision 4\nweb.1 on a: ready, revision 4\nshop runs revision 4, 1 of 1 replicas ready\n"
    );
    let stopped = APP.replace(r#""outcome": "done""#, r#""outcome": "stopped", "why": "no room""#);
    let server = Server::start([("GET /api/apps/shop", Answer::json(&stopped))]).await;
    let done = Home::logged_in(&server).run(&["app", "rollout", "shop", "-f", "-q"]).await;
    let told = "paas-cli: the rollout of shop stopped: no room; 'paas-cli app show shop' shows what runs\n";
    assert_eq!(done.expect(1).stderr, told);
}

#[tokio::test]
async fn the_platform_is_told_about_its_hosts() {
    let mut server = Server::start([
        ("POST /api/engines/b/lost", Answer::json(r#"["shop db data.1"]"#)),
        ("POST /api/reconcile/heal", Answer::done()),
        ("POST /api/reconcile/resume", Answer::done()),
    ])
    .await;
    let home = Home::logged_in(&server);
    let lost = home.run(&["host", "lost", "b", "--lose-volumes", "-y"]).await;
    assert_eq!(lost.expect(0).stdout, "shop db data.1\n");
    assert_eq!(lost.stderr, "host b counts as lost, and with it a volume\n");
    assert_eq!(server.asked_once().line, "POST /api/engines/b/lost?lose_volumes=true");
    home.run(&["heal", "--now"]).await.expect(0);
    assert_eq!(server.asked_once().line, "POST /api/reconcile/heal");
    home.run(&["reconcile", "resume"]).await.expect(0);
    assert_eq!(server.asked_once().line, "POST /api/reconcile/resume");
}

#[tokio::test]
async fn what_is_to_be_done_for_all_applications_is_shown() {
    let plans = r#"[{"app": "shop", "base": 3, "changes": [], "steps": [
        {"action": "create web.1.2 on a, revision 3", "cause": "its container is gone", "choice": "", "waits": false, "adds": true}
    ]}, {"app": "blog", "base": 1, "changes": [], "steps": []}]"#;
    let mut server = Server::start([("GET /api/reconcile/plan", Answer::json(plans).then(Answer::json(plans)))]).await;
    let home = Home::logged_in(&server);
    let shown = home.run(&["app", "plan", "--all"]).await;
    assert!(shown.expect(0).stdout.ends_with("\n\nblog is up to date (revision 1)\n"), "{}", shown.stdout);
    assert_eq!(server.asked_once().line, "GET /api/reconcile/plan");
    home.run(&["app", "plan", "--all", "--exit-code"]).await.expect(6);
    home.run(&["app", "plan", "--all", "--adopt"]).await.expect(2);
}

#[tokio::test]
async fn what_moves_is_shown_with_what_it_gains() {
    let moved = r#"[{"app": "shop", "replica": "web.1", "from": "a", "to": "b", "gain": 12.5}]"#;
    let mut server = Server::start([(
        "POST /api/reconcile/rebalance",
        Answer::json(moved).then(Answer::json(moved)).then(Answer::json("[]")),
    )])
    .await;
    let home = Home::logged_in(&server);
    let dry = home.run(&["rebalance", "--dry-run"]).await;
    assert_eq!(dry.expect(0).stdout, "REPLICA     FROM  TO  GAIN\nshop/web.1  a     b   12.5\n");
    assert_eq!(server.asked_once().line, "POST /api/reconcile/rebalance?dry_run=true");
    assert_eq!(home.run(&["rebalance", "-q"]).await.expect(0).stdout, "shop/web.1\n");
    assert_eq!(server.asked_once().line, "POST /api/reconcile/rebalance?dry_run=false");
    let nothing = home.run(&["rebalance"]).await;
    assert_eq!(nothing.expect(0).stdout, "");
    assert!(nothing.stderr.starts_with("nothing moves"), "{}", nothing.stderr);
}

#[tokio::test]
async fn an_application_that_is_not_there_has_its_status() {
    let server = Server::start([(
        "GET /api/apps/shop",
        Answer::problem(
            404,
            "app_not_found",
            "there is no application 'shop'; list the applications to see their names",
        ),
    )])
    .await;
    let home = Home::logged_in(&server);
    for arguments in [&["app", "show", "shop"][..], &["app", "export", "shop"], &["app", "rollout", "shop", "-f"]] {
        let done = home.run(arguments).await;
        let told = "paas-cli: there is no application 'shop'; list the applications to see their names\n";
        assert_eq!(done.expect(4).stderr, told);
    }
}

/// What a shell offers for a line that is typed, with the program on its path. `None` where there is no such shell.
async fn offered(home: &Home, shell: &str, line: &str) -> Option<String> {
    let script = home.run(&["completion", shell]).await;
    let file = home.credentials().with_file_name(format!("completion.{shell}"));
    std::fs::write(&file, &script.expect(0).stdout).unwrap();
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_paas-cli"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let commands = match shell {
        "bash" => format!(
            "source {}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _paas__cli_and_names paas-cli \
             \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[*]}}\"",
            file.display()
        ),
        _ => format!("source {}; complete -C '{line}' | string join ' '", file.display()),
    };
    let mut command = tokio::process::Command::new(shell);
    command.args(["-c", &commands]).env("PATH", path).env("PAAS_CONFIG_DIR", file.parent().unwrap());
    command.env("HOME", file.parent().unwrap());
    match command.output().await {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
        Err(_) => {
            eprintln!("SKIPPED: there is no {shell}");
            None
        }
    }
}

#[tokio::test]
async fn a_shell_completes_the_names_of_applications() {
    let summary = format!("[{APP}, {}]", APP.replace(r#""name": "shop""#, r#""name": "blog""#));
    let server = Server::start([("GET /api/apps", Answer::json(&summary))]).await;
    let home = Home::logged_in(&server);
    for shell in ["bash", "fish"] {
        for (line, expected) in
            [("paas-cli app show s", "shop"), ("paas-cli app logs --follow b", "blog"), ("paas-cli exec sh", "shop")]
        {
            if let Some(offered) = offered(&home, shell, line).await {
                assert_eq!(offered, expected, "{shell}: {line}");
            }
        }
    }
    let nobody = Home::new();
    if let Some(offered) = offered(&nobody, "bash", "paas-cli app show s").await {
        assert_eq!(offered, "", "without a login there are no names, and no error");
    }
}
