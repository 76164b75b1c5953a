//! Addresses of engines. The scheme says which kind of engine it is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::validation::is_host_name;
use super::{Cpus, Invalid, MemoryMb, port_number};

const FORMS: &str =
    "write unix:///var/run/docker.sock, tcp://host:2375, https://host:2376 or sim://name?cpus=4&memory=8192";

/// Where an engine answers. Two texts that mean one place are one address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum EngineAddress {
    /// A Docker socket on this machine, by absolute path.
    Unix(String),
    /// Docker over plain HTTP. Anyone who reaches the port owns the host: for closed networks only.
    Tcp {
        /// Host name or IP address; IPv6 in brackets.
        host: String,
        /// Port; 2375 when the text names none.
        port: u16,
    },
    /// Docker over TLS with client certificates.
    Https {
        /// Host name or IP address; IPv6 in brackets.
        host: String,
        /// Port; 2376 when the text names none.
        port: u16,
    },
    /// A simulated host inside this process.
    Simulated(SimulatedHost),
}

/// Properties of a simulated host: `sim://NAME?cpus=4&memory=8192&latency_ms=20&failure_rate=0.01&seed=7`.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedHost {
    /// Name of the host. Two addresses with one name are one simulated daemon.
    pub name: String,
    /// CPUs; 4 when not given.
    pub cpus: Cpus,
    /// Memory, MB; 8192 when not given.
    pub memory: MemoryMb,
    /// How long each operation takes; nothing when not given.
    pub latency: Duration,
    /// Share of operations that fail, 0 to 1; 0 when not given.
    pub failure_rate: f64,
    /// Seed of the failures, so that they can be had again; 0 when not given.
    pub seed: u64,
}

impl SimulatedHost {
    /// A host of 4 CPUs and 8192 MB that answers at once and never fails.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            cpus: Cpus::from_milli(4000),
            memory: MemoryMb::new(8192),
            latency: Duration::ZERO,
            failure_rate: 0.0,
            seed: 0,
        }
    }

    fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = |message: String| Invalid::new("addr", message);
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(wrong(format!("a simulated host needs a plain name, not {name:?}; {FORMS}")));
        }
        let mut host = Self::new(name);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let bad = || wrong(format!("{value:?} is no value for {key}"));
            match key {
                "cpus" => {
                    let cpus: f64 = value.parse().map_err(|_| bad())?;
                    host.cpus = Cpus::try_from(cpus).ok().filter(|&cpus| cpus > Cpus::ZERO).ok_or_else(bad)?;
                }
                "memory" => {
                    let memory = value.parse().map(MemoryMb::new).map_err(|_| bad())?;
                    host.memory =
                        Some(memory).filter(|m| (MemoryMb::new(1)..=MemoryMb::MAX).contains(m)).ok_or_else(bad)?;
                }
                "latency_ms" => {
                    let latency = value.parse::<u32>().map_err(|_| bad())?;
                    host.latency = Duration::from_millis(latency.into());
                }
                "failure_rate" => {
                    let rate: f64 = value.parse().map_err(|_| bad())?;
                    host.failure_rate = Some(rate).filter(|rate| (0.0..=1.0).contains(rate)).ok_or_else(bad)?;
                }
                "seed" => host.seed = value.parse().map_err(|_| bad())?,
                other => {
                    return Err(wrong(format!(
                        "a simulated host has cpus, memory, latency_ms, failure_rate and seed, but no {other:?}"
                    )));
                }
            }
        }
        Ok(host)
    }
}

impl EngineAddress {
    /// What two addresses of one place have in common; the key by which an address may be in use once.
    pub fn place(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix://{path}"),
            Self::Tcp { host, port } | Self::Https { host, port } => format!("{}:{port}", host.to_ascii_lowercase()),
            Self::Simulated(host) => format!("sim://{}", host.name),
        }
    }

    /// Checks what an address that was stored by an earlier version may have, and that leads nowhere.
    ///
    /// # Errors
    /// Its host is no name that could be looked up.
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let (Self::Tcp { host, .. } | Self::Https { host, .. }) = self else { return Ok(()) };
        if host.starts_with('[') || is_host_name(host.strip_suffix('.').unwrap_or(host)) {
            return Ok(());
        }
        Err(Invalid::new("addr", format!("{host:?} is no name of a host; {FORMS}")))
    }

    /// Whether the engine only pretends to run containers.
    pub const fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }
}

fn host_and_port(text: &str, default_port: u16) -> Result<(String, u16), Invalid> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            let port = port_number(port);
            (host, port.ok_or_else(|| Invalid::new("addr", format!("no valid port in {text:?}; {FORMS}")))?)
        }
        _ => (text, default_port),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let good = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(plain),
    };
    if !good {
        return Err(Invalid::new("addr", format!("no valid host in {text:?}; {FORMS}")));
    }
    Ok((host.to_owned(), port))
}

impl FromStr for EngineAddress {
    type Err = Invalid;

    /// Reads `unix://`, `tcp://` (also written `http://`), `https://` and `sim://`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| Invalid::new("addr", format!("{text:?} has no scheme; {FORMS}")))?;
        match scheme {
            "unix" if rest.starts_with('/') && rest.len() > 1 && !rest.contains('\0') => {
                Ok(Self::Unix(rest.to_owned()))
            }
            "unix" => Err(Invalid::new("addr", format!("a socket needs an absolute path; {FORMS}"))),
            "tcp" | "http" => host_and_port(rest, 2375).map(|(host, port)| Self::Tcp { host, port }),
            "https" => host_and_port(rest, 2376).map(|(host, port)| Self::Https { host, port }),
            "sim" => SimulatedHost::parse(rest).map(Self::Simulated),
            other => Err(Invalid::new("addr", format!("unknown scheme {other:?}; {FORMS}"))),
        }
    }
}

impl TryFrom<String> for EngineAddress {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<EngineAddress> for String {
    fn from(address: EngineAddress) -> String {
        address.to_string()
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
            Self::Simulated(host) => {
                write!(f, "sim://{}?cpus={}&memory={}", host.name, host.cpus, host.memory)?;
                if host.latency > Duration::ZERO {
                    write!(f, "&latency_ms={}", host.latency.as_millis())?;
                }
                if host.failure_rate > 0.0 {
                    write!(f, "&failure_rate={}", host.failure_rate)?;
                }
                if host.seed != 0 {
                    write!(f, "&seed={}", host.seed)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> EngineAddress {
        text.parse().unwrap()
    }

    #[test]
    fn the_scheme_says_the_kind() {
        assert_eq!(parse("unix:///var/run/docker.sock"), EngineAddress::Unix("/var/run/docker.sock".into()));
        assert_eq!(parse("tcp://10.0.0.1"), EngineAddress::Tcp { host: "10.0.0.1".into(), port: 2375 });
        assert_eq!(parse("http://192.168.7.101:2375"), parse("tcp://192.168.7.101:2375"));
        assert_eq!(parse("https://[::1]"), EngineAddress::Https { host: "[::1]".into(), port: 2376 });
        assert!(parse("sim://a").is_simulated());
    }

    #[test]
    fn text_and_address_are_the_same() {
        for text in [
            "unix:///var/run/docker.sock",
            "tcp://docker-1.example.org:2375",
            "https://[fe80::1]:2376",
            "sim://a?cpus=0.5&memory=100&latency_ms=20&failure_rate=0.25&seed=7",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn one_place_is_one_place_however_it_is_written() {
        assert_eq!(parse("tcp://Node:2376").place(), parse("https://node").place());
        assert_eq!(parse("sim://a?cpus=1").place(), parse("sim://a").place());
    }

    #[test]
    fn a_host_that_cannot_be_is_read_but_not_taken_in() {
        for host in ["a..b", ".", "-a", &"a".repeat(64)] {
            let address = parse(&format!("tcp://{host}:80"));
            assert_eq!(address.validate().unwrap_err().field, "addr", "{host}");
        }
        for host in ["node_1.example.org", "node.", "10.0.0.1", "[fe80::1]"] {
            parse(&format!("https://{host}")).validate().unwrap();
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "docker",
            "unix://",
            "unix://relative",
            "tcp://",
            "tcp://a:0",
            "tcp://a:99999",
            "tcp://a:+80",
            "tcp://a:80:80",
            "tcp://user@a:80",
            "tcp://a?x=y",
            "tcp://a#x",
            "tcp://::1",
            "tcp://[::1]x:80",
            "tcp://a b",
            "tcp://[x]",
            "ftp://a",
            "sim://",
            "sim://a?cpus=0",
            "sim://a?cpus=x",
            "sim://a?memory=0",
            "sim://a?failure_rate=2",
            "sim://a?colour=red",
            "tcp://a/path",
        ] {
            assert!(bad.parse::<EngineAddress>().is_err(), "{bad:?} was taken");
        }
    }
}
