//! Following a rollout until it has ended.

use std::time::Duration;

use paas_core::wire::app::{AppState, AppStatus, RolloutOutcome, RolloutResult};
use tokio::time::{sleep, timeout};

use super::{Result, unless_interrupted};
use crate::client::{Answer, Client, ClientError};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::apps::last_lines;
use crate::output::rollout::RolloutReporter;

/// How often the application is looked at.
///
/// The stream of a rollout that the server has would save requests and make nothing simpler: it breaks off when another server
/// leads, and then it is asked again, as here each time.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How an application is before a rollout begins; nothing where there is none yet.
pub(super) async fn before(client: &Client, name: &str) -> std::result::Result<Option<AppStatus>, ClientError> {
    match client.app(name).await {
        Ok(status) => Ok(Some(status.into_inner())),
        Err(error) if error.code() == Some("app_not_found") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Shows what is different from `before` until the rollout has ended, and fails where it was not done.
pub(super) async fn follow(
    context: &Context,
    client: &Client,
    name: &str,
    before: Option<&AppStatus>,
    longest: Duration,
) -> Result {
    let mut reporter = RolloutReporter::new(context.output, before);
    let words = format!("interrupted; the rollout goes on, and 'paas-cli app rollout {name} --follow' shows it again");
    let ended = unless_interrupted(Some(&words), async {
        timeout(longest, until_ended(client, name, &mut reporter)).await.unwrap_or_else(|_| {
            Err(Failure::Failed(format!(
                "the rollout of {name} did not end within {} s; it goes on, and 'paas-cli app rollout {name} --follow' \
                 shows it again",
                longest.as_secs()
            )))
        })
    })
    .await;
    reporter.finish();
    let ended = ended?;
    let last_before = before.and_then(|before| before.last_rollout.as_ref());
    let result = ended.last_rollout.as_ref().filter(|result| Some(*result) != last_before);
    if let Some(output) = result.and_then(|result| result.output.as_ref()) {
        context.output.say_lines(&last_lines(output).join("\n"));
    }
    judge(&ended, result)?;
    let summary = &ended.summary;
    if summary.state == AppState::Stopped {
        context.output.say(&format!("{name} is stopped; 'paas-cli app start {name}' goes on with it"));
        return Ok(());
    }
    context.output.say(&format!(
        "{name} runs revision {}, {} of {} replicas ready",
        summary.revision, summary.ready, summary.replicas
    ));
    Ok(())
}

/// Looks again and again. That no server answers or leads is no reason to give up: the rollout is not the client's.
async fn until_ended(
    client: &Client,
    name: &str,
    reporter: &mut RolloutReporter,
) -> std::result::Result<Answer<AppStatus>, Failure> {
    let mut is_away = false;
    loop {
        match client.app(name).await {
            Ok(status) => {
                is_away = false;
                reporter.show(&status);
                if !status.is_rolling_out() {
                    return Ok(status);
                }
            }
            Err(error) if error.is_passing() => {
                if !is_away {
                    let failure = Failure::Client(error);
                    reporter.say(&format!("asking again: {}", failure.line().unwrap_or_default()));
                }
                is_away = true;
            }
            Err(error) => return Err(error.into()),
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether it came to what was asked for. Where there was no rollout nothing went wrong.
fn judge(app: &AppStatus, result: Option<&RolloutResult>) -> Result {
    let name = &app.summary.name;
    let Some(RolloutResult { outcome, why, .. }) = result else { return Ok(()) };
    let what = match outcome {
        RolloutOutcome::Done => return Ok(()),
        RolloutOutcome::RolledBack => format!("{name} was rolled back"),
        RolloutOutcome::Stopped => format!("the rollout of {name} stopped"),
        RolloutOutcome::Unknown => format!("the rollout of {name} ended in a way that this version does not know"),
    };
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    Err(Failure::Failed(format!("{what}{why}; 'paas-cli app show {name}' shows what runs")))
}
