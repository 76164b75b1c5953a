//! Configuration files of applications: sent before they are applied, and kept as long as a revision has them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use crate::store::records::{BlobOutline, BlobRecord};
use crate::store::tables::{BLOBS, REVISIONS};
use crate::store::{Collection, KeyRange, Result, Store, StoreErrorKind};

/// How long a file is kept that no revision has: whoever sent it is going to apply it.
const KEPT_UNUSED: Duration = Duration::from_secs(3600);
/// How many documents are read in one go. A file has up to 700 KB in the store.
const PAGE: usize = 20;

/// The table of configuration files.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    store: Arc<dyn Store>,
    records: Collection<BlobRecord>,
}

impl Blobs {
    pub(super) fn new(store: &Arc<dyn Store>) -> Self {
        Self { store: store.clone(), records: Collection::new(store.clone(), BLOBS) }
    }

    /// Keeps a file under its SHA-256, as sent now.
    ///
    /// # Errors
    /// As the store.
    pub(crate) async fn put(&self, sha256: &str, content: &[u8], now: Timestamp) -> Result<()> {
        loop {
            match self.records.insert(sha256, &BlobRecord::new(content, now)).await {
                Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {}
                outcome => return outcome.map(drop),
            }
            match self.records.update(sha256, |record| record.sent = record.sent.max(now)).await {
                // It was forgotten in between.
                Err(error) if error.kind() == StoreErrorKind::NotFound => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    /// How large a file is that is going to be applied, and is kept for a while from now on. Nothing where it was not sent.
    ///
    /// # Errors
    /// As the store.
    pub(crate) async fn take(&self, sha256: &str, now: Timestamp) -> Result<Option<u64>> {
        let touched = self.records.update(sha256, |record| record.sent = record.sent.max(now)).await;
        match touched {
            Ok(record) => Ok(Some(record.size)),
            Err(error) if error.kind() == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is in a file. Nothing where it is not kept, or damaged.
    ///
    /// # Errors
    /// As the store.
    pub(crate) async fn content(&self, sha256: &str) -> Result<Option<Bytes>> {
        let found = self.records.get(sha256).await?;
        Ok(found.and_then(|found| found.value.content()).map(Bytes::from))
    }

    /// Forgets files that no revision has and that were not sent lately. One that is sent or applied meanwhile stays: its record
    /// has another version then.
    ///
    /// # Errors
    /// The store cannot be read or written; the rest is looked at the next time.
    pub(crate) async fn forget_unused(&self, now: Timestamp) -> Result<usize> {
        let mut old = Vec::new();
        for_each_page(&*self.store, BLOBS, |document| {
            let outline = serde_json::from_value::<BlobOutline>(document.body);
            let is_old = |sent: Timestamp| now.duration_since(sent).unsigned_abs() > KEPT_UNUSED && sent < now;
            // What cannot be read is left to those who can.
            if outline.is_ok_and(|outline| is_old(outline.sent)) {
                old.push((document.key, document.version));
            }
        })
        .await?;
        if old.is_empty() {
            return Ok(0);
        }
        let mut used = BTreeSet::new();
        for_each_page(&*self.store, REVISIONS, |document| note_sums(&document.body, &mut used)).await?;
        old.retain(|(sha256, _)| !used.contains(sha256));
        let mut count = 0;
        for (sha256, version) in old {
            match self.store.delete(BLOBS, &sha256, Some(version)).await {
                Ok(()) => count += 1,
                Err(error) if matches!(error.kind(), StoreErrorKind::VersionMismatch | StoreErrorKind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }
}

async fn for_each_page(
    store: &dyn Store,
    table: crate::store::Table,
    mut each: impl FnMut(crate::store::Document) + Send,
) -> Result<()> {
    let mut from = None;
    loop {
        let page = store.list(table, &KeyRange { from, limit: PAGE, ..KeyRange::all() }).await?;
        let last = page.last().map(|document| format!("{}\u{1}", document.key));
        let is_last = page.len() < PAGE;
        page.into_iter().for_each(&mut each);
        match last {
            Some(last) if !is_last => from = Some(last),
            _ => return Ok(()),
        }
    }
}

/// Every SHA-256 in a revision, wherever it stands: also one that a later version wrote.
fn note_sums(value: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(sum) if name == "sha256" => drop(all.insert(sum.clone())),
                    other => note_sums(other, all),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| note_sums(item, all)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::MemoryStore;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    #[tokio::test]
    async fn what_no_revision_has_is_forgotten_an_hour_after_it_was_sent() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let blobs = Blobs::new(&store);
        for number in 0..25 {
            blobs.put(&format!("unused-{number:02}"), b"x", at(0)).await.unwrap();
        }
        for name in ["used", "sent-again", "taken"] {
            blobs.put(name, b"content", at(0)).await.unwrap();
        }
        let body = json!({ "spec": { "components": { "web": { "configs": { "/etc/a": { "sha256": "used" } } } } } });
        store.insert(REVISIONS, "shop/000001", body).await.unwrap();
        assert_eq!(blobs.forget_unused(at(60)).await.unwrap(), 0, "it may be applied yet");
        blobs.put("sent-again", b"content", at(30)).await.unwrap();
        assert_eq!(blobs.take("taken", at(31)).await.unwrap(), Some(7));
        assert_eq!(blobs.take("never-sent", at(31)).await.unwrap(), None);
        assert_eq!(blobs.forget_unused(at(61)).await.unwrap(), 25);
        assert_eq!(blobs.content("sent-again").await.unwrap().unwrap(), "content");
        assert_eq!(blobs.forget_unused(at(92)).await.unwrap(), 2);
        assert!(blobs.content("used").await.unwrap().is_some() && blobs.content("taken").await.unwrap().is_none());
    }
}
