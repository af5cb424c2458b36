//! Which addresses say where somebody is.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Why an address says nothing about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeless {
    /// Nobody said the address.
    Unsaid,
    /// This machine.
    Loopback,
    /// A network of somebody's own.
    Private,
    /// The same cable.
    LinkLocal,
    /// Between a provider and its customers (RFC 6598).
    CarrierShared,
    /// For examples.
    Documentation,
    /// Many at once.
    Multicast,
    /// Not given to anybody as a host's address.
    Reserved,
}

impl fmt::Display for Placeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsaid => "nobody said the client's address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::CarrierShared => "an address shared inside a provider's network",
            Self::Documentation => "an address for documentation",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// The address to look up: the IPv4 address where an IPv6 one only carries it.
///
/// # Errors
/// Why there is nothing to look up. Source: the special-purpose address registries of IANA.
pub fn locatable(address: IpAddr) -> Result<IpAddr, Placeless> {
    let address = carried(address);
    let placeless = match address {
        IpAddr::V4(address) => placeless_v4(address),
        IpAddr::V6(address) => placeless_v6(address),
    };
    placeless.map_or(Ok(address), Err)
}

/// Unwraps IPv4 in IPv6: mapped by a socket that hears both, or by a translator (64:ff9b::/96, RFC 6052).
fn carried(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
            }
            _ => IpAddr::V6(v6),
        },
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn placeless_v4(address: Ipv4Addr) -> Option<Placeless> {
    match address.octets() {
        [127, ..] => Some(Placeless::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Placeless::Private),
        [169, 254, ..] => Some(Placeless::LinkLocal),
        [100, 64..=127, ..] => Some(Placeless::CarrierShared),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some(Placeless::Documentation),
        [224..=239, ..] => Some(Placeless::Multicast),
        // This network, protocol assignments, benchmarks, and what was never opened.
        [0, ..] | [192, 0, 0, _] | [198, 18..=19, ..] | [240..=255, ..] => Some(Placeless::Reserved),
        _ => None,
    }
}

fn placeless_v6(address: Ipv6Addr) -> Option<Placeless> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Placeless::Loopback),
        // Unique local, and the site-local addresses before them.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Some(Placeless::Private),
        [0xfe80..=0xfebf, ..] => Some(Placeless::LinkLocal),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some(Placeless::Documentation),
        [0xff00..=0xffff, ..] => Some(Placeless::Multicast),
        // Only 2000::/3 has been given out.
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Placeless::Reserved),
    }
}
