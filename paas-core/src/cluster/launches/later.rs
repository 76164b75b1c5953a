//! Launches that are done and answered so, and whose record the store did not take yet.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::Instrument;

use super::{Launches, Launching};
use crate::backoff::Backoff;
use crate::cluster::Cluster;
use crate::model::{ContainerId, Event};

/// How long to wait before the store is asked again.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// How long the store has for it when the cluster is shut down.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// A record that waits for the store counts as one until this is dropped.
struct Waits(Arc<Launches>);

impl Waits {
    fn new(launches: Arc<Launches>) -> Self {
        launches.waiting.fetch_add(1, Ordering::Relaxed);
        Self(launches)
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Launches {
    /// How many records of launches that are done wait for the store.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Cluster {
    /// Has the store take that a launch is done, and the event that tells of it, as soon as it takes anything. When the
    /// cluster is shut down it gets one last chance.
    pub(crate) fn write_down_later(&self, mut launching: Launching, container: ContainerId, event: Event) {
        launching.runs_as(&container);
        let waits = Waits::new(self.shared.launches.clone());
        let (cluster, stop) = (self.in_background(), self.background().stopping().clone());
        let write = async move {
            let _waits = waits;
            let until_taken = async {
                let mut pauses = PAUSES;
                loop {
                    sleep(pauses.next_pause()).await;
                    match launching.done(&container, &event, cluster.ticket()).await {
                        Err(error) if !Launching::is_decided(&error) => {}
                        _ => return,
                    }
                }
            };
            if stop.run_until_cancelled(until_taken).await.is_some() {
                return;
            }
            match timeout(LAST_CHANCE, launching.done(&container, &event, cluster.ticket())).await {
                Ok(Ok(())) => {}
                // An attempt that was cut off may have been the one.
                Ok(Err(error)) if Launching::is_decided(&error) => {}
                // The next server finds the container by the record of what was asked.
                _ => tracing::error!(
                    container = container.short(),
                    "the store took nothing until the end; that a container was started is not written down"
                ),
            }
        };
        self.background().tracker().spawn(write.in_current_span());
    }
}
