//! Free ports on the loopback.

use anyhow::bail;
use rand::Rng;
use std::net::{SocketAddr, TcpListener};

/// Below the ports that the kernel gives to outgoing connections: a node that was killed finds its port free again.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

/// Ports of `sojourn dev`, left to it.
const DEVELOPMENT_PORTS: std::ops::Range<u16> = 7_400..7_700;

const TRIES_MAX: usize = 1_000;

/// `count` addresses that nobody listens on, all different.
///
/// # Errors
/// None was found in many tries.
pub fn free_addresses(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let mut random = rand::rng();
    // Held until all are found, so that they differ.
    let mut held = Vec::with_capacity(count);
    for _ in 0..TRIES_MAX {
        if held.len() == count {
            break;
        }
        let port = random.random_range(PORTS);
        if !DEVELOPMENT_PORTS.contains(&port) {
            held.extend(TcpListener::bind(("127.0.0.1", port)).ok());
        }
    }
    if held.len() < count {
        bail!("found {} free ports of {count} in {PORTS:?}: what else listens here?", held.len());
    }
    Ok(held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}
