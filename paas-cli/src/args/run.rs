//! `run`: a description of containers, from options, a file, or both.

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};
use paas_core::files;
use paas_core::model::{BindPort, ContainerSpec, ContainerType, Cpus, ImageRef, MemoryMb, RestartPolicy};
use serde_json::{Map, Value};

use super::docker::DockerArgs;
use super::{Once, values};
use crate::client::RunOptions;
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Types: service is placed on any engine with every label asked for; unique on an engine that has no container of that \
image; multi both; host on the engine that the label host:ID names.

What is given as an option takes the place of what the file says; --env, --link, --ulimit, --sysctl, --log-opt, \
--docker-label and what is said of the health check are added to it.

Example: paas-cli run --name httpd --port tcp/::80 --memory 100 --pull false")]
pub(crate) struct RunArgs {
    /// Image to run, such as httpd:2.4
    #[arg(long, value_name = "IMAGE", required_unless_present = "file")]
    name: Option<ImageRef>,
    /// How many containers, 1 to 10000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Whether the engines pull the image first
    #[arg(long, value_name = "true|false", default_value_t = false, action = ArgAction::Set, hide_possible_values = true)]
    pull: bool,
    /// CPUs that are reserved for each container, and that it is limited to; when not given 0.1 are reserved, without a
    /// limit
    #[arg(long, value_name = "CPUS", value_parser = values::cpus)]
    cpus: Option<Cpus>,
    /// CPUs that it may run on, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset: Option<String>,
    /// Memory in MB that is reserved for each container, and that it is limited to; 256 when not given
    #[arg(long, value_name = "MB")]
    memory: Option<u64>,
    /// Program to run instead of the image's own; repeated for its first arguments
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,
    /// Argument of the program; may be repeated
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    arg: Vec<String>,
    /// Environment variable; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = values::variable)]
    env: Vec<(String, String)>,
    /// Host name inside
    #[arg(long)]
    hostname: Option<String>,
    /// Domain name inside
    #[arg(long)]
    domainname: Option<String>,
    /// How it is placed: service, unique, multi or host
    #[arg(long = "type", value_name = "TYPE", value_parser = values::container_type)]
    kind: Option<ContainerType>,
    /// Label that the engine must have; may be repeated
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// Port to publish, as protocol/host-ip:host-port:container-port; empty parts are left to the system: tcp/::80 is
    /// port 80 on a free port of the host; may be repeated
    #[arg(long = "port", short, value_name = "PORT", value_parser = |text: &str| values::plain(text.parse::<BindPort>()))]
    ports: Vec<BindPort>,
    /// Text that the program finds in PAAS_USER_DATA, or @FILE to read it from
    #[arg(long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    user_data: Option<String>,
    /// Volume or directory, as Docker writes it: data:/var/lib/app, /srv/www:/www:ro; may be repeated
    #[arg(long = "volume", short, value_name = "VOLUME")]
    volumes: Vec<String>,
    /// Container that it talks to, and the host name that it knows it by; may be repeated
    #[arg(long = "link", value_name = "CONTAINER[:ALIAS]", value_parser = values::link)]
    links: Vec<(String, String)>,
    /// When it is started again: no, always, unless-stopped, on-failure or on-failure:N
    #[arg(long, value_name = "POLICY", value_parser = values::restart)]
    restart: Option<RestartPolicy>,
    /// Publish every port that the image exposes on a free port
    #[arg(long)]
    publish: bool,
    /// Network: bridge, host, none, container:NAME or one of Docker's
    #[arg(long)]
    network: Option<String>,
    #[command(flatten)]
    once: Once,
    /// Description to begin with, as JSON (docs/api.md has the fields); - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Arguments of the program, after those of --arg
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
    // Last, since what follows would stand under its heading.
    #[command(flatten)]
    docker: DockerArgs,
}

impl RunArgs {
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions { count: self.count, pull: self.pull }
    }

    /// The name of the request, if it was given one.
    pub(crate) fn key(&self) -> Option<String> {
        self.once.key.clone()
    }

    /// The description as a whole, checked as far as that is possible without a server.
    pub(crate) fn into_spec(self) -> Result<ContainerSpec, Failure> {
        let mut spec = match &self.file {
            Some(path) => from_file(path, self.name.as_ref())?,
            // Without a file clap has seen to it that there is a name.
            None => {
                ContainerSpec::new(self.name.clone().ok_or_else(|| Failure::Usage("--name is missing".to_owned()))?)
            }
        };
        self.put_into(&mut spec)?;
        spec.validate().map_err(|invalid| Failure::Usage(invalid.to_string()))?;
        Ok(spec)
    }

    fn put_into(self, spec: &mut ContainerSpec) -> Result<(), Failure> {
        put(&mut spec.cpus, self.cpus);
        put(&mut spec.cpuset, self.cpuset);
        put(&mut spec.memory, self.memory.map(MemoryMb::new));
        put(&mut spec.hostname, self.hostname);
        put(&mut spec.domainname, self.domainname);
        put(&mut spec.user_data, self.user_data.map(user_data).transpose()?);
        put_all(&mut spec.entrypoint, self.entrypoint);
        put_all(&mut spec.args, self.arg.into_iter().chain(self.arguments).collect());
        put_all(&mut spec.bind_ports, self.ports);
        put_all(&mut spec.volumes, self.volumes);
        if !self.labels.is_empty() {
            spec.labels = self.labels.into_iter().collect();
        }
        spec.environment.extend(self.env);
        spec.links.extend(self.links);
        spec.kind = self.kind.unwrap_or(spec.kind);
        spec.restart_policy = self.restart.unwrap_or(spec.restart_policy);
        spec.publish |= self.publish;
        if let Some(network) = self.network {
            spec.network_mode = network;
        }
        self.docker.put_into(spec);
        Ok(())
    }
}

pub(super) fn put<T>(field: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *field = given;
    }
}

pub(super) fn put_all<T>(field: &mut Vec<T>, given: Vec<T>) {
    if !given.is_empty() {
        *field = given;
    }
}

fn from_file(path: &Path, name: Option<&ImageRef>) -> Result<ContainerSpec, Failure> {
    let wrong = |error: serde_json::Error| Failure::Usage(format!("{} is no description: {error}", path.display()));
    let text = read(path)?;
    let mut fields: Map<String, Value> = serde_json::from_str(&text).map_err(wrong)?;
    if let Some(name) = name {
        fields.insert("name".to_owned(), name.as_str().into());
    }
    serde_json::from_value(Value::Object(fields)).map_err(wrong)
}

fn read(path: &Path) -> Result<String, Failure> {
    if path == Path::new("-") {
        return super::files::stdin();
    }
    files::read_text(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

fn user_data(text: String) -> Result<String, Failure> {
    match text.strip_prefix('@') {
        Some(path) => read(Path::new(path)),
        None => Ok(text),
    }
}
