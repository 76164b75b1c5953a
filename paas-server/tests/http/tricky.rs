//! A simulated engine that fails when the name of the image says so, and whose containers say known things.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use paas_core::engine::{
    Connector, ContainerFile, CreateRequest, Created, DockerEngine, EngineError, EngineErrorKind, EngineEvent,
    EngineInfo, EngineUsage, ExecChunk, FoundImage, LogChunk, LogOptions, LogStream, NetworkRequest, ObjectLabels,
    ObservedContainer, PullProgress, Result, VolumeRequest, connect,
};
use paas_core::model::app::Sizes;
use paas_core::model::{ContainerId, EngineAddress, EngineSpec, ImageDigest, ImageRef, RegistryLogin, SimulatedHost};

/// No engine has this image.
pub(crate) const MISSING: &str = "missing:1";
/// Every second container of this image fails.
pub(crate) const HALF: &str = "half:1";
/// Making a container of this image panics.
pub(crate) const BREAKS: &str = "breaks:1";
/// A handler that starts this image panics.
pub(crate) const PANICS: &str = "panics:1";
/// Whose output cannot be read to its end.
pub(crate) const CUT: &str = "cut:1";

/// What a container prints; each line with the output it goes to.
const LOG: [(LogStream, &str); 3] =
    [(LogStream::Stdout, "first\n"), (LogStream::Stderr, "oops\n"), (LogStream::Stdout, "last\n")];

#[derive(Debug)]
struct Tricky {
    inner: Arc<dyn DockerEngine>,
    created: AtomicUsize,
}

/// Engines for the tests. `tcp://NAME.twin` is the same daemon as `sim://NAME`, as a Docker host with two addresses.
pub(crate) fn connector() -> Connector {
    Arc::new(|spec: &EngineSpec| {
        let mut spec = spec.clone();
        if let EngineAddress::Tcp { host, .. } = &spec.addr
            && let Some(name) = host.strip_suffix(".twin")
        {
            spec.addr = EngineAddress::Simulated(SimulatedHost::new(name));
        }
        Ok(Arc::new(Tricky { inner: connect(&spec)?, created: AtomicUsize::new(0) }))
    })
}

#[async_trait]
impl DockerEngine for Tricky {
    async fn ping(&self, deadline: Duration) -> Result<()> {
        self.inner.ping(deadline).await
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.inner.info().await
    }

    async fn list(&self) -> Result<Vec<ObservedContainer>> {
        self.inner.list().await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ObservedContainer> {
        self.inner.inspect(id).await
    }

    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        match request.spec.name.as_str() {
            BREAKS => panic!("this image breaks whatever makes a container of it"),
            MISSING => Err(EngineError::new(EngineErrorKind::NoSuchImage, "create the container", "no such image")),
            HALF if self.created.fetch_add(1, Ordering::Relaxed) % 2 == 1 => {
                Err(EngineError::new(EngineErrorKind::Failed, "create the container", "it is the second"))
            }
            _ => self.inner.create(request).await,
        }
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.inner.start(id).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.inner.stop(id, grace).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.inner.restart(id, grace).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.inner.remove(id).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        login: Option<RegistryLogin>,
    ) -> Result<BoxStream<'static, Result<PullProgress>>> {
        match image.as_str() {
            MISSING => Err(EngineError::new(EngineErrorKind::NoSuchImage, "pull the image", "no such image")),
            _ => self.inner.pull(image, login).await,
        }
    }

    async fn registry_digest(&self, image: &ImageRef, login: Option<RegistryLogin>) -> Result<ImageDigest> {
        self.inner.registry_digest(image, login).await
    }

    async fn find_image(&self, image: &ImageRef) -> Result<Option<FoundImage>> {
        self.inner.find_image(image).await
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        let image = self.inner.inspect(id).await?.spec.name;
        assert_ne!(image.as_str(), PANICS, "this image makes its reader panic");
        let wanted = |(stream, _): &&(LogStream, &str)| match stream {
            LogStream::Stdout => options.stdout,
            LogStream::Stderr => options.stderr,
        };
        let lines: Vec<_> = LOG.iter().filter(wanted).collect();
        let tail = options.tail.map_or(lines.len(), |tail| lines.len().min(tail as usize));
        let time = if options.timestamps { "2026-01-02T03:04:05Z " } else { "" };
        let chunk = |&(stream, line): &(LogStream, &str)| LogChunk { stream, bytes: format!("{time}{line}").into() };
        let printed: Vec<_> = lines[lines.len() - tail..].iter().map(|line| Ok(chunk(line))).collect();
        if image.as_str() == CUT {
            let error = EngineError::new(EngineErrorKind::Failed, "read the output", "Error grabbing logs:\nbad value");
            return Ok(stream::iter(printed).chain(stream::iter([Err(error)])).boxed());
        }
        let printed = stream::iter(printed);
        Ok(if options.follow { printed.chain(stream::pending()).boxed() } else { printed.boxed() })
    }

    async fn events(&self, since: Option<Timestamp>) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        self.inner.events(since).await
    }

    async fn usage(&self) -> Result<EngineUsage> {
        self.inner.usage().await
    }

    async fn update(&self, id: &ContainerId, sizes: &Sizes) -> Result<()> {
        self.inner.update(id, sizes).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.inner.rename(id, name).await
    }

    async fn create_network(&self, network: &NetworkRequest) -> Result<ObjectLabels> {
        self.inner.create_network(network).await
    }

    async fn find_network(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.inner.find_network(name).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.inner.remove_network(name).await
    }

    async fn create_volume(&self, volume: &VolumeRequest) -> Result<ObjectLabels> {
        self.inner.create_volume(volume).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.inner.remove_volume(name).await
    }

    async fn put_files(&self, id: &ContainerId, files: &[ContainerFile]) -> Result<()> {
        self.inner.put_files(id, files).await
    }

    async fn find_volume(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.inner.find_volume(name).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String]) -> Result<BoxStream<'static, Result<ExecChunk>>> {
        self.inner.exec(id, command).await
    }

    async fn attach(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.inner.attach(id).await
    }
}
