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
    /// The second number of the version of the API.
    version: Option<u32>,
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

/// The versions of the API that a daemon takes: from the second number of the oldest to that of the newest.
pub(super) type Versions = (u32, u32);

/// A running daemon, and everything that it was asked.
pub(super) struct Fake {
    pub(super) docker: Docker,
    pub(super) asked: Arc<Mutex<Vec<Asked>>>,
    /// What it takes from now on, as if another one had been installed.
    pub(super) versions: Arc<Mutex<Versions>>,
    /// What was asked in a version that it does not take.
    pub(super) wrong_versions: Arc<Mutex<Vec<String>>>,
}

/// Starts a daemon of that version of the API.
pub(super) async fn daemon(api: &'static str, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    let newest = api.trim_start_matches("1.").parse().unwrap();
    let docker = Docker::new(&address, None).unwrap();
    let versions = Arc::new(Mutex::new((24, newest)));
    let (asked, wrong_versions) = (Arc::default(), Arc::default());
    let served = Served { asked: Arc::clone(&asked), versions: versions.clone(), wrong: Arc::clone(&wrong_versions) };
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, served) = (answer.clone(), served.clone());
            tokio::spawn(async move { serve(stream, &*answer, &served).await });
        }
    });
    Fake { docker, asked, versions, wrong_versions }
}

#[derive(Clone)]
struct Served {
    asked: Arc<Mutex<Vec<Asked>>>,
    versions: Arc<Mutex<Versions>>,
    wrong: Arc<Mutex<Vec<String>>>,
}

/// Answers one request after the other. Ends as soon as the far end hangs up; the answer under way is dropped.
async fn serve(mut stream: TcpStream, answer: &(impl Fn(&Asked) -> Answer + Sync), served: &Served) -> Option<()> {
    loop {
        let asked = read(&mut stream).await?;
        served.asked.lock().push(asked.clone());
        let (oldest, newest) = *served.versions.lock();
        let Answer { status, kind, mut body } = match (&*asked.path, asked.version) {
            // This alone may be asked in any version, and without one.
            ("/_ping", _) => Answer::stream("text/plain", stream::empty()),
            (_, Some(version)) if (oldest..=newest).contains(&version) => answer(&asked),
            (path, version) => {
                served.wrong.lock().push(format!("{path} in {version:?}"));
                Answer::refusal(400, "client version is not supported")
            }
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\nApi-Version: 1.{newest}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
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
    let versioned = path.strip_prefix("/v1.").and_then(|rest| rest.split_at_checked(rest.find('/')?));
    let (version, path) = versioned.map_or((None, path), |(version, path)| (version.parse().ok(), path));
    Some(Asked { method, version, path: path.to_owned(), head: head.clone(), body })
}
