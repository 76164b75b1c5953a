//! A Docker host that only the server that leads may change.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;

use super::Term;
use crate::engine::{
    ContainerFile, CreateRequest, Created, DockerEngine, EngineError, EngineErrorKind, EngineEvent, EngineInfo,
    EngineUsage, ExecChunk, FoundImage, LogChunk, LogOptions, NetworkRequest, ObjectLabels, ObservedContainer,
    PullProgress, Result, VolumeRequest,
};
use crate::model::app::Sizes;
use crate::model::{ContainerId, ImageDigest, ImageRef, RegistryLogin};

/// Lets changes through as long as a term lasts. Looking is always allowed.
///
/// A change that is under way when the term ends is given up; the host may still do what it was told, and the rest of the
/// lease is the time it has for that.
#[derive(Debug)]
pub struct FencedEngine {
    engine: Arc<dyn DockerEngine>,
    term: Term,
}

impl FencedEngine {
    /// `engine`, to be changed while `term` lasts.
    pub fn new(engine: Arc<dyn DockerEngine>, term: Term) -> Self {
        Self { engine, term }
    }

    async fn change<T>(&self, operation: &'static str, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        // Before anything is sent: the process may have been stopped for a while.
        if self.term.is_over() {
            return over(operation);
        }
        tokio::select! {
            biased;
            () = self.term.over() => over(operation),
            outcome = work => outcome,
        }
    }
}

#[async_trait]
impl DockerEngine for FencedEngine {
    async fn ping(&self, deadline: Duration) -> Result<()> {
        self.engine.ping(deadline).await
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.engine.info().await
    }

    async fn list(&self) -> Result<Vec<ObservedContainer>> {
        self.engine.list().await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ObservedContainer> {
        self.engine.inspect(id).await
    }

    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        self.change("create the container", self.engine.create(request)).await
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.change("start the container", self.engine.start(id)).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.change("stop the container", self.engine.stop(id, grace)).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.change("restart the container", self.engine.restart(id, grace)).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.change("remove the container", self.engine.remove(id)).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        login: Option<RegistryLogin>,
    ) -> Result<BoxStream<'static, Result<PullProgress>>> {
        let steps = self.change("pull the image", self.engine.pull(image, login)).await?;
        let term = self.term.clone();
        // An image more on a host does no harm; nobody need wait for the rest of it.
        Ok(steps.take_until(Box::pin(async move { term.over().await })).boxed())
    }

    async fn registry_digest(&self, image: &ImageRef, login: Option<RegistryLogin>) -> Result<ImageDigest> {
        self.engine.registry_digest(image, login).await
    }

    async fn find_image(&self, image: &ImageRef) -> Result<Option<FoundImage>> {
        self.engine.find_image(image).await
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.engine.logs(id, options).await
    }

    async fn attach(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.engine.attach(id).await
    }

    async fn events(&self, since: Option<Timestamp>) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        self.engine.events(since).await
    }

    async fn usage(&self) -> Result<EngineUsage> {
        self.engine.usage().await
    }

    async fn update(&self, id: &ContainerId, sizes: &Sizes) -> Result<()> {
        self.change("update the container", self.engine.update(id, sizes)).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.change("rename the container", self.engine.rename(id, name)).await
    }

    async fn put_files(&self, id: &ContainerId, files: &[ContainerFile]) -> Result<()> {
        self.change("put files into the container", self.engine.put_files(id, files)).await
    }

    async fn create_network(&self, network: &NetworkRequest) -> Result<ObjectLabels> {
        self.change("create the network", self.engine.create_network(network)).await
    }

    async fn find_network(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.engine.find_network(name).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.change("remove the network", self.engine.remove_network(name)).await
    }

    async fn create_volume(&self, volume: &VolumeRequest) -> Result<ObjectLabels> {
        self.change("create the volume", self.engine.create_volume(volume)).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.change("remove the volume", self.engine.remove_volume(name)).await
    }

    async fn find_volume(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.engine.find_volume(name).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String]) -> Result<BoxStream<'static, Result<ExecChunk>>> {
        const OPERATION: &str = "run the command";
        let output = self.change(OPERATION, self.engine.exec(id, command)).await?;
        // What the command did and does nobody here answers for any more.
        let state = Some((output, self.term.clone()));
        let until_over = stream::unfold(state, |state| async move {
            let (mut output, term) = state?;
            tokio::select! {
                biased;
                () = term.over() => Some((over(OPERATION), None)),
                item = output.next() => Some((item?, Some((output, term)))),
            }
        });
        Ok(until_over.boxed())
    }
}

fn over<T>(operation: &'static str) -> Result<T> {
    let detail = "this server does not lead any more; ask again";
    Err(EngineError::new(EngineErrorKind::NotLeading, operation, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimulatedEngine;
    use crate::leadership::Candidate;
    use crate::model::{ContainerSpec, LaunchId, MemoryMb, RestartPolicy, SimulatedHost};
    use crate::registry::EmbeddedRegistry;

    fn request() -> CreateRequest {
        CreateRequest {
            name: format!("web-{}", LaunchId::new()),
            spec: ContainerSpec::new("web:1".parse().unwrap()),
            links: Vec::new(),
            platform: "platform".into(),
            engine: "fenced".parse().unwrap(),
            launch: LaunchId::new(),
            user: "ann".into(),
            mark: None,
            log_rotation: None,
            replica: None,
            network: None,
            hidden_environment: Default::default(),
        }
    }

    async fn fenced(latency: Duration) -> (FencedEngine, SimulatedEngine, Term) {
        let host = SimulatedEngine::new(&SimulatedHost { latency, ..SimulatedHost::new("fenced") });
        let candidate = Candidate::new(Arc::new(EmbeddedRegistry::new()), "one", Duration::from_secs(3));
        let term = candidate.lead().await;
        (FencedEngine::new(Arc::new(host.clone()), term.clone()), host, term)
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_as_the_host_while_the_term_lasts() {
        let (engine, _, _term) = fenced(Duration::ZERO).await;
        crate::testing::engine::conforms(Arc::new(engine), "web:1".parse().unwrap()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_term_nothing_is_changed_and_everything_can_be_seen() {
        let (engine, host, term) = fenced(Duration::ZERO).await;
        let id = engine.create(&request()).await.unwrap().id;
        engine.start(&id).await.unwrap();
        let before = host.really_there();
        term.resign();
        let image = "web:1".parse().unwrap();
        let sizes = Sizes { cpus: None, memory: MemoryMb::new(64), restart: RestartPolicy::Always };
        let (platform, app) = ("platform".to_owned(), "shop".parse().unwrap());
        let network =
            NetworkRequest { name: "net".into(), platform: platform.clone(), app, subnets: Default::default() };
        let (app, component) = ("shop".parse().unwrap(), "db".parse().unwrap());
        let volume = VolumeRequest { name: "data".into(), platform, app, component, slot: 0 };
        let refused = [
            engine.create(&request()).await.map(drop),
            engine.start(&id).await,
            engine.stop(&id, Duration::ZERO).await,
            engine.restart(&id, Duration::ZERO).await,
            engine.remove(&id).await,
            engine.pull(&image, None).await.map(drop),
            engine.update(&id, &sizes).await,
            engine.rename(&id, "other").await,
            engine.create_network(&network).await.map(drop),
            engine.remove_network("net").await,
            engine.create_volume(&volume).await.map(drop),
            engine.remove_volume("data").await,
            engine.put_files(&id, &[]).await,
            engine.exec(&id, &["echo".to_owned()]).await.map(drop),
        ];
        for outcome in refused {
            assert_eq!(outcome.unwrap_err().kind(), EngineErrorKind::NotLeading);
        }
        assert_eq!(host.really_there(), before);
        assert_eq!(engine.list().await.unwrap().len(), 1);
        assert!(engine.find_volume("data").await.unwrap().is_none());
        engine.ping(Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_command_whose_term_ends_nobody_says_that_it_ended() {
        let (engine, _, term) = fenced(Duration::ZERO).await;
        let id = engine.create(&request()).await.unwrap().id;
        engine.start(&id).await.unwrap();
        let output = engine.exec(&id, &["echo".to_owned(), "hello".to_owned()]).await.unwrap();
        term.resign();
        let items: Vec<_> = output.collect().await;
        assert_eq!(items.len(), 1, "{items:?}");
        assert_eq!(items[0].as_ref().unwrap_err().kind(), EngineErrorKind::NotLeading);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_when_the_term_ends_is_given_up() {
        let (engine, _, term) = fenced(Duration::from_secs(60)).await;
        let creating = tokio::spawn(async move { engine.create(&request()).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        term.resign();
        assert_eq!(creating.await.unwrap().unwrap_err().kind(), EngineErrorKind::NotLeading);
    }
}
