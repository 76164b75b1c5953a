//! Secrets: what they hold, and where a component uses them.

use std::fmt;
use std::sync::Arc;

use super::{ComponentSpec, EnvValue, SecretName};
use crate::model::Invalid;

/// What a secret holds: 1 byte to 64 KB. Shown nowhere: not by `Debug`, not by `Display`, and it has no form in JSON of its own.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(Arc<[u8]>);

impl SecretValue {
    /// The most that a secret may hold, bytes.
    pub const LARGEST: usize = 64 << 10;

    /// A value.
    ///
    /// # Errors
    /// It is empty, or larger than [`SecretValue::LARGEST`]. The error does not show it.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, Invalid> {
        let bytes: Vec<u8> = bytes.into();
        match bytes.len() {
            0 => Err(Invalid::new("value", "is empty; a secret holds 1 byte at least")),
            1..=Self::LARGEST => Ok(Self(bytes.into())),
            length => {
                let message = format!("is {length} bytes long; a secret holds at most {} (64 KB)", Self::LARGEST);
                Err(Invalid::new("value", message))
            }
        }
    }

    /// The value itself: for those alone who give it to a container, or to the store.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, where an environment variable can hold it: UTF-8 without zero bytes.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok().filter(|text| !text.contains('\0'))
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One use of a secret by a component.
#[derive(Debug)]
pub struct SecretUse<'a> {
    /// The field that names it, as in the file: `env.DATABASE_URL`.
    pub field: String,
    /// The secret.
    pub name: &'a SecretName,
    /// Which of its values; the newest where none is said.
    pub version: &'a mut Option<u64>,
    /// Whether only text will do.
    pub is_text: bool,
}

impl ComponentSpec {
    /// The secrets that its containers are given, and which value of each.
    pub fn secrets_used(&self) -> impl Iterator<Item = (&SecretName, Option<u64>)> {
        let variables = self.env.values().filter_map(|value| match value {
            EnvValue::Secret { secret, version } => Some((secret, *version)),
            EnvValue::Text(_) => None,
        });
        variables.chain(self.secrets.values().map(|file| (&file.name, file.version)))
    }

    /// The same, to say which values they are.
    pub fn secrets_used_mut(&mut self) -> impl Iterator<Item = SecretUse<'_>> {
        let variables = self.env.iter_mut().filter_map(|(variable, value)| match value {
            EnvValue::Secret { secret, version } => {
                Some(SecretUse { field: format!("env.{variable}"), name: secret, version, is_text: true })
            }
            EnvValue::Text(_) => None,
        });
        let files = self.secrets.iter_mut().map(|(path, file)| SecretUse {
            field: format!("secrets.{path}"),
            name: &file.name,
            version: &mut file.version,
            is_text: false,
        });
        variables.chain(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_nowhere_and_has_its_limits() {
        let value = SecretValue::new("hunter2").unwrap();
        assert_eq!(format!("{value} {value:?} {:?}", Some(&value)), "*** *** Some(***)");
        assert_eq!((value.expose(), value.as_text()), (&b"hunter2"[..], Some("hunter2")));
        for no_text in [&b"a\0b"[..], b"\xff"] {
            assert_eq!(SecretValue::new(no_text).unwrap().as_text(), None);
        }
        assert!(SecretValue::new(vec![b'x'; SecretValue::LARGEST]).is_ok());
        let large = SecretValue::new(vec![b'x'; SecretValue::LARGEST + 1]).unwrap_err().to_string();
        assert!(large.contains("64 KB") && !large.contains("xx"), "{large}");
        assert!(SecretValue::new("").is_err());
    }
}
