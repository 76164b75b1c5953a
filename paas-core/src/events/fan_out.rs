//! Being built.

/// Being built.
#[derive(Debug, Default)]
pub struct FanOut;
