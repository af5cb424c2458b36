//! Every call and what it may refuse.

use crate::region::{client, shared};
use sojourn_client::{Client, Created, Error, Expiry, Filter, NewSession, Owner, Patch, Put, Reason, SessionId};
use sojourn_core::{
    Slot,
    mint::MINTED_ID_BYTES,
    policy::{AfterDestroy, Policy},
};
use std::time::Duration;

fn reason(error: &Error) -> Reason {
    match error {
        Error::Refused { reason, .. } => *reason,
        other => panic!("not refused but {other}"),
    }
}

async fn session(client: &Client) -> Created {
    client.create(NewSession::new().field("a", "1").field("b", "2")).await.expect("created")
}

#[tokio::test]
async fn a_session_lives_from_create_to_destroy() {
    let client = client("life", Policy::default()).await;
    let new = NewSession::new().field("a", "1").user("u7").label("role", "admin");
    let created = client.create(new.idle_timeout(Duration::from_secs(600))).await.expect("created");
    assert_eq!(created.id.expose().len(), MINTED_ID_BYTES);
    let session = client.get(&created.id).await.expect("read").expect("it lives");
    assert_eq!((session.version, session.idle_timeout_ms, session.text("a")), (created.version, 600_000, Some("1")));
    let owner = session.owner.clone().expect("an owner");
    assert_eq!((&owner.user[..], &owner.labels[b"role".as_slice()][..]), (b"u7".as_slice(), b"admin".as_slice()));
    let thirty_days_ms = Policy::default().absolute_ms;
    assert!(session.absolute_deadline_ms.abs_diff(session.created_at_ms + thirty_days_ms) < 60_000);

    let patched = client.patch(&created.id, Patch::new().set("b", "2").remove("a")).await.expect("patched");
    assert!(patched.version > created.version);
    let put = client.put(&created.id, Put::new().field("c", "3").if_version(patched.version)).await.expect("put");
    let touched = client.touch(&created.id).await.expect("touched");
    assert_eq!(touched.version, put.version, "a touch changes no version");
    let some = client.get_fields(&created.id, ["c", "zz"]).await.expect("read").expect("it lives");
    assert_eq!((some.fields.len(), some.field_count, some.text("c")), (1, 1, Some("3")));

    let renamed = client.rename(&created.id).await.expect("renamed");
    assert_eq!(Slot::of(renamed.id.expose()), Slot::of(created.id.expose()), "it stays in its slot");
    assert_eq!(client.get(&created.id).await, Ok(None));
    let session = client.get(&renamed.id).await.expect("read").expect("it lives");
    assert_eq!((session.version, &session.owner, session.text("c")), (renamed.version, &Some(owner), Some("3")));

    assert_eq!(client.destroy(&renamed.id).await, Ok(true));
    assert_eq!(client.destroy(&renamed.id).await, Ok(false));
    assert_eq!(client.get(&renamed.id).await, Ok(None));
}

#[tokio::test]
async fn an_update_never_creates() {
    let client = client("gone", Policy::default()).await;
    let created = session(&client).await;
    client.destroy(&created.id).await.expect("destroyed");
    for id in [created.id, SessionId::from("never-was")] {
        assert_eq!(client.put(&id, Put::new().field("a", "1")).await, Err(Error::Gone));
        assert_eq!(client.patch(&id, Patch::new().set("a", "1")).await, Err(Error::Gone));
        assert_eq!(client.touch(&id).await, Err(Error::Gone));
        assert_eq!(client.rename(&id).await, Err(Error::Gone));
        assert_eq!(client.get(&id).await, Ok(None));
    }
    assert_eq!(client.count(Filter::all()).await.expect("counted").sessions, 0);
}

#[tokio::test]
async fn a_conflict_brings_the_current_record_whatever_its_size() {
    let client = client("conflict", Policy::default()).await;
    for size in [10, 100_000] {
        let created = session(&client).await;
        let value = "x".repeat(size);
        let first = client.put(&created.id, Put::new().field("a", &value)).await.expect("put");
        let stale = Put::new().field("a", "mine").if_version(created.version);
        let Err(Error::Conflict { current }) = client.put(&created.id, stale).await else { panic!("no conflict") };
        assert_eq!((current.version, current.text("a"), &current.id), (first.version, Some(&*value), &created.id));
        let stale = Patch::new().set("b", "mine").if_version(created.version);
        assert!(matches!(client.patch(&created.id, stale).await, Err(Error::Conflict { .. })));
        client
            .put(&created.id, Put::new().field("a", "mine").if_version(first.version))
            .await
            .expect("over the current");
    }
}

#[tokio::test]
async fn patches_of_different_fields_both_hold() {
    let client = client("patches", Policy::default()).await;
    let created = session(&client).await;
    let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
    let patches = names.iter().map(|name| client.patch(&created.id, Patch::new().set(name, name)));
    for patched in futures::future::join_all(patches).await {
        patched.expect("patched");
    }
    let session = client.get(&created.id).await.expect("read").expect("it lives");
    assert_eq!(session.fields.len(), 42);
}

#[tokio::test]
async fn ids_of_applications_have_1_to_512_bytes_and_are_theirs_alone() {
    let client = client("ids", Policy::default()).await;
    for bytes in [1, 512] {
        let id = SessionId::new(vec![b'i'; bytes]);
        let created = client.create(NewSession::new().id(id.clone()).field("a", "1")).await.expect("created");
        assert_eq!(created.id, id);
        assert_eq!(client.create(NewSession::new().id(id.clone())).await, Err(Error::Exists));
        assert!(client.get(&id).await.expect("read").is_some());
    }
    let too_long = SessionId::new(vec![b'i'; 513]);
    let refused = client.create(NewSession::new().id(too_long.clone())).await.expect_err("too long");
    assert_eq!(reason(&refused), Reason::BadId);
    for id in [too_long, SessionId::new(b"")] {
        for refused in [client.get(&id).await.map(drop), client.touch(&id).await.map(drop)] {
            let refused = refused.expect_err("no id");
            assert_eq!(reason(&refused), Reason::BadId, "{refused}");
        }
    }
}

#[tokio::test]
async fn renaming_keeps_to_the_slot() {
    let client = client("slots", Policy::default()).await;
    let id = SessionId::from("{u7}:one");
    client.create(NewSession::new().id(id.clone()).field("a", "1")).await.expect("created");
    let elsewhere = client.rename_to(&id, &SessionId::from("elsewhere")).await.expect_err("another slot");
    assert_eq!(reason(&elsewhere), Reason::CrossSlot);
    let beside = SessionId::from("{u7}:two");
    let renamed = client.rename_to(&id, &beside).await.expect("renamed");
    assert_eq!(renamed.id, beside);
    client.create(NewSession::new().id(id.clone())).await.expect("the old id is free again");
    assert_eq!(client.rename_to(&beside, &id).await, Err(Error::Exists));
    let minted = client.rename(&beside).await.expect("renamed");
    assert_eq!(minted.id.expose().len(), MINTED_ID_BYTES);
    assert_eq!(Slot::of(minted.id.expose()), Slot::of(b"u7"));
}

#[tokio::test]
async fn forged_ids_are_refused() {
    let client = client("forged", Policy::default()).await;
    let created = session(&client).await;
    let mut forged = created.id.expose().to_vec();
    forged[20] = if forged[20] == b'A' { b'B' } else { b'A' };
    let forged = SessionId::new(forged);
    assert_eq!(client.get(&forged).await, Err(Error::ForgedId));
    assert_eq!(client.destroy(&forged).await, Err(Error::ForgedId));
    let other = crate::region::client("forged-2", Policy::default()).await;
    assert_eq!(other.get(&created.id).await, Err(Error::ForgedId), "ids are of one namespace");
    let taken = client.create(NewSession::new().id(created.id)).await.expect_err("a minted id");
    assert_eq!(reason(&taken), Reason::ForeignId);
}

#[tokio::test]
async fn a_namespace_may_insist_on_minted_ids_and_on_the_end_of_destroyed_ones() {
    let client = client("minted", Policy { foreign_ids: false, ..Policy::default() }).await;
    let refused = client.create(NewSession::new().id("mine".into())).await.expect_err("a foreign id");
    assert_eq!(reason(&refused), Reason::ForeignId);
    session(&client).await;
    let client =
        crate::region::client("final", Policy { after_destroy: AfterDestroy::Refuse, ..Policy::default() }).await;
    let id = SessionId::from("mine");
    client.create(NewSession::new().id(id.clone())).await.expect("created");
    client.destroy(&id).await.expect("destroyed");
    let refused = client.create(NewSession::new().id(id)).await.expect_err("a destroyed id");
    assert_eq!(reason(&refused), Reason::Destroyed);
}

#[tokio::test]
async fn too_large_a_session_names_its_largest_fields() {
    let client = client("large", Policy { size_bytes_max: 10_000, ..Policy::default() }).await;
    let large = NewSession::new().field("cart", vec![b'x'; 9_000]).field("note", vec![b'x'; 2_000]).field("s", "1");
    let Err(Error::TooLarge { bytes, bytes_max, largest }) = client.create(large).await else { panic!("not refused") };
    assert!(bytes > bytes_max && bytes_max == 10_000);
    let largest: Vec<(&[u8], u64)> = largest.iter().map(|(name, bytes)| (&name[..], *bytes)).collect();
    assert_eq!(largest, [(b"cart".as_slice(), 9_004), (b"note", 2_004), (b"s", 2)]);
    let created = session(&client).await;
    let grown = client.patch(&created.id, Patch::new().set("c", vec![b'x'; 10_000])).await;
    assert!(matches!(grown, Err(Error::TooLarge { .. })));
}

#[tokio::test]
async fn what_a_namespace_redacts_is_never_stored() {
    let client = client("redacted", Policy { redact: vec!["password".to_owned()], ..Policy::default() }).await;
    let created = client.create(NewSession::new().field("a", "1").field("password", "p")).await.expect("created");
    client.patch(&created.id, Patch::new().set("b", "2").set("password", "p")).await.expect("patched");
    let session = client.get(&created.id).await.expect("read").expect("it lives");
    assert_eq!((session.fields.len(), session.text("password")), (2, None));
}

#[tokio::test]
async fn a_full_namespace_takes_no_more_sessions() {
    let client = client("full", Policy { sessions_max: 2, ..Policy::default() }).await;
    let mut refused = None;
    // The count is as old as a second.
    for _ in 0..600 {
        match client.create(NewSession::new()).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert_eq!(reason(&refused.expect("refused at last")), Reason::NamespaceFull);
}

#[tokio::test]
async fn sessions_end_by_their_deadlines() {
    let client = client("deadlines", Policy { idle_timeout_ms_max: 60_000, ..Policy::default() }).await;
    let short = NewSession::new().idle_timeout(Duration::from_millis(300));
    let created = client.create(short).await.expect("created");
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(client.get(&created.id).await, Ok(None));
    assert_eq!(client.touch(&created.id).await, Err(Error::Gone));
    let capped = client.create(NewSession::new().idle_timeout(Duration::from_secs(3_600))).await.expect("created");
    let session = client.get(&capped.id).await.expect("read").expect("it lives");
    assert_eq!(session.idle_timeout_ms, 60_000);
    client.put(&capped.id, Put::new().expiry(Expiry::After(Duration::from_millis(1)))).await.expect("put");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(client.get(&capped.id).await, Ok(None));
}

#[tokio::test]
async fn a_revoked_user_is_out_everywhere_and_so_are_logins_that_began_before() {
    let client = client("revoked", Policy::default()).await;
    let mut theirs = Vec::new();
    for _ in 0..20 {
        theirs.push(client.create(NewSession::new().user("u7")).await.expect("created").id);
    }
    let other = client.create(NewSession::new().user("u8")).await.expect("created").id;
    let slow_login = client.begin_login("u7").await.expect("begun");
    let revoked = client.revoke("u7").await.expect("revoked");
    assert_eq!((revoked.destroyed, revoked.shards, revoked.revocation_epoch), (20, 4, slow_login.revocation_epoch + 1));
    for id in &theirs {
        assert_eq!(client.get(id).await, Ok(None));
    }
    assert!(client.get(&other).await.expect("read").is_some());
    let late = client.create(NewSession::new().login(slow_login)).await;
    assert_eq!(late, Err(Error::Revoked { revocation_epoch: revoked.revocation_epoch }));
    let again = client.begin_login("u7").await.expect("begun");
    let created = client.create(NewSession::new().login(again)).await.expect("logged in again");

    // Changing labels keeps the login's epoch, so that the next revocation holds for the session.
    let owner = Owner { user: "u7".into(), labels: [("role".into(), "admin".into())].into(), ..Owner::default() };
    client.patch(&created.id, Patch::new().owner(owner)).await.expect("patched");
    let session = client.get(&created.id).await.expect("read").expect("it lives");
    assert_eq!(session.owner.expect("an owner").revocation_epoch, Some(revoked.revocation_epoch));
    assert_eq!(client.revoke("u7").await.expect("revoked").destroyed, 1);
}

/// "open sesame" in one round: as many as are safe take half a minute in a build without optimisation.
const OPEN_SESAME: &str = "pbkdf2-sha256$1$\
     07070707070707070707070707070707$\
     f938f77955c6c62f2790316399ace9e2cedbfd206fe08cccbc9291bd4efe7fbc";

#[tokio::test]
async fn namespaces_open_to_their_password_only() {
    let region = shared().await;
    region.namespace("locked", Policy { password_hash: OPEN_SESAME.to_owned(), ..Policy::default() }).await;
    let locked = |password: Option<&str>| {
        let builder = region.builder("locked");
        let builder = match password {
            Some(password) => builder.password(password).expect("a good password"),
            None => builder,
        };
        builder.connect()
    };
    assert!(matches!(locked(None).await, Err(Error::Locked(_))));
    assert!(matches!(locked(Some("open barley")).await, Err(Error::Locked(_))));
    let client = locked(Some("open sesame")).await.expect("connected");
    session(&client).await;
    let unknown = region.builder("nowhere").connect().await;
    assert!(matches!(unknown, Err(Error::Locked(_))), "an unknown namespace looks like a wrong password");
}
