//! What one log entry of a shard holds: a stamp and the commands that waited for it.
//!
//! Commands are encoded once, where they enter the region, and travel as bytes through forwarding, proposal, log and
//! replication until each replica applies them.

use crate::raft::{Proposal, malformed};
use bytes::Bytes;
use sojourn_core::{Command, Key, Op, RegionId, Stamp, touch};
use sojourn_proto::wire::{FORMAT_VERSION, Reader, Wire, put_varint};
use std::{io, sync::Arc};

/// Commands of one caller that stay together, in order, in one entry.
#[derive(Clone, Debug)]
pub struct Bundle {
    count: u32,
    bytes: Bytes,
    /// The sessions that they name.
    keys: Arc<[Key]>,
    /// The commands, if all may be nothing but touches.
    touches: Option<Arc<[Command]>>,
    /// Whether somebody is told what became of it, who would take that for the state of a session.
    is_told: bool,
    /// Whether it may wait a moment for others that are to be logged.
    is_patient: bool,
    /// The home whose returning region has it settled what it wrote, wherever those sessions are at home by now.
    settles: Option<RegionId>,
}

impl Bundle {
    /// The bundle of `commands`.
    pub fn new(commands: &[Command]) -> Self {
        let mut out = Vec::with_capacity(128 * commands.len());
        commands.iter().for_each(|command| command.put(&mut out));
        Self::of(commands, out.into())
    }

    fn of(commands: &[Command], bytes: Bytes) -> Self {
        let mut keys = Vec::with_capacity(commands.len());
        commands.iter().for_each(|command| command.push_keys(&mut keys));
        let keys = keys.into_iter().cloned().collect();
        let touches = commands.iter().all(|command| touch::may_touch(&command.op)).then(|| commands.into());
        let is_told = !commands.iter().all(|command| command.op.is_of_shard());
        let settles = commands.iter().find_map(|command| match command.op {
            Op::Settle { home, .. } => Some(home),
            _ => None,
        });
        let count = u32::try_from(commands.len()).unwrap_or(u32::MAX);
        Self { count, bytes, keys, touches, is_told, is_patient: false, settles }
    }

    /// The same commands, with what the leader knows of these sessions in front of them too.
    pub fn absorbing(mut self, keys: &[Key]) -> Self {
        self.keys = self.keys.iter().chain(keys).cloned().collect();
        self.touches = None;
        self
    }

    /// The same commands, for which nobody waits: they may be logged a moment later, with others.
    pub fn patient(mut self) -> Self {
        self.is_patient = true;
        self
    }

    /// A bundle that another node encoded; its commands are checked before it is proposed.
    ///
    /// # Errors
    /// The bytes are not `count` commands.
    pub fn received(count: u32, bytes: Bytes) -> io::Result<Self> {
        let mut reader = Reader::new(&bytes);
        let commands: Result<Vec<Command>, _> = (0..count).map(|_| Command::take(&mut reader)).collect();
        match commands.and_then(|commands| reader.finish().map(|()| commands)) {
            Ok(commands) => Ok(Self::of(&commands, bytes)),
            Err(error) => Err(malformed(&error.to_string())),
        }
    }

    /// The commands, read back.
    pub fn commands(&self) -> Vec<Command> {
        let mut reader = Reader::new(&self.bytes);
        // They were encoded by this program, or checked when they came in.
        (0..self.count).map_while(|_| Command::take(&mut reader).ok()).collect()
    }

    /// How many commands.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The sessions that they name.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whether its outcomes may be told only by who acts for the sessions: not so of what a shard does for itself.
    pub fn needs_lease(&self) -> bool {
        self.is_told
    }

    /// The home for which it settles what was written, if it does.
    pub fn settles(&self) -> Option<RegionId> {
        self.settles
    }

    /// Whether it may wait a moment for others that are to be logged.
    pub fn is_patient(&self) -> bool {
        self.is_patient
    }

    /// The commands, if all of them may be nothing but touches.
    pub fn touches(&self) -> Option<&Arc<[Command]>> {
        self.touches.as_ref()
    }

    /// Their bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The bytes of an entry: `version u8 | stamp | count | commands`.
pub fn encode<'a>(stamp: Stamp, bundles: impl Iterator<Item = &'a Bundle> + Clone) -> Proposal {
    let length: usize = bundles.clone().map(|bundle| bundle.bytes.len()).sum();
    let mut out = Vec::with_capacity(length + 16);
    out.push(FORMAT_VERSION);
    stamp.put(&mut out);
    put_varint(bundles.clone().map(|bundle| u64::from(bundle.count)).sum(), &mut out);
    bundles.for_each(|bundle| out.extend_from_slice(&bundle.bytes));
    Proposal(out.into())
}

/// Reads back what `encode` wrote.
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
