//! How the server finds out who asks.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::store::rethinkdb::scram::{NO_BINDING, SaltedPassword, attribute};

/// What a client is told that does not begin as one should.
pub(super) const WRONG_MAGIC: &str = "ERROR: Received an unsupported protocol version. This port is for RethinkDB \
    queries. Does your client driver version not match the server?\n\0";

/// How often the password of a user is salted.
const ITERATIONS: u32 = 4096;

/// What the server keeps of a password.
#[derive(Debug)]
pub(super) struct Login {
    salt: Vec<u8>,
    iterations: u32,
    password: SaltedPassword,
}

/// What a test says in the place of random bytes, as base64: the server's part of the nonce, the salt of `admin`, and
/// the salt of users that are not there.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) nonce: Option<String>,
    pub(super) salt_of_unknown: Option<String>,
}

/// The salt that the recorded server has for `admin`: a fresh server has no password for it, salted once.
const SALT_OF_ADMIN: &str = "bZUHRqkS1crHhZSr4rYrOA==";

impl Login {
    pub(super) fn new(password: &str) -> Self {
        let salt = rand::random::<[u8; 16]>().to_vec();
        Self { password: SaltedPassword::new(password, &salt, ITERATIONS), salt, iterations: ITERATIONS }
    }

    /// The account that every server begins with.
    pub(super) fn admin() -> Self {
        let salt = BASE64_STANDARD.decode(SALT_OF_ADMIN).unwrap_or_default();
        Self { password: SaltedPassword::new("", &salt, 1), salt, iterations: 1 }
    }
}

/// A refusal: a number and a text.
pub(super) type Refusal = (u32, &'static str);

/// What is kept between the two messages of a client.
#[derive(Debug)]
pub(super) struct Challenge<'a> {
    login: Option<&'a Login>,
    first: String,
    pub(super) message: String,
    nonce: String,
}

/// What the server says first.
pub(super) fn greeting() -> Value {
    json!({ "max_protocol_version": 0, "min_protocol_version": 0, "server_version": "2.4.4", "success": true })
}

/// What the server says to a refusal.
pub(super) fn refusal((code, text): Refusal) -> Value {
    json!({ "error": text, "error_code": code, "success": false })
}

/// What the server says to anything else.
pub(super) fn authentication(message: &str) -> Value {
    json!({ "authentication": message, "success": true })
}

/// Reads the first message, and asks for a proof. A user that is not there is asked for one as well.
pub(super) fn challenge<'a>(
    hello: &[u8],
    find: impl FnOnce(&str) -> Option<&'a Login>,
    script: &Script,
) -> Result<Challenge<'a>, Refusal> {
    let hello = object(hello)?;
    if hello["protocol_version"] != 0 {
        return Err((3, "Unsupported `protocol_version`."));
    }
    if hello["authentication_method"] != "SCRAM-SHA-256" {
        return Err((6, "Unsupported `authentication_method`."));
    }
    let message = hello["authentication"].as_str().ok_or((7, "Expected field `authentication`."))?;
    let first = message.strip_prefix("n,,").ok_or((10, "Invalid encoding"))?;
    let (Some(name), Some(nonce)) = (attribute(first, 'n'), attribute(first, 'r')) else {
        return Err((10, "Invalid encoding"));
    };
    let login = find(&name.replace("=2C", ",").replace("=3D", "="));
    let random = || BASE64_STANDARD.encode(rand::random::<[u8; 18]>());
    let nonce = format!("{nonce}{}", script.nonce.clone().unwrap_or_else(random));
    let (salt, iterations) = match login {
        Some(login) => (BASE64_STANDARD.encode(&login.salt), login.iterations),
        None => (script.salt_of_unknown.clone().unwrap_or_else(|| BASE64_STANDARD.encode([7; 16])), ITERATIONS),
    };
    let message = format!("r={nonce},s={salt},i={iterations}");
    Ok(Challenge { login, first: first.to_owned(), message, nonce })
}

impl Challenge<'_> {
    /// Checks the proof, and proves that the server knows the password as well.
    pub(super) fn check(&self, answer: &[u8]) -> Result<String, Refusal> {
        let answer = object(answer)?;
        let message = answer["authentication"].as_str().ok_or((7, "Expected field `authentication`."))?;
        let (unproved, proof) = message.rsplit_once(",p=").ok_or((10, "Invalid encoding"))?;
        if attribute(unproved, 'c') != Some(NO_BINDING) || attribute(unproved, 'r') != Some(&self.nonce) {
            return Err((11, "Invalid nonce"));
        }
        let login = self.login.ok_or((17, "Unknown user"))?;
        let proof = BASE64_STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let proof = proof.ok_or((10, "Invalid encoding"))?;
        let all = format!("{},{},{unproved}", self.first, self.message);
        if !login.password.accepts(&proof, &all) {
            return Err((12, "Wrong password"));
        }
        Ok(format!("v={}", BASE64_STANDARD.encode(login.password.server_signature(&all))))
    }
}

fn object(message: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice::<Value>(message).ok().filter(Value::is_object).ok_or((9, "Invalid handshake JSON."))
}
