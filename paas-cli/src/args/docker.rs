//! What goes to Docker as it is: named and written as on Docker's own command line.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use paas_core::model::{Capability, ContainerSpec, HealthCheck, HealthCommand, Logging, MemoryMb, Signal, Ulimit};

use super::run::{put, put_all};
use super::values;

#[derive(Debug, Args)]
#[command(next_help_heading = "Options as Docker has them")]
pub(super) struct DockerArgs {
    /// User that the program runs as, by name or number
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Put a small program before that of the image, which takes care of processes that nobody waits for
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          hide_possible_values = true)]
    init: Option<bool>,
    /// Let nothing be written but to volumes and --tmpfs
    #[arg(long)]
    read_only: bool,
    /// File system in memory, such as /run or /tmp:size=64m; may be repeated
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Size of /dev/shm, such as 128m
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    shm_size: Option<MemoryMb>,
    /// Capability beyond those that Docker gives, such as NET_ADMIN; may be repeated
    #[arg(long, value_name = "NAME", value_parser = |text: &str| values::plain(text.parse::<Capability>()))]
    cap_add: Vec<Capability>,
    /// Capability that it does without, or ALL; may be repeated
    #[arg(long, value_name = "NAME", value_parser = |text: &str| values::plain(text.parse::<Capability>()))]
    cap_drop: Vec<Capability>,
    /// Limit of each process, such as nofile=1024:2048; may be repeated
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = values::ulimit)]
    ulimits: Vec<(String, Ulimit)>,
    /// Setting of the kernel that it has for itself, such as net.core.somaxconn=1024; may be repeated
    #[arg(long = "sysctl", value_name = "NAME=VALUE", value_parser = values::variable)]
    sysctls: Vec<(String, String)>,
    /// Host name that it knows beside others, such as db:10.0.0.5; may be repeated
    #[arg(long = "add-host", value_name = "NAME:ADDRESS", value_parser = values::extra_host)]
    extra_hosts: Vec<String>,
    /// Where its output goes, such as local or syslog
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// Option of the log driver, such as max-size=10m; may be repeated
    #[arg(long = "log-opt", value_name = "NAME=VALUE", value_parser = values::variable)]
    log_options: Vec<(String, String)>,
    /// Device of the host, such as /dev/fuse or /dev/sda:/dev/xvda:r; may be repeated
    #[arg(long = "device", value_name = "DEVICE")]
    devices: Vec<String>,
    /// Memory that is left to it when the host runs short, such as 64m
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    memory_reservation: Option<MemoryMb>,
    /// How many processes and threads it may have; -1 for no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,
    /// Signal that asks it to end, such as SIGINT
    #[arg(long, value_name = "SIGNAL", value_parser = |text: &str| values::plain(text.parse::<Signal>()))]
    stop_signal: Option<Signal>,
    /// Kill it when it has not ended after so many seconds, 0 to 3600, where a stop does not say
    #[arg(long, value_name = "SECONDS")]
    stop_timeout: Option<u32>,
    /// Line for the shell of the image that finds out whether it is well
    #[arg(long, value_name = "COMMAND", allow_hyphen_values = true)]
    health_cmd: Option<String>,
    /// How long between two checks, such as 30s or 1m30s
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    health_interval: Option<Duration>,
    /// How long a check may take
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    health_timeout: Option<Duration>,
    /// How long after the start failures do not count
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    health_start_period: Option<Duration>,
    /// After how many failures in a row it is unhealthy
    #[arg(long, value_name = "N")]
    health_retries: Option<u32>,
    /// Make no check, whatever the image says
    #[arg(long, conflicts_with_all = ["health_cmd", "health_interval", "health_timeout", "health_start_period", "health_retries"])]
    no_healthcheck: bool,
    /// Label for Docker and whoever else reads them; --label is a label of the engine; may be repeated
    #[arg(long = "docker-label", value_name = "NAME=VALUE", value_parser = values::variable)]
    docker_labels: Vec<(String, String)>,
}

impl DockerArgs {
    pub(super) fn put_into(self, spec: &mut ContainerSpec) {
        self.put_health_into(spec);
        put(&mut spec.user, self.user);
        put(&mut spec.init, self.init);
        spec.read_only |= self.read_only;
        put_all(&mut spec.tmpfs, self.tmpfs);
        put(&mut spec.shm_size, self.shm_size);
        if !self.cap_add.is_empty() {
            spec.cap_add = self.cap_add.into_iter().collect();
        }
        if !self.cap_drop.is_empty() {
            spec.cap_drop = self.cap_drop.into_iter().collect();
        }
        spec.ulimits.extend(self.ulimits);
        spec.sysctls.extend(self.sysctls);
        put_all(&mut spec.extra_hosts, self.extra_hosts);
        if self.log_driver.is_some() || !self.log_options.is_empty() {
            let Logging { driver, options } = spec.logging.get_or_insert_default();
            // The options of one driver are none of another.
            if self.log_driver.is_some() && *driver != self.log_driver {
                *options = BTreeMap::new();
            }
            put(driver, self.log_driver);
            options.extend(self.log_options);
        }
        put_all(&mut spec.devices, self.devices);
        put(&mut spec.memory_reservation, self.memory_reservation);
        put(&mut spec.pids_limit, self.pids_limit);
        put(&mut spec.stop_signal, self.stop_signal);
        put(&mut spec.stop_timeout, self.stop_timeout);
        spec.docker_labels.extend(self.docker_labels);
    }

    fn put_health_into(&self, spec: &mut ContainerSpec) {
        if self.no_healthcheck {
            spec.health = Some(HealthCheck { disabled: true, ..HealthCheck::default() });
            return;
        }
        let given = HealthCheck {
            disabled: false,
            command: self.health_cmd.clone().map(HealthCommand::Shell),
            interval: self.health_interval,
            timeout: self.health_timeout,
            start_period: self.health_start_period,
            retries: self.health_retries,
        };
        if given == HealthCheck::default() {
            return;
        }
        let health = spec.health.get_or_insert_default();
        health.disabled = false;
        put(&mut health.command, given.command);
        put(&mut health.interval, given.interval);
        put(&mut health.timeout, given.timeout);
        put(&mut health.start_period, given.start_period);
        put(&mut health.retries, given.retries);
    }
}
