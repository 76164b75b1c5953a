//! The API from outside: a real listener, a real client, simulated engines.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod accounts;
mod app_commands;
mod apps;
mod authorization;
mod bad_input;
mod connections;
mod containers;
mod engines;
mod hung_up;
mod joining;
mod keys;
mod logs;
mod once;
mod policy;
mod prefixes;
mod program;
mod secrets;
mod shutdown;
mod store_away;
mod stores;
mod streams;
mod support;
mod transport;
mod tricky;
