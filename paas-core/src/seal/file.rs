//! The file with the keys, which only its owner can read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{KeyRing, KeyRingError, SealingKey};
use crate::files;

/// A file of keys. Whatever is written to it is there as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    path: PathBuf,
}

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("the key file {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("the key file {} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a folder.
    #[error("the key file {} is a folder; name a file, for example {}", path.display(), path.join("secret.key").display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// Others than its owner may read or write it.
    #[error("the key file {} is open to others (mode {mode:04o}); make it its owner's alone: chmod 600 {}", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not there.
    #[error("there is no key file {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// What it holds is not what it should.
    #[error("the key file {} is wrong: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyRingError,
    },
}

impl KeyFile {
    /// The file at `path`, whether or not it is there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keys in it; nothing when there is no such file.
    ///
    /// # Errors
    /// [`KeyFileError`]; also when others than its owner may read it.
    pub fn read(&self) -> Result<Option<KeyRing>, KeyFileError> {
        let failed = |source| KeyFileError::Read { path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // Of the file that was opened, and not of what lies at the path by then.
        let found = file.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(KeyFileError::Folder { path: self.path.clone() });
        }
        let mode = found.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Open { path: self.path.clone(), mode });
        }
        let text = files::read_from(file, files::LARGEST_TEXT).and_then(files::text).map_err(failed)?;
        let wrong = |source| KeyFileError::Content { path: self.path.clone(), source };
        KeyRing::parse(&text).map(Some).map_err(wrong)
    }

    /// The keys in it, which has to be there.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn load(&self) -> Result<KeyRing, KeyFileError> {
        self.read()?.ok_or_else(|| KeyFileError::Missing { path: self.path.clone() })
    }

    /// Makes the file with a new key in it. When somebody else made it meanwhile, that one's keys are given back.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn create(&self) -> Result<KeyRing, KeyFileError> {
        let made = KeyRing::generate();
        let half = self.write_beside(&made)?;
        // Unlike a rename, a link never replaces what is there.
        let linked = fs::hard_link(&half, &self.path);
        let _ = fs::remove_file(&half);
        match linked {
            Ok(()) => self.sync_folder().map(|()| made),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.load(),
            Err(source) => Err(KeyFileError::Write { path: self.path.clone(), source }),
        }
    }

    /// Adds keys to the file, and makes it when there is none. The new ones are the newest. How many were new.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn import(&self, keys: &KeyRing) -> Result<usize, KeyFileError> {
        let (all, added) = match self.read()? {
            None => (keys.clone(), keys.fingerprints().count()),
            Some(mut known) => {
                let added = known.add_all(keys);
                (known, added)
            }
        };
        if added > 0 {
            self.replace(&all)?;
        }
        Ok(added)
    }

    /// Adds a new key, the newest from then on.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn add_new(&self) -> Result<KeyRing, KeyFileError> {
        let mut keys = self.load()?;
        keys.add(SealingKey::generate());
        self.replace(&keys)?;
        Ok(keys)
    }

    fn replace(&self, keys: &KeyRing) -> Result<(), KeyFileError> {
        let half = self.write_beside(keys)?;
        fs::rename(&half, &self.path).map_err(|source| KeyFileError::Write { path: self.path.clone(), source })?;
        self.sync_folder()
    }

    /// Writes the keys into a file beside this one, down to the disk.
    fn write_beside(&self, keys: &KeyRing) -> Result<PathBuf, KeyFileError> {
        let mut half = self.path.clone().into_os_string();
        half.push(format!(".{:016x}.part", rand::random::<u64>()));
        let half = PathBuf::from(half);
        let written = (|| {
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&half)?;
            file.write_all(keys.to_text().as_bytes())?;
            file.sync_all()
        })();
        match written {
            Ok(()) => Ok(half),
            Err(source) => {
                let _ = fs::remove_file(&half);
                Err(KeyFileError::Write { path: self.path.clone(), source })
            }
        }
    }

    /// That the file has its name is on the disk as well: what it seals must not outlive it.
    fn sync_folder(&self) -> Result<(), KeyFileError> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| KeyFileError::Write { path: self.path.clone(), source })
    }
}
