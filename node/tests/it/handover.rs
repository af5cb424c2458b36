//! A region of real processes is lost, others act for it, and it comes back.

use super::dev::{World, free_ports_from, until};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Where the Redis port of node `node` of a region is, from the first port on.
const fn na(node: u16) -> u16 {
    10 * node + 1
}

const fn eu(node: u16) -> u16 {
    100 + 10 * node + 1
}

const fn apac(node: u16) -> u16 {
    200 + 10 * node + 1
}

/// The leases that the world was founded with: one may still run.
const LEASE: Duration = Duration::from_secs(10);

/// What taking over may take beyond the lease: the control group loses its leader too, and waits from its next one's lead on.
const SLACK: Duration = Duration::from_secs(20);

/// A region is left alone for so long after its phase has changed.
const HOLD_DOWN: Duration = Duration::from_secs(31);

#[test]
fn others_act_for_a_region_that_stops_and_it_acknowledges_nothing_stale_when_it_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World::start_with(free_ports_from(8_000, 400), directory.path(), &["--regions", "na,eu,apac"]);
    let leased = Instant::now();
    write_under_leases(&world);
    // The regions are left alone at first; clients are not.
    while leased.elapsed() < HOLD_DOWN {
        log_in(&world);
        std::thread::sleep(Duration::from_millis(200));
    }
    an_heir_acts_within_the_lease_and_a_moment(&world);
    what_was_written_before_is_there(&world);
    what_goes_on_acknowledges_nothing_stale(&world);
    what_lost_is_shown_in_every_region(&world);
}

/// What the node with this Redis port says of region `name`.
fn region(world: &World<'_>, port: u16, name: &str) -> Value {
    let node = format!("127.0.0.1:{}", world.base_port + port + 1);
    let said = world.run(&["region", "status", "-o", "json", "--node", &node]);
    let status: Value = serde_json::from_str(&said.out).unwrap_or_default();
    let regions = status["regions"].as_array().cloned().unwrap_or_default();
    regions.into_iter().find(|region| region["region"] == name).unwrap_or_default()
}

fn write_under_leases(world: &World<'_>) {
    until("the regions agree", || region(world, eu(0), "apac")["phase"] == "serving");
    let policy = world.run(&["region", "policy", "--failover", "automatic", "--lease", "2s"]);
    assert_eq!(policy.code, 0, "{policy:?}");
    for name in ["na", "eu", "apac"] {
        until("a region writes under leases", || region(world, eu(0), name)["leased"] == true);
    }
}

/// Sessions of users who came in through na.
fn log_in(world: &World<'_>) {
    for number in 0..20 {
        let set = || world.redis_at(na(number % 3), &format!("SET sess:{number} first EX 3600"));
        until("na writes", || set() == "+OK");
    }
}

fn an_heir_acts_within_the_lease_and_a_moment(world: &World<'_>) {
    until("eu holds what na has written", || world.redis_at(eu(1), "DBSIZE") == ":20");
    // Written and acknowledged while na has its lease still, and heard of by nobody else.
    for pair in ["na-eu", "na-apac"] {
        let cut = world.dev(&["wan", "cut", pair]);
        assert_eq!(cut.code, 0, "{cut:?}");
    }
    assert_eq!(world.redis_at(na(0), "SET sess:4 unheard EX 3600"), "+OK");
    let stopped = world.dev(&["stop", "na"]);
    assert!(stopped.code == 0 && stopped.out.contains("na-2 is frozen"), "{stopped:?}");
    let lost = Instant::now();
    assert!(world.redis_at(eu(0), "SET sess:0 stolen EX 3600").starts_with("-CLUSTERDOWN"), "na may still write");
    let mut heir = String::new();
    until("somebody writes sessions of na", || {
        heir = world.redis_at(eu(0), "SET sess:0 second EX 3600");
        heir == "+OK"
    });
    let took = lost.elapsed();
    eprintln!("sessions of na are writable {took:?} after it was stopped");
    assert!(took < LEASE + SLACK, "{took:?}");
    let na = region(world, eu(0), "na");
    assert!(
        na["phase"] == "open" && na["away"] == true && na["cut"].as_array().is_some_and(|cut| !cut.is_empty()),
        "{na}"
    );
}

fn what_was_written_before_is_there(world: &World<'_>) {
    until("who does not act asks who does", || world.redis_at(apac(1), "GET sess:0") == "second");
    for number in 1..20_u16 {
        for port in [eu(number % 3), apac(number % 3)] {
            // Shards begin one after the other, and are heard of in the next region later.
            until("the session is read", || {
                let answer = world.redis_at(port, &format!("GET sess:{number}"));
                assert!(answer == "first" || answer.starts_with("-CLUSTERDOWN"), "{answer}");
                answer == "first"
            });
        }
    }
    assert_eq!(world.redis_at(apac(0), "SET sess:1 third EX 3600"), "+OK");
    assert_eq!(world.redis_at(eu(2), "GET sess:1"), "third");
    assert_eq!(world.redis_at(apac(1), "SET sess:4 meanwhile EX 3600"), "+OK");
    assert_eq!(world.redis_at(eu(1), "DEL sess:2"), ":1", "logged out while its home is away");
    assert_eq!(world.redis_at(apac(2), "SET new:1 fresh EX 3600"), "+OK", "a new visitor");
}

fn what_goes_on_acknowledges_nothing_stale(world: &World<'_>) {
    assert_eq!(world.dev(&["cont", "na"]).code, 0);
    assert_eq!(world.dev(&["wan", "heal"]).code, 0);
    // From the first moment on: an answer is as the others have it, or none.
    let answers = |port, command: &str, right: &str| {
        let answer = world.redis_at(port, command);
        assert!(answer == right || answer.starts_with('-'), "{command}: {answer}");
        answer == right
    };
    for round in 0..30 {
        answers(na(round % 3), "GET sess:0", "second");
        answers(na(round % 3), "GET sess:2", "$-1");
        answers(na(round % 3), "GET sess:1", "third");
    }
    until("na asks who acts", || answers(na(1), "GET sess:0", "second") && answers(na(2), "GET sess:2", "$-1"));
    until("na sends writes on", || world.redis_at(na(0), "SET sess:3 fourth EX 3600") == "+OK");
    assert_eq!(world.redis_at(eu(0), "GET sess:3"), "fourth");
    assert_eq!(world.redis_at(na(0), "GET sess:3"), "fourth");
    until("it is known to be back", || region(world, eu(0), "na")["phase"] == "returning");
}

/// What `region conflicts` says at the node with this Redis port.
fn conflicts(world: &World<'_>, port: u16, more: &[&str]) -> String {
    let node = format!("127.0.0.1:{}", world.base_port + port + 1);
    let said = world.run(&[&["region", "conflicts", "--node", &node], more].concat());
    assert_eq!(said.code, 0, "{said:?}");
    said.out
}

fn what_lost_is_shown_in_every_region(world: &World<'_>) {
    until("what na wrote is settled", || region(world, eu(0), "na")["orphans"]["journaled"] == 1);
    for port in [na(2), eu(1), apac(0)] {
        until("the journal says so", || conflicts(world, port, &["--show-ids"]).contains("sess:4"));
        let told: Value = serde_json::from_str(&conflicts(world, port, &["-o", "json", "--show-ids"])).expect("JSON");
        let told = told.as_array().expect("a list");
        assert_eq!(told.len(), 1, "{told:?}");
        let entry = &told[0];
        assert_eq!(
            (&entry["session"], &entry["home"], &entry["kept"]),
            (&"sess:4".into(), &"na".into(), &"theirs".into())
        );
        assert_eq!(entry["differs"], serde_json::json!(["value"]), "{entry}");
        let values = (&entry["mine"]["fields"][""], &entry["theirs"]["fields"][""]);
        assert_eq!(values, (&"unheard".into(), &"meanwhile".into()));
        let lines = conflicts(world, port, &["--namespace", "default"]);
        assert!(lines.contains('#') && !lines.contains("sess:4") && lines.contains("what the others had"), "{lines}");
        assert_eq!(conflicts(world, port, &["--user", "nobody"]), "No conflicts.\n");
        assert_eq!(conflicts(world, port, &["--user", "nobody", "-o", "json"]), "[]\n");
    }
    let status = world.run(&["region", "status"]);
    assert!(status.out.contains("1 conflict lies in the journal"), "{status:?}");
    assert_eq!(world.redis_at(na(1), "GET sess:4"), "meanwhile");
}
