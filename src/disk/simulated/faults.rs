//! What a simulated disk gets wrong when it is told to: errors of chosen operations, now and then or
//! by chance, and writes of which only a part arrives.

use std::io::{self, ErrorKind};

use super::chance::Chance;

/// Something that is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A folder is made.
    Folder,
    Create,
    Write,
    /// A file gets another length.
    Length,
    Sync,
    Rename,
    Remove,
    SyncFolder,
    /// Bytes are read, or a file is opened to be read.
    Read,
}

/// How an operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The device answers with an error. Pages that a failed sync had to write are lost: they can
    /// still be read, and no later sync writes them.
    Broken,
    /// There is no room.
    Full,
    /// Some bytes of a write arrive, then the device answers with an error.
    ShortThenBroken,
    /// Some bytes of a write arrive, then there is no room.
    ShortThenFull,
}

impl Wrong {
    pub(crate) fn error(self) -> io::Error {
        match self {
            Self::Broken | Self::ShortThenBroken => {
                io::Error::other("the simulated disk is broken")
            }
            Self::Full | Self::ShortThenFull => ErrorKind::StorageFull.into(),
        }
    }

    /// How many of `count` bytes arrive.
    pub(crate) fn arriving(self, count: usize) -> usize {
        match self {
            Self::Broken | Self::Full => 0,
            // Not a multiple of a sector as a rule, and in the middle of frames.
            Self::ShortThenBroken | Self::ShortThenFull => count * 3 / 5,
        }
    }
}

/// When something goes wrong: after `skip` operations of the kind, `count` times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) operation: Operation,
    pub(crate) skip: u32,
    pub(crate) count: u32,
    pub(crate) wrong: Wrong,
}

/// Everything that a disk is told to get wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    chosen: Vec<Fault>,
    by_chance: Option<(Chance, u64)>,
}

impl Faults {
    pub(super) fn choose(&mut self, fault: Fault) {
        self.chosen.push(fault);
    }

    pub(super) fn leave_to_chance(&mut self, chance: Chance, once_in: u64) {
        self.by_chance = Some((chance, once_in));
    }

    /// Whether and how the next operation goes wrong.
    pub(super) fn strike(&mut self, operation: Operation) -> Option<Wrong> {
        for fault in &mut self.chosen {
            if fault.operation != operation || fault.count == 0 {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            fault.count -= 1;
            return Some(fault.wrong);
        }
        let (chance, once_in) = self.by_chance.as_mut()?;
        if !chance.one_in(*once_in) {
            return None;
        }
        let is_full = chance.one_in(2) && takes_room(operation);
        let is_short = chance.one_in(2);
        Some(match (is_full, is_short) {
            (false, false) => Wrong::Broken,
            (false, true) => Wrong::ShortThenBroken,
            (true, false) => Wrong::Full,
            (true, true) => Wrong::ShortThenFull,
        })
    }
}

/// Whether an operation can find a disk full.
pub(crate) fn takes_room(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::Folder | Operation::Create | Operation::Write | Operation::Rename
    )
}
