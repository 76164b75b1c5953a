//! Commands that somebody has run once, and reads the output of. The container of one is there as long as somebody does.
//!
//! Which commands are waited for is in memory only: it is known to the server that runs them, and to nobody after that. So a container
//! of a command that is not among them is left over, from a server that died or from a removal that failed, and goes.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::carry_out::{deleted, remove_container};
use super::once::{self, Once, Where};
use super::secrets::Fault;
use super::{App, Apps};
use crate::apps::Desired;
use crate::backoff::Backoff;
use crate::cluster::ReplicaContainer;
use crate::engine::{EngineError, EngineErrorKind, ExecChunk};
use crate::executor::{Executor, Output};
use crate::model::app::{ComponentName, ComponentSpec};
use crate::model::{ContainerId, EngineId};
use crate::scheduler::Refusal;
use crate::store::StoreError;

/// How long it is waited until a container is asked again whether it has ended whose output has.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// How long output is waited for that does not come any more of a container that has ended.
const QUIET: Duration = Duration::from_secs(5);

/// Why a command could not be started.
#[derive(Debug)]
pub(crate) enum NotRun {
    /// No host takes it.
    NoRoom(Refusal),
    /// Its host did not do it.
    Engine(EngineId, EngineError),
    /// The store did not give its secrets and files.
    Store(StoreError),
}

/// A command that somebody waits for. When this is dropped its container is left over.
#[derive(Debug)]
pub(crate) struct Run {
    app: Arc<App>,
    number: u32,
    component: ComponentName,
    spec: ComponentSpec,
    desired: Arc<Desired>,
}

/// The container of a command.
#[derive(Clone, Debug)]
pub(crate) struct RunContainer {
    /// Docker's name of it, without a slash.
    pub(crate) name: String,
    pub(crate) id: ContainerId,
    pub(crate) engine: EngineId,
}

impl Run {
    /// A command of a component as the revision has it that is to run; nothing where there is no such component.
    pub(crate) fn new(app: &Arc<App>, desired: &Arc<Desired>, component: ComponentName) -> Option<Self> {
        let spec = desired.component(desired.target, &component)?.clone();
        let mut runs = app.runs.lock();
        let mut number = rand::random();
        while !runs.insert(number) {
            number = rand::random();
        }
        drop(runs);
        Some(Self { app: app.clone(), number, component, spec, desired: desired.clone() })
    }

    /// Makes the container and starts it, on any host that has room.
    ///
    /// # Errors
    /// As the names say. Nothing is left then, unless the host does not answer; what is found of it later goes.
    pub(crate) async fn start(
        &self,
        apps: &Apps,
        executor: &Executor,
        command: Vec<String>,
    ) -> Result<(RunContainer, Output), NotRun> {
        let Self { app, spec, .. } = self;
        let (container, output) = match self.make(apps, executor, command.clone()).await {
            // Another host has an image that no registry has.
            Err(NotRun::Engine(_, error))
                if error.kind() == EngineErrorKind::NoSuchImage
                    && apps.is_of_host(executor, app, Some(spec), &error).await =>
            {
                self.make(apps, executor, command).await?
            }
            made => made?,
        };
        if app.is_gone() {
            // Nobody looks after what is left of one that was forgotten meanwhile.
            self.remove(executor, &container).await;
            let error = EngineError::new(EngineErrorKind::Conflict, "run the command", "its application was removed");
            return Err(NotRun::Engine(container.engine, error));
        }
        Ok((container, output))
    }

    async fn make(
        &self,
        apps: &Apps,
        executor: &Executor,
        command: Vec<String>,
    ) -> Result<(RunContainer, Output), NotRun> {
        let Self { app, number, component, spec, desired } = self;
        let place = Where::default();
        let engine = apps.place_once(executor, app, desired, spec, place).await.map_err(NotRun::NoRoom)?;
        let opened = apps.open_secrets(&app.name, spec).await.map_err(|fault| match fault {
            Fault::Engine(error) => NotRun::Engine(engine.clone(), error),
            Fault::Store(error) => NotRun::Store(error),
        })?;
        let name = format!("{}.{component}.run.{number:08x}", app.name);
        let revision = desired.target;
        let declared = desired.declared;
        let once = Once { component, declared, spec, revision, command, name: name.clone(), run: Some(*number) };
        let made = executor.make_attached(&engine, &once::container(executor, app, &engine, once, &opened)).await;
        let (id, output) = made.map_err(|error| NotRun::Engine(engine.clone(), opened.hide_in(error)))?;
        Ok((RunContainer { name, id, engine }, output))
    }

    /// Passes on what the command writes until it has ended or nobody reads any more, removes its container, and then says how it
    /// ended.
    pub(crate) async fn follow(
        self,
        executor: &Executor,
        container: RunContainer,
        output: Output,
        chunks: mpsc::Sender<Result<ExecChunk, EngineError>>,
    ) {
        let end = tokio::select! {
            end = pass_on(executor, &container, output, &chunks) => Some(end),
            () = chunks.closed() => None,
            () = executor.closing.cancelled() => None,
        };
        self.remove(executor, &container).await;
        drop(self);
        let Some(end) = end else { return };
        executor.closing.run_until_cancelled(chunks.send(end.map(ExecChunk::Ended))).await;
    }

    /// Removes the container. What cannot be removed is left over, and goes when its host answers.
    pub(crate) async fn remove(&self, executor: &Executor, container: &RunContainer) {
        let all = executor.cluster.replicas(&self.app.name);
        let Some(found) = all.into_iter().find(|found| found.id == container.id) else { return };
        if let Err(error) = remove_container(executor, &self.desired, found).await {
            tracing::warn!(container = container.name, engine = %container.engine, %error, "the container of a command stays");
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.app.runs.lock().remove(&self.number);
        self.app.wake();
    }
}

/// Passes output on, and gives the status that the command ended with.
async fn pass_on(
    executor: &Executor,
    container: &RunContainer,
    output: Output,
    chunks: &mpsc::Sender<Result<ExecChunk, EngineError>>,
) -> Result<i64, EngineError> {
    let RunContainer { id, engine, .. } = container;
    let cluster = &executor.cluster;
    let connection = cluster.connection(engine).ok_or_else(|| deleted("read the output"))?;
    let mut output = cluster.each_while_up(engine, output);
    let mut look = interval(QUIET);
    let mut has_ended = false;
    loop {
        tokio::select! {
            biased;
            chunk = output.next() => match chunk.transpose()? {
                Some(chunk) => {
                    if chunks.send(Ok(ExecChunk::Output(chunk))).await.is_err() {
                        break;
                    }
                    look.reset();
                }
                None => break,
            },
            // Output is known not to end now and then although its container has.
            _ = look.tick() => {
                let ends = cluster.container(id).is_none_or(|known| !known.container.state.holds_resources());
                if ends && std::mem::replace(&mut has_ended, ends) {
                    break;
                }
            }
        }
    }
    let mut pauses = PAUSES;
    loop {
        let found = cluster.while_up(engine, connection.inspect(id)).await?;
        if !found.state.holds_resources() {
            let unknown = || EngineError::new(EngineErrorKind::Failed, "run the command", "nobody says how it ended");
            return found.run.exit_code.ok_or_else(unknown);
        }
        tokio::time::sleep(pauses.next_pause()).await;
    }
}

impl Apps {
    /// Whether the container of a command is left over. Where the store may be an old one, another server may wait for it.
    pub(super) fn is_left_over(&self, app: &App, container: &ReplicaContainer) -> bool {
        let is_waited_for = |number: u32| app.runs.lock().contains(&number);
        container.labels.run.is_some_and(|number| !is_waited_for(number)) && !self.observes_only()
    }
}
