//! Until when earlier leaders may have been confirmed.
//!
//! What a leader promises to others for a time rests on a quorum that confirmed its lead after it was asked
//! ([`RunningGroup::confirm_read`]). Who leads next has to wait until such promises are over. It need not count from its own
//! election: each replica remembers when it last helped a leader to be confirmed, and one that votes for this leader helps no
//! earlier one any more. Any quorum shares a replica with each that confirmed somebody, so nothing was confirmed after the
//! latest time that a quorum remembers. A vote that a forwarded read brings along is not remembered: nothing of the kind may
//! rest on it.

use super::{
    Machine, RunningGroup,
    confirm::Lead,
    network::{encode, service},
    types::LeaderId,
};
use crate::{env::Clock, peers::Lane};
use bytes::Buf;
use futures::{StreamExt, stream::FuturesUnordered};
use openraft::vote::RaftLeaderId;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// Whom a replica has helped, and when, by its boot clock.
pub struct Support {
    clock: Arc<dyn Clock>,
    helped: Mutex<Helped>,
}

/// The latest leader that was helped, and all before it.
struct Helped {
    latest: Option<(u64, u64)>,
    latest_at: Duration,
    earlier_at: Duration,
}

fn rank(leader: &LeaderId) -> (u64, u64) {
    (leader.term(), *leader.node_id())
}

impl Support {
    /// Of a replica that starts: what it did before, it did before now.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let now = clock.boot();
        Self { clock, helped: Mutex::new(Helped { latest: None, latest_at: now, earlier_at: now }) }
    }

    /// To be called before this replica decides whether it helps `leader`.
    pub fn note(&self, leader: &LeaderId) {
        let (leader, now) = (rank(leader), self.clock.boot());
        let mut helped = self.helped.lock();
        if helped.latest.is_none_or(|latest| latest < leader) {
            helped.earlier_at = helped.earlier_at.max(helped.latest_at);
            (helped.latest, helped.latest_at) = (Some(leader), now);
        } else if helped.latest == Some(leader) {
            helped.latest_at = now;
        } else {
            helped.earlier_at = now;
        }
    }

    /// For how long this replica has helped none before `leader`; none if it has helped a later one.
    pub fn quiet(&self, leader: &LeaderId) -> Option<Duration> {
        let (leader, now) = (rank(leader), self.clock.boot());
        let helped = self.helped.lock();
        let last = match helped.latest {
            Some(latest) if latest > leader => return None,
            Some(latest) if latest == leader => helped.earlier_at,
            Some(_) | None => helped.earlier_at.max(helped.latest_at),
        };
        Some(now.saturating_sub(last))
    }
}

impl<M: Machine> RunningGroup<M> {
    /// For how long no leader before this node can have been confirmed, as far as its quorum is the one of them; none while
    /// that cannot be told.
    pub async fn unrivalled(&self) -> Option<Duration> {
        let Lead { vote, others, needed } = self.lead()?;
        let question = encode(&vote).ok()?;
        let group = self.group.to_le_bytes();
        let mut asked: FuturesUnordered<_> = others
            .into_iter()
            .map(|node| self.rpc.call(node, Lane::Fast, service::SUPPORT, &[&group, &question], self.confirm_timeout))
            .collect();
        let mut shortest = self.support.quiet(vote.leader_id())?;
        let mut missing = needed;
        while missing > 0 {
            let answer = asked.next().await?;
            if let Some(quiet_ms) = answer.ok().filter(|answer| answer.len() == size_of::<u64>()) {
                shortest = shortest.min(Duration::from_millis(quiet_ms.clone().get_u64_le()));
                missing -= 1;
            }
        }
        Some(shortest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulated::Hands;
    use proptest::{collection::vec, prelude::*};

    fn leader(term: u64, node: u64) -> LeaderId {
        LeaderId::new(term, node)
    }

    #[test]
    fn what_a_replica_did_for_others_is_remembered_apart_from_what_it_does_for_a_leader() {
        let clock = Arc::new(Hands::default());
        let support = Support::new(clock.clone());
        let quiet_ms = |term, node| support.quiet(&leader(term, node)).map(|quiet| quiet.as_millis());
        clock.pass(5);
        assert_eq!(quiet_ms(1, 1), Some(5), "what it did before it started is not known");
        support.note(&leader(1, 1));
        clock.pass(2);
        assert_eq!((quiet_ms(1, 1), quiet_ms(2, 2)), (Some(7), Some(2)));
        support.note(&leader(2, 2));
        clock.pass(3);
        support.note(&leader(2, 2));
        assert_eq!((quiet_ms(1, 1), quiet_ms(2, 2), quiet_ms(3, 1)), (None, Some(5), Some(0)));
        support.note(&leader(1, 1));
        assert_eq!(quiet_ms(2, 2), Some(0), "one who was deposed and does not know it still asks");
    }

    /// A replica, and for whom it votes.
    struct Voter {
        support: Support,
        vote: (u64, u64),
    }

    #[derive(Clone, Copy, Debug)]
    enum Act {
        /// Somebody asks some for their votes.
        Elect { by: u64, whom: u8 },
        /// Whoever was elected in that term, as far back as that, asks some whether it still leads.
        Confirm { back: usize, whom: u8 },
        /// A replica starts anew and remembers only its vote.
        Restart { which: usize },
        /// Time passes.
        Pass { ms: u64 },
    }

    /// Mostly a majority, or nothing would ever be decided.
    fn any_whom() -> impl Strategy<Value = u8> {
        prop_oneof![2 => Just(0b1_1111), 1 => Just(0b111), 1 => Just(0b1_1100), 1 => any::<u8>()]
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            1 => (0_u64..5, any_whom()).prop_map(|(by, whom)| Act::Elect { by, whom }),
            3 => (0_usize..3, any_whom()).prop_map(|(back, whom)| Act::Confirm { back, whom }),
            1 => (0_usize..5).prop_map(|which| Act::Restart { which }),
            2 => (1_u64..50).prop_map(|ms| Act::Pass { ms }),
        ]
    }

    proptest! {
        /// Nobody before a leader was confirmed later than any quorum of those who vote for it remembers.
        #[test]
        fn a_quorum_remembers_every_confirmation(acts in vec(any_act(), 1..80), answering in any_whom()) {
            let clock = Arc::new(Hands::default());
            let voter = |_| Voter { support: Support::new(clock.clone()), vote: (0, 0) };
            let mut voters: Vec<Voter> = (0..5).map(voter).collect();
            let (mut elected, mut confirmed): (Vec<(u64, u64)>, Vec<((u64, u64), u64)>) = (Vec::new(), Vec::new());
            let now_ms = || u64::try_from(clock.boot().as_millis()).unwrap_or_default();
            let is_asked = |whom: u8, at: usize| whom & (1 << at) != 0;
            for (term, act) in (1_u64..).zip(acts) {
                match act {
                    Act::Elect { by, whom } => {
                        let asked = voters.iter_mut().enumerate().filter(|(at, _)| is_asked(whom, *at));
                        if asked.map(|(_, voter)| voter.vote = (term, by)).count() > 2 {
                            elected.push((term, by));
                        }
                    }
                    Act::Confirm { back, whom } => {
                        let Some(lead) = elected.iter().rev().nth(back).copied() else { continue };
                        let asked = voters.iter().enumerate().filter(|(at, _)| is_asked(whom, *at));
                        let agree = asked.filter(|(_, voter)| {
                            voter.support.note(&leader(lead.0, lead.1));
                            voter.vote == lead
                        });
                        if agree.count() > 2 {
                            confirmed.push((lead, now_ms()));
                        }
                    }
                    Act::Restart { which } => voters[which].support = Support::new(clock.clone()),
                    Act::Pass { ms } => clock.pass(ms),
                }
                let Some(lead) = elected.last().copied() else { continue };
                let own = |voter: &&Voter| voter.vote == lead;
                let answers = voters.iter().enumerate().filter(|(at, _)| is_asked(answering, *at)).map(|(_, voter)| voter);
                let quiet: Vec<_> =
                    answers.filter(own).map(|voter| voter.support.quiet(&leader(lead.0, lead.1))).collect();
                let (true, Some(quiet)) = (quiet.len() > 2, quiet.into_iter().flatten().min()) else { continue };
                let before_ms = now_ms() - u64::try_from(quiet.as_millis()).unwrap_or_default();
                let late = confirmed.iter().find(|((of, _), at_ms)| *of < lead.0 && *at_ms > before_ms);
                prop_assert!(late.is_none(), "{late:?} after {before_ms}");
            }
        }
    }
}
