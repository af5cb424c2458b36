use super::*;
use proptest::{collection::btree_set, option, prelude::*};

fn some_coordinates() -> impl Strategy<Value = Coordinates> {
    (-90_000..=90_000, -180_000..=180_000)
        .prop_filter_map("on the globe", |(north, east)| Coordinates::new(north, east))
}

fn some_country() -> impl Strategy<Value = Country> {
    "[A-Z]{2}".prop_map(|letters| country(&letters))
}

fn some_region() -> impl Strategy<Value = RegionId> {
    (0..6_u16).prop_map(RegionId)
}

fn some_origin() -> impl Strategy<Value = Origin> {
    prop_oneof![
        Just(Origin::Nowhere(Placeless::Private)),
        (option::of(some_country()), option::of(some_coordinates()))
            .prop_map(|(country, coordinates)| Origin::At(Place { country, coordinates })),
    ]
}

prop_compose! {
    fn some_newcomer()(
        asked in some_region(),
        origin in some_origin(),
        residency in option::weighted(0.2, some_region()),
        chosen in option::weighted(0.2, some_region()),
    ) -> Newcomer {
        Newcomer { asked, origin, residency, chosen }
    }
}

prop_compose! {
    fn some_atlas()(
        countries in prop::collection::btree_map(some_country(), some_region(), 0..400),
        sites in prop::collection::btree_map(some_region(), some_coordinates(), 0..6),
        fallback in prop_oneof![Just(Fallback::Asked), some_region().prop_map(Fallback::To)],
        open in btree_set(some_region(), 0..6),
    ) -> Atlas {
        Atlas { countries, sites, fallback, open }
    }
}

proptest! {
    #[test]
    fn whoever_asks_gets_an_open_region_or_hears_that_there_is_none(atlas in some_atlas(), newcomer in some_newcomer()) {
        match atlas.decide(&newcomer) {
            Ok(decision) => {
                prop_assert!(atlas.open.contains(&decision.region));
                prop_assert!(decision.instead_of.is_none_or(|closed| !atlas.open.contains(&closed)));
                prop_assert!(newcomer.residency.is_none_or(|bound| bound == decision.region));
            }
            Err(Homeless::Residency(bound)) => {
                prop_assert_eq!(Some(bound), newcomer.residency);
                prop_assert!(!atlas.open.contains(&bound));
            }
            Err(Homeless::AllClosed) => prop_assert!(atlas.open.is_empty()),
        }
    }

    #[test]
    fn the_first_reason_that_applies_decides(atlas in some_atlas(), newcomer in some_newcomer()) {
        let Ok(Decision { region, why, instead_of }) = atlas.decide(&newcomer) else { return Ok(()) };
        let named = instead_of.unwrap_or(region);
        let unbound = newcomer.residency.is_none() && newcomer.chosen.is_none();
        match (why, newcomer.origin) {
            (Why::Residency, _) => prop_assert_eq!(Some(named), newcomer.residency),
            (Why::Chosen, _) => prop_assert_eq!((newcomer.residency, Some(named)), (None, newcomer.chosen)),
            (Why::Placeless(why), Origin::Nowhere(is)) => {
                prop_assert_eq!((why, named), (is, newcomer.asked));
                prop_assert!(unbound);
            }
            (Why::Country(country), Origin::At(place)) => {
                prop_assert_eq!((Some(country), Some(&named)), (place.country, atlas.countries.get(&country)));
                prop_assert!(unbound);
            }
            (Why::Nearest { distance_km, precision }, Origin::At(place)) => {
                prop_assert!(unbound && place.country.is_none_or(|country| !atlas.countries.contains_key(&country)));
                let (position, measured_from) = place.position().expect("a position to be near to");
                prop_assert_eq!((atlas.sites[&region].distance_km(position), measured_from), (distance_km, precision));
                let mut others = atlas.sites.iter().filter(|(other, _)| atlas.open.contains(other));
                prop_assert!(others.all(|(_, site)| site.distance_km(position) >= distance_km));
            }
            (Why::Default, Origin::At(place)) => {
                let nearest = place.position().and_then(|(position, _)| atlas.nearest(position));
                prop_assert!(unbound && nearest.is_none());
                let fallback = match atlas.fallback { Fallback::To(region) => region, Fallback::Asked => newcomer.asked };
                prop_assert_eq!(named, fallback);
            }
            (why, origin) => prop_assert!(false, "{:?} of {:?}", why, origin),
        }
    }

    #[test]
    fn distances_agree_with_the_textbook(here in some_coordinates(), there in some_coordinates()) {
        let km = here.distance_km(there);
        prop_assert_eq!(km, there.distance_km(here));
        prop_assert!((f64::from(km) - haversine_km(here, there)).abs() <= 1.0, "{} {}", km, haversine_km(here, there));
    }

    #[test]
    fn near_places_are_measured_as_well(here in some_coordinates(), north in -500..500, east in -500..500) {
        let there = Coordinates::new(here.latitude_mdeg() + north, here.longitude_mdeg() + east);
        let Some(there) = there else { return Ok(()) };
        prop_assert!((f64::from(here.distance_km(there)) - haversine_km(here, there)).abs() <= 1.0);
    }

    #[test]
    fn any_address_is_looked_up_or_not_and_only_once_unwrapped(bits in any::<u128>(), v4 in any::<u32>()) {
        for address in [IpAddr::from(bits.to_be_bytes()), IpAddr::from(v4.to_be_bytes())] {
            if let Ok(inner) = locatable(address) {
                prop_assert_eq!(locatable(inner), Ok(inner));
            }
        }
    }

    #[test]
    fn any_text_is_a_table_or_is_refused(text in "\\PC*") {
        if let Ok(table) = text.parse::<Countries>() {
            prop_assert_eq!(table.to_string().parse(), Ok(table));
        }
        if let Ok(place) = text.parse::<Coordinates>() {
            prop_assert_eq!(place.to_string().parse(), Ok(place));
        }
    }
}
