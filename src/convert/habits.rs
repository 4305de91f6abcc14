//! How a stream's producers write the objects of one struct: in which order, and with which spelling
//! of its keys.
//!
//! Owns a guess at the next key, learnt from the objects before, and the keys that were seen. What is
//! read does not depend on it, only how fast.

use crate::json::{Member, Names, StringToken};

/// Trust grows by one with a right guess and shrinks by more with a wrong one. Below 0 the guesses are
/// watched, but not tried: where keys come in random order a guess costs more than it finds.
const TRUST_MAX: i32 = 8;
const TRUST_LOST: i32 = 2;

/// What is known of the keys of one struct.
#[derive(Debug)]
pub(super) struct Habits {
    /// What came before all keys, and behind that of each field.
    followers: Vec<Follower>,
    /// The keys as they are written.
    names: Names,
    trust: i32,
}

#[derive(Clone, Debug)]
struct Follower {
    /// The field that came last.
    last: usize,
    /// The field that `member` leads to.
    index: usize,
    member: Member,
}

/// A key that was written before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    pub(super) index: usize,
    pub(super) value_at: usize,
}

impl Habits {
    pub(super) fn new(field_count: usize) -> Self {
        let follower = |index| Follower { last: index, index, member: Member::default() };
        let followers = (0..=field_count).map(follower).collect();
        Self { followers, names: Names::new(field_count), trust: TRUST_MAX }
    }

    /// The field whose value is next in a record that was read up to `at`, if its key is the one that
    /// is guessed, or one that was written so before. `place` is 0 right behind the bracket, or the
    /// number of the last key's field, counted from 1.
    #[inline(always)]
    pub(super) fn guess(&mut self, place: usize, bytes: &[u8], at: usize) -> Option<Guess> {
        if self.trust >= 0 {
            let follower = &self.followers[place];
            if let Some(value_at) = follower.member.end_at(bytes, at) {
                if self.trust < TRUST_MAX {
                    self.trust += 1;
                }
                return Some(Guess { index: follower.index, value_at });
            }
        }
        self.recall(place, bytes, at)
    }

    #[inline(always)]
    fn recall(&mut self, place: usize, bytes: &[u8], at: usize) -> Option<Guess> {
        let mut key_at = at;
        if place != 0 {
            if bytes.get(at) != Some(&b',') {
                return None;
            }
            key_at = at.wrapping_add(1);
            // As Python writes it.
            key_at = key_at.wrapping_add(usize::from(bytes.get(key_at) == Some(&b' ')));
        }
        let known = self.names.find(bytes, key_at)?;
        self.note(place, known.number, &bytes[at..known.value_at]);
        Some(Guess { index: known.number, value_at: known.value_at })
    }

    /// Notes that the key of field `index` came at `place`, and was not known; `member` is all that
    /// stands before its value.
    pub(super) fn learn(
        &mut self,
        place: usize,
        index: usize,
        key: StringToken<'_>,
        member: &[u8],
    ) {
        self.keep(index, key);
        self.note(place, index, member);
    }

    /// Notes that this is a key of field `index`.
    pub(super) fn keep(&mut self, index: usize, key: StringToken<'_>) {
        if !key.escaped {
            self.names.keep(key.source, index);
        }
    }

    #[inline(always)]
    fn note(&mut self, place: usize, index: usize, member: &[u8]) {
        let follower = &mut self.followers[place];
        if follower.last == index {
            self.trust = (self.trust + 1).min(TRUST_MAX);
        } else {
            follower.last = index;
            self.trust = (self.trust - TRUST_LOST).max(-TRUST_MAX);
        }
        // Where keys come in random order this would be of no use.
        if self.trust >= 0 {
            follower.index = index;
            follower.member.set(member);
        }
    }
}
