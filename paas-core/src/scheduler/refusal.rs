//! Being built.

/// Being built.
#[derive(Debug, Default)]
pub struct Reason;

/// Being built.
#[derive(Debug, Default)]
pub struct Refusal;
