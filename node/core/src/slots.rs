//! How a slot goes from one shard of a region to another, live.
//!
//! `Leaving → Frozen → gone` on the one side, `Arriving → Serving` on the other, each a state in that shard's own log. The
//! source goes on serving while the target takes in a snapshot of the slot and what changed since. Then the source freezes,
//! which names all that the slot is; the target adopts that and nothing else, and serves; the source drops what it has.
//!
//! One log decides: the target's. Whichever of *adopt* and *abandon* comes first there stands for this move, and the source
//! drops or thaws only when it has seen which. So wherever it stops, one shard serves the slot or can be made to, never two.
//! A slot that arrives stands under what its shard has promised of other regions' homes, so both shards have to have promised the same;
//! a slot that was frozen when that changed goes back.
//!
//! Moves are numbered by the region, and a shard remembers the last number that it settled: whatever is repeated, or comes
//! late, changes nothing. [`plan`] says the next step, for whoever goes on with a move that somebody began.

use crate::ids::{ShardId, Stamp};

/// A move of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotMove {
    /// Higher than that of every earlier move of the slot.
    pub number: u64,
    /// Who serves it.
    pub from: ShardId,
    /// Who shall.
    pub to: ShardId,
}

/// All that a slot is at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contents {
    /// Over its records, tombstones, answered requests and moves between shards.
    pub digest: u128,
    /// The last version sequence that was given out in it.
    pub sequence: u64,
    /// The last stamp of the log that it comes from: time never goes back in a slot.
    pub stamp: Stamp,
    /// Over how the shard stands to each home: whatever it has promised holds where the slot goes, too.
    pub rights: u64,
}

/// What a shard has to do with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Nothing.
    Away {
        /// The last move that was settled here; 0 for none.
        settled: u64,
    },
    /// It serves it.
    Serving {
        /// The last move that was settled here.
        settled: u64,
    },
    /// It serves it, and lets another shard copy it.
    Leaving {
        /// To whom.
        to: SlotMove,
        /// The last move that was settled here.
        settled: u64,
    },
    /// It serves nobody until the other shard has said whether it does.
    Frozen {
        /// To whom.
        to: SlotMove,
        /// What it is.
        contents: Contents,
    },
    /// It takes it in, and serves nobody yet.
    Arriving {
        /// From whom.
        from: SlotMove,
        /// The last move that was settled here.
        settled: u64,
    },
}

/// A step of a move, logged by one of the two shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotStep {
    /// The source lets the slot be copied.
    Leave(SlotMove),
    /// The source stops serving, and fixes what the slot is.
    Freeze {
        /// Which move.
        number: u64,
    },
    /// The source serves again: the target has abandoned the move.
    Thaw {
        /// Which move.
        number: u64,
    },
    /// The source forgets the slot: the target has adopted it.
    Drop {
        /// Which move.
        number: u64,
    },
    /// The target begins to take the slot in, from nothing.
    Arrive(SlotMove),
    /// The target serves, if it has all that the slot is.
    Adopt {
        /// Which move.
        number: u64,
        /// What the source froze.
        contents: Contents,
    },
    /// The target will never serve by this move, and forgets what it has of it.
    Abandon {
        /// Which move.
        number: u64,
    },
}

/// Why a step was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotRefusal {
    /// It was taken before, or the shard is elsewhere by now.
    #[error("the step does not fit what the shard has to do with the slot")]
    OutOfPlace,
    /// The move was settled here, or a later one.
    #[error("move {settled} of the slot was settled here already")]
    Settled {
        /// The last one that was.
        settled: u64,
    },
    /// The shard does not act for its own region, or lacks something of a home that has changed hands.
    #[error(
        "the shard does not act for its own region now, or lacks something of another one's; slots stay until that is settled"
    )]
    Unsettled,
    /// One of both shards has logged that a home changes hands, and the other has not, or not in time.
    #[error("the shards do not stand alike to all regions; the slot stays where it was")]
    RightsDiffer,
    /// It has not all that was frozen, or more.
    #[error("what arrived is not what was frozen; the rest has to arrive first")]
    Differs,
}

impl Hold {
    /// Whether the shard answers for the slot.
    pub fn serves(&self) -> bool {
        match self {
            Self::Serving { .. } | Self::Leaving { .. } => true,
            Self::Away { .. } | Self::Frozen { .. } | Self::Arriving { .. } => false,
        }
    }

    /// The shard that is likely to serve the slot instead, for those who ask here.
    pub fn elsewhere(&self) -> Option<ShardId> {
        match self {
            Self::Frozen { to, .. } => Some(to.to),
            Self::Arriving { from, .. } => Some(from.from),
            Self::Away { .. } | Self::Serving { .. } | Self::Leaving { .. } => None,
        }
    }

    /// The last move that was settled here.
    pub fn settled(&self) -> u64 {
        match self {
            Self::Away { settled }
            | Self::Serving { settled }
            | Self::Leaving { settled, .. }
            | Self::Arriving { settled, .. } => *settled,
            // Its own move is not settled; the one before was lower.
            Self::Frozen { to, .. } => to.number.saturating_sub(1),
        }
    }

    /// The hold after a step; `contents` is what the shard has of the slot as the step is applied.
    ///
    /// Where the step leads to [`Hold::Away`], or is [`SlotStep::Arrive`], the shard forgets what it has. Where it leads from
    /// [`Hold::Arriving`] to [`Hold::Serving`], its clock and the slot's sequence go on from what was frozen.
    ///
    /// # Errors
    /// It does not fit, and changes nothing.
    pub fn after(self, step: SlotStep, contents: Contents) -> Result<Self, SlotRefusal> {
        let fresh = |number: u64| {
            let settled = self.settled();
            if number > settled { Ok(settled) } else { Err(SlotRefusal::Settled { settled }) }
        };
        match (step, self) {
            (SlotStep::Leave(to), Self::Serving { .. }) => {
                fresh(to.number).map(|settled| Self::Leaving { to, settled })
            }
            (SlotStep::Freeze { number }, Self::Leaving { to, .. }) if to.number == number => {
                Ok(Self::Frozen { to, contents })
            }
            (SlotStep::Thaw { number }, Self::Leaving { to, .. } | Self::Frozen { to, .. }) if to.number == number => {
                Ok(Self::Serving { settled: number })
            }
            // Before it left: it never will.
            (SlotStep::Thaw { number }, Self::Serving { .. }) => {
                fresh(number).map(|_| Self::Serving { settled: number })
            }
            (SlotStep::Drop { number }, Self::Frozen { to, .. }) if to.number == number => {
                Ok(Self::Away { settled: number })
            }
            (SlotStep::Arrive(from), Self::Away { .. }) => {
                fresh(from.number).map(|settled| Self::Arriving { from, settled })
            }
            (SlotStep::Adopt { number, contents: frozen }, Self::Arriving { from, .. }) if from.number == number => {
                if contents.rights != frozen.rights {
                    Err(SlotRefusal::RightsDiffer)
                } else if contents == frozen {
                    Ok(Self::Serving { settled: number })
                } else {
                    Err(SlotRefusal::Differs)
                }
            }
            (SlotStep::Abandon { number }, Self::Arriving { from, .. }) if from.number == number => {
                Ok(Self::Away { settled: number })
            }
            // Before it arrived: it never will.
            (SlotStep::Abandon { number }, Self::Away { .. }) => fresh(number).map(|_| Self::Away { settled: number }),
            (
                SlotStep::Leave(_)
                | SlotStep::Freeze { .. }
                | SlotStep::Thaw { .. }
                | SlotStep::Drop { .. }
                | SlotStep::Arrive(_)
                | SlotStep::Adopt { .. }
                | SlotStep::Abandon { .. },
                _elsewhere,
            ) => Err(SlotRefusal::OutOfPlace),
        }
    }
}

/// What is to become of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It goes on; the source freezes when no more than `lag_max` changes are missing at the target.
    Move {
        /// In changes.
        lag_max: u64,
    },
    /// It is given up, if it still can be.
    GiveUp,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// A step that the source logs.
    AtSource(SlotStep),
    /// A step that the target logs.
    AtTarget(SlotStep),
    /// Copying: the snapshot, then what changed since.
    Copy,
    /// The move is over, and this is who serves the slot.
    Over(ShardId),
}

/// Slots that go together at least: one after the other they would take long.
pub const SLOTS_TOGETHER_MIN: usize = 16;

/// Slots that go together at most: all of them are frozen for a moment, and followers in other regions begin anew.
pub const SLOTS_TOGETHER_MAX: usize = 256;

/// Records of slots that go together, if those are not too few: each is looked at while its slot is frozen.
const RECORDS_TOGETHER: u64 = 1_024;

/// How many slots go together next where `slots` of them held so many records.
pub fn together(slots: usize, records: u64) -> usize {
    let each = records.div_ceil(slots.max(1) as u64).max(1);
    let next = usize::try_from(RECORDS_TOGETHER / each).unwrap_or(SLOTS_TOGETHER_MAX);
    next.clamp(SLOTS_TOGETHER_MIN, SLOTS_TOGETHER_MAX)
}

/// The next step of a move, from what both shards have logged; `lag` is how many changes are missing at the target, once it
/// has the snapshot.
///
/// What was read may have changed since: no step does harm if it comes late.
pub fn plan(moved: SlotMove, source: Hold, target: Hold, lag: Option<u64>, wish: Wish) -> Next {
    let SlotMove { number, from, to } = moved;
    let abandoned = matches!(target, Hold::Away { settled } if settled >= number);
    let begun = matches!(target, Hold::Arriving { from, .. } if from.number == number);
    match source {
        Hold::Serving { settled } if settled >= number => Next::Over(from),
        Hold::Away { settled } if settled >= number => Next::Over(to),
        Hold::Serving { .. } | Hold::Leaving { .. } | Hold::Frozen { .. } if abandoned => {
            Next::AtSource(SlotStep::Thaw { number })
        }
        Hold::Frozen { contents, .. } if begun && wish != Wish::GiveUp => match lag {
            Some(0) => Next::AtTarget(SlotStep::Adopt { number, contents }),
            Some(_) | None => Next::Copy,
        },
        Hold::Frozen { .. } if matches!(target, Hold::Serving { .. }) => Next::AtSource(SlotStep::Drop { number }),
        Hold::Serving { .. } | Hold::Leaving { .. } | Hold::Frozen { .. } if wish == Wish::GiveUp => {
            Next::AtTarget(SlotStep::Abandon { number })
        }
        Hold::Serving { .. } => Next::AtSource(SlotStep::Leave(moved)),
        Hold::Leaving { .. } | Hold::Frozen { .. } if !begun => Next::AtTarget(SlotStep::Arrive(moved)),
        Hold::Leaving { .. } if lag.zip(wish.lag_max()).is_some_and(|(lag, lag_max)| lag <= lag_max) => {
            Next::AtSource(SlotStep::Freeze { number })
        }
        Hold::Leaving { .. } | Hold::Frozen { .. } => Next::Copy,
        // It is not this shard that serves the slot: nothing moves.
        Hold::Away { .. } | Hold::Arriving { .. } => Next::AtTarget(SlotStep::Abandon { number }),
    }
}

impl Wish {
    fn lag_max(self) -> Option<u64> {
        match self {
            Self::Move { lag_max } => Some(lag_max),
            Self::GiveUp => None,
        }
    }
}

#[cfg(test)]
mod tests;
