//! Applications on real Docker hosts, which fail as machines do, and people who interfere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod asking;
mod broken;
mod hands;
mod leaders;
mod power;
mod shop;
mod stores;
#[path = "../support/mod.rs"]
mod support;
