//! What the server itself says in the output of containers.

/// How the last line begins of output that broke off after the answer had begun, before the reason. The connection is cut
/// after it, so that nobody takes it for output.
pub const LOG_BROKE_OFF: &str = "paas-server: the log breaks off here: ";

/// How the first line begins of what is kept of a container that was removed, before what it was.
pub const PREVIOUS_OUTPUT: &str = "paas-server: the last lines of ";
