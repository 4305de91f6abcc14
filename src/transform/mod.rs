//! Hooks: what a stream's own steps make of its records, before they are partitioned.
//!
//! Owns the order of the steps and what each record has become after the last of them. Does not own
//! what happens to that (the pipeline), and keeps nothing between two batches: a batch that was cut
//! off by a crash is given to the hooks again, and then the new answer counts.
//!
//! A record comes back as parts (one or many), dropped, or failed; never as nothing. Once a record
//! has been split, each part goes on by itself: one may fail and its neighbours not. A hook that
//! cannot be reached holds the batch for as long as it takes; a hook that answers badly fails the
//! records.

mod chain;
mod cloudwatch;
mod command;
mod contract;
mod deaggregate;
mod decompress;
mod delimiter;
mod documents;
mod fields;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod http;
mod inside;
mod invocations;
mod journey;
mod jq;
mod kpl;
mod lambda;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use self::chain::{Chain, Transformed};
pub use self::cloudwatch::{LogForm, cloudwatch_logs};
pub use self::command::{Command, CommandSettings};
pub use self::deaggregate::{SubRecords, deaggregate};
pub use self::decompress::decompress;
pub use self::delimiter::AppendDelimiter;
pub use self::fields::{Fields, FieldsSettings};
pub use self::http::{Http, HttpSettings, is_header};
pub use self::invocations::{HookName, Origin, Patience};
pub use self::journey::Journey;
pub use self::jq::{Filter, Jq};
pub use self::kpl::kpl;
pub use self::lambda::{FunctionArn, Keys, Lambda, LambdaSettings};

use crate::buffer::Hints;
use crate::fault::Action;
use crate::record::{ErrorOutputType, UnixMillis};

/// The most bytes that one part may hold between two steps. An event for a hook holds less
/// (Lambda's 6 MB), and what leaves the chain is bounded by what the scratch log takes for a record
/// (12 MiB): a record may well be larger than either on its way, such as an envelope of which only the
/// messages are kept.
pub const PART_BYTES_MAX: usize = 16 << 20;
/// The most parts that one record may become.
pub const PARTS_MAX: usize = 10_000;
/// The most bytes that all parts of one record may hold together.
pub const PARTS_BYTES_MAX: usize = 16 << 20;
/// Once a step has made more bytes than this of one record, of use or not, it is asked for no more of it.
/// A few parts that unpack to too much spoil none of their neighbours, and a record full of them does
/// not cost more than that.
const MADE_BYTES_MAX: usize = 64 << 20;

/// A record's bytes, or a part of them, and what hooks said of their place in the lake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The bytes.
    pub data: Bytes,
    /// Values for `!{partitionKeyFromLambda:...}`, by key.
    pub partition_keys: BTreeMap<String, String>,
}

impl Part {
    /// A part without partition keys.
    #[must_use]
    pub fn new(data: impl Into<Bytes>) -> Self {
        Self { data: data.into(), partition_keys: BTreeMap::new() }
    }
}

/// What one step is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Names the item; unique in its batch, and the same when the batch is tried again.
    pub id: String,
    /// When its record arrived.
    pub arrival: UnixMillis,
    /// What it consists of.
    pub part: Part,
}

/// What one step says of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It became these; never none.
    Parts(Vec<Part>),
    /// What stood in front became these, never none; what stood behind them could not be transformed.
    PartsAndRest {
        /// What it became.
        parts: Vec<Part>,
        /// The bytes behind.
        rest: Bytes,
        /// Why nothing became of them.
        failure: Failure,
    },
    /// It is not wanted.
    Dropped,
    /// It could not be transformed.
    Failed(Failure),
    /// The same, and so many bytes were made of it before that was known.
    FailedAfter {
        /// Why nothing became of it.
        failure: Failure,
        /// What was made in vain.
        made_bytes: usize,
    },
}

impl Verdict {
    /// A failure that asking again would not mend, of a step that runs inside this process.
    fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(Failure::inside(code, message))
    }

    /// The same for what stands behind `parts`.
    fn parts_and_rest(
        parts: Vec<Part>,
        rest: Bytes,
        code: &str,
        message: impl Into<String>,
    ) -> Self {
        Self::PartsAndRest { parts, rest, failure: Failure::inside(code, message) }
    }

    /// The failure of a record that would become more than it may.
    fn too_large(message: impl Into<String>) -> Self {
        Self::Failed(Failure::too_large(message))
    }

    /// Firehose's failure of a record that is not what CloudWatch Logs sends, or not packed as that is.
    fn no_cloudwatch_log() -> Self {
        let message = "Decompression failed because input data does not conform to cloudwatch log.";
        Self::decompression_failed(message)
    }

    /// The same with another reason.
    fn decompression_failed(message: impl Into<String>) -> Self {
        Self::Failed(Failure {
            error_type: ErrorOutputType::DecompressionFailed,
            ..Failure::inside("Decompression failed.", message)
        })
    }

    /// A failure that so many bytes were made for.
    fn after(self, made_bytes: usize) -> Self {
        match self {
            Self::Failed(failure) => Self::FailedAfter { failure, made_bytes },
            other => other,
        }
    }

    /// What was made, of use or not.
    fn made_bytes(&self) -> usize {
        match self {
            Self::FailedAfter { made_bytes, .. } => *made_bytes,
            other => other.size_bytes(),
        }
    }

    /// What it counts where memory is bounded, and work like it.
    fn memory_bytes(&self) -> usize {
        let part_count = match self {
            Self::Parts(parts) | Self::PartsAndRest { parts, .. } => parts.len(),
            Self::Dropped | Self::Failed(_) | Self::FailedAfter { .. } => 0,
        };
        self.made_bytes() + part_count * PART_MEMORY_BYTES
    }

    /// The bytes of the parts.
    fn size_bytes(&self) -> usize {
        match self {
            Self::Parts(parts) | Self::PartsAndRest { parts, .. } => {
                parts.iter().map(|part| part.data.len()).sum()
            }
            Self::Dropped | Self::Failed(_) | Self::FailedAfter { .. } => 0,
        }
    }
}

/// What a part counts besides its bytes where memory is bounded: it takes some hundred on its way to the
/// scratch log, and parts of a few bytes each must not be held by the million.
const PART_MEMORY_BYTES: usize = 128;

/// How much of a foreign text a message repeats, in characters.
const SHOWN_CHARS_MAX: usize = 500;

/// Foreign text, no longer than helps.
fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why a record could not be transformed, in the words of Firehose's error objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The folder of the error prefix.
    pub error_type: ErrorOutputType,
    /// Such as `Lambda.FunctionError`.
    pub code: String,
    /// The code in words.
    pub message: String,
    /// How often the step was tried, the last time included.
    pub attempts: u32,
    /// The function that failed, where it is one.
    pub lambda_arn: Option<String>,
}

impl Failure {
    /// A record would become more than it may.
    fn too_large(message: impl Into<String>) -> Self {
        Self::inside("Transform.TooLarge", message)
    }

    /// What a step inside this process says; it tries once.
    fn inside(code: &str, message: impl Into<String>) -> Self {
        Self {
            error_type: ErrorOutputType::ProcessingFailed,
            code: code.to_owned(),
            message: short(&message.into()),
            attempts: 1,
            lambda_arn: None,
        }
    }
}

/// Why a step gave no answer. Nothing has become of its batch, which will be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unavailable {
    /// What was attempted and what came back.
    pub reason: String,
    /// Whether waiting may help or a person must.
    pub action: Action,
}

/// One step of a chain.
pub trait Transform: fmt::Debug + Send + Sync {
    /// Transforms a batch and gives one verdict for each item, in the order of the items. A step that
    /// makes much of little may answer for the first of them only, for one at least.
    ///
    /// Cancel-safe: a batch whose future is dropped is given again, in this process or the next.
    ///
    /// # Errors
    /// When the hook cannot be reached; the same batch is given again later.
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>>;

    /// How many records the step would like to be given at once; none for one that takes any.
    fn hints(&self) -> Option<Hints> {
        None
    }
}
