//! Changes of what an application is to be.

use std::collections::BTreeMap;

use super::images::{self, Exacts, Found};
use super::secrets::check_kept;
use super::{current_of, not_found, only_component, reason_of};
use crate::apps::documents::Beside;
use crate::apps::reconciler::Held;
use crate::apps::secrets::Outlines;
use crate::apps::{Desired, Goal, RolloutReason};
use crate::controller::{Actor, Controller, ControllerError, Result};
use crate::model::app::{AppName, AppSpec, ComponentName, ComponentSpec, Replicas};
use crate::model::{Event, EventKind};
use crate::wire::app::{Applied, ApplyRequest, RestartRequest, RollbackRequest, ScaleRequest};

/// How many revisions are kept, beside those that something still needs.
const REVISIONS_KEPT: usize = 20;

impl Controller {
    /// Makes an application what the file says: a new revision, and a rollout to it that the platform carries out by itself. Of
    /// what is there already nothing is changed.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`], also for an image that is on no host and in no registry; [`ControllerError::NotAllowed`];
    /// [`ControllerError::AppChanged`] where another revision is the newest than the one it was planned against;
    /// [`ControllerError::RolloutUnderWay`].
    pub async fn apply_app(&self, actor: &Actor, name: &str, request: ApplyRequest) -> Result<Applied> {
        let name: AppName = name.parse()?;
        self.take_configs(&request.app).await?;
        let found = self.look_for_images(actor, &name, &request).await?;
        let beside = Beside { user: actor.name().to_owned(), message: request.message.clone(), ..Beside::default() };
        let decide = move |controller: &Controller, actor: &Actor, desired: &mut Desired, secrets: &Outlines| {
            let current = current_of(desired).cloned();
            let mut spec = controller.check_app(actor, &desired.app, &request.app, current.as_deref(), secrets)?;
            let mut exacts = Exacts::of(&spec, current.as_deref(), &found);
            exacts.digests.extend(request.images.clone().unwrap_or_default());
            exacts.ids.extend(request.image_ids.clone());
            exacts.pin(&mut spec, current.as_deref(), request.refresh_images);
            controller.take_images_of_orphans(desired, &mut spec, &request);
            let refused = images::refused(&spec, current.as_deref(), &found, request.refresh_images);
            if let Some(refused) = refused.into_iter().next() {
                return Err(refused.into());
            }
            let newest = desired.target;
            if let Some(base) = request.base.filter(|&base| base != newest) {
                let reason = format!(
                    "{} is at revision {newest} by now, and this was planned against {base}; plan again, and look at \
                     what is different",
                    desired.app
                );
                return Err(ControllerError::AppChanged { reason });
            }
            if !controller.begins_something(desired, &spec, &request) {
                return Ok(None);
            }
            check_no_rollout(desired, request.supersede)?;
            controller.check_orphans(desired, &spec, &request)?;
            desired.begin(spec, reason_of(&request), controller.shared.apps.now());
            Ok(Some(started_with(desired, "applied".to_owned())))
        };
        self.change_app_with(actor, name, EventKind::ApplyApp, beside, decide).await
    }

    /// Whether an apply begins a rollout: not where everything is there already that it asks for.
    pub(super) fn begins_something(&self, desired: &Desired, spec: &AppSpec, request: &ApplyRequest) -> bool {
        let is_same = current_of(desired).is_some_and(|current| **current == *spec);
        let adopts = request.adopt && self.has_something_to_adopt(desired, spec);
        !is_same || adopts || desired.goal != Goal::Run || !desired.is_target_good()
    }

    /// What there is of the images that an apply takes and of which no plan says it: those that are written in another way than
    /// before or that nobody could say what they are, or all.
    async fn look_for_images(
        &self,
        actor: &Actor,
        name: &AppName,
        request: &ApplyRequest,
    ) -> Result<BTreeMap<ComponentName, Found>> {
        let shown = self.shared.apps.known(name.as_str()).and_then(|app| app.shown());
        let current = shown.as_ref().and_then(|documents| current_of(documents.desired())).map(|spec| &**spec);
        let secrets = self.shared.apps.secrets().outlines(name).await.map_err(ControllerError::Store)?;
        let spec = self.check_app(actor, name, &request.app, current, &secrets)?;
        let is_asked = |(name, component): &(&ComponentName, &ComponentSpec)| {
            let planned = request.images.iter().chain([&request.image_ids]);
            let is_planned = planned.into_iter().any(|images| images.contains_key(*name));
            !is_planned && images::is_to_be_found(current, name, component, request.refresh_images)
        };
        Ok(self.find_images(spec.components.iter().filter(is_asked)).await)
    }

    /// Goes back to an earlier revision, as a new one.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`], [`ControllerError::RevisionNotFound`], [`ControllerError::RolloutUnderWay`].
    pub async fn rollback_app(&self, actor: &Actor, name: &str, request: RollbackRequest) -> Result<Applied> {
        let name = self.known_app(name)?.name.clone();
        let beside = Beside { user: actor.name().to_owned(), ..Beside::default() };
        let decide = move |controller: &Controller, actor: &Actor, desired: &mut Desired, secrets: &Outlines| {
            check_there(desired)?;
            check_no_rollout(desired, request.supersede)?;
            let good = desired.last_done.filter(|&number| number != desired.target).or(desired.done_before);
            let good = good.filter(|number| desired.revisions.contains_key(number));
            let Some(to) = request.to.or(good) else {
                let reason = format!(
                    "{} has no other revision that was rolled out entirely; 'app history' shows which there are, and one can be named",
                    desired.app
                );
                return Err(ControllerError::Conflict { reason });
            };
            let missing = || ControllerError::RevisionNotFound { app: desired.app.to_string(), revision: to };
            let spec = AppSpec::clone(desired.revisions.get(&to).ok_or_else(missing)?);
            check_kept(&spec, to, secrets)?;
            controller.check_policy_of_app(actor, &spec)?;
            let reason = RolloutReason::Rollback { why: String::new() };
            desired.begin(spec, reason, controller.shared.apps.now());
            Ok(Some(started_with(desired, format!("back to revision {to}"))))
        };
        self.change_app_with(actor, name, EventKind::RollbackApp, beside, decide).await
    }

    /// Gives a component another number of replicas. Also while a rollout is under way, which goes on.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`]; [`ControllerError::Invalid`] for a component that there is not;
    /// [`ControllerError::Conflict`] after a rollout that was stopped: another number would try its revision again.
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
            if desired.rollout.is_none() && !desired.is_target_good() {
                let reason = format!(
                    "the rollout to revision {} of {app} was stopped, and another number of replicas would try that again: \
                     'app rollback {app}' goes back to what ran, 'app restart {app}' tries it once more",
                    desired.target,
                    app = desired.app
                );
                return Err(ControllerError::Conflict { reason });
            }
            let before = std::mem::replace(&mut of.replicas, replicas);
            spec.validate()?;
            controller.check_policy_of_app(actor, &spec)?;
            desired.begin(spec, RolloutReason::Scale, controller.shared.apps.now());
            Ok(Some(format!("{component}: {before} → {replicas} replicas")))
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
            desired.begin(spec, RolloutReason::Restart, controller.shared.apps.now());
            Ok(Some(started_with(desired, "every container is made again".to_owned())))
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
        self.change_app(actor, name, kind, String::new(), move |controller, _, desired| {
            check_there(desired)?;
            if desired.goal == goal {
                return Ok(None);
            }
            desired.set_goal(goal, controller.shared.apps.now());
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
        let decide = move |_: &Controller, _: &Actor, desired: &mut Desired, _: &Outlines| {
            check_exists(desired)?;
            desired.goal = Goal::Destroy;
            Ok(Some(if delete_volumes { "is removed with its volumes".to_owned() } else { "is removed".to_owned() }))
        };
        let beside = Beside { delete_volumes, ..Beside::default() };
        self.change_app_with(actor, name, EventKind::DestroyApp, beside, decide).await.map(drop)
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
        let decide = |controller: &Controller, actor: &Actor, desired: &mut Desired, _: &Outlines| {
            decide(controller, actor, desired)
        };
        self.change_app_with(actor, name, kind, beside, decide).await
    }

    /// Changes what is kept of an application as `decide` says, with an event in its words; where it gives none, nothing is to
    /// be changed.
    async fn change_app_with(
        &self,
        actor: &Actor,
        name: AppName,
        kind: EventKind,
        mut beside: Beside,
        decide: impl FnOnce(&Controller, &Actor, &mut Desired, &Outlines) -> Result<Option<String>> + Send + 'static,
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
            desired.seen = controller.seen(&name);
            // While it is held: a secret that a change takes is not deleted before the change is made.
            let secrets = apps.secrets().outlines(&name).await;
            let decided = secrets
                .map_err(ControllerError::Store)
                .and_then(|secrets| decide(&controller, &actor, &mut desired, &secrets));
            let words = match decided {
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
            let is_apply = kind == EventKind::ApplyApp;
            let is_new = revision != held.desired().target;
            let numbered = if is_new { format!("{words}, revision {revision}") } else { words.clone() };
            let mut event = Event::new(kind, format!("{name}: {numbered}")).tagged("app");
            event.name = Some(name.to_string());
            event.reason = Some(beside.message.clone()).filter(|message| !message.is_empty());
            let publication = controller.publication_of(&actor, event, &revision.to_string())?;
            let now = controller.shared.apps.now();
            if beside.message.is_empty() && !is_apply {
                beside.message = words;
            }
            let change = held.documents().change_to(desired, &beside, now).map_err(ControllerError::Store)?;
            held.commit(change, publication.writes()).await.map_err(ControllerError::Store)?;
            controller.publish(publication).await;
            Ok(Applied { revision, changed: true })
        })
        .await
    }
}

fn check_exists(desired: &Desired) -> Result<()> {
    if current_of(desired).is_some() { Ok(()) } else { Err(not_found(desired.app.as_str())) }
}

/// An application that is being removed is not changed any more.
pub(super) fn check_there(desired: &Desired) -> Result<()> {
    check_exists(desired)?;
    if desired.goal == Goal::Destroy {
        let reason = format!("{} is being removed; declare it again when it is gone", desired.app);
        return Err(ControllerError::Conflict { reason });
    }
    Ok(())
}

/// Has an application run, with the words for that where it was stopped.
fn started_with(desired: &mut Desired, words: String) -> String {
    match std::mem::replace(&mut desired.goal, Goal::Run) {
        Goal::Stop => format!("{words}, and it is stopped no more"),
        Goal::Run | Goal::Destroy => words,
    }
}

pub(super) fn check_no_rollout(desired: &Desired, supersede: bool) -> Result<()> {
    if desired.goal == Goal::Destroy && current_of(desired).is_some() {
        return check_there(desired);
    }
    match &desired.rollout {
        // One that was stopped with its application goes on only when that is started.
        Some(rollout) if !supersede && desired.goal == Goal::Run => {
            let reason = format!(
                "the rollout of revision {} of {} is under way; wait until it ends, or take its place with --supersede",
                rollout.to, desired.app
            );
            Err(ControllerError::RolloutUnderWay { reason })
        }
        _ => Ok(()),
    }
}

pub(super) fn check_understood(held: &Held<'_>, name: &AppName) -> Result<()> {
    if held.documents().is_foreign() {
        let reason = format!("{name} was changed by a newer version of the server; ask that one");
        return Err(ControllerError::Conflict { reason });
    }
    Ok(())
}

/// Keeps the newest revisions, and those that a container or a rollback may need.
pub(super) fn forget_old_revisions(desired: &mut Desired) {
    let used = desired.revisions_in_use();
    let newest: Vec<u64> = desired.revisions.keys().rev().take(REVISIONS_KEPT).copied().collect();
    desired.revisions.retain(|number, _| newest.contains(number) || used.contains(number));
}
