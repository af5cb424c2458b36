//! Namespaces of a world: created, changed and dropped through any region, they are the same in all.

use crate::region::{Region, SOON};
use sojourn_core::{
    NamespaceId,
    policy::Policy,
    region::{DEFAULT_NAMESPACE, DEFAULT_NAMESPACE_NAME, RegionCommand, RegionOutcome, RegionRefusal},
};
use sojourn_node::{region::backend::Unavailable, security::password};
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

const AUTH: &str = "AUTH shop secret";

#[tokio::test]
async fn a_namespace_of_one_region_is_there_in_all() {
    let [mut na, mut eu, mut apac] = Region::start_world("namespaces", [("na", 2), ("eu", 1), ("apac", 1)]).await;

    let shop = created_here_it_is_used_there(&na, [&eu, &apac]).await;
    changed_there_it_is_changed_here(&na, &apac).await;
    eu.stop_all().await;
    eu.revive_all().await;
    eu.until_ready().await;
    assert_eq!(eu.state().namespace("shop"), Ok(shop), "it is remembered");
    assert_eq!(eu.redis(1, &[AUTH])[0], "+OK");
    dropped_anywhere_it_is_gone_everywhere([&na, &eu, &apac], shop).await;

    na.kill_all();
    eu.kill_all();
    let wish = RegionCommand::CreateNamespace { name: "late".to_owned(), policy: Policy::default() };
    let refused = apac.wish(wish).await.expect_err("one region of three").to_string();
    assert!(refused.contains("more than half of the regions must be up"), "{refused}");
    assert!(apac.state().namespace("late").is_err());
    apac.kill_all();
}

/// Slow on purpose, so once.
static HASH: LazyLock<String> = LazyLock::new(|| password::hash(b"secret", &[7; 16]));

fn policy(idle_timeout_ms: u64) -> Policy {
    Policy { password_hash: HASH.clone(), idle_timeout_ms, ..Policy::default() }
}

async fn created_here_it_is_used_there(na: &Region, others: [&Region; 2]) -> NamespaceId {
    na.namespace("shop", policy(3_600_000)).await;
    let shop = na.state().namespace("shop").expect("known where it was created");
    for region in others {
        region.until(|state| state.namespace("shop") == Ok(shop)).await;
    }
    for (number, region) in [na].into_iter().chain(others).enumerate() {
        let set = format!("SET sess:{number} {number}");
        assert_eq!(region.redis(0, &[AUTH, &set]), ["+OK", "+OK"]);
    }
    assert!(others[1].redis(0, &["AUTH shop wrong"])[0].starts_with("-WRONGPASS"));
    for region in [na].into_iter().chain(others) {
        let answers = region.redis(0, &[AUTH, "GET sess:0", "GET sess:1", "GET sess:2"]);
        assert_eq!(answers[1..], ["0", "1", "2"]);
    }
    let again = others[0].wish(RegionCommand::CreateNamespace { name: "shop".to_owned(), policy: policy(1) }).await;
    let exists = RegionRefusal::NamespaceExists("shop".to_owned());
    assert_eq!(again, Ok(RegionOutcome::Refused(exists)), "two of one name there are not");
    shop
}

async fn changed_there_it_is_changed_here(na: &Region, apac: &Region) {
    let idle_timeout_ms = |region: &Region, name: &str| {
        let state = region.state();
        state.namespaces[&state.namespace(name).expect("known")].policy.idle_timeout_ms
    };
    let default = Policy { database: Some(0), idle_timeout_ms: 900_000, ..Policy::default() };
    for (name, policy) in [("shop", policy(1_800_000)), (DEFAULT_NAMESPACE_NAME, default)] {
        let wanted_ms = policy.idle_timeout_ms;
        apac.change(RegionCommand::SetNamespace { name: name.to_owned(), policy }).await;
        assert_eq!(idle_timeout_ms(apac, name), wanted_ms, "who asked sees it at once");
        na.until(|state| {
            state.namespaces.values().any(|one| one.name == name && one.policy.idle_timeout_ms == wanted_ms)
        })
        .await;
    }
}

async fn dropped_anywhere_it_is_gone_everywhere(regions: [&Region; 3], shop: NamespaceId) {
    assert!(regions.iter().all(|region| region.sessions(shop) > 0), "there are sessions to destroy");
    let [_, eu, _] = regions;
    eu.change(RegionCommand::DropNamespace { name: "shop".to_owned() }).await;
    for region in regions {
        region.until(|state| state.namespace("shop").is_err() && state.adopted.dropped.is_empty()).await;
        assert!(region.redis(0, &[AUTH])[0].starts_with("-"), "nobody gets in any more");
    }
    let began = Instant::now();
    while regions.iter().any(|region| region.sessions(shop) > 0) {
        assert!(began.elapsed() < SOON, "its sessions are destroyed in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    regions[2].namespace("shop", policy(1)).await;
    let anew = regions[2].state().namespace("shop").expect("created anew");
    assert!(anew > shop, "its number is not used again");
}

#[tokio::test]
async fn what_a_region_had_before_it_joined_becomes_the_worlds() {
    let [mut na, mut eu] = Region::prepare_world("joining", [("na", 1), ("eu", 1)]);
    let others = [na.part_from_world(), eu.part_from_world()];
    na.revive_all().await;
    na.until_ready().await;
    na.namespace("shop", policy(5)).await;
    na.stop_all().await;
    eu.revive_all().await;
    eu.until_ready().await;
    let default = Policy { database: Some(0), idle_timeout_ms: 7, ..Policy::default() };
    eu.change(RegionCommand::SetNamespace { name: DEFAULT_NAMESPACE_NAME.to_owned(), policy: default.clone() }).await;
    eu.namespace("wiki", Policy { idle_timeout_ms: 1, ..Policy::default() }).await;
    eu.change(RegionCommand::DropNamespace { name: "wiki".to_owned() }).await;
    eu.namespace("blog", Policy { idle_timeout_ms: 2, ..Policy::default() }).await;
    eu.stop_all().await;

    na.join_world(&others[0]);
    na.revive_all().await;
    na.until_ready().await;
    for command in [
        RegionCommand::CreateNamespace { name: "early".to_owned(), policy: Policy::default() },
        RegionCommand::DropNamespace { name: "shop".to_owned() },
    ] {
        match na.wish(command).await {
            Err(Unavailable::Undecided(text)) => assert!(text.contains("eu has not been met yet: start it"), "{text}"),
            other => panic!("decided without the other region: {other:?}"),
        }
    }
    eu.join_world(&others[1]);
    eu.revive_all().await;
    for region in [&na, &eu] {
        region.until(|state| state.namespace("blog").is_ok() && state.namespace("shop").is_ok()).await;
        region.until(|state| state.namespaces[&DEFAULT_NAMESPACE].policy == default).await;
        let names: Vec<_> = region.state().namespaces.values().map(|one| (one.id.0, one.name.clone())).collect();
        let expected = [(0, "default"), (1, "shop"), (2, "blog")].map(|(id, name)| (id, name.to_owned()));
        assert_eq!(names, expected);
        assert_eq!(region.redis(0, &[AUTH])[0], "+OK");
    }
    na.kill_all();
    eu.kill_all();
}
