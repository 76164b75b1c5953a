//! One connection: made, proved on both sides, and then one question at a time.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rand::RngExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::protocol::{self, MAGIC, query, response};
use super::scram::{NO_BINDING, SaltedPassword, attribute, escape_name};
use super::target::Target;
use super::trouble::Trouble;

/// The most iterations that a server may ask for: more would keep the processor from other work.
const MAX_ITERATIONS: u32 = 200_000;

/// The last password that was salted, and with what.
pub(super) type Salted = Mutex<Option<(Vec<u8>, u32, SaltedPassword)>>;

/// An answer of the server.
#[derive(Debug, Deserialize)]
pub(super) struct Response {
    #[serde(rename = "t")]
    pub(super) kind: u64,
    #[serde(rename = "r", default)]
    pub(super) content: Vec<Value>,
    #[serde(rename = "e", default)]
    error_type: Option<u64>,
}

/// A connection that both sides have proved themselves on. Dropping it closes it, which is always safe: who leaves in
/// the middle of a question leaves nothing that a later one could trip over.
#[derive(Debug)]
pub(super) struct Session {
    stream: TcpStream,
    received: BytesMut,
    last_token: u64,
}

impl Session {
    /// Connects and proves who we are. Takes as long as the network does: the caller sets a deadline.
    pub(super) async fn connect(target: &Target, salted: &Salted) -> Result<Self, Trouble> {
        let failed = |source| Trouble::Connect { address: target.address(), source };
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut session = Self { stream, received: BytesMut::new(), last_token: 0 };
        match session.introduce(target, salted).await {
            // Nothing was asked yet, so nothing is in doubt.
            Err(Trouble::Broke(source)) => Err(failed(source)),
            outcome => outcome.map(|()| session),
        }
    }

    async fn introduce(&mut self, target: &Target, salted: &Salted) -> Result<(), Trouble> {
        let nonce = BASE64_STANDARD.encode(rand::rng().random::<[u8; 18]>());
        let first = format!("n={},r={nonce}", escape_name(&target.user));
        self.stream.write_all(&MAGIC.to_le_bytes()).await.map_err(Trouble::Broke)?;
        self.hear(target).await?;
        self.say(&json!({
            "protocol_version": 0,
            "authentication_method": "SCRAM-SHA-256",
            "authentication": format!("n,,{first}"),
        }))
        .await?;
        let challenge = self.hear_authentication(target).await?;
        let unclear = || Trouble::Nonsense("its challenge cannot be read".to_owned());
        let server_nonce =
            attribute(&challenge, 'r').filter(|nonces| nonces.starts_with(&nonce)).ok_or_else(unclear)?;
        let salt = attribute(&challenge, 's').and_then(|salt| BASE64_STANDARD.decode(salt).ok()).ok_or_else(unclear)?;
        let iterations = attribute(&challenge, 'i').and_then(|iterations| iterations.parse().ok());
        let iterations =
            iterations.filter(|iterations| (1..=MAX_ITERATIONS).contains(iterations)).ok_or_else(unclear)?;
        let password = salt_password(&target.password, salt, iterations, salted);
        let last = format!("c={NO_BINDING},r={server_nonce}");
        let all = format!("{first},{challenge},{last}");
        let proof = BASE64_STANDARD.encode(password.client_proof(&all));
        self.say(&json!({ "authentication": format!("{last},p={proof}") })).await?;
        let verdict = self.hear_authentication(target).await?;
        let signature = BASE64_STANDARD.encode(password.server_signature(&all));
        if attribute(&verdict, 'v') == Some(signature.as_str()) {
            return Ok(());
        }
        Err(Trouble::Refused(format!("{} does not know the password it should check", target.address())))
    }

    async fn say(&mut self, message: &Value) -> Result<(), Trouble> {
        let message = message.to_string() + "\0";
        self.stream.write_all(message.as_bytes()).await.map_err(Trouble::Broke)
    }

    /// The next message of the introduction; a refusal is an error.
    async fn hear(&mut self, target: &Target) -> Result<Value, Trouble> {
        let message = loop {
            if let Some(message) = protocol::take_message(&mut self.received) {
                break message;
            }
            if self.received.len() > 1 << 16 {
                return Err(Trouble::Nonsense("it greets without an end".to_owned()));
            }
            self.receive_more().await?;
        };
        let Ok(said) = serde_json::from_slice::<Value>(&message) else {
            // Servers before version 2.3, and some that are none, answer with a sentence.
            let text = String::from_utf8_lossy(&message);
            let text: String = text.trim().chars().filter(|c| !c.is_control()).take(200).collect();
            return Err(Trouble::Refused(format!(
                "{} is no RethinkDB that this program knows: {text}",
                target.address()
            )));
        };
        if said["success"] == json!(true) {
            return Ok(said);
        }
        let why = said["error"].as_str().unwrap_or("no reason given");
        Err(Trouble::Refused(format!(
            "{} does not let us in: {why}; see user and password in the URL",
            target.address()
        )))
    }

    async fn hear_authentication(&mut self, target: &Target) -> Result<String, Trouble> {
        let said = self.hear(target).await?;
        let unclear = || Trouble::Nonsense("its introduction lacks the authentication".to_owned());
        said["authentication"].as_str().map(str::to_owned).ok_or_else(unclear)
    }

    /// Whether nothing was heard since the last answer. A closed connection says that it is.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let seen = self.stream.try_read(&mut byte);
        self.received.is_empty() && matches!(seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends something under a new token, which it gives.
    pub(super) async fn send(&mut self, json: &[u8]) -> Result<u64, Trouble> {
        self.last_token += 1;
        self.send_as(self.last_token, json).await?;
        Ok(self.last_token)
    }

    pub(super) async fn send_as(&mut self, token: u64, json: &[u8]) -> Result<(), Trouble> {
        self.stream.write_all(&protocol::frame(token, json)).await.map_err(Trouble::Broke)
    }

    /// The next answer, whatever it answers. May be given up and called again: nothing is lost.
    pub(super) async fn receive(&mut self) -> Result<(u64, Response), Trouble> {
        let frame: (u64, Bytes) = loop {
            match protocol::take_frame(&mut self.received) {
                Ok(Some(frame)) => break frame,
                Ok(None) => self.receive_more().await?,
                Err(protocol::TooLong(length)) => {
                    return Err(Trouble::Nonsense(format!("an answer of {length} bytes")));
                }
            }
        };
        let (token, json) = frame;
        let response = serde_json::from_slice(&json)
            .map_err(|error| Trouble::Nonsense(format!("an answer that cannot be read, {error}")))?;
        Ok((token, response))
    }

    async fn receive_more(&mut self) -> Result<(), Trouble> {
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) => Err(Trouble::Broke(io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(()),
            Err(error) => Err(Trouble::Broke(error)),
        }
    }

    /// Asks, and collects everything that is answered, batch by batch. Each may take as long as `deadline`.
    pub(super) async fn ask(&mut self, query: &[u8], deadline: Duration) -> Result<Vec<Value>, Trouble> {
        let late = |_| Trouble::TimedOut("answer");
        let sent = timeout(deadline, self.send(query)).await.map_err(late)?;
        let token = sent?;
        let mut rows = Vec::new();
        loop {
            let (answered, response) = timeout(deadline, self.receive()).await.map_err(late)??;
            if answered != token {
                return Err(Trouble::Nonsense("an answer to nothing that was asked".to_owned()));
            }
            match response.kind {
                response::SUCCESS_ATOM | response::SUCCESS_SEQUENCE => {
                    rows.extend(response.content);
                    return Ok(rows);
                }
                response::SUCCESS_PARTIAL => {
                    rows.extend(response.content);
                    let more = json!([query::CONTINUE]).to_string();
                    timeout(deadline, self.send_as(token, more.as_bytes())).await.map_err(late)??;
                }
                kind => return Err(response.into_trouble(kind)),
            }
        }
    }
}

impl Response {
    /// What an answer that is no success says.
    pub(super) fn into_trouble(self, kind: u64) -> Trouble {
        match kind {
            response::CLIENT_ERROR | response::COMPILE_ERROR | response::RUNTIME_ERROR => {
                Trouble::of_response(kind, self.error_type, &self.content)
            }
            other => Trouble::Nonsense(format!("an answer of the kind {other}")),
        }
    }
}

/// Salting takes milliseconds, and every session of a server does it alike.
fn salt_password(password: &str, salt: Vec<u8>, iterations: u32, salted: &Salted) -> SaltedPassword {
    if let Some((known_salt, known_iterations, known)) = &*salted.lock()
        && *known_salt == salt
        && *known_iterations == iterations
    {
        return known.clone();
    }
    let fresh = SaltedPassword::new(password, &salt, iterations);
    *salted.lock() = Some((salt, iterations, fresh.clone()));
    fresh
}
