//! The output of all replicas of an application, line by line, each with the name of its replica before it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::ready;
use futures::stream::{self, BoxStream, SelectAll};
use futures::{Stream, StreamExt, TryStreamExt};
use paas_core::controller::{Controller, ControllerError, PreviousOutput};
use paas_core::engine::{LogChunk, LogOptions, LogStream};
use paas_core::model::app::{AppName, ComponentName};
use paas_core::model::{Container, ContainerId};
use paas_core::wire::{LOG_BROKE_OFF, PREVIOUS_OUTPUT};
use tokio::time::{Interval, interval};

use crate::problem::{Answer, Problem};

/// How often it is looked for new replicas of an application that is followed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// A line that is longer is sent in pieces, bytes.
const LONGEST_LINE: usize = 64 << 10;

/// The replicas whose output is wanted.
pub(super) struct Replicas {
    controller: Controller,
    app: AppName,
    component: Option<ComponentName>,
    options: LogOptions,
    found: Vec<(String, Arc<Container>)>,
}

impl Replicas {
    /// Those that there are.
    ///
    /// # Errors
    /// There is no such application or component.
    pub(super) fn find(
        controller: Controller,
        app: AppName,
        component: Option<ComponentName>,
        options: LogOptions,
    ) -> Answer<Self> {
        let found = controller.app_containers(app.as_str(), component.as_ref())?;
        Ok(Self { controller, app, component, options, found })
    }

    /// Their output: one replica after the other, or, while it is followed, as it comes, also of replicas that are started
    /// meanwhile.
    pub(super) fn lines(self) -> BoxStream<'static, Bytes> {
        if self.options.follow {
            return Followed::new(self).lines().boxed();
        }
        let Self { controller, options, found, .. } = self;
        let outputs = found
            .into_iter()
            .map(move |(name, container)| output(controller.clone(), name, container.id.clone(), options.clone()));
        stream::iter(outputs).flatten().boxed()
    }
}

/// Replicas that are followed.
struct Followed {
    replicas: Replicas,
    known: HashSet<ContainerId>,
    outputs: SelectAll<BoxStream<'static, Bytes>>,
    look_again: Interval,
}

impl Followed {
    fn new(mut replicas: Replicas) -> Self {
        let found = std::mem::take(&mut replicas.found);
        let mut followed =
            Self { replicas, known: HashSet::new(), outputs: SelectAll::new(), look_again: interval(LOOK_AGAIN) };
        followed.add(found);
        // What starts later is wanted from its beginning.
        followed.replicas.options.tail = None;
        followed
    }

    fn add(&mut self, found: Vec<(String, Arc<Container>)>) {
        let Replicas { controller, options, .. } = &self.replicas;
        for (name, container) in found {
            if self.known.insert(container.id.clone()) {
                self.outputs.push(output(controller.clone(), name, container.id.clone(), options.clone()));
            }
        }
    }

    /// Whether anything may still come.
    fn look(&mut self) -> bool {
        let Replicas { controller, app, component, .. } = &self.replicas;
        match controller.app_containers(app.as_str(), component.as_ref()) {
            Ok(found) => self.add(found),
            // The application is gone, or does not have that component any more.
            Err(_) => return !self.outputs.is_empty(),
        }
        true
    }

    fn lines(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut followed| async move {
            loop {
                tokio::select! {
                    Some(line) = followed.outputs.next() => return Some((line, followed)),
                    _ = followed.look_again.tick() => {
                        if !followed.look() {
                            return None;
                        }
                    }
                }
            }
        })
    }
}

/// The last lines of containers that were removed, `tail` of each or all that are kept, after a line that says which one it was.
pub(super) fn previous(
    kept: BoxStream<'static, Result<PreviousOutput, ControllerError>>,
    tail: Option<u64>,
) -> impl Stream<Item = Bytes> + Send {
    kept.map(move |kept| match kept {
        Ok(PreviousOutput { container, about, text }) => {
            let count = text.lines().count();
            let skipped = tail.map_or(0, |tail| count.saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
            let lines = Lines { name: container, stdout: Vec::new(), stderr: Vec::new() };
            let last: String = text.split_inclusive('\n').skip(skipped).collect();
            [lines.named(format!("{PREVIOUS_OUTPUT}{about}").as_bytes()), lines.named(last.as_bytes())].concat().into()
        }
        Err(error) => format!("{LOG_BROKE_OFF}{}\n", Problem::from(error).detail()).into(),
    })
}

/// The output of one replica.
fn output(
    controller: Controller,
    name: String,
    container: ContainerId,
    options: LogOptions,
) -> BoxStream<'static, Bytes> {
    let opened = async move {
        let chunks = controller.logs(container.as_str(), &options).await;
        match chunks {
            Ok(chunks) => chunks.map_err(|error| error.to_string()).boxed(),
            Err(error) => stream::once(ready(Err(Problem::from(error).detail().to_owned()))).boxed(),
        }
    };
    prefixed(name, stream::once(opened).flatten()).boxed()
}

/// Puts a name before each line. One that cannot be read any further says why in its last line.
fn prefixed(name: String, chunks: impl Stream<Item = Result<LogChunk, String>>) -> impl Stream<Item = Bytes> {
    let mut lines = Lines { name, stdout: Vec::new(), stderr: Vec::new() };
    let ended = stream::once(ready(None));
    let pieces = chunks.map(Some).chain(ended).map(move |chunk| match chunk {
        Some(Ok(chunk)) => lines.take(&chunk),
        Some(Err(why)) => lines.broken_off(&why),
        None => lines.end(),
    });
    pieces.filter(|bytes| ready(!bytes.is_empty()))
}

/// What came of a replica and is no whole line yet. Its two outputs are kept apart, since each has lines of its own.
struct Lines {
    name: String,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    fn take(&mut self, chunk: &LogChunk) -> Bytes {
        let rest = match chunk.stream {
            LogStream::Stdout => &mut self.stdout,
            LogStream::Stderr => &mut self.stderr,
        };
        rest.extend_from_slice(&chunk.bytes);
        let last_end = chunk.bytes.iter().rposition(|&byte| byte == b'\n');
        let whole = match last_end {
            Some(place) => rest.len() - chunk.bytes.len() + place + 1,
            None if rest.len() >= LONGEST_LINE => rest.len(),
            None => return Bytes::new(),
        };
        let whole: Vec<u8> = rest.drain(..whole).collect();
        self.named(&whole)
    }

    /// What is left, although it may be no whole line.
    fn end(&mut self) -> Bytes {
        let rests = [std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr)];
        rests.iter().map(|rest| self.named(rest)).collect::<Vec<_>>().concat().into()
    }

    fn broken_off(&mut self, why: &str) -> Bytes {
        let line = format!("{LOG_BROKE_OFF}{}", why.replace(char::is_control, " "));
        [self.end(), self.named(line.as_bytes())].concat().into()
    }

    /// Each line with the name before it, and an end of line where the last one has none.
    fn named(&self, text: &[u8]) -> Bytes {
        let mut named = Vec::with_capacity(text.len() + self.name.len() + 4);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            named.extend_from_slice(self.name.as_bytes());
            named.extend_from_slice(b" | ");
            named.extend_from_slice(line);
        }
        if !text.is_empty() && !text.ends_with(b"\n") {
            named.push(b'\n');
        }
        named.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(chunks: Vec<Result<LogChunk, String>>) -> String {
        let lines: Vec<Bytes> = prefixed("web.1".to_owned(), stream::iter(chunks)).collect().await;
        String::from_utf8(lines.concat()).unwrap()
    }

    fn out(text: &str) -> Result<LogChunk, String> {
        Ok(LogChunk { stream: LogStream::Stdout, bytes: Bytes::copy_from_slice(text.as_bytes()) })
    }

    fn err(text: &str) -> Result<LogChunk, String> {
        Ok(LogChunk { stream: LogStream::Stderr, bytes: Bytes::copy_from_slice(text.as_bytes()) })
    }

    #[tokio::test]
    async fn each_line_has_its_replica_however_it_came() {
        let expected = "web.1 | one\nweb.1 | two\nweb.1 | \nweb.1 | last\n";
        assert_eq!(text(vec![out("one\ntwo\n\nlast")]).await, expected);
        assert_eq!(text(["o", "ne", "\nt", "wo\n\n", "la", "st\n"].map(out).into()).await, expected);
        assert_eq!(text(vec![]).await, "");
    }

    #[tokio::test]
    async fn lines_of_the_two_outputs_do_not_mix() {
        let mixed = text(vec![out("on"), err("tw"), out("e\n"), err("o\n")]).await;
        assert_eq!(mixed, "web.1 | one\nweb.1 | two\n");
    }

    #[tokio::test]
    async fn a_line_without_end_is_sent_in_pieces() {
        let long = "x".repeat(LONGEST_LINE);
        assert_eq!(text(vec![out(&long), out("y")]).await, format!("web.1 | {long}\nweb.1 | y\n"));
    }

    #[tokio::test]
    async fn what_cannot_be_read_says_why_and_is_a_line() {
        let broken = text(vec![out("half"), Err("the host\nis away".to_owned())]).await;
        assert_eq!(broken, format!("web.1 | half\nweb.1 | {LOG_BROKE_OFF}the host is away\n"));
    }
}
