//! Slots and their moves between shards, in JSON.

use serde::{Deserialize, Serialize};
use sojourn_core::region::{SlotMoves, WantedMove};

/// Slots on their way from one shard to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotMove {
    /// Its number: moves are carried out one after the other.
    pub number: u64,
    /// The number of the shard that they leave.
    pub from: u32,
    /// The number of the shard that they go to.
    pub to: u32,
    /// How many there are.
    pub slots: u32,
    /// How many have not arrived yet.
    pub left: u32,
    /// Whether those that have not arrived stay where they are.
    pub stopped: bool,
    /// Whether they wait until every region of the world acts for itself.
    #[serde(default)]
    pub waits: bool,
}

/// `POST /v1/slots/move`, and `POST /v1/slots/plan` for what is only thought of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveSlots {
    /// The number of the shard that they leave.
    pub from: u32,
    /// The number of the shard that they go to.
    pub to: u32,
    /// The first slot.
    pub first: u16,
    /// The last slot.
    pub last: u16,
}

/// What `POST /v1/slots/move` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsWanted {
    /// The number of the move.
    pub number: u64,
}

/// What `POST /v1/slots/plan` answers: how many slots each shard has, and would have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsPlan {
    /// By shard.
    pub shards: Vec<ShardSlots>,
}

/// How many slots a shard has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSlots {
    /// Its number.
    pub shard: u32,
    /// Now.
    pub now: u32,
    /// Once all moves are over, this one among them.
    pub then: u32,
}

/// `POST /v1/slots/stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopSlots {
    /// The number of the move.
    pub number: u64,
}

impl SlotMove {
    /// All that are wanted.
    pub(super) fn all(moves: &SlotMoves, waits: bool) -> Vec<Self> {
        let one = |(number, wanted): (&u64, &WantedMove)| Self {
            number: *number,
            from: wanted.from.0,
            to: wanted.to.0,
            slots: wanted.slots.into(),
            left: u32::try_from(wanted.left.len()).unwrap_or(u32::MAX),
            stopped: wanted.given_up,
            waits,
        };
        moves.wanted.iter().map(one).collect()
    }
}
