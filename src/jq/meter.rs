//! The meter of one evaluation: how much it may still do, and how it is stopped.
//!
//! Owns the budgets and the stop. Steps stand for time and bytes for memory: what loops or copies
//! pays here first, so that an evaluation ends after the same work on every machine. Does not own
//! who pays: that is [`super::guard`] for what a program says, and [`super::natives`].
//!
//! The meter is the thread's own, since an evaluation stays on its thread and the interpreter hands
//! its natives nothing that the two could share more plainly. A stop is an unwinding with a type of
//! its own: no `try` of a program catches it, and no hook of a panic hears of it.

use std::cell::Cell;
use std::panic::resume_unwind;

use jaq_json::Val;

/// How much of a stack an evaluation may use. The threads of the process have 2 MiB.
const STACK_BYTES_MAX: usize = 768 << 10;
/// The deepest nesting of a value that a program makes. Comparing, printing and freeing recurse.
const VALUE_DEPTH_MAX: u32 = 400;
/// The longest path into a value.
const PATH_PARTS_MAX: usize = 2_000;
/// How many values of a document one step goes through.
const VALUES_PER_STEP: u64 = 4;
/// How many bytes are copied in one step.
const BYTES_PER_STEP: u64 = 64;

/// What one evaluation may use. Both are counted, not measured: the same program ends at the same
/// place wherever it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Calls, turns of loops, operations; a few million are one second.
    pub steps: u64,
    /// Bytes of all values that are made or copied, whether or not they are still held.
    pub bytes: u64,
}

impl Bounds {
    /// What a record of so many bytes may cost: enough to go through it many times.
    #[must_use]
    pub fn for_record(size_bytes: usize) -> Self {
        let size = size_bytes as u64;
        Self { steps: 5_000_000 + 50 * size, bytes: (256 << 20) + 256 * size }
    }
}

/// An evaluation was stopped: the bound that it exceeded.
#[derive(Debug)]
pub(super) struct Stopped(pub(super) &'static str);

#[derive(Clone, Copy)]
struct Meter {
    left: Bounds,
    /// Where the stack stood when the evaluation began.
    stack_base: usize,
    now: Option<f64>,
}

thread_local! {
    static METER: Cell<Meter> = const {
        Cell::new(Meter { left: Bounds { steps: 0, bytes: 0 }, stack_base: 0, now: None })
    };
}

/// Where the stack stands, more or less.
fn stack_place() -> usize {
    let local = 0_u8;
    std::ptr::from_ref(&local).addr()
}

/// Begins an evaluation on this thread.
pub(super) fn begin(bounds: Bounds, now: Option<f64>) {
    METER.set(Meter { left: bounds, stack_base: stack_place(), now });
}

/// What has not been used.
pub(super) fn left() -> Bounds {
    METER.get().left
}

/// What the program calls now.
pub(super) fn now() -> Option<f64> {
    METER.get().now
}

fn stop(bound: &'static str) -> ! {
    resume_unwind(Box::new(Stopped(bound)))
}

/// Takes `count` steps.
pub(super) fn steps(count: u64) {
    let mut meter = METER.get();
    match meter.left.steps.checked_sub(count) {
        Some(left) => meter.left.steps = left,
        None => stop("it takes more steps than a record may cost"),
    }
    METER.set(meter);
}

/// Takes room for `count` bytes, and the time to write them.
pub(super) fn bytes(count: usize) {
    let count = count as u64;
    let mut meter = METER.get();
    match meter.left.bytes.checked_sub(count) {
        Some(left) => meter.left.bytes = left,
        None => stop("it makes larger values than a record may cost"),
    }
    METER.set(meter);
    steps(count / BYTES_PER_STEP);
}

/// Takes room for so many elements of lists.
pub(super) fn elements(count: usize) {
    bytes(count.saturating_mul(32));
}

/// Takes one step, and looks at the stack.
pub(super) fn tick() {
    steps(1);
    if METER.get().stack_base.abs_diff(stack_place()) > STACK_BYTES_MAX {
        stop("it calls itself too deeply");
    }
}

/// Takes the time to go over the bytes of a text or the elements of a list once.
pub(super) fn pass(value: &Val) {
    let size = match value {
        Val::TStr(text) | Val::BStr(text) => text.len(),
        Val::Arr(list) => 16 * list.len(),
        Val::Obj(object) => 32 * object.len(),
        _ => 0,
    };
    steps(size as u64 / BYTES_PER_STEP);
}

/// Takes the time of a pass over what is large, which whoever gets it may go over at once.
pub(super) fn pass_large(value: &Val) {
    if matches!(value, Val::TStr(_) | Val::BStr(_)) {
        pass(value);
    }
}

/// Looks at the length of a path.
pub(super) fn path<T>(mut parts: impl Iterator<Item = T>) {
    if parts.nth(PATH_PARTS_MAX).is_some() {
        stop("it makes a path that is too long");
    }
}

/// Goes through a value: takes the time for it, and looks at its depth.
pub(super) fn walk(value: &Val) {
    let all = left().steps.saturating_mul(VALUES_PER_STEP);
    let mut values_left = all;
    walk_values(value, 0, &mut values_left);
    steps((all - values_left) / VALUES_PER_STEP + 1);
}

fn walk_values(value: &Val, depth: u32, left: &mut u64) {
    let size = match value {
        Val::TStr(text) => 1 + text.len() as u64 / (BYTES_PER_STEP / VALUES_PER_STEP),
        _ => 1,
    };
    match left.checked_sub(size) {
        Some(rest) => *left = rest,
        None => stop("it takes more steps than a record may cost"),
    }
    if depth > VALUE_DEPTH_MAX {
        stop("it makes a value that is nested too deeply");
    }
    match value {
        Val::Arr(list) => list.iter().for_each(|item| walk_values(item, depth + 1, left)),
        Val::Obj(object) => object.values().for_each(|item| walk_values(item, depth + 1, left)),
        _ => {}
    }
}
