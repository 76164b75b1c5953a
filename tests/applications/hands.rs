//! People who stop, kill, remove, pause and rename containers by hand, and several of them who apply at once.

use std::process::Command;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::IndexedRandom;
use serde_json::json;
use xtask::bed::Bed;

use super::shop::{self, Found, Shop, found, of, until_at_rest, version, web};
use super::support::Api;

/// How many replicas there are.
const REPLICAS: usize = 6;
/// How long people interfere, seconds, once a second.
const SECONDS: usize = 25;

/// What people do to a container.
const DEEDS: [&str; 5] = ["rm", "stop", "kill", "pause", "rename"];

fn interfere(bed: &Bed, container: &Found, deed: &str) -> bool {
    let mut docker: Command = bed.docker(container.host);
    match deed {
        "rm" => docker.args(["rm", "--force", &container.id]),
        "stop" => docker.args(["stop", "--time", "1", &container.id]),
        "rename" => docker.args(["rename", &container.id, &format!("by-hand-{}", &container.id[..6])]),
        other => docker.args([other, &container.id]),
    };
    // What the platform just took away itself cannot be interfered with.
    docker.output().unwrap().status.success()
}

/// Whatever people do to containers by hand is put right and told.
pub(crate) async fn interfere_all_the_time(bed: &Bed, api: &Api) {
    let shop = Shop::new(api, "shop");
    shop.roll_out(of(web(REPLICAS))).await;
    until_at_rest(bed, &[1, 2, 3], &shop, REPLICAS).await;
    let mut done = Vec::new();
    for second in 0..SECONDS {
        let begun = Instant::now();
        let running: Vec<Found> =
            found(bed, &[1, 2, 3], "shop").await.into_iter().filter(|container| container.runs).collect();
        let deed = DEEDS[second % DEEDS.len()];
        if let Some(victim) = running.choose(&mut rand::rng()).cloned()
            && interfere(bed, &victim, deed)
        {
            done.push((deed, victim));
        }
        let left = Duration::from_secs(1).saturating_sub(begun.elapsed());
        tokio::time::sleep(left + Duration::from_millis(rand::rng().random_range(0..50))).await;
    }
    let took = until_at_rest(bed, &[1, 2, 3], &shop, REPLICAS).await;
    println!("{} deeds; at rest {took:?} after the last", done.len());
    assert!(done.len() > SECONDS * 3 / 4, "{done:?}");
    let events = shop.events(1000).await;
    for (number, (deed, victim)) in done.iter().enumerate() {
        let replica = format!("{}.{} on bed{}", victim.slot, victim.name.rsplit('.').next().unwrap(), victim.host);
        let told = match *deed {
            "rm" => events.iter().any(|event| {
                event.starts_with(&format!("shop: create {}.", victim.slot)) && event.contains("its container is gone")
            }),
            "pause" => events.contains(&format!("shop: start {replica}: it is paused")),
            "rename" => {
                events.iter().any(|event| event.starts_with(&format!("shop: rename {replica}: it is called by-")))
            }
            _ => events.iter().any(|event| event.starts_with(&format!("shop: start {replica}: it ended"))),
        };
        // What somebody did next may have been quicker than the platform.
        let is_undone = done[number + 1..].iter().any(|(_, later)| later.id == victim.id);
        assert!(told || is_undone, "nothing tells of {deed} of {replica}: {events:#?}");
    }
}

/// Of two who apply at once one wins, and the other is told.
pub(crate) async fn apply_at_once(bed: &Bed, api: &Api) {
    let shop = Shop::new(api, "contended");
    let base = shop.roll_out(of(version(web(2), 1))).await;
    for round in 0..2 {
        let newest = shop.status().await["revision"].as_u64().unwrap();
        let request = |person: usize| json!({"app": of(version(web(2), 10 * round + person)), "base": newest});
        let (one, other) = tokio::join!(shop.put(request(2)), shop.put(request(3)));
        let (winner, loser) = if one.status == 200 { (one, other) } else { (other, one) };
        assert_eq!((winner.status.as_u16(), loser.status.as_u16()), (200, 409), "{winner:?} {loser:?}");
        assert_eq!(loser.body["code"], "app_changed", "{loser:?}");
        assert_eq!(winner.body["revision"], newest + 1);
        // Without a base, what is under way stands in the way.
        let third = shop.put(json!({"app": of(version(web(2), 99))})).await;
        assert_eq!((third.status.as_u16(), &third.body["code"]), (409, &json!("rollout_under_way")), "{third:?}");
        let ended = shop.until_ended().await;
        assert_eq!((&ended["outcome"], &ended["to"]), (&json!("done"), &json!(newest + 1)));
    }
    let last = shop.status().await["revision"].as_u64().unwrap();
    let old = shop.put(json!({"app": of(version(web(2), 77)), "base": base})).await;
    assert_eq!((old.status.as_u16(), &old.body["code"]), (409, &json!("app_changed")), "{old:?}");
    // The same again, at once and afterwards, is once.
    let same = json!({"app": of(version(web(2), 78))});
    let (one, other) = tokio::join!(shop.put(same.clone()), shop.put(same.clone()));
    let changed = [one, other].map(|answer| (answer.status.as_u16(), answer.body["changed"].clone()));
    println!("the same twice at once: {changed:?}");
    let ended = shop.until_ended().await;
    assert_eq!((&ended["outcome"], &ended["to"]), (&json!("done"), &json!(last + 1)));
    let before = shop::containers(&shop.status().await);
    let again = shop.put(same).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &json!({"revision": last + 1, "changed": false})));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let status = shop.status().await;
    assert_eq!((shop::containers(&status), shop::ready(&status)), (before, 2));
    until_at_rest(bed, &[1, 2, 3], &shop, 2).await;
}
