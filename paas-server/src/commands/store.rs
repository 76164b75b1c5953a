//! `paas-server store`: moves everything that a platform knows, from one store to another, to a file, and back, and takes over
//! the containers of other platforms.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use paas_core::cluster::{adopt_platform, disown_platform};
use paas_core::store::{Store, Table, open_existing_store, open_store, transfer};

use crate::config::{BackendUrl, LogFormat, default_data_dir, store_in};
use crate::process::{make_data_dir, say, start_log};

const AFTER_HELP: &str = "\
Stop every server that uses one of the stores first: what changes meanwhile is found at the end, and is an error.

A copy or a restore that did not come to its end goes on where it ended when it is run again. Until then no server starts \
on the store that it fills.

A backup is text: JSON, one value a line; a header with the number of documents of each table, the documents, and a \
checksum. It holds hashes of passwords, and passwords of registries and private keys sealed with the key of the server, so only \
its owner can read it. The key is not in it: keep a copy of that as well, elsewhere (see 'paas-server key --help').";

/// Copies, backs up and restores what a server keeps, and takes over other platforms.
#[derive(Debug, Parser)]
#[command(name = "paas-server store", bin_name = "paas-server store", version, max_term_width = 110)]
#[command(after_help = AFTER_HELP)]
pub struct StoreFlags {
    #[command(subcommand)]
    command: Command,
    /// What is logged: error, warn, info, debug or trace, or a filter by module.
    #[arg(long, global = true, env = "PAAS_LOG", value_name = "FILTER", default_value = "warn")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy everything from one store to another that is empty, and compare both.
    Copy {
        /// The store to read: 'sqlite:PATH', 'etcd://host:2379' or 'rethinkdb://user:password@host:port/database'.
        #[arg(long, env = "PAAS_STORE_FROM", value_name = "URL", hide_env_values = true)]
        from: BackendUrl,
        /// The store to fill.
        #[arg(long, env = "PAAS_STORE_TO", value_name = "URL", hide_env_values = true)]
        to: BackendUrl,
    },
    /// Write everything into a new file.
    Backup {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Make the containers of another platform those of the platform whose store this is, from its server's next start on.
    Adopt {
        /// The platform's id, as a server shows it at its start, or the label paas.platform of a container.
        id: String,
        /// Take it back: its containers are left alone again, from the server's next start on.
        #[arg(long)]
        undo: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Check a backup, put everything that is in it into an empty store, and compare both.
    Restore {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

/// The store of a server, found as the server finds it.
#[derive(Debug, Args)]
struct Place {
    /// The store. Default: paas.db in the data directory.
    #[arg(long, env = "PAAS_STORE", value_name = "URL", hide_env_values = true)]
    store: Option<BackendUrl>,
    /// Where the database lies. Default: as for the server.
    #[arg(long, env = "PAAS_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(default_data_dir)
    }

    fn url(&self) -> BackendUrl {
        self.store.clone().unwrap_or_else(|| store_in(&self.data_dir()))
    }
}

/// Does what was asked, and says what was moved.
///
/// # Errors
/// Says what could not be read or written, or what is not as it should be.
pub async fn run(flags: StoreFlags) -> Result<()> {
    start_log(&flags.log, LogFormat::Text)?;
    match flags.command {
        Command::Copy { from, to } => {
            if from == to {
                bail!("--from and --to are the same store");
            }
            let (source, target) = (open_source(&from).await?, open_target(&to).await?);
            let report = transfer::copy(&*source, &*target, &mut progress()).await?;
            end_progress();
            say(&format!("Copied {report}. {} changes were needed. Both are the same.", report.changes));
        }
        Command::Backup { file, place } => {
            let source = open_source(&place.url()).await?;
            let report = transfer::backup(&*source, &file).await?;
            say(&format!("Wrote {report}, into {}.", file.display()));
            say(&about_the_key(&*source).await?);
        }
        Command::Adopt { id, undo: true, place } => {
            disown_platform(open_source(&place.url()).await?, &id).await?;
            say(&format!("Containers of platform {id} are not this store's any more."));
        }
        Command::Adopt { id, undo: false, place } => {
            let platform = adopt_platform(open_source(&place.url()).await?, &id).await?;
            let also: Vec<&str> = platform.adopted().collect();
            let also = if also.is_empty() { String::new() } else { format!(", and of {},", also.join(", ")) };
            say(&format!("Containers of platform {}{also} are this store's now.", platform.name()));
            say(&format!(
                "A store does not know which containers there are: if none is of {id}, the server says so in its log when it starts, and \
                 the same with --undo takes it back."
            ));
        }
        Command::Restore { file, place } => {
            // Before anything is made for it.
            if !file.exists() {
                bail!("there is no file {}", file.display());
            }
            if place.store.is_none() {
                make_data_dir(&place.data_dir())?;
            }
            let target = open_target(&place.url()).await?;
            let report = transfer::restore(&file, &*target, &mut progress()).await?;
            end_progress();
            say(&format!("Restored {report}. The store has just what the file has."));
        }
    }
    Ok(())
}

/// What is needed beside a backup.
async fn about_the_key(source: &dyn Store) -> Result<String> {
    let sealed_with = paas_core::seal::sealed_with(source).await.context("the name of the key cannot be read")?;
    Ok(match sealed_with {
        Some(fingerprint) => format!(
            "The secrets in it are sealed with the key {fingerprint}. The key is not in it: keep a copy elsewhere, with \
             paas-server key export."
        ),
        None => {
            "Its secrets are not sealed: this store has no key yet. The server makes one at its next start.".to_owned()
        }
    })
}

async fn open_source(url: &BackendUrl) -> Result<Arc<dyn Store>> {
    open_existing_store(url.as_str()).await.with_context(|| format!("{url} cannot be read"))
}

async fn open_target(url: &BackendUrl) -> Result<Arc<dyn Store>> {
    if url.as_str().starts_with("memory:") {
        bail!("a store in memory is gone when this program ends; give another");
    }
    open_store(url.as_str()).await.with_context(|| format!("{url} cannot be filled"))
}

/// Draws how far it is, for a person that watches.
fn progress() -> impl FnMut(Table, usize) + Send {
    let is_watched = std::io::stderr().is_terminal();
    move |table, count| {
        if is_watched {
            // Nobody needs it, so that it fails is no failure.
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K{table}: {count}");
        }
    }
}

fn end_progress() {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
}
