//! How fast the core is by itself: prints operations per second of one thread. `cargo bench -p sojourn-core`.

#![allow(clippy::print_stdout, reason = "this prints its findings")]

use sojourn_core::{
    Command, Condition, Expiry, Fields, Key, NamespaceId, Op, Projection, Query, RegionId, Request, State,
    policy::Policy,
};
use std::time::Instant;

const SESSIONS: u64 = 250_000;
const OPERATIONS: u64 = 500_000;
const VALUE_BYTES: usize = 1_024;

fn key(number: u64) -> Key {
    Key::new(NamespaceId(0), format!("sess:{number:016}").as_bytes()).expect("a short id")
}

fn command(sequence: u64, number: u64, op: Op) -> Command {
    // As a node names its writes: some are under way, what is below them is settled.
    let request = Request { origin: 7, sequence, settled: sequence.saturating_sub(64) };
    Command { request, key: key(number), rules: Policy::default().rules(false), touched: None, op }
}

fn set() -> Op {
    let value = vec![b'x'; VALUE_BYTES].into();
    Op::Set { value, expiry: Expiry::After { ms: 3_600_000 }, condition: Condition::Always, get: false, owner: None }
}

fn fields(count: u64, value: &str) -> Fields {
    let pairs = (0..count).map(|number| (format!("field{number}").into_bytes().into(), value.as_bytes().into()));
    Fields::from_pairs(pairs)
}

fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % SESSIONS
}

/// Applies one operation to session after session.
fn apply(name: &str, state: &mut State, first: u64, op: impl Fn(u64) -> Op) {
    let commands: Vec<Command> =
        (first..first + OPERATIONS).map(|number| command(number, spread(number), op(number))).collect();
    let mut effects = Vec::new();
    let begin = Instant::now();
    for (number, command) in commands.into_iter().enumerate() {
        state.apply(1_000_000 + first + number as u64, command, &mut effects);
        if effects.len() > 64 {
            effects.clear();
        }
    }
    report(name, begin);
}

fn report(name: &str, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    println!("{name:32} {:>10.0} /s", OPERATIONS as f64 / seconds);
}

fn main() {
    let mut strings = State::new(RegionId(0), 1);
    apply("SET new and old, 1 KiB", &mut strings, 1, |_| set());
    apply("SET old, 1 KiB", &mut strings, 1 + OPERATIONS, |_| set());
    let queries: Vec<Query> =
        (0..OPERATIONS).map(|number| Query::Get { key: key(spread(number)), projection: Projection::Whole }).collect();
    let begin = Instant::now();
    let found = queries.iter().filter(|query| {
        let answer = strings.query(1_500_000, &|_, _| None, query).0;
        answer != sojourn_core::Answer::Record(None)
    });
    let found = found.count();
    report("GET, 1 KiB", begin);
    println!("{found} found");
    let mut hashes = State::new(RegionId(0), 1);
    apply("HSET 10 fields, new and old", &mut hashes, 1, |_| Op::HashSet {
        fields: fields(10, "a value"),
        only_new: false,
    });
    apply("HSET 1 of 10 fields", &mut hashes, 1 + OPERATIONS, |_| Op::HashSet {
        fields: fields(1, "another value"),
        only_new: false,
    });
    apply("HINCRBY 1 of 10 fields", &mut hashes, 1 + 2 * OPERATIONS, |_| Op::HashIncrement {
        name: b"visits"[..].into(),
        by: 1,
    });
}
