//! Slots on their way between shards.

use crate::{wire_enum, wire_struct};
use sojourn_core::{
    query::SlotsFrom,
    slots::{Contents, Hold, SlotMove, SlotRefusal, SlotStep},
    state::{Belongings, SlotAnswer, SlotPage},
};

wire_struct!(SlotMove { number, from, to });
wire_struct!(Contents { digest, sequence, stamp, rights });
wire_enum!(Hold {
    0 => Away { settled },
    1 => Serving { settled },
    2 => Leaving { to, settled },
    3 => Frozen { to, contents },
    4 => Arriving { from, settled },
});
wire_enum!(SlotStep {
    0 => Leave[to],
    1 => Freeze { number },
    2 => Thaw { number },
    3 => Drop { number },
    4 => Arrive[from],
    5 => Adopt { number, contents },
    6 => Abandon { number },
});
wire_enum!(SlotRefusal { 0 => OutOfPlace, 1 => Settled { settled }, 2 => Differs, 3 => Unsettled, 4 => RightsDiffer });
wire_struct!(SlotAnswer { origin, settled, sequence, outcome });
wire_struct!(Belongings { sequence, stamp, answers, departures, arrivals, revocations, held });
wire_struct!(SlotPage { holds, as_of, rights, after, until, records, others, belongings });
wire_struct!(SlotsFrom { since, after });
