//! Signals by name or number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// The names that Docker takes, without `SIG`, beside the real-time ones.
const NAMES: [&str; 34] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];
/// The highest signal of Linux.
const HIGHEST: u8 = 64;

/// A signal: `SIGTERM`, `SIGRTMIN+3`, or a number from 1 to 64. It is read in small letters and without `SIG`, too, and is the
/// same then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Signal(String);

impl Signal {
    /// The name, with `SIG` before it, or the number.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Signal {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(number) = text.parse::<u8>().ok().filter(|number| is_number && (1..=HIGHEST).contains(number)) {
            return Ok(Self(number.to_string()));
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if NAMES.contains(&name) || is_real_time(name) {
            return Ok(Self(format!("SIG{name}")));
        }
        let text = super::validation::shortened(text);
        let message = format!("{text:?} is no signal; write one such as SIGTERM, or a number from 1 to {HIGHEST}");
        Err(Invalid::new("signal", message))
    }
}

/// `RTMIN` to `RTMIN+15`, `RTMAX-14` to `RTMAX`: as Docker has them.
fn is_real_time(name: &str) -> bool {
    let within = |text: &str, last: u8| {
        let is_plain = text.starts_with(|first| matches!(first, '1'..='9'));
        text.parse::<u8>().is_ok_and(|number| is_plain && number <= last)
    };
    match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
        (Some(above), _) => within(above, 15),
        (_, Some(below)) => within(below, 14),
        _ => matches!(name, "RTMIN" | "RTMAX"),
    }
}

impl TryFrom<String> for Signal {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_signal_has_one_name_however_it_is_written() {
        let read = |text: &str| text.parse::<Signal>().map(|signal| signal.0);
        for text in ["SIGTERM", "TERM", "term", "SigTerm"] {
            assert_eq!(read(text).unwrap(), "SIGTERM", "{text}");
        }
        assert_eq!((read("9").unwrap(), read("064").unwrap()), ("9".into(), "64".into()));
        assert_eq!(read("rtmin+15").unwrap(), "SIGRTMIN+15");
        for wrong in
            ["", "0", "65", "-9", "+9", "SIG", "SIGNAL", "TERM ", "RTMIN+16", "RTMIN+0", "RTMIN++1", "RTMAX-15"]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
