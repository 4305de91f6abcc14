//! What a transform made of records, as the scratch log keeps it: one entry for each part, drop or
//! failure.
//!
//! Owns the bytes of an entry, both ways. An entry is a record of the scratch log, which knows
//! nothing of this: its position there is the number of the part. Every source record has at least
//! one entry, and entries come in the order of source positions, so that the last whole entry says
//! how far the transform has come.
//!
//! ```text
//! kind u8 (1 part, 2 dropped, 3 failed, 4 damaged) | source position u64 | head length u32
//! | head: nothing, or JSON of the partition keys or the failure | the part's or the record's bytes
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::record::{ErrorOutputType, Position, UnixMillis};
use crate::transform::Failure;

/// Bytes of an entry before its head.
const FRONT_BYTES: usize = 13;

/// One entry, borrowed from the scratch log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// The record that it came from.
    pub(super) source: Position,
    pub(super) content: Content<'a>,
}

/// What became of a record or of a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// It is to be delivered as this.
    Part { partition_keys: BTreeMap<String, String>, data: &'a [u8] },
    /// It is not wanted.
    Dropped,
    /// It goes to the error prefix.
    Failed { failure: FailureText, raw: &'a [u8] },
    /// The disk had lost it before it was transformed.
    Damaged,
}

/// A failure as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FailureText {
    pub(super) error_type: ErrorOutputType,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) attempts: u32,
    pub(super) lambda_arn: Option<String>,
    /// When the last attempt ended.
    pub(super) ended: UnixMillis,
}

impl FailureText {
    pub(super) fn new(failure: Failure, ended: UnixMillis) -> Self {
        let Failure { error_type, code, message, attempts, lambda_arn } = failure;
        Self { error_type, code, message, attempts, lambda_arn, ended }
    }
}

impl<'a> Entry<'a> {
    /// Appends the entry's bytes to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, head, data): (u8, Vec<u8>, &[u8]) = match &self.content {
            Content::Part { partition_keys, data } if partition_keys.is_empty() => {
                (1, Vec::new(), data)
            }
            Content::Part { partition_keys, data } => (1, json(partition_keys), data),
            Content::Dropped => (2, Vec::new(), &[]),
            Content::Failed { failure, raw } => (3, json(failure), raw),
            Content::Damaged => (4, Vec::new(), &[]),
        };
        out.push(kind);
        out.extend_from_slice(&self.source.0.to_le_bytes());
        out.extend_from_slice(&(head.len() as u32).to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(data);
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` when the bytes are not an entry, which the
    /// checksum of the log makes impossible unless another program wrote them.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (front, rest) = bytes.split_at_checked(FRONT_BYTES)?;
        let source = Position(u64::from_le_bytes(front[1..9].try_into().ok()?));
        let head_bytes = u32::from_le_bytes(front[9..13].try_into().ok()?);
        let (head, data) = rest.split_at_checked(head_bytes as usize)?;
        let content = match front[0] {
            1 if head.is_empty() => Content::Part { partition_keys: BTreeMap::new(), data },
            1 => Content::Part { partition_keys: serde_json::from_slice(head).ok()?, data },
            2 => Content::Dropped,
            3 => Content::Failed { failure: serde_json::from_slice(head).ok()?, raw: data },
            4 => Content::Damaged,
            _ => return None,
        };
        Some(Self { source, content })
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers always serialise")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contents() -> Vec<Content<'static>> {
        let failure = FailureText {
            error_type: ErrorOutputType::ProcessingFailed,
            code: "Lambda.FunctionError".into(),
            message: "it said \"no\"".into(),
            attempts: 4,
            lambda_arn: Some("arn:aws:lambda:us-east-1:1:function:f".into()),
            ended: UnixMillis(17),
        };
        let keys = BTreeMap::from([("customer".to_owned(), "a/b".to_owned())]);
        vec![
            Content::Part { partition_keys: BTreeMap::new(), data: b"{}" },
            Content::Part { partition_keys: keys, data: b"" },
            Content::Dropped,
            Content::Failed { failure, raw: b"\xff" },
            Content::Damaged,
        ]
    }

    #[test]
    fn entries_survive_their_bytes() {
        for content in contents() {
            let entry = Entry { source: Position(u64::MAX), content };
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            assert_eq!(Entry::decode(&bytes), Some(entry));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Entry::decode(&bytes);
        }
    }
}
