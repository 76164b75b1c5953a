//! Containers, apart from starting new ones.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;

use super::Result;
use crate::args::Targets;
use crate::client::{ClientError, ListQuery};
use crate::context::Context;
use crate::failure::{Failure, Status};
use crate::output::{self, details, tables};

/// How long a container may take to end until it is said what is waited for.
const SILENT: Duration = Duration::from_secs(3);

/// How many requests are under way at once. Stopping may take long, and the server bounds what each host does at once.
const AT_ONCE: usize = 16;

pub(super) async fn list(context: &Context, query: &ListQuery) -> Result {
    let containers = context.client()?.containers(query).await?;
    context.output.show_list("container", &containers, |container| container.id.to_string(), tables::containers)
}

pub(super) async fn inspect(context: &Context, id: &str) -> Result {
    let container = context.client()?.container(id).await?;
    context.output.show(container.json(), [container.id.to_string()], || details::container(&container))
}

pub(super) async fn destroy(context: &Context, targets: Targets, platform: Option<&str>) -> Result {
    let client = &context.client()?;
    each(context, targets, async |id| client.destroy(&id, platform).await).await
}

pub(super) async fn start(context: &Context, targets: Targets) -> Result {
    let client = &context.client()?;
    each(context, targets, async |id| client.start(&id).await).await
}

pub(super) async fn stop(context: &Context, targets: Targets, timeout_seconds: Option<u32>) -> Result {
    let client = &context.client()?;
    each(context, targets, async |id| told(context, &id, timeout_seconds, client.stop(&id, timeout_seconds)).await)
        .await
}

pub(super) async fn restart(context: &Context, targets: Targets, timeout_seconds: Option<u32>) -> Result {
    let client = &context.client()?;
    each(context, targets, async |id| told(context, &id, timeout_seconds, client.restart(&id, timeout_seconds)).await)
        .await
}

/// Waits for a container to end, and says what it waits for when that takes a while.
async fn told<T>(context: &Context, id: &str, timeout_seconds: Option<u32>, ends: impl Future<Output = T>) -> T {
    let mut ends = std::pin::pin!(ends);
    if let Ok(outcome) = tokio::time::timeout(SILENT, &mut ends).await {
        return outcome;
    }
    let time = match timeout_seconds {
        Some(seconds) => format!("{seconds} s"),
        None => "as long as its description says, 10 s as a rule".to_owned(),
    };
    context.output.say(&format!("waiting for {id} to end by itself; it has {time}, and is killed then"));
    ends.await
}

/// Does something to each container and writes the ids of those it was done to, as they were given.
async fn each<F, W>(context: &Context, targets: Targets, work: F) -> Result
where
    F: Fn(String) -> W,
    W: Future<Output = std::result::Result<(), ClientError>>,
{
    let ids = targets.read()?;
    if ids.is_empty() {
        context.output.say("stdin names no container; nothing was done");
    }
    let alone = ids.len() == 1;
    let outcomes = stream::iter(ids).map(|id| {
        let outcome = work(id.clone());
        async move { (id, outcome.await) }
    });
    let mut outcomes = Box::pin(outcomes.buffered(AT_ONCE));
    let mut done = Vec::new();
    let mut failed = Vec::new();
    while let Some((id, outcome)) = outcomes.next().await {
        match outcome.map_err(Failure::from) {
            Ok(()) => done.push(id),
            Err(failure) if alone || (done.is_empty() && failure.is_general()) => return Err(failure),
            Err(failure) => {
                let line = context.line(&failure).unwrap_or_default();
                output::complain(&format!("{id}: {line}"));
                failed.push(failure.status());
            }
        }
    }
    context.output.show_own(&done, done.iter().cloned(), || done.join("\n"))?;
    match (done.is_empty(), failed.as_slice()) {
        (_, []) => Ok(()),
        (false, _) => Err(Failure::Told(Status::Partly)),
        (true, [first, others @ ..]) if others.iter().all(|status| status == first) => Err(Failure::Told(*first)),
        (true, _) => Err(Failure::Told(Status::Failed)),
    }
}
