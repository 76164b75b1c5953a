//! The event stream of a Docker host.

use std::collections::HashMap;
use std::sync::Arc;

use bollard::body_full;
use bollard::errors::Error;
use bollard::models::{EventMessage, EventMessageTypeEnum};
use bytes::Bytes;
use futures::StreamExt;
use futures::channel::mpsc;
use futures::stream::{self, BoxStream};
use hyper::Request;
use jiff::Timestamp;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::deadlines;
use super::errors::Call;
use super::lines::Lines;
use super::transport::Transport;
use crate::engine::{EngineError, EngineEvent, EventDetail, Result, labels};

/// How many events may wait for their reader. Docker throws events away without a word when a connection is not read,
/// so they are read at once and wait here; a reader that falls further behind is told, by the end of its stream. The queue
/// takes memory for what waits and not for what could.
const WAITING: usize = 4096;

/// No name of a signal or of a state of health is longer, bytes.
const LONGEST_WORD: usize = 64;

/// The kinds of objects whose events are wanted, `{"type":["container","image","volume","network","daemon"]}` as a URL
/// takes it. Asked for by name, so that a kind that a later Docker invents cannot break the stream.
const KINDS: &str =
    "%7B%22type%22%3A%5B%22container%22%2C%22image%22%2C%22volume%22%2C%22network%22%2C%22daemon%22%5D%7D";

/// Reads what the host has from `since` on and everything that comes then, from the moment of the call, whether or not the
/// stream is polled.
pub(super) fn open(transport: Arc<Transport>, call: Call, since: Timestamp) -> BoxStream<'static, Result<EngineEvent>> {
    let (mut sender, receiver) = mpsc::channel(WAITING);
    let errors = call.clone();
    let reader = tokio::spawn(async move {
        let end = match pass_on(&transport, since, &mut sender).await {
            Ok(()) => errors.unreachable("the event stream ended"),
            Err(err) => lost(&errors, &errors.failure(err)),
        };
        // To one that is too far behind the queue is closed, and that tells it.
        let _ = sender.try_send(Err(end));
    });
    let state = Some((receiver, AbortOnDropHandle::new(reader)));
    stream::unfold(state, move |state| {
        let call = call.clone();
        async move {
            let (mut receiver, reader) = state?;
            match receiver.next().await {
                Some(Ok(event)) => Some((Ok(event), Some((receiver, reader)))),
                Some(Err(err)) => Some((Err(err), None)),
                None => Some((Err(call.unreachable("more events came than were read")), None)),
            }
        }
    })
    .boxed()
}
/// Passes on what comes, until nothing more comes or the reader is too far behind.
///
/// Nothing is left out because of the time it carries: the clock of a host may step back, and Docker stamps an event before
/// it puts it in order.
async fn pass_on(
    transport: &Transport,
    since: Timestamp,
    reader: &mut mpsc::Sender<Result<EngineEvent>>,
) -> Result<(), Error> {
    let path = format!("/events?since={}&filters={KINDS}", docker_time(since));
    let request = Request::get(path).body(body_full(Bytes::new()))?;
    let answer = timeout(deadlines::OPEN, transport.send(request)).await;
    let mut lines = Lines::of(answer.map_err(|_| Error::RequestTimeoutError)??).await?;
    while let Some(line) = lines.next().await? {
        let Some(event) = engine_event(serde_json::from_slice(&line)?) else { continue };
        if reader.try_send(Ok(event)).is_err() {
            reader.close_channel();
            return Ok(());
        }
    }
    Ok(())
}

/// However a stream of events breaks, the host is lost for its reader.
fn lost(call: &Call, err: &EngineError) -> EngineError {
    match err.kind() {
        crate::engine::EngineErrorKind::Unreachable => call.error(err.kind(), err.detail()),
        _ => call.unreachable(err.detail()),
    }
}

/// A time as Docker's queries take it: seconds and nanoseconds.
pub(super) fn docker_time(time: Timestamp) -> String {
    let nanoseconds = time.as_nanosecond().max(0);
    format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

pub(super) fn engine_event(message: EventMessage) -> Option<EngineEvent> {
    let time = match (message.time_nano, message.time) {
        (Some(nanoseconds), _) if nanoseconds > 0 => Timestamp::from_nanosecond(nanoseconds.into()),
        (_, Some(seconds)) => Timestamp::from_second(seconds),
        _ => return None,
    };
    let actor = message.actor.unwrap_or_default();
    let mut attributes = actor.attributes.unwrap_or_default();
    let id = actor.id.unwrap_or_default();
    let is_container = message.typ == Some(EventMessageTypeEnum::CONTAINER);
    let name = attributes.remove("name").filter(|name| !name.is_empty()).unwrap_or_else(|| id.clone());
    // Docker tells the labels of a container among the attributes.
    let launch = if is_container { labels::launch(&attributes) } else { None };
    let said = message.action?;
    // `exec_create: sh -c …` and `health_status: healthy`: the word is what stands before the colon.
    let (action, rest) = said.split_once(':').unwrap_or((&said, ""));
    let action = action.trim().to_owned();
    let detail = detail(&action, rest.trim(), &mut attributes);
    Some(EngineEvent {
        time: time.ok()?,
        action,
        container: if is_container { id.parse().ok() } else { None },
        name: name.trim_start_matches('/').to_owned(),
        image: if is_container { attributes.remove("image") } else { None },
        launch,
        detail,
    })
}

/// What else is said of an event. What an exec runs is never passed on: commands may hold secrets.
fn detail(action: &str, rest: &str, attributes: &mut HashMap<String, String>) -> EventDetail {
    let text = |text: String| if text.is_empty() || text.len() > LONGEST_WORD { None } else { Some(text) };
    match action {
        "die" | "exec_die" => {
            // The second is Podman's word.
            let code = attributes.remove("exitCode").or_else(|| attributes.remove("containerExitCode"));
            EventDetail { exit_code: code.and_then(|code| code.parse().ok()), ..EventDetail::default() }
        }
        // Of a network: which container has left it.
        "disconnect" => EventDetail {
            disconnected: attributes.remove("container").and_then(|id| id.parse().ok()),
            ..EventDetail::default()
        },
        "kill" => EventDetail { signal: attributes.remove("signal").and_then(text), ..EventDetail::default() },
        "health_status" => {
            let health = text(rest.to_owned()).or_else(|| attributes.remove("health_status").and_then(text));
            EventDetail { health, ..EventDetail::default() }
        }
        _ => EventDetail::default(),
    }
}
