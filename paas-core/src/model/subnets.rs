//! The addresses that networks of applications may have.

use std::fmt;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::Invalid;

/// How long the prefix of one network is: 254 addresses.
const OF_ONE: u8 = 24;

/// A range of addresses, such as `10.210.0.0/16`, of which each network of an application gets 256.
///
/// Docker has room for about thirty networks of its own choice on a host; what comes then is taken from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnets(Ipv4Net);

impl Subnets {
    /// The first 256 addresses of the range of which `taken` has none.
    pub fn free(&self, taken: &[IpNet]) -> Option<IpNet> {
        let overlap = |one: &IpNet, other: &IpNet| one.contains(other) || other.contains(one);
        let all = self.0.subnets(OF_ONE).into_iter().flatten().map(IpNet::from);
        all.into_iter().find(|subnet| !taken.iter().any(|other| overlap(subnet, other)))
    }
}

impl Default for Subnets {
    /// `10.210.0.0/16`.
    fn default() -> Self {
        Self(Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 210, 0, 0), 16))
    }
}

impl FromStr for Subnets {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let range = text.parse::<Ipv4Net>().ok().filter(|range| (8..=OF_ONE).contains(&range.prefix_len()));
        range.map(|range| Self(range.trunc())).ok_or_else(|| {
            Invalid::new("app_subnets", format!("must be a range of /8 to /24 such as 10.210.0.0/16, not {text:?}"))
        })
    }
}

impl TryFrom<String> for Subnets {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Subnets> for String {
    fn from(subnets: Subnets) -> Self {
        subnets.to_string()
    }
}

impl fmt::Display for Subnets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(all: &[&str]) -> Vec<IpNet> {
        all.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_taken_is_passed_over() {
        let range: Subnets = "10.8.4.7/22".parse().unwrap();
        assert_eq!(range.to_string(), "10.8.4.0/22");
        let free = |all: &[&str]| range.free(&taken(all)).map(|net| net.to_string());
        assert_eq!(free(&[]).as_deref(), Some("10.8.4.0/24"));
        assert_eq!(free(&["172.17.0.0/16", "10.8.4.128/25", "10.8.5.0/24"]).as_deref(), Some("10.8.6.0/24"));
        assert_eq!(free(&["10.0.0.0/8", "fd00::/8"]), None);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in ["", "10.0.0.0", "10.0.0.0/25", "0.0.0.0/0", "fd00::/16", "10.0.0.0/33"] {
            assert!(bad.parse::<Subnets>().is_err(), "{bad:?} was taken");
        }
    }
}
