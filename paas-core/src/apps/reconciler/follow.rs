//! The task of each application, and what wakes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::round::Next;
use super::{App, Apps};
use crate::background::{Background, Report};
use crate::backoff::Backoff;
use crate::cluster::AppChange;
use crate::executor::Executor;
use crate::model::app::AppName;

/// How long to wait for a store that did not take a step.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
/// How often an application is looked at although nothing happened.
const AT_LEAST: Duration = Duration::from_secs(60);

/// Looks after all applications, each in a task of its own, and wakes those of which something is known to have changed.
pub(crate) async fn follow_applications(
    apps: Arc<Apps>,
    executor: Executor,
    background: Background,
    stop: CancellationToken,
) {
    let mut changes = executor.cluster.app_changes();
    let mut followed: BTreeMap<AppName, Arc<App>> = BTreeMap::new();
    loop {
        followed.retain(|_, app| !app.is_gone());
        for app in apps.all() {
            if followed.insert(app.name.clone(), app.clone()).is_some() {
                continue;
            }
            let (apps, executor) = (apps.clone(), executor.clone());
            let name = format!("app/{}/reconcile", app.name);
            background.spawn(name, Some(AT_LEAST), stop.clone(), move |report| {
                follow(apps.clone(), executor.clone(), app.clone(), report)
            });
        }
        tokio::select! {
            biased;
            () = apps.added.notified() => {}
            change = changes.recv() => match change {
                Ok(AppChange::App(name)) => {
                    if let Some(app) = followed.get(&name) {
                        app.wake();
                    }
                }
                Ok(AppChange::Engines) | Err(RecvError::Lagged(_)) => {
                    apps.look_for_returned(&executor);
                    apps.look_whether_half_answers(&executor.cluster);
                    apps.wake_all();
                }
                Err(RecvError::Closed) => return,
            },
        }
    }
}

async fn follow(apps: Arc<Apps>, executor: Executor, app: Arc<App>, report: Report) {
    let mut pauses = PAUSES;
    loop {
        if app.is_gone() {
            return;
        }
        let until = match apps.round(&executor, &app).await {
            Ok(Next::Again) => continue,
            Ok(Next::At(until)) => {
                pauses.reset();
                report.ok();
                until
            }
            Err(error) => {
                tracing::warn!(app = %app.name, %error, "an application cannot be looked after");
                report.failed(&error);
                apps.now().checked_add(pauses.next_pause()).ok()
            }
        };
        let woken = async {
            tokio::select! {
                biased;
                () = app.wake.notified() => {}
                () = app.gone.cancelled() => {}
            }
        };
        let _ = tokio::time::timeout(pause(apps.now(), until), woken).await;
    }
}

/// How long to wait for a time, at most as long as is waited for nothing.
fn pause(now: Timestamp, until: Option<Timestamp>) -> Duration {
    let left = until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
    left.map_or(AT_LEAST, |left| left.min(AT_LEAST))
}
