//! Events.

use std::collections::HashSet;

use futures::StreamExt;
use paas_core::model::Event;

use super::{Result, unless_interrupted};
use crate::args::Format;
use crate::client::{Client, Live};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{self, tables};

const DEFAULT_COUNT: u32 = 20;

pub(super) async fn list(context: &Context, count: Option<u32>) -> Result {
    let events = context.client()?.events(count.unwrap_or(DEFAULT_COUNT)).await?;
    context.output.show_list("an event", &events, |event| event.id.to_string(), tables::events)
}

/// Writes events as they happen, one per line; those of the past, if any are asked for, first.
pub(super) async fn follow(context: &Context, count: Option<u32>) -> Result {
    let client = context.client()?;
    unless_interrupted(None, write_all(context, &client, count)).await
}

async fn write_all(context: &Context, client: &Client, count: Option<u32>) -> Result {
    // Listening begins before the past is asked for, so that nothing is lost between the two.
    let mut live = client.live_events().await?;
    let mut written = HashSet::new();
    if let Some(count) = count {
        let past = client.events(count).await?;
        for event in past.iter().rev() {
            written.insert(event.id);
            let json = serde_json::to_string(event).unwrap_or_default();
            write(context, event, &json)?;
        }
    }
    while let Some(message) = live.next().await {
        match message? {
            Live::Event { event, json } => {
                if !written.contains(&event.id) {
                    write(context, &event, &json)?;
                }
            }
            Live::Lagged(count) => output::complain(&format!("{count} events were missed; list them without --follow")),
            Live::Unreadable(kind, what) => output::complain(&format!("an event '{kind}' cannot be shown: {what}")),
            Live::Dropped(seconds) => {
                let what = format!("the server tells no more, as nothing was read for {seconds} s; follow again");
                return Err(Failure::Failed(what));
            }
        }
    }
    Ok(())
}

fn write(context: &Context, event: &Event, json: &str) -> Result {
    if context.output.quiet {
        return output::print(&event.id.to_string());
    }
    match context.output.format {
        Format::Table => output::print(&tables::event_line(event)),
        Format::Json => output::print(json),
    }
}
