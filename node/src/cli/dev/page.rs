//! What `sojourn dev` prints for people.

use super::{control::NodeLine, plan::Plan};
use crate::cli::output::{Align, table};
use std::{path::Path, time::Duration};

/// How to use a world that is ready. `program` is how this binary was called.
pub fn welcome(plan: &Plan, nodes: &[NodeLine], program: &str, took: Duration) -> String {
    let [first, ..] = plan.nodes.as_slice() else { return String::new() };
    let last = &plan.nodes[plan.nodes.len() - 1].name;
    let (resp, http) = (first.ports.resp, first.ports.http);
    let data_dir = shown(&plan.data_dir);
    let at = at(&plan.data_dir);
    let node = node_flag(http);
    let count = plan.nodes.len();
    let seconds = took.as_secs_f64();
    format!(
        "{what} ready: {count} node{s}, after {seconds:.1} s. Data and logs are in {data_dir}\n\n\
         {nodes}\n\
         Keep sessions in it\n\
         \x20 REDIS_URL=redis://127.0.0.1:{resp}\n\
         \x20 redis-cli -p {resp} SET sess:1 '{{\"user\":7}}' EX 3600\n\
         \x20 redis-cli -p {resp} GET sess:1\n\n\
         Look at it\n\
         \x20 {program} namespace create shop --idle-timeout 30m{node}\n\
         \x20 {program} session list{node}\n\
         \x20 {program} cluster status{node}\n\
         \x20 curl http://127.0.0.1:{http}/\n\n\
         Break it, from another shell\n\
         \x20 {program} dev kill {last}{at}     it stays down until `dev start {last}`\n\
         \x20 {program} dev stop {last}{at}     it is frozen until `dev cont {last}`\n\
         \x20 {program} dev status{at}\n\
         {wan}\n\
         Ctrl-C ends all of it.\n",
        what = what(plan),
        s = if count == 1 { "" } else { "s" },
        nodes = addresses(nodes),
        wan = ways(plan, program, &at),
    )
}

/// What is said of a world whose regions have not met in time.
pub fn unmet(plan: &Plan, program: &str) -> String {
    let node = plan.nodes.first().map(|node| node_flag(node.ports.http)).unwrap_or_default();
    format!("the regions have not all met yet, so none is written for while it is lost: {program} region status{node}")
}

/// What has a command ask a node, unless it does anyway.
fn node_flag(http: u16) -> String {
    if http == 7402 { String::new() } else { format!(" --node 127.0.0.1:{http}") }
}

/// What can be done to the ways between regions, and to a region as a whole, if there are several.
fn ways(plan: &Plan, program: &str, at: &str) -> String {
    let [first, second, rest @ ..] = plan.regions.as_slice() else { return String::new() };
    let ports = |region: &str| {
        plan.nodes.iter().find(|node| node.name == format!("{region}-0")).map(|node| (node.ports.resp, node.ports.http))
    };
    let (Some((here, _)), Some((there, there_http))) = (ports(&first.name), ports(&second.name)) else {
        return String::new();
    };
    let (one, other) = (&first.name, &second.name);
    let elsewhere = if rest.is_empty() {
        format!(
            "{program} region failover {one} --force --node 127.0.0.1:{there_http}     of two regions a person decides"
        )
    } else {
        format!(
            "{program} region status --watch --node 127.0.0.1:{there_http}     others write its sessions in a quarter of a minute"
        )
    };
    format!(
        "\x20 {program} dev wan set {one}-{other} --delay 80ms{at}\n\
         \x20 {program} dev wan cut {one}-{other}{at}     nothing arrives until `dev wan heal`\n\n\
         Lose a region, and get it back\n\
         \x20 redis-cli -p {here} SET sess:1 '{{\"user\":7}}' EX 3600\n\
         \x20 redis-cli -p {there} GET sess:1\n\
         \x20 {program} dev kill {one}{at}     all its nodes\n\
         \x20 {elsewhere}\n\
         \x20 redis-cli -p {there} SET sess:1 '{{\"user\":8}}' EX 3600\n\
         \x20 {program} dev start {one}{at}\n\
         \x20 {program} region status --node 127.0.0.1:{there_http}     what became of what only {one} had\n\
         \x20 {program} region failback {one} --node 127.0.0.1:{there_http}     {one} writes its sessions again\n"
    )
}

fn what(plan: &Plan) -> String {
    let names: Vec<&str> = plan.regions.iter().map(|region| region.name.as_str()).collect();
    match names.as_slice() {
        [one] => format!("Region {one} is"),
        many => format!("Regions {} are", many.join(", ")),
    }
}

/// What tells `sojourn dev ...` which world is meant; nothing for the usual one.
pub fn at(data_dir: &Path) -> String {
    if data_dir.ends_with(super::DATA_DIR) { String::new() } else { format!(" --data-dir {}", shown(data_dir)) }
}

fn addresses(nodes: &[NodeLine]) -> String {
    let columns = [
        ("  NODE", Align::Left),
        ("REDIS CLIENTS", Align::Left),
        ("GRPC", Align::Left),
        ("HTTP", Align::Left),
        ("PID", Align::Right),
    ];
    let pid = |node: &NodeLine| node.pid.map(|pid| pid.to_string()).unwrap_or_default();
    let rows = nodes.iter().map(|node| {
        vec![format!("  {}", node.node), node.resp.clone(), node.grpc.clone(), node.http.clone(), pid(node)]
    });
    table(&columns, rows)
}

/// The answer to `dev status`.
pub fn status(nodes: &[NodeLine]) -> String {
    let columns = [
        ("NODE", Align::Left),
        ("STATE", Align::Left),
        ("PID", Align::Right),
        ("STARTS", Align::Right),
        ("REDIS CLIENTS", Align::Left),
        ("HTTP", Align::Left),
        ("", Align::Left),
    ];
    let rows = nodes.iter().map(|node| {
        vec![
            node.node.clone(),
            node.state.clone(),
            node.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            node.starts.to_string(),
            node.resp.clone(),
            node.http.clone(),
            node.ended.clone().unwrap_or_default(),
        ]
    });
    table(&columns, rows)
}

/// A path as somebody in the current directory would type it.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
