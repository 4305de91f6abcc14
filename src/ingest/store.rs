//! The last step of every call that brings records, whatever way it came: the journal.
//!
//! Owns the append, what is counted of it, and the ids that answers are made of. Does not own the
//! form of answers: each way in has its own.

use super::record_id::RecordId;
use super::{Service, Stream};
use crate::journal::{AppendError, Appended, Batch};
use crate::record::StreamName;

/// Records that are durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    stamp: [u8; 8],
    appended: Appended,
}

impl Stored {
    /// The id of each record, in order.
    pub(super) fn ids(self) -> impl ExactSizeIterator<Item = RecordId> {
        let Self { stamp, appended } = self;
        // A batch is counted in 32 bits on the disk.
        (0..appended.count as u32).map(move |index| {
            let position = appended.first.advanced_by(u64::from(index));
            RecordId { stamp, position }
        })
    }
}

/// Makes the records of `batch` durable in the stream `name`. A repetition of a remembered call
/// stores nothing and gets the ids of the first time.
///
/// # Errors
/// When nothing of the batch was stored.
pub(super) async fn store(
    service: &Service,
    name: &StreamName,
    stream: &Stream,
    batch: Batch,
) -> Result<Stored, AppendError> {
    let data_bytes = batch.data_bytes() as u64;
    let journal = &stream.journal;
    let appended = journal.append(batch).await?;
    if appended.is_repetition {
        service.counters.repeated(name);
    } else {
        service.counters.accepted(name, appended.count, data_bytes);
    }
    service.counters.forgotten(name, journal.forgotten_calls());
    Ok(Stored { stamp: journal.stamp(), appended })
}
