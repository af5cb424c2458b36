mod laws;

use super::*;
use std::net::IpAddr;

const NA: RegionId = RegionId(0);
const EU: RegionId = RegionId(1);
const APAC: RegionId = RegionId(2);
const NAMES: [(&str, RegionId); 3] = [("na", NA), ("eu", EU), ("apac", APAC)];

fn number_of(name: &str) -> Option<RegionId> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, region)| *region)
}

fn country(letters: &str) -> Country {
    letters.parse().expect("a country")
}

/// The world that there is unless it is told otherwise.
fn atlas(open: &[RegionId]) -> Atlas {
    Atlas {
        countries: Countries::default().resolve(number_of),
        sites: NAMES.iter().filter_map(|(name, region)| Some((*region, coordinates_of_region(name)?))).collect(),
        fallback: Fallback::To(NA),
        open: open.iter().copied().collect(),
    }
}

fn all() -> Atlas {
    atlas(&[NA, EU, APAC])
}

fn from_country(letters: &str) -> Newcomer {
    newcomer(Origin::At(Place { country: Some(country(letters)), coordinates: None }))
}

fn newcomer(origin: Origin) -> Newcomer {
    Newcomer { asked: EU, origin, residency: None, chosen: None }
}

#[test]
fn the_table_sends_countries_to_their_regions() {
    for (region, countries) in
        [(NA, "US CA MX"), (EU, "GB DE FR IT ES NL BE SE NO DK FI PL"), (APAC, "CN JP KR IN AU NZ SG MY TH VN ID PH")]
    {
        for letters in countries.split(' ') {
            let decision = all().decide(&from_country(letters)).expect("a home");
            assert_eq!((decision.region, decision.why), (region, Why::Country(country(letters))), "{letters}");
        }
    }
}

#[test]
fn other_countries_go_to_the_nearest_region() {
    for (letters, region) in [
        ("BR", NA),
        ("CO", NA),
        ("CU", NA),
        ("IE", EU),
        ("PT", EU),
        ("RU", EU),
        ("TR", EU),
        ("EG", EU),
        ("NG", EU),
        ("TW", APAC),
        ("HK", APAC),
        ("BD", APAC),
        ("FJ", APAC),
    ] {
        let decision = all().decide(&from_country(letters)).expect("a home");
        assert_eq!(decision.region, region, "{letters}");
        assert!(matches!(decision.why, Why::Nearest { precision: Precision::Country, .. }), "{letters}");
    }
}

#[test]
fn the_address_counts_more_than_the_middle_of_its_country() {
    // Vladivostok is nearer to Singapore than to Frankfurt; the middle of its country is not.
    let place = Place { country: Some(country("RU")), coordinates: Coordinates::new(43_120, 131_890) };
    let decision = all().decide(&newcomer(Origin::At(place))).expect("a home");
    assert_eq!(decision.region, APAC);
    assert!(matches!(decision.why, Why::Nearest { distance_km: 5_300..5_600, precision: Precision::Address }));
}

#[test]
fn a_region_that_is_out_is_stood_in_for_by_the_nearest_to_the_client() {
    let without_eu = atlas(&[NA, APAC]);
    let decision = without_eu.decide(&from_country("GB"));
    let expected = Decision { region: NA, why: Why::Country(country("GB")), instead_of: Some(EU) };
    assert_eq!(decision, Ok(expected));
    // Nobody knows where this caller is: from Frankfurt it is nearer to Virginia than to Singapore.
    let chosen = Newcomer { chosen: Some(EU), ..newcomer(Origin::At(Place::default())) };
    let expected = Decision { region: NA, why: Why::Chosen, instead_of: Some(EU) };
    assert_eq!(without_eu.decide(&chosen), Ok(expected));
}

#[test]
fn residency_holds_whatever_the_caller_says_and_is_never_stood_in_for() {
    let bound = Newcomer { residency: Some(EU), chosen: Some(NA), ..from_country("US") };
    let expected = Decision { region: EU, why: Why::Residency, instead_of: None };
    assert_eq!(all().decide(&bound), Ok(expected));
    assert_eq!(atlas(&[NA, APAC]).decide(&bound), Err(Homeless::Residency(EU)));
}

#[test]
fn who_has_no_place_stays_where_it_asked_and_who_is_unknown_goes_to_the_default() {
    let local = newcomer(Origin::Nowhere(Placeless::Loopback));
    let expected = Decision { region: EU, why: Why::Placeless(Placeless::Loopback), instead_of: None };
    assert_eq!(all().decide(&local), Ok(expected));
    let unknown = newcomer(Origin::At(Place::default()));
    let expected = Decision { region: NA, why: Why::Default, instead_of: None };
    assert_eq!(all().decide(&unknown), Ok(expected));
    let asked = Atlas { fallback: Fallback::Asked, ..all() };
    assert_eq!(asked.decide(&unknown), Ok(Decision { region: EU, ..expected }));
}

#[test]
fn without_an_open_region_there_is_no_home() {
    assert_eq!(atlas(&[]).decide(&from_country("GB")), Err(Homeless::AllClosed));
    assert_eq!(atlas(&[]).decide(&newcomer(Origin::Nowhere(Placeless::Unsaid))), Err(Homeless::AllClosed));
}

#[test]
fn what_is_no_place_is_not_looked_up() {
    for (address, placeless) in [
        ("127.0.0.1", Placeless::Loopback),
        ("127.255.0.9", Placeless::Loopback),
        ("::1", Placeless::Loopback),
        ("10.1.2.3", Placeless::Private),
        ("172.16.0.1", Placeless::Private),
        ("172.31.255.255", Placeless::Private),
        ("192.168.1.1", Placeless::Private),
        ("fd00::1", Placeless::Private),
        ("fec0::1", Placeless::Private),
        ("169.254.169.254", Placeless::LinkLocal),
        ("fe80::1", Placeless::LinkLocal),
        ("100.64.0.1", Placeless::CarrierShared),
        ("100.127.255.255", Placeless::CarrierShared),
        ("192.0.2.7", Placeless::Documentation),
        ("198.51.100.7", Placeless::Documentation),
        ("203.0.113.7", Placeless::Documentation),
        ("2001:db8::7", Placeless::Documentation),
        ("3fff:fff::7", Placeless::Documentation),
        ("224.0.0.1", Placeless::Multicast),
        ("ff02::1", Placeless::Multicast),
        ("0.0.0.0", Placeless::Reserved),
        ("::", Placeless::Reserved),
        ("198.19.0.1", Placeless::Reserved),
        ("255.255.255.255", Placeless::Reserved),
        // IPv4 inside: mapped by a socket, or by a translator.
        ("::ffff:127.0.0.1", Placeless::Loopback),
        ("::ffff:10.0.0.1", Placeless::Private),
        ("64:ff9b::192.168.0.1", Placeless::Private),
    ] {
        assert_eq!(locatable(address.parse().expect("an address")), Err(placeless), "{address}");
    }
}

#[test]
fn what_may_be_a_place_is_looked_up_as_what_it_carries() {
    for (address, carried) in [
        ("81.2.69.142", "81.2.69.142"),
        ("172.15.0.1", "172.15.0.1"),
        ("172.32.0.1", "172.32.0.1"),
        ("100.63.255.255", "100.63.255.255"),
        ("100.128.0.0", "100.128.0.0"),
        ("198.20.0.1", "198.20.0.1"),
        ("::ffff:81.2.69.142", "81.2.69.142"),
        ("64:ff9b::81.2.69.142", "81.2.69.142"),
        ("2a00:1450::1", "2a00:1450::1"),
    ] {
        let carried: IpAddr = carried.parse().expect("an address");
        assert_eq!(locatable(address.parse().expect("an address")), Ok(carried), "{address}");
    }
}

#[test]
fn tables_read_back_and_override_row_by_row() {
    let given: Countries = " ie=eu, US=apac ,".parse().expect("a table");
    assert_eq!(given.to_string(), "IE=eu,US=apac");
    assert_eq!(given.to_string().parse(), Ok(given.clone()));
    let table = Countries::default().overridden_by(given);
    let region = |letters: &str| table.region(country(letters));
    assert_eq!((region("IE"), region("US"), region("CA"), region("BR")), (Some("eu"), Some("apac"), Some("na"), None));
}

#[test]
fn what_is_no_table_is_refused_with_the_row() {
    for (text, expected) in [
        ("US", "\"US\" is no row of the table"),
        ("US=", "\"US=\" is no row of the table"),
        ("USA=na", "\"USA\" is no country"),
        ("=na", "\"\" is no country"),
        ("US=na,us=eu", "US has two rows"),
    ] {
        let error = text.parse::<Countries>().expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn countries_of_regions_that_there_are_not_have_no_row() {
    let only_eu = Countries::default().resolve(|name| (name == "eu").then_some(EU));
    assert_eq!(only_eu.len(), 12);
    assert!(only_eu.values().all(|region| *region == EU));
}

#[test]
fn coordinates_read_back() {
    for (text, shown) in
        [("50.11,8.68", "50.110,8.680"), ("-0.5, -179.9999", "-0.500,-179.999"), ("90,180", "90.000,180.000")]
    {
        let read: Coordinates = text.parse().expect(text);
        assert_eq!(read.to_string(), shown);
    }
    for text in ["", "1", "91,0", "0,181", "a,b", "1.,2", "1e3,0", "--1,0", "99999999999,0", "+1,0", "1,2,3"] {
        assert!(text.parse::<Coordinates>().is_err(), "{text}");
    }
}

#[test]
fn distances_are_those_of_the_globe() {
    let at = |text: &str| text.parse::<Coordinates>().expect(text);
    let (frankfurt, singapore, virginia) = (at("50.11,8.68"), at("1.35,103.82"), at("39.04,-77.49"));
    assert_eq!(frankfurt.distance_km(frankfurt), 0);
    assert_eq!(frankfurt.distance_km(at("50.12,8.68")), 1);
    assert_eq!(at("90,0").distance_km(at("-90,77")), 20_015);
    assert_eq!(at("0,180").distance_km(at("0,-180")), 0);
    for (here, there) in [(frankfurt, singapore), (frankfurt, virginia), (virginia, singapore)] {
        assert!((f64::from(here.distance_km(there)) - haversine_km(here, there)).abs() <= 1.0);
    }
}

/// The textbook's formula.
fn haversine_km(here: Coordinates, there: Coordinates) -> f64 {
    let radians = |mdeg: i32| (f64::from(mdeg) / 1_000.0).to_radians();
    let (north, south) = (radians(here.latitude_mdeg()), radians(there.latitude_mdeg()));
    let around = radians(there.longitude_mdeg()) - radians(here.longitude_mdeg());
    let square = |angle: f64| (angle / 2.0).sin().powi(2);
    let half = (square(south - north) + north.cos() * south.cos() * square(around)).min(1.0);
    2.0 * 6_371.008_8 * half.sqrt().asin()
}
