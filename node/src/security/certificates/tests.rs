//! Files that pass, and what is said of those that do not.

use super::{
    samples::{Authority, Says},
    *,
};
use crate::env::RealEnv;
use std::time::Instant;

fn refused(files: &Files) -> String {
    Certificates::open(&RealEnv::current(), files).expect_err("refused").to_string()
}

#[tokio::test]
async fn a_certificate_that_no_other_node_takes_is_named_with_the_mend() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), Authority::draw());
    let place = directory.path();
    let good = authority.certify(place, &Says::default());
    assert!(Certificates::open(&RealEnv::current(), &good).is_ok());
    let until = Err(Duration::from_secs(60));
    let expired = refused(&authority.certify(place, &Says { until, ..Says::default() }));
    assert!(
        expired.contains("tls.certificate") && expired.contains("expired") && expired.contains("renew"),
        "{expired}"
    );
    let other = refused(&authority.certify(place, &Says { name: "elsewhere.example", ..Says::default() }));
    assert!(other.contains(NODE_NAME), "{other}");
    let files = authority.certify(place, &Says::default());
    std::fs::write(&files.authority, std::fs::read(&files.certificate).expect("read")).expect("written");
    let foreign = refused(&files);
    assert!(foreign.contains("tls.authority"), "{foreign}");
    std::fs::write(&files.key, "no key").expect("written");
    let strange = refused(&files);
    assert!(strange.contains("`tls.key`") && strange.contains("no private key"), "{strange}");
    let missing = refused(&Files { certificate: place.join("none"), ..files });
    assert!(missing.contains("cannot read `tls.certificate`"), "{missing}");
}

#[tokio::test]
async fn a_new_certificate_is_read_without_a_restart_and_a_bad_one_is_not_used() {
    let (directory, authority) = (tempfile::tempdir().expect("a directory"), Authority::draw());
    let files = authority.certify(directory.path(), &Says::default());
    let certificates = Certificates::open(&RealEnv::current(), &files).expect("good files");
    let config = |certificates: &Certificates| Arc::as_ptr(certificates.called().config());
    let first = config(&certificates);
    std::fs::write(&files.key, "no key").expect("written");
    tokio::time::sleep(LOOK_EVERY * 2).await;
    assert_eq!(config(&certificates), first, "the old one goes on");
    authority.certify(directory.path(), &Says::default());
    let began = Instant::now();
    while config(&certificates) == first {
        assert!(began.elapsed() < LOOK_EVERY * 10, "it is read in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
