//! What the platform is told about hosts as a whole.

use std::io::IsTerminal;

use paas_core::wire::app::Moved;

use super::Result;
use super::apply::confirm;
use crate::context::Context;
use crate::output::apps as output;

pub(super) async fn heal_now(context: &Context) -> Result {
    context.client()?.heal_now().await?;
    context.output.say("what ran on silent hosts is started elsewhere; 'paas-cli app list' shows how far it is");
    Ok(())
}

pub(super) async fn resume(context: &Context) -> Result {
    context.client()?.resume_reconciling().await?;
    context.output.say("applications are acted upon again");
    Ok(())
}

pub(super) async fn host_lost(context: &Context, id: &str, lose_volumes: bool, yes: bool) -> Result {
    if !yes && std::io::stdin().is_terminal() {
        confirm(&format!("give up host {id} for good?"), "add --yes")?;
    }
    let volumes = context.client()?.host_lost(id, lose_volumes).await?;
    context.output.say(&match volumes.len() {
        0 => format!("host {id} counts as lost; no volume is lost with it"),
        1 => format!("host {id} counts as lost, and with it a volume"),
        count => format!("host {id} counts as lost, and with it {count} volumes"),
    });
    context.output.show(volumes.json(), volumes.iter().cloned(), || volumes.join("\n"))
}

pub(super) async fn rebalance(context: &Context, dry_run: bool) -> Result {
    let moves = context.client()?.rebalance(dry_run).await?;
    if moves.is_empty() {
        context.output.say("nothing moves: no host is much fuller than others, or what is there has to stay");
    }
    let replica = |moved: &Moved| format!("{}/{}", moved.app, moved.replica);
    context.output.show(moves.json(), moves.iter().map(replica), || output::moves(&moves))
}
