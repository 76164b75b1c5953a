//! Pulling images, and how far a pull is.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use bollard::body_full;
use bollard::errors::Error;
use bollard::models::{CreateImageInfo, DistributionInspect};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use hyper::Request;
use hyper::header::HeaderValue;
use serde::Deserialize;

use super::errors::Call;
use super::lines::Lines;
use super::transport::Transport;
use super::{deadlines, until_silent};
use crate::engine::{EngineErrorKind, PullProgress, Result};
use crate::model::{ImageDigest, ImageRef, RegistryLogin};

/// The header in which a login to a registry travels.
const REGISTRY_AUTH: &str = "x-registry-auth";

pub(super) fn open(
    transport: Arc<Transport>,
    call: Call,
    image: &ImageRef,
    login: Option<RegistryLogin>,
) -> BoxStream<'static, Result<PullProgress>> {
    let image = image.clone();
    let progress = stream::once(async move {
        let lines = ask(&transport, &image, login).await?;
        let steps = stream::try_unfold((lines, Layers::default()), move |(mut lines, mut layers)| {
            let image = image.clone();
            async move {
                let Some(line) = lines.next().await? else { return Ok(None) };
                let progress = layers.progress(&image, step(&line)?);
                Ok::<_, Error>(Some((progress, (lines, layers))))
            }
        });
        Ok::<_, Error>(steps)
    });
    until_silent(progress.try_flatten().boxed(), deadlines::PULL_SILENCE, call)
}

/// The digest that the registry has for an image now.
pub(super) async fn registry_digest(
    transport: &Transport,
    call: &Call,
    image: &ImageRef,
    login: Option<RegistryLogin>,
) -> Result<ImageDigest> {
    let asked = async {
        let mut request = Request::get(format!("/distribution/{image}/json"));
        if let Some(login) = login {
            request = request.header(REGISTRY_AUTH, registry_auth(&login)?);
        }
        let mut answer = Lines::of(transport.send(request.body(body_full(Bytes::new()))?).await?).await?;
        Ok::<DistributionInspect, Error>(serde_json::from_slice(&answer.next().await?.unwrap_or_default())?)
    };
    let found = call.within(deadlines::ASK, asked).await?;
    let digest = found.descriptor.digest.unwrap_or_default();
    digest.parse().map_err(|_| call.error(EngineErrorKind::Failed, format!("the registry names no digest of {image}")))
}

async fn ask(transport: &Transport, image: &ImageRef, login: Option<RegistryLogin>) -> Result<Lines, Error> {
    // A reference has no letter that a URL would not take as it is.
    let (repository, tag) = image.repository_and_tag();
    let mut request = Request::post(format!("/images/create?fromImage={repository}&tag={tag}"));
    if let Some(login) = login {
        request = request.header(REGISTRY_AUTH, registry_auth(&login)?);
    }
    Lines::of(transport.send(request.body(body_full(Bytes::new()))?).await?).await
}

/// A login as Docker reads it: JSON in the alphabet of base64 that is for URLs. One that it cannot read it takes for none.
fn registry_auth(login: &RegistryLogin) -> Result<HeaderValue, Error> {
    let RegistryLogin { server, username, password } = login;
    let login = serde_json::json!({ "username": username, "password": password, "serveraddress": server });
    let mut value =
        HeaderValue::try_from(BASE64_URL_SAFE.encode(login.to_string())).map_err(hyper::http::Error::from)?;
    value.set_sensitive(true);
    Ok(value)
}

/// One line of a pull. Once it has begun, an error is a line, too.
fn step(line: &[u8]) -> Result<CreateImageInfo, Error> {
    #[derive(Deserialize)]
    struct Failure {
        error: String,
    }
    match serde_json::from_slice::<Failure>(line) {
        Ok(Failure { error }) => Err(Error::DockerStreamError { error }),
        Err(_) => Ok(serde_json::from_slice(line)?),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_sent_in_the_alphabet_that_docker_reads() {
        let login = RegistryLogin {
            server: Some("r.local:5000".into()),
            username: "I(Bx}yr}~Dk".into(),
            password: ">>>???~~~\u{fc}%$\"\\".into(),
        };
        let sent = registry_auth(&login).unwrap();
        assert!(sent.is_sensitive() && !sent.as_bytes().iter().any(|byte| matches!(byte, b'+' | b'/')));
        let read: serde_json::Value =
            serde_json::from_slice(&BASE64_URL_SAFE.decode(sent.as_bytes()).unwrap()).unwrap();
        let expected = serde_json::json!({
            "username": login.username, "password": login.password, "serveraddress": "r.local:5000",
        });
        assert_eq!(read, expected);
    }
}
