//! The retry window: which records a call became, for calls that may come again.
//!
//! Owns what a journal remembers of calls that have a key: those of the last five minutes, as far as
//! there is room for them among those of all journals (`remembered`); and the calls that are under way,
//! so that a repetition waits for the first one instead of being stored beside it. Does not know what a
//! key is made of.
//!
//! Invariants: a call is remembered as soon as it is durable and before anybody is told, whether or
//! not its caller still listens; a refused call leaves nothing behind, so that it may come again.
//!
//! The key stands in the call's frame and in every checkpoint, so the window outlives the process
//! and the segments: what a start finds in the newest checkpoint and behind it in the live segments
//! is the window that the last process had.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use super::frame::{u32_at, u64_at};
use super::log::locked;
use super::remembered::RememberedCalls;
use super::{AppendError, Appended};
use crate::record::{Position, UnixMillis};

/// How long a call is remembered: as long as its signature holds.
const WINDOW_MS: i64 = 5 * 60 * 1000;
/// Repetitions that may wait for one call under way; further ones are told to come later.
const WAITING_MAX: usize = 64;

/// Names a call; its repetition has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallKey(pub [u8; CALL_KEY_BYTES]);

/// Bytes of a [`CallKey`].
pub const CALL_KEY_BYTES: usize = 16;

/// A durable call that has a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyedCall {
    pub(super) key: CallKey,
    /// Its first record.
    pub(super) first: Position,
    /// Its records.
    pub(super) count: u32,
    pub(super) arrival: UnixMillis,
}

/// Bytes of a call in a checkpoint.
const CALL_BYTES: usize = CALL_KEY_BYTES + 8 + 4 + 8;

/// The calls that a journal remembers.
#[derive(Debug)]
pub(super) struct Window {
    remembered: RememberedCalls,
    calls: Arc<Calls>,
}

/// The calls themselves.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Calls that had to go before their time.
    forgotten: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<CallKey, Entry>,
    /// The durable ones, oldest first.
    order: VecDeque<KeyedCall>,
    claim_count: u64,
}

#[derive(Debug)]
enum Entry {
    Durable(KeyedCall),
    UnderWay { claim: u64, waiting: Vec<Answer> },
}

type Answer = oneshot::Sender<Result<Appended, AppendError>>;

/// What a call with a key finds.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is the first: it is to be stored.
    First(Claim),
    /// It has been stored before.
    Again(Appended),
    /// The first one is under way, and this tells what becomes of it.
    UnderWay(oneshot::Receiver<Result<Appended, AppendError>>),
    /// Too many wait already.
    Crowded,
}

/// The right of the first call with a key to be stored. Lives until the call is durable; when it
/// goes before that, the key is free again.
#[derive(Debug)]
pub(super) struct Claim {
    window: Arc<Window>,
    key: CallKey,
    number: u64,
    reason: AppendError,
}

impl Claim {
    /// Gives the key back, since the call was not stored.
    pub(super) fn refuse(mut self, reason: AppendError) {
        self.reason = reason;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for answer in self.window.release(self.key, self.number) {
            // Who went away is not owed an answer.
            let _ = answer.send(Err(self.reason));
        }
    }
}

impl Window {
    /// A window over `calls`, oldest first, that holds as many as `remembered` leaves it.
    pub(super) fn new(remembered: RememberedCalls, calls: Vec<KeyedCall>) -> Self {
        let window = Self { remembered, calls: Arc::default() };
        calls.into_iter().for_each(|call| window.learn(call));
        window
    }

    /// Adds a call that a segment holds; one that is known already or too old changes nothing.
    pub(super) fn learn(&self, call: KeyedCall) {
        let mut state = locked(&self.calls.state);
        let newest = state.order.back().map_or(call.arrival, |newest| newest.arrival);
        let known = match state.entries.get(&call.key) {
            Some(Entry::Durable(known)) => known.first >= call.first,
            _ => false,
        };
        if !known && !is_over(call.arrival, newest) {
            state.add(call);
            drop(state);
            self.remembered.add(&self.calls, call.arrival);
        }
    }

    /// Takes a call in: it is the first with its key, or another one was.
    pub(super) fn begin(self: &Arc<Self>, key: CallKey, now: UnixMillis) -> Begun {
        self.remembered.trim(now);
        let mut state = locked(&self.calls.state);
        match state.entries.get_mut(&key) {
            Some(Entry::Durable(call)) if !is_over(call.arrival, now) => {
                let count = u64::from(call.count);
                return Begun::Again(Appended { first: call.first, count, is_repetition: true });
            }
            Some(Entry::UnderWay { waiting, .. }) => {
                if waiting.len() >= WAITING_MAX {
                    return Begun::Crowded;
                }
                let (answer, answered) = oneshot::channel();
                waiting.push(answer);
                return Begun::UnderWay(answered);
            }
            Some(Entry::Durable(_)) | None => {}
        }
        state.claim_count += 1;
        let number = state.claim_count;
        state.entries.insert(key, Entry::UnderWay { claim: number, waiting: Vec::new() });
        Begun::First(Claim { window: self.clone(), key, number, reason: AppendError::Failed })
    }

    /// Remembers calls that have become durable, and answers those who waited for them.
    pub(super) fn durable(&self, calls: impl Iterator<Item = KeyedCall>) {
        for call in calls {
            let appended =
                Appended { first: call.first, count: u64::from(call.count), is_repetition: true };
            let replaced = locked(&self.calls.state).add(call);
            if let Some(Entry::UnderWay { waiting, .. }) = replaced {
                for answer in waiting {
                    let _ = answer.send(Ok(appended));
                }
            }
            self.remembered.add(&self.calls, call.arrival);
        }
    }

    /// The durable calls, oldest first, as a checkpoint keeps them.
    pub(super) fn calls(&self) -> Vec<KeyedCall> {
        locked(&self.calls.state).order.iter().copied().collect()
    }

    /// Calls that had to go before their time, since the start.
    pub(super) fn forgotten(&self) -> u64 {
        self.calls.forgotten.load(Ordering::Relaxed)
    }

    fn release(&self, key: CallKey, number: u64) -> Vec<Answer> {
        let mut state = locked(&self.calls.state);
        match state.entries.get_mut(&key) {
            Some(Entry::UnderWay { claim, waiting }) if *claim == number => {
                let waiting = std::mem::take(waiting);
                state.entries.remove(&key);
                waiting
            }
            _ => Vec::new(),
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.remembered.leave(&self.calls);
    }
}

impl Calls {
    /// Lets go of the oldest call; `early` when its time was not over.
    pub(super) fn forget_oldest(&self, early: bool) {
        let mut state = locked(&self.state);
        let Some(oldest) = state.order.pop_front() else {
            return;
        };
        // The key may have come again since.
        if matches!(state.entries.get(&oldest.key), Some(Entry::Durable(call)) if *call == oldest) {
            state.entries.remove(&oldest.key);
        }
        self.forgotten.fetch_add(u64::from(early), Ordering::Relaxed);
    }
}

impl State {
    fn add(&mut self, call: KeyedCall) -> Option<Entry> {
        self.order.push_back(call);
        self.entries.insert(call.key, Entry::Durable(call))
    }
}

pub(super) fn is_over(arrival: UnixMillis, now: UnixMillis) -> bool {
    now.0.saturating_sub(arrival.0) > WINDOW_MS
}

/// Appends `calls` to the bytes of a checkpoint.
pub(super) fn put_calls(out: &mut Vec<u8>, calls: &[KeyedCall]) {
    out.reserve(8 + calls.len() * CALL_BYTES);
    out.extend_from_slice(&(calls.len() as u64).to_le_bytes());
    for call in calls {
        out.extend_from_slice(&call.key.0);
        out.extend_from_slice(&call.first.0.to_le_bytes());
        out.extend_from_slice(&call.count.to_le_bytes());
        out.extend_from_slice(&call.arrival.0.to_le_bytes());
    }
}

/// Reads what [`put_calls`] wrote.
pub(super) fn take_calls(bytes: &mut &[u8]) -> Option<Vec<KeyedCall>> {
    let (count, rest) = bytes.split_at_checked(8)?;
    let length = usize::try_from(u64_at(count, 0)).ok()?.checked_mul(CALL_BYTES)?;
    let (calls, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    let calls = calls.chunks_exact(CALL_BYTES).map(|call| {
        let (key, rest) = call.split_first_chunk().expect("it is longer than a key");
        KeyedCall {
            key: CallKey(*key),
            first: Position(u64_at(rest, 0)),
            count: u32_at(rest, 8),
            arrival: UnixMillis(u64_at(rest, 12).cast_signed()),
        }
    });
    Some(calls.collect())
}
