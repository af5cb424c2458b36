//! Names writes that came without a name, so that a retry after a change of leader is applied once.

use parking_lot::Mutex;
use sojourn_core::{Command, Op, Request, ShardId};
use std::collections::{BTreeMap, BTreeSet};

/// The writes that this node has under way, per shard.
pub struct Requests {
    origin: u64,
    shards: Mutex<BTreeMap<ShardId, UnderWay>>,
}

#[derive(Default)]
struct UnderWay {
    last: u64,
    open: BTreeSet<u64>,
}

impl Requests {
    /// Names of a node that drew `origin` when it started; must not be 0.
    pub fn new(origin: u64) -> Self {
        Self { origin: origin.max(1), shards: Mutex::new(BTreeMap::new()) }
    }

    /// Names those of `commands` that have no name. The names stay open until the ticket is dropped.
    pub fn name<'a>(&'a self, shard: ShardId, commands: &mut [Command]) -> Ticket<'a> {
        let mut shards = self.shards.lock();
        let under_way = shards.entry(shard).or_default();
        let mut sequences = Vec::new();
        let origin = self.origin_of(shard);
        for command in commands.iter_mut().filter(|command| command.request.origin == 0 && is_remembered(&command.op)) {
            under_way.last += 1;
            let sequence = under_way.last;
            under_way.open.insert(sequence);
            let settled = under_way.open.first().copied().unwrap_or(sequence);
            command.request = Request { origin, sequence, settled };
            sequences.push(sequence);
        }
        Ticket { requests: self, shard, sequences }
    }

    /// Those of `origins` that are this node's, and below which of their sequences nothing is asked again.
    pub fn settled(&self, origins: &[u64]) -> Vec<(u64, u64)> {
        let shards = self.shards.lock();
        let own = shards.iter().map(|(shard, under_way)| (self.origin_of(*shard), under_way));
        let asked = own.filter(|(origin, _)| origins.contains(origin));
        asked.map(|(origin, UnderWay { last, open })| (origin, open.first().copied().unwrap_or(last + 1))).collect()
    }

    /// Sequences are counted per shard, and another region may have all of these in one shard.
    fn origin_of(&self, shard: ShardId) -> u64 {
        self.origin.wrapping_add(u64::from(shard.0)).max(1)
    }
}

/// Whether a shard has to remember what it answered. A session that was released is found where it is when that is asked for again,
/// and an answer that is remembered would keep the next session of its slot from leaving.
fn is_remembered(op: &Op) -> bool {
    !matches!(op, Op::Release { .. })
}

/// Names that may still be sent again.
pub struct Ticket<'a> {
    requests: &'a Requests,
    shard: ShardId,
    sequences: Vec<u64>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut shards = self.requests.shards.lock();
        if let Some(under_way) = shards.get_mut(&self.shard) {
            for sequence in &self.sequences {
                under_way.open.remove(sequence);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sojourn_core::{Key, NamespaceId, RegionId, policy::Policy};

    fn command(op: Op) -> Command {
        let key = Key::new(NamespaceId(0), b"s").expect("a key");
        Command { request: Request::default(), key, rules: Policy::default().rules(false), touched: None, op }
    }

    #[test]
    fn what_is_open_is_not_settled_and_what_is_not_remembered_has_no_name() {
        let requests = Requests::new(7);
        let shard = ShardId(2);
        let mut first = [command(Op::Touch)];
        let open = requests.name(shard, &mut first);
        let mut second = [command(Op::Touch), command(Op::Release { to: RegionId(1) })];
        drop(requests.name(shard, &mut second));
        assert_eq!((second[0].request.sequence, second[1].request), (2, Request::default()));
        assert_eq!(requests.settled(&[9, 12]), [(9, 1)]);
        drop(open);
        assert_eq!(requests.settled(&[9]), [(9, 3)]);
        assert_eq!(requests.settled(&[8]), [], "of no shard that it has written to");
    }
}
