//! How a stream's producers write the objects of one struct: in which order, and with which spelling
//! of its keys.
//!
//! Owns a guess at the next key, learnt from the objects before. It is no more than a guess: what is
//! read does not depend on it, only how fast.

use crate::json::{Cursor, Member, StringToken};

/// Trust grows by one with a right guess and shrinks by more with a wrong one. Below 0 the guesses are
/// watched, but not tried: where keys come in random order a guess costs more than it finds.
const TRUST_MAX: i32 = 8;
const TRUST_LOST: i32 = 2;

/// What is known of the keys of one struct.
#[derive(Debug)]
pub(super) struct Habits {
    /// What came last behind the key of each field, and before all keys.
    followers: Vec<Follower>,
    trust: i32,
}

#[derive(Clone, Debug)]
struct Follower {
    /// The field, or one that there is not.
    index: usize,
    /// How its key was written; empty where that is not known.
    member: Member,
}

impl Habits {
    pub(super) fn new(field_count: usize) -> Self {
        let follower = |index| Follower { index, member: Member::default() };
        Self { followers: (0..=field_count).map(follower).collect(), trust: TRUST_MAX }
    }

    /// The field whose key is read next, if it is the one that is guessed. `place` is 0 before all
    /// keys, or the number of the field of the last one, counted from 1.
    #[inline]
    pub(super) fn take(
        &mut self,
        place: usize,
        cursor: &mut Cursor<'_>,
        is_first: bool,
    ) -> Option<usize> {
        if self.trust < 0 {
            return None;
        }
        let guess = &self.followers[place];
        cursor.take_member(&guess.member, is_first).then(|| {
            self.trust = (self.trust + 1).min(TRUST_MAX);
            guess.index
        })
    }

    /// Notes that the key of field `index` came at `place`, and was not guessed.
    #[inline]
    pub(super) fn learn(&mut self, place: usize, index: usize, key: StringToken<'_>) {
        let follower = &mut self.followers[place];
        if follower.index == index {
            self.trust = (self.trust + 1).min(TRUST_MAX);
        } else {
            follower.index = index;
            self.trust = (self.trust - TRUST_LOST).max(-TRUST_MAX);
        }
        if self.trust < 0 || key.escaped {
            follower.member.clear();
        } else {
            follower.member.set(key.source);
        }
    }
}
