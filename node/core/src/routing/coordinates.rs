//! Places on the globe and the way between them, in whole numbers: every node measures the same distance.

use std::{fmt, str::FromStr};

/// A place on the globe, in thousandths of a degree: some 100 m.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coordinates {
    /// North of the equator: -90 000 to 90 000.
    latitude_mdeg: i32,
    /// East of Greenwich: -180 000 to 180 000.
    longitude_mdeg: i32,
}

/// A text that is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place: use degrees north and east, such as 50.11,8.68 for Frankfurt")]
pub struct BadCoordinates(pub String);

const LATITUDE_MDEG_MAX: i32 = 90_000;
const LONGITUDE_MDEG_MAX: i32 = 180_000;

/// Decimals of a degree that are kept.
const DECIMALS: usize = 3;

/// How long a thousandth of a degree of a great circle is. Source: the mean radius of the Earth by IUGG, 6 371.0088 km.
const MICROMETRES_PER_MDEG: u64 = 111_195_080;

impl Coordinates {
    /// The place with these coordinates, if there is one.
    pub const fn new(latitude_mdeg: i32, longitude_mdeg: i32) -> Option<Self> {
        // `unsigned_abs`, because the least number has no opposite.
        let fits = latitude_mdeg.unsigned_abs() <= LATITUDE_MDEG_MAX.unsigned_abs()
            && longitude_mdeg.unsigned_abs() <= LONGITUDE_MDEG_MAX.unsigned_abs();
        if fits { Some(Self { latitude_mdeg, longitude_mdeg }) } else { None }
    }

    /// Thousandths of a degree north of the equator.
    pub const fn latitude_mdeg(self) -> i32 {
        self.latitude_mdeg
    }

    /// Thousandths of a degree east of Greenwich.
    pub const fn longitude_mdeg(self) -> i32 {
        self.longitude_mdeg
    }

    /// The great-circle distance in km, to the nearest.
    pub fn distance_km(self, other: Self) -> u32 {
        let angle_mdeg = u64::from(angle_mdeg(chord_squared(self.unit(), other.unit())));
        u32::try_from((angle_mdeg * MICROMETRES_PER_MDEG + 500_000_000) / 1_000_000_000).unwrap_or(u32::MAX)
    }

    /// The place on a globe of radius [`ONE`].
    fn unit(self) -> [i64; 3] {
        let (latitude, longitude) = (self.latitude_mdeg, self.longitude_mdeg);
        let around = cosine(latitude);
        [times(around, cosine(longitude)), times(around, sine(longitude)), sine(latitude)]
    }
}

/// 1 as a fixed-point number.
const ONE: i64 = 1 << 30;

/// π in the same.
const PI: i64 = 3_373_259_426;

const fn times(left: i64, right: i64) -> i64 {
    (left * right) >> 30
}

/// By its Taylor series up to the 13th power, whose next term is below the last bit here.
const fn sine(angle_mdeg: i32) -> i64 {
    // Into a quarter of the circle, where the series is short: sin(180° - x) = sin(x).
    let folded = match angle_mdeg {
        ..-90_000 => -180_000 - angle_mdeg,
        90_001.. => 180_000 - angle_mdeg,
        quarter => quarter,
    };
    let x = folded as i64 * PI / 180_000;
    let square = times(x, x);
    let mut sum = ONE;
    let mut n = 12;
    while n > 0 {
        sum = ONE - times(square, sum) / (n * (n + 1));
        n -= 2;
    }
    times(x, sum)
}

/// sin(90° - |x|): an angle that [`sine`] can take.
const fn cosine(angle_mdeg: i32) -> i64 {
    sine(90_000 - angle_mdeg.abs())
}

/// The square of the straight way between two places through the globe, at a scale of `ONE * ONE`.
fn chord_squared(here: [i64; 3], there: [i64; 3]) -> i64 {
    here.iter().zip(there).map(|(here, there)| (here - there) * (here - there)).sum()
}

/// The angle at the centre that belongs to a chord: the chord is twice the sine of half of it.
fn angle_mdeg(chord_squared: i64) -> u32 {
    // The sine of half the angle grows with the angle up to 180°, so that it is found by halving.
    let (mut low, mut high) = (0, 2 * LATITUDE_MDEG_MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        let half = half_angle_sine(middle);
        if 4 * half * half < chord_squared {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low.unsigned_abs()
}

/// The sine of half an angle.
const fn half_angle_sine(angle_mdeg: i32) -> i64 {
    let whole = sine(angle_mdeg / 2);
    // Half a thousandth of a degree more lies in the middle of its neighbours.
    if angle_mdeg % 2 == 0 { whole } else { (whole + sine(angle_mdeg / 2 + 1)) / 2 }
}

impl FromStr for Coordinates {
    type Err = BadCoordinates;

    fn from_str(text: &str) -> Result<Self, BadCoordinates> {
        let read = || {
            let (latitude, longitude) = text.split_once(',')?;
            Self::new(parse_mdeg(latitude.trim())?, parse_mdeg(longitude.trim())?)
        };
        read().ok_or_else(|| BadCoordinates(text.to_owned()))
    }
}

/// Reads degrees with decimals; those beyond the third are cut off.
fn parse_mdeg(text: &str) -> Option<i32> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(decimals) {
        return None;
    }
    let thousandths: String = decimals.chars().chain("00".chars()).take(DECIMALS).collect();
    let mdeg = whole.parse::<i32>().ok()?.checked_mul(1_000)?.checked_add(thousandths.parse().ok()?)?;
    Some(sign * mdeg)
}

impl fmt::Display for Coordinates {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", Degrees(self.latitude_mdeg), Degrees(self.longitude_mdeg))
    }
}

struct Degrees(i32);

impl fmt::Display for Degrees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, mdeg) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}{}.{:03}", mdeg / 1_000, mdeg % 1_000)
    }
}
