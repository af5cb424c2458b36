//! Hashes: sessions with named fields, as Redis clients change them.

use super::{
    Event, number,
    turn::{Contents, Turn},
};
use crate::{
    command::{Expiry, Op, Outcome, Refusal},
    ids::Key,
    session::{Fields, Kind, Record},
};
use std::sync::Arc;

/// The living session that holds members, if any lives.
pub(super) struct Held {
    record: Option<Arc<Record>>,
    none: Fields,
}

impl Held {
    /// What it holds; nothing if nothing lives.
    pub fn fields(&self) -> Result<&Fields, Refusal> {
        self.record.as_deref().map_or(Ok(&self.none), Turn::fields)
    }
}

impl Turn<'_> {
    pub(super) fn hash_op(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::HashSet { fields: given, only_new } => {
                let held = self.held(key, Kind::Hash)?;
                let old = held.fields()?;
                let fields = if only_new { given.with(old) } else { old.with(&given) };
                let new = (fields.len() - old.len()) as i64;
                if !only_new || new > 0 {
                    self.write_held(key, Kind::Hash, &held, fields, "hset")?;
                }
                Ok(Outcome::Count(new))
            }
            Op::HashRemove { names } => self.remove_members(key, Kind::Hash, &names, "hdel"),
            Op::HashIncrement { name, by } => {
                let held = self.held(key, Kind::Hash)?;
                let old = held.fields()?.get(&name).map_or(Some(0), number::integer).ok_or(Refusal::HashNotInteger)?;
                let sum = old.checked_add(by).ok_or(Refusal::Overflow)?;
                self.set_member(key, &held, name, sum.to_string().into_bytes().into(), "hincrby")?;
                Ok(Outcome::Count(sum))
            }
            Op::HashIncrementFloat { name, by } => {
                let held = self.held(key, Kind::Hash)?;
                let old = held.fields()?.get(&name).map_or(Some(0.0), number::float).ok_or(Refusal::HashNotFloat)?;
                let text = number::format_float(number::finite(old + by)?);
                self.set_member(key, &held, name, text.clone(), "hincrbyfloat")?;
                Ok(Outcome::Bytes(text))
            }
            _other => Err(Refusal::WrongKind),
        }
    }

    fn set_member(
        &mut self,
        key: &Key,
        held: &Held,
        name: Box<[u8]>,
        value: Box<[u8]>,
        event: &'static str,
    ) -> Result<(), Refusal> {
        let fields = held.fields()?.with(&Fields::from_slices(vec![(&name, &value)]));
        self.write_held(key, Kind::Hash, held, fields, event)
    }

    /// The living session of that kind.
    pub(super) fn held(&mut self, key: &Key, kind: Kind) -> Result<Held, Refusal> {
        Ok(Held { record: self.live_kind(key, kind)?, none: Fields::new() })
    }

    /// Writes what became of the fields, creating or destroying as needed; the deadline stays.
    pub(super) fn write_held(
        &mut self,
        key: &Key,
        kind: Kind,
        held: &Held,
        fields: Fields,
        event: &'static str,
    ) -> Result<(), Refusal> {
        let record = held.record.as_deref();
        let times = self.times(Expiry::Keep, record);
        match (record, fields.is_empty()) {
            (Some(_), true) => self.end(key, false),
            (Some(record), false) => {
                let contents = Contents { kind, fields, owner: record.owner.clone() };
                self.rewrite(key, record, contents, times, Event::Changed(event))?;
            }
            (None, true) => {}
            (None, false) => {
                self.create(key, Contents { kind, fields, owner: None }, times, Event::Changed(event))?;
            }
        }
        Ok(())
    }

    /// Removes members, destroying what is empty then. Answers how many there were.
    pub(super) fn remove_members(
        &mut self,
        key: &Key,
        kind: Kind,
        names: &[Box<[u8]>],
        event: &'static str,
    ) -> Result<Outcome, Refusal> {
        let held = self.held(key, kind)?;
        let old = held.fields()?;
        let fields = old.without(names.iter().map(|name| &**name));
        let removed = old.len() - fields.len();
        if removed > 0 {
            self.write_held(key, kind, &held, fields, event)?;
        }
        Ok(Outcome::Count(removed as i64))
    }
}
