//! Who leads a shard, as far as this node knows: from its own replica and from what others said, whichever is of the later term.
//!
//! A replica that was taken out of its group while it was behind never hears of it: its leader stops talking to it, and it
//! goes on naming that one for ever. So a leader that says it is none is not believed any longer, whoever named it.

use parking_lot::Mutex;
use sojourn_core::{NodeId, ShardId};
use std::collections::BTreeMap;

/// Who leads in which term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lead {
    pub term: u64,
    pub node: NodeId,
}

/// What others said of the shards' leaders.
#[derive(Default)]
pub(super) struct Leaders {
    heard: Mutex<BTreeMap<ShardId, Heard>>,
}

#[derive(Clone, Copy)]
enum Heard {
    Leads(Lead),
    /// Who was named for this term, or one before, does not lead.
    Nobody {
        term: u64,
    },
}

impl Heard {
    fn term(self) -> u64 {
        match self {
            Self::Leads(Lead { term, .. }) | Self::Nobody { term } => term,
        }
    }
}

impl Leaders {
    /// Who leads `shard`, where this node's own replica names `own`.
    pub fn leader(&self, shard: ShardId, own: Option<Lead>) -> Option<Lead> {
        match self.heard.lock().get(&shard) {
            Some(heard) if own.is_none_or(|own| own.term <= heard.term()) => match heard {
                Heard::Leads(lead) => Some(*lead),
                Heard::Nobody { .. } => None,
            },
            Some(_) | None => own,
        }
    }

    /// Somebody who holds `shard` names its leader. A term that is over already says nothing new.
    pub fn hear(&self, shard: ShardId, lead: Lead) {
        let mut heard = self.heard.lock();
        if heard.get(&shard).is_none_or(|before| before.term() <= lead.term) {
            heard.insert(shard, Heard::Leads(lead));
        }
    }

    /// Who was taken for the leader is none, or does not answer.
    pub fn refute(&self, shard: ShardId, lead: Lead) {
        let mut heard = self.heard.lock();
        if heard.get(&shard).is_none_or(|before| before.term() <= lead.term) {
            heard.insert(shard, Heard::Nobody { term: lead.term });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);

    fn lead(term: u64, node: u64) -> Lead {
        Lead { term, node: NodeId(node) }
    }

    #[test]
    fn the_later_term_is_believed() {
        let leaders = Leaders::default();
        assert_eq!(leaders.leader(SHARD, None), None);
        assert_eq!(leaders.leader(SHARD, Some(lead(3, 1))), Some(lead(3, 1)));
        leaders.hear(SHARD, lead(5, 2));
        leaders.hear(SHARD, lead(4, 3));
        assert_eq!(leaders.leader(SHARD, Some(lead(3, 1))), Some(lead(5, 2)));
        assert_eq!(leaders.leader(SHARD, Some(lead(6, 1))), Some(lead(6, 1)));
    }

    #[test]
    fn a_leader_that_is_none_is_not_believed_until_it_is_named_again() {
        let leaders = Leaders::default();
        leaders.refute(SHARD, lead(3, 1));
        assert_eq!(leaders.leader(SHARD, Some(lead(3, 1))), None);
        leaders.hear(SHARD, lead(2, 1));
        assert_eq!(leaders.leader(SHARD, Some(lead(3, 1))), None);
        leaders.hear(SHARD, lead(3, 1));
        assert_eq!(leaders.leader(SHARD, None), Some(lead(3, 1)));
        leaders.refute(SHARD, lead(2, 2));
        assert_eq!(leaders.leader(SHARD, None), Some(lead(3, 1)));
    }
}
