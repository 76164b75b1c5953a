//! A pretended Docker daemon, which knows enough to be an engine and notes the logins that it is given for pulls.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A daemon on a port of its own, as long as the runtime of the test lives.
pub(crate) struct PretendedDocker {
    port: u16,
    logins: Arc<Mutex<Vec<Value>>>,
}

impl PretendedDocker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let logins = Arc::<Mutex<Vec<Value>>>::default();
        let noted = logins.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, noted.clone()));
            }
        });
        Self { port, logins }
    }

    pub(crate) fn address(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// The logins that came with pulls, in their order.
    pub(crate) fn logins(&self) -> Vec<Value> {
        self.logins.lock().unwrap().clone()
    }
}

/// Answers one request after the other until the client has no more.
async fn serve(mut stream: TcpStream, logins: Arc<Mutex<Vec<Value>>>) {
    while let Some(head) = read_head(&mut stream).await {
        let path = head.split_whitespace().nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
        let is = |end: &str| path.ends_with(end);
        let (status, body) = if is("/_ping") {
            ("200 OK", "OK".to_owned())
        } else if is("/info") {
            let info = json!({"ID": "PRET:ENDE:D", "NCPU": 4, "MemTotal": 8_u64 << 30, "ServerVersion": "27.0",
                "SystemTime": Timestamp::now().to_string()});
            ("200 OK", info.to_string())
        } else if is("/containers/json") || is("/images/json") {
            ("200 OK", "[]".to_owned())
        } else if is("/events") {
            let head = "HTTP/1.1 200 OK\r\nApi-Version: 1.45\r\nTransfer-Encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
            // Nothing ever happens here.
            while read_head(&mut stream).await.is_some() {}
            return;
        } else if is("/images/create") {
            logins.lock().unwrap().extend(login_of(&head));
            ("200 OK", "{\"status\":\"Pull complete\"}\n".to_owned())
        } else {
            ("404 Not Found", json!({"message": format!("no {path} here")}).to_string())
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nApi-Version: 1.45\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The head of a request; none of those that come here has a body that matters.
async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn login_of(head: &str) -> Option<Value> {
    let header = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-registry-auth").then(|| value.trim().to_owned())
    })?;
    serde_json::from_slice(&decoded(&header)).ok()
}

/// Base64 in either alphabet, with or without its end.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).map(u32::from).collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = four.iter().enumerate().fold(0, |bits, (at, digit)| bits | digit << (18 - 6 * at));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}
