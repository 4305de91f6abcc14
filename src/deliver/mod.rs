//! Puts frozen objects into their stores.
//!
//! Owns one thing: an object whose bytes and key are fixed gets there, and never in the place of
//! somebody else's. A lost answer is not a failed put: the same bytes go to the same key again. Does
//! not choose keys, does not touch the journal or the outbox, and judges no failure as final but the
//! loss of the bytes themselves.
//!
//! A put says that there must be no object under the key, where the store understands that. Of one
//! that is there, its hash tells whose it is.
//!
//! A put into a folder stages a file beside the key. What a process left of it that died meanwhile is
//! removed before the object counts as delivered.

mod accesses;
pub mod backoff;
pub mod contents;
mod folders;
mod leftovers;
mod renewal;
mod stores;
mod words;

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectStore, PutMode, PutOptions, PutPayload,
};

pub use self::accesses::{Access, Accesses};
pub use self::folders::{ListError, folders};
pub use self::renewal::Renewal;
pub use self::stores::{Credentials, StoreError, Stores};

use crate::fault::Action;
use crate::plan::{ObjectHeader, sha256_hex};

/// A put is given up, and tried again, after this long and a second for each
/// [`SLOWEST_BYTES_PER_SECOND`]; in later turns for half of them, then for a quarter, so that many
/// objects on a slow line get through.
const PUT_PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST_BYTES_PER_SECOND: u64 = 256 << 10;
/// Attempts in one turn, unless it only tries whether a store is there again.
pub const ATTEMPTS: u32 = 5;
/// The user metadata that holds an object's SHA-256.
const HASH_METADATA: &str = "lakehose-sha256";
/// The user metadata that holds the number of its rows.
const ROWS_METADATA: &str = "lakehose-rows";
/// The user metadata that tells data from errors.
pub const KIND_METADATA: &str = "lakehose-kind";

/// What Firehose calls every object.
const CONTENT_TYPE: &str = "application/octet-stream";

/// Reads the bytes of an object; asked anew for each attempt, so that no bytes are held in between.
pub type Read<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<Bytes, Unreadable>> + Send + Sync);

/// Why the bytes of an object are not to be had.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unreadable {
    /// What the disk or its reader said.
    pub error: Box<dyn Error + Send + Sync>,
    /// Whether they are not the promised ones, and never will be.
    pub is_final: bool,
}

/// Why an attempt to deliver did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The store answered with an error, or not at all.
    #[error("could not put {key} into {url}: {}", words::in_words(error))]
    Store {
        /// The object's key.
        key: String,
        /// The store's URL.
        url: String,
        /// What the store said.
        error: object_store::Error,
    },
    /// The store did not answer in time.
    #[error("could not put {key} into {url}: no answer within {} s", patience.as_secs())]
    Silent {
        /// The object's key.
        key: String,
        /// The store's URL.
        url: String,
        /// How long the put was waited for.
        patience: Duration,
    },
    /// Something else is under the key.
    #[error("somebody else's object is at {key} in {url}; this one will get another key")]
    Taken {
        /// The object's key.
        key: String,
        /// The store's URL.
        url: String,
    },
    /// The store cannot be reached by its settings.
    #[error(transparent)]
    Unusable(#[from] StoreError),
    /// The object's bytes are not to be had.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl DeliverError {
    /// What to do about it: the object is tried again, unless its bytes are lost.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Store { error, .. } => match error {
                object_store::Error::NotFound { .. }
                | object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. }
                | object_store::Error::InvalidPath { .. }
                | object_store::Error::NotSupported { .. } => Action::Alarm,
                _ => Action::Retry,
            },
            Self::Silent { .. } => Action::Retry,
            Self::Taken { .. } | Self::Unusable(_) | Self::Unreadable(_) => Action::Alarm,
        }
    }

    /// Whether the object may be in the store in spite of it: nothing was answered, or something
    /// that a store also says when it has carried the put out. After any other answer the object is
    /// put again without a question, so that a store that refuses is not asked twice as often.
    fn may_be_applied(&self) -> bool {
        match self {
            Self::Store { error, .. } => match stores::status(error) {
                Some(status) => matches!(status, 500 | 502 | 504),
                None => true,
            },
            Self::Silent { .. } => true,
            Self::Taken { .. } | Self::Unusable(_) | Self::Unreadable(_) => false,
        }
    }

    fn is_conflict(&self) -> bool {
        let error = if let Self::Store { error, .. } = self { Some(error) } else { None };
        matches!(
            error,
            Some(
                object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. }
            )
        )
    }

    fn is_denial(&self) -> bool {
        matches!(self, Self::Store { error: object_store::Error::PermissionDenied { .. }, .. })
    }
}

/// What came of a turn of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in its store.
    There,
    /// It is not; the caller comes back with it, for ever, after others had their turn.
    NotYet,
    /// Another object is under its key and stays there.
    Taken,
    /// It is not, and its bytes are lost.
    Spoiled,
}

/// How hard an object is tried to be put.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Attempts in this turn, at the most.
    pub attempts: u32,
    /// Turns before that have not brought it there.
    pub turns: u32,
    /// The store is asked first whether it has it, as after a restart, so that an object that made
    /// it before the crash is not put a second time.
    pub may_be_there: bool,
}

/// Puts one object. `read` must give the very bytes that the header promises, or say that they are
/// lost: then the object is given up, unless the store has it. `failed` hears of each
/// failed attempt with its number from 1 on.
pub async fn deliver(
    stores: &Stores,
    header: &ObjectHeader,
    read: Read<'_>,
    mut effort: Effort,
    failed: &(dyn Fn(&DeliverError, u32) + Send + Sync),
) -> Outcome {
    for attempt in 1..=effort.attempts {
        let error = match attempt_once(stores, header, read, effort).await {
            Ok(()) => {
                sweep(header, effort).await;
                return Outcome::There;
            }
            Err(error) => error,
        };
        failed(&error, attempt);
        if matches!(error, DeliverError::Taken { .. }) {
            sweep(header, effort).await;
            return Outcome::Taken;
        }
        if matches!(&error, DeliverError::Unreadable(unreadable) if unreadable.is_final) {
            return Outcome::Spoiled;
        }
        // The answer may have been lost; the same bytes go to the same key again.
        effort.may_be_there |= error.may_be_applied();
        if attempt < effort.attempts {
            tokio::time::sleep(backoff::pause(attempt)).await;
        }
    }
    Outcome::NotYet
}

/// Removes what attempts before this one have staged in a folder; where none was made there is
/// nothing. That it cannot be removed keeps no object from being delivered.
async fn sweep(header: &ObjectHeader, effort: Effort) {
    if effort.may_be_there
        && let Some(path) = stores::file_of(&header.target, &header.key)
        && let Err(error) = leftovers::remove(path).await
    {
        tracing::warn!(key = header.key, %error, "could not remove what a put had staged");
    }
}

async fn attempt_once(
    stores: &Stores,
    header: &ObjectHeader,
    read: Read<'_>,
    effort: Effort,
) -> Result<(), DeliverError> {
    let store = stores.get(&header.target)?;
    let path = stores::object_path(&header.target, &header.key)?;
    let attempt = async {
        let is_conditional = stores.is_conditional(&header.target);
        if effort.may_be_there || !is_conditional {
            match look(store.as_ref(), &path, header).await {
                Ok(Found::Ours) => return Ok(()),
                Ok(Found::Another) => return Err(taken(header)),
                Ok(Found::Nothing) => {}
                // Who may not list a bucket is told so of every key that is not there; then the put
                // itself finds out.
                Err(error) if is_conditional && error.is_denial() => {}
                Err(error) => return Err(error),
            }
        }
        let bytes = read().await?;
        let mode = if is_conditional { PutMode::Create } else { PutMode::Overwrite };
        let error = match put(store.as_ref(), &path, header, bytes, mode).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if stores::is_not_implemented(&error) {
            stores.note_unconditional(&header.target);
        }
        // Also a conflict with a put of our own that the store has not finished yet.
        let error = store_error(header, error);
        if !error.is_conflict() {
            return Err(error);
        }
        match look(store.as_ref(), &path, header).await? {
            Found::Ours => Ok(()),
            Found::Another => Err(taken(header)),
            Found::Nothing => Err(error),
        }
    };
    if stores::is_folder(&header.target) {
        // A file system that hangs cannot be given up: each attempt would leave a thread behind.
        return attempt.await;
    }
    let slowest = SLOWEST_BYTES_PER_SECOND >> effort.turns.min(2);
    let patience = PUT_PATIENCE + Duration::from_secs(header.size_bytes / slowest);
    let silent = || DeliverError::Silent {
        key: header.key.clone(),
        url: header.target.url.clone(),
        patience,
    };
    tokio::time::timeout(patience, attempt).await.map_err(|_| silent())?
}

/// What is under an object's key.
enum Found {
    Nothing,
    /// Its very bytes.
    Ours,
    Another,
}

/// Looks by the hash in an object's metadata or, where a store keeps none, by its content.
async fn look(
    store: &dyn ObjectStore,
    path: &Path,
    header: &ObjectHeader,
) -> Result<Found, DeliverError> {
    let options = || GetOptions::new().with_head(!stores::is_folder(&header.target));
    let found = match store.get_opts(path, options()).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(Found::Nothing),
        Err(error) => return Err(store_error(header, error)),
    };
    let is_ours = |hash: &str| match hash == header.sha256 {
        true => Found::Ours,
        false => Found::Another,
    };
    if let Some(hash) = found.attributes.get(&Attribute::Metadata(HASH_METADATA.into())) {
        return Ok(is_ours(hash.as_ref()));
    }
    if found.meta.size > header.size_bytes.saturating_mul(2) {
        // Nobody's packing makes it that much larger.
        return Ok(Found::Another);
    }
    let found = if stores::is_folder(&header.target) {
        found
    } else {
        let whole = store.get_opts(path, GetOptions::new()).await;
        whole.map_err(|error| store_error(header, error))?
    };
    let content = found.bytes().await.map_err(|error| store_error(header, error))?;
    Ok(is_ours(&sha256_hex(&content)))
}

async fn put(
    store: &dyn ObjectStore,
    path: &Path,
    header: &ObjectHeader,
    bytes: Bytes,
    mode: PutMode,
) -> object_store::Result<()> {
    let mut options = PutOptions { mode, ..PutOptions::default() };
    if !stores::is_folder(&header.target) {
        let mut attributes = Attributes::new();
        let metadata = |name: &'static str| Attribute::Metadata(name.into());
        attributes.insert(metadata(HASH_METADATA), header.sha256.clone().into());
        attributes.insert(metadata(ROWS_METADATA), header.row_count.to_string().into());
        attributes.insert(Attribute::ContentType, CONTENT_TYPE.into());
        if let Some(encoding) = &header.content_encoding {
            attributes.insert(Attribute::ContentEncoding, encoding.clone().into());
        }
        attributes.insert(metadata(KIND_METADATA), header.kind.as_str().into());
        options.attributes = attributes;
    }
    store.put_opts(path, PutPayload::from_bytes(bytes), options).await.map(|_| ())
}

fn taken(header: &ObjectHeader) -> DeliverError {
    DeliverError::Taken { key: header.key.clone(), url: header.target.url.clone() }
}

fn store_error(header: &ObjectHeader, error: object_store::Error) -> DeliverError {
    DeliverError::Store { key: header.key.clone(), url: header.target.url.clone(), error }
}
