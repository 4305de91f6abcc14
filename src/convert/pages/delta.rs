//! DELTA_BINARY_PACKED: whole numbers as the differences between neighbours.

use super::bits;

/// Differences that share a least one, and those of them that share a width.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;

/// A whole number whose differences wrap around in its own width.
pub(super) trait Whole: Copy {
    /// The number.
    fn wide(self) -> i64;
    /// `self` less `before`.
    fn difference(self, before: Self) -> i64;
}

impl Whole for i32 {
    fn wide(self) -> i64 {
        self.into()
    }

    #[inline]
    fn difference(self, before: Self) -> i64 {
        self.wrapping_sub(before).into()
    }
}

impl Whole for i64 {
    fn wide(self) -> i64 {
        self
    }

    #[inline]
    fn difference(self, before: Self) -> i64 {
        self.wrapping_sub(before)
    }
}

/// Appends `values`.
pub(super) fn encode<T: Whole>(values: &[T], out: &mut Vec<u8>) {
    bits::varint(BLOCK as u64, out);
    bits::varint((BLOCK / MINIBLOCK) as u64, out);
    bits::varint(values.len() as u64, out);
    bits::zigzag(values.first().map_or(0, |first| first.wide()), out);
    let mut differences = [0u64; BLOCK];
    let mut rest = values;
    while rest.len() > 1 {
        let count = BLOCK.min(rest.len() - 1);
        let mut least = i64::MAX;
        for (at, pair) in rest[..=count].windows(2).enumerate() {
            let difference = pair[1].difference(pair[0]);
            least = least.min(difference);
            differences[at] = difference as u64;
        }
        for difference in &mut differences[..count] {
            *difference = difference.wrapping_sub(least as u64);
        }
        // What fills the last part is not read.
        differences[count..].fill(0);
        bits::zigzag(least, out);
        let mut widths = [0; BLOCK / MINIBLOCK];
        for (width, part) in widths.iter_mut().zip(differences.chunks(MINIBLOCK)) {
            *width = bits::width_of(part.iter().fold(0, |all, difference| all | difference)) as u8;
        }
        out.extend_from_slice(&widths);
        // Parts behind the last value have no bytes, and the last one is whole.
        let parts = differences.chunks(MINIBLOCK).take(count.div_ceil(MINIBLOCK));
        for (width, part) in widths.iter().zip(parts) {
            bits::pack(part.iter().copied(), u32::from(*width), out);
        }
        rest = &rest[count..];
    }
}
