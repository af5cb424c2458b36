//! What one log entry of a shard holds: a stamp and the commands that waited for it.
//!
//! Commands are encoded once, where they enter the region, and travel as bytes through forwarding, proposal, log and
//! replication until each replica applies them.

use crate::raft::{Proposal, malformed};
use bytes::Bytes;
use sojourn_core::{Command, Stamp};
use sojourn_proto::wire::{FORMAT_VERSION, Reader, Wire, put_varint};
use std::io;

/// Commands of one caller that stay together, in order, in one entry.
#[derive(Clone, Debug)]
pub struct Bundle {
    count: u32,
    bytes: Bytes,
}

impl Bundle {
    /// The bundle of `commands`.
    pub fn new(commands: &[Command]) -> Self {
        let mut out = Vec::with_capacity(128 * commands.len());
        commands.iter().for_each(|command| command.put(&mut out));
        Self { count: u32::try_from(commands.len()).unwrap_or(u32::MAX), bytes: out.into() }
    }

    /// A bundle that another node encoded; its commands are checked before it is proposed.
    ///
    /// # Errors
    /// The bytes are not `count` commands.
    pub fn received(count: u32, bytes: Bytes) -> io::Result<Self> {
        let mut reader = Reader::new(&bytes);
        let read = (0..count).try_for_each(|_| Command::take(&mut reader).map(drop)).and_then(|()| reader.finish());
        match read {
            Ok(()) => Ok(Self { count, bytes }),
            Err(error) => Err(malformed(&error.to_string())),
        }
    }

    /// How many commands.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Their bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The bytes of an entry: `version u8 | stamp | count | commands`.
pub fn encode(stamp: Stamp, bundles: &[Bundle]) -> Proposal {
    let length: usize = bundles.iter().map(|bundle| bundle.bytes.len()).sum();
    let mut out = Vec::with_capacity(length + 16);
    out.push(FORMAT_VERSION);
    stamp.put(&mut out);
    put_varint(bundles.iter().map(|bundle| u64::from(bundle.count)).sum(), &mut out);
    bundles.iter().for_each(|bundle| out.extend_from_slice(&bundle.bytes));
    Proposal(out.into())
}

/// Reads back what [`encode`] wrote.
///
/// # Errors
/// Bytes of another version.
pub fn decode(proposal: &Proposal) -> io::Result<(Stamp, Vec<Command>)> {
    let (version, rest) = proposal.0.split_first().ok_or_else(|| malformed("an empty entry"))?;
    if *version != FORMAT_VERSION {
        return Err(malformed(&format!("an entry of format {version}")));
    }
    let mut reader = Reader::new(rest);
    let decoded = u64::take(&mut reader).and_then(|stamp| {
        let commands = Vec::take(&mut reader)?;
        reader.finish().map(|()| (stamp, commands))
    });
    decoded.map_err(|error| malformed(&error.to_string()))
}
