//! Records of the Kinesis Producer Library, which packs several into one.
//!
//! Owns their form: four bytes, a message of protobuf, and its MD5 (amazon-kinesis-producer,
//! `aggregation-format.md`). What is not of this form, down to the checksum, is a plain record and
//! stays as it is. Partition keys and hash keys are left out: they told shards apart.

use bytes::Bytes;
use md5::{Digest as _, Md5};
use prost::Message;

use super::inside::{Inside, Processor};
use super::{PARTS_MAX, Part, Transform, Verdict};

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const CHECKSUM_BYTES: usize = 16;

/// The step.
#[must_use]
pub fn kpl() -> impl Transform {
    Inside::new(Kpl)
}

#[derive(Debug)]
pub(super) struct Kpl;

/// The members that matter of `AggregatedRecord`; others are skipped. Its records are read one by one.
#[derive(Clone, PartialEq, Message)]
struct Aggregated {
    #[prost(bytes = "bytes", repeated, tag = "3")]
    records: Vec<Bytes>,
}

/// The member that matters of `Record`.
#[derive(Clone, PartialEq, Message)]
struct UserRecord {
    #[prost(bytes = "bytes", required, tag = "3")]
    data: Bytes,
}

impl Processor for Kpl {
    fn verdict(&self, part: &Part) -> Verdict {
        let Some(Aggregated { records }) = aggregated(&part.data) else {
            return Verdict::Parts(vec![part.clone()]);
        };
        if records.len() > PARTS_MAX {
            let why = format!("the record holds more than {PARTS_MAX} records of a producer");
            return Verdict::too_large(why);
        }
        let data = records.into_iter().map(|record| UserRecord::decode(record).map(|one| one.data));
        match data.collect::<Result<Vec<Bytes>, _>>() {
            Err(_) => Verdict::Parts(vec![part.clone()]),
            // There is nothing to take apart, and a record is never nothing.
            Ok(data) if data.is_empty() => Verdict::Parts(vec![part.clone()]),
            Ok(data) => {
                let part = |data| Part { data, partition_keys: part.partition_keys.clone() };
                Verdict::Parts(data.into_iter().map(part).collect())
            }
        }
    }
}

/// The message in a record, where the record has the form.
fn aggregated(data: &Bytes) -> Option<Aggregated> {
    let message_bytes = data.len().checked_sub(MAGIC.len() + CHECKSUM_BYTES)?;
    if !data.starts_with(&MAGIC) {
        return None;
    }
    let message = data.slice(MAGIC.len()..MAGIC.len() + message_bytes);
    let checksum = &data[data.len() - CHECKSUM_BYTES..];
    if Md5::digest(&message).as_slice() != checksum {
        return None;
    }
    Aggregated::decode(message).ok()
}
