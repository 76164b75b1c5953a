//! Commands that are run for applications: what comes of one goes out as it happens, one JSON object per line.

use std::convert::Infallible;

use axum::body::Body as Content;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use paas_core::engine::{EngineError, ExecChunk};
use paas_core::wire::app::{CommandStep, ExecRequest, RunCommandRequest};

use super::apps::Name;
use crate::app::{App, Caller};
use crate::extract::{Body, NoParams, PROGRESS};
use crate::problem::Answer;

pub(crate) async fn exec(
    State(app): State<App>,
    caller: Caller,
    Name(name): Name,
    _: NoParams,
    Body(request): Body<ExecRequest>,
) -> Answer {
    let chunks = app.controller.exec_app(&caller.actor(), name.as_str(), request).await?;
    Ok(answer(&app, caller, chunks))
}

pub(crate) async fn run(
    State(app): State<App>,
    caller: Caller,
    Name(name): Name,
    _: NoParams,
    Body(request): Body<RunCommandRequest>,
) -> Answer {
    let chunks = app.controller.run_app(&caller.actor(), name.as_str(), request).await?;
    Ok(answer(&app, caller, chunks))
}

/// What comes of a command, until it has ended, or nobody can say any more what becomes of it.
fn answer(
    app: &App,
    caller: Caller,
    chunks: BoxStream<'static, Result<ExecChunk, EngineError>>,
) -> axum::response::Response {
    let over = Box::pin(app.until_over(caller));
    let lines = steps(chunks, over).map(|step| Ok::<_, Infallible>(line(&step)));
    ([(header::CONTENT_TYPE, PROGRESS)], Content::from_stream(lines)).into_response()
}

fn steps(
    chunks: BoxStream<'static, Result<ExecChunk, EngineError>>,
    over: impl Future<Output = ()> + Send + Unpin + 'static,
) -> impl Stream<Item = CommandStep> + Send {
    stream::unfold(Some((chunks, over)), |state| async move {
        let (mut chunks, mut over) = state?;
        let step = tokio::select! {
            biased;
            () = &mut over => broken_off("the server shuts down, or the login has ended"),
            chunk = chunks.next() => match chunk {
                Some(Ok(chunk)) => chunk.into(),
                Some(Err(error)) => broken_off(&error.to_string()),
                None => broken_off("the host does not say how it ended"),
            },
        };
        let goes_on = matches!(step, CommandStep::Output { .. });
        Some((step, goes_on.then_some((chunks, over))))
    })
}

fn broken_off(why: &str) -> CommandStep {
    CommandStep::BrokenOff { detail: why.replace(char::is_control, " ") }
}

fn line(step: &CommandStep) -> Bytes {
    // Text and numbers always have a JSON form.
    let mut line = serde_json::to_vec(step).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use paas_core::engine::{EngineErrorKind, LogChunk, LogStream};

    use super::*;

    async fn told(chunks: Vec<Result<ExecChunk, EngineError>>) -> Vec<CommandStep> {
        steps(stream::iter(chunks).boxed(), Box::pin(std::future::pending())).collect().await
    }

    fn wrote(text: &'static str) -> Result<ExecChunk, EngineError> {
        Ok(ExecChunk::Output(LogChunk { stream: LogStream::Stderr, bytes: text.into() }))
    }

    #[tokio::test]
    async fn it_ends_with_the_status_or_with_why_there_is_none() {
        let output = CommandStep::output(LogStream::Stderr, b"x");
        let ended = told(vec![wrote("x"), Ok(ExecChunk::Ended(3)), wrote("more")]).await;
        assert_eq!(ended, [output.clone(), CommandStep::Ended { status: 3 }]);
        let lost = EngineError::new(EngineErrorKind::Unreachable, "read", "it is\naway");
        let broken = told(vec![wrote("x"), Err(lost)]).await;
        assert!(matches!(&broken[1], CommandStep::BrokenOff { detail } if detail.contains("it is away")), "{broken:?}");
        let cut = told(vec![wrote("x")]).await;
        assert!(matches!(&cut[..], [_, CommandStep::BrokenOff { .. }]), "{cut:?}");
    }

    #[tokio::test]
    async fn a_server_that_ends_says_so() {
        let silent = stream::pending().boxed();
        let over: Vec<CommandStep> = steps(silent, std::future::ready(())).collect().await;
        assert!(matches!(&over[..], [CommandStep::BrokenOff { .. }]), "{over:?}");
    }
}
