//! Reading ranges piece by piece.
//!
//! etcd reads forwards quickly: it looks at no more than is asked for. Backwards it reads everything, sorts it, and throws
//! most of it away. So a range that is read backwards is read forwards from a key that is known to be near enough to its end.

use std::collections::HashMap;

use etcd_client::{GetOptions, GetResponse, KeyValue, SortOrder, SortTarget};
use parking_lot::Mutex;

use super::{EtcdStore, KeyRange, LARGEST_ANSWER, Table};
use crate::etcd::{Effect, EtcdError, EtcdErrorKind};
use crate::store::Direction;

/// How many documents are read at once at first. That many of the largest are still one answer.
const FIRST: usize = 16;
/// The most that are read at once.
const MOST: usize = 1024;
/// How many bytes one answer should have.
const ANSWER: usize = 4 << 20;
/// How often a range is read again because etcd forgot the state that was being read.
const ATTEMPTS: usize = 5;
/// How many more than are needed are read forwards rather than have everything sorted.
const MANY: usize = 4096;
/// How many more than are needed are read without looking for a better key to begin with.
const SOME: usize = 512;

/// A key of each table not far from its greatest, where the last reading backwards ended.
#[derive(Debug, Default)]
pub(super) struct Newest(Mutex<HashMap<Table, String>>);

/// Bounds in terms of etcd: `from <= key < to`.
#[derive(Clone, Debug)]
struct Bounds {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl EtcdStore {
    /// The documents of a range as they were at one moment.
    pub(super) async fn read_range(&self, table: Table, range: &KeyRange) -> Result<Vec<KeyValue>, EtcdError> {
        let prefix = self.prefix(table);
        let mut end = prefix.clone().into_bytes();
        // The slash at its end becomes the next greater byte.
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let bounds = Bounds {
            from: format!("{prefix}{}", range.from.as_deref().unwrap_or_default()).into_bytes(),
            to: range.to.as_deref().map_or(end, |to| format!("{prefix}{to}").into_bytes()),
        };
        if range.limit == 0 || bounds.from >= bounds.to {
            return Ok(Vec::new());
        }
        let mut attempts = 0;
        loop {
            let read = match range.direction {
                Direction::Forwards => self.forwards(&bounds, range.limit, None).await,
                Direction::Backwards => self.backwards(table, &bounds, range.limit).await,
            };
            attempts += 1;
            match read {
                Err(error) if error.kind() == EtcdErrorKind::Compacted && attempts < ATTEMPTS => {}
                read => return read,
            }
        }
    }

    /// The first `limit` of them, as they were at a revision or are now.
    async fn forwards(
        &self,
        bounds: &Bounds,
        limit: usize,
        mut revision: Option<i64>,
    ) -> Result<Vec<KeyValue>, EtcdError> {
        let mut found: Vec<KeyValue> = Vec::new();
        let mut bounds = bounds.clone();
        let mut piece = FIRST;
        while found.len() < limit {
            let options = GetOptions::new().with_limit(to_i64(piece.min(limit - found.len())));
            let mut answer = match self.get_range(&bounds, options, revision).await {
                Err(error) if error.kind() == EtcdErrorKind::TooLarge && piece > 1 => {
                    piece /= 4;
                    continue;
                }
                answer => answer?,
            };
            revision = revision.or(answer.header().map(|header| header.revision()));
            let (more, kvs) = (answer.more(), answer.take_kvs());
            let Some(last) = kvs.last() else { break };
            // The smallest key after the last one.
            bounds.from = [last.key(), &[0]].concat();
            let bytes: usize = kvs.iter().map(|kv| kv.key().len() + kv.value().len()).sum();
            piece = (ANSWER * kvs.len() / bytes.max(1)).clamp(1, MOST);
            found.extend(kvs);
            if !more {
                break;
            }
        }
        Ok(found)
    }

    /// The last `limit` of them, the last one first.
    async fn backwards(&self, table: Table, bounds: &Bounds, limit: usize) -> Result<Vec<KeyValue>, EtcdError> {
        let count = async |bounds: &Bounds| {
            let answer = self.get_range(bounds, GetOptions::new().with_count_only(), None).await?;
            let revision = answer.header().map(|header| header.revision());
            Ok::<_, EtcdError>((usize::try_from(answer.count()).unwrap_or(0), revision))
        };
        let known = self.newest.0.lock().get(&table).cloned();
        let near = known.map(|key| Bounds { from: self.key(table, &key).into_bytes(), ..bounds.clone() });
        let near = near.filter(|near| near.from >= bounds.from && near.from < near.to);
        for (start, is_all) in near.iter().map(|near| (near, false)).chain([(bounds, true)]) {
            let (count, revision) = count(start).await?;
            let too_many = count.saturating_sub(limit);
            if too_many <= MANY && (count >= limit || is_all) {
                let mut found = self.forwards(start, usize::MAX, revision).await?;
                found.reverse();
                found.truncate(limit);
                if is_all || too_many > SOME {
                    self.note_newest(table, &found);
                }
                return Ok(found);
            }
        }
        self.sorted(table, bounds, limit).await
    }

    /// The last `limit` of very many.
    async fn sorted(&self, table: Table, bounds: &Bounds, limit: usize) -> Result<Vec<KeyValue>, EtcdError> {
        let options = GetOptions::new().with_keys_only().with_sort(SortTarget::Key, SortOrder::Descend);
        let keys = self.get_range(bounds, options.with_limit(to_i64(limit)), None).await?;
        let Some(smallest) = keys.kvs().last() else { return Ok(Vec::new()) };
        let near = Bounds { from: smallest.key().to_vec(), to: bounds.to.clone() };
        // As it was then, so that no more of them are there now.
        let mut found = self.forwards(&near, usize::MAX, keys.header().map(|header| header.revision())).await?;
        found.reverse();
        self.note_newest(table, &found);
        Ok(found)
    }

    /// Notes where a reading backwards ended.
    fn note_newest(&self, table: Table, found: &[KeyValue]) {
        if let Some(last) = found.last() {
            let key = super::key_within(&self.prefix(table), last.key());
            self.newest.0.lock().insert(table, key);
        }
    }

    async fn get_range(
        &self,
        bounds: &Bounds,
        options: GetOptions,
        revision: Option<i64>,
    ) -> Result<GetResponse, EtcdError> {
        let options = options.with_range(bounds.to.clone()).with_revision(revision.unwrap_or(0));
        let answer = self.connection.call(Effect::Same, |client| {
            let mut keys = client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
            let options = options.clone();
            async move { Ok(keys.get(bounds.from.as_slice(), Some(options)).await?) }
        });
        answer.await
    }
}

fn to_i64(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
