//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bed::command::BedCommand;
use crate::tests::Tier;
use crate::{bench, demo, packages, simulate, tests};

/// Commands of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The first five minutes of the README: starts the platform, deploys an application, kills a container of it, rolls out a new
    /// version and one that cannot run. Leaves everything running.
    Demo {
        /// Stops the platform of an earlier demo, with everything it started.
        #[arg(long)]
        stop: bool,
        /// Shows the same on a simulated engine, without Docker.
        #[arg(long, conflicts_with = "stop")]
        simulated: bool,
    },
    /// Installs and starts what the tests need, and runs them all. Prints the slowest ten at the end.
    Test {
        /// Only what needs neither root nor Docker nor etcd: some minutes, and nothing is installed or started.
        #[arg(long, conflicts_with_all = ["long", "no_skip"])]
        quick: bool,
        /// All of them with many more seeds and rounds, for hours. PAAS_TEST_SEEDS and PAAS_TEST_ROUNDS say how many.
        #[arg(long)]
        long: bool,
        /// Fails when a test is skipped, as on the build server.
        #[arg(long, env = "CI", value_parser = clap::builder::FalseyValueParser::new())]
        no_skip: bool,
        /// Only tests whose name contains this.
        filter: Option<String>,
    },
    /// Runs all benchmarks in a short form, and prints one table: figure, value, baseline, ratio, goal, met or not.
    Bench {
        /// Takes the time that it takes, as for docs/benchmarks.md.
        #[arg(long)]
        long: bool,
        /// Only benchmarks whose name contains this.
        filter: Option<String>,
    },
    /// Lets simulated worlds go their way, one for each seed: applications are applied at random while hosts, calls, the store and
    /// the server fail at random, and after each step it is looked at what must always hold. A seed that fails says so.
    Simulate {
        /// How many seeds.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// The first of them.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// Only this one, with everything that happens in it.
        #[arg(long, conflicts_with_all = ["seeds", "from"])]
        seed: Option<u64>,
    },
    /// Installs everything that building and testing need (Debian, as root).
    Setup,
    /// Several Docker hosts on this machine: host 1 is 10.77.0.2, host 2 is 10.77.0.3, …; the machine itself is 10.77.0.1.
    #[command(subcommand)]
    Bed(BedCommand),
}

/// Runs the command that this program was started with.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Demo { stop: true, .. } => demo::stop(),
        Command::Demo { simulated, .. } => demo::run(simulated),
        Command::Test { quick: true, filter, .. } => tests::run(Tier::Quick, false, filter.as_deref()),
        Command::Test { long: true, no_skip, filter, .. } => tests::run(Tier::Long, no_skip, filter.as_deref()),
        Command::Test { no_skip, filter, .. } => tests::run(Tier::Full, no_skip, filter.as_deref()),
        Command::Bench { long, filter } => bench::run(filter.as_deref(), long),
        Command::Simulate { seed: Some(seed), .. } => simulate::one(seed),
        Command::Simulate { from, seeds, seed: None } => simulate::many(from, seeds),
        Command::Setup => packages::ensure_everything(),
        Command::Bed(command) => command.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
