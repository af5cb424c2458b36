//! Places on the globe, and how far they are apart: which region is nearest.

/// A place, in thousandths of a degree: a hundred metres are near enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    latitude_mdeg: i32,
    longitude_mdeg: i32,
}

/// The mean radius of the earth.
const EARTH_KM: f64 = 6_371.0;

impl Place {
    /// The place at so many thousandths of a degree north and east, if there is one.
    pub fn new(latitude_mdeg: i32, longitude_mdeg: i32) -> Option<Self> {
        let exists = (-90_000..=90_000).contains(&latitude_mdeg) && (-180_000..=180_000).contains(&longitude_mdeg);
        exists.then_some(Self { latitude_mdeg, longitude_mdeg })
    }

    /// Degrees north, in thousandths.
    pub fn latitude_mdeg(self) -> i32 {
        self.latitude_mdeg
    }

    /// Degrees east, in thousandths.
    pub fn longitude_mdeg(self) -> i32 {
        self.longitude_mdeg
    }

    /// The distance along a great circle, in km. Source: the haversine formula.
    pub fn distance_km(self, other: Self) -> u32 {
        let radians = |mdeg: i32| (f64::from(mdeg) / 1_000.0).to_radians();
        let half_square = |one: i32, two: i32| (radians(one - two) / 2.0).sin().powi(2);
        let north = half_square(self.latitude_mdeg, other.latitude_mdeg);
        let east = half_square(self.longitude_mdeg, other.longitude_mdeg);
        let haversine = north + radians(self.latitude_mdeg).cos() * radians(other.latitude_mdeg).cos() * east;
        (2.0 * EARTH_KM * haversine.sqrt().min(1.0).asin()).round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    fn place(latitude: i32, longitude: i32) -> Place {
        Place::new(latitude, longitude).expect("a place")
    }

    #[test]
    fn knows_how_far_cities_are_apart() {
        let (london, new_york, sydney) = (place(51_507, -128), place(40_713, -74_006), place(-33_869, 151_209));
        assert!(london.distance_km(new_york).abs_diff(5_570) < 20);
        assert!(london.distance_km(sydney).abs_diff(16_990) < 30);
        assert_eq!(london.distance_km(london), 0);
    }

    #[test]
    fn the_date_line_is_no_distance_and_antipodes_are_half_way_round() {
        assert_eq!(place(10_000, 180_000).distance_km(place(10_000, -180_000)), 0);
        assert_eq!(place(0, 0).distance_km(place(0, 180_000)), 20_015);
        assert_eq!(Place::new(90_001, 0), None);
    }
}
