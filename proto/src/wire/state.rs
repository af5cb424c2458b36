//! What a shard's snapshot says beside its records.

use crate::wire_struct;
use sojourn_core::{
    state::{Answers, Arrival, Departure, Lacking, Meta, Moves, Origin, Remembered, Right, Tombs},
    tombstones::Swept,
};

wire_struct!(Remembered { slot, given_ms, outcome });
wire_struct!(Origin { settled, heard_ms, answers });
wire_struct!(Answers { origins, swept, clock_ms });
wire_struct!(Departure { to, replace, rules, version, since, view });
wire_struct!(Arrival { version, arrived, slot });
wire_struct!(Moves { departures, arrivals, closed });
wire_struct!(Right { epoch, acts, former, missing_since });
wire_struct!(Swept { epoch, through });
wire_struct!(Tombs { count, swept, waiting, collectable });
wire_struct!(Lacking { slots, held });
wire_struct!(Meta {
    region,
    rights,
    adopted,
    swept,
    swept_at,
    last_stamp,
    sequences,
    revocations,
    answers,
    moves,
    followed,
    unfollowed,
    holds,
    belongings,
});
