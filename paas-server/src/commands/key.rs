//! `paas-server key`: brings the key that seals secrets to other servers, and changes it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use paas_core::files;
use paas_core::seal::{
    Fingerprint, KeyFile, KeyRing, Resealed, Sealer, begin_rotation, claim, reseal, sealed_with, unfinished,
};
use paas_core::store::{Store, open_existing_store, transfer};

use crate::config::{BackendUrl, LogFormat, default_data_dir, secret_key_in, store_in};
use crate::process::{make_data_dir, say, start_log};

const AFTER_HELP: &str = "\
Passwords of image registries and private keys of engines lie sealed in the store. The key lies beside the server, and not in \
the store or in a backup of it: without the key they are lost, so keep a copy.

Several servers need the same key. After the first of them was started on a new store:
  paas-server key export > secret.key      there, and on every other server
  paas-server key import secret.key

To change the key of one server, stop it, and:
  paas-server key rotate
To change the key of several:
  paas-server key rotate --prepare         on one of them: a new key, with which nothing is sealed yet
  paas-server key export, key import       from there to every other server
  paas-server key rotate                   on the first one
Then start the server that leads again: until then it goes on sealing with the old key, which stays readable. Old keys stay in the \
file; backups of before need them.";

/// Exports, imports and changes the key that seals secrets in the store.
#[derive(Debug, Parser)]
#[command(name = "paas-server key", bin_name = "paas-server key", version, max_term_width = 110)]
#[command(after_help = AFTER_HELP)]
pub struct KeyFlags {
    #[command(subcommand)]
    command: Command,
    /// What is logged: error, warn, info, debug or trace, or a filter by module.
    #[arg(long, global = true, env = "PAAS_LOG", value_name = "FILTER", default_value = "warn")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the keys, for another server or for a copy. They open what is sealed.
    Export {
        #[command(flatten)]
        place: Place,
    },
    /// Add exported keys to the key file, and make that when there is none.
    Import {
        /// The file with the keys, or '-' to read them from the standard input.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Make a new key, and seal every secret in the store with it. When that was interrupted, the same again goes on.
    Rotate {
        /// Only make the new key, so that it can be brought to the other servers before anything is sealed with it.
        #[arg(long, conflicts_with = "lost")]
        prepare: bool,
        /// The key of the store is lost for good: go on with a new one. What was sealed is named, and has to be made again.
        #[arg(long)]
        lost: bool,
        /// The store. Default: paas.db in the data directory.
        #[arg(long, env = "PAAS_STORE", value_name = "URL", hide_env_values = true)]
        store: Option<BackendUrl>,
        #[command(flatten)]
        place: Place,
    },
}

/// The key file of a server, found as the server finds it.
#[derive(Debug, Args)]
struct Place {
    /// File with the keys. Default: secret.key in the data directory.
    #[arg(long, env = "PAAS_SECRET_KEY_FILE", value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
    /// The data directory. Default: as for the server.
    #[arg(long, env = "PAAS_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Place {
    fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(default_data_dir)
    }

    fn file(&self) -> KeyFile {
        KeyFile::new(self.secret_key_file.clone().unwrap_or_else(|| secret_key_in(&self.data_dir())))
    }

    /// The same, with its folder made if that is the server's own.
    fn file_to_write(&self) -> Result<KeyFile> {
        if self.secret_key_file.is_none() {
            make_data_dir(&self.data_dir())?;
        }
        Ok(self.file())
    }
}

/// Does what was asked, and says what was done.
///
/// # Errors
/// Says what could not be read or written, or what is missing.
pub async fn run(flags: KeyFlags) -> Result<()> {
    start_log(&flags.log, LogFormat::Text)?;
    match flags.command {
        Command::Export { place } => say(place.file().load()?.to_text().trim_end()),
        Command::Import { file, place } => {
            let keys = KeyRing::parse(&read(&file)?).with_context(|| format!("{} cannot be used", file.display()))?;
            let target = place.file_to_write()?;
            let added = target.import(&keys)?;
            say(&format!("Added {added} of {} keys to {}.", keys.fingerprints().count(), target.path().display()));
        }
        Command::Rotate { prepare, lost, store, place } => {
            let url = store.unwrap_or_else(|| store_in(&place.data_dir()));
            let store =
                open_existing_store(url.as_str()).await.with_context(|| format!("the store {url} cannot be opened"))?;
            transfer::check_whole(&*store).await?;
            match prepare {
                true => self::prepare(&*store, &place.file()).await?,
                false if lost => replace_lost(&*store, &place.file_to_write()?).await?,
                false => rotate(&*store, &place.file(), !is_of_one_server(&url)).await?,
            }
        }
    }
    Ok(())
}

fn read(file: &std::path::Path) -> Result<String> {
    if file.as_os_str() == "-" {
        let text = files::read_from(std::io::stdin(), files::LARGEST_TEXT).and_then(files::text);
        return text.context("the standard input cannot be read");
    }
    files::read_text(file).with_context(|| format!("{} cannot be read", file.display()))
}

async fn current(store: &dyn Store) -> Result<Fingerprint> {
    let current = sealed_with(store).await.context("the name of the key cannot be read")?;
    current.context("the store has no key yet; start the server once, which makes one")
}

/// The keys of the file, which must have the one that seals now.
fn keys_with(file: &KeyFile, current: &Fingerprint) -> Result<KeyRing> {
    let keys = file.load()?;
    if keys.get(current).is_none() {
        bail!("the store is sealed with the key {current}, which is not in {}; import it first", file.path().display());
    }
    Ok(keys)
}

/// A new key that is in the file and seals nothing yet; one that waits there already is as good.
fn new_key(file: &KeyFile, keys: &KeyRing, current: &Fingerprint) -> Result<Fingerprint> {
    let newest = keys.newest().fingerprint();
    if newest != current {
        return Ok(newest.clone());
    }
    Ok(file.add_new()?.newest().fingerprint().clone())
}

async fn prepare(store: &dyn Store, file: &KeyFile) -> Result<()> {
    let current = current(store).await?;
    let next = new_key(file, &keys_with(file, &current)?, &current)?;
    say(&format!(
        "The key {next} is in {}, and nothing is sealed with it yet. Bring it to every other server (paas-server key export, \
         paas-server key import), and then run paas-server key rotate here.",
        file.path().display()
    ));
    Ok(())
}

/// Whether no two servers can have the store: it is a file.
fn is_of_one_server(url: &BackendUrl) -> bool {
    url.scheme() == "sqlite"
}

async fn rotate(store: &dyn Store, file: &KeyFile, may_be_shared: bool) -> Result<()> {
    let current = current(store).await?;
    let keys = keys_with(file, &current)?;
    let sealer = Sealer::from_file(file.clone())?;
    claim(store, Some(&sealer)).await?;
    let next = if unfinished(store, &sealer).await? > 0 && *keys.newest().fingerprint() == current {
        // The last time did not come to its end: no other key is needed for that.
        current
    } else {
        let is_prepared = *keys.newest().fingerprint() != current;
        let next = new_key(file, &keys, &current)?;
        if may_be_shared && !is_prepared {
            say(&format!(
                "The key {next} is new, and in no other file than {}. Another server of this store cannot read what is sealed with \
                 it, and cannot lead, until it has the key: paas-server key export here, paas-server key import there.",
                file.path().display()
            ));
        }
        begin_rotation(store, &current, &sealer, &next).await?;
        next
    };
    finish(reseal(store, &sealer).await?, &next)
}

async fn replace_lost(store: &dyn Store, file: &KeyFile) -> Result<()> {
    let current = current(store).await?;
    let keys = match file.read()? {
        Some(keys) if keys.get(&current).is_some() => {
            bail!("the key {current} of the store is not lost: it is in {}", file.path().display())
        }
        Some(keys) => keys,
        None => file.create()?,
    };
    let next = keys.newest().fingerprint().clone();
    let sealer = Sealer::from_file(file.clone())?;
    begin_rotation(store, &current, &sealer, &next).await?;
    finish(reseal(store, &sealer).await?, &next)
}

fn finish(report: Resealed, key: &Fingerprint) -> Result<()> {
    let records = if report.records == 1 { "1 record".to_owned() } else { format!("{} records", report.records) };
    say(&format!("The key {key} seals from now on. Sealed {records} with it."));
    if report.unreadable.is_empty() {
        return Ok(());
    }
    bail!("these could not be opened, and are left as they are:\n  {}", report.unreadable.join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_the_store_of_one_server() {
        for (url, is_one) in
            [("sqlite:/var/lib/paas/paas.db", true), ("etcd://a:2379", false), ("rethinkdb://a", false)]
        {
            assert_eq!(is_of_one_server(&url.into()), is_one, "{url}");
        }
    }
}
