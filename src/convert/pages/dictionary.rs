//! Dictionaries: each value once, and its place in the order of first appearance.
//!
//! Owns the two tables, for values of a fixed width and for bytes. Hashes have no secret, so that equal
//! rows make equal files; who sends values that collide on purpose makes a dictionary that is full. It
//! looks for nothing any more and does not grow: each further value is one more.

/// So many places are looked at for a value. With honest values it is a handful.
const PROBES_MAX: usize = 256;
const SLOTS_MIN: usize = 64;

/// A value of a fixed width.
pub(super) trait Key: Copy {
    /// Different for different values, as far as 64 bits go.
    fn bits(self) -> u64;
    /// Whether the two are stored as the same bytes.
    fn same(self, other: Self) -> bool;
}

/// The places of values of a fixed width.
#[derive(Debug)]
pub(super) struct Dictionary<T> {
    pub(super) values: Vec<T>,
    /// One more than the place of a value; 0 where there is none.
    slots: Vec<u32>,
    pub(super) is_hostile: bool,
}

impl<T: Key> Dictionary<T> {
    pub(super) fn new() -> Self {
        Self { values: vec![], slots: vec![0; SLOTS_MIN], is_hostile: false }
    }

    /// The place of a value, which gets one if it has none.
    #[inline]
    pub(super) fn place(&mut self, value: T) -> u32 {
        if !self.is_hostile {
            let mask = self.slots.len() - 1;
            let mut slot = mix(value.bits(), SEED) as usize & mask;
            for _ in 0..PROBES_MAX {
                match self.slots[slot] {
                    0 => return self.insert(value, slot),
                    next if self.values[next as usize - 1].same(value) => return next - 1,
                    _ => slot = (slot + 1) & mask,
                }
            }
            self.is_hostile = true;
        }
        self.values.push(value);
        self.values.len() as u32 - 1
    }

    fn insert(&mut self, value: T, slot: usize) -> u32 {
        self.values.push(value);
        let count = self.values.len();
        self.slots[slot] = count as u32;
        if count * 2 > self.slots.len() {
            let mut slots = vec![0; self.slots.len() * 4];
            let mask = slots.len() - 1;
            for (place, value) in self.values.iter().enumerate() {
                let mut slot = mix(value.bits(), SEED) as usize & mask;
                while slots[slot] != 0 {
                    slot = (slot + 1) & mask;
                }
                slots[slot] = place as u32 + 1;
            }
            self.slots = slots;
        }
        count as u32 - 1
    }
}

/// The places of values of any length.
#[derive(Debug)]
pub(super) struct BytesDictionary {
    /// The values as a dictionary page holds them: each behind its length.
    pub(super) page: Vec<u8>,
    /// Where each begins in the page.
    starts: Vec<u32>,
    slots: Vec<Slot>,
    pub(super) is_hostile: bool,
}

/// One more than the place of a value, and a part of its hash.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    next: u32,
    tag: u32,
}

const LENGTH_BYTES: usize = 4;

impl BytesDictionary {
    pub(super) fn new() -> Self {
        let slots = vec![Slot::default(); SLOTS_MIN];
        Self { page: vec![], starts: vec![], slots, is_hostile: false }
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn value(&self, place: usize) -> &[u8] {
        let start = self.starts[place] as usize + LENGTH_BYTES;
        let end = self.starts.get(place + 1).map_or(self.page.len(), |end| *end as usize);
        &self.page[start..end]
    }

    /// The place of a value, which gets one if it has none.
    #[inline]
    pub(super) fn place(&mut self, value: &[u8]) -> u32 {
        if !self.is_hostile {
            let mask = self.slots.len() - 1;
            let hash = hash(value);
            let tag = (hash >> 32) as u32;
            let mut slot = hash as usize & mask;
            for _ in 0..PROBES_MAX {
                let found = self.slots[slot];
                if found.next == 0 {
                    self.push(value);
                    self.slots[slot] = Slot { next: self.starts.len() as u32, tag };
                    if self.starts.len() * 2 > self.slots.len() {
                        self.grow();
                    }
                    return self.starts.len() as u32 - 1;
                }
                if found.tag == tag && self.value(found.next as usize - 1) == value {
                    return found.next - 1;
                }
                slot = (slot + 1) & mask;
            }
            self.is_hostile = true;
        }
        self.push(value);
        self.starts.len() as u32 - 1
    }

    fn push(&mut self, value: &[u8]) {
        self.starts.push(self.page.len() as u32);
        self.page.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.page.extend_from_slice(value);
    }

    fn grow(&mut self) {
        let mut slots = vec![Slot::default(); self.slots.len() * 4];
        let mask = slots.len() - 1;
        for place in 0..self.len() {
            let hash = hash(self.value(place));
            let mut slot = hash as usize & mask;
            while slots[slot].next != 0 {
                slot = (slot + 1) & mask;
            }
            slots[slot] = Slot { next: place as u32 + 1, tag: (hash >> 32) as u32 };
        }
        self.slots = slots;
    }
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const OTHER_SEED: u64 = 0xd6e8_feb8_6659_fd93;

/// Both halves of a product depend on all bits of both numbers.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ OTHER_SEED) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[inline]
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = SEED ^ bytes.len() as u64;
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk::<16>().filter(|_| rest.len() > 16) {
        let [a, b] = halves(chunk);
        hash = mix(a ^ hash, b ^ SEED);
        rest = behind;
    }
    // The last sixteen bytes or fewer, some of them twice.
    let [a, b] = if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        [u64::from_le_bytes(*first), u64::from_le_bytes(*last)]
    } else if let (Some(first), Some(last)) = (rest.first_chunk(), rest.last_chunk()) {
        [u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()]
    } else if let [first, .., last] = rest {
        [u64::from(*first) << 8 | u64::from(rest[rest.len() / 2]), u64::from(*last)]
    } else {
        [rest.first().copied().map_or(0, u64::from), 0]
    };
    mix(a ^ hash, b ^ SEED)
}

fn halves(chunk: &[u8; 16]) -> [u64; 2] {
    let word = u128::from_le_bytes(*chunk);
    [word as u64, (word >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that begin at one place of every table with up to 4,096 places, as an attacker finds them.
    fn colliding() -> impl Iterator<Item = i64> {
        (0i64..).filter(|number| mix(*number as u64, SEED) & 0xfff == 0)
    }

    #[test]
    fn values_that_collide_on_purpose_are_kept_and_end_the_search() {
        let mut dictionary = Dictionary::new();
        let numbers: Vec<i64> = colliding().take(PROBES_MAX + 10).collect();
        for (count, number) in numbers.iter().enumerate() {
            assert_eq!(dictionary.is_hostile, count > PROBES_MAX, "{count}");
            assert_eq!(dictionary.place(*number), count as u32);
        }
        assert_eq!(dictionary.values, numbers);
    }

    #[test]
    fn many_values_that_collide_do_not_make_the_table_grow_behind_them() {
        let mut dictionary = Dictionary::new();
        let numbers: Vec<i64> = colliding().take(PROBES_MAX + 10).collect();
        for number in numbers.iter().cycle().take(10_000) {
            dictionary.place(*number);
        }
        let slots = dictionary.slots.len();
        for honest in 0..10_000i64 {
            let place = dictionary.place(honest);
            assert!(dictionary.values[place as usize].same(honest));
        }
        assert_eq!(dictionary.slots.len(), slots);

        // All of their hashes are 0.
        let hostile = |n: u64| [n.to_le_bytes(), SEED.to_le_bytes()].concat();
        let mut dictionary = BytesDictionary::new();
        for number in 0..10_000 {
            dictionary.place(&hostile(number));
        }
        assert!(dictionary.is_hostile);
        let slots = dictionary.slots.len();
        for honest in 0..10_000u64 {
            let text = honest.to_string();
            let place = dictionary.place(text.as_bytes());
            assert_eq!(dictionary.value(place as usize), text.as_bytes());
        }
        assert_eq!(dictionary.slots.len(), slots);
    }

    #[test]
    fn each_text_has_one_place_whatever_its_length_is() {
        let mut dictionary = BytesDictionary::new();
        let texts: Vec<String> = (0..5000).map(|n| format!("{n:0$}", n % 70 + 1)).collect();
        let places: Vec<u32> = texts.iter().map(|text| dictionary.place(text.as_bytes())).collect();
        let again: Vec<u32> = texts.iter().map(|text| dictionary.place(text.as_bytes())).collect();
        assert_eq!(places, again);
        for (text, place) in texts.iter().zip(places) {
            assert_eq!(dictionary.value(place as usize), text.as_bytes());
        }
        assert!(!dictionary.is_hostile);
    }
}
