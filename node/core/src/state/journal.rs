//! The journal of conflicts: both values of a session that two regions wrote without knowing of each other.
//!
//! An entry is a session of a reserved namespace, in the slot of the one that it is about and with the same home. So it is as
//! durable as that one, is copied to other regions, listed page by page, goes where the home goes, and ends by itself. Its id
//! follows from what it is about: a conflict that is found twice is noted once.

use super::{Event, State, turn::Turn};
use crate::{
    ids::{Key, NEVER, NamespaceId, RegionId, Stamp},
    mint::id_after,
    orphans::prevails,
    session::{Body, Fields, Incarnation, Kind, Life, Owner, Record, Used, Version},
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The namespace of the journal: no application's.
pub const JOURNAL: NamespaceId = NamespaceId(u32::MAX);

/// How long an entry is kept, in ms.
pub const CONFLICT_MS: u64 = 90 * 24 * 60 * 60_000;

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// The session.
    pub key: Key,
    /// The home of the region whose value lost, or might have.
    pub home: RegionId,
    /// The first epoch that was drawn for the home after that region last served; 0 where two regions created one id at once.
    pub epoch: u32,
    /// When it was found, by the stamp of the log.
    pub at: Stamp,
    /// What that region had.
    pub mine: Side,
    /// What everybody else had; none if nobody had anything.
    pub theirs: Option<Side>,
}

/// A session as one side had it.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// Which session under this id.
    pub incarnation: Incarnation,
    /// Which body of it.
    pub version: Version,
    /// Its home.
    pub home: RegionId,
    /// Its shape.
    pub kind: Kind,
    /// Alive or ended.
    pub life: Life,
    /// When it was last written.
    pub written: Stamp,
    /// Whose it is.
    pub owner: Option<Box<Owner>>,
    /// Its fields; none where the session itself has them still.
    pub fields: Option<Fields>,
}

impl Side {
    pub(super) fn of(record: &Record) -> Self {
        let Record { incarnation, version, home, kind, life, written, .. } = *record;
        let fields = match &record.body {
            Body::Hot(fields) => Some(fields.clone()),
            Body::Cold { .. } => None,
        };
        Self { incarnation, version, home, kind, life, written, owner: record.owner.clone(), fields }
    }
}

/// Names of what an entry says beside its sides.
const NAMESPACE: &[u8] = b"namespace";
const ID: &[u8] = b"id";
const HOME: &[u8] = b"home";
const EPOCH: &[u8] = b"epoch";
const AT: &[u8] = b"at";

/// What the names of each side's parts begin with.
const MINE: u8 = b'<';
const THEIRS: u8 = b'>';

/// The parts of a side.
const HEAD: u8 = b'h';
const USER: u8 = b'u';
const LABEL: u8 = b'l';
const FIELD: u8 = b'f';

impl Conflict {
    /// The id of its entry, in the slot of the session: one for each value that lost, and each time that its region was away.
    fn entry(&self) -> Option<Key> {
        let Self { key, epoch, mine: Side { incarnation, version, .. }, .. } = self;
        let mut hash = Sha256::new();
        hash.update(key.namespace().0.to_be_bytes());
        hash.update(epoch.to_be_bytes());
        hash.update(incarnation.stamp.to_be_bytes());
        hash.update(incarnation.region.0.to_be_bytes());
        hash.update(version.epoch.to_be_bytes());
        hash.update(version.home_epoch.to_be_bytes());
        hash.update(version.sequence.to_be_bytes());
        hash.update(key.id());
        let hash: [u8; 32] = hash.finalize().into();
        Key::new(JOURNAL, &id_after(&hash[..ENTRY_HASH_BYTES], key.slot())).ok()
    }

    /// Whether what that region had is how the session went on: the others' value lost then.
    pub fn is_mine_kept(&self) -> bool {
        let said = |side: &Side| (side.incarnation, side.life, side.version);
        self.theirs.as_ref().is_some_and(|theirs| prevails(said(&self.mine), said(theirs)))
    }

    fn fields(&self) -> Fields {
        let Self { key, home, epoch, at, mine, theirs } = self;
        let mut pairs: Vec<(Box<[u8]>, Box<[u8]>)> = vec![
            (NAMESPACE.into(), key.namespace().0.to_be_bytes().into()),
            (ID.into(), key.id().into()),
            (HOME.into(), home.0.to_be_bytes().into()),
            (EPOCH.into(), epoch.to_be_bytes().into()),
            (AT.into(), at.to_be_bytes().into()),
        ];
        mine.push(MINE, &mut pairs);
        theirs.iter().for_each(|theirs| theirs.push(THEIRS, &mut pairs));
        Fields::from_pairs(pairs)
    }

    /// The conflict that an entry of the journal with these fields is about; none if it is no such entry.
    pub fn from_fields(fields: &Fields) -> Option<Self> {
        let namespace = NamespaceId(u32::from_be_bytes(fields.get(NAMESPACE)?.try_into().ok()?));
        Some(Self {
            key: Key::new(namespace, fields.get(ID)?).ok()?,
            home: RegionId(u16::from_be_bytes(fields.get(HOME)?.try_into().ok()?)),
            epoch: u32::from_be_bytes(fields.get(EPOCH)?.try_into().ok()?),
            at: u64::from_be_bytes(fields.get(AT)?.try_into().ok()?),
            mine: Side::take(MINE, fields)?,
            theirs: Side::take(THEIRS, fields),
        })
    }
}

const ENTRY_HASH_BYTES: usize = 15;

impl Side {
    fn push(&self, side: u8, pairs: &mut Vec<(Box<[u8]>, Box<[u8]>)>) {
        let Self { incarnation, version, home, kind, life, written, owner, fields } = self;
        let (dead, at, collect_at) = match life {
            Life::Live => (0, 0, 0),
            Life::Dead { at, collect_at, expired } => (1 + u8::from(*expired), *at, *collect_at),
        };
        let revocation_epoch = owner.as_ref().map_or(0, |owner| owner.revocation_epoch);
        let flags = [kind_number(*kind), dead, u8::from(owner.is_some()), u8::from(fields.is_some())];
        let numbers = [incarnation.stamp, version.sequence, *written, at, collect_at, revocation_epoch];
        let short = [version.epoch, version.home_epoch, u32::from(incarnation.region.0), u32::from(home.0)];
        let mut head: Vec<u8> = flags.into();
        head.extend(short.iter().flat_map(|number| number.to_be_bytes()));
        head.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
        pairs.push(([side, HEAD].into(), head.into()));
        let named = |part: u8, name: &[u8]| -> Box<[u8]> { [&[side, part], name].concat().into() };
        if let Some(owner) = owner {
            pairs.push((named(USER, b""), owner.user.clone()));
            pairs.extend(owner.labels.iter().map(|(name, value)| (named(LABEL, name), value.clone())));
        }
        let fields = fields.iter().flat_map(Fields::iter);
        pairs.extend(fields.map(|(name, value)| (named(FIELD, name), value.into())));
    }

    fn take(side: u8, fields: &Fields) -> Option<Self> {
        let (flags, rest) = fields.get(&[side, HEAD])?.split_first_chunk::<4>()?;
        let (short, numbers) = rest.split_at_checked(16)?;
        let short: Vec<u32> =
            short.chunks(4).filter_map(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?))).collect();
        let numbers: Vec<u64> =
            numbers.chunks(8).filter_map(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))).collect();
        let [epoch, home_epoch, region, home] = short[..] else { return None };
        let [stamp, sequence, written, at, collect_at, revocation_epoch] = numbers[..] else { return None };
        let [kind, dead, owned, whole] = *flags;
        let region_id = |number: u32| u16::try_from(number).ok().map(RegionId);
        let parts = |part: u8| {
            let named = fields.iter().filter_map(move |(name, value)| Some((name.strip_prefix(&[side, part])?, value)));
            named.map(|(name, value)| (Box::from(name), Box::from(value)))
        };
        let owner = || {
            let labels: BTreeMap<Box<[u8]>, Box<[u8]>> = parts(LABEL).collect();
            Some(Box::new(Owner { user: fields.get(&[side, USER])?.into(), revocation_epoch, labels }))
        };
        Some(Self {
            incarnation: Incarnation { stamp, region: region_id(region)? },
            version: Version { epoch, home_epoch, sequence },
            home: region_id(home)?,
            kind: kind_of(kind)?,
            life: if dead == 0 { Life::Live } else { Life::Dead { at, collect_at, expired: dead == 2 } },
            written,
            owner: if owned == 1 { Some(owner()?) } else { None },
            fields: (whole == 1).then(|| Fields::from_pairs(parts(FIELD))),
        })
    }
}

const KINDS: [Kind; 4] = [Kind::String, Kind::Hash, Kind::Set, Kind::SortedSet];

fn kind_number(kind: Kind) -> u8 {
    KINDS.iter().position(|other| *other == kind).map_or(0, |at| at as u8)
}

fn kind_of(number: u8) -> Option<Kind> {
    KINDS.get(usize::from(number)).copied()
}

impl State {
    /// Entries of the journal in this shard, the earliest first, at most `max`, from the one after `after` on.
    pub fn conflicts(&self, after: Option<(Stamp, u64)>, max: usize) -> Vec<((Stamp, u64), Key)> {
        let entries = self.index.living(JOURNAL, NEVER, after).filter(|entry| Some(*entry) != after);
        let found = entries.flat_map(|entry| self.living_at(entry).map(move |(key, _)| (entry, key.clone())));
        found.filter(|(_, key)| key.namespace() == JOURNAL).take(max).collect()
    }
}

impl Turn<'_> {
    /// Notes a conflict, with `home` as the entry's home, unless it is noted already.
    pub(super) fn journal(&mut self, home: RegionId, conflict: &Conflict) {
        let Some(key) = conflict.entry().filter(|key| !self.state.records.contains_key(key)) else { return };
        let record = Record {
            incarnation: Incarnation { stamp: self.stamp, region: self.state.region },
            version: self.next_version(&key, home, Version::default()),
            home,
            kind: Kind::Hash,
            life: Life::Live,
            written: self.stamp,
            idle_timeout_ms: 0,
            idle_deadline: NEVER,
            absolute_deadline: self.stamp.saturating_add(CONFLICT_MS),
            owner: None,
            body: Body::Hot(conflict.fields()),
            used: Used::default(),
        };
        self.place(&key, record, Event::Changed("hset"));
    }
}
