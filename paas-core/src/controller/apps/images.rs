//! What the images of an application are at this moment: a tag may point elsewhere tomorrow.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};

use crate::cluster::EngineReach;
use crate::controller::Controller;
use crate::engine::{EngineError, EngineErrorKind};
use crate::executor::Said;
use crate::model::app::{AppSpec, ComponentName, ComponentSpec};
use crate::model::{EngineId, ImageDigest, ImageRef, Invalid};

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
    /// Hosts have it, and its registry does not say what it has; with the digest where one of them got it from there.
    OnHosts {
        /// What one of them got from there.
        digest: Option<ImageDigest>,
        /// Those that have it, where others do not.
        only: Vec<EngineId>,
    },
    /// Every host that answers lacks it, and why there is none in a registry.
    Nowhere(String),
    /// Nobody could say whether there is one, and why.
    Unknown(String),
}

/// The digests that components may be pinned to: what a host has of an image may be old, so it is taken only where nothing is known.
pub(super) fn digests(
    spec: &AppSpec,
    current: Option<&AppSpec>,
    found: &BTreeMap<ComponentName, Found>,
) -> BTreeMap<ComponentName, ImageDigest> {
    let is_known = |name: &ComponentName| {
        let before = spec.components.get(name).and_then(|component| same_image(current, name, component));
        before.is_some_and(|before| before.digest.is_some())
    };
    let digest = |(name, found): (&ComponentName, &Found)| match found {
        Found::InRegistry(digest) => Some((name.clone(), digest.clone())),
        Found::OnHosts { digest: Some(digest), .. } if !is_known(name) => Some((name.clone(), digest.clone())),
        Found::OnHosts { .. } | Found::Nowhere(_) | Found::Unknown(_) => None,
    };
    found.iter().filter_map(digest).collect()
}

/// Has each component made of exactly the image that it was declared with: what it was before where its image was not changed, and
/// otherwise what was found; with `refresh`, what was found.
pub(super) fn pin(
    spec: &mut AppSpec,
    current: Option<&AppSpec>,
    found: &BTreeMap<ComponentName, ImageDigest>,
    refresh: bool,
) {
    for (name, component) in &mut spec.components {
        let now = found.get(name).filter(|_| component.image.digest().is_none()).cloned();
        component.digest = match same_image(current, name, component) {
            Some(before) if !refresh => before.digest.clone().or(now),
            Some(before) => now.or_else(|| before.digest.clone()),
            None => now,
        };
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
        let is_taken = refresh || (same_image(current, name, component).is_none() && component.digest.is_none());
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
        let there = on_hosts(&said);
        match &there {
            // It is the same wherever it is from.
            Some(Found::OnHosts { only, .. }) if image.digest().is_some() && only.is_empty() => {
                return Found::OnHosts { digest: None, only: Vec::new() };
            }
            // Docker's own registry need not be asked for what was made here and only looks as if it were from there.
            Some(found @ Found::OnHosts { digest: None, .. }) if !image.names_registry() => return found.clone(),
            _ => {}
        }
        let refusal = match self.ask_registry(&engines, image).await {
            Ok(digest) => return Found::InRegistry(digest),
            Err(refusal) => refusal,
        };
        if let Some(found) = there {
            return found;
        }
        let why = refusal.as_ref().map_or_else(|| "no host answers".to_owned(), ToString::to_string);
        if refusal.is_none_or(|refusal| refusal.kind() != EngineErrorKind::NoSuchImage) {
            return Found::Unknown(why);
        }
        // There may be many more hosts, and one of them may have it.
        said.extend(executor.ask_for_image(others, image).await);
        let all_lack_it = said.iter().all(|(_, said)| matches!(said, Ok(None)));
        on_hosts(&said).unwrap_or(if all_lack_it { Found::Nowhere(why) } else { Found::Unknown(why) })
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

/// What hosts have of an image, where one of those that were asked has it.
fn on_hosts(said: &[(EngineId, Said)]) -> Option<Found> {
    let there: Vec<(&EngineId, &Vec<ImageDigest>)> =
        said.iter().filter_map(|(engine, said)| Some((engine, said.as_ref().ok()?.as_ref()?))).collect();
    if there.is_empty() {
        return None;
    }
    let digest = there.iter().flat_map(|(_, digests)| *digests).next().cloned();
    let only = match there.len() < said.len() {
        true => there.iter().map(|(engine, _)| (*engine).clone()).collect(),
        false => Vec::new(),
    };
    Some(Found::OnHosts { digest, only })
}
