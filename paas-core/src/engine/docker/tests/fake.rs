//! A daemon that says what a test wants: for what no real host says on demand.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::Docker;

/// What a daemon was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query, without the version.
    pub(super) path: String,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

/// What it answers.
pub(super) struct Answer {
    status: u16,
    kind: &'static str,
    body: BoxStream<'static, Bytes>,
}

impl Answer {
    pub(super) fn json(status: u16, value: serde_json::Value) -> Self {
        let body = stream::iter([Bytes::from(value.to_string())]).boxed();
        Self { status, kind: "application/json", body }
    }

    /// What Docker says when it refuses.
    pub(super) fn refusal(status: u16, message: &str) -> Self {
        Self::json(status, serde_json::json!({ "message": message }))
    }

    /// An answer that comes piece by piece.
    pub(super) fn stream(kind: &'static str, body: impl futures::Stream<Item = Bytes> + Send + 'static) -> Self {
        Self { status: 200, kind, body: body.boxed() }
    }
}

/// A running daemon, and everything that it was asked.
pub(super) struct Fake {
    pub(super) docker: Docker,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
}

/// Starts a daemon of that version of the API.
pub(super) async fn daemon(api: &'static str, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (answer, notes) = (Arc::new(answer), asked.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, notes) = (answer.clone(), notes.clone());
            tokio::spawn(async move { serve(stream, api, &*answer, &notes).await });
        }
    });
    Fake { docker: Docker::new(&address, None).unwrap(), asked }
}

/// Answers one request after the other. Ends as soon as the far end hangs up; the answer under way is dropped.
async fn serve(
    mut stream: TcpStream,
    api: &str,
    answer: &(impl Fn(&Asked) -> Answer + Sync),
    notes: &Mutex<Vec<Asked>>,
) -> Option<()> {
    loop {
        let asked = read(&mut stream).await?;
        notes.lock().push(asked.clone());
        let Answer { status, kind, mut body } = match &*asked.path {
            "/_ping" => Answer::stream("text/plain", stream::empty()),
            _ => answer(&asked),
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\nApi-Version: {api}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.ok()?;
        let (mut reader, mut writer) = stream.split();
        let send = async {
            while let Some(piece) = body.next().await {
                writer.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.ok()?;
                writer.write_all(&piece).await.ok()?;
                writer.write_all(b"\r\n").await.ok()?;
            }
            writer.write_all(b"0\r\n\r\n").await.ok()
        };
        let mut nothing = [0];
        tokio::select! {
            sent = send => sent?,
            // A client that waits for an answer says nothing but that it hung up.
            _ = reader.read(&mut nothing) => return None,
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    let mut words = head.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?);
    let versioned = path.strip_prefix("/v1.").and_then(|rest| Some(&rest[rest.find('/')?..]));
    Some(Asked { method, path: versioned.unwrap_or(path).to_owned(), head: head.clone(), body })
}
