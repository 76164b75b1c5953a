//! The record of a configuration file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The format that is written here.
const FORMAT: u32 = 1;

const fn first_format() -> u32 {
    1
}

/// A file that was sent with an application. Its key is the SHA-256 of what is in it, in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRecord {
    /// The format it was written in.
    #[serde(default = "first_format")]
    pub format: u32,
    /// What is in it, in base64.
    pub content: String,
    /// How much that is, bytes.
    pub size: u64,
    /// When it was sent last, or applied: one that no revision has is kept for a while from then on.
    pub sent: Timestamp,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

/// The same without what is in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BlobOutline {
    /// How much is in it, bytes.
    pub size: u64,
    /// When it was sent last, or applied.
    pub sent: Timestamp,
}

impl BlobRecord {
    /// A file that is sent now.
    pub fn new(content: &[u8], sent: Timestamp) -> Self {
        let size = content.len() as u64;
        Self { format: FORMAT, content: STANDARD.encode(content), size, sent, unknown: serde_json::Map::new() }
    }

    /// What is in it; nothing where that is damaged.
    pub fn content(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.content).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    #[test]
    fn the_first_format_is_read_for_ever_and_written_as_it_was() {
        let kept: serde_json::Value = serde_json::from_str(include_str!("golden/blob-1.json")).unwrap();
        let record: BlobRecord = read(&kept).unwrap();
        assert_eq!((record.content().unwrap(), record.size), (b"worker_processes 2;\n".to_vec(), 20));
        assert_eq!(serde_json::to_value(&record).unwrap(), kept);
        assert_eq!(BlobRecord::new(b"worker_processes 2;\n", record.sent), record);
    }
}
