//! Room that is reserved: placing, starting again, giving back, and turning into a container.

use std::sync::Arc;

use super::{Allocation, ContainerId, EngineId, ObservedContainer, Reserved, Ticket, View};
use crate::model::{ContainerType, LaunchId};
use crate::scheduler::{PlacementRequest, Refusal, Scheduler};

impl View {
    /// Places and reserves in one step: what the scheduler chose cannot be taken by anybody else from then on.
    pub(in crate::cluster) fn place(
        &mut self,
        scheduler: &dyn Scheduler,
        request: &PlacementRequest,
    ) -> Result<Vec<(LaunchId, EngineId)>, Refusal> {
        let chosen = scheduler.place(&self.snapshot, request)?;
        self.check_choice(&chosen, request)?;
        let image: Arc<str> = request.image.as_str().into();
        let placed = chosen
            .into_iter()
            .map(|engine| {
                let allocation = Allocation {
                    resources: Some(request.resources),
                    image: Some(image.clone()),
                    ports: request.host_ports.clone(),
                };
                let launch = LaunchId::new();
                self.reserve(launch, engine.clone(), allocation, None);
                (launch, engine)
            })
            .collect();
        Ok(placed)
    }

    /// Refuses an answer that a scheduler of another program must not give: containers would be lost without a word.
    fn check_choice(&self, chosen: &[EngineId], request: &PlacementRequest) -> Result<(), Refusal> {
        let reason = if chosen.len() != request.count {
            format!("the scheduler was asked for {} engines, and answered with {}", request.count, chosen.len())
        } else if let Some(unknown) = chosen.iter().find(|id| self.snapshot.get(id).is_none()) {
            format!("the scheduler answered with engine {unknown}, which is not one of them")
        } else {
            return Ok(());
        };
        tracing::error!(reason, "a scheduler does not do as it must; testing::scheduler::conforms says what that is");
        Err(Refusal { asked: request.count, possible: 0, engines: self.snapshot.len(), reasons: vec![reason] })
    }

    /// Reserves what a container needs to start again where it is. One that runs keeps what it has.
    pub(in crate::cluster) fn reserve_start(
        &mut self,
        scheduler: &dyn Scheduler,
        id: &ContainerId,
        overbooking: f64,
    ) -> Option<Result<LaunchId, Refusal>> {
        let entry = self.containers.get(id)?;
        let engine = entry.container.engine.id.clone();
        let resources = entry.reserved;
        let ports = entry.container.image.host_ports();
        if entry.allocation.resources.is_none() {
            let mut request = PlacementRequest::new(&entry.container.image, 1);
            request.kind = ContainerType::Service;
            request.labels.clear();
            // It was made there, and whether the host still has what it takes is for the host to say.
            (request.cpu_limit, request.highest_cpu, request.network) = (None, None, None);
            request.resources = resources;
            request.only = Some(engine.clone());
            request.overbooking = overbooking;
            if let Err(refusal) = scheduler.place(&self.snapshot, &request) {
                return Some(Err(refusal));
            }
        }
        let launch = LaunchId::new();
        let allocation = Allocation { resources: Some(resources), image: None, ports };
        self.starting.insert(id.clone(), launch);
        self.reserve(launch, engine, allocation, Some(id.clone()));
        self.recount(id);
        Some(Ok(launch))
    }

    fn reserve(&mut self, launch: LaunchId, engine: EngineId, allocation: Allocation, container: Option<ContainerId>) {
        self.change_allocation(&engine, &allocation, true);
        self.reservations.insert(launch, Reserved { engine, allocation, container, launched: Vec::new() });
    }

    pub(in crate::cluster) fn reservations(&self) -> usize {
        self.reservations.len()
    }

    /// Ends a reservation. The container it covered, if it is there, counts by itself from now on.
    pub(in crate::cluster) fn release(&mut self, launch: LaunchId) {
        let Some(reserved) = self.reservations.remove(&launch) else { return };
        self.change_allocation(&reserved.engine, &reserved.allocation, false);
        if let Some(id) = &reserved.container {
            self.starting.remove(id);
        }
        for id in reserved.container.iter().chain(&reserved.launched) {
            self.recount(id);
        }
    }

    /// Turns the reservation of a launch into its container, in one step. False when another engine has that container.
    pub(in crate::cluster) fn commit(
        &mut self,
        launch: LaunchId,
        engine: &EngineId,
        found: ObservedContainer,
        ticket: Ticket,
    ) -> bool {
        let id = found.id.clone();
        let is_here = self.observe(engine, found, ticket);
        self.release(launch);
        self.recount(&id);
        is_here
    }
}
