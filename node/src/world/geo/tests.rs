mod file;

use super::{database::Database, *};
use crate::env::{Disk, RealEnv, Spawn, Work, simulated::SimulatedDisk};
use file::{City, Flat, Value, address_of, database, map};
use proptest::prelude::*;
use sojourn_core::routing::{Coordinates, Country};

fn country(letters: &str) -> Option<Country> {
    Some(letters.parse().expect("a country"))
}

fn place(database: &Database, address: &str) -> Place {
    database.place(address.parse().expect("an address"))
}

/// A city database with one network for Oxford and one for Umeå, and a record without a country.
fn cities() -> Vec<u8> {
    database(
        "Test-City",
        6,
        &[
            ("81.2.69.0/24", City("GB", 51.752, -1.258).value()),
            ("2001:db8:7::/48", City("SE", 63.825_4, 20.263).value()),
            ("9.0.0.0/8", map([("continent", map([("code", Value::Text("EU"))]))])),
        ],
    )
}

#[test]
fn real_addresses_are_in_the_database_that_is_built_in() {
    let database = Database::built_in().expect("in order");
    for (address, letters) in [
        ("81.2.69.142", "GB"),
        ("212.58.244.20", "GB"),
        ("8.8.8.8", "US"),
        ("128.101.101.101", "US"),
        ("132.205.7.51", "CA"),
        ("132.248.10.44", "MX"),
        ("193.99.144.80", "DE"),
        ("212.27.48.10", "FR"),
        ("151.1.1.1", "IT"),
        ("150.214.1.1", "ES"),
        ("193.190.198.1", "BE"),
        ("89.160.20.112", "SE"),
        ("129.240.2.3", "NO"),
        ("130.233.1.1", "FI"),
        ("212.77.98.9", "PL"),
        ("202.112.0.36", "CN"),
        ("210.171.226.40", "JP"),
        ("168.126.63.1", "KR"),
        ("139.130.4.5", "AU"),
        ("202.36.170.1", "NZ"),
        ("202.156.1.1", "SG"),
        ("203.113.131.1", "VN"),
        ("200.160.2.3", "BR"),
        ("196.25.1.1", "ZA"),
        ("2001:630::1", "GB"),
        ("2001:638::1", "DE"),
        ("2001:660::1", "FR"),
        ("2001:4860:4860::8888", "US"),
        ("2001:200::1", "JP"),
        ("2400:3200::1", "CN"),
        ("2409:4000::1", "IN"),
        ("2001:388::1", "AU"),
        ("2804:14c::1", "BR"),
        // As a socket that hears both kinds says it.
        ("::ffff:81.2.69.142", "GB"),
    ] {
        assert_eq!(place(&database, address), Place { country: country(letters), coordinates: None }, "{address}");
    }
    assert_eq!(place(&database, "10.1.2.3"), Place::default());
    assert_eq!(place(&database, "2001:db8::1"), Place::default());
}

#[test]
fn all_of_the_database_that_is_built_in_is_in_order() {
    let bytes = include_bytes!("../../../../deploy/geo/country.mmdb").to_vec();
    let about = Database::checked("built in", bytes).expect("in order").about();
    assert_eq!((about.kind.as_str(), about.built_ms), ("country ipvAll", 1_781_726_061_000));
    assert!(about.networks.is_some_and(|networks| networks > 300_000), "{about:?}");
}

#[test]
fn both_forms_of_records_are_read() {
    let cities = Database::checked("cities", cities()).expect("in order");
    let oxford = Place { country: country("GB"), coordinates: Coordinates::new(51_752, -1_258) };
    assert_eq!(place(&cities, "81.2.69.142"), oxford);
    assert_eq!(place(&cities, "::ffff:81.2.69.142"), oxford);
    assert_eq!(place(&cities, "2001:db8:7::1").coordinates, Coordinates::new(63_825, 20_263));
    assert_eq!(place(&cities, "9.9.9.9"), Place::default());
    assert_eq!(place(&cities, "81.2.70.1"), Place::default());
    assert_eq!(cities.about().networks, Some(3));

    let flat = database("flat", 4, &[("81.2.69.0/24", Flat("gb").value())]);
    let flat = Database::checked("flat", flat).expect("in order");
    assert_eq!(place(&flat, "81.2.69.142"), Place { country: country("GB"), coordinates: None });
    // It has no IPv6 at all.
    assert_eq!(place(&flat, "2a00:1450::1"), Place::default());
}

#[test]
fn coordinates_off_the_globe_are_none() {
    for (latitude, longitude) in [(91.0, 0.0), (0.0, 180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY), (1e300, 0.0)] {
        let odd = database("odd", 4, &[("81.2.69.0/24", City("GB", latitude, longitude).value())]);
        let odd = Database::checked("odd", odd).expect("in order");
        assert_eq!(place(&odd, "81.2.69.142"), Place { country: country("GB"), coordinates: None });
    }
}

#[test]
fn a_database_of_other_things_is_refused_by_its_type() {
    let networks =
        database("GeoLite2-ASN", 4, &[("81.2.69.0/24", map([("autonomous_system_number", Value::U32(20712))]))]);
    let error = Database::checked("/geo/asn.mmdb", networks).err().expect("refused").to_string();
    assert!(
        error.contains("/geo/asn.mmdb") && error.contains("GeoLite2-ASN") && error.contains("country or city"),
        "{error}"
    );
}

#[test]
fn what_is_no_database_is_refused_by_its_name() {
    let whole = cities();
    let half = whole[..whole.len() / 2].to_vec();
    for (what, bytes) in [("nothing", vec![]), ("text", b"a,b,c\n".repeat(1_000)), ("a half", half)] {
        let error = Database::checked("/geo/x.mmdb", bytes).err().expect(what).to_string();
        assert!(error.contains("/geo/x.mmdb is damaged") && error.contains("download it again"), "{what}: {error}");
    }
}

#[test]
fn a_tree_that_goes_round_in_circles_is_refused() {
    let mut bytes = cities();
    // The first record of the first node leads back to that node.
    bytes[..3].fill(0);
    let error = Database::checked("x", bytes).err().expect("refused").to_string();
    assert!(error.contains("cycle") || error.contains("circles"), "{error}");
}

proptest! {
    /// What passes the check answers every lookup, whatever it says.
    #[test]
    fn a_damaged_file_is_refused_or_harmless(at in any::<prop::sample::Index>(), flip in 1..=255_u8, address in any::<u128>()) {
        let mut bytes = cities();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(database) = Database::checked("flipped", bytes) {
            database.place(IpAddr::from(address.to_be_bytes()));
            for known in ["81.2.69.142", "2001:db8:7::1", "9.9.9.9"] {
                place(&database, known);
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Database::checked("noise", bytes).is_err());
    }

    #[test]
    fn networks_hold_what_is_in_them(prefix in 8..=32_u8, inside in any::<u32>(), other in any::<u32>()) {
        let network = address_of(0x5102_458e, prefix);
        let bytes = database("flat", 6, &[(network.as_str(), Flat("GB").value())]);
        let database = Database::checked("flat", bytes).expect("in order");
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        let within = 0x5102_458e & mask | inside & !mask;
        prop_assert_eq!(database.place(IpAddr::from(within.to_be_bytes())).country, country("GB"));
        let is_in = other & mask == 0x5102_458e & mask;
        prop_assert_eq!(database.place(IpAddr::from(other.to_be_bytes())).country.is_some(), is_in);
    }
}

/// Everything in tasks: time that is virtual must not pass while a thread reads.
struct Tasks;

impl Spawn for Tasks {
    fn spawn(&self, _name: &'static str, work: Work) {
        drop(tokio::spawn(work));
    }

    fn spawn_blocking(&self, _name: &'static str, work: Work) {
        drop(tokio::spawn(work));
    }
}

/// A disk in memory, and virtual time.
fn env(disk: &SimulatedDisk) -> Env {
    Env { disk: Arc::new(disk.clone()), spawn: Arc::new(Tasks), ..RealEnv::current() }
}

const FILE: &str = "/geo/cities.mmdb";

/// Puts a file in the place of the one before, as a good updater does.
fn put(disk: &SimulatedDisk, bytes: &[u8]) {
    let (new, file) = (Path::new("/geo/new"), Path::new(FILE));
    disk.create_directory(Path::new("/geo")).expect("made");
    disk.open(new, true).and_then(|file| file.write_at(0, bytes)).expect("written");
    disk.rename(new, file).expect("renamed");
}

/// Waits until the address is in this country. Time is virtual where nothing else is to do.
async fn until_in(geo: &Geo, letters: &str) {
    let there = async {
        while geo.place("81.2.69.142".parse().expect("an address")).country != country(letters) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LOOK_EVERY * 20, there).await.expect(letters);
}

fn one_country(letters: &'static str) -> Vec<u8> {
    database("flat", 4, &[("81.2.69.0/24", Flat(letters).value())])
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_read_anew_and_a_damaged_one_is_not() {
    let disk = SimulatedDisk::new(7);
    put(&disk, &one_country("GB"));
    let geo = Geo::open(&env(&disk), Path::new(FILE)).await.expect("in order");
    until_in(&geo, "GB").await;
    put(&disk, &one_country("IE"));
    until_in(&geo, "IE").await;
    // Damaged, gone, and of another type: each is looked at, and the old one goes on.
    let whole = one_country("FR");
    put(&disk, &whole[..whole.len() - 9]);
    tokio::time::sleep(LOOK_EVERY * 3).await;
    disk.remove(Path::new(FILE)).expect("removed");
    tokio::time::sleep(LOOK_EVERY * 3).await;
    put(&disk, &database("asn", 4, &[("81.2.69.0/24", map([("asn", Value::U32(1))]))]));
    tokio::time::sleep(LOOK_EVERY * 3).await;
    until_in(&geo, "IE").await;
    // What comes after them is taken.
    put(&disk, &whole);
    until_in(&geo, "FR").await;
}

#[tokio::test]
async fn a_file_that_may_only_be_read_is_enough_and_its_changes_are_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("country.mmdb");
    let write = |bytes: &[u8]| {
        let new = directory.path().join("new");
        std::fs::write(&new, bytes).expect("written");
        let mut permissions = std::fs::metadata(&new).expect("there").permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(&new, permissions).expect("set");
        std::fs::rename(&new, &file).expect("renamed");
    };
    write(&one_country("GB"));
    let env = RealEnv::current();
    let before = env.disk.mark(&file).expect("there");
    let geo = Geo::open(&env, &file).await.expect("in order");
    until_in(&geo, "GB").await;
    write(&one_country("IE"));
    assert_ne!(env.disk.mark(&file).expect("there"), before);
    until_in(&geo, "IE").await;
}

#[tokio::test]
async fn a_missing_file_is_refused_with_the_mend() {
    let error = Geo::open(&RealEnv::current(), Path::new("/nowhere/x.mmdb")).await.err().expect("refused").to_string();
    assert!(error.contains("/nowhere/x.mmdb") && error.contains("correct `geo.database`"), "{error}");
    // A directory is no file.
    let error = Geo::open(&RealEnv::current(), Path::new("/")).await.err().expect("refused").to_string();
    assert!(error.contains("cannot read the geo-IP database /:"), "{error}");
}
