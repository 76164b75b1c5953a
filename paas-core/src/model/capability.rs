//! What a program may do that is otherwise for root alone.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::Invalid;

/// All that Linux has, by the names that Docker takes, in the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker gives every container that does not drop it.
const BY_DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// A capability of Linux, by the name that Docker has for it: `NET_ADMIN`; or `ALL` of them. It is read in small letters and with
/// `CAP_` before it, too, and is the same then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Capability(&'static str);

impl Capability {
    /// All of them.
    pub const ALL: Self = Self("ALL");

    /// The name, without `CAP_`.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether a container has it without asking.
    pub fn is_default(self) -> bool {
        BY_DEFAULT.contains(&self.0)
    }
}

impl FromStr for Capability {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let mut known = NAMES.into_iter().chain([Self::ALL.0]);
        known.find(|known| *known == name).map(Self).ok_or_else(|| {
            let text = super::validation::shortened(text);
            Invalid::new("capability", format!("{text:?} is none that Linux has; write one such as NET_ADMIN, or ALL"))
        })
    }
}

// Not derived: that would read no text but one that is there for ever.
impl<'de> Deserialize<'de> for Capability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_capability_has_one_name_however_it_is_written() {
        for text in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_Net_Admin"] {
            assert_eq!(text.parse::<Capability>().unwrap().as_str(), "NET_ADMIN", "{text}");
        }
        assert_eq!("all".parse::<Capability>().unwrap(), Capability::ALL);
        for wrong in ["", "CAP_", "NET-ADMIN", "ROOT", " KILL", "NET_ADMIN,KILL"] {
            assert!(wrong.parse::<Capability>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_docker_gives_by_itself_is_known() {
        assert!(BY_DEFAULT.iter().all(|name| name.parse::<Capability>().unwrap().is_default()));
        assert!(!Capability::ALL.is_default() && !"SYS_ADMIN".parse::<Capability>().unwrap().is_default());
    }
}
