//! The token of the last login, kept in a file that only its owner can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use paas_core::files;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::output;
use crate::secret;

const FILE: &str = "credentials.toml";

/// A login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// The servers of the platform that gave the token, and the only ones it is sent to.
    #[serde(rename = "url", with = "one_or_several")]
    pub(crate) urls: Vec<String>,
    pub(crate) username: String,
    pub(crate) token: String,
    pub(crate) expires: Timestamp,
}

/// One server is written as text, several as a list.
mod one_or_several {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Urls {
        One(String),
        Several(Vec<String>),
    }

    pub(super) fn serialize<S: Serializer>(urls: &[String], serializer: S) -> Result<S::Ok, S::Error> {
        match urls {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
        Ok(match Urls::deserialize(deserializer)? {
            Urls::One(one) => vec![one],
            Urls::Several(several) => several,
        })
    }
}

/// The directory that holds the file: `$PAAS_CONFIG_DIR`, `$XDG_CONFIG_HOME/paas` or `~/.config/paas`.
fn directory() -> Result<PathBuf, Failure> {
    if let Some(path) = secret::variable("PAAS_CONFIG_DIR")? {
        return Ok(path.into());
    }
    // The base directory specification has relative paths ignored.
    if let Some(path) = secret::variable("XDG_CONFIG_HOME")?.map(PathBuf::from).filter(|path| path.is_absolute()) {
        return Ok(path.join("paas"));
    }
    match std::env::home_dir().filter(|path| path.is_absolute()) {
        Some(home) => Ok(home.join(".config/paas")),
        None => Err(Failure::Failed("there is no home directory to keep the login in; set PAAS_CONFIG_DIR".to_owned())),
    }
}

/// The file that holds the login.
pub(crate) fn file() -> Result<PathBuf, Failure> {
    directory().map(|directory| directory.join(FILE))
}

/// The last login; none when there was none.
pub(crate) fn load() -> Result<Option<Credentials>, Failure> {
    // Without a place for it there was no login.
    let Ok(path) = file() else { return Ok(None) };
    load_from(&path)
}

fn load_from(path: &Path) -> Result<Option<Credentials>, Failure> {
    let text = match files::read_text(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(Failure::Failed(format!("cannot read {}: {error}", path.display()))),
    };
    if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        let path = path.display();
        output::complain(&format!("warning: others can read the token in {path}; log in again, or chmod 600 {path}"));
    }
    // The parser's own message would show the line, and with it the token.
    let credentials = toml::from_str(&text)
        .map_err(|_| Failure::Failed(format!("{} is damaged; run paas-cli login to write it again", path.display())))?;
    Ok(Some(credentials))
}

/// Keeps a login in place of the last one.
pub(crate) fn save(credentials: &Credentials) -> Result<(), Failure> {
    let directory = directory()?;
    let path = directory.join(FILE);
    save_to(&directory, credentials)
        .map_err(|error| Failure::Failed(format!("cannot keep the login in {}: {error}", path.display())))
}

fn save_to(directory: &Path, credentials: &Credentials) -> std::io::Result<()> {
    let text = toml::to_string(credentials).map_err(std::io::Error::other)?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Written beside it and renamed, so that no reader sees half a file and none ever has looser permissions.
    let scratch = directory.join(format!(".{FILE}.{}", std::process::id()));
    let written = write_private(&scratch, &text).and_then(|()| fs::rename(&scratch, directory.join(FILE)));
    if written.is_err() {
        let _ = fs::remove_file(&scratch);
    }
    written
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    // A process of this number may have died here before.
    let _ = fs::remove_file(path);
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Forgets the login. Nothing happens when there is none.
pub(crate) fn forget() -> Result<(), Failure> {
    let path = file()?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::Failed(format!("cannot remove {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            urls: vec!["http://127.0.0.1:5002".to_owned()],
            username: "admin".to_owned(),
            token: "abc".to_owned(),
            expires: "2026-01-31T12:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_login_is_kept_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("deep/paas");
        save_to(&directory, &credentials()).unwrap();
        save_to(&directory, &credentials()).unwrap();
        let path = directory.join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
        assert!(load_from(&path).unwrap() == Some(credentials()));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "nothing else is left there");
    }

    #[test]
    fn one_server_is_written_as_ever_and_several_as_a_list() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(FILE);
        let written = |credentials: &Credentials| {
            save_to(place.path(), credentials).unwrap();
            assert!(load_from(&path).unwrap().as_ref() == Some(credentials));
            fs::read_to_string(&path).unwrap().lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(written(&credentials()), r#"url = "http://127.0.0.1:5002""#);
        let several = Credentials { urls: vec!["http://a".to_owned(), "http://b".to_owned()], ..credentials() };
        assert_eq!(written(&several), r#"url = ["http://a", "http://b"]"#);
    }

    #[test]
    fn a_damaged_file_does_not_show_its_token() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(FILE);
        write_private(&path, "token = \"topsecret\nurl=").unwrap();
        let line = load_from(&path).map(drop).unwrap_err().line().unwrap();
        assert!(line.contains("paas-cli login") && !line.contains("topsecret"), "{line}");
    }

    #[test]
    fn no_file_is_no_login() {
        let place = tempfile::tempdir().unwrap();
        assert!(load_from(&place.path().join(FILE)).unwrap().is_none());
    }
}
