//! What a machine does not need any more is given away rather than dropped where it holds everybody up.

use super::*;
use crate::{
    engine::{Storage, StorageOptions},
    env::{
        Env, Plants, Work,
        simulated::{Hands, SimulatedDisk, Virtual},
    },
    raft::Loading,
};
use sojourn_core::{Condition, Expiry, Request, policy::Policy};

/// Keeps what it is given to drop.
#[derive(Default)]
struct Kept(Mutex<Vec<Box<dyn Send>>>);

impl Spawn for Kept {
    fn spawn(&self, _name: &'static str, work: Work) {
        drop(tokio::spawn(work));
    }

    fn spawn_blocking(&self, name: &'static str, work: Work) {
        self.spawn(name, work);
    }

    fn discard(&self, what: Box<dyn Send>) {
        self.0.lock().push(what);
    }
}

impl Kept {
    /// How many things were given to it since the last call.
    fn drop_all(&self) -> usize {
        mem::take(&mut *self.0.lock()).len()
    }
}

fn key() -> Key {
    Key::new(NamespaceId(0), b"s").expect("an id")
}

fn set() -> Command {
    let expiry = Expiry::After { ms: 3_600_000 };
    let op = Op::Set { value: b"v"[..].into(), expiry, condition: Condition::Always, get: false, owner: None };
    Command { request: Request::default(), key: key(), rules: Policy::default().rules(false), touched: None, op }
}

#[tokio::test(start_paused = true)]
async fn sessions_that_are_not_needed_any_more_are_given_away() {
    let kept = Arc::new(Kept::default());
    let (clock, disk) = (Arc::new(Hands::default()), Arc::new(SimulatedDisk::new(1)));
    let env = Env { clock, disk, spawn: kept.clone(), random: Arc::new(Virtual::start()), plants: Plants::default() };
    let storage = Storage::open(&env, &StorageOptions::simulated("/engine")).expect("an empty disk");
    let (intervals, notices) = (Arc::new(|_, _| 0), broadcast::channel(1).0);
    let machine = Sessions::new(ShardId(0), RegionId(0), 1, intervals, storage.part(1), notices, kept.clone());
    let write = |index| {
        assert!(machine.apply(index, (1, vec![set()])).is_ok());
        machine.record(&key()).expect("it lives")
    };
    // What the engine has, once another write has taken its place.
    let first = write(1);
    let rows = machine.take_unsaved().rows();
    let second = write(2);
    // Those who follow are told of both; let nothing but the machine hold them.
    machine.feed.lock().skip(2);
    machine.settle(true);
    assert_eq!((Arc::strong_count(&first), kept.drop_all()), (2, 1));
    assert_eq!(Arc::strong_count(&first), 1);
    // What a snapshot replaces.
    let mut loading = machine.loading();
    rows.iter().try_for_each(|(key, value)| loading.take(key, value.as_deref().unwrap_or_default())).expect("rows");
    let commit = Box::pin(std::future::ready(Ok(())));
    machine.adopt(3, loading.complete(), commit).await.expect("adopted");
    assert_eq!((Arc::strong_count(&second) > 1, kept.drop_all()), (true, 1));
    assert_eq!(Arc::strong_count(&second), 1);
    // What is left when the replica goes.
    let third = machine.record(&key()).expect("as the rows say");
    drop(machine);
    assert_eq!((Arc::strong_count(&third), kept.drop_all()), (2, 1));
    assert_eq!(Arc::strong_count(&third), 1);
}
