//! From the bytes on disk to the state in memory, or a refusal.
//!
//! A crash can spoil only the last frame: there is never more than one that is not synced. So an invalid frame with
//! nothing valid after it is a torn tail and is cut; an invalid frame with a valid one after it, in this segment or a
//! later one, is damage, and a node that started without the records in between could vote against its own past.

use super::{
    LogOptions, OpenError,
    format::{
        ALIGNMENT, HeaderError, SEGMENT_HEADER_BYTES, SegmentHeader, VERSION, decode_record, frame_at, frame_unchecked,
        parse_record,
    },
    memory::Written,
    replay::Replay,
    state::{Segment, State},
    steward::{FileName, prepare, segment_path},
};
use crate::env::{DiskFile, DiskLock, Env};
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What opening found.
pub(super) struct Opened {
    pub state: State,
    pub lock: DiskLock,
    pub created: bool,
}

pub(super) async fn open(env: &Env, options: &LogOptions) -> Result<Opened, OpenError> {
    let lock = lock(env, &options.directory)?;
    let mut segments = find_segments(env, &options.directory)?;
    let created = segments.is_empty();
    if created {
        let first = prepare(env, options, 1, None).await;
        segments.push(first.map_err(|error| error.into_open_error(segment_path(&options.directory, 1)))?);
    }
    let mut scan = Scan::new(env.plants.keep_torn_tail);
    for segment in &mut segments {
        scan.read(segment)?;
    }
    let first_path = segments.first().map(|segment| segment.path.clone()).unwrap_or_default();
    let replay = scan.replay.finish().map_err(|what| damaged(&first_path, SEGMENT_HEADER_BYTES, what))?;
    for (group, sequence) in &replay.removed {
        let before = segments.iter_mut().take_while(|segment| segment.header.sequence < *sequence);
        before.for_each(|segment| segment.forget_group(*group));
    }
    let tail = scan.tail;
    let position = segments.iter().position(|segment| segment.header.sequence == tail.segment).unwrap_or(0);
    let after = segments.split_off(position + 1);
    if let Some(current) = segments.last() {
        settle_tail(current, &tail).await?;
    }
    let ahead = renew(env, options, after).await?;
    let mut state = State::default();
    state.written = replay.groups.iter().map(|(id, group)| (*id, Written::of(group))).collect();
    state.durable_purged = replay.purged();
    state.groups = replay.groups;
    state.segments = segments.into_iter().map(|segment| (segment.header.sequence, segment)).collect();
    (state.current, state.offset, state.ahead) = (tail.segment, tail.offset, ahead);
    state.next_batch = scan.next_batch.unwrap_or(1);
    state.retire();
    Ok(Opened { state, lock, created })
}

fn lock(env: &Env, directory: &Path) -> Result<DiskLock, OpenError> {
    env.disk.create_directory(directory).map_err(OpenError::disk("create", directory))?;
    let path = directory.join("LOCK");
    env.disk.lock(&path).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { directory: directory.to_owned() },
        _ => OpenError::disk("lock", path)(source),
    })
}

/// The segments in order, headers checked; what was in the making is removed.
fn find_segments(env: &Env, directory: &Path) -> Result<Vec<Segment>, OpenError> {
    let mut segments: Vec<Segment> = Vec::new();
    for name in env.disk.list(directory).map_err(OpenError::disk("list", directory))? {
        let path = directory.join(&name);
        match FileName::parse(&name) {
            FileName::Other => {}
            FileName::Spare => env.disk.remove(&path).map_err(OpenError::disk("remove", &path))?,
            FileName::Segment(sequence) => {
                if let Some(last) = segments.last().map(|segment| segment.header.sequence)
                    && sequence != last + 1
                {
                    let missing = segment_path(directory, last + 1);
                    return Err(damaged(&missing, 0, "the segment is missing, but a later one is there".into()));
                }
                segments.push(open_segment(env, &path, sequence)?);
            }
        }
    }
    env.disk.sync_directory(directory).map_err(OpenError::disk("sync", directory))?;
    Ok(segments)
}

fn open_segment(env: &Env, path: &Path, sequence: u64) -> Result<Segment, OpenError> {
    let file: Arc<dyn DiskFile> = env.disk.open(path, false).map_err(OpenError::disk("open", path))?.into();
    let mut bytes = [0; 64];
    file.read_at(0, &mut bytes).map_err(OpenError::disk("read", path))?;
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.sequence == sequence && header.capacity_bytes.is_multiple_of(ALIGNMENT) => {
            Ok(Segment { header, path: path.to_owned(), file, highest: Default::default() })
        }
        Ok(_) => Err(damaged(path, 0, "the header belongs to another segment".into())),
        Err(HeaderError::Damaged) => Err(damaged(path, 0, "the header's checksum does not match".into())),
        Err(HeaderError::Version(found)) => {
            Err(OpenError::Version { file: path.to_owned(), found, supported: VERSION })
        }
    }
}

/// Where the log goes on, and its last frame.
struct Tail {
    segment: u64,
    offset: u64,
    /// Offset and bytes of the last frame, if the tail's segment has one.
    last_frame: Option<(u64, Vec<u8>)>,
    /// Whether what follows has to be zeroed.
    cut: bool,
}

/// Reads segments in order, following the sequence of batches.
struct Scan {
    replay: Replay,
    next_batch: Option<u64>,
    tail: Tail,
    /// Where the first invalid frame is, once a segment without a valid first frame was seen.
    ended: Option<(PathBuf, u64)>,
    keep_torn_tail: bool,
}

impl Scan {
    fn new(keep_torn_tail: bool) -> Self {
        let tail = Tail { segment: 0, offset: SEGMENT_HEADER_BYTES, last_frame: None, cut: false };
        Self { replay: Replay::default(), next_batch: None, tail, ended: None, keep_torn_tail }
    }

    fn read(&mut self, segment: &mut Segment) -> Result<(), OpenError> {
        let bytes = read_whole(segment)?;
        let lowest = self.tail.segment == 0;
        if lowest {
            self.next_batch = (segment.header.sequence == 1).then_some(1);
            self.tail.segment = segment.header.sequence;
        }
        let mut offset = SEGMENT_HEADER_BYTES;
        let mut last_frame = None;
        while let Some(frame) = frame_at(&bytes, offset, &segment.header) {
            if let Some((file, offset)) = &self.ended {
                return Err(damaged(file, *offset, "a frame does not match its checksum, but later ones do".into()));
            }
            if self.next_batch.is_some_and(|expected| expected != frame.batch) {
                return Err(self.batch_missing(segment, offset, frame.batch));
            }
            let (body, records) = (frame.body, frame.records);
            self.read_body(segment, frame.body_offset, body, records, lowest && last_frame.is_none())?;
            self.next_batch = Some(frame.batch + 1);
            last_frame = Some((offset, frame.end));
            offset = frame.end;
        }
        if let Some(later) = find_frame(&bytes, offset, &segment.header) {
            let what = format!("a frame does not match its checksum, but a later one at byte {later} does");
            return Err(damaged(&segment.path, offset, what));
        }
        if lowest && last_frame.is_none() && segment.header.sequence != 1 {
            return Err(damaged(&segment.path, offset, "the oldest segment has no valid frame".into()));
        }
        match last_frame {
            Some((start, end)) => {
                let frame = bytes[start as usize..end as usize].to_vec();
                let cut = bytes[end as usize..].iter().any(|byte| *byte != 0);
                self.tail = Tail { segment: segment.header.sequence, offset, last_frame: Some((start, frame)), cut };
            }
            None if lowest => self.tail.cut = bytes[offset as usize..].iter().any(|byte| *byte != 0),
            None => self.ended = self.ended.take().or(Some((segment.path.clone(), offset))),
        }
        if self.keep_torn_tail {
            self.keep_torn(segment, &bytes, offset);
        }
        Ok(())
    }

    /// The frame before this one is not there: it was the last of the segment before, if this is a first one.
    fn batch_missing(&self, segment: &Segment, offset: u64, found: u64) -> OpenError {
        let expected = self.next_batch.unwrap_or(0);
        let what = format!("batch {expected} should be here or at the end of the segment before, {found} was found");
        damaged(&segment.path, offset, what)
    }

    fn read_body(
        &mut self,
        segment: &mut Segment,
        body_offset: u64,
        body: &[u8],
        records: u32,
        opening: bool,
    ) -> Result<(), OpenError> {
        let mut position = 0;
        for _ in 0..records {
            let offset = body_offset + position as u64;
            let record = decode_record(&body[position..])
                .map_err(|_| damaged(&segment.path, offset, "a record does not match its checksum".into()))?;
            let (group, index) = (record.group, record.index);
            self.replay
                .apply(segment, offset, &record, opening)
                .map_err(|what| damaged(&segment.path, offset, format!("group {group}, index {index}: {what}")))?;
            position += record.encoded_bytes() as usize;
        }
        if position != body.len() {
            let what = "a frame is longer than its records".into();
            return Err(damaged(&segment.path, body_offset + position as u64, what));
        }
        Ok(())
    }

    /// The planted bug: a torn frame is believed as far as its lengths go.
    fn keep_torn(&mut self, segment: &mut Segment, bytes: &[u8], offset: u64) {
        let Some(frame) = frame_unchecked(bytes, offset, &segment.header) else { return };
        if self.next_batch.is_some_and(|expected| expected != frame.batch) || frame.end > bytes.len() as u64 {
            return;
        }
        let mut position = 0;
        while let Some((record, _)) = parse_record(&frame.body[position..]) {
            let _ = self.replay.apply(segment, frame.body_offset + position as u64, &record, false);
            position += record.encoded_bytes() as usize;
        }
        self.tail = Tail { segment: segment.header.sequence, offset: frame.end, last_frame: None, cut: false };
        self.next_batch = Some(frame.batch + 1);
    }
}

/// The first place from `offset` on where a valid frame starts.
fn find_frame(bytes: &[u8], offset: u64, header: &SegmentHeader) -> Option<u64> {
    (offset..bytes.len() as u64).step_by(ALIGNMENT as usize).find(|at| frame_at(bytes, *at, header).is_some())
}

/// The segment's bytes; zeroes where the file is too short.
fn read_whole(segment: &Segment) -> Result<Vec<u8>, OpenError> {
    // Checked to be below 4 GiB when the segment was made.
    let mut bytes = vec![0; segment.header.capacity_bytes as usize];
    segment.file.read_at(0, &mut bytes).map_err(OpenError::disk("read", &segment.path))?;
    Ok(bytes)
}

/// Makes sure that the last frame is on the disk and that nothing behind it can come back.
///
/// The last frame is written again: after a failed sync and a restart of the process alone, the system may show it in
/// memory, call it clean, and not have it on the disk.
async fn settle_tail(current: &Segment, tail: &Tail) -> Result<(), OpenError> {
    const ZEROES: &[u8] = &[0; 1 << 16];
    let file = &current.file;
    if let Some((offset, frame)) = &tail.last_frame {
        file.write_at(*offset, frame).map_err(OpenError::disk("write", &current.path))?;
    }
    let capacity_bytes = current.header.capacity_bytes;
    let short = file.length().map_err(OpenError::disk("measure", &current.path))? < capacity_bytes;
    let mut offset = tail.offset;
    while (tail.cut || short) && offset < capacity_bytes {
        let step = (capacity_bytes - offset).min(ZEROES.len() as u64);
        file.write_at(offset, &ZEROES[..step as usize]).map_err(OpenError::disk("write", &current.path))?;
        offset += step;
    }
    file.sync().await.map_err(OpenError::disk("sync", &current.path))
}

/// Gives the empty segments after the current one new salts, so that a torn first frame can not come back; those of
/// another size are removed, from the last on.
async fn renew(env: &Env, options: &LogOptions, mut after: Vec<Segment>) -> Result<VecDeque<Segment>, OpenError> {
    let mut usable = 0;
    for segment in &after {
        let length = segment.file.length().map_err(OpenError::disk("measure", &segment.path))?;
        if segment.header.capacity_bytes != options.segment_bytes || length < options.segment_bytes {
            break;
        }
        usable += 1;
    }
    for segment in after.split_off(usable).into_iter().rev() {
        env.disk.remove(&segment.path).map_err(OpenError::disk("remove", &segment.path))?;
        env.disk.sync_directory(&options.directory).map_err(OpenError::disk("sync", &options.directory))?;
    }
    for segment in &mut after {
        segment.header.salt = env.random.next_u64();
        let header = segment.header.encode();
        segment.file.write_at(0, &header).map_err(OpenError::disk("write", &segment.path))?;
        segment.file.sync().await.map_err(OpenError::disk("sync", &segment.path))?;
    }
    Ok(after.into())
}

pub(super) fn damaged(file: &Path, offset: u64, what: String) -> OpenError {
    OpenError::Damaged { file: file.to_owned(), offset, what }
}
