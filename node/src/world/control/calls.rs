//! What nodes ask each other about the control group, in their own region and in others.

use sojourn_core::{
    NodeId, RegionId,
    control::{ControlCommand, ControlOutcome, ControlRefusal, ControlState, Grant},
};
use sojourn_proto::{wire_enum, wire_struct};
use std::collections::{BTreeMap, BTreeSet};

/// A question. Nodes are named by the numbers that they have between regions.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Question {
    /// Whether the node could found the world with others: asked before it is founded.
    Census,
    /// The state, once it is of a later version than `seen`; answered without it after a while.
    Watch {
        /// The version that is known.
        seen: u64,
    },
    /// Have a change agreed on.
    Propose {
        /// The change.
        command: ControlCommand,
    },
    /// What the caller's region needs to write for a home.
    Renew {
        /// Whose sessions.
        home: RegionId,
        /// The epoch that it would write under.
        epoch: u32,
        /// The version that it knows.
        seen: u64,
    },
    /// How the group is.
    Figures,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// To [`Question::Census`].
    Census {
        /// Whether it speaks for its region.
        speaks: bool,
        /// Whether it knows of a world that was founded.
        knows: bool,
    },
    /// To [`Question::Watch`].
    News {
        /// The state, if there is a later one.
        state: Option<Box<ControlState>>,
    },
    /// What a change answered.
    Changed {
        /// What.
        outcome: ControlOutcome,
    },
    /// What is needed.
    Granted {
        /// What.
        grant: Grant,
    },
    /// It may not write.
    Refused {
        /// Why.
        refusal: ControlRefusal,
    },
    /// To [`Question::Figures`].
    Figures {
        /// How the group is.
        figures: Figures,
    },
    /// Somebody else leads.
    NotLeader {
        /// Who, if it is known.
        leader: Option<NodeId>,
    },
}

/// How the control group is, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Who leads.
    pub leader: NodeId,
    /// In which term.
    pub term: u64,
    /// Who votes.
    pub voters: BTreeSet<NodeId>,
    /// Who has a copy and no vote.
    pub learners: BTreeSet<NodeId>,
    /// How long ago each region was heard, in ms; those that were not are missing.
    pub silent_ms: BTreeMap<RegionId, u64>,
}

wire_enum!(Question {
    0 => Census,
    1 => Watch { seen },
    2 => Propose { command },
    3 => Renew { home, epoch, seen },
    4 => Figures,
});
wire_enum!(Answer {
    0 => Census { speaks, knows },
    1 => News { state },
    2 => Changed { outcome },
    3 => Granted { grant },
    4 => Refused { refusal },
    5 => Figures { figures },
    6 => NotLeader { leader },
});
wire_struct!(Figures { leader, term, voters, learners, silent_ms });

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sojourn_proto::wire::{decode_all, encode};

    #[test]
    fn what_is_asked_and_answered_arrives() {
        let command = ControlCommand::Found { world: 7 };
        for question in [
            Question::Census,
            Question::Watch { seen: 300 },
            Question::Propose { command },
            Question::Renew { home: RegionId(1), epoch: 4, seen: 9 },
            Question::Figures,
        ] {
            assert_eq!(decode_all(&encode(&question)), Ok(question));
        }
        let news = Answer::News { state: Some(Box::default()) };
        assert_eq!(decode_all(&encode(&news)), Ok(news));
    }

    proptest! {
        #[test]
        fn noise_is_never_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _outcome = decode_all::<Question>(&noise);
            let _outcome = decode_all::<Answer>(&noise);
        }
    }
}
