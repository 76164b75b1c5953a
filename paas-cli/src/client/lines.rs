//! A stream of bytes, line by line.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{BoxStream, Stream};

use super::ClientError;
use super::request::Reply;

/// No line of the API is longer; a description carries at most 100 KiB of user data.
const LONGEST_LINE: usize = 8 << 20;

impl Reply {
    /// The body as it comes, without end of time.
    pub(super) fn chunks(self) -> BoxStream<'static, Result<Bytes, ClientError>> {
        let Self { url, response } = self;
        response.bytes_stream().map(move |chunk| chunk.map_err(|error| ClientError::not_received(&url, error))).boxed()
    }

    /// The body line by line, without line ends. A last line without an end is given too.
    pub(super) fn lines(self) -> BoxStream<'static, Result<Bytes, ClientError>> {
        let url = self.url.clone();
        split(self.chunks(), LONGEST_LINE, move || ClientError::unexpected(&url, "a line without end")).boxed()
    }
}

fn split<S, E>(chunks: S, longest: usize, too_long: impl Fn() -> E) -> impl Stream<Item = Result<Bytes, E>>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    // How far the buffer was searched already is kept, so that a long line in many chunks costs no more than its length.
    let start = Some((chunks, BytesMut::new(), 0));
    futures::stream::unfold((start, too_long), move |(state, too_long)| async move {
        let (mut chunks, mut buffer, mut searched) = state?;
        loop {
            if let Some(found) = buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let mut line = buffer.split_to(searched + found + 1);
                line.truncate(line.len() - 1);
                if line.ends_with(b"\r") {
                    line.truncate(line.len() - 1);
                }
                return Some((Ok(line.freeze()), (Some((chunks, buffer, 0)), too_long)));
            }
            searched = buffer.len();
            if searched > longest {
                return Some((Err(too_long()), (None, too_long)));
            }
            match chunks.next().await {
                Some(Ok(chunk)) => buffer.extend_from_slice(&chunk),
                Some(Err(error)) => return Some((Err(error), (None, too_long))),
                None if buffer.is_empty() => return None,
                None => return Some((Ok(buffer.freeze()), (None, too_long))),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn lines_of(chunks: &[&'static str], longest: usize) -> Vec<Result<Bytes, &'static str>> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        let lines = split(stream::iter(chunks), longest, || "too long");
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(lines.collect())
    }

    #[test]
    fn lines_do_not_depend_on_how_they_came() {
        let whole = lines_of(&["one\ntwo\r\n\nlast"], 100);
        assert_eq!(whole, ["one", "two", "", "last"].map(|line| Ok(Bytes::from_static(line.as_bytes()))));
        assert_eq!(lines_of(&["o", "ne", "\ntwo\r", "\n", "\nla", "st"], 100), whole);
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        assert_eq!(lines_of(&["aaaa", "bbbb", "cccc"], 5), [Err("too long")]);
    }
}
