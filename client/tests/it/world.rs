//! Two regions with different numbers of shards: an application in either works with the sessions of both.

use crate::region::{Region, SOON};
use sojourn_client::{Error, NewSession, Patch, Put, SessionId};
use sojourn_core::RegionId;
use sojourn_node::region::sweep::Swept;
use std::time::{Duration, Instant};

#[tokio::test]
async fn sessions_of_one_region_are_used_and_ended_from_the_other() {
    let [na, eu] = Region::start_two("world").await;
    let connect = async |region: &Region| region.builder("default").deadline(SOON).connect().await.expect("connected");
    let (in_na, in_eu) = (connect(&na).await, connect(&eu).await);

    // A minted id says where its session is at home: at once, before any copy has come.
    for number in 0..10 {
        let id = in_na.create(NewSession::new().field("n", number.to_string())).await.expect("created").id;
        let seen = in_eu.get(&id).await.expect("read").expect("acknowledged");
        let put = Put::new().field("n", "put").if_version(seen.version);
        let version = in_eu.put(&id, put).await.expect("put").version;
        assert_eq!(in_eu.get(&id).await.expect("read").expect("its own write").version, version);
        let late = in_na.patch(&id, Patch::new().set("m", "na").if_version(seen.version)).await;
        assert!(matches!(late, Err(Error::Conflict { current }) if current.version == version));
        in_na.patch(&id, Patch::new().set("m", "na")).await.expect("patched");
        assert_eq!(in_eu.destroy(&id).await, Ok(true));
        assert_eq!(in_na.get(&id).await, Ok(None));
        assert_eq!(in_na.touch(&id).await, Err(Error::Gone));
        assert_eq!(in_eu.put(&id, Put::new().field("n", "late")).await.map(drop), Err(Error::Gone));
    }

    // A client in Britain is at home in `eu`, whichever region was asked; one on a private network where it was asked.
    for (address, home) in [("81.2.69.142", &in_eu), ("10.0.0.1", &in_na)] {
        let client = in_na.on_behalf_of(address.parse().expect("an address"));
        let id = client.create(NewSession::new().field("a", "1")).await.expect("created").id;
        let (at_home, away) = if std::ptr::eq(home, &in_eu) { (&eu, &na) } else { (&na, &eu) };
        let ordered = (at_home.orders(id.expose()).await, away.orders(id.expose()).await);
        assert_eq!(ordered, (true, false), "{address}");
        assert!(client.get(&id).await.expect("read").is_some() && in_eu.get(&id).await.expect("read").is_some());
        assert_eq!(in_eu.destroy(&id).await, Ok(true));
    }

    // A user is logged out in both, wherever the sessions began and whatever has not arrived yet.
    let mut theirs: Vec<SessionId> = Vec::new();
    for region in [&in_na, &in_eu, &in_eu] {
        theirs.push(region.create(NewSession::new().user("u7")).await.expect("created").id);
    }
    let slow = [in_na.begin_login("u7").await.expect("begun"), in_eu.begin_login("u7").await.expect("begun")];
    let revoked = in_na.revoke("u7").await.expect("revoked");
    for id in &theirs {
        assert_eq!((in_na.get(id).await, in_eu.get(id).await), (Ok(None), Ok(None)));
    }
    let out = Some(Error::Revoked { revocation_epoch: revoked.revocation_epoch });
    for (region, login) in [&in_na, &in_eu].into_iter().zip(slow) {
        assert_eq!(region.create(NewSession::new().login(login)).await.err(), out);
    }
    // An epoch that a login may have read already would leave that login in.
    let too_low = Swept::EpochTooLow { highest: revoked.revocation_epoch };
    assert_eq!(eu.revoke_at("u7", revoked.revocation_epoch).await, too_low);
    // The other region gives out a higher epoch, though the first was given out here.
    let again = in_na.create(NewSession::new().user("u7")).await.expect("created").id;
    assert!(in_eu.revoke("u7").await.expect("revoked").revocation_epoch > revoked.revocation_epoch);
    assert_eq!((in_na.get(&again).await, in_eu.get(&again).await), (Ok(None), Ok(None)));

    // Copies come, and are listed; clearing goes everywhere.
    in_na.create(NewSession::new()).await.expect("created");
    in_eu.create(NewSession::new()).await.expect("created");
    let began = Instant::now();
    while in_na.count(Default::default()).await.expect("counted").sessions != 2
        || in_eu.count(Default::default()).await.expect("counted").sessions != 2
    {
        assert!(began.elapsed() < SOON, "both regions know both sessions in time");
        // Another region's copies are no event of ours.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    in_eu.clear().await.expect("cleared");
    let began = Instant::now();
    while in_na.count(Default::default()).await.expect("counted").sessions != 0 {
        assert!(began.elapsed() < SOON, "both regions let all go in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_copy_that_was_lost_is_noticed_and_taken_anew() {
    let [na, eu] = Region::start_two("digests").await;
    let in_na = na.builder("default").deadline(SOON).connect().await.expect("connected");
    let mut sessions = Vec::new();
    for number in 0..30 {
        let new = NewSession::new().id(SessionId::new(format!("s{number}"))).field("n", number.to_string());
        sessions.push(in_na.create(new).await.expect("created").id);
    }
    // What is written meanwhile is no difference.
    let mended = eu.lose_copies(RegionId(0), sessions[7].expose()).await;
    let began = Instant::now();
    while !eu.has_copy(sessions[7].expose()) || eu.mended() == mended {
        in_na.patch(&sessions[8], Patch::new().set("n", "again")).await.expect("written");
        assert!(began.elapsed() < SOON, "the copy is back in time");
    }
    assert_eq!((mended, eu.mended(), na.mended()), (0, 1, 0));
    assert!(sessions.iter().all(|id| eu.has_copy(id.expose())));
}

/// Waits until something holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < SOON, "{what}, in time");
        // Nothing of it is an event of this test's.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn tombstones_go_once_all_regions_know_of_them_and_not_before() {
    let [na, mut eu] = Region::start_two("tombstones").await;
    let holds = |region: &Region| region.tombstones();
    // A retry may still ask for this one.
    na.end_one(b"lasting", 60 * 60_000).await;
    for number in 0..20 {
        let region = if number % 2 == 0 { &na } else { &eu };
        region.end_one(format!("brief{number}").as_bytes(), 1).await;
    }
    until("both regions forget all others", || (holds(&na), holds(&eu)) == (1, 1)).await;
    assert!(na.sweeps().0 > 0 && eu.sweeps().0 > 0);

    eu.stop_all().await;
    for number in 0..20 {
        na.end_one(format!("alone{number}").as_bytes(), 1).await;
    }
    let (ended, left) = na.sweeps();
    until("it is asked in vain", || na.sweeps().1 >= left + 3).await;
    assert_eq!((holds(&na), na.sweeps().0), (21, ended), "a region is away");
    eu.revive_all().await;
    until("both regions forget all others again", || (holds(&na), holds(&eu)) == (1, 1)).await;
    let lives = |region: &Region| (0..20).any(|number| region.has_copy(format!("alone{number}").as_bytes()));
    assert!(!lives(&na) && !lives(&eu));
}
