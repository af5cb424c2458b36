//! Sets: members are field names.

use super::turn::Turn;
use crate::{
    command::{Op, Outcome, Refusal},
    ids::Key,
    session::Kind,
};

impl Turn<'_> {
    pub(super) fn set_op(&mut self, key: &Key, op: Op) -> Result<Outcome, Refusal> {
        match op {
            Op::SetAdd { members } => {
                let (record, mut fields) = self.members(key, Kind::Set)?;
                let before = fields.len();
                for member in members {
                    if fields.get(&member).is_none() {
                        fields.insert(member, Box::default());
                    }
                }
                let added = fields.len() - before;
                if added > 0 {
                    self.write_members(key, Kind::Set, record.as_deref(), fields, "sadd")?;
                }
                Ok(Outcome::Count(added as i64))
            }
            Op::SetRemove { members } => self.remove_members(key, Kind::Set, &members, "srem"),
            Op::SetPop { count, seed } => {
                let (record, mut fields) = self.members(key, Kind::Set)?;
                let mut names: Vec<Box<[u8]>> = fields.iter().map(|(name, _)| name.into()).collect();
                let mut random = seed;
                let mut popped = Vec::new();
                while !names.is_empty() && (popped.len() as u64) < count {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    popped.push(names.swap_remove((random >> 33) as usize % names.len()));
                }
                if !popped.is_empty() {
                    popped.iter().for_each(|name| drop(fields.remove(name)));
                    self.write_members(key, Kind::Set, record.as_deref(), fields, "spop")?;
                }
                Ok(Outcome::Members(popped))
            }
            _other => Err(Refusal::WrongKind),
        }
    }
}
