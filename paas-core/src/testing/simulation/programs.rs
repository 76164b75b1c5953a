//! What the programs in the containers do by themselves. The name of the image says it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::engine::{ObservedContainer, SimulatedEngine};
use crate::model::{ContainerState, HealthStatus};

/// Runs, and is healthy where anybody asks.
pub(super) const GOOD: &str = "good";
/// Runs, and never is healthy.
pub(super) const SICK: &str = "sick";
/// Ends a while after it began.
pub(super) const DIES: &str = "dies";
/// The same as a good one, but its command of before fails.
pub(super) const UNREADY: &str = "unready";
/// The registry lists such an image, and nobody gets it.
pub(super) const WITHDRAWN: &str = "withdrawn";
/// Has something to do, does it, and ends well.
pub(super) const JOB: &str = "job";

const HEALTHY_AFTER: Duration = Duration::from_secs(2);
const SICK_AFTER: Duration = Duration::from_secs(6);
const DIES_AFTER: Duration = Duration::from_secs(3);
const JOB_TAKES: Duration = Duration::from_secs(5);
const BEFORE_TAKES: Duration = Duration::from_secs(4);

/// Lets every program do what it does by now.
pub(super) fn go_on(hosts: &BTreeMap<String, SimulatedEngine>, now: Timestamp) {
    for host in hosts.values() {
        for container in host.really_there().into_iter().filter(|found| found.state == ContainerState::Running) {
            go_on_with(host, &container, now);
        }
    }
}

fn go_on_with(host: &SimulatedEngine, container: &ObservedContainer, now: Timestamp) {
    let ran = container
        .run
        .started
        .map_or(Duration::ZERO, |started| Duration::try_from(now.duration_since(started)).unwrap_or_default());
    let image = container.spec.name.base_name();
    let end = |code| {
        // It may have been removed in this moment.
        let _ = host.outsider_end(&container.id, code);
    };
    if is_before(container) {
        if ran >= BEFORE_TAKES {
            end(i64::from(image == UNREADY));
        }
        return;
    }
    match image {
        DIES if ran >= DIES_AFTER => end(1),
        JOB if ran >= JOB_TAKES => end(0),
        _ => {}
    }
    let found = match image {
        SICK if ran >= SICK_AFTER => HealthStatus::Unhealthy,
        SICK => return,
        _ if ran >= HEALTHY_AFTER => HealthStatus::Healthy,
        _ => return,
    };
    if container.run.health == Some(HealthStatus::Starting) {
        let _ = host.set_health(&container.id, found);
    }
}

/// Whether it is the command that goes before a component.
pub(super) fn is_before(container: &ObservedContainer) -> bool {
    let labels = container.managed.as_ref().and_then(|managed| managed.replica());
    labels.is_some_and(|labels| labels.slot.is_none())
}
