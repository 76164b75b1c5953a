//! Which term it is, and whether this version may have one.
//!
//! A server that is elected counts up a number in the store before it does anything else. Together with the
//! *incarnation*, which is made with the store and is another one in every copy, it tells any two terms apart and orders
//! those of one store: who is told something by two servers believes the later term.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::tables::{PLATFORM, STORE};
use crate::store::{Collection, Result, Store, StoreError, StoreErrorKind, Table};

/// What this version can lead. Raised when a later version writes what this one would not understand as a leader.
pub const LEADER_FORMAT: u64 = 1;

/// The key of what a store is.
const IDENTITY: &str = "identity";
/// The key of the least [`LEADER_FORMAT`] that may lead. It is copied with the platform.
const MIN_LEADER: &str = "min_leader";

/// A term among all terms of all stores. Terms of one incarnation are in order; of another there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TermNumber {
    /// Which store, and which of its copies. Restoring a backup makes another.
    pub incarnation: Uuid,
    /// The first term is 1.
    pub term: u64,
}

/// What a store is: `store/identity`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Identity {
    format: u32,
    incarnation: Uuid,
    term: u64,
}

/// What may lead: `platform/min_leader`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct MinLeader {
    format: u32,
    leader_format: u64,
}

/// Begins another term. Of several that do at once, each gets a number of its own.
pub(super) async fn raise(store: Arc<dyn Store>) -> Result<TermNumber> {
    let identities = Collection::<Identity>::new(store, STORE);
    let first = Identity { format: 1, incarnation: Uuid::new_v4(), term: 1 };
    let now = match identities.insert(IDENTITY, &first).await {
        Ok(_) => first,
        Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
            identities.update(IDENTITY, |identity| identity.term += 1).await?
        }
        Err(error) => return Err(error),
    };
    Ok(TermNumber { incarnation: now.incarnation, term: now.term })
}

/// Refuses a store that a later version has led, and that this one would not understand.
///
/// # Errors
/// [`StoreErrorKind::Broken`] says which version it needs; otherwise as [`Store::get`].
pub async fn check_may_lead(store: &Arc<dyn Store>) -> Result<()> {
    let minimum = Collection::<MinLeader>::new(store.clone(), PLATFORM).get(MIN_LEADER).await?;
    let needed = minimum.map_or(0, |minimum| minimum.value.leader_format);
    if needed <= LEADER_FORMAT {
        return Ok(());
    }
    Err(StoreError::new(StoreErrorKind::Broken, "lead", Table::new("store"), "").with_detail(format!(
        "a newer version has led the platform of this store: leading takes format {needed}, and this server knows \
         {LEADER_FORMAT}; it can follow, or be replaced by the newer version"
    )))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use futures::future::join_all;
    use serde_json::json;

    use super::*;
    use crate::store::{KeyRange, MemoryStore, transfer};

    #[tokio::test]
    async fn every_term_has_a_number_of_its_own() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let numbers: Vec<TermNumber> =
            join_all((0..20).map(|_| raise(store.clone()))).await.into_iter().map(|number| number.unwrap()).collect();
        let terms: HashSet<u64> = numbers.iter().map(|number| number.term).collect();
        assert_eq!((terms.len(), terms.iter().max()), (20, Some(&20)));
        assert!(numbers.iter().all(|number| number.incarnation == numbers[0].incarnation));
    }

    #[tokio::test]
    async fn a_copy_is_another_incarnation_and_needs_the_same_version() {
        let from: Arc<dyn Store> = Arc::new(MemoryStore::new());
        from.insert(PLATFORM, "name", json!("p")).await.unwrap();
        from.insert(PLATFORM, MIN_LEADER, json!({ "format": 1, "leader_format": 7, "later": true })).await.unwrap();
        let before = raise(from.clone()).await.unwrap();
        let to: Arc<dyn Store> = Arc::new(MemoryStore::new());
        // The target may have been something before.
        let old = raise(to.clone()).await.unwrap();
        transfer::copy(&*from, &*to, &mut |_, _| {}).await.unwrap();
        let after = raise(to.clone()).await.unwrap();
        assert!(after.incarnation != before.incarnation && after.incarnation != old.incarnation);
        assert_eq!(to.list(STORE, &KeyRange::all()).await.unwrap().len(), 1);
        for store in [from, to] {
            let error = check_may_lead(&store).await.unwrap_err();
            assert!(error.to_string().contains("format 7"), "{error}");
        }
        check_may_lead(&(Arc::new(MemoryStore::new()) as Arc<dyn Store>)).await.unwrap();
    }
}
