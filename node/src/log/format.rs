//! The bytes of the log on disk: segment header, batch frame, record.
//!
//! All integers are little-endian. A segment is one header of [`SEGMENT_HEADER_BYTES`], then frames, each starting at
//! a multiple of [`ALIGNMENT`]; whatever follows the last valid frame is zeroes or what a recycled file held before.
//!
//! ```text
//! header  magic 8 | version 4 | zero 4 | sequence 8 | salt 8 | capacity 8 | zero 20 | crc 4            = 64
//! frame   magic 4 | crc 4 | body bytes 4 | records 4 | segment sequence 8 | batch sequence 8 | body    = 32 + body
//! record  payload bytes 4 | crc 4 | group 4 | kind 1 | zero 3 | index 8 | payload                      = 24 + payload
//! ```
//!
//! A frame's checksum starts from its segment's random salt: neither a stale frame of a recycled file nor a client's
//! payload that imitates a frame can pass for one of this segment.

use bytes::Bytes;

/// One page for the header, so that rewriting it never touches a frame.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 4096;
/// Frames start on pages: a write never touches a sector that holds acknowledged data, nor reads a page back first.
pub(super) const ALIGNMENT: u64 = 4096;
pub(super) const FRAME_HEADER_BYTES: u64 = 32;
pub(super) const RECORD_HEADER_BYTES: u64 = 24;
/// The only version of the format there has been.
pub(super) const VERSION: u32 = 1;

const SEGMENT_MAGIC: &[u8; 8] = b"SOJRNLOG";
const FRAME_MAGIC: u32 = 0x5346_524d;
const HEADER_LENGTH: usize = 64;

/// What the first page of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub sequence: u64,
    pub salt: u64,
    pub capacity_bytes: u64,
}

/// Why a segment's first page is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged,
    Version(u32),
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.capacity_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The checksum's place is the same in every version, so damage is told apart from a version of the future.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some(bytes) = bytes.get(..HEADER_LENGTH) else { return Err(HeaderError::Damaged) };
        if &bytes[..8] != SEGMENT_MAGIC || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(HeaderError::Damaged);
        }
        match u32_at(bytes, 8) {
            VERSION => {
                Ok(Self { sequence: u64_at(bytes, 16), salt: u64_at(bytes, 24), capacity_bytes: u64_at(bytes, 32) })
            }
            other => Err(HeaderError::Version(other)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Entry = 1,
    Vote = 2,
    Committed = 3,
    TruncateAfter = 4,
    TruncateAll = 5,
    Purge = 6,
    Remove = 7,
    /// Everything but entries that a group has, repeated at the start of each segment.
    State = 8,
}

impl Kind {
    fn from_u8(kind: u8) -> Option<Self> {
        [
            Self::Entry,
            Self::Vote,
            Self::Committed,
            Self::TruncateAfter,
            Self::TruncateAll,
            Self::Purge,
            Self::Remove,
            Self::State,
        ]
        .into_iter()
        .find(|known| *known as u8 == kind)
    }
}

/// One change of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record<P = Bytes> {
    pub group: u32,
    pub kind: Kind,
    pub index: u64,
    pub payload: P,
}

impl<P: AsRef<[u8]>> Record<P> {
    pub fn encoded_bytes(&self) -> u64 {
        RECORD_HEADER_BYTES + self.payload.as_ref().len() as u64
    }
}

/// A record that is not what was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordDamaged;

/// Reads the record that starts `bytes`; it ends after [`Record::encoded_bytes`].
pub(super) fn decode_record(bytes: &[u8]) -> Result<Record<&[u8]>, RecordDamaged> {
    let (record, crc) = parse_record(bytes).ok_or(RecordDamaged)?;
    if record_crc(&bytes[8..RECORD_HEADER_BYTES as usize], record.payload) != crc {
        return Err(RecordDamaged);
    }
    Ok(record)
}

/// Reads a record by its lengths alone; only a planted bug trusts the result.
pub(super) fn parse_record(bytes: &[u8]) -> Option<(Record<&[u8]>, u32)> {
    let header = bytes.get(..RECORD_HEADER_BYTES as usize)?;
    let payload_bytes = u32_at(header, 0) as usize;
    let payload = bytes[header.len()..].get(..payload_bytes)?;
    let kind = Kind::from_u8(header[12])?;
    Some((Record { group: u32_at(header, 8), kind, index: u64_at(header, 16), payload }, u32_at(header, 4)))
}

fn record_crc(header_tail: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header_tail), payload)
}

/// Collects records into the bytes of one frame.
#[derive(Default)]
pub(super) struct FrameBuilder {
    buffer: Vec<u8>,
    records: u32,
}

impl FrameBuilder {
    /// Starts over, keeping the memory unless one huge batch made it large.
    pub fn start(&mut self) {
        const KEPT_BYTES_MAX: usize = 8 << 20;
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES_MAX);
        self.buffer.resize(FRAME_HEADER_BYTES as usize, 0);
        self.records = 0;
    }

    pub fn push(&mut self, record: &Record) {
        let mut header = [0; RECORD_HEADER_BYTES as usize];
        // Acceptance bounds entries below a segment's size, which fits.
        header[..4].copy_from_slice(&(record.payload.len() as u32).to_le_bytes());
        header[8..12].copy_from_slice(&record.group.to_le_bytes());
        header[12] = record.kind as u8;
        header[16..].copy_from_slice(&record.index.to_le_bytes());
        let crc = record_crc(&header[8..], &record.payload);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        self.buffer.extend_from_slice(&header);
        self.buffer.extend_from_slice(&record.payload);
        self.records += 1;
    }

    /// The finished frame, padded with zeroes to [`ALIGNMENT`].
    pub fn finish(&mut self, segment: &SegmentHeader, batch: u64) -> &[u8] {
        let body_bytes = self.buffer.len() as u64 - FRAME_HEADER_BYTES;
        let header = &mut self.buffer[..FRAME_HEADER_BYTES as usize];
        header[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        header[8..12].copy_from_slice(&(body_bytes as u32).to_le_bytes());
        header[12..16].copy_from_slice(&self.records.to_le_bytes());
        header[16..24].copy_from_slice(&segment.sequence.to_le_bytes());
        header[24..32].copy_from_slice(&batch.to_le_bytes());
        let crc = frame_crc(segment.salt, &self.buffer[8..]);
        self.buffer[4..8].copy_from_slice(&crc.to_le_bytes());
        self.buffer.resize(align(self.buffer.len() as u64) as usize, 0);
        &self.buffer
    }
}

fn frame_crc(salt: u64, after_crc: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), after_crc)
}

/// One valid frame inside a segment's bytes.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub batch: u64,
    pub body: &'a [u8],
    /// Offset in the segment of the body's first byte.
    pub body_offset: u64,
    pub records: u32,
    /// Offset in the segment where the next frame would start.
    pub end: u64,
}

/// The frame of this segment that starts at `offset`, if a whole and undamaged one does.
pub(super) fn frame_at<'a>(segment: &'a [u8], offset: u64, header: &SegmentHeader) -> Option<Frame<'a>> {
    let frame = frame_unchecked(segment, offset, header)?;
    let start = usize::try_from(offset).ok()?;
    let end = start + FRAME_HEADER_BYTES as usize + frame.body.len();
    let crc = u32_at(segment, start + 4);
    (frame_crc(header.salt, &segment[start + 8..end]) == crc).then_some(frame)
}

/// As [`frame_at`], without the checksum: only a planted bug trusts the result.
pub(super) fn frame_unchecked<'a>(segment: &'a [u8], offset: u64, header: &SegmentHeader) -> Option<Frame<'a>> {
    let start = usize::try_from(offset).ok()?;
    let head = segment.get(start..)?.get(..FRAME_HEADER_BYTES as usize)?;
    if u32_at(head, 0) != FRAME_MAGIC || u64_at(head, 16) != header.sequence {
        return None;
    }
    let body_bytes = u32_at(head, 8) as usize;
    let body = segment[start + head.len()..].get(..body_bytes)?;
    Some(Frame {
        batch: u64_at(head, 24),
        body,
        body_offset: offset + FRAME_HEADER_BYTES,
        records: u32_at(head, 12),
        end: align(offset + FRAME_HEADER_BYTES + body_bytes as u64),
    })
}

/// Rounds up to the next place where a frame may start.
pub(super) const fn align(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut array = [0; 4];
    array.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(array)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut array = [0; 8];
    array.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(array)
}
