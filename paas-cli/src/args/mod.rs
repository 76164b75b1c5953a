//! What can be said on the command line.

mod app;
mod configs;
mod docker;
mod engine;
mod exec;
mod files;
mod run;
mod secret;
#[cfg(test)]
mod tests;
mod values;

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use jiff::Timestamp;
use paas_core::model::{EngineId, ImageRef};

use crate::failure::Failure;
pub(crate) use app::{
    AppCommand, AppLogArgs, ApplyOptions, DeployArgs, HostCommand, ImportArgs, PlanArgs, ReconcileCommand, Wait,
};
pub(crate) use configs::ConfigContent;
pub(crate) use engine::{AddEngineArgs, RegistryLoginArgs};
pub(crate) use exec::{AppRunArgs, ExecArgs};
pub(crate) use files::Declared;
pub(crate) use run::RunArgs;
pub(crate) use secret::SecretCommand;

const EXIT_STATUS: &str = "\
Exit status: 0 done, 1 failed, 2 wrong usage, 3 not logged in or not allowed, 4 not found,
5 partly done, 6 changes to be made ('app plan --exit-code'), 130 interrupted. A rollout that was
rolled back or stopped has failed. 'exec' and 'app run' end with the status of their
command. What a scale leaves to be done when a host is back has not failed. Results go to stdout,
everything said about them to stderr.

To begin: paas-cli login --url http://HOST:5002 --name admin; then paas-cli engines, and
paas-cli run --name httpd --port tcp/::80, or paas-cli deploy with an application in paas.toml.
'paas-cli help COMMAND' says more of each.";

/// Runs containers on a pool of Docker hosts.
#[derive(Debug, Parser)]
#[command(name = "paas-cli", version, arg_required_else_help = true, max_term_width = 100, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
#[allow(rustdoc::bare_urls, reason = "it is the help of the command line")]
pub(crate) struct Global {
    /// Server, such as https://paas.example.org:5002, or all servers of one platform with commas between them. When it
    /// is not given: those of the last login, or http://127.0.0.1:5002. Without https:// it is http://
    #[arg(long, global = true, env = "PAAS_URL", hide_env_values = true)]
    pub(crate) url: Vec<String>,
    /// Token of a login, to use instead of that of the last one
    // One token in 64 begins with a hyphen.
    #[arg(long, global = true, env = "PAAS_TOKEN", hide_env_values = true, allow_hyphen_values = true)]
    pub(crate) token: Option<String>,
    /// Also trust what the certificates in this file (PEM) signed
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, env = "PAAS_CA", hide_env_values = true)]
    pub(crate) ca: Option<OsString>,
    /// For how many seconds to look for a server that takes the request, 0 to 3600; with 0 each is asked once
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub(crate) retry_for: u32,
    /// How results are written: as a table for people, or as the server's own JSON
    #[arg(long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Write only ids or names, one per line
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Not described one by one: --help of every command would be twice as long for it.
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the containers that run
    #[command(visible_alias = "list-containers")]
    Containers {
        /// Also those that do not run
        #[arg(long, short)]
        all: bool,
        /// Only those that the platform started, not what others started on its hosts
        #[arg(long, short, conflicts_with_all = ["limit", "after"])]
        managed: bool,
        /// At most so many, 1 to 10000
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: Option<u32>,
        /// Only those whose id comes after this one: the last id of the page before
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Show one container
    #[command(visible_alias = "inspect-container")]
    Container {
        #[command(flatten)]
        target: Target,
    },
    /// Start containers of an image
    #[command(visible_alias = "run-containers")]
    Run(Box<RunArgs>),
    /// Make an application what paas.toml says
    Deploy(Box<DeployArgs>),
    /// Applications: plan, list, show, history, rollback, scale, logs and more
    App {
        #[command(subcommand)]
        command: Box<AppCommand>,
    },
    /// Run a command in a container of an application
    Exec(ExecArgs),
    /// Secrets of applications: set, list, delete
    Secret {
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// Kill containers and remove them
    #[command(visible_alias = "destroy-container")]
    Destroy {
        #[command(flatten)]
        targets: Targets,
        /// Destroy containers of that other platform, as the label paas.platform of each names it
        #[arg(long, value_name = "ID")]
        platform: Option<String>,
    },
    /// Stop containers
    #[command(visible_alias = "stop-container")]
    Stop {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        grace: Grace,
    },
    /// Start containers that were stopped
    #[command(visible_alias = "start-container")]
    Start {
        #[command(flatten)]
        targets: Targets,
    },
    /// Stop containers and start them again
    #[command(visible_alias = "restart-container")]
    Restart {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        grace: Grace,
    },
    /// Start or destroy containers until there are so many like this one
    #[command(visible_alias = "scale-container")]
    Scale {
        #[command(flatten)]
        target: Target,
        /// How many there shall be, 0 to 10000
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
        count: u32,
        #[command(flatten)]
        once: Once,
    },
    /// Show the output of a container
    #[command(visible_aliases = ["container-log", "logs"])]
    Log(LogArgs),
    /// List the engines (Docker hosts)
    #[command(visible_alias = "list-engines")]
    Engines,
    /// Show one engine
    #[command(visible_alias = "inspect-engine")]
    Engine {
        /// Id of the engine
        id: String,
    },
    /// Add an engine
    #[command(visible_alias = "add-engine")]
    Eadd(Box<AddEngineArgs>),
    /// Delete an engine that the platform runs nothing on
    #[command(visible_alias = "delete-engine")]
    Edelete {
        /// Id of the engine
        id: String,
        /// Even if containers run there; they go on running, and are not shown any more
        #[arg(long)]
        force: bool,
    },
    /// Keep new containers away from an engine; those on it go on running
    #[command(visible_alias = "drain-engine")]
    Drain {
        /// Id of the engine
        id: String,
    },
    /// Let an engine take new containers again
    #[command(visible_alias = "undrain-engine")]
    Undrain {
        /// Id of the engine
        id: String,
    },
    /// Hosts of applications
    Host {
        #[command(subcommand)]
        command: HostCommand,
    },
    /// Start what ran on silent hosts elsewhere, although more than half of the hosts are silent
    #[command(after_help = "\
Example: paas-cli heal --now

When most hosts are silent at once, more likely this server is cut off, and nothing is healed by itself. \
Be sure that those hosts are down: what still runs there runs twice otherwise.")]
    Heal {
        /// Now, and not when half of the hosts answer
        #[arg(long, required = true)]
        now: bool,
    },
    /// Move replicas of applications from full hosts to emptier ones
    #[command(after_help = "\
Example: paas-cli rebalance --dry-run

Moves until the scores of all hosts differ by less than 10 points, one replica of a component at a time. \
It goes on by itself; 'paas-cli app list' shows how far it is.")]
    Rebalance {
        /// Only show what would move, and what each would gain
        #[arg(long)]
        dry_run: bool,
    },
    /// What the platform does by itself about applications
    Reconcile {
        #[command(subcommand)]
        command: ReconcileCommand,
    },
    /// List the tokens that hosts join the platform with
    #[command(visible_alias = "list-join-tokens")]
    Jointokens,
    /// Make a token that hosts join with ('paas-server agent'); it is shown only this once
    #[command(visible_alias = "add-join-token")]
    Jtadd,
    /// Delete a token that hosts join with; hosts that use it are lost to the platform
    #[command(visible_alias = "delete-join-token")]
    Jtdelete {
        /// Id of the token
        id: String,
    },
    /// List the logins to image registries
    #[command(visible_alias = "list-registry-logins")]
    Registrylogins,
    /// Set the login of every engine to an image registry
    ///
    /// The password is asked for, or comes from stdin (with --password-stdin or when stdin is not a terminal) or from
    /// the environment variable PAAS_REGISTRY_PASSWORD.
    #[command(visible_alias = "set-registry-login")]
    Rladd(RegistryLoginArgs),
    /// Delete the login to an image registry
    #[command(visible_alias = "delete-registry-login")]
    Rldelete {
        /// Host and port of the registry
        server: String,
    },
    /// Show the cluster as a whole
    #[command(visible_alias = "cluster-info")]
    Clusterinfo,
    /// List the accounts
    #[command(visible_alias = "list-accounts")]
    Accounts,
    /// Show one account
    #[command(visible_alias = "inspect-account")]
    Account {
        /// User name
        name: String,
    },
    /// Add an account
    ///
    /// The password is asked for, or comes from stdin (with --password-stdin or when stdin is not a terminal) or from
    /// the environment variable PAAS_NEW_PASSWORD.
    #[command(visible_alias = "add-account")]
    Aadd(AddAccountArgs),
    /// Delete an account
    #[command(visible_alias = "delete-account")]
    Adelete {
        /// User name
        name: String,
    },
    /// List what happened, newest first
    #[command(visible_alias = "list-events")]
    Events {
        /// How many, 1 to 10000; 20 when not given, and none of the past with --follow
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: Option<u32>,
        /// Go on with what happens from now on, oldest first
        ///
        /// Ends with an error when its output is not read for half a minute, as a pager may do.
        #[arg(long, short)]
        follow: bool,
    },
    /// Log in, and keep the token for the other commands
    ///
    /// Asks for what is not given. The password comes from stdin with --password-stdin or when stdin is not a
    /// terminal, or from the environment variable PAAS_PASSWORD.
    #[command(visible_alias = "log-in")]
    Login {
        /// User name
        #[arg(long)]
        name: Option<String>,
        /// Read the password from stdin
        #[arg(long)]
        password_stdin: bool,
    },
    /// Log out: end the token and forget it
    #[command(visible_alias = "log-out")]
    Logout,
    /// Change a password
    ///
    /// The new password is asked for, or comes from stdin (with --password-stdin or when stdin is not a terminal) or
    /// from the environment variable PAAS_NEW_PASSWORD; one's present password likewise, in the line before it, or
    /// from PAAS_PASSWORD.
    #[command(visible_alias = "change-password")]
    Passwd {
        /// Whose password, for administrators; one's own when not given
        #[arg(long)]
        name: Option<String>,
        /// Read the new password from stdin
        #[arg(long)]
        password_stdin: bool,
    },
    /// Pull an image onto the engines
    #[command(visible_alias = "pull-image")]
    Pull {
        /// Image, such as httpd:2.4
        image: ImageRef,
        /// Only on this engine; may be repeated
        #[arg(long = "engine", value_name = "ID")]
        engines: Vec<EngineId>,
    },
    /// Write a script that completes commands in a shell: source <(paas-cli completion bash)
    #[command(visible_alias = "shell-completion")]
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// What makes a command take effect once.
#[derive(Debug, Args)]
pub(crate) struct Once {
    /// Name for this request, free to choose: the same command with the same name within a day is not done twice, but
    /// tells what became of the first
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) key: Option<String>,
}

/// One container.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Id of the container, a unique beginning of it, or its name
    pub(crate) id: String,
}

/// Some containers.
#[derive(Debug, Args)]
pub(crate) struct Targets {
    /// Ids of the containers, unique beginnings of them, or their names; - to read them from stdin, one per line
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

impl Targets {
    /// The containers that were named; none only where stdin names none.
    pub(crate) fn read(self) -> Result<Vec<String>, Failure> {
        if self.ids == ["-"] {
            return names_in(&files::stdin()?);
        }
        match self.ids.iter().any(|id| id == "-") {
            true => Err(Failure::Usage("- stands alone: the containers are named by stdin, or here".to_owned())),
            false => Ok(self.ids),
        }
    }
}

/// One name a line. Nothing is done when one line is none: a table has words in it that may be names of containers.
fn names_in(text: &str) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for line in text.lines() {
        let name = line.trim();
        if name.contains(char::is_whitespace) {
            return Err(Failure::Usage(format!("'{name}' is no id; write one per line, as containers --quiet does")));
        }
        if !name.is_empty() {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The time a container gets to end by itself.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Grace {
    /// Kill it when it has not ended after so many seconds, 0 to 3600; as many as its --stop-timeout, or 10, when not given
    #[arg(long, short, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub(crate) timeout: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Go on with what is written from now on
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only the last LINES lines
    #[arg(long, short = 'n', value_name = "LINES")]
    pub(crate) tail: Option<u64>,
    /// Only what was written since then: 2026-01-31T12:00:00Z, or so long ago: 90s, 10m, 1h30m, 2d
    #[arg(long, value_name = "TIME", value_parser = values::since)]
    pub(crate) since: Option<Timestamp>,
    /// Only the output, not the errors
    #[arg(long)]
    pub(crate) stdout: bool,
    /// Only the errors, not the output
    #[arg(long)]
    pub(crate) stderr: bool,
    /// Put the time before each line
    #[arg(long, short)]
    pub(crate) timestamps: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AddAccountArgs {
    /// Id of the account; its name when not given
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// User name
    #[arg(long)]
    pub(crate) name: String,
    /// Password; others on this machine can see it here, so rather let it be asked for
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) password: Option<String>,
    /// Read the password from stdin
    #[arg(long, conflicts_with = "password")]
    pub(crate) password_stdin: bool,
    /// What it may do: admin or user
    #[arg(long, default_value = "user")]
    pub(crate) role: String,
}

/// A shell that can be told how to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}
