//! Which hosts have an image.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};

use super::Executor;
use crate::model::{EngineId, ImageDigest, ImageRef};

/// How long a host may take to say whether it has an image.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many hosts are asked at once.
const AT_ONCE: usize = 32;

impl Executor {
    /// The hosts that have an image, of those that are up, with the digests that each knows of it.
    pub(crate) async fn who_has(&self, image: &ImageRef) -> BTreeMap<EngineId, Vec<ImageDigest>> {
        let ask = |engine: EngineId| async move { Some((engine.clone(), self.has_image(&engine, image).await?)) };
        let asked = stream::iter(self.cluster.engines_up().into_iter().map(ask)).buffer_unordered(AT_ONCE);
        let found: Vec<Option<(EngineId, Vec<ImageDigest>)>> = asked.collect().await;
        found.into_iter().flatten().collect()
    }

    /// The digests that a host knows of an image; nothing where it does not have it, or does not answer.
    pub(crate) async fn has_image(&self, engine: &EngineId, image: &ImageRef) -> Option<Vec<ImageDigest>> {
        let connection = self.cluster.connection(engine)?;
        let asked = self.cluster.while_up(engine, connection.find_image(image));
        tokio::time::timeout(PATIENCE, asked).await.ok()?.ok().flatten()
    }
}
