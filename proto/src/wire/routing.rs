//! Places.

use super::{Reader, Wire, WireError};
use sojourn_core::routing::Coordinates;

impl Wire for Coordinates {
    fn put(&self, out: &mut Vec<u8>) {
        i64::from(self.latitude_mdeg()).put(out);
        i64::from(self.longitude_mdeg()).put(out);
    }
    fn take(input: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut degrees = || i32::try_from(i64::take(input)?).map_err(|_| WireError::Invalid("a place"));
        Self::new(degrees()?, degrees()?).ok_or(WireError::Invalid("a place"))
    }
}
