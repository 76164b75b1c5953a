//! `paas-server agent`: runs beside a Docker daemon, registers it with a server or in etcd, and keeps saying that the host
//! is alive.

mod remote;

use std::net::{ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use paas_core::agent::{Agent, DirectRegistrar, HostMeter, Identity, Registrar};
use paas_core::engine::connect;
use paas_core::files;
use paas_core::model::{EngineAddress, EngineId, EngineSpec};
use paas_core::registry::{open_registry, registry_hosts};

use crate::config::BackendUrl;
use crate::{bootstrap, process};
use remote::{RemoteRegistrar, ServerUrl};

/// How long saying that this host leaves may take, and everything else at the end.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// The port of Docker over TCP.
const DOCKER_PORT: u16 = 2375;

/// Keeps the Docker daemon of this machine registered, with a server or in the etcd that the server follows.
#[derive(Debug, Parser)]
#[command(name = "paas-server agent", bin_name = "paas-server agent", version, max_term_width = 110)]
pub struct AgentFlags {
    /// Register with this server: scheme, name and port, as in `paas-cli login`. Needs a join token. A server on another machine
    /// is reached through the proxy of http_proxy, https_proxy and NO_PROXY.
    #[arg(long, env = "PAAS_SERVER", value_name = "URL")]
    server: Option<String>,
    /// Register in this etcd, as in `paas-server --registry`. The variable is the better place for a password.
    #[arg(long, env = "PAAS_REGISTRY", value_name = "URL", hide_env_values = true)]
    registry: Option<BackendUrl>,
    /// File with the join token. It can also be in the variable PAAS_JOIN_TOKEN.
    #[arg(long, value_name = "FILE")]
    join_token_file: Option<PathBuf>,
    /// Also trust a server whose certificate those in this file (PEM) signed.
    #[arg(long, env = "PAAS_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Id of this engine: the same after every restart. Default: the name of this machine.
    #[arg(long, env = "PAAS_AGENT_ID", value_name = "ID")]
    id: Option<EngineId>,
    /// Where the server reaches the Docker of this machine. Default: tcp:// with the address that this machine reaches the
    /// server or etcd from, and port 2375.
    #[arg(long, env = "PAAS_AGENT_ADVERTISE", value_name = "ADDRESS")]
    advertise: Option<EngineAddress>,
    /// Where this agent reaches the Docker of this machine.
    #[arg(long, env = "PAAS_AGENT_DOCKER", value_name = "ADDRESS", default_value = "unix:///var/run/docker.sock")]
    docker: EngineAddress,
    /// A label that containers can ask for; several times, or several with commas.
    #[arg(long = "label", env = "PAAS_AGENT_LABELS", value_name = "LABEL", value_delimiter = ',')]
    labels: Vec<String>,
    /// After how many seconds without a word from here the host counts as gone, 1 to 300.
    #[arg(long, env = "PAAS_AGENT_LEASE", value_name = "SECONDS", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..=300))]
    lease: u64,
    /// What is logged: error, warn, info, debug or trace, or a filter by module.
    #[arg(long, env = "PAAS_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
}

/// Runs an agent until a signal ends it.
///
/// # Errors
/// Says which setting cannot be used. Once it runs, it waits for whatever is missing.
pub async fn run(flags: AgentFlags) -> Result<()> {
    process::start_log(&flags.log, crate::config::LogFormat::Text)?;
    let stop = process::stop_on_signals(STOP_DEADLINE)?;
    let id = match &flags.id {
        Some(id) => id.clone(),
        None => host_name()?.parse().context("the name of this machine is no id; choose one with --id")?,
    };
    let spec = EngineSpec { labels: flags.labels.clone(), ..EngineSpec::new(id.clone(), flags.docker.clone()) };
    spec.validate()?;
    let (registrar, hosts) = registrar(&flags).await?;
    let addr = match flags.advertise {
        Some(addr) => addr,
        None => reachable_address(&hosts)?,
    };
    let simulated = flags.docker.is_simulated();
    let engine = connect(&spec)?;
    let identity = Identity { id, addr, labels: flags.labels };
    let mut agent = Agent::new(registrar, engine, identity, Duration::from_secs(flags.lease));
    // A host that is only simulated uses nothing of this machine.
    if !simulated {
        agent = agent.measuring(HostMeter::new());
    }
    agent.run(stop).await;
    Ok(())
}

/// Where to register, and the hosts, with ports, that are reached for that.
async fn registrar(flags: &AgentFlags) -> Result<(Arc<dyn Registrar>, Vec<String>)> {
    match (&flags.server, &flags.registry) {
        (Some(_), Some(_)) => {
            anyhow::bail!("there are both a --server and a --registry to register with; give one of them")
        }
        (None, None) => anyhow::bail!("where to register? Give --server with a join token, or --registry"),
        (Some(server), None) => {
            let token = join_token(flags)?;
            let ca = flags.ca.as_ref().map(|path| {
                files::read(path, files::LARGEST_TEXT)
                    .with_context(|| format!("the certificates in {} cannot be read", path.display()))
            });
            let server = ServerUrl::parse(server)?;
            let hosts = vec![server.host_and_port()];
            Ok((Arc::new(RemoteRegistrar::new(&server, token, ca.transpose()?.as_deref())?), hosts))
        }
        (None, Some(url)) => {
            let url = url.as_str();
            let hosts = registry_hosts(url)?;
            anyhow::ensure!(
                !hosts.is_empty(),
                "that registry is inside a server, which the agent reaches with --server"
            );
            let registry = open_registry(url)?;
            bootstrap::check_registry(&*registry).await?;
            Ok((Arc::new(DirectRegistrar::new(registry)), hosts))
        }
    }
}

fn join_token(flags: &AgentFlags) -> Result<String> {
    let token = match &flags.join_token_file {
        Some(path) => {
            files::read_text(path).with_context(|| format!("the join token in {} cannot be read", path.display()))?
        }
        None => std::env::var("PAAS_JOIN_TOKEN").unwrap_or_default(),
    };
    let token = token.trim().to_owned();
    anyhow::ensure!(
        !token.is_empty(),
        "there is no join token; make one with 'paas-cli jtadd' and give it with --join-token-file or PAAS_JOIN_TOKEN"
    );
    Ok(token)
}

fn host_name() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    Ok(name.context("this machine has no name to be read; choose an id with --id")?.trim().to_owned())
}

/// The address that this machine reaches the first of these hosts from that has an address itself.
fn reachable_address(hosts: &[String]) -> Result<EngineAddress> {
    let mut outcome = Err(anyhow::anyhow!("no host to reach"));
    for host in hosts {
        let unknown =
            || format!("{host} is not found, so the way to it is not known; say with --advertise where Docker is");
        outcome = way_to(host).with_context(unknown);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Connecting a datagram socket only asks the kernel for the way; nothing is sent.
fn way_to(host: &str) -> Result<EngineAddress> {
    let target = host.to_socket_addrs()?.next().context("it has no address")?;
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(target)?;
    let address = match socket.local_addr()?.ip() {
        std::net::IpAddr::V4(ip) => format!("tcp://{ip}:{DOCKER_PORT}"),
        std::net::IpAddr::V6(ip) => format!("tcp://[{ip}]:{DOCKER_PORT}"),
    };
    Ok(address.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        AgentFlags::command().debug_assert();
    }

    #[test]
    fn the_address_is_the_one_that_leads_to_the_server() {
        for server in ["http://127.0.0.1:5002", "https://127.0.0.1", "http://localhost:1/path"] {
            let host = ServerUrl::parse(server).unwrap().host_and_port();
            let address = reachable_address(&[host]).unwrap().to_string();
            assert!(address == "tcp://127.0.0.1:2375" || address == "tcp://[::1]:2375", "{server}: {address}");
        }
        let nowhere = "no.such.host.invalid:2379".to_owned();
        assert!(reachable_address(std::slice::from_ref(&nowhere)).is_err());
        let address = reachable_address(&[nowhere, "127.0.0.1:2379".to_owned()]).unwrap();
        assert_eq!(address.to_string(), "tcp://127.0.0.1:2375");
    }
}
