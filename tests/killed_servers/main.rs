//! A server that is killed again and again, at any moment, while clients change everything that a store keeps.
//!
//! After every start: what was answered is there, with its event and no more than once. A change whose answer was lost is
//! there whole, with its event, or not at all; sent again with its key it is there, once. The containers of simulated hosts
//! are not looked at: those hosts end with the server. Those of a real one are: what is answered is what runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod change;
mod client;
mod launches;
mod seen;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Client, Made};
use futures::future::join_all;
use paas_core::testing::etcd::Etcd;
use paas_core::testing::tier;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use seen::Seen;
use support::{Api, Server};

/// How often the server is killed on each store.
const KILLS: usize = 50;
/// How many clients change things at once.
const CLIENTS: usize = 6;
/// The longest time from a start to the next kill, milliseconds.
const LONGEST_LIFE: u64 = 500;
/// Chooses the moments and the changes again that a failed run had.
const SEED_VARIABLE: &str = "PAAS_TEST_SEED";

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_every_change_is_there_whole_or_not_at_all() {
    kill_again_and_again(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_etcd_every_change_is_there_whole_or_not_at_all() {
    let Some(etcd) = Etcd::start("on_etcd_every_change_is_there_whole_or_not_at_all").await else { return };
    kill_again_and_again(&["--store", &etcd.url()]).await;
}

async fn kill_again_and_again(options: &[&str]) {
    let seed = std::env::var(SEED_VARIABLE).ok().map_or_else(rand::random, |text| text.parse().unwrap());
    println!("the same moments and changes again: {SEED_VARIABLE}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = Server::start_with([127, 0, 0, 1].into(), &[], options).await;
    let admin = server.admin().await;
    let mut clients: Vec<Client> =
        (0..CLIENTS).map(|number| Client::new(number, admin.clone(), StdRng::seed_from_u64(random.random()))).collect();
    let mut tally = Tally::default();
    let kills = tier::rounds(KILLS);
    for round in 0..kills {
        let life = Duration::from_millis(random.random_range(0..LONGEST_LIFE));
        let kill = async {
            tokio::time::sleep(life).await;
            server.kill();
        };
        tokio::join!(join_all(clients.iter_mut().map(Client::work)), kill);
        server.start_again().await;
        check(&admin, &mut clients, &mut tally).await.unwrap_or_else(|wrong| panic!("round {round}: {wrong}"));
        join_all(clients.iter_mut().map(Client::send_again)).await;
        check(&admin, &mut clients, &mut tally)
            .await
            .unwrap_or_else(|wrong| panic!("round {round}, sent again: {wrong}"));
    }
    let answered: usize = clients.iter().map(|client| client.answered).sum();
    println!("{kills} kills, {answered} changes answered; of {tally:?}");
    assert!(answered > KILLS && tally.lost > 0, "the server was killed while there was something to do");
    for client in &clients {
        client.check_passwords().await;
    }
}

/// What became of the changes whose answers were lost.
#[derive(Debug, Default)]
struct Tally {
    /// How many answers were lost.
    lost: usize,
    /// How many of their changes were there all the same.
    made: usize,
}

/// Compares what there is with what the clients were answered, and decides for every answer that was lost whether the change
/// was made: it was if its event is there.
async fn check(admin: &Api, clients: &mut [Client], tally: &mut Tally) -> Result<(), String> {
    let mut seen = Seen::by(admin, clients).await;
    let (mut expected, mut told, mut unknown) = (BTreeMap::new(), BTreeMap::new(), 0);
    for client in clients {
        match client.decide(&seen) {
            Some(Made::ForSure) => (tally.lost, tally.made) = (tally.lost + 1, tally.made + 1),
            Some(Made::Not) => tally.lost += 1,
            // A join token has no name before it is made, so which of several clients made it nobody can say yet.
            Some(Made::Perhaps) => (tally.lost, unknown) = (tally.lost + 1, unknown + 1),
            None => {}
        }
        expected.extend(client.state.clone());
        for (event, count) in &client.told {
            *told.entry(event.clone()).or_insert(0) += count;
        }
    }
    seen.check_join_tokens()?;
    let more = seen.take_join_tokens_but_for(&expected);
    if more > unknown {
        return Err(format!("there are {more} join tokens that nobody was told of, and {unknown} answers were lost"));
    }
    same("what there is", &expected, &seen.state)?;
    same("what was told", &told, &seen.told)
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<String, T>,
    found: &BTreeMap<String, T>,
) -> Result<(), String> {
    let differs = expected.keys().chain(found.keys()).find(|key| expected.get(*key) != found.get(*key));
    differs.map_or(Ok(()), |key| {
        Err(format!("{what}, {key}: expected {:?}, found {:?}", expected.get(key), found.get(key)))
    })
}
