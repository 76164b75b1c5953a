//! What can go wrong with a request.

use std::error::Error;

use paas_core::model::Invalid;
use serde::Deserialize;

use super::ServerUrl;

/// Why a request was not answered with what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server understood, and refused or failed.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
    /// Nothing listens there. Nothing was done.
    #[error("no server answers at {url}")]
    NoServer {
        /// The server.
        url: ServerUrl,
        /// What the system said.
        source: reqwest::Error,
    },
    /// The server cannot be reached. Nothing was done.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// The server.
        url: ServerUrl,
        /// What the system said.
        source: reqwest::Error,
    },
    /// The server's certificate is not one to be trusted. Nothing was sent.
    #[error("{url} cannot be trusted")]
    Untrusted {
        /// The server.
        url: ServerUrl,
        /// What is wrong with the certificate.
        source: reqwest::Error,
    },
    /// No answer in time. What was asked for may have been done all the same.
    #[error("{url} does not answer in time")]
    TimedOut {
        /// The server.
        url: ServerUrl,
        /// What was waited for; absent where the whole time for finding a server was over.
        source: Option<reqwest::Error>,
    },
    /// The connection ended before the answer did. What was asked for may have been done all the same.
    #[error("the connection to {url} broke off")]
    BrokenOff {
        /// The server.
        url: ServerUrl,
        /// What the system said; absent when the stream ended without its last line.
        source: Option<reqwest::Error>,
    },
    /// An answer that is not part of the API.
    #[error("{url} does not answer as this platform does: {what}")]
    Unexpected {
        /// The server.
        url: ServerUrl,
        /// What is wrong with the answer.
        what: String,
    },
    /// The server sends the client on to another one, to which the token is not sent unasked.
    #[error("{url} sends this request on to {to}")]
    Elsewhere {
        /// The server.
        url: ServerUrl,
        /// Where it sends the client.
        to: String,
    },
    /// None of several servers took the request for as long as was waited.
    #[error("none of {} servers took the request", .reasons.len())]
    NoneOfThem {
        /// Why not, for each server that was asked: what it came to the last time.
        reasons: Vec<(ServerUrl, ClientError)>,
        /// Whether one of them may have done what was asked for all the same.
        is_uncertain: bool,
    },
    /// A value that no server would take. Nothing was sent.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Not the address of a server.
    #[error("'{text}' is no address of a server: {what}")]
    Url {
        /// What was given.
        text: String,
        /// What is wrong with it.
        what: String,
    },
    /// The client cannot be set up.
    #[error("{what}")]
    Setup {
        /// What is missing or wrong.
        what: String,
        /// The cause, where there is one beyond it.
        source: Option<reqwest::Error>,
    },
}

impl ClientError {
    /// HTTP status of the refusal; absent when there was no answer.
    pub fn status(&self) -> Option<u16> {
        self.problem().map(|problem| problem.status)
    }

    /// The stable code of the refusal, such as `container_not_found`; absent when there was no answer.
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }

    /// Whether what was asked for may have been done all the same.
    pub fn is_uncertain(&self) -> bool {
        match self {
            Self::TimedOut { .. } | Self::BrokenOff { .. } => true,
            Self::Refused(problem) => problem.is_timed_out(),
            Self::NoneOfThem { is_uncertain, .. } => *is_uncertain,
            _ => false,
        }
    }

    /// Whether a question may be answered when it is asked again in a moment: no server was there or led, or the answer was
    /// lost.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NoServer { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::BrokenOff { .. }
            | Self::NoneOfThem { .. } => true,
            Self::Refused(problem) => problem.status == 503 || problem.is_timed_out(),
            _ => false,
        }
    }

    /// The refusal in full.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    pub(super) fn unexpected(url: &ServerUrl, what: impl Into<String>) -> Self {
        Self::Unexpected { url: url.clone(), what: what.into() }
    }

    /// Why there is no answer.
    pub(super) fn not_sent(url: &ServerUrl, source: reqwest::Error) -> Self {
        let url = url.clone();
        let causes = || causes(&source);
        if causes().any(|cause| cause.is::<rustls::Error>()) {
            return Self::Untrusted { url, source };
        }
        let refused = |cause: &(dyn Error + 'static)| {
            cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        if causes().any(refused) {
            return Self::NoServer { url, source };
        }
        if source.is_connect() {
            return Self::Unreachable { url, source };
        }
        if source.is_timeout() {
            return Self::TimedOut { url, source: Some(source) };
        }
        Self::BrokenOff { url, source: Some(source) }
    }

    /// Why the rest of an answer is missing.
    pub(super) fn not_received(url: &ServerUrl, source: reqwest::Error) -> Self {
        let url = url.clone();
        if source.is_timeout() {
            return Self::TimedOut { url, source: Some(source) };
        }
        Self::BrokenOff { url, source: Some(source) }
    }
}

/// An error's causes, outermost first, with those that an I/O error carries inside and does not name as its source.
pub(crate) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        match inside {
            Some(inside) => Some(inside as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

/// A problem document (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// For programs; empty where something other than the platform answered.
    pub code: String,
    /// For people: one sentence.
    pub detail: String,
    /// The field that is wrong, with `invalid_request`.
    pub field: Option<String>,
    /// The ids that fit, with `container_ambiguous`.
    pub candidates: Vec<String>,
    /// After how many seconds to try again, with `throttled` and `no_leader`.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// Whether the server took longer than it lets a request take. What was asked for goes on there.
    pub(super) fn is_timed_out(&self) -> bool {
        self.status == 504 && self.code == "timed_out"
    }

    /// Reads an answer; whatever answered, something can be said of it.
    pub(super) fn read(status: reqwest::StatusCode, retry_after: Option<u64>, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status.as_u16();
        problem.retry_after = retry_after;
        if problem.detail.is_empty() {
            problem.detail = format!("the server answered {status}");
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    #[test]
    fn a_problem_document_is_read() {
        let body = br#"{"type":"about:blank","title":"Not Found","status":404,"code":"engine_not_found",
            "detail":"there is no engine 'x'","extra":1}"#;
        let problem = Problem::read(StatusCode::NOT_FOUND, None, body);
        assert_eq!((problem.status, problem.code.as_str()), (404, "engine_not_found"));
        assert_eq!(problem.detail, "there is no engine 'x'");
    }

    #[test]
    fn something_is_said_of_any_answer() {
        let problem = Problem::read(StatusCode::BAD_GATEWAY, Some(3), b"<html>");
        assert_eq!(problem.detail, "the server answered 502 Bad Gateway");
        assert_eq!((problem.code.as_str(), problem.retry_after), ("", Some(3)));
    }
}
