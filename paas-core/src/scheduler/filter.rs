//! Being built.

/// Being built.
#[derive(Debug, Default)]
pub struct Verdict;

/// Being built.
pub fn judge() {}
