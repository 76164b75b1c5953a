//! A wire between a client and a server that can be cut.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;

/// Passes connections on to a server that listens on TCP, until it is cut. Ends when dropped.
#[derive(Debug)]
pub struct Wire {
    /// Host and port, or the path of a socket.
    begin: String,
    /// Cancelled while the wire is cut, and then what goes over it ends.
    cut: Arc<Mutex<CancellationToken>>,
    over: CancellationToken,
}

impl Wire {
    /// A wire to the server at `host:port`, from a port of this machine.
    ///
    /// # Panics
    /// Where no port can be listened on.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let clients = stream::unfold(listener, async |listener| Some((listener.accept().await.ok()?.0, listener)));
        Self::laid(address.to_string(), server, clients)
    }

    /// A wire to the server at `host:port`, from a socket in the file system.
    ///
    /// # Panics
    /// Where there is something of that name, or the folder is missing.
    pub fn from_socket(path: &Path, server: String) -> Self {
        let listener = UnixListener::bind(path).expect("a socket can be made");
        let clients = stream::unfold(listener, async |listener| Some((listener.accept().await.ok()?.0, listener)));
        Self::laid(path.display().to_string(), server, clients)
    }

    fn laid<S>(begin: String, server: String, clients: impl Stream<Item = S> + Send + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let cut = Arc::new(Mutex::new(CancellationToken::new()));
        let over = CancellationToken::new();
        tokio::spawn(over.clone().run_until_cancelled_owned(pass_on(clients, server, cut.clone())));
        Self { begin, cut, over }
    }

    /// Where it begins: host and port, or the path of the socket.
    pub fn host(&self) -> String {
        self.begin.clone()
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

async fn pass_on<S>(clients: impl Stream<Item = S> + Send, server: String, cut: Arc<Mutex<CancellationToken>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut clients = pin!(clients);
    while let Some(mut client) = clients.next().await {
        let (server, cut) = (server.clone(), cut.lock().clone());
        tokio::spawn(cut.run_until_cancelled_owned(async move {
            if let Ok(mut server) = TcpStream::connect(server).await {
                // Either side may hang up whenever it likes.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        }));
    }
}
