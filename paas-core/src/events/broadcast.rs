//! Being built.

/// Being built.
#[derive(Debug, Default)]
pub struct BroadcastSink;

/// Being built.
#[derive(Debug, Default)]
pub struct Notice;
