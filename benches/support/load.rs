//! A small client that asks the same again and again, as fast as it is answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection that is kept.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How an answer says where it ends.
#[derive(Clone, Copy, Debug)]
enum Length {
    Known(usize),
    Chunked,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 256 << 10] })
    }

    /// Sends a request and reads the whole answer; gives its status and how many bytes it had, those of the head included.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(u16, usize)> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let head = loop {
            filled += self.read(filled).await?;
            if let Some(end) = find(&self.buffer[..filled], b"\r\n\r\n") {
                break end + 4;
            }
            if filled == self.buffer.len() {
                bail!("the head of the answer does not end");
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("there is no status")?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let length = length.map_or(Length::Chunked, Length::Known);
        self.finish(head, filled, length).await.map(|total| (status, total))
    }

    async fn read(&mut self, from: usize) -> Result<usize> {
        match self.stream.read(&mut self.buffer[from..]).await? {
            0 => bail!("the connection broke off"),
            read => Ok(read),
        }
    }

    /// Reads what is left of an answer of which `filled` bytes are there, and throws it away.
    async fn finish(&mut self, head: usize, filled: usize, length: Length) -> Result<usize> {
        let mut total = filled;
        match length {
            Length::Known(length) => {
                while total < head + length {
                    total += self.read(0).await?;
                }
            }
            Length::Chunked => {
                const END: &[u8] = b"\r\n0\r\n\r\n";
                let mut tail = self.buffer[..filled].to_vec();
                while !tail.ends_with(END) {
                    let read = self.read(0).await?;
                    total += read;
                    tail.extend_from_slice(&self.buffer[read.saturating_sub(END.len())..read]);
                    tail.drain(..tail.len().saturating_sub(END.len()));
                }
            }
        }
        Ok(total)
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// A request with a token.
pub fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// Asks once after the other on one connection; how long each answer took, sorted.
pub async fn one_by_one(address: SocketAddr, request: &[u8], count: usize) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(address).await?;
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        let (status, _) = connection.ask(request).await?;
        took.push(begun.elapsed());
        if status != 200 {
            bail!("the answer was {status}");
        }
    }
    took.sort_unstable();
    Ok(took)
}

/// Asks on many connections at once for a while; answers per second, and how long each took, sorted.
pub async fn at_once(
    address: SocketAddr,
    request: &[u8],
    connections: usize,
    time: Duration,
) -> Result<(f64, Vec<Duration>)> {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let request = request.to_vec();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut took = Vec::new();
            while begun.elapsed() < time {
                let begun = Instant::now();
                let (status, _) = connection.ask(&request).await?;
                if status != 200 {
                    bail!("the answer was {status}");
                }
                took.push(begun.elapsed());
            }
            Ok(took)
        });
    }
    let mut took = Vec::new();
    while let Some(of_one) = tasks.join_next().await {
        took.extend(of_one??);
    }
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort_unstable();
    Ok((rate, took))
}
