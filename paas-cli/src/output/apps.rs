//! Applications: plans, lists, and one in full.

use std::iter::once;

use paas_core::model::app::{ComponentName, LastLines};
use paas_core::wire::app::{
    AppPlan, AppStatus, AppSummary, FieldChange, Moved, PlannedStep, ReplicaStatus, RevisionSummary, RolloutOutcome,
    RolloutResult,
};

use super::table::{of_fields, with_headers};
use super::tables::time;
use super::{one_line, plain};

/// How wide what is written here may be, characters, unless one word is longer.
const WIDTH: usize = 80;

pub(crate) fn plan(plan: &AppPlan) -> String {
    let AppPlan { app, base, changes, .. } = plan;
    let title = match base {
        _ if plan.is_refused() => format!("{app}: nothing of it can be applied to revision {base}"),
        0 if changes.is_empty() && plan.steps.is_empty() => format!("{app}: no revision"),
        _ if changes.is_empty() && plan.steps.is_empty() => format!("{app} is up to date (revision {base})"),
        0 => format!("{app}: revision 1, the first"),
        _ if changes.is_empty() => format!("{app}: revision {base}, as it is"),
        _ => format!("{app}: revision {base} → {}", base + 1),
    };
    let mut lines = vec![title];
    lines.extend(change_lines(changes));
    if !plan.steps.is_empty() {
        lines.push("steps".to_owned());
        lines.extend(step_lines(&plan.steps));
    }
    for (name, sentences) in [("refused", &plan.refused), ("drift", &plan.drift), ("notes", &plan.notes)] {
        if !sentences.is_empty() {
            lines.push(name.to_owned());
            lines.extend(sentences.iter().flat_map(|sentence| wrapped("  ", sentence)));
        }
    }
    lines.join("\n")
}

pub(crate) fn moves(moves: &[Moved]) -> String {
    if moves.is_empty() {
        return String::new();
    }
    let row = |moved: &Moved| {
        let Moved { app, replica, from, to, gain } = moved;
        [format!("{app}/{replica}"), from.to_string(), to.to_string(), format!("{gain:.1}")]
    };
    with_headers(["REPLICA", "FROM", "TO", "GAIN"], moves.iter().map(row))
}

pub(crate) fn changes(changes: &[FieldChange]) -> String {
    change_lines(changes).join("\n")
}

fn change_lines(changes: &[FieldChange]) -> Vec<String> {
    let rows = changes.iter().map(|change| {
        let (sign, value) = match (&change.old, &change.new) {
            (Some(old), Some(new)) => ("~", format!("{} → {}", one_line(old), one_line(new))),
            (None, new) => ("+", new.as_deref().map(one_line).unwrap_or_default()),
            (Some(old), None) => ("-", one_line(old)),
        };
        let is_size = matches!(change.field.rsplit('.').next(), Some("cpus" | "memory" | "restart"));
        let consequence = match change.new_containers {
            true => "new containers",
            false if is_size => "in place",
            false => "",
        };
        Row { first: format!("{sign} {}", one_line(&change.field)), second: value, third: consequence }
    });
    aligned(&rows.collect::<Vec<_>>())
}

fn step_lines(steps: &[PlannedStep]) -> Vec<String> {
    let rows: Vec<Row> = steps
        .iter()
        .map(|step| Row { first: one_line(&step.action), second: one_line(&step.cause), third: "" })
        .collect();
    let mut lines = Vec::new();
    for (line, step) in aligned_rows(&rows).into_iter().zip(steps) {
        lines.extend(line);
        if !step.choice.is_empty() {
            lines.extend(wrapped("      ", &step.choice));
        }
    }
    lines
}

/// Up to three texts that stand beside each other.
struct Row {
    first: String,
    second: String,
    third: &'static str,
}

fn aligned(rows: &[Row]) -> Vec<String> {
    aligned_rows(rows).concat()
}

/// The lines of each row: one, where it is not too wide, with its parts below those of the others.
fn aligned_rows(rows: &[Row]) -> Vec<Vec<String>> {
    let widest =
        |column: fn(&Row) -> &str, rows: &[&Row]| rows.iter().map(|row| length(column(row))).max().unwrap_or(0);
    let narrow = |row: &&Row| length(&row.first) + length(&row.second) + length(row.third) + 7 <= WIDTH;
    let narrow: Vec<&Row> = rows.iter().filter(narrow).collect();
    let first = widest(|row| &row.first, &narrow);
    let with_third: Vec<&Row> = narrow.iter().copied().filter(|row| !row.third.is_empty()).collect();
    let second = widest(|row| &row.second, &with_third);
    let fits = |line: &String| length(line) <= WIDTH;
    let lines = rows.iter().map(|row| {
        let Row { first: one, second: two, third } = row;
        let line = format!("  {one:first$}  {two:second$}   {third}").trim_end().to_owned();
        let unaligned = || format!("  {one}  {two}   {third}").trim_end().to_owned();
        once(line).chain(once(unaligned())).find(fits).map_or_else(|| broken_up(row), |line| vec![line])
    });
    lines.collect()
}

/// What is too wide for one line.
fn broken_up(Row { first, second, third }: &Row) -> Vec<String> {
    let mut lines = vec![format!("  {first}  {third}").trim_end().to_owned()];
    match second.split_once(" → ") {
        Some((old, new)) => lines.extend([format!("      {old}"), format!("    → {new}")]),
        None => lines.extend(wrapped("      ", second)),
    }
    lines
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// A sentence in lines that are not too wide, each after an indentation.
fn wrapped(indentation: &str, sentence: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in one_line(sentence).split_whitespace() {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            // What goes on is a little further in, so that the sentences can be told apart.
            Some(_) => lines.push(format!("{indentation}  {word}")),
            None => lines.push(format!("{indentation}{word}")),
        }
    }
    lines
}

pub(crate) fn list(apps: &[AppSummary]) -> String {
    let rows = apps.iter().map(|app| {
        [
            app.name.to_string(),
            app.state.name().to_owned(),
            app.revision.to_string(),
            format!("{}/{}", app.ready, app.replicas),
            time(app.changed),
        ]
    });
    with_headers(["NAME", "STATE", "REVISION", "READY", "CHANGED"], rows)
}

/// The revisions, newest first, each with the images that it changed.
pub(crate) fn history(revisions: &[RevisionSummary]) -> String {
    let rows = revisions.iter().enumerate().map(|(index, revision)| {
        let mark = if revision.current { "*" } else { "" };
        [
            format!("{}{mark}", revision.revision),
            time(revision.created),
            revision.user.as_ref().map(ToString::to_string).unwrap_or_default(),
            changed_images(revision, revisions.get(index + 1)),
            revision.message.clone(),
        ]
    });
    let table = with_headers(["REVISION", "CREATED", "USER", "IMAGES", "MESSAGE"], rows);
    table.lines().map(|line| clipped(line, WIDTH)).collect::<Vec<_>>().join("\n")
}

/// How wide the images of a revision may be, characters.
const IMAGES_WIDTH: usize = 20;

/// The images that are others than those of the revision before; all of them where that is not known.
fn changed_images(revision: &RevisionSummary, earlier: Option<&RevisionSummary>) -> String {
    let is_new = |component: &ComponentName, image: &String| {
        earlier.is_none_or(|earlier| {
            earlier.images.get(component) != Some(image)
                || earlier.digests.get(component) != revision.digests.get(component)
                || earlier.image_ids.get(component) != revision.image_ids.get(component)
        })
    };
    let images: Vec<_> = revision.images.iter().filter(|(component, image)| is_new(component, image)).collect();
    let joined = |shown: fn(&str) -> String| {
        images.iter().map(|(component, image)| format!("{component}={}", shown(image))).collect::<Vec<_>>().join(",")
    };
    let whole = joined(str::to_owned);
    if length(&whole) <= IMAGES_WIDTH { whole } else { clipped(&joined(last_part), IMAGES_WIDTH) }
}

/// The last part of an image's name, with a sign where there is more before it.
fn last_part(image: &str) -> String {
    image.rsplit_once('/').map_or_else(|| image.to_owned(), |(_, last)| format!("…/{last}"))
}

fn clipped(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(once('…')).collect()
}

pub(crate) fn status(app: &AppStatus) -> String {
    let summary = &app.summary;
    let fields = [
        ("NAME", summary.name.to_string()),
        ("STATE", summary.state.name().to_owned()),
        ("REVISION", summary.revision.to_string()),
        ("READY", format!("{} of {}", summary.ready, summary.replicas)),
        ("CHANGED", time(summary.changed)),
    ];
    let components = app.component.iter().map(|(name, component)| {
        [
            name.to_string(),
            component.declared.to_string(),
            component.ready.to_string(),
            clipped(&component.image, WIDTH / 2),
        ]
    });
    let replicas = app.component.iter().flat_map(|(name, component)| {
        component.replicas.iter().map(move |replica| {
            [
                format!("{name}.{}", replica.slot),
                replica.state.clone(),
                replica.revision.map(|revision| revision.to_string()).unwrap_or_default(),
                replica.engine.as_ref().map(ToString::to_string).unwrap_or_default(),
                replica.name.clone(),
            ]
        })
    });
    let sections = [
        of_fields(fields),
        rollout_lines(app).join("\n"),
        with_headers(["COMPONENT", "REPLICAS", "READY", "IMAGE"], components),
        with_headers(["REPLICA", "STATE", "REVISION", "HOST", "CONTAINER"], replicas),
        remarks(app).join("\n"),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// What there is to say of replicas, one by one, and of the application.
fn remarks(app: &AppStatus) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, replica) in replicas(app) {
        if !replica.reason.is_empty() {
            lines.extend(wrapped("", &format!("{name}.{}: {}", replica.slot, replica.reason)));
        }
        if !replica.ports.is_empty() {
            lines.extend(wrapped("", &format!("{name}.{}: {}", replica.slot, replica.ports.join(", "))));
        }
    }
    lines.extend(app.notes.iter().flat_map(|note| wrapped("", &format!("note: {note}"))));
    lines
}

/// The replicas of all components.
pub(crate) fn replicas(app: &AppStatus) -> impl Iterator<Item = (&ComponentName, &ReplicaStatus)> {
    app.component.iter().flat_map(|(name, component)| component.replicas.iter().map(move |replica| (name, replica)))
}

/// A replica in one line: `web.2 on node-b: starting, revision 4; pulling the image`.
pub(crate) fn replica(component: &ComponentName, replica: &ReplicaStatus) -> String {
    let place = replica.engine.as_ref().map(|engine| format!(" on {engine}")).unwrap_or_default();
    let revision = replica.revision.map(|revision| format!(", revision {revision}")).unwrap_or_default();
    let reason = if replica.reason.is_empty() { String::new() } else { format!("; {}", replica.reason) };
    one_line(&format!("{component}.{}{place}: {}{revision}{reason}", replica.slot, replica.state))
}

/// The rollout that is under way with its replicas, or how the last one ended.
pub(crate) fn rollout(app: &AppStatus) -> String {
    let mut lines = rollout_lines(app);
    if lines.is_empty() {
        lines.push(format!("there was no rollout of {} yet", app.summary.name));
    }
    if app.rollout.is_some() {
        lines.extend(replicas(app).flat_map(|(name, status)| wrapped("", &replica(name, status))));
    }
    lines.join("\n")
}

fn rollout_lines(app: &AppStatus) -> Vec<String> {
    let under_way = app.rollout.as_ref().map(|rollout| {
        let why = if rollout.why.is_empty() { String::new() } else { format!(": {}", rollout.why) };
        format!("rollout to revision {} ({}) since {}{why}", rollout.to, rollout.reason, time(rollout.started))
    });
    let last = app.last_rollout.as_ref().filter(|_| under_way.is_none()).map(|result| {
        let why = if result.why.is_empty() { String::new() } else { format!(": {}", result.why) };
        format!("last rollout: revision {}, {} at {}{why}", result.to, outcome(result), time(result.ended))
    });
    let mut lines = under_way.or(last).map(|line| wrapped("", &line)).unwrap_or_default();
    lines.extend(output_of(app).map(last_lines).unwrap_or_default());
    lines
}

/// What the container wrote last because of which the rollout that is under way goes back, or the last one did or stopped.
fn output_of(app: &AppStatus) -> Option<&LastLines> {
    match &app.rollout {
        Some(rollout) => rollout.output.as_ref(),
        None => app.last_rollout.as_ref()?.output.as_ref(),
    }
}

/// What a container wrote last, as it wrote it.
pub(crate) fn last_lines(output: &LastLines) -> Vec<String> {
    let LastLines { container, lines } = output;
    if lines.is_empty() {
        return vec![format!("{container} wrote nothing")];
    }
    let title = format!("the last lines of {container}:");
    once(title).chain(lines.iter().map(|line| format!("  {}", plain(line)))).collect()
}

fn outcome(result: &RolloutResult) -> &'static str {
    match result.outcome {
        RolloutOutcome::Done => "done",
        RolloutOutcome::RolledBack => "rolled back",
        RolloutOutcome::Stopped => "stopped",
        RolloutOutcome::Unknown => "ended in a way that this version does not know",
    }
}
