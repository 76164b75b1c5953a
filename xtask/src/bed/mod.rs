//! The bed: several real Docker hosts on one machine, which can be cut off, killed and brought back.
//!
//! Every host has its own address, its own processes and its own daemon, and fails as a machine would: [`Bed::cut`] loses
//! what is said without a word, [`Bed::crash`] ends everything at once and keeps the disk. There is one bed on a machine at a
//! time; who comes second waits. Needs root and Linux.

mod cgroups;
pub(crate) mod command;
mod daemon;
mod host;
mod hosts;
mod lock;
mod network;
mod processes;
mod tls;

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::shell;
use daemon::{Daemon, Kind};
use lock::Lock;
use processes::SWITCH;

pub use hosts::{Hosts, MOST_HOSTS};
pub use tls::ClientFiles;

/// What is the case with a host.
#[derive(Clone, Debug)]
struct Status {
    host: usize,
    address: String,
    /// Everything of it has ended.
    crashed: bool,
    connected: bool,
    answers: bool,
    /// Bytes, without the pages of files.
    memory: Option<u64>,
}

/// A bed, and the right to work with it: nobody else changes it as long as this lives. Taken down when dropped, unless it
/// was made by hand, with `cargo xtask bed up`.
#[derive(Debug)]
pub struct Bed {
    folder: PathBuf,
    kept: bool,
    _lock: Lock,
}

impl Bed {
    /// What keeps this process from having a bed at all, if anything does. Missing packages do not, where they can be
    /// installed.
    #[must_use]
    pub fn obstacle() -> Option<String> {
        if std::env::var("PAAS_TEST_QUICK").is_ok_and(|value| value == "1") {
            return Some("left out of the quick tests".to_owned());
        }
        if !shell::is_root() {
            return Some("several Docker hosts on one machine need root".to_owned());
        }
        packages::obstacle(&[packages::BED])
    }

    /// Makes a bed of these hosts, once nobody else has one, and waits until their daemons answer. One that was made by hand
    /// is waited for as well. Blocks, for up to half an hour where others come first.
    ///
    /// # Errors
    /// What stands in the way, in words.
    pub fn up(hosts: &Hosts) -> Result<Self> {
        Self::check(hosts)?;
        let begun = Instant::now();
        let mut said = false;
        loop {
            let lock = Lock::take()?;
            let Some(other) = processes::holders().into_iter().find(|holder| holder.kept) else {
                let bed = Self { folder: default_folder(), kept: false, _lock: lock };
                // One that is there was made by a program that was killed before it could take it down.
                take_down(&bed.folder)?;
                bed.add(hosts)?;
                return Ok(bed);
            };
            drop(lock);
            let what = format!("a bed that was made by hand, in {}", other.folder.display());
            if !said {
                lock::say(&format!("There is {what}; waiting until 'cargo xtask bed down' takes it down …"));
                said = true;
            }
            if begun.elapsed() > lock::TIMEOUT {
                bail!("there still is {what}: take it down with 'cargo xtask bed down'");
            }
            shell::pause(Duration::from_secs(1));
        }
    }

    /// The bed that is there, or an empty one, to work with by hand.
    fn open() -> Result<Self> {
        Self::check_machine()?;
        let lock = Lock::take()?;
        let folder = folder();
        if processes::holders().iter().any(|holder| !holder.kept) {
            // Of a program that was killed before it could take it down; one that lives would hold the lock.
            take_down(&folder)?;
        }
        Ok(Self { folder, kept: true, _lock: lock })
    }

    fn check(hosts: &Hosts) -> Result<()> {
        hosts.check()?;
        Self::check_machine()?;
        packages::ensure(&hosts.needs())
    }

    fn check_machine() -> Result<()> {
        match Self::obstacle() {
            Some(obstacle) => bail!("{obstacle}"),
            None => Ok(()),
        }
    }

    /// Adds what is missing until these hosts are there and their daemons answer.
    ///
    /// # Errors
    /// What stands in the way, in words.
    pub fn add(&self, hosts: &Hosts) -> Result<()> {
        Self::check(hosts)?;
        for host in 1..=hosts.count {
            let (wanted, is) = (hosts.kind(host), Kind::of(&host::folder(&self.folder, host)));
            if is.is_some_and(|is| is != wanted) && wanted != Kind::default() {
                bail!("host {host} is there already, and of another kind: take the bed down first");
            }
        }
        network::is_free()?;
        let switch = host::hold_switch(&self.folder, self.kept)?;
        network::plug_machine(switch)?;
        let start = |host| {
            let folder = host::folder(&self.folder, host);
            let kind = Kind::of(&folder).unwrap_or_else(|| hosts.kind(host));
            fs::create_dir_all(&folder)?;
            kind.save(&folder)?;
            self.begin(host)
        };
        (1..=hosts.count).try_for_each(start)?;
        (1..=hosts.count).try_for_each(|host| self.daemon(host)?.wait())
    }

    /// Makes a host whole, as far as it is not, without waiting for its daemon.
    fn begin(&self, host: usize) -> Result<()> {
        let holder = host::hold(&self.folder, host, self.kept)?;
        let switch = processes::ready(SWITCH).context("the bed has no switch: 'cargo xtask bed up' makes it whole")?;
        network::plug(switch, host, holder)?;
        self.daemon(host)?.start()
    }

    /// Removes everything of the bed.
    fn down(self) -> Result<()> {
        take_down(&self.folder)
    }

    /// The hosts that the bed has, also those that crashed.
    fn hosts(&self) -> Vec<usize> {
        hosts_in(&self.folder)
    }

    /// How the machine that the bed is on is reached from the hosts.
    #[must_use]
    pub fn machine(&self) -> Ipv4Addr {
        network::MACHINE
    }

    /// The address of a host.
    #[must_use]
    pub fn ip(&self, host: usize) -> Ipv4Addr {
        network::address(host)
    }

    /// Where the daemon of a host is reached: `tcp://` with port 2375, or `https://` with port 2376.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn address(&self, host: usize) -> Result<String> {
        Ok(self.kind(host)?.address(host))
    }

    /// What clients of hosts over TLS need. The files are there once a host with TLS is.
    #[must_use]
    pub fn client_files(&self) -> ClientFiles {
        tls::client_files(&self.folder)
    }

    /// A socket of a host's daemon that also works while the host is cut off: to see what is really there.
    #[must_use]
    pub fn socket(&self, host: usize) -> PathBuf {
        daemon::socket(&self.folder, host)
    }

    /// What the daemon of a host says: a file.
    #[must_use]
    pub fn log(&self, host: usize) -> PathBuf {
        daemon::log(&self.folder, host)
    }

    /// Docker's command line for the daemon of a host.
    #[must_use]
    pub fn docker(&self, host: usize) -> Command {
        docker_of(&self.folder, host)
    }

    /// A command that runs on a host: it sees the host's network, finds Docker at the usual socket, and ends when the host
    /// crashes. Ending what was spawned ends only what it waits for.
    ///
    /// # Errors
    /// When the host is not there or crashed.
    pub fn command(&self, host: usize, program: &Path) -> Result<Command> {
        Ok(host::enter(self.holder(host)?, &program.display().to_string(), false))
    }

    /// Cuts a host off: what is said to it and by it is lost.
    ///
    /// # Errors
    /// When the host is not there or crashed.
    pub fn cut(&self, host: usize) -> Result<()> {
        self.holder(host)?;
        network::set_cable(self.switch()?, host, false)
    }

    /// Lets a host that was cut off be heard again.
    ///
    /// # Errors
    /// As [`Bed::cut`].
    pub fn heal(&self, host: usize) -> Result<()> {
        self.holder(host)?;
        network::set_cable(self.switch()?, host, true)
    }

    /// Holds everything on a host to so many CPUs, or lets it have what there is again.
    ///
    /// # Errors
    /// When the host is not there or crashed, or this machine cannot limit CPUs.
    pub fn limit_cpus(&self, host: usize, cpus: Option<f64>) -> Result<()> {
        self.holder(host)?;
        cgroups::limit_cpus(host, cpus)
    }

    /// Kills the daemon of a host. Its containers go on.
    ///
    /// # Errors
    /// As [`Bed::cut`].
    pub fn kill(&self, host: usize) -> Result<()> {
        self.daemon(host)?.kill()
    }

    /// Asks the daemon of a host to end, and waits until it did. It stops its containers, unless they are to go on.
    ///
    /// # Errors
    /// As [`Bed::cut`], or when it does not end.
    pub fn stop(&self, host: usize) -> Result<()> {
        self.daemon(host)?.stop()
    }

    /// Takes the power from a host: it is silent at once, everything that runs there ends, and its disk is kept.
    ///
    /// # Errors
    /// When there is no such host.
    pub fn crash(&self, host: usize) -> Result<()> {
        self.kind(host)?;
        // Otherwise the kernel would say goodbye for those that it kills.
        network::unplug(self.switch()?, host);
        host::end(host)
    }

    /// Brings back a host that crashed, or its daemon, and waits until it answers. A host that is cut off stays so.
    ///
    /// # Errors
    /// When there is no such host, or it does not answer.
    pub fn start(&self, host: usize) -> Result<()> {
        self.kind(host)?;
        self.begin(host)?;
        self.daemon(host)?.wait()
    }

    /// Gives an image, as `docker save` writes it, to all hosts that are up.
    ///
    /// # Errors
    /// When one does not take it.
    pub fn load(&self, image: &Path) -> Result<()> {
        let up = |&host: &usize| self.daemon(host).is_ok_and(|daemon| daemon.answers());
        let mut loads = Vec::new();
        for host in self.hosts().into_iter().filter(up) {
            let file = fs::File::open(image).with_context(|| format!("{} cannot be read", image.display()))?;
            let mut load = self.docker(host);
            load.args(["load", "--quiet"]).stdin(file).stdout(std::process::Stdio::null());
            loads.push((host, load.spawn().context("docker cannot be run")?));
        }
        for (host, mut load) in loads {
            if !load.wait()?.success() {
                bail!("host {host} does not take {}", image.display());
            }
        }
        Ok(())
    }

    fn kind(&self, host: usize) -> Result<Kind> {
        let there = || self.hosts().iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        Kind::of(&host::folder(&self.folder, host)).with_context(|| {
            format!("the bed has no host {host}; it has: {}", if there().is_empty() { "none".into() } else { there() })
        })
    }

    fn holder(&self, host: usize) -> Result<u32> {
        self.kind(host)?;
        processes::ready(host).with_context(|| format!("host {host} has crashed; start it first"))
    }

    fn switch(&self) -> Result<u32> {
        processes::ready(SWITCH).context("the bed has no switch: 'cargo xtask bed up' makes it whole")
    }

    fn daemon(&self, host: usize) -> Result<Daemon<'_>> {
        let (kind, holder) = (self.kind(host)?, self.holder(host)?);
        Ok(Daemon { bed: &self.folder, host, kind, holder })
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = take_down(&self.folder)
        {
            lock::say(&format!("the bed is not quite down: {error:#}"));
        }
    }
}

/// Looks at all hosts, also while somebody else works with them.
fn status() -> Vec<Status> {
    let folder = folder();
    let switch = processes::ready(SWITCH);
    let look = |host| {
        let kind = Kind::of(&host::folder(&folder, host)).unwrap_or_default();
        let holder = processes::ready(host);
        Status {
            host,
            address: kind.address(host),
            crashed: holder.is_none(),
            connected: switch.is_some_and(|switch| network::is_connected(switch, host)),
            answers: holder.is_some_and(|holder| Daemon { bed: &folder, host, kind, holder }.answers()),
            memory: cgroups::memory(host),
        }
    };
    hosts_in(&folder).into_iter().map(look).collect()
}

/// The folder of the bed that is there, also one that another user made; otherwise where one would be made.
fn folder() -> PathBuf {
    processes::holders().into_iter().next().map_or_else(default_folder, |holder| holder.folder)
}

fn docker_of(folder: &Path, host: usize) -> Command {
    let mut command = Command::new("docker");
    command.arg("--host").arg(format!("unix://{}", daemon::socket(folder, host).display()));
    command
}

fn default_folder() -> PathBuf {
    shell::target().join("bed")
}

fn hosts_in(folder: &Path) -> Vec<usize> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut hosts: Vec<usize> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("host")?.parse().ok()).collect();
    hosts.sort_unstable();
    hosts
}

/// Ends and removes everything of any bed, also of one that is only half there.
fn take_down(folder: &Path) -> Result<()> {
    let mut folders = BTreeSet::from([folder.to_owned()]);
    loop {
        let holders = processes::holders();
        if holders.is_empty() {
            break;
        }
        folders.extend(holders.iter().map(|holder| holder.folder.clone()));
        holders.iter().for_each(|holder| cgroups::thaw(holder.part));
        processes::kill(&holders.iter().map(|holder| holder.pid).collect::<Vec<_>>())?;
    }
    network::unplug_machine();
    cgroups::remove_all()?;
    for folder in folders.iter().filter(|folder| folder.exists()) {
        // The last of what was mounted there goes with the last process, which the kernel may still be at.
        let mut last = None;
        shell::wait_until(Duration::from_secs(5), || {
            last = fs::remove_dir_all(folder).err();
            last.is_none()
        });
        if let Some(error) = last {
            return Err(error).with_context(|| format!("{} cannot be removed", folder.display()));
        }
    }
    Ok(())
}
