//! Where the platform's state lives: versioned JSON documents by table and key.
//!
//! A backend implements the six verbs of [`Store`], and [`Store::fenced`], and passes the suite of `testing::store`. Typed
//! access sits on top, once, in [`Collection`].

mod collection;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod fence;
#[cfg(test)]
mod golden;
mod health;
mod low_priority;
mod memory;
pub mod records;
#[cfg(feature = "rethinkdb")]
pub(crate) mod rethinkdb;
#[cfg(feature = "sqlite")]
mod sqlite;
pub mod tables;
pub mod transfer;
mod url;
mod write;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

pub use collection::{Collection, Versioned};
pub use error::{StoreError, StoreErrorKind};
#[cfg(feature = "etcd")]
pub use etcd::EtcdStore;
pub use fence::{Fence, LeaderKey};
pub(crate) use health::WatchedStore;
pub use health::{Failing, StoreHealth};
pub(crate) use low_priority::LowPriorityStore;
pub use memory::MemoryStore;
#[cfg(feature = "rethinkdb")]
pub use rethinkdb::RethinkDbStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use url::{open_existing_store, open_store};
pub use write::{Action, MAX_WRITES, Write, check_writes};

/// Result of a store's verbs.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A set of documents. Tables need no making: one comes to be with its first document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table(&'static str);

impl Table {
    /// The table called `name`: lower-case letters and `_`.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Version of a document. Changes with every write of it, never comes again for the same key, also when the document is
/// deleted and made again, and says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// A document as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its key within the table: 1 to [`MAX_KEY`] bytes of UTF-8, none of them zero, ordered by bytes.
    pub key: String,
    /// Its version.
    pub version: Version,
    /// Its content.
    pub body: Value,
}

/// Which way a range is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key to the greatest.
    #[default]
    Forwards,
    /// From the greatest key to the smallest.
    Backwards,
}

/// A range of keys, `from <= key < to`, read one way, at most `limit` documents.
///
/// The bounds need not be keys: they may be longer than a key can be, or hold a zero byte, and order all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// Smallest key that belongs to it; from the first when absent.
    pub from: Option<String>,
    /// Smallest key beyond it; to the last when absent.
    pub to: Option<String>,
    /// Which way to read.
    pub direction: Direction,
    /// The most documents to answer with.
    pub limit: usize,
}

impl KeyRange {
    /// Every key, forwards, without a limit.
    pub const fn all() -> Self {
        Self { from: None, to: None, direction: Direction::Forwards, limit: usize::MAX }
    }

    /// The `limit` greatest keys, the greatest first.
    pub const fn last(limit: usize) -> Self {
        Self { from: None, to: None, direction: Direction::Backwards, limit }
    }

    /// Whether `key` lies within the bounds.
    pub fn contains(&self, key: &str) -> bool {
        self.from.as_deref().is_none_or(|from| from <= key) && self.to.as_deref().is_none_or(|to| key < to)
    }
}

/// A backend that keeps versioned JSON documents.
///
/// Every verb is atomic and, once it has answered, durable to the degree the backend promises. Keys order by their
/// UTF-8 bytes. Implementations bring their own deadlines: no verb hangs for ever.
///
/// # Example
/// A store of one's own, and what shows that it is one. (The suite is in the feature `testing`.)
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// use async_trait::async_trait;
/// use paas_core::store::{
///     Action, Direction, Document, Fence, KeyRange, Result, Store, Table, Version, Write, check_key, check_writes,
/// };
/// use serde_json::Value;
///
/// #[derive(Clone, Debug, Default)]
/// struct Shelf {
///     documents: Arc<Mutex<BTreeMap<(Table, String), Document>>>,
///     versions: Arc<Mutex<u64>>,
///     fence: Fence,
/// }
///
/// impl Shelf {
///     fn write(&self, operation: &'static str, writes: Vec<Write>) -> Result<Version> {
///         let mut documents = self.documents.lock().unwrap();
///         for write in &writes {
///             // The last step before the writes are made: the server may lead no more by now.
///             self.fence.check(operation, write.table, &write.key)?;
///             let found = documents.get(&(write.table, write.key.clone()));
///             if let Some(kind) = write.refusal(found.map(|document| document.version)) {
///                 return Err(write.error(operation, kind));
///             }
///         }
///         let mut versions = self.versions.lock().unwrap();
///         *versions += 1;
///         let version = Version(*versions);
///         for Write { table, key, action } in writes {
///             match action {
///                 Action::Insert(body) | Action::Replace(_, body) => {
///                     documents.insert((table, key.clone()), Document { key, version, body })
///                 }
///                 Action::Delete(_) | Action::Clear => documents.remove(&(table, key)),
///             };
///         }
///         Ok(version)
///     }
/// }
///
/// #[async_trait]
/// impl Store for Shelf {
///     async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version> {
///         check_key("insert", table, key)?;
///         self.write("insert", vec![Write::new(table, key, Action::Insert(body))])
///     }
///
///     async fn get(&self, table: Table, key: &str) -> Result<Option<Document>> {
///         Ok(self.documents.lock().unwrap().get(&(table, key.to_owned())).cloned())
///     }
///
///     async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version> {
///         self.write("replace", vec![Write::new(table, key, Action::Replace(expected, body))])
///     }
///
///     async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()> {
///         self.write("delete", vec![Write::new(table, key, Action::Delete(expected))]).map(drop)
///     }
///
///     async fn commit(&self, writes: Vec<Write>) -> Result<Version> {
///         check_writes(&writes)?;
///         self.write("commit", writes)
///     }
///
///     async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>> {
///         let documents = self.documents.lock().unwrap();
///         let within = |((of, key), document): (&(Table, String), &Document)| {
///             (*of == table && range.contains(key)).then(|| document.clone())
///         };
///         Ok(match range.direction {
///             Direction::Forwards => documents.iter().filter_map(within).take(range.limit).collect(),
///             Direction::Backwards => documents.iter().rev().filter_map(within).take(range.limit).collect(),
///         })
///     }
///
///     fn fenced(&self, fence: Fence) -> Arc<dyn Store> {
///         Arc::new(Self { fence: self.fence.clone().and(fence), ..self.clone() })
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # #[cfg(feature = "testing")]
/// paas_core::testing::store::conforms(Arc::new(Shelf::default())).await;
/// # });
/// ```
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Adds a document under a key that has none.
    ///
    /// # Errors
    /// [`StoreErrorKind::AlreadyExists`] when the key has a document: of many that insert at once, one wins.
    /// [`StoreErrorKind::Invalid`] for a key that cannot be one: [`check_key`] says which.
    async fn insert(&self, table: Table, key: &str, body: Value) -> Result<Version>;

    /// The document under a key.
    ///
    /// # Errors
    /// Only for trouble with the backend; a key without a document is `None`, also one that cannot be a key.
    async fn get(&self, table: Table, key: &str) -> Result<Option<Document>>;

    /// Replaces the document under a key if it still has the version `expected`, and gives its new version.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] without a document, also for what cannot be a key; [`StoreErrorKind::VersionMismatch`]
    /// with a different version.
    async fn replace(&self, table: Table, key: &str, expected: Version, body: Value) -> Result<Version>;

    /// Deletes the document under a key; when `expected` is given, only if it still has that version.
    ///
    /// # Errors
    /// As [`Store::replace`].
    async fn delete(&self, table: Table, key: &str, expected: Option<Version>) -> Result<()>;

    /// Makes several writes together, in tables of any name. Gives the version of every document that it wrote.
    ///
    /// When one is refused none is made, and when all are made nobody reads some without the others. That holds whatever
    /// happens meanwhile, with one exception: RethinkDB has no transactions. There the first write is made and then
    /// the others, all by one question: a reader may come in between, and a RethinkDB that dies in between leaves the first
    /// without the others until this program has made the rest. So the first is to be the one that matters, and the one that
    /// somebody else's may forestall.
    ///
    /// # Errors
    /// As the verb of the first write that is refused; [`StoreErrorKind::Invalid`] for what [`check_writes`] refuses: more than
    /// [`MAX_WRITES`], one document twice, or a key that cannot be one. Of no writes at all there is no error.
    async fn commit(&self, writes: Vec<Write>) -> Result<Version>;

    /// The documents of a range, in its direction, up to its limit. Asking for more than there are gives what there is.
    ///
    /// # Errors
    /// Only for trouble with the backend.
    async fn list(&self, table: Table, range: &KeyRange) -> Result<Vec<Document>>;

    /// The same store, whose writes are made only while `fence` holds, and those of the fences before. It is looked at
    /// in the last step before a write is made: [`Fence::check`] is what to call there. A store that wraps another passes
    /// the fence on to it. Reading goes on whether or not the fence holds.
    fn fenced(&self, fence: Fence) -> Arc<dyn Store>;
}

/// Longest key, in bytes: what the backend with the smallest limit (RethinkDB) can hold. Every key of the platform is
/// shorter: names have at most 64 bytes, ids 36, hashes of tokens 64.
pub const MAX_KEY: usize = 127;

/// Refuses keys that some backend could not hold. For the use of backends.
///
/// # Errors
/// [`StoreErrorKind::Invalid`].
pub fn check_key(operation: &'static str, table: Table, key: &str) -> Result<()> {
    if (1..=MAX_KEY).contains(&key.len()) && !key.contains('\0') {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Invalid, operation, table, key)
        .with_detail(format!("a key has 1 to {MAX_KEY} bytes, none of them zero")))
}
