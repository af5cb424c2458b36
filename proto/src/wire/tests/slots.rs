//! Every step of a slot's move, and all that a shard may have to do with it.

use super::*;
use sojourn_core::{
    ShardId,
    slots::{Contents, Hold, SlotMove, SlotRefusal, SlotStep},
};

#[test]
fn moves_of_slots_survive_and_their_format_is_pinned() {
    let moved = SlotMove { number: 300, from: ShardId(1), to: ShardId(2) };
    let contents = Contents { digest: 7, sequence: 8, stamp: 9 };
    let steps = [
        SlotStep::Leave(moved),
        SlotStep::Freeze { number: 300 },
        SlotStep::Thaw { number: 300 },
        SlotStep::Drop { number: 300 },
        SlotStep::Arrive(moved),
        SlotStep::Adopt { number: 300, contents },
        SlotStep::Abandon { number: 300 },
    ];
    for (tag, step) in (0..).zip(&steps) {
        holds(step);
        assert_eq!(encode(step)[..3], [tag, 172, 2]);
    }
    let holdings = [
        Hold::Away { settled: 5 },
        Hold::Serving { settled: 5 },
        Hold::Leaving { to: moved, settled: 5 },
        Hold::Frozen { to: moved, contents },
        Hold::Arriving { from: moved, settled: 5 },
    ];
    for (tag, hold) in (0..).zip(&holdings) {
        holds(hold);
        assert_eq!(encode(hold)[0], tag);
    }
    assert_eq!(encode(&holdings[2]), [2, 172, 2, 1, 2, 5]);
    [SlotRefusal::OutOfPlace, SlotRefusal::Settled { settled: 5 }, SlotRefusal::Differs].iter().for_each(holds);
}
