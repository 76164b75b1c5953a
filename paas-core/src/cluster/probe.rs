//! The ways to find out whether a host is alive.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
#[cfg(feature = "docker")]
use tokio::time::timeout;

use crate::engine::{DockerEngine, EngineError};
use crate::model::{EngineAddress, Invalid};
#[cfg(feature = "docker")]
use crate::net;

/// How the monitor asks a host whether it is alive.
///
/// Hosts without a network address, such as a socket on this machine or a simulated host, are always asked by
/// [`ProbeKind::Ping`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// Docker's own `_ping`: the daemon answers.
    #[default]
    Ping,
    /// A TCP connection to the daemon's port: the daemon is there, though it may hang.
    Tcp,
    /// ICMP echo, as in the source thesis: the host is there, whatever its daemon does. Needs the capability
    /// `CAP_NET_RAW`, or a group within the kernel's `net.ipv4.ping_group_range`.
    Icmp,
}

impl ProbeKind {
    /// Every kind, for help texts and errors.
    pub const ALL: [Self; 3] = [Self::Ping, Self::Tcp, Self::Icmp];

    /// The name in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Tcp => "tcp",
            Self::Icmp => "icmp",
        }
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProbeKind {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| Invalid::new("probe", format!("must be ping, tcp or icmp, not {text:?}")))
    }
}

/// Who was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The daemon itself.
    Daemon,
    /// Its host, whatever the daemon does.
    Host,
}

/// Why nobody was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unheard {
    pub(super) reason: String,
    /// The host said itself that nobody listens: it lives, and its daemon does not.
    pub(super) nobody_listens: bool,
}

impl Unheard {
    pub(super) fn silent(reason: String) -> Self {
        Self { reason, nobody_listens: false }
    }
}

impl From<&EngineError> for Unheard {
    fn from(error: &EngineError) -> Self {
        Self { reason: error.detail().to_owned(), nobody_listens: error.nobody_listens() }
    }
}

/// Asks hosts. One serves all engines: ICMP needs a socket of its own.
#[derive(Debug, Default)]
pub(super) struct Prober {
    kind: ProbeKind,
    #[cfg(feature = "docker")]
    icmp: icmp::Sockets,
}

impl Prober {
    pub(super) fn new(kind: ProbeKind) -> Self {
        Self {
            kind,
            #[cfg(feature = "docker")]
            icmp: icmp::Sockets::default(),
        }
    }

    /// Whether an answer means that the daemon answers, and not only its host.
    pub(super) fn asks_daemons(&self) -> bool {
        self.kind == ProbeKind::Ping
    }

    /// Asks one host, for at most `deadline`. If it is not heard, why.
    pub(super) async fn ask(
        &self,
        address: &EngineAddress,
        engine: &dyn DockerEngine,
        deadline: Duration,
    ) -> Result<Heard, Unheard> {
        match self.ask_network(address, deadline).await {
            Some(answer) => answer.map(|()| Heard::Host),
            None => engine.ping(deadline).await.map(|()| Heard::Daemon).map_err(|error| Unheard::from(&error)),
        }
    }

    /// Nothing when the engine itself is to be asked.
    #[cfg(feature = "docker")]
    async fn ask_network(&self, address: &EngineAddress, deadline: Duration) -> Option<Result<(), Unheard>> {
        let (EngineAddress::Tcp { host, port } | EngineAddress::Https { host, port }) = address else { return None };
        let answer = match self.kind {
            ProbeKind::Ping => return None,
            ProbeKind::Tcp => timeout(deadline, connect(host, *port)).await,
            ProbeKind::Icmp => {
                timeout(deadline, self.icmp.echo(host, *port, deadline)).await.map(|echo| echo.map_err(Unheard::silent))
            }
        };
        Some(answer.unwrap_or_else(|_| Err(Unheard::silent(format!("{address}: no answer within {deadline:?}")))))
    }

    /// Without Docker there are only simulated hosts.
    #[cfg(not(feature = "docker"))]
    async fn ask_network(&self, _address: &EngineAddress, _patience: Duration) -> Option<Result<(), Unheard>> {
        None
    }
}

#[cfg(feature = "docker")]
async fn connect(host: &str, port: u16) -> Result<(), Unheard> {
    match net::connect(host, port).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let nobody_listens = error.kind() == std::io::ErrorKind::ConnectionRefused;
            Err(Unheard { reason: format!("{host}:{port}: {error}"), nobody_listens })
        }
    }
}

#[cfg(feature = "docker")]
mod icmp {
    use std::fmt;
    use std::net::IpAddr;
    use std::sync::OnceLock;
    use std::time::Duration;

    use surge_ping::{Client, Config, ICMP, PingIdentifier, PingSequence};

    use crate::net;

    /// What an echo request carries beside its header, bytes: as much as the usual `ping`.
    const PAYLOAD: [u8; 56] = [0; 56];

    /// Why no echo came from an address.
    struct Silent(String);

    impl From<std::io::Error> for Silent {
        fn from(error: std::io::Error) -> Self {
            Self(error.to_string())
        }
    }

    /// One socket per family of addresses, opened when first needed.
    #[derive(Default)]
    pub(super) struct Sockets {
        v4: OnceLock<Result<Client, String>>,
        v6: OnceLock<Result<Client, String>>,
    }

    impl fmt::Debug for Sockets {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Sockets")
        }
    }

    impl Sockets {
        /// Sends an echo request and waits for the reply, for at most `deadline`.
        pub(super) async fn echo(&self, host: &str, port: u16, deadline: Duration) -> Result<(), String> {
            let found = net::addresses(host, port).await.map_err(|error| format!("{host} is not found: {error}"))?;
            net::first(found, |address| self.echo_from(address.ip(), deadline)).await.map_err(|silent| silent.0)
        }

        async fn echo_from(&self, ip: IpAddr, deadline: Duration) -> Result<(), Silent> {
            let client = self.client(ip).as_ref().map_err(|error| Silent(error.clone()))?;
            let mut pinger = client.pinger(ip, PingIdentifier(rand::random())).await;
            pinger.timeout(deadline);
            match pinger.ping(PingSequence(0), &PAYLOAD).await {
                Ok(_) => Ok(()),
                Err(error) => Err(Silent(format!("no echo from {ip}: {error}"))),
            }
        }

        fn client(&self, ip: IpAddr) -> &Result<Client, String> {
            let (socket, kind) = if ip.is_ipv4() { (&self.v4, ICMP::V4) } else { (&self.v6, ICMP::V6) };
            socket.get_or_init(|| {
                Client::new(&Config::builder().kind(kind).build())
                    .map_err(|error| format!("ICMP cannot be spoken here; probe by ping or tcp: {error}"))
            })
        }
    }
}

#[cfg(feature = "docker")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimulatedEngine;
    use crate::model::SimulatedHost;

    const TIMEOUT: Duration = Duration::from_secs(5);

    /// A daemon that never answers, so that only the network can.
    fn deaf() -> SimulatedEngine {
        let engine = SimulatedEngine::new(&SimulatedHost::new("deaf"));
        engine.set_reachable(false);
        engine
    }

    async fn ask(kind: ProbeKind, address: &str, deadline: Duration) -> Result<Heard, Unheard> {
        Prober::new(kind).ask(&address.parse().unwrap(), &deaf(), deadline).await
    }

    #[tokio::test]
    async fn a_port_that_is_listened_on_is_enough_for_tcp() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        assert_eq!(ask(ProbeKind::Tcp, &address, TIMEOUT).await, Ok(Heard::Host));
        drop(listener);
        let refused = ask(ProbeKind::Tcp, &address, TIMEOUT).await.unwrap_err();
        assert!(refused.reason.contains("refused") && refused.nobody_listens, "{refused:?}");
        assert!(ask(ProbeKind::Ping, &address, TIMEOUT).await.is_err());
    }

    #[tokio::test]
    async fn a_host_that_echoes_is_enough_for_icmp() {
        match ask(ProbeKind::Icmp, "tcp://127.0.0.1:1", TIMEOUT).await {
            Ok(heard) => assert_eq!(heard, Heard::Host),
            // Without the right to, the operator is told what to do instead.
            Err(error) => assert!(error.reason.contains("probe by ping or tcp"), "{error:?}"),
        }
        let unknown = ask(ProbeKind::Icmp, "tcp://no.such.host.invalid:1", TIMEOUT).await.unwrap_err();
        assert!(unknown.reason.contains("not found") && !unknown.nobody_listens, "{unknown:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_network_address_is_asked_itself() {
        for kind in ProbeKind::ALL {
            for address in ["sim://deaf", "unix:///nowhere.sock"] {
                let answer = ask(kind, address, TIMEOUT).await;
                assert!(answer.is_err_and(|error| error.reason.contains("simulated host")), "{kind} {address}");
            }
        }
    }

    #[test]
    fn kinds_have_names() {
        for kind in ProbeKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("pings".parse::<ProbeKind>().is_err_and(|error| error.message.contains("ping, tcp or icmp")));
    }
}
