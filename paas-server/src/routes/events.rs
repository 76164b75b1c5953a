//! What happened, and what happens.

use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use paas_core::events::Notice;
use paas_core::model::{Event, EventId, Invalid};
use tokio::time::timeout;

use crate::app::{App, Caller};
use crate::extract::{NoParams, Params};
use crate::middleware::write_timeout::Reading;
use crate::problem::Answer;

const MOST: u64 = 10_000;
const DEFAULT: u64 = 100;

/// How often a reader for whom there is nothing gets a sign that the connection stands.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How many notices are sent together, if so many are there.
const TOGETHER: usize = 256;

pub(crate) async fn newest(State(app): State<App>, uri: Uri) -> Answer<Json<Vec<Event>>> {
    let count = Params::of(&uri, &["count"])?.number("count", 1, MOST)?.unwrap_or(DEFAULT);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Json(app.controller.events(count).await?))
}

pub(crate) async fn live(
    State(app): State<App>,
    caller: Caller,
    reading: Option<Extension<Reading>>,
    headers: HeaderMap,
    _: NoParams,
) -> Answer {
    let over = Box::pin(app.until_over(caller));
    let events = match last_event_id(&headers)? {
        None => app.controller.live_events(),
        Some(last) => app.controller.live_events_after(last).await?,
    };
    let reader = Reader {
        notices: events.take_until(over).ready_chunks(TOGETHER).boxed(),
        reading: reading.map(|Extension(reading)| reading).unwrap_or_default(),
        deadline: app.reader_timeout,
    };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(reader.messages())).into_response())
}

/// The last event that a reader had before its connection broke, as the HTML standard has it said.
fn last_event_id(headers: &HeaderMap) -> Answer<Option<EventId>> {
    const FIELD: &str = "Last-Event-ID";
    let Some(value) = headers.get(FIELD).filter(|value| !value.is_empty()) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let wrong =
        || Invalid::new(FIELD, "must be the id of an event, as given by 'id:' before; leave it out for what comes");
    Ok(Some(id.ok_or_else(wrong)?))
}

/// Somebody who reads server-sent events, as the HTML standard has them.
struct Reader {
    notices: BoxStream<'static, Vec<Notice>>,
    reading: Reading,
    deadline: Duration,
}

impl Reader {
    fn messages(self) -> impl Stream<Item = Result<String, Infallible>> {
        stream::unfold(Some(self), async |reader| {
            let mut reader = reader?;
            if reader.reading.stalled() {
                return Some((Ok(dropped(reader.deadline)), None));
            }
            let text = match timeout(KEEP_ALIVE, reader.notices.next()).await {
                Ok(notices) => together(&notices?),
                Err(_) => ":\n\n".to_owned(),
            };
            Some((Ok(text), Some(reader)))
        })
    }
}

/// Messages of notices.
fn together(notices: &[Notice]) -> String {
    let mut text = String::with_capacity(512 * notices.len());
    for notice in notices {
        match notice {
            Notice::Event(event) => {
                text.push_str("event: ");
                // The words of a Docker host may have several lines, which the name of a message must not have.
                text.extend(event.kind.as_str().chars().map(|c| if c.is_control() { ' ' } else { c }));
                // Writing to text never fails.
                let _ = write!(text, "\nid: {}\ndata: ", event.id);
                text.push_str(event.json());
                text.push_str("\n\n");
            }
            Notice::Lagged(count) => {
                let _ = write!(text, "event: missed\ndata: {count}\n\n");
            }
        }
    }
    text
}

/// The last message for a reader that did not read.
fn dropped(deadline: Duration) -> String {
    format!("event: dropped\ndata: {}\n\n", deadline.as_secs_f64())
}
