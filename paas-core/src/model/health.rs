//! How Docker finds out whether the program in a container is well.

use std::fmt;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact;
use serde::{Deserialize, Serialize};

use super::Invalid;

/// The least that Docker takes for a time of a health check, beside none at all.
const LEAST: Duration = Duration::from_millis(1);
/// The most: Docker counts nanoseconds in signed 64 bits.
const MOST: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());

/// A health check that Docker makes inside the container, by running a command. What is not given, or is 0, is that of the
/// image, and Docker's own where the image has none either. On the wire
/// `{"command": ["pg_isready"], "interval": "2s", "timeout": "1s", "start_period": "1m", "retries": 3}`, or `{"disabled": true}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// No check, whatever the image says. Nothing else is given beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// The command: healthy where it ends with status 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<HealthCommand>,
    /// How long between two checks.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::optional")]
    pub interval: Option<Duration>,
    /// How long one may take.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::optional")]
    pub timeout: Option<Duration>,
    /// How long after the start failures do not count.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "compact::optional")]
    pub start_period: Option<Duration>,
    /// After how many failures in a row the container is unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// The command of a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "must be a text for the shell, or a list of words")]
pub enum HealthCommand {
    /// A line for the shell of the image.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

impl HealthCheck {
    /// Checks everything that the types do not.
    ///
    /// # Errors
    /// Names the first field that Docker would not take.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let Self { disabled, command, interval, timeout, start_period, retries } = self;
        let wrong = |field: &str, message: &str| Err(Invalid::new(field, message));
        let times = [("interval", interval), ("timeout", timeout), ("start_period", start_period)];
        let says_how = command.is_some() || retries.is_some() || times.iter().any(|(_, time)| time.is_some());
        match (disabled, says_how) {
            (true, true) => return wrong("health.disabled", "leaves no check; give nothing else beside it"),
            (false, false) => return wrong("health", "says nothing; give a command, or leave it out"),
            _ => {}
        }
        let words = match command {
            None => &[],
            Some(HealthCommand::Shell(line)) => std::slice::from_ref(line),
            Some(HealthCommand::Exec(words)) => words.as_slice(),
        };
        if command.is_some() && words.first().is_none_or(|first| first.trim().is_empty()) {
            return wrong("health.command", "is empty; write a line for the shell, or a program and its arguments");
        }
        if words.iter().any(|word| word.contains('\0')) {
            return wrong("health.command", "must not contain a zero byte");
        }
        for (name, time) in times {
            if time.is_some_and(|time| !time.is_zero() && !(LEAST..=MOST).contains(&time)) {
                let message = "must be 1 millisecond to 292 years, or 0 for that of the image";
                return Err(Invalid::new(format!("health.{name}"), message));
            }
        }
        Ok(())
    }
}

/// What Docker's health check of a container says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// It did not succeed since the start, and is given the time for that.
    Starting,
    /// It succeeds.
    Healthy,
    /// It failed as many times in a row as it may.
    Unhealthy,
}

impl HealthStatus {
    /// The name on the wire, and Docker's own.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
