//! Chance that comes again: the same seed leads to the same choices.

/// A generator of choices (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678_9ABC_DEF1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `first` up to `last`.
    pub(crate) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    /// True once in `count` times.
    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

/// What a run of seeded schedules is about: the seeds of one of `slices` parts of `count` schedules
/// in all. `LAKEHOSE_SCHEDULES` says another count, `LAKEHOSE_SEED` one seed alone.
pub(crate) fn seeds(count: u64, slice: u64, slices: u64) -> Vec<u64> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("LAKEHOSE_SEED") {
        return if slice == 0 { vec![seed] } else { Vec::new() };
    }
    let count = number("LAKEHOSE_SCHEDULES").unwrap_or(count);
    (slice..count).step_by(slices as usize).collect()
}
