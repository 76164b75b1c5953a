//! The program as a whole, against a server that answers by script.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod errors;
mod lists;
mod operations;
mod session;
mod streams;
mod support;
mod tls;
