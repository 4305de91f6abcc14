//! Keys that were seen before, found again by their bytes.
//!
//! Owns a table of short keys as they stand between their quotes. A key in it was checked when it was
//! read for the first time, so that the same bytes need no second look.

use wide::u8x16;

/// Longer keys are not kept.
const LENGTH_MAX: usize = 31;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
/// How many places there are for each key, at least; each key may be in one of two.
const PLACES_PER_KEY: usize = 8;

/// The bytes of a key and the quote that ends it, with zeros behind them: no key has a quote, but one
/// that is no JSON may have zeros.
type Name = [u8x16; 2];

/// Which bytes belong to a key of so many and its quote.
const MASKS: [[[u8; 16]; 2]; LENGTH_MAX + 1] = {
    let mut masks = [[[0; 16]; 2]; LENGTH_MAX + 1];
    let mut length = 0;
    while length <= LENGTH_MAX {
        let mut at = 0;
        while at <= length {
            masks[length][at / 16][at % 16] = 0xff;
            at += 1;
        }
        length += 1;
    }
    masks
};

/// Numbers by keys.
#[derive(Debug)]
pub(crate) struct Names {
    places: Box<[(Name, usize)]>,
    shift: u32,
}

/// A key that was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) number: usize,
    /// Where the value of the key begins.
    pub(crate) value_at: usize,
}

impl Names {
    /// Room for so many keys.
    pub(crate) fn new(count: usize) -> Self {
        let places = (count * PLACES_PER_KEY).next_power_of_two().max(PLACES_PER_KEY);
        let shift = 64 - places.trailing_zeros();
        Self { places: vec![([u8x16::MAX; 2], 0); places].into(), shift }
    }

    /// The number of the key that begins with a quote at `at`, if it is known and a colon follows.
    #[inline(always)]
    pub(crate) fn find(&self, bytes: &[u8], at: usize) -> Option<Known> {
        let (quote, rest) = bytes.get(at..)?.split_first()?;
        let chunk = rest.first_chunk::<32>()?;
        let length = length_before_quote(chunk);
        if *quote != b'"' || length > LENGTH_MAX {
            return None;
        }
        let name = name_of(chunk, length);
        let place = self.place(name);
        let (found, number) = self.places.get(place)?;
        let (other, other_number) = self.places.get(place ^ 1)?;
        let number = if *found == name {
            *number
        } else if *other == name {
            *other_number
        } else {
            return None;
        };
        let colon = at.wrapping_add(length).wrapping_add(2);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let mut value_at = colon.wrapping_add(1);
        // As Python writes it.
        value_at = value_at.wrapping_add(usize::from(bytes.get(value_at) == Some(&b' ')));
        let is_value = bytes.get(value_at).is_some_and(|byte| *byte > b' ');
        is_value.then_some(Known { number, value_at })
    }

    /// Keeps a key as it stands between its quotes in a record, where it was read without escapes.
    pub(crate) fn keep(&mut self, key: &[u8], number: usize) {
        let mut chunk = [0; 32];
        if key.len() > LENGTH_MAX {
            return;
        }
        chunk[..key.len()].copy_from_slice(key);
        chunk[key.len()] = b'"';
        let name = name_of(&chunk, key.len());
        let mut place = self.place(name);
        let is_free = |place: usize| self.places[place].0 == [u8x16::MAX; 2];
        if !is_free(place) && is_free(place ^ 1) {
            place ^= 1;
        }
        self.places[place] = (name, number);
    }

    #[inline(always)]
    fn place(&self, name: Name) -> usize {
        let [front, back] = name.map(|half| u128::from_le_bytes(half.to_array()));
        let mixed = front ^ back.rotate_left(23);
        let word = mixed as u64 ^ ((mixed >> 64) as u64).rotate_left(29);
        (word.wrapping_mul(MULTIPLIER) >> self.shift) as usize
    }
}

#[inline(always)]
fn length_before_quote(chunk: &[u8; 32]) -> usize {
    let (halves, _) = chunk.as_chunks::<16>();
    let quotes = |half: &[u8; 16]| u8x16::new(*half).simd_eq(u8x16::splat(b'"')).to_bitmask();
    (quotes(&halves[0]) | quotes(&halves[1]) << 16).trailing_zeros() as usize
}

#[inline(always)]
fn name_of(chunk: &[u8; 32], length: usize) -> Name {
    let (halves, _) = chunk.as_chunks::<16>();
    let masks = &MASKS[length];
    [u8x16::new(halves[0]) & u8x16::new(masks[0]), u8x16::new(halves[1]) & u8x16::new(masks[1])]
}
