//! Three regions of real processes agree on who acts for whom.

use super::dev::{World, free_ports_from, until};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::TcpStream,
};

/// How far the HTTP port of a region's first node is from the first port.
const REGIONS: [(&str, u16); 3] = [("na", 2), ("eu", 102), ("apac", 202)];

#[test]
fn three_regions_agree_and_decide_over_a_lost_one() {
    let directory = tempfile::tempdir().expect("a directory");
    // Nothing is said of regions: three are started.
    let world = World::start_with(free_ports_from(8_000, 400), directory.path(), &[]);

    what_is_called_ready_can_lose_a_region(&world);
    all_nodes_know_the_three_regions(&world);
    what_one_region_decides_the_others_see(&world);
    a_namespace_is_the_same_in_all_regions(&world);
    the_loss_of_a_voter_is_survived(&world);
    wishes_that_cannot_be_are_refused_with_what_to_do(&world);
    a_region_that_is_given_up_is_fenced_and_the_others_are_asked(&world);
}

/// What the node with this HTTP port says of the regions.
fn status_at(world: &World<'_>, port: u16) -> Value {
    let node = format!("127.0.0.1:{}", world.base_port + port);
    let said = world.run(&["region", "status", "-o", "json", "--node", &node]);
    serde_json::from_str(&said.out).unwrap_or_default()
}

fn metrics_at(world: &World<'_>, port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", world.base_port + port)).expect("connected");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    text
}

fn region<'a>(status: &'a Value, name: &str) -> &'a Value {
    let regions = status["regions"].as_array().map(Vec::as_slice).unwrap_or_default();
    regions.iter().find(|region| region["region"] == name).unwrap_or(&Value::Null)
}

fn voters(status: &Value) -> usize {
    status["control"]["voters"].as_array().map_or(0, Vec::len)
}

fn what_is_called_ready_can_lose_a_region(world: &World<'_>) {
    for (_, first) in REGIONS {
        let status = status_at(world, first);
        let leased = REGIONS.iter().all(|(name, _)| region(&status, name)["leased"] == true);
        assert!(voters(&status) == 3 && leased, "{status}");
    }
}

fn all_nodes_know_the_three_regions(world: &World<'_>) {
    for (_, first) in REGIONS {
        for node in 0..3 {
            until("a node knows all regions, and who votes for them", || {
                let status = status_at(world, first + 10 * node);
                voters(&status) == 3 && REGIONS.iter().all(|(name, _)| region(&status, name)["phase"] == "serving")
            });
        }
    }
    let metrics = metrics_at(world, 112);
    assert!(metrics.contains("sojourn_region_served{region=\"apac\"} 1\n"), "{metrics}");
    let text = world.run(&["region", "status"]).out;
    assert!(text.starts_with("Control group: ") && text.contains("losses are met by leases of 10s"), "{text}");
}

fn what_one_region_decides_the_others_see(world: &World<'_>) {
    let node = |port: u16| format!("127.0.0.1:{}", world.base_port + port);
    let drained = world.run(&["region", "drain", "na", "--node", &node(212)]);
    assert_eq!(drained.code, 0, "{drained:?}");
    assert_eq!(region(&status_at(world, 212), "na")["draining"], true, "who asked sees it at once");
    until("another region sees it", || region(&status_at(world, 122), "na")["draining"] == true);
    assert_eq!(world.run(&["region", "drain", "na", "--undo"]).code, 0);
    let policy = world.run(&["region", "policy", "--lease", "4s", "--failover", "operator", "--node", &node(102)]);
    assert_eq!(policy.code, 0, "{policy:?}");
    until("the policy is known", || {
        let status = status_at(world, 222);
        status["lease_ms"] == 4_000 && status["failover"] == "operator"
    });
}

fn a_namespace_is_the_same_in_all_regions(world: &World<'_>) {
    let node = |port: u16| format!("127.0.0.1:{}", world.base_port + port);
    let act = |act: &[&str], port: u16| world.run(&[&["namespace"], act, &["--node", &node(port)]].concat());
    let setting = |port: u16, name: &str| {
        let shown = act(&["show", "shop", "-o", "json"], port);
        let shown: Value = serde_json::from_str(&shown.out).unwrap_or_default();
        shown["settings"][name].clone()
    };
    let created = act(&["create", "shop", "--idle-timeout", "30m", "--db", "3", "--password"], 112);
    assert_eq!(created.code, 0, "{created:?}");
    assert_eq!(setting(112, "idle_timeout"), "30m", "who asked sees it at once");
    until("another region has it", || setting(222, "idle_timeout") == "30m");
    let changed = act(&["set", "shop", "--idle-timeout", "45m"], 222);
    assert_eq!(changed.code, 0, "{changed:?}");
    until("the change is known", || setting(2, "idle_timeout") == "45m" && setting(122, "idle_timeout") == "45m");
    assert_eq!(setting(2, "db"), "3", "what was not named stays");
    let again = act(&["create", "shop"], 2);
    assert!(again.code == 1 && again.err.contains("the namespace shop exists"), "{again:?}");
    assert_eq!(act(&["drop", "shop"], 2).code, 0);
    assert_eq!(act(&["show", "shop"], 2).code, 1, "who asked sees it at once");
    until("it is gone in another region", || act(&["show", "shop"], 202).code == 1);
}

fn the_loss_of_a_voter_is_survived(world: &World<'_>) {
    let leader = status_at(world, 2)["control"]["leader"].clone();
    let (of, node) = (leader["region"].as_str().expect("a region"), leader["node"].as_u64().expect("a node"));
    let name = format!("{of}-{}", node - 1);
    assert_eq!(world.dev(&["kill", &name]).code, 0);
    // The other nodes of its region hear what is agreed on by way of other regions.
    let (_, first) = REGIONS.iter().find(|(region, _)| *region == of).expect("one of the three");
    let port = first + if node == 2 { 20 } else { 10 };
    until("another region leads", || {
        let control = status_at(world, port)["control"].clone();
        control["leader"]["region"].as_str().is_some_and(|region| region != of)
    });
    let at = format!("127.0.0.1:{}", world.base_port + port);
    assert_eq!(world.run(&["region", "drain", "eu", "--node", &at]).code, 0);
    assert_eq!(region(&status_at(world, port), "eu")["draining"], true);
    assert_eq!(world.run(&["region", "drain", "eu", "--undo", "--node", &at]).code, 0);
    assert_eq!(world.dev(&["start", &name]).code, 0);
    let again = first + 10 * u16::try_from(node - 1).expect("small");
    until("it has heard what was agreed on meanwhile", || {
        let status = status_at(world, again);
        status["version"] == status_at(world, port)["version"] && voters(&status) == 3
    });
}

fn wishes_that_cannot_be_are_refused_with_what_to_do(world: &World<'_>) {
    for (wish, says) in [
        (["failback", "eu"], "is in another phase; `sojourn region status` shows it"),
        (["failover", "mars"], "no region mars in this world: it has na, eu, apac"),
    ] {
        let refused = world.run(&[&["region"], &wish[..]].concat());
        assert!(refused.code == 1 && refused.err.contains(says), "{refused:?}");
    }
    let short = world.run(&["region", "policy", "--lease", "10ms"]);
    assert!(short.code == 1 && short.err.contains("leases last 1000 to"), "{short:?}");
}

fn a_region_that_is_given_up_is_fenced_and_the_others_are_asked(world: &World<'_>) {
    let before = region(&status_at(world, 102), "na")["epoch"].as_u64().expect("an epoch");
    for node in ["na-0", "na-1", "na-2"] {
        assert_eq!(world.dev(&["kill", node]).code, 0);
    }
    let node = format!("127.0.0.1:{}", world.base_port + 112);
    until("two regions have a leader", || status_at(world, 112)["control"]["leader"]["region"].is_string());
    let given_up = world.run(&["region", "failover", "na", "--force", "--node", &node]);
    assert_eq!(given_up.code, 0, "{given_up:?}");
    until("nobody is waited for any more", || {
        let status = status_at(world, 222);
        let na = region(&status, "na");
        // Who goes on from there is told elsewhere.
        let gathers = ["gathering", "catching_up", "open"].iter().any(|phase| na["phase"] == *phase);
        gathers && na["away"] == true && na["epoch"].as_u64().is_some_and(|epoch| epoch > before)
    });
    assert_eq!(region(&status_at(world, 222), "eu")["phase"], "serving");
}
