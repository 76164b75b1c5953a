//! Commands that are run for an application, and what comes of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::engine::{ExecChunk, LogStream};
use crate::model::app::ComponentName;

/// A command that is to be run in the container of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The component; may be left out where there is only one.
    #[serde(default)]
    pub component: Option<ComponentName>,
    /// The slot of the replica; the first replica that is ready when absent.
    #[serde(default)]
    pub slot: Option<u32>,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// A command that is to be run in a container of its own, which has what the component has, but for its ports and the volumes of its
/// slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunCommandRequest {
    /// The component; may be left out where there is only one.
    #[serde(default)]
    pub component: Option<ComponentName>,
    /// The program and its arguments, which take the place of the component's `command`.
    pub command: Vec<String>,
}

/// What comes of a command, one after the other. The last is [`CommandStep::Ended`], or [`CommandStep::BrokenOff`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum CommandStep {
    /// A piece of output, not always a whole line. See [`CommandStep::bytes`].
    Output {
        /// Where it was written to.
        stream: LogStream,
        /// What was written, where that is UTF-8.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// What was written, in base64, where it is not.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        base64: String,
    },
    /// The command ended.
    Ended {
        /// With this status.
        status: i64,
    },
    /// Nobody knows what becomes of the command.
    BrokenOff {
        /// Why, in a sentence.
        detail: String,
    },
    /// Something that a later version invented.
    #[serde(other)]
    Unknown,
}

impl CommandStep {
    /// Output as it was written.
    pub fn output(stream: LogStream, bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Output { stream, text: text.to_owned(), base64: String::new() },
            Err(_) => Self::Output { stream, text: String::new(), base64: STANDARD.encode(bytes) },
        }
    }

    /// The output, byte for byte, and where it was written to; nothing of other steps, and of what is not as it should be.
    pub fn bytes(&self) -> Option<(LogStream, Vec<u8>)> {
        let Self::Output { stream, text, base64 } = self else { return None };
        let bytes = if base64.is_empty() { text.clone().into_bytes() } else { STANDARD.decode(base64).ok()? };
        Some((*stream, bytes))
    }
}

impl From<ExecChunk> for CommandStep {
    fn from(chunk: ExecChunk) -> Self {
        match chunk {
            ExecChunk::Output(chunk) => Self::output(chunk.stream, &chunk.bytes),
            ExecChunk::Ended(status) => Self::Ended { status },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_arrives_byte_for_byte() {
        for (bytes, json) in [
            (&b"hello\n"[..], r#"{"event":"output","stream":"stdout","text":"hello\n"}"#),
            (b"", r#"{"event":"output","stream":"stdout"}"#),
            (b"\xff\x00", r#"{"event":"output","stream":"stdout","base64":"/wA="}"#),
        ] {
            let step = CommandStep::output(LogStream::Stdout, bytes);
            assert_eq!(serde_json::to_string(&step).unwrap(), json);
            let read: CommandStep = serde_json::from_str(json).unwrap();
            assert_eq!(read.bytes(), Some((LogStream::Stdout, bytes.to_vec())));
        }
    }

    #[test]
    fn what_a_later_version_sends_is_passed_over() {
        let later: CommandStep = serde_json::from_str(r#"{"event":"paused","for":3}"#).unwrap();
        assert_eq!((later.bytes(), later), (None, CommandStep::Unknown));
        let more = r#"{"event":"ended","status":3,"signal":9}"#;
        assert_eq!(serde_json::from_str::<CommandStep>(more).unwrap(), CommandStep::Ended { status: 3 });
    }
}
