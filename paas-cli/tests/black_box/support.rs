//! A server that answers by script and remembers what it was asked, and a home for the program.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::Response;
use futures::StreamExt;
use futures::stream;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc;

/// Longer than anything takes on a machine that is busy.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) const TOKEN: &str = "the-token-of-the-login";

/// An answer of the server.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    pieces: Vec<String>,
    end: End,
    after: Duration,
    next: Option<Box<Self>>,
}

/// How an answer ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Properly,
    BrokenOff,
    Never,
    /// Before it begins.
    Cut,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: &str) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        let pieces = vec![body.to_owned()];
        Self { status, headers, pieces, end: End::Properly, after: Duration::ZERO, next: None }
    }

    pub(crate) fn json(body: &str) -> Self {
        Self::new(200, "application/json", body)
    }

    pub(crate) fn done() -> Self {
        Self::new(204, "text/plain", "")
    }

    pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Self {
        let body = format!(
            r#"{{"type":"about:blank","title":"Problem","status":{status},"code":"{code}","detail":"{detail}"}}"#
        );
        Self::new(status, "application/problem+json", &body)
    }

    /// Steps of an operation, one per line.
    pub(crate) fn steps(lines: &[&str]) -> Self {
        let mut answer = Self::new(200, "application/x-ndjson", "");
        answer.pieces = lines.iter().map(|line| format!("{line}\n")).collect();
        answer
    }

    pub(crate) fn pieces(content_type: &str, pieces: &[&str]) -> Self {
        let mut answer = Self::new(200, content_type, "");
        answer.pieces = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        answer
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The connection is cut instead of a proper end.
    pub(crate) fn broken_off(mut self) -> Self {
        self.end = End::BrokenOff;
        self
    }

    /// Nothing more comes, and no end.
    pub(crate) fn without_end(mut self) -> Self {
        self.end = End::Never;
        self
    }

    /// No answer: the connection is cut instead.
    pub(crate) fn cut() -> Self {
        Self { end: End::Cut, ..Self::done() }
    }

    /// The answer takes so long to begin.
    pub(crate) fn after(mut self, time: Duration) -> Self {
        self.after = time;
        self
    }

    /// What is answered to the requests after this one.
    pub(crate) fn then(mut self, next: Self) -> Self {
        self.next = match self.next {
            Some(later) => Some(Box::new(later.then(next))),
            None => Some(Box::new(next)),
        };
        self
    }

    fn respond(&self) -> Response {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        let pieces = stream::iter(self.pieces.clone()).map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
        let body = match self.end {
            End::Properly if self.pieces.len() == 1 => Body::from(self.pieces[0].clone()),
            End::Properly => Body::from_stream(pieces),
            // The task that serves the connection ends with it, and that without a word.
            End::Cut => std::panic::resume_unwind(Box::new("cut")),
            End::Never => Body::from_stream(pieces.chain(stream::pending())),
            End::BrokenOff => {
                // The pieces must be on their way before the end comes, or they would be thrown away with it.
                let end = stream::once(async {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    Err(std::io::Error::other("cut"))
                });
                Body::from_stream(pieces.chain(end))
            }
        };
        response.body(body).unwrap()
    }
}

/// A request that came in.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Method, path and query: `GET /api/engines`.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The scripted server. What is not in the script is answered with 404 `route_not_found`.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Server {
    pub(crate) async fn start<const N: usize>(script: [(&str, Answer); N]) -> Self {
        let (router, asked) = router(script);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked since the last time.
    pub(crate) fn asked(&mut self) -> Vec<Asked> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }

    /// The only request since the last time.
    pub(crate) fn asked_once(&mut self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }
}

/// The script as a service, and what it is asked.
pub(crate) fn router<const N: usize>(script: [(&str, Answer); N]) -> (Router, mpsc::UnboundedReceiver<Asked>) {
    let script: HashMap<String, Answer> = script.into_iter().map(|(line, answer)| (line.to_owned(), answer)).collect();
    let script = Arc::new(Mutex::new(script));
    let (tell, asked) = mpsc::unbounded_channel();
    let answer = move |request: Request| {
        let (script, tell) = (script.clone(), tell.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let line = format!("{} {}", head.method, head.uri);
            let without_query = format!("{} {}", head.method, head.uri.path());
            let answer = next_answer(&mut script.lock().unwrap(), &line, &without_query);
            let body = String::from_utf8(body.to_vec()).unwrap();
            tell.send(Asked { line, headers: head.headers, body }).unwrap();
            let nothing = || Answer::problem(404, "route_not_found", "there is no such route");
            let answer = answer.unwrap_or_else(nothing);
            tokio::time::sleep(answer.after).await;
            Ok::<_, Infallible>(answer.respond())
        }
    };
    (Router::new().fallback_service(axum::handler::HandlerWithoutStateExt::into_service(answer)), asked)
}

fn next_answer(script: &mut HashMap<String, Answer>, line: &str, without_query: &str) -> Option<Answer> {
    let line = if script.contains_key(line) { line } else { without_query };
    let entry = script.get_mut(line)?;
    let answer = entry.clone();
    if let Some(next) = &answer.next {
        *entry = Answer::clone(next);
    }
    Some(answer)
}

/// Where nothing listens: a port that was free a moment ago.
pub(crate) async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// What came of a run of the program.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    #[track_caller]
    pub(crate) fn expect(&self, status: i32) -> &Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

/// A place for the program to keep its login in, apart from that of the person who runs the tests.
pub(crate) struct Home {
    place: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap() }
    }

    /// One with a login at `server`.
    pub(crate) fn logged_in(server: &Server) -> Self {
        let home = Self::new();
        home.keep_login(&server.url());
        home
    }

    pub(crate) fn keep_login(&self, url: &str) {
        self.keep(&format!("{url:?}"));
    }

    /// A login at several servers.
    pub(crate) fn keep_login_at(&self, urls: &[&str]) {
        self.keep(&format!("{urls:?}"));
    }

    fn keep(&self, url: &str) {
        use std::os::unix::fs::OpenOptionsExt;
        let text =
            format!("url = {url}\nusername = \"admin\"\ntoken = \"{TOKEN}\"\nexpires = \"2100-01-01T00:00:00Z\"\n");
        let mut options = std::fs::OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        std::io::Write::write_all(&mut options.open(self.credentials()).unwrap(), text.as_bytes()).unwrap();
    }

    pub(crate) fn credentials(&self) -> PathBuf {
        self.place.path().join("credentials.toml")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_paas-cli"));
        command.args(arguments).env_clear().env("PAAS_CONFIG_DIR", self.place.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Done {
        finish(self.command(arguments)).await
    }

    /// Runs the program with `input` as its stdin.
    pub(crate) async fn run_with(&self, input: &str, arguments: &[&str]) -> Done {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        // A program that does not read its input may be gone before it is written.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
        done(tokio::time::timeout(TIMEOUT, child.wait_with_output()).await.expect("it ends").unwrap())
    }
}

pub(crate) async fn finish(mut command: Command) -> Done {
    let child = command.spawn().unwrap();
    done(tokio::time::timeout(TIMEOUT, child.wait_with_output()).await.expect("it ends").unwrap())
}

pub(crate) fn done(output: std::process::Output) -> Done {
    Done {
        status: output.status.code().expect("it ends by itself"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A container whose id begins with `id`, as JSON on one line.
pub(crate) fn container(id: &str, engine: &str) -> String {
    format!(
        r#"{{"id":"{id:0<64}","name":"/c-{id}","image":{{"name":"httpd","memory":100,"type":"service","restart_policy":{{"name":"no"}},"network_mode":"bridge"}},"engine":{{"id":"{engine}","addr":"tcp://{engine}:2375","cpus":4,"memory":8192,"labels":[]}},"state":"running","ports":[{{"proto":"tcp","host_ip":"0.0.0.0","port":32768,"container_port":80}}],"created":"2026-01-31T12:00:00Z","managed":true,"later":1.50}}"#
    )
}

/// The full id of such a container.
pub(crate) fn id(id: &str) -> String {
    format!("{id:0<64}")
}
