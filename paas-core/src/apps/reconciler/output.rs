//! What containers wrote last: kept in the store when they are removed, for a while.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Apps;
use crate::apps::Desired;
use crate::background::Report;
use crate::cluster::ReplicaContainer;
use crate::engine::{DockerEngine, EngineError, LogChunk, LogOptions};
use crate::executor::Executor;
use crate::model::app::{AppName, ComponentName};
use crate::store::records::OutputRecord;
use crate::store::{Collection, KeyRange, Result, Versioned, Write};

/// How long output is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Of how many containers of one slot it is.
const CONTAINERS: usize = 3;
/// How many lines are kept of a container, and how many bytes: of each line, and of all of them.
const LINES: usize = 200;
const LONGEST_LINE: usize = 2 << 10;
const MOST_BYTES: usize = 32 << 10;
/// How much is kept of all applications, bytes. Beyond that the oldest go, until a tenth of it is free: a store such as etcd is to have room
/// for what is more important.
pub(crate) const MOST_OF_ALL: usize = 128 << 20;
/// What a record takes beside its text, bytes.
const BESIDE_TEXT: usize = 512;
/// How much is read of output at most until the end of it counts, bytes. Lines may be long.
const READ_AHEAD: usize = 1 << 20;
/// How long a removal waits for the output to be read, and then for the store.
const READING: Duration = Duration::from_secs(3);
const WRITING: Duration = Duration::from_secs(3);
/// How many are read at once.
const PAGE: usize = 50;
/// How often it is looked for what was kept for long enough.
pub(crate) const FORGET: Duration = Duration::from_secs(3600);

/// Forgets from time to time what was kept for long enough.
pub(crate) async fn forget(apps: Arc<Apps>, report: Report) {
    let mut ticker = interval(FORGET);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticker.tick() => {}
            () = report.woken() => {}
            () = apps.output_is_too_much.notified() => {}
        }
        match apps.forget_old_output(MOST_OF_ALL).await {
            Ok(()) => report.ok(),
            Err(error) => {
                tracing::warn!(%error, "old output is not forgotten");
                report.failed(&error);
            }
        }
    }
}

/// What is kept of the output of a container: its last lines.
///
/// Values of secrets are masked before that: a part of a value would not be found.
fn kept_output(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut bytes = 0;
    for line in text.lines().rev().take(LINES) {
        let mut line = line.to_owned();
        if line.len() > LONGEST_LINE {
            line.truncate(line.floor_char_boundary(LONGEST_LINE));
            line.push('…');
        }
        bytes += line.len() + 1;
        if bytes > MOST_BYTES {
            break;
        }
        lines.push(line + "\n");
    }
    lines.reverse();
    lines.concat()
}

/// The end of what a container wrote: so many lines, of at most some megabytes.
pub(super) async fn read(
    engine: &dyn DockerEngine,
    container: &ReplicaContainer,
    lines: usize,
) -> Result<Vec<u8>, EngineError> {
    let options = LogOptions { tail: Some(lines as u64), ..LogOptions::default() };
    let mut chunks = engine.logs(&container.id, &options).await?;
    let mut read: Vec<u8> = Vec::new();
    while let Some(LogChunk { bytes, .. }) = chunks.next().await.transpose()? {
        read.extend_from_slice(&bytes);
        if read.len() > 2 * READ_AHEAD {
            read.drain(..read.len() - READ_AHEAD);
        }
    }
    Ok(read)
}

impl Apps {
    /// Keeps the last lines of a container that is about to be removed. That it cannot be done holds up the removal for a few seconds
    /// at most, and keeps nothing from being removed.
    pub(super) async fn keep_output(&self, executor: &Executor, desired: &Desired, container: &ReplicaContainer) {
        let app = &desired.app;
        let ReplicaContainer { labels, engine, name, .. } = container;
        let Some(connection) = executor.cluster.connection(engine) else { return };
        let reading = executor.cluster.while_up(engine, read(&*connection, container, LINES));
        let raw = match timeout(READING, reading).await {
            Ok(Ok(raw)) if raw.is_empty() => return,
            Ok(Ok(raw)) => raw,
            Ok(Err(error)) => return tracing::warn!(container = name, %engine, %error, "its last output is not kept"),
            Err(_) => {
                return tracing::warn!(container = name, %engine, "its last output is not kept: reading takes too long");
            }
        };
        let text = match timeout(READING, self.without_secrets(app, desired, container, &raw)).await {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => return tracing::warn!(container = name, %error, "its last output is not kept"),
            Err(_) => return tracing::warn!(container = name, "its last output is not kept: the store takes too long"),
        };
        let record = OutputRecord::new(
            labels.component.clone(),
            labels.slot,
            (labels.generation, labels.revision),
            (engine.clone(), name.clone()),
            self.now(),
            kept_output(&text),
        );
        match timeout(WRITING, self.write_output(app, &record)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(container = name, %error, "its last output is not kept"),
            Err(_) => tracing::warn!(container = name, "its last output is not kept: the store takes too long"),
        }
    }

    async fn write_output(&self, app: &AppName, record: &OutputRecord) -> Result<()> {
        let key = record.key(app);
        let known =
            self.outputs.list(&beginning_with(&OutputRecord::keys_of(app, &record.component, record.slot))).await?;
        // Kept before a removal that failed, or whose server died.
        if known.iter().any(|known| known.key == key) {
            return Ok(());
        }
        let surplus = (known.len() + 1).saturating_sub(CONTAINERS);
        let cleared = known[..surplus].iter().map(|known| self.outputs.clearance(&known.key));
        let writes = std::iter::once(self.outputs.insertion(&key, record)?).chain(cleared).collect();
        self.store.commit(writes).await?;
        // What goes for it is not counted before everything is looked at again.
        if self.output_kept.fetch_add(size(record), Ordering::Relaxed) > MOST_OF_ALL {
            self.output_is_too_much.notify_one();
        }
        Ok(())
    }

    /// What is kept of the containers of an application, or of one component of it, in the order of components, slots and
    /// generations.
    pub(crate) fn kept_output(
        &self,
        app: &AppName,
        component: Option<&ComponentName>,
    ) -> impl Stream<Item = Result<OutputRecord>> + Send + use<> {
        let keys = component.map_or_else(|| format!("{app}/"), |component| format!("{app}/{component}/"));
        let (outputs, clock) = (self.outputs.clone(), self.clock.clone());
        pages(outputs, beginning_with(&keys)).map(move |page| page.map(|page| (page, clock.now()))).flat_map(|page| {
            let records: Vec<Result<OutputRecord>> = match page {
                Ok((page, now)) => {
                    page.into_iter().map(|found| found.value).filter(|found| !is_old(found, now)).map(Ok).collect()
                }
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(records)
        })
    }

    /// Forgets what is kept for long enough, of all applications; and the oldest of what is left, where that is more than `most` bytes.
    ///
    /// # Errors
    /// The store cannot be read, or does not take it.
    pub(crate) async fn forget_old_output(&self, most: usize) -> Result<()> {
        let now = self.now();
        let mut left = Vec::new();
        let mut pages = Box::pin(pages(self.outputs.clone(), KeyRange::all()));
        while let Some(page) = pages.next().await.transpose()? {
            let (old, kept): (Vec<_>, Vec<_>) = page.into_iter().partition(|found| is_old(&found.value, now));
            self.clear_output(old.into_iter().map(|found| found.key)).await?;
            left.extend(kept.into_iter().map(|found| (found.value.removed, size(&found.value), found.key)));
        }
        let mut bytes: usize = left.iter().map(|(_, bytes, _)| bytes).sum();
        if bytes > most {
            left.sort();
            let enough = most / 10 * 9;
            let goes = left.into_iter().take_while(|(_, size, _)| {
                let goes = bytes > enough;
                bytes -= if goes { *size } else { 0 };
                goes
            });
            let goes: Vec<String> = goes.map(|(_, _, key)| key).collect();
            self.clear_output(goes.into_iter()).await?;
        }
        self.output_kept.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    async fn clear_output(&self, keys: impl Iterator<Item = String>) -> Result<()> {
        let writes: Vec<Write> = keys.map(|key| self.outputs.clearance(&key)).collect();
        for writes in writes.chunks(PAGE) {
            self.store.commit(writes.to_vec()).await?;
        }
        Ok(())
    }

    /// Forgets what is kept of an application.
    pub(super) async fn forget_output_of(&self, app: &AppName) -> Result<()> {
        let mut pages = Box::pin(pages(self.outputs.clone(), beginning_with(&format!("{app}/"))));
        while let Some(page) = pages.next().await.transpose()? {
            self.clear_output(page.into_iter().map(|found| found.key)).await?;
        }
        Ok(())
    }
}

/// How much a record takes, about.
fn size(record: &OutputRecord) -> usize {
    record.text.len() + BESIDE_TEXT
}

fn is_old(record: &OutputRecord, now: Timestamp) -> bool {
    now.duration_since(record.removed) > KEPT
}

/// The keys that begin with something that ends with a slash.
fn beginning_with(keys: &str) -> KeyRange {
    // '0' follows '/'.
    let to = format!("{}0", keys.trim_end_matches('/'));
    KeyRange { from: Some(keys.to_owned()), to: Some(to), ..KeyRange::all() }
}

/// A range, piece by piece: all of it at once may be large.
fn pages(
    outputs: Collection<OutputRecord>,
    range: KeyRange,
) -> impl Stream<Item = Result<Vec<Versioned<OutputRecord>>>> + Send {
    futures::stream::unfold(Some(range), move |range| {
        let outputs = outputs.clone();
        async move {
            let mut range = KeyRange { limit: PAGE, ..range? };
            let page = match outputs.list(&range).await {
                Ok(page) => page,
                Err(error) => return Some((Err(error), None)),
            };
            let next = page.last().filter(|_| page.len() == PAGE).map(|last| format!("{}\u{1}", last.key));
            let next = next.map(|from| {
                range.from = Some(from);
                range
            });
            Some((Ok(page), next))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_no_more_of_them_than_there_is_room_for() {
        assert_eq!(kept_output("one\r\ntwo\n\nthree"), "one\ntwo\n\nthree\n");
        assert_eq!(kept_output(""), "");
        let many: String = (0..1000).map(|number| format!("{number}\n")).collect();
        let kept = kept_output(&many);
        assert_eq!((kept.lines().count(), kept.lines().next(), kept.lines().last()), (LINES, Some("800"), Some("999")));
        let long = format!("{}\nend\n", "ä".repeat(LONGEST_LINE));
        let kept = kept_output(&long);
        let lines: Vec<&str> = kept.lines().collect();
        assert!(lines[0].ends_with('…') && lines[0].len() <= LONGEST_LINE + '…'.len_utf8(), "{}", lines[0].len());
        assert_eq!(lines[1], "end");
        let large = format!("{}\n", "x".repeat(1000)).repeat(LINES);
        let kept = kept_output(&large);
        assert!(kept.len() <= MOST_BYTES && kept.len() > MOST_BYTES - 2000, "{}", kept.len());
    }

    #[test]
    fn a_range_has_what_is_below_and_nothing_beside_it() {
        let range = beginning_with("shop/web/");
        assert!(range.contains("shop/web/0000000001/1") && range.contains("shop/web/before/1"));
        assert!(!range.contains("shop/web-2/1") && !range.contains("shop/web2/1") && !range.contains("shop/we/1"));
    }
}
