//! Operations that take long and tell how far they are: run, scale, pull.

use std::collections::{BTreeMap, HashMap};

use futures::StreamExt;
use paas_core::model::{ContainerId, EngineId, ImageRef};
use serde::Serialize;
use uuid::Uuid;

use super::{Result, unless_interrupted};
use crate::args::RunArgs;
use crate::client::{self, LaunchSummary, Progress, Step, Steps};
use crate::context::Context;
use crate::failure::{Failure, Status};
use crate::output::progress::{Reporter, Work};
use crate::output::{self, tables};

const INTERRUPTED: &str = "interrupted; what was begun goes on";

pub(super) async fn run(context: &Context, arguments: RunArgs) -> Result {
    let options = arguments.options();
    let key = arguments.key();
    let spec = arguments.into_spec()?;
    let key = key.unwrap_or_else(new_key);
    let client = context.client()?.with_key(&key)?;
    let count = Some(options.count.into());
    let begun = client.run(&spec, options);
    let outcome = follow(context, begun, Work::Starting, count).await;
    write_containers(context, &outcome)?;
    let partly = outcome.changed_containers();
    outcome.judge(context, partly, "container", "not started", Some(&key))
}

pub(super) async fn scale(context: &Context, id: &str, count: u32, key: Option<String>) -> Result {
    let key = key.unwrap_or_else(new_key);
    let client = context.client()?.with_key(&key)?;
    let outcome = follow(context, client.scale(id, count), Work::Scaling, None).await;
    write_containers(context, &outcome)?;
    let partly = outcome.changed_containers();
    outcome.judge(context, partly, "container", "not brought to that size", Some(&key))
}

pub(super) async fn pull(context: &Context, image: &ImageRef, engines: &[EngineId]) -> Result {
    let client = context.client()?;
    let count = (!engines.is_empty()).then_some(engines.len() as u64);
    let outcome = follow(context, client.pull(image, engines), Work::Pulling, count).await;
    if outcome.begun {
        let engines = || outcome.pulled.iter().map(EngineId::as_str);
        let (requested, failed) = (outcome.summary.requested, &outcome.summary.failed);
        let summary = PullSummary { requested, pulled: &outcome.pulled, failed };
        context.output.show_own(&summary, engines().map(str::to_owned), || match outcome.pulled.is_empty() {
            true => String::new(),
            false => tables::pulled(image.as_str(), engines()),
        })?;
    }
    let partly = !outcome.pulled.is_empty();
    outcome.judge(context, partly, "image", "not pulled", None)
}

/// A name for a request that was given none.
fn new_key() -> String {
    Uuid::now_v7().to_string()
}

/// What a pull came to.
#[derive(Serialize)]
struct PullSummary<'a> {
    requested: usize,
    pulled: &'a [EngineId],
    failed: &'a [client::Failure],
}

/// What was heard of an operation, to its end or not.
#[derive(Default)]
struct Outcome {
    begun: bool,
    summary: LaunchSummary,
    /// Where in the summary the container stands that has a place in the request.
    places: HashMap<usize, usize>,
    pulled: Vec<EngineId>,
    /// Counts of the last step: done, failed.
    end: Option<(usize, usize)>,
    /// Why nothing more was heard.
    failure: Option<Failure>,
}

/// Shows an operation while it is under way, and gathers what comes of it.
async fn follow(
    context: &Context,
    begun: impl Future<Output = std::result::Result<Steps, client::ClientError>>,
    work: Work,
    count: Option<u64>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut reporter = Reporter::new(context.output, work, count);
    let heard = async {
        let mut steps = begun.await?;
        let mut attempt = steps.attempt();
        outcome.begun = true;
        while let Some(step) = steps.next().await {
            let step = step?;
            if steps.attempt() > attempt {
                attempt = steps.attempt();
                reporter.begin_again();
                outcome.summary.failed.clear();
            }
            match step {
                Step::Known(step) => {
                    reporter.show(&step);
                    outcome.take(step, work);
                }
                Step::Other(note) => reporter.show_other(&note),
            }
        }
        Ok(())
    };
    let failure = unless_interrupted(Some(INTERRUPTED), heard).await.err();
    outcome.failure = failure;
    reporter.finish();
    outcome
}

impl Outcome {
    fn take(&mut self, step: Progress, work: Work) {
        let started = &mut self.summary.started;
        match step {
            Progress::Started { index, container, .. } => match self.places.insert(index, started.len()) {
                // A run has one container for each place: this one is there instead of one that was lost with its host.
                Some(place) if work == Work::Starting => {
                    self.places.insert(index, place);
                    started[place] = *container;
                }
                _ => started.push(*container),
            },
            Progress::Destroyed { container, .. } => self.summary.destroyed.push(container),
            Progress::Failed(failure) => self.summary.failed.push(failure),
            Progress::Pulled { engine, .. } => self.pulled.push(engine),
            Progress::Summary { requested, started, destroyed, failed } => {
                self.summary.requested = requested;
                self.end = Some((started + destroyed, failed));
            }
            _ => {}
        }
    }

    fn changed_containers(&self) -> bool {
        !self.summary.started.is_empty() || !self.summary.destroyed.is_empty()
    }

    /// Says what went wrong and turns it into an exit status. `partly` tells whether anything was done, and `key` under
    /// which name the request may be made again.
    fn judge(self, context: &Context, partly: bool, thing: &str, undone: &str, key: Option<&str>) -> Result {
        for line in failure_lines(&self.summary.failed, thing, undone) {
            output::complain(&line);
        }
        if let Some(failure) = self.failure {
            let again = key.filter(|_| failure.is_uncertain());
            if matches!(failure, Failure::Interrupted(_)) || (again.is_none() && !partly) {
                return Err(failure);
            }
            context.line(&failure).iter().for_each(|line| output::complain(line));
            if let Some(key) = again {
                context.output.say(&format!("it may go on all the same; to see what became of it, add --key {key}"));
            }
            return Err(Failure::Told(if partly { Status::Partly } else { failure.status() }));
        }
        // What is decided, written down, and done as soon as it can be has not failed.
        let deferred = self.summary.failed.iter().filter(|failure| failure.deferred).count();
        match self.end.map_or((0, 0), |(done, failed)| (done + deferred, failed.saturating_sub(deferred))) {
            (_, 0) => Ok(()),
            (0, _) => Err(Failure::Told(Status::Failed)),
            (done, failed) => {
                context.output.say(&format!("{done} done, {failed} failed"));
                Err(Failure::Told(Status::Partly))
            }
        }
    }
}

/// One line for all that failed on one engine in one way.
fn failure_lines(failed: &[client::Failure], thing: &str, undone: &str) -> Vec<String> {
    let mut alike = BTreeMap::<_, Vec<&client::Failure>>::new();
    for failure in failed {
        alike.entry((failure.engine.as_ref(), failure.error.as_str())).or_default().push(failure);
    }
    let mut lines = Vec::with_capacity(alike.len());
    for ((engine, error), failures) in alike {
        let place = engine.map(|engine| format!(" on {engine}")).unwrap_or_default();
        let plural = if failures.len() == 1 { "" } else { "s" };
        let ids: Vec<&str> =
            failures.iter().filter_map(|failure| failure.container.as_ref()).map(ContainerId::short).collect();
        let ids = if ids.is_empty() { String::new() } else { format!(" ({})", ids.join(", ")) };
        lines.push(format!("{} {thing}{plural} {undone}{place}{ids}: {error}", failures.len()));
    }
    lines
}

fn write_containers(context: &Context, outcome: &Outcome) -> Result {
    if !outcome.begun {
        return Ok(());
    }
    let summary = &outcome.summary;
    let ids = summary.started.iter().map(|container| container.id.to_string());
    context.output.show_own(summary, ids, || match summary.started.is_empty() {
        true => String::new(),
        false => tables::containers(&summary.started),
    })
}
