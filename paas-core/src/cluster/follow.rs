//! Keeps the view of one engine true: reads everything, then follows the host's events, and reads everything again at an
//! interval and after every break.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::Cluster;
use super::monitor::part_of;
use crate::engine::{DockerEngine, EngineError, EngineEvent, EngineInfo};
use crate::model::{ContainerId, EngineId, EngineStatus, Event, EventKind, TAG_DOCKER};

/// How many containers of one engine are read again at once.
const REFRESHES_AT_ONCE: usize = 4;
/// Waiting time after a failure, unless the monitor says earlier that the engine answers.
const RETRY: Duration = Duration::from_secs(2);

/// Follows one engine for ever.
pub(super) async fn follow(cluster: Cluster, id: EngineId, engine: Arc<dyn DockerEngine>, wake: Arc<Notify>) {
    let mut seen = Seen::default();
    loop {
        let mut was_read = false;
        match follow_once(&cluster, &id, &*engine, &wake, &mut seen, &mut was_read).await {
            Ok(Ended::Stale) => continue,
            Ok(Ended::Over) => {}
            Err(error) => {
                tracing::debug!(engine = %id, %error, "lost the engine");
                note_loss(&cluster, &id, &error, was_read).await;
            }
        }
        // Either is a reason to try again.
        let _ = timeout(RETRY, wake.notified()).await;
    }
}

/// Says why a new engine is still not there. An engine that was there is the monitor's to judge, unless the monitor asks
/// the host and not its daemon: then a daemon that cannot be read is found here.
async fn note_loss(cluster: &Cluster, id: &EngineId, error: &EngineError, was_read: bool) {
    let status = match cluster.status(id) {
        Some(EngineStatus::Pending) => EngineStatus::Pending,
        Some(EngineStatus::Up | EngineStatus::Suspect) if !was_read && !cluster.shared.prober.asks_daemons() => {
            EngineStatus::Down
        }
        _ => return,
    };
    cluster.set_status(id, status, Some(error.detail().to_owned())).await;
}

/// Why an engine is not followed any more, though it gave no error.
enum Ended {
    /// It ended the stream, or is not to be followed.
    Over,
    /// It was away and answers again. The stream may still be one to a host that is not there any more and said no word
    /// when it went, and would be silent for ever.
    Stale,
}

/// Reads everything and follows the events until the engine is lost.
async fn follow_once(
    cluster: &Cluster,
    id: &EngineId,
    engine: &dyn DockerEngine,
    wake: &Notify,
    seen: &mut Seen,
    was_read: &mut bool,
) -> Result<Ended, EngineError> {
    let info = engine.info().await?;
    let asked = info.time;
    if !take_info(cluster, id, info).await {
        return Ok(Ended::Over);
    }
    // What happens from here on is in the stream, and what was before is in the list.
    let mut events = engine.events(seen.latest.or(asked)).await?;
    read_all(cluster, id, engine).await?;
    *was_read = true;
    cluster.set_status(id, EngineStatus::Up, None).await;

    let every = cluster.shared.settings.resync_interval;
    // Those of a thousand hosts that were read at once are not to be read at once again.
    let mut next_read = Instant::now() + part_of(every);
    let mut changed = Changed::default();
    let mut refreshes = FuturesUnordered::new();
    loop {
        while refreshes.len() < REFRESHES_AT_ONCE
            && let Some(container) = changed.take()
        {
            refreshes.push(refresh(cluster, id, container));
        }
        tokio::select! {
            event = events.next() => match event {
                Some(event) => take_event(cluster, id, event?, seen, &mut changed).await,
                None => return Ok(Ended::Over),
            },
            container = refreshes.next(), if !refreshes.is_empty() => {
                changed.done(container);
            }
            () = sleep_until(changed.info_due.unwrap_or(next_read)), if changed.info_due.is_some() => {
                changed.info_due = None;
                take_info(cluster, id, engine.info().await?).await;
            }
            () = sleep_until(next_read) => {
                take_info(cluster, id, engine.info().await?).await;
                read_all(cluster, id, engine).await?;
                next_read = Instant::now() + every;
            }
            () = wake.notified() => {
                // The monitor found the engine answering after it was down.
                if cluster.status(id) != Some(EngineStatus::Up) {
                    return Ok(Ended::Stale);
                }
            }
        }
    }
}

/// Notes what the engine says of itself. False when it is the same daemon as another engine.
async fn take_info(cluster: &Cluster, id: &EngineId, info: EngineInfo) -> bool {
    if let Some(other) = cluster.engine_of_daemon(id, &info.daemon_id) {
        let reason = format!("it is the same Docker daemon as engine {other}; delete one of the two");
        cluster.set_status(id, EngineStatus::Duplicate, Some(reason)).await;
        return false;
    }
    cluster.set_info(id, info);
    true
}

async fn read_all(cluster: &Cluster, id: &EngineId, engine: &dyn DockerEngine) -> Result<(), EngineError> {
    let ticket = cluster.ticket();
    let mut found = engine.list().await?;
    let orphans = cluster.recognise_all(id, &mut found, ticket);
    cluster.shared.view.write().observe_all(id, found, ticket);
    cluster.collect(orphans);
    Ok(())
}

async fn refresh(cluster: &Cluster, engine: &EngineId, container: ContainerId) -> ContainerId {
    if let Err(error) = cluster.refresh(engine, &container).await {
        tracing::debug!(%engine, container = container.short(), %error, "not read again");
    }
    container
}

async fn take_event(cluster: &Cluster, id: &EngineId, event: EngineEvent, seen: &mut Seen, changed: &mut Changed) {
    if !seen.is_new(&event) {
        return;
    }
    match &event.container {
        Some(container) if event.action == "destroy" => cluster.removed(container),
        Some(container) if is_told_by_its_launch(cluster, id, &event) || cluster.being_removed(container) => {}
        Some(container) if changes_state(&event.action) => changed.mark(container.clone()),
        None if changes_host(&event.action) => {
            changed.info_due.get_or_insert_with(|| Instant::now() + Duration::from_millis(500));
        }
        Some(_) | None => {}
    }
    cluster.shared.recorder.put(shown_event(id, event)).await;
}

/// Whether it is the beginning of a container that is being launched: whoever launches it reads it when it runs.
fn is_told_by_its_launch(cluster: &Cluster, engine: &EngineId, event: &EngineEvent) -> bool {
    matches!(&*event.action, "create" | "start")
        && event.launch.is_some_and(|launch| cluster.launches().is_under_way(engine, launch, &event.name))
}

/// Whether a host may say something else of itself after that: what happens to images, and to the daemon. The networks and
/// volumes that come and go with every container do not change it.
fn changes_host(action: &str) -> bool {
    matches!(action, "pull" | "import" | "load" | "tag" | "untag" | "delete" | "prune" | "reload")
}

/// Whether a container may look different after that. Looking inside one does not change it.
fn changes_state(action: &str) -> bool {
    !(action.starts_with("exec_") || matches!(action, "top" | "attach" | "detach" | "resize" | "export" | "copy"))
}

fn shown_event(engine: &EngineId, event: EngineEvent) -> Event {
    let image = event.image.map(|image| format!(" ({image})")).unwrap_or_default();
    let message = format!("{} {}{image} on {engine}", event.action, event.name);
    let mut shown = Event::new(EventKind::Other(event.action), message).on(engine).tagged(TAG_DOCKER);
    shown.time = event.time;
    shown.container = event.container;
    shown
}

/// Containers that something happened to and that are to be read again, each once however much happened to it.
#[derive(Debug, Default)]
struct Changed {
    waiting: BTreeSet<ContainerId>,
    being_read: HashSet<ContainerId>,
    again: HashSet<ContainerId>,
    info_due: Option<Instant>,
}

impl Changed {
    fn mark(&mut self, id: ContainerId) {
        if self.being_read.contains(&id) {
            self.again.insert(id);
        } else {
            self.waiting.insert(id);
        }
    }

    fn take(&mut self) -> Option<ContainerId> {
        let id = self.waiting.pop_first()?;
        self.being_read.insert(id.clone());
        Some(id)
    }

    fn done(&mut self, id: Option<ContainerId>) {
        let Some(id) = id else { return };
        self.being_read.remove(&id);
        if self.again.remove(&id) {
            self.waiting.insert(id);
        }
    }
}

/// Which events were taken already. After a break the stream is opened again from the time of the latest, and gives that
/// one and its contemporaries once more.
#[derive(Debug, Default)]
struct Seen {
    latest: Option<Timestamp>,
    at_latest: Vec<EngineEvent>,
}

impl Seen {
    fn is_new(&mut self, event: &EngineEvent) -> bool {
        match self.latest {
            Some(latest) if event.time < latest => false,
            Some(latest) if event.time == latest => {
                let new = !self.at_latest.contains(event);
                if new {
                    self.at_latest.push(event.clone());
                }
                new
            }
            _ => {
                self.latest = Some(event.time);
                self.at_latest = vec![event.clone()];
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::cluster::ClusterSettings;
    use crate::engine::{EngineErrorKind, EngineUsage, MockDockerEngine, SimulatedEngine};
    use crate::events::RecordingSink;
    use crate::model::{Cpus, EngineSpec, MemoryMb, SimulatedHost};
    use crate::scheduler::Spread;

    /// An engine whose streams of events are silent for ever: how often one was opened, and whether it answers.
    fn silent_engine() -> (MockDockerEngine, Arc<AtomicUsize>, Arc<AtomicBool>) {
        let (opened, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let mut engine = MockDockerEngine::new();
        let info = EngineInfo {
            daemon_id: "one".into(),
            cpus: Cpus::from_milli(1000),
            memory: MemoryMb::new(1024),
            docker_version: "test".into(),
            images: Vec::new(),
            time: None,
        };
        engine.expect_info().returning(move || Ok(info.clone()));
        engine.expect_list().returning(|| Ok(Vec::new()));
        engine.expect_usage().returning(|| Ok(EngineUsage::default()));
        engine.expect_events().returning({
            let opened = opened.clone();
            move |_| {
                opened.fetch_add(1, Ordering::SeqCst);
                Ok(futures::stream::pending().boxed())
            }
        });
        engine.expect_ping().returning({
            let answers = answers.clone();
            move |_| match answers.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err(EngineError::new(EngineErrorKind::Unreachable, "ping", "no answer")),
            }
        });
        (engine, opened, answers)
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_was_away_is_listened_to_anew() {
        let (engine, opened, answers) = silent_engine();
        let (events, scheduler) = (Arc::new(RecordingSink::default()), Arc::new(Spread::default()));
        let cluster = Cluster::new(ClusterSettings::default(), scheduler, events, "test".to_owned());
        let id: EngineId = "one".parse().unwrap();
        let until = async |wanted| {
            let reached = async {
                while cluster.status(&id) != Some(wanted) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(Duration::from_secs(10), reached).await.unwrap();
        };
        cluster.add_engine(EngineSpec::new(id.clone(), "sim://one".parse().unwrap()), Arc::new(engine));
        until(EngineStatus::Up).await;
        assert_eq!(opened.load(Ordering::SeqCst), 1);
        answers.store(false, Ordering::SeqCst);
        until(EngineStatus::Down).await;
        answers.store(true, Ordering::SeqCst);
        until(EngineStatus::Up).await;
        assert_eq!(opened.load(Ordering::SeqCst), 2, "the old stream may be one to nobody");
        cluster.shutdown().await;
    }

    #[test]
    fn what_comes_and_goes_with_every_container_changes_no_host() {
        for action in ["connect", "disconnect", "mount", "unmount", "create", "destroy", "remove"] {
            assert!(!changes_host(action), "{action}");
        }
        for action in ["pull", "tag", "delete", "load", "reload"] {
            assert!(changes_host(action), "{action}");
        }
    }

    fn event(nanoseconds: i128, action: &str) -> EngineEvent {
        EngineEvent {
            time: Timestamp::from_nanosecond(nanoseconds).unwrap(),
            action: action.to_owned(),
            container: None,
            name: "a".to_owned(),
            image: None,
            launch: None,
        }
    }

    #[tokio::test]
    async fn what_the_platform_removes_is_not_read_meanwhile() {
        let (events, scheduler) = (Arc::new(RecordingSink::default()), Arc::new(Spread::default()));
        let cluster = Cluster::new(ClusterSettings::default(), scheduler, events.clone(), "test".to_owned());
        let (engine, container): (EngineId, ContainerId) =
            ("one".parse().unwrap(), "0123456789abcdef".parse().unwrap());
        let (mut seen, mut changed) = (Seen::default(), Changed::default());
        let removal = cluster.removing(&container);
        let die = |nanoseconds| EngineEvent { container: Some(container.clone()), ..event(nanoseconds, "die") };
        take_event(&cluster, &engine, die(1), &mut seen, &mut changed).await;
        assert_eq!(changed.take(), None);
        drop(removal);
        take_event(&cluster, &engine, die(2), &mut seen, &mut changed).await;
        assert_eq!(changed.take(), Some(container.clone()));
        cluster.shutdown().await;
        assert_eq!(events.events().len(), 2, "both are told");
    }

    #[tokio::test]
    async fn what_went_is_not_read_again_unless_it_was_found_again() {
        let (events, scheduler) = (Arc::new(RecordingSink::default()), Arc::new(Spread::default()));
        let cluster = Cluster::new(ClusterSettings::default(), scheduler, events, "test".to_owned());
        let host = SimulatedEngine::new(&SimulatedHost::new("one"));
        let engine: EngineId = "one".parse().unwrap();
        cluster.add_engine(EngineSpec::new(engine.clone(), "sim://one".parse().unwrap()), Arc::new(host.clone()));
        cluster.wait_synced(&engine).await;
        let container = host.outsider_run("web:1".parse().unwrap(), None);
        cluster.refresh(&engine, &container).await.unwrap();
        assert!(!cluster.being_removed(&container));
        cluster.removed(&container);
        assert!(cluster.being_removed(&container));
        cluster.refresh(&engine, &container).await.unwrap();
        assert!(!cluster.being_removed(&container), "the host has it after all");
        cluster.shutdown().await;
    }

    #[test]
    fn events_given_again_after_a_break_are_taken_once() {
        let mut seen = Seen::default();
        assert!(seen.is_new(&event(1, "create")));
        assert!(seen.is_new(&event(2, "start")));
        assert!(seen.is_new(&event(2, "attach")));
        assert!(!seen.is_new(&event(2, "start")));
        assert!(!seen.is_new(&event(1, "create")));
        assert!(seen.is_new(&event(3, "die")));
    }

    #[test]
    fn a_container_that_changes_while_it_is_read_is_read_again() {
        let id: ContainerId = "0123456789abcdef".parse().unwrap();
        let mut changed = Changed::default();
        changed.mark(id.clone());
        changed.mark(id.clone());
        assert_eq!(changed.take(), Some(id.clone()));
        assert_eq!(changed.take(), None);
        changed.mark(id.clone());
        changed.done(Some(id.clone()));
        assert_eq!(changed.take(), Some(id));
    }
}
