//! One version after the other, with one among them that does not work.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use paas_core::testing::tier;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use xtask::bed::Bed;

use super::shop::{self, Shop, of, until_at_rest, version, web};
use super::support::Api;

/// How many replicas there are.
const REPLICAS: usize = 3;
/// How many versions are rolled out. The middle of what that takes is told.
const VERSIONS: usize = 3;

/// There are never fewer ready replicas than are to be.
pub(crate) async fn roll_out_one_after_the_other(bed: &Bed, api: &Api) {
    let shop = Shop::new(api, "rolling");
    shop.roll_out(of(version(web(REPLICAS), 0))).await;
    let (fewest, stop) = (Arc::new(AtomicUsize::new(usize::MAX)), CancellationToken::new());
    let watching = tokio::spawn({
        let (shop, fewest, stop) = (shop.clone(), fewest.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                fewest.fetch_min(shop::ready(&shop.status().await), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    let versions = tier::rounds(VERSIONS);
    let mut took = Vec::new();
    for number in 1..=versions {
        if number == versions.div_ceil(2) {
            let mut broken = version(web(REPLICAS), 1000);
            broken["command"] = json!(["sh", "-c", "exit 1"]);
            shop.apply(of(broken)).await;
            assert_eq!(shop.until_ended().await["outcome"], "rolled-back");
        }
        let begun = Instant::now();
        shop.roll_out(of(version(web(REPLICAS), number))).await;
        took.push(begun.elapsed());
    }
    stop.cancel();
    watching.await.unwrap();
    until_at_rest(bed, &[1, 2, 3], &shop, REPLICAS).await;
    took.sort();
    println!(
        "{versions} versions of {REPLICAS} replicas, one broken between them: {:?} each (median), {:?} at most",
        took[versions / 2],
        took[versions - 1]
    );
    assert_eq!(fewest.load(Ordering::Relaxed), REPLICAS, "at some time there were fewer ready");
}
