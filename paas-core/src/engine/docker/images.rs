//! Which labels of ours an image carries: `docker commit` keeps those of the container that it was made of.

use std::collections::HashMap;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary, ImageSummary};
use parking_lot::Mutex;

use super::errors::Call;
use super::{Docker, deadlines};
use crate::engine::{Result, labels};
use crate::model::{ImageDigest, ImageRef};

/// The launch that the labels of each image name, by the image's id, which never comes to stand for anything else.
#[derive(Debug, Default)]
pub(super) struct ImageLaunches(Mutex<HashMap<String, Option<String>>>);

impl ImageLaunches {
    /// Notes every image of the host, and forgets those that are gone.
    pub(super) fn note_all(&self, images: &[ImageSummary]) {
        let launch = |image: &ImageSummary| labels::launch_text(&image.labels).map(str::to_owned);
        *self.0.lock() = images.iter().map(|image| (image.id.clone(), launch(image))).collect();
    }
}

/// The digests of an image that are of the repository of `image`, as its engine knows them.
pub(super) fn digests_of(image: &ImageRef, known: &[String]) -> Vec<ImageDigest> {
    let references = known.iter().filter_map(|known| known.parse::<ImageRef>().ok());
    references.filter(|known| known.repository() == image.repository()).filter_map(|known| known.digest()).collect()
}

impl Docker {
    /// Takes from a listed container the labels that it has of its image only.
    pub(super) async fn strip_listed(&self, call: &Call, summary: &mut ContainerSummary) -> Result<()> {
        let image = summary.image_id.clone().unwrap_or_default();
        self.strip_inherited(call, &image, summary.labels.as_mut()).await
    }

    /// Takes from an inspected container the labels that it has of its image only.
    pub(super) async fn strip_inspected(&self, call: &Call, inspected: &mut ContainerInspectResponse) -> Result<()> {
        let image = inspected.image.clone().unwrap_or_default();
        let config = inspected.config.as_mut();
        self.strip_inherited(call, &image, config.and_then(|config| config.labels.as_mut())).await
    }

    async fn strip_inherited(
        &self,
        call: &Call,
        image: &str,
        of_container: Option<&mut HashMap<String, String>>,
    ) -> Result<()> {
        let Some(of_container) = of_container else { return Ok(()) };
        let Some(launch) = labels::launch_text(of_container) else { return Ok(()) };
        if self.launch_of_image(call, image).await?.as_deref() == Some(launch) {
            labels::strip(of_container);
        }
        Ok(())
    }

    async fn launch_of_image(&self, call: &Call, image: &str) -> Result<Option<String>> {
        if let Some(known) = self.images.0.lock().get(image) {
            return Ok(known.clone());
        }
        let found = match tokio::time::timeout(deadlines::ASK, self.client.inspect_image(image)).await {
            Ok(Ok(found)) => found,
            // Deleted by force: what it had can only be judged by the container now.
            Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => return Ok(None),
            Ok(Err(err)) => return Err(call.failure(err)),
            Err(_) => return Err(call.unreachable("the labels of an image were asked for, and no answer came")),
        };
        let of_image = found.config.and_then(|config| config.labels).unwrap_or_default();
        let launch = labels::launch_text(&of_image).map(str::to_owned);
        self.images.0.lock().insert(image.to_owned(), launch.clone());
        Ok(launch)
    }
}
