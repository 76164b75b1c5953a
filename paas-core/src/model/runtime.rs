//! What of a description goes to Docker as it is: who the program runs as, what it may do, and what it finds around it. The limits
//! are those of Linux and of Docker, as in `validation`.

use super::validation::{is_host_name, shortened};
use super::{ContainerSpec, Device, Invalid, MemoryMb, tmpfs, ulimit};

/// The highest id of a user or group that Docker takes.
const MAX_ID: u32 = i32::MAX.unsigned_abs();
/// The most processes of a container: `PID_MAX_LIMIT` of Linux.
const MAX_PIDS: i64 = 4_194_304;
/// The longest time that stopping may take, seconds: as long as may be asked for when stopping.
const MAX_STOP_TIMEOUT: u32 = 3600;
/// What Docker takes in the place of an address, for that of the host.
const HOST_GATEWAY: &str = "host-gateway";
/// The settings of the kernel that each container has for itself, beside those below the prefixes.
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
const SYSCTL_PREFIXES: [&str; 2] = ["fs.mqueue.", "net."];
/// What the platform's own labels begin with.
const OWN_LABELS: &str = "paas.";

fn wrong(field: &str, message: impl Into<String>) -> Result<(), Invalid> {
    Err(Invalid::new(field, message))
}

impl ContainerSpec {
    /// The rest of [`ContainerSpec::validate`].
    pub(super) fn validate_runtime(&self) -> Result<(), Invalid> {
        self.validate_user()?;
        self.validate_more_sizes()?;
        tmpfs::validate(&self.tmpfs, &self.volumes)?;
        ulimit::validate(&self.ulimits)?;
        self.validate_sysctls()?;
        self.validate_extra_hosts()?;
        self.devices.iter().try_for_each(|device| Device::parse(device).map(drop))?;
        self.logging.as_ref().map_or(Ok(()), |logging| logging.validate())?;
        self.health.as_ref().map_or(Ok(()), |health| health.validate())?;
        self.validate_docker_labels()
    }

    fn validate_user(&self) -> Result<(), Invalid> {
        let Some(user) = &self.user else { return Ok(()) };
        let is_known = |part: &str| {
            let is_plain =
                !part.is_empty() && !part.contains(|c: char| c == ':' || c.is_control() || c.is_whitespace());
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            is_plain && !part.starts_with('-') && (!is_number || part.parse::<u32>().is_ok_and(|id| id <= MAX_ID))
        };
        let (name, group) = user.split_once(':').map_or((user.as_str(), None), |(name, group)| (name, Some(group)));
        if is_known(name) && group.is_none_or(is_known) {
            return Ok(());
        }
        let message = format!("must be USER or USER:GROUP, each a name or a number up to {MAX_ID}");
        wrong("user", format!("{message}, not {:?}", shortened(user)))
    }

    fn validate_more_sizes(&self) -> Result<(), Invalid> {
        let memory = self.reserved().memory;
        if self.shm_size.is_some_and(|size| size == MemoryMb::ZERO) {
            return wrong("shm_size", "must be at least 1 MB; leave it out for Docker's own 64 MB");
        }
        if let Some(size) = self.memory_reservation
            && !(MemoryMb::MIN_CONTAINER..=memory).contains(&size)
        {
            let least = MemoryMb::MIN_CONTAINER;
            let message = format!("must be {least} to {memory} MB, which is its memory, not {size}");
            return wrong("memory_reservation", message);
        }
        if let Some(limit) = self.pids_limit
            && limit != -1
            && !(1..=MAX_PIDS).contains(&limit)
        {
            return wrong("pids_limit", format!("must be 1 to {MAX_PIDS}, or -1 for no limit, not {limit}"));
        }
        if let Some(seconds) = self.stop_timeout.filter(|seconds| *seconds > MAX_STOP_TIMEOUT) {
            return wrong("stop_timeout", format!("must be 0 to {MAX_STOP_TIMEOUT} seconds, not {seconds}"));
        }
        Ok(())
    }

    fn validate_sysctls(&self) -> Result<(), Invalid> {
        for (name, value) in &self.sysctls {
            let shown = shortened(name);
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/');
            let is_name = name.split('.').all(|part| !part.is_empty() && part.bytes().all(plain));
            let is_namespaced = SYSCTLS.contains(&name.as_str())
                || SYSCTL_PREFIXES.iter().any(|prefix| name.starts_with(prefix) && name.len() > prefix.len());
            if !is_name || !is_namespaced {
                let own = SYSCTL_PREFIXES.map(|prefix| format!("{prefix}*")).join(", ");
                let message = format!("{shown:?} is none that a container has for itself; those are {own}");
                return wrong("sysctls", format!("{message}, {}", SYSCTLS.join(", ")));
            }
            if value.trim().is_empty() || value.contains(char::is_control) {
                return wrong("sysctls", format!("{shown} needs a value of one line"));
            }
            // Those of the network have words for values as well.
            let is_number = |text: &str| text.parse::<i128>().is_ok();
            if !name.starts_with("net.") && !value.split_whitespace().all(is_number) {
                return wrong("sysctls", format!("{shown} is set to numbers, not {:?}", shortened(value)));
            }
            if name.starts_with("net.") && self.network_mode == "host" {
                return wrong("sysctls", format!("{shown} would be that of the host, whose network it shares"));
            }
        }
        Ok(())
    }

    fn validate_extra_hosts(&self) -> Result<(), Invalid> {
        for host in &self.extra_hosts {
            let is_address = |text: &str| text == HOST_GATEWAY || text.parse::<std::net::IpAddr>().is_ok();
            if !host.split_once(':').is_some_and(|(name, address)| is_host_name(name) && is_address(address)) {
                let message = format!("write NAME:ADDRESS, with an IP address or {HOST_GATEWAY}, not");
                return wrong("extra_hosts", format!("{message} {:?}", shortened(host)));
            }
        }
        if !self.extra_hosts.is_empty() && self.network_mode.starts_with("container:") {
            return wrong("extra_hosts", "are those of the other container, whose network it shares; leave them out");
        }
        Ok(())
    }

    fn validate_docker_labels(&self) -> Result<(), Invalid> {
        for name in self.docker_labels.keys() {
            let shown = shortened(name);
            if name.trim().is_empty() || name.contains(char::is_control) {
                return wrong("docker_labels", format!("{shown:?} is no name of a label"));
            }
            if name.starts_with(OWN_LABELS) {
                return wrong("docker_labels", format!("{shown:?} would be one of the platform's own; choose another"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::{HealthCheck, HealthCommand, Logging, Ulimit};
    use super::*;

    type Change = fn(&mut ContainerSpec);
    type TimeOf = fn(&mut HealthCheck) -> &mut Option<Duration>;

    fn changed(change: Change) -> Result<(), Invalid> {
        let mut spec = ContainerSpec::new("httpd".parse().unwrap());
        change(&mut spec);
        spec.validate()
    }

    fn pair(name: &str, value: &str) -> BTreeMap<String, String> {
        [(name.to_owned(), value.to_owned())].into()
    }

    fn limit(name: &str, soft: i64, hard: i64) -> BTreeMap<String, Ulimit> {
        [(name.to_owned(), Ulimit { soft, hard })].into()
    }

    fn logging(driver: &str, name: &str, value: &str) -> Option<Logging> {
        Some(Logging { driver: Some(driver.to_owned()), options: pair(name, value) })
    }

    fn health(change: fn(&mut HealthCheck)) -> Option<HealthCheck> {
        let mut health = HealthCheck { command: Some(HealthCommand::Shell("true".into())), ..HealthCheck::default() };
        change(&mut health);
        Some(health)
    }

    #[test]
    fn each_wrong_field_is_named() {
        let cases: [(&str, Change); 77] = [
            ("user", |s| s.user = Some(String::new())),
            ("user", |s| s.user = Some("a b".into())),
            ("user", |s| s.user = Some("a\0".into())),
            ("user", |s| s.user = Some("1000:".into())),
            ("user", |s| s.user = Some("-1".into())),
            ("sysctls", |s| s.sysctls = pair("kernel.shmmax", "x")),
            ("sysctls", |s| s.sysctls = pair("fs.mqueue.msg_max", "1 x")),
            ("user", |s| s.user = Some(":1000".into())),
            ("user", |s| s.user = Some("1:2:3".into())),
            ("user", |s| s.user = Some("2147483648".into())),
            ("user", |s| s.user = Some("1:99999999999".into())),
            ("shm_size", |s| s.shm_size = Some(MemoryMb::ZERO)),
            ("memory_reservation", |s| s.memory_reservation = Some(MemoryMb::new(5))),
            ("memory_reservation", |s| s.memory_reservation = Some(MemoryMb::new(257))),
            ("memory_reservation", |s| {
                (s.memory_reservation, s.memory) = (Some(MemoryMb::new(65)), Some(MemoryMb::new(64)));
            }),
            ("pids_limit", |s| s.pids_limit = Some(0)),
            ("pids_limit", |s| s.pids_limit = Some(-2)),
            ("pids_limit", |s| s.pids_limit = Some(MAX_PIDS + 1)),
            ("stop_timeout", |s| s.stop_timeout = Some(3601)),
            ("tmpfs", |s| s.tmpfs = vec!["run".into()]),
            ("tmpfs", |s| s.tmpfs = vec![String::new()]),
            ("tmpfs", |s| s.tmpfs = vec!["/".into()]),
            ("tmpfs", |s| s.tmpfs = vec!["/a/..:size=1m".into()]),
            ("tmpfs", |s| s.tmpfs = vec!["/run:size=".into()]),
            ("tmpfs", |s| s.tmpfs = vec!["/run:size=-1m".into()]),
            ("tmpfs", |s| s.tmpfs = vec!["/run:mode=999".into()]),
            ("tmpfs", |s| s.tmpfs = vec!["/run:banana".into()]),
            ("tmpfs", |s| s.tmpfs = vec!["/run:rw,".into()]),
            ("tmpfs", |s| s.tmpfs = vec!["/run:uid=root".into()]),
            ("tmpfs", |s| s.tmpfs = vec!["/run".into(), "/run/".into()]),
            ("tmpfs", |s| (s.tmpfs, s.volumes) = (vec!["/data/".into()], vec!["data:/data:ro".into()])),
            ("tmpfs", |s| (s.tmpfs, s.volumes) = (vec!["/cache".into()], vec!["/cache".into()])),
            ("ulimits", |s| s.ulimits = limit("files", 1, 1)),
            ("ulimits", |s| s.ulimits = limit("nofile", 2, 1)),
            ("ulimits", |s| s.ulimits = limit("nofile", -1, 1)),
            ("ulimits", |s| s.ulimits = limit("nofile", -2, 1)),
            ("ulimits", |s| s.ulimits = limit("nofile", 1, -2)),
            ("sysctls", |s| s.sysctls = pair("kernel.panic", "1")),
            ("sysctls", |s| s.sysctls = pair("vm.swappiness", "1")),
            ("sysctls", |s| s.sysctls = pair("kernel.hostname", "a")),
            ("sysctls", |s| s.sysctls = pair("net", "1")),
            ("sysctls", |s| s.sysctls = pair("net.", "1")),
            ("sysctls", |s| s.sysctls = pair("net.ipv4..x", "1")),
            ("sysctls", |s| s.sysctls = pair("net.ipv4.../x", "1")),
            ("sysctls", |s| s.sysctls = pair("", "1")),
            ("sysctls", |s| s.sysctls = pair("net.core.somaxconn", "")),
            ("sysctls", |s| s.sysctls = pair("net.core.somaxconn", "1\n2")),
            ("sysctls", |s| {
                (s.sysctls, s.network_mode) = (pair("net.core.somaxconn", "1"), "host".into());
            }),
            ("extra_hosts", |s| s.extra_hosts = vec!["db".into()]),
            ("extra_hosts", |s| s.extra_hosts = vec!["db:".into()]),
            ("extra_hosts", |s| s.extra_hosts = vec!["db:10.0.0".into()]),
            ("extra_hosts", |s| s.extra_hosts = vec!["db:example.org".into()]),
            ("extra_hosts", |s| s.extra_hosts = vec!["a b:10.0.0.1".into()]),
            ("extra_hosts", |s| s.extra_hosts = vec![":10.0.0.1".into()]),
            ("extra_hosts", |s| {
                (s.extra_hosts, s.network_mode) = (vec!["db:10.0.0.1".into()], "container:db".into());
            }),
            ("devices", |s| s.devices = vec!["dev/fuse".into()]),
            ("devices", |s| s.devices = vec!["/dev/fuse:dev/fuse:rwm".into()]),
            ("devices", |s| s.devices = vec!["/dev/fuse:x".into()]),
            ("devices", |s| s.devices = vec!["/dev/fuse:/dev/fuse:rr".into()]),
            ("devices", |s| s.devices = vec!["/dev/fuse:/dev/fuse:".into()]),
            ("devices", |s| s.devices = vec!["/dev/fuse:/dev/fuse:r:w".into()]),
            ("devices", |s| s.devices = vec!["/".into()]),
            ("logging", |s| s.logging = Some(Logging::default())),
            ("logging.driver", |s| s.logging = logging("", "a", "b")),
            ("logging.driver", |s| s.logging = logging("json file", "a", "b")),
            ("logging.options", |s| s.logging = logging("none", "max-size", "1m")),
            ("logging.options", |s| s.logging = logging("json-file", "max-size", "0")),
            ("logging.options", |s| s.logging = logging("json-file", "max-size", "ten")),
            ("logging.options", |s| s.logging = logging("local", "max-file", "0")),
            ("logging.options", |s| s.logging = logging("syslog", "mode", "fast")),
            ("logging.options", |s| s.logging = logging("syslog", "max-buffer-size", "4m")),
            ("docker_labels", |s| s.docker_labels = pair(" ", "x")),
            ("docker_labels", |s| s.docker_labels = pair("paas.spec", "{}")),
            ("health", |s| s.health = Some(HealthCheck::default())),
            ("health.disabled", |s| s.health = health(|health| health.disabled = true)),
            ("health.command", |s| s.health = health(|health| health.command = Some(HealthCommand::Exec(Vec::new())))),
            ("health.interval", |s| s.health = health(|health| health.interval = Some(Duration::from_micros(999)))),
        ];
        for (number, (field, spoil)) in cases.into_iter().enumerate() {
            let wrong = changed(spoil).expect_err(&format!("case {number}, {field}"));
            assert_eq!(wrong.field, field, "case {number}: {wrong}");
            assert!(wrong.to_string().len() < 300, "{wrong}");
        }
    }

    #[test]
    fn every_time_of_a_health_check_is_looked_at_and_no_time_is_that_of_the_image() {
        let short = Some(Duration::from_nanos(999_999));
        let long = Some(Duration::from_secs(u64::MAX));
        let fields: [(&str, TimeOf); 3] = [
            ("health.interval", |health| &mut health.interval),
            ("health.timeout", |health| &mut health.timeout),
            ("health.start_period", |health| &mut health.start_period),
        ];
        for (field, at) in fields {
            let with = |time| {
                let mut health = HealthCheck::default();
                *at(&mut health) = time;
                health.validate()
            };
            assert_eq!(with(short).unwrap_err().field, field);
            assert_eq!(with(long).unwrap_err().field, field);
            for right in [Duration::ZERO, Duration::from_millis(1), Duration::from_secs(3600)] {
                with(Some(right)).unwrap_or_else(|wrong| panic!("{wrong}"));
            }
        }
        for words in [vec![" ".to_owned()], vec!["a\0".to_owned()]] {
            let health = HealthCheck { command: Some(HealthCommand::Exec(words)), ..HealthCheck::default() };
            assert_eq!(health.validate().unwrap_err().field, "health.command");
        }
    }

    #[test]
    fn what_is_just_right_is_taken() {
        let cases: [Change; 22] = [
            |s| s.user = Some("www-data".into()),
            |s| s.user = Some("0:2147483647".into()),
            // Docker takes it: what is not written takes no memory.
            |s| s.shm_size = Some(MemoryMb::new(1024)),
            |s| (s.shm_size, s.memory) = (Some(MemoryMb::new(512)), Some(MemoryMb::new(1024))),
            |s| s.memory_reservation = Some(MemoryMb::new(6)),
            |s| s.memory_reservation = Some(MemoryMb::new(256)),
            |s| s.pids_limit = Some(-1),
            |s| s.pids_limit = Some(MAX_PIDS),
            |s| s.stop_timeout = Some(0),
            |s| {
                s.tmpfs =
                    vec!["/run".into(), "/tmp:rw,noexec,size=64m,mode=1777,uid=1000".into(), "/x:size=50%".into()];
            },
            |s| (s.tmpfs, s.volumes) = (vec!["/data/tmp".into()], vec!["data:/data".into()]),
            |s| s.ulimits = limit("nofile", 1024, -1),
            |s| s.ulimits = limit("memlock", -1, -1),
            |s| s.sysctls = pair("net.ipv4.ip_local_port_range", "1024 65000"),
            |s| (s.sysctls, s.network_mode) = (pair("kernel.shmmax", "1"), "host".into()),
            |s| s.extra_hosts = vec!["db:10.0.0.1".into(), "db:fd00::1".into(), "host.docker:host-gateway".into()],
            |s| {
                s.devices =
                    vec!["/dev/fuse".into(), "/dev/a:/dev/b".into(), "/dev/c:r".into(), "/dev/d:/dev/e:mw".into()];
            },
            |s| s.logging = logging("json-file", "max-size", "-1"),
            |s| s.logging = logging("example.org/plugin:2", "anything", ""),
            |s| s.logging = Some(Logging { driver: None, options: pair("max-size", "10MB") }),
            |s| s.docker_labels = pair("org.example/a b", ""),
            |s| s.health = Some(HealthCheck { disabled: true, ..HealthCheck::default() }),
        ];
        for (number, change) in cases.into_iter().enumerate() {
            changed(change).unwrap_or_else(|wrong| panic!("case {number}: {wrong}"));
        }
    }
}
