//! The command table's form: what dispatch, arity checks, routing and the `COMMAND` family all read.

use super::{args::Args, call::Call, plan::Planned};

/// Plans one command.
pub type Handler = fn(&mut Call<'_>) -> Planned;

/// One command, or one subcommand (`client|list`).
pub struct Spec {
    /// In lower case; a subcommand's name has its command's and a bar in front.
    pub name: &'static str,
    /// Arguments with the name; negative for at least that many.
    pub arity: i32,
    /// See [`flag`].
    pub flags: u32,
    /// Where the keys are.
    pub keys: Keys,
    /// Which family, as `COMMAND DOCS` names it.
    pub group: &'static str,
    /// The first version of Redis that has it.
    pub since: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its arguments for people.
    pub syntax: &'static str,
    /// Plans it; for a command that has subcommands, what happens without one.
    pub handler: Handler,
    /// Its subcommands.
    pub subcommands: &'static [Spec],
}

/// Properties of commands.
pub mod flag {
    /// May change sessions.
    pub const WRITE: u32 = 1;
    /// Only reads sessions.
    pub const READONLY: u32 = 1 << 1;
    /// May create a session or make it larger.
    pub const DENYOOM: u32 = 1 << 2;
    /// For operators.
    pub const ADMIN: u32 = 1 << 3;
    /// Publish and subscribe.
    pub const PUBSUB: u32 = 1 << 4;
    /// Not for scripts.
    pub const NOSCRIPT: u32 = 1 << 5;
    /// Answered while the node starts.
    pub const LOADING: u32 = 1 << 6;
    /// Answered whatever the state of replication.
    pub const STALE: u32 = 1 << 7;
    /// Takes constant or logarithmic time.
    pub const FAST: u32 = 1 << 8;
    /// Answered to those who have not authenticated.
    pub const NO_AUTH: u32 = 1 << 9;
    /// Where the keys are depends on the arguments.
    pub const MOVABLEKEYS: u32 = 1 << 10;
    /// Not between `MULTI` and `EXEC`.
    pub const NO_MULTI: u32 = 1 << 11;
    /// Ours: changes the connection, so that everything before must have been answered.
    pub const BARRIER: u32 = 1 << 12;
    /// Ours: takes [`super::ARGUMENTS_MANY_MAX`] arguments.
    pub const MANY: u32 = 1 << 13;

    /// Those that Redis knows, as `COMMAND INFO` names them.
    pub const NAMES: [(u32, &str); 12] = [
        (WRITE, "write"),
        (READONLY, "readonly"),
        (DENYOOM, "denyoom"),
        (ADMIN, "admin"),
        (PUBSUB, "pubsub"),
        (NOSCRIPT, "noscript"),
        (LOADING, "loading"),
        (STALE, "stale"),
        (FAST, "fast"),
        (NO_AUTH, "no_auth"),
        (MOVABLEKEYS, "movablekeys"),
        (NO_MULTI, "no_multi"),
    ];
}

/// The most arguments of most commands, the name included.
pub const ARGUMENTS_MAX: usize = 1_024;

/// The most arguments of commands on many keys: 65 536 keys, or keys and values, and the name.
pub const ARGUMENTS_MANY_MAX: usize = super::codec::ARGS_MAX;

/// Where a command's keys are: every `step`th argument from `first` to `last`, negative from the end; none if `first` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The first.
    pub first: i32,
    /// The last.
    pub last: i32,
    /// How far apart.
    pub step: i32,
}

/// No keys.
pub const NO_KEYS: Keys = Keys { first: 0, last: 0, step: 0 };
/// The first argument.
pub const ONE_KEY: Keys = Keys { first: 1, last: 1, step: 1 };
/// The first two arguments.
pub const TWO_KEYS: Keys = Keys { first: 1, last: 2, step: 1 };
/// All arguments.
pub const ALL_KEYS: Keys = Keys { first: 1, last: -1, step: 1 };
/// Every other argument.
pub const KEY_VALUES: Keys = Keys { first: 1, last: -1, step: 2 };
/// The second argument.
pub const SECOND_KEY: Keys = Keys { first: 2, last: 2, step: 1 };

impl Spec {
    /// Whether all of `flags` hold.
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }

    /// Whether a request of `count` words fits the arity.
    pub fn fits(&self, count: usize) -> bool {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        if self.arity < 0 { count >= -self.arity } else { count == self.arity }
    }

    /// The most words of a request.
    pub fn arguments_max(&self) -> usize {
        if self.has(flag::MANY) { ARGUMENTS_MANY_MAX } else { ARGUMENTS_MAX }
    }

    /// The keys of a request.
    pub fn keys_of<'a>(&self, args: Args<'a>) -> Vec<&'a [u8]> {
        if self.has(flag::MOVABLEKEYS) {
            return numbered_keys(args);
        }
        let Keys { first, last, step } = self.keys;
        let (Ok(first), Ok(step)) = (usize::try_from(first), usize::try_from(step)) else { return Vec::new() };
        let last = match usize::try_from(last) {
            Ok(last) => last,
            Err(_) => args.len().saturating_sub(last.unsigned_abs() as usize),
        };
        if first == 0 || step == 0 {
            return Vec::new();
        }
        (first..=last).step_by(step).filter_map(|at| args.get(at)).collect()
    }
}

/// The keys of `EVAL`: the third word says how many follow.
fn numbered_keys(args: Args<'_>) -> Vec<&[u8]> {
    let count = args.get(2).and_then(super::codec::integer).and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
    args.from(3).iter().take(count).collect()
}

/// A command of the table; what it lacks is given by the methods below.
pub const fn command(name: &'static str, arity: i32, handler: Handler) -> Spec {
    Spec {
        name,
        arity,
        flags: 0,
        keys: NO_KEYS,
        group: "",
        since: "1.0.0",
        summary: "",
        syntax: "",
        handler,
        subcommands: &[],
    }
}

impl Spec {
    /// With these properties.
    pub const fn flags(mut self, flags: u32) -> Self {
        self.flags = flags;
        self
    }

    /// With keys there.
    pub const fn keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// With what people read of it.
    pub const fn docs(
        mut self,
        group: &'static str,
        since: &'static str,
        syntax: &'static str,
        summary: &'static str,
    ) -> Self {
        self.group = group;
        self.since = since;
        self.syntax = syntax;
        self.summary = summary;
        self
    }

    /// With these subcommands.
    pub const fn subcommands(mut self, subcommands: &'static [Spec]) -> Self {
        self.subcommands = subcommands;
        self
    }
}
