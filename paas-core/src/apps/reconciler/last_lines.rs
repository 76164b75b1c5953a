//! What a container wrote last because of which a rollout goes back, or stops.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{App, Apps, before, carry_out, output};
use crate::apps::{Action, Cause, Step, Witness};
use crate::cluster::ReplicaContainer;
use crate::engine::EngineError;
use crate::executor::Executor;
use crate::model::app::LastLines;

/// How long the output may take. A rollout that failed does not wait for it any longer.
const DEADLINE: Duration = Duration::from_secs(3);

/// Output that was read for the next round.
pub(super) type LinesRead = BTreeMap<String, Option<LastLines>>;

impl Apps {
    /// Reads the last lines of the container because of which a rollout ends, or goes back; nothing where there is no such container, or
    /// its host does not give them soon. They are for the next round: nobody who changes the application waits for a host meanwhile,
    /// and what happens in between is looked at then.
    pub(super) async fn read_last_lines(&self, executor: &Executor, app: &App, witness: &Witness) {
        let name = name_of(witness);
        let lines = self.last_lines_of(executor, app, witness, &name).await;
        app.lines_read.lock().insert(name, lines);
    }

    async fn last_lines_of(&self, executor: &Executor, app: &App, witness: &Witness, name: &str) -> Option<LastLines> {
        let documents = app.shown()?;
        let is_it = |container: &ReplicaContainer| match witness {
            Witness::Replica(replica) => carry_out::is_replica(container, replica),
            Witness::Before(component) => before::is_command(container, component, documents.desired()),
        };
        let container = executor.cluster.replicas(&app.name).into_iter().find(is_it)?;
        let reading = async {
            let raw = last_output(executor, &container).await?;
            self.without_secrets(&app.name, documents.desired(), &container, &raw).await
        };
        match tokio::time::timeout(DEADLINE, reading).await {
            Ok(Ok(output)) => Some(LastLines::of(name.to_owned(), output.as_bytes())),
            Ok(Err(error)) => {
                tracing::warn!(app = %app.name, container = container.name, %error, "its last lines cannot be read");
                None
            }
            Err(_) => {
                tracing::warn!(app = %app.name, container = container.name, "its last lines take too long");
                None
            }
        }
    }
}

impl App {
    /// What was read of the container because of which a rollout ends by these steps, or goes back.
    ///
    /// # Errors
    /// Nothing was read of it yet: that is to be done before the steps are taken.
    pub(super) fn output_of_failure(&self, steps: &[Step]) -> Result<Option<LastLines>, Witness> {
        let mut read = std::mem::take(&mut *self.lines_read.lock());
        let Some(witness) = witness_of(steps) else { return Ok(None) };
        read.remove(&name_of(witness)).ok_or_else(|| witness.clone())
    }
}

fn witness_of(steps: &[Step]) -> Option<&Witness> {
    steps.iter().find_map(|step| match (&step.action, &step.cause) {
        (Action::Rollback { .. } | Action::Finish(_), Cause::GateFailed(verdict)) => verdict.witness.as_ref(),
        _ => None,
    })
}

fn name_of(witness: &Witness) -> String {
    match witness {
        Witness::Replica(replica) => replica.to_string(),
        Witness::Before(component) => format!("the command before {component}"),
    }
}

/// The end of what a container wrote.
async fn last_output(executor: &Executor, container: &ReplicaContainer) -> Result<Vec<u8>, EngineError> {
    let Some(connection) = executor.cluster.connection(&container.engine) else { return Ok(Vec::new()) };
    output::read(&*connection, container, LastLines::MOST).await
}
