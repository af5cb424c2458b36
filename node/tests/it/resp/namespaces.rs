//! What a namespace's policy decides at the endpoint: who comes in, which ids and sizes, and what is read out of values.

use crate::{region::Region, wire::Client};
use sojourn_core::{
    Answer, NamespaceId, Query,
    policy::{FieldsFormat, Policy},
    query::Filter,
};
use sojourn_node::{
    region::backend::{Backend, Read},
    security::password,
};
use std::collections::BTreeMap;

fn with_password(text: &str) -> Policy {
    Policy { password_hash: password::hash(text.as_bytes(), &[7; 16]), ..Policy::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_decides_what_comes_in() {
    let region = Region::start().await;
    passwords_and_numbers_choose_the_namespace(&region).await;
    only_ids_of_ours_where_the_policy_says_so(&region).await;
    sizes_are_refused_with_the_largest_keys(&region).await;
    a_full_namespace_takes_what_exists_only(&region).await;
    users_and_labels_come_out_of_json(&region).await;
    lifetimes_are_the_namespaces(&region).await;
    region.stop().await;
}

async fn passwords_and_numbers_choose_the_namespace(region: &Region) {
    region.create_namespace("shop", Policy { database: Some(1), ..with_password("sesame") }).await;
    region.create_namespace("blog", Policy { database: Some(2), ..with_password("other") }).await;
    let mut client = Client::connect(region.resp(1)).await;
    // From this machine the default namespace is open.
    client.expect("SET mine default", "+OK").await;
    client.expect("ACL WHOAMI", r"$7\r\ndefault").await;
    client
        .expect(
            "SELECT 1",
            "-NOPERM the password of this connection does not open the namespace of this database number",
        )
        .await;
    client.expect("SELECT 9", "-ERR DB index is out of range").await;
    client.expect("AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled.").await;
    client.expect("AUTH shop other", "-WRONGPASS invalid username-password pair or user is disabled.").await;
    client.expect("AUTH sesame", "+OK").await;
    client.expect("ACL WHOAMI", r"$4\r\nshop").await;
    client.expect("GET mine", "$-1").await;
    client.expect("SET mine shop", "+OK").await;
    client.expect("AUTH blog other", "+OK").await;
    client.expect("GET mine", "$-1").await;
    // What a password opened stays open.
    client.expect("SELECT 1", "+OK").await;
    client.expect("GET mine", r"$4\r\nshop").await;
    client.expect("SELECT 0", "+OK").await;
    client.expect("GET mine", r"$7\r\ndefault").await;
    client.expect("RESET", "+RESET").await;
    assert!(client.ask("SELECT 1").await.starts_with("-NOPERM"));
    let mut hello = Client::connect(region.resp(2)).await;
    assert!(hello.ask("HELLO 3 AUTH shop sesame SETNAME app").await.starts_with("%7"));
    hello.expect("GET mine", r"$4\r\nshop").await;
    hello.expect("CLIENT GETNAME", r"$3\r\napp").await;
    let mut listed = Client::connect(region.resp(2)).await;
    listed.expect("AUTH default sesame", "+OK").await;
    listed.expect("DBSIZE", ":1").await;
    listed.expect("FLUSHALL", "+OK").await;
    listed.expect("DBSIZE", ":0").await;
    client.expect("GET mine", r"$7\r\ndefault").await;
}

async fn only_ids_of_ours_where_the_policy_says_so(region: &Region) {
    region.create_namespace("minted", Policy { database: Some(3), foreign_ids: false, ..Policy::default() }).await;
    let mut client = Client::connect(region.resp(0)).await;
    client.expect("SELECT 3", "+OK").await;
    for command in ["SET id v", "HSET id f v", "SADD id m", "ZADD id 1 m", "INCR id", "APPEND id v"] {
        client.expect(command, "-ERR this namespace takes only session ids that Sojourn minted").await;
    }
    client.expect("GET id", "$-1").await;
}

async fn sizes_are_refused_with_the_largest_keys(region: &Region) {
    let policy = Policy {
        database: Some(4),
        fields: FieldsFormat::Json,
        size_warn_bytes: 100,
        size_error_bytes: 200,
        size_bytes_max: 300,
        ..Policy::default()
    };
    region.create_namespace("sized", policy).await;
    let mut client = Client::connect(region.resp(0)).await;
    client.expect("SELECT 4", "+OK").await;
    let json = |length: usize| format!(r#"{{"cart":"{}","user":7}}"#, "x".repeat(length));
    for (length, reply) in [(10, "+OK"), (110, "+OK"), (220, "+OK")] {
        assert_eq!(client.call(&[b"SET", b"sized", json(length).as_bytes()]).await, format!("{reply}\r\n").as_bytes());
    }
    let refused = client.call(&[b"SET", b"sized", json(300).as_bytes()]).await;
    assert_eq!(
        String::from_utf8_lossy(&refused),
        "-ERR the session would have 320 bytes, the namespace allows 300; largest: cart 306, user 5\r\n"
    );
    let reply = client.ask("HSET hash small @20 large @290").await;
    assert!(reply.ends_with("largest: large 295, small 25"), "{reply}");
    let info = client.ask("INFO stats").await;
    for figure in ["sojourn_size_warnings:1", "sojourn_size_errors:1", "sojourn_size_refusals:2"] {
        assert!(info.contains(figure), "{figure}: {info}");
    }
}

async fn a_full_namespace_takes_what_exists_only(region: &Region) {
    region.create_namespace("small", Policy { database: Some(5), sessions_max: 3, ..Policy::default() }).await;
    let mut client = Client::connect(region.resp(0)).await;
    client.expect("SELECT 5", "+OK").await;
    let mut refused = String::new();
    // What is counted may be a second old.
    for number in 0..10_000 {
        refused = client.ask(&format!("SET full:{number} v")).await;
        if refused != "+OK" {
            break;
        }
    }
    assert!(refused.starts_with("-OOM the namespace small is full"), "{refused}");
    client.expect("SET full:0 again", "+OK").await;
    client.expect("GET full:0", r"$5\r\nagain").await;
}

async fn users_and_labels_come_out_of_json(region: &Region) {
    let label_paths = BTreeMap::from([("role".to_owned(), "passport.role".to_owned())]);
    let policy = Policy {
        database: Some(6),
        fields: FieldsFormat::Json,
        user_path: "passport.user".to_owned(),
        label_paths,
        redact: vec!["password".to_owned(), "card.number".to_owned()],
        ..Policy::default()
    };
    region.create_namespace("express", policy).await;
    let mut client = Client::connect(region.resp(2)).await;
    client.expect("SELECT 6", "+OK").await;
    let login = |user: u32, role: &str| {
        format!(r#"{{"passport":{{"user":{user},"role":"{role}"}},"password":"p","card":{{"number":1,"kind":"x"}}}}"#)
    };
    for (id, user, role) in [("sess:a", 7, "admin"), ("sess:b", 7, "user"), ("sess:c", 8, "admin")] {
        assert_eq!(client.call(&[b"SET", id.as_bytes(), login(user, role).as_bytes()]).await, b"+OK\r\n");
    }
    let stored = client.ask("GET sess:a").await;
    assert!(!stored.contains("password") && !stored.contains("number") && stored.contains("kind"), "{stored}");
    assert_eq!(
        ids(region, Filter { user: Some(b"7".as_slice().into()), ..Filter::default() }).await,
        ["sess:a", "sess:b"]
    );
    let admins = Filter { label: Some((b"role".as_slice().into(), b"admin".as_slice().into())), ..Filter::default() };
    assert_eq!(ids(region, admins.clone()).await, ["sess:a", "sess:c"]);
    // A logout that takes the user out of the value takes the session out of the index.
    assert_eq!(client.call(&[b"SET", b"sess:a", b"{}"]).await, b"+OK\r\n");
    assert_eq!(ids(region, admins).await, ["sess:c"]);
    // What is no JSON is nobody's.
    client.expect("SET sess:c plain", "+OK").await;
    client.expect("GET sess:c", r"$5\r\nplain").await;
    assert_eq!(ids(region, Filter { user: Some(b"8".as_slice().into()), ..Filter::default() }).await, [""; 0]);
}

async fn ids(region: &Region, filter: Filter) -> Vec<String> {
    let node = region.node(1);
    let namespace: NamespaceId = node.topology().region.namespace("express").expect("it exists");
    let shards: Vec<_> = node.topology().shards.keys().copied().collect();
    let query = |shard| Read {
        shard: Some(shard),
        query: Query::Scan { namespace, filter: filter.clone(), from: None, count: 100, until: None },
    };
    let mut ids = Vec::new();
    for answer in node.read(shards.into_iter().map(query).collect()).await {
        let Ok(Answer::Page { lines, next: None }) = answer else { panic!("no page: {answer:?}") };
        ids.extend(lines.into_iter().map(|line| String::from_utf8(line.id.to_vec()).expect("text")));
    }
    ids.sort();
    ids
}

async fn lifetimes_are_the_namespaces(region: &Region) {
    const HOUR_MS: u64 = 60 * 60 * 1_000;
    let policy =
        Policy { database: Some(7), idle_timeout_ms: HOUR_MS, idle_timeout_ms_max: 2 * HOUR_MS, ..Policy::default() };
    region.create_namespace("timed", policy).await;
    let mut client = Client::connect(region.resp(1)).await;
    client.expect("SELECT 7", "+OK").await;
    for (command, seconds) in
        [("SET t v", 3_600), ("SET t v EX 100", 100), ("SET t v EX 90000", 7_200), ("SET t w", 3_600)]
    {
        client.expect(command, "+OK").await;
        let ttl: i64 = client.ask("TTL t").await[1..].parse().expect("a number");
        assert!((seconds - 60..=seconds).contains(&ttl), "{command}: {ttl}");
    }
    client.expect("HSET h f v", ":1").await;
    let ttl: i64 = client.ask("TTL h").await[1..].parse().expect("a number");
    assert!((3_540..=3_600).contains(&ttl), "HSET: {ttl}");
}
