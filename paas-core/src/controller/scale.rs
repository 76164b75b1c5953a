//! Scaling: bringing a group of identical containers to a size.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt, select_all};
use tokio::sync::mpsc::UnboundedSender;

use super::slots::REMOVALS;
use super::{Actor, Controller, ControllerError, Failure, Operation, Progress, Result};
use crate::model::{Container, ContainerId, EngineId, Event, EventKind};

impl Controller {
    /// Brings the group of a container to `count` running containers: starts what is missing, or destroys what is too
    /// many. The group is every container that was asked to be the same in every field.
    ///
    /// One change of a group at a time: of two requests at once the second sees what the first made. Answers when it is
    /// decided what happens.
    ///
    /// # Errors
    /// [`ControllerError::NotManaged`] for a container that the platform did not start; [`ControllerError::NoRoom`] when
    /// not all that is missing fits: then nothing is changed.
    pub async fn scale(&self, actor: &Actor, reference: &str, count: usize) -> Result<Operation> {
        self.check_open()?;
        self.check_count(count)?;
        let known = self.resolve(reference)?;
        let group = known.group.ok_or_else(|| ControllerError::NotManaged { id: known.container.id.clone() })?;
        let lock = self.shared.group_locks.lock(group.as_str()).await;
        let members = self.shared.cluster.running_in_group(&group);
        let (steps, operation) = Operation::new();
        let controller = self.clone();
        let actor = actor.clone();
        let image = known.container.image.name.clone();
        let id = known.container.id.clone();
        let before = members.len();
        let missing = count.saturating_sub(before);
        let launch = if missing > 0 {
            self.check_policy_of_run(&actor, &known.container.image)?;
            let plan = self.plan(&known.container.image)?;
            let places = self.shared.cluster.place_anywhere(plan.placement(missing)).await;
            let places = places.map_err(ControllerError::NoRoom)?;
            Some((plan, places))
        } else {
            None
        };
        self.shared.operations.spawn(async move {
            let _one_change_at_a_time = lock;
            let (started, destroyed, failed) = match launch {
                Some((plan, places)) => {
                    let launcher = controller.launcher(&actor, plan, false, steps.clone());
                    let (started, failed) = launcher.launch_all(places.into_iter().enumerate().collect()).await;
                    (started, 0, failed)
                }
                None => {
                    let surplus = surplus(members, count, &id);
                    let (destroyed, failed) = controller.destroy_all(&actor, surplus, &steps).await;
                    (0, destroyed, failed)
                }
            };
            let after = before + started - destroyed;
            let message = match failed {
                0 => format!("scaled {image} from {before} to {after}"),
                _ => format!("scaled {image} from {before} to {after} of {count}; {failed} failed"),
            };
            let event = Event::new(EventKind::ScaleContainer, message).of(&id);
            if let Err(error) = controller.record(actor.sign(event)).await {
                tracing::warn!(%error, "a change of size could not be recorded");
            }
            let _ = steps.send(Progress::Summary { requested: count, started, destroyed, failed });
        });
        Ok(operation)
    }

    /// Destroys containers; how many were destroyed, and how many were not.
    async fn destroy_all(
        &self,
        actor: &Actor,
        containers: Vec<Arc<Container>>,
        steps: &UnboundedSender<Progress>,
    ) -> (usize, usize) {
        let mut by_engine: BTreeMap<EngineId, Vec<(usize, Arc<Container>)>> = BTreeMap::new();
        for (index, container) in containers.into_iter().enumerate() {
            by_engine.entry(container.engine.id.clone()).or_default().push((index, container));
        }
        // No more at once than an engine removes, so that whoever wants something else of it or of one of them gets his turn.
        let mut removals = select_all(by_engine.into_iter().map(|(engine, containers)| {
            let removals = stream::iter(containers).map(move |(index, container)| {
                let engine = engine.clone();
                async move { (index, engine, self.destroy(actor, container.id.as_str()).await, container) }
            });
            removals.buffer_unordered(REMOVALS).boxed()
        }));
        let (mut destroyed, mut failed) = (0, 0);
        while let Some((index, engine, outcome, container)) = removals.next().await {
            let step = match outcome {
                // One that somebody else removed meanwhile is gone, as was wanted.
                Ok(()) | Err(ControllerError::ContainerNotFound { .. }) => {
                    destroyed += 1;
                    Progress::Destroyed { container: container.id.clone(), engine }
                }
                Err(error) => {
                    failed += 1;
                    let container = Some(container.id.clone());
                    Progress::Failed(Failure { index, engine: Some(engine), container, error: error.to_string() })
                }
            };
            let _ = steps.send(step);
        }
        (destroyed, failed)
    }
}

/// Which of the members go so that `count` stay: always the newest on the engine that has the most of them.
///
/// The one that named the group stays, so that the same request can be made again, and the next one, too.
fn surplus(members: Vec<Arc<Container>>, count: usize, named: &ContainerId) -> Vec<Arc<Container>> {
    let mut too_many = members.len().saturating_sub(count);
    let mut by_engine: BTreeMap<EngineId, Vec<Arc<Container>>> = BTreeMap::new();
    let mut stays_on = None;
    for member in members {
        let engine = member.engine.id.clone();
        if member.id == *named {
            stays_on = Some(engine);
        } else {
            by_engine.entry(engine).or_default().push(member);
        }
    }
    for on_one in by_engine.values_mut() {
        on_one.sort_by(|a, b| a.created.cmp(&b.created).then_with(|| a.id.cmp(&b.id)));
    }
    let mut going = Vec::with_capacity(too_many);
    while too_many > 0 {
        let all_on = |engine: &EngineId, others: &Vec<_>| others.len() + usize::from(stays_on.as_ref() == Some(engine));
        let with_others = by_engine.iter_mut().filter(|(_, others)| !others.is_empty());
        let fullest = with_others.max_by_key(|(engine, others)| all_on(engine, others));
        let Some(container) = fullest.and_then(|(_, others)| others.pop()) else { break };
        going.push(container);
        too_many -= 1;
    }
    going
}
