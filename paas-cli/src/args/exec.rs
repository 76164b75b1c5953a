//! Commands that are run for applications.

use clap::Args;
use paas_core::model::app::{AppName, ComponentName};

use super::app::AppTarget;
use super::values;

#[derive(Debug, Args)]
#[command(after_help = "\
Example: paas-cli exec shop/web -- ls -l /var/lib
Example: paas-cli exec shop/db.1 -- pg_dump shop > shop.sql

The command has no terminal and no input. Its output is passed on, and its exit status is that of
this program; what fails otherwise has the exit statuses of every command. Interrupted, it goes on
in its container, as Docker has it.")]
pub(crate) struct ExecArgs {
    /// Application, its component after a slash, and the number of the replica after a point; without that the first that is ready
    #[arg(value_name = "APP[/COMPONENT[.N]]", value_parser = values::replica)]
    pub(crate) target: (AppName, Option<ComponentName>, Option<u32>),
    /// Program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example: paas-cli app run shop/web -- rake db:seed

The container has the image, environment, limits and network of the component, without its ports
and without the volumes of its slots. The command takes the place of the component's command, has no
terminal and no input, and its exit status is that of this program; what fails otherwise has the
exit statuses of every command. The container is removed at the end, also when interrupted.")]
pub(crate) struct AppRunArgs {
    #[command(flatten)]
    pub(crate) target: AppTarget,
    /// Program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}
