//! Operations that tell how far they are.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use paas_core::controller::{LaunchSummary, Progress};
use paas_core::model::{Container, ContainerId, EngineId};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;
use tokio::time::Instant;

use super::attempts::Search;
use super::call::Call;
use super::request::Reply;
use super::{Client, ClientError, TIMEOUT};

const LINES: &str = "application/x-ndjson";

/// A step of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// One that this client knows.
    Known(Progress),
    /// One of a newer server, that this client does not know. It can be shown, and passed over.
    Other(Note),
}

/// What can be said of a step that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    /// What the server calls it.
    pub event: String,
    /// The engine that it is about, if there is one.
    pub engine: Option<String>,
    /// Its text for people, or its JSON where no text can be found.
    pub text: String,
}

impl Note {
    /// Nothing when a step is one that should be known.
    fn read(line: &[u8]) -> Option<Self> {
        const KNOWN: [&str; 8] =
            ["pulling", "pulled", "decided", "started", "retrying", "failed", "destroyed", "summary"];
        let fields: HashMap<String, Value> = serde_json::from_slice(line).ok()?;
        let field = |name| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let event = field("event").filter(|event| !KNOWN.contains(&event.as_str()))?;
        let text = ["message", "warning", "error", "detail", "text"].into_iter().find_map(field);
        let text = text.unwrap_or_else(|| String::from_utf8_lossy(line).into_owned());
        Some(Self { event, engine: field("engine"), text })
    }
}

/// The steps of an operation, as they happen. The last is [`Progress::Summary`], unless there is an error before it.
///
/// When the connection breaks off before that, the request is sent again, and the stream goes on with what is new. See
/// [`Steps::attempt`] for the failures of an attempt that was cut short.
///
/// Dropping it does not stop the operation.
pub struct Steps {
    steps: BoxStream<'static, (u32, Result<Step, ClientError>)>,
    attempt: u32,
}

impl Steps {
    /// The attempt that the last step is of, counted from 1. When it grows, [`Progress::Failed`] of the attempts before counts
    /// no more: what still fails is told again.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl Stream for Steps {
    type Item = Result<Step, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.steps.poll_next_unpin(cx).map(|next| {
            next.map(|(attempt, step)| {
                self.attempt = attempt;
                step
            })
        })
    }
}

/// What an operation tells that is done again, by a server that was not the one that began it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redone {
    /// All of it, with what was done before.
    Whole,
    /// What was left to do.
    Rest,
}

impl Client {
    /// Begins an operation. It may take as long as it takes.
    pub(super) async fn operate(&self, call: Call, redone: Redone) -> Result<Steps, ClientError> {
        let call = call.header(ACCEPT, LINES);
        let mut search = Search::new(self);
        let source = self.send_on(&call, &mut search, source).await?;
        let told = Told::default();
        let (client, since) = (self.clone(), Instant::now());
        let running = Running { client, call, redone, search, source, told, attempt: 1, since, over: false };
        let steps = stream::unfold(running, |mut running| async move {
            let step = running.next().await?;
            Some(((running.attempt, step), running))
        });
        Ok(Steps { steps: steps.boxed(), attempt: 1 })
    }
}

type Source = BoxStream<'static, Result<Step, ClientError>>;

/// An operation that runs on a server, and whose steps are read.
struct Running {
    client: Client,
    call: Call,
    redone: Redone,
    search: Search,
    source: Source,
    told: Told,
    attempt: u32,
    /// When this attempt was taken by a server.
    since: Instant,
    over: bool,
}

impl Running {
    async fn next(&mut self) -> Option<Result<Step, ClientError>> {
        while !self.over {
            match self.hear().await {
                Ok(Step::Known(Progress::Summary { requested, started, destroyed, failed })) => {
                    self.over = true;
                    let (started, destroyed) = match self.redone {
                        Redone::Whole => (started, destroyed),
                        Redone::Rest => {
                            (started.max(self.told.started.len()), destroyed.max(self.told.destroyed.len()))
                        }
                    };
                    let summary = Progress::Summary { requested, started, destroyed, failed };
                    return Some(Ok(Step::Known(summary)));
                }
                Ok(step) => {
                    if self.told.is_new(&step) {
                        if gets_on(&step) {
                            self.search.succeeds();
                        }
                        return Some(Ok(step));
                    }
                }
                Err(error) => {
                    if let Err(error) = self.again(error).await {
                        self.over = true;
                        return Some(Err(error));
                    }
                }
            }
        }
        None
    }

    /// The next step of this attempt.
    async fn hear(&mut self) -> Result<Step, ClientError> {
        let next = self.source.next();
        let step = async {
            let ended =
                || ClientError::BrokenOff { url: self.client.servers.at(self.search.place).url.clone(), source: None };
            next.await.unwrap_or_else(|| Err(ended()))
        };
        self.client.while_alive(self.search.place, &self.call, step).await
    }

    /// Sends the request again after its stream broke off.
    async fn again(&mut self, error: ClientError) -> Result<(), ClientError> {
        // What took long and is told nothing of may be cut off by something in between, and gets on all the same.
        if self.since.elapsed() > TIMEOUT {
            self.search.succeeds();
        }
        self.client.go_on(&self.call, &mut self.search, error).await?;
        self.source = self.client.send_on(&self.call, &mut self.search, source).await?;
        self.attempt += 1;
        self.since = Instant::now();
        Ok(())
    }
}

/// What was told already, so that another attempt does not tell it again.
#[derive(Default)]
struct Told {
    started: HashSet<ContainerId>,
    destroyed: HashSet<ContainerId>,
    pulled: HashSet<EngineId>,
    retried: HashSet<(usize, EngineId, String)>,
    notes: HashSet<Note>,
}

impl Told {
    /// Whether a step was not told yet.
    fn is_new(&mut self, step: &Step) -> bool {
        let step = match step {
            Step::Known(step) => step,
            Step::Other(note) => return self.notes.insert(note.clone()),
        };
        match step {
            Progress::Started { container, .. } => self.started.insert(container.id.clone()),
            Progress::Destroyed { container, .. } => self.destroyed.insert(container.clone()),
            Progress::Pulled { engine, .. } => self.pulled.insert(engine.clone()),
            Progress::Retrying { index, engine, error } => self.retried.insert((*index, engine.clone(), error.clone())),
            Progress::Pulling { engine, .. } => !self.pulled.contains(engine),
            // Also what a later version invents.
            _ => true,
        }
    }
}

/// Whether a step, when it is new, brings the end nearer.
fn gets_on(step: &Step) -> bool {
    use Progress::{Destroyed, Pulled, Started};
    matches!(step, Step::Known(Started { .. } | Destroyed { .. } | Pulled { .. }))
}

async fn source(reply: Reply) -> Result<Source, ClientError> {
    let content_type = reply.response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|value| value.starts_with(LINES)) {
        return Ok(steps(reply));
    }
    steps_of_result(reply).await
}

fn read(line: &[u8]) -> Result<Step, serde_json::Error> {
    serde_json::from_slice(line).map(Step::Known).or_else(|error| Note::read(line).map(Step::Other).ok_or(error))
}

fn steps(reply: Reply) -> Source {
    let url = reply.url.clone();
    let steps = reply.lines().filter_map(move |line| {
        let wrong = |error: serde_json::Error| ClientError::unexpected(&url, error.to_string());
        let step = match line {
            Ok(line) if line.is_empty() => None,
            Ok(line) => Some(read(&line).map_err(wrong)),
            Err(error) => Some(Err(error)),
        };
        std::future::ready(step)
    });
    steps.boxed()
}

/// The steps that lead to what a server answers that does not tell them one by one.
async fn steps_of_result(reply: Reply) -> Result<Source, ClientError> {
    let summary = match reply.response.status() {
        StatusCode::NO_CONTENT => LaunchSummary::default(),
        StatusCode::MULTI_STATUS => reply.read::<LaunchSummary>().await?.into_inner(),
        _ => {
            let started = reply.read::<Vec<Container>>().await?.into_inner();
            LaunchSummary { requested: started.len(), started, ..LaunchSummary::default() }
        }
    };
    let last = Progress::Summary {
        requested: summary.requested,
        started: summary.started.len(),
        destroyed: summary.destroyed.len(),
        failed: summary.failed.len(),
    };
    let started = summary.started.into_iter().enumerate();
    let started = started.map(|(index, container)| {
        let of_it = summary.warnings.iter().filter(|warned| warned.container == container.id);
        let warnings = of_it.map(|warned| warned.warning.clone()).collect();
        Progress::Started { index, container: Box::new(container), warnings }
    });
    let failed = summary.failed.into_iter().map(Progress::Failed);
    let steps: Vec<_> = started.chain(failed).chain([last]).map(Step::Known).map(Ok).collect();
    Ok(stream::iter(steps).boxed())
}
