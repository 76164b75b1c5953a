//! What the benchmarks share: how a result is told, how long to measure, and what a process takes.
//!
//! A result is one line on standard output, `result: ` and a JSON object, so that `cargo xtask bench` can make one table of all
//! benchmarks, scripts included:
//!
//! ```text
//! result: {"figure":"run 30 containers","value":4.1,"unit":"s","baseline":4.0,"ratio":1.025,"goal":"ratio <= 1.05","met":true}
//! ```
//!
//! `baseline`, `ratio`, `goal` and `met` are `null` where there is none. Everything else that a benchmark prints is talk.

#![allow(dead_code, unreachable_pub, reason = "each benchmark takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

pub mod burst;
pub mod decide;
pub mod hosts;
pub mod load;
pub mod plot;
pub mod process;
pub mod release;
pub mod server;

use std::time::Duration;

use serde_json::json;

/// Whether a short form is asked for: fewer rounds and smaller sizes, for the one table of everything.
pub fn is_short() -> bool {
    std::env::var_os("PAAS_BENCH_SHORT").is_some_and(|value| value != "0")
}

/// `long`, or `short` when the short form is asked for.
pub fn rounds<T>(long: T, short: T) -> T {
    if is_short() { short } else { long }
}

/// What a goal is about, and its bound.
#[derive(Clone, Copy, Debug)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

/// One measured figure, and what it is held against.
#[derive(Clone, Debug)]
#[must_use = "a figure is told with `print`"]
pub struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    baseline: Option<f64>,
    goal: Option<Goal>,
}

impl Figure {
    /// A figure by the name it has in the table; `unit` is of the value and of the baseline.
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, baseline: None, goal: None }
    }

    /// What the same costs without the platform, or at another size, measured in the same run.
    pub fn against(self, baseline: f64) -> Self {
        Self { baseline: Some(baseline), ..self }
    }

    /// The value shall not be more.
    pub fn at_most(self, bound: f64) -> Self {
        Self { goal: Some(Goal::AtMost(bound)), ..self }
    }

    /// The value shall not be less.
    pub fn at_least(self, bound: f64) -> Self {
        Self { goal: Some(Goal::AtLeast(bound)), ..self }
    }

    /// The value shall not be more than so many times the baseline.
    pub fn ratio_at_most(self, bound: f64) -> Self {
        Self { goal: Some(Goal::RatioAtMost(bound)), ..self }
    }

    /// The value shall not be less than so many times the baseline.
    pub fn ratio_at_least(self, bound: f64) -> Self {
        Self { goal: Some(Goal::RatioAtLeast(bound)), ..self }
    }

    /// Tells it, as one line on standard output.
    pub fn print(&self) {
        let ratio = self.baseline.map(|baseline| self.value / baseline);
        let (goal, met) = match self.goal {
            None => (None, None),
            Some(Goal::AtMost(bound)) => (Some(format!("<= {bound}")), Some(self.value <= bound)),
            Some(Goal::AtLeast(bound)) => (Some(format!(">= {bound}")), Some(self.value >= bound)),
            // A goal that is a ratio needs a baseline: without one it is not met.
            Some(Goal::RatioAtMost(bound)) => {
                (Some(format!("ratio <= {bound}")), Some(ratio.is_some_and(|ratio| ratio <= bound)))
            }
            Some(Goal::RatioAtLeast(bound)) => {
                (Some(format!("ratio >= {bound}")), Some(ratio.is_some_and(|ratio| ratio >= bound)))
            }
        };
        let line = json!({
            "figure": self.name, "value": self.value, "unit": self.unit,
            "baseline": self.baseline, "ratio": ratio, "goal": goal, "met": met,
        });
        println!("result: {line}");
    }
}

/// The duration that so many of a hundred do not exceed; zero of none.
pub fn percentile(sorted: &[Duration], percent: f64) -> Duration {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).or(sorted.last()).copied().unwrap_or_default()
}

/// The middle of several runs: on a machine that others use, one run says little.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// In milliseconds.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// In microseconds.
pub fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
