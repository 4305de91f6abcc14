//! Room on the disk for the objects of one plan.
//!
//! Owns how much is taken of the budget, and when: before the conversion what the objects are expected to
//! have, so that nothing is converted in vain; when they are known what they do have, which is more where
//! records fail: an error object has them in base64, with the reasons. Who has nothing to deliver gets
//! what it takes, since nothing else would ever make room.

use std::sync::Arc;

use crate::disk::{DiskBudget, Promise};

/// Room that is lent until it is dropped; by then the objects are counted as used, or there are none.
#[derive(Debug)]
pub(super) struct Loan {
    budget: Arc<DiskBudget>,
    bytes: u64,
    /// Nothing of the leg is on its way to its store.
    is_first: bool,
    promises: Vec<Promise>,
}

/// The disk has no room for the objects of a plan until others have left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the disk has no room for {bytes} bytes until something is delivered")]
pub(super) struct NoRoom {
    /// What they have in all.
    pub(super) bytes: u64,
}

impl Loan {
    /// Room for `bytes`; none where there is not so much, unless it `is_first`.
    pub(super) fn take(budget: &Arc<DiskBudget>, bytes: u64, is_first: bool) -> Option<Self> {
        let budget = budget.clone();
        let mut loan = Self { budget, bytes: 0, is_first, promises: Vec::new() };
        loan.cover(bytes).ok().map(|()| loan)
    }

    /// Makes it as large as what is about to be written.
    ///
    /// # Errors
    /// When the disk has no room for that at present.
    pub(super) fn cover(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 {
            let lent = self.budget.lend(more);
            let lent = lent.or_else(|| self.is_first.then(|| self.budget.promise(more)));
            self.promises.push(lent.ok_or(NoRoom { bytes })?);
            self.bytes = bytes;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_out_larger_is_lent_before_it_is_written() {
        let budget = Arc::new(DiskBudget::new(1000));
        let mut loan = Loan::take(&budget, 600, false).expect("there is room");
        loan.cover(500).expect("it has more");
        loan.cover(800).expect("there is room");
        assert!(budget.lend(201).is_none() && budget.lend(200).is_some());
        assert_eq!(loan.cover(1001), Err(NoRoom { bytes: 1001 }));
        assert!(budget.lend(200).is_some(), "nothing was taken for what had no room");
        assert!(Loan::take(&budget, 201, false).is_none());
        let mut first = Loan::take(&budget, 201, true).expect("nothing else makes room");
        first.cover(2000).expect("nothing else makes room");
        drop((loan, first));
        assert!(budget.lend(1000).is_some(), "all of it is given back");
    }
}
