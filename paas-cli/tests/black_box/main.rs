//! The program as a whole, against a server that answers by script.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod again;
mod apps;
mod changes;
mod compose;
mod deploy;
mod errors;
mod exec;
mod lists;
mod operations;
mod secrets;
mod session;
mod several;
mod streams;
mod support;
mod tls;
