//! Events: those of the past, and those to come.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use paas_core::model::Event;
use reqwest::Method;
use reqwest::header::ACCEPT;

use super::request::all;
use super::{Answer, Client, ClientError};

/// What comes over the live stream of events.
#[derive(Clone, Debug, PartialEq)]
pub enum Live {
    /// Something happened.
    Event {
        /// What.
        event: Box<Event>,
        /// The server's own JSON of it.
        json: String,
    },
    /// So many events were left out, because this reader was too slow. They are in the list of events.
    Lagged(u64),
    /// Something came that this client cannot read: its kind, and what is wrong. The server is newer.
    Unreadable(String, String),
    /// The last thing to come: for so many seconds nothing was read, so no more is told.
    Dropped(f64),
}

impl Client {
    /// The newest `count` events, 1 to 10000, newest first.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn events(&self, count: u32) -> Result<Answer<Vec<Event>>, ClientError> {
        self.fetch_list(self.request(Method::GET, &["api", "events"]).query(&[("count", count)]), all).await
    }

    /// Events as they happen, until the server goes away.
    ///
    /// # Errors
    /// No login, or no answer.
    pub async fn live_events(&self) -> Result<BoxStream<'static, Result<Live, ClientError>>, ClientError> {
        let request = self.request(Method::GET, &["api", "events", "live"]).header(ACCEPT, "text/event-stream");
        let reply = self.send(&request, async |reply| Ok(reply)).await?;
        let url = reply.url.clone();
        let lines = reply.lines();
        let messages = stream::unfold((lines, Message::default()), move |(mut lines, mut message)| {
            let url = url.clone();
            async move {
                loop {
                    let live = match lines.next().await? {
                        Err(error) => Some(Err(error)),
                        Ok(line) => message
                            .take(&String::from_utf8_lossy(&line))
                            .transpose()
                            .map(|live| live.map_err(|error| ClientError::unexpected(&url, error.to_string()))),
                    };
                    if let Some(live) = live {
                        return Some((live, (lines, message)));
                    }
                }
            }
        });
        Ok(messages.boxed())
    }
}

/// A server-sent event (of the HTML standard) while its lines come in.
#[derive(Default)]
struct Message {
    kind: String,
    data: String,
}

impl Message {
    /// Takes one line; an empty one ends the event.
    fn take(&mut self, line: &str) -> Result<Option<Live>, serde_json::Error> {
        if line.is_empty() {
            return std::mem::take(self).finish();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            _ => {}
        }
        Ok(None)
    }

    fn finish(self) -> Result<Option<Live>, serde_json::Error> {
        if self.data.is_empty() {
            return Ok(None);
        }
        match self.kind.as_str() {
            "missed" => return serde_json::from_str(&self.data).map(|count| Some(Live::Lagged(count))),
            "dropped" => return serde_json::from_str(&self.data).map(|seconds| Some(Live::Dropped(seconds))),
            _ => {}
        }
        Ok(Some(match serde_json::from_str(&self.data) {
            Ok(event) => Live::Event { event, json: self.data },
            Err(error) => Live::Unreadable(self.kind, error.to_string()),
        }))
    }
}

#[cfg(test)]
mod tests {
    use paas_core::model::EventKind;

    use super::*;

    fn messages(text: &str) -> Vec<Live> {
        let mut message = Message::default();
        text.lines().filter_map(|line| message.take(line).unwrap()).collect()
    }

    #[test]
    fn events_are_read_and_comments_are_not() {
        let json = serde_json::to_string(&Event::new(EventKind::Login, "admin logged in")).unwrap();
        let told = "event:missed\ndata:7\n\n: bye\n\nevent: dropped\ndata: 30\n\ndata: cut";
        let found = messages(&format!(": hello\n\nevent: login\nid: 1\ndata: {json}\n\n{told}"));
        assert_eq!(found.len(), 3);
        assert!(matches!(&found[0], Live::Event { event, json: sent }
            if event.kind == EventKind::Login && *sent == json));
        assert_eq!(found[1..], [Live::Lagged(7), Live::Dropped(30.0)]);
    }

    #[test]
    fn what_cannot_be_read_does_not_end_the_stream() {
        let json = serde_json::to_string(&Event::new(EventKind::Login, "admin logged in")).unwrap();
        let found = messages(&format!("event: weather\ndata: {{}}\n\nevent: login\ndata: {json}\n\n"));
        assert!(
            matches!(&found[..], [Live::Unreadable(kind, _), Live::Event { .. }] if kind == "weather"),
            "{found:?}"
        );
    }
}
