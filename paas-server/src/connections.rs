//! Which connections are open, how many there may be, and which go first when there are too many.
//!
//! A client takes a descriptor as soon as it connects, before it says who it is, and the server has only so many: who opens
//! connections and says nothing would keep everybody else out. So there is a bound; when it is reached, or the system has no
//! descriptor left, the server closes those without a request under way, and first those on which no good token ever came. An
//! address that keeps many such connections keeps the newest of them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use futures::task::AtomicWaker;
use http_body::{Frame, SizeHint};
use std::sync::{Mutex, PoisonError};

use crate::watched::{Watch, Watched};

/// How many connections an address may keep on which nothing happens and no good token ever came. A browser has six.
const IDLE_PER_ADDRESS: usize = 32;
/// How long nothing has to happen for that: what was opened a moment ago has a request on its way.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// How often one thing is logged at most. So a client that opens connections without end does not fill the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The open connections of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    begun: Instant,
    open: Mutex<Open>,
    /// When it was last logged that there are too many, of one address too many, and that none can be accepted.
    logged: [Mutex<Option<Instant>>; 3],
}

#[derive(Debug, Default)]
struct Open {
    /// By address, and in the order in which they came.
    all: BTreeMap<(IpAddr, u64), Connection>,
    next: u64,
}

/// One connection, as its requests know it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Arc<State>);

#[derive(Debug)]
struct State {
    begun: Instant,
    /// A good token came on it.
    authenticated: AtomicBool,
    /// A request is under way.
    busy: AtomicBool,
    /// Since when it is busy or is not, milliseconds after `begun`.
    since: AtomicU64,
    /// It has to make room.
    closed: AtomicBool,
    /// Wakes the task that waits for the client to say something.
    reader: AtomicWaker,
}

/// Which goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    IdleStranger,
    Idle,
    BusyStranger,
    /// It is not closed.
    Busy,
}

impl Connections {
    /// None yet, and never more than `most`.
    pub(crate) fn new(most: usize) -> Self {
        let logged = [const { Mutex::new(None) }; 3];
        Self(Arc::new(Shared { most: most.max(1), begun: Instant::now(), open: Mutex::default(), logged }))
    }

    /// Takes a new connection in, and closes others if that makes too many.
    ///
    /// # Errors
    /// On every connection there may be, a request of somebody with a good token is under way.
    pub(crate) fn admit<S>(&self, stream: S, from: IpAddr) -> io::Result<(Counted<S>, Connection)> {
        let address = client(from);
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = open.close_idle_of(address, self.millis());
        if closed > 0 && self.may_log(1) {
            tracing::warn!(%address, "an address keeps many connections open and says nothing; the oldest are closed");
        }
        if open.all.len() >= self.0.most {
            let closed = open.make_room();
            if self.may_log(0) {
                let most = self.0.most;
                tracing::warn!(
                    most,
                    closed,
                    "as many connections are open as there may be; the longest idle are closed"
                );
            }
            if closed == 0 {
                return Err(io::Error::other("there are too many connections, and a request is under way on each"));
            }
        }
        let connection = Connection(Arc::new(State {
            begun: self.0.begun,
            authenticated: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            since: AtomicU64::new(self.millis()),
            closed: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }));
        let key = (address, open.next);
        open.next += 1;
        open.all.insert(key, connection.clone());
        let watch = Counting { connection: connection.clone(), key, connections: self.clone() };
        Ok((Watched { stream, watch }, connection))
    }

    /// No connection could be accepted. If descriptors have run out, idle connections give theirs back.
    pub(crate) fn accept_failed(&self, error: &io::Error) {
        let are_short = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
        let are_short = error.raw_os_error().is_some_and(|code| are_short.iter().any(|one| one.raw_os_error() == code));
        let mut closed = 0;
        if are_short {
            closed = self.0.open.lock().unwrap_or_else(PoisonError::into_inner).make_room();
        }
        if self.may_log(2) {
            let cure = if are_short { "; raise the limit of open files (ulimit -n, or LimitNOFILE=)" } else { "" };
            tracing::error!(%error, closed, "connections cannot be accepted; trying on{cure}");
        }
    }

    fn millis(&self) -> u64 {
        millis_since(self.0.begun)
    }

    fn may_log(&self, what: usize) -> bool {
        let mut last = self.0.logged[what].lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| last.elapsed() >= LOG_INTERVAL);
        if may {
            *last = Some(Instant::now());
        }
        may
    }
}

impl Open {
    /// Closes the oldest idle connections of strangers at an address that has too many of them, and says how many.
    fn close_idle_of(&mut self, address: IpAddr, now: u64) -> usize {
        let of_address = self.all.range((address, 0)..=(address, u64::MAX));
        let idle = of_address.filter(|(_, connection)| {
            let since = connection.0.since.load(Ordering::Relaxed);
            connection.worth() == Worth::IdleStranger && u128::from(now.saturating_sub(since)) >= IDLE_AFTER.as_millis()
        });
        let mut idle: Vec<_> = idle.map(|(&key, _)| key).collect();
        idle.truncate(idle.len().saturating_sub(IDLE_PER_ADDRESS - 1));
        self.close(&idle)
    }

    /// Closes those that are worth least, and says how many. Of strangers that say nothing several go at once, so that not
    /// each new connection has to look at all.
    fn make_room(&mut self) -> usize {
        let since = |connection: &Connection| connection.0.since.load(Ordering::Relaxed);
        let mut all: Vec<_> = self.all.iter().map(|(&key, one)| (one.worth(), since(one), key)).collect();
        all.retain(|&(worth, ..)| worth != Worth::Busy);
        all.sort_unstable();
        let strangers = all.iter().take_while(|(worth, ..)| *worth == Worth::IdleStranger).count();
        all.truncate(strangers.min(self.all.len().div_ceil(16)).max(1));
        self.close(&all.iter().map(|&(.., key)| key).collect::<Vec<_>>())
    }

    fn close(&mut self, keys: &[(IpAddr, u64)]) -> usize {
        for connection in keys.iter().filter_map(|key| self.all.remove(key)) {
            connection.0.closed.store(true, Ordering::Release);
            connection.0.reader.wake();
        }
        keys.len()
    }
}

impl Connection {
    /// A good token came on this connection.
    pub(crate) fn authenticated(&self) {
        self.0.authenticated.store(true, Ordering::Relaxed);
    }

    /// A request is under way until what this gives is dropped.
    pub(crate) fn request(&self) -> UnderWay {
        self.set_busy(true);
        UnderWay(self.clone())
    }

    fn set_busy(&self, busy: bool) {
        self.0.since.store(millis_since(self.0.begun), Ordering::Relaxed);
        self.0.busy.store(busy, Ordering::Relaxed);
    }

    fn worth(&self) -> Worth {
        match (self.0.busy.load(Ordering::Relaxed), self.0.authenticated.load(Ordering::Relaxed)) {
            (false, false) => Worth::IdleStranger,
            (false, true) => Worth::Idle,
            (true, false) => Worth::BusyStranger,
            (true, true) => Worth::Busy,
        }
    }
}

fn millis_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Who an address stands for: of IPv6 one client may use as many as its network has.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// A request, from its head to the end of its answer.
#[derive(Debug)]
pub(crate) struct UnderWay(Connection);

impl UnderWay {
    /// The answer, that takes this with it.
    pub(crate) fn until_answered(self, response: Response) -> Response {
        response.map(|body| Body::new(Answered { body, _request: self }))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set_busy(false);
    }
}

/// The body of an answer that ends a request.
struct Answered {
    body: Body,
    _request: UnderWay,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection that is counted, and that ends when it has to make room.
pub(crate) type Counted<S> = Watched<S, Counting>;

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Counting {
    connection: Connection,
    key: (IpAddr, u64),
    connections: Connections,
}

impl Watch for Counting {
    fn before(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let State { reader, closed, .. } = &*self.connection.0;
        reader.register(context.waker());
        match closed.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(()),
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.connections.0.open.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;

    type Client = (Counted<DuplexStream>, Connection, DuplexStream);

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn connect(connections: &Connections, last: u8) -> io::Result<Client> {
        let (stream, other) = duplex(64);
        connections.admit(stream, address(last)).map(|(counted, connection)| (counted, connection, other))
    }

    fn is_closed(client: &Client) -> bool {
        client.1.0.closed.load(Ordering::Relaxed)
    }

    fn open(connections: &Connections) -> usize {
        connections.0.open.lock().unwrap().all.len()
    }

    /// As if nothing had happened on it for so long.
    fn idle_for(client: &Client, time: Duration) {
        client.1.0.since.fetch_sub(time.as_millis() as u64, Ordering::Relaxed);
    }

    fn connections(most: usize) -> Connections {
        let Shared { open, logged, .. } = Arc::try_unwrap(Connections::new(most).0).unwrap();
        let begun = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        Connections(Arc::new(Shared { most, begun, open, logged }))
    }

    #[test]
    fn strangers_that_say_nothing_go_first_and_those_at_work_stay() {
        let connections = connections(4);
        let clients: Vec<Client> = (0..4).map(|last| connect(&connections, last).unwrap()).collect();
        let [working, known, asking, silent] = &clients[..] else { unreachable!() };
        working.1.authenticated();
        known.1.authenticated();
        let _requests = [working.1.request(), asking.1.request()];
        let mut closed = Vec::new();
        let mut newcomers = Vec::new();
        for last in 4..7 {
            let newcomer = connect(&connections, last).unwrap();
            newcomer.1.authenticated();
            newcomers.push((newcomer.1.request(), newcomer));
            closed.push([working, known, asking, silent].map(is_closed));
        }
        assert_eq!(closed, [[false, false, false, true], [false, true, false, true], [false, true, true, true]]);
        connect(&connections, 9).map(drop).expect_err("all that are left are at work");
        assert_eq!(open(&connections), 4);
        drop(newcomers);
        connect(&connections, 9).map(drop).expect("there is room again");
    }

    #[test]
    fn an_address_keeps_the_newest_of_its_idle_connections() {
        let connections = connections(1000);
        let other = connect(&connections, 2).unwrap();
        let known = connect(&connections, 1).unwrap();
        known.1.authenticated();
        let many: Vec<Client> = (0..200).map(|_| connect(&connections, 1).unwrap()).collect();
        assert_eq!(many.iter().filter(|one| is_closed(one)).count(), 0, "each may have a request on its way");
        for one in many.iter().chain([&other, &known]) {
            idle_for(one, IDLE_AFTER);
        }
        let newest = connect(&connections, 1).unwrap();
        let left: Vec<usize> = (0..200).filter(|&i| !is_closed(&many[i])).collect();
        assert_eq!(left, (200 - (IDLE_PER_ADDRESS - 1)..200).collect::<Vec<_>>());
        assert!(!is_closed(&other) && !is_closed(&known) && !is_closed(&newest));
    }

    #[test]
    fn when_descriptors_run_out_idle_connections_give_theirs_back() {
        let connections = connections(1000);
        let many: Vec<Client> = (0..32).map(|last| connect(&connections, last).unwrap()).collect();
        connections.accept_failed(&io::ErrorKind::ConnectionAborted.into());
        assert_eq!(open(&connections), 32);
        connections.accept_failed(&rustix::io::Errno::MFILE.into());
        assert_eq!(open(&connections), 30);
        assert!(is_closed(&many[0]) && is_closed(&many[1]));
    }

    #[tokio::test]
    async fn who_waits_on_a_connection_that_has_to_go_is_woken() {
        let connections = connections(1);
        let (mut counted, _, _other) = connect(&connections, 1).unwrap();
        let reading = tokio::spawn(async move { counted.read_u8().await.map_err(|error| error.kind()) });
        tokio::task::yield_now().await;
        let (counted, ..) = connect(&connections, 2).unwrap();
        assert_eq!(reading.await.unwrap(), Err(io::ErrorKind::ConnectionAborted));
        assert_eq!(open(&connections), 1);
        drop(counted);
        assert_eq!(open(&connections), 0);
    }

    #[test]
    fn a_request_lasts_until_its_answer_is_written() {
        let connections = connections(1);
        let client = connect(&connections, 1).unwrap();
        let request = client.1.request();
        assert_eq!(client.1.worth(), Worth::BusyStranger);
        let response = request.until_answered(Response::new(Body::from("abc")));
        assert_eq!(response.body().size_hint().exact(), Some(3));
        assert_eq!(client.1.worth(), Worth::BusyStranger);
        drop(response);
        assert_eq!(client.1.worth(), Worth::IdleStranger);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let of = |text: &str| client(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), address(1));
    }
}
