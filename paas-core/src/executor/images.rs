//! Which hosts have an image.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};

use super::Executor;
use crate::engine::{EngineError, EngineErrorKind};
use crate::model::{EngineId, ImageDigest, ImageRef};

/// How long a host may take to say whether it has an image.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many hosts are asked at once.
const AT_ONCE: usize = 32;

/// What a host says when it is asked for an image: the digests that it knows of it, or nothing where it does not have it.
pub(crate) type Said = Result<Option<Vec<ImageDigest>>, EngineError>;

impl Executor {
    /// The hosts that have an image, of those that are up, with the digests that each knows of it.
    pub(crate) async fn who_has(&self, image: &ImageRef) -> BTreeMap<EngineId, Vec<ImageDigest>> {
        let said = self.ask_for_image(&self.cluster.engines_up(), image).await;
        said.into_iter().filter_map(|(engine, said)| Some((engine, said.ok()??))).collect()
    }

    /// What hosts say of an image, in their order.
    pub(crate) async fn ask_for_image(&self, engines: &[EngineId], image: &ImageRef) -> Vec<(EngineId, Said)> {
        let ask = |engine: &EngineId| {
            let engine = engine.clone();
            async move {
                let said = self.has_image(&engine, image).await;
                (engine, said)
            }
        };
        let asked: Vec<_> = engines.iter().map(ask).collect();
        stream::iter(asked).buffered(AT_ONCE).collect().await
    }

    async fn has_image(&self, engine: &EngineId, image: &ImageRef) -> Said {
        let unreachable = |why: &str| EngineError::new(EngineErrorKind::Unreachable, "look for the image", why);
        let connection = self.cluster.connection(engine).ok_or_else(|| unreachable("the engine was deleted"))?;
        let asked = self.cluster.while_up(engine, connection.find_image(image));
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(unreachable("no answer in time")))
    }
}
