//! A wire between a client and a server that can be cut.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Passes TCP connections on to a server, until it is cut. Ends when dropped.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    /// Cancelled while the wire is cut, and then what goes over it ends.
    cut: Arc<Mutex<CancellationToken>>,
    over: CancellationToken,
}

impl Wire {
    /// A wire to the server at `host:port`.
    ///
    /// # Panics
    /// Where no port can be listened on.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let cut = Arc::new(Mutex::new(CancellationToken::new()));
        let over = CancellationToken::new();
        tokio::spawn(over.clone().run_until_cancelled_owned(pass_on(listener, server, cut.clone())));
        Self { address, cut, over }
    }

    /// Where it begins.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Breaks every connection, and every further one as soon as it is made.
    pub fn cut(&self) {
        self.cut.lock().cancel();
    }

    /// Lets further connections through again.
    pub fn heal(&self) {
        *self.cut.lock() = CancellationToken::new();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.over.cancel();
        self.cut();
    }
}

async fn pass_on(listener: TcpListener, server: String, cut: Arc<Mutex<CancellationToken>>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let (server, cut) = (server.clone(), cut.lock().clone());
        tokio::spawn(cut.run_until_cancelled_owned(async move {
            if let Ok(mut server) = TcpStream::connect(server).await {
                // Either side may hang up whenever it likes.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        }));
    }
}
