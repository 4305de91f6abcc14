//! How a stream's producers write the objects of one struct: in which order, and with which spelling
//! of its keys.
//!
//! Owns a guess at the next key, learnt from the objects before. It is no more than a guess: what is
//! read does not depend on it, only how fast.

use crate::json::{Cursor, Member};

/// Trust grows by one with a right guess and shrinks by more with a wrong one. Below 0 the guesses are
/// watched, but not tried: where keys come in random order a guess costs more than it finds.
const TRUST_MAX: i32 = 8;
const TRUST_LOST: i32 = 2;

/// What is known of the keys of one struct.
#[derive(Debug)]
pub(super) struct Habits {
    /// What came last before all keys, behind that of each field, and behind unknown ones.
    followers: Vec<Follower>,
    trust: i32,
}

#[derive(Clone, Debug)]
struct Follower {
    /// The field, or one that there is not.
    index: usize,
    /// How its key was written.
    member: Member,
}

impl Habits {
    /// The place of a key behind keys that all are unknown, of a struct with so many fields.
    pub(super) fn unknown_place(field_count: usize) -> usize {
        field_count + 1
    }

    pub(super) fn new(field_count: usize) -> Self {
        let follower = |index| Follower { index, member: Member::default() };
        let followers = (0..=Self::unknown_place(field_count)).map(follower).collect();
        Self { followers, trust: TRUST_MAX }
    }

    /// The field whose value is next, if its key is the one that is guessed. `place` is 0 right behind
    /// the bracket, or the number of the last key's field, counted from 1.
    #[inline]
    pub(super) fn take(&mut self, place: usize, cursor: &mut Cursor<'_>) -> Option<usize> {
        if self.trust < 0 {
            return None;
        }
        let guess = &self.followers[place];
        if !cursor.take_member(&guess.member) {
            return None;
        }
        if self.trust < TRUST_MAX {
            self.trust += 1;
        }
        Some(guess.index)
    }

    /// Notes that the key of field `index` came at `place`, and was not guessed; `member` is all that
    /// stands before its value.
    #[inline]
    pub(super) fn learn(&mut self, place: usize, index: usize, member: &[u8]) {
        let follower = &mut self.followers[place];
        if follower.index == index {
            self.trust = (self.trust + 1).min(TRUST_MAX);
        } else {
            follower.index = index;
            self.trust = (self.trust - TRUST_LOST).max(-TRUST_MAX);
        }
        if self.trust < 0 {
            follower.member.clear();
        } else {
            follower.member.set(member);
        }
    }
}
