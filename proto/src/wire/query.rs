//! Reads and what they are told.

use crate::{wire_enum, wire_struct};
use sojourn_core::{
    Answer, Projection, Query, Token, View,
    query::{Cursor, Filter, Line},
};

wire_enum!(Projection { 0 => Whole, 1 => Summary, 2 => Fields[names] });
wire_struct!(View {
    kind,
    incarnation,
    version,
    home,
    written,
    idle_timeout_ms,
    idle_deadline,
    absolute_deadline,
    owner,
    field_count,
    bytes,
    fields,
});
wire_struct!(Filter { user, label, expiring_before, kind, pattern });
wire_struct!(Cursor { deadline, slot, hash });
wire_struct!(Line { id, view });
wire_struct!(Token { incarnation, version, ended });

wire_enum!(Query {
    0 => Get { key, projection },
    1 => Scan { namespace, filter, from, count, until },
    2 => Count { namespace, filter },
    3 => CountSlot { slot, namespace },
    4 => RevocationEpoch { namespace, user },
    5 => Random { namespace, seed },
    6 => GetAtHome { key, projection },
    7 => GetSince { key, projection, token },
    8 => Slots { slots, copy },
});

wire_enum!(Answer {
    0 => Record[view],
    1 => Page { lines, next },
    2 => Total { sessions, bytes },
    3 => Epoch[epoch],
    4 => Seen { view, token, age_ms },
    5 => Elsewhere[home],
    6 => SlotMoved { to },
    7 => Slots[page],
});
