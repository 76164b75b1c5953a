//! Commands that are run for applications.

use futures::StreamExt;
use futures::stream::BoxStream;
use paas_core::wire::app::{CommandStep, ExecRequest, RunCommandRequest};
use reqwest::Method;

use super::call::Call;
use super::{Client, ClientError};

/// What comes of a command as it happens. The last is [`CommandStep::Ended`] or [`CommandStep::BrokenOff`]; where neither is, nobody
/// knows what became of the command.
pub type CommandSteps = BoxStream<'static, Result<CommandStep, ClientError>>;

impl Client {
    /// Runs a command in the container of a replica, without a terminal and without input. Dropping the stream does not end it.
    ///
    /// It is sent on to another server only where the first one cannot have begun it.
    ///
    /// # Errors
    /// Status 404 when there is no such application, 409 when none of its replicas is ready.
    pub async fn exec_app(&self, name: &str, request: &ExecRequest) -> Result<CommandSteps, ClientError> {
        self.command(self.of_app(Method::POST, name, &["exec"])?.json(request)).await
    }

    /// Runs a command once, in a container of its own like those of a component. Dropping the stream ends it.
    ///
    /// It is sent on to another server only where the first one cannot have begun it.
    ///
    /// # Errors
    /// Status 404 when there is no such application, 409 when no host has room for it.
    pub async fn run_app(&self, name: &str, request: &RunCommandRequest) -> Result<CommandSteps, ClientError> {
        self.command(self.of_app(Method::POST, name, &["run"])?.json(request)).await
    }

    async fn command(&self, call: Call) -> Result<CommandSteps, ClientError> {
        let reply = self.send(&call.without_key(), async |reply| Ok(reply)).await?;
        let url = reply.url.clone();
        let steps = reply.lines().map(move |line| {
            serde_json::from_slice(&line?).map_err(|error| ClientError::unexpected(&url, error.to_string()))
        });
        Ok(steps.boxed())
    }
}
