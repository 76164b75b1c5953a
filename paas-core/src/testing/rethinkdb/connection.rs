//! One connection: who it is, and then its questions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::compile;
use super::evaluate::{Outcome, Scope};
use super::failure::Failure;
use super::faults::Fault;
use super::{Shared, handshake};
use crate::store::rethinkdb::protocol::{self, MAGIC, query, response, term};

/// When the first part of a long answer ends, and when each of the others does.
const FIRST_BATCH: usize = 256 << 10;
const BATCH: usize = 1 << 20;

/// What is still to come under each token.
type Cursors = HashMap<u64, VecDeque<Value>>;

/// Where answers go.
struct Out {
    stream: OwnedWriteHalf,
    shared: Arc<Shared>,
    /// Rings when the connection should end.
    ended: CancellationToken,
}

impl Out {
    async fn say(&mut self, bytes: &[u8]) {
        let (pieces, pause) = match self.shared.fault() {
            Some(Fault::Pieces) => (1, 0),
            Some(Fault::Slow(pause)) => (64 << 10, pause),
            _ => (bytes.len().max(1), 0),
        };
        for piece in bytes.chunks(pieces) {
            if self.stream.write_all(piece).await.is_err() {
                self.ended.cancel();
                return;
            }
            if pieces == 1 {
                tokio::task::yield_now().await;
            }
            if pause > 0 && piece.len() == pieces {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        }
    }

    async fn message(&mut self, message: &Value) {
        self.say((message.to_string() + "\0").as_bytes()).await;
    }

    async fn answer(&mut self, token: u64, answer: &Value) {
        let frame = protocol::frame(token, answer.to_string().as_bytes());
        if let Some(after) = self.shared.loses_answer() {
            self.say(&frame[..after.min(frame.len() - 1)]).await;
            self.ended.cancel();
            return;
        }
        self.say(&frame).await;
    }
}

impl Shared {
    fn fault(&self) -> Option<Fault> {
        *self.fault.lock()
    }

    fn loses_answer(&self) -> Option<usize> {
        match &mut *self.fault.lock() {
            Some(Fault::LoseAnswers { times, after }) if *times > 0 => {
                *times -= 1;
                Some(*after)
            }
            _ => None,
        }
    }

    fn loses_question(&self) -> bool {
        match &mut *self.fault.lock() {
            Some(Fault::LoseQuestions(times)) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}

pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let (mut input, output) = stream.into_split();
    let ended = CancellationToken::new();
    let mut out = Out { stream: output, shared: shared.clone(), ended: ended.clone() };
    let mut received = BytesMut::new();
    if !let_in(&mut input, &mut received, &mut out, &shared).await {
        // So that the last words arrive: closing with something unread would take them back.
        let _ = out.stream.shutdown().await;
        let _ = tokio::time::timeout(Duration::from_secs(1), tokio::io::copy(&mut input, &mut tokio::io::sink())).await;
        return;
    }
    tokio::select! {
        () = ended.cancelled() => {}
        () = questions(&mut input, &mut received, &shared, &mut out) => {}
    }
    let _ = out.stream.shutdown().await;
}

/// Whether the client is one that may ask.
async fn let_in(input: &mut OwnedReadHalf, received: &mut BytesMut, out: &mut Out, shared: &Shared) -> bool {
    while received.len() < 4 {
        if !receive(input, received, shared).await {
            return false;
        }
    }
    if received.split_to(4)[..] != MAGIC.to_le_bytes() {
        out.say(handshake::WRONG_MAGIC.as_bytes()).await;
        return false;
    }
    out.message(&handshake::greeting()).await;
    let Some(hello) = message(input, received, shared).await else { return false };
    let challenge = match handshake::challenge(&hello, |name| shared.logins.get(name), &shared.script) {
        Ok(challenge) => challenge,
        Err(refusal) => {
            out.message(&handshake::refusal(refusal)).await;
            return false;
        }
    };
    out.message(&handshake::authentication(&challenge.message)).await;
    let Some(answer) = message(input, received, shared).await else { return false };
    match challenge.check(&answer) {
        Ok(signature) => out.message(&handshake::authentication(&signature)).await,
        Err(refusal) => {
            out.message(&handshake::refusal(refusal)).await;
            return false;
        }
    }
    true
}

async fn message(input: &mut OwnedReadHalf, received: &mut BytesMut, shared: &Shared) -> Option<bytes::Bytes> {
    loop {
        if let Some(message) = protocol::take_message(received) {
            return Some(message);
        }
        if !receive(input, received, shared).await {
            return None;
        }
    }
}

/// Takes in what comes. Who is silent takes it and forgets it.
async fn receive(input: &mut OwnedReadHalf, received: &mut BytesMut, shared: &Shared) -> bool {
    loop {
        match input.read_buf(received).await {
            Ok(0) | Err(_) => return false,
            Ok(_) if shared.fault() == Some(Fault::Silent) => received.clear(),
            Ok(_) => return true,
        }
    }
}

async fn questions(input: &mut OwnedReadHalf, received: &mut BytesMut, shared: &Arc<Shared>, out: &mut Out) {
    let mut cursors = Cursors::new();
    loop {
        while let Ok(Some((token, json))) = protocol::take_frame(received) {
            if shared.loses_question() {
                return;
            }
            question(token, &json, shared, out, &mut cursors).await;
        }
        if !receive(input, received, shared).await {
            return;
        }
    }
}

async fn question(token: u64, json: &[u8], shared: &Arc<Shared>, out: &mut Out, cursors: &mut Cursors) {
    let buggy = || Failure::client("Client is buggy (failed to deserialize query).");
    let Ok(Value::Array(parts)) = serde_json::from_slice::<Value>(json) else {
        return out.answer(token, &buggy().to_json()).await;
    };
    let answer = match (parts.first().and_then(Value::as_u64), parts.get(1)) {
        (Some(query::START), Some(asked)) => {
            wait_if_asked(asked, shared).await;
            shared.questions.fetch_add(1, Ordering::Relaxed);
            let started = start(token, asked, parts.get(2), shared, cursors);
            let made = shared.data.lock().made_at().filter(|_| makes_a_table(asked));
            if let Some(made) = made {
                sleep_until(made).await;
            }
            match started {
                Ok(answer) => answer,
                Err(failure) if failure.is_death => {
                    *shared.fault.lock() = None;
                    // Ends this connection as well.
                    std::mem::take(&mut *shared.cut.lock()).cancel();
                    return std::future::pending().await;
                }
                Err(failure) => failure.to_json(),
            }
        }
        (Some(query::CONTINUE), None) => go_on(token, cursors),
        (Some(query::STOP), None) => {
            cursors.remove(&token);
            json!({ "t": response::SUCCESS_SEQUENCE, "r": [], "n": [] })
        }
        (Some(query::NOREPLY_WAIT), None) => json!({ "t": response::WAIT_COMPLETE, "r": [] }),
        (Some(query::SERVER_INFO), None) => {
            let server = json!({ "id": "f2d9ef29-325e-441a-9fa2-4df4c63d1a7d", "name": "server_1", "proxy": false });
            json!({ "t": response::SERVER_INFO, "r": [server] })
        }
        _ => buggy().to_json(),
    };
    out.answer(token, &answer).await;
}

/// `wait` is the one query that takes its time on purpose.
async fn wait_if_asked(asked: &Value, shared: &Shared) {
    if asked[0] == term::WAIT {
        let seconds = asked[2]["timeout"].as_u64().unwrap_or(60);
        let (ready, late) = (*shared.ready_at.lock(), Instant::now() + Duration::from_secs(seconds));
        sleep_until(ready.min(late)).await;
    }
}

/// Whether a question makes a table, perhaps only if something is so.
fn makes_a_table(asked: &Value) -> bool {
    asked[0] == term::TABLE_CREATE || asked[1].as_array().is_some_and(|parts| parts.iter().any(makes_a_table))
}

/// The first answer to a query.
fn start(
    token: u64,
    asked: &Value,
    options: Option<&Value>,
    shared: &Shared,
    cursors: &mut Cursors,
) -> Result<Value, Failure> {
    if cursors.contains_key(&token) {
        return Err(Failure::client(format!("ERROR: duplicate token {token}")));
    }
    compile::check(asked)?;
    let is_ready = Instant::now() >= *shared.ready_at.lock();
    let mut data = shared.data.lock();
    let writes_left = match shared.fault() {
        Some(Fault::DieAfterWrites(writes)) => Some(writes),
        _ => None,
    };
    let may_make_databases = shared.fault() != Some(Fault::NoDatabases);
    let mut scope = Scope {
        data: &mut data,
        database: "test".to_owned(),
        is_ready,
        variables: HashMap::new(),
        writes_left,
        may_make_databases,
    };
    match options.and_then(|options| options.get("db")) {
        None => {}
        // As the real one, this does not look whether the database is there before something is asked of it.
        Some(Value::Array(database)) if database.first() == Some(&json!(term::DB)) => {
            scope.database = database[1][0].as_str().unwrap_or_default().to_owned();
        }
        Some(_) => return Err(Failure::logic("Expected type DATABASE but found DATUM.").within("db")),
    }
    Ok(match scope.run(asked)? {
        Outcome::Atom(value) => json!({ "t": response::SUCCESS_ATOM, "r": [value] }),
        Outcome::Rows(rows) => {
            let mut rows = VecDeque::from(rows);
            let answer = batch(&mut rows, FIRST_BATCH);
            if !rows.is_empty() {
                cursors.insert(token, rows);
            }
            answer
        }
    })
}

/// The next answer under a token.
fn go_on(token: u64, cursors: &mut Cursors) -> Value {
    match cursors.get_mut(&token) {
        Some(rows) => {
            let answer = batch(rows, BATCH);
            if rows.is_empty() {
                cursors.remove(&token);
            }
            answer
        }
        None => Failure::client(format!("Token {token} not in stream cache.")).to_json(),
    }
}

/// As many rows as an answer takes, and whether there are more.
fn batch(rows: &mut VecDeque<Value>, most: usize) -> Value {
    let (mut taken, mut size) = (Vec::new(), 0);
    while size < most
        && let Some(row) = rows.pop_front()
    {
        size += super::datum::size(&row);
        taken.push(row);
    }
    let kind = if rows.is_empty() { response::SUCCESS_SEQUENCE } else { response::SUCCESS_PARTIAL };
    json!({ "t": kind, "r": taken, "n": [] })
}
