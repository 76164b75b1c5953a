//! Versions that do not work: each leaves the old one serving, and the rollout says why.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use xtask::bed::Bed;

use super::asking::Asking;
use super::shop::{self, Shop, containers, of, pages, version, web};
use super::support::Api;
use super::support::bed::IMAGE;

/// How many replicas there are.
const REPLICAS: usize = 3;

/// Where each host has a registry that has no image.
const REGISTRY: &str = "127.0.0.1:5000";

/// A version that does not work, and what is to be said of it.
struct Broken {
    what: &'static str,
    component: Value,
    outcome: &'static str,
    /// In the sentence that says why.
    why: &'static [&'static str],
    /// Among the container's last lines, if there was a container.
    last_line: Option<&'static str>,
}

fn broken() -> Vec<Broken> {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut component = version(web(REPLICAS), 2);
        change(&mut component);
        component
    };
    let runs = |script: &str| json!(["sh", "-c", script]);
    vec![
        Broken {
            what: "one that never passes its check",
            outcome: "rolled-back",
            component: with(&|web| {
                web["command"] = runs("echo cannot reach the database; exec httpd -f -p 80 -h /tmp");
                web["health"]["start"] = json!("3s");
            }),
            why: &["web.1.2", "GET / is answered with 404"],
            last_line: Some("cannot reach the database"),
        },
        Broken {
            what: "one that passes its check and dies",
            outcome: "rolled-back",
            component: with(&|web| {
                web["command"] = runs("httpd -p 80 -h /www; sleep 3; echo out of luck >&2; exit 7");
                web["update"]["monitor"] = json!("6s");
            }),
            why: &["web.1.2", "ended with 7 before it was ready"],
            last_line: Some("out of luck"),
        },
        // That says nothing about the version, so nothing is taken back either.
        Broken {
            what: "one whose registry does not answer",
            outcome: "stopped",
            component: with(&|web| web["image"] = json!("127.0.0.1:5999/somebody/made-this:1")),
            why: &["web.1.4 could not be made", "connection refused"],
            last_line: None,
        },
        Broken {
            what: "one that needs more room than there is",
            outcome: "rolled-back",
            component: with(&|web| {
                web["memory"] = json!(10_000_000);
                web["update"]["progress"] = json!("5s");
            }),
            why: &["no host takes web.1", "10000000 MB"],
            last_line: None,
        },
        Broken {
            what: "one whose command of before fails",
            outcome: "rolled-back",
            component: with(&|web| {
                web["before"] =
                    json!({"command": ["sh", "-c", "echo there is no table shops; exit 3"], "timeout": "20s"});
            }),
            why: &["the command before web ended with 3"],
            last_line: Some("there is no table shops"),
        },
    ]
}

/// Starts a registry on a host that says of each image that it has none.
fn start_registry(bed: &Bed, host: usize) {
    let script = r#"busybox mkdir -p /www/v2; echo '{}' > /www/v2/index.html; echo E404:/www/404 > /etc/httpd.conf
        echo '{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}' > /www/404
        exec httpd -f -p 80 -h /www -c /etc/httpd.conf"#;
    let mut run = bed.docker(host);
    run.args(["run", "--detach", "--publish", &format!("{REGISTRY}:80"), IMAGE, "sh", "-c", script]);
    assert!(run.stdout(Stdio::null()).status().unwrap().success());
}

/// Rolls out each of them, of an application of its own.
pub(crate) async fn none_of_them_takes_the_old_one_away(bed: &Bed, api: &Api) {
    (1..=3).for_each(|host| start_registry(bed, host));
    let all = broken().into_iter().enumerate();
    let rolled_out = futures::future::join_all(
        all.map(|(number, broken)| roll_out(Shop::new(api, &format!("broken-{number}")), broken)),
    );
    tokio::join!(rolled_out, what_nobody_has_is_refused(Shop::new(api, "refused")));
}

/// One whose image does not exist is not taken at all, whether it is written with a tag or with a digest.
async fn what_nobody_has_is_refused(shop: Shop) {
    shop.roll_out(of(version(web(REPLICAS), 1))).await;
    let (before, _) = shop.until("at rest", |status| shop::rests_with(status, REPLICAS)).await;
    for image in [":1".to_owned(), format!("@sha256:{}", "a".repeat(64))] {
        let image = format!("{REGISTRY}/nobody/made-this{image}");
        let mut component = version(web(REPLICAS), 2);
        component["image"] = json!(image);
        let refused = shop.put(json!({"app": of(component)})).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.body["field"]),
            (400, &json!("component.web.image")),
            "{}",
            refused.body
        );
        let why = refused.body["detail"].as_str().unwrap();
        assert!(why.contains(&format!("{image} is on no host, and in no registry: ")), "{why}");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = shop.status().await;
    assert_eq!((containers(&after), &after["revision"]), (containers(&before), &before["revision"]), "{after:#}");
    assert_eq!(after["last_rollout"], before["last_rollout"]);
    shop.destroy().await;
}

async fn roll_out(shop: Shop, broken: Broken) {
    let what = broken.what;
    shop.roll_out(of(version(web(REPLICAS), 1))).await;
    let (before, _) = shop.until("at rest", |status| shop::rests_with(status, REPLICAS)).await;
    assert_eq!(pages(&before).len(), REPLICAS, "{before:#}");
    let asking = Asking::begin(pages(&before));
    shop.apply(of(broken.component)).await;
    let ended = shop.until_ended().await;
    println!("{what}: {ended:#}");
    // What stopped is left as it is; and nothing more is tried.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = shop.status().await;
    for (page, heard) in &asking.end().await {
        assert!(heard.missed.is_none() && heard.pages > 10, "{what}: {page} {heard:?}");
    }
    assert_eq!(containers(&after), containers(&before), "{what}: they are the same as before");
    assert_eq!((shop::ready(&after), &ended["outcome"]), (REPLICAS, &json!(broken.outcome)), "{what}: {after:#}");
    let why = ended["why"].as_str().unwrap();
    for part in broken.why {
        assert!(why.contains(part), "{what}: {why:?} does not say {part:?}");
    }
    let lines = ended["output"]["lines"].as_array().cloned().unwrap_or_default();
    match broken.last_line {
        Some(line) => assert!(lines.contains(&json!(line)), "{what}: {ended}"),
        None => assert!(lines.is_empty(), "{what}: {ended}"),
    }
    shop.destroy().await;
}
