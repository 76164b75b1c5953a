//! Secrets of applications: setting, listing and deleting them. Nothing here gives a value back.

use std::collections::BTreeSet;

use super::change::{check_no_rollout, check_there, check_understood, forget_old_revisions};
use super::{current_of, not_found};
use crate::apps::documents::Beside;
use crate::apps::reconciler::Held;
use crate::apps::secrets::Outlines;
use crate::apps::{Desired, RolloutReason};
use crate::controller::{Actor, Controller, ControllerError, Result};
use crate::model::app::{AppName, AppSpec, SecretName, SecretValue};
use crate::model::{Event, EventKind, Invalid};
use crate::store::records::{SecretOutline, SecretRecord};
use crate::store::tables::SECRETS;
use crate::store::{Collection, StoreErrorKind, Version, Versioned, Write};
use crate::wire::app::{SecretSet, SecretSummary, SecretVersion};

/// How many values of a secret are kept, beside those that something still needs.
const VALUES_KEPT: usize = 3;

/// What happens with a new value of a secret beside being kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollSecret {
    /// It is rolled out at once, where the application uses the secret. Otherwise the next apply takes it.
    pub roll: bool,
    /// That rollout takes the place of one that is under way.
    pub supersede: bool,
}

/// A value that is to be set.
#[derive(Clone, Debug)]
struct Setting {
    app: AppName,
    name: SecretName,
    value: SecretValue,
    roll: RollSecret,
}

impl Controller {
    /// The secrets that are kept for an application, by name, whether or not there is such an application yet. Values are not
    /// among what is told of them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn secrets(&self, app: &str) -> Result<Vec<SecretSummary>> {
        let app: AppName = app.parse()?;
        let outlines = self.shared.apps.secrets().outlines(&app).await.map_err(ControllerError::Store)?;
        let shown = self.shared.apps.known(app.as_str()).and_then(|app| app.shown());
        let current = shown.and_then(|documents| current_of(documents.desired()).cloned());
        let summary = |(name, outline): (SecretName, SecretOutline)| {
            let version = |(number, version): (u64, crate::store::records::SecretVersionOutline)| SecretVersion {
                version: number,
                created: version.created,
                user: version.user.parse().ok(),
                used: current.as_ref().is_some_and(|spec| uses(spec, &name, outline.newest).contains(&number)),
            };
            let versions = outline.versions.into_iter().rev().map(version).collect();
            SecretSummary { name: name.clone(), versions }
        };
        let there = outlines.into_iter().filter(|(_, outline)| !outline.versions.is_empty());
        Ok(there.map(summary).collect())
    }

    /// Gives a secret a value. There need be no such application yet. The value that it has already has no other number.
    ///
    /// # Errors
    /// [`ControllerError::Conflict`] while the application is being removed; to be rolled out, [`ControllerError::AppNotFound`]
    /// and [`ControllerError::RolloutUnderWay`]: then the value is not kept either.
    pub async fn set_secret(
        &self,
        actor: &Actor,
        app: &str,
        name: &str,
        value: SecretValue,
        roll: RollSecret,
    ) -> Result<SecretSet> {
        let setting = Setting { app: app.parse()?, name: name.parse()?, value, roll };
        self.owned(actor, |controller, actor| async move {
            controller.check_open()?;
            if let Some(made) = actor.made_before() {
                return Ok(set_before(made));
            }
            loop {
                match controller.set_secret_once(&actor, &setting).await {
                    // Somebody else was faster, and this one is the later.
                    Err(ControllerError::Store(error)) if error.is_conflict_in(SECRETS) => {}
                    outcome => return outcome,
                }
            }
        })
        .await
    }

    async fn set_secret_once(&self, actor: &Actor, setting: &Setting) -> Result<SecretSet> {
        let Setting { app, name, value, roll } = setting;
        let held = self.held_if_there(app).await?;
        let mut desired = held.as_ref().map(|held| held.desired().clone());
        match &desired {
            Some(desired) => check_there(desired)?,
            None if roll.roll => return Err(not_found(app.as_str())),
            None => {}
        }
        let kept = self.kept_secret(app, name).await?;
        let mut record = kept.record.clone();
        let is_same = record.versions.get(&record.newest).is_some_and(|newest| newest.value == *value);
        if !is_same {
            record.add(value.clone(), actor.name().to_owned(), self.shared.apps.now());
            forget_old_values(&mut record, name, desired.as_ref());
        }
        let version = record.newest;
        let revision = match &mut desired {
            Some(desired) if roll.roll => self.roll_secret(actor, desired, setting, version)?,
            _ => None,
        };
        let set = SecretSet { version, changed: !is_same, revision };
        if is_same && revision.is_none() {
            return Ok(set);
        }
        let mut writes = Vec::new();
        if !is_same {
            writes.push(kept.write(self.shared.apps.secrets().records(), app, name, &record)?);
        }
        let publication = self.publication_of(actor, event_of(app, name, &set), &made_by(&set))?;
        match (held, desired.filter(|_| revision.is_some())) {
            (Some(held), Some(desired)) => {
                let message = format!("secret {name} is version {version}");
                let beside = Beside { user: actor.name().to_owned(), message, ..Beside::default() };
                let now = self.shared.apps.now();
                let change = held.documents().change_to(desired, &beside, now).map_err(ControllerError::Store)?;
                writes.extend(publication.writes());
                held.commit(change, writes).await.map_err(ControllerError::Store)?;
                self.publish(publication).await;
            }
            // Held until it is written: no revision is made meanwhile that wants a value which is forgotten here.
            (_held, _) => self.commit(writes, publication, || {}).await.map_err(ControllerError::Store)?,
        }
        Ok(set)
    }

    /// Makes a revision that differs in nothing but the value of a secret, and begins its rollout. Nothing where the application
    /// does not use it, or has that value.
    fn roll_secret(
        &self,
        actor: &Actor,
        desired: &mut Desired,
        setting: &Setting,
        version: u64,
    ) -> Result<Option<u64>> {
        let Setting { app, name, value, roll } = setting;
        let mut spec = AppSpec::clone(current_of(desired).ok_or_else(|| not_found(app.as_str()))?);
        let mut is_other = false;
        for (component, of) in &mut spec.components {
            for used in of.secrets_used_mut().filter(|used| used.name == name) {
                if used.is_text && value.as_text().is_none() {
                    return Err(no_text(&format!("component.{component}.{}", used.field), name).into());
                }
                is_other |= used.version.replace(version) != Some(version);
            }
        }
        if !is_other {
            return Ok(None);
        }
        check_no_rollout(desired, roll.supersede)?;
        self.check_policy_of_app(actor, &spec)?;
        desired.seen = self.seen(&desired.app);
        let revision = desired.begin(spec, RolloutReason::Apply, self.shared.apps.now());
        forget_old_revisions(desired);
        Ok(Some(revision))
    }

    /// Deletes a secret with all its values.
    ///
    /// # Errors
    /// [`ControllerError::SecretNotFound`]; [`ControllerError::Conflict`] where a revision uses it that runs, or that the
    /// platform may go back to by itself.
    pub async fn delete_secret(&self, actor: &Actor, app: &str, name: &str) -> Result<()> {
        let (app, name): (AppName, SecretName) = (app.parse()?, name.parse()?);
        self.owned(actor, move |controller, actor| async move {
            controller.check_open()?;
            if actor.made_before().is_some() {
                return Ok(());
            }
            loop {
                match controller.delete_secret_once(&actor, &app, &name).await {
                    Err(ControllerError::Store(error)) if error.is_conflict_in(SECRETS) => {}
                    outcome => return outcome,
                }
            }
        })
        .await
    }

    async fn delete_secret_once(&self, actor: &Actor, app: &AppName, name: &SecretName) -> Result<()> {
        let held = self.held_if_there(app).await?;
        let desired = held.as_ref().map(|held| held.desired());
        if let Some(desired) = desired {
            check_unused(desired, name)?;
        }
        let secrets = self.shared.apps.secrets();
        let missing = || ControllerError::SecretNotFound { app: app.to_string(), name: name.to_string() };
        let found = secrets.outline(app, name).await.map_err(ControllerError::Store)?;
        let (version, outline) = found.filter(|(_, outline)| !outline.versions.is_empty()).ok_or_else(missing)?;
        let key = SecretRecord::key(app, name);
        let is_named = desired
            .is_some_and(|desired| desired.revisions.values().any(|spec| !uses(spec, name, outline.newest).is_empty()));
        let write = match is_named {
            // Numbers that a revision names are never given to other values.
            true => secrets.records().replacement(&key, version, &SecretRecord::without_values(outline.newest)),
            false => Ok(secrets.records().deletion(&key, Some(version))),
        };
        let event = event(EventKind::DeleteSecret, app, format!("{app}: deleted secret {name}"));
        let publication = self.publication(actor, event)?;
        self.commit(vec![write.map_err(ControllerError::Store)?], publication, || {})
            .await
            .map_err(ControllerError::Store)
    }

    /// What is kept of an application, held for a change; nothing where there is no such application.
    async fn held_if_there(&self, app: &AppName) -> Result<Option<Held<'_>>> {
        let apps = &self.shared.apps;
        let Some(known) = apps.known(app.as_str()) else { return Ok(None) };
        let held = apps.documents(&known).await.map_err(ControllerError::Store)?;
        if !held.documents().is_there() {
            return Ok(None);
        }
        check_understood(&held, app)?;
        Ok(Some(held))
    }

    async fn kept_secret(&self, app: &AppName, name: &SecretName) -> Result<KeptSecret> {
        let secrets = self.shared.apps.secrets();
        match secrets.records().get(&SecretRecord::key(app, name)).await {
            Ok(Some(found)) => Ok(KeptSecret { record: found.value.clone(), place: Place::Of(Box::new(found)) }),
            Ok(None) => Ok(KeptSecret { record: SecretRecord::without_values(0), place: Place::New }),
            // One that cannot be opened any more can still be set.
            Err(error) if error.kind() == StoreErrorKind::Broken => {
                let found = secrets.outline(app, name).await.map_err(ControllerError::Store)?;
                let (version, outline) = found.ok_or(ControllerError::Store(error))?;
                let record = SecretRecord::without_values(outline.newest);
                Ok(KeptSecret { record, place: Place::Unreadable(version) })
            }
            Err(error) => Err(ControllerError::Store(error)),
        }
    }
}

/// A secret as it was read, to be written again.
#[derive(Debug)]
struct KeptSecret {
    record: SecretRecord,
    place: Place,
}

#[derive(Debug)]
enum Place {
    New,
    Of(Box<Versioned<SecretRecord>>),
    Unreadable(Version),
}

impl KeptSecret {
    /// The write that makes it `record`.
    fn write(
        &self,
        records: &Collection<SecretRecord>,
        app: &AppName,
        name: &SecretName,
        record: &SecretRecord,
    ) -> Result<Write> {
        let key = SecretRecord::key(app, name);
        let write = match &self.place {
            Place::New => records.insertion(&key, record),
            Place::Of(found) => records.rewriting(found, record),
            Place::Unreadable(version) => records.replacement(&key, *version, record),
        };
        write.map_err(ControllerError::Store)
    }
}

/// Has every use of a secret take the newest value.
pub(super) fn take_newest(spec: &mut AppSpec, secrets: &Outlines) -> std::result::Result<(), Invalid> {
    let app = spec.name.clone();
    for (component, of) in &mut spec.components {
        for used in of.secrets_used_mut() {
            let field = format!("component.{component}.{}", used.field);
            let name = used.name;
            let missing = || {
                Invalid::new(
                    &field,
                    format!("there is no secret {name}; set it with 'paas-cli secret set {app} {name}'"),
                )
            };
            let outline = secrets.get(name).ok_or_else(missing)?;
            let newest = outline.versions.get(&outline.newest).ok_or_else(missing)?;
            if used.is_text && newest.binary {
                return Err(no_text(&field, name));
            }
            *used.version = Some(outline.newest);
        }
    }
    Ok(())
}

/// Refuses to go back to a revision whose values are not all there.
pub(super) fn check_kept(spec: &AppSpec, revision: u64, secrets: &Outlines) -> Result<()> {
    for (name, version) in spec.components.values().flat_map(|component| component.secrets_used()) {
        let versions = secrets.get(name).map(|outline| &outline.versions);
        let is_kept = match version {
            Some(version) => versions.is_some_and(|versions| versions.contains_key(&version)),
            None => versions.is_some_and(|versions| !versions.is_empty()),
        };
        if !is_kept {
            let which = version.map_or_else(String::new, |version| format!("version {version} of "));
            let reason = format!(
                "revision {revision} had {which}secret {name}, which is not kept any more; apply its file with the \
                 value of today: 'paas-cli app export {} --revision {revision}' writes it",
                spec.name
            );
            return Err(ControllerError::Conflict { reason });
        }
    }
    Ok(())
}

fn check_unused(desired: &Desired, name: &SecretName) -> Result<()> {
    let user = |number: &u64| {
        let spec = desired.revisions.get(number)?;
        let uses =
            |component: &crate::model::app::ComponentSpec| component.secrets_used().any(|(used, _)| used == name);
        spec.components.iter().find_map(|(component, of)| uses(of).then(|| (*number, component.clone())))
    };
    // The newest is what somebody would change first.
    let Some((revision, component)) = desired.revisions_in_use().iter().rev().find_map(user) else { return Ok(()) };
    let reason = format!(
        "{component} of revision {revision} of {} uses secret {name}; apply a file without it first",
        desired.app
    );
    Err(ControllerError::Conflict { reason })
}

/// Keeps the newest values, and those that a container may be given without anybody applying anything.
fn forget_old_values(record: &mut SecretRecord, name: &SecretName, desired: Option<&Desired>) {
    let in_use = desired.map(Desired::revisions_in_use).unwrap_or_default();
    let specs = in_use.iter().filter_map(|number| desired?.revisions.get(number));
    let used: BTreeSet<u64> = specs.flat_map(|spec| uses(spec, name, record.newest)).collect();
    let newest: Vec<u64> = record.versions.keys().rev().take(VALUES_KEPT).copied().collect();
    record.versions.retain(|number, _| newest.contains(number) || used.contains(number));
}

/// Which values of a secret an application uses.
fn uses(spec: &AppSpec, name: &SecretName, newest: u64) -> BTreeSet<u64> {
    let all = spec.components.values().flat_map(|component| component.secrets_used());
    all.filter(|(used, _)| *used == name).map(|(_, version)| version.unwrap_or(newest)).collect()
}

fn no_text(field: &str, name: &SecretName) -> Invalid {
    let message = format!("secret {name} is no text without zero bytes, so no variable can hold it; take it as a file");
    Invalid::new(field, message)
}

fn event_of(app: &AppName, name: &SecretName, set: &SecretSet) -> Event {
    let SecretSet { version, changed, revision } = set;
    let what = if *changed { "set, as version" } else { "as before, version" };
    let rolled = revision.map(|revision| format!(", and rolled out as revision {revision}")).unwrap_or_default();
    event(EventKind::SetSecret, app, format!("{app}: secret {name} is {what} {version}{rolled}"))
}

fn event(kind: EventKind, app: &AppName, message: String) -> Event {
    let mut event = Event::new(kind, message).tagged("app");
    event.name = Some(app.to_string());
    event
}

/// What is noted of a request that set a secret, for its answer.
fn made_by(set: &SecretSet) -> String {
    let SecretSet { version, changed, revision } = set;
    format!("{version} {changed} {}", revision.unwrap_or_default())
}

fn set_before(made: &str) -> SecretSet {
    let mut words = made.split(' ');
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    let version = number(words.next());
    let changed = words.next() == Some("true");
    SecretSet { version, changed, revision: Some(number(words.next())).filter(|&revision| revision > 0) }
}
