//! The program as a process: its log, its signals, its data directory, and what it says to the person who started it.

use std::fs::DirBuilder;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, Result};
use paas_core::model::Invalid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::LogFormat;

/// The status of a program that a second signal ended.
const ENDED_BY_SIGNAL: i32 = 130;

pub(crate) fn start_log(filter: &str, format: LogFormat) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| Invalid::new("log", format!("{filter:?} is no filter: {error}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

/// Rings at the first SIGTERM or SIGINT. At the second the program ends at once.
pub(crate) fn stop_on_signals() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be heard")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be heard")?;
    let stop = CancellationToken::new();
    let rings = stop.clone();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        rings.cancel();
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(ENDED_BY_SIGNAL);
    });
    Ok(stop)
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Only its owner may look into it: it holds certificates, and logins to registries.
pub(crate) fn make_data_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| {
        format!("the data directory {} cannot be made; choose another with --data-dir", path.display())
    })
}

/// Says something to whoever started the program. That nobody listens is no reason to end.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
