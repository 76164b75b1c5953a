//! The platform's HTTP API: routes, problem documents, configuration, TLS.
//!
//! [`serve`](serve::serve) puts a [`Controller`](paas_core::controller::Controller) on a listener; another program can
//! do the same. [`commands`] has what the program `paas-server` does.
//!
//! Imports point one way: commands → bootstrap, ha → routes → middleware → extract, route_table, problem, app.

mod app;
pub mod arguments;
mod body;
mod bootstrap;
pub mod commands;
pub mod config;
mod connections;
mod custody;
mod extract;
mod ha;
#[cfg(test)]
mod layers;
mod middleware;
mod options;
pub mod problem;
mod process;
mod progress;
pub mod route_table;
mod routes;
pub mod serve;
pub mod tls;
mod warning;
mod watched;
