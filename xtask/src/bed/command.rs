//! `cargo xtask bed`: the bed by hand.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use super::{Bed, Hosts, MOST_HOSTS, Status, host, processes, status};

/// What can be done with the bed.
#[derive(Debug, Subcommand)]
pub(crate) enum BedCommand {
    /// Makes a bed of so many hosts, or adds hosts to the one that is there.
    Up {
        /// How many hosts there are to be.
        #[arg(value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_HOSTS as u64))]
        count: u64,
        /// These hosts are reached over TLS only, at port 2376 with certificates.
        #[arg(long, value_name = "HOST", value_delimiter = ',')]
        tls: Vec<usize>,
        /// These hosts run Podman's service in place of dockerd.
        #[arg(long, value_name = "HOST", value_delimiter = ',')]
        podman: Vec<usize>,
        /// On these hosts containers go on when dockerd was killed and is started again.
        #[arg(long, value_name = "HOST", value_delimiter = ',')]
        live_restore: Vec<usize>,
    },
    /// Removes the bed and everything in it.
    Down,
    /// Cuts a host off the network.
    Cut {
        #[arg(value_name = "HOST")]
        host: usize,
    },
    /// Mends the network of a host that was cut off.
    Heal {
        #[arg(value_name = "HOST")]
        host: usize,
    },
    /// Kills the daemon of a host; its containers go on.
    Kill {
        #[arg(value_name = "HOST")]
        host: usize,
    },
    /// Takes the power from a host; its disk is kept.
    Crash {
        #[arg(value_name = "HOST")]
        host: usize,
    },
    /// Starts a host that crashed, or its daemon.
    Start {
        #[arg(value_name = "HOST")]
        host: usize,
    },
    /// Ends the daemon of a host, and with it the containers.
    Stop {
        #[arg(value_name = "HOST")]
        host: usize,
    },
    /// Shows the hosts.
    Status,
    /// Gives an image to all hosts.
    Load {
        /// An archive as 'docker save' writes it.
        #[arg(value_name = "FILE")]
        image: PathBuf,
    },
    /// Runs Docker's command line with the daemon of a host.
    Docker {
        #[arg(value_name = "HOST")]
        host: usize,
        #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs a program of this machine on a host, with the network, the name and the Docker socket of the host.
    Exec {
        #[arg(value_name = "HOST")]
        host: usize,
        #[arg(value_name = "PROGRAM", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
}

impl BedCommand {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Up { count, tls, podman, live_restore } => {
                let hosts = Hosts::new(count.try_into()?).tls(tls).podman(podman).live_restore(live_restore);
                let bed = Bed::open()?;
                bed.add(&hosts)?;
                show(&bed.folder)
            }
            Self::Down => Bed::open()?.down(),
            Self::Cut { host } => Bed::open()?.cut(host),
            Self::Heal { host } => Bed::open()?.heal(host),
            Self::Kill { host } => Bed::open()?.kill(host),
            Self::Crash { host } => Bed::open()?.crash(host),
            Self::Start { host } => Bed::open()?.start(host),
            Self::Stop { host } => Bed::open()?.stop(host),
            Self::Status => show(&super::folder()),
            Self::Load { image } => Bed::open()?.load(&image),
            Self::Docker { host, arguments } => docker(host, &arguments),
            Self::Exec { host, program } => exec(host, &program),
        }
    }
}

/// Becomes Docker's command line. Waits for nobody: looking at a bed that tests work with is fine.
fn docker(host: usize, arguments: &[String]) -> Result<()> {
    let folder = super::folder();
    if !super::hosts_in(&folder).contains(&host) {
        bail!("the bed has no host {host}");
    }
    let error = super::docker_of(&folder, host).args(arguments).exec();
    Err(error).context("docker cannot be run")
}

/// Becomes a program on a host. Waits for nobody, as [`docker`].
fn exec(host: usize, program: &[String]) -> Result<()> {
    if !super::hosts_in(&super::folder()).contains(&host) {
        bail!("the bed has no host {host}");
    }
    let holder = processes::ready(host).with_context(|| format!("host {host} has crashed; start it first"))?;
    let [program, arguments @ ..] = program else { bail!("which program?") };
    let error = host::enter(holder, program, false).args(arguments).exec();
    Err(error).with_context(|| format!("{program} cannot be run"))
}

fn show(folder: &std::path::Path) -> Result<()> {
    let all = status();
    if all.is_empty() {
        println!("There is no bed. 'cargo xtask bed up 3' makes one.");
        return Ok(());
    }
    println!("{:<5} {:<24} {:<8} {:<7} {:>10} {:>7}", "HOST", "ADDRESS", "NETWORK", "DAEMON", "CONTAINERS", "MEMORY");
    for one in all {
        let Status { host, address, crashed, connected, answers, memory } = one;
        let network = if connected {
            "up"
        } else if crashed {
            "-"
        } else {
            "cut"
        };
        let daemon = if answers {
            "up"
        } else if crashed {
            "crashed"
        } else {
            "down"
        };
        let containers = if answers { containers(folder, host) } else { None };
        let containers = containers.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let memory = memory.filter(|_| !crashed).map_or_else(|| "-".to_owned(), |bytes| format!("{}MB", bytes >> 20));
        println!("{host:<5} {address:<24} {network:<8} {daemon:<7} {containers:>10} {memory:>7}");
    }
    Ok(())
}

/// How many containers run on a host.
fn containers(folder: &std::path::Path, host: usize) -> Option<usize> {
    let mut list = super::docker_of(folder, host);
    let output = list.args(["ps", "--quiet"]).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| output.stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count())
}
