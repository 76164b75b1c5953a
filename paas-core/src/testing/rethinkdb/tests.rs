//! The double against what a real server was recorded to say.

use std::time::Duration;

use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::handshake::Script;
use super::*;
use crate::store::rethinkdb::protocol::{self, MAGIC};

const HANDSHAKE: &str = include_str!("../../../testdata/rethinkdb-2.4.4/handshake.json");
const FAILURES: &str = include_str!("../../../testdata/rethinkdb-2.4.4/handshake-failures.json");
const EXCHANGES: &str = include_str!("../../../testdata/rethinkdb-2.4.4/exchanges.jsonl");

/// Somebody who talks to the double byte by byte.
struct Client {
    stream: TcpStream,
    received: BytesMut,
}

impl Client {
    async fn connect(double: &RethinkDouble) -> Self {
        let stream = TcpStream::connect(double.address()).await.unwrap();
        Self { stream, received: BytesMut::new() }
    }

    async fn log_in(double: &RethinkDouble) -> Self {
        let mut client = Self::connect(double).await;
        let recorded: Value = serde_json::from_str(HANDSHAKE).unwrap();
        client.follow(recorded.as_array().unwrap()).await;
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn more(&mut self) -> usize {
        let read = self.stream.read_buf(&mut self.received);
        timeout(Duration::from_secs(10), read).await.expect("the double says something").unwrap()
    }

    async fn message(&mut self) -> Vec<u8> {
        loop {
            if let Some(message) = protocol::take_message(&mut self.received) {
                return message.to_vec();
            }
            assert_ne!(self.more().await, 0, "the double hung up");
        }
    }

    async fn answer(&mut self) -> (u64, Value) {
        loop {
            if let Some((token, json)) = protocol::take_frame(&mut self.received).unwrap() {
                return (token, serde_json::from_slice(&json).unwrap());
            }
            assert_ne!(self.more().await, 0, "the double hung up");
        }
    }

    async fn ask_raw(&mut self, token: u64, json: &str) -> Value {
        self.send(&protocol::frame(token, json.as_bytes())).await;
        let (answered, answer) = self.answer().await;
        assert_eq!(answered, token);
        answer
    }

    async fn ask(&mut self, token: u64, query: &Value) -> Value {
        self.ask_raw(token, &query.to_string()).await
    }

    /// Says what the recorded client said, and expects what the recorded server said.
    async fn follow(&mut self, steps: &[Value]) {
        for step in steps {
            if step["from"] == "client" {
                match step["bytes_hex"].as_str() {
                    Some("c3bdc234") => self.send(&MAGIC.to_le_bytes()).await,
                    Some(other) => panic!("unexpected bytes {other}"),
                    None => self.send((step["json"].to_string() + "\0").as_bytes()).await,
                }
            } else if let Some(raw) = step["raw"].as_str() {
                assert_eq!(self.message().await, raw.trim_end_matches('\0').as_bytes());
            } else {
                let said: Value = serde_json::from_slice(&self.message().await).unwrap();
                assert_eq!(said, step["json"]);
            }
        }
    }

    async fn is_hung_up_on(&mut self) -> bool {
        self.more().await == 0
    }
}

fn script(nonce: &str) -> Script {
    Script { nonce: Some(nonce.to_owned()), salt_of_unknown: Some("YcZCWhruqxe4RlTkbtLkQw==".to_owned()) }
}

/// The nonce of the server in the recorded login.
const NONCE: &str = "RHDRzabrh9zSR6DS/axR";

#[tokio::test]
async fn the_recorded_login_succeeds_byte_for_byte() {
    let double = RethinkDouble::start_with(script(NONCE)).await.unwrap();
    let mut client = Client::log_in(&double).await;
    assert_eq!(client.ask(1, &json!([5])).await["t"], 5);
}

#[tokio::test]
async fn recorded_logins_that_fail_fail_in_the_same_words() {
    let failures: Value = serde_json::from_str(FAILURES).unwrap();
    for (what, nonce) in [("wrong password", "J3gHSXumJrcPCDmRdEzM"), ("unknown user", "Xd/rFrxCS8Xrm4Ab61j6")] {
        let double = RethinkDouble::start_with(script(nonce)).await.unwrap();
        let mut client = Client::connect(&double).await;
        client.send(&MAGIC.to_le_bytes()).await;
        client.follow(failures[what].as_array().unwrap()).await;
        assert!(client.is_hung_up_on().await, "{what}");
    }
    let double = RethinkDouble::start().await.unwrap();
    let mut client = Client::connect(&double).await;
    client.send(b"GET / HTTP/1.1\r\n\r\n").await;
    client.follow(failures["wrong magic number"].as_array().unwrap()).await;
    assert!(client.is_hung_up_on().await);
    assert_eq!(failures.as_object().unwrap().len(), 3, "every recorded failure is looked at");
}

#[tokio::test]
async fn introductions_that_make_no_sense_are_refused() {
    let double = RethinkDouble::start().await.unwrap();
    for hello in
        ["{", "[]", "{}", r#"{"protocol_version":0,"authentication_method":"PLAIN","authentication":"n,,n=a,r=b"}"#]
    {
        let mut client = Client::connect(&double).await;
        client.send(&MAGIC.to_le_bytes()).await;
        client.message().await;
        client.send(format!("{hello}\0").as_bytes()).await;
        let said: Value = serde_json::from_slice(&client.message().await).unwrap();
        assert_eq!(said["success"], false, "{hello}");
    }
}

/// The answer without what differs from run to run.
fn comparable(answer: &Value, is_ordered: bool) -> Value {
    let mut answer = answer.clone();
    if answer.get("n").is_some() && !is_ordered {
        let rows = answer["r"].as_array_mut().unwrap();
        rows.sort_by_key(Value::to_string);
    }
    let forget = |change: &mut Value| {
        if let Some(id) = change["new_val"].get_mut("id") {
            *id = "made by the server".into();
        }
    };
    if let Some(changes) = answer.pointer_mut("/r/0/config_changes") {
        changes.as_array_mut().unwrap().iter_mut().for_each(forget);
    }
    answer
}

#[tokio::test]
async fn every_recorded_query_gets_the_recorded_answer() {
    let double = RethinkDouble::start_with(script(NONCE)).await.unwrap();
    let mut client = Client::log_in(&double).await;
    let exchanges: Vec<Value> = EXCHANGES.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // The database that the recorded server had from an earlier probe.
    client.ask(1, &json!([1, [57, ["probe"]], {}])).await;
    let (mut token, mut long) = (100, 0);
    let mut replayed = 0;
    for exchange in &exchanges {
        let what = exchange["what"].as_str().unwrap();
        let query = &exchange["query"];
        token += 1;
        if what.starts_with("a long result") {
            fill(&mut client, &exchange["response"]["r"][0]["pad"]).await;
            let answer = client.ask(token, query).await;
            let rows = answer["r"].as_array().unwrap();
            assert_eq!((&answer["t"], &answer["n"]), (&json!(3), &json!([])), "{what}");
            assert_eq!(rows.len() as u64, exchange["rows_in_batch"].as_u64().unwrap(), "{what}");
            assert_eq!(rows[..2], exchange["response"]["r"].as_array().unwrap()[..], "{what}");
            long = rows.len();
        } else if what.starts_with("CONTINUE") {
            let answer = client.ask(token - 1, query).await;
            let last = &exchange["last_response"];
            assert_eq!((&answer["t"], &answer["n"]), (&last["t"], &last["n"]), "{what}");
            assert_eq!(answer["r"][0], last["r"][0], "{what}");
            let rows = long + answer["r"].as_array().unwrap().len();
            assert_eq!(rows as u64, exchange["rows_in_all"].as_u64().unwrap());
            assert_eq!(exchange["batches_after_the_first"], 1, "and this was the one");
        } else if what.starts_with("STOP") {
            let again = json!([1, [41, [[15, ["many"]]], {"index": "id"}], {"db": [14, ["paas"]]}]);
            assert_eq!(client.ask(token, &again).await["t"], 3, "a cursor is open");
            assert_eq!(client.ask(token, query).await, exchange["response"], "{what}");
            assert_eq!(client.ask(token, &json!([2])).await["t"], 16, "and closed");
        } else if exchange.get("feed").is_some() {
            // No store asks for changes, so the double does not know them.
            assert_eq!(client.ask(token, query).await["t"], 17, "{what}");
        } else {
            let answer = match exchange["raw"].as_str() {
                Some(raw) => client.ask_raw(token, raw).await,
                None => client.ask(token, query).await,
            };
            let expected = comparable(&exchange["response"], is_ordered(query));
            let mut answer = comparable(&answer, is_ordered(query));
            if what.starts_with("SERVER_INFO") {
                answer["r"][0]["id"] = expected["r"][0]["id"].clone();
            }
            assert_eq!(answer, expected, "{what}");
        }
        replayed += 1;
    }
    assert_eq!(replayed, 44, "every recorded exchange was had");
}

fn is_ordered(query: &Value) -> bool {
    query[1][0] != 15
}

/// The rows of the recorded long result.
async fn fill(client: &mut Client, pad: &Value) {
    let rows: Vec<Value> = (0..4000).map(|number| json!({ "id": format!("{number:05}"), "pad": pad })).collect();
    let query = json!([1, [56, [[15, ["many"]], [2, rows]]], {"db": [14, ["paas"]]}]);
    assert_eq!(client.ask(90, &query).await["r"][0]["inserted"], 4000);
}

#[tokio::test]
async fn what_the_real_one_refuses_is_refused() {
    let double = RethinkDouble::start_with(script(NONCE)).await.unwrap();
    let mut client = Client::log_in(&double).await;
    client.ask(1, &json!([1, [57, ["paas"]], {}])).await;
    let paas = json!({ "db": [14, ["paas"]] });
    client.ask(2, &json!([1, [60, ["t"]], paas])).await;
    let long = "k".repeat(128);
    for (token, (kind, term)) in [
        (17, json!([54, [[9999, []]]])),
        (17, json!([15, []])),
        (17, json!([15, ["t"], {"fast": true}])),
        (17, json!([["x"]])),
        (17, json!([56, [[15, ["t"]], {"id": "a", "list": ["b"]}]])),
        (18, json!([16, [[15, ["t"]], long]])),
        (18, json!([16, [[15, ["t"]], "a\0b"]])),
        (18, json!([16, [[15, ["t"]], 1]])),
        (18, json!([182, [[15, ["t"]], long, [181, []]]])),
        (18, json!([41, [[15, ["t"]]], {"index": "other"}])),
        (18, json!([56, [[15, ["t"]], {"id": "a", "time": {"$reql_type$": "NOVEL"}}]])),
        (18, json!([60, ["no spaces"]])),
        (18, json!([170, [null, "rev"]])),
        (18, json!([12, ["on purpose"]])),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = client.ask(token as u64 + 10, &json!([1, term, paas])).await;
        assert_eq!(answer["t"], kind, "{term}: {answer}");
    }
    for query in [json!([7]), json!([1]), json!({}), json!("text"), json!([])] {
        assert_eq!(client.ask(99, &query).await["t"], 16, "{query}");
    }
    assert_eq!(client.ask(100, &json!([2])).await["r"][0], "Token 100 not in stream cache.");
    let count = json!([1, [43, [[15, ["t"]]]], paas]);
    assert_eq!(client.ask(101, &count).await["r"], json!([0]), "nothing of it was written");
}

#[tokio::test]
async fn a_table_that_is_made_twice_at_once_is_two_and_of_no_use() {
    let double = RethinkDouble::start_with(script(NONCE)).await.unwrap();
    let mut one = Client::log_in(&double).await;
    let mut two = Client::log_in(&double).await;
    let make = json!([1, [60, ["t"]], {}]);
    // Also behind a look whether it is there.
    let made = tokio::join!(one.ask(1, &make), two.ask(1, &make));
    assert_eq!((&made.0["r"][0]["tables_created"], &made.1["r"][0]["tables_created"]), (&json!(1), &json!(1)));
    for (token, query) in [(2, json!([16, [[15, ["t"]], "a"]])), (3, json!([56, [[15, ["t"]], { "id": "a" }]]))] {
        let answer = one.ask(token, &json!([1, query, {}])).await;
        assert_eq!((&answer["t"], &answer["e"]), (&json!(18), &json!(4_100_000)));
        let said = answer["r"][0].as_str().unwrap();
        assert!(said.contains("is ambiguous; there are multiple tables with that name"), "{said}");
    }
    let make = json!([1, [57, ["d"]], {}]);
    let databases = tokio::join!(one.ask(4, &make), two.ask(4, &make));
    assert_eq!([&databases.0["t"], &databases.1["t"]].iter().filter(|kind| ***kind == json!(1)).count(), 1);
}

#[tokio::test]
async fn a_refused_write_is_a_success_with_an_error_counted() {
    let double = RethinkDouble::start_with(script(NONCE)).await.unwrap();
    let mut client = Client::log_in(&double).await;
    client.ask(1, &json!([1, [60, ["t"]], {}])).await;
    client.ask(2, &json!([1, [56, [[15, ["t"]], { "id": "a" }]], {}])).await;
    let refuse = json!([55, [[16, [[15, ["t"]], "a"]], [69, [[2, [1]], [12, ["no"]]]]]]);
    let answer = client.ask(3, &json!([1, refuse, {}])).await;
    assert_eq!((&answer["t"], &answer["r"][0]["errors"]), (&json!(1), &json!(1)));
    assert_eq!(answer["r"][0]["first_error"], "no");
    // The report of one write decides over others.
    let then = json!([65, [[17, [[170, [[10, [2]], "errors"]], 0]], [56, [[15, ["t"]], { "id": "b" }]], [10, [2]]]]);
    let both = json!([64, [[69, [[2, [2]], then]], refuse]]);
    assert_eq!(client.ask(4, &json!([1, both, {}])).await["r"][0]["first_error"], "no");
    let count = json!([1, [43, [[15, ["t"]]]], {}]);
    assert_eq!(client.ask(5, &count).await["r"], json!([1]), "so the second was not made");
}
