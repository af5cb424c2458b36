//! Connections that a load balancer passes on: in front of each stands whose it is.

use super::server::Server;
use crate::world::origin::{ProxyError, ProxyHeader, read_proxy_header, vouched};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    sync::oneshot,
    task::AbortHandle,
};

/// How long a load balancer may take for its header: it sends it with the first packet.
const HEADER_WITHIN: Duration = Duration::from_secs(5);

/// Why a connection is closed before it was anybody's.
#[derive(Debug, thiserror::Error)]
enum Unproxied {
    /// It begins with something else.
    #[error(transparent)]
    Header(#[from] ProxyError),
    /// It ended, as one that only looks whether the port is open.
    #[error("the connection ended before its PROXY header: {0}")]
    Ended(#[from] io::Error),
    /// Nothing came.
    #[error(
        "no PROXY header came within {HEADER_WITHIN:?}: let the load balancer send one, or set `resp.proxy` to false"
    )]
    Late,
}

/// Serves a connection for the client that its header names. `task` is the one that this runs in.
pub async fn serve(server: Arc<Server>, mut stream: TcpStream, peer: SocketAddr, task: oneshot::Receiver<AbortHandle>) {
    match client_of(&mut stream, peer).await {
        Ok(address) => {
            let (client, connection) = server.connect(stream, address);
            // Without it nobody can end the connection from outside, which is no reason not to serve it.
            if let Ok(task) = task.await {
                client.runs_in(task);
            }
            connection.await;
        }
        Err(error @ Unproxied::Ended(_)) => tracing::debug!(%peer, %error, "a connection is closed"),
        Err(error @ (Unproxied::Header(_) | Unproxied::Late)) => {
            tracing::warn!(%peer, %error, "a connection is closed");
        }
    }
}

/// Takes the header off the stream, and not a byte more.
async fn client_of(stream: &mut (impl AsyncRead + Unpin), peer: SocketAddr) -> Result<SocketAddr, Unproxied> {
    let read = async {
        let mut header = Vec::new();
        loop {
            match read_proxy_header(&header)? {
                ProxyHeader::Complete { client, .. } => return Ok(vouched(peer, client)),
                ProxyHeader::Incomplete { bytes_min } => {
                    // What has come is judged at once: a client without a header sends fewer bytes and waits.
                    let begin = header.len();
                    header.resize(bytes_min, 0);
                    let read = stream.read(&mut header[begin..]).await?;
                    if read == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    header.truncate(begin + read);
                }
            }
        }
    };
    tokio::time::timeout(HEADER_WITHIN, read).await.unwrap_or(Err(Unproxied::Late))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    const V4: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x51\x02\x45\x8e\x0a\0\0\x01\xc8\x22\x18\xeb";

    fn peer() -> SocketAddr {
        ([10, 0, 0, 1], 4_000).into()
    }

    #[tokio::test]
    async fn the_header_is_taken_off_however_it_comes() {
        let (mut near, mut far) = duplex(1);
        let sent = tokio::spawn(async move {
            far.write_all(V4).await.expect("read");
            far.write_all(b"PING\r\n").await.expect("read");
        });
        let client = client_of(&mut near, peer()).await.expect("a client");
        assert_eq!(client.to_string(), "81.2.69.142:51234");
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.expect("the rest");
        assert_eq!(rest, b"PING\r\n");
        sent.await.expect("sent");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_header_is_closed() {
        for (bytes, expected) in [
            (&b"*1\r\n$4\r\nPING\r\n"[..], "does not begin with a PROXY header"),
            (&V4[..20], "no PROXY header came within 5s"),
        ] {
            let (mut near, mut far) = duplex(64);
            far.write_all(bytes).await.expect("room");
            let error = client_of(&mut near, peer()).await.expect_err("no client").to_string();
            assert!(error.contains(expected), "{error}");
        }
        let (mut near, far) = duplex(64);
        drop(far);
        assert!(matches!(client_of(&mut near, peer()).await, Err(Unproxied::Ended(_))));
    }
}
