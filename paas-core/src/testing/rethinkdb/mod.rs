//! A server that behaves as RethinkDB does, for tests: no package brings the real one.
//!
//! It speaks the wire protocol on a port of its own and knows every query of [`crate::store::RethinkDbStore`]. Its answers
//! are held to what a server of version 2.4.4 was recorded to say (`testdata/` of this crate), and it refuses what that
//! one refuses. It can be made to fail in the ways a server and a network fail: see [`Fault`].

mod compile;
mod connection;
mod data;
mod datum;
mod evaluate;
mod failure;
mod faults;
mod handshake;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::data::Data;
use self::handshake::Login;
pub use faults::Fault;

/// Name and password that the double lets in, beside `admin` with none.
const USER: (&str, &str) = ("paas", "s3cret:/@%");

/// A running double. Ends when it is dropped.
#[derive(Debug)]
pub struct RethinkDouble {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    data: Mutex<Data>,
    logins: HashMap<String, Login>,
    /// What a test says in the place of random bytes.
    script: handshake::Script,
    fault: Mutex<Option<Fault>>,
    ready_at: Mutex<Instant>,
    /// Rings for what listens now.
    deaf: Mutex<CancellationToken>,
    /// Rings for everybody who talks now.
    cut: Mutex<CancellationToken>,
    connections: AtomicUsize,
    questions: AtomicUsize,
}

impl RethinkDouble {
    /// A fresh server on a free port of this machine.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(handshake::Script::default()).await
    }

    async fn start_with(script: handshake::Script) -> io::Result<Self> {
        let logins = [("admin", Login::admin()), (USER.0, Login::new(USER.1))];
        let shared = Shared {
            data: Mutex::new(Data::new()),
            logins: logins.map(|(name, login)| (name.to_owned(), login)).into(),
            script,
            fault: Mutex::default(),
            ready_at: Mutex::new(Instant::now()),
            deaf: Mutex::default(),
            cut: Mutex::default(),
            connections: AtomicUsize::new(0),
            questions: AtomicUsize::new(0),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let double = Self { address: listener.local_addr()?, shared: Arc::new(shared) };
        double.listen(listener);
        Ok(double)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a database in it, for a user with a password that has to be escaped.
    pub fn url(&self, database: &str) -> String {
        format!("rethinkdb://{}:s3cret%3A%2F%40%25@{}/{database}", USER.0, self.address)
    }

    /// Lets something go wrong from now on, or nothing any more.
    pub fn set_fault(&self, fault: Option<Fault>) {
        *self.shared.fault.lock() = fault;
    }

    /// Cuts every connection, and goes on listening.
    pub fn cut(&self) {
        std::mem::take(&mut *self.shared.cut.lock()).cancel();
    }

    /// Ends: connections are cut, and new ones refused. What was written stays.
    pub fn stop(&self) {
        self.shared.deaf.lock().cancel();
        self.cut();
    }

    /// Begins to listen again after [`RethinkDouble::stop`]; its replicas are available so much later.
    ///
    /// # Errors
    /// Somebody took the port.
    pub async fn start_again(&self, unready: Duration) -> io::Result<()> {
        *self.shared.ready_at.lock() = Instant::now() + unready;
        let listener = bind_again(self.address).await?;
        self.listen(listener);
        Ok(())
    }

    /// How many connections were made since the start.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// How many questions were asked since the start.
    pub fn questions(&self) -> usize {
        self.shared.questions.load(Ordering::Relaxed)
    }

    /// The names of its databases.
    pub fn databases(&self) -> Vec<String> {
        self.shared.data.lock().database_names().into_iter().map(str::to_owned).collect()
    }

    /// Puts a row into a table as somebody else would.
    ///
    /// # Panics
    /// There is no such table, or it cannot be a row.
    pub fn put(&self, database: &str, table: &str, row: serde_json::Value) {
        let mut data = self.shared.data.lock();
        let table = data.table(database, table).unwrap_or_else(|failure| panic!("{}", failure.message));
        table.insert(row).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Whether a table is there.
    pub fn has_table(&self, database: &str, table: &str) -> bool {
        self.shared.data.lock().table(database, table).is_ok()
    }

    /// Makes a database without tables, as an operator would.
    pub fn make_database(&self, name: &str) {
        // There may be one already.
        drop(self.shared.data.lock().make_database(name));
    }

    /// Makes a table a second time, as two programs do that make it at one moment.
    pub fn make_twin(&self, database: &str, table: &str) {
        self.shared.data.lock().make_twin(database, table);
    }

    /// Drops a table with everything in it.
    pub fn drop_table(&self, database: &str, table: &str) {
        self.shared.data.lock().drop_table(database, table);
    }

    fn listen(&self, listener: TcpListener) {
        let shared = self.shared.clone();
        let deaf = CancellationToken::new();
        *shared.deaf.lock() = deaf.clone();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = deaf.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { continue };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (shared, cut) = (shared.clone(), shared.cut.lock().clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = connection::serve(stream, shared) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
    }
}

/// The port is free as soon as what listened on it has ended, which may be a moment later.
async fn bind_again(address: SocketAddr) -> io::Result<TcpListener> {
    let mut attempts = 0;
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts < 100 => {
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
}

impl Drop for RethinkDouble {
    fn drop(&mut self) {
        self.stop();
    }
}
