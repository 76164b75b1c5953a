//! Limits that Docker changes in a running container.

use super::view::View;
use super::{Component, Planner};
use crate::apps::{Action, Cause, ObservedContainer, Subject};
use crate::model::app::{Change, ComponentSpec, Sizes};
use crate::model::{ContainerSpec, Resources};
use crate::scheduler::PlacementRequest;

/// Whether a container has other limits than a component asks for, and Docker can change them in place.
pub(super) fn differ(container: &ObservedContainer, spec: &ComponentSpec) -> bool {
    container.sizes.map(|sizes| sizes.change_to(&spec.sizes())) == Some(Change::InPlace)
}

/// What is to be placed for one container of a component; with the limits that Docker enforces for it, where they are known.
pub(super) fn request(spec: &ComponentSpec, sizes: Option<Sizes>) -> PlacementRequest {
    let spec = spec.container_spec();
    let spec = match sizes {
        Some(Sizes { cpus, memory, .. }) => ContainerSpec { cpus, memory: Some(memory), ..spec },
        None => spec,
    };
    PlacementRequest::new(&spec, 1)
}

impl<'a> Planner<'a> {
    /// Whether the host of a container has room for what the limits of a component are above those that it has.
    pub(super) fn has_room_in_place(&self, container: &ObservedContainer, spec: &ComponentSpec) -> bool {
        let Some(host) = self.snapshot.get(&container.engine).filter(|_| container.state.holds_resources()) else {
            return true;
        };
        let (added, free) = (added(container, spec), host.free());
        added.cpus <= free.cpus && added.memory <= free.memory
    }

    /// Gives a container the limits of its component: as many at a time as the component allows, since a smaller limit may stop it.
    pub(super) fn update_in_place(
        &mut self,
        component: &Component<'a>,
        view: &View<'a>,
        container: &'a ObservedContainer,
    ) {
        let subject = Subject::Slot(view.slot.clone());
        if !self.has_room_in_place(container, view.spec) {
            return self.wait(subject, None, Cause::NoRoomInPlace(container.engine.clone()));
        }
        if self.in_flight(component) >= component.parallel() {
            return self.wait(subject, None, Cause::OthersFirst);
        }
        let added = added(container, view.spec);
        self.snapshot.to_mut().update(&container.engine, |host| host.reserved += added);
        self.step(Action::UpdateInPlace(view.instance(container), view.spec.sizes()), Cause::SizesDiffer);
    }
}

fn added(container: &ObservedContainer, spec: &ComponentSpec) -> Resources {
    request(spec, None).resources.saturating_sub(request(spec, container.sizes).resources)
}
