//! Ports that containers publish on their host.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Invalid, port_number};

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name as Docker writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl FromStr for Protocol {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "tcp" | "" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            other => Err(Invalid::new("proto", format!("must be tcp, udp or sctp, not {other:?}"))),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port of a container that is to be reachable on its host. As text `proto/host-ip:host-port:container-port`, where
/// empty parts are chosen by the system: `tcp/::80` publishes port 80 on a free port of every address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindPort {
    /// Transport protocol.
    #[serde(default)]
    pub proto: Protocol,
    /// Address of the host to bind; every address when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// Port of the host, 1 to 65535; a free one is chosen when absent.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "port", alias = "host_port")]
    pub host_port: Option<u16>,
    /// Port inside the container, 1 to 65535.
    pub container_port: u16,
}

impl BindPort {
    /// What this port takes on the host, when it asks for a certain one.
    pub fn host(&self) -> Option<HostPort> {
        self.host_port.map(|port| HostPort { proto: self.proto, ip: self.host_ip, port })
    }

    /// Checks the ranges that the types do not.
    ///
    /// # Errors
    /// Names the port that is 0.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.container_port == 0 {
            return Err(Invalid::new("bind_ports.container_port", "must be 1 to 65535"));
        }
        if self.host_port == Some(0) {
            return Err(Invalid::new("bind_ports.port", "must be 1 to 65535; leave it out to have a free one chosen"));
        }
        Ok(())
    }
}

impl FromStr for BindPort {
    type Err = Invalid;

    /// Reads `[proto/]host-ip:host-port:container-port`, `host-port:container-port` or `container-port`. An IPv6
    /// address stands in brackets.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |what: &str| {
            Invalid::new(
                "port",
                format!("{what} in {text:?}; write proto/host-ip:host-port:container-port, for example tcp/::80"),
            )
        };
        let (proto, rest) = match text.split_once('/') {
            Some((proto, rest)) => (proto.parse().map_err(|_| wrong("unknown protocol"))?, rest),
            None => (Protocol::Tcp, text),
        };
        let (rest, container_port) = match rest.rsplit_once(':') {
            Some((rest, port)) => (rest, port),
            None => ("", rest),
        };
        let (host_ip, host_port) = match rest.rsplit_once(':') {
            Some((ip, port)) => (ip, port),
            None => ("", rest),
        };
        let host_ip = match host_ip.trim_start_matches('[').trim_end_matches(']') {
            "" => None,
            ip => Some(ip.parse().map_err(|_| wrong("no valid host address"))?),
        };
        let host_port = match host_port {
            "" => None,
            port => Some(port_number(port).ok_or_else(|| wrong("no valid host port"))?),
        };
        let container_port = port_number(container_port).ok_or_else(|| wrong("no valid container port"))?;
        Ok(Self { proto, host_ip, host_port, container_port })
    }
}

impl fmt::Display for BindPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.proto)?;
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            Some(ip) => write!(f, "{ip}")?,
            None => {}
        }
        f.write_str(":")?;
        if let Some(port) = self.host_port {
            write!(f, "{port}")?;
        }
        write!(f, ":{}", self.container_port)
    }
}

/// A port of a host that can be taken once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Transport protocol.
    pub proto: Protocol,
    /// The address it is bound on; every address when absent.
    pub ip: Option<IpAddr>,
    /// Port number.
    pub port: u16,
}

impl HostPort {
    /// Whether it is bound on every address of the host, of both families.
    pub fn is_everywhere(&self) -> bool {
        self.ip.is_none()
    }

    /// Whether the two cannot both be bound: same protocol and number, on the same address or one of them on every address,
    /// or on every one of the other's family. Docker binds `[::]` for IPv6 alone, so IPv4 and IPv6 are not in each other's
    /// way.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let overlap = match (self.ip, other.ip) {
            (Some(mine), Some(theirs)) => {
                let (mine, theirs) = (mine.to_canonical(), theirs.to_canonical());
                mine.is_ipv4() == theirs.is_ipv4()
                    && (mine.is_unspecified() || theirs.is_unspecified() || mine == theirs)
            }
            _ => true,
        };
        self.proto == other.proto && self.port == other.port && overlap
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(IpAddr::V6(ip)) => write!(f, "{}/[{ip}]:{}", self.proto, self.port),
            Some(ip) => write!(f, "{}/{ip}:{}", self.proto, self.port),
            None => write!(f, "{}/{}", self.proto, self.port),
        }
    }
}

/// A port as Docker really bound it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BoundPort {
    /// Transport protocol.
    pub proto: Protocol,
    /// Address of the host; `0.0.0.0` for every IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    #[serde(rename = "port", alias = "host_port")]
    pub host_port: u16,
    /// Port inside the container.
    pub container_port: u16,
}

impl BoundPort {
    /// What is taken on the host.
    pub fn host(&self) -> HostPort {
        HostPort { proto: self.proto, ip: self.host_ip, port: self.host_port }
    }

    /// The ports as people are shown them. Docker binds "every address" once for IPv4 and once for IPv6; where both have the
    /// same number that is one port, and only what is on the host has two.
    pub fn without_twins(ports: &[Self]) -> Vec<Self> {
        let is_on = |port: &Self, ip: IpAddr| port.host_ip == Some(ip);
        let (ipv4, ipv6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
        let has_twin = |port: &Self| {
            is_on(port, ipv6)
                && ports
                    .iter()
                    .any(|other| is_on(other, ipv4) && Self { host_ip: port.host_ip, ..other.clone() } == *port)
        };
        ports.iter().filter(|port| !has_twin(port)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parts_are_left_to_the_system() {
        let port: BindPort = "tcp/::80".parse().unwrap();
        assert_eq!(port, BindPort { proto: Protocol::Tcp, host_ip: None, host_port: None, container_port: 80 });
        assert_eq!(port.to_string(), "tcp/::80");
        assert_eq!("80".parse::<BindPort>().unwrap(), port);
    }

    #[test]
    fn every_part_can_be_given() {
        for text in ["udp/127.0.0.1:53:5353", "tcp/[::1]:8080:80", "sctp/:9:9"] {
            assert_eq!(text.parse::<BindPort>().unwrap().to_string(), text);
        }
        assert_eq!("8080:80".parse::<BindPort>().unwrap().to_string(), "tcp/:8080:80");
    }

    #[test]
    fn wrong_ports_are_refused() {
        for bad in [
            "",
            "tcp/",
            "tcp/::",
            "tcp/::0",
            "tcp/:0:80",
            "tcp/::70000",
            "ip/::80",
            "tcp/nowhere:1:80",
            "tcp/::-1",
            "+80",
            "+1:80",
            "80 ",
        ] {
            assert!(bad.parse::<BindPort>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_port_of_every_address_conflicts_with_one_of_a_single_address() {
        let everywhere = HostPort { proto: Protocol::Tcp, ip: None, port: 80 };
        let loopback = HostPort { ip: Some("127.0.0.1".parse().unwrap()), ..everywhere };
        let elsewhere = HostPort { ip: Some("10.0.0.1".parse().unwrap()), ..everywhere };
        assert!(everywhere.conflicts_with(&loopback) && loopback.conflicts_with(&everywhere));
        assert!(!loopback.conflicts_with(&elsewhere));
        assert!(!everywhere.conflicts_with(&HostPort { proto: Protocol::Udp, ..everywhere }));
    }

    #[test]
    fn the_two_families_are_not_in_each_others_way() {
        let on = |ip: &str| HostPort { proto: Protocol::Tcp, ip: Some(ip.parse().unwrap()), port: 80 };
        let everywhere = HostPort { proto: Protocol::Tcp, ip: None, port: 80 };
        for (one, other, conflict) in [
            ("0.0.0.0", "::", false),
            ("127.0.0.1", "::", false),
            ("0.0.0.0", "::1", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("::", "::1", true),
            ("::", "::", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::ffff:10.0.0.1", "::", false),
        ] {
            assert_eq!(on(one).conflicts_with(&on(other)), conflict, "{one} {other}");
            assert_eq!(on(other).conflicts_with(&on(one)), conflict, "{other} {one}");
            assert!(everywhere.conflicts_with(&on(one)) && on(other).conflicts_with(&everywhere));
        }
    }

    #[test]
    fn one_port_of_both_families_is_shown_once_and_two_are_two() {
        let bound = |ip: &str, port| BoundPort {
            proto: Protocol::Tcp,
            host_ip: Some(ip.parse().unwrap()),
            host_port: port,
            container_port: 80,
        };
        let twins = [bound("0.0.0.0", 32768), bound("::", 32768)];
        assert_eq!(BoundPort::without_twins(&twins), [bound("0.0.0.0", 32768)]);
        // Docker 20.10 gives the two families different free ports, when one is taken.
        let different = [bound("0.0.0.0", 32768), bound("::", 32769)];
        assert_eq!(BoundPort::without_twins(&different), different);
        assert_eq!(BoundPort::without_twins(&[bound("::", 80)]), [bound("::", 80)]);
    }
}
