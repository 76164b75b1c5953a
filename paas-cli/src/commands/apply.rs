//! `deploy`, `app apply`, `app plan` and `app import`: an application as files say.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use paas_core::wire::app::{AppPlan, AppRequest, ApplyRequest};
use paas_core::wire::compose::Note;

use super::{Result, apps, rollout};
use crate::args::{ApplyOptions, ConfigContent, Declared, ImportArgs, PlanArgs};
use crate::context::Context;
use crate::failure::{Failure, Status};
use crate::{output, secret};

pub(super) async fn plan(context: &Context, arguments: PlanArgs) -> Result {
    if arguments.all {
        let plans = context.client()?.plan_all().await?;
        let names = plans.iter().map(|plan| plan.app.to_string());
        let shown = || plans.iter().map(output::apps::plan).collect::<Vec<_>>().join("\n\n");
        context.output.show(plans.json(), names, shown)?;
        let changes = arguments.exit_code && plans.iter().any(AppPlan::has_changes);
        return if changes { Err(Failure::Told(Status::Changes)) } else { Ok(()) };
    }
    let (app, _) = taken(context, arguments.files.read()?)?;
    let name = name_of(&app)?;
    let request = ApplyRequest {
        app,
        adopt: arguments.adopt.adopt,
        beside_orphans: arguments.adopt.beside_orphans,
        refresh_images: arguments.refresh.refresh_images,
        ..ApplyRequest::default()
    };
    let plan = context.client()?.plan_app(&name, &request).await?;
    context.output.show(plan.json(), [name], || output::apps::plan(&plan))?;
    match arguments.exit_code && plan.has_changes() {
        true => Err(Failure::Told(Status::Changes)),
        false => Ok(()),
    }
}

/// Plans, shows the plan, asks where that is needed, applies, and waits until it is done.
pub(super) async fn apply(context: &Context, declared: Declared, options: ApplyOptions) -> Result {
    let (app, configs) = taken(context, declared)?;
    let client = context.client()?;
    let name = name_of(&app)?;
    let mut request = ApplyRequest {
        app,
        base: None,
        message: options.message,
        adopt: options.adopt.adopt,
        beside_orphans: options.adopt.beside_orphans,
        supersede: options.supersede.supersede,
        refresh_images: options.refresh.refresh_images,
        images: None,
        image_ids: BTreeMap::new(),
    };
    let plan = client.plan_app(&name, &request).await?;
    if plan.has_changes() || plan.is_refused() {
        context.output.say_lines(&output::apps::plan(&plan));
        if plan.is_refused() {
            return Err(Failure::Failed("nothing is applied: see the plan for what is refused".to_owned()));
        }
        if !options.yes && !only_adds(&plan) {
            let instead = match plan.refused.is_empty() {
                true => "this does more than to add something; look at the plan, and add --yes to apply it",
                false => "something of it is refused, see the plan; add --yes to apply it all the same",
            };
            confirm("Apply?", instead)?;
        }
    }
    request.base = Some(plan.base);
    request.images = Some(plan.images.clone());
    request.image_ids = plan.image_ids.clone();
    let before = rollout::before(&client, &name).await?;
    for ConfigContent { sha256, content } in configs {
        client.put_blob(&name, &sha256, content).await?;
    }
    let applied = client.apply_app(&name, &request).await?;
    apps::conclude(context, &client, &name, &applied, before.as_ref(), options.wait).await
}

/// What the files declare, and the configuration files of it. Says what was not taken of the files, and refuses them where something
/// would be missing.
fn taken(context: &Context, declared: Declared) -> std::result::Result<(AppRequest, Vec<ConfigContent>), Failure> {
    let (refused, noted): (Vec<Note>, Vec<Note>) = declared.notes.into_iter().partition(|note| note.is_refused);
    for note in &noted {
        context.output.say(&note.to_string());
    }
    let Some(first) = refused.first() else { return Ok((declared.app, declared.configs)) };
    for note in &refused {
        output::complain(&note.to_string());
    }
    let instead = "change the file, or name with --ignore what may be missing";
    Err(Failure::Usage(format!("{} has what would be missing; {instead}", first.file)))
}

/// Writes what becomes of a Compose file, and what was not taken of it.
pub(super) fn import(context: &Context, arguments: &ImportArgs) -> Result {
    let Declared { app, notes, .. } = arguments.read()?;
    let missing = || Failure::Usage("neither the file nor its folder names the application; add --name APP".to_owned());
    let name = app.app.clone().ok_or_else(missing)?;
    let text = app.to_toml().map_err(|error| Failure::Failed(error.to_string()))?;
    for note in notes {
        context.output.say(&note.to_string());
    }
    context.output.show_own(&app, [name], || text)
}

/// The name of the application, which the path of a request needs.
fn name_of(app: &AppRequest) -> std::result::Result<String, Failure> {
    let missing = || {
        Failure::Usage("the file does not say which application it is; write app = \"NAME\", or add --name".to_owned())
    };
    app.app.clone().ok_or_else(missing)
}

/// Whether nothing that is there changes or goes.
fn only_adds(plan: &AppPlan) -> bool {
    plan.refused.is_empty()
        && plan.changes.iter().all(|change| change.old.is_none())
        && plan.steps.iter().all(|step| step.adds || step.waits)
}

/// Asks a person. Where there is none, that is wrong usage, with `instead` as what to do.
pub(super) fn confirm(question: &str, instead: &str) -> Result {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(instead.to_owned()));
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    match secret::line()?.as_deref().map(str::trim) {
        Some("y" | "Y" | "yes") => Ok(()),
        _ => Err(Failure::Failed("nothing was changed".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(changes: &str, steps: &str, refused: &str) -> AppPlan {
        let text = format!(
            r#"{{"app": "shop", "base": 3, "changes": [{changes}], "steps": [{steps}], "refused": [{refused}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_only_adds_is_not_asked_about() {
        let new = r#"{"field": "component.cache", "new": "", "new_containers": false}"#;
        let old = r#"{"field": "component.web.image", "old": "a", "new": "b", "new_containers": true}"#;
        let adds = r#"{"action": "create cache.1.1", "cause": "", "adds": true}"#;
        let waits = r#"{"action": "wait", "cause": "", "waits": true}"#;
        let removes = r#"{"action": "remove web.1.1", "cause": ""}"#;
        assert!(only_adds(&plan(new, &format!("{adds}, {waits}"), "")));
        for more in [plan(old, adds, ""), plan(new, removes, ""), plan(new, adds, r#""component.web: no such image""#)]
        {
            assert!(!only_adds(&more), "{more:?}");
        }
    }
}
