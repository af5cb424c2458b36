//! Where the nodes of one region ask for connections to the others: HTTP CONNECT, see RFC 9110, 9.3.6.

use super::{Inner, carry::carry, link::Way};
use crate::peers::read_head;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long a caller may take to say where it wants to go.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn serve(wan: Arc<Inner>, region: usize, listener: TcpListener) -> std::convert::Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(wan.clone(), region, stream))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection to another region");
                    // It stays in the listener's queue, so the error would return at once.
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// One connection, to its end. A caller that has gone is no error.
async fn connection(wan: Arc<Inner>, region: usize, mut stream: TcpStream) {
    let asked = async {
        stream.set_nodelay(true)?;
        read_head(&mut stream).await
    };
    let Ok(Ok(head)) = timeout(HEAD_TIMEOUT, asked).await else { return };
    let (status, reason) = match wan.target(region, &head) {
        Ok((address, out, back)) => match connect(address, &out, &back).await {
            Some(Ok(target)) => {
                if stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.is_ok() {
                    join(stream, target, &out, &back).await;
                }
                return;
            }
            Some(Err(error)) => ("502 Bad Gateway", format!("{address} cannot be reached: {error}")),
            // Nothing gets across, so nothing is answered.
            None => return,
        },
        Err(refused) => refused,
    };
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{reason}", reason.len());
    let _gone = stream.write_all(text.as_bytes()).await;
}

impl Inner {
    /// Where a request goes, and the ways there and back; otherwise the status and the reason.
    fn target(&self, from: usize, head: &str) -> Result<(SocketAddr, Arc<Way>, Arc<Way>), (&'static str, String)> {
        let bad = || ("400 Bad Request", "ask with CONNECT address:port".to_owned());
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).ok_or_else(bad)?;
        let address: SocketAddr = target.parse().map_err(|_| bad())?;
        let forbidden = |reason: String| ("403 Forbidden", reason);
        let to = self.ports.lock().get(&address.port()).copied().filter(|_| address.ip().is_loopback());
        let to = to.ok_or_else(|| forbidden(format!("no region of this world listens at {address}")))?;
        let ways = self.ways.get(&(from, to)).cloned().zip(self.ways.get(&(to, from)).cloned());
        let (out, back) =
            ways.ok_or_else(|| forbidden(format!("{address} is in {}, where the caller is", self.names[to])))?;
        Ok((address, out, back))
    }
}

/// Connects, which takes the way there and back; none if that is cut.
async fn connect(address: SocketAddr, out: &Way, back: &Way) -> Option<io::Result<TcpStream>> {
    if !out.cross().await {
        return None;
    }
    let connected = TcpStream::connect(address).await;
    back.cross().await.then_some(connected)
}

/// Carries both directions until both have ended or either breaks.
async fn join(mut caller: TcpStream, mut target: TcpStream, out: &Way, back: &Way) {
    let _counted = (out.connected(), back.connected());
    let _immediate = target.set_nodelay(true);
    let (from_caller, to_caller) = caller.split();
    let (from_target, to_target) = target.split();
    let both =
        async { tokio::try_join!(carry(out, from_caller, to_target), carry(back, from_target, to_caller)).map(drop) };
    tokio::select! {
        ended = both => if let Err(error) = ended {
            tracing::debug!(%error, "a connection between regions broke");
        },
        () = out.until_parted(back) => {}
    }
}
