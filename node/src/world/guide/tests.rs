use super::*;
use parking_lot::Mutex;
use sojourn_core::routing::{Why, coordinates_of_region};

/// Regions that a test changes.
struct Changing(Mutex<Arc<[Region]>>);

impl Regions for Changing {
    fn regions(&self) -> Arc<[Region]> {
        self.0.lock().clone()
    }

    fn own(&self) -> RegionId {
        RegionId(2)
    }
}

fn regions(open: &[&str]) -> Arc<[Region]> {
    let region = |(id, name): (u16, &&str)| Region {
        id: RegionId(id),
        name: (*name).to_owned(),
        coordinates: coordinates_of_region(name),
        open: open.contains(name),
    };
    (0..).zip(&["na", "eu", "apac"]).map(region).collect()
}

fn options() -> GuideOptions {
    GuideOptions { countries: Countries::default(), default: DefaultRegion::Named("na".to_owned()) }
}

fn guide(regions: impl Regions) -> Guide {
    Guide::new(Geo::built_in().expect("in order"), Arc::new(regions), options())
}

fn three() -> Guide {
    guide(Changing(Mutex::new(regions(&["na", "eu", "apac"]))))
}

fn explain(guide: &Guide, address: &str) -> (String, String) {
    let explanation = guide.explain(address.parse().expect("an address"));
    let home = explanation.decision.map_or_else(|_| "none".to_owned(), |decision| explanation.name_of(decision.region));
    (home, explanation.reason())
}

#[test]
fn real_addresses_are_explained() {
    for (address, home, reason) in [
        ("81.2.69.142", "eu", "the table sends GB to eu"),
        ("::ffff:81.2.69.142", "eu", "the table sends GB to eu"),
        ("128.101.101.101", "na", "the table sends US to na"),
        ("2001:200::1", "apac", "the table sends JP to apac"),
        ("200.160.2.3", "na", "the table does not have its country; na is the nearest to the middle of BR, 6094 km"),
        ("127.0.0.1", "apac", "it is a loopback address, so it stays in apac, which was asked"),
        ("10.0.0.1", "apac", "it is a private address, so it stays in apac, which was asked"),
        ("2a0f:ffff::1", "na", "the database does not know where the address is, and na is what is left"),
    ] {
        assert_eq!(explain(&three(), address), (home.to_owned(), reason.to_owned()), "{address}");
    }
}

#[test]
fn a_region_that_goes_is_stood_in_for_from_then_on() {
    let world = Arc::new(Changing(Mutex::new(regions(&["na", "eu", "apac"]))));
    let guide = Guide::new(Geo::built_in().expect("in order"), world.clone(), options());
    assert_eq!(explain(&guide, "81.2.69.142").0, "eu");
    *world.0.lock() = regions(&["na", "apac"]);
    let reason = "the table sends GB to eu; but eu takes no new sessions, and na stands in for it";
    assert_eq!(explain(&guide, "81.2.69.142"), ("na".to_owned(), reason.to_owned()));
    *world.0.lock() = regions(&[]);
    let (home, reason) = explain(&guide, "81.2.69.142");
    assert!(home == "none" && reason.contains("no region takes new sessions"), "{reason}");
    *world.0.lock() = regions(&["eu"]);
    assert_eq!(explain(&guide, "81.2.69.142").0, "eu");
}

#[test]
fn a_region_alone_has_all_sessions() {
    let region = Region { id: RegionId(4), name: "home".to_owned(), coordinates: None, open: true };
    let guide = guide(Alone::new(region));
    for address in ["81.2.69.142", "127.0.0.1", "200.160.2.3"] {
        assert_eq!(explain(&guide, address).0, "home");
    }
    assert_eq!(explain(&guide, "200.160.2.3").1, "no open region says where it is, and home is what is left");
    let said = guide.home(None, Wish::default()).expect("a home");
    assert_eq!((said.region, said.why), (RegionId(4), Why::Placeless(Placeless::Unsaid)));
}

#[test]
fn a_table_for_regions_that_there_are_not_is_said_to_be_one() {
    let region = Region { coordinates: coordinates_of_region("na"), ..regions(&["na"])[0].clone() };
    let (home, reason) = explain(&guide(Alone::new(region)), "81.2.69.142");
    assert_eq!(home, "na");
    assert!(
        reason.starts_with("the table sends GB to eu, which this world does not have; na is the nearest"),
        "{reason}"
    );
}

#[test]
fn wishes_come_before_places() {
    let wish = |residency, chosen| {
        let decided = three().home("81.2.69.142".parse().ok(), Wish { residency, chosen }).expect("a home");
        (decided.region, decided.why)
    };
    assert_eq!(wish(None, Some(RegionId(2))), (RegionId(2), Why::Chosen));
    assert_eq!(wish(Some(RegionId(0)), Some(RegionId(2))), (RegionId(0), Why::Residency));
}
