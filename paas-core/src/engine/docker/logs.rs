//! The output of containers.

use bollard::Docker as Client;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures::StreamExt;
use futures::stream::BoxStream;
use hyper::Uri;

use super::errors::Call;
use super::events::docker_time;
use super::{deadlines, until_silent};
use crate::engine::{LogChunk, LogOptions, LogStream, Result};
use crate::model::ContainerId;

pub(super) fn open(
    client: &Client,
    call: Call,
    id: &ContainerId,
    options: &LogOptions,
) -> BoxStream<'static, Result<LogChunk>> {
    let mut client = client.clone().with_timeout(deadlines::OPEN);
    if let Some(since) = options.since {
        // bollard's options know whole seconds only.
        let since = docker_time(since);
        client = client.with_request_modifier(move |mut request| {
            if let Some(exact) = with_since(request.uri(), &since) {
                *request.uri_mut() = exact;
            }
            request
        });
    }
    let query = LogsOptions {
        follow: options.follow,
        stdout: options.stdout,
        stderr: options.stderr,
        timestamps: options.timestamps,
        tail: options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
        ..LogsOptions::default()
    };
    let chunks = client.logs(id.as_str(), Some(query)).map(|item| item.map(chunk)).boxed();
    if options.follow {
        // A container may be silent for as long as it likes.
        chunks.map(move |item| item.map_err(|err| call.failure(err))).boxed()
    } else {
        until_silent(chunks, deadlines::LOG_SILENCE, call)
    }
}

pub(super) fn with_since(uri: &Uri, since: &str) -> Option<Uri> {
    let query: Vec<String> = uri
        .query()?
        .split('&')
        .map(|pair| if pair.starts_with("since=") { format!("since={since}") } else { pair.to_owned() })
        .collect();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{}", uri.path(), query.join("&")).parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn chunk(output: LogOutput) -> LogChunk {
    match output {
        LogOutput::StdErr { message } => LogChunk { stream: LogStream::Stderr, bytes: message },
        // A container with a terminal has one output only.
        LogOutput::StdOut { message } | LogOutput::Console { message } | LogOutput::StdIn { message } => {
            LogChunk { stream: LogStream::Stdout, bytes: message }
        }
    }
}
