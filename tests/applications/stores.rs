//! A store that is older than what runs, and one that is empty: nothing happens unasked, and no database starts twice.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use xtask::bed::{Bed, Hosts};

use super::shop::{Found, Shop, found, of, version, web};
use super::support::bed::{self, IMAGE};
use super::support::{Server, eventually, program};

const HOSTS: [usize; 2] = [1, 2];

/// A web server, and something with a volume: one that writes into it each time that it starts.
fn shop_with_database(number: usize) -> Value {
    let mut app = of(version(web(2), number));
    app["component"]["db"] = json!({
        "image": IMAGE,
        "command": ["sh", "-c", "echo started >> /data/starts; exec sleep 100000"],
        "memory": 16,
        "cpus": 0.05,
        "volumes": ["data:/data"],
        "stop": {"signal": "SIGKILL", "grace": "1s"},
        "update": {"monitor": "0s"},
    });
    app
}

async fn containers(bed: &Bed) -> Vec<Found> {
    let mut all = found(bed, &HOSTS, "shop").await;
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn names(found: &[Found]) -> Vec<String> {
    found.iter().map(|one| format!("{} {}", one.name, if one.runs { "runs" } else { "does not run" })).collect()
}

async fn databases(bed: &Bed) -> Vec<Found> {
    containers(bed).await.into_iter().filter(|one| one.slot == "db.1" && one.runs).collect()
}

/// How often something started on the volume of the database.
fn starts(bed: &Bed, database: &Found) -> usize {
    let output = bed.docker(database.host).args(["exec", &database.id, "cat", "/data/starts"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().count()
}

fn remove(bed: &Bed, container: &Found) {
    let removed = bed.docker(container.host).args(["rm", "--force", &container.id]).stdout(Stdio::null()).status();
    assert!(removed.unwrap().success());
}

fn store(server: &Server, arguments: &[&str]) {
    let mut command = Command::new(program("paas-server"));
    command.arg("store").args(arguments).arg("--data-dir").arg(server.data());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn lose_store(server: &Server) {
    for file in ["paas.db", "paas.db-wal", "paas.db-shm"] {
        let _ = std::fs::remove_file(server.data().join(file));
    }
}

async fn hosts_are_up(api: &super::support::Api) {
    for host in HOSTS {
        bed::until(api, host, "up").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_store_does_nothing_unasked_and_an_empty_one_adopts_what_runs() {
    const NAME: &str = "an_old_store_does_nothing_unasked_and_an_empty_one_adopts_what_runs";
    let Some(bed) = bed::up(NAME, Hosts::new(2)).await else { return };
    let (mut server, api) = bed::serve(&bed, 2).await;
    let mut shop = Shop::new(&api, "shop");
    shop.roll_out(shop_with_database(1)).await;
    let backup = server.folder.path().join("yesterday").display().to_string();
    server.kill();
    store(&server, &["backup", &backup]);
    server.start_again().await;
    hosts_are_up(&api).await;

    // What happens after the backup: containers are made again, and there is another version.
    let database = databases(&bed).await.remove(0);
    remove(&bed, &database);
    assert!(eventually(Duration::from_secs(20), || async { databases(&bed).await.len() == 1 }).await);
    shop.until("at rest", |status| status["state"] == "running").await;
    shop.roll_out(shop_with_database(2)).await;
    let before = containers(&bed).await;
    println!("before: {:?}", names(&before));
    assert_eq!(starts(&bed, &databases(&bed).await[0]), 2);

    server.kill();
    lose_store(&server);
    store(&server, &["restore", &backup]);
    server.start_again().await;
    let api = server.admin().await;
    hosts_are_up(&api).await;
    shop.api = api;
    // Somebody removes something meanwhile.
    remove(&bed, before.iter().find(|one| one.slot == "web.2").unwrap());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = shop.status().await;
    println!("restored: {status:#}");
    assert!(status["notes"].to_string().contains("reconcile resume"), "{status:#}");
    let left: Vec<Found> = before.iter().filter(|one| one.slot != "web.2").cloned().collect();
    assert_eq!(names(&containers(&bed).await), names(&left), "nothing is done unasked");

    let resumed = shop.api.call("/api/reconcile/resume").await;
    assert!(resumed.status.is_success(), "{resumed:?}");
    shop.until("resumed", |status| status["component"]["web"]["ready"] == 2).await;
    // The database is another one than the store knows: it goes on, no second one starts, and it is said why.
    let only = databases(&bed).await;
    assert_eq!((only.len(), starts(&bed, &only[0])), (1, 2));
    let status = shop.status().await;
    let reason = status["component"]["db"]["replicas"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("orphaned: no record names db.1.2"), "{status:#}");
    let adopted = shop.put(json!({"app": shop_with_database(1), "adopt": true})).await;
    assert_eq!((adopted.status.as_u16(), &adopted.body["changed"]), (200, &json!(true)), "{adopted:?}");
    shop.until("adopted", |status| status["state"] == "running" && status["ready"] == 3).await;
    assert_eq!(databases(&bed).await[0].id, only[0].id);
    println!("resumed and adopted: {:?}", names(&containers(&bed).await));

    // Of what the old version left running nothing is wanted any more.
    for stranger in containers(&bed).await.iter().filter(|one| one.slot == "web.1" && one.id == before[1].id) {
        remove(&bed, stranger);
    }
    the_empty_store(&bed, &mut server, &mut shop).await;
}

/// A server whose store is empty, beside what runs.
async fn the_empty_store(bed: &Bed, server: &mut Server, shop: &mut Shop) {
    let before = containers(bed).await;
    let platform = bed
        .docker(before[0].host)
        .args(["inspect", "--format", "{{index .Config.Labels \"paas.platform\"}}"])
        .arg(&before[0].id)
        .output();
    let platform = String::from_utf8(platform.unwrap().stdout).unwrap().trim().to_owned();
    server.kill();
    lose_store(server);
    server.start_again_with(&["--platform", &platform]).await;
    shop.api = server.admin().await;
    hosts_are_up(&shop.api).await;
    let listed = shop.api.get("/api/apps").await.body;
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&json!("shop"), &json!("orphaned")), "{listed:#}");
    let adopted = shop.put(json!({"app": shop_with_database(1), "adopt": true})).await;
    assert_eq!(adopted.status, 200, "{adopted:?}");
    shop.until("adopted", |status| status["state"] == "running" && status["ready"] == 3).await;
    let database = databases(bed).await;
    assert_eq!((database.len(), starts(bed, &database[0])), (1, 2), "it never started again");
    assert_eq!(names(&containers(bed).await), names(&before), "they are the same, and there are no others");
}
