//! One container that two hosts show: one was made of the other, or two engines are one host.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::apps::{Desired, Observed, ObservedContainer, Reach, Replica, Slot};
use crate::model::EngineId;

/// The containers of each slot, and beside them those of which another one counts.
pub(super) fn by_slot<'a>(
    desired: &Desired,
    observed: &'a Observed,
) -> (BTreeMap<&'a Slot, Vec<&'a ObservedContainer>>, Vec<&'a ObservedContainer>) {
    let mut by_slot: BTreeMap<&Slot, Vec<&ObservedContainer>> = BTreeMap::new();
    let mut twins = Vec::new();
    for container in &observed.containers {
        let Some(slot) = &container.slot else { continue };
        let containers = by_slot.entry(slot).or_default();
        let same = containers
            .iter_mut()
            .find(|other| (other.generation, other.of_another) == (container.generation, container.of_another));
        let Some(other) = same else {
            containers.push(container);
            continue;
        };
        // The one on a host that answers; of two, the one that is recorded.
        let worth = |container: &'a ObservedContainer| {
            let is_up = observed.engines.get(&container.engine) == Some(&Reach::Up);
            let recorded = desired.replicas.get(slot).and_then(|replica| host_of(replica, container.generation));
            let is_recorded = recorded == Some(&container.engine);
            (is_up, is_recorded, Reverse(&container.engine))
        };
        let mut twin = container;
        if worth(twin) > worth(other) {
            std::mem::swap(&mut twin, other);
        }
        twins.push(twin);
    }
    (by_slot, twins)
}

/// The host of a container, by the record of its slot.
fn host_of(replica: &Replica, generation: u64) -> Option<&EngineId> {
    if replica.generation == generation { Some(&replica.engine) } else { replica.elsewhere.get(&generation) }
}
