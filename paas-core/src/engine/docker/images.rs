//! Which labels of ours an image carries: `docker commit` keeps those of the container that it was made of.

use std::collections::HashMap;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary, ImageInspect, ImageSummary};
use parking_lot::Mutex;

use super::errors::Call;
use super::{Docker, deadlines};
use crate::engine::{EngineErrorKind, FoundImage, Result, labels};
use crate::model::ImageRef;

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

/// What a host has under the name of an image.
pub(super) fn found(call: &Call, image: &ImageRef, found: ImageInspect) -> Result<FoundImage> {
    let ImageInspect { id, repo_digests, created, .. } = found;
    let id = id.unwrap_or_default();
    // Podman leaves out what kind of digest it is.
    let digits = id.strip_prefix("sha256:").unwrap_or(&id);
    let no_id = |_| call.error(EngineErrorKind::Failed, format!("the host says that {image} has the id {id:?}"));
    let references = repo_digests.into_iter().flatten().filter_map(|known| known.parse::<ImageRef>().ok());
    let of_its_repository = references.filter(|known| known.repository() == image.repository());
    Ok(FoundImage {
        id: format!("sha256:{digits}").parse().map_err(no_id)?,
        digests: of_its_repository.filter_map(|known| known.digest()).collect(),
        created: created.and_then(|text| text.parse().ok()),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::docker::errors::Subject;

    #[test]
    fn what_a_host_has_is_known_by_its_id_however_that_is_written() {
        let call = Call { operation: "look for the image", address: "unix:///x".into(), subject: Subject::Image };
        let digits = "a".repeat(64);
        let image = "reg.io/web:1".parse().unwrap();
        let look = |id: &str| {
            let of = |name: &str| format!("{name}@sha256:{digits}");
            let repo_digests = Some(vec![of("reg.io/web"), of("reg.io/other"), "<none>@<none>".to_owned()]);
            let created = Some("2026-01-02T03:04:05.678Z".to_owned());
            found(&call, &image, ImageInspect { id: Some(id.to_owned()), repo_digests, created, ..Default::default() })
        };
        let docker = look(&format!("sha256:{digits}")).unwrap();
        assert_eq!(docker.id.as_str(), format!("sha256:{digits}"));
        assert_eq!(docker.digests, std::slice::from_ref(&docker.id), "only that of its own repository");
        assert_eq!(docker.created.unwrap().to_string(), "2026-01-02T03:04:05.678Z");
        assert_eq!(look(&digits).unwrap(), docker, "as Podman writes it");
        assert_eq!(look("web").unwrap_err().kind(), EngineErrorKind::Failed);
    }
}
