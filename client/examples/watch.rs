//! Prints what happens to sessions, from whatever node, until Ctrl-C.
//!
//! Run `sojourn dev` first, then `cargo run -p sojourn-client --example watch [host:port ...]`, and write something from
//! another shell.
#![allow(clippy::print_stdout)]

use sojourn_client::{Client, Error, Event};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::connect(addresses()).await?;
    let mut changes = client.watch();
    loop {
        match changes.next().await {
            Ok(Event::Started) => println!("watching: what is written from now on is told"),
            Ok(Event::Changed(change)) => {
                println!("{:?} at version {}", change.kind, change.version.sequence);
            }
            Ok(Event::Lagged) => println!("changes were missed: a cache would be emptied now"),
            Err(error @ Error::Unavailable { .. }) => println!("{error}; trying on"),
            Err(error) => return Err(error.into()),
        }
    }
}

fn addresses() -> Vec<String> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if given.is_empty() {
        ["127.0.0.1:7400", "127.0.0.1:7410", "127.0.0.1:7420"].map(str::to_owned).into()
    } else {
        given
    }
}
