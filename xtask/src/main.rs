//! The workspace's own commands. `cargo xtask demo` shows the platform at work; `cargo xtask test` runs every test.
//!
//! Both install what is missing and start what is needed, and stop what they started. They assume neither systemd, nor a
//! terminal, nor a Docker that is there already.

mod demo;
mod docker;
mod shell;
mod tests;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Commands of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the platform and deploys a small web application with it.
    Demo {
        /// Stops the platform of an earlier demo, with everything it started.
        #[arg(long)]
        stop: bool,
        /// Shows the same on a simulated engine, without Docker.
        #[arg(long, conflicts_with = "stop")]
        simulated: bool,
    },
    /// Installs and starts what the tests need, and runs them all.
    Test {
        /// Fails when a test is skipped, as on the build server.
        #[arg(long, env = "CI", value_parser = clap::builder::FalseyValueParser::new())]
        no_skip: bool,
        /// Only tests whose name contains this.
        filter: Option<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo { stop: true, .. } => demo::stop(),
        Command::Demo { simulated, .. } => demo::run(simulated),
        Command::Test { no_skip, filter } => tests::run(no_skip, filter.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
