//! Applications: declaring them, changing them, and looking at them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Actor, Controller, ControllerError, Result};
use crate::apps::difference::differences;
use crate::apps::documents::Beside;
use crate::apps::reconciler::{App, Held};
use crate::apps::{Action, Cause, Desired, Goal, RolloutReason, Step};
use crate::model::app::{AppName, AppSpec, ComponentName, EnvValue, Replicas};
use crate::model::{Container, EngineId, EngineStatus, Event, EventKind, Invalid};
use crate::store::records::RevisionRecord;
use crate::wire::app::{
    AppPlan, AppRequest, AppState, AppStatus, AppSummary, Applied, ApplyRequest, FieldChange, PlannedStep,
    RestartRequest, Revision, RevisionSummary, RollbackRequest, ScaleRequest,
};

/// How many revisions are kept, beside those that something still needs.
const REVISIONS_KEPT: usize = 20;

impl Controller {
    /// The applications, by name.
    pub fn apps(&self) -> Vec<AppSummary> {
        let executor = self.executor();
        let all = self.shared.apps.all();
        let known = all.iter().filter_map(|app| self.shared.apps.status(&executor, app)).map(|status| status.summary);
        let mut apps: Vec<AppSummary> = known.collect();
        for name in self.shared.cluster.replica_apps() {
            if !apps.iter().any(|app| app.name == name) {
                apps.push(self.orphaned(name));
            }
        }
        apps.sort_by(|one, other| one.name.cmp(&other.name));
        apps
    }

    /// An application of which there are containers, and no record.
    fn orphaned(&self, name: AppName) -> AppSummary {
        let containers = self.shared.cluster.replicas(&name);
        let components: BTreeSet<ComponentName> =
            containers.iter().map(|container| container.labels.component.clone()).collect();
        AppSummary {
            state: AppState::Orphaned,
            revision: 0,
            ready: 0,
            replicas: containers.iter().filter(|container| container.labels.slot.is_some()).count(),
            components: components.into_iter().collect(),
            changed: containers.iter().map(|container| container.created).max().unwrap_or_default(),
            name,
        }
    }

    /// One application, with the reason for everything that is not ready.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`].
    pub fn app(&self, name: &str) -> Result<AppStatus> {
        let app = self.known_app(name)?;
        self.shared.apps.status(&self.executor(), &app).ok_or_else(|| not_found(name))
    }

    /// What an apply would do: the fields that would change, and the first steps with their causes. Nothing is changed.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`] for what no application can be; [`ControllerError::NotAllowed`]; the store cannot be read.
    pub async fn plan_app(&self, actor: &Actor, name: &str, request: ApplyRequest) -> Result<AppPlan> {
        let name: AppName = name.parse()?;
        let known = self.shared.apps.known(name.as_str());
        // One that was destroyed may have left volumes.
        let app = known.unwrap_or_else(|| Arc::new(self.shared.apps.unknown(&name)));
        let desired = self.shared.apps.documents(&app).await.map_err(ControllerError::Store)?.desired().clone();
        let current = current_of(&desired).cloned();
        let spec = self.check_app(actor, &name, &request.app, current.as_deref())?;
        let changes = differences(current.as_deref(), &spec);
        let executor = self.executor();
        let drift = self.shared.apps.look(&executor, &app, &desired).1;
        let steps = if changes.is_empty() && desired.goal == Goal::Run {
            drift.clone()
        } else {
            let mut next = desired.clone();
            next.goal = Goal::Run;
            self.count_on_from_orphans(&mut next);
            next.begin(spec.clone(), reason_of(&request), self.shared.apps.now());
            self.shared.apps.look(&executor, &app, &next).1
        };
        let is_drift = |step: &&Step| !step.action.is_wait() && desired.rollout.is_none();
        Ok(AppPlan {
            base: desired.target,
            drift: drift.iter().filter(is_drift).map(ToString::to_string).collect(),
            refused: steps.iter().filter(|step| is_refusal(step)).map(ToString::to_string).collect(),
            notes: notes_of(&spec),
            steps: steps.iter().map(planned).collect(),
            changes,
            app: name,
        })
    }

    /// Makes an application what the file says: a new revision, and a rollout to it that the platform carries out by itself. Of
    /// what is there already nothing is changed.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`], [`ControllerError::NotAllowed`]; [`ControllerError::AppChanged`] where another revision is
    /// the newest than the one it was planned against; [`ControllerError::RolloutUnderWay`].
    pub async fn apply_app(&self, actor: &Actor, name: &str, request: ApplyRequest) -> Result<Applied> {
        let name: AppName = name.parse()?;
        let message = request.message.clone();
        self.change_app(actor, name.clone(), EventKind::ApplyApp, message, move |controller, actor, desired| {
            let current = current_of(desired).cloned();
            let spec = controller.check_app(actor, &name, &request.app, current.as_deref())?;
            let newest = desired.target;
            if let Some(base) = request.base.filter(|&base| base != newest) {
                let reason = format!(
                    "{name} is at revision {newest} by now, and this was planned against {base}; plan again, and look at \
                     what is different"
                );
                return Err(ControllerError::AppChanged { reason });
            }
            let is_same = current.is_some_and(|current| *current == spec);
            if is_same && desired.goal == Goal::Run && desired.is_target_good() {
                return Ok(None);
            }
            check_no_rollout(desired, request.supersede)?;
            desired.goal = Goal::Run;
            controller.count_on_from_orphans(desired);
            let revision = desired.begin(spec, reason_of(&request), controller.shared.apps.now());
            Ok(Some(format!("applied revision {revision}")))
        })
        .await
    }

    /// Goes back to an earlier revision, as a new one.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`], [`ControllerError::RevisionNotFound`], [`ControllerError::RolloutUnderWay`].
    pub async fn rollback_app(&self, actor: &Actor, name: &str, request: RollbackRequest) -> Result<Applied> {
        let name = self.known_app(name)?.name.clone();
        self.change_app(actor, name, EventKind::RollbackApp, String::new(), move |controller, actor, desired| {
            check_there(desired)?;
            check_no_rollout(desired, request.supersede)?;
            let before = || desired.revisions.keys().rev().copied().find(|&number| number < desired.target);
            let good = desired.last_done.filter(|&number| number != desired.target);
            let Some(to) = request.to.or(good).or_else(before) else {
                let reason = format!("{} has no revision before {}", desired.app, desired.target);
                return Err(ControllerError::Conflict { reason });
            };
            let missing = || ControllerError::RevisionNotFound { app: desired.app.to_string(), revision: to };
            let spec = AppSpec::clone(desired.revisions.get(&to).ok_or_else(missing)?);
            controller.check_policy_of_app(actor, &spec)?;
            let reason = RolloutReason::Rollback { why: String::new() };
            desired.goal = Goal::Run;
            let revision = desired.begin(spec, reason, controller.shared.apps.now());
            Ok(Some(format!("goes back to revision {to}, as {revision}")))
        })
        .await
    }

    /// Gives a component another number of replicas. Also while a rollout is under way, which goes on.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`]; [`ControllerError::Invalid`] for a component that there is not.
    pub async fn scale_app(&self, actor: &Actor, name: &str, request: ScaleRequest) -> Result<Applied> {
        let name = self.known_app(name)?.name.clone();
        self.change_app(actor, name, EventKind::ScaleApp, String::new(), move |controller, actor, desired| {
            check_there(desired)?;
            let current = current_of(desired).ok_or_else(|| not_found(desired.app.as_str()))?;
            let mut spec = AppSpec::clone(current);
            let component = only_component(&spec, request.component.as_ref())?;
            let replicas = Replicas::Count(request.replicas);
            let Some(of) = spec.components.get_mut(&component) else { return Ok(None) };
            if of.replicas == replicas {
                return Ok(None);
            }
            let before = std::mem::replace(&mut of.replicas, replicas);
            spec.validate()?;
            controller.check_policy_of_app(actor, &spec)?;
            let revision = desired.begin(spec, RolloutReason::Scale, controller.shared.apps.now());
            Ok(Some(format!("{component}: {before} → {replicas} replicas, revision {revision}")))
        })
        .await
    }

    /// Makes every container again, as a rollout of the same specification.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`], [`ControllerError::RolloutUnderWay`].
    pub async fn restart_app(&self, actor: &Actor, name: &str, request: RestartRequest) -> Result<Applied> {
        let name = self.known_app(name)?.name.clone();
        self.change_app(actor, name, EventKind::RestartApp, String::new(), move |controller, actor, desired| {
            check_there(desired)?;
            check_no_rollout(desired, request.supersede)?;
            let spec =
                current_of(desired).map(|spec| AppSpec::clone(spec)).ok_or_else(|| not_found(desired.app.as_str()))?;
            controller.check_policy_of_app(actor, &spec)?;
            let revision = desired.begin(spec, RolloutReason::Restart, controller.shared.apps.now());
            Ok(Some(format!("makes every container again, as revision {revision}")))
        })
        .await
    }

    /// Stops all containers of an application, and keeps them.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`].
    pub async fn stop_app(&self, actor: &Actor, name: &str) -> Result<Applied> {
        self.set_goal(actor, name, EventKind::StopApp, Goal::Stop, "is stopped").await
    }

    /// Has an application run again that was stopped.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`].
    pub async fn start_app(&self, actor: &Actor, name: &str) -> Result<Applied> {
        self.set_goal(actor, name, EventKind::StartApp, Goal::Run, "runs again").await
    }

    async fn set_goal(
        &self,
        actor: &Actor,
        name: &str,
        kind: EventKind,
        goal: Goal,
        words: &'static str,
    ) -> Result<Applied> {
        let name = self.known_app(name)?.name.clone();
        self.change_app(actor, name, kind, String::new(), move |_, _, desired| {
            check_there(desired)?;
            if desired.goal == goal {
                return Ok(None);
            }
            desired.goal = goal;
            Ok(Some(words.to_owned()))
        })
        .await
    }

    /// Has all containers of an application removed, with `delete_volumes` its volumes as well; then it is forgotten. Answers
    /// when that is decided.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`].
    pub async fn destroy_app(&self, actor: &Actor, name: &str, delete_volumes: bool) -> Result<()> {
        let name = self.known_app(name)?.name.clone();
        let decide = move |_: &Controller, _: &Actor, desired: &mut Desired| {
            check_exists(desired)?;
            desired.goal = Goal::Destroy;
            Ok(Some(if delete_volumes { "is removed with its volumes".to_owned() } else { "is removed".to_owned() }))
        };
        let beside = Beside { delete_volumes, ..Beside::default() };
        self.change_app_with(actor, name, EventKind::DestroyApp, beside, decide).await.map(drop)
    }

    /// The revisions of an application that are kept, the newest first.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`].
    pub async fn app_revisions(&self, name: &str) -> Result<Vec<RevisionSummary>> {
        let documents = self.known_app(name)?.shown().ok_or_else(|| not_found(name))?;
        let target = documents.desired().target;
        Ok(documents.revisions().rev().map(|(number, record)| revision(number, record, target)).collect())
    }

    /// One revision of an application, with every default filled in.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`], [`ControllerError::RevisionNotFound`].
    pub async fn app_revision(&self, name: &str, number: u64) -> Result<Revision> {
        let documents = self.known_app(name)?.shown().ok_or_else(|| not_found(name))?;
        let found = documents.revisions().find(|(found, _)| *found == number);
        let missing = || ControllerError::RevisionNotFound { app: name.to_owned(), revision: number };
        let (_, record) = found.ok_or_else(missing)?;
        let summary = revision(number, record, documents.desired().target);
        Ok(Revision { summary, app: AppRequest::from(&record.spec) })
    }

    /// What is different between two revisions of an application.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`], [`ControllerError::RevisionNotFound`].
    pub async fn app_diff(&self, name: &str, from: u64, to: u64) -> Result<Vec<FieldChange>> {
        let documents = self.known_app(name)?.shown().ok_or_else(|| not_found(name))?;
        let spec = |number: u64| {
            let missing = || ControllerError::RevisionNotFound { app: name.to_owned(), revision: number };
            documents.desired().revisions.get(&number).cloned().ok_or_else(missing)
        };
        Ok(differences(Some(&*spec(from)?), &*spec(to)?))
    }

    /// The containers of the replicas of an application, or of one component of it, each with the name to show before its
    /// output: `web.1`.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`].
    pub fn app_containers(
        &self,
        name: &str,
        component: Option<&ComponentName>,
    ) -> Result<Vec<(String, Arc<Container>)>> {
        let app = self.known_app(name)?;
        app.shown().ok_or_else(|| not_found(name))?;
        let cluster = &self.shared.cluster;
        let mut found: Vec<(String, Arc<Container>)> = cluster
            .replicas(&app.name)
            .into_iter()
            .filter(|replica| component.is_none_or(|component| replica.labels.component == *component))
            .filter_map(|replica| {
                let number = replica.labels.slot.map_or_else(|| "before".to_owned(), |number| number.to_string());
                let name = format!("{}.{number}", replica.labels.component);
                Some((name, cluster.container(&replica.id)?.container))
            })
            .collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }

    /// Heals although more than half of the hosts are silent, until half of them answer, or this server ends.
    ///
    /// # Errors
    /// The event could not be kept.
    pub async fn heal_now(&self, actor: &Actor) -> Result<()> {
        let event = Event::new(EventKind::HealNow, "healing goes on although more than half of the hosts are silent");
        self.record(actor.sign(event)).await?;
        self.shared.apps.heal_now();
        Ok(())
    }

    /// Acts on applications again after a store was restored or is older than what runs.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn resume_reconciling(&self, actor: &Actor) -> Result<()> {
        self.owned(actor, |controller, actor| async move {
            controller.check_open()?;
            controller.shared.apps.resume().await.map_err(ControllerError::Store)?;
            let event = Event::new(EventKind::ResumeReconciling, "applications are acted on again");
            controller.record(actor.sign(event)).await
        })
        .await
    }

    /// Says that a host is gone for good: what ran there is made elsewhere, with empty volumes where `lose_volumes` says so. Gives
    /// the volumes that are lost, by name.
    ///
    /// # Errors
    /// [`ControllerError::EngineNotFound`]; [`ControllerError::Conflict`] for a host that answers, and for one that has volumes
    /// without `lose_volumes`.
    pub async fn host_lost(&self, actor: &Actor, engine: &EngineId, lose_volumes: bool) -> Result<Vec<String>> {
        let engine = engine.clone();
        self.owned(actor, move |controller, actor| async move {
            controller.check_open()?;
            controller.host_lost_now(&actor, &engine, lose_volumes).await
        })
        .await
    }

    async fn host_lost_now(&self, actor: &Actor, engine: &EngineId, lose_volumes: bool) -> Result<Vec<String>> {
        let apps = &self.shared.apps;
        let conflict = |reason| Err(ControllerError::Conflict { reason });
        let known = self.shared.cluster.engine(engine.as_str());
        match known.as_ref().map(|engine| engine.health.status) {
            None => return Err(ControllerError::EngineNotFound { id: engine.to_string() }),
            Some(EngineStatus::Up | EngineStatus::Suspect) => {
                return conflict(format!("host {engine} answers; drain it to have it emptied"));
            }
            Some(EngineStatus::Pending) if known.is_some_and(|engine| engine.health.reason.is_none()) => {
                return conflict(format!("nobody knows yet whether host {engine} answers; try again in a moment"));
            }
            Some(_) => {}
        }
        let on_it = apps.volumes_on(engine);
        let names: Vec<String> =
            on_it.iter().map(|(app, volume)| format!("{}/{} {}", app.name, volume.slot, volume.name)).collect();
        if !names.is_empty() && !lose_volumes {
            let reason = format!(
                "host {engine} has volumes that would be lost: {}; say --lose-volumes where that is to be",
                names.join(", ")
            );
            return conflict(reason);
        }
        for (app, _) in on_it {
            let held = apps.documents(&app).await.map_err(ControllerError::Store)?;
            let mut desired = held.desired().clone();
            desired.volumes.retain(|volume| volume.engine != *engine);
            let change = held.documents().change_to(desired, &Beside::default(), apps.now());
            let change = change.map_err(ControllerError::Store)?;
            held.commit(change, Vec::new()).await.map_err(ControllerError::Store)?;
        }
        apps.lose_host(engine).await.map_err(ControllerError::Store)?;
        let event = Event::new(EventKind::HostLost, format!("host {engine} is gone for good")).on(engine);
        self.record(actor.sign(event)).await?;
        Ok(names)
    }

    fn known_app(&self, name: &str) -> Result<Arc<App>> {
        self.shared.apps.known(name).filter(|app| app.shown().is_some()).ok_or_else(|| not_found(name))
    }

    async fn change_app(
        &self,
        actor: &Actor,
        name: AppName,
        kind: EventKind,
        message: String,
        decide: impl FnOnce(&Controller, &Actor, &mut Desired) -> Result<Option<String>> + Send + 'static,
    ) -> Result<Applied> {
        let beside = Beside { user: actor.name().to_owned(), message, ..Beside::default() };
        self.change_app_with(actor, name, kind, beside, decide).await
    }

    /// Changes what is kept of an application as `decide` says, with an event in its words; where it gives none, nothing is to
    /// be changed.
    async fn change_app_with(
        &self,
        actor: &Actor,
        name: AppName,
        kind: EventKind,
        beside: Beside,
        decide: impl FnOnce(&Controller, &Actor, &mut Desired) -> Result<Option<String>> + Send + 'static,
    ) -> Result<Applied> {
        self.owned(actor, move |controller, actor| async move {
            controller.check_open()?;
            if let Some(made) = actor.made_before() {
                return Ok(Applied { revision: made.parse().unwrap_or_default(), changed: true });
            }
            let apps = &controller.shared.apps;
            let (app, held) = loop {
                let app = apps.app(&name);
                let held = apps.documents(&app).await.map_err(ControllerError::Store)?;
                // Somebody may have had no luck with a new one, and forgotten it.
                if !app.is_gone() {
                    break (app, held);
                }
            };
            check_understood(&held, &name)?;
            let mut desired = held.desired().clone();
            let words = match decide(&controller, &actor, &mut desired) {
                Ok(Some(words)) => words,
                Ok(None) => return Ok(Applied { revision: desired.target, changed: false }),
                Err(error) => {
                    if !held.documents().is_there() {
                        apps.forget(&app);
                    }
                    return Err(error);
                }
            };
            forget_old_revisions(&mut desired);
            let revision = desired.target;
            let mut event = Event::new(kind, format!("{name}: {words}")).tagged("app");
            event.name = Some(name.to_string());
            event.reason = Some(beside.message.clone()).filter(|message| !message.is_empty());
            let publication = controller.publication_of(&actor, event, &revision.to_string())?;
            let now = controller.shared.apps.now();
            let change = held.documents().change_to(desired, &beside, now).map_err(ControllerError::Store)?;
            held.commit(change, publication.writes()).await.map_err(ControllerError::Store)?;
            controller.publish(publication).await;
            Ok(Applied { revision, changed: true })
        })
        .await
    }

    /// What an application is to be, if it may be that.
    fn check_app(
        &self,
        actor: &Actor,
        name: &AppName,
        request: &AppRequest,
        current: Option<&AppSpec>,
    ) -> Result<AppSpec> {
        let mut request = request.clone();
        let given = request.app.get_or_insert_with(|| name.to_string());
        if given != name.as_str() {
            let message = format!("must be {name} as in the path, not {given:?}");
            return Err(Invalid::new("app", message).into());
        }
        let spec = request.normalise(current)?;
        for (name, component) in &spec.components {
            let within = |field: &str| format!("component.{name}.{field}");
            let not_yet =
                |field: &str| Invalid::new(within(field), "is not carried out by this version yet; leave it out");
            if component.env.values().any(|value| matches!(value, EnvValue::Secret { .. })) {
                return Err(not_yet("env.secret").into());
            }
            if !component.secrets.is_empty() {
                return Err(not_yet("secrets").into());
            }
            if !component.configs.is_empty() {
                return Err(not_yet("configs").into());
            }
        }
        self.check_policy_of_app(actor, &spec)?;
        Ok(spec)
    }

    /// The first revision of an application of which containers are left, as of a store that was lost, has a number that none of
    /// them has: they are of another one.
    fn count_on_from_orphans(&self, desired: &mut Desired) {
        if current_of(desired).is_none() {
            let left = self.shared.cluster.replicas(&desired.app);
            desired.target = left.iter().map(|container| container.labels.revision).max().unwrap_or_default();
        }
    }

    /// Refuses what `actor` may not ask of a host, also where somebody else declared it.
    fn check_policy_of_app(&self, actor: &Actor, spec: &AppSpec) -> Result<()> {
        spec.components.values().try_for_each(|component| self.check_policy_of_run(actor, &component.container_spec()))
    }
}

fn not_found(name: &str) -> ControllerError {
    ControllerError::AppNotFound { name: name.to_owned() }
}

/// What is to run, if there is such an application.
fn current_of(desired: &Desired) -> Option<&Arc<AppSpec>> {
    desired.revisions.get(&desired.target)
}

fn reason_of(request: &ApplyRequest) -> RolloutReason {
    if request.adopt { RolloutReason::Adopt } else { RolloutReason::Apply }
}

fn check_exists(desired: &Desired) -> Result<()> {
    if current_of(desired).is_some() { Ok(()) } else { Err(not_found(desired.app.as_str())) }
}

/// An application that is being removed is not changed any more.
fn check_there(desired: &Desired) -> Result<()> {
    check_exists(desired)?;
    if desired.goal == Goal::Destroy {
        let reason = format!("{} is being removed; declare it again when it is gone", desired.app);
        return Err(ControllerError::Conflict { reason });
    }
    Ok(())
}

fn check_no_rollout(desired: &Desired, supersede: bool) -> Result<()> {
    if desired.goal == Goal::Destroy && current_of(desired).is_some() {
        return check_there(desired);
    }
    match &desired.rollout {
        Some(rollout) if !supersede => {
            let reason = format!(
                "the rollout of revision {} of {} is under way; wait until it ends, or take its place with --supersede",
                rollout.to, desired.app
            );
            Err(ControllerError::RolloutUnderWay { reason })
        }
        _ => Ok(()),
    }
}

fn check_understood(held: &Held<'_>, name: &AppName) -> Result<()> {
    if held.documents().is_foreign() {
        let reason = format!("{name} was changed by a newer version of the server; ask that one");
        return Err(ControllerError::Conflict { reason });
    }
    Ok(())
}

/// The component that is meant: the one that is named, or the only one.
fn only_component(spec: &AppSpec, named: Option<&ComponentName>) -> Result<ComponentName> {
    let names = || spec.components.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match named {
        Some(name) if spec.components.contains_key(name) => Ok(name.clone()),
        Some(name) => Err(Invalid::new("component", format!("there is no {name}; there are {}", names())).into()),
        None => match spec.components.keys().collect::<Vec<_>>()[..] {
            [only] => Ok(only.clone()),
            _ => Err(Invalid::new("component", format!("say which: {}", names())).into()),
        },
    }
}

/// Keeps the newest revisions, and those that a container or a rollback may need.
fn forget_old_revisions(desired: &mut Desired) {
    let used: Vec<u64> = desired
        .replicas
        .values()
        .flat_map(|replica| [replica.revision].into_iter().chain(replica.adopted.map(|(_, revision)| revision)))
        .chain(desired.last_done)
        .collect();
    let newest: Vec<u64> = desired.revisions.keys().rev().take(REVISIONS_KEPT).copied().collect();
    desired.revisions.retain(|number, _| newest.contains(number) || used.contains(number));
}

fn revision(number: u64, record: &RevisionRecord, target: u64) -> RevisionSummary {
    RevisionSummary {
        revision: number,
        created: record.created,
        user: record.user.parse().ok(),
        message: record.message.clone(),
        images: record.spec.components.iter().map(|(name, spec)| (name.clone(), spec.image.to_string())).collect(),
        current: number == target,
    }
}

fn planned(step: &Step) -> PlannedStep {
    let adds = matches!(step.action, Action::Create { .. } | Action::CreateVolume { .. } | Action::Start(_));
    let replaces = matches!(step.cause, Cause::Changed(_) | Cause::Restart);
    PlannedStep {
        action: step.action.to_string(),
        cause: step.cause.to_string(),
        choice: String::new(),
        waits: step.action.is_wait(),
        adds: adds && !replaces,
    }
}

fn is_refusal(step: &Step) -> bool {
    matches!(step.cause, Cause::NoRoom(_) | Cause::VolumeGone { .. } | Cause::Orphan(_) | Cause::UnknownRevision(_))
}

/// What is accepted and has no effect yet.
fn notes_of(spec: &AppSpec) -> Vec<String> {
    let note = |(name, component): (&ComponentName, &crate::model::app::ComponentSpec)| {
        let fields = component.fields_not_carried_out();
        (!fields.is_empty()).then(|| format!("component.{name}: {} has no effect yet", fields.join(", ")))
    };
    spec.components.iter().filter_map(note).collect()
}
