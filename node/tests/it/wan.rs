//! A world whose regions are far apart: what goes between them takes its time, stands still while it is cut, and goes on.

use super::dev::{World, free_ports_from, http_get, until};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Redis ports of the regions' only nodes, from the first port on.
const NA: u16 = 1;
const EU: u16 = 101;

const DELAY: Duration = Duration::from_millis(60);

#[test]
fn a_delayed_world_replicates_and_a_cut_one_says_what_it_cannot_know() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = ["--regions", "na,eu", "--nodes", "1", "--wan-delay", "na-eu=60ms"];
    let world = World::start_with(free_ports_from(8_150, 300), directory.path(), &arguments);

    what_is_new_is_asked_for_and_then_copied(&world);
    figures_tell_how_far_copies_are_behind(&world, true);
    what_is_cut_is_unavailable_until_it_is_healed(&world);
    cut_one_way_no_copy_answers_either(&world);
    broken_connections_are_opened_again(&world);
    regions_that_there_are_not_are_refused(&world);
}

fn link(world: &World<'_>, from: &str) -> Value {
    let shown = world.dev(&["wan", "show", "-o", "json"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let links: Vec<Value> = serde_json::from_str(&shown.out).expect("JSON");
    links.into_iter().find(|link| link["from"] == from).expect("a way")
}

/// What a command is answered, and how long that takes.
fn timed(world: &World<'_>, port: u16, line: &str) -> (String, Duration) {
    let began = Instant::now();
    let answer = world.redis_at(port, line);
    (answer, began.elapsed())
}

fn what_is_new_is_asked_for_and_then_copied(world: &World<'_>) {
    until("the regions have met", || world.redis_at(EU, "GET nothing") == "$-1");
    assert_eq!(world.redis_at(NA, "SET sess:1 first EX 3600"), "+OK");
    let (answer, took) = timed(world, EU, "HGET nobody:knows field");
    assert_eq!(answer, "$-1");
    assert!(took >= 2 * DELAY, "the other region is asked: {took:?}");
    until("the copy answers by itself", || {
        let (answer, took) = timed(world, EU, "GET sess:1");
        answer == "first" && took < 2 * DELAY
    });
    let (answer, took) = timed(world, EU, "SET sess:1 second EX 3600");
    assert_eq!(answer, "+OK");
    assert!(took >= 2 * DELAY, "its home writes it: {took:?}");
    assert_eq!(world.redis_at(NA, "GET sess:1"), "second");
    let way = link(world, "na");
    assert_eq!((&way["delay_ms"], &way["cut"]), (&60.into(), &false.into()));
    assert!(way["bytes_total"].as_u64() > Some(100) && way["connections"].as_u64() > Some(0), "{way}");
}

/// A figure of eu's node about na; the largest of all shards.
fn figure(world: &World<'_>, name: &str) -> f64 {
    let figures = http_get(world.base_port + EU + 1, "/metrics").expect("answered");
    let begins = format!("sojourn_{name}{{region=\"na\"");
    let lines = figures.lines().filter(|line| line.starts_with(&begins));
    let values = lines.map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number"));
    values.reduce(f64::max).unwrap_or_else(|| panic!("no {name} in {figures}"))
}

fn figures_tell_how_far_copies_are_behind(world: &World<'_>, fresh: bool) {
    until("the age of copies shows", || (figure(world, "stream_lag_seconds") < 1.0) == fresh);
    let age = figure(world, "stream_lag_seconds");
    assert!(age >= DELAY.as_secs_f64(), "no copy is younger than the way: {age}");
    until("what is known of is here", || figure(world, "stream_lag_entries") == 0.0);
    assert!(figure(world, "abroad_received_bytes_total") > 100.0 && figure(world, "abroad_sent_bytes_total") > 100.0);
}

fn what_is_cut_is_unavailable_until_it_is_healed(world: &World<'_>) {
    let cut = world.dev(&["wan", "cut", "na-eu"]);
    assert!(cut.code == 0 && cut.out.contains("na-eu is cut"), "{cut:?}");
    let carried = link(world, "na")["bytes_total"].clone();
    until("the copy is too old", || {
        world.redis_at(EU, "GET sess:1").starts_with("-CLUSTERDOWN region 0 keeps the session")
    });
    assert_eq!(world.redis_at(NA, "SET sess:1 third EX 3600"), "+OK", "its home goes on");
    assert_eq!(link(world, "na")["bytes_total"], carried, "nothing gets across");
    figures_tell_how_far_copies_are_behind(world, false);
    let healed = world.dev(&["wan", "heal"]);
    assert!(healed.code == 0 && healed.out.contains("nothing is cut"), "{healed:?}");
    until("the copy has followed", || {
        let (answer, took) = timed(world, EU, "GET sess:1");
        answer == "third" && took < 2 * DELAY
    });
}

fn cut_one_way_no_copy_answers_either(world: &World<'_>) {
    assert_eq!(world.dev(&["wan", "cut", "eu-na", "--one-way"]).code, 0);
    assert_eq!((&link(world, "eu")["cut"], &link(world, "na")["cut"]), (&true.into(), &false.into()));
    // What na sends still arrives, but nobody can say how far it was asked.
    until("the copy is too old", || world.redis_at(EU, "GET sess:1").starts_with("-CLUSTERDOWN"));
    assert_eq!(world.dev(&["wan", "heal", "na-eu"]).code, 0);
    until("the copy answers again", || world.redis_at(EU, "GET sess:1") == "third");
}

fn broken_connections_are_opened_again(world: &World<'_>) {
    assert_eq!(world.dev(&["wan", "drop", "na-eu"]).code, 0);
    assert_eq!(world.redis_at(NA, "SET sess:1 fourth EX 3600"), "+OK");
    until("the stream goes on", || world.redis_at(EU, "GET sess:1") == "fourth");
    assert_eq!(world.dev(&["wan", "set", "eu-na", "--delay", "5ms", "--limit", "1MiB"]).code, 0);
    until("a shorter way", || {
        let (answer, took) = timed(world, EU, "SET sess:1 fifth EX 3600");
        answer == "+OK" && took < 2 * DELAY
    });
}

fn regions_that_there_are_not_are_refused(world: &World<'_>) {
    let unknown = world.dev(&["wan", "cut", "na-apac"]);
    assert!(unknown.code == 1 && unknown.err.contains("no region apac in this world: it has na, eu"), "{unknown:?}");
    assert_eq!(world.dev(&["wan", "set", "na-eu"]).code, 2, "nothing to set");
    assert_eq!(world.dev(&["wan", "cut", "naeu"]).code, 2);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let arguments = ["dev", "--wan-delay", "na-moon=80ms", "--data-dir"];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sojourn"));
    let output = command.args(arguments).arg(elsewhere.path()).output().expect("ran");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("no region moon"), "{error}");
}
