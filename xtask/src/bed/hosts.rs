//! Which hosts a bed is to have.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::daemon::Kind;
use crate::packages::{self, Need};

/// The most hosts that a bed can have.
pub const MOST_HOSTS: usize = 250;

/// Which hosts a bed is to have. Hosts are counted from 1.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    pub(super) count: usize,
    tls: BTreeSet<usize>,
    podman: BTreeSet<usize>,
    live_restore: BTreeSet<usize>,
}

impl Hosts {
    /// So many hosts with dockerd over plain TCP; 1 to [`MOST_HOSTS`].
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { count, ..Self::default() }
    }

    /// These are reached over TLS only, with certificates on both sides.
    #[must_use]
    pub fn tls(mut self, hosts: impl IntoIterator<Item = usize>) -> Self {
        self.tls.extend(hosts);
        self
    }

    /// These run Podman's service in place of dockerd.
    #[must_use]
    pub fn podman(mut self, hosts: impl IntoIterator<Item = usize>) -> Self {
        self.podman.extend(hosts);
        self
    }

    /// On these, containers go on when dockerd was killed and comes back.
    #[must_use]
    pub fn live_restore(mut self, hosts: impl IntoIterator<Item = usize>) -> Self {
        self.live_restore.extend(hosts);
        self
    }

    pub(super) fn kind(&self, host: usize) -> Kind {
        Kind {
            podman: self.podman.contains(&host),
            tls: self.tls.contains(&host),
            live_restore: self.live_restore.contains(&host),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(1..=MOST_HOSTS).contains(&self.count) {
            bail!("a bed has 1 to {MOST_HOSTS} hosts, and not {}", self.count);
        }
        let named = self.tls.iter().chain(&self.podman).chain(&self.live_restore);
        if let Some(host) = named.copied().find(|host| !(1..=self.count).contains(host)) {
            bail!("there is no host {host} among {}", self.count);
        }
        if let Some(host) = self.podman.iter().find(|host| self.tls.contains(host) || self.live_restore.contains(host))
        {
            bail!("host {host} cannot run Podman: TLS and containers that survive a restart are dockerd's");
        }
        Ok(())
    }

    pub(super) fn needs(&self) -> Vec<&'static [Need]> {
        let mut needs = vec![packages::BED];
        if !self.tls.is_empty() {
            needs.push(packages::TLS);
        }
        if !self.podman.is_empty() {
            needs.push(packages::PODMAN);
        }
        needs
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let refused = |hosts: Hosts| hosts.check().unwrap_err().to_string();
        Hosts::new(3).tls([2]).podman([3]).live_restore([1, 2]).check().unwrap();
        assert!(refused(Hosts::new(0)).contains("not 0"));
        assert!(refused(Hosts::new(MOST_HOSTS + 1)).contains("251"));
        assert!(refused(Hosts::new(2).tls([3])).contains("no host 3"));
        assert!(refused(Hosts::new(2).podman([0])).contains("no host 0"));
        assert!(refused(Hosts::new(2).podman([1]).tls([1])).contains("host 1 cannot run Podman"));
    }
}
