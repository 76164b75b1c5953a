//! Scaling: bringing a group of identical containers to a size.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt, select_all};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::{Actor, Controller, ControllerError, Failure, Operation, Progress, Result};
use crate::cluster::{Member, Standing};
use crate::engine::ReplicaLabels;
use crate::executor::Launcher;
use crate::executor::slots::REMOVALS;
use crate::model::{Container, ContainerId, EngineId, Event, EventKind};
use crate::wire::app::ScaleRequest;

/// What became of the containers that were too many.
#[derive(Clone, Copy, Debug, Default)]
struct Gone {
    destroyed: usize,
    /// How many are to go when their engine is back.
    deferred: usize,
    failed: usize,
}

impl Controller {
    /// The same asked of a replica: its component gets so many of them, and the application sees to that.
    async fn scale_component(&self, actor: &Actor, replica: &ReplicaLabels, count: usize) -> Result<Operation> {
        let replicas = u32::try_from(count).unwrap_or(u32::MAX);
        let request = ScaleRequest { component: Some(replica.component.clone()), replicas };
        self.scale_app(actor, replica.app.as_str(), request).await?;
        let (steps, operation) = Operation::new();
        let _ = steps.send(Progress::Summary { requested: count, started: 0, destroyed: 0, failed: 0 });
        Ok(operation)
    }

    /// Brings the group of a container to `count` running containers, 0 for none: starts what is missing, or destroys what
    /// is too many. The group is every container that was asked to be the same in every field.
    ///
    /// What counts is what is known to run. What is on an engine that does not answer is too many as soon as enough run
    /// elsewhere: it goes when the engine is back, and is named among what was not done yet. Then goes what ends again and
    /// again, then what is on engines that are drained, then the youngest on the engine that has most of them.
    ///
    /// One change of a group at a time: of two requests at once the second sees what the first made. Answers when it is
    /// decided what happens.
    ///
    /// # Errors
    /// [`ControllerError::NotManaged`] for a container that the platform did not start; [`ControllerError::NoRoom`] when
    /// not all that is missing fits: then nothing is changed.
    pub async fn scale(&self, actor: &Actor, reference: &str, count: usize) -> Result<Operation> {
        self.check_open()?;
        self.check_count(count, 0)?;
        let known = self.resolve(reference)?;
        super::containers::check_owner(&known, None)?;
        if let Some(replica) = known.replica {
            return self.scale_component(actor, &replica, count).await;
        }
        let group = known.group.ok_or_else(|| ControllerError::NotManaged { id: known.container.id.clone() })?;
        let lock = self.shared.group_locks.lock(group.as_str()).await;
        self.check_open()?;
        let cluster = &self.shared.cluster;
        // What a server that died had begun may be about to run.
        self.settle_launches(cluster.launches().interrupted_of(&group)).await?;
        let mut members = cluster.members(&group);
        members.sort_by_key(|member| member.standing);
        let away = members.iter().take_while(|member| member.standing == Standing::Unreachable).count();
        let (steps, operation) = Operation::new();
        let image = known.container.image.name.clone();
        let id = known.container.id.clone();
        let before = members.len() - away;
        let missing = count.saturating_sub(before);
        let launch = if missing > 0 {
            self.check_policy_of_run(actor, &known.container.image)?;
            let plan = self.plan(&known.container.image)?;
            let places = cluster.place_anywhere(plan.placement(missing)).await;
            let places = places.map_err(ControllerError::NoRoom)?;
            let user = actor.user_name().cloned();
            let launcher = Launcher::new(self.executor(), plan, user, None, false, steps.clone());
            Some((launcher, places.into_iter().enumerate().collect()))
        } else {
            None
        };
        let (controller, actor) = (self.clone(), actor.clone());
        let (begun, is_begun) = oneshot::channel();
        self.spawn_to_end(async move {
            let _one_change_at_a_time = lock;
            let (mut started, mut failed) = (0, 0);
            if let Some((launcher, places)) = launch {
                match launcher.begin(places).await {
                    Ok(launches) => {
                        // The caller may have gone away.
                        let _ = begun.send(Ok(()));
                        (started, failed) = launcher.launch_all(launches).await;
                    }
                    Err(error) => return drop(begun.send(Err(error))),
                }
            } else {
                let _ = begun.send(Ok(()));
            }
            let gone = controller.shrink(&actor, members, started, count, &id, &steps).await;
            let after = before + started - gone.destroyed;
            let mut message = format!("scaled {image} from {before} to {after}");
            if failed + gone.failed > 0 {
                message = format!("{message} of {count}; {} failed", failed + gone.failed);
            }
            if gone.deferred > 0 {
                message = format!("{message}; {} go when their engines are back", gone.deferred);
            }
            let event = Event::new(EventKind::ScaleContainer, message).of(&id);
            if let Err(error) = controller.record(actor.sign(event)).await {
                tracing::warn!(%error, "a change of size could not be recorded");
            }
            let failed = failed + gone.failed + gone.deferred;
            let _ = steps.send(Progress::Summary { requested: count, started, destroyed: gone.destroyed, failed });
        });
        match is_begun.await {
            Ok(Ok(())) => Ok(operation),
            Ok(Err(error)) => Err(ControllerError::Store(error)),
            // The task ended without a word.
            Err(_) => Err(ControllerError::Panicked),
        }
    }

    /// Has those go that are too many, when so many more were started.
    async fn shrink(
        &self,
        actor: &Actor,
        members: Vec<Member>,
        started: usize,
        count: usize,
        named: &ContainerId,
        steps: &UnboundedSender<Progress>,
    ) -> Gone {
        let too_many = (members.len() + started).saturating_sub(count);
        let (away, here): (Vec<_>, Vec<_>) =
            members.into_iter().partition(|member| member.standing == Standing::Unreachable);
        let deferred: Vec<Member> = away.into_iter().take(too_many).collect();
        let surplus = surplus(here, too_many - deferred.len(), named);
        let (destroyed, mut failed) = self.destroy_all(actor, surplus, steps).await;
        let mut is_deferred = 0;
        for (index, Member { container, launch, .. }) in deferred.into_iter().enumerate() {
            let (engine, id) = (&container.engine.id, &container.id);
            let written =
                self.shared.cluster.launches().make_surplus(engine, launch, id, self.shared.cluster.now()).await;
            let (deferred, error) = match written {
                Ok(()) => (true, "its engine does not answer; it is removed when the engine is back".to_owned()),
                Err(error) => {
                    tracing::warn!(%error, "that a container is to go was not written down");
                    (false, "its engine does not answer, and that it is to go could not be written down".to_owned())
                }
            };
            is_deferred += usize::from(deferred);
            failed += usize::from(!deferred);
            let (engine, container) = (Some(engine.clone()), Some(id.clone()));
            let _ =
                steps.send(Progress::Failed(Failure { index: destroyed + index, engine, container, error, deferred }));
        }
        Gone { destroyed, deferred: is_deferred, failed }
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
        // No more at once than an engine removes, so that other requests for it or for one of them get their turn.
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
                    let (container, error) = (Some(container.id.clone()), error.to_string());
                    Progress::Failed(Failure { index, engine: Some(engine), container, error, deferred: false })
                }
            };
            let _ = steps.send(step);
        }
        (destroyed, failed)
    }
}

/// Containers by their engine, the youngest last.
type OnEngines = BTreeMap<EngineId, Vec<Arc<Container>>>;

/// Which of the members go: those that do worst, and of those that do equally well always the newest on the engine that has
/// the most of them.
///
/// Of equals the one that named the group stays, so that the same request can be made again, and the next one, too.
fn surplus(mut members: Vec<Member>, mut too_many: usize, named: &ContainerId) -> Vec<Arc<Container>> {
    members.sort_by(|a, b| {
        let (one, other) = (&a.container, &b.container);
        one.created.cmp(&other.created).then_with(|| one.id.cmp(&other.id))
    });
    let mut on_each: BTreeMap<EngineId, usize> = BTreeMap::new();
    let mut by_standing: BTreeMap<(Standing, bool), OnEngines> = BTreeMap::new();
    for Member { container, standing, .. } in members {
        let engine = container.engine.id.clone();
        *on_each.entry(engine.clone()).or_default() += 1;
        let equals = by_standing.entry((standing, container.id == *named)).or_default();
        equals.entry(engine).or_default().push(container);
    }
    let mut going = Vec::with_capacity(too_many);
    for mut equals in by_standing.into_values() {
        while too_many > 0 {
            let left = equals.iter_mut().filter(|(_, youngest_last)| !youngest_last.is_empty());
            let fullest = left.max_by_key(|(engine, _)| on_each.get(*engine).copied());
            let Some((engine, container)) = fullest.and_then(|(engine, last)| Some((engine, last.pop()?))) else {
                break;
            };
            on_each.entry(engine.clone()).and_modify(|count| *count -= 1);
            going.push(container);
            too_many -= 1;
        }
    }
    going
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerSpec, ContainerState, EngineSummary, LaunchId};

    fn member(number: u8, engine: &str, standing: Standing) -> Member {
        let engine = EngineSummary {
            id: engine.parse().unwrap(),
            addr: format!("sim://{engine}"),
            cpus: crate::model::Cpus::default(),
            memory: crate::model::MemoryMb::ZERO,
            labels: Vec::new(),
            simulated: true,
        };
        let container = Container {
            id: format!("{number:064x}").parse().unwrap(),
            name: format!("/web-{number}"),
            image: Arc::new(ContainerSpec::new("web:1".parse().unwrap())),
            engine: Arc::new(engine),
            state: ContainerState::Running,
            ports: Vec::new(),
            created: jiff::Timestamp::from_second(number.into()).unwrap(),
            managed: true,
        };
        Member { container: Arc::new(container), standing, launch: LaunchId::new() }
    }

    fn numbers(going: &[Arc<Container>]) -> Vec<u8> {
        going.iter().map(|container| container.name.trim_start_matches("/web-").parse().unwrap()).collect()
    }

    #[test]
    fn what_does_worst_goes_first_and_then_the_youngest_of_the_fullest_engine() {
        let members = || {
            vec![
                member(1, "a", Standing::Restarting),
                member(2, "a", Standing::Draining),
                member(3, "b", Standing::Running),
                member(4, "b", Standing::Running),
                member(5, "c", Standing::Running),
            ]
        };
        let named = members()[3].container.id.clone();
        assert_eq!(numbers(&surplus(members(), 4, &named)), [1, 2, 3, 5], "the one that was named stays");
        let unnamed: ContainerId = "f".repeat(64).parse().unwrap();
        assert_eq!(numbers(&surplus(members(), 3, &unnamed)), [1, 2, 4]);
        assert_eq!(numbers(&surplus(members(), 9, &unnamed)).len(), 5);
        let weak = members()[0].container.id.clone();
        assert_eq!(numbers(&surplus(members(), 1, &weak)), [1], "and not before one that runs");
    }
}
