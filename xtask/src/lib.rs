//! The workspace's own commands. `cargo xtask demo` shows the platform at work; `cargo xtask test` runs every test;
//! `cargo xtask simulate` lets simulated worlds go their way;
//! `cargo xtask bed` makes several Docker hosts of one machine, for people and, as the library that this is, for tests.
//!
//! They install what is missing and start what is needed, and stop what they started. They assume neither systemd, nor a
//! terminal, nor a Docker that is there already, and are built without anything but Rust.

pub mod bed;
mod bench;
pub mod commands;
mod demo;
mod docker;
mod packages;
mod shell;
mod simulate;
mod tests;
