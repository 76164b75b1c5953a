//! Why a command did not do all it was asked for: one line for people, one status for scripts.

use crate::client::{ClientError, ServerUrl, causes};

/// Why a command did not do all it was asked for.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for wrongly.
    Usage(String),
    /// The server did not do it, or could not be asked.
    Client(ClientError),
    /// Something on this side went wrong.
    Failed(String),
    /// Everything was said already; only the exit status is left.
    Told(Status),
    /// A command that was run for an application ended with this status.
    Ended(u8),
    /// Nobody reads the output any more, as with `| head`.
    OutputClosed,
    /// Ctrl-C, with what the person should know about it.
    Interrupted(Option<String>),
}

/// Exit status of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotAllowed = 3,
    NotFound = 4,
    Partly = 5,
    /// There is something to change.
    Changes = 6,
    /// 128 and the number of SIGINT, as shells have it.
    Interrupted = 130,
}

impl Failure {
    /// The exit status of the program: that of a command that was run for an application is passed on.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Ended(status) => *status,
            failure => failure.status() as u8,
        }
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Usage(_) => Status::Usage,
            Self::Client(error) => status_of(error),
            Self::Failed(_) | Self::Ended(_) => Status::Failed,
            Self::Told(status) => *status,
            Self::OutputClosed => Status::Done,
            Self::Interrupted(_) => Status::Interrupted,
        }
    }

    /// What to say about it; nothing when it was said already.
    pub(crate) fn line(&self) -> Option<String> {
        match self {
            Self::Usage(text) | Self::Failed(text) => Some(text.clone()),
            Self::Client(error) => Some(line_of(error)),
            Self::Interrupted(text) => text.clone(),
            Self::Told(_) | Self::Ended(_) | Self::OutputClosed => None,
        }
    }

    /// Whether what was asked for may have been done all the same.
    pub(crate) fn is_uncertain(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_uncertain())
    }

    /// Whether every other request would fail in the same way.
    pub(crate) fn is_general(&self) -> bool {
        match self {
            Self::Client(error) => match error {
                ClientError::Refused(problem) => problem.status == 401 || problem.code == "shutting_down",
                ClientError::Invalid(_) | ClientError::TimedOut { .. } | ClientError::BrokenOff { .. } => false,
                _ => true,
            },
            _ => true,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

fn status_of(error: &ClientError) -> Status {
    match error {
        ClientError::Url { .. } | ClientError::Invalid(_) => Status::Usage,
        // The same mistakes that are found here before the server is asked.
        error if error.code() == Some("invalid_request") => Status::Usage,
        error => match error.status() {
            Some(401 | 403) => Status::NotAllowed,
            Some(404) => Status::NotFound,
            _ => Status::Failed,
        },
    }
}

fn line_of(error: &ClientError) -> String {
    match error {
        ClientError::Refused(problem) => {
            let mut line = problem.detail.clone();
            // Newer servers list them in the sentence, with their engines.
            let is_listed = |id: &String| line.contains(id.get(..12).unwrap_or(id));
            if !problem.candidates.iter().all(is_listed) {
                line = format!("{line}: {}", problem.candidates.join(", "));
            }
            match problem.retry_after {
                Some(seconds) => format!("{line} (try again in {seconds} s)"),
                None => line,
            }
        }
        ClientError::NoServer { .. } => format!("{error}; start one with paas-server, or name another with --url"),
        ClientError::Untrusted { .. } => format!("{}; name its CA with --ca", with_cause(error)),
        ClientError::Elsewhere { .. } => format!("{error}; log in there with paas-cli login --url"),
        ClientError::BrokenOff { source: None, .. } => format!("{error} before the end"),
        ClientError::NoneOfThem { reasons, .. } => {
            let reasons: Vec<_> = reasons.iter().map(|(url, error)| reason_of(url, error)).collect();
            format!("{error}: {}", reasons.join("; "))
        }
        error => with_cause(error),
    }
}

/// Why one of several servers did not take a request. It says which one.
fn reason_of(url: &ServerUrl, error: &ClientError) -> String {
    match error {
        ClientError::Refused(problem) => format!("{url}: {}", problem.detail),
        ClientError::NoServer { .. } => error.to_string(),
        error => with_cause(error),
    }
}

/// The innermost cause says what happened; those between say which layer noticed.
fn with_cause(error: &ClientError) -> String {
    match causes(error).last() {
        Some(cause) if !std::ptr::addr_eq(cause, error) => format!("{error}: {cause}"),
        _ => error.to_string(),
    }
}
