//! A visitor becomes a user: the session gets a new id at login, so that an id that was planted before is worth nothing.
//!
//! Run `sojourn dev` first, then `cargo run -p sojourn-client --example login [host:port ...]`.
#![allow(clippy::print_stdout)]

use sojourn_client::{Client, Error, Filter, NewSession, Owner, Patch};
use std::time::Duration;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Client::connect(addresses()).await?;

    // The first visit: nobody's session, kept for half an hour of silence.
    let visitor =
        client.create(NewSession::new().field("cart", "3 apples").idle_timeout(Duration::from_secs(1_800))).await?;
    println!(
        "a visitor came; the id for the cookie has {} bytes and prints as {:?}",
        visitor.id.expose().len(),
        visitor.id
    );

    // The login begins before the password is checked: a revocation that comes meanwhile holds for this login too.
    let login = client.begin_login("user-7").await?;
    let password_is_right = true;
    assert!(password_is_right);

    // A new id, and an owner: from now on "all sessions of user-7" finds this one.
    let user = client.rename(&visitor.id).await?;
    let labels = [("role".into(), "admin".into())].into();
    let owner = Owner { user: login.user, revocation_epoch: Some(login.revocation_epoch), labels };
    client.patch(&user.id, Patch::new().set("theme", "dark").owner(owner)).await?;
    assert_eq!(client.get(&visitor.id).await?, None);

    let session = client.get(&user.id).await?.ok_or(Error::Gone)?;
    println!("logged in; the cart still holds {:?}", session.text("cart"));
    let devices = client.list(Filter::all().user("user-7")).collect().await?;
    println!("sessions of user-7: {}", devices.len());

    client.destroy(&user.id).await?;
    println!("logged out; a late write is refused: {:?}", client.patch(&user.id, Patch::new().set("a", "1")).await);
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
