//! Versions that do not work: each leaves the old one serving, and the rollout says why.

use std::time::Duration;

use serde_json::{Value, json};
use xtask::bed::Hosts;

use super::asking::Asking;
use super::shop::{self, Shop, containers, of, pages, version, web};
use super::support::bed;

/// How many replicas there are.
const REPLICAS: usize = 3;

/// A version that does not work, and what is to be said of it.
struct Broken {
    what: &'static str,
    component: Value,
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
            component: with(&|web| {
                web["command"] = runs("echo cannot reach the database; exec httpd -f -p 80 -h /tmp");
                web["health"]["start"] = json!("3s");
            }),
            why: &["web.1.2", "GET / is answered with 404"],
            last_line: Some("cannot reach the database"),
        },
        Broken {
            what: "one that passes its check and dies",
            component: with(&|web| {
                web["command"] = runs("httpd -p 80 -h /www; sleep 3; echo out of luck >&2; exit 7");
                web["update"]["monitor"] = json!("6s");
            }),
            why: &["web.1.2", "ended with 7 before it was ready"],
            last_line: Some("out of luck"),
        },
        Broken {
            what: "one whose image does not exist",
            component: with(&|web| web["image"] = json!("127.0.0.1:5999/nobody/made-this:1")),
            why: &["web.1.2 could not be made", "nobody/made-this:1"],
            last_line: None,
        },
        Broken {
            what: "one that needs more room than there is",
            component: with(&|web| {
                web["memory"] = json!(10_000_000);
                web["update"]["progress"] = json!("5s");
            }),
            why: &["room", "10000000 MB"],
            last_line: None,
        },
        Broken {
            what: "one whose command of before fails",
            component: with(&|web| {
                web["before"] =
                    json!({"command": ["sh", "-c", "echo there is no table shops; exit 3"], "timeout": "20s"});
            }),
            why: &["the command of before", "ended with 3"],
            last_line: Some("there is no table shops"),
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_work_leaves_the_old_one_serving_and_says_why() {
    const NAME: &str = "a_version_that_does_not_work_leaves_the_old_one_serving_and_says_why";
    let Some(bed) = bed::up(NAME, Hosts::new(3)).await else { return };
    let (_server, api) = bed::serve(&bed, 3).await;
    for broken in broken() {
        let shop = Shop::new(&api, "shop");
        shop.roll_out(of(version(web(REPLICAS), 1))).await;
        let (before, _) = shop.until("at rest", |status| shop::rests_with(status, REPLICAS)).await;
        assert_eq!(pages(&before).len(), REPLICAS, "{before:#}");
        let asking = Asking::begin(pages(&before));
        shop.apply(of(broken.component)).await;
        let ended = shop.until_ended().await;
        println!("{}: {ended:#}", broken.what);
        // What is kept to be looked at may still be stopping.
        let (after, _) = shop.until("at rest", |status| shop::rests_with(status, REPLICAS)).await;
        let heard = asking.end().await;
        for (page, heard) in &heard {
            assert!(heard.missed.is_none() && heard.pages > 10, "{}: {page} {heard:?}", broken.what);
        }
        assert_eq!(containers(&after), containers(&before), "{}: they are the same as before", broken.what);
        assert_eq!(ended["outcome"], "rolled-back", "{}: {ended}", broken.what);
        let why = ended["why"].as_str().unwrap();
        for part in broken.why {
            assert!(why.contains(part), "{}: {why:?} does not say {part:?}", broken.what);
        }
        let lines = ended["output"]["lines"].as_array().cloned().unwrap_or_default();
        match broken.last_line {
            Some(line) => assert!(lines.contains(&json!(line)), "{}: {ended}", broken.what),
            None => assert!(lines.is_empty(), "{}: {ended}", broken.what),
        }
        shop.destroy().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
