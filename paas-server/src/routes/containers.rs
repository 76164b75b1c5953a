//! Containers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as Content;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::{Extension, Json};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use paas_core::controller::RunRequest;
use paas_core::engine::{EngineError, LogOptions};
use paas_core::model::{Container, ContainerSpec, Invalid};
use paas_core::wire::LOG_BROKE_OFF;

use super::listing::Listing;
use crate::app::{App, Caller};
use crate::extract::{Body, DEFAULT_GRACE, Id, NoParams, Params, wants_progress};
use crate::middleware::idempotency::Named;
use crate::problem::{Answer, Problem};
use crate::progress;

const MOST_CONTAINERS: u64 = 10_000;
/// The largest page.
const MOST_LISTED: u64 = 10_000;

const LONGEST_GRACE: u64 = 3600;

/// How long the last line of a log that breaks off has to get on its way.
const LAST_LINE: Duration = Duration::from_millis(200);

pub(crate) async fn list(State(app): State<App>, uri: Uri) -> Answer {
    let params = Params::of(&uri, &["all", "limit", "after"])?;
    let listing = Listing {
        controller: app.controller,
        all: params.flag("all")?.unwrap_or(false),
        after: params.text("after").map(str::parse).transpose().map_err(|invalid: Invalid| {
            // The id of the last container of the page before.
            Problem::invalid("after", invalid.message)
        })?,
        left: params.number("limit", 1, MOST_LISTED)?.map(|limit| limit as usize),
    };
    listing.answer()
}

pub(crate) async fn show(State(app): State<App>, Id(id): Id, _: NoParams) -> Answer<Json<Arc<Container>>> {
    Ok(Json(app.controller.container(&id)?))
}

pub(crate) async fn run(
    State(app): State<App>,
    caller: Caller,
    named: Named,
    uri: Uri,
    headers: HeaderMap,
    Body(spec): Body<ContainerSpec>,
) -> Answer {
    let params = Params::of(&uri, &["count", "pull"])?;
    let count = count(&params, 1)?.unwrap_or(1);
    let pull = params.flag("pull")?.unwrap_or(false);
    let request = RunRequest { spec, count, pull };
    let operation = match named {
        Some(Extension(id)) => app.controller.run_once(&caller.actor(), request, id).await?,
        None => app.controller.run(&caller.actor(), request).await?,
    };
    if wants_progress(&headers) {
        return Ok(progress::stream(&app.controller, operation));
    }
    progress::outcome_of_run(operation.finish().await)
}

pub(crate) async fn scale(State(app): State<App>, caller: Caller, Id(id): Id, uri: Uri, headers: HeaderMap) -> Answer {
    let count = count(&Params::of(&uri, &["count"])?, 0)?;
    let missing = || Problem::invalid("count", "is missing; say how many there shall be, from 0 to 10000");
    let count = count.ok_or_else(missing)?;
    let operation = app.controller.scale(&caller.actor(), &id, count).await?;
    if wants_progress(&headers) {
        return Ok(progress::stream(&app.controller, operation));
    }
    progress::outcome_of_scale(operation.finish().await)
}

fn count(params: &Params, least: u64) -> Answer<Option<usize>> {
    let count = params.number("count", least, MOST_CONTAINERS)?;
    Ok(count.and_then(|count| usize::try_from(count).ok()))
}

pub(crate) async fn start(State(app): State<App>, caller: Caller, Id(id): Id, _: NoParams) -> Answer<StatusCode> {
    app.controller.start(&caller.actor(), &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn stop(State(app): State<App>, caller: Caller, Id(id): Id, uri: Uri) -> Answer<StatusCode> {
    app.controller.stop(&caller.actor(), &id, grace(&app, &id, &uri)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn restart(State(app): State<App>, caller: Caller, Id(id): Id, uri: Uri) -> Answer<StatusCode> {
    app.controller.restart(&caller.actor(), &id, grace(&app, &id, &uri)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// As long as the request says, or as the container itself does.
fn grace(app: &App, id: &str, uri: &Uri) -> Answer<Duration> {
    let seconds = Params::of(uri, &["timeout"])?.number("timeout", 0, LONGEST_GRACE)?;
    let own = || app.controller.own_grace(id).unwrap_or(Duration::from_secs(DEFAULT_GRACE));
    Ok(seconds.map_or_else(own, Duration::from_secs))
}

pub(crate) async fn destroy(State(app): State<App>, caller: Caller, Id(id): Id, uri: Uri) -> Answer<StatusCode> {
    let params = Params::of(&uri, &["platform"])?;
    app.controller.destroy_of(&caller.actor(), &id, params.text("platform")).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn logs(State(app): State<App>, caller: Caller, Id(id): Id, uri: Uri) -> Answer {
    let options = log_options(&uri)?;
    let chunks = app.controller.logs(&id, &options).await?;
    let over = Box::pin(app.until_over(caller));
    let bytes = chunks.take_until(over).map_ok(|chunk| chunk.bytes).flat_map(move |chunk| match chunk {
        Ok(bytes) => stream::iter([Ok(bytes)]).boxed(),
        Err(error) => {
            tracing::warn!(container = id, %error, "a log broke off");
            broken_off(error).boxed()
        }
    });
    let media_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((media_type, Content::from_stream(bytes)).into_response())
}

/// How a log ends that cannot be read any further. The status went out long ago: the reason is the last line, and then the
/// connection breaks off, so that nobody takes this for the end of the log.
fn broken_off(error: EngineError) -> impl Stream<Item = Result<Bytes, EngineError>> + Send {
    let line = format!("\n{LOG_BROKE_OFF}{}\n", error.to_string().replace(char::is_control, " "));
    let cut = stream::once(async move {
        // What is not on its way by then is thrown away with the connection.
        tokio::time::sleep(LAST_LINE).await;
        Err(error)
    });
    stream::iter([Ok(Bytes::from(line))]).chain(cut)
}

fn log_options(uri: &Uri) -> Answer<LogOptions> {
    let params = Params::of(uri, &["follow", "stdout", "stderr", "timestamps", "tail", "since"])?;
    let (stdout, stderr) = match (params.flag("stdout")?, params.flag("stderr")?) {
        (None, None) => (true, true),
        // Asking for one, or doing without one, says what is wanted of the other.
        (Some(stdout), None) => (stdout, !stdout),
        (None, Some(stderr)) => (!stderr, stderr),
        (Some(false), Some(false)) => {
            return Err(Problem::invalid("stdout", "and stderr are both false, so there is nothing to send"));
        }
        (Some(stdout), Some(stderr)) => (stdout, stderr),
    };
    Ok(LogOptions {
        stdout,
        stderr,
        follow: params.flag("follow")?.unwrap_or(false),
        timestamps: params.flag("timestamps")?.unwrap_or(false),
        tail: params.number("tail", 0, u64::from(u32::MAX))?,
        since: params.text("since").map(since).transpose()?,
    })
}

/// A time in RFC 3339, or in seconds since 1970 with or without a fraction.
pub(super) fn since(text: &str) -> Answer<Timestamp> {
    let of_seconds = || {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
            return None;
        }
        Timestamp::new(whole.parse().ok()?, format!("{fraction:0<9}").parse().ok()?).ok()
    };
    let wrong = || Problem::invalid("since", format!("must be a time in RFC 3339 or Unix seconds, not {text:?}"));
    text.parse().ok().or_else(of_seconds).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_seconds() {
        let time: Timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
        for text in ["2026-01-02T03:04:05.5Z", "2026-01-02T04:04:05.500+01:00", "1767323045.5", "1767323045.500000000"]
        {
            assert_eq!(since(text).unwrap(), time, "{text}");
        }
        for text in ["", "yesterday", "-1", "1.", "1.1234567890", "99999999999999999999", "0x10"] {
            // A point without digits behind it reads as a whole number of seconds.
            assert_eq!(since(text).is_ok(), text == "1.", "{text}");
        }
    }

    #[test]
    fn naming_one_output_leaves_out_the_other() {
        let outputs = |query: &str| {
            let uri = format!("/x?{query}").parse().unwrap();
            log_options(&uri).map(|options| (options.stdout, options.stderr))
        };
        assert_eq!(outputs(""), Ok((true, true)));
        assert_eq!(outputs("stdout=true"), Ok((true, false)));
        assert_eq!(outputs("stderr=1"), Ok((false, true)));
        assert_eq!(outputs("stderr=false"), Ok((true, false)));
        assert_eq!(outputs("stdout=true&stderr=true"), Ok((true, true)));
        assert!(outputs("stdout=false&stderr=false").is_err());
    }
}
