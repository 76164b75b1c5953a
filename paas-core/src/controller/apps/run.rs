//! Commands in containers of their own.

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::{current_of, not_found, only_component, program_of};
use crate::apps::Goal;
use crate::apps::reconciler::{NotRun, Run, RunContainer};
use crate::controller::{Actor, Controller, ControllerError, Result};
use crate::engine::{EngineError, EngineErrorKind, ExecChunk, LogChunk, LogStream};
use crate::model::{Event, EventKind};
use crate::wire::app::RunCommandRequest;

/// How many pieces of output wait for who reads them.
const AHEAD: usize = 16;
/// How a command ends whose program is not in the image.
const NO_SUCH_PROGRAM: i64 = 127;

impl Controller {
    /// Runs a command once, in a container of its own that has what the component has, but for its ports and the volumes of its
    /// slots, and gives what comes of it. Answers when the container has been started and its event is kept, which names the
    /// program and nothing of its arguments.
    ///
    /// A command whose program the image does not have, or may not run, ends with 127, and what its host says of that is its output.
    ///
    /// The container is removed before the status is told; also when the stream is dropped, or this server ends. What a server
    /// leaves that dies in between is removed by the next one.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`]; [`ControllerError::Invalid`] for a component that there is not;
    /// [`ControllerError::NoRoom`]; [`ControllerError::Conflict`] for an application that is being removed, and while nothing is
    /// done for applications because the store may be an old one; [`ControllerError::Engine`].
    pub async fn run_app(
        &self,
        actor: &Actor,
        name: &str,
        request: RunCommandRequest,
    ) -> Result<BoxStream<'static, Result<ExecChunk, EngineError>>> {
        self.check_open()?;
        let program = program_of(&request.command)?.to_owned();
        let run = self.run_of(actor, name, &request)?;
        let event = Event::new(EventKind::RunApp, format!("{name}: runs {program:?} once")).tagged("app");
        let event = Event { name: Some(name.to_owned()), ..actor.sign(event) };
        let (chunks, output) = mpsc::channel(AHEAD);
        let (begun, beginning) = oneshot::channel();
        let controller = self.clone();
        // A task of its own: whoever hangs up leaves nobody who would remove the container otherwise.
        let work = async move {
            let executor = controller.executor();
            let started = match run.start(&controller.shared.apps, &executor, request.command).await {
                Ok((container, written)) => match controller.note_run(event, &container).await {
                    Ok(()) => Ok((container, written)),
                    Err(error) => Err((error, Some(container))),
                },
                Err(NotRun::NoRoom(refusal)) => Err((ControllerError::NoRoom(refusal), None)),
                // As a shell says it, and Docker.
                Err(NotRun::Engine(_, error)) if error.kind() == EngineErrorKind::NoSuchProgram => {
                    let _ = begun.send(Ok(()));
                    let bytes = format!("{error}\n").into();
                    let said = LogChunk { stream: LogStream::Stderr, bytes };
                    for chunk in [ExecChunk::Output(said), ExecChunk::Ended(NO_SUCH_PROGRAM)] {
                        let _ = chunks.send(Ok(chunk)).await;
                    }
                    return;
                }
                Err(NotRun::Engine(engine, source)) => Err((ControllerError::Engine { engine, source }, None)),
                Err(NotRun::Store(error)) => Err((ControllerError::Store(error), None)),
            };
            match started {
                Ok((container, written)) => {
                    let _ = begun.send(Ok(()));
                    run.follow(&executor, container, written, chunks).await;
                }
                Err((error, container)) => {
                    if let Some(container) = container {
                        run.remove(&executor, &container).await;
                    }
                    let _ = begun.send(Err(error));
                }
            }
        };
        drop(self.spawn_to_end(work));
        beginning.await.unwrap_or(Err(ControllerError::Panicked))?;
        Ok(ReceiverStream::new(output).boxed())
    }

    /// The command that is to be run, if it may be.
    fn run_of(&self, actor: &Actor, name: &str, request: &RunCommandRequest) -> Result<Run> {
        let app = self.known_app(name)?;
        let documents = app.shown().ok_or_else(|| not_found(name))?;
        let desired = documents.desired();
        let spec = current_of(desired).ok_or_else(|| not_found(name))?;
        let component = only_component(spec, request.component.as_ref())?;
        if desired.goal == Goal::Destroy {
            return Err(ControllerError::Conflict { reason: format!("{name} is being removed") });
        }
        if self.shared.apps.observes_only() {
            let reason = "nothing is done for applications, since the store may be an old one: see 'reconcile resume'";
            return Err(ControllerError::Conflict { reason: reason.to_owned() });
        }
        if let Some(component) = spec.components.get(&component) {
            self.check_policy_of_run(actor, &component.container_spec())?;
        }
        Run::new(&app, desired, component).ok_or_else(|| not_found(name))
    }

    async fn note_run(&self, event: Event, container: &RunContainer) -> Result<()> {
        let RunContainer { name, id, engine } = container;
        let message = format!("{}, as {name}", event.message);
        self.record(Event { message, ..event.on(engine).of(id) }).await
    }
}
