//! Output of containers, as daemons of every kind send it.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tokio::sync::oneshot;

use super::fake::{Answer, Fake, daemon};
use crate::engine::{DockerEngine, EngineError, EngineErrorKind, LogChunk, LogOptions, LogStream};

const ID: &str = "714e01115f76714e01115f76714e01115f76714e01115f76714e01115f764e01";
const FRAMED: &str = "application/vnd.docker.multiplexed-stream";
const RAW: &str = "application/vnd.docker.raw-stream";
const TIMEOUT: Duration = Duration::from_secs(60);
const FOLLOW: LogOptions =
    LogOptions { stdout: true, stderr: true, follow: true, timestamps: false, tail: None, since: None };

fn frame(kind: u8, text: &[u8]) -> Bytes {
    let mut frame = BytesMut::from(&[kind, 0, 0, 0][..]);
    frame.put_u32(text.len() as u32);
    frame.extend_from_slice(text);
    frame.freeze()
}

/// A daemon with one container, with a terminal or without, whose output is `logs`.
async fn host(api: &'static str, tty: bool, logs: impl Fn() -> Answer + Send + Sync + 'static) -> Fake {
    daemon(api, move |asked| match &*asked.path {
        path if path.ends_with("/json") => Answer::json(200, json!({"Id": ID, "Config": {"Tty": tty}})),
        path if path.contains("/logs?") => logs(),
        path => Answer::refusal(404, path),
    })
    .await
}

async fn logs(
    host: &Fake,
    options: &LogOptions,
) -> Result<BoxStream<'static, Result<LogChunk, EngineError>>, EngineError> {
    host.docker.logs(&ID.parse().unwrap(), options).await
}

fn pieces(pieces: Vec<Bytes>) -> impl Fn() -> BoxStream<'static, Bytes> + Send + Sync {
    move || stream::iter(pieces.clone()).boxed()
}

#[tokio::test]
async fn frames_are_taken_apart_wherever_they_are_cut() {
    let whole: Vec<u8> = [frame(1, b"one\n"), frame(2, b"bad\n"), frame(1, b""), frame(1, b"two")].concat();
    for length in [1, 3, 7, 8, 9, 100] {
        let cut: Vec<Bytes> = whole.chunks(length).map(Bytes::copy_from_slice).collect();
        for kind in [FRAMED, RAW, "application/octet-stream"] {
            let cut = pieces(cut.clone());
            // Docker 20.10 calls everything raw, or nothing; then the container tells.
            let host = host("1.41", false, move || Answer::stream(kind, cut())).await;
            for options in [FOLLOW, LogOptions::default()] {
                let chunks: Vec<LogChunk> = logs(&host, &options).await.unwrap().try_collect().await.unwrap();
                let of = |stream| -> Vec<u8> {
                    chunks
                        .iter()
                        .filter(|chunk| chunk.stream == stream)
                        .flat_map(|chunk| chunk.bytes.to_vec())
                        .collect()
                };
                assert_eq!((of(LogStream::Stdout), of(LogStream::Stderr)), (b"one\ntwo".into(), b"bad\n".into()));
            }
        }
    }
}

#[tokio::test]
async fn what_a_terminal_shows_comes_as_it_is_and_at_once() {
    for (api, tty) in [("1.41", true), ("1.44", true)] {
        let host = host(api, tty, || {
            let prompt = stream::iter([Bytes::from_static(b"password: ")]);
            Answer::stream(RAW, prompt.chain(stream::pending()))
        })
        .await;
        let mut output = logs(&host, &FOLLOW).await.unwrap();
        // The line has no end, and the stream neither.
        let first = tokio::time::timeout(TIMEOUT, output.next()).await.expect("not held back").unwrap().unwrap();
        assert_eq!(first, LogChunk { stream: LogStream::Stdout, bytes: Bytes::from_static(b"password: ") });
    }
}

#[tokio::test]
async fn what_docker_refuses_is_an_error_before_there_is_a_stream() {
    let reason = "configured logging driver does not support reading";
    let host = host("1.44", false, move || Answer::refusal(501, reason)).await;
    for options in [FOLLOW, LogOptions::default()] {
        let error = logs(&host, &options).await.err().expect("no stream");
        assert_eq!((error.kind(), error.detail()), (EngineErrorKind::Failed, reason));
    }
}

#[tokio::test]
async fn an_error_in_the_stream_is_an_error_and_no_output() {
    let reason = b"Error grabbing logs: invalid character '\\x00' looking for beginning of value\n";
    let first = pieces(vec![frame(3, reason)]);
    let host_of = |answer: BoxStream<'static, Bytes>| answer;
    let at_once = host("1.44", false, move || Answer::stream(FRAMED, host_of(first()))).await;
    for options in [FOLLOW, LogOptions::default()] {
        let error = logs(&at_once, &options).await.err().expect("known before there is a stream");
        assert!(error.detail().starts_with("Error grabbing logs") && !error.detail().ends_with('\n'), "{error}");
    }
    let later = pieces(vec![frame(1, b"hello\n"), frame(3, reason), frame(1, b"never")]);
    let later = host("1.44", false, move || Answer::stream(FRAMED, later())).await;
    for options in [FOLLOW, LogOptions::default()] {
        let items: Vec<_> = logs(&later, &options).await.unwrap().collect().await;
        assert_eq!(items.len(), 2, "{items:?}");
        assert_eq!(items[0].as_ref().unwrap().bytes, "hello\n");
        assert_eq!(items[1].as_ref().unwrap_err().kind(), EngineErrorKind::Failed);
    }
}

#[tokio::test]
async fn output_that_ends_within_a_frame_is_lost_and_not_over() {
    let cut = pieces(vec![frame(1, b"hello\n").slice(..10)]);
    let host = host("1.44", false, move || Answer::stream(FRAMED, cut())).await;
    let items: Vec<_> = logs(&host, &LogOptions::default()).await.unwrap().collect().await;
    assert_eq!(items.last().unwrap().as_ref().unwrap_err().kind(), EngineErrorKind::Unreachable);
}

#[tokio::test]
async fn forty_megabytes_without_a_line_pass_through_in_small_pieces() {
    const PIECE: usize = 32 << 10;
    const PIECES: usize = 40 * 32;
    for (tty, kind) in [(true, RAW), (false, FRAMED)] {
        let piece = if tty { Bytes::from(vec![b'x'; PIECE]) } else { frame(1, &[b'x'; PIECE]) };
        let host =
            host("1.44", tty, move || Answer::stream(kind, stream::iter(std::iter::repeat_n(piece.clone(), PIECES))))
                .await;
        let mut output = logs(&host, &LogOptions::default()).await.unwrap();
        let (mut length, mut longest) = (0, 0);
        while let Some(chunk) = output.next().await {
            let chunk = chunk.unwrap();
            assert!(chunk.bytes.iter().all(|byte| *byte == b'x'));
            length += chunk.bytes.len();
            longest = longest.max(chunk.bytes.len());
        }
        assert_eq!(length, PIECE * PIECES);
        // Nothing waits for the end of a line: no piece is longer than what a connection reads at once.
        assert!(longest <= 1 << 20, "{longest}");
    }
}

#[tokio::test]
async fn a_reader_that_hangs_up_ends_the_connection() {
    /// Rings when it is dropped.
    struct Bell(Option<oneshot::Sender<()>>);
    impl Drop for Bell {
        fn drop(&mut self) {
            let _ = self.0.take().map(|bell| bell.send(()));
        }
    }
    let (bell, rings) = oneshot::channel();
    let bell = parking_lot::Mutex::new(Some(Bell(Some(bell))));
    let host = host("1.44", true, move || {
        let endless =
            stream::unfold(bell.lock().take(), |bell| async move { Some((Bytes::from(vec![b'x'; 32 << 10]), bell)) });
        Answer::stream(RAW, endless)
    })
    .await;
    let mut output = logs(&host, &FOLLOW).await.unwrap();
    output.next().await.unwrap().unwrap();
    let start = Instant::now();
    drop(output);
    tokio::time::timeout(TIMEOUT, rings).await.unwrap_or_else(|_| panic!("{:?}", start.elapsed())).unwrap();
}

#[tokio::test]
async fn a_pull_is_told_line_by_line_and_its_errors_are_errors() {
    let lines = |last: serde_json::Value| {
        let progress = json!({"status": "Downloading", "id": "a", "progressDetail": {"current": 1, "total": 2}});
        let text = format!("{progress}\n{last}\n");
        // Cut where it hurts.
        let (first, rest) = text.split_at(10);
        pieces(vec![Bytes::from(first.to_owned()), Bytes::from(rest.to_owned())])
    };
    let good = lines(json!({"status": "Pull complete", "id": "a"}));
    let host = daemon("1.44", move |_| Answer::stream("application/json", good())).await;
    let login = crate::model::RegistryLogin { server: None, username: "ann".into(), password: "~~~???>>>".into() };
    let image = "r.local:5000/shop/web:1".parse().unwrap();
    let steps: Vec<_> = host.docker.pull(&image, Some(login)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(steps.last().unwrap().bytes, Some((2, 2)));
    let asked = host.asked.lock().pop().unwrap();
    assert_eq!((&*asked.method, &*asked.path), ("POST", "/images/create?fromImage=r.local:5000/shop/web&tag=1"));
    assert!(asked.head.to_lowercase().contains("\r\nx-registry-auth: "), "{}", asked.head);

    let bad = lines(json!({"error": "manifest unknown", "errorDetail": {"message": "manifest unknown"}}));
    let host = daemon("1.44", move |_| Answer::stream("application/json", bad())).await;
    let items: Vec<_> = host.docker.pull(&image, None).await.unwrap().collect().await;
    assert_eq!(items.len(), 2);
    assert_eq!(items[1].as_ref().unwrap_err().kind(), EngineErrorKind::NoSuchImage);
    assert!(!host.asked.lock().pop().unwrap().head.to_lowercase().contains("x-registry-auth"));

    let host = daemon("1.44", move |_| Answer::refusal(404, "pull access denied for web")).await;
    let error = host.docker.pull(&image, None).await.unwrap().next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::NoSuchImage);
}
