//! Pulling images, and how far a pull is.

use std::collections::HashMap;

use bollard::Docker as Client;
use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::errors::Call;
use super::{deadlines, until_silent};
use crate::engine::{PullProgress, Result};
use crate::model::{ImageRef, RegistryLogin};

pub(super) fn open(
    client: &Client,
    call: Call,
    image: &ImageRef,
    login: Option<RegistryLogin>,
) -> BoxStream<'static, Result<PullProgress>> {
    let (repository, tag) = image.repository_and_tag();
    let options = CreateImageOptions {
        from_image: Some(repository.to_owned()),
        tag: Some(tag.to_owned()),
        ..CreateImageOptions::default()
    };
    let credentials = login.map(|login| DockerCredentials {
        username: Some(login.username),
        password: Some(login.password),
        serveraddress: login.server,
        ..DockerCredentials::default()
    });
    let source = client.clone().with_timeout(deadlines::PULL_SILENCE).create_image(Some(options), None, credentials);
    let mut layers = Layers::default();
    let image = image.clone();
    let progress = source.map(move |item| item.map(|info| layers.progress(&image, info)));
    until_silent(progress.boxed(), deadlines::PULL_SILENCE, call)
}

/// The layers of an image, and how many bytes of each are fetched.
#[derive(Debug, Default)]
pub(super) struct Layers(HashMap<String, (u64, u64)>);

impl Layers {
    pub(super) fn progress(&mut self, image: &ImageRef, info: CreateImageInfo) -> PullProgress {
        let status = info.status.unwrap_or_default();
        if let Some(layer) = info.id {
            let detail = info.progress_detail.unwrap_or_default();
            let bytes = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
            match status.as_str() {
                "Downloading" => {
                    if let (Some(current), Some(total)) = (bytes(detail.current), bytes(detail.total)) {
                        // Docker sometimes guesses the total, or counts a byte too many.
                        self.0.insert(layer, (current.min(total), total));
                    }
                }
                // What follows the download counts the bytes of the same layer once more, from zero.
                "Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete" => {
                    if let Some((current, total)) = self.0.get_mut(&layer) {
                        *current = *total;
                    }
                }
                _ => {}
            }
        }
        let sum = self.0.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
        PullProgress { image: image.clone(), status, bytes: (!self.0.is_empty()).then_some(sum) }
    }
}
