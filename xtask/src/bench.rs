//! `cargo xtask bench`: all benchmarks in a short form, and one table of what they found.
//!
//! A benchmark tells a result as a line `result: ` with a JSON object; `benches/support` says which. Programs are those that
//! `cargo bench` knows, scripts are `benches/*.sh`. One that needs what is not there says `SKIPPED: ` and why.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{packages, shell};

/// The benchmark that knows functions by their names, which releases do not have.
const NEEDS_NAMES: &str = "instructions";

/// Runs the benchmarks whose name contains `filter`, and prints the table. What misses its goal is no failure: benchmarks are
/// run and read.
pub(crate) fn run(filter: Option<&str>, long: bool) -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    let mut found = Findings::default();
    for name in programs()?.iter().filter(|name| filter.is_none_or(|filter| name.contains(filter))) {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        cargo.args(["bench", "--package", "paas", "--bench", name]);
        if name == NEEDS_NAMES {
            cargo.args(["--profile", "profiling"]);
        }
        found.collect(name, &mut cargo, long);
    }
    for script in scripts()? {
        let name = script.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if filter.is_none_or(|filter| name.contains(filter)) {
            found.collect(&name, Command::new("sh").arg(&script), long);
        }
    }
    found.print();
    Ok(())
}

/// The benchmarks that are programs, by name: each is a file of its own.
fn programs() -> Result<Vec<String>> {
    let files = files("rs")?;
    Ok(files.iter().filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned())).collect())
}

fn scripts() -> Result<Vec<PathBuf>> {
    files("sh")
}

fn files(extension: &str) -> Result<Vec<PathBuf>> {
    let folder = shell::root().join("benches");
    let entries = fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|found| found == extension));
    files.sort();
    Ok(files)
}

/// What the benchmarks said.
#[derive(Debug, Default)]
struct Findings {
    rows: Vec<[String; 6]>,
    skipped: Vec<String>,
    broken: Vec<String>,
}

impl Findings {
    /// Runs one benchmark, passes on what it says, and keeps its results.
    fn collect(&mut self, name: &str, command: &mut Command, long: bool) {
        println!("\n== {name}");
        command.current_dir(shell::root()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("PAAS_BENCH_SHORT", if long { "0" } else { "1" });
        // One that fails leaves a gap in the table, and the others go on.
        if let Err(error) = self.read(command) {
            eprintln!("{name}: {error:#}");
            self.broken.push(name.to_owned());
        }
    }

    fn read(&mut self, command: &mut Command) -> Result<()> {
        let mut child = command.spawn().context("cannot be run")?;
        let stdout = child.stdout.take().context("gives no output")?;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            println!("{line}");
            self.take(&line);
        }
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "failed: {status}");
        Ok(())
    }

    fn take(&mut self, line: &str) {
        if let Some(reason) = line.trim().strip_prefix("SKIPPED: ") {
            self.skipped.push(reason.to_owned());
        }
        let result = line.trim().strip_prefix("result: ").and_then(|json| serde_json::from_str::<Value>(json).ok());
        if let Some(result) = result {
            self.rows.push(row(&result));
        }
    }

    fn print(&self) {
        const HEAD: [&str; 6] = ["FIGURE", "VALUE", "BASELINE", "RATIO", "GOAL", "MET"];
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.rows.iter().cloned());
        println!();
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
                let gap = " ".repeat(width - cell.chars().count());
                // Numbers stand flush right, words flush left.
                let cell = if (1..=3).contains(&column) { format!("{gap}{cell}") } else { format!("{cell}{gap}") };
                line = line + &cell + "  ";
            }
            println!("{}", line.trim_end());
        }
        for reason in &self.skipped {
            println!("skipped: {reason}");
        }
        if !self.broken.is_empty() {
            println!("broken: {}", self.broken.join(", "));
        }
    }
}

/// Figure, value, baseline, ratio, goal, met; `-` where there is none.
fn row(result: &Value) -> [String; 6] {
    let text = |name: &str| result[name].as_str().map(str::to_owned);
    let number = |name: &str| result[name].as_f64();
    let unit = text("unit").unwrap_or_default();
    let with_unit = |value: f64| format!("{} {unit}", short(value)).trim_end().to_owned();
    let none = || "-".to_owned();
    [
        text("figure").unwrap_or_else(none),
        number("value").map_or_else(none, with_unit),
        number("baseline").map_or_else(none, with_unit),
        number("ratio").map_or_else(none, |ratio| format!("{ratio:.2}")),
        text("goal").unwrap_or_else(none),
        result["met"].as_bool().map_or_else(none, |met| if met { "yes" } else { "NO" }.to_owned()),
    ]
}

/// A number with about three figures: nothing that is measured here is more exact.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_result_is_a_row_and_everything_else_is_talk() {
        let mut found = Findings::default();
        found.take(r#"result: {"figure":"x","value":4.1,"unit":"s","baseline":4,"ratio":1.025,"goal":"ratio <= 1.05","met":true}"#);
        found.take(r#"result: {"figure":"y","value":1234567.8,"unit":"/s","baseline":null,"ratio":null,"goal":null,"met":null}"#);
        found.take("SKIPPED: swarm: no docker");
        found.take("warming up");
        assert_eq!(found.rows[0], ["x", "4.10 s", "4.00 s", "1.02", "ratio <= 1.05", "yes"]);
        assert_eq!(found.rows[1], ["y", "1234568 /s", "-", "-", "-", "-"]);
        assert_eq!((found.rows.len(), found.skipped.len()), (2, 1));
    }

    #[test]
    fn every_benchmark_is_found() {
        assert!(programs().unwrap().contains(&"scheduling".to_owned()));
    }
}
