//! What an agent says of its host.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::registry::Member;

/// Said again and again by an agent of its host. An agent may be of a later version than the server: what the server does not
/// know of it is ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The run of the agent.
    pub session: Uuid,
    /// Within how many seconds the next one comes.
    pub ttl_seconds: u64,
    /// The host.
    pub member: Member,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_may_say_more_than_the_server_knows() {
        let said = r#"{"session":"0190b0c1-0000-7000-8000-000000000000","ttl_seconds":5,"later":1,"member":{"id":"a",
            "addr":"tcp://10.0.0.1:2375","cpus":4,"memory":8192,"daemon_id":"d","docker_version":"29","later":{}}}"#;
        let heartbeat: Heartbeat = serde_json::from_str(said).unwrap();
        assert_eq!((heartbeat.ttl_seconds, heartbeat.member.id.as_str()), (5, "a"));
    }
}
