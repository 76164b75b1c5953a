//! The command line of the platform, and the client library it is made of.
//!
//! [`Client`] has one typed method per route of the remote API, and can be used without the rest:
//!
//! ```no_run
//! # async fn example() -> Result<(), paas_cli::ClientError> {
//! use paas_cli::Client;
//! use paas_cli::client::ListQuery;
//!
//! let client = Client::new("http://127.0.0.1:5002".parse()?, None)?;
//! let login = client.login("admin", "secret").await?;
//! let client = Client::new("http://127.0.0.1:5002".parse()?, Some(&login.token))?;
//! for container in client.containers(&ListQuery::default()).await?.iter() {
//!     println!("{} {}", container.id.short(), container.state);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Several servers of one platform are named together, and one that is gone is passed over:
//!
//! ```no_run
//! # async fn example(token: &str) -> Result<(), paas_cli::ClientError> {
//! # use paas_cli::Client;
//! let servers = "https://paas-1.example.org:5002,https://paas-2.example.org:5002".parse()?;
//! let client = Client::of_several(servers, Some(token), None)?;
//! client.with_key("stop-web-on-friday")?.stop("web", None).await?;
//! # Ok(())
//! # }
//! ```

mod args;
pub mod client;
mod commands;
mod context;
mod credentials;
mod failure;
mod output;
mod secret;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

pub use client::{Client, ClientError};

/// Runs one command as the program `paas-cli` does: results go to stdout, everything said about them to stderr.
///
/// The exit status is 0 when it was done, 1 when it failed, 2 when it was asked for wrongly, 3 without login or
/// permission, 4 when the thing asked for does not exist, 5 when only a part was done, 6
/// when a plan has changes and that was asked, 130 when it was interrupted; for a command that was run for an application it
/// is that of the command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match args::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be said when even stderr is closed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(commands::execute(cli)),
        Err(error) => {
            output::complain(&format!("cannot start: {error}"));
            ExitCode::FAILURE
        }
    }
}
