//! The PROXY protocol, version 2: how a load balancer says whose connection it passes on.
//!
//! Source: "The PROXY protocol" by Willy Tarreau, HAProxy, section 2.2. Version 1 is refused: it is text that a Redis client
//! might send as well.

use std::net::{IpAddr, SocketAddr};

/// What every header begins with; chosen so that no server takes it for a request.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

/// The longest header in bytes: addresses and whatever a load balancer adds, such as a client's certificate's name.
pub const PROXY_HEADER_BYTES_MAX: usize = 4_096;

/// What there is at the begin of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Not all of it has come yet.
    Incomplete {
        /// The least that it will have, in bytes.
        bytes_min: usize,
    },
    /// All of it.
    Complete {
        /// Its length in bytes: what follows is the client's.
        length_bytes: usize,
        /// Whose connection it is. None if it is the load balancer's own, as for its health checks, or not of the internet.
        client: Option<SocketAddr>,
    },
}

/// Why the begin of a connection is no such header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Something else.
    #[error(
        "the connection does not begin with a PROXY header of version 2: let the load balancer send one, or switch it off here"
    )]
    Missing,
    /// Another version, or a command that there is not.
    #[error("a PROXY header with version and command {0:#04x}: only version 2 with LOCAL or PROXY is understood")]
    Version(u8),
    /// A family or a protocol that there is not.
    #[error("a PROXY header of the unknown address family and protocol {0:#04x}")]
    Family(u8),
    /// Too many bytes.
    #[error("a PROXY header of {0} bytes: at most {PROXY_HEADER_BYTES_MAX} are read")]
    TooLong(usize),
    /// Fewer bytes than its addresses take.
    #[error("a PROXY header with {0} bytes after its length, fewer than its addresses take")]
    TooShort(usize),
}

/// Reads the header at the begin of `bytes`, which may be all that has come so far. Looks at no more than its length.
///
/// # Errors
/// It is none, as soon as that is certain: the connection must be closed.
pub fn read_proxy_header(bytes: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let begin = &bytes[..bytes.len().min(SIGNATURE.len())];
    if !SIGNATURE.starts_with(begin) {
        return Err(ProxyError::Missing);
    }
    if let Some(&version) = bytes.get(12)
        && !matches!(version, 0x20 | 0x21)
    {
        return Err(ProxyError::Version(version));
    }
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else {
        return Ok(ProxyHeader::Incomplete { bytes_min: FIXED_BYTES });
    };
    let [.., command, family, high, low] = *fixed;
    let rest_bytes = usize::from(u16::from_be_bytes([high, low]));
    let length_bytes = FIXED_BYTES + rest_bytes;
    if length_bytes > PROXY_HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong(length_bytes));
    }
    let Some(rest) = bytes.get(FIXED_BYTES..length_bytes) else {
        return Ok(ProxyHeader::Incomplete { bytes_min: length_bytes });
    };
    // Of the load balancer's own connections whatever is said about addresses is to be passed over.
    let client = if command == 0x20 { None } else { source(family, rest)? };
    Ok(ProxyHeader::Complete { length_bytes, client })
}

/// Where the connection comes from. Families other than the internet's have no address that helps here.
fn source(family: u8, rest: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let too_short = || ProxyError::TooShort(rest.len());
    match family {
        0x11 | 0x12 => v4(rest).map(Some).ok_or_else(too_short),
        0x21 | 0x22 => v6(rest).map(Some).ok_or_else(too_short),
        0x31 | 0x32 if rest.len() < 216 => Err(too_short()),
        0x00 | 0x31 | 0x32 => Ok(None),
        _ => Err(ProxyError::Family(family)),
    }
}

/// Both addresses, then both ports.
fn v4(rest: &[u8]) -> Option<SocketAddr> {
    let [a, b, c, d, _, _, _, _, high, low, _, _] = *rest.first_chunk()?;
    Some(SocketAddr::new(IpAddr::from([a, b, c, d]), u16::from_be_bytes([high, low])))
}

/// The same, of 16 bytes each.
fn v6(rest: &[u8]) -> Option<SocketAddr> {
    let all: &[u8; 36] = rest.first_chunk()?;
    let source: &[u8; 16] = all.first_chunk()?;
    Some(SocketAddr::new(IpAddr::from(*source), u16::from_be_bytes([all[32], all[33]])))
}
