//! Names, versions and records.

use super::{
    Reader, Wire, WireError,
    base::{put_bytes, take_bytes},
    put_varint,
};
use crate::{wire_enum, wire_struct};
use sojourn_core::{
    Body, Fields, Incarnation, Key, Kind, Life, NamespaceId, NodeId, Owner, Record, RegionId, ShardId, Slot, Used,
    Version,
};

macro_rules! wire_newtype {
    ($($name:ident),*) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self(number) = self;
                number.put(out);
            }
            fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
                Wire::take(input).map(Self)
            }
        }
    )*};
}

wire_newtype!(RegionId, NodeId, ShardId, NamespaceId);

impl Wire for Slot {
    fn put(&self, out: &mut Vec<u8>) {
        self.number().put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Self::new(u16::take(input)?).ok_or(WireError::Invalid("a slot"))
    }
}

impl Wire for Key {
    /// Namespace and id; the slot follows from the id.
    fn put(&self, out: &mut Vec<u8>) {
        self.namespace().put(out);
        put_bytes(self.id(), out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let namespace = NamespaceId::take(input)?;
        Self::new(namespace, take_bytes(input)?).map_err(|_| WireError::Invalid("a session id"))
    }
}

impl Wire for Fields {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(self.len() as u64, out);
        for (name, value) in self.iter() {
            put_bytes(name, out);
            put_bytes(value, out);
        }
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let count = input.length()?;
        let pairs: Result<Vec<_>, WireError> =
            (0..count).map(|_| Ok((take_bytes(input)?, take_bytes(input)?))).collect();
        Ok(Self::from_slices(pairs?))
    }
}

wire_struct!(Version { epoch, home_epoch, sequence });
wire_struct!(Incarnation { stamp, region });
wire_struct!(Owner { user, revocation_epoch, labels });
wire_enum!(Kind { 0 => String, 1 => Hash, 2 => Set, 3 => SortedSet });
wire_enum!(Life { 0 => Live, 1 => Dead { at, collect_at, expired } });
wire_enum!(Body { 0 => Hot[fields], 1 => Cold { bytes, field_count } });

impl Wire for Record {
    /// All but what a replica notes for itself.
    fn put(&self, out: &mut Vec<u8>) {
        let Self {
            incarnation,
            version,
            home,
            kind,
            life,
            written,
            idle_timeout_ms,
            idle_deadline,
            absolute_deadline,
            owner,
            body,
            used: _,
        } = self;
        incarnation.put(out);
        version.put(out);
        home.put(out);
        kind.put(out);
        life.put(out);
        written.put(out);
        idle_timeout_ms.put(out);
        idle_deadline.put(out);
        absolute_deadline.put(out);
        owner.put(out);
        body.put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            incarnation: Wire::take(input)?,
            version: Wire::take(input)?,
            home: Wire::take(input)?,
            kind: Wire::take(input)?,
            life: Wire::take(input)?,
            written: Wire::take(input)?,
            idle_timeout_ms: Wire::take(input)?,
            idle_deadline: Wire::take(input)?,
            absolute_deadline: Wire::take(input)?,
            owner: Wire::take(input)?,
            body: Wire::take(input)?,
            used: Used::default(),
        })
    }
}
