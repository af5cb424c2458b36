//! From the bytes on disk to the state in memory, and when to refuse them.
//!
//! Only the last frame can have been cut by a crash, for the next is written after its sync. So an invalid frame with
//! nothing valid after it is a torn tail and is cut off; one with anything valid after it is damage, and a log with damage
//! must not vote.

use super::{
    LogOptions, OpenError,
    format::{
        ALIGNMENT, Frame, HeaderError, Kind, Record, SEGMENT_HEADER_BYTES, SegmentHeader, VERSION, decode_record,
        frame_at, frame_unchecked, parse_record,
    },
    memory::Written,
    state::{Segment, State},
    steward::{FileName, prepare, segment_path},
};
use crate::env::{DiskLock, Env};
use bytes::Bytes;
use std::{io, path::PathBuf, sync::Arc};

pub(super) struct Opened {
    pub state: State,
    pub lock: DiskLock,
    pub created: bool,
}

pub(super) async fn open(env: &Env, options: &LogOptions) -> Result<Opened, OpenError> {
    let (disk, directory) = (&*env.disk, &*options.directory);
    disk.create_directory(directory).map_err(OpenError::disk("create", directory))?;
    let lock = disk.lock(&directory.join("lock")).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { directory: directory.to_owned() },
        _ => OpenError::disk("lock", directory)(error),
    })?;
    let sequences = tidy(env, options)?;
    let mut recovery = Recovery { env, state: State::default(), last_batch: 0, end: None };
    if sequences.is_empty() {
        let first = prepare(env, options, 1, None).await;
        let first = first.map_err(|error| error.into_open_error(segment_path(directory, 1)))?;
        recovery.state.segments.insert(1, first);
        recovery.end = Some((1, SEGMENT_HEADER_BYTES));
    }
    let mut torn = Vec::new();
    for (position, sequence) in sequences.iter().enumerate() {
        if *sequence != sequences[0] + position as u64 {
            return Err(damaged(segment_path(directory, *sequence), 0, "the segment before it is missing".to_owned()));
        }
        torn.extend(recovery.segment(options, *sequence)?);
    }
    recovery.check_missing(options)?;
    recovery.cut(torn).await?;
    let created = sequences.is_empty();
    Ok(Opened { state: recovery.finish(), lock, created })
}

/// Removes leftovers and returns the sequences of the segments, in order.
fn tidy(env: &Env, options: &LogOptions) -> Result<Vec<u64>, OpenError> {
    let directory = &*options.directory;
    let mut sequences = Vec::new();
    for name in env.disk.list(directory).map_err(OpenError::disk("list", directory))? {
        match FileName::parse(&name) {
            FileName::Segment(sequence) => sequences.push(sequence),
            FileName::Spare => {
                let path = directory.join(name);
                env.disk.remove(&path).map_err(OpenError::disk("remove", &path))?;
            }
            FileName::Other => {}
        }
    }
    sequences.sort_unstable();
    Ok(sequences)
}

fn damaged(file: PathBuf, offset: u64, what: String) -> OpenError {
    OpenError::Damaged { file, offset, what }
}

/// Where a frame may have been cut: segment, first byte, byte after the last that its header speaks of.
type Torn = (u64, u64, u64);

struct Recovery<'a> {
    env: &'a Env,
    state: State,
    last_batch: u64,
    /// The segment of the last valid frame, and the offset after it.
    end: Option<(u64, u64)>,
}

impl Recovery<'_> {
    /// Reads one segment. Returns where a frame in it was cut, if one may have been.
    fn segment(&mut self, options: &LogOptions, sequence: u64) -> Result<Option<Torn>, OpenError> {
        let path = segment_path(&options.directory, sequence);
        let file = self.env.disk.open(&path, false).map_err(OpenError::disk("open", &path))?;
        let length = file.length().map_err(OpenError::disk("read", &path))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = file.read_at(0, &mut bytes).map_err(OpenError::disk("read", &path))?;
        bytes.truncate(read);
        let header = SegmentHeader::decode(&bytes).map_err(|error| match error {
            HeaderError::Damaged => damaged(path.clone(), 0, "its header is damaged".to_owned()),
            HeaderError::Version(found) => OpenError::Version { file: path.clone(), found, supported: VERSION },
        })?;
        if header.sequence != sequence || header.capacity_bytes > read as u64 {
            return Err(damaged(path, 0, "its header belongs to another file, or the file was cut short".to_owned()));
        }
        let first = self.state.segments.is_empty();
        let segment = Segment { header, path: path.clone(), file: Arc::from(file), highest: Default::default() };
        self.state.segments.insert(sequence, segment);
        if self.end.is_none() {
            self.end = Some((sequence, SEGMENT_HEADER_BYTES));
        }
        let mut offset = SEGMENT_HEADER_BYTES;
        while let Some(frame) = self.frame(&bytes, offset, &header) {
            let next = frame.end;
            let follows = self.last_batch == 0 || frame.batch == self.last_batch + 1;
            if !follows {
                let what = format!("batch {} is missing: the next one found is {}", self.last_batch + 1, frame.batch);
                return Err(damaged(path, offset, what));
            }
            self.take_frame(&frame, sequence, first).map_err(|what| damaged(path.clone(), offset, what))?;
            self.last_batch = frame.batch;
            self.end = Some((sequence, next));
            offset = next;
        }
        self.refuse_later_frames(&bytes, offset, &header, path)?;
        Ok(frame_unchecked(&bytes, offset, &header).map(|frame| (sequence, offset, frame.end)))
    }

    /// The valid frame at `offset`. With the planted bug, also the readable part of a torn one.
    fn frame<'b>(&self, bytes: &'b [u8], offset: u64, header: &SegmentHeader) -> Option<Frame<'b>> {
        let valid = frame_at(bytes, offset, header);
        if valid.is_none() && self.env.plants.keep_torn_tail {
            return frame_unchecked(bytes, offset, header).filter(|frame| frame.batch == self.last_batch + 1);
        }
        valid
    }

    fn refuse_later_frames(
        &self,
        bytes: &[u8],
        offset: u64,
        header: &SegmentHeader,
        path: PathBuf,
    ) -> Result<(), OpenError> {
        let mut at = offset + ALIGNMENT;
        while at < bytes.len() as u64 {
            if let Some(frame) = frame_at(bytes, at, header) {
                let what =
                    format!("batch {} cannot be read although batch {} follows", self.last_batch + 1, frame.batch);
                return Err(damaged(path, offset, what));
            }
            at += ALIGNMENT;
        }
        Ok(())
    }

    /// Replays a frame's records.
    fn take_frame(&mut self, frame: &Frame<'_>, sequence: u64, first: bool) -> Result<(), String> {
        let (mut rest, mut offset) = (frame.body, frame.body_offset);
        for number in 0..frame.records {
            let record = match decode_record(rest) {
                Ok(record) => record,
                Err(_) if self.env.plants.keep_torn_tail => match parse_record(rest) {
                    Some((record, _)) => record,
                    None => return Ok(()),
                },
                Err(_) => return Err(format!("record {number} of batch {} is damaged", frame.batch)),
            };
            let bytes = record.encoded_bytes();
            let record = Record {
                group: record.group,
                kind: record.kind,
                index: record.index,
                payload: Bytes::copy_from_slice(record.payload),
            };
            self.take_record(&record, sequence, offset, first)?;
            rest = &rest[usize::try_from(bytes).unwrap_or(rest.len()).min(rest.len())..];
            offset += bytes;
        }
        Ok(())
    }

    fn take_record(&mut self, record: &Record, sequence: u64, offset: u64, first: bool) -> Result<(), String> {
        let state = &mut self.state;
        if record.kind == Kind::State {
            return self.take_state(record, first);
        }
        if record.kind == Kind::Remove {
            state.groups.remove(&record.group);
            state.durable_purged.remove(&record.group);
            for segment in state.segments.values_mut() {
                segment.highest.remove(&record.group);
            }
            return Ok(());
        }
        let group = state.groups.entry(record.group).or_default();
        match record.kind {
            Kind::Entry => {
                let next = group.next_index().unwrap_or(record.index);
                if next != record.index {
                    return Err(format!("group {} has entry {} where {next} belongs", record.group, record.index));
                }
                group.push_written(record.index, sequence, offset, record.payload.len() as u64);
                if let Some(segment) = state.segments.get_mut(&sequence) {
                    segment.note_entry(record.group, record.index);
                }
            }
            Kind::Vote => group.vote = Some(record.payload.clone()),
            Kind::Committed => group.committed = Some(record.payload.clone()),
            Kind::TruncateAfter => drop(group.truncate_after(Some(record.index))),
            Kind::TruncateAll => drop(group.truncate_after(None)),
            Kind::Purge => {
                group.purge(record.index, record.payload.clone());
                state.durable_purged.insert(record.group, record.index);
            }
            Kind::Remove | Kind::State => {}
        }
        Ok(())
    }

    /// The hard state at the start of a segment: where the log begins it is all there is to know of what came before.
    fn take_state(&mut self, record: &Record, first: bool) -> Result<(), String> {
        let written = Written::decode(&record.payload).ok_or("a record of hard state is malformed")?;
        if !first {
            let known = self.state.groups.get(&record.group).map(Written::of).unwrap_or_default();
            let agrees = known.range == written.range && known.vote == written.vote && known.purged == written.purged;
            return if agrees { Ok(()) } else { Err(format!("group {} is not as the log so far says", record.group)) };
        }
        let group = self.state.groups.entry(record.group).or_default();
        if let Some((index, id)) = written.purged {
            group.purge(index, id);
            self.state.durable_purged.insert(record.group, index);
        }
        if let Some((first_index, last_index)) = written.range {
            (first_index..=last_index).for_each(|index| group.push_missing(index));
        }
        group.vote = written.vote;
        group.committed = written.committed;
        Ok(())
    }

    /// Entries that only a missing segment has must have been purged since.
    fn check_missing(&self, options: &LogOptions) -> Result<(), OpenError> {
        for (id, group) in &self.state.groups {
            if let Some(index) = group.first_missing() {
                let first = self.state.segments.keys().next().copied().unwrap_or(1);
                let what = format!("entry {index} of group {id} was in an earlier segment, which is missing");
                return Err(damaged(segment_path(&options.directory, first), 0, what));
            }
        }
        Ok(())
    }

    /// Overwrites what is left of a cut frame, so that it can never be taken for a later one.
    async fn cut(&self, torn: Vec<Torn>) -> Result<(), OpenError> {
        let Some((end_segment, end_offset)) = self.end else { return Ok(()) };
        for (sequence, start, end) in torn {
            if sequence < end_segment || (sequence == end_segment && start < end_offset) {
                continue;
            }
            let Some(segment) = self.state.segments.get(&sequence) else { continue };
            let end = end.min(segment.header.capacity_bytes);
            tracing::info!(file = %segment.path.display(), offset = start, "cut a log frame that was never acknowledged");
            let zeroes = vec![0; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
            segment.file.write_at(start, &zeroes).map_err(OpenError::disk("write", &segment.path))?;
            segment.file.sync().await.map_err(OpenError::disk("sync", &segment.path))?;
        }
        Ok(())
    }

    fn finish(self) -> State {
        let mut state = self.state;
        let (current, offset) = self.end.unwrap_or((1, SEGMENT_HEADER_BYTES));
        state.current = current;
        state.offset = offset;
        state.next_batch = self.last_batch + 1;
        state.ahead = state.segments.split_off(&(current + 1)).into_values().collect();
        state.written = state.groups.iter().map(|(id, group)| (*id, Written::of(group))).collect();
        state.retire();
        state
    }
}
