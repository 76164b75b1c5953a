//! What there is of applications, and what a change would do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::time::interval;

use super::change::check_there;
use super::images::{self, Exacts, Found};
use super::{current_of, not_found, only_component, reason_of};
use crate::apps::difference::differences;
use crate::apps::{Action, Cause, Goal, Step};
use crate::controller::{Actor, Controller, ControllerError, Result};
use crate::model::app::{AppName, AppSpec, ComponentName, ComponentSpec};
use crate::model::{Container, ExactImage, ImageDigest, Scarce};
use crate::store::records::{OutputRecord, RevisionRecord};
use crate::wire::app::{
    AppPlan, AppRequest, AppState, AppStatus, AppSummary, ApplyRequest, FieldChange, PlannedStep, Revision,
    RevisionSummary,
};

/// How often it is looked whether an application is different, for those who follow its rollout. That is in memory, and takes less
/// than a millisecond.
const LOOK: Duration = Duration::from_millis(200);

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

    /// How an application is, each time that anything about it is different, until no rollout is under way or it is stopped. Each item is the whole: who
    /// misses one has missed nothing. Ends also when there is no such application any more.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`].
    pub fn follow_rollout(&self, name: &str) -> Result<BoxStream<'static, AppStatus>> {
        self.app(name)?;
        // A stream that somebody reads keeps nothing running.
        let (controller, name) = (self.in_background(), name.to_owned());
        let steps = stream::unfold((None::<AppStatus>, interval(LOOK)), move |(last, mut look)| {
            let (controller, name) = (controller.clone(), name.clone());
            async move {
                if last.as_ref().is_some_and(|last| !last.is_rolling_out()) {
                    return None;
                }
                loop {
                    look.tick().await;
                    let status = controller.app(&name).ok()?;
                    if last.as_ref() != Some(&status) {
                        return Some((status.clone(), (Some(status), look)));
                    }
                }
            }
        });
        Ok(steps.boxed())
    }

    /// What an apply would do: the fields that would change, and the first steps with their causes. Nothing is changed.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`] for what no application can be; [`ControllerError::NotAllowed`]; [`ControllerError::Conflict`] for
    /// one that is being removed; the store cannot be read.
    pub async fn plan_app(&self, actor: &Actor, name: &str, request: ApplyRequest) -> Result<AppPlan> {
        let name: AppName = name.parse()?;
        let known = self.shared.apps.known(name.as_str());
        // One that was destroyed may have left volumes.
        let app = known.unwrap_or_else(|| Arc::new(self.shared.apps.unknown(&name)));
        let desired = self.shared.apps.documents(&app).await.map_err(ControllerError::Store)?.desired().clone();
        let current = current_of(&desired).cloned();
        if current.is_some() {
            check_there(&desired)?;
        }
        let secrets = self.shared.apps.secrets().outlines(&name).await.map_err(ControllerError::Store)?;
        let mut spec = self.check_app(actor, &name, &request.app, current.as_deref(), &secrets)?;
        // Of one that names a digest there is nothing to be found out any more once it was applied.
        let is_asked = |(name, component): &(&ComponentName, &ComponentSpec)| {
            component.image.digest().is_none()
                || images::is_to_be_found(current.as_deref(), name, component, request.refresh_images)
        };
        let found = self.find_images(spec.components.iter().filter(is_asked)).await;
        let exacts = Exacts::of(&spec, current.as_deref(), &found);
        exacts.pin(&mut spec, current.as_deref(), request.refresh_images);
        let adopted = self.take_images_of_orphans(&desired, &mut spec, &request);
        let notes = tell_images(&spec, current.as_deref(), &found, request.refresh_images);
        let scarce = scarce_images(&spec, &found);
        let invalid = images::refused(&spec, current.as_deref(), &found, request.refresh_images);
        let changes = differences(current.as_deref(), &spec);
        let executor = self.executor();
        let drift = self.shared.apps.look(&executor, &app, &desired, &scarce).1;
        let begins = self.begins_something(&desired, &spec, &request);
        let steps = if !invalid.is_empty() {
            Vec::new()
        } else if !begins {
            drift.clone()
        } else {
            let mut next = desired.clone();
            next.goal = Goal::Run;
            next.seen = self.seen(&name);
            next.begin(spec.clone(), reason_of(&request), self.shared.apps.now());
            self.shared.apps.look(&executor, &app, &next, &scarce).1
        };
        let doubled = self.left_beside(&desired, &spec, request.adopt).filter(|_| begins && !request.beside_orphans);
        let stopped = (desired.goal == Goal::Stop).then(|| format!("{name} is stopped, and applying this starts it"));
        let is_drift = |step: &&Step| !step.action.is_wait() && desired.rollout.is_none();
        Ok(AppPlan {
            base: desired.target,
            begins: Some(begins),
            drift: drift.iter().filter(is_drift).map(ToString::to_string).collect(),
            refused: steps
                .iter()
                .filter(|step| is_refusal(step))
                .map(ToString::to_string)
                .chain(invalid.iter().map(ToString::to_string))
                .chain(doubled)
                .collect(),
            notes: notes_of(&spec).into_iter().chain(notes).chain(adopted).chain(stopped).collect(),
            images: exacts.digests,
            image_ids: exacts.ids,
            steps: steps.iter().map(planned).collect(),
            changes,
            app: name,
        })
    }

    /// What would be done first for each application as it is recorded, also by a server that only observes until somebody says that
    /// its store is right. Nothing is changed.
    pub fn plan_all(&self) -> Vec<AppPlan> {
        let executor = self.executor();
        let plan_of = |name: AppName| {
            let shown = self.shared.apps.known(name.as_str()).and_then(|app| Some((app.shown()?, app)));
            let Some((documents, app)) = shown else {
                let note = format!(
                    "{name} is orphaned: no record names its containers, which go on; 'deploy --adopt' takes them over"
                );
                return AppPlan { notes: vec![note], ..AppPlan::nothing(name, 0) };
            };
            let steps = self.shared.apps.look_ahead(&executor, &app, documents.desired());
            AppPlan {
                refused: steps.iter().filter(|step| is_refusal(step)).map(ToString::to_string).collect(),
                steps: steps.iter().map(planned).collect(),
                ..AppPlan::nothing(name, documents.desired().target)
            }
        };
        self.apps().into_iter().map(|app| plan_of(app.name)).collect()
    }

    /// The revisions of an application that are kept, the newest first.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`].
    pub fn app_revisions(&self, name: &str) -> Result<Vec<RevisionSummary>> {
        let documents = self.known_app(name)?.shown().ok_or_else(|| not_found(name))?;
        let target = documents.desired().target;
        Ok(documents.revisions().rev().map(|(number, record)| revision(number, record, target)).collect())
    }

    /// One revision of an application, with every default filled in.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`], [`ControllerError::RevisionNotFound`].
    pub fn app_revision(&self, name: &str, number: u64) -> Result<Revision> {
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
    pub fn app_diff(&self, name: &str, from: u64, to: u64) -> Result<Vec<FieldChange>> {
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
    /// [`ControllerError::AppNotFound`]; [`ControllerError::Invalid`] for a component that there is not.
    pub fn app_containers(
        &self,
        name: &str,
        component: Option<&ComponentName>,
    ) -> Result<Vec<(String, Arc<Container>)>> {
        let app = self.known_app(name)?;
        let documents = app.shown().ok_or_else(|| not_found(name))?;
        let cluster = &self.shared.cluster;
        let mut found: Vec<(String, Arc<Container>)> = cluster
            .replicas(&app.name)
            .into_iter()
            // What somebody has run, that one reads.
            .filter(|replica| replica.labels.run.is_none())
            .filter(|replica| component.is_none_or(|component| replica.labels.component == *component))
            .filter_map(|replica| {
                let number = replica.labels.slot.map_or_else(|| "before".to_owned(), |number| number.to_string());
                let name = format!("{}.{number}", replica.labels.component);
                Some((name, cluster.container(&replica.id)?.container))
            })
            .collect();
        // What is not declared any more may still have some.
        if found.is_empty()
            && let (Some(_), Some(spec)) = (component, current_of(documents.desired()))
        {
            only_component(spec, component)?;
        }
        found.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(found)
    }

    /// What containers of an application wrote last that were removed, or those of one component, which need not be declared any
    /// more: kept for seven days, of the last three containers of each slot.
    ///
    /// # Errors
    /// [`ControllerError::AppNotFound`]; that the store cannot be read is an item of the stream.
    pub fn previous_output(
        &self,
        name: &str,
        component: Option<&ComponentName>,
    ) -> Result<BoxStream<'static, Result<PreviousOutput>>> {
        let app = self.known_app(name)?;
        let kept = self.shared.apps.kept_output(&app.name, component);
        Ok(kept.map(|record| record.map(PreviousOutput::from).map_err(ControllerError::Store)).boxed())
    }
}

/// What a container wrote last that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviousOutput {
    /// The container without its application: `web.1.7`, where 7 counts the containers of the slot, or `web.before.r12`.
    pub container: String,
    /// Where it was, of which revision, and when it was removed, in words for people.
    pub about: String,
    /// Its last lines: at most 200, and 32 KiB.
    pub text: String,
}

impl From<OutputRecord> for PreviousOutput {
    fn from(record: OutputRecord) -> Self {
        let OutputRecord { component, slot, generation, revision, engine, removed, text, .. } = record;
        let container = match slot {
            Some(slot) => format!("{component}.{slot}.{generation}"),
            None => format!("{component}.before.r{revision}"),
        };
        let about = format!("revision {revision}, on {engine}, removed {removed:.0}");
        Self { container, about, text }
    }
}

fn revision(number: u64, record: &RevisionRecord, target: u64) -> RevisionSummary {
    let of_each = |of: fn(&ComponentSpec) -> Option<ImageDigest>| {
        record.spec.components.iter().filter_map(|(name, spec)| Some((name.clone(), of(spec)?))).collect()
    };
    RevisionSummary {
        revision: number,
        created: record.created,
        user: record.user.parse().ok(),
        message: record.message.clone(),
        images: record.spec.components.iter().map(|(name, spec)| (name.clone(), spec.image.to_string())).collect(),
        digests: of_each(|spec| spec.digest.clone()),
        image_ids: of_each(|spec| spec.image_id.clone()),
        current: number == target,
    }
}

fn planned(step: &Step) -> PlannedStep {
    let adds = matches!(step.action, Action::Create { .. } | Action::CreateVolume { .. } | Action::Start(_));
    let replaces = matches!(step.cause, Cause::Changed(_) | Cause::Restart);
    PlannedStep {
        action: step.action.to_string(),
        cause: step.cause.to_string(),
        choice: match &step.action {
            Action::Create { choice, .. } => choice.to_string(),
            _ => String::new(),
        },
        waits: step.action.is_wait(),
        adds: adds && !replaces,
    }
}

fn is_refusal(step: &Step) -> bool {
    use Cause::{NoRoom, Orphan, UnknownRevision, VolumeGone, VolumeMounted, VolumeOfOthers};
    matches!(
        step.cause,
        NoRoom(_) | VolumeGone { .. } | VolumeMounted { .. } | VolumeOfOthers { .. } | Orphan(_) | UnknownRevision(_)
    )
}

/// What is to be said of images that can be had, or of which nobody knows.
fn tell_images(
    spec: &AppSpec,
    current: Option<&AppSpec>,
    found: &BTreeMap<ComponentName, Found>,
    refresh: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, found) in found {
        let Some(component) = spec.components.get(name) else { continue };
        let image = &component.image;
        let before = images::same_image(current, name, component);
        let was = before.and_then(|before| before.digest.as_ref());
        let note = match found {
            Found::InRegistry(digest) if !refresh && was.is_some_and(|was| was != digest) => {
                format!("{image} points elsewhere in its registry now, which is not taken; --refresh-images does")
            }
            Found::OnHosts(hosts) => {
                let exact = component.exact_image();
                let moved = exact.id.is_some() && hosts.newest().id != exact.id;
                let refresh = if moved { "; --refresh-images takes what was made last under that name" } else { "" };
                match hosts.scarce(&exact) {
                    Some(scarce) => format!("{}{refresh}", scarce.say(&exact)),
                    None if before.is_none() && exact.id.is_some() => {
                        format!("{image} is in no registry, so only hosts that have it under that name run it")
                    }
                    None => continue,
                }
            }
            Found::Unknown(why) if before.is_none() || refresh => {
                format!("nobody can say whether there is {image}: {why}")
            }
            Found::InRegistry(_) | Found::Nowhere(_) | Found::Unknown(_) => continue,
        };
        notes.push(format!("component.{name}: {note}"));
    }
    notes
}

/// Where images are that no registry gives, and not every host has.
fn scarce_images(spec: &AppSpec, found: &BTreeMap<ComponentName, Found>) -> BTreeMap<ExactImage, Scarce> {
    let scarce = |(name, found): (&ComponentName, &Found)| {
        let Found::OnHosts(hosts) = found else { return None };
        let exact = spec.components.get(name)?.exact_image();
        Some((exact.clone(), hosts.scarce(&exact)?))
    };
    found.iter().filter_map(scarce).collect()
}

/// What is accepted and has no effect yet, or another one than may be thought.
fn notes_of(spec: &AppSpec) -> Vec<String> {
    let note = |(name, component): (&ComponentName, &ComponentSpec)| {
        let fields = component.fields_not_carried_out();
        (!fields.is_empty()).then(|| format!("component.{name}: {} has no effect yet", fields.join(", ")))
    };
    let owner = |(name, component): (&ComponentName, &ComponentSpec)| {
        let user = component.docker.user.as_deref().unwrap_or_default();
        component.has_files_of_unknown_owner().then(|| {
            format!(
                "component.{name}: files belong to root, since user {user} is a name; give secrets and configs a uid"
            )
        })
    };
    spec.components.iter().filter_map(note).chain(spec.components.iter().filter_map(owner)).collect()
}
