//! `secret`: secrets of applications.

use clap::Subcommand;
use paas_core::model::app::SecretName;

use super::app::{App, Supersede, Wait};
use super::values;

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret of an application to what stdin holds
    ///
    /// The value is kept byte for byte, as Docker does, also a newline at its end: 'printf %s' writes none, and 'echo' does. At a
    /// terminal it is asked for, and not shown. It may have 64 KB. There need be no such application yet.
    ///
    /// Containers have the new value from the next 'deploy' on, or from now on with --roll. The last three values are kept, for
    /// 'app rollback', and no command shows one.
    #[command(after_help = "\
Example: paas-cli secret set shop database-url < url.txt
Example: printf %s \"$KEY\" | paas-cli secret set shop api-key --roll

In paas.toml: env = { DATABASE_URL = { secret = \"database-url\" } }

Exit status: 0 when it is set and, with --roll, the rollout is done; 1 when the rollout failed.")]
    Set {
        #[command(flatten)]
        app: App,
        #[command(flatten)]
        secret: Secret,
        /// Roll it out at once, where the application uses it
        #[arg(long)]
        roll: bool,
        #[command(flatten)]
        supersede: Supersede,
        #[command(flatten)]
        wait: Wait,
    },
    /// List the secrets of an application: their names and when they were set, never their values
    #[command(after_help = "\
Example: paas-cli secret list shop

* marks the value that the revision which is to run has.")]
    List {
        #[command(flatten)]
        app: App,
    },
    /// Delete a secret of an application that nothing uses any more
    #[command(after_help = "Example: paas-cli secret delete shop database-url")]
    Delete {
        #[command(flatten)]
        app: App,
        #[command(flatten)]
        secret: Secret,
    },
}

/// One secret.
#[derive(Debug, clap::Args)]
pub(crate) struct Secret {
    /// Name of the secret
    #[arg(id = "secret", value_name = "NAME", value_parser = |text: &str| values::plain(text.parse::<SecretName>()))]
    pub(crate) name: SecretName,
}
