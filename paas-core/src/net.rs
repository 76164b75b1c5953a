//! Connecting to a host by its name.
//!
//! A name can have several addresses, and not all of them need lead anywhere: an IPv6 address without a route swallows the
//! first packet, and waiting for it takes longer than any deadline of ours. So the addresses are tried as RFC 8305 ("Happy
//! Eyeballs") has it: one after the other, the next one as soon as the last one failed or was silent for 250 ms, and the
//! first that answers wins.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};

/// How long an address may be silent before the next one is tried beside it: the value that RFC 8305, section 5 recommends.
pub(crate) const HEAD_START: Duration = Duration::from_millis(250);

/// A TCP connection to `host`, a name or an IP address, which may stand in the brackets of a URL.
///
/// # Errors
/// That of the last address that failed, when all did; that the name has no address.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let found = addresses(host, port).await?;
    first(found, TcpStream::connect).await
}

/// The addresses of a host in the order in which they are to be tried: IPv6 and IPv4 take turns, and the system's first
/// choice begins (RFC 8305, section 4).
///
/// # Errors
/// The name cannot be resolved, or has no address.
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = lookup_host((without_brackets(host), port)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address")));
    }
    Ok(taking_turns(found))
}

/// A host as a resolver takes it: IPv6 without the brackets of a URL.
pub(crate) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn taking_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let begins_with_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (mut next, mut other): (VecDeque<_>, VecDeque<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == begins_with_v6);
    let mut ordered = Vec::with_capacity(next.len() + other.len());
    while let Some(address) = next.pop_front() {
        ordered.push(address);
        if !other.is_empty() {
            std::mem::swap(&mut next, &mut other);
        }
    }
    ordered
}

/// What the first of `addresses` that answers gives. Those that are still silent then are given up.
pub(crate) async fn first<A, T, E, F: Future<Output = Result<T, E>>>(
    addresses: impl IntoIterator<Item = A>,
    attempt: impl Fn(A) -> F,
) -> Result<T, E>
where
    E: From<io::Error>,
{
    let mut waiting = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = None;
    loop {
        let Some(address) = waiting.next() else { break };
        attempts.push(attempt(address));
        let head_start = tokio::time::sleep(HEAD_START);
        tokio::pin!(head_start);
        // Until the next one's turn comes: after the head start, or when nobody is left who could answer.
        loop {
            tokio::select! {
                biased;
                outcome = attempts.next() => match outcome {
                    Some(Ok(answer)) => return Ok(answer),
                    Some(Err(error)) => {
                        last = Some(error);
                        if attempts.is_empty() {
                            break;
                        }
                    }
                    None => break,
                },
                () = &mut head_start => break,
            }
        }
    }
    while let Some(outcome) = attempts.next().await {
        match outcome {
            Ok(answer) => return Ok(answer),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound).into()))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn refused() -> io::Error {
        io::ErrorKind::ConnectionRefused.into()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_silent_costs_a_quarter_of_a_second() {
        let start = Instant::now();
        let answer: io::Result<&str> = first(["dead", "good", "never asked"], |address| async move {
            match address {
                "dead" => std::future::pending().await,
                "good" => Ok(address),
                _ => panic!("{address}"),
            }
        })
        .await;
        assert_eq!((answer.unwrap(), start.elapsed()), ("good", HEAD_START));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_refuses_costs_nothing_and_one_that_is_slow_may_still_win() {
        let start = Instant::now();
        let attempt = |(address, takes): (&'static str, Option<u64>)| async move {
            match takes {
                Some(milliseconds) => {
                    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                    Ok(address)
                }
                None => Err(refused()),
            }
        };
        let answer: io::Result<_> = first([("refuses", None), ("good", Some(0))], attempt).await;
        assert_eq!(answer.unwrap(), "good");
        assert!(start.elapsed() < Duration::from_millis(5), "tokio sleeps for a millisecond at least");
        let answer: io::Result<_> = first([("slow", Some(400)), ("slower", Some(1000))], attempt).await;
        assert_eq!(answer.unwrap(), "slow");
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_last_error_is_told() {
        let all: io::Result<()> = first([1, 2], |number| async move {
            tokio::time::sleep(Duration::from_secs(number)).await;
            Err(io::Error::other(number.to_string()))
        })
        .await;
        assert_eq!(all.unwrap_err().to_string(), "2");
        let none: io::Result<()> = first(Vec::<u8>::new(), |_| async { Ok(()) }).await;
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_families_take_turns() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        assert_eq!(taking_turns(found), parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        let one_family = parse(&["1.1.1.1:1", "2.2.2.2:1"]);
        assert_eq!(taking_turns(one_family.clone()), one_family);
    }

    #[tokio::test]
    async fn a_host_is_reached_by_name_and_by_an_address_in_brackets() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // "localhost" has an IPv6 address on most machines, where nobody listens.
        connect("localhost", port).await.unwrap();
        connect("127.0.0.1", port).await.unwrap();
        assert_eq!((without_brackets("[fe80::1]"), without_brackets("a.b")), ("fe80::1", "a.b"));
    }
}
