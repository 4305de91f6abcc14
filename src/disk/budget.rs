//! How much of the disk the service may take, and who may take more of it.
//!
//! Owns the count of bytes that journals, scratch logs, backups and outboxes hold, in all and by
//! stream, and the marks at which records are closed early and refused. Does not look at the disk
//! itself: it is told how much of the file system is free.
//!
//! ```text
//! 0 ........ low mark ...... share mark ...... producers' end ........ limit
//!            |               |                 |                       the reserve
//!            |               |                 all streams are refused
//!            |               streams that hold more than their share are refused
//!            what is buffered longest is closed early, down to here again
//! ```
//!
//! A part of the reserve is kept as a real file ([`ReservedDisk`](super::ReservedDisk)), against
//! others who fill the file system. The budget says how large, and when it has to give way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Space;

/// Plans, commits, registrations and checkpoints that may be written out of a full budget.
const CONTROL_BYTES: u64 = 8 << 20;
/// The largest object until a configuration says another.
const LARGEST_OBJECT_BYTES: u64 = 64 << 20;
/// No larger reserve is kept as a file: the copy of a segment that a start makes, and a group.
const RESERVE_FILE_BYTES_MAX: u64 = 96 << 20;

/// The part of one stream in the bytes that may be on disk.
///
/// A reserve is never given to producers, so that what was accepted can always be frozen and
/// delivered out of a full budget: twice the largest object that is made, and the control frames.
#[derive(Debug)]
pub struct DiskBudget {
    all: Arc<All>,
    is_part: bool,
    used_bytes: AtomicU64,
    promised_bytes: AtomicU64,
    refused_calls: AtomicU64,
}

/// What all streams have together.
#[derive(Debug)]
struct All {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    promised_bytes: AtomicU64,
    /// Streams among whom it is divided.
    parts: AtomicU64,
    largest_object_bytes: AtomicU64,
    /// Of the file system; `u64::MAX` where that is not known.
    free_bytes: AtomicU64,
    size_bytes: AtomicU64,
    /// What of the reserve is a file at present.
    reserve_file_bytes: AtomicU64,
}

/// Bytes that were given and are not on disk yet. Dropping it takes the promise back; by then they
/// are counted as used, or will not come.
#[derive(Debug)]
pub struct Promise {
    budget: Arc<DiskBudget>,
    bytes: u64,
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.budget.promised_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.budget.all.promised_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl DiskBudget {
    /// A budget of `limit_bytes` that is not divided, nothing used.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        let all = All {
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            promised_bytes: AtomicU64::new(0),
            parts: AtomicU64::new(0),
            largest_object_bytes: AtomicU64::new(LARGEST_OBJECT_BYTES),
            free_bytes: AtomicU64::new(u64::MAX),
            size_bytes: AtomicU64::new(u64::MAX),
            reserve_file_bytes: AtomicU64::new(0),
        };
        Self::with(Arc::new(all), false)
    }

    /// The part of one more stream.
    #[must_use]
    pub fn part(&self) -> Self {
        self.all.parts.fetch_add(1, Ordering::Relaxed);
        Self::with(self.all.clone(), true)
    }

    fn with(all: Arc<All>, is_part: bool) -> Self {
        Self {
            all,
            is_part,
            used_bytes: AtomicU64::new(0),
            promised_bytes: AtomicU64::new(0),
            refused_calls: AtomicU64::new(0),
        }
    }

    /// The bytes that all streams may hold.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.all.limit_bytes
    }

    /// Counts bytes that came to the disk.
    pub fn add(&self, bytes: u64) {
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.used_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that left the disk.
    pub fn remove(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.all.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The bytes in use by this stream.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The bytes in use by all streams.
    #[must_use]
    pub fn used_bytes_of_all(&self) -> u64 {
        self.all.used_bytes.load(Ordering::Relaxed)
    }

    /// The largest object that a stream makes has so many bytes from now on.
    pub fn set_largest_object(&self, bytes: u64) {
        self.all.largest_object_bytes.store(bytes, Ordering::Relaxed);
    }

    /// What the file system of the data directory has.
    pub fn set_space(&self, space: Space) {
        self.all.size_bytes.store(space.size_bytes, Ordering::Relaxed);
        self.all.free_bytes.store(space.free_bytes, Ordering::Relaxed);
    }

    /// Gives `bytes` to a producer's call; they are his until the promise is dropped. `None` when
    /// there is no room for them until something has been delivered.
    #[must_use]
    pub fn admit(self: &Arc<Self>, bytes: u64) -> Option<Promise> {
        let promise = self.promise(bytes);
        if self.is_used_up() {
            self.refused_calls.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(promise)
    }

    /// How often there was no room for a producer's call.
    #[must_use]
    pub fn refused_calls(&self) -> u64 {
        self.refused_calls.load(Ordering::Relaxed)
    }

    /// Whether producers are refused at present.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        let all = &self.all;
        let (taken, end) = (all.taken_bytes(), all.producers_end());
        let own = self.used_bytes() + self.promised_bytes.load(Ordering::Relaxed);
        let share = end / all.parts.load(Ordering::Relaxed).max(1);
        let promised = all.promised_bytes.load(Ordering::Relaxed);
        taken > end
            || (taken > end / 10 * 8 && own > share)
            || all.free_bytes() < all.kept_free_bytes().saturating_add(promised)
    }

    /// Gives `bytes` out of the reserve to an object that is about to be frozen. `None` when the
    /// reserve has no room for them.
    #[must_use]
    pub fn lend(self: &Arc<Self>, bytes: u64) -> Option<Promise> {
        let promise = self.promise(bytes);
        let has_room = self.all.taken_bytes() <= self.all.limit_bytes
            && self.all.free_bytes() > self.all.promised_bytes.load(Ordering::Relaxed);
        has_room.then_some(promise)
    }

    /// Gives `bytes` whether there is room or not.
    #[must_use]
    pub fn promise(self: &Arc<Self>, bytes: u64) -> Promise {
        self.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.promised_bytes.fetch_add(bytes, Ordering::Relaxed);
        Promise { budget: self.clone(), bytes }
    }

    /// Whether it is time to close what is buffered early.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.all.pressing_bytes() > 0
    }

    /// The bytes by which this stream is to get smaller, so that the low mark is reached: each
    /// stream gives as much as it holds of the whole.
    #[must_use]
    pub fn pressing_bytes(&self) -> u64 {
        let (pressing, used) = (self.all.pressing_bytes(), self.used_bytes());
        let all_used = self.all.used_bytes.load(Ordering::Relaxed).max(1);
        let part = u128::from(pressing) * u128::from(used) / u128::from(all_used);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// The bytes of records that are made objects of at once while the budget is pressed, so that
    /// what they become fits into the reserve, and into what is free of the file system.
    #[must_use]
    pub fn round_bytes_max(&self) -> u64 {
        let room = self.all.free_bytes().max(self.all.kept_free_bytes());
        self.all.reserve_bytes().min(room) / 2
    }

    /// What may be taken at all: of the budget, and of the file system.
    #[must_use]
    pub fn whole_bytes(&self) -> u64 {
        self.all.limit_bytes.min(self.all.size_bytes.load(Ordering::Relaxed))
    }

    /// How large the file is that keeps room on the file system.
    #[must_use]
    pub fn reserve_file_bytes(&self) -> u64 {
        self.all.largest_bytes().min(self.whole_bytes() / 8).min(RESERVE_FILE_BYTES_MAX)
    }

    /// The file that keeps room has so many bytes from now on.
    pub fn set_reserve_file(&self, bytes: u64) {
        self.all.reserve_file_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether that file can be made, and nothing be pressed by it.
    #[must_use]
    pub fn has_room_for_reserve_file(&self) -> bool {
        let all = &self.all;
        let free_after = all.free_bytes().saturating_sub(self.reserve_file_bytes());
        !self.is_pressed() && free_after / 2 >= all.kept_free_bytes()
    }

    /// Whether that file stands in the way of what is on disk and promised, which the limit bounds
    /// together with it.
    #[must_use]
    pub fn wants_reserve_file_back(&self) -> bool {
        let file_bytes = self.all.reserve_file_bytes.load(Ordering::Relaxed);
        file_bytes > 0 && self.all.taken_bytes() + file_bytes > self.all.limit_bytes
    }
}

impl Drop for DiskBudget {
    fn drop(&mut self) {
        // A stream that was not opened after all is counted again when it is.
        self.all.parts.fetch_sub(u64::from(self.is_part), Ordering::Relaxed);
        self.all.used_bytes.fetch_sub(self.used_bytes(), Ordering::Relaxed);
    }
}

impl All {
    fn taken_bytes(&self) -> u64 {
        let promised = self.promised_bytes.load(Ordering::Relaxed);
        self.used_bytes.load(Ordering::Relaxed).saturating_add(promised)
    }

    fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    fn largest_bytes(&self) -> u64 {
        let largest = self.largest_object_bytes.load(Ordering::Relaxed);
        largest.saturating_mul(2).saturating_add(CONTROL_BYTES)
    }

    /// What producers never get. A quarter of a small budget has to do: there, objects are closed
    /// before they are large.
    fn reserve_bytes(&self) -> u64 {
        self.largest_bytes().clamp(self.limit_bytes / 10, self.limit_bytes / 4)
    }

    fn producers_end(&self) -> u64 {
        self.limit_bytes - self.reserve_bytes()
    }

    /// What is left free of a file system that others fill.
    fn kept_free_bytes(&self) -> u64 {
        self.largest_bytes().min(self.size_bytes.load(Ordering::Relaxed) / 8)
    }

    /// The bytes above the low mark.
    fn pressing_bytes(&self) -> u64 {
        let low = self.producers_end() / 10 * 7;
        let over = self.used_bytes.load(Ordering::Relaxed).saturating_sub(low);
        let kept_free = self.kept_free_bytes();
        over.max((kept_free + kept_free / 2).saturating_sub(self.free_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000 << 20;
    /// The reserve takes a tenth, since objects are small.
    const END: u64 = 900 << 20;

    fn budgets(count: usize) -> Vec<Arc<DiskBudget>> {
        let whole = DiskBudget::new(LIMIT);
        whole.set_largest_object(1 << 20);
        (0..count).map(|_| Arc::new(whole.part())).collect()
    }

    #[test]
    fn producers_never_get_the_reserve() {
        let budget = &budgets(1)[0];
        let promise = budget.admit(END).expect("all that is theirs");
        assert!(budget.admit(1).is_none(), "what is promised is as good as used");
        budget.add(END);
        drop(promise);
        assert!(budget.admit(1).is_none());
        let lent = budget.lend(LIMIT - END).expect("the reserve is for what is frozen");
        assert!(budget.lend(1).is_none(), "and has an end");
        drop(lent);
        budget.remove(2);
        assert!(budget.admit(1).is_some(), "it stops by itself");
    }

    #[test]
    fn the_reserve_holds_the_largest_object_twice() {
        let budget = &budgets(1)[0];
        budget.set_largest_object(100 << 20);
        assert!(budget.admit(LIMIT - (208 << 20) + 1).is_none());
        assert!(budget.admit(LIMIT - (208 << 20)).is_some());
        budget.set_largest_object(u64::MAX);
        assert!(budget.admit(LIMIT / 4 * 3).is_some(), "but not more than a quarter of all");
    }

    #[test]
    fn streams_over_their_share_are_refused_before_all_others() {
        let budgets = budgets(3);
        budgets[0].add(END / 10 * 8);
        assert!(budgets[0].admit(1).is_none());
        assert!(budgets[1].admit(1).is_some());
        budgets[1].add(END / 10 * 2);
        assert!(budgets[1].admit(1).is_none(), "now it is all used up");
        budgets[0].remove(END / 10 * 4);
        assert!(budgets.iter().all(|budget| budget.admit(1).is_some()));
    }

    #[test]
    fn pressure_is_shared_out_by_what_each_holds_and_ends_at_the_low_mark() {
        let budgets = budgets(2);
        let low = END / 10 * 7;
        budgets[0].add(low / 4 * 3);
        budgets[1].add(low / 4);
        assert!(!budgets[0].is_pressed());
        budgets[0].add(400);
        assert!(budgets[1].is_pressed());
        let (one, other) = (budgets[0].pressing_bytes(), budgets[1].pressing_bytes());
        assert!((299..=300).contains(&one) && (99..=100).contains(&other), "{one} {other}");
    }

    #[test]
    fn a_file_system_that_others_fill_refuses_as_well() {
        let budget = &budgets(1)[0];
        let kept = 10 << 20;
        let space = |free_bytes| Space { size_bytes: 1 << 40, free_bytes };
        budget.set_space(space(kept * 2));
        assert!(!budget.is_pressed() && budget.admit(1).is_some());
        budget.set_space(space(kept + 10));
        assert!(budget.is_pressed());
        assert!(budget.admit(10).is_some() && budget.admit(11).is_none());
        budget.set_space(space(kept * 2));
        assert!(budget.admit(11).is_some());
        // Of a small file system a part is kept free, however large the objects are.
        budget.set_space(Space { size_bytes: 64 << 20, free_bytes: 9 << 20 });
        assert!(budget.admit(1).is_some());
    }

    #[test]
    fn the_reserve_file_is_made_with_room_to_spare_and_goes_before_the_limit_is_passed() {
        let budget = &budgets(1)[0];
        let file = budget.reserve_file_bytes();
        assert_eq!(file, 10 << 20, "twice the largest object, and control frames");
        assert!(budget.has_room_for_reserve_file());
        budget.set_reserve_file(file);
        budget.add(LIMIT - file);
        assert!(!budget.wants_reserve_file_back());
        let lent = budget.lend(1).expect("the file gives way to what is frozen");
        assert!(budget.wants_reserve_file_back());
        drop(lent);
        budget.set_reserve_file(0);
        assert!(!budget.has_room_for_reserve_file(), "not while it is pressed");
        budget.remove(LIMIT - file);
        budget.set_space(Space { size_bytes: 64 << 20, free_bytes: 23 << 20 });
        assert_eq!(budget.reserve_file_bytes(), 8 << 20, "an eighth of a small file system");
        assert!(!budget.has_room_for_reserve_file(), "what is kept free stays free twice over");
        budget.set_space(Space { size_bytes: 64 << 20, free_bytes: 24 << 20 });
        assert!(budget.has_room_for_reserve_file());
    }

    #[test]
    fn a_stream_that_is_given_up_leaves_nothing_counted() {
        let budgets = budgets(1);
        let other = budgets[0].part();
        other.add(END);
        assert!(budgets[0].admit(1).is_none());
        drop(other);
        assert!(budgets[0].admit(END).is_some());
    }
}
