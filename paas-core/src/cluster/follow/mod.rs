//! Keeps the view of one engine true: reads everything, then follows the host's events, and reads everything again at an
//! interval and after every break.

mod changed;
mod seen;

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, sleep_until, timeout};

use super::monitor::part_of;
use super::{Cluster, EngineHandle};
use crate::background::Report;
use crate::engine::{EngineError, EngineEvent, EngineInfo};
use crate::model::{ContainerId, EngineId, EngineStatus, Event, EventKind, TAG_DOCKER};

use changed::Changed;
use seen::Seen;

/// How many containers of one engine are read again at once.
const REFRESHES_AT_ONCE: usize = 4;
/// Waiting time after a failure, unless the monitor says earlier that the engine answers.
const RETRY: Duration = Duration::from_secs(2);
/// How often an engine that is another one over again is looked at, beside whenever the status of any engine changes.
const LOOK_AT_DUPLICATE: Duration = Duration::from_secs(10);
/// How often one of our containers is inspected whose limits are not known: a list does not show them, and somebody may have
/// changed them while no server of ours looked. Slowly, so that a host hardly notices.
const LOOK_AT_LIMITS: Duration = Duration::from_millis(500);

/// What is known of the events of one engine, over all its streams.
#[derive(Debug, Default)]
struct Heard {
    seen: Seen,
    /// An event that waits for room at the recorder. Until there is, no other is taken, and the view is kept true all the same.
    unrecorded: Option<Event>,
}

/// Follows one engine for ever.
pub(super) async fn follow(cluster: Cluster, engine: EngineHandle, report: Report) {
    let mut heard = Heard::default();
    let mut duplicate_since = None;
    loop {
        let mut was_read = false;
        let ended = follow_once(&cluster, &engine, &mut heard, &report, &mut was_read);
        // Listens before it looks, so that no change is missed in between.
        let others_change = cluster.shared.status_changes.notified();
        let ended = ended.await;
        if was_read {
            duplicate_since = None;
        }
        match ended {
            Ok(Ended::Stale) => continue,
            Ok(Ended::Duplicate) => {
                let since = *duplicate_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= LOOK_AT_DUPLICATE {
                    // The other engine has had its time to be read. What that does not have is of a copy, and not counted.
                    cluster.with(&engine, |view| view.forget_all_on(engine.id()));
                }
                let _ = timeout(LOOK_AT_DUPLICATE, others_change).await;
                tokio::time::sleep(RETRY).await;
                continue;
            }
            Ok(Ended::Over) => {}
            Err(error) => {
                tracing::debug!(engine = %engine.id(), %error, "lost the engine");
                report.failed(&error);
                note_loss(&cluster, &engine, &error, was_read).await;
            }
        }
        // Either is a reason to try again.
        let _ = timeout(RETRY, engine.woken()).await;
    }
}

/// Says why a new engine is still not there. An engine that was there is the monitor's to judge, unless the monitor asks
/// the host and not its daemon: then a daemon that cannot be read is found here.
async fn note_loss(cluster: &Cluster, engine: &EngineHandle, error: &EngineError, was_read: bool) {
    let status = match engine.status() {
        EngineStatus::Pending => EngineStatus::Pending,
        EngineStatus::Up | EngineStatus::Suspect if !was_read && !cluster.shared.prober.asks_daemons() => {
            EngineStatus::Down
        }
        _ => return,
    };
    cluster.set_status(engine, status, Some(error.detail().to_owned()));
}

/// Why an engine is not followed any more, though it gave no error.
enum Ended {
    /// It ended the stream.
    Over,
    /// It was away and answers again. The stream may still be one to a host that is not there any more and said no word
    /// when it went, and would be silent for ever.
    Stale,
    /// It is another engine over again, or a copy of it.
    Duplicate,
}

/// Reads everything and follows the events until the engine is lost.
async fn follow_once(
    cluster: &Cluster,
    engine: &EngineHandle,
    heard: &mut Heard,
    report: &Report,
    was_read: &mut bool,
) -> Result<Ended, EngineError> {
    let client = &**engine.client();
    let info = read_info(cluster, engine).await?;
    let now = info.time;
    if !take_info(cluster, engine, info, heard) {
        return Ok(Ended::Duplicate);
    }
    // What happens from here on is in the stream, and what was before is in the list.
    let mut events = client.events(heard.seen.open(now)).await?;
    if !read_all(cluster, engine).await? {
        return Ok(Ended::Duplicate);
    }
    *was_read = true;
    report.ok();
    cluster.set_status(engine, EngineStatus::Up, None);

    let every = cluster.shared.settings.resync_interval;
    // Those of a thousand hosts that were read at once are not to be read at once again.
    let mut next_read = Instant::now() + part_of(engine.id(), every);
    let mut changed = Changed::default();
    let mut refreshes = FuturesUnordered::new();
    let mut unlimited: VecDeque<ContainerId> = cluster.limits_unknown(engine).into();
    let mut next_limits = Instant::now() + LOOK_AT_LIMITS + part_of(engine.id(), LOOK_AT_LIMITS);
    loop {
        while refreshes.len() < REFRESHES_AT_ONCE
            && let Some(container) = changed.take()
        {
            refreshes.push(refresh(cluster, engine, container));
        }
        tokio::select! {
            // In this order, so that a simulation goes the same way twice: what comes seldom first, and events last.
            biased;
            room = cluster.shared.recorder.room(), if heard.unrecorded.is_some() => {
                if let (Some(room), Some(event)) = (room, heard.unrecorded.take()) {
                    room.send(event);
                }
            }
            () = sleep_until(changed.info_due.unwrap_or(next_read)), if changed.info_due.is_some() => {
                changed.info_due = None;
                if !take_info(cluster, engine, read_info(cluster, engine).await?, heard) {
                    return Ok(Ended::Duplicate);
                }
            }
            () = sleep_until(next_limits), if !unlimited.is_empty() => {
                changed.take_first(&mut unlimited);
                next_limits = Instant::now() + LOOK_AT_LIMITS;
            }
            () = sleep_until(next_read) => {
                let is_one = take_info(cluster, engine, read_info(cluster, engine).await?, heard);
                if !is_one || !read_all(cluster, engine).await? {
                    return Ok(Ended::Duplicate);
                }
                report.ok();
                unlimited = cluster.limits_unknown(engine).into();
                next_read = Instant::now() + every;
            }
            () = report.woken() => next_read = Instant::now(),
            () = engine.woken() => {
                // The monitor found the engine answering after it was down.
                if engine.status() != EngineStatus::Up {
                    return Ok(Ended::Stale);
                }
                if cluster.note_twin(engine) {
                    return Ok(Ended::Duplicate);
                }
                if engine.is_to_be_read() {
                    next_read = Instant::now();
                }
            }
            container = refreshes.next(), if !refreshes.is_empty() => {
                changed.done(container);
                if cluster.note_twin(engine) {
                    return Ok(Ended::Duplicate);
                }
            }
            event = events.next(), if heard.unrecorded.is_none() => match event {
                Some(event) => take_event(cluster, engine, event?, heard, &mut changed),
                None => return Ok(Ended::Over),
            },
        }
    }
}

/// What the engine says of itself. Notes what its clock shows meanwhile.
async fn read_info(cluster: &Cluster, engine: &EngineHandle) -> Result<EngineInfo, EngineError> {
    let asked = cluster.shared.clock.now();
    let info = engine.client().info().await?;
    if let Some(shown) = info.time {
        let answered = cluster.shared.clock.now();
        cluster.with(engine, |view| view.note_clock(engine.id(), shown, asked, answered));
    }
    Ok(info)
}

/// Notes what the engine says of itself. False when it is the same daemon as another engine.
fn take_info(cluster: &Cluster, engine: &EngineHandle, info: EngineInfo, heard: &mut Heard) -> bool {
    heard.seen.note_clock(info.time);
    if let Some(other) = cluster.engine_of_daemon(engine.id(), &info.daemon_id) {
        let reason = format!(
            "its Docker daemon has the same id as that of engine {other}: it is the same daemon under another address, and one of \
             the two engines is to be deleted; or this machine was cloned: stop Docker here, delete /var/lib/docker/engine-id \
             (older ones: /etc/docker/key.json), and start it"
        );
        cluster.set_duplicate(engine, &other, reason);
        return false;
    }
    cluster.with(engine, |view| view.set_info(engine.id(), info));
    true
}

/// Reads everything. False when the engine is another one over again.
async fn read_all(cluster: &Cluster, engine: &EngineHandle) -> Result<bool, EngineError> {
    let ticket = cluster.ticket();
    let mut found = engine.client().list().await?;
    if cluster.note_twin_among(engine, &found) {
        return Ok(false);
    }
    let orphans = cluster.recognise_all(engine.id(), &mut found, ticket);
    cluster.with(engine, |view| view.observe_all(engine.id(), found, ticket));
    cluster.collect(orphans);
    Ok(true)
}

async fn refresh(cluster: &Cluster, engine: &EngineHandle, container: ContainerId) -> ContainerId {
    if let Err(error) = cluster.refresh_on(engine, &container).await {
        tracing::debug!(engine = %engine.id(), container = container.short(), %error, "not read again");
    }
    container
}

fn take_event(cluster: &Cluster, engine: &EngineHandle, event: EngineEvent, heard: &mut Heard, changed: &mut Changed) {
    if !heard.seen.is_new(&event) {
        return;
    }
    match &*event.action {
        "die" => cluster.note_exit(engine, &event),
        "kill" => cluster.note_signal(engine, &event),
        _ => {}
    }
    if let Some(container) = event.detail.disconnected.clone().filter(|container| !cluster.being_removed(container)) {
        changed.mark(container);
    }
    match &event.container {
        Some(container) if event.action == "destroy" => cluster.gone_from(engine, container),
        Some(container) if is_told_by_its_launch(cluster, engine.id(), &event) || cluster.being_removed(container) => {}
        Some(container) if changes_state(&event.action) => changed.mark(container.clone()),
        None if changes_host(&event.action) || is_of_a_named_object(&event) => {
            changed.info_due.get_or_insert_with(|| Instant::now() + Duration::from_millis(500));
        }
        Some(_) | None => {}
    }
    // Each check of a container's health is three of them, and they would push everything else out of the log.
    if event.action.starts_with("exec_") && !cluster.shared.settings.record_exec_events {
        return;
    }
    heard.unrecorded = cluster.shared.recorder.put(shown_event(engine, event));
}

/// Whether it is the beginning of a container that is being launched: the launch reads it when it runs.
fn is_told_by_its_launch(cluster: &Cluster, engine: &EngineId, event: &EngineEvent) -> bool {
    matches!(&*event.action, "create" | "start")
        && event.launch.is_some_and(|launch| cluster.launches().is_under_way(engine, launch, &event.name))
}

/// Whether a host may say something else of itself after that: what happens to images, and to the daemon. The networks and
/// volumes that come and go with every container do not change it.
fn changes_host(action: &str) -> bool {
    matches!(action, "pull" | "import" | "load" | "tag" | "untag" | "delete" | "prune" | "reload")
}

/// Whether somebody made or removed a network or a volume that has a name. Docker calls a volume that comes and goes with its
/// container by 64 digits.
fn is_of_a_named_object(event: &EngineEvent) -> bool {
    let is_named = event.name.len() != 64 || !event.name.bytes().all(|byte| byte.is_ascii_hexdigit());
    matches!(&*event.action, "create" | "destroy") && is_named
}

/// Whether a container may look different after that. Looking inside one does not change it.
fn changes_state(action: &str) -> bool {
    !(action.starts_with("exec_") || matches!(action, "top" | "attach" | "detach" | "resize" | "export" | "copy"))
}

fn shown_event(engine: &EngineHandle, event: EngineEvent) -> Event {
    let EngineEvent { time, action, container, name, image, detail, .. } = event;
    let engine = engine.id();
    let found = detail.health.as_ref().map(|health| format!(": {health}")).unwrap_or_default();
    let of = image.as_ref().map(|image| format!(" ({image})")).unwrap_or_default();
    let how = match (detail.exit_code, &detail.signal) {
        (Some(code), _) => format!(": exit code {code}"),
        (None, Some(signal)) => format!(": signal {signal}"),
        (None, None) => String::new(),
    };
    let message = format!("{action}{found} {name}{of} on {engine}{how}");
    let mut shown = Event::new(EventKind::Other(action), message).on(engine).tagged(TAG_DOCKER);
    shown.time = time;
    shown.container = container;
    shown.name = Some(name).filter(|name| !name.is_empty());
    shown.image = image;
    shown.exit_code = detail.exit_code;
    shown.signal = detail.signal;
    shown.health = detail.health;
    shown
}

#[cfg(test)]
mod tests;
