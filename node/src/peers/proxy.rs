//! The way to other regions, directly or through a proxy that speaks HTTP CONNECT: see RFC 9110, 9.3.6.

use std::io;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The longest head of a request or an answer.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// How connections are opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WayOut {
    /// To the address itself.
    #[default]
    Direct,
    /// Through the proxy at this address.
    Proxy(String),
}

impl WayOut {
    /// A connection to `address`.
    ///
    /// # Errors
    /// The address, or the proxy, cannot be reached, or the proxy does not open one.
    pub(super) async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let Self::Proxy(proxy) = self else { return TcpStream::connect(address).await };
        let mut stream = TcpStream::connect(proxy).await?;
        stream.set_nodelay(true)?;
        stream.write_all(format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        let head = read_head(&mut stream).await?;
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1).is_some_and(|code| code.starts_with('2')) {
            return Ok(stream);
        }
        Err(io::Error::other(format!("the proxy {proxy} opens no connection to {address}: {status}")))
    }
}

/// Reads the head of a request or an answer, and nothing of what follows it.
///
/// # Errors
/// The connection broke, or says too much.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head does not end"));
        }
        head.push(stream.read_u8().await?);
    }
    String::from_utf8(head).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// A proxy that gives one answer and then says what it was asked, with what follows the request's head.
    async fn asked(answer: &'static [u8]) -> (io::Result<TcpStream>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let proxy = WayOut::Proxy(listener.local_addr().expect("bound").to_string());
        let serving = async {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let head = read_head(&mut stream).await.expect("a request");
            stream.write_all(answer).await.expect("a caller");
            head
        };
        tokio::join!(proxy.connect("10.0.0.1:7403"), serving)
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_the_address_and_what_follows_its_answer_is_left() {
        let (connected, head) = asked(b"HTTP/1.1 200 Connected\r\nVia: x\r\n\r\nwords").await;
        assert!(head.starts_with("CONNECT 10.0.0.1:7403 HTTP/1.1\r\n"), "{head}");
        let mut words = String::new();
        connected.expect("opened").read_to_string(&mut words).await.expect("words");
        assert_eq!(words, "words");
    }

    #[tokio::test]
    async fn a_refusal_says_who_refused_what() {
        let error = asked(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.0.expect_err("refused").to_string();
        assert!(error.contains("10.0.0.1:7403") && error.contains("403 Forbidden"), "{error}");
        assert!(asked(b"HTTP/1.1 200").await.0.is_err(), "cut short");
    }
}
