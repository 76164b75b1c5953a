//! The record of a secret. Its values are sealed wherever it is kept: see [`seal`](crate::seal).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::app::{AppName, SecretName, SecretValue};

/// The format that is written here.
const FORMAT: u32 = 1;

const fn first_format() -> u32 {
    1
}

type Unknown = serde_json::Map<String, serde_json::Value>;

/// A secret of an application. One that was deleted while revisions still name it is kept without values, so that its numbers
/// are never used for others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// The format it was written in.
    #[serde(default = "first_format")]
    pub format: u32,
    /// The number of the newest value there ever was.
    pub newest: u64,
    /// The values that are kept, by number.
    #[serde(default, with = "by_number")]
    pub versions: BTreeMap<u64, SecretVersionRecord>,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// One value of a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretVersionRecord {
    /// The value, in base64.
    #[serde(with = "in_base64")]
    pub value: SecretValue,
    /// Whether no environment variable can hold it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub binary: bool,
    /// When it was set.
    pub created: Timestamp,
    /// Who set it; empty for the platform.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// As much of the record of a secret as can be read without opening a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SecretOutline {
    /// The number of the newest value there ever was.
    pub newest: u64,
    /// The values that are kept, by number.
    #[serde(default, with = "by_number")]
    pub versions: BTreeMap<u64, SecretVersionOutline>,
}

/// As much of one value of a secret as can be read without opening it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SecretVersionOutline {
    /// Whether no environment variable can hold it.
    #[serde(default)]
    pub binary: bool,
    /// When it was set.
    pub created: Timestamp,
    /// Who set it; empty for the platform.
    #[serde(default)]
    pub user: String,
}

impl SecretRecord {
    /// Its key.
    pub fn key(app: &AppName, name: &SecretName) -> String {
        format!("{app}/{name}")
    }

    /// A secret of which `newest` is the newest number that was used, without values.
    pub fn without_values(newest: u64) -> Self {
        Self { format: FORMAT, newest, versions: BTreeMap::new(), unknown: Unknown::new() }
    }

    /// Adds a value, and gives its number.
    pub fn add(&mut self, value: SecretValue, user: String, created: Timestamp) -> u64 {
        self.newest += 1;
        let binary = value.as_text().is_none();
        let version = SecretVersionRecord { value, binary, created, user, unknown: Unknown::new() };
        self.versions.insert(self.newest, version);
        self.newest
    }
}

/// A map by numbers, which are texts in JSON. Read as texts, since not every reader of a record makes numbers of them.
mod by_number {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<V: Serialize, S: Serializer>(
        map: &BTreeMap<u64, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(number, value)| (number.to_string(), value)))
    }

    pub(super) fn deserialize<'de, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u64, V>, D::Error> {
        let texts = BTreeMap::<String, V>::deserialize(deserializer)?;
        let number = |(text, value): (String, V)| {
            let number = text.parse().map_err(|_| D::Error::custom("a version has no number"))?;
            Ok((number, value))
        };
        texts.into_iter().map(number).collect()
    }
}

mod in_base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::app::SecretValue;

    pub(super) fn serialize<S: Serializer>(value: &SecretValue, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(value.expose()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretValue, D::Error> {
        let text = String::deserialize(deserializer)?;
        // No word of what was there instead.
        let bytes = STANDARD.decode(text).map_err(|_| D::Error::custom("a value is not in base64"))?;
        SecretValue::new(bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{read, rewrite};
    use super::*;

    const FIRST: &str = include_str!("golden/secret-1.json");

    #[test]
    fn the_first_format_is_read_for_ever_and_written_as_it_was() {
        let kept: Vec<serde_json::Value> = serde_json::from_str(FIRST).unwrap();
        let records: Vec<SecretRecord> = kept.iter().map(|one| read(one).unwrap()).collect();
        for (record, kept) in records.iter().zip(&kept) {
            assert_eq!(serde_json::to_value(record).unwrap(), *kept);
            let outline: SecretOutline = serde_json::from_value(kept.clone()).unwrap();
            assert_eq!(outline.newest, record.newest);
            assert!(outline.versions.keys().eq(record.versions.keys()));
        }
        let [one, binary, deleted] = &records[..] else { panic!("{records:?}") };
        assert_eq!((one.newest, one.versions[&12].value.as_text()), (12, Some("postgres://one")));
        assert_eq!((binary.versions[&1].binary, binary.versions[&1].value.expose()), (true, &[0, 255][..]));
        assert!(deleted.newest == 7 && deleted.versions.is_empty());
        assert!(!format!("{records:?}").contains("postgres"));
    }

    #[test]
    fn what_a_later_version_added_is_kept_also_in_a_value_when_another_goes() {
        let mut found: serde_json::Value = serde_json::from_str::<Vec<_>>(FIRST).unwrap().remove(0);
        found["expires"] = serde_json::json!("never");
        found["versions"]["12"]["note"] = serde_json::json!({ "by": "later" });
        let mut record: SecretRecord = read(&found).unwrap();
        let before = serde_json::to_value(&record).unwrap();
        record.versions.remove(&9);
        record.add(SecretValue::new("two").unwrap(), String::new(), Timestamp::UNIX_EPOCH);
        let after = rewrite(&found, &before, serde_json::to_value(&record).unwrap());
        assert_eq!((&after["expires"], &after["versions"]["12"]["note"]["by"]), (&"never".into(), &"later".into()));
        assert!(after["versions"].get("9").is_none());
        assert_eq!(after["versions"]["13"]["value"], "dHdv");
    }
}
