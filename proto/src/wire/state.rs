//! What a shard's snapshot says beside its records.

use crate::wire_struct;
use sojourn_core::state::{Answers, Meta, Origin, Remembered};

wire_struct!(Remembered { slot, stamp, outcome });
wire_struct!(Origin { settled, heard, answers });
wire_struct!(Answers { origins, swept });
wire_struct!(Meta { region, epoch, last_stamp, sequences, revocations, answers });
