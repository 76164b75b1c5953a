//! Small values of an application that are written in one of two ways: a number or a word, a text or a table.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SecretName;

/// How many replicas a component has. Written as a number, or as `each-host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// This number.
    Count(u32),
    /// One on each host that the component may be placed on.
    EachHost,
}

/// How many replicas are replaced at a time. Written as a number, or as a percentage such as `25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parallel {
    /// This number.
    Count(u32),
    /// A percentage, rounded down, and one at least.
    Percent(u8),
}

impl Parallel {
    /// How many of `replicas` that is: one at least.
    pub fn of(self, replicas: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX).max(1),
            Self::Percent(percent) => (replicas * usize::from(percent) / 100).max(1),
        }
    }
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// This text.
    Text(String),
    /// What a secret holds.
    Secret {
        /// The name of the secret.
        secret: SecretName,
        /// Which of its values, by number; the newest when a container is made, where none is said. A revision says one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
    },
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::EachHost => f.write_str("each-host"),
        }
    }
}

impl Serialize for Replicas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::EachHost => serializer.serialize_str("each-host"),
        }
    }
}

impl Serialize for Parallel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

impl<'de> Deserialize<'de> for Replicas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = Replicas;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of replicas, or \"each-host\"")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Replicas, E> {
                let count = u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))?;
                Ok(Replicas::Count(count))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Replicas, E> {
                let count = u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
                Ok(Replicas::Count(count))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Replicas, E> {
                if text == "each-host" {
                    return Ok(Replicas::EachHost);
                }
                Err(E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for Parallel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl Visitor<'_> for Form {
            type Value = Parallel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 1, or a percentage from \"1%\" to \"100%\"")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Parallel, E> {
                match u32::try_from(number) {
                    Ok(count) if count > 0 => Ok(Parallel::Count(count)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Parallel, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Parallel, E> {
                match text.strip_suffix('%').and_then(|number| number.parse().ok()) {
                    Some(percent @ 1..=100) => Ok(Parallel::Percent(percent)),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Form)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_written_as_it_was() {
        fn same<T: Serialize + for<'de> Deserialize<'de>>(text: &str) {
            let value: T = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
        }
        same::<Replicas>("3");
        same::<Replicas>("\"each-host\"");
        same::<Parallel>("2");
        same::<Parallel>("\"25%\"");
        same::<EnvValue>("\"info\"");
        same::<EnvValue>("{\"secret\":\"database-url\"}");
        same::<EnvValue>("{\"secret\":\"database-url\",\"version\":3}");
    }

    #[test]
    fn what_is_neither_form_is_refused_with_both() {
        for bad in ["-1", "\"all\"", "1.5", "4294967296"] {
            let wrong = serde_json::from_str::<Replicas>(bad).unwrap_err().to_string();
            assert!(wrong.contains("each-host"), "{wrong}");
        }
        for bad in ["0", "\"0%\"", "\"101%\"", "\"many\""] {
            assert!(serde_json::from_str::<Parallel>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_percentage_is_one_at_least() {
        assert_eq!(Parallel::Percent(25).of(3), 1);
        assert_eq!(Parallel::Percent(50).of(5), 2);
        assert_eq!(Parallel::Count(4).of(3), 4);
    }
}
