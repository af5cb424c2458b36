//! Follows recovered records, and notices when they do not add up.

use super::{
    GroupId,
    format::{Kind, Record},
    memory::{Group, Written},
    state::Segment,
};
use bytes::Bytes;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Replay {
    pub groups: BTreeMap<GroupId, Group>,
    /// Groups removed, each with the segment that says so: older segments need not be kept for them.
    pub removed: Vec<(GroupId, u64)>,
}

impl Replay {
    /// Applies the record at `offset` of `segment`; `opening` says that it is in the first frame of the oldest one.
    ///
    /// # Errors
    /// Says what does not fit to what was read before.
    pub fn apply(
        &mut self,
        segment: &mut Segment,
        offset: u64,
        record: &Record<&[u8]>,
        opening: bool,
    ) -> Result<(), String> {
        let Record { group: id, kind, index, payload } = *record;
        if kind == Kind::State {
            return self.apply_state(id, payload, opening);
        }
        if kind == Kind::Remove {
            self.groups.remove(&id);
            self.removed.push((id, segment.header.sequence));
            segment.forget_group(id);
            return Ok(());
        }
        let group = self.groups.entry(id).or_default();
        match kind {
            Kind::Entry => {
                if let Some(next) = group.next_index().filter(|next| *next != index) {
                    return Err(format!("entry {next} should come next"));
                }
                group.push_written(index, segment.header.sequence, offset, payload.len() as u64);
                segment.note_entry(id, index);
            }
            Kind::Vote => group.vote = Some(Bytes::copy_from_slice(payload)),
            Kind::Committed => group.committed = Some(Bytes::copy_from_slice(payload)),
            Kind::TruncateAfter => drop(group.truncate_after(Some(index))),
            Kind::TruncateAll => drop(group.truncate_after(None)),
            Kind::Purge => drop(group.purge(index, Bytes::copy_from_slice(payload))),
            Kind::Remove | Kind::State => {}
        }
        Ok(())
    }

    /// The oldest segment's states are the start of all; a later one's must agree with what was read so far.
    fn apply_state(&mut self, id: GroupId, payload: &[u8], opening: bool) -> Result<(), String> {
        let state = Written::decode(payload).ok_or("a group's state cannot be read")?;
        let group = self.groups.entry(id).or_default();
        if !opening {
            let agrees = Written::of(group) == state;
            return agrees.then_some(()).ok_or_else(|| "the records before do not lead to this state".into());
        }
        let Written { range, purged, vote, committed } = state;
        // Entries before the oldest segment must turn out to be purged or truncated.
        if let Some((first, last)) = range {
            (first..=last).for_each(|index| group.push_missing(index));
        }
        (group.purged, group.vote, group.committed) = (purged, vote, committed);
        Ok(())
    }

    /// The end of the log: every entry that is not obsolete has been found.
    pub fn finish(self) -> Result<Self, String> {
        for (id, group) in &self.groups {
            if let Some(index) = group.first_missing() {
                return Err(format!("entry {index} of group {id} was in an older segment, which is missing"));
            }
        }
        Ok(self)
    }

    /// How far each group is purged, by records that are on the disk.
    pub fn purged(&self) -> BTreeMap<GroupId, u64> {
        self.groups.iter().filter_map(|(id, group)| Some((*id, group.purged.as_ref()?.0))).collect()
    }
}
