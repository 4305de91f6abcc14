//! Which field a key of a JSON object names.
//!
//! Owns the lookup: a hash over the key's first words and its last in a table made once with the
//! schema, without memory of its own for a key of ASCII, and without a branch that depends on the
//! key where it has at most sixteen bytes. Does not own the rules of keys (`input`).
//!
//! Invariant: the answer is the field whose key equals the given one as `OpenXOptions::normal` makes
//! it. The names come from the table, never from records, so nobody can fill one slot from outside.

use super::input::OpenXOptions;
use super::schema::Field;
use crate::json::{StringToken, unescape};
use crate::number::word_at;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const MULTIPLIERS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9];
/// Which bytes of a word belong to a key of so many bytes.
const MASKS: [u64; 9] = [
    0,
    0xff,
    0xffff,
    0xff_ffff,
    0xffff_ffff,
    0xff_ffff_ffff,
    0xffff_ffff_ffff,
    0xff_ffff_ffff_ffff,
    u64::MAX,
];
/// How many slots there are for each key, at least.
const SLOTS_PER_KEY: usize = 4;

/// The keys of a struct's fields, or of the table's columns.
#[derive(Debug)]
pub(super) struct Keys {
    /// A field that finds its slot taken is in the next one.
    slots: Box<[Slot]>,
    /// How far the hash is shifted to be the number of a slot.
    shift: u32,
    options: OpenXOptions,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    front: Front,
    /// The number of the field from 1 on; 0 where there is none.
    number: u32,
}

/// The length of a key, and its first bytes as they are compared, with zeros behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Front {
    words: [u64; 2],
    length: u32,
}

impl Keys {
    /// Prepares the keys of `fields`, of which there is at least one, and no two are equal.
    pub(super) fn new(fields: &[Field], options: OpenXOptions) -> Self {
        let count = (fields.len() * SLOTS_PER_KEY).next_power_of_two();
        let shift = 64 - count.trailing_zeros();
        let mut keys = Self { slots: vec![Slot::default(); count].into(), shift, options };
        for (field, number) in fields.iter().zip(1..) {
            let (front, mut slot) = keys.place(field.key.as_bytes(), 0, field.key.len());
            while keys.slots[slot].number != 0 {
                slot = (slot + 1) % count;
            }
            keys.slots[slot] = Slot { front, number };
        }
        keys
    }

    /// The field that a key of `record` names.
    #[inline]
    pub(super) fn find(
        &self,
        fields: &[Field],
        record: &[u8],
        key: StringToken<'_>,
    ) -> Option<usize> {
        if key.escaped {
            let mut name = String::new();
            unescape(key.text(), &mut name);
            return self.find_normal(fields, &name);
        }
        let found = self.find_folded(fields, record, key.start, key.source.len());
        if found.is_none() && self.options.case_insensitive && !key.source.is_ascii() {
            return self.find_normal(fields, key.text());
        }
        found
    }

    #[cold]
    fn find_normal(&self, fields: &[Field], name: &str) -> Option<usize> {
        let name = self.options.normal(name);
        self.find_folded(fields, name.as_bytes(), 0, name.len())
    }

    /// The field whose key is equal but for what changes in single bytes.
    #[inline]
    fn find_folded(
        &self,
        fields: &[Field],
        bytes: &[u8],
        start: usize,
        length: usize,
    ) -> Option<usize> {
        let (front, mut at) = self.place(bytes, start, length);
        loop {
            let slot = self.slots.get(at)?;
            let index = (slot.number as usize).checked_sub(1)?;
            if slot.front == front
                && (length <= 16
                    || self.is_equal(&bytes[start..start + length], fields[index].key.as_bytes()))
            {
                return Some(index);
            }
            at = (at + 1) % self.slots.len();
        }
    }

    /// Compares keys of equal length.
    fn is_equal(&self, key: &[u8], wanted: &[u8]) -> bool {
        key == wanted || key.iter().zip(wanted).all(|(byte, wanted)| self.folded(*byte) == *wanted)
    }

    fn folded(&self, byte: u8) -> u8 {
        match byte {
            b'.' if self.options.dots_to_underscores => b'_',
            byte if self.options.case_insensitive => byte.to_ascii_lowercase(),
            byte => byte,
        }
    }

    /// The front of a key, and where its field is looked for.
    #[inline]
    fn place(&self, bytes: &[u8], start: usize, length: usize) -> (Front, usize) {
        let first = word_at(bytes, start) & MASKS[length.min(8)];
        let second = word_at(bytes, start + 8) & MASKS[length.saturating_sub(8).min(8)];
        let words = [self.folded_word(first), self.folded_word(second)];
        let mut hash = words[0].wrapping_mul(MULTIPLIERS[0])
            ^ words[1].wrapping_mul(MULTIPLIERS[1])
            ^ length as u64;
        if length > 16 {
            let last = self.folded_word(word_at(bytes, start + length - 8));
            hash ^= last.wrapping_mul(MULTIPLIERS[2]);
        }
        let hash = (hash ^ hash >> 32).wrapping_mul(MULTIPLIERS[0]);
        let front = Front { words, length: length as u32 }; // A record is shorter than 2^32 bytes.
        (front, (hash >> self.shift) as usize)
    }

    /// Eight bytes, folded.
    #[inline]
    fn folded_word(&self, mut word: u64) -> u64 {
        if self.options.dots_to_underscores {
            let others = word ^ (ONES * u64::from(b'.'));
            // The high bit of each byte that is 0 now.
            let dots = !(((others & !HIGHS) + !HIGHS) | others) & HIGHS;
            word ^= (dots >> 7) * u64::from(b'.' ^ b'_');
        }
        if self.options.case_insensitive {
            let low = word & !HIGHS;
            // The high bit of each byte that is at least, and more than, a bound.
            let from_a = low + ONES * u64::from(0x80 - b'A');
            let beyond_z = low + ONES * u64::from(0x7f - b'Z');
            word |= (from_a & !beyond_z & !word & HIGHS) >> 2;
        }
        word
    }
}
