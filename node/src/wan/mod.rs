//! A wide area network for worlds on one machine: what goes from one region to another is delayed, limited and cut.
//!
//! Nodes open their connections to other regions through a proxy (`world.proxy`), one listening port for each region that
//! calls. The proxy knows where each region listens, and so which way a connection goes. Each direction of a pair of regions
//! is a [`Link`] of its own that can be changed at any time; what it does to bytes is pure (`transit`).

mod carry;
mod door;
mod link;
mod transit;

pub use link::Link;

use link::Way;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};
use tokio::net::TcpListener;

/// The ways between the regions of one world. Cheap to clone.
#[derive(Clone)]
pub struct Wan {
    inner: Arc<Inner>,
}

struct Inner {
    names: Vec<String>,
    /// Ways from one region to another, by their places in `names`.
    ways: BTreeMap<(usize, usize), Arc<Way>>,
    /// Whose port a port of this machine is.
    ports: Mutex<BTreeMap<u16, usize>>,
}

/// Two regions of a world, the one that something goes from first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    from: usize,
    to: usize,
}

impl Pair {
    /// The same in the other direction.
    #[must_use]
    pub fn back(self) -> Self {
        Self { from: self.to, to: self.from }
    }
}

/// How one direction between two regions is, and what it has carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The region that bytes come from.
    pub from: String,
    /// The region that they go to.
    pub to: String,
    /// How it is.
    pub link: Link,
    /// Connections that are open, whoever opened them.
    pub connections: u64,
    /// Bytes that have arrived since the start.
    pub bytes_total: u64,
}

/// Regions that are no two of a world.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPair {
    /// There is no such region.
    #[error("no region {name} in this world: it has {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A region is not away from itself.
    #[error("{0} and {0} are one region: name two")]
    Same(String),
}

impl Wan {
    /// Ways without delay between the regions of these names.
    pub fn new(names: Vec<String>) -> Self {
        let all = (0..names.len()).flat_map(|from| (0..names.len()).map(move |to| (from, to)));
        let ways = all.filter(|(from, to)| from != to).map(|pair| (pair, Arc::new(Way::default()))).collect();
        Self { inner: Arc::new(Inner { names, ways, ports: Mutex::default() }) }
    }

    /// Says that nodes of a region listen at these ports of the loopback.
    ///
    /// # Errors
    /// There is no such region.
    pub fn place(&self, region: &str, ports: impl IntoIterator<Item = u16>) -> Result<(), NoPair> {
        let region = self.number(region)?;
        self.inner.ports.lock().extend(ports.into_iter().map(|port| (port, region)));
        Ok(())
    }

    /// Opens connections to other regions for the nodes of `region` that ask for them at `listener`; never returns.
    ///
    /// # Errors
    /// There is no such region.
    pub async fn serve(&self, region: &str, listener: TcpListener) -> Result<std::convert::Infallible, NoPair> {
        let region = self.number(region)?;
        Ok(door::serve(self.inner.clone(), region, listener).await)
    }

    /// Two regions by their names.
    ///
    /// # Errors
    /// They are no two regions of this world.
    pub fn pair(&self, from: &str, to: &str) -> Result<Pair, NoPair> {
        let pair = Pair { from: self.number(from)?, to: self.number(to)? };
        if pair.from == pair.to { Err(NoPair::Same(from.to_owned())) } else { Ok(pair) }
    }

    /// Both directions of every two regions.
    pub fn pairs(&self) -> Vec<Pair> {
        self.inner.ways.keys().map(|(from, to)| Pair { from: *from, to: *to }).collect()
    }

    /// Changes one direction from now on; what is on its way arrives when it would have.
    pub fn change(&self, pair: Pair, change: impl FnOnce(&mut Link)) {
        if let Some(way) = self.inner.ways.get(&(pair.from, pair.to)) {
            way.change(change);
        }
    }

    /// Breaks the connections that are open between two regions.
    pub fn break_connections(&self, pair: Pair) {
        // A connection has both directions, so one will do.
        if let Some(way) = self.inner.ways.get(&(pair.from, pair.to)) {
            way.break_connections();
        }
    }

    /// How all directions are.
    pub fn report(&self) -> Vec<Report> {
        let names = &self.inner.names;
        let report = |((from, to), way): (&(usize, usize), &Arc<Way>)| {
            let (link, connections, bytes_total) = way.figures();
            Report { from: names[*from].clone(), to: names[*to].clone(), link, connections, bytes_total }
        };
        self.inner.ways.iter().map(report).collect()
    }

    fn number(&self, name: &str) -> Result<usize, NoPair> {
        let names = &self.inner.names;
        let unknown = || NoPair::Unknown { name: name.to_owned(), known: names.join(", ") };
        names.iter().position(|known| known == name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests;
