//! What clients of the simulation do: a few sessions, wanted by many at once.

use super::world;
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use sojourn_core::{
    Command, Condition, Expiry, Fields, Key, Kind, NamespaceId, Op, Owner, Projection, Request, Rules, SlotTable,
    Version, command::ExpireCondition, policy::Policy, touch,
};
use std::collections::BTreeMap;

/// What happens in a slot, so that oracles know what may be asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Everything, deadlines and revocation included.
    Mixed,
    /// Nothing ends by itself: every outcome follows from the order of operations alone.
    Steady,
    /// Only additions of one, and reads.
    Counter,
    /// Sessions that bear a mark from their creation on and are renamed from slot to slot and shard to shard.
    Moving,
}

/// Sessions that share a slot, so that one operation may take several of them; moving ones are apart.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What happens there.
    pub nature: Nature,
    /// Its sessions; ids differ in length, which is all that a trace shows of them.
    pub keys: Vec<Key>,
    /// Policy of its namespace.
    pub rules: Rules,
}

/// The cells of a run.
pub fn cells(rng: &mut StdRng) -> Vec<Cell> {
    use Nature::{Counter, Mixed, Steady};
    let natures = [Mixed, Mixed, Mixed, Mixed, Steady, Steady, Counter, Counter];
    let cells = natures.into_iter().enumerate().map(|(number, nature)| {
        let ids = (1..=3).map(|length| format!("{{cell {number}}}{}", "k".repeat(length)));
        let keys = ids.filter_map(|id| Key::new(NamespaceId(0), id.as_bytes()).ok()).collect();
        Cell { nature, keys, rules: rules(rng, number, nature) }
    });
    cells.chain([Cell { nature: Nature::Moving, keys: apart(), rules: Policy::default().rules(false) }]).collect()
}

/// The field with a moving session's mark, which nobody changes.
pub const MARK: &[u8] = b"mark";

/// Sessions of a moving cell in each shard.
const APART_PER_SHARD: usize = 2;

/// Ids in slots of their own, as many in each shard.
fn apart() -> Vec<Key> {
    let slots = SlotTable::even(world::SHARDS);
    let ids = (0..1_000).filter_map(|number| Key::new(NamespaceId(0), format!("moving {number}").as_bytes()).ok());
    let mut keys: Vec<Key> = Vec::new();
    for key in ids {
        let there = |other: &&Key| slots.shard(other.slot()) == slots.shard(key.slot());
        if keys.iter().filter(there).count() < APART_PER_SHARD {
            keys.push(key);
        }
    }
    keys
}

fn rules(rng: &mut StdRng, number: usize, nature: Nature) -> Rules {
    let minted = nature == Nature::Mixed && number.is_multiple_of(2);
    let rules = Policy::default().rules(minted);
    if !minted {
        return rules;
    }
    Rules {
        idle_timeout_ms: rng.random_range(800..3_000),
        absolute_ms: rng.random_range(2_000..6_000),
        refuse_after_destroy: number == 2,
        ..rules
    }
}

/// What one client asks next.
#[derive(Debug)]
pub enum Step {
    /// Writes that travel together; without names yet.
    Write(Vec<Command>),
    /// A read.
    Read(Key),
    /// A session goes to another slot.
    Rename(Rename),
}

/// A new id for a session, in another slot.
#[derive(Clone, Debug)]
pub struct Rename {
    /// Policy of the namespace.
    pub rules: Rules,
    /// The old id.
    pub from: Key,
    /// The new one.
    pub to: Key,
    /// Whether a session under the new id is overwritten.
    pub replace: bool,
}

/// One client's taste and memory.
pub struct Taste {
    rng: StdRng,
    client: u64,
    asked: u64,
    cells: Vec<Cell>,
    /// The last version that this client saw of each session.
    pub versions: BTreeMap<Key, Version>,
}

impl Taste {
    /// The taste of `client`.
    pub fn new(rng: StdRng, client: u64, cells: Vec<Cell>) -> Self {
        Self { rng, client, asked: 0, cells, versions: BTreeMap::new() }
    }

    /// Randomness for what else the client decides.
    pub fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    /// What it asks next.
    pub fn next(&mut self) -> Step {
        self.asked += 1;
        if self.rng.random_ratio(2, 5) {
            return Step::Read(self.key());
        }
        if self.cells.iter().all(|cell| cell.nature == Nature::Moving) && self.rng.random() {
            let (cell, from) = self.pick();
            let to = self.other(&cell);
            if to != from {
                let replace = self.rng.random_ratio(1, 4);
                return Step::Rename(Rename { rules: cell.rules, from, to, replace });
            }
        }
        let count = if self.rng.random_ratio(1, 6) { self.rng.random_range(2..=3) } else { 1 };
        Step::Write((0..count).map(|_| self.command()).collect())
    }

    /// Some session.
    pub fn key(&mut self) -> Key {
        self.pick().1
    }

    /// A write that is always logged, and so remembered: never a mere touch, which may be answered anew.
    pub fn logged(&mut self) -> Vec<Command> {
        self.asked += 1;
        loop {
            let command = self.command();
            if !touch::may_touch(&command.op) {
                return vec![command];
            }
        }
    }

    fn pick(&mut self) -> (Cell, Key) {
        let cell = self.rng.random_range(0..self.cells.len());
        let cell = self.cells[cell].clone();
        let key = cell.keys[self.rng.random_range(0..cell.keys.len())].clone();
        (cell, key)
    }

    fn command(&mut self) -> Command {
        let (cell, key) = self.pick();
        let op = match cell.nature {
            Nature::Counter => Op::Increment { by: 1 },
            Nature::Steady => self.steady(&cell, &key),
            Nature::Mixed => self.mixed(&cell, &key),
            Nature::Moving => self.moving(&key),
        };
        Command { request: Request::default(), key, rules: cell.rules, touched: None, op }
    }

    fn value(&mut self) -> Box<[u8]> {
        let pad = if self.rng.random_ratio(1, 20) { 3_000 } else { self.rng.random_range(0..40) };
        format!("{}-{}-{}", self.client, self.asked, "v".repeat(pad)).into_bytes().into()
    }

    fn name(&mut self) -> Box<[u8]> {
        [b"a", b"b", b"c"].choose(&mut self.rng).map_or_else(Box::default, |name| Box::from(&name[..]))
    }

    fn fields(&mut self) -> Fields {
        Fields::from_pairs([(self.name(), self.value())])
    }

    fn seen(&mut self, key: &Key) -> Option<Version> {
        self.versions.get(key).copied().filter(|_| self.rng.random())
    }

    fn other(&mut self, cell: &Cell) -> Key {
        cell.keys[self.rng.random_range(0..cell.keys.len())].clone()
    }

    /// Operations that leave marks alone: who has one was created with it.
    fn moving(&mut self, key: &Key) -> Op {
        match self.rng.random_range(0..10) {
            0..=3 => {
                let mark = format!("{}-{}-{}", self.client, self.asked, self.rng.random::<u32>());
                let mark = (Box::from(MARK), mark.into_bytes().into());
                let fields = Fields::from_pairs([mark, (self.name(), self.value())]);
                // Of a user whom nobody revokes.
                let user = Owner { user: Box::from(&b"traveller"[..]), ..Owner::default() };
                let owner = Some(Box::new(user));
                Op::Create { kind: Kind::Hash, fields, expiry: Expiry::Never, absolute_deadline: None, owner }
            }
            4..=8 => {
                let (set, if_version) = (self.fields(), self.seen(key));
                Op::Patch { set, remove: vec![self.name()], if_version, expiry: Expiry::Never, owner: None }
            }
            _ => Op::Destroy,
        }
    }

    /// Operations whose outcomes have no time in them.
    fn steady(&mut self, cell: &Cell, key: &Key) -> Op {
        match self.rng.random_range(0..13) {
            0 | 1 => self.set(Expiry::Never),
            2 => {
                let (kind, fields) = (Kind::Hash, self.fields());
                Op::Create { kind, fields, expiry: Expiry::Never, absolute_deadline: None, owner: None }
            }
            3 => Op::Put { fields: self.fields(), if_version: self.seen(key), expiry: Expiry::Never, owner: None },
            4 | 5 => {
                let (set, if_version) = (self.fields(), self.seen(key));
                Op::Patch { set, remove: vec![self.name()], if_version, expiry: Expiry::Never, owner: None }
            }
            6 => Op::Destroy,
            7 => Op::Rename { to: self.other(cell), replace: self.rng.random() },
            8 => Op::HashSet { fields: self.fields(), only_new: self.rng.random() },
            9 => Op::HashIncrement { name: Box::from(&b"n"[..]), by: 1 },
            10 => Op::Append { value: self.value() },
            11 => Op::Copy { to: self.other(cell), replace: self.rng.random() },
            _ => self.exec(cell, key, Self::steady_step),
        }
    }

    fn steady_step(&mut self) -> Op {
        match self.rng.random_range(0..4) {
            0 => self.set(Expiry::Never),
            1 => Op::HashSet { fields: self.fields(), only_new: false },
            2 => Op::Destroy,
            _ => Op::Read { projection: Projection::Whole },
        }
    }

    fn exec(&mut self, cell: &Cell, key: &Key, step: fn(&mut Self) -> Op) -> Op {
        let watched = self.versions.get(key).filter(|_| self.asked.is_multiple_of(2)).copied();
        let watched = watched.map(|version| (key.clone(), Some(version))).into_iter().collect();
        let steps = (0..self.rng.random_range(1..=3)).map(|_| (self.other(cell), step(self)));
        Op::Exec { watched, steps: steps.collect() }
    }

    fn set(&mut self, expiry: Expiry) -> Op {
        let condition = match self.rng.random_range(0..5) {
            0 => Condition::IfAbsent,
            1 => Condition::IfPresent,
            _ => Condition::Always,
        };
        Op::Set { value: self.value(), expiry, condition, get: self.rng.random_ratio(1, 4), owner: None }
    }

    fn expiry(&mut self) -> Expiry {
        match self.rng.random_range(0..5) {
            0 => Expiry::Keep,
            1 => Expiry::Default,
            _ => Expiry::After { ms: self.rng.random_range(50..4_000) },
        }
    }

    fn owner(&mut self) -> Option<Box<Owner>> {
        let user = format!("user {}", self.rng.random_range(0..3)).into_bytes().into();
        let revocation_epoch = self.rng.random_range(0..6);
        self.rng.random::<bool>().then(|| Box::new(Owner { user, revocation_epoch, labels: BTreeMap::new() }))
    }

    fn mixed(&mut self, cell: &Cell, key: &Key) -> Op {
        match self.rng.random_range(0..24) {
            0..=3 => {
                let (kind, fields, expiry, owner) = (Kind::Hash, self.fields(), self.expiry(), self.owner());
                Op::Create { kind, fields, expiry, absolute_deadline: None, owner }
            }
            4 | 5 => {
                let (fields, if_version) = (self.fields(), self.seen(key));
                Op::Put { fields, if_version, expiry: self.expiry(), owner: self.owner() }
            }
            6 | 7 => {
                let (set, if_version) = (self.fields(), self.seen(key));
                Op::Patch { set, remove: vec![self.name()], if_version, expiry: self.expiry(), owner: None }
            }
            8..=10 => Op::Touch,
            11 => Op::Destroy,
            12 => Op::Rename { to: self.other(cell), replace: self.rng.random() },
            13 | 14 => {
                let expiry = self.expiry();
                self.set(expiry)
            }
            15 => Op::SetExpiry { expiry: self.expiry(), condition: ExpireCondition::Always },
            16 => Op::SetExpiry { expiry: self.expiry(), condition: ExpireCondition::IfLater },
            17 => Op::HashSet { fields: self.fields(), only_new: false },
            18 => Op::HashRemove { names: vec![self.name()] },
            19 => Op::GetDelete,
            20 => Op::SetAdd { members: vec![self.name(), self.value()] },
            21 => Op::Revoke {
                user: format!("user {}", self.rng.random_range(0..3)).into_bytes().into(),
                epoch: self.rng.random_range(0..6),
                count_max: self.rng.random_range(1..20),
            },
            _ => self.exec(cell, key, Self::mixed_step),
        }
    }

    fn mixed_step(&mut self) -> Op {
        match self.rng.random_range(0..5) {
            0 => self.set(Expiry::After { ms: 700 }),
            1 => Op::Touch,
            2 => Op::HashSet { fields: self.fields(), only_new: false },
            3 => Op::Destroy,
            _ => Op::Read { projection: Projection::Whole },
        }
    }
}
