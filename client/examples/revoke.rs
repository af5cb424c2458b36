//! Logs a user out everywhere: all sessions, on all shards, and a login that was under way.
//!
//! Run `sojourn dev` first, then `cargo run -p sojourn-client --example revoke [host:port ...]`.
#![allow(clippy::print_stdout)]

use sojourn_client::{Client, Filter, NewSession};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::connect(addresses()).await?;
    for device in ["phone", "laptop", "tablet"] {
        client.create(NewSession::new().user("user-7").label("device", device)).await?;
    }
    println!("sessions of user-7: {}", client.count(Filter::all().user("user-7")).await?.sessions);

    // Somebody with the user's password is just logging in.
    let thief = client.begin_login("user-7").await?;

    let revoked = client.revoke("user-7").await?;
    println!("{} sessions ended; {} shards have acknowledged", revoked.destroyed, revoked.shards);
    println!(
        "the login that had begun: {}",
        match client.create(NewSession::new().login(thief)).await {
            Err(error) => error.to_string(),
            Ok(_) => "got a session, which must not be".to_owned(),
        }
    );
    println!("sessions of user-7: {}", client.count(Filter::all().user("user-7")).await?.sessions);
    Ok(())
}

fn addresses() -> Vec<String> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if given.is_empty() {
        ["127.0.0.1:7400", "127.0.0.1:7410", "127.0.0.1:7420"].map(str::to_owned).into()
    } else {
        given
    }
}
