//! A connection between nodes, plain or secured.

use super::WayOut;
use crate::security::certificates::{Certificates, node_name, refusal};
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

/// How this node opens connections to others.
#[derive(Clone, Debug, Default)]
pub struct Calling {
    /// On which way.
    pub out: WayOut,
    /// What it shows; none where nodes believe each other.
    pub certificates: Option<Arc<Certificates>>,
}

impl Calling {
    /// A connection to `address`; `tune` is done to its socket.
    ///
    /// # Errors
    /// The address cannot be reached, or one of both does not take the other's certificate.
    pub(super) async fn connect(
        &self,
        address: &str,
        tune: impl Fn(&TcpStream) -> io::Result<()>,
    ) -> io::Result<Connection> {
        let stream = self.out.connect(address).await?;
        tune(&stream)?;
        let Some(certificates) = &self.certificates else { return Ok(Connection::Plain(stream)) };
        match certificates.calling().connect(node_name(), stream).await {
            Ok(secured) => Ok(Connection::Secured(Box::new(secured.into()))),
            Err(error) if is_cut(&error) => Err(refused(
                "it does not speak TLS as this node does: set `tls.certificate`, `tls.key` and `tls.authority` on all nodes \
                 of the world, or on none",
            )),
            Err(error) => Err(explained(error)),
        }
    }
}

/// Whether the other side left in the middle of a sentence.
fn is_cut(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// The same error, if it is about certificates with what to do about it.
pub(super) fn explained(error: io::Error) -> io::Error {
    match refusal(&error) {
        Some(reason) => refused(&reason),
        None => error,
    }
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

/// A connection.
pub(super) enum Connection {
    /// As it is.
    Plain(TcpStream),
    /// With TLS around it.
    Secured(Box<TlsStream<TcpStream>>),
}

/// The secured stream or the plain one.
macro_rules! either {
    ($connection:expr, $stream:ident => $do:expr) => {
        match $connection.get_mut() {
            Connection::Plain($stream) => $do,
            Connection::Secured($stream) => $do,
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secured(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
