//! What a container wrote last because of which a rollout goes back, or stops.

use std::time::Duration;

use super::{App, Apps, before, carry_out, output};
use crate::apps::{Action, Cause, Step, Witness};
use crate::cluster::ReplicaContainer;
use crate::engine::Result;
use crate::executor::Executor;
use crate::model::app::LastLines;

/// How long the output may take. A rollout that failed does not wait for it any longer.
const DEADLINE: Duration = Duration::from_secs(3);

impl Apps {
    /// The last lines of the container because of which a rollout ends by these steps, or goes back; nothing where there is no
    /// such container, or its host does not give them soon.
    pub(super) async fn output_of_failure(&self, executor: &Executor, app: &App, steps: &[Step]) -> Option<LastLines> {
        let witness = steps.iter().find_map(|step| match (&step.action, &step.cause) {
            (Action::Rollback { .. } | Action::Finish(_), Cause::GateFailed(verdict)) => verdict.witness.as_ref(),
            _ => None,
        })?;
        let documents = app.shown()?;
        let is_it = |container: &ReplicaContainer| match witness {
            Witness::Replica(replica) => carry_out::is_replica(container, replica),
            Witness::Before(component) => before::is_command(container, component, documents.desired()),
        };
        let container = executor.cluster.replicas(&app.name).into_iter().find(is_it)?;
        let name = match witness {
            Witness::Replica(replica) => replica.to_string(),
            Witness::Before(component) => format!("the command before {component}"),
        };
        let reading = async {
            let raw = last_output(executor, &container).await?;
            self.without_secrets(&app.name, documents.desired(), &container, &raw).await
        };
        match tokio::time::timeout(DEADLINE, reading).await {
            Ok(Ok(output)) => Some(LastLines::of(name, output.as_bytes())),
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

/// The end of what a container wrote.
async fn last_output(executor: &Executor, container: &ReplicaContainer) -> Result<Vec<u8>> {
    let Some(connection) = executor.cluster.connection(&container.engine) else { return Ok(Vec::new()) };
    output::read(&*connection, container, LastLines::MOST).await
}
