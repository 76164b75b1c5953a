//! A Docker host that only the server that leads may change.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use jiff::Timestamp;

use super::Term;
use crate::engine::{
    CreateRequest, Created, DockerEngine, EngineError, EngineErrorKind, EngineEvent, EngineInfo, EngineUsage, LogChunk,
    LogOptions, ObservedContainer, PullProgress, Result,
};
use crate::model::{ContainerId, ImageRef, RegistryLogin};

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
        let over = || {
            let detail = "this server does not lead any more; ask again";
            Err(EngineError::new(EngineErrorKind::NotLeading, operation, detail))
        };
        // Before anything is sent: the process may have been stopped for a while.
        if self.term.is_over() {
            return over();
        }
        tokio::select! {
            biased;
            () = self.term.over() => over(),
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

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.engine.logs(id, options).await
    }

    async fn events(&self, since: Option<Timestamp>) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        self.engine.events(since).await
    }

    async fn usage(&self) -> Result<EngineUsage> {
        self.engine.usage().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::SimulatedEngine;
    use crate::leadership::Candidate;
    use crate::model::{ContainerSpec, LaunchId, SimulatedHost};
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
        let refused = [
            engine.create(&request()).await.map(drop),
            engine.start(&id).await,
            engine.stop(&id, Duration::ZERO).await,
            engine.restart(&id, Duration::ZERO).await,
            engine.remove(&id).await,
            engine.pull(&image, None).await.map(drop),
        ];
        for outcome in refused {
            assert_eq!(outcome.unwrap_err().kind(), EngineErrorKind::NotLeading);
        }
        assert_eq!(host.really_there(), before);
        assert_eq!(engine.list().await.unwrap().len(), 1);
        engine.ping(Duration::from_secs(1)).await.unwrap();
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
