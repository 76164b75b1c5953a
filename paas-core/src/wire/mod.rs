//! What goes over HTTP and is known to both sides of it, where that is not a type of [`model`](crate::model).
//!
//! A field that a request has and the server does not know is refused with its name: it would be a wish that is not met, or
//! a slip of the pen. Between programs of the platform itself it is ignored, because they may differ by one version.

pub mod app;
pub mod compose;
mod heartbeat;
mod log;
mod request;

pub use heartbeat::Heartbeat;
pub use log::{LOG_BROKE_OFF, PREVIOUS_OUTPUT};
pub use request::{DeleteAccountRequest, LoginRequest, PasswordRequest, PullRequest};
