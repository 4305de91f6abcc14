//! Timestamps as INT96, which the Parquet library reads and does not write.
//!
//! Owns the twelve bytes of a value.

/// The bytes of a value.
pub(super) const BYTES: usize = 12;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// The Julian day of 1970-01-01.
const JULIAN_DAY_OF_1970: i64 = 2_440_588;

/// The nanoseconds of the day and the Julian day, both little-endian.
pub(super) fn value(micros_since_1970: i64) -> [u8; BYTES] {
    let nanos_of_day = micros_since_1970.rem_euclid(MICROS_PER_DAY) * 1000;
    let day = micros_since_1970.div_euclid(MICROS_PER_DAY) + JULIAN_DAY_OF_1970;
    let day = i32::try_from(day).expect("timestamps lie in the years 1 to 9999");
    let mut value = [0; BYTES];
    value[..8].copy_from_slice(&nanos_of_day.to_le_bytes());
    value[8..].copy_from_slice(&day.to_le_bytes());
    value
}
