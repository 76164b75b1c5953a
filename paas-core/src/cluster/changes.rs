//! What tells those who keep applications that there may be something to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast};

use super::Cluster;
use crate::background::Report;
use crate::model::app::AppName;

/// How many changes a receiver may be behind before it is told that it missed some.
const BACKLOG: usize = 1024;
/// At most so often it is told that room became free: under load containers end all the time.
const BETWEEN_ROOM: Duration = Duration::from_secs(1);

/// Something that an application may have to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AppChange {
    /// A container of this application is other than it was known to be, or is gone.
    App(AppName),
    /// Of some engine the reach, the labels, the drain mark, the size or the volumes are other than they were, there is an engine
    /// more or less, or room became free on one.
    Engines,
}

/// Where changes go. Costs next to nothing while nobody listens.
#[derive(Debug)]
pub(super) struct Changes {
    sender: broadcast::Sender<AppChange>,
    room: Arc<Notify>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), room: Arc::default() }
    }
}

impl Changes {
    pub(super) fn app(&self, app: &AppName) {
        self.send(|| AppChange::App(app.clone()));
    }

    pub(super) fn engines(&self) {
        self.send(|| AppChange::Engines);
    }

    /// Room became free somewhere. That is told a moment later, once for all of it.
    pub(super) fn room(&self) {
        if self.sender.receiver_count() > 0 {
            self.room.notify_one();
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<AppChange> {
        self.sender.subscribe()
    }

    fn send(&self, change: impl FnOnce() -> AppChange) {
        if self.sender.receiver_count() > 0 {
            // That the last receiver is gone by now is no loss.
            let _ = self.sender.send(change());
        }
    }
}

/// Tells for ever that room became free.
pub(super) async fn tell_of_room(cluster: Cluster, report: Report) {
    let room = cluster.shared.view.read().changes().room.clone();
    loop {
        room.notified().await;
        tokio::time::sleep(BETWEEN_ROOM).await;
        cluster.shared.view.read().changes().engines();
        report.ok();
    }
}
