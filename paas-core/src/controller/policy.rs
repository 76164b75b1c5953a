//! What may be asked of the hosts, beside what a role opens.
//!
//! A role says which paths of the API an account may use. An account that may run containers could still take the whole host
//! with one, by mounting its root folder. So accounts other than admins are held to a policy, which is strict unless it is told
//! otherwise; what it refuses names the field and the setting that would open it. It holds for what is newly made, by running
//! and by scaling alike; what an admin made may be stopped, started and destroyed by every account whose role opens that.

use super::{Actor, Controller, ControllerError, Result};
use crate::cluster::KnownContainer;
use crate::model::{BindPort, Capability, ContainerSpec, Device, EngineAddress, Invalid, Logging};

/// Below it, ports are the system's own on any Linux.
const FIRST_OPEN_PORT: u16 = 1024;

/// What may be asked of the hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Folders of the hosts that accounts other than admins may mount, with everything below: absolute paths. None by default.
    pub host_paths: Vec<String>,
    /// Whether accounts other than admins may use the network of the host, and of containers that are not theirs. Not by
    /// default.
    pub host_network: bool,
    /// Whether accounts other than admins may take ports of the hosts below 1024. Not by default.
    pub low_ports: bool,
    /// Capabilities beyond Docker's own that accounts other than admins may ask for; [`Capability::ALL`] opens all. None by default.
    pub capabilities: Vec<Capability>,
    /// Devices of the hosts that they may ask for, and folders with everything below: absolute paths. None by default.
    pub devices: Vec<String>,
    /// Settings of the kernel that they may change in a container: names, or beginnings of names with `*` behind. None by default.
    pub sysctls: Vec<String>,
    /// Drivers by which they may send output away from the hosts. None by default; those that keep it there are open.
    pub log_drivers: Vec<String>,
    /// Whether accounts other than admins may add engines at sockets of the server's own machine (`unix://`), and hosts with a
    /// join token register such. Not by default.
    pub unix_engines: bool,
    /// Whether anybody, and be it an admin, may add hosts that are only simulated, or a join token register one. The library
    /// takes them by default; the program `paas-server` does not.
    pub simulated_engines: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            host_paths: Vec::new(),
            host_network: false,
            low_ports: false,
            capabilities: Vec::new(),
            devices: Vec::new(),
            sysctls: Vec::new(),
            log_drivers: Vec::new(),
            unix_engines: false,
            simulated_engines: true,
        }
    }
}

/// What is refused: the field, and why, with the setting that opens it.
type Refused = (&'static str, String);

fn refused(field: &'static str, reason: impl Into<String>) -> Result<(), Refused> {
    Err((field, reason.into()))
}

impl Policy {
    /// Whether an account other than an admin may run such a container. Whose network it joins is looked at elsewhere.
    fn check_spec(&self, spec: &ContainerSpec) -> Result<(), Refused> {
        // Without dots, so that nobody adds a field without a decision about it.
        let ContainerSpec {
            volumes,
            network_mode,
            cap_add,
            devices,
            sysctls,
            logging,
            bind_ports,
            name: _,
            cpus: _,
            cpuset: _,
            memory: _,
            entrypoint: _,
            args: _,
            environment: _,
            hostname: _,
            domainname: _,
            kind: _,
            labels: _,
            user_data: _,
            links: _,
            restart_policy: _,
            publish: _,
            user: _,
            init: _,
            read_only: _,
            tmpfs: _,
            shm_size: _,
            cap_drop: _,
            ulimits: _,
            extra_hosts: _,
            memory_reservation: _,
            pids_limit: _,
            stop_signal: _,
            stop_timeout: _,
            health: _,
            docker_labels: _,
        } = spec;
        volumes.iter().try_for_each(|volume| self.check_volume(volume))?;
        if network_mode == "host" && !self.host_network {
            return refused("network_mode", "the network of the host is for admins (setting: --allow-host-network)");
        }
        let low = bind_ports.iter().filter_map(BindPort::host).find(|port| port.port < FIRST_OPEN_PORT);
        if let Some(port) = low.filter(|_| !self.low_ports) {
            let reason = format!("port {port} of the host is for admins, as all below {FIRST_OPEN_PORT} are");
            return refused("bind_ports", format!("{reason} (setting: --allow-low-ports)"));
        }
        cap_add.iter().try_for_each(|capability| self.check_capability(*capability))?;
        devices.iter().try_for_each(|device| self.check_device(device))?;
        sysctls.keys().try_for_each(|name| self.check_sysctl(name))?;
        logging.as_ref().map_or(Ok(()), |logging| self.check_logging(logging))
    }

    fn check_capability(&self, capability: Capability) -> Result<(), Refused> {
        let open = &self.capabilities;
        if capability.is_default() || open.contains(&capability) || open.contains(&Capability::ALL) {
            return Ok(());
        }
        let reason = format!("{capability} is not among those that Docker gives, and for admins");
        refused("cap_add", format!("{reason} (setting: --allow-capabilities)"))
    }

    fn check_device(&self, text: &str) -> Result<(), Refused> {
        // One that is none is refused as that.
        let Ok(device) = Device::parse(text) else { return Ok(()) };
        let path = components(device.host);
        let allows =
            |open: &String| matches!((components(open), &path), (Some(open), Some(path)) if path.starts_with(&open));
        if self.devices.iter().any(allows) {
            return Ok(());
        }
        refused("devices", format!("{:?} of the host is for admins (setting: --allow-devices)", device.host))
    }

    fn check_sysctl(&self, name: &str) -> Result<(), Refused> {
        let allows = |open: &String| match open.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == open,
        };
        if self.sysctls.iter().any(allows) {
            return Ok(());
        }
        refused("sysctls", format!("{name}, a setting of the kernel, is for admins (setting: --allow-sysctls)"))
    }

    fn check_logging(&self, logging: &Logging) -> Result<(), Refused> {
        let is_open = logging.driver.as_ref().is_some_and(|driver| self.log_drivers.contains(driver));
        if is_open || logging.stays_on_the_host() {
            return Ok(());
        }
        let what = match &logging.driver {
            Some(driver) => format!("the driver {driver} may send output away from the host, and"),
            None => "options that may send output away from the host need a driver by its name, which".to_owned(),
        };
        refused("logging", format!("{what} is for admins (setting: --allow-log-drivers)"))
    }

    fn check_volume(&self, volume: &str) -> Result<(), Refused> {
        let Some((source, _)) = volume.split_once(':') else { return Ok(()) };
        // A volume's name has no slash in it, so whatever has one, or is nothing but dots, is a path.
        if !source.contains('/') && !source.starts_with('.') && !source.starts_with('~') {
            return Ok(());
        }
        let path = components(source);
        let allows = |folder: &String| match (components(folder), &path) {
            (Some(folder), Some(path)) => path.starts_with(&folder),
            // Wherever it goes up to, it is below the root.
            (Some(folder), None) => folder.is_empty() && source.starts_with('/'),
            _ => false,
        };
        if self.host_paths.iter().any(allows) {
            return Ok(());
        }
        let open = match self.host_paths.as_slice() {
            [] => "folders of the host are for admins".to_owned(),
            open => format!(
                "of the folders of the host only {} and what is below are open to others than admins",
                open.join(", ")
            ),
        };
        refused(
            "volumes",
            format!("{open}, and {source:?} is another; use a volume with a name (setting: --allow-host-paths)"),
        )
    }

    /// Whether such an engine may be added.
    fn check_engine(&self, addr: &EngineAddress, is_restricted: bool) -> Result<(), Refused> {
        match addr {
            EngineAddress::Tcp { .. } | EngineAddress::Https { .. } => Ok(()),
            EngineAddress::Unix(_) if !is_restricted || self.unix_engines => Ok(()),
            EngineAddress::Unix(_) => {
                refused("addr", "sockets of the server's machine are for admins (setting: --allow-unix-engines)")
            }
            EngineAddress::Simulated(_) if self.simulated_engines => Ok(()),
            EngineAddress::Simulated(_) => refused(
                "addr",
                "a simulated host runs no containers, and this server takes none (setting: --allow-simulated)",
            ),
        }
    }
}

/// The parts of an absolute path; nothing for one that is relative, or goes up anywhere: where that ends, only the host knows.
fn components(path: &str) -> Option<Vec<&str>> {
    let rest = path.strip_prefix('/')?;
    let parts: Vec<_> = rest.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") { None } else { Some(parts) }
}

impl Controller {
    /// Refuses what `actor` may not ask of a host, and the volume of a replica, which only that one mounts.
    pub(super) fn check_policy_of_run(&self, actor: &Actor, spec: &ContainerSpec) -> Result<()> {
        self.check_volumes_of_run(spec)?;
        if !actor.is_restricted() {
            return Ok(());
        }
        let policy = &self.shared.settings.policy;
        policy.check_spec(spec).map_err(not_allowed)?;
        let Some(reference) = spec.network_mode.strip_prefix("container:").filter(|_| !policy.host_network) else {
            return Ok(());
        };
        // One that is not there is told as that, later on.
        let Ok(other) = self.resolve(reference) else { return Ok(()) };
        if is_of(&other, actor) {
            return Ok(());
        }
        let reason = format!(
            "{} is not a container of yours, and the network of others' is for admins (setting: --allow-host-network)",
            other.container.name.trim_start_matches('/')
        );
        Err(not_allowed(("network_mode", reason)))
    }

    /// Refuses the volume of a replica, which only that one mounts.
    pub(super) fn check_volumes_of_run(&self, spec: &ContainerSpec) -> Result<()> {
        let volumes = spec.volumes.iter().filter_map(|volume| volume.split_once(':')).map(|(name, _)| name);
        for name in volumes {
            if let Some(owner) = self.shared.apps.owner_of_volume(name) {
                let message = format!("{name} is the volume of {owner}, and nobody else mounts it");
                return Err(Invalid::new("volumes", message).into());
            }
        }
        Ok(())
    }

    /// Refuses an engine that `actor` may not add.
    pub(super) fn check_policy_of_engine(&self, actor: &Actor, addr: &EngineAddress) -> Result<()> {
        if actor.is_system() {
            return Ok(());
        }
        self.shared.settings.policy.check_engine(addr, actor.is_restricted()).map_err(not_allowed)
    }

    /// Refuses an address that a host may not register with a join token.
    pub(super) fn check_policy_of_joining(&self, addr: &EngineAddress) -> Result<()> {
        self.shared.settings.policy.check_engine(addr, true).map_err(not_allowed)
    }
}

fn is_of(known: &KnownContainer, actor: &Actor) -> bool {
    known.container.managed && known.user.as_deref() == Some(actor.name())
}

fn not_allowed((field, reason): Refused) -> ControllerError {
    ControllerError::NotAllowed { field, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(paths: &[&str]) -> Policy {
        Policy { host_paths: paths.iter().map(|&path| path.to_owned()).collect(), ..Policy::default() }
    }

    #[test]
    fn host_paths_are_open_below_the_folders_that_are_named_and_nowhere_else() {
        let one = policy(&["/srv/", "/data/shared"]);
        for open in ["/srv:/x", "/srv/www:/x:ro", "//srv/./a:/x", "/data/shared/a:/x", "data:/x", "/x", "my.vol-1:/x"] {
            assert_eq!(one.check_volume(open), Ok(()), "{open}");
        }
        let closed = [
            "/:/x",
            "/etc:/x",
            "/srvx:/x",
            "/data:/x",
            "/srv/../etc:/x",
            "/srv/a/../../etc:/x",
            "../etc:/x",
            "./a:/x",
            "a/b:/x",
            "..:/x",
            "~/.ssh:/x",
            "/var/run/docker.sock:/var/run/docker.sock",
            "/SRV:/x",
        ];
        for closed in closed {
            assert_eq!(one.check_volume(closed).unwrap_err().0, "volumes", "{closed}");
        }
        for open in ["/etc:/x", "/:/x", "/srv/../etc:/x"] {
            assert!(policy(&["/"]).check_volume(open).is_ok(), "who names the root opens everything: {open}");
        }
        assert!(policy(&[]).check_volume("/srv:/x").unwrap_err().1.contains("--allow-host-paths"));
        assert!(policy(&["srv", "/a/.."]).check_volume("/srv:/x").is_err(), "what is no folder opens nothing");
    }

    fn asking(change: impl Fn(&mut ContainerSpec)) -> ContainerSpec {
        let mut spec = ContainerSpec::new("web".parse().unwrap());
        change(&mut spec);
        spec
    }

    #[test]
    fn what_reaches_beyond_a_container_is_closed_until_it_is_named() {
        let capability = |name: &str| asking(|spec| spec.cap_add = [name.parse().unwrap()].into());
        let device = |path: &str| asking(|spec| spec.devices = vec![path.to_owned()]);
        let sysctl = |name: &str| asking(|spec| drop(spec.sysctls.insert(name.to_owned(), "1".to_owned())));
        let logging = |driver: Option<&str>, option: &str| {
            let options = std::collections::BTreeMap::from([(option.to_owned(), "x".to_owned())]);
            let logging = Logging { driver: driver.map(str::to_owned), options };
            asking(|spec| spec.logging = Some(logging.clone()))
        };
        let port = |text: &str| asking(|spec| spec.bind_ports = vec![text.parse().unwrap()]);
        let strict = Policy::default();
        let open = Policy {
            low_ports: true,
            capabilities: vec!["NET_ADMIN".parse().unwrap()],
            devices: vec!["/dev/fuse".into(), "/dev/dri/".into()],
            sysctls: vec!["net.ipv4.*".into(), "kernel.sem".into()],
            log_drivers: vec!["fluentd".into()],
            ..Policy::default()
        };
        for (spec, field, setting) in [
            (capability("NET_ADMIN"), "cap_add", "--allow-capabilities"),
            (port("1023:80"), "bind_ports", "--allow-low-ports"),
            (device("/dev/fuse"), "devices", "--allow-devices"),
            (device("/dev/dri/card0:/dev/x:r"), "devices", "--allow-devices"),
            (sysctl("net.ipv4.ip_forward"), "sysctls", "--allow-sysctls"),
            (sysctl("kernel.sem"), "sysctls", "--allow-sysctls"),
            (logging(Some("fluentd"), "tag"), "logging", "--allow-log-drivers"),
        ] {
            let refused = strict.check_spec(&spec).unwrap_err();
            assert!(refused.0 == field && refused.1.contains(setting), "{refused:?}");
            assert_eq!(open.check_spec(&spec), Ok(()), "{field}");
        }
        for (spec, field) in [
            (capability("SYS_ADMIN"), "cap_add"),
            (capability("ALL"), "cap_add"),
            (device("/dev/sda"), "devices"),
            (device("/dev/dri/../sda"), "devices"),
            (device("/dev/fuse2:/dev/fuse"), "devices"),
            (sysctl("net.core.somaxconn"), "sysctls"),
            (sysctl("kernel.shmmax"), "sysctls"),
            (logging(Some("syslog"), "tag"), "logging"),
            (logging(None, "syslog-address"), "logging"),
        ] {
            assert_eq!(open.check_spec(&spec).unwrap_err().0, field, "{spec:?}");
        }
        let all = Policy { capabilities: vec![Capability::ALL], devices: vec!["/".into()], ..Policy::default() };
        assert_eq!(all.check_spec(&capability("SYS_ADMIN")), Ok(()));
        assert_eq!(all.check_spec(&device("/dev/sda")), Ok(()));
        // What every container has, and what stays where it is, is open.
        for spec in [
            port("1024:80"),
            port("80"),
            capability("NET_RAW"),
            asking(|spec| spec.cap_drop = [Capability::ALL].into()),
            logging(Some("json-file"), "max-size"),
            logging(Some("journald"), "tag"),
            logging(None, "max-size"),
        ] {
            assert_eq!(strict.check_spec(&spec), Ok(()), "{spec:?}");
        }
    }

    #[test]
    fn addresses_of_engines_are_of_the_network_unless_a_setting_says_otherwise() {
        let address = |text: &str| text.parse::<EngineAddress>().unwrap();
        let strict = Policy { simulated_engines: false, ..Policy::default() };
        let open = Policy { unix_engines: true, ..Policy::default() };
        for (text, of_user, of_admin) in
            [("tcp://a", true, true), ("https://a", true, true), ("unix:///s", false, true), ("sim://a", false, false)]
        {
            assert_eq!(strict.check_engine(&address(text), true).is_ok(), of_user, "{text}");
            assert_eq!(strict.check_engine(&address(text), false).is_ok(), of_admin, "{text}");
            assert_eq!(open.check_engine(&address(text), true), Ok(()), "{text}");
        }
    }
}
