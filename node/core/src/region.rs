//! What a region agrees on beside sessions: its members, its slot table, its namespaces. Kept by the system group.

mod namespaces;
mod slots;

pub use namespaces::{Adopted, Contradiction};
pub use slots::{SLOT_MOVES_MAX, SlotMoves, WantedMove};

use crate::{
    control::WorldNamespace,
    ids::{NamespaceId, NodeId, RegionId, ShardId, Slot, SlotTable},
    mint::MintKey,
    placement::{self, GroupName},
    policy::{Namespace, Policy},
    rebalancing::Rebalancing,
};
use std::collections::{BTreeMap, BTreeSet};

/// Where a node can be reached, each as `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Other nodes of the region.
    pub peers: String,
    /// Redis clients.
    pub resp: String,
    /// gRPC clients.
    pub grpc: String,
    /// Probes, metrics, dashboard.
    pub http: String,
}

/// A node of the region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number, never used again.
    pub id: NodeId,
    /// Its name, such as `na-1`.
    pub name: String,
    /// Where to reach it.
    pub addresses: Addresses,
    /// Whether leaders and replicas are being moved away from it.
    pub draining: bool,
    /// Drawn when its data directory was made: a node that shows another one has lost its disk. `None` until the node was
    /// seen; it has voted nowhere before.
    pub disk: Option<u128>,
}

/// The region's agreed state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionState {
    /// Drawn when the world was founded; nodes of another world are refused.
    pub world: u128,
    /// Which region of the world.
    pub region: RegionId,
    /// Its name, such as `na`.
    pub name: String,
    /// By which it knows the ids that it minted.
    pub mint_key: MintKey,
    /// Which shard holds each slot.
    pub slots: SlotTable,
    /// Nodes, by number.
    pub members: BTreeMap<NodeId, Member>,
    /// How many voters each group should have.
    pub replicas: u32,
    /// The voters that each group should have; its leader sees to it.
    pub placement: BTreeMap<GroupName, BTreeSet<NodeId>>,
    /// Groups whose placement never changed: only these may be founded by the nodes that hold them.
    pub as_founded: BTreeSet<GroupName>,
    /// How replicas are moved.
    pub rebalancing: Rebalancing,
    /// Namespaces, by number.
    pub namespaces: BTreeMap<NamespaceId, Namespace>,
    /// The lowest node number that was never given out.
    pub next_node: u64,
    /// The lowest namespace number that was never given out.
    pub next_namespace: u32,
    /// Who speaks for the region in the world's control group; none in a world of one region.
    pub delegate: Option<Delegate>,
    /// What of the namespaces is the world's; nothing in a world of one region.
    pub adopted: Adopted,
    /// Slots on their way between shards.
    pub slot_moves: SlotMoves,
}

/// The node that votes for its region in the world's control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// Which.
    pub voter: NodeId,
    /// Drawn when the first one was named, and kept: tells the region from another one that is founded under its name.
    pub mark: u128,
}

/// The namespace that exists from the start.
pub const DEFAULT_NAMESPACE: NamespaceId = NamespaceId(0);

/// Its name.
pub const DEFAULT_NAMESPACE_NAME: &str = "default";

impl Default for RegionState {
    /// A region that nobody has founded.
    fn default() -> Self {
        Self {
            world: 0,
            region: RegionId(0),
            name: String::new(),
            mint_key: MintKey::default(),
            slots: SlotTable::even(1),
            members: BTreeMap::new(),
            replicas: 3,
            placement: BTreeMap::new(),
            as_founded: BTreeSet::new(),
            rebalancing: Rebalancing::default(),
            namespaces: BTreeMap::from([(DEFAULT_NAMESPACE, namespaces::default_namespace())]),
            next_node: 1,
            next_namespace: 1,
            delegate: None,
            adopted: Adopted::default(),
            slot_moves: SlotMoves::default(),
        }
    }
}

/// A change of what the region agrees on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionCommand {
    /// The first entry of a region. Refused if there is another.
    Found {
        /// The world.
        world: u128,
        /// The region's number.
        region: RegionId,
        /// The region's name.
        name: String,
        /// Drawn at random.
        mint_key: MintKey,
        /// How many shards share the slots.
        shard_count: u32,
        /// How many voters each group should have.
        replicas: u32,
        /// The founding members, numbered by the caller.
        members: Vec<Member>,
    },
    /// Adds a node, or answers the number of the member with that disk. Without a disk a number is reserved for whoever
    /// comes with the name.
    AddMember {
        /// Its name.
        name: String,
        /// Where to reach it.
        addresses: Addresses,
        /// Its disk, if it has come.
        disk: Option<u128>,
    },
    /// A member shows its disk before it votes for the first time. Refused if it showed another one before.
    AdmitMember {
        /// Which.
        id: NodeId,
        /// Its disk.
        disk: u128,
    },
    /// Changes where a node is reached.
    MoveMember {
        /// Which.
        id: NodeId,
        /// Where from now on.
        addresses: Addresses,
    },
    /// Starts or stops draining.
    DrainMember {
        /// Which.
        id: NodeId,
        /// Whether to.
        draining: bool,
    },
    /// Forgets a node.
    RemoveMember {
        /// Which.
        id: NodeId,
    },
    /// Says which voters a group should have. Refused if it should have had others than `over` before.
    Place {
        /// Which group.
        group: GroupName,
        /// The voters that it should have had.
        over: BTreeSet<NodeId>,
        /// The voters that it should have.
        voters: BTreeSet<NodeId>,
    },
    /// Names the node that votes for the region in the world's control group. Refused if another one did than `over`.
    Delegate {
        /// Who did.
        over: Option<NodeId>,
        /// Who does from now on.
        voter: NodeId,
        /// Drawn at random; the first one stays.
        mark: u128,
    },
    /// Says how replicas are moved; what is `None` stays as it is.
    SetRebalancing {
        /// Whether to hold it up.
        paused: Option<bool>,
        /// Bytes a second that each node sends in snapshots at most; 0 for as fast as it goes.
        bytes_per_s_max: Option<u64>,
    },
    /// Creates a namespace.
    CreateNamespace {
        /// Its name: 1 to 64 of `a-z A-Z 0-9 _ -`.
        name: String,
        /// What holds in it.
        policy: Policy,
    },
    /// Replaces a namespace's policy.
    SetNamespace {
        /// Which.
        name: String,
        /// What holds from now on.
        policy: Policy,
    },
    /// Forgets a namespace; the default one cannot go.
    DropNamespace {
        /// Which.
        name: String,
    },
    /// Takes over the namespaces that the world agrees on, unless later ones were. What the region has of its own stays.
    AdoptNamespaces {
        /// The version of the world's state.
        version: u64,
        /// All that it has.
        namespaces: BTreeMap<NamespaceId, WorldNamespace>,
    },
    /// The sessions are destroyed of a namespace that the world has dropped.
    ForgetNamespace {
        /// Which.
        id: NamespaceId,
    },
    /// Has slots move to another shard. Answers the number of the move.
    MoveSlots {
        /// Who serves them.
        from: ShardId,
        /// Who shall.
        to: ShardId,
        /// The first slot.
        first: Slot,
        /// The last one.
        last: Slot,
    },
    /// Notes that slots are served where they were to go: whoever carries the move out has seen it in that shard's log.
    ServeSlots {
        /// Which move.
        number: u64,
        /// Which slots.
        slots: BTreeSet<Slot>,
    },
    /// Notes that nothing is left to be done for slots, wherever they are.
    CloseSlots {
        /// Which move.
        number: u64,
        /// Which slots.
        slots: BTreeSet<Slot>,
    },
    /// Has slots stay that have not moved yet.
    GiveSlotsUp {
        /// Which move.
        number: u64,
    },
}

/// What a change of the region answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionOutcome {
    /// It happened.
    Done,
    /// The node's number.
    Node(NodeId),
    /// The namespace's number.
    Namespace(NamespaceId),
    /// The number of a move of slots.
    SlotMove(u64),
    /// Nothing changed, and why.
    Refused(RegionRefusal),
}

/// Why a change of the region was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionRefusal {
    /// It was founded before.
    #[error("the region was founded already, as {name}")]
    Founded {
        /// Its name.
        name: String,
    },
    /// No such node.
    #[error("no node {0:?} in this region; `sojourn cluster members` lists them")]
    UnknownNode(NodeId),
    /// Another node has the name.
    #[error("the node name {0} is taken; give the new node another one")]
    NodeNameTaken(String),
    /// The node has lost its disk, or another one uses its number.
    #[error(
        "node {} was here with another data directory. If it has lost its disk, it must not vote as before: run `sojourn \
         cluster remove-node {} --force`, then start it with an empty data directory and `--join`", .0.0, .0.0
    )]
    DiskChanged(NodeId),
    /// Somebody else changed it meanwhile, or a node of it is no member.
    #[error("the group's placement has changed meanwhile")]
    Placement,
    /// No such namespace.
    #[error("no namespace {0}; `sojourn namespace list` shows them")]
    UnknownNamespace(String),
    /// There is one of that name.
    #[error("the namespace {0} exists; change it with `sojourn namespace set`")]
    NamespaceExists(String),
    /// Not a name.
    #[error("{0:?} is no namespace name: 1 to 64 letters, digits, `_` or `-`")]
    BadNamespaceName(String),
    /// Two namespaces cannot answer to one number.
    #[error("the namespace {owner} already has database {database}")]
    DatabaseTaken {
        /// The number for `SELECT`.
        database: u32,
        /// Who has it.
        owner: String,
    },
    /// Too many moves wait.
    #[error("{SLOT_MOVES_MAX} moves of slots wait already; let some end first (`sojourn cluster status` shows them)")]
    SlotMovesWait,
    /// No such shard.
    #[error("no shard {} in this region; `sojourn cluster status` lists them", .0.0)]
    UnknownShard(ShardId),
    /// Nothing to move.
    #[error(
        "there is nothing to move: name two different shards and a range of slots from low to high, such as 0-4095"
    )]
    NoSlots,
    /// A shard would have none.
    #[error("a shard keeps one slot at least, and these are the last ones of shard {}", .0.0)]
    LastSlots(ShardId),
    /// Another shard has the slot.
    #[error("slot {slot} is held by shard {}; `sojourn cluster status` shows who holds which", .shard.0)]
    SlotElsewhere {
        /// The slot.
        slot: u16,
        /// Who has it.
        shard: ShardId,
    },
    /// The slot is on its way.
    #[error(
        "slot {slot} is on its way already; wait for that move, or stop it with `sojourn cluster move-slots --stop`"
    )]
    SlotMoves {
        /// The slot.
        slot: u16,
    },
    /// No such move.
    #[error("no move {0} of slots; `sojourn cluster status` shows those that are under way")]
    UnknownSlotMove(u64),
    /// The default namespace stays.
    #[error("the default namespace cannot be dropped")]
    DefaultNamespace,
}

impl RegionState {
    /// Applies one change.
    pub fn apply(&mut self, command: RegionCommand) -> RegionOutcome {
        self.change(command).unwrap_or_else(RegionOutcome::Refused)
    }

    fn change(&mut self, command: RegionCommand) -> Result<RegionOutcome, RegionRefusal> {
        match command {
            RegionCommand::Found { world, region, name, mint_key, shard_count, replicas, members } => {
                if self.world != 0 {
                    return Err(RegionRefusal::Founded { name: self.name.clone() });
                }
                self.world = world;
                self.region = region;
                self.name = name;
                self.mint_key = mint_key;
                self.slots = SlotTable::even(shard_count);
                self.next_node = members.iter().map(|member| member.id.0 + 1).max().unwrap_or(1);
                self.members = members.into_iter().map(|member| (member.id, member)).collect();
                self.replicas = replicas;
                self.placement = placement::found(&self.members, (0..shard_count).map(ShardId), replicas);
                self.as_founded = self.placement.keys().copied().collect();
                Ok(RegionOutcome::Done)
            }
            RegionCommand::AddMember { name, addresses, disk } => self.add_member(name, addresses, disk),
            RegionCommand::AdmitMember { id, disk } => {
                let member = self.member(id)?;
                if *member.disk.get_or_insert(disk) == disk {
                    Ok(RegionOutcome::Done)
                } else {
                    Err(RegionRefusal::DiskChanged(id))
                }
            }
            RegionCommand::Place { group, over, voters } => {
                let members = voters.iter().all(|voter| self.members.contains_key(voter));
                match self.placement.get_mut(&group) {
                    Some(placed) if *placed == over && members && !voters.is_empty() => {
                        *placed = voters;
                        self.as_founded.remove(&group);
                        Ok(RegionOutcome::Done)
                    }
                    Some(_) | None => Err(RegionRefusal::Placement),
                }
            }
            RegionCommand::Delegate { over, voter, mark } => {
                self.member(voter)?;
                if self.delegate.map(|delegate| delegate.voter) != over {
                    return Err(RegionRefusal::Placement);
                }
                let mark = self.delegate.map_or(mark, |delegate| delegate.mark);
                self.delegate = Some(Delegate { voter, mark });
                Ok(RegionOutcome::Done)
            }
            RegionCommand::MoveMember { id, addresses } => {
                self.member(id)?.addresses = addresses;
                Ok(RegionOutcome::Done)
            }
            RegionCommand::DrainMember { id, draining } => {
                self.member(id)?.draining = draining;
                Ok(RegionOutcome::Done)
            }
            RegionCommand::RemoveMember { id } => {
                self.members.remove(&id).ok_or(RegionRefusal::UnknownNode(id))?;
                Ok(RegionOutcome::Done)
            }
            RegionCommand::SetRebalancing { paused, bytes_per_s_max } => {
                let now = &mut self.rebalancing;
                now.paused = paused.unwrap_or(now.paused);
                now.bytes_per_s_max = bytes_per_s_max.unwrap_or(now.bytes_per_s_max);
                Ok(RegionOutcome::Done)
            }
            RegionCommand::CreateNamespace { name, policy } => self.create_namespace(name, policy),
            RegionCommand::SetNamespace { name, policy } => self.set_namespace(name, policy),
            RegionCommand::DropNamespace { name } => self.drop_namespace(&name),
            RegionCommand::AdoptNamespaces { version, namespaces } => {
                self.adopt_namespaces(version, namespaces);
                Ok(RegionOutcome::Done)
            }
            RegionCommand::ForgetNamespace { id } => {
                self.adopted.dropped.remove(&id);
                Ok(RegionOutcome::Done)
            }
            RegionCommand::MoveSlots { from, to, first, last } => self.move_slots((from, to), (first, last)),
            RegionCommand::ServeSlots { number, slots } => {
                self.serve_slots(number, &slots);
                Ok(RegionOutcome::Done)
            }
            RegionCommand::CloseSlots { number, slots } => {
                self.close_slots(number, &slots);
                Ok(RegionOutcome::Done)
            }
            RegionCommand::GiveSlotsUp { number } => self.give_slots_up(number),
        }
    }

    /// Who should vote for the region in the world's control group in place of who does, if anybody: it stays with one node until
    /// that one is removed or drained, and goes to the lowest number then.
    pub fn next_delegate(&self) -> Option<NodeId> {
        let able = |member: &Member| member.disk.is_some() && !member.draining;
        let now = self.delegate.map(|delegate| delegate.voter);
        if now.and_then(|voter| self.members.get(&voter)).is_some_and(able) {
            return None;
        }
        self.members.values().find(|member| able(member)).map(|member| member.id)
    }

    fn add_member(
        &mut self,
        name: String,
        addresses: Addresses,
        disk: Option<u128>,
    ) -> Result<RegionOutcome, RegionRefusal> {
        let known = self.members.values().find(|member| disk.is_some() && member.disk == disk);
        if let Some(member) = known {
            return Ok(RegionOutcome::Node(member.id));
        }
        if let Some(member) = self.members.values_mut().find(|member| member.name == name) {
            // A number that was reserved and that nobody has claimed yet.
            if member.disk.is_some() {
                return Err(RegionRefusal::NodeNameTaken(name));
            }
            member.disk = disk;
            member.addresses = addresses;
            return Ok(RegionOutcome::Node(member.id));
        }
        let id = NodeId(self.next_node);
        self.next_node += 1;
        self.members.insert(id, Member { id, name, addresses, draining: false, disk });
        Ok(RegionOutcome::Node(id))
    }

    fn member(&mut self, id: NodeId) -> Result<&mut Member, RegionRefusal> {
        self.members.get_mut(&id).ok_or(RegionRefusal::UnknownNode(id))
    }

    /// Whether the node was a member once and is none any more: numbers are never used again.
    pub fn has_removed(&self, node: NodeId) -> bool {
        self.world != 0 && node.0 < self.next_node && !self.members.contains_key(&node)
    }
}
