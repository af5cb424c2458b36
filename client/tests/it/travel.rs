//! Three regions: sessions get other homes while they are used.

use crate::region::{Region, SOON};
use sojourn_client::{Client, Error, NewSession, Patch, SessionId};
use sojourn_core::{
    RegionId, Slot,
    ids::SLOTS,
    policy::Policy,
    region::{DEFAULT_NAMESPACE_NAME, RegionCommand},
};
use sojourn_node::region::travel::{Moved, NotMoved};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

async fn connect(region: &Region) -> Client {
    region.builder("default").deadline(SOON).connect().await.expect("connected")
}

/// An id of a slot that is in the first shard of every region.
fn id(name: &str) -> SessionId {
    let names = (0..).map(|number| format!("{name}-{number}"));
    let mut first = names.filter(|name| Slot::of(name.as_bytes()).number() < SLOTS / 4);
    SessionId::new(first.next().expect("one of many"))
}

#[tokio::test]
async fn sessions_move_while_they_are_used() {
    let [mut na, eu, apac] = Region::start_world("travel", [("na", 2), ("eu", 3), ("apac", 1)]).await;
    let clients = [connect(&na).await, connect(&eu).await, connect(&apac).await];
    no_count_is_lost_and_no_read_goes_back([&na, &eu, &apac], &clients).await;
    what_is_over_does_not_come_back([&na, &eu, &apac], &clients).await;
    a_session_follows_its_user_where_the_namespace_lets_it([&na, &eu, &apac], &clients).await;
    a_move_that_is_interrupted_is_finished_by_whoever_asks_again(&mut na, [&eu, &apac], &clients).await;
}

/// What a region finds of a session that is to go where it goes already: asked again while nobody answers.
async fn found(region: &Region, id: &SessionId, to: RegionId) -> Result<Moved, NotMoved> {
    let began = Instant::now();
    loop {
        match region.move_session(id.expose(), to).await {
            Err(NotMoved::Unavailable(error)) => assert!(began.elapsed() < SOON, "{error}"),
            found => return found,
        }
    }
}

/// Counts with one session, and with others as applications do: what is written next says what of the last answers has arrived.
pub struct Counter {
    pub client: Client,
    pub counted: SessionId,
    pub others: Vec<SessionId>,
    pub ends: Arc<AtomicBool>,
    pub total: Arc<AtomicU64>,
}

impl Counter {
    pub async fn run(self) {
        let mut last = 0;
        while !self.ends.load(Ordering::Relaxed) {
            let seen = self.client.get(&self.counted).await.expect("read").expect("it lives");
            let count: u64 = seen.text("count").expect("a count").parse().expect("a number");
            assert!(count >= last, "{count} after {last}");
            last = count;
            let patch = Patch::new().set("count", (count + 1).to_string()).if_version(seen.version);
            match self.client.patch(&self.counted, patch).await {
                Ok(_) => {
                    last = count + 1;
                    self.total.fetch_add(1, Ordering::Relaxed);
                }
                Err(Error::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            for other in &self.others {
                self.client.patch(other, Patch::new().set("n", count.to_string())).await.expect("patched");
            }
        }
    }
}

async fn no_count_is_lost_and_no_read_goes_back(regions: [&Region; 3], clients: &[Client; 3]) {
    let counted = id("counted");
    let new = NewSession::new().id(counted.clone()).field("count", "0");
    clients[0].create(new).await.expect("created");
    let mut others = Vec::new();
    for (home, client) in clients.iter().enumerate() {
        let other = id(&format!("other{home}"));
        client.create(NewSession::new().id(other.clone())).await.expect("created");
        others.push(other);
    }
    let (ends, total) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let counters = clients.iter().map(|client| {
        let (client, counted, others) = (client.clone(), counted.clone(), others.clone());
        tokio::spawn(Counter { client, counted, others, ends: ends.clone(), total: total.clone() }.run())
    });
    let counters: Vec<_> = counters.collect();
    for (asked, to) in [(0, 1), (0, 2), (1, 0), (2, 1)] {
        let before = total.load(Ordering::Relaxed);
        let (began, to_region) = (Instant::now(), RegionId(to));
        while let Err(error) = regions[asked].move_session(counted.expose(), to_region).await {
            // A busy machine may be too slow for one try; whoever asks again finds the session where it is.
            assert!(!matches!(error, NotMoved::Gone | NotMoved::Refused(_)) && began.elapsed() < SOON, "{error}");
        }
        for (region, at) in regions.iter().zip(0..) {
            assert_eq!(region.orders(counted.expose()).await, at == to, "region {at} after a move to {to}");
        }
        while total.load(Ordering::Relaxed) < before + 20 {
            assert!(began.elapsed() < SOON, "it is counted on");
            // What clients are told is no event of ours.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    ends.store(true, Ordering::Relaxed);
    for counter in counters {
        counter.await.expect("no counter fails");
    }
    let total = total.load(Ordering::Relaxed).to_string();
    for client in clients {
        // Also who has not seen what the others were told last.
        let began = Instant::now();
        while client.get(&counted).await.expect("read").expect("it lives").text("count") != Some(&*total) {
            assert!(began.elapsed() < SOON, "all counts arrive");
        }
    }
    assert_eq!(found(regions[2], &counted, RegionId(1)).await, Ok(Moved::AtHome));
}

async fn what_is_over_does_not_come_back(regions: [&Region; 3], clients: &[Client; 3]) {
    for (number, to) in [(0, 1), (1, 2), (2, 1)] {
        let ended = id(&format!("ended{number}"));
        clients[0].create(NewSession::new().id(ended.clone()).field("n", "1")).await.expect("created");
        let asked = &clients[number];
        // One of both comes first.
        let (moved, destroyed) =
            tokio::join!(regions[2].move_session(ended.expose(), RegionId(to)), asked.destroy(&ended));
        assert_eq!(destroyed, Ok(true), "{moved:?}");
        for client in clients {
            let began = Instant::now();
            while client.get(&ended).await.expect("read").is_some() {
                assert!(began.elapsed() < SOON, "it is over everywhere in time");
            }
        }
        assert_eq!(found(regions[0], &ended, RegionId(2)).await, Err(NotMoved::Gone));
        for client in clients {
            assert_eq!(client.get(&ended).await, Ok(None));
        }
    }
}

async fn a_session_follows_its_user_where_the_namespace_lets_it(regions: [&Region; 3], clients: &[Client; 3]) {
    let [in_na, in_eu, _] = clients;
    let (own, shared) = (id("own"), id("shared"));
    for id in [&own, &shared] {
        in_na.create(NewSession::new().id(id.clone()).field("n", "0")).await.expect("created");
    }
    let use_both = async || {
        for (client, id) in [(in_eu, &own), (in_eu, &shared), (in_na, &shared)] {
            client.patch(id, Patch::new().set("n", "1")).await.expect("patched");
        }
    };
    for _use in 0..20 {
        use_both().await;
    }
    let ordered = async || [regions[0].orders(own.expose()).await, regions[1].orders(own.expose()).await];
    assert_eq!(ordered().await, [true, false], "nobody lets it");
    let policy = || Policy { database: Some(0), travel: true, ..Policy::default() };
    for region in regions {
        region.change(RegionCommand::SetNamespace { name: DEFAULT_NAMESPACE_NAME.to_owned(), policy: policy() }).await;
    }
    let began = Instant::now();
    while ordered().await != [false, true] {
        use_both().await;
        assert!(began.elapsed() < SOON, "it follows its user in time");
    }
    assert!(regions[0].orders(shared.expose()).await, "what is used at home as well stays there");
}

async fn a_move_that_is_interrupted_is_finished_by_whoever_asks_again(
    na: &mut Region,
    [eu, apac]: [&Region; 2],
    clients: &[Client; 3],
) {
    let moving: Vec<SessionId> = (0..6).map(|number| id(&format!("moving{number}"))).collect();
    for id in &moving {
        clients[0].create(NewSession::new().id(id.clone()).field("n", "1")).await.expect("created");
    }
    // What is written next says that the answers before have arrived.
    clients[0].create(NewSession::new().id(id("next"))).await.expect("created");
    let leader = na.leader(0);
    let moves = moving.iter().zip(0..).map(|(id, number)| async move {
        tokio::time::sleep(Duration::from_millis(10 * number)).await;
        // Whatever it says, some of them are on their way.
        let _said = eu.move_session(id.expose(), RegionId(1)).await;
    });
    tokio::join!(futures::future::join_all(moves), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        na.kill(leader);
    });
    let began = Instant::now();
    for id in &moving {
        while eu.move_session(id.expose(), RegionId(1)).await.is_err() {
            assert!(began.elapsed() < SOON, "it is moved in time");
        }
        let mut ordered = Vec::new();
        for region in [&*na, eu, apac] {
            ordered.push(region.orders(id.expose()).await);
        }
        assert_eq!(ordered, [false, true, false]);
        for client in clients {
            assert_eq!(client.get(id).await.expect("read").expect("it lives").text("n"), Some("1"));
        }
        clients[0].patch(id, Patch::new().set("n", "2")).await.expect("patched");
        assert_eq!(clients[0].get(id).await.expect("read").expect("it lives").text("n"), Some("2"));
    }
}
