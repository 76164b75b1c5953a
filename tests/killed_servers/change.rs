//! Changes that a client can ask for, and what each is to leave behind.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::PASSWORD;

/// A change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Value,
    /// For sending it again. Logins and passwords have none.
    pub(crate) key: Option<String>,
    /// The status of its answer.
    pub(crate) status: u16,
    /// What is there afterwards, by its name; `None` for what is gone.
    pub(crate) effect: Vec<(String, Option<String>)>,
    /// What the answer says of what was made.
    pub(crate) answer: Answer,
    /// What its event says.
    pub(crate) event: String,
}

/// What an answer says of what was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    /// The id of a join token.
    JoinToken,
    /// The token of an account's session.
    Session(String),
    /// That the account has this password now.
    Password(String, String),
}

impl Change {
    fn new(method: Method, path: String, status: u16, event: String) -> Self {
        let key = Some(Uuid::now_v7().to_string());
        Self { method, path, body: Value::Null, key, status, effect: Vec::new(), answer: Answer::Nothing, event }
    }

    fn with(self, body: Value) -> Self {
        Self { body, ..self }
    }

    fn there(mut self, name: String, value: String) -> Self {
        self.effect.push((name, Some(value)));
        self
    }

    fn gone(mut self, name: String) -> Self {
        self.effect.push((name, None));
        self
    }

    pub(crate) fn add_account(name: &str) -> Self {
        let change =
            Self::new(Method::POST, "/api/accounts".into(), 204, format!("added account {name} with role user"));
        change
            .with(json!({"username": name, "password": PASSWORD, "role": "user"}))
            .there(format!("account {name}"), "user".into())
    }

    pub(crate) fn delete_account(name: &str) -> Self {
        let change = Self::new(Method::DELETE, format!("/api/accounts/{name}"), 204, format!("deleted account {name}"));
        change.gone(format!("account {name}")).gone(format!("session of {name}"))
    }

    pub(crate) fn change_password(name: &str, password: String) -> Self {
        let event = format!("changed the password of {name}");
        let change = Self::new(Method::POST, "/account/passwdchange".into(), 204, event);
        let body = json!({"username": name, "password": password});
        let answer = Answer::Password(name.to_owned(), password);
        Self { key: None, answer, ..change }.with(body).gone(format!("session of {name}"))
    }

    pub(crate) fn log_in(name: &str, password: &str) -> Self {
        let change = Self::new(Method::POST, "/auth/login".into(), 200, format!("{name} logged in"));
        let answer = Answer::Session(name.to_owned());
        Self { key: None, answer, ..change }.with(json!({"username": name, "password": password}))
    }

    pub(crate) fn add_engine(id: &str) -> Self {
        let addr = format!("sim://{id}?cpus=4&memory=1024");
        let change = Self::new(Method::POST, "/api/engines".into(), 201, format!("added engine {id} at {addr}"));
        change.with(json!({"id": id, "addr": addr})).there(format!("engine {id}"), "serves".into())
    }

    pub(crate) fn drain(id: &str) -> Self {
        let event = format!("engine {id} gets no new containers");
        let change = Self::new(Method::POST, format!("/api/engines/{id}/drain"), 200, event);
        change.there(format!("engine {id}"), "drained".into())
    }

    pub(crate) fn undrain(id: &str) -> Self {
        let event = format!("engine {id} gets new containers again");
        let change = Self::new(Method::POST, format!("/api/engines/{id}/undrain"), 200, event);
        change.there(format!("engine {id}"), "serves".into())
    }

    pub(crate) fn delete_engine(id: &str) -> Self {
        let event = format!("deleted engine {id} at sim://{id}?cpus=4&memory=1024");
        Self::new(Method::DELETE, format!("/api/engines/{id}"), 204, event).gone(format!("engine {id}"))
    }

    pub(crate) fn set_login(registry: &str, username: String) -> Self {
        let event = format!("images of {registry} are pulled as {username}");
        let change = Self::new(Method::POST, "/api/registry-logins".into(), 204, event);
        let body = json!({"server": registry, "username": username, "password": PASSWORD});
        change.with(body).there(format!("login to {registry}"), username)
    }

    pub(crate) fn delete_login(registry: &str) -> Self {
        let event = format!("images of {registry} are pulled without a login");
        let change = Self::new(Method::DELETE, format!("/api/registry-logins/{registry}"), 204, event);
        change.gone(format!("login to {registry}"))
    }

    pub(crate) fn make_join_token() -> Self {
        let change = Self::new(Method::POST, "/api/join-tokens".into(), 201, "made the join token".into());
        Self { answer: Answer::JoinToken, ..change }
    }

    pub(crate) fn delete_join_token(id: &str) -> Self {
        let event = format!("deleted the join token {id}");
        Self::new(Method::DELETE, format!("/api/join-tokens/{id}"), 204, event).gone(format!("join token {id}"))
    }
}
