//! Whose address a request stands for, where something stands between the client and this node.
//!
//! Three sources, each trusted only where an operator says so: a load balancer's PROXY header in front of a connection, the
//! `X-Forwarded-For` of a known number of proxies, and what an application says of its own client
//! ([`CLIENT_ADDRESS_METADATA`]). All of it decides where a session is at home; of what a client may do it can only
//! take away.

mod proxy;

#[cfg(test)]
mod tests;

pub use proxy::{PROXY_HEADER_BYTES_MAX, ProxyError, ProxyHeader, read_proxy_header};
pub use sojourn_proto::sessions::CLIENT_ADDRESS_METADATA;

use std::net::{IpAddr, SocketAddr};

/// The header's name.
pub const FORWARDED_HEADER: &str = "x-forwarded-for";

/// The most proxies that an operator may trust in a row.
pub const TRUSTED_HOPS_MAX: usize = 16;

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: use one such as 81.2.69.142 or 2a00:1450::1")]
pub struct BadAddress(pub String);

/// The longest text that is repeated in an error, in bytes.
const REPEATED_BYTES_MAX: usize = 64;

/// Reads an address, also one with a port or in brackets.
///
/// # Errors
/// It is none.
pub fn parse_address(text: &str) -> Result<IpAddr, BadAddress> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    let refused = |_| BadAddress(text.chars().take(REPEATED_BYTES_MAX).collect());
    bare.parse().or_else(|_| with_port()).map_err(refused)
}

/// The client of a connection that `peer` passes on for `claimed`. Nobody becomes local by saying so: that is believed on this
/// machine only, where it may open doors.
pub fn vouched(peer: SocketAddr, claimed: Option<SocketAddr>) -> SocketAddr {
    let is_local = |address: SocketAddr| address.ip().to_canonical().is_loopback();
    claimed.filter(|claimed| !is_local(*claimed) || is_local(peer)).unwrap_or(peer)
}

/// The client of a request that came from `peer` over `trusted_hops` proxies, by the values of `X-Forwarded-For` in the order
/// in which they came.
///
/// Each proxy adds the address that called it at the end, so that as many addresses from the end are true as there are
/// proxies to be trusted; what is before them anybody may have written. Nothing, if the one that counts is no address.
pub fn forwarded_client<'a>(
    values: impl DoubleEndedIterator<Item = &'a str>,
    peer: IpAddr,
    trusted_hops: usize,
) -> Option<IpAddr> {
    let from_the_end = values.rev().flat_map(|value| value.rsplit(',')).filter(|entry| !entry.trim().is_empty());
    // With fewer entries than proxies somebody came in behind the first of them: then the first entry that there is.
    let said = from_the_end.take(trusted_hops.min(TRUSTED_HOPS_MAX)).last();
    match said {
        Some(entry) => parse_address(entry).ok(),
        None => Some(peer),
    }
}
