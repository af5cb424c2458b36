//! How a connection between nodes begins.
//!
//! The caller says who it is, of which world, with which disk, and what for. The called node welcomes it or says why not. Nodes
//! that do not know the region yet ask it one question the same way.

use super::{
    Lane,
    abroad::AbroadIdentity,
    secure::{Calling, Connection, explained},
};
use bytes::Buf;
use serde::{Deserialize, Serialize};
use sojourn_core::NodeId;
use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// The version of what is inside frames; nodes of different versions do not talk.
pub const FRAME_FORMAT: u32 = 2;

/// The longest greeting, welcome or question.
const GREETING_BYTES_MAX: usize = 64 << 10;

const KEEPALIVE_EVERY: Duration = Duration::from_secs(1);
/// How long the system waits for what was sent to arrive before it calls the connection broken.
const UNHEARD_MS_MAX: u32 = 3_000;

/// Who a node is, shown and checked at every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The region; nodes of another are refused.
    pub region: String,
    /// The node.
    pub node: NodeId,
    /// Its disk: a node that comes with another one than before is refused.
    pub disk: u128,
}

/// The first words of a connection.
#[derive(Serialize, Deserialize)]
pub(super) struct Greeting {
    pub format: u32,
    pub purpose: Purpose,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Purpose {
    Frames {
        lane: Lane,
        world: u128,
        region: String,
        node: u64,
        disk: u128,
    },
    Question(Vec<u8>),
    /// Frames from a node of another region.
    Abroad {
        lane: Lane,
        identity: AbroadIdentity,
    },
}

/// What the called node says to them.
#[derive(Serialize, Deserialize)]
pub(super) enum Welcome {
    Frames,
    Answer(Vec<u8>),
    Refused(String),
}

/// Connects, says who and what for, and hears whether that is welcome.
pub(super) async fn greet(
    (calling, address): (&Calling, &str),
    purpose: Purpose,
    timeout: Duration,
) -> io::Result<(Connection, Welcome)> {
    let greeting = async {
        let mut stream = calling.connect(address, tune).await?;
        say(&mut stream, &Greeting { format: FRAME_FORMAT, purpose }).await?;
        // Only now is it known whether the other side takes this one's certificate.
        let welcome = hear(&mut stream).await.map_err(explained)?;
        Ok((stream, welcome))
    };
    tokio::time::timeout(timeout, greeting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A peer that vanished is noticed within seconds, whether or not something is on its way to it.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_tcp_user_timeout(stream, UNHEARD_MS_MAX)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, 2)?;
    Ok(())
}

/// What both sides begin with, so that a stranger's protocol is told from ours.
pub(super) const MAGIC: &[u8; 8] = b"sojourn\n";

/// `magic | length u32 | postcard`.
pub(super) async fn say<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), words: &T) -> io::Result<()> {
    let body = postcard::to_stdvec(words).map_err(io::Error::other)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&[MAGIC, &length.to_le_bytes()[..], &body].concat()).await?;
    stream.flush().await
}

pub(super) async fn hear<T: for<'de> Deserialize<'de>>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let mut head = [0; MAGIC.len() + 4];
    stream.read_exact(&mut head).await?;
    let (magic, mut length) = head.split_at(MAGIC.len());
    let length = length.get_u32_le() as usize;
    if magic != MAGIC || length > GREETING_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the other side is no Sojourn node of this version"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    postcard::from_bytes(&body).map_err(io::Error::other)
}
