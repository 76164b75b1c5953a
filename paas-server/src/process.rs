//! The program as a process: its log, its signals, its data directory, and what it says to the person who started it.

use std::fs::DirBuilder;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use paas_core::model::Invalid;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::LogFormat;

/// The status of a program that a second signal ended.
const ENDED_BY_SIGNAL: i32 = 130;

pub(crate) fn start_log(filter: &str, format: LogFormat) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| Invalid::new("log", format!("{filter:?} is no filter: {error}")))?;
    // The client of Docker writes whole requests at its lower levels, and values of secrets with them.
    let filter = filter.add_directive("bollard=info".parse().context("the log")?);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

/// Rings at the first SIGTERM or SIGINT. At the second the program ends at once, and `deadline` after the first in any case:
/// a disk, a terminal or a host that hangs may hold up whatever it likes of the rest, so a thread of its own looks after this.
pub(crate) fn stop_on_signals(deadline: Duration) -> Result<CancellationToken> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context(NO_SIGNALS)?;
    let listening = {
        let _here = runtime.enter();
        signal(SignalKind::terminate()).and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)))
    };
    let (mut terminate, mut interrupt) = match listening {
        Ok(both) => both,
        Err(error) => {
            runtime.shutdown_background();
            return Err(error).context(NO_SIGNALS);
        }
    };
    let stop = CancellationToken::new();
    let rings = stop.clone();
    let watch = move || {
        runtime.block_on(async {
            either(&mut terminate, &mut interrupt).await;
            rings.cancel();
            if timeout(deadline, either(&mut terminate, &mut interrupt)).await.is_ok() {
                std::process::exit(ENDED_BY_SIGNAL);
            }
            // Said apart from here: it may be the terminal that hangs.
            std::thread::spawn(move || eprintln!("paas-server: not everything ended within {deadline:?}"));
            sleep(Duration::from_millis(100)).await;
            std::process::exit(1);
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).context(NO_SIGNALS)?;
    Ok(stop)
}

const NO_SIGNALS: &str = "signals cannot be waited for";

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Lets the process open as many files and connections as it may, and says how many that are; `None` without a limit. What is
/// given at first is often 1024, for programs that cannot count further.
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    let given = getrlimit(Resource::Nofile);
    let (Some(soft), hard) = (given.current, given.maximum) else { return None };
    if hard.is_some_and(|hard| hard <= soft) {
        return Some(soft);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }) {
        Ok(()) => {
            tracing::info!(from = soft, to = hard, "raised the limit of open files");
            hard
        }
        Err(error) => {
            tracing::warn!(limit = soft, %error, "the limit of open files cannot be raised");
            Some(soft)
        }
    }
}

/// Only its owner may look into it: it holds certificates, and logins to registries.
pub(crate) fn make_data_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| {
        format!("the data directory {} cannot be made; choose another with --data-dir", path.display())
    })
}

/// Says something to the person who started the program. That nobody reads it is no reason to end.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
