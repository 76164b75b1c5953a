//! A host of a simulated world, as one server reaches it: calls are under way, fail, are answered late or not at all, and arrive
//! although their caller is gone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::fate::{Fate, Life, Weather};
use super::witness::{Change, Witness};
use crate::engine::{
    ContainerFile, CreateRequest, Created, DockerEngine, EngineError, EngineErrorKind, EngineEvent, EngineInfo,
    EngineUsage, ExecChunk, FoundImage, LogChunk, LogOptions, NetworkRequest, ObjectLabels, ObservedContainer,
    PullProgress, Result, SimulatedEngine, VolumeRequest,
};
use crate::model::app::Sizes;
use crate::model::{ContainerId, ImageDigest, ImageRef, RegistryLogin};

#[derive(Clone, Debug)]
pub(super) struct ReachedHost {
    name: String,
    engine: SimulatedEngine,
    life: Life,
    weather: Weather,
    witness: Arc<Witness>,
}

impl ReachedHost {
    pub(super) fn new(
        name: &str,
        engine: SimulatedEngine,
        life: Life,
        weather: Weather,
        witness: Arc<Witness>,
    ) -> Self {
        Self { name: name.to_owned(), engine, life, weather, witness }
    }

    /// Changes something on the host. What is under way goes on when nobody waits for it any more.
    async fn change<T, W>(&self, change: Change, act: impl FnOnce(SimulatedEngine) -> W) -> Result<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let fate = self.weather.next(&format!("{} {}", self.name, change.operation));
        let host = self.clone();
        let act = act(self.engine.clone());
        tokio::spawn(async move {
            if let Some(outcome) = host.carry(fate, change, act).await {
                // Whoever asked may be gone.
                let _ = sender.send(outcome);
            }
        });
        let answered = async {
            match answer.await {
                Ok(outcome) => outcome,
                // Nothing is sent where the server is dead.
                Err(_) => std::future::pending().await,
            }
        };
        self.life.wait_for(answered).await
    }

    async fn carry<T>(&self, fate: Fate, change: Change, act: impl Future<Output = Result<T>>) -> Option<Result<T>> {
        let (operation, kind) = (change.operation, kind_of(fate));
        if !self.life.lasts(fate.there).await && !fate.arrives_anyway {
            return None;
        }
        if fate.is_refused {
            return Some(Err(EngineError::new(kind, operation, "the simulated host failed before it did anything")));
        }
        if !self.life.goes_on() && !fate.arrives_anyway {
            return None;
        }
        self.witness.is_asked(&self.name, &change);
        let outcome = act.await;
        self.witness.has_done(&self.name, &change, outcome.as_ref().err());
        self.life.goes_on();
        tokio::time::sleep(fate.back).await;
        if fate.is_lost && outcome.is_ok() {
            return Some(Err(EngineError::new(kind, operation, "the answer of the simulated host is lost")));
        }
        Some(outcome)
    }

    async fn read<T>(&self, operation: &'static str, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let fate = self.weather.next(&format!("{} {operation}", self.name));
        let work = async {
            if fate.is_refused {
                return Err(EngineError::new(kind_of(fate), operation, "the simulated host failed"));
            }
            answer.await
        };
        self.life.wait_for(work).await
    }
}

fn kind_of(fate: Fate) -> EngineErrorKind {
    match fate.kind {
        // What a host cannot do it did not do.
        0 if !fate.is_lost => EngineErrorKind::Unable,
        1..3 => EngineErrorKind::Unreachable,
        _ => EngineErrorKind::Failed,
    }
}

#[async_trait]
impl DockerEngine for ReachedHost {
    async fn ping(&self, deadline: Duration) -> Result<()> {
        self.life.wait_for(self.engine.ping(deadline)).await
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.read("info", self.engine.info()).await
    }

    async fn list(&self) -> Result<Vec<ObservedContainer>> {
        self.read("list", self.engine.list()).await
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ObservedContainer> {
        self.read("inspect", self.engine.inspect(id)).await
    }

    async fn create(&self, request: &CreateRequest) -> Result<Created> {
        let change = Change { labels: request.replica.clone(), name: request.name.clone(), ..Change::new("create") };
        let request = request.clone();
        self.change(change, |engine| async move { engine.create(&request).await }).await
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        let change = self.witness.change_of("start", &self.engine, id);
        let id = id.clone();
        self.change(change, |engine| async move { engine.start(&id).await }).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let change = self.witness.change_of("stop", &self.engine, id);
        let id = id.clone();
        self.change(change, move |engine| async move { engine.stop(&id, grace).await }).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let change = self.witness.change_of("restart", &self.engine, id);
        let id = id.clone();
        self.change(change, move |engine| async move { engine.restart(&id, grace).await }).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        let change = self.witness.change_of("remove", &self.engine, id);
        let id = id.clone();
        self.change(change, |engine| async move { engine.remove(&id).await }).await
    }

    async fn pull(
        &self,
        image: &ImageRef,
        login: Option<RegistryLogin>,
    ) -> Result<BoxStream<'static, Result<PullProgress>>> {
        self.read("pull", self.engine.pull(image, login)).await
    }

    async fn registry_digest(&self, image: &ImageRef, login: Option<RegistryLogin>) -> Result<ImageDigest> {
        self.read("registry_digest", self.engine.registry_digest(image, login)).await
    }

    async fn find_image(&self, image: &ImageRef) -> Result<Option<FoundImage>> {
        self.read("find_image", self.engine.find_image(image)).await
    }

    async fn put_files(&self, id: &ContainerId, files: &[ContainerFile]) -> Result<()> {
        let change = self.witness.change_of("put_files", &self.engine, id);
        let (id, files) = (id.clone(), files.to_vec());
        self.change(change, |engine| async move { engine.put_files(&id, &files).await }).await
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.read("logs", self.engine.logs(id, options)).await
    }

    async fn events(&self, since: Option<Timestamp>) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        self.life.wait_for(self.engine.events(since)).await
    }

    async fn usage(&self) -> Result<EngineUsage> {
        self.life.wait_for(self.engine.usage()).await
    }

    async fn update(&self, id: &ContainerId, sizes: &Sizes) -> Result<()> {
        let change = self.witness.change_of("update", &self.engine, id);
        let (id, sizes) = (id.clone(), *sizes);
        self.change(change, move |engine| async move { engine.update(&id, &sizes).await }).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let change = self.witness.change_of("rename", &self.engine, id);
        let (id, name) = (id.clone(), name.to_owned());
        self.change(change, |engine| async move { engine.rename(&id, &name).await }).await
    }

    async fn create_network(&self, network: &NetworkRequest) -> Result<ObjectLabels> {
        let change = Change { name: network.name.clone(), ..Change::new("create_network") };
        let network = network.clone();
        self.change(change, |engine| async move { engine.create_network(&network).await }).await
    }

    async fn find_network(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.read("find_network", self.engine.find_network(name)).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        let change = Change { name: name.to_owned(), ..Change::new("remove_network") };
        let name = name.to_owned();
        self.change(change, |engine| async move { engine.remove_network(&name).await }).await
    }

    async fn create_volume(&self, volume: &VolumeRequest) -> Result<ObjectLabels> {
        let change = Change { name: volume.name.clone(), ..Change::new("create_volume") };
        let volume = volume.clone();
        self.change(change, |engine| async move { engine.create_volume(&volume).await }).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        let change = Change { name: name.to_owned(), ..Change::new("remove_volume") };
        let name = name.to_owned();
        self.change(change, |engine| async move { engine.remove_volume(&name).await }).await
    }

    async fn find_volume(&self, name: &str) -> Result<Option<ObjectLabels>> {
        self.read("find_volume", self.engine.find_volume(name)).await
    }

    async fn exec(&self, id: &ContainerId, command: &[String]) -> Result<BoxStream<'static, Result<ExecChunk>>> {
        self.read("exec", self.engine.exec(id, command)).await
    }

    async fn attach(&self, id: &ContainerId) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.read("attach", self.engine.attach(id)).await
    }
}
