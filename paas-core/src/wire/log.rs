//! The end of a container's output that could not be read to its end.

/// How the last line begins of output that broke off after the answer had begun, before the reason. The connection is cut
/// after it, so that nobody takes it for output.
pub const LOG_BROKE_OFF: &str = "paas-server: the log breaks off here: ";
