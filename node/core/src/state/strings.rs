//! Strings: sessions with the single field `""`.

use super::{
    Event, SESSION_BYTES_MAX, number,
    turn::{Contents, Turn},
};
use crate::{
    command::{Condition, Expiry, Op, Outcome, Refusal},
    ids::Key,
    session::{Fields, Kind, Owner, Record},
};
use std::sync::Arc;

impl Turn<'_> {
    pub(super) fn string_op(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::Set { value, expiry, condition, get, owner } => self.set(key, value, expiry, condition, get, owner),
            Op::Append { value } => self.edit(key, "append", |text| {
                text.extend_from_slice(&value);
                Ok(())
            }),
            Op::SetRange { offset, value } if value.is_empty() => {
                let record = self.live_kind(key, Kind::String)?;
                let _unused = offset;
                Ok(Outcome::Count(record.map_or(0, |record| value_of(&record).len() as i64)))
            }
            Op::SetRange { offset, value } => {
                let bytes = offset.saturating_add(value.len() as u64);
                let bytes_max = self.rules.size_bytes_max.min(SESSION_BYTES_MAX);
                if bytes > bytes_max {
                    return Err(Refusal::TooLarge { bytes, bytes_max, largest: vec![(Box::default(), bytes)] });
                }
                self.edit(key, "setrange", |text| {
                    let (start, end) = (offset as usize, bytes as usize);
                    if text.len() < end {
                        text.resize(end, 0);
                    }
                    text[start..end].copy_from_slice(&value);
                    Ok(())
                })
            }
            Op::Increment { by } => {
                let sum = self
                    .live_kind(key, Kind::String)?
                    .map_or(Ok(0), |record| number::integer(&value_of(&record)).ok_or(Refusal::NotInteger))?;
                let sum = sum.checked_add(by).ok_or(Refusal::Overflow)?;
                self.write_value(key, sum.to_string().into_bytes().into(), "incrby")?;
                Ok(Outcome::Count(sum))
            }
            Op::IncrementFloat { by } => {
                let sum = self
                    .live_kind(key, Kind::String)?
                    .map_or(Ok(0.0), |record| number::float(&value_of(&record)).ok_or(Refusal::NotFloat))?;
                let text = number::format_float(number::finite(sum + by)?);
                self.write_value(key, text.clone(), "incrbyfloat")?;
                Ok(Outcome::Bytes(text))
            }
            Op::GetDelete => {
                let Some(record) = self.live_kind(key, Kind::String)? else { return Ok(Outcome::Nothing) };
                self.end(key, false);
                Ok(Outcome::Bytes(value_of(&record)))
            }
            Op::GetExpire { expiry } => {
                let Some(record) = self.live_kind(key, Kind::String)? else { return Ok(Outcome::Nothing) };
                self.expire_at(key, &record, expiry);
                Ok(Outcome::Bytes(value_of(&record)))
            }
            Op::CompareDelete { value } => {
                let Some(record) = self.live_kind(key, Kind::String)? else { return Ok(Outcome::Count(0)) };
                let same = value_of(&record) == value;
                if same {
                    self.end(key, false);
                }
                Ok(Outcome::Count(i64::from(same)))
            }
            Op::CompareExpire { value, expiry } => {
                let Some(record) = self.live_kind(key, Kind::String)? else { return Ok(Outcome::Count(0)) };
                let same = value_of(&record) == value;
                if same {
                    self.expire_at(key, &record, expiry);
                }
                Ok(Outcome::Count(i64::from(same)))
            }
            _other => Err(Refusal::WrongKind),
        }
    }

    fn set(
        &mut self,
        key: &Key,
        value: Box<[u8]>,
        expiry: Expiry,
        condition: Condition,
        get: bool,
        owner: Option<Box<Owner>>,
    ) -> Result<Outcome, Refusal> {
        let current = self.live(key);
        if get && current.as_ref().is_some_and(|record| record.kind != Kind::String) {
            return Err(Refusal::WrongKind);
        }
        let old = match (&current, get) {
            (Some(record), true) => Outcome::Bytes(value_of(record)),
            (None, true) => Outcome::Nothing,
            (_, false) => Outcome::Done,
        };
        let met = match condition {
            Condition::Always => true,
            Condition::IfAbsent => current.is_none(),
            Condition::IfPresent => current.is_some(),
        };
        if !met {
            return Ok(if get { old } else { Outcome::Nothing });
        }
        let (fields, times) = (Fields::value(value), self.times(expiry, current.as_deref()));
        if times.idle_deadline <= self.stamp {
            if current.is_some() {
                self.end(key, false);
            }
            return Ok(old);
        }
        let contents = Contents { kind: Kind::String, fields, owner };
        match &current {
            Some(record) => {
                self.check_owner(key, contents.owner.as_deref())?;
                self.rewrite(key, record, contents, times, Event::Set)?;
            }
            None => {
                self.create(key, contents, times, Event::Set)?;
            }
        }
        Ok(old)
    }

    /// Changes a value in place, from nothing if nothing lives. Answers its new length.
    fn edit(
        &mut self,
        key: &Key,
        event: &'static str,
        change: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>,
    ) -> Result<Outcome, Refusal> {
        let record = self.live_kind(key, Kind::String)?;
        let mut text = record.map(|record| value_of(&record).into_vec()).unwrap_or_default();
        change(&mut text)?;
        let length = text.len() as i64;
        self.write_value(key, text.into(), event)?;
        Ok(Outcome::Count(length))
    }

    /// Sets the value and leaves the deadline.
    fn write_value(&mut self, key: &Key, value: Box<[u8]>, event: &'static str) -> Result<Arc<Record>, Refusal> {
        let current = self.live(key);
        let (fields, times) = (Fields::value(value), self.times(Expiry::Keep, current.as_deref()));
        let owner = current.as_ref().and_then(|record| record.owner.clone());
        let contents = Contents { kind: Kind::String, fields, owner };
        match current {
            Some(record) => self.rewrite(key, &record, contents, times, Event::Changed(event)),
            None => self.create(key, contents, times, Event::Changed(event)),
        }
    }

    fn expire_at(&mut self, key: &Key, record: &Record, expiry: Expiry) {
        if expiry == Expiry::Keep {
            return;
        }
        let times = self.times(expiry, Some(record));
        if times.idle_deadline <= self.stamp {
            self.end(key, false);
        } else {
            let event = if expiry == Expiry::Never { Event::Persist } else { Event::Expire };
            self.retime(key, record, times, event);
        }
    }
}

/// The value of a string; empty where the body is not in memory, which the shell rules out.
pub(super) fn value_of(record: &Record) -> Box<[u8]> {
    Turn::fields(record).ok().and_then(|fields| fields.get(b"")).unwrap_or_default().into()
}
