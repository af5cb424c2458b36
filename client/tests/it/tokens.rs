//! Three regions: who passes tokens along sees what was seen and written before, in whatever region.

use crate::region::{Region, SOON};
use sojourn_client::{Client, Error, NewSession, Patch, SessionId, Token};
use sojourn_core::{
    policy::{Policy, Reads},
    region::{DEFAULT_NAMESPACE_NAME, RegionCommand},
};
use std::time::{Duration, Instant};

/// Longer than a copy may be old that answers.
const STALE_AFTER: Duration = Duration::from_millis(1_100);

#[tokio::test]
async fn whoever_passes_a_token_along_never_sees_less() {
    let [mut na, eu, apac] = Region::start_world("tokens", [("na", 2), ("eu", 3), ("apac", 1)]).await;
    let clients = [connect(&na).await, connect(&eu).await, connect(&apac).await];

    for home in 0..3 {
        a_count_goes_up_through_all_regions(&clients, home).await;
        what_is_over_is_over_in_the_next_region(&clients, home).await;
    }
    let id = a_copy_answers_and_says_how_old_it_is(&clients).await;
    where_reads_go_home_no_copy_answers(&eu, &clients, &id).await;
    na.kill_all();
    without_its_home_a_read_ends_in_time(&eu, &id, token(&clients[1], &id)).await;
    drop(apac);
}

async fn connect(region: &Region) -> Client {
    region.builder("default").deadline(SOON).connect().await.expect("connected")
}

/// A user whose requests come to one region after the other; the token is all that goes along.
async fn a_count_goes_up_through_all_regions(clients: &[Client; 3], home: usize) {
    let created = clients[home].create(NewSession::new().field("count", "0")).await.expect("created");
    let (id, mut cookie) = (created.id.clone(), text(&clients[home], &created.id));
    let mut version = created.version;
    for count in 1..=30 {
        let region = &clients[(home + count) % 3];
        region.resume(&id, cookie.parse().expect("a token"));
        let seen = region.get(&id).await.expect("read").expect("it lives");
        assert_eq!(seen.text("count"), Some(&*(count - 1).to_string()), "what the region before has written");
        assert!(seen.version >= version && seen.age_ms <= 1_000, "{seen:?}");
        version = region.patch(&id, Patch::new().set("count", count.to_string())).await.expect("written").version;
        // Also read by who has not written, with what was read last.
        let other = &clients[(home + count + 1) % 3];
        other.resume(&id, text(region, &id).parse().expect("a token"));
        assert_eq!(other.get(&id).await.expect("read").expect("it lives").version, version);
        cookie = text(other, &id);
    }
}

async fn what_is_over_is_over_in_the_next_region(clients: &[Client; 3], home: usize) {
    let [one, next, third] = [0, 1, 2].map(|step| &clients[(home + step) % 3]);
    for number in 0..10 {
        let id = SessionId::new(format!("own-{home}-{number}"));
        let again = NewSession::new().id(id.clone()).field("n", "1");
        one.create(again.clone()).await.expect("created");
        next.resume(&id, token(one, &id));
        assert!(next.get(&id).await.expect("read").is_some());
        assert_eq!(next.destroy(&id).await, Ok(true));
        third.resume(&id, token(next, &id));
        assert_eq!(third.get(&id).await, Ok(None), "logged out");
        assert_eq!(third.destroy(&id).await, Ok(false));
        // The same id once more: what was seen of the first session does not hide the second.
        third.create(again.field("n", "2")).await.expect("created anew");
        for region in [one, next] {
            region.resume(&id, token(third, &id));
            assert_eq!(region.get(&id).await.expect("read").expect("it lives").text("n"), Some("2"));
        }
    }
}

async fn a_copy_answers_and_says_how_old_it_is([in_na, in_eu, _]: &[Client; 3]) -> SessionId {
    let id = in_na.create(NewSession::new().field("a", "1")).await.expect("created").id;
    assert_eq!(in_na.get(&id).await.expect("read").expect("it lives").age_ms, 0, "its home");
    in_eu.resume(&id, token(in_na, &id));
    let began = Instant::now();
    // A copy of this very millisecond is no older than what its home answers.
    while in_eu.get(&id).await.expect("read").expect("it lives").age_ms == 0 {
        assert!(began.elapsed() < SOON, "a copy answers in time");
    }
    id
}

async fn where_reads_go_home_no_copy_answers(eu: &Region, [_, in_eu, _]: &[Client; 3], id: &SessionId) {
    let set = async |reads| {
        let policy = Policy { database: Some(0), reads, ..Policy::default() };
        eu.change(RegionCommand::SetNamespace { name: DEFAULT_NAMESPACE_NAME.to_owned(), policy }).await;
    };
    set(Reads::Home).await;
    let began = Instant::now();
    let mut from_home = 0;
    // The nodes hear of it one after the other.
    while from_home < 200 {
        let age_ms = in_eu.get(id).await.expect("read").expect("it lives").age_ms;
        from_home = if age_ms == 0 { from_home + 1 } else { 0 };
        assert!(began.elapsed() < SOON, "reads go home in time");
    }
    set(Reads::Anywhere).await;
}

async fn without_its_home_a_read_ends_in_time(eu: &Region, id: &SessionId, seen: Token) {
    let hasty = eu.builder("default").deadline(Duration::from_secs(3)).connect().await.expect("connected");
    hasty.resume(id, seen);
    tokio::time::sleep(STALE_AFTER).await;
    let read = tokio::time::timeout(Duration::from_secs(6), hasty.get(id)).await.expect("in time");
    assert!(matches!(read, Err(Error::Unavailable { .. })), "{read:?}");
}

fn token(client: &Client, id: &SessionId) -> Token {
    client.token(id).expect("it has seen the session")
}

/// A token as a cookie carries it.
fn text(client: &Client, id: &SessionId) -> String {
    token(client, id).to_string()
}
