//! Output of simulated programs.

use bytes::Bytes;
use jiff::Timestamp;

use super::{LogChunk, LogOptions};
use crate::engine::LogStream;

/// One line that a simulated program wrote.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) time: Timestamp,
    pub(super) stream: LogStream,
    pub(super) text: String,
}

/// The lines that were asked for, as Docker would send them.
pub(super) fn select(lines: &[Line], options: &LogOptions) -> Vec<LogChunk> {
    let wanted: Vec<&Line> = lines
        .iter()
        .filter(|line| match line.stream {
            LogStream::Stdout => options.stdout,
            LogStream::Stderr => options.stderr,
        })
        .filter(|line| options.since.is_none_or(|since| line.time >= since))
        .collect();
    let tail = options.tail.and_then(|tail| usize::try_from(tail).ok()).unwrap_or(usize::MAX);
    let skipped = wanted.len().saturating_sub(tail);
    wanted[skipped..]
        .iter()
        .map(|line| {
            let time = if options.timestamps { format!("{} ", line.time) } else { String::new() };
            LogChunk { stream: line.stream, bytes: Bytes::from(format!("{time}{}\n", line.text)) }
        })
        .collect()
}
