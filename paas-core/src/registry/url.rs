//! Being built.

/// Being built.
pub fn open_registry() {}
