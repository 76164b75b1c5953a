//! The store against the double: the conformance suite, and a file for what goes wrong, and one for several servers.

mod faults;
mod shared;

use std::sync::Arc;

use super::*;
use crate::testing::rethinkdb::RethinkDouble;

/// The URL of a database on a live server, for which the suite runs as well.
const LIVE: &str = "PAAS_TEST_RETHINKDB";

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let double = RethinkDouble::start().await.unwrap();
    let mut urls = vec![double.url("paas")];
    urls.extend(std::env::var(LIVE));
    for url in urls {
        let store = RethinkDbStore::open(&url).await.unwrap();
        crate::testing::store::conforms(Arc::new(store)).await;
    }
}
