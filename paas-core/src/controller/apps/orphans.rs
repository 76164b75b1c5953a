//! Containers that no record names: of a store that was lost, or that is older than what runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::apps::{Desired, Slot};
use crate::cluster::{EngineReach, ReplicaContainer};
use crate::controller::{Controller, ControllerError, Result};
use crate::model::app::{AppName, AppSpec, ComponentName, ComponentSpec, Replicas};
use crate::model::{ExactImage, ImageDigest};
use crate::wire::app::ApplyRequest;

/// How many containers are named where there are many.
const NAMED: usize = 3;

impl Controller {
    /// The highest revision of the containers of an application.
    pub(super) fn seen(&self, app: &AppName) -> u64 {
        let all = self.shared.cluster.replicas(app);
        all.iter().map(|container| container.labels.revision).max().unwrap_or_default()
    }

    /// Whether there is a container that is as an application says, of a slot that has none of its own by its record: of a store
    /// that is older than what runs. Or a volume that has the name of one of a slot.
    pub(super) fn has_something_to_adopt(&self, desired: &Desired, spec: &AppSpec) -> bool {
        self.orphans(desired).iter().any(|(slot, container)| is_as_declared(spec, slot, container))
            || self.shared.apps.has_volume_to_take(&self.shared.cluster, desired, spec)
    }

    /// Has components whose containers are to be adopted made of what those are made of, where a tag points elsewhere by now: what
    /// runs is not replaced for being found again. Says so of each.
    pub(super) fn take_images_of_orphans(
        &self,
        desired: &Desired,
        spec: &mut AppSpec,
        request: &ApplyRequest,
    ) -> Vec<String> {
        if !request.adopt || request.refresh_images {
            return Vec::new();
        }
        let orphans = self.orphans(desired);
        let filled: BTreeSet<ComponentName> =
            self.filled_slots(desired).into_iter().map(|slot| slot.component).collect();
        let mut notes = Vec::new();
        for (name, component) in &mut spec.components {
            if component.image.digest().is_some() || filled.contains(name) {
                continue;
            }
            let of_it = orphans.iter().filter(|(slot, _)| slot.component == *name).map(|(_, container)| container);
            let Some((digest, image_id)) = image_of_most(component, of_it) else { continue };
            (component.digest, component.image_id) = (digest, image_id);
            let ExactImage { name: made_of, id } = component.exact_image();
            let id = id.map(|id| format!(" ({})", id.short())).unwrap_or_default();
            notes.push(format!(
                "component.{name}: what runs is {made_of}{id}, which is adopted; {} is another image by now, which \
                 --refresh-images takes",
                component.image
            ));
        }
        notes
    }

    /// Refuses to make containers beside those that no record names, unless that was asked for: where a store was lost, all of the
    /// application would run twice.
    pub(super) fn check_orphans(&self, desired: &Desired, spec: &AppSpec, request: &ApplyRequest) -> Result<()> {
        match self.left_beside(desired, spec, request.adopt) {
            Some(reason) if !request.beside_orphans => Err(ControllerError::Conflict { reason }),
            _ => Ok(()),
        }
    }

    /// Which containers that no record names would go on beside the replicas, in a sentence that says what to do; nothing where none
    /// would.
    pub(super) fn left_beside(&self, desired: &Desired, spec: &AppSpec, adopt: bool) -> Option<String> {
        let mut adopted = BTreeSet::new();
        let left: Vec<String> = self
            .orphans(desired)
            .into_iter()
            .filter(|(slot, container)| is_declared(spec, slot) && container.state.holds_resources())
            // Of two of one slot one is taken.
            .filter(|(slot, found)| !(adopt && is_as_declared(spec, slot, found) && adopted.insert(slot.clone())))
            .map(|(slot, container)| format!("{slot}.{} on {}", container.labels.generation, container.engine))
            .collect();
        if left.is_empty() {
            return None;
        }
        let more = left.len().saturating_sub(NAMED);
        let mut named = left[..left.len().min(NAMED)].join(", ");
        if more > 0 {
            named = format!("{named} and {more} more");
        }
        Some(match adopt {
            false => format!(
                "{named}: running, and named by no record, as after the loss of a store; take over with --adopt what is as the \
                 file says, or have others made beside them with --beside-orphans"
            ),
            true => format!(
                "{named}: running, named by no record, and in image or specification not as the file says; change the file, or \
                 have others made beside them with --beside-orphans"
            ),
        })
    }

    /// The containers that no record names, on hosts that answer, of slots that have no other, in the order of slots.
    fn orphans(&self, desired: &Desired) -> Vec<(Slot, ReplicaContainer)> {
        let (filled, reaches) = (self.filled_slots(desired), self.shared.cluster.reaches());
        let containers = self.shared.cluster.replicas(&desired.app).into_iter();
        let with_slots = containers.filter_map(|container| Some((slot_of(&container)?, container)));
        let mut orphans: Vec<_> = with_slots
            .filter(|(slot, container)| {
                !filled.contains(slot) && reaches.get(&container.engine) == Some(&EngineReach::Up)
            })
            .collect();
        orphans.sort_by(|(one, _), (other, _)| one.cmp(other));
        orphans
    }

    /// The slots of which there is a container that their records name.
    fn filled_slots(&self, desired: &Desired) -> BTreeSet<Slot> {
        let containers = self.shared.cluster.replicas(&desired.app).into_iter();
        let named = containers.filter_map(|container| {
            let slot = slot_of(&container)?;
            let replica = desired.replicas.get(&slot)?;
            let is_own =
                replica.made.contains(&container.labels.generation) && !desired.is_of_another(&container.labels);
            is_own.then_some(slot)
        });
        named.collect()
    }
}

fn slot_of(container: &ReplicaContainer) -> Option<Slot> {
    let number = container.labels.slot?;
    Some(Slot { component: container.labels.component.clone(), number })
}

fn is_declared(spec: &AppSpec, slot: &Slot) -> bool {
    spec.components.get(&slot.component).is_some_and(|component| match component.replicas {
        Replicas::Count(count) => slot.number <= count,
        Replicas::EachHost => true,
    })
}

fn is_as_declared(spec: &AppSpec, slot: &Slot, container: &ReplicaContainer) -> bool {
    let component = spec.components.get(&slot.component);
    component.is_some_and(|component| component.fingerprint() == container.labels.fingerprint)
}

/// A digest in a registry, and an id that hosts have.
type DigestAndId = (Option<ImageDigest>, Option<ImageDigest>);

/// The image with which a component is what most of its containers are, where that is another than it has.
fn image_of_most<'a>(
    component: &ComponentSpec,
    containers: impl Iterator<Item = &'a ReplicaContainer>,
) -> Option<DigestAndId> {
    let own = (component.digest.clone(), component.image_id.clone());
    let mut counts: BTreeMap<DigestAndId, usize> = BTreeMap::new();
    for container in containers {
        let image = (container.spec.name.digest(), container.labels.image_id.clone());
        let as_it_is = ComponentSpec { digest: image.0.clone(), image_id: image.1.clone(), ..component.clone() };
        if as_it_is.fingerprint() == container.labels.fingerprint {
            *counts.entry(image).or_default() += 1;
        }
    }
    let most = counts.iter().max_by_key(|(image, count)| (**count, **image == own))?.0.clone();
    (most != own).then_some(most)
}
