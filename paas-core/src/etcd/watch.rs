//! Watching keys, across every break.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{EventType, GetOptions, KeyValue, WatchOptions, WatchResponse, WatchStream};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::sleep;

use super::connection::LARGEST_ANSWER;
use super::{Connection, Effect, EtcdError, EtcdErrorKind, Result};
use crate::backoff::Backoff;

/// How long to wait before a watch is taken up again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// Something that happened to a watched key.
#[derive(Debug)]
pub(crate) enum Seen {
    /// It was written.
    Put(KeyValue),
    /// It is gone.
    Deleted {
        /// The key.
        key: Vec<u8>,
        /// When.
        revision: i64,
    },
    /// What happened cannot be had any more. What follows is what happens from now on.
    Lagged,
    /// For a while nothing was heard. What happened meanwhile follows, whole.
    Resumed,
}

/// A watch and how far it has come.
struct Watch {
    connection: Arc<Connection>,
    prefix: String,
    stream: Option<WatchStream>,
    /// The latest revision of which something was seen: after a break the watch begins with it once more, because etcd may
    /// tell of it in pieces.
    at: i64,
    /// What was seen of that revision. A key changes once in a revision.
    seen: HashSet<Vec<u8>>,
    pauses: Backoff,
    /// It broke off, and was said to have.
    broken: bool,
    /// What was not seen is not kept any more.
    missed: bool,
}

impl Connection {
    /// Everything that happens after revision `after` to keys that begin with `prefix`; after the present one when `None`. The
    /// stream does not end; while etcd is away nothing comes.
    ///
    /// # Errors
    /// It cannot be watched at this moment. A revision that is not kept any more gives [`Seen::Lagged`].
    pub(crate) async fn watch(
        self: &Arc<Self>,
        prefix: String,
        after: Option<i64>,
    ) -> Result<BoxStream<'static, Seen>> {
        let at = match after {
            Some(revision) => revision,
            None => self.revision(&prefix).await?,
        };
        let mut watch = Watch {
            connection: self.clone(),
            prefix,
            stream: None,
            at,
            seen: HashSet::new(),
            pauses: PAUSES,
            broken: false,
            missed: false,
        };
        watch.open(at + 1).await?;
        let pieces = stream::unfold(watch, |mut watch| async { Some((watch.next().await, watch)) });
        Ok(pieces.flat_map(stream::iter).boxed())
    }

    /// The present revision.
    pub(crate) async fn revision(&self, key: &str) -> Result<i64> {
        let answer = self.call(Effect::Same, |client| async move {
            Ok(client.kv_client().get(key, Some(GetOptions::new().with_keys_only())).await?)
        });
        let revision = answer.await?.header().map(|header| header.revision());
        revision.ok_or_else(|| EtcdError::new(EtcdErrorKind::Unavailable, "it answers without a revision"))
    }
}

impl Watch {
    /// Begins to watch with what happened at revision `from`.
    async fn open(&mut self, from: i64) -> Result<()> {
        let prefix = self.prefix.as_str();
        let opened = self.connection.call(Effect::Same, |client| async move {
            let options = WatchOptions::new().with_prefix().with_start_revision(from).with_fragment();
            let mut watches = client.watch_client().max_decoding_message_size(LARGEST_ANSWER);
            let mut stream = watches.watch(prefix, Some(options)).await?;
            let first = stream.message().await?;
            let first = first.ok_or_else(|| EtcdError::late("it ends the watch at once"))?;
            if first.canceled() && first.compact_revision() == 0 {
                return Err(EtcdError::of_canceled_watch(first.cancel_reason()));
            }
            Ok((stream, first))
        });
        let (stream, first) = opened.await?;
        if first.canceled() {
            self.missed = true;
            return Ok(());
        }
        // Somebody has put an older state of etcd in place: it counts its revisions from the beginning.
        if first.header().is_some_and(|header| header.revision() < self.at) {
            self.missed = true;
            return Ok(());
        }
        self.stream = Some(stream);
        Ok(())
    }

    /// What happened next.
    async fn next(&mut self) -> Vec<Seen> {
        loop {
            if self.missed {
                match self.connection.revision(&self.prefix).await {
                    Ok(revision) => {
                        (self.at, self.missed, self.stream) = (revision, false, None);
                        self.seen.clear();
                        return vec![Seen::Lagged];
                    }
                    Err(error) => {
                        self.wait(&error).await;
                        continue;
                    }
                }
            }
            let Some(stream) = &mut self.stream else {
                // From the revision that was seen last, unless nothing of it is to be seen any more.
                let from = if self.seen.is_empty() { self.at + 1 } else { self.at };
                match self.open(from).await {
                    Ok(()) => {
                        if self.tell_mended() && !self.missed {
                            return vec![Seen::Resumed];
                        }
                    }
                    Err(error) => self.wait(&error).await,
                }
                continue;
            };
            match stream.message().await {
                Ok(Some(response)) => {
                    self.pauses.reset();
                    let seen = self.take(&response);
                    if !seen.is_empty() {
                        return seen;
                    }
                }
                Ok(None) => {
                    self.tell_broken(&EtcdError::late("it ended the watch"));
                    self.stream = None;
                }
                Err(error) => {
                    self.tell_broken(&EtcdError::from(error));
                    self.stream = None;
                }
            }
        }
    }

    async fn wait(&mut self, error: &EtcdError) {
        self.tell_broken(error);
        sleep(self.pauses.next_pause()).await;
    }

    /// Once, however often it is tried again.
    fn tell_broken(&mut self, error: &EtcdError) {
        if !self.broken {
            tracing::warn!(keys = self.prefix, %error, "etcd cannot be watched; what happens there is not heard");
        }
        self.broken = true;
    }

    /// Whether it had been broken.
    fn tell_mended(&mut self) -> bool {
        let was_broken = std::mem::take(&mut self.broken);
        if was_broken {
            tracing::info!(keys = self.prefix, "etcd is watched again, from where that broke off");
        }
        was_broken
    }

    /// What a message tells that was not told before.
    fn take(&mut self, response: &WatchResponse) -> Vec<Seen> {
        let mut news = Vec::new();
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = kv.mod_revision();
            if revision < self.at || (revision == self.at && self.seen.contains(kv.key())) {
                continue;
            }
            if revision > self.at {
                self.at = revision;
                self.seen.clear();
            }
            self.seen.insert(kv.key().to_vec());
            news.push(match event.event_type() {
                EventType::Put => Seen::Put(kv.clone()),
                EventType::Delete => Seen::Deleted { key: kv.key().to_vec(), revision },
            });
        }
        if response.canceled() {
            if response.compact_revision() > 0 {
                self.missed = true;
            } else {
                self.tell_broken(&EtcdError::late(response.cancel_reason()));
            }
            self.stream = None;
        }
        news
    }
}
