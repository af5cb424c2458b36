//! What a region agrees on.

use super::{Reader, Wire, WireError};
use crate::{wire_enum, wire_struct};
use sojourn_core::{
    SlotTable,
    advisor::{Advice, Reason, Situation},
    mint::{MINT_KEY_BYTES, MintKey},
    placement::GroupName,
    policy::{AfterDestroy, FieldsFormat, Namespace, Policy, Reads},
    rebalancing::Rebalancing,
    region::{
        Addresses, Adopted, Delegate, Member, RegionCommand, RegionOutcome, RegionRefusal, RegionState, SlotMoves,
        WantedMove,
    },
};

impl Wire for SlotTable {
    fn put(&self, out: &mut Vec<u8>) {
        let ranges: Vec<_> = self.ranges().into_iter().map(|(_, last, shard)| (last, shard)).collect();
        ranges.put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let ranges: Vec<(u16, sojourn_core::ShardId)> = Wire::take(input)?;
        let mut shards = Vec::new();
        for (last, shard) in ranges {
            let length = usize::from(last) + 1;
            if length <= shards.len() || length > usize::from(sojourn_core::ids::SLOTS) {
                return Err(WireError::Invalid("a slot table"));
            }
            shards.resize(length, shard);
        }
        Self::from_shards(shards).ok_or(WireError::Invalid("a slot table"))
    }
}

impl Wire for MintKey {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes());
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut bytes = [0; MINT_KEY_BYTES];
        bytes.copy_from_slice(input.bytes(MINT_KEY_BYTES)?);
        Ok(Self::new(bytes))
    }
}

wire_struct!(Addresses { peers, resp, grpc, http });
wire_struct!(Member { id, name, addresses, draining, disk });
wire_enum!(GroupName { 0 => System, 1 => Shard[shard] });
wire_struct!(Namespace { id, name, policy });
wire_enum!(AfterDestroy { 0 => Create, 1 => Refuse });
wire_enum!(FieldsFormat { 0 => Opaque, 1 => Json });
wire_enum!(Reads { 0 => Anywhere, 1 => Home });
wire_struct!(Policy {
    idle_timeout_ms,
    idle_timeout_ms_max,
    absolute_ms,
    foreign_absolute_ms,
    touch_interval_ms,
    foreign_ids,
    after_destroy,
    size_warn_bytes,
    size_error_bytes,
    size_bytes_max,
    sessions_max,
    bytes_max,
    password_hash,
    database,
    fields,
    user_path,
    label_paths,
    redact,
    ack_regions,
    reads,
    wait_fresh_ms,
    travel,
});
wire_enum!(Reason { 0 => Busy, 1 => Idle, 2 => Steady, 3 => Settling, 4 => Least });
wire_struct!(Situation { nodes, replicas, busy_permille, settled });
wire_struct!(Advice { wanted, situation, reason });
wire_struct!(Rebalancing { paused, bytes_per_s_max });

wire_struct!(RegionState {
    world,
    region,
    name,
    mint_key,
    slots,
    members,
    replicas,
    placement,
    as_founded,
    rebalancing,
    namespaces,
    next_node,
    next_namespace,
    delegate,
    adopted,
    slot_moves
});
wire_struct!(SlotMoves { last, changes, wanted });
wire_struct!(WantedMove { from, to, slots, left, given_up });
wire_struct!(Adopted { version, versions, dropped });
wire_struct!(Delegate { voter, mark });

wire_enum!(RegionCommand {
    0 => Found { world, region, name, mint_key, shard_count, replicas, members },
    1 => AddMember { name, addresses, disk },
    2 => MoveMember { id, addresses },
    3 => DrainMember { id, draining },
    4 => RemoveMember { id },
    5 => CreateNamespace { name, policy },
    6 => SetNamespace { name, policy },
    7 => DropNamespace { name },
    8 => AdmitMember { id, disk },
    9 => Place { group, over, voters },
    10 => Delegate { over, voter, mark },
    11 => SetRebalancing { paused, bytes_per_s_max },
    12 => AdoptNamespaces { version, namespaces },
    13 => ForgetNamespace { id },
    14 => MoveSlots { from, to, first, last },
    15 => ServeSlots { number, slots },
    16 => CloseSlots { number, slots },
    17 => GiveSlotsUp { number },
});

wire_enum!(RegionOutcome { 0 => Done, 1 => Node[node], 2 => Namespace[namespace], 3 => Refused[refusal], 4 => SlotMove[number] });

wire_enum!(RegionRefusal {
    0 => Founded { name },
    1 => UnknownNode[node],
    2 => NodeNameTaken[name],
    3 => UnknownNamespace[name],
    4 => NamespaceExists[name],
    5 => BadNamespaceName[name],
    6 => DatabaseTaken { database, owner },
    7 => DefaultNamespace,
    8 => DiskChanged[node],
    9 => Placement,
    12 => SlotMovesWait,
    13 => UnknownShard[shard],
    14 => NoSlots,
    15 => SlotElsewhere { slot, shard },
    16 => SlotMoves { slot },
    17 => UnknownSlotMove[number],
    18 => LastSlots[shard],
});
