//! How long something takes, as people write it.

use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration: `5s`, `10m`, `1h 30m`, or as ISO 8601 has it. Never negative, and in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(u64);

impl Period {
    /// A length of time in milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// How many milliseconds it has.
    pub const fn millis(self) -> u64 {
        self.0
    }
}

impl std::str::FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be a duration such as \"5s\", \"500ms\" or \"10m\", not {text:?}");
        let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
        let exact = duration.subsec_nanos() % 1_000_000 == 0;
        u64::try_from(duration.as_millis()).ok().filter(|_| exact).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = i64::try_from(self.0).unwrap_or(i64::MAX);
        write!(f, "{:#}", SignedDuration::from_millis(milliseconds))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl serde::de::Visitor<'_> for Form {
            type Value = Period;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"5s\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Period, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (text, milliseconds, shown) in [
            ("5s", 5000, "5s"),
            ("500ms", 500, "500ms"),
            ("10m", 600_000, "10m"),
            ("90s", 90_000, "1m 30s"),
            ("0s", 0, "0s"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.millis(), period.to_string().as_str()), (milliseconds, shown));
            assert_eq!(shown.parse::<Period>().unwrap(), period);
        }
        for bad in ["", "5", "-5s", "1ns", "soon", "1 month"] {
            assert!(bad.parse::<Period>().is_err(), "{bad:?}");
        }
    }
}
