//! What the images of an application are at this moment: a tag may point elsewhere tomorrow.

use std::collections::BTreeMap;

use futures::future::join_all;
use futures::{StreamExt, stream};

use crate::cluster::EngineReach;
use crate::controller::Controller;
use crate::engine::{EngineError, EngineErrorKind};
use crate::model::app::{AppSpec, ComponentName, ComponentSpec};
use crate::model::{EngineId, ImageDigest, ImageRef};

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
    /// Nobody has it, and why the registry does not.
    Nowhere(String),
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
        Found::OnHosts { .. } | Found::Nowhere(_) => None,
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

impl Controller {
    /// What the images of components are now, those that name a digest themselves apart. Each is asked for once.
    pub(super) async fn find_images(
        &self,
        components: impl Iterator<Item = (&ComponentName, &ComponentSpec)>,
    ) -> BTreeMap<ComponentName, Found> {
        let wanted: Vec<(&ComponentName, &ImageRef)> = components
            .filter(|(_, component)| component.image.digest().is_none())
            .map(|(name, component)| (name, &component.image))
            .collect();
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
        let asked = engines.iter().take(HOSTS_ASKED);
        let answers = join_all(asked.clone().map(|engine| executor.has_image(engine, image))).await;
        let there: Vec<(&EngineId, Vec<ImageDigest>)> =
            asked.zip(answers).filter_map(|(engine, found)| Some((engine, found?))).collect();
        let digest = there.iter().flat_map(|(_, digests)| digests).next().cloned();
        let only = match there.len() < engines.len().min(HOSTS_ASKED) {
            true => there.iter().map(|(engine, _)| (*engine).clone()).collect(),
            false => Vec::new(),
        };
        // Docker's own registry need not be asked for what was made here and only looks as if it were from there.
        if !there.is_empty() && digest.is_none() && !image.names_registry() {
            return Found::OnHosts { digest, only };
        }
        let mut refusal = "no host answers".to_owned();
        for engine in engines.iter().take(WAYS) {
            match self.in_registry(engine, image).await {
                Ok(digest) => return Found::InRegistry(digest),
                Err(error) => {
                    refusal = error.to_string();
                    if error.kind() == EngineErrorKind::NoSuchImage {
                        break;
                    }
                }
            }
        }
        if there.is_empty() { Found::Nowhere(refusal) } else { Found::OnHosts { digest, only } }
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
