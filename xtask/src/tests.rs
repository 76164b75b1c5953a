//! `cargo xtask test`: everything that can be tested, in one go.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::{docker, packages, shell};

/// Runs all tests. With `no_skip`, one that is skipped counts as failed.
pub(crate) fn run(no_skip: bool, filter: Option<&str>) -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    // Whether the tests that want them can do without is theirs to say, loudly.
    if let Err(error) = packages::ensure_everything() {
        eprintln!("Not everything to test with is here: {error:#}");
    }
    let state = shell::target().join("xtask-test");
    let docker = docker::ensure(&state);
    if let Err(error) = &docker {
        eprintln!("No Docker to test with: {error:#}");
        if no_skip {
            bail!("the tests on real Docker hosts would be skipped, and a skip is a failure here");
        }
    }
    let outcome = test(no_skip, filter);
    docker::stop(&state);
    outcome
}

fn test(no_skip: bool, filter: Option<&str>) -> Result<()> {
    let mut tally = Tally::default();
    // Black-box tests start the programs themselves, so they must be there and up to date.
    cargo(&["build", "--workspace", "--bins", "--examples"], no_skip, &mut tally)?;
    let mut arguments = vec!["test", "--workspace", "--all-features", "--no-fail-fast"];
    arguments.extend(filter);
    let passed = cargo(&arguments, no_skip, &mut tally);
    println!();
    for skipped in &tally.skipped {
        println!("skipped: {skipped}");
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped.len() + tally.ignored);
    passed?;
    if no_skip && tally.skipped.len() + tally.ignored > 0 {
        bail!("a skip is a failure here");
    }
    Ok(())
}

/// What the test programs said of themselves.
#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
    skipped: Vec<String>,
}

impl Tally {
    fn take(&mut self, line: &str) {
        if let Some(reason) = line.trim().strip_prefix("SKIPPED: ") {
            self.skipped.push(reason.to_owned());
        }
        let Some(counts) = line.trim().strip_prefix("test result: ") else { return };
        for part in counts.split([';', '.']) {
            let mut words = part.split_whitespace();
            let count = words.next().and_then(|word| word.parse::<usize>().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.ignored += count,
                _ => {}
            }
        }
    }
}

/// Runs cargo, passes its output on, and counts.
fn cargo(arguments: &[&str], no_skip: bool, tally: &mut Tally) -> Result<()> {
    println!("\n$ cargo {}", arguments.join(" "));
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(arguments).current_dir(shell::root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if no_skip {
        command.env("PAAS_TEST_NO_SKIP", "1");
    }
    let mut child = command.spawn().context("cargo cannot be run")?;
    let stdout = child.stdout.take().context("cargo gives no output")?;
    let stderr = child.stderr.take().context("cargo gives no output")?;
    let talk = thread::spawn(move || pass_on(stderr, std::io::stderr()));
    let mut lines = pass_on(stdout, std::io::stdout());
    lines.extend(talk.join().unwrap_or_default());
    for line in lines {
        tally.take(&line);
    }
    if !child.wait()?.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

/// Copies lines as they come, and gives those that matter.
fn pass_on(from: impl Read, mut to: impl Write) -> Vec<String> {
    let mut kept = Vec::new();
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        // Nobody reads our output any more: the tests go on all the same.
        let _ = writeln!(to, "{line}");
        if line.contains("test result: ") || line.contains("SKIPPED: ") {
            kept.push(line);
        }
    }
    kept
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn counts_are_added_up() {
        let mut tally = Tally::default();
        tally.take("test result: ok. 30 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s");
        tally.take("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        tally.take("SKIPPED: links_survive: no daemon");
        tally.take("something else");
        assert_eq!((tally.passed, tally.failed, tally.ignored), (33, 2, 1));
        assert_eq!(tally.skipped, ["links_survive: no daemon"]);
    }
}
