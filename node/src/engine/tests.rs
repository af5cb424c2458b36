//! One suite that every engine passes, and crashes where the disk can be made to lie.

use super::{Engine, FileEngine, FjallEngine, Row, View};
use crate::env::simulated::SimulatedDisk;
use futures::executor::block_on;
use std::{collections::BTreeMap, io, path::Path, sync::Arc};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

const GROUP: u32 = 3;

fn put(key: &str, value: &str) -> Row {
    (key.into(), Some(value.into()))
}

fn remove(key: &str) -> Row {
    (key.into(), None)
}

fn content(view: &dyn View) -> Content {
    let mut rows = Content::new();
    let mut add = |key: &[u8], value: &[u8]| {
        assert!(rows.last_key_value().is_none_or(|(last, _)| last.as_slice() < key), "in the order of keys");
        rows.insert(key.to_vec(), value.to_vec());
        Ok(())
    };
    view.scan(b"", &[0xff], &mut add).expect("a scan");
    rows.remove([super::KEY_FIRST_BYTE_MAX].as_slice());
    rows
}

fn now(engine: &dyn Engine) -> Content {
    content(&*engine.view(GROUP).expect("a view"))
}

fn rows(pairs: &[(&str, &str)]) -> Content {
    pairs.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// Runs over any engine; `open` opens it again as a new process would.
fn suite(open: &dyn Fn() -> Arc<dyn Engine>) {
    let engine = open();
    assert_eq!(now(&*engine), Content::new());
    assert_eq!(engine.read(GROUP, &[b"a".to_vec()]).expect("a read"), [None]);
    let large = "x".repeat(5000);
    block_on(engine.write(GROUP, vec![put("b", "2"), put("a", "1"), put("c", &large)])).expect("written");
    block_on(engine.write(GROUP + 1, vec![put("a", "other")])).expect("written");
    let before = engine.view(GROUP).expect("a view");
    block_on(engine.write(GROUP, vec![put("a", "one"), remove("b"), remove("z")])).expect("written");
    assert_eq!(content(&*before), rows(&[("a", "1"), ("b", "2"), ("c", &large)]), "a view stays as it was");
    let read = engine.read(GROUP, &[b"c".to_vec(), b"b".to_vec(), b"a".to_vec()]).expect("a read");
    assert_eq!(read, [Some(large.clone().into_bytes()), None, Some(b"one".to_vec())]);
    let mut part = Vec::new();
    let mut add = |key: &[u8], _: &[u8]| {
        part.push(key.to_vec());
        Ok(())
    };
    engine.view(GROUP).expect("a view").scan(b"a", b"c", &mut add).expect("a scan");
    assert_eq!(part, [b"a".to_vec()]);
    drop(before);
    // Somebody may hold it longer than its files.
    engine.close();

    let engine = open();
    assert_eq!(now(&*engine), rows(&[("a", "one"), ("c", &large)]));
    let mut given_up = engine.replace(GROUP).expect("a replacement");
    given_up.put(b"q", b"lost").expect("put");
    drop(given_up);
    assert_eq!(now(&*engine).len(), 2);
    let old = engine.view(GROUP).expect("a view");
    let mut replacement = engine.replace(GROUP).expect("a replacement");
    for number in 0..3000 {
        replacement.put(format!("k{number:05}").as_bytes(), large.as_bytes()).expect("put");
    }
    assert_eq!(now(&*engine).len(), 2, "nothing shows before the commit");
    block_on(replacement.commit()).expect("committed");
    assert_eq!(now(&*engine).len(), 3000);
    assert_eq!(content(&*old).len(), 2, "a view outlives a replacement");
    drop((old, engine));

    let engine = open();
    assert_eq!(now(&*engine).len(), 3000);
    block_on(engine.write(GROUP, vec![put("k00000", "new")])).expect("written");
    assert_eq!(now(&*engine)[b"k00000".as_slice()], b"new");
    assert_eq!(content(&*engine.view(GROUP + 1).expect("a view")), rows(&[("a", "other")]));
    let stopped = |_: &[u8], _: &[u8]| Err(io::Error::other("enough"));
    assert!(engine.view(GROUP).expect("a view").scan(b"", &[0xff], &mut { stopped }).is_err());
}

#[test]
fn fjall_keeps_rows() {
    let directory = tempfile::tempdir().expect("a directory");
    suite(&|| Arc::new(FjallEngine::open(directory.path()).expect("an engine")));
}

#[test]
fn files_keep_rows() {
    let disk = SimulatedDisk::new(1);
    suite(&|| Arc::new(FileEngine::open(Arc::new(disk.clone()), Path::new("/engine")).expect("an engine")));
}

#[test]
fn after_a_crash_a_write_is_there_whole_or_not_at_all() {
    let (mut torn, mut complete) = (0, 0);
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let open = |disk: &SimulatedDisk| FileEngine::open(Arc::new(disk.clone()), Path::new("/engine"));
        let engine = open(&disk).expect("an engine");
        let mut acknowledged = 0_u64;
        disk.fail_sync(3 + seed % 7);
        for number in 1..=10_u64 {
            let value = Some(number.to_be_bytes().repeat(200));
            if block_on(engine.write(GROUP, vec![(vec![1], value.clone()), (vec![2], value)])).is_err() {
                torn += 1;
                break;
            }
            acknowledged = number;
        }
        let disk = disk.crash();
        let read = open(&disk).expect("an engine").read(GROUP, &[vec![1], vec![2]]).expect("a read");
        assert_eq!(read[0], read[1], "seed {seed}: both rows are of one write");
        let found =
            read[0].as_ref().and_then(|value| value.first_chunk()).map_or(0, |first| u64::from_be_bytes(*first));
        assert!((acknowledged..=acknowledged + 1).contains(&found), "seed {seed}: {acknowledged} became {found}");
        complete += u64::from(found == acknowledged);
    }
    assert!(torn > 100 && complete > 20, "too little happened: {torn} failed, {complete} kept exactly what was told");
}

#[test]
fn a_crash_within_a_replacement_leaves_the_old_or_the_new() {
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        let open = |disk: &SimulatedDisk| FileEngine::open(Arc::new(disk.clone()), Path::new("/engine"));
        let engine = open(&disk).expect("an engine");
        block_on(engine.write(GROUP, vec![put("a", "old"), put("b", "old")])).expect("written");
        let mut replacement = engine.replace(GROUP).expect("a replacement");
        replacement.put(b"c", b"new").expect("put");
        replacement.put(b"d", b"new").expect("put");
        disk.fail_sync(1);
        let committed = seed % 2 == 0 && block_on(replacement.commit()).is_ok();
        assert!(!committed);
        let found = now(&open(&disk.crash()).expect("an engine"));
        let (old, new) = (rows(&[("a", "old"), ("b", "old")]), rows(&[("c", "new"), ("d", "new")]));
        assert!(found == old || found == new, "seed {seed}: {found:?}");
    }
}
