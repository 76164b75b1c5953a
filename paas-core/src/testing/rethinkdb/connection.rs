//! One connection: who it is, and then its questions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::compile;
use super::data::Heard;
use super::evaluate::{Feed, Outcome, Scope};
use super::failure::Failure;
use super::faults::Fault;
use super::{Shared, handshake};
use crate::store::rethinkdb::protocol::{self, MAGIC, query, response, term};

/// When the first part of a long answer ends, and when each of the others does.
const FIRST_BATCH: usize = 256 << 10;
const BATCH: usize = 1 << 20;
/// How many changes come in one part.
const FEED_BATCH: usize = 64;

/// What goes on under a token.
enum Cursor {
    Rows(VecDeque<Value>),
    Feed(Box<Feed>),
    /// A feed that waits for changes.
    Waiting(CancellationToken),
}

type Cursors = Arc<Mutex<HashMap<u64, Cursor>>>;

/// Where answers go.
struct Out {
    stream: OwnedWriteHalf,
    shared: Arc<Shared>,
    /// Rings when the connection should end.
    ended: CancellationToken,
}

type SharedOut = Arc<tokio::sync::Mutex<Out>>;

impl Out {
    async fn say(&mut self, bytes: &[u8]) {
        let pieces = if self.shared.fault() == Some(Fault::Pieces) { 1 } else { bytes.len().max(1) };
        for piece in bytes.chunks(pieces) {
            if self.stream.write_all(piece).await.is_err() {
                self.ended.cancel();
                return;
            }
            if pieces == 1 {
                tokio::task::yield_now().await;
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
    let (out, cursors) = (Arc::new(tokio::sync::Mutex::new(out)), Cursors::default());
    tokio::select! {
        () = ended.cancelled() => {}
        () = questions(&mut input, &mut received, &shared, &out, &cursors) => {}
    }
    for cursor in cursors.lock().values() {
        if let Cursor::Waiting(stop) = cursor {
            stop.cancel();
        }
    }
    let _ = out.lock().await.stream.shutdown().await;
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

async fn questions(
    input: &mut OwnedReadHalf,
    received: &mut BytesMut,
    shared: &Arc<Shared>,
    out: &SharedOut,
    cursors: &Cursors,
) {
    loop {
        while let Ok(Some((token, json))) = protocol::take_frame(received) {
            if shared.loses_question() {
                return;
            }
            question(token, &json, shared, out, cursors).await;
        }
        if !receive(input, received, shared).await {
            return;
        }
    }
}

async fn question(token: u64, json: &[u8], shared: &Arc<Shared>, out: &SharedOut, cursors: &Cursors) {
    let buggy = || Failure::client("Client is buggy (failed to deserialize query).");
    let Ok(Value::Array(parts)) = serde_json::from_slice::<Value>(json) else {
        return out.lock().await.answer(token, &buggy().to_json()).await;
    };
    let answer = match (parts.first().and_then(Value::as_u64), parts.get(1)) {
        (Some(query::START), Some(asked)) => {
            wait_if_asked(asked, shared).await;
            match start(token, asked, parts.get(2), shared, cursors) {
                Ok(answer) => answer,
                Err(failure) => Some(failure.to_json()),
            }
        }
        (Some(query::CONTINUE), None) => go_on(token, cursors),
        (Some(query::STOP), None) => {
            if let Some(Cursor::Waiting(stop)) = cursors.lock().remove(&token) {
                stop.cancel();
            }
            Some(json!({ "t": response::SUCCESS_SEQUENCE, "r": [], "n": [] }))
        }
        (Some(query::NOREPLY_WAIT), None) => Some(json!({ "t": response::WAIT_COMPLETE, "r": [] })),
        (Some(query::SERVER_INFO), None) => {
            let server = json!({ "id": "f2d9ef29-325e-441a-9fa2-4df4c63d1a7d", "name": "server_1", "proxy": false });
            Some(json!({ "t": response::SERVER_INFO, "r": [server] }))
        }
        _ => Some(buggy().to_json()),
    };
    match answer {
        Some(answer) => out.lock().await.answer(token, &answer).await,
        None => follow(token, out.clone(), cursors.clone()),
    }
}

/// `wait` is the one query that takes its time on purpose.
async fn wait_if_asked(asked: &Value, shared: &Shared) {
    if asked[0] == term::WAIT {
        let seconds = asked[2]["timeout"].as_u64().unwrap_or(60);
        let (ready, late) = (*shared.ready_at.lock(), Instant::now() + Duration::from_secs(seconds));
        sleep_until(ready.min(late)).await;
    }
}

/// The first answer to a query; none yet when it is a feed that has nothing to say.
fn start(
    token: u64,
    asked: &Value,
    options: Option<&Value>,
    shared: &Shared,
    cursors: &Cursors,
) -> Result<Option<Value>, Failure> {
    if cursors.lock().contains_key(&token) {
        return Err(Failure::client(format!("ERROR: duplicate token {token}")));
    }
    compile::check(asked)?;
    let is_ready = Instant::now() >= *shared.ready_at.lock();
    let mut data = shared.data.lock();
    let mut scope = Scope { data: &mut data, database: "test".to_owned(), is_ready, variable: None };
    match options.and_then(|options| options.get("db")) {
        None => {}
        // As the real one, this does not look whether the database is there before something is asked of it.
        Some(Value::Array(database)) if database.first() == Some(&json!(term::DB)) => {
            scope.database = database[1][0].as_str().unwrap_or_default().to_owned();
        }
        Some(_) => return Err(Failure::logic("Expected type DATABASE but found DATUM.").within("db")),
    }
    Ok(match scope.run(asked)? {
        Outcome::Atom(value) => Some(json!({ "t": response::SUCCESS_ATOM, "r": [value] })),
        Outcome::Rows(rows) => {
            let mut rows = VecDeque::from(rows);
            let answer = batch(&mut rows, FIRST_BATCH);
            if !rows.is_empty() {
                cursors.lock().insert(token, Cursor::Rows(rows));
            }
            Some(answer)
        }
        Outcome::Feed(mut feed) => {
            let first = feed.begin();
            cursors.lock().insert(token, Cursor::Feed(Box::new(feed)));
            first
        }
    })
}

/// The next answer under a token; none yet when it is a feed.
fn go_on(token: u64, cursors: &Cursors) -> Option<Value> {
    let mut cursors = cursors.lock();
    match cursors.get_mut(&token) {
        Some(Cursor::Rows(rows)) => {
            let answer = batch(rows, BATCH);
            if rows.is_empty() {
                cursors.remove(&token);
            }
            Some(answer)
        }
        Some(Cursor::Feed(_)) => None,
        Some(Cursor::Waiting(_)) | None => {
            Some(Failure::client(format!("Token {token} not in stream cache.")).to_json())
        }
    }
}

/// Answers once a feed has something to say.
fn follow(token: u64, out: SharedOut, cursors: Cursors) {
    let stop = CancellationToken::new();
    let Some(Cursor::Feed(mut feed)) = cursors.lock().insert(token, Cursor::Waiting(stop.clone())) else { return };
    tokio::spawn(async move {
        let answer = tokio::select! {
            answer = feed.next() => answer,
            () = stop.cancelled() => return,
        };
        let Some(answer) = answer else { return };
        if cursors.lock().insert(token, Cursor::Feed(feed)).is_none() {
            // Stopped in between.
            cursors.lock().remove(&token);
            return;
        }
        out.lock().await.answer(token, &answer).await;
    });
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

impl Feed {
    /// What it says at once.
    fn begin(&mut self) -> Option<Value> {
        let Some(initial) = self.initial.take() else {
            return self.states.then(|| self.answer(vec![self.state("ready")]));
        };
        let mut said = Vec::new();
        if self.states {
            said.push(self.state("initializing"));
        }
        said.extend(initial.into_iter().map(|row| {
            let mut change = json!({ "new_val": row });
            self.mark(&mut change, "initial");
            change
        }));
        self.is_initial = true;
        Some(self.answer(said))
    }

    /// What it says next, however long that takes; nothing when the server ends.
    async fn next(&mut self) -> Option<Value> {
        if std::mem::take(&mut self.is_initial) && self.states {
            return Some(self.answer(vec![self.state("ready")]));
        }
        let mut heard = Vec::new();
        if self.heard.recv_many(&mut heard, FEED_BATCH).await == 0 {
            return None;
        }
        let changes = heard.into_iter().map(|heard| self.change(heard)).collect();
        Some(self.answer(changes))
    }

    fn change(&self, (old, new): Heard) -> Value {
        let kind = match (&old, &new) {
            (None, _) => "add",
            (_, None) => "remove",
            _ => "change",
        };
        let mut change = json!({ "new_val": new, "old_val": old });
        self.mark(&mut change, kind);
        change
    }

    fn state(&self, state: &str) -> Value {
        let mut said = json!({ "state": state });
        self.mark(&mut said, "state");
        said
    }

    fn mark(&self, said: &mut Value, kind: &str) {
        if self.types {
            said["type"] = kind.into();
        }
    }

    fn answer(&self, said: Vec<Value>) -> Value {
        let notes = if self.states { json!([1, 5]) } else { json!([1]) };
        json!({ "t": response::SUCCESS_PARTIAL, "r": said, "n": notes })
    }
}
