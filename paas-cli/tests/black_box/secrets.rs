//! Secrets of applications: the value comes from stdin as it is.

use serde_json::json;

use crate::support::{Answer, Home, Server};

const LIST: &str = r#"[{"name": "url", "versions": [{"version": 2, "created": "2026-01-31T12:00:00Z", "user": "ann", "used": true},
    {"version": 1, "created": "2026-01-30T12:00:00Z", "used": false}]}]"#;

const APP: &str = r#"{"name": "shop", "state": "running", "revision": 4, "ready": 1, "replicas": 1, "components": ["web"],
    "changed": "2026-01-31T12:00:00Z", "last_rollout": {"to": 5, "outcome": "OUTCOME", "ended": "2026-01-31T12:00:09Z"},
    "component": {"web": {"image": "shop:1.9", "declared": 1, "ready": 1, "replicas": []}}}"#;

#[tokio::test]
async fn what_stdin_holds_is_the_value_byte_for_byte() {
    let set = Answer::json(r#"{"version": 3, "changed": true}"#);
    let mut server = Server::start([("PUT /api/apps/shop/secrets/url", set)]).await;
    let home = Home::logged_in(&server);
    for (input, value) in [("hunter2", json!("hunter2")), ("two\nlines\n", json!("two\nlines\n"))] {
        let done = home.run_with(input, &["secret", "set", "shop", "url"]).await;
        assert!(
            done.expect(0).stdout.contains("url is version 3; containers have it from the next deploy"),
            "{}",
            done.stdout
        );
        let asked = server.asked_once();
        assert_eq!(asked.line, "PUT /api/apps/shop/secrets/url");
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body, json!({"value": value, "roll": false, "supersede": false}));
    }
    for (input, said) in [(String::new(), "is empty"), ("x".repeat((64 << 10) + 1), "more than 64 KB")] {
        let refused = home.run_with(&input, &["secret", "set", "shop", "url"]).await;
        assert!(refused.expect(2).stderr.contains(said), "{}", refused.stderr);
        assert!(server.asked().is_empty());
    }
}

#[tokio::test]
async fn a_value_that_is_rolled_out_is_waited_for() {
    for (outcome, status) in [("done", 0), ("rolled-back", 1)] {
        let before = APP.replace("OUTCOME", "done").replace(r#""to": 5"#, r#""to": 4"#);
        let after = Answer::json(&APP.replace("OUTCOME", outcome));
        let set = Answer::json(r#"{"version": 3, "changed": true, "revision": 5}"#);
        let mut server = Server::start([
            ("GET /api/apps/shop", Answer::json(&before).then(after)),
            ("PUT /api/apps/shop/secrets/url", set),
        ])
        .await;
        let done = Home::logged_in(&server).run_with("x", &["secret", "set", "shop", "url", "--roll"]).await;
        assert_eq!(done.expect(status).stdout, "url is version 3; shop: revision 5\n");
        let put = server.asked().into_iter().find(|asked| asked.line.starts_with("PUT")).unwrap();
        assert!(put.body.contains(r#""roll":true"#), "{}", put.body);
    }
}

#[tokio::test]
async fn secrets_are_listed_and_deleted() {
    let mut server = Server::start([
        ("GET /api/apps/shop/secrets", Answer::json(LIST)),
        ("DELETE /api/apps/shop/secrets/url", Answer::new(204, "", "")),
    ])
    .await;
    let home = Home::logged_in(&server);
    let list = home.run(&["secret", "list", "shop"]).await;
    assert!(list.expect(0).stdout.contains("url   2*       2026-01-31T12:00:00Z  ann"), "{}", list.stdout);
    assert_eq!(home.run(&["secret", "list", "shop", "--quiet"]).await.expect(0).stdout, "url\n");
    server.asked();
    home.run(&["secret", "delete", "shop", "url"]).await.expect(0);
    assert_eq!(server.asked_once().line, "DELETE /api/apps/shop/secrets/url");
}
