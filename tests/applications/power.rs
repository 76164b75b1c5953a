//! Hosts that lose their power: what ran there runs elsewhere, and is not there twice when they are back.

use std::time::{Duration, Instant};

use paas_core::testing::tier;
use xtask::bed::Hosts;

use super::shop::{Shop, found, not_at_rest, of, ready, until_at_rest, web};
use super::support::bed;

/// How many replicas there are, over three hosts.
const REPLICAS: usize = 30;
/// How long it may take at most until all replicas are ready again: much longer than on a machine that does nothing else.
const HEALED: Duration = Duration::from_secs(40);
/// How long it may take until nothing is there twice, counted from when the host's Docker answers.
const CLEARED: Duration = Duration::from_secs(25);
/// How often a host is lost in a row. The middle of what that takes is told.
const ROUNDS: usize = 1;

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_on_a_host_that_lost_its_power_runs_elsewhere_and_never_twice() {
    const NAME: &str = "what_ran_on_a_host_that_lost_its_power_runs_elsewhere_and_never_twice";
    let Some(bed) = bed::up(NAME, Hosts::new(3)).await else { return };
    let (_server, api) = bed::serve(&bed, 3).await;
    let shop = Shop::new(&api, "shop");
    let begun = Instant::now();
    shop.roll_out(of(web(REPLICAS))).await;
    until_at_rest(&bed, &[1, 2, 3], &shop, REPLICAS).await;
    println!("{REPLICAS} replicas are ready after {:?}", begun.elapsed());

    let (mut healed, mut cleared) = (Vec::new(), Vec::new());
    let rounds = tier::rounds(ROUNDS);
    for round in 0..rounds {
        let lost = 1 + (round + 1) % 3;
        let others: Vec<usize> = (1..=3).filter(|host| *host != lost).collect();
        let there = found(&bed, &[lost], "shop").await.len();
        let crash = Instant::now();
        bed.crash(lost).unwrap();
        shop.until("without those of the host", |status| ready(status) < REPLICAS).await;
        let noticed = crash.elapsed();
        shop.until("healed", |status| ready(status) == REPLICAS).await;
        healed.push(crash.elapsed());
        println!(
            "{there} lost: noticed after {noticed:?}, {REPLICAS} ready again {:?} after the crash",
            crash.elapsed()
        );
        let elsewhere = found(&bed, &others, "shop").await;
        assert_eq!(not_at_rest(&elsewhere, "shop", REPLICAS), None);

        bed.start(lost).unwrap();
        let back = Instant::now();
        bed::until(&api, lost, "up").await;
        until_at_rest(&bed, &[1, 2, 3], &shop, REPLICAS).await;
        cleared.push(back.elapsed());
        println!("back: {REPLICAS} and no more {:?} after its Docker answers", back.elapsed());
        // They stay where they are; the next host to be lost is to have some.
        if round + 1 < rounds {
            spread(&bed, &shop).await;
        }
    }
    healed.sort();
    cleared.sort();
    let middle = healed.len() / 2;
    println!("healed: {:?} (median), {:?} at most", healed[middle], healed[healed.len() - 1]);
    println!("cleared: {:?} (median), {:?} at most", cleared[middle], cleared[cleared.len() - 1]);
    assert!(healed[middle] < HEALED && cleared[middle] < CLEARED, "{healed:?}, {cleared:?}");

    // All at once, and back one by one.
    for host in 1..=3 {
        bed.crash(host).unwrap();
    }
    for host in 1..=3 {
        bed::until(&api, host, "down").await;
    }
    for host in 1..=3 {
        bed.start(host).unwrap();
        bed::until(&api, host, "up").await;
    }
    let back = Instant::now();
    until_at_rest(&bed, &[1, 2, 3], &shop, REPLICAS).await;
    println!("all hosts were without power: at rest {:?} after the last was back", back.elapsed());
}

/// Has the replicas be on all hosts again.
async fn spread(bed: &xtask::bed::Bed, shop: &Shop) {
    for replicas in [REPLICAS / 3, REPLICAS] {
        shop.roll_out(of(web(replicas))).await;
        until_at_rest(bed, &[1, 2, 3], shop, replicas).await;
    }
}
