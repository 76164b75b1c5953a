//! Which hosts have an image.

use std::time::Duration;

use futures::{StreamExt, stream};

use super::Executor;
use crate::engine::{DockerEngine, EngineError, EngineErrorKind, FoundImage};
use crate::model::{EngineId, ExactImage, ImageRef, Scarce};

/// How long a host may take to say whether it has an image.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many hosts are asked at once.
const AT_ONCE: usize = 32;

/// What a host says when it is asked for an image.
pub(crate) type Said = Result<Option<FoundImage>, EngineError>;

impl Executor {
    /// The hosts that have an image, of those that are up, and those that have another one under its name.
    pub(crate) async fn who_has(&self, image: &ExactImage) -> Scarce {
        let said = self.ask_for_image(&self.cluster.engines_up(), &image.name).await;
        Scarce::of(image, said.iter().filter_map(|(engine, said)| Some((engine, &said.as_ref().ok()?.as_ref()?.id))))
    }

    /// Sees to it that what a host has under the name of an image is that one.
    ///
    /// # Errors
    /// [`EngineErrorKind::NoSuchImage`] where it is another; what the host said.
    pub(super) async fn check_image(
        &self,
        connection: &dyn DockerEngine,
        image: &ExactImage,
    ) -> Result<(), EngineError> {
        let Some(id) = &image.id else { return Ok(()) };
        let refused = |what: &str| {
            let detail = format!("{} is {what} there, and was {} when it was declared", image.name, id.short());
            Err(EngineError::new(EngineErrorKind::NoSuchImage, "use the image", detail))
        };
        match connection.find_image(&image.name).await? {
            Some(found) if found.id == *id => Ok(()),
            Some(found) => refused(found.id.short()),
            None => refused("not"),
        }
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
