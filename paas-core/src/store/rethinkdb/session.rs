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
    pub(super) async fn connect(target: &Target, host: usize, salted: &Salted) -> Result<Self, Trouble> {
        let failed = |source| Trouble::Connect { address: target.address(host), source };
        let (name, port) = &target.hosts[host];
        let stream = TcpStream::connect((name.as_str(), *port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut session = Self { stream, received: BytesMut::new(), last_token: 0 };
        match session.introduce(target, host, salted).await {
            // Nothing was asked yet, so nothing is in doubt.
            Err(Trouble::Broke(source)) => Err(failed(source)),
            outcome => outcome.map(|()| session),
        }
    }

    async fn introduce(&mut self, target: &Target, host: usize, salted: &Salted) -> Result<(), Trouble> {
        let nonce = BASE64_STANDARD.encode(rand::rng().random::<[u8; 18]>());
        let first = format!("n={},r={nonce}", escape_name(&target.user));
        self.stream.write_all(&MAGIC.to_le_bytes()).await.map_err(Trouble::Broke)?;
        let address = target.address(host);
        self.hear(&address).await?;
        self.say(&json!({
            "protocol_version": 0,
            "authentication_method": "SCRAM-SHA-256",
            "authentication": format!("n,,{first}"),
        }))
        .await?;
        let challenge = self.hear_authentication(&address).await?;
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
        let verdict = self.hear_authentication(&address).await?;
        let signature = BASE64_STANDARD.encode(password.server_signature(&all));
        if attribute(&verdict, 'v') == Some(signature.as_str()) {
            return Ok(());
        }
        Err(Trouble::Refused(format!("{} does not know the password it should check", address)))
    }

    async fn say(&mut self, message: &Value) -> Result<(), Trouble> {
        let message = message.to_string() + "\0";
        self.stream.write_all(message.as_bytes()).await.map_err(Trouble::Broke)
    }

    /// The next message of the introduction; a refusal is an error.
    async fn hear(&mut self, address: &str) -> Result<Value, Trouble> {
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
            return Err(Trouble::Refused(format!("{address} is no RethinkDB that this program knows: {text}")));
        };
        if said["success"] == json!(true) {
            return Ok(said);
        }
        let why = said["error"].as_str().unwrap_or("no reason given");
        Err(Trouble::Refused(format!("{address} does not let us in: {why}; see user and password in the URL")))
    }

    async fn hear_authentication(&mut self, address: &str) -> Result<String, Trouble> {
        let said = self.hear(address).await?;
        let unclear = || Trouble::Nonsense("its introduction lacks the authentication".to_owned());
        said["authentication"].as_str().map(str::to_owned).ok_or_else(unclear)
    }

    /// Whether nothing was heard since the last answer. A closed connection says that it is.
    pub(super) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let seen = self.stream.try_read(&mut byte);
        self.received.is_empty() && matches!(seen, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a frame. The server must take some of it within each `silence`.
    async fn send(&mut self, token: u64, json: &[u8], silence: Duration) -> Result<(), Trouble> {
        let frame = protocol::frame(token, json);
        let mut left = &frame[..];
        while !left.is_empty() {
            let late = |_| Trouble::TimedOut("take in what is asked");
            match timeout(silence, self.stream.write(left)).await.map_err(late)?.map_err(Trouble::Broke)? {
                0 => return Err(Trouble::Broke(io::ErrorKind::WriteZero.into())),
                written => left = &left[written..],
            }
        }
        Ok(())
    }

    /// The next answer, whatever it answers. Some of it must come within each `silence`.
    async fn receive(&mut self, silence: Duration) -> Result<(u64, Response), Trouble> {
        let late = |_| Trouble::TimedOut("answer");
        let frame: (u64, Bytes) = loop {
            match protocol::take_frame(&mut self.received) {
                Ok(Some(frame)) => break frame,
                Ok(None) => timeout(silence, self.receive_more()).await.map_err(late)??,
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

    /// Asks, and collects everything that is answered, batch by batch. It may take as long as it likes, but not be silent
    /// for longer than `silence`.
    pub(super) async fn ask(&mut self, query: &[u8], silence: Duration) -> Result<Vec<Value>, Trouble> {
        self.last_token += 1;
        let token = self.last_token;
        self.send(token, query, silence).await?;
        let mut rows = Vec::new();
        loop {
            let (answered, response) = self.receive(silence).await?;
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
                    self.send(token, json!([query::CONTINUE]).to_string().as_bytes(), silence).await?;
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
