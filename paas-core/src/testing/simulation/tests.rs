use std::ops::Range;

use super::run;
use crate::testing::tier;

/// How many seeds are tried from day to day, by all of these tests together; `cargo xtask simulate` tries ten thousand.
const SEEDS: usize = 300;

/// One of four parts of the seeds, so that as many CPUs have something to do.
fn part(number: u64) -> Range<u64> {
    let seeds = u64::try_from(tier::seeds(SEEDS)).unwrap();
    number * seeds / 4..(number + 1) * seeds / 4
}

fn everything_holds(seeds: Range<u64>) {
    for seed in seeds {
        let outcome = run(seed);
        assert!(outcome.broken.is_none(), "{outcome}\nthe same again: cargo xtask simulate --seed {seed}");
    }
}

#[test]
fn everything_holds_whatever_fails_in_the_first_part() {
    everything_holds(part(0));
}

#[test]
fn everything_holds_whatever_fails_in_the_second_part() {
    everything_holds(part(1));
}

#[test]
fn everything_holds_whatever_fails_in_the_third_part() {
    everything_holds(part(2));
}

#[test]
fn everything_holds_whatever_fails_in_the_fourth_part() {
    everything_holds(part(3));
}

#[test]
fn a_seed_goes_the_same_way_twice_and_another_one_does_not() {
    let seeds = 1..6;
    let hashes = || seeds.clone().map(|seed| run(seed).hash).collect::<Vec<_>>();
    let first = hashes();
    assert_eq!(first, hashes());
    assert!(first.windows(2).all(|two| two[0] != two[1]), "{first:?}");
}

#[test]
fn worlds_are_busy_ones() {
    let first: Vec<_> = (0..10).map(run).collect();
    assert!(first.iter().map(|outcome| outcome.rollouts).sum::<usize>() > 20);
    assert!(first.iter().map(|outcome| outcome.servers).sum::<usize>() > 15);
    let mut untold =
        vec!["Dark", "Cut", "the server is killed", "is lost", "rollout to", "RolledBack", "scale", "drain"];
    // Few tell of an answer that is lost.
    for outcome in first.into_iter().chain((10..150).map(run)) {
        untold.retain(|what| !outcome.story.iter().any(|line| line.contains(what)));
        if untold.is_empty() {
            return;
        }
    }
    panic!("no world has {untold:?}");
}
