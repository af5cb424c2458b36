//! Are the ports free that the world needs?

use super::plan::Plan;
use anyhow::bail;
use std::{io::ErrorKind, net::TcpListener};

/// Says which port is taken before anything is started.
///
/// # Errors
/// One is taken.
pub fn check_free(plan: &Plan) -> anyhow::Result<()> {
    let nodes =
        plan.nodes.iter().flat_map(|node| node.ports.all().map(|(what_for, port)| (&node.name, what_for, port)));
    let regions = plan.regions.iter();
    let ways_out = regions.filter_map(|region| Some((&region.name, "the way to other regions", plan.way_out(region)?)));
    for (who, what_for, port) in nodes.chain(ways_out) {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_free) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
                "port {port}, where {who} listens for {what_for}, is taken by another program, perhaps another world: end \
                 that, or choose ports with --base-port",
            ),
            Err(error) => bail!("port {port} cannot be used: {error}; choose ports with --base-port"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_taken_port_is_named_with_who_needs_it() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let Some(plan) = port.checked_sub(1).and_then(|base| Plan::new(Path::new("/"), 1, &["na".to_owned()], base, 1))
        else {
            return;
        };
        let error = check_free(&plan).expect_err("taken").to_string();
        // Other tests take ports too, perhaps the one before.
        let names_one = [port - 1, port].iter().any(|port| error.contains(&port.to_string()));
        assert!(names_one && error.contains("na-0") && error.contains("--base-port"), "{error}");
    }
}
