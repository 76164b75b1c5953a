//! Commands that somebody has run once, and reads the output of. The container of one is there as long as somebody does.
//!
//! Which commands are waited for is in memory only: it is known to the server that runs them, and to nobody after that. So a container
//! of a command that is not among them is left over, from a server that died or from a removal that failed, and goes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::carry_out::{deleted, remove_container};
use super::once::{self, Once};
use super::secrets::Fault;
use super::{App, Apps};
use crate::apps::Desired;
use crate::backoff::Backoff;
use crate::cluster::ReplicaContainer;
use crate::engine::{EngineError, EngineErrorKind, ExecChunk, LogChunk, LogOptions, LogStream};
use crate::executor::Executor;
use crate::model::app::{ComponentName, ComponentSpec};
use crate::model::{ContainerId, EngineId};
use crate::scheduler::Refusal;
use crate::store::StoreError;

/// How long it is waited until a container is asked again whether it has ended whose output has.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// How long output is waited for that does not come any more of a container that has ended.
const QUIET: Duration = Duration::from_secs(1);

/// How many pieces of output are taken at once, and when no more is put into one, bytes.
const AT_ONCE: usize = 256;
const LARGEST: usize = 32 << 10;

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
    ) -> Result<RunContainer, NotRun> {
        let Self { app, number, component, spec, desired } = self;
        let engine = once::place(executor, desired, spec, None).await.map_err(NotRun::NoRoom)?;
        let opened = apps.open_secrets(&app.name, spec).await.map_err(|fault| match fault {
            Fault::Engine(error) => NotRun::Engine(engine.clone(), error),
            Fault::Store(error) => NotRun::Store(error),
        })?;
        let name = format!("{}.{component}.run.{number:08x}", app.name);
        let revision = desired.target;
        let once = Once { component, spec, revision, command, name: name.clone(), run: Some(*number) };
        let made = once::make(executor, app, &engine, once, &opened).await;
        let id = made.map_err(|error| NotRun::Engine(engine.clone(), error))?;
        let container = RunContainer { name, id, engine };
        if app.is_gone() {
            // Nobody looks after what is left of one that was forgotten meanwhile.
            self.remove(executor, &container).await;
            let error = EngineError::new(EngineErrorKind::Conflict, "run the command", "its application was removed");
            return Err(NotRun::Engine(container.engine, error));
        }
        Ok(container)
    }

    /// Passes on what the command writes until it has ended or nobody reads any more, removes its container, and then says how it
    /// ended.
    pub(crate) async fn follow(
        self,
        executor: &Executor,
        container: RunContainer,
        chunks: mpsc::Sender<Result<ExecChunk, EngineError>>,
    ) {
        let end = tokio::select! {
            end = pass_on(executor, &container, &chunks) => Some(end),
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
    chunks: &mpsc::Sender<Result<ExecChunk, EngineError>>,
) -> Result<i64, EngineError> {
    let RunContainer { id, engine, .. } = container;
    let cluster = &executor.cluster;
    let connection = cluster.connection(engine).ok_or_else(|| deleted("read the output"))?;
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let output = cluster.while_up(engine, connection.logs(id, &options)).await?;
    let mut output = cluster.each_while_up(engine, output).ready_chunks(AT_ONCE);
    let mut passed = Passed::default();
    let mut look = interval(QUIET);
    let mut has_ended = false;
    loop {
        tokio::select! {
            biased;
            ready = output.next() => {
                let Some(ready) = ready else { break };
                let (parts, broken) = joined(ready);
                for part in parts {
                    passed.note(&part);
                    if chunks.send(Ok(ExecChunk::Output(part))).await.is_err() {
                        break;
                    }
                }
                broken?;
                look.reset();
            }
            // Output is known not to end now and then although its container has.
            _ = look.tick() => {
                let ends = cluster.container(id).is_none_or(|known| !known.container.state.holds_resources());
                if ends && std::mem::replace(&mut has_ended, ends) {
                    // All that there is is read once more, since this may be only slow.
                    let output = cluster.while_up(engine, connection.logs(id, &LogOptions::default())).await?;
                    let mut output = cluster.each_while_up(engine, output);
                    while let Some(chunk) = output.next().await.transpose()? {
                        if let Some(rest) = passed.rest_of(chunk)
                            && chunks.send(Ok(ExecChunk::Output(rest))).await.is_err()
                        {
                            break;
                        }
                    }
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

/// How many bytes of output were passed on.
#[derive(Default)]
struct Passed {
    stdout: usize,
    stderr: usize,
}

impl Passed {
    fn of(&mut self, stream: LogStream) -> &mut usize {
        match stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        }
    }

    fn note(&mut self, chunk: &LogChunk) {
        *self.of(chunk.stream) += chunk.bytes.len();
    }

    /// What was not passed on of output that is read from its beginning, piece by piece.
    fn rest_of(&mut self, mut chunk: LogChunk) -> Option<LogChunk> {
        let passed = self.of(chunk.stream);
        let known = chunk.bytes.len().min(*passed);
        *passed -= known;
        chunk.bytes.advance(known);
        (!chunk.bytes.is_empty()).then_some(chunk)
    }
}

/// Pieces of output, those that follow each other in one stream as one: a line is a piece, and each is sent with its own envelope.
/// With them, how it broke off.
fn joined(chunks: Vec<Result<LogChunk, EngineError>>) -> (Vec<LogChunk>, Result<(), EngineError>) {
    let mut joined: Vec<(LogStream, BytesMut)> = Vec::new();
    let mut broken = Ok(());
    for chunk in chunks {
        let LogChunk { stream, bytes } = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                broken = Err(error);
                break;
            }
        };
        match joined.last_mut() {
            Some((last, whole)) if *last == stream && whole.len() < LARGEST => whole.extend_from_slice(&bytes),
            _ => joined.push((stream, BytesMut::from(&*bytes))),
        }
    }
    (joined.into_iter().map(|(stream, bytes)| LogChunk { stream, bytes: bytes.freeze() }).collect(), broken)
}

impl Apps {
    /// Whether the container of a command is left over. Where the store may be an old one, another server may wait for it.
    pub(super) fn is_left_over(&self, app: &App, container: &ReplicaContainer) -> bool {
        let is_waited_for = |number: u32| app.runs.lock().contains(&number);
        container.labels.run.is_some_and(|number| !is_waited_for(number)) && !self.observes_only()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn chunk(stream: LogStream, text: &'static str) -> LogChunk {
        LogChunk { stream, bytes: Bytes::from_static(text.as_bytes()) }
    }

    #[test]
    fn output_that_is_read_again_goes_on_where_it_was() {
        use LogStream::{Stderr, Stdout};
        let mut passed = Passed::default();
        for part in [chunk(Stdout, "one\ntw"), chunk(Stderr, "x")] {
            passed.note(&part);
        }
        let again = [chunk(Stdout, "one\n"), chunk(Stderr, "xy"), chunk(Stdout, "two\n"), chunk(Stdout, "three\n")];
        let rest: Vec<_> = again.into_iter().filter_map(|part| passed.rest_of(part)).collect();
        assert_eq!(rest, [chunk(Stderr, "y"), chunk(Stdout, "o\n"), chunk(Stdout, "three\n")]);
    }

    #[test]
    fn lines_of_one_stream_are_sent_together() {
        use LogStream::{Stderr, Stdout};
        let error = EngineError::new(EngineErrorKind::Failed, "read the output", "it broke off");
        let lines = [chunk(Stdout, "a\n"), chunk(Stdout, "b\n"), chunk(Stderr, "c\n"), chunk(Stdout, "d\n")];
        let (sent, broken) = joined(lines.into_iter().map(Ok).chain([Err(error)]).collect());
        assert_eq!(sent, [chunk(Stdout, "a\nb\n"), chunk(Stderr, "c\n"), chunk(Stdout, "d\n")]);
        assert!(broken.is_err(), "what came before is passed on all the same");
    }
}
