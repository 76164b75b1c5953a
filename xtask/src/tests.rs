//! `cargo xtask test`: everything that can be tested, in one go, or a part of it that needs less.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{docker, packages, shell};

/// How many of the slowest tests are named.
const SLOWEST: usize = 10;

/// How much is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// What needs neither root nor Docker nor etcd.
    Quick,
    /// Everything, as on the build server.
    Full,
    /// Everything, with many more seeds and rounds.
    Long,
}

impl Tier {
    /// What the tests read, see `paas_core::testing::tier`. What is set already stays.
    fn variables(self) -> Vec<(&'static str, &'static str)> {
        let all = match self {
            Self::Quick => vec![("PAAS_TEST_QUICK", "1")],
            Self::Full => Vec::new(),
            Self::Long => vec![("PAAS_TEST_SEEDS", "1000"), ("PAAS_TEST_ROUNDS", "200"), ("PROPTEST_CASES", "10000")],
        };
        all.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect()
    }
}

/// Runs the tests. With `no_skip`, one that is skipped counts as failed.
pub(crate) fn run(tier: Tier, no_skip: bool, filter: Option<&str>) -> Result<()> {
    packages::ensure(&[packages::BUILD])?;
    if tier == Tier::Quick {
        return test(tier, no_skip, filter);
    }
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
    let outcome = test(tier, no_skip, filter);
    docker::stop(&state);
    outcome
}

fn test(tier: Tier, no_skip: bool, filter: Option<&str>) -> Result<()> {
    let begun = Instant::now();
    let mut tally = Tally::default();
    let mut cargo = |arguments: &[&str]| cargo(arguments, tier, no_skip, &mut tally);
    // Black-box tests start the programs themselves, so they must be there and up to date.
    cargo(&["build", "--workspace", "--bins", "--examples"])?;
    let test = ["test", "--workspace", "--all-features", "--no-fail-fast"];
    let timed = ["--", "-Zunstable-options", "--report-time"];
    let programs = cargo(&[&test[..], &["--tests"], filter.as_slice(), &timed].concat());
    let documentation = cargo(&[&test[..], &["--doc"], filter.as_slice()].concat());
    tally.print(begun.elapsed());
    programs.and(documentation)?;
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
    /// Seconds and name of each test.
    times: Vec<(f64, String)>,
}

impl Tally {
    fn take(&mut self, line: &str) {
        if let Some(reason) = line.trim().strip_prefix("SKIPPED: ") {
            self.skipped.push(reason.to_owned());
        }
        self.times.extend(time_of(line));
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

    fn print(&mut self, whole: Duration) {
        println!();
        let mut skipped = BTreeMap::<&str, Vec<&str>>::new();
        for skip in &self.skipped {
            let (test, reason) = skip.split_once(": ").unwrap_or((skip, ""));
            skipped.entry(reason).or_default().push(test);
        }
        for (reason, tests) in skipped {
            println!("skipped, {reason}: {}", tests.join(", "));
        }
        self.times.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        println!("the slowest, seconds:");
        for (seconds, test) in self.times.iter().take(SLOWEST) {
            println!("{seconds:>8.1}  {test}");
        }
        let (seconds, skipped) = (whole.as_secs(), self.skipped.len() + self.ignored);
        let time = format!("{} min {} s", seconds / 60, seconds % 60);
        println!("{} passed, {} failed, {skipped} skipped, in {time}", self.passed, self.failed);
    }
}

/// How long a test took and its name: `test name ... ok <1.234s>`.
fn time_of(line: &str) -> Option<(f64, String)> {
    let (test, outcome) = line.trim().strip_prefix("test ")?.split_once(" ... ")?;
    let seconds = outcome.rsplit_once('<')?.1.strip_suffix("s>")?;
    Some((seconds.parse().ok()?, test.to_owned()))
}

/// The variable that names the program that cargo runs test programs with.
fn runner_variable() -> Result<String> {
    let about = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    Ok(format!("CARGO_TARGET_{}_RUNNER", host.to_uppercase().replace('-', "_")))
}

/// Runs cargo, passes its output on, and counts.
fn cargo(arguments: &[&str], tier: Tier, no_skip: bool, tally: &mut Tally) -> Result<()> {
    println!("\n$ cargo {}", arguments.join(" "));
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(arguments).current_dir(shell::root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(tier.variables());
    // The harness tells times only with what is not stable yet. The variable reaches the test programs alone: the compiler would
    // build everything once more for it.
    if arguments.contains(&"--report-time") {
        command.env(runner_variable()?, "env RUSTC_BOOTSTRAP=1");
    }
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
        if line.contains("test result: ") || line.contains("SKIPPED: ") || time_of(&line).is_some() {
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
        tally.take("test store::a_commit_is_whole ... ok <1.204s>");
        tally.take("test store::another ... FAILED <0.003s>");
        tally.take("test documented (line 3) ... ok");
        tally.take("something else");
        assert_eq!((tally.passed, tally.failed, tally.ignored), (33, 2, 1));
        assert_eq!(tally.skipped, ["links_survive: no daemon"]);
        assert_eq!(tally.times, [(1.204, "store::a_commit_is_whole".to_owned()), (0.003, "store::another".to_owned())]);
    }
}
