//! What one process may have of something.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::Invalid;
use super::validation::shortened;

/// What Docker lets a container be given limits of.
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
/// No limit.
const UNLIMITED: i64 = -1;

/// A limit of a process, as of `setrlimit`, in the unit that Linux has for it; -1 is no limit. On the wire
/// `{"soft": 1024, "hard": 2048}`, or one number for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Ulimit {
    /// What counts, and what the process may raise up to the other.
    pub soft: i64,
    /// The most.
    pub hard: i64,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a limit must be a whole number, or a table with soft and hard")]
enum Written {
    Both(i64),
    Each(Each),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Each {
    soft: i64,
    hard: i64,
}

impl From<Written> for Ulimit {
    fn from(written: Written) -> Self {
        match written {
            Written::Both(limit) => Self { soft: limit, hard: limit },
            Written::Each(Each { soft, hard }) => Self { soft, hard },
        }
    }
}

/// Reads limits that are kept: what a later version wrote beside them is passed over.
pub(crate) fn read_kept<'de, D: Deserializer<'de>>(kept: D) -> Result<BTreeMap<String, Ulimit>, D::Error> {
    #[derive(Deserialize)]
    struct Kept {
        soft: i64,
        hard: i64,
    }
    let all = BTreeMap::<String, Kept>::deserialize(kept)?;
    Ok(all.into_iter().map(|(name, Kept { soft, hard })| (name, Ulimit { soft, hard })).collect())
}

impl FromStr for Ulimit {
    type Err = Invalid;

    /// Reads `SOFT:HARD`, or one number for both, as `docker run --ulimit` does.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        match (soft.parse(), hard.parse()) {
            (Ok(soft), Ok(hard)) => Ok(Self { soft, hard }),
            _ => Err(Invalid::new("ulimit", format!("write SOFT:HARD or one number, not {:?}", shortened(text)))),
        }
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.soft, self.hard)
    }
}

/// Checks the limits of a container.
///
/// # Errors
/// Names the first that no Linux takes.
pub(super) fn validate(ulimits: &BTreeMap<String, Ulimit>) -> Result<(), Invalid> {
    for (name, limit) in ulimits {
        let wrong = |message: String| Err(Invalid::new("ulimits", message));
        if !NAMES.contains(&name.as_str()) {
            return wrong(format!("{:?} is none that Docker knows; it knows {}", shortened(name), NAMES.join(", ")));
        }
        let Ulimit { soft, hard } = *limit;
        if soft < UNLIMITED || hard < UNLIMITED {
            return wrong(format!("{name} must be at least 0, or -1 for no limit, not {limit}"));
        }
        if hard != UNLIMITED && (soft == UNLIMITED || soft > hard) {
            return wrong(format!("the soft limit of {name} is above the hard one: {limit}"));
        }
    }
    Ok(())
}
