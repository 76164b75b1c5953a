//! `deploy` and `app`: applications.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use jiff::Timestamp;
use paas_core::model::app::{AppName, ComponentName};

use super::exec::AppRunArgs;
use super::files::{Changes, Declared, Ignored};
use super::values;
use crate::failure::Failure;

/// What stands after the help of every command that may begin a rollout.
const ENDS: &str =
    "Exit status: 0 when the rollout is done, 1 when it failed: it stopped, or went back to what was there before.";

#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Make an application what a file says
    ///
    /// As 'deploy', with the name of the file.
    #[command(after_help = format!("Example: paas-cli app apply -f paas.toml -f production.toml\n\n{ENDS}"))]
    Apply(ApplyArgs),
    /// Show what 'apply' would change, and change nothing
    #[command(after_help = "\
Example: paas-cli app plan

~ is a field that changes, + one that is new, - one that goes. The steps are the first ones; others follow from them.")]
    Plan(PlanArgs),
    /// List the applications
    #[command(after_help = "Example: paas-cli app list")]
    List,
    /// Show an application: its components and replicas, and why one is not ready
    #[command(after_help = "Example: paas-cli app show shop")]
    Show {
        #[command(flatten)]
        app: App,
    },
    /// List the revisions of an application, newest first, with the images that each changed
    #[command(after_help = "Example: paas-cli app history shop\n\n* marks the revision that is to run.")]
    History {
        #[command(flatten)]
        app: App,
    },
    /// Show what is different between two revisions
    #[command(after_help = "Example: paas-cli app diff shop 3 4")]
    Diff {
        #[command(flatten)]
        app: App,
        /// Number of the one
        from: u64,
        /// Number of the other
        to: u64,
    },
    /// Go back to an earlier revision
    #[command(after_help = format!("Example: paas-cli app rollback shop 3\n\n{ENDS}"))]
    Rollback {
        #[command(flatten)]
        app: App,
        /// Number of the revision; when not given, the newest that was rolled out entirely and is not the one that runs
        revision: Option<u64>,
        #[command(flatten)]
        supersede: Supersede,
        #[command(flatten)]
        wait: Wait,
    },
    /// Change how many replicas a component has
    #[command(after_help = format!("Example: paas-cli app scale shop/web 5\n\n{ENDS}"))]
    Scale {
        #[command(flatten)]
        target: AppTarget,
        /// How many there shall be
        #[arg(value_name = "N")]
        replicas: u32,
        #[command(flatten)]
        wait: Wait,
    },
    /// Make every container of an application again, as in a rollout
    #[command(after_help = format!("Example: paas-cli app restart shop\n\n{ENDS}"))]
    Restart {
        #[command(flatten)]
        app: App,
        #[command(flatten)]
        supersede: Supersede,
        #[command(flatten)]
        wait: Wait,
    },
    /// Stop the containers of an application, and keep them
    #[command(after_help = "Example: paas-cli app stop shop")]
    Stop {
        #[command(flatten)]
        app: App,
    },
    /// Let an application that was stopped run again
    #[command(after_help = "Example: paas-cli app start shop")]
    Start {
        #[command(flatten)]
        app: App,
    },
    /// Remove an application and its containers; its volumes are kept unless told otherwise
    #[command(after_help = "Example: paas-cli app destroy shop --delete-volumes")]
    Destroy {
        #[command(flatten)]
        app: App,
        /// Also its volumes, and what is in them
        #[arg(long)]
        delete_volumes: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Write an application as a file that 'deploy' takes
    #[command(after_help = "Example: paas-cli app export shop > paas.toml")]
    Export {
        #[command(flatten)]
        app: App,
        /// As it was in this revision; the one that is to run when not given
        #[arg(long, value_name = "N")]
        revision: Option<u64>,
    },
    /// Write a Compose file as a file that 'deploy' takes
    ///
    /// The file goes to stdout; what was not taken of it, and why, to stderr.
    #[command(after_help = "Example: paas-cli app import compose.yaml > paas.toml")]
    Import(ImportArgs),
    /// Run a command once, in a container of its own like those of a component
    Run(AppRunArgs),
    /// Show the output of all replicas, each line after the name of its replica
    #[command(after_help = "\
Example: paas-cli app logs shop/web --follow --tail 20
Example: paas-cli app logs shop --previous")]
    Logs(AppLogArgs),
    /// Show the rollout of an application, or how the last one ended
    #[command(after_help = format!("Example: paas-cli app rollout shop --follow\n\n{ENDS} That is with --follow."))]
    Rollout {
        #[command(flatten)]
        app: App,
        /// Wait until it has ended, and show its steps
        #[arg(long, short)]
        follow: bool,
        #[command(flatten)]
        timeout: Timeout,
    },
}

/// One application.
#[derive(Debug, Args)]
pub(crate) struct App {
    /// Name of the application
    #[arg(id = "app", value_name = "APP", value_parser = |text: &str| values::plain(text.parse::<AppName>()))]
    pub(crate) name: AppName,
}

/// An application, or one component of it.
#[derive(Debug, Args)]
pub(crate) struct AppTarget {
    /// Name of the application, and of the component after a slash; the component may be left out
    #[arg(value_name = "APP[/COMPONENT]", value_parser = values::app_target)]
    pub(crate) target: (AppName, Option<ComponentName>),
}

/// What happens to a rollout that is under way.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Supersede {
    /// Take the place of a rollout that is under way
    #[arg(long)]
    pub(crate) supersede: bool,
}

/// Whether and how long a rollout is waited for.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Wait {
    /// Do not wait until the rollout has ended; it is the server's, and goes on
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Timeout {
    /// How long to wait for the rollout, such as 90s or 1h; it goes on all the same
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = values::duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = format!("\
Reads paas.toml, shows what would change, asks where that is more than to add something, and waits until it is done.

Example of a paas.toml:

    app = \"shop\"

    [component.web]
    image = \"shop:${{VERSION}}\"
    replicas = 3
    publish = [\"8080:80\"]

Example: paas-cli deploy -f compose.yaml
Example: paas-cli deploy --var VERSION=1.9 --message \"new checkout\"

{ENDS}"))]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) options: ApplyOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) files: Files,
    #[command(flatten)]
    pub(crate) options: ApplyOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) files: Files,
    /// Show what is to be done for all applications as they are recorded, also before 'reconcile resume'
    #[arg(long, conflicts_with_all = ["files", "adopt", "beside_orphans", "refresh_images"])]
    pub(crate) all: bool,
    /// End with 6 when there is something to change
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    pub(crate) adopt: Adopt,
    #[command(flatten)]
    pub(crate) refresh: Refresh,
}

/// An application as files declare it.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// File that declares the application, in TOML or as Compose has it, or - for stdin; may be repeated, and each is laid over those before it
    #[arg(long = "file", short = 'f', value_name = "FILE", default_value = "paas.toml", value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    ignored: Ignored,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Compose file, or - for stdin; several are laid over each other
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    changes: Changes,
}

/// How a file is applied.
#[derive(Debug, Args)]
pub(crate) struct ApplyOptions {
    /// Why, for the history
    #[arg(long, short, value_name = "TEXT", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub(crate) message: String,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) supersede: Supersede,
    #[command(flatten)]
    pub(crate) adopt: Adopt,
    #[command(flatten)]
    pub(crate) refresh: Refresh,
    #[command(flatten)]
    pub(crate) wait: Wait,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Refresh {
    /// Take what the registries have now, also of images that are written as before; otherwise what was declared stays as it was then
    #[arg(long)]
    pub(crate) refresh_images: bool,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Adopt {
    /// Take over containers of the application that the platform has no record of, where they are as declared
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Make containers beside such ones, which go on; otherwise nothing is applied while there are any that are not taken over
    #[arg(long)]
    pub(crate) beside_orphans: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AppLogArgs {
    #[command(flatten)]
    pub(crate) target: AppTarget,
    /// Go on with what is written from now on
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only the last N lines of each replica
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) tail: Option<u64>,
    /// Only what was written since then: 2026-01-31T12:00:00Z, or so long ago: 90s, 10m, 1h30m, 2d
    #[arg(long, value_name = "TIME", value_parser = values::since)]
    pub(crate) since: Option<Timestamp>,
    /// Put the time before each line
    #[arg(long, short)]
    pub(crate) timestamps: bool,
    /// The last 200 lines of containers that were removed, kept for seven days
    #[arg(long, short, conflicts_with_all = ["follow", "since", "timestamps"])]
    pub(crate) previous: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Say that a host is gone for good: what waits for it is started elsewhere
    #[command(after_help = "\
Example: paas-cli host lost node-b --lose-volumes

Should it come back all the same, its containers are stopped and its volumes put aside.")]
    Lost {
        /// Id of its engine
        id: String,
        /// Even if volumes are lost with it; their names are written
        #[arg(long)]
        lose_volumes: bool,
        /// Do not ask; where nobody can be asked, nobody is
        #[arg(long, short = 'y')]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReconcileCommand {
    /// Act on applications again, after the store of the platform was restored
    #[command(after_help = "Example: paas-cli reconcile resume")]
    Resume,
}

impl Files {
    /// The application as the files have it.
    pub(crate) fn read(&self) -> Result<Declared, Failure> {
        self.ignored.apply(self.changes.read(&self.files)?).with_configs()
    }
}

impl ImportArgs {
    /// The application as the files have it.
    pub(crate) fn read(&self) -> Result<Declared, Failure> {
        self.changes.read(&self.files)
    }
}
