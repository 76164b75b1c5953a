//! What happened, and what happens.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use paas_core::events::Notice;
use paas_core::model::Event;

use crate::app::{App, Caller};
use crate::extract::{NoParams, Params};
use crate::problem::Answer;

const MOST: u64 = 10_000;
const DEFAULT: u64 = 100;

/// How often a reader to whom nothing is told hears that the connection stands.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(crate) async fn newest(State(app): State<App>, uri: Uri) -> Answer<Json<Vec<Event>>> {
    let count = Params::of(&uri, &["count"])?.number("count", 1, MOST)?.unwrap_or(DEFAULT);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Json(app.controller.events(count).await?))
}

pub(crate) async fn live(
    State(app): State<App>,
    caller: Caller,
    _: NoParams,
) -> Answer<Sse<impl Stream<Item = Result<Message, Infallible>>>> {
    let over = Box::pin(app.until_over(caller));
    let messages = app.controller.live_events().take_until(over).map(|notice| Ok(message(&notice)));
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn message(notice: &Notice) -> Message {
    match notice {
        Notice::Event(event) => {
            // The words of a Docker host may have several lines, which the name of a message must not have.
            let name: String = event.kind.as_str().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            // An event is text, numbers and lists, so it always has a JSON form.
            let data = serde_json::to_string(&**event).unwrap_or_default();
            Message::default().event(name).id(event.id.to_string()).data(data)
        }
        Notice::Missed(count) => Message::default().event("missed").data(count.to_string()),
    }
}
