//! The changes of a table, also across breaks.
//!
//! A feed has a session of its own. When that breaks, the table is subscribed to again, and the watcher is told that it
//! missed something: the server keeps no log that could be read on from.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::pool::Pool;
use super::protocol::{query, response};
use super::session::{Response, Session};
use super::terms::Query;
use super::trouble::Trouble;
use super::{back_off, body};
use crate::store::Change;
use crate::store::watch::BACKLOG;

/// A subscription that the server has confirmed.
#[derive(Debug)]
pub(super) struct Feed {
    session: Session,
    token: u64,
    /// What came and was not told yet.
    changes: Vec<Change>,
}

/// Why a feed is not followed any further.
enum End {
    /// Nobody listens.
    Left,
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Feed {
    /// Subscribes. When this has answered, the server tells every later change.
    pub(super) async fn subscribe(pool: &Pool, query: &Query) -> Result<Self, Trouble> {
        let mut session = pool.connect().await?;
        // The first thing that it says is that it has begun.
        let begun = async {
            let token = session.send(&query.0).await?;
            loop {
                let (answered, response) = session.receive().await?;
                if answered == token {
                    return changes(response).map(|changes| (token, changes));
                }
            }
        };
        let late = |_| Trouble::TimedOut("begin a feed");
        let (token, changes) = timeout(pool.deadline(), begun).await.map_err(late)??;
        Ok(Self { session, token, changes })
    }

    /// Tells changes until something goes wrong.
    async fn follow(&mut self, pool: &Pool, tell: &mpsc::Sender<Change>) -> End {
        loop {
            for change in std::mem::take(&mut self.changes) {
                if tell.send(change).await.is_err() {
                    return End::Left;
                }
            }
            match self.next(pool, tell).await {
                Ok(changes) => self.changes = changes,
                Err(end) => return end,
            }
        }
    }

    /// The next changes, however long they take. A server that is silent must show now and then that it lives.
    async fn next(&mut self, pool: &Pool, tell: &mpsc::Sender<Change>) -> Result<Vec<Change>, End> {
        let late = |_| Trouble::TimedOut("take a question");
        let more = json!([query::CONTINUE]).to_string();
        timeout(pool.deadline(), self.session.send_as(self.token, more.as_bytes())).await.map_err(late)??;
        let mut asked = None;
        loop {
            let received = tokio::select! {
                received = timeout(pool.limits().silence, self.session.receive()) => received,
                () = tell.closed() => return Err(End::Left),
            };
            match received {
                Ok(Ok((token, response))) if token == self.token => return Ok(changes(response)?),
                Ok(Ok((token, _))) if asked == Some(token) => asked = None,
                Ok(Ok(_)) => return Err(Trouble::Nonsense("an answer to nothing that was asked".to_owned()).into()),
                Ok(Err(trouble)) => return Err(trouble.into()),
                Err(_) if asked.is_some() => return Err(Trouble::TimedOut("show that it lives").into()),
                Err(_) => {
                    let question = json!([query::SERVER_INFO]).to_string();
                    let sent = timeout(pool.deadline(), self.session.send(question.as_bytes())).await;
                    asked = Some(sent.map_err(late)??);
                }
            }
        }
    }
}

/// Tells every change of a feed, and subscribes again after each break, until nobody listens or the store closes.
pub(super) fn tell(pool: Arc<Pool>, query: Query, feed: Feed, closed: CancellationToken) -> mpsc::Receiver<Change> {
    let (tell, told) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        tokio::select! {
            () = keep_telling(&pool, &query, feed, &tell) => {}
            () = closed.cancelled() => {}
        }
    });
    told
}

async fn keep_telling(pool: &Pool, query: &Query, mut feed: Feed, tell: &mpsc::Sender<Change>) {
    loop {
        let End::Trouble(trouble) = feed.follow(pool, tell).await else { return };
        tracing::warn!(%trouble, "a feed of changes broke; subscribing again");
        let mut failures = 0;
        feed = loop {
            let again = tokio::select! {
                again = Feed::subscribe(pool, query) => again,
                () = tell.closed() => return,
            };
            match again {
                Ok(feed) => break feed,
                Err(trouble) => {
                    failures += 1;
                    tracing::debug!(%trouble, failures, "a feed cannot be subscribed to yet");
                    sleep(back_off(failures)).await;
                }
            }
        };
        // Only now: who reads the table again at this word misses nothing.
        if tell.send(Change::Lagged).await.is_err() {
            return;
        }
    }
}

/// The changes in an answer of a feed.
fn changes(response: Response) -> Result<Vec<Change>, Trouble> {
    match response.kind {
        response::SUCCESS_PARTIAL => response.content.into_iter().filter_map(change).collect(),
        response::SUCCESS_SEQUENCE => Err(Trouble::Broke(io::ErrorKind::UnexpectedEof.into())),
        kind => Err(response.into_trouble(kind)),
    }
}

/// A change as a watcher sees it; nothing for a word about the feed itself.
fn change(mut told: Value) -> Option<Result<Change, Trouble>> {
    if told.get("state").is_some() {
        return None;
    }
    // The server gives up on a reader that is too far behind, and says so.
    if told.get("error").is_some() {
        return Some(Ok(Change::Lagged));
    }
    let nonsense = |what: &str| Trouble::Nonsense(what.to_owned());
    Some(match told["new_val"].take() {
        Value::Null => match &told["old_val"][body::KEY] {
            Value::String(key) => Ok(Change::Deleted(key.clone())),
            _ => Err(nonsense("a change without a row")),
        },
        row => body::decode(row).map(Change::Put).map_err(nonsense),
    })
}
