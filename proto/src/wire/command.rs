//! Commands and what they are told.

use crate::{wire_enum, wire_struct};
use sojourn_core::{
    Command, Condition, Expiry, Op, Outcome, Refusal, Request, Rules,
    command::{ExpireCondition, MoveStep, ScoreRules},
    orphans::Orphaned,
    tombstones::Return,
};

wire_struct!(Request { origin, sequence, settled });
wire_struct!(Rules {
    idle_timeout_ms,
    idle_timeout_ms_max,
    absolute_ms,
    absolute_moves,
    size_bytes_max,
    refuse_after_destroy,
    tombstone_ms,
});
wire_struct!(Command { request, key, rules, touched, op });
wire_enum!(Expiry { 0 => Keep, 1 => Default, 2 => After { ms }, 3 => At { ms }, 4 => Never });
wire_enum!(Condition { 0 => Always, 1 => IfAbsent, 2 => IfPresent });
wire_enum!(ExpireCondition { 0 => Always, 1 => IfNone, 2 => IfSome, 3 => IfLater, 4 => IfEarlier });
wire_struct!(ScoreRules { condition, only_greater, only_less, count_changed });

wire_enum!(Op {
    0 => Create { kind, fields, expiry, absolute_deadline, owner },
    1 => Put { fields, if_version, expiry, owner },
    2 => Patch { set, remove, if_version, expiry, owner },
    3 => Touch,
    4 => Rename { to, replace },
    5 => Copy { to, replace },
    6 => Destroy,
    7 => Expire { version, deadline },
    8 => Set { value, expiry, condition, get, owner },
    9 => Append { value },
    10 => SetRange { offset, value },
    11 => Increment { by },
    12 => IncrementFloat { by },
    13 => GetDelete,
    14 => GetExpire { expiry },
    15 => CompareDelete { value },
    16 => CompareExpire { value, expiry },
    17 => HashSet { fields, only_new },
    18 => HashRemove { names },
    19 => HashIncrement { name, by },
    20 => HashIncrementFloat { name, by },
    21 => SetAdd { members },
    22 => SetRemove { members },
    23 => SetPop { count, seed },
    24 => SortedAdd { members, rules },
    25 => SortedIncrement { member, by, rules },
    26 => SortedRemove { members },
    27 => SortedRemoveByScore { low, high },
    28 => SortedRemoveByRank { start, stop },
    29 => SortedPop { count, highest },
    30 => SetExpiry { expiry, condition },
    31 => Restore { kind, fields, expiry, replace },
    32 => Read { projection },
    33 => Exec { watched, steps },
    34 => Revoke { user, epoch, count_max },
    35 => Clear { namespace, before, count_max },
    36 => Extend { version, deadline },
    37 => Move { step },
    38 => Absorb { absorbed },
    39 => Promise { home, epoch, holders },
    40 => Assume { home, epoch },
    41 => CaughtUp { home, epoch },
    42 => Adopt { mode_version },
    43 => Settle { by, home, epoch, how, orphans },
    44 => Release { to },
    45 => Swept { known },
    46 => Slot { slot, step },
    47 => TakeSlots { number, page },
});

wire_struct!(Orphaned { key, mine, base });
wire_enum!(Return { 0 => Merge, 1 => Copy });

wire_enum!(MoveStep {
    0 => Depart { to, replace },
    1 => Arrive { from, replace, view },
    2 => Settle { version, arrived },
    3 => Forget { from, version },
    4 => Close { version },
});

wire_enum!(Outcome {
    0 => Done,
    1 => Nothing,
    2 => Count[number],
    3 => Bytes[bytes],
    4 => Score[score],
    5 => Members[members],
    6 => Scored[members],
    7 => Written { incarnation, version, deadline },
    8 => Record[view],
    9 => Many[outcomes],
    10 => Refused[refusal],
    11 => Settled[tally],
});

wire_enum!(Refusal {
    0 => Exists,
    1 => Missing,
    2 => Gone,
    3 => Conflict { current },
    4 => Busy,
    5 => WrongKind,
    6 => NotInteger,
    7 => NotFloat,
    8 => HashNotInteger,
    9 => HashNotFloat,
    10 => Overflow,
    11 => NotFinite,
    12 => TooLarge { bytes, bytes_max, largest },
    13 => Revoked { epoch },
    14 => Destroyed,
    15 => CrossSlot,
    16 => NotHere,
    17 => Elsewhere { home },
    18 => Fenced { home, epoch },
    19 => SlotMoved { to },
    20 => Slot[refusal],
});
