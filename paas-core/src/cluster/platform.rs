//! Whose containers are ours: the name of this platform, and of those that it took over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::Mutex;
use uuid::Uuid;

use super::Cluster;
use crate::model::{EngineId, Invalid};
use crate::store::tables::PLATFORM;
use crate::store::{Collection, Result, Store, StoreErrorKind};

/// The key of the platform's own name.
const KEY_NAME: &str = "name";
/// The key of the names of the platforms that it took over.
const KEY_ADOPTED: &str = "adopted";
/// Longest name of a platform, bytes.
const LONGEST: usize = 64;

/// The name that a platform writes on its containers, and the names of the platforms whose containers it took over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    name: String,
    adopted: BTreeSet<String>,
}

impl Platform {
    /// A platform of that name, which took nothing over.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), adopted: BTreeSet::new() }
    }

    /// The name that it writes on its containers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The platforms that it took over.
    pub fn adopted(&self) -> impl Iterator<Item = &str> {
        self.adopted.iter().map(String::as_str)
    }

    /// Whether a container with that name on it is its own.
    pub fn owns(&self, name: &str) -> bool {
        !name.is_empty() && (self.name == name || self.adopted.contains(name))
    }

    /// The same, with the containers of another one taken over. It is not kept in a store.
    pub(crate) fn taking_over(mut self, other: Option<&str>) -> Self {
        self.adopted.extend(other.filter(|other| **other != *self.name).map(str::to_owned));
        self
    }

    /// The platform of a store. A store that has none yet gets that name, or one of its own.
    pub(crate) async fn of(store: std::sync::Arc<dyn Store>, name: Option<&str>) -> Result<Self> {
        let names = Collection::<String>::new(store.clone(), PLATFORM);
        let new = name.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
        match names.insert(KEY_NAME, &new).await {
            Ok(_) => {}
            Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let name = names.get(KEY_NAME).await?.map(|name| name.value).unwrap_or_default();
        let lists = Collection::<BTreeSet<String>>::new(store, PLATFORM);
        let adopted = lists.get(KEY_ADOPTED).await?.map(|adopted| adopted.value).unwrap_or_default();
        Ok(Self { name, adopted })
    }
}

/// Checks the name of a platform that is to be taken over.
///
/// # Errors
/// Says what would be right.
pub(crate) fn check_platform(name: &str) -> Result<(), Invalid> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=LONGEST).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    let message = format!(
        "must be the id of a platform as a server shows it at its start, or the label paas.platform of a container, not \
         {name:?}"
    );
    Err(Invalid::new("platform", message))
}

/// Makes the containers of platform `other` those of the platform whose store this is; servers know it from their next
/// start on. A store that no server has used yet gets that very name.
///
/// # Errors
/// [`StoreErrorKind::Invalid`] when it is no name of a platform; otherwise the store does not answer.
pub async fn adopt_platform(store: std::sync::Arc<dyn Store>, other: &str) -> Result<Platform> {
    check_platform(other).map_err(|wrong| invalid("adopt", other, wrong.message))?;
    let platform = Platform::of(store.clone(), Some(other)).await?;
    if platform.owns(other) {
        return Ok(platform);
    }
    let lists = Collection::<BTreeSet<String>>::new(store, PLATFORM);
    let adopted = BTreeSet::from([other.to_owned()]);
    match lists.insert(KEY_ADOPTED, &adopted).await {
        Err(error) if error.kind() == StoreErrorKind::AlreadyExists => {
            lists.update(KEY_ADOPTED, |all| all.extend(adopted.clone())).await?;
        }
        outcome => drop(outcome?),
    }
    Ok(platform.taking_over(Some(other)))
}

/// Takes back that the containers of platform `other` are those of the platform whose store this is: servers leave them alone
/// from their next start on.
///
/// # Errors
/// [`StoreErrorKind::NotFound`] when they were not taken over; [`StoreErrorKind::Invalid`] when it is the store's own name, which
/// stands on its containers; otherwise the store does not answer.
pub async fn disown_platform(store: std::sync::Arc<dyn Store>, other: &str) -> Result<Platform> {
    let mut platform = Platform::of(store.clone(), None).await?;
    if platform.name == other {
        return Err(invalid("disown", other, "that is the store's own name, which it writes on containers"));
    }
    if !platform.adopted.remove(other) {
        let error = crate::store::StoreError::new(StoreErrorKind::NotFound, "disown", PLATFORM, other);
        return Err(error.with_detail("that platform was not taken over"));
    }
    let lists = Collection::<BTreeSet<String>>::new(store, PLATFORM);
    lists
        .update(KEY_ADOPTED, |all| {
            all.remove(other);
        })
        .await?;
    Ok(platform)
}

fn invalid(operation: &'static str, name: &str, why: impl Into<String>) -> crate::store::StoreError {
    crate::store::StoreError::new(StoreErrorKind::Invalid, operation, PLATFORM, name).with_detail(why)
}

/// How many containers of which platforms each engine has, this one's among them.
#[derive(Debug, Default)]
pub(super) struct SeenPlatforms(Mutex<HashMap<EngineId, BTreeMap<String, usize>>>);

impl SeenPlatforms {
    /// Notes what a full list of an engine had. Gives the platforms that were seen nowhere before.
    pub(super) fn note(&self, engine: &EngineId, found: BTreeMap<String, usize>) -> Vec<String> {
        let mut engines = self.0.lock();
        let is_new = |platform: &&String| !engines.values().any(|seen| seen.contains_key(*platform));
        let new = found.keys().filter(is_new).cloned().collect();
        engines.insert(engine.clone(), found);
        new
    }

    /// Forgets an engine that was deleted.
    pub(super) fn forget(&self, engine: &EngineId) {
        self.0.lock().remove(engine);
    }
}

impl Cluster {
    /// The platforms other than this one whose containers are on the engines, and how many each has. They are shown and
    /// otherwise left alone.
    pub fn other_platforms(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for (platform, count) in self.shared.platforms_seen.0.lock().values().flatten() {
            if !self.shared.platform.owns(platform) {
                *all.entry(platform.clone()).or_default() += count;
            }
        }
        all
    }

    /// How many containers of a platform, this one or another, are on the engines that were read, and how many those engines
    /// are.
    pub fn containers_of_platform(&self, name: &str) -> (usize, usize) {
        let seen = self.shared.platforms_seen.0.lock();
        (seen.values().filter_map(|platforms| platforms.get(name)).sum(), seen.len())
    }

    /// The platforms that this one took over.
    pub fn adopted_platforms(&self) -> impl Iterator<Item = &str> {
        self.shared.platform.adopted()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::MemoryStore;

    fn store() -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    #[tokio::test]
    async fn a_new_store_has_a_name_of_its_own_and_keeps_it() {
        let store = store();
        let platform = Platform::of(store.clone(), None).await.unwrap();
        assert!(platform.owns(platform.name()) && !platform.owns("other") && !platform.owns(""));
        assert_eq!(Platform::of(store, None).await.unwrap(), platform);
    }

    #[tokio::test]
    async fn a_new_store_takes_the_name_that_it_takes_over() {
        let store = store();
        assert_eq!(adopt_platform(store.clone(), "first").await.unwrap().name(), "first");
        assert_eq!(Platform::of(store, None).await.unwrap(), Platform::new("first"));
    }

    #[tokio::test]
    async fn a_store_that_has_a_name_owns_what_it_takes_over_besides() {
        let store = store();
        let own = Platform::of(store.clone(), None).await.unwrap();
        for _ in 0..2 {
            adopt_platform(store.clone(), "one").await.unwrap();
            adopt_platform(store.clone(), "two").await.unwrap();
            adopt_platform(store.clone(), own.name()).await.unwrap();
        }
        let now = Platform::of(store, None).await.unwrap();
        assert_eq!(now.name(), own.name());
        assert_eq!(now.adopted().collect::<Vec<_>>(), ["one", "two"]);
        assert!(now.owns("one") && now.owns("two") && now.owns(own.name()));
    }

    #[tokio::test]
    async fn what_was_taken_over_by_mistake_is_given_back() {
        let store = store();
        let own = Platform::of(store.clone(), None).await.unwrap();
        adopt_platform(store.clone(), "one").await.unwrap();
        adopt_platform(store.clone(), "tow").await.unwrap();
        assert_eq!(disown_platform(store.clone(), "tow").await.unwrap().adopted().collect::<Vec<_>>(), ["one"]);
        assert_eq!(Platform::of(store.clone(), None).await.unwrap().adopted().collect::<Vec<_>>(), ["one"]);
        for (wrong, kind) in [("tow", StoreErrorKind::NotFound), (own.name(), StoreErrorKind::Invalid)] {
            assert_eq!(disown_platform(store.clone(), wrong).await.unwrap_err().kind(), kind, "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_is_no_name_is_refused() {
        for wrong in ["", "a b", "x".repeat(65).as_str()] {
            let error = adopt_platform(store(), wrong).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid, "{wrong:?}");
        }
    }

    #[test]
    fn another_platform_is_new_once() {
        let others = SeenPlatforms::default();
        let (one, two): (EngineId, EngineId) = ("one".parse().unwrap(), "two".parse().unwrap());
        let found = || BTreeMap::from([("p".to_owned(), 2)]);
        assert_eq!(others.note(&one, found()), ["p"]);
        assert!(others.note(&two, found()).is_empty() && others.note(&one, BTreeMap::new()).is_empty());
    }
}
