//! A client that changes things and notes what it was answered.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use reqwest::StatusCode;
use serde_json::Value;

use super::change::{Answer, Change};
use super::seen::Seen;
use super::support::{Api, PASSWORD};

/// How many of a kind a client has at once.
const MOST: usize = 2;

/// What became of a change whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    ForSure,
    Not,
    Perhaps,
}

/// A client. What it makes has its name, so that no other touches it.
pub(crate) struct Client {
    name: String,
    api: Api,
    random: StdRng,
    /// How many names were given out.
    names: usize,
    /// What must be there, by its name.
    pub(crate) state: BTreeMap<String, String>,
    /// How often each event must have been told.
    pub(crate) told: BTreeMap<String, usize>,
    /// Every token of a session that it was ever given, with its account.
    pub(crate) sessions: BTreeMap<String, String>,
    passwords: BTreeMap<String, String>,
    /// The change whose answer was lost, and what became of it.
    doubt: Option<(Change, Option<Made>)>,
    pub(crate) answered: usize,
}

impl Client {
    pub(crate) fn new(number: usize, api: Api, random: StdRng) -> Self {
        Self {
            name: format!("c{number}"),
            api,
            random,
            names: 0,
            state: BTreeMap::new(),
            told: BTreeMap::new(),
            sessions: BTreeMap::new(),
            passwords: BTreeMap::new(),
            doubt: None,
            answered: 0,
        }
    }

    /// Makes one change after the other, until one is not answered.
    pub(crate) async fn work(&mut self) {
        loop {
            let change = self.choose();
            let Some((status, body)) = self.send(&change).await else {
                self.doubt = Some((change, None));
                return;
            };
            assert_eq!(status.as_u16(), change.status, "{change:?}: {body}");
            self.answered += 1;
            self.note(&change, Some(&body));
        }
    }

    /// Sends again what was not answered, where it has a key.
    pub(crate) async fn send_again(&mut self) {
        let Some((change, made)) = self.doubt.take() else { return };
        if change.key.is_none() {
            return;
        }
        let (status, body) = self.send(&change).await.unwrap();
        assert_eq!(status.as_u16(), change.status, "{change:?} again, made before: {made:?}; {body}");
        if made != Some(Made::ForSure) {
            self.note(&change, Some(&body));
        }
    }

    /// Says, once, whether the change that was not answered was made.
    pub(crate) fn decide(&mut self, seen: &Seen) -> Option<Made> {
        let (change, decided) = self.doubt.as_mut()?;
        if decided.is_some() {
            return None;
        }
        let count = |told: &BTreeMap<String, usize>| told.get(&change.event).copied().unwrap_or_default();
        let made = match change.answer {
            Answer::JoinToken => Made::Perhaps,
            _ if count(&seen.told) > count(&self.told) => Made::ForSure,
            _ => Made::Not,
        };
        *decided = Some(made);
        if made == Made::ForSure {
            let change = change.clone();
            self.note(&change, None);
        }
        Some(made)
    }

    /// Logs in with every password that was set.
    pub(crate) async fn check_passwords(&self) {
        for (account, password) in &self.passwords {
            let login = Change::log_in(account, password);
            let (status, body) = self.send(&login).await.unwrap();
            assert_eq!(status, StatusCode::OK, "{account}: {body}");
        }
    }

    async fn send(&self, change: &Change) -> Option<(StatusCode, Value)> {
        let request = self.api.request(change.method.clone(), &change.path);
        let request = if change.body.is_null() { request } else { request.json(&change.body) };
        let request = match &change.key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let answer = request.send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Notes what a change left behind.
    fn note(&mut self, change: &Change, answer: Option<&Value>) {
        for (name, value) in &change.effect {
            match value {
                Some(value) => self.state.insert(name.clone(), value.clone()),
                None => self.state.remove(name),
            };
            if value.is_none()
                && let Some(account) = name.strip_prefix("account ")
            {
                self.passwords.remove(account);
            }
        }
        match (&change.answer, answer) {
            (Answer::JoinToken, Some(body)) => {
                self.state.insert(format!("join token {}", body["id"].as_str().unwrap()), String::new());
                return;
            }
            (Answer::Session(account), Some(body)) => {
                let token = body["token"].as_str().unwrap().to_owned();
                self.state.insert(format!("session of {account}"), token.clone());
                self.sessions.insert(token, account.clone());
            }
            (Answer::Password(account, password), _) => {
                self.passwords.insert(account.clone(), password.clone());
            }
            _ => {}
        }
        *self.told.entry(change.event.clone()).or_default() += 1;
    }

    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("{}-{}", self.name, self.names)
    }

    /// What there is of a kind.
    fn those(&self, kind: &str) -> Vec<String> {
        self.state.keys().filter_map(|name| name.strip_prefix(kind)).map(str::to_owned).collect()
    }

    fn choose(&mut self) -> Change {
        let fresh = self.fresh();
        let mut choices = Vec::new();
        let accounts = self.those("account ");
        if accounts.len() < MOST {
            choices.push(Change::add_account(&fresh));
        }
        for account in &accounts {
            choices.push(Change::delete_account(account));
            choices.push(Change::change_password(account, format!("{PASSWORD}-{fresh}")));
            if !self.state.contains_key(&format!("session of {account}")) {
                let password = self.passwords.get(account).map_or(PASSWORD, String::as_str);
                choices.push(Change::log_in(account, password));
            }
        }
        let engines = self.those("engine ");
        if engines.len() < MOST {
            choices.push(Change::add_engine(&fresh));
        }
        for engine in &engines {
            choices.push(Change::delete_engine(engine));
            let is_drained = self.state[&format!("engine {engine}")] == "drained";
            choices.push(if is_drained { Change::undrain(engine) } else { Change::drain(engine) });
        }
        let logins = self.those("login to ");
        if logins.len() < MOST {
            choices.push(Change::set_login(&format!("{fresh}.test"), fresh.clone()));
        }
        for registry in &logins {
            choices.push(Change::delete_login(registry));
            choices.push(Change::set_login(registry, fresh.clone()));
        }
        let tokens = self.those("join token ");
        if tokens.len() < MOST {
            choices.push(Change::make_join_token());
        }
        choices.extend(tokens.iter().map(|id| Change::delete_join_token(id)));
        choices.choose(&mut self.random).unwrap().clone()
    }
}
