//! When a container is started again.

use serde::{Deserialize, Serialize};

use super::Invalid;

/// What Docker does when a container ends by itself. On the wire `{"name": "on-failure", "maximum_retry": 3}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case", try_from = "WrittenPolicy")]
pub enum RestartPolicy {
    /// Leave it stopped.
    #[default]
    No,
    /// Start it again, always.
    Always,
    /// Start it again, unless it was stopped on purpose.
    UnlessStopped,
    /// Start it again when it failed.
    OnFailure {
        /// Give up after so many times; 0 for never.
        #[serde(default)]
        maximum_retry: u32,
    },
}

/// A policy as it is written: only one of them gives up some time.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPolicy {
    name: PolicyName,
    #[serde(default)]
    maximum_retry: u32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PolicyName {
    No,
    Always,
    UnlessStopped,
    OnFailure,
}

impl TryFrom<WrittenPolicy> for RestartPolicy {
    type Error = Invalid;

    fn try_from(written: WrittenPolicy) -> Result<Self, Invalid> {
        let WrittenPolicy { name, maximum_retry } = written;
        let policy = match name {
            PolicyName::OnFailure => return Ok(Self::OnFailure { maximum_retry }),
            PolicyName::No => Self::No,
            PolicyName::Always => Self::Always,
            PolicyName::UnlessStopped => Self::UnlessStopped,
        };
        // 0 is what "not given" is to Docker.
        if maximum_retry != 0 {
            let message = format!("maximum_retry is for on-failure; {} has no end", policy.name());
            return Err(Invalid::new("restart_policy", message));
        }
        Ok(policy)
    }
}

impl RestartPolicy {
    /// The name as Docker writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure { .. } => "on-failure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_policy_that_may_give_up_says_when() {
        let read = |text: &str| serde_json::from_str::<RestartPolicy>(text);
        for name in ["no", "always", "unless-stopped"] {
            let policy = read(&format!(r#"{{"name":"{name}","maximum_retry":0}}"#)).unwrap();
            assert_eq!(policy, read(&format!(r#"{{"name":"{name}"}}"#)).unwrap());
            assert_eq!(policy.name(), name);
            let refused = read(&format!(r#"{{"name":"{name}","maximum_retry":3}}"#)).unwrap_err().to_string();
            assert!(refused.contains("maximum_retry is for on-failure"), "{refused}");
        }
        assert!(read(r#"{"name":"always","retries":3}"#).is_err(), "what is not known is refused for all of them");
        let on_failure = read(r#"{"name":"on-failure","maximum_retry":3}"#).unwrap();
        assert_eq!(on_failure, RestartPolicy::OnFailure { maximum_retry: 3 });
    }
}
