//! Setting and listing secrets.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::app::{SecretName, SecretValue};
use crate::model::{Invalid, UserName};

/// A value for a secret: as text, or in base64 where it is none. `Debug` does not show it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetSecretRequest {
    /// The value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64, in the place of `value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Roll the value out at once, where the application uses the secret. Otherwise the next apply takes it.
    pub roll: bool,
    /// Take the place of a rollout that is under way.
    pub supersede: bool,
}

impl SetSecretRequest {
    /// The request that sets this value.
    pub fn of(value: &SecretValue) -> Self {
        match std::str::from_utf8(value.expose()) {
            Ok(text) => Self { value: Some(text.to_owned()), ..Self::default() },
            Err(_) => Self { base64: Some(STANDARD.encode(value.expose())), ..Self::default() },
        }
    }

    /// The value.
    ///
    /// # Errors
    /// There is none, there are two, or it can be none. The error does not show it.
    pub fn value(&self) -> Result<SecretValue, Invalid> {
        match (&self.value, &self.base64) {
            (Some(text), None) => SecretValue::new(text.as_str()),
            (None, Some(text)) => {
                let bytes = STANDARD.decode(text).map_err(|_| Invalid::new("base64", "is not base64"))?;
                SecretValue::new(bytes)
            }
            _ => Err(Invalid::new("value", "give either value, a text, or base64")),
        }
    }
}

impl fmt::Debug for SetSecretRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SetSecretRequest");
        shown.field("roll", &self.roll).field("supersede", &self.supersede).finish_non_exhaustive()
    }
}

/// What came of setting a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSet {
    /// The number of the value.
    pub version: u64,
    /// Whether it is another value than before. Otherwise it has the number that it had.
    pub changed: bool,
    /// The revision that rolls it out, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// A secret in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretSummary {
    /// Its name.
    pub name: SecretName,
    /// The values that are kept, the newest first.
    pub versions: Vec<SecretVersion>,
}

/// That there is a value of a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// Its number.
    pub version: u64,
    /// When it was set.
    pub created: Timestamp,
    /// Who set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Whether a container of the revision that is to run is given this one.
    pub used: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_goes_there_and_back_and_is_not_shown() {
        for bytes in [&b"hunter2\n"[..], b"a\0b", b"\xff\x00"] {
            let value = SecretValue::new(bytes).unwrap();
            let request = SetSecretRequest { roll: true, ..SetSecretRequest::of(&value) };
            let sent = serde_json::to_string(&request).unwrap();
            let read: SetSecretRequest = serde_json::from_str(&sent).unwrap();
            assert_eq!(read.value().unwrap(), value);
            assert_eq!(format!("{read:?}"), "SetSecretRequest { roll: true, supersede: false, .. }");
        }
        let both = SetSecretRequest { value: Some("a".into()), base64: Some("YQ==".into()), ..Default::default() };
        for wrong in [SetSecretRequest::default(), both] {
            assert_eq!(wrong.value().unwrap_err().field, "value");
        }
        let wrong = SetSecretRequest { base64: Some("hunter2!".into()), ..Default::default() };
        assert!(!wrong.value().unwrap_err().to_string().contains("hunter2"));
    }
}
