//! A namespace that refuses ids that were destroyed (`after_destroy = "refuse"`), in three regions: whoever ended a session, and
//! wherever somebody begins another one under its id.

use super::dev::{World, free_ports_from, until};

/// Where the Redis port of a region's only node is, from the first port on.
const fn port(region: u16) -> u16 {
    100 * region + 1
}

const REGIONS: u16 = 3;

/// What begins a session under an id, in the place of `{}`.
const BEGINNINGS: [&str; 5] = ["SET {} new EX 3600", "SET {} new NX EX 3600", "HSET {} a 1", "INCR {}", "SADD {} a"];

#[test]
fn an_id_that_was_destroyed_through_one_region_is_refused_through_every_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let world =
        World::start_with(free_ports_from(8_000, 400), directory.path(), &["--regions", "na,eu,apac", "--nodes", "1"]);
    assert_eq!(world.run(&["namespace", "set", "default", "--after-destroy", "refuse"]).code, 0);
    until("all regions refuse", || {
        (0..REGIONS).all(|region| {
            let node = format!("127.0.0.1:{}", world.base_port + port(region) + 1);
            world.run(&["namespace", "show", "default", "--node", &node, "-o", "json"]).out.contains("\"refuse\"")
        })
    });

    at_once(&world);
    once_all_have_heard(&world);
    while_the_region_that_knows_is_cut_off(&world);
    until_the_namespace_says_otherwise(&world);
}

/// Each region ends a session of each, and another one begins it again.
fn triples() -> impl Iterator<Item = (u16, u16, u16)> {
    (0..REGIONS.pow(3)).map(|number| (number % REGIONS, number / REGIONS % REGIONS, number / REGIONS / REGIONS))
}

fn id((home, ends, begins): (u16, u16, u16)) -> String {
    format!("sess:{home}:{ends}:{begins}")
}

/// What a node says once it does not refuse for now, as it may while a leader is looked for.
fn said(world: &World<'_>, at: u16, command: &str) -> String {
    let mut said = String::new();
    until("an answer", || {
        said = world.redis_at(at, command);
        !said.starts_with("-CLUSTERDOWN")
    });
    said
}

fn refuses(world: &World<'_>, at: u16, id: &str) {
    for beginning in BEGINNINGS {
        let said = said(world, at, &beginning.replace("{}", id));
        assert!(said.starts_with("-ERR") && said.contains("destroyed"), "{beginning} {id} at {at}: {said}");
    }
    // What saves only what is there finds nothing, and neither does whoever looks.
    for (command, nothing) in [("SET {} late XX EX 3600", "$-1"), ("GET {}", "$-1"), ("EXPIRE {} 60", ":0")] {
        assert_eq!(said(world, at, &command.replace("{}", id)), nothing, "{command} {id} at {at}");
    }
}

fn at_once(world: &World<'_>) {
    for triple in triples() {
        let (home, ends, begins) = triple;
        let id = id(triple);
        until("the session is written", || world.redis_at(port(home), &format!("SET {id} v EX 3600")) == "+OK");
        assert_eq!(said(world, port(ends), &format!("DEL {id}")), ":1", "{id}");
        refuses(world, port(begins), &id);
    }
}

fn once_all_have_heard(world: &World<'_>) {
    until("all regions have let the sessions go", || {
        (0..REGIONS).all(|region| world.redis_at(port(region), "DBSIZE") == ":0")
    });
    for triple in triples() {
        (0..REGIONS).for_each(|region| refuses(world, port(region), &id(triple)));
    }
}

fn while_the_region_that_knows_is_cut_off(world: &World<'_>) {
    until("the session is written", || world.redis_at(port(0), "SET sess:cut v EX 3600") == "+OK");
    for pair in ["na-eu", "na-apac"] {
        assert_eq!(world.dev(&["wan", "cut", pair]).code, 0);
    }
    assert_eq!(world.redis_at(port(0), "DEL sess:cut"), ":1", "its lease is not over yet");
    for region in 1..REGIONS {
        let said = world.redis_at(port(region), "SET sess:cut new NX EX 3600");
        assert!(said == "$-1" || said.starts_with("-CLUSTERDOWN"), "nobody else may know that it is over: {said}");
    }
    assert_eq!(world.dev(&["wan", "heal"]).code, 0);
    for region in 1..REGIONS {
        until("it is heard that the session is over", || world.redis_at(port(region), "GET sess:cut") == "$-1");
        refuses(world, port(region), "sess:cut");
    }
}

/// Tombstones stand as they did: it is the namespace that refuses.
fn until_the_namespace_says_otherwise(world: &World<'_>) {
    assert_eq!(world.run(&["namespace", "set", "default", "--after-destroy", "create"]).code, 0);
    for triple in triples().filter(|(home, ends, _)| home != ends) {
        let (_, _, begins) = triple;
        let id = id(triple);
        until("the id is given again", || world.redis_at(port(begins), &format!("SET {id} again EX 3600")) == "+OK");
        for region in 0..REGIONS {
            until("all regions know the new one", || world.redis_at(port(region), &format!("GET {id}")) == "again");
        }
    }
}
