//! Listings, counts and clearing across shards.

use crate::region::client;
use sojourn_client::{Client, Filter, NewSession, SessionId};
use sojourn_core::policy::Policy;
use std::{collections::BTreeSet, time::Duration};

const HOUR: Duration = Duration::from_secs(3_600);

async fn fill(client: &Client) -> BTreeSet<SessionId> {
    let one = |number: u64| {
        let new = NewSession::new().field("a", "1").user(format!("u{}", number % 10)).idle_timeout(HOUR);
        let new = if number.is_multiple_of(7) { new.label("role", "admin") } else { new };
        client.create(if number.is_multiple_of(5) { new.idle_timeout(HOUR / 4) } else { new })
    };
    let created = futures::future::join_all((0..210).map(one)).await;
    created.into_iter().map(|created| created.expect("created").id).collect()
}

async fn ids(client: &Client, filter: Filter) -> Vec<SessionId> {
    let sessions = client.list(filter).page_size(10).collect().await.expect("listed");
    sessions.into_iter().map(|session| session.id).collect()
}

#[tokio::test]
async fn listings_and_counts_cover_all_shards() {
    let client = client("many", Policy::default()).await;
    let all = fill(&client).await;
    let listed = ids(&client, Filter::all()).await;
    assert_eq!(listed.len(), 210, "each comes once");
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), all);
    let soon = Filter::all().expiring_within(HOUR / 2);
    for (filter, count) in [
        (Filter::all(), 210),
        (Filter::all().user("u3"), 21),
        (Filter::all().label("role", "admin"), 30),
        (soon.clone(), 42),
        (soon.user("u5"), 21),
        (Filter::all().user("nobody"), 0),
        (Filter::all().pattern("S*"), 210),
        (Filter::all().pattern("x*"), 0),
    ] {
        let found = ids(&client, filter.clone()).await;
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), count, "{filter:?}");
        assert_eq!(found.len(), count, "{filter:?}");
        assert_eq!(client.count(filter.clone()).await.expect("counted").sessions, count as u64, "{filter:?}");
    }
    let session = client.list(Filter::all()).next().await.expect("one").expect("listed");
    assert_eq!((session.fields.len(), session.field_count), (0, 1), "without fields");
}

#[tokio::test]
async fn a_listing_goes_on_from_its_token() {
    let client = client("tokens", Policy::default()).await;
    let all = fill(&client).await;
    for filter in [Filter::all(), Filter::all().expiring_within(HOUR * 2)] {
        let mut found = BTreeSet::new();
        let mut listing = client.list(filter.clone()).page_size(20);
        // To the end of a page.
        let mut token = listing.token().clone();
        while found.len() < 100 || *listing.token() == token {
            token = listing.token().clone();
            found.insert(listing.next().await.expect("more").expect("listed").id);
        }
        // What was begun with the last session is the page after `token`: resuming there brings it again.
        let rest = client.list(filter).page_size(20).resume(token).collect().await.expect("listed");
        found.extend(rest.into_iter().map(|session| session.id));
        assert_eq!(found, all);
    }
    let bad = client.list(Filter::all()).resume("nonsense".into()).next().await.expect("an answer");
    assert!(bad.expect_err("a bad token").to_string().contains("begin anew"));
}

#[tokio::test]
async fn clearing_ends_one_namespace() {
    let (client, other) = (client("cleared", Policy::default()).await, client("kept", Policy::default()).await);
    fill(&client).await;
    other.create(NewSession::new()).await.expect("created");
    assert_eq!(client.clear().await, Ok(210));
    assert_eq!(client.count(Filter::all()).await.expect("counted").sessions, 0);
    assert_eq!(ids(&client, Filter::all()).await, []);
    assert_eq!(other.count(Filter::all()).await.expect("counted").sessions, 1);
}
