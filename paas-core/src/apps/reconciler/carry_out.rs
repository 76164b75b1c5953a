//! Has Docker do what was decided and written down.

use std::sync::Arc;
use std::time::Duration;

use super::create::component;
use super::round::{slots_without_volume, waits_for_volume};
use super::secrets::Fault;
use super::{App, Apps};
use crate::apps::convert::volume_name;
use crate::apps::{Action, Desired, Goal, Instance, Slot, Step};
use crate::cluster::ReplicaContainer;
use crate::engine::{DockerEngine, EngineError, EngineErrorKind, VolumeRequest};
use crate::executor::Executor;
use crate::model::EngineId;
use crate::model::app::StopPolicy;
use crate::store::Result;

impl Apps {
    /// Carries steps out, one after the other, until one fails.
    pub(super) async fn carry_out(
        &self,
        executor: &Executor,
        app: &Arc<App>,
        target: &super::Target,
        desired: &Desired,
        steps: Vec<Step>,
    ) {
        let (volumes, all) = (slots_without_volume(&steps), steps);
        for step in &all {
            if waits_for_volume(step, &volumes)
                && let Err(error) = self.record_step(app, step).await
            {
                return tracing::warn!(app = %app.name, step = %step.action, %error, "a step was not written down");
            }
            let Err(fault) = self.carry_out_one(executor, app, desired, &step.action).await else { continue };
            let is_missing = matches!(&fault, Fault::Engine(error) if error.kind() == EngineErrorKind::NoSuchContainer);
            let is_gone = |replica| Target::find(executor, app, replica).is_err();
            if is_missing && step.action.replica().is_none_or(is_gone) {
                // Somebody else removed it; the next round sees that.
                return;
            }
            let failures = app.note_failed_steps(target);
            tracing::warn!(app = %app.name, step = %step.action, error = %fault, "a step failed");
            let written = match &fault {
                Fault::Engine(error) => {
                    if let Action::Start(replica) = &step.action
                        && error.kind() == EngineErrorKind::Unable
                        && failures >= TRIES_OF_START
                    {
                        self.give_up(executor, app, desired, replica).await;
                    }
                    self.note_failed_step(executor, app, desired, &all, &step.action, error).await
                }
                // Neither a host nor a version is to blame: the next round tries again.
                Fault::Store(_) => Ok(()),
            };
            if let Err(error) = written {
                // The next round finds that nothing came of it.
                tracing::warn!(app = %app.name, %error, "that a step failed was not written down");
            }
            // What failed for a moment is not tried again in the same moment.
            tokio::time::sleep(PAUSE.saturating_mul(1 << (failures - 1).min(4))).await;
            return;
        }
        app.failures.lock().remove(target);
    }

    /// Writes down that a step failed, where the planner has to know.
    async fn note_failed_step(
        &self,
        executor: &Executor,
        app: &Arc<App>,
        desired: &Desired,
        all: &[Step],
        action: &Action,
        error: &EngineError,
    ) -> Result<()> {
        match action {
            Action::Create { replica, revision, .. } => {
                let component = desired.component(*revision, &replica.slot.component);
                let of_host = self.is_of_host(executor, app, component, error).await;
                self.note_failure(app, replica, error, of_host).await
            }
            Action::Fetch { slot, revision, engine } => {
                let component = desired.component(*revision, &slot.component);
                let of_host = self.is_of_host(executor, app, component, error).await;
                self.note_failed_fetch(app, slot, *revision, engine, error, of_host).await
            }
            Action::CreateVolume { slot, .. } => match container_of(all, slot) {
                Some(replica) => self.note_failure(app, replica, error, error.is_of_the_engine()).await,
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Removes a container that its host cannot start again, such as one whose network is gone: another one is made in its place.
    async fn give_up(&self, executor: &Executor, app: &App, desired: &Desired, replica: &Instance) {
        let Ok(Target { container, .. }) = Target::find(executor, app, replica) else { return };
        if let Err(error) = self.remove_and_keep_output(executor, desired, container).await {
            tracing::warn!(app = %app.name, %replica, %error, "what cannot be started stays");
        }
    }

    /// Writes down a step that was not written down with the others.
    async fn record_step(&self, app: &Arc<App>, step: &Step) -> Result<()> {
        self.note(app, |desired, now| desired.record(step, now)).await
    }

    async fn carry_out_one(
        &self,
        executor: &Executor,
        app: &Arc<App>,
        desired: &Desired,
        action: &Action,
    ) -> Result<(), Fault> {
        match action {
            Action::CreateVolume { taken: true, .. } => Ok(()),
            Action::CreateVolume { slot, volume, engine, taken: false } => {
                Ok(self.make_volume(executor, app, slot, volume, engine).await?)
            }
            Action::Fetch { slot, revision, engine } => {
                let image = component(desired, *revision, &slot.component)?.exact_image();
                executor.fetch_image(engine, &image).await?;
                app.images.lock().insert((engine.clone(), image));
                Ok(())
            }
            Action::Create { replica, revision, .. } => {
                // What was fetched for it may be gone by the next time.
                app.images.lock().retain(|(engine, _)| *engine != replica.engine);
                self.create(executor, app, desired, replica, *revision).await
            }
            Action::Start(replica) => {
                let target = Target::find(executor, app, replica)?;
                // Whoever made it may have died before it had its files.
                let opened = self.files_before_start(&app.name, desired, &target.container).await?;
                let started = executor.start_replica(&target.container, opened.files()).await;
                started.map_err(|error| opened.hide_in(error).into())
            }
            Action::Restart(replica) => {
                let target = Target::find(executor, app, replica)?;
                let grace = target.grace(desired);
                Ok(target.change(executor, target.engine.restart(&target.container.id, grace)).await?)
            }
            Action::Stop(replica) | Action::SetAside(replica) => {
                let target = Target::find(executor, app, replica)?;
                let grace = target.grace(desired);
                Ok(target.change(executor, target.engine.stop(&target.container.id, grace)).await?)
            }
            Action::Remove(replica) => {
                let container = Target::find(executor, app, replica)?.container;
                Ok(self.remove_and_keep_output(executor, desired, container).await?)
            }
            Action::Rename(replica) => {
                let target = Target::find(executor, app, replica)?;
                let name = replica.container_name(&app.name);
                Ok(target.change(executor, target.engine.rename(&target.container.id, &name)).await?)
            }
            Action::UpdateInPlace(replica, sizes) => {
                let target = Target::find(executor, app, replica)?;
                Ok(target.change(executor, target.engine.update(&target.container.id, sizes)).await?)
            }
            Action::RunBefore(component) => self.run_before(executor, app, desired, component).await,
            Action::Assign { .. }
            | Action::Adopt { .. }
            | Action::Admit(_)
            | Action::Drain(_)
            | Action::Stay(_)
            | Action::Complete(_)
            | Action::Forget(_)
            | Action::Rollback { .. }
            | Action::Finish(_)
            | Action::Wait { .. } => Ok(()),
        }
    }

    async fn make_volume(
        &self,
        executor: &Executor,
        app: &App,
        slot: &Slot,
        volume: &str,
        engine: &EngineId,
    ) -> Result<(), EngineError> {
        let cluster = &executor.cluster;
        let connection = cluster.connection(engine).ok_or_else(|| deleted("make the volume"))?;
        let request = VolumeRequest {
            name: volume_name(&app.name, slot, volume),
            platform: cluster.platform().to_owned(),
            app: app.name.clone(),
            component: slot.component.clone(),
            slot: slot.number,
        };
        let labels = cluster.while_up(engine, connection.create_volume(&request)).await?;
        if !cluster.is_of_app(&labels, &app.name) {
            let detail = format!("volume {} is there, and was not made by the platform", request.name);
            return Err(EngineError::new(EngineErrorKind::Unable, "make the volume", detail));
        }
        cluster.note_volume(engine, &request.name);
        Ok(())
    }
}

/// The container that is made for a slot after its volumes.
fn container_of<'a>(steps: &'a [Step], slot: &Slot) -> Option<&'a Instance> {
    steps.iter().find_map(|step| match &step.action {
        Action::Create { replica, .. } if replica.slot == *slot => Some(replica),
        _ => None,
    })
}

impl App {
    /// How often in a row steps failed, with this time.
    fn note_failed_steps(&self, target: &super::Target) -> u32 {
        let mut failures = self.failures.lock();
        let count = failures.entry(target.clone()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

/// How long nothing more is done for a slot after a step of it failed; twice as long after each further one, up to 16 times.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a container is started that its host is not able to start, until another one is made.
const TRIES_OF_START: u32 = 3;

/// The container that a step is about, and the way to it.
struct Target {
    container: ReplicaContainer,
    engine: Arc<dyn DockerEngine>,
}

impl Target {
    fn find(executor: &Executor, app: &App, replica: &Instance) -> Result<Self, EngineError> {
        let found = executor.cluster.replicas(&app.name).into_iter().find(|container| is_replica(container, replica));
        let kind = EngineErrorKind::NoSuchContainer;
        let container = found.ok_or_else(|| EngineError::new(kind, "find the container", "it is gone"))?;
        let engine = executor.cluster.connection(&replica.engine).ok_or_else(|| deleted("reach the container"))?;
        Ok(Self { container, engine })
    }

    fn of(executor: &Executor, container: ReplicaContainer) -> Result<Self, EngineError> {
        let engine = executor.cluster.connection(&container.engine).ok_or_else(|| deleted("remove the container"))?;
        Ok(Self { container, engine })
    }

    /// How long it has to end.
    fn grace(&self, desired: &Desired) -> Duration {
        let labels = &self.container.labels;
        let stop = desired.component_of(labels).map(|component| &component.stop);
        Duration::from_millis(stop.map_or(StopPolicy::default().grace_ms, |stop| stop.grace_ms))
    }

    /// Has it changed, and looks how it is then.
    async fn change(
        &self,
        executor: &Executor,
        change: impl Future<Output = Result<(), EngineError>>,
    ) -> Result<(), EngineError> {
        let ReplicaContainer { engine, id, .. } = &self.container;
        let cluster = &executor.cluster;
        let outcome = cluster.while_up(engine, change).await;
        let _ = cluster.while_up(engine, cluster.refresh(engine, id)).await;
        outcome
    }

    /// Asks it to end, if it has not.
    async fn end(&self, executor: &Executor, desired: &Desired) -> Result<(), EngineError> {
        let ReplicaContainer { engine, id, state, .. } = &self.container;
        match state.holds_resources() {
            true => match executor.cluster.while_up(engine, self.engine.stop(id, self.grace(desired))).await {
                // Somebody was faster.
                Err(error) if error.kind() == EngineErrorKind::NoSuchContainer => Ok(()),
                outcome => outcome,
            },
            false => Ok(()),
        }
    }

    async fn remove(&self, executor: &Executor) -> Result<(), EngineError> {
        let ReplicaContainer { engine, id, .. } = &self.container;
        let cluster = &executor.cluster;
        let _slot = executor.slots.removal(engine).await;
        let _removal = cluster.removing(id);
        match cluster.while_up(engine, self.engine.remove(id)).await {
            Err(error) if error.kind() != EngineErrorKind::NoSuchContainer => Err(error),
            _ => {
                cluster.removed(id);
                Ok(())
            }
        }
    }
}

/// Whether a container is that one of its slot.
pub(super) fn is_replica(container: &ReplicaContainer, replica: &Instance) -> bool {
    let labels = &container.labels;
    let is_of_slot = labels.component == replica.slot.component && labels.slot == Some(replica.slot.number);
    is_of_slot && labels.generation == replica.generation && container.engine == replica.engine
}

/// Stops a container and removes it.
pub(super) async fn remove_container(
    executor: &Executor,
    desired: &Desired,
    container: ReplicaContainer,
) -> Result<(), EngineError> {
    let target = Target::of(executor, container)?;
    target.end(executor, desired).await?;
    target.remove(executor).await
}

impl Apps {
    /// The same, and keeps what it wrote last, unless that goes with its application, or somebody has read it.
    pub(super) async fn remove_and_keep_output(
        &self,
        executor: &Executor,
        desired: &Desired,
        container: ReplicaContainer,
    ) -> Result<(), EngineError> {
        let target = Target::of(executor, container)?;
        target.end(executor, desired).await?;
        if desired.goal != Goal::Destroy && target.container.labels.run.is_none() {
            self.keep_output(executor, desired, &target.container).await;
        }
        target.remove(executor).await
    }
}

pub(super) fn deleted(operation: &'static str) -> EngineError {
    EngineError::new(EngineErrorKind::Unreachable, operation, "the engine was deleted")
}
