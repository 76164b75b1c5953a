//! Applications on real Docker hosts, which fail as machines do, and people who interfere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asking;
mod broken;
mod hands;
mod leaders;
mod moved;
mod power;
mod rolls;
mod shop;
mod stores;
#[path = "../support/mod.rs"]
mod support;

use support::bed;
use xtask::bed::Hosts;

#[tokio::test(flavor = "multi_thread")]
async fn what_people_do_wrong_leaves_every_application_as_declared() {
    const NAME: &str = "what_people_do_wrong_leaves_every_application_as_declared";
    let Some(bed) = bed::up(NAME, Hosts::new(3)).await else { return };
    let (_server, api) = bed::serve(&bed, 3).await;
    tokio::join!(
        broken::none_of_them_takes_the_old_one_away(&bed, &api),
        hands::interfere_all_the_time(&bed, &api),
        hands::apply_at_once(&bed, &api),
        moved::a_tag_that_is_moved_on_a_host_changes_no_revision(&bed, &api),
        rolls::roll_out_one_after_the_other(&bed, &api),
    );
}
