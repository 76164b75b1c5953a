//! Operations that tell how far they are.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use paas_core::controller::{LaunchSummary, Progress};
use paas_core::model::Container;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, StatusCode};

use super::{Client, ClientError};

/// The steps of an operation, as they happen. The last is [`Progress::Summary`], unless there is an error before it.
///
/// Dropping it does not stop the operation.
pub type Steps = BoxStream<'static, Result<Progress, ClientError>>;

const LINES: &str = "application/x-ndjson";

impl Client {
    /// Begins an operation. It may take as long as it takes.
    pub(super) async fn operate(&self, request: RequestBuilder) -> Result<Steps, ClientError> {
        let answer = self.send(request.header(ACCEPT, LINES)).await?;
        let content_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type.is_some_and(|value| value.starts_with(LINES)) {
            return Ok(self.steps(answer));
        }
        self.steps_of_result(answer).await
    }

    fn steps(&self, answer: Response) -> Steps {
        let client = self.clone();
        let steps = self.lines(answer).filter_map(move |line| {
            let step = match line {
                Ok(line) if line.is_empty() => None,
                Ok(line) => Some(serde_json::from_slice(&line).map_err(|error| client.unexpected(error.to_string()))),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(step)
        });
        let client = self.clone();
        stream::unfold((steps, false), move |(mut steps, over)| {
            let client = client.clone();
            async move {
                if over {
                    return None;
                }
                let step = steps.next().await.unwrap_or_else(|| Err(client.ended_early()));
                let over = matches!(step, Ok(Progress::Summary { .. }) | Err(_));
                Some((step, (steps, over)))
            }
        })
        .boxed()
    }

    fn ended_early(&self) -> ClientError {
        ClientError::BrokenOff { url: self.server.clone(), source: None }
    }

    /// The steps that lead to what a server answers that does not tell them one by one.
    async fn steps_of_result(&self, answer: Response) -> Result<Steps, ClientError> {
        let summary = match answer.status() {
            StatusCode::NO_CONTENT => LaunchSummary::default(),
            StatusCode::MULTI_STATUS => self.read::<LaunchSummary>(answer).await?.into_inner(),
            _ => {
                let started = self.read::<Vec<Container>>(answer).await?.into_inner();
                LaunchSummary { requested: started.len(), started, ..LaunchSummary::default() }
            }
        };
        let last = Progress::Summary {
            requested: summary.requested,
            started: summary.started.len(),
            destroyed: summary.destroyed.len(),
            failed: summary.failed.len(),
        };
        let started = summary.started.into_iter().enumerate();
        let started = started.map(|(index, container)| Progress::Started { index, container: Box::new(container) });
        let failed = summary.failed.into_iter().map(Progress::Failed);
        let steps: Vec<_> = started.chain(failed).chain([last]).map(Ok).collect();
        Ok(stream::iter(steps).boxed())
    }
}
