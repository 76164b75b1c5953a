//! The event stream of a Docker host.

use std::collections::HashMap;

use bollard::Docker as Client;
use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptions;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::errors::Call;
use crate::engine::{EngineError, EngineEvent, Result, labels};

/// How many events may wait for their reader. Docker throws events away without a word when a connection is not read,
/// so they are read at once and wait here; a reader that falls further behind is told, by the end of its stream.
const WAITING: usize = 4096;

/// The kinds of objects whose events are wanted. Asked for by name, so that a kind that a later Docker invents cannot
/// break the stream.
const KINDS: [&str; 5] = ["container", "image", "volume", "network", "daemon"];

/// Reads everything after `after`, from the moment of the call, whether or not the stream is polled.
pub(super) fn open(client: &Client, call: Call, after: Timestamp) -> BoxStream<'static, Result<EngineEvent>> {
    let options = EventsOptions {
        since: Some(docker_time(after)),
        until: None,
        filters: Some(HashMap::from([("type".to_owned(), KINDS.map(str::to_owned).into())])),
    };
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut source = Box::pin(client.events(Some(options)));
    let errors = call.clone();
    let reader = tokio::spawn(async move {
        loop {
            let item = match source.next().await {
                // Docker gives the events at `since` itself, too.
                Some(Ok(message)) => match engine_event(message) {
                    Some(event) if event.time > after => Ok(event),
                    _ => continue,
                },
                Some(Err(err)) => Err(lost(&errors, &errors.failure(err))),
                None => Err(errors.unreachable("the event stream ended")),
            };
            let is_last = item.is_err();
            if sender.try_send(item).is_err() || is_last {
                return;
            }
        }
    });
    let state = Some((receiver, AbortOnDropHandle::new(reader)));
    stream::unfold(state, move |state| {
        let call = call.clone();
        async move {
            let (mut receiver, reader) = state?;
            match receiver.recv().await {
                Some(Ok(event)) => Some((Ok(event), Some((receiver, reader)))),
                Some(Err(err)) => Some((Err(err), None)),
                None => Some((Err(call.unreachable("more events came than were read")), None)),
            }
        }
    })
    .boxed()
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
    Some(EngineEvent {
        time: time.ok()?,
        // `exec_create: sh -c …` and `health_status: healthy`: the word is what stands before the colon.
        action: message.action?.split(':').next().unwrap_or_default().trim().to_owned(),
        container: if is_container { id.parse().ok() } else { None },
        name: name.trim_start_matches('/').to_owned(),
        image: if is_container { attributes.remove("image") } else { None },
        launch,
    })
}
