//! The key that seals the secrets in the store: it lies beside the server, and is made by the one that finds a new store.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use paas_core::seal::{Fingerprint, KeyFile, Sealer, sealed_with};
use paas_core::store::{Store, transfer};

use crate::config::Config;
use crate::process::make_data_dir;

/// Where the keys of this server are. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Custody {
    /// Nowhere: the store is forgotten with the process, and so is the key.
    Ephemeral(Sealer),
    /// In a file.
    File {
        /// The file.
        file: KeyFile,
        /// The data directory, when the file lies in it: it is made with the file.
        data_dir: Option<Arc<Path>>,
    },
}

impl Custody {
    /// As the settings say.
    pub(crate) fn of(config: &Config) -> Self {
        if config.store_url().scheme() == "memory" {
            return Self::Ephemeral(Sealer::ephemeral());
        }
        let path = &config.secret_key_file;
        let data_dir = path.starts_with(&config.data_dir).then(|| config.data_dir.as_path().into());
        Self::File { file: KeyFile::new(path), data_dir }
    }

    /// Whether this server can open what is sealed in the store. For a new store it can: it would make the key. A store that
    /// does not answer says nothing about that.
    ///
    /// # Errors
    /// In words, what is missing and how it comes here.
    pub(crate) async fn check(&self, store: &dyn Store) -> Result<()> {
        match sealed_with(store).await {
            Ok(fingerprint) => self.check_for(fingerprint),
            Err(_) => Ok(()),
        }
    }

    fn check_for(&self, fingerprint: Option<Fingerprint>) -> Result<()> {
        let Self::File { file, .. } = self else { return Ok(()) };
        let keys = file.read()?;
        let Some(fingerprint) = fingerprint else { return Ok(()) };
        let path = file.path().display();
        let missing = match keys {
            Some(keys) if keys.get(&fingerprint).is_some() => return Ok(()),
            Some(_) => format!("that key is not in {path}"),
            None => format!("there is no key file {path}"),
        };
        bail!(
            "the secrets in the store are sealed with the key {fingerprint}, and {missing}; bring it here with \
             'paas-server key export' where it is and 'paas-server key import' here, or from your copy of the file (if it is \
             lost for good: paas-server key rotate --lost)"
        )
    }

    /// What seals and opens. For a new store the key is made, if there is none yet.
    ///
    /// # Errors
    /// As [`Custody::check`]; the file cannot be made.
    pub(crate) async fn sealer(&self, store: &dyn Store) -> Result<Sealer> {
        let (file, data_dir) = match self {
            Self::Ephemeral(sealer) => return Ok(sealer.clone()),
            Self::File { file, data_dir } => (file, data_dir),
        };
        // What is only half there may have a key that did not come yet.
        transfer::check_whole(store).await?;
        self.check_for(sealed_with(store).await.context("the store cannot be read")?)?;
        if file.read()?.is_none() {
            if let Some(data_dir) = data_dir {
                make_data_dir(data_dir)?;
            }
            let keys = file.create()?;
            let fingerprint = keys.newest().fingerprint();
            tracing::info!(%fingerprint, file = %file.path().display(), "made the key that seals secrets; keep a copy of it");
        }
        Ok(Sealer::from_file(file.clone())?)
    }
}
