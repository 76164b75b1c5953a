//! An engine of one's own: whatever is at the address, but it takes only images with a fixed tag. It is held against the
//! conformance suite first, and then a platform is built that speaks to all its hosts so.
//!
//! One that wraps another passes on what it does not mind; one that speaks to something else than Docker does the same verbs
//! by itself. The suite comes with the feature `testing` of `paas-core`; in a program of your own it stands in a test.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use paas_core::controller::{Actor, Controller, RunRequest};
use paas_core::engine::{
    ContainerFile, CreateRequest, Created, DockerEngine, EngineError, EngineErrorKind, EngineEvent, EngineInfo,
    EngineUsage, ExecChunk, FoundImage, LogChunk, LogOptions, NetworkRequest, ObjectLabels, ObservedContainer,
    PullProgress, Result, VolumeRequest, connect,
};
use paas_core::model::app::Sizes;
use paas_core::model::{ContainerId, ContainerSpec, EngineSpec, ImageDigest, ImageRef, RegistryLogin};

/// Refuses what may be another image tomorrow.
#[derive(Debug)]
struct FixedTags(Arc<dyn DockerEngine>);

#[async_trait]
impl DockerEngine for FixedTags {
    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        let image = request.spec.name.as_str();
        let last = image.rsplit('/').next().unwrap_or(image);
        if !last.contains(':') || last.ends_with(":latest") {
            // No host would take it, so it is not tried on another one.
            let what = format!("{image} has no fixed tag");
            return Err(EngineError::new(EngineErrorKind::Refused, "create", what));
        }
        self.0.create(request).await
    }

    async fn ping(&self, deadline: Duration) -> Result<()> {
        self.0.ping(deadline).await
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.0.info().await
    }

    async fn list(&self) -> Result<Vec<ObservedContainer>> {
        self.0.list().await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ObservedContainer> {
        self.0.inspect(id).await
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.0.start(id).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.0.stop(id, grace).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.0.restart(id, grace).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.0.remove(id).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        login: Option<RegistryLogin>,
    ) -> Result<BoxStream<'static, Result<PullProgress>>> {
        self.0.pull(image, login).await
    }

    async fn registry_digest(&self, image: &ImageRef, login: Option<RegistryLogin>) -> Result<ImageDigest> {
        self.0.registry_digest(image, login).await
    }

    async fn find_image(&self, image: &ImageRef) -> Result<Option<FoundImage>> {
        self.0.find_image(image).await
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.0.logs(id, options).await
    }

    async fn events(&self, since: Option<Timestamp>) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        self.0.events(since).await
    }

    async fn usage(&self) -> Result<EngineUsage> {
        self.0.usage().await
    }

    async fn update(&self, id: &ContainerId, sizes: &Sizes) -> Result<()> {
        self.0.update(id, sizes).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.0.rename(id, name).await
    }

    async fn create_network(&self, network: &NetworkRequest) -> Result<ObjectLabels> {
        self.0.create_network(network).await
    }

    async fn find_network(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.0.find_network(name).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.0.remove_network(name).await
    }

    async fn create_volume(&self, volume: &VolumeRequest) -> Result<ObjectLabels> {
        self.0.create_volume(volume).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.0.remove_volume(name).await
    }

    async fn put_files(&self, id: &ContainerId, files: &[ContainerFile]) -> Result<()> {
        self.0.put_files(id, files).await
    }

    async fn find_volume(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.0.find_volume(name).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String]) -> Result<BoxStream<'static, Result<ExecChunk>>> {
        self.0.exec(id, command).await
    }
    async fn attach(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.0.attach(id).await
    }
}

fn with_fixed_tags(spec: &EngineSpec) -> Result<Arc<dyn DockerEngine>> {
    Ok(Arc::new(FixedTags(connect(spec)?)))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let tried = EngineSpec::new("tried".parse()?, "sim://own-engine-tried".parse()?);
    paas_core::testing::engine::conforms(with_fixed_tags(&tried)?, "web:1".parse()?).await;
    println!("does what an engine must do");

    let controller = Controller::builder().connector(Arc::new(with_fixed_tags)).build().await?;
    let one = EngineSpec::new("one".parse()?, "sim://own-engine".parse()?);
    controller.add_engine(&Actor::system(), one).await?;
    for image in ["web:1", "web", "web:latest"] {
        let request = RunRequest { spec: ContainerSpec::new(image.parse()?), count: 1, pull: false };
        let summary = controller.run(&Actor::system(), request).await?.finish().await;
        let refused = summary.failed.first().map(|failure| failure.error.as_str());
        println!("{image}: {}", refused.unwrap_or("started"));
        anyhow::ensure!(refused.is_none() == (image == "web:1"), "only a fixed tag is taken");
    }
    controller.shutdown().await;
    Ok(())
}
