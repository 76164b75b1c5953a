//! A tag of an image that no registry has is moved on one of the hosts.

use serde_json::json;
use xtask::bed::Bed;

use super::shop::{Shop, found, of, until_at_rest, web};
use super::support::Api;
use super::support::bed::IMAGE;

const TAG: &str = "moved:1";
/// How many replicas there are: one on each host.
const REPLICAS: usize = 3;

fn docker(bed: &Bed, host: usize, arguments: &[&str]) -> String {
    let done = bed.docker(host).args(arguments).output().unwrap();
    assert!(done.status.success(), "docker {arguments:?} on {host}: {done:?}");
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// The hosts of the replicas, each with the id of what it was made of.
async fn what_runs(bed: &Bed, shop: &Shop) -> Vec<(usize, String)> {
    let all = found(bed, &[1, 2, 3], &shop.name).await;
    all.iter()
        .map(|found| (found.host, docker(bed, found.host, &["inspect", "--format", "{{.Image}}", &found.id])))
        .collect()
}

/// What a revision runs is one image, whatever the tag points to on a host; and what it points to is taken when that is asked for.
pub(crate) async fn a_tag_that_is_moved_on_a_host_changes_no_revision(bed: &Bed, api: &Api) {
    for host in 1..=3 {
        docker(bed, host, &["tag", IMAGE, TAG]);
    }
    let shop = Shop::new(api, "moved");
    let mut component = web(REPLICAS);
    component["image"] = json!(TAG);
    let app = of(component);
    shop.roll_out(app.clone()).await;
    until_at_rest(bed, &[1, 2, 3], &shop, REPLICAS).await;
    let declared = docker(bed, 1, &["inspect", "--format", "{{.Id}}", IMAGE]);
    assert!(what_runs(bed, &shop).await.iter().all(|(_, image)| *image == declared));

    let other = docker(bed, 2, &["create", IMAGE]);
    let moved = docker(bed, 2, &["commit", "--change", "ENV MOVED=1", &other, TAG]);
    docker(bed, 2, &["rm", &other]);
    let there = found(bed, &[2], &shop.name).await;
    assert!(!there.is_empty());
    for container in there {
        docker(bed, 2, &["rm", "--force", &container.id]);
    }
    until_at_rest(bed, &[1, 3], &shop, REPLICAS).await;
    assert!(what_runs(bed, &shop).await.iter().all(|(host, image)| *host != 2 && *image == declared));
    let applied = shop.put(json!({"app": app})).await;
    assert_eq!((applied.status.as_u16(), &applied.body["changed"]), (200, &json!(false)), "{}", applied.body);
    let plan = api.post(&format!("{}/plan", shop.path()), json!({"app": app})).await.body;
    let note = plan["notes"][0].as_str().unwrap();
    assert!(note.contains("bed2 has another image under that name") && note.contains("--refresh-images"), "{plan:#}");

    let refreshed = shop.put(json!({"app": app, "refresh_images": true})).await;
    assert_eq!((refreshed.status.as_u16(), &refreshed.body["changed"]), (200, &json!(true)), "{}", refreshed.body);
    let ended = shop.until_ended().await;
    assert_eq!(ended["outcome"], "done", "{ended:#}");
    until_at_rest(bed, &[2], &shop, REPLICAS).await;
    assert!(what_runs(bed, &shop).await.iter().all(|running| *running == (2, moved.clone())));
    shop.destroy().await;
}
