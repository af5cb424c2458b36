//! The operations of applications that know sessions: create, put, patch, touch, rename, copy.

use super::{
    Event,
    turn::{Contents, Turn},
};
use crate::{
    command::{Expiry, Op, Outcome, Refusal},
    expiry::Times,
    ids::Key,
    query::{Projection, View},
    session::{Fields, Kind, Owner, Record, Version},
};

fn written(record: &Record) -> Outcome {
    Outcome::Written { incarnation: record.incarnation, version: record.version, deadline: record.deadline() }
}

impl Turn<'_> {
    pub(super) fn session_op(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::Create { kind, fields, expiry, absolute_deadline, owner } => {
                if self.live(key).is_some() {
                    return Err(Refusal::Exists);
                }
                let mut times = self.times(expiry, None);
                times.absolute_deadline = absolute_deadline.unwrap_or(times.absolute_deadline);
                times.idle_deadline = times.idle_deadline.min(times.absolute_deadline);
                let record = self.create(key, Contents { kind, fields, owner }, times, Event::Changed("create"))?;
                Ok(written(&record))
            }
            Op::Put { fields, if_version, expiry, owner } => {
                self.update(key, if_version, expiry, owner, "put", |_| Ok(fields))
            }
            Op::Patch { set, remove, if_version, expiry, owner } => {
                self.update(key, if_version, expiry, owner, "hset", |old| {
                    let fields = old.with(&set);
                    Ok(if remove.is_empty() { fields } else { fields.without(remove.iter().map(|name| &**name)) })
                })
            }
            Op::Touch => {
                let record = self.live(key).ok_or(Refusal::Gone)?;
                let times = match self.state.plants.touch_past_absolute {
                    false => Times::touched(self.stamp, &self.rules, &record),
                    true => Times::rolled(self.stamp, &self.rules, Expiry::Keep, &record),
                };
                Ok(written(&self.touch(key, &record, times)))
            }
            Op::Rename { to, replace } => self.rename(key, &to, replace),
            Op::Copy { to, replace } => self.copy(key, &to, replace),
            _other => Err(Refusal::WrongKind),
        }
    }

    /// Changes the fields of a living session of applications; never creates.
    fn update(
        &mut self,
        key: &Key,
        if_version: Option<Version>,
        expiry: Expiry,
        owner: Option<Box<Owner>>,
        event: &'static str,
        change: impl FnOnce(&Fields) -> Result<Fields, Refusal>,
    ) -> Result<Outcome, Refusal> {
        let Some(record) = self.live(key) else {
            if self.state.plants.update_creates {
                let (fields, times) = (change(&Fields::new())?, self.times(expiry, None));
                let contents = Contents { kind: Kind::Hash, fields, owner };
                return Ok(written(&*self.create(key, contents, times, Event::Changed(event))?));
            }
            return Err(Refusal::Gone);
        };
        if if_version.is_some_and(|version| version != record.version) {
            let current = Box::new(View::of(&record, &Projection::Whole, record.idle_deadline)?);
            return Err(Refusal::Conflict { current });
        }
        if !matches!(record.kind, Kind::Hash | Kind::String) {
            return Err(Refusal::WrongKind);
        }
        self.check_owner(key, owner.as_deref())?;
        let fields = change(Self::fields(&record)?)?;
        let times = Times::rolled(self.stamp, &self.rules, expiry, &record);
        let plain = fields.len() == 1 && fields.get(b"").is_some();
        let kind = if plain { record.kind } else { Kind::Hash };
        let contents = Contents { kind, fields, owner: owner.or_else(|| record.owner.clone()) };
        let record = self.rewrite(key, &record, contents, times, Event::Changed(event))?;
        Ok(written(&record))
    }

    /// The same session under a new id: its incarnation goes with it, unless the new id had a later one.
    fn rename(&mut self, key: &Key, to: &Key, replace: bool) -> Result<Outcome, Refusal> {
        let record = self.live(key).ok_or(Refusal::Missing)?;
        if key == to {
            return Ok(Outcome::Count(i64::from(replace)));
        }
        if !self.make_way(to, replace)? {
            return Ok(Outcome::Count(0));
        }
        let moved = self.under(to, &record);
        self.end(key, false);
        if let Some(effect) = self.effects.last_mut() {
            effect.event = Event::RenameFrom;
        }
        self.place(to, moved, Event::RenameTo);
        Ok(Outcome::Count(1))
    }

    fn copy(&mut self, key: &Key, to: &Key, replace: bool) -> Result<Outcome, Refusal> {
        let Some(record) = self.live(key) else { return Ok(Outcome::Count(0)) };
        if key == to || !self.make_way(to, replace)? {
            return Ok(Outcome::Count(0));
        }
        let copied = self.under(to, &record);
        self.place(to, copied, Event::Changed("copy_to"));
        Ok(Outcome::Count(1))
    }

    fn make_way(&mut self, to: &Key, replace: bool) -> Result<bool, Refusal> {
        let lives = self.live(to).is_some();
        if lives && !replace {
            return Ok(false);
        }
        if !lives && self.rules.refuse_after_destroy && self.state.records.contains_key(to) {
            return Err(Refusal::Destroyed);
        }
        Ok(true)
    }

    /// `record` as it is written under another id.
    fn under(&mut self, to: &Key, record: &Record) -> Record {
        let old = self.state.records.get(to).cloned();
        let above = old.as_ref().map_or(0, |old| old.version.sequence);
        let mut moved = record.clone();
        moved.version.sequence = self.state.next_sequence(to.slot(), above);
        moved.version.epoch = self.epoch_after(moved.home, moved.version);
        if let Some(old) = old {
            moved.incarnation.stamp = moved.incarnation.stamp.max(old.incarnation.stamp.saturating_add(1));
        }
        moved.written = self.stamp;
        moved
    }
}
