//! Being built.

/// Being built.
#[derive(Debug, Default)]
pub struct Spread;

/// Being built.
#[derive(Debug, Default)]
pub struct Weights;
