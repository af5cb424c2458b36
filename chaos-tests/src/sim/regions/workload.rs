//! The sessions of a world under simulation, and what clients do with them.

use parking_lot::Mutex;
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use sojourn_core::{
    Command, Condition, Expiry, Fields, Key, Kind, NamespaceId, Op, Owner, RegionId, Request, Rules, Slot, Version,
    mint::{MintKey, Minted},
    policy::Policy,
};
use std::collections::BTreeMap;

/// What happens to a session, so that oracles know what may be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Made before all begins; only additions of one, and reads.
    Counter,
    /// Made before all begins, known in all regions; anything but deadlines.
    Register,
    /// Minted for a region and created through any; never ended by a deadline.
    Minted,
    /// An id of a client's own choice, created once through some region that does not know it.
    Fresh,
    /// As minted ones, of a user who is revoked now and then.
    Owned,
    /// Created again and again by several regions at once, some with deadlines.
    Contested,
    /// As contested ones, and nothing of it stands for long: neither a session that is not written nor a tombstone.
    Brief,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id.
    pub key: Key,
    /// What happens to it.
    pub nature: Nature,
    /// The region that orders it from the beginning; none for one whose creator's region is it.
    pub home: Option<usize>,
}

/// All sessions. Others join as clients create them.
pub struct Catalog {
    regions: u16,
    mint_key: MintKey,
    sessions: Mutex<Vec<Session>>,
    /// Whether many a login has read its user's epoch before the last revocation.
    slow_logins: bool,
    epochs: Mutex<BTreeMap<Box<[u8]>, u64>>,
}

/// Sessions of each nature at home in each region before all begins.
const REGISTERS_PER_REGION: usize = 2;

/// Ids that several regions create.
const CONTESTED: usize = 3;

/// How long brief sessions live after a write.
const BRIEF_MS: u64 = 6_000;

/// How long tombstones stand at least that regions may find out to be known everywhere while a run goes on, in ms.
const TOMBSTONE_MS: u64 = 600;

/// How long sessions with minted ids live at most: longer than a run.
const MINTED_MS: u64 = 3_600_000;

impl Catalog {
    /// The sessions that there are in the beginning.
    pub fn new(regions: u16, mint_key: MintKey, slow_logins: bool) -> Self {
        let mut sessions = Vec::new();
        for home in 0..usize::from(regions) {
            let mut add = |nature, name: String| sessions.extend(session(nature, Some(home), &name));
            add(Nature::Counter, format!("counter {home}"));
            (0..REGISTERS_PER_REGION).for_each(|number| add(Nature::Register, format!("register {home}.{number}")));
        }
        (0..CONTESTED).for_each(|number| {
            sessions.extend(session(Nature::Contested, None, &format!("contested {number}")));
            sessions.extend(session(Nature::Brief, None, &format!("brief {number}")));
        });
        Self { regions, mint_key, sessions: Mutex::new(sessions), slow_logins, epochs: Mutex::default() }
    }

    /// All of them.
    pub fn all(&self) -> Vec<Session> {
        self.sessions.lock().clone()
    }

    /// One of them.
    fn any(&self, rng: &mut StdRng, wanted: impl Fn(&Session) -> bool) -> Option<Session> {
        let sessions = self.sessions.lock();
        let wanted: Vec<&Session> = sessions.iter().filter(|session| wanted(session)).collect();
        // Most of the time one that was made lately.
        let late = wanted.len().saturating_sub(LATE);
        if rng.random() { wanted[late..].choose(rng) } else { wanted.choose(rng) }.copied().cloned()
    }

    /// A session to read.
    pub fn to_read(&self, rng: &mut StdRng) -> Option<Session> {
        let lasting = rng.random::<bool>();
        self.any(rng, |session| !lasting || matches!(session.nature, Nature::Counter | Nature::Register))
    }

    /// The revocation epoch that a login of `user` reads.
    fn epoch(&self, user: &[u8]) -> u64 {
        self.epochs.lock().get(user).copied().unwrap_or(0)
    }

    /// Every region has acknowledged this epoch.
    pub fn revoked(&self, user: &[u8], epoch: u64) {
        let mut epochs = self.epochs.lock();
        let known = epochs.entry(user.into()).or_default();
        *known = epoch.max(*known);
    }

    /// A user, and the next epoch of theirs that could be given out.
    pub fn to_revoke(&self, rng: &mut StdRng) -> (Box<[u8]>, u64) {
        let user = user(rng);
        let epoch = self.epoch(&user) + rng.random_range(1..3);
        (user, epoch)
    }
}

/// Of how many sessions that were made last one is often chosen.
const LATE: usize = 4;

fn session(nature: Nature, home: Option<usize>, name: &str) -> Option<Session> {
    let key = Key::new(NamespaceId(0), name.as_bytes()).ok()?;
    Some(Session { key, nature, home })
}

fn user(rng: &mut StdRng) -> Box<[u8]> {
    format!("user {}", rng.random_range(0..2)).into_bytes().into()
}

/// The rules for a session.
pub fn rules(nature: Nature) -> Rules {
    let rules = Policy::default().rules(matches!(nature, Nature::Minted | Nature::Owned));
    match nature {
        Nature::Brief => Rules { absolute_ms: BRIEF_MS, tombstone_ms: TOMBSTONE_MS, ..rules },
        Nature::Contested => Rules { tombstone_ms: TOMBSTONE_MS, ..rules },
        _lasting => rules,
    }
}

/// One client's taste.
pub struct Taste {
    client: u64,
    asked: u64,
}

impl Taste {
    /// The taste of `client`.
    pub fn new(client: u64) -> Self {
        Self { client, asked: 0 }
    }

    /// What the client writes next. `seen` are versions that it saw; `now_ms` is about the time.
    pub fn write(
        &mut self,
        catalog: &Catalog,
        rng: &mut StdRng,
        seen: &BTreeMap<Key, Version>,
        now_ms: u64,
    ) -> Option<Command> {
        self.asked += 1;
        let (session, op) = match rng.random_range(0..20) {
            0..=3 => (catalog.any(rng, |session| session.nature == Nature::Counter)?, Op::Increment { by: 1 }),
            4..=9 => {
                let session = catalog.any(rng, |session| session.nature == Nature::Register)?;
                let op = self.register(rng, seen.get(&session.key).copied());
                (session, op)
            }
            10 | 11 => (catalog.any(rng, |session| session.nature == Nature::Contested)?, self.contested(rng)),
            12 => (catalog.any(rng, |session| session.nature == Nature::Brief)?, self.contested(rng)),
            13 | 14 => {
                let born = catalog
                    .any(rng, |session| matches!(session.nature, Nature::Minted | Nature::Fresh | Nature::Owned));
                let op = if rng.random_ratio(1, 3) { Op::Destroy } else { self.patch(rng, None) };
                (born?, op)
            }
            _ => self.born(catalog, rng, now_ms)?,
        };
        let rules = rules(session.nature);
        Some(Command { request: Request::default(), key: session.key, rules, touched: None, op })
    }

    /// A session that is not there yet.
    fn born(&mut self, catalog: &Catalog, rng: &mut StdRng, now_ms: u64) -> Option<(Session, Op)> {
        let nature = *[Nature::Minted, Nature::Fresh, Nature::Owned].choose(rng)?;
        let mut owner = None;
        let (session, absolute_deadline) = if nature == Nature::Fresh {
            (session(nature, None, &format!("fresh {}.{}", self.client, self.asked))?, None)
        } else {
            let region = rng.random_range(0..catalog.regions);
            let minted = Minted { region: RegionId(region), absolute_deadline: now_ms + MINTED_MS };
            let slot = Slot::new(rng.random_range(0..sojourn_core::ids::SLOTS))?;
            let id = catalog.mint_key.mint(NamespaceId(0), minted, rng.random(), slot);
            let key = Key::new(NamespaceId(0), &id).ok()?;
            (Session { key, nature, home: Some(usize::from(region)) }, Some(minted.absolute_deadline))
        };
        if nature == Nature::Owned {
            let user = user(rng);
            let is_slow = catalog.slow_logins && rng.random();
            let revocation_epoch = catalog.epoch(&user).saturating_sub(u64::from(is_slow));
            owner = Some(Box::new(Owner { user, revocation_epoch, labels: BTreeMap::new() }));
        }
        catalog.sessions.lock().push(session.clone());
        let (kind, fields) = (Kind::Hash, self.fields(rng));
        Some((session, Op::Create { kind, fields, expiry: Expiry::Never, absolute_deadline, owner }))
    }

    fn value(&self, rng: &mut StdRng) -> Box<[u8]> {
        let pad = if rng.random_ratio(1, 20) { 2_000 } else { rng.random_range(0..40) };
        format!("{}-{}-{}", self.client, self.asked, "v".repeat(pad)).into_bytes().into()
    }

    fn fields(&self, rng: &mut StdRng) -> Fields {
        let name = [b"a", b"b", b"c"].choose(rng).map_or_else(Box::default, |name| Box::from(&name[..]));
        Fields::from_pairs([(name, self.value(rng))])
    }

    fn patch(&self, rng: &mut StdRng, if_version: Option<Version>) -> Op {
        let (set, remove) = (self.fields(rng), vec![Box::from(&b"c"[..])]);
        Op::Patch { set, remove, if_version, expiry: Expiry::Never, owner: None }
    }

    fn create(&self, rng: &mut StdRng, expiry: Expiry) -> Op {
        Op::Create { kind: Kind::Hash, fields: self.fields(rng), expiry, absolute_deadline: None, owner: None }
    }

    fn set(&self, rng: &mut StdRng, expiry: Expiry, condition: Condition) -> Op {
        Op::Set { value: self.value(rng), expiry, condition, get: false, owner: None }
    }

    fn register(&self, rng: &mut StdRng, seen: Option<Version>) -> Op {
        match rng.random_range(0..10) {
            0..=2 => self.set(rng, Expiry::Never, Condition::Always),
            3 => self.create(rng, Expiry::Never),
            4 => Op::Destroy,
            5 => self.set(rng, Expiry::Never, Condition::IfPresent),
            _ => {
                let if_version = seen.filter(|_| rng.random());
                self.patch(rng, if_version)
            }
        }
    }

    fn contested(&self, rng: &mut StdRng) -> Op {
        let expiry = match rng.random_range(0..3) {
            0 => Expiry::After { ms: rng.random_range(300..3_000) },
            _ => Expiry::Never,
        };
        match rng.random_range(0..6) {
            0..=2 => self.set(rng, expiry, Condition::Always),
            3 => self.create(rng, expiry),
            4 => Op::Destroy,
            _ => self.patch(rng, None),
        }
    }
}
