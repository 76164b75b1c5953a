//! The last output of containers of applications that were removed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::EngineId;
use crate::model::app::{AppName, ComponentName};

/// The format that is written here.
const FORMAT: u32 = 1;

const fn first_format() -> u32 {
    1
}

/// What a container of an application wrote last, before it was removed. It is never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputRecord {
    /// The format it was written in.
    #[serde(default = "first_format")]
    pub format: u32,
    /// The component it was of.
    pub component: ComponentName,
    /// The slot it filled; absent for a command that went before its component was replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// Counts the containers of the slot.
    pub generation: u64,
    /// The revision it was made of.
    pub revision: u64,
    /// The host it was on.
    pub engine: EngineId,
    /// Docker's name of it, without a slash.
    pub name: String,
    /// When it was removed, or a moment before.
    pub removed: Timestamp,
    /// Its last lines, without the values of secrets.
    pub text: String,
    /// What a later version added.
    #[serde(flatten)]
    pub unknown: serde_json::Map<String, serde_json::Value>,
}

impl OutputRecord {
    /// Output of a container that is removed now.
    pub fn new(
        component: ComponentName,
        slot: Option<u32>,
        (generation, revision): (u64, u64),
        (engine, name): (EngineId, String),
        removed: Timestamp,
        text: String,
    ) -> Self {
        let unknown = serde_json::Map::new();
        Self { format: FORMAT, component, slot, generation, revision, engine, name, removed, text, unknown }
    }

    /// What the keys of the containers of one slot begin with: they are in the order in which the containers were made.
    pub fn keys_of(app: &AppName, component: &ComponentName, slot: Option<u32>) -> String {
        let slot = slot.map_or_else(|| "before".to_owned(), |slot| format!("{slot:010}"));
        format!("{app}/{component}/{slot}/")
    }

    /// Its key.
    pub fn key(&self, app: &AppName) -> String {
        format!("{}{:020}", Self::keys_of(app, &self.component, self.slot), self.generation)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::read;
    use super::*;

    const FIRST: &str = include_str!("golden/output-1.json");

    #[test]
    fn the_first_format_is_read_for_ever_and_written_as_it_was() {
        let kept: Vec<Value> = serde_json::from_str(FIRST).unwrap();
        let records: Vec<OutputRecord> = kept.iter().map(|document| read(document).unwrap()).collect();
        for (record, document) in records.iter().zip(&kept) {
            assert_eq!(serde_json::to_value(record).unwrap(), *document);
        }
        assert_eq!((records[0].slot, records[0].text.as_str()), (Some(2), "listening on 8080\nbye\n"));
        assert_eq!((records[1].slot, records[1].generation), (None, 12));
    }

    #[test]
    fn keys_are_in_order_and_short() {
        let app: AppName = "a".repeat(32).parse().unwrap();
        let record = |slot, generation| {
            let component: ComponentName = "b".repeat(32).parse().unwrap();
            let of = ("node".parse().unwrap(), "name".to_owned());
            OutputRecord::new(component, slot, (generation, 1), of, Timestamp::UNIX_EPOCH, String::new()).key(&app)
        };
        assert!(record(Some(2), 9) < record(Some(2), 10) && record(Some(2), 10) < record(Some(10), 1));
        assert!(record(Some(u32::MAX), u64::MAX).len() <= 127, "the longest that RethinkDB takes");
        assert!(record(Some(u32::MAX), 1) < record(None, 1));
    }
}
