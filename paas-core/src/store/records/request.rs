//! The record of a request with a key: what was asked, and what was answered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The format that is written here.
const FORMAT: u32 = 1;

/// What was asked under a key, and what was answered. Its key is the id of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptRequest {
    /// The format it was written in.
    #[serde(default = "first_format")]
    pub(crate) format: u32,
    /// Hash of the request with a key, so that a key is not used for two different ones, and so that nobody finds out by trying
    /// what was asked.
    pub(crate) fingerprint: String,
    pub(crate) began: Timestamp,
    /// That its change was made, and what that made; written with the change itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<KeptAnswer>,
    /// What a later version added.
    #[serde(flatten)]
    pub(crate) unknown: serde_json::Map<String, serde_json::Value>,
}

/// An answer as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
}

impl KeptAnswer {
    /// The largest body of an answer that is kept, bytes. A larger one is made again, by doing the request again.
    pub const LARGEST: usize = 256 << 10;
}

/// What the first release wrote without a number is the first format.
const fn first_format() -> u32 {
    1
}

impl KeptRequest {
    /// A request that begins.
    pub(crate) fn new(fingerprint: String, began: Timestamp) -> Self {
        Self { format: FORMAT, fingerprint, began, made: None, answer: None, unknown: serde_json::Map::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = include_str!("golden/request-1.json");

    #[test]
    fn the_first_format_is_read_for_ever_and_written_as_it_was() {
        let kept: Vec<serde_json::Value> = serde_json::from_str(FIRST).unwrap();
        let read: Vec<KeptRequest> = kept.iter().cloned().map(|one| serde_json::from_value(one).unwrap()).collect();
        assert_eq!((&read[0].made, &read[0].answer), (&None, &None));
        assert_eq!(read[1].made.as_deref(), Some("bob"));
        let answer = read[2].answer.as_ref().unwrap();
        assert_eq!(
            (answer.status, answer.content_type.as_deref(), &*answer.body),
            (201, Some("application/json"), "[]")
        );
        for (kept, read) in kept.iter().zip(&read) {
            assert_eq!(serde_json::to_value(read).unwrap(), *kept);
        }
    }

    #[test]
    fn what_a_later_version_added_is_kept_and_the_first_release_wrote_no_number() {
        let mut later = serde_json::from_str::<Vec<serde_json::Value>>(FIRST).unwrap().remove(0);
        later["later"] = serde_json::json!({ "number": 3 });
        later.as_object_mut().unwrap().remove("format");
        let mut read: KeptRequest = serde_json::from_value(later).unwrap();
        assert_eq!(read.format, 1);
        read.made = Some("bob".to_owned());
        assert_eq!(serde_json::to_value(&read).unwrap()["later"]["number"], 3);
    }
}
