//! Writes that wait for another region (`ack = "geo"`), with real processes that are frozen and killed.

use super::dev::{World, free_ports_from, until};
use std::time::{Duration, Instant};

/// Where the Redis port of node `node` of a region is, from the first port on.
const fn na(node: u16) -> u16 {
    10 * node + 1
}

const fn eu(node: u16) -> u16 {
    100 + 10 * node + 1
}

/// Longer than a write waits for other regions, and than a read for its home; shorter than any client waits.
const IN_TIME: Duration = Duration::from_secs(15);

const WRITES: u16 = 40;

#[test]
fn what_is_acknowledged_outlives_its_region() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::start_with(free_ports_from(8_000, 300), directory.path(), &["--regions", "na,eu"]);
    assert_eq!(world.run(&["namespace", "set", "default", "--ack", "geo"]).code, 0);

    writes_pass_while_another_region_is_up(&world);
    without_one_they_are_refused_in_time_and_repeated_later(&world);
    what_was_acknowledged_is_in_the_other_region_when_the_first_is_killed(&world);
}

fn act(world: &World<'_>, act: &str, nodes: [&str; 3]) {
    for node in nodes {
        assert_eq!(world.dev(&[act, node]).code, 0, "{act} {node}");
    }
}

fn writes_pass_while_another_region_is_up(world: &World<'_>) {
    // The streams come up after the nodes.
    until("the first write is acknowledged", || world.redis_at(na(0), "SET first v EX 3600") == "+OK");
    for number in 0..10 {
        assert_eq!(world.redis_at(na(number % 3), &format!("SET a:{number} v EX 3600")), "+OK");
        assert_eq!(world.redis_at(na(0), &format!("INCR count:{number}")), ":1");
    }
    // What was set through one region holds in the other, too.
    until("theirs is acknowledged", || world.redis_at(eu(0), "SET theirs v EX 3600") == "+OK");
}

fn without_one_they_are_refused_in_time_and_repeated_later(world: &World<'_>) {
    act(world, "stop", ["eu-0", "eu-1", "eu-2"]);
    let began = Instant::now();
    let refused = world.redis_at(na(0), "SET a:0 w EX 3600");
    assert!(refused.starts_with("-NOREPLICAS") && refused.contains("only 0 other regions"), "{refused}");
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    assert_eq!(world.redis_at(na(1), "GET a:0"), "w", "it is durable at home");
    // What the silent region orders is not read from a copy that may be old, and the caller hears so.
    let began = Instant::now();
    let away = world.redis_at(na(2), "GET theirs");
    assert!(away.starts_with("-CLUSTERDOWN"), "{away}");
    assert!(began.elapsed() < IN_TIME, "{:?}", began.elapsed());
    act(world, "cont", ["eu-0", "eu-1", "eu-2"]);
    until("the write is acknowledged", || world.redis_at(na(0), "SET a:0 w EX 3600") == "+OK");
    until("what they order is read", || world.redis_at(na(2), "GET theirs") == "v");
}

fn what_was_acknowledged_is_in_the_other_region_when_the_first_is_killed(world: &World<'_>) {
    let sessions = |port| world.redis_at(port, "DBSIZE")[1..].parse::<u16>().expect("a number");
    until("both know the same", || sessions(na(0)) == sessions(eu(0)));
    let before = sessions(eu(0));
    for number in 0..WRITES {
        assert_eq!(world.redis_at(na(number % 3), &format!("SET last:{number} v EX 3600")), "+OK");
    }
    // No time passes between the last answer and this: what was answered is there.
    assert_eq!(sessions(eu(1)), before + WRITES);
    assert_eq!(world.redis_at(na(0), "SET last:0 w EX 3600"), "+OK");
    act(world, "kill", ["na-0", "na-1", "na-2"]);
    assert_eq!(sessions(eu(2)), before + WRITES, "with their home gone");
    let read = world.redis_at(eu(0), "GET last:0");
    assert!(read == "w" || read.starts_with("-CLUSTERDOWN region 0 keeps"), "nothing older: {read}");
}
