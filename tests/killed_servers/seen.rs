//! What a server says there is, and what it says happened.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use serde_json::Value;

use super::client::Client;
use super::support::Api;

/// The most events that a server gives at once.
const MOST_EVENTS: usize = 10_000;

/// Everything that clients can change.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What there is, by its name.
    pub(crate) state: BTreeMap<String, String>,
    /// How often an event tells of what somebody did; but for that join tokens were made.
    pub(crate) told: BTreeMap<String, usize>,
    /// The join tokens that were made, by the events.
    made: BTreeSet<String>,
    /// Those that were deleted or replaced, by the events.
    gone: BTreeSet<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Seen {
    pub(crate) async fn by(admin: &Api, clients: &[Client]) -> Self {
        let mut seen = Self::default();
        let list = async |path: &str| {
            let answer = admin.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            answer.body.as_array().unwrap().clone()
        };
        for account in list("/api/accounts").await.iter().filter(|account| account["username"] != "admin") {
            seen.state.insert(format!("account {}", text(&account["username"])), text(&account["role"]));
        }
        for engine in list("/api/engines").await {
            let status = if engine["draining"] == true { "drained" } else { "serves" };
            seen.state.insert(format!("engine {}", text(&engine["id"])), status.to_owned());
        }
        for login in list("/api/registry-logins").await {
            seen.state.insert(format!("login to {}", text(&login["server"])), text(&login["username"]));
        }
        for token in list("/api/join-tokens").await {
            seen.state.insert(format!("join token {}", text(&token["id"])), String::new());
        }
        let sessions = clients.iter().flat_map(|client| &client.sessions).map(|(token, account)| async move {
            let answer = Api::with_token(&admin.url, token).get("/api/cluster/info").await;
            assert!(answer.status == 200 || answer.status == 401, "{answer:?}");
            (answer.status == 200).then(|| (format!("session of {account}"), token.clone()))
        });
        seen.state.extend(join_all(sessions).await.into_iter().flatten());
        let events = list(&format!("/api/events?count={MOST_EVENTS}")).await;
        assert!(events.len() < MOST_EVENTS, "not all events can be looked at");
        // The first event is the test's own login.
        for event in events.iter().filter(|event| !event["user"].is_null() && event["message"] != "admin logged in") {
            seen.hear(text(&event["message"]));
        }
        seen
    }

    fn hear(&mut self, message: String) {
        if let Some(id) = message.strip_prefix("deleted the join token ") {
            self.gone.insert(id.to_owned());
        }
        let Some(made) = message.strip_prefix("made the join token ") else {
            *self.told.entry(message).or_default() += 1;
            return;
        };
        let (id, replaced) = made.split_once(", in the place of ").unwrap_or((made, ""));
        assert!(self.made.insert(id.to_owned()), "told twice: {message}");
        self.gone.extend(replaced.split(',').next().map(str::to_owned));
    }

    /// The join tokens that there are must be those that the events tell of.
    pub(crate) fn check_join_tokens(&self) -> Result<(), String> {
        let told: BTreeSet<String> = self.made.difference(&self.gone).cloned().collect();
        let there = self.state.keys().filter_map(|name| name.strip_prefix("join token "));
        let there: BTreeSet<String> = there.map(str::to_owned).collect();
        if told == there { Ok(()) } else { Err(format!("join tokens: told {told:?}, there are {there:?}")) }
    }

    /// Takes out the join tokens that are not among the expected ones; how many those were.
    pub(crate) fn take_join_tokens_but_for(&mut self, expected: &BTreeMap<String, String>) -> usize {
        let before = self.state.len();
        self.state.retain(|name, _| !name.starts_with("join token ") || expected.contains_key(name));
        before - self.state.len()
    }
}
