//! `cargo xtask simulate`: worlds in which applications are applied at random while everything fails at random.
//!
//! The worlds are `paas_core::testing::simulation`, and the program that lets them go their way is an example of `paas-core`, built
//! as for a release: ten thousand of them take minutes.

use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// Tries so many seeds, and says which of them fail.
pub(crate) fn many(from: u64, seeds: u64) -> Result<()> {
    simulate(&["--from", &from.to_string(), "--seeds", &seeds.to_string()])
}

/// Tries one seed, and shows everything that happens.
pub(crate) fn one(seed: u64) -> Result<()> {
    simulate(&["--seed", &seed.to_string()])
}

fn simulate(arguments: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    cargo.args(["run", "--quiet", "--release", "--package", "paas-core", "--no-default-features"]);
    cargo.args(["--features", "testing", "--example", "simulate", "--"]).args(arguments);
    let status = cargo.current_dir(shell::root()).status().context("cargo cannot be run")?;
    anyhow::ensure!(status.success(), "not everything held");
    Ok(())
}
