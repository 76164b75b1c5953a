//! What runs in the background: one table of loops, with the name, the period and the last result of each.
//!
//! The table is owned: stopping it, or dropping its owner, ends every loop in it. A loop that panics is started again after a
//! moment, and the table says so.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long after a panic a loop is started again.
const RESTART: Duration = Duration::from_secs(1);

/// A loop in the background, as it is at this moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BackgroundTask {
    /// Its name: `events/record`, `engine/ID/follow`.
    pub name: String,
    /// How often it does its work, where it does so at an interval; beside that, when it is woken.
    pub period: Option<Duration>,
    /// How often it has done its work.
    pub runs: u64,
    /// When it did so last.
    pub last_run: Option<Timestamp>,
    /// Why its work failed the last time; absent where it did not.
    pub last_error: Option<String>,
}

/// The table of what runs in the background. Cheap to clone; every clone is the same table.
#[derive(Clone, Debug)]
pub struct Background {
    table: Arc<Mutex<BTreeMap<Arc<str>, Arc<Entry>>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// What takes from others what they have to the end, and so ends after them.
    last: TaskTracker,
    stop_last: CancellationToken,
}

#[derive(Debug)]
struct Entry {
    period: Option<Duration>,
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    runs: u64,
    last_run: Option<Timestamp>,
    last_error: Option<String>,
}

impl Default for Background {
    fn default() -> Self {
        Self {
            table: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            last: TaskTracker::new(),
            stop_last: CancellationToken::new(),
        }
    }
}

impl Background {
    /// Every loop that runs, by name.
    pub fn tasks(&self) -> Vec<BackgroundTask> {
        let entries: Vec<_> = self.table.lock().iter().map(|(name, entry)| (name.to_string(), entry.clone())).collect();
        let shown = |(name, entry): (String, Arc<Entry>)| {
            let State { runs, last_run, last_error } = &*entry.state.lock();
            let last_error = last_error.clone();
            BackgroundTask { name, period: entry.period, runs: *runs, last_run: *last_run, last_error }
        };
        entries.into_iter().map(shown).collect()
    }

    /// Has a loop do its work now and not only when its period is over. False when there is none of that name.
    pub fn wake(&self, name: &str) -> bool {
        let entry = self.table.lock().get(name).cloned();
        if let Some(entry) = &entry {
            entry.wake.notify_one();
        }
        entry.is_some()
    }

    /// Tells every loop to end, and waits for none.
    pub fn stop(&self) {
        self.stop.cancel();
        self.stop_last.cancel();
    }

    /// Tells every loop to end, and waits until they have.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.stop_last.cancel();
        self.last.close();
        self.last.wait().await;
    }

    /// Rings when everything is to end.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// What is waited for at the end, for work that ends by itself and is no loop.
    pub(crate) fn tracker(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Runs a loop until `stop` rings, which is given up at its next await then.
    pub(crate) fn spawn<F>(
        &self,
        name: impl Into<Arc<str>>,
        period: Option<Duration>,
        stop: CancellationToken,
        work: impl Fn(Report) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let until = stop.clone();
        let until_stopped = move |report| {
            let (stop, work) = (stop.clone(), work(report));
            async move {
                let _ = stop.run_until_cancelled(work).await;
            }
        };
        let running = self.running(name.into(), period, until, until_stopped);
        self.tasks.spawn(running);
    }

    /// Runs a loop that ends by itself when it is told, because it has something to finish.
    pub(crate) fn spawn_to_its_end<F>(&self, name: impl Into<Arc<str>>, work: impl Fn(Report) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let running = self.running(name.into(), None, self.stop.clone(), work);
        self.tasks.spawn(running);
    }

    /// Runs a loop that takes what the others have to their end, and so is told after them: by a token that rings then.
    pub(crate) fn spawn_last<F>(
        &self,
        name: impl Into<Arc<str>>,
        work: impl Fn(Report, CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop_last.clone();
        let running = self.running(name.into(), None, stop.clone(), move |report| work(report, stop.clone()));
        self.last.spawn(running);
    }

    fn running<F>(
        &self,
        name: Arc<str>,
        period: Option<Duration>,
        stop: CancellationToken,
        work: impl Fn(Report) -> F + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let entry = Arc::new(Entry { period, wake: Notify::new(), state: Mutex::default() });
        self.table.lock().insert(name.clone(), entry.clone());
        let listed = Listed { table: self.table.clone(), name, entry };
        async move {
            loop {
                // What the loop holds goes before its line does.
                let running = work(Report(listed.entry.clone()));
                if AssertUnwindSafe(running).catch_unwind().await.is_ok() {
                    return;
                }
                tracing::error!(task = &*listed.name, "a loop in the background panicked; it is started again");
                Report(listed.entry.clone()).failed(&"it panicked");
                if stop.run_until_cancelled(tokio::time::sleep(RESTART)).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// A line of the table: it goes when the loop ends.
struct Listed {
    table: Arc<Mutex<BTreeMap<Arc<str>, Arc<Entry>>>>,
    name: Arc<str>,
    entry: Arc<Entry>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut table = self.table.lock();
        // A successor may have the name by now.
        if table.get(&self.name).is_some_and(|entry| Arc::ptr_eq(entry, &self.entry)) {
            table.remove(&self.name);
        }
    }
}

/// Where a loop says how its work went, and hears that it was woken.
#[derive(Clone, Debug)]
pub(crate) struct Report(Arc<Entry>);

impl Report {
    /// The work was done once more.
    pub(crate) fn ok(&self) {
        self.note(None);
    }

    /// The work failed, and will be tried again.
    pub(crate) fn failed(&self, error: &dyn Display) {
        self.note(Some(error.to_string()));
    }

    /// Waits until somebody wakes the loop.
    pub(crate) async fn woken(&self) {
        self.0.wake.notified().await;
    }

    fn note(&self, error: Option<String>) {
        let mut state = self.0.state.lock();
        state.runs += 1;
        state.last_run = Some(Timestamp::now());
        state.last_error = error;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_table_says_what_runs_and_how_it_went() {
        let background = Background::default();
        let period = Some(Duration::from_secs(5));
        background.spawn("look", period, background.stopping().clone(), async |report| {
            loop {
                report.failed(&"no answer");
                report.woken().await;
                report.ok();
                report.woken().await;
            }
        });
        sleep(Duration::from_millis(1)).await;
        let task = background.tasks().remove(0);
        assert_eq!((task.name.as_str(), task.period, task.runs), ("look", period, 1));
        assert_eq!(task.last_error.as_deref(), Some("no answer"));
        assert!(background.wake("look") && !background.wake("nobody"));
        sleep(Duration::from_millis(1)).await;
        let task = background.tasks().remove(0);
        assert_eq!((task.runs, task.last_error), (2, None));
        background.shutdown().await;
        assert_eq!(background.tasks(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_is_started_again() {
        let (background, begun) = (Background::default(), Arc::new(AtomicUsize::new(0)));
        let counted = begun.clone();
        background.spawn("falls", None, background.stopping().clone(), move |report| {
            let begun = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(begun > 0, "falls the first time");
                report.ok();
                std::future::pending::<()>().await;
            }
        });
        sleep(RESTART * 2).await;
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        assert_eq!(background.tasks().remove(0).last_error, None);
        background.shutdown().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_keeps_its_line_when_the_one_before_ends() {
        let background = Background::default();
        let (first, second) = (CancellationToken::new(), CancellationToken::new());
        for stop in [&first, &second] {
            background.spawn("engine/a", None, stop.clone(), |_| std::future::pending());
        }
        first.cancel();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(background.tasks().len(), 1);
        second.cancel();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(background.tasks().len(), 0);
    }
}
