//! Two regions of real processes: sessions are read and written in both, and ended in both.

use super::dev::{World, free_ports_from, until};

/// Where the Redis port of node `node` of a region is, from the first port on.
const fn na(node: u16) -> u16 {
    10 * node + 1
}

const fn eu(node: u16) -> u16 {
    100 + 10 * node + 1
}

#[test]
fn a_session_is_the_same_in_both_regions() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::start_with(free_ports_from(8_000, 300), directory.path(), &["--regions", "na,eu"]);

    what_one_region_writes_the_other_reads(&world);
    what_is_destroyed_in_one_region_is_gone_in_both(&world);
    a_session_moves_by_command(&world);
    a_killed_leader_at_home_is_waited_for(&world);
    a_lost_region_takes_its_own_sessions_with_it_and_no_others(&world);
    a_namespace_is_cleared_in_both_regions(&world);
}

fn what_one_region_writes_the_other_reads(world: &World<'_>) {
    for number in 0..40_u16 {
        let (id, node) = (format!("sess:{number}"), number % 3);
        assert_eq!(world.redis_at(na(node), &format!("SET {id} first EX 3600")), "+OK");
        assert_eq!(world.redis_at(eu(node), &format!("GET {id}")), "first", "{id} was acknowledged");
        assert_eq!(world.redis_at(eu(0), &format!("SET {id} second EX 3600")), "+OK");
        assert_eq!(world.redis_at(na(2), &format!("GET {id}")), "second");
        assert_eq!(world.redis_at(eu(1), &format!("GET {id}")), "second", "its own write");
    }
    assert_eq!(world.redis_at(eu(0), "HSET cart a 1"), ":1");
    assert_eq!(world.redis_at(na(0), "HINCRBY cart a 4"), ":5");
    assert_eq!(world.redis_at(eu(2), "HGET cart a"), "5");
    for number in 0..10 {
        // So new that no copy has come, and nobody has read it there.
        assert_eq!(world.redis_at(na(0), &format!("HSET new:{number} a 1")), ":1");
        assert_eq!(world.redis_at(eu(1), &format!("HINCRBY new:{number} a 4")), ":5");
        assert_eq!(world.redis_at(na(1), &format!("SET brief:{number} v")), "+OK");
        assert_eq!(world.redis_at(eu(2), &format!("DEL brief:{number}")), ":1", "logged out at once");
    }
    until("both regions hold all", || {
        world.redis_at(eu(1), "DBSIZE") == ":51" && world.redis_at(na(1), "DBSIZE") == ":51"
    });
}

fn what_is_destroyed_in_one_region_is_gone_in_both(world: &World<'_>) {
    for (number, by) in [(0, eu(0)), (1, na(1)), (2, eu(2))] {
        let id = format!("sess:{number}");
        assert_eq!(world.redis_at(by, &format!("DEL {id}")), ":1");
        let get = |port| world.redis_at(port, &format!("GET {id}"));
        assert!((0..3).all(|node| get(na(node)) == "$-1"), "its home");
        if by == eu(0) || by == eu(2) {
            assert!((0..3).all(|node| get(eu(node)) == "$-1"), "the region that ended it");
        }
        until("the other region has heard", || get(eu(1)) == "$-1");
    }
    until("both regions have let them go", || {
        world.redis_at(eu(1), "DBSIZE") == ":48" && world.redis_at(na(1), "DBSIZE") == ":48"
    });
}

fn a_session_moves_by_command(world: &World<'_>) {
    let moved = |id: &str, to: &str| world.run(&["session", "move", id, "--to", to]);
    for node in 0..3 {
        // Written a moment ago through any node of either region, and by nobody since.
        assert_eq!(world.redis_at(na(node), "SET sess:7 here EX 3600"), "+OK");
        assert_eq!(world.redis_at(eu(node), "SET sess:7 there EX 3600"), "+OK");
    }
    // What comes before may be over before the regions have met.
    until("all regions have met", || !moved("sess:7", "na").err.contains("have not all met yet"));
    let there = moved("sess:7", "eu");
    assert!(there.code == 0 && there.out.contains("at home in eu now"), "{there:?}");
    assert_eq!(world.redis_at(na(1), "GET sess:7"), "there");
    assert_eq!(world.redis_at(na(0), "SET sess:7 moved EX 3600"), "+OK");
    assert!((0..3).all(|node| world.redis_at(eu(node), "GET sess:7") == "moved"), "its home");
    assert!((0..3).all(|node| world.redis_at(na(node), "GET sess:7") == "moved"), "who wrote it");
    let again = moved("sess:7", "eu");
    assert!(again.code == 0 && again.out.contains("already"), "{again:?}");
    let unknown = moved("sess:7", "mars");
    assert!(unknown.code == 1 && unknown.err.contains("it has na, eu"), "{unknown:?}");
    let none = moved("sess:0", "eu");
    assert!(none.code == 1 && none.err.contains("no session with this id lives"), "{none:?}");
}

fn a_killed_leader_at_home_is_waited_for(world: &World<'_>) {
    let (mut acknowledged, mut failed) = (0, 0);
    assert_eq!(world.redis_at(na(0), "SET count 0"), "+OK");
    for step in 0..60 {
        if step == 20 {
            assert_eq!(world.dev(&["kill", "na-1"]).code, 0);
        }
        match world.redis_at(eu(step % 3), "INCR count") {
            number if number.starts_with(':') => acknowledged += 1,
            error => {
                assert!(error.starts_with("-CLUSTERDOWN"), "{error}");
                failed += 1;
            }
        }
    }
    let counted: i64 = world.redis_at(eu(0), "GET count").parse().expect("a number");
    assert!((acknowledged..=acknowledged + failed).contains(&counted), "{acknowledged} + {failed}: {counted}");
    assert!(acknowledged >= 50, "{failed} failed");
    assert_eq!(world.dev(&["start", "na-1"]).code, 0);
}

fn a_lost_region_takes_its_own_sessions_with_it_and_no_others(world: &World<'_>) {
    assert_eq!(world.redis_at(eu(0), "SET sess:eu mine EX 3600"), "+OK");
    for node in ["na-0", "na-1", "na-2"] {
        assert_eq!(world.dev(&["kill", node]).code, 0);
    }
    assert_eq!(world.redis_at(eu(1), "GET sess:eu"), "mine");
    assert_eq!(world.redis_at(eu(1), "SET sess:eu still EX 3600"), "+OK");
    assert_eq!(world.redis_at(eu(2), "SET sess:7 still EX 3600"), "+OK", "it has moved");
    let refused = world.redis_at(eu(2), "SET sess:5 no EX 3600");
    assert!(refused.starts_with("-CLUSTERDOWN region 0 keeps the session"), "{refused}");
    let node = format!("127.0.0.1:{}", world.base_port + 102);
    let lonely = world.run(&["namespace", "create", "shop", "--node", &node]);
    assert!(lonely.code == 1 && lonely.err.contains("more than half of the regions must be up"), "{lonely:?}");
    for node in ["na-0", "na-1", "na-2"] {
        assert_eq!(world.dev(&["start", node]).code, 0);
    }
    until("the region is back", || world.redis_at(eu(2), "GET sess:5") == "second");
    assert_eq!(world.redis_at(na(0), "GET sess:eu"), "still");
    until("na has heard", || world.redis_at(na(0), "GET sess:7") == "still");
}

fn a_namespace_is_cleared_in_both_regions(world: &World<'_>) {
    // A region that has just come back writes nothing before the world has said that it still may.
    until("na may write again", || world.redis_at(eu(1), "FLUSHDB") == "+OK");
    until("both regions are empty", || {
        world.redis_at(eu(0), "DBSIZE") == ":0" && world.redis_at(na(0), "DBSIZE") == ":0"
    });
}
