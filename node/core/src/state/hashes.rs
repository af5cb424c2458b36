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

impl Turn<'_> {
    pub(super) fn hash_op(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::HashSet { fields: given, only_new } => {
                let (record, mut fields) = self.members(key, Kind::Hash)?;
                let before = fields.len();
                for (name, value) in given.iter() {
                    if !only_new || fields.get(name).is_none() {
                        fields.insert(name.into(), value.into());
                    }
                }
                let new = (fields.len() - before) as i64;
                if !only_new || new > 0 {
                    self.write_members(key, Kind::Hash, record.as_deref(), fields, "hset")?;
                }
                Ok(Outcome::Count(new))
            }
            Op::HashRemove { names } => self.remove_members(key, Kind::Hash, &names, "hdel"),
            Op::HashIncrement { name, by } => {
                let (record, mut fields) = self.members(key, Kind::Hash)?;
                let old = fields.get(&name).map_or(Some(0), number::integer).ok_or(Refusal::HashNotInteger)?;
                let sum = old.checked_add(by).ok_or(Refusal::Overflow)?;
                fields.insert(name, sum.to_string().into_bytes().into());
                self.write_members(key, Kind::Hash, record.as_deref(), fields, "hincrby")?;
                Ok(Outcome::Count(sum))
            }
            Op::HashIncrementFloat { name, by } => {
                let (record, mut fields) = self.members(key, Kind::Hash)?;
                let old = fields.get(&name).map_or(Some(0.0), number::float).ok_or(Refusal::HashNotFloat)?;
                let text = number::format_float(number::finite(old + by)?);
                fields.insert(name, text.clone());
                self.write_members(key, Kind::Hash, record.as_deref(), fields, "hincrbyfloat")?;
                Ok(Outcome::Bytes(text))
            }
            _other => Err(Refusal::WrongKind),
        }
    }

    /// The living session of that kind with a copy of its fields; none and no fields if nothing lives.
    pub(super) fn members(&mut self, key: &Key, kind: Kind) -> Result<(Option<Arc<Record>>, Fields), Refusal> {
        let record = self.live_kind(key, kind)?;
        let fields = record.as_deref().map_or(Ok(Fields::new()), |record| Self::fields(record).cloned())?;
        Ok((record, fields))
    }

    /// Writes what became of the fields, creating or destroying as needed; the deadline stays.
    pub(super) fn write_members(
        &mut self,
        key: &Key,
        kind: Kind,
        record: Option<&Record>,
        fields: Fields,
        event: &'static str,
    ) -> Result<(), Refusal> {
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
        let (record, mut fields) = self.members(key, kind)?;
        let removed = names.iter().filter(|name| fields.remove(name).is_some()).count();
        if removed > 0 {
            self.write_members(key, kind, record.as_deref(), fields, event)?;
        }
        Ok(Outcome::Count(removed as i64))
    }
}
