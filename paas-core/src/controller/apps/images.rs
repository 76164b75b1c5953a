//! What the images of an application are at this moment: a tag may point elsewhere tomorrow.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use crate::cluster::EngineReach;
use crate::controller::Controller;
use crate::engine::{EngineError, EngineErrorKind, FoundImage};
use crate::executor::Said;
use crate::model::app::{AppSpec, ComponentName, ComponentSpec};
use crate::model::{EngineId, ExactImage, ImageDigest, ImageRef, Invalid, Scarce};

/// How many hosts are asked for what they have.
const HOSTS_ASKED: usize = 16;
/// How many images are looked for at once.
const AT_ONCE: usize = 8;
/// Through how many hosts a registry is asked, where one of them does not get an answer.
const WAYS: usize = 3;

/// What came of the question for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This is what its registry has.
    InRegistry(ImageDigest),
    /// Hosts have it, and its registry does not say what it has.
    OnHosts(OnHosts),
    /// Every host that answers lacks it, and why there is none in a registry.
    Nowhere(String),
    /// Nobody could say whether there is one, and why.
    Unknown(String),
}

/// What hosts have under the name of an image that no registry gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OnHosts {
    /// What each has, of those that have any.
    there: Vec<(EngineId, FoundImage)>,
    /// Whether others that were asked have none.
    is_missing: bool,
}

impl OnHosts {
    /// Nothing where no host has any.
    fn of(said: &[(EngineId, Said)]) -> Option<Self> {
        let found = |(engine, said): &(EngineId, Said)| Some((engine.clone(), said.as_ref().ok()?.clone()?));
        let there: Vec<(EngineId, FoundImage)> = said.iter().filter_map(found).collect();
        let is_missing = there.len() < said.len();
        (!there.is_empty()).then_some(Self { there, is_missing })
    }

    /// Whether all that were asked have the same.
    fn is_everywhere(&self) -> bool {
        let mut ids = self.there.iter().map(|(_, found)| &found.id);
        let first = ids.next();
        !self.is_missing && ids.all(|id| Some(id) == first)
    }

    /// What is meant where they have several: what is from a registry, then what was made last, then what most have.
    pub(super) fn newest(&self) -> Exact {
        let key = |(_, found): &&(EngineId, FoundImage)| {
            let number = self.there.iter().filter(|(_, other)| other.id == found.id).count();
            (!found.digests.is_empty(), found.created, number, found.id.clone())
        };
        let newest = self.there.iter().max_by_key(key).map(|(_, found)| found);
        let digest = newest.and_then(|found| found.digests.first().cloned());
        let id = newest.map(|found| found.id.clone()).filter(|_| digest.is_none());
        Exact { digest, id }
    }

    /// Where an image is, if it is not everywhere.
    pub(super) fn scarce(&self, image: &ExactImage) -> Option<Scarce> {
        let scarce = Scarce::of(image, self.there.iter().map(|(engine, found)| (engine, &found.id)));
        (self.is_missing || !scarce.others.is_empty()).then_some(scarce)
    }
}

/// What an image is, by its digest in a registry, or by the id that hosts have for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exact {
    digest: Option<ImageDigest>,
    pub(super) id: Option<ImageDigest>,
}

impl Exact {
    fn of(component: &ComponentSpec) -> Self {
        Self { digest: component.digest.clone(), id: component.image_id.clone() }
    }

    /// Whether it says more than another: what a registry has is the same everywhere.
    fn says_more_than(&self, other: &Self) -> bool {
        let rank = |exact: &Self| (exact.digest.is_some(), exact.id.is_some());
        rank(self) > rank(other)
    }
}

/// What images of components are, as far as that was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Exacts {
    /// Of those that a registry has, the digest.
    pub(super) digests: BTreeMap<ComponentName, ImageDigest>,
    /// Of those that hosts alone have, the id.
    pub(super) ids: BTreeMap<ComponentName, ImageDigest>,
}

impl Exacts {
    /// What a host has of an image of a registry may be old, so it is taken only where nothing is known.
    pub(super) fn of(spec: &AppSpec, current: Option<&AppSpec>, found: &BTreeMap<ComponentName, Found>) -> Self {
        let before = |name| same_image(current, name, spec.components.get(name)?);
        let is_of_registry = |name| before(name).is_some_and(|before| before.digest.is_some());
        let mut exacts = Self::default();
        for (name, found) in found {
            let Exact { digest, id } = match found {
                Found::InRegistry(digest) => Exact { digest: Some(digest.clone()), id: None },
                Found::OnHosts(hosts) if !is_of_registry(name) => hosts.newest(),
                Found::OnHosts(_) | Found::Nowhere(_) | Found::Unknown(_) => continue,
            };
            exacts.digests.extend(digest.map(|digest| (name.clone(), digest)));
            exacts.ids.extend(id.map(|id| (name.clone(), id)));
        }
        exacts
    }

    fn get(&self, name: &ComponentName) -> Exact {
        let digest = self.digests.get(name).cloned();
        Exact { id: self.ids.get(name).filter(|_| digest.is_none()).cloned(), digest }
    }

    /// Has each component made of exactly the image that it was declared with: what it was before where its image was not changed and
    /// no more is known of it by now, and otherwise what was found; with `refresh`, what was found.
    pub(super) fn pin(&self, spec: &mut AppSpec, current: Option<&AppSpec>, refresh: bool) {
        for (name, component) in &mut spec.components {
            if component.image.digest().is_some() {
                continue;
            }
            let now = self.get(name);
            let before = same_image(current, name, component).map(Exact::of).unwrap_or_default();
            let is_taken = if refresh { !before.says_more_than(&now) } else { now.says_more_than(&before) };
            let Exact { digest, id } = if is_taken { now } else { before };
            (component.digest, component.image_id) = (digest, id);
        }
    }
}

/// What a component was, where its image is written as before.
pub(super) fn same_image<'a>(
    current: Option<&'a AppSpec>,
    name: &ComponentName,
    component: &ComponentSpec,
) -> Option<&'a ComponentSpec> {
    current?.components.get(name).filter(|before| before.image == component.image)
}

/// Whether an apply is to find out what the image of a component is: one that is written in another way than before, or of which
/// nobody could say it; with `refresh` any.
pub(super) fn is_to_be_found(
    current: Option<&AppSpec>,
    name: &ComponentName,
    component: &ComponentSpec,
    refresh: bool,
) -> bool {
    let is_known = |before: &ComponentSpec| before.digest.is_some() || before.image.digest().is_some();
    refresh || !same_image(current, name, component).is_some_and(is_known)
}

/// The components whose image nobody has, and that are to be made of it: those that have none yet, or with `refresh` all.
pub(super) fn refused(
    spec: &AppSpec,
    current: Option<&AppSpec>,
    found: &BTreeMap<ComponentName, Found>,
    refresh: bool,
) -> Vec<Invalid> {
    let refused = |(name, found): (&ComponentName, &Found)| {
        let Found::Nowhere(why) = found else { return None };
        let component = spec.components.get(name)?;
        // What is adopted runs already.
        let is_adopted = component.digest.is_some() || component.image_id.is_some();
        let is_taken = refresh || (same_image(current, name, component).is_none() && !is_adopted);
        let message = format!("{} is on no host, and in no registry: {why}", component.image);
        is_taken.then(|| Invalid::new(format!("component.{name}.image"), message))
    };
    found.iter().filter_map(refused).collect()
}

impl Controller {
    /// What the images of components are now. Each is asked for once.
    pub(super) async fn find_images(
        &self,
        components: impl Iterator<Item = (&ComponentName, &ComponentSpec)>,
    ) -> BTreeMap<ComponentName, Found> {
        let wanted: Vec<(&ComponentName, &ImageRef)> =
            components.map(|(name, component)| (name, &component.image)).collect();
        let images: BTreeMap<&str, &ImageRef> = wanted.iter().map(|(_, image)| (image.as_str(), *image)).collect();
        let find = |image: &'_ ImageRef| {
            let image = image.clone();
            async move { (image.to_string(), self.find_image(&image).await) }
        };
        let asked = stream::iter(images.into_values().map(find)).buffer_unordered(AT_ONCE);
        let found: BTreeMap<String, Found> = asked.collect().await;
        let of = |(name, image): (&ComponentName, &ImageRef)| Some((name.clone(), found.get(image.as_str())?.clone()));
        wanted.into_iter().filter_map(of).collect()
    }

    async fn find_image(&self, image: &ImageRef) -> Found {
        let reaches = self.shared.cluster.reaches().into_iter();
        let engines: Vec<EngineId> =
            reaches.filter(|(_, reach)| *reach == EngineReach::Up).map(|(engine, _)| engine).collect();
        let executor = self.executor();
        let (asked, others) = engines.split_at(engines.len().min(HOSTS_ASKED));
        let mut said = executor.ask_for_image(asked, image).await;
        let there = OnHosts::of(&said);
        let is_local = there.as_ref().is_some_and(|hosts| match image.digest().is_some() {
            // It is the same wherever it is from.
            true => !hosts.is_missing,
            // Docker's own registry need not be asked for what was made here and only looks as if it were from there.
            false => !image.names_registry() && hosts.newest().digest.is_none(),
        });
        let refusal = match is_local {
            true => None,
            false => match self.ask_registry(&engines, image).await {
                Ok(digest) => return Found::InRegistry(digest),
                Err(refusal) => refusal,
            },
        };
        // There may be many more hosts, and some of them may have it, or others not.
        if !there.is_some_and(|hosts| hosts.is_everywhere()) {
            said.extend(executor.ask_for_image(others, image).await);
        }
        if let Some(hosts) = OnHosts::of(&said) {
            return Found::OnHosts(hosts);
        }
        let why = refusal.as_ref().map_or_else(|| "no host answers".to_owned(), ToString::to_string);
        if refusal.is_none_or(|refusal| refusal.kind() != EngineErrorKind::NoSuchImage) {
            return Found::Unknown(why);
        }
        let all_lack_it = said.iter().all(|(_, said)| matches!(said, Ok(None)));
        if all_lack_it { Found::Nowhere(why) } else { Found::Unknown(why) }
    }

    /// What the registry of an image has, asked through one host and, where that gets no answer, through others. That there is none
    /// is believed where all of them say so: they may be let in by different names and logins.
    ///
    /// # Errors
    /// What came of it; nothing where there is no host.
    async fn ask_registry(&self, engines: &[EngineId], image: &ImageRef) -> Result<ImageDigest, Option<EngineError>> {
        let mut refusal: Option<EngineError> = None;
        for engine in engines.iter().take(WAYS) {
            match self.in_registry(engine, image).await {
                Ok(digest) => return Ok(digest),
                Err(error) if error.kind() != EngineErrorKind::NoSuchImage => refusal = Some(error),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal)
    }

    async fn in_registry(&self, engine: &EngineId, image: &ImageRef) -> Result<ImageDigest, EngineError> {
        let executor = self.executor();
        let gone = || EngineError::new(EngineErrorKind::Unreachable, "ask the registry", "the engine was deleted");
        let connection = executor.cluster.connection(engine).ok_or_else(gone)?;
        let login = (executor.find_login)(engine.clone(), image.clone()).await?;
        let asked = executor.cluster.while_up(engine, connection.registry_digest(image, login.sent()));
        asked.await.map_err(|error| login.explain(error))
    }
}
