//! Puts frozen objects into their stores.
//!
//! Owns one thing: an object whose bytes and key are fixed gets there. A lost answer is not a failed put: the same bytes go to the same key again. Does not choose keys,
//! does not touch the journal or the outbox, and judges no failure as final.

pub mod backoff;
pub mod contents;
mod folders;
mod stores;

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, ObjectStore, PutOptions, PutPayload};

pub use self::folders::{ListError, folders};
pub use self::stores::{Credentials, StoreError, Stores};

use crate::fault::Action;
use crate::plan::{ObjectHeader, sha256_hex};

/// A put is given up, and tried again, after this long and a second for each
/// [`SLOWEST_BYTES_PER_SECOND`].
const PUT_PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST_BYTES_PER_SECOND: u64 = 256 << 10;
/// Attempts in one turn.
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
pub type Unreadable = Box<dyn Error + Send + Sync>;

/// Why an attempt to deliver did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The store answered with an error, or not at all.
    #[error("could not put {key} into {url}: {error}")]
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
    /// The store cannot be reached by its settings.
    #[error(transparent)]
    Unusable(#[from] StoreError),
    /// The object's bytes are not to be had.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl DeliverError {
    /// What to do about it: in every case the object is tried again.
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
            Self::Unusable(_) | Self::Unreadable(_) => Action::Alarm,
        }
    }
}

/// Puts one object, in at most [`ATTEMPTS`] attempts; tells whether it is there. The caller comes
/// back with those that are not, for ever, after others had their turn.
///
/// With `may_be_there`, after a restart, the store is asked first, so that an object that made it
/// before the crash is not put a second time. `read` must give the very bytes that the header
/// promises. `failed` hears of each failed attempt with its number from 1 on.
pub async fn deliver(
    stores: &Stores,
    header: &ObjectHeader,
    read: Read<'_>,
    may_be_there: bool,
    failed: &(dyn Fn(&DeliverError, u32) + Send + Sync),
) -> bool {
    let mut may_be_there = may_be_there;
    for attempt in 1..=ATTEMPTS {
        match attempt_once(stores, header, read, may_be_there).await {
            Ok(()) => return true,
            Err(error) => failed(&error, attempt),
        }
        // From here on an answer may have been lost; the same bytes go to the same key again.
        may_be_there = true;
        tokio::time::sleep(backoff::pause(attempt)).await;
    }
    false
}

async fn attempt_once(
    stores: &Stores,
    header: &ObjectHeader,
    read: Read<'_>,
    may_be_there: bool,
) -> Result<(), DeliverError> {
    let store = stores.get(&header.target)?;
    let path = stores::object_path(&header.target, &header.key)?;
    let patience = PUT_PATIENCE + Duration::from_secs(header.size_bytes / SLOWEST_BYTES_PER_SECOND);
    let attempt = async {
        if may_be_there && is_there(store.as_ref(), &path, header).await? {
            return Ok(());
        }
        let bytes = read().await?;
        put(store.as_ref(), &path, header, bytes).await
    };
    let silent = || DeliverError::Silent {
        key: header.key.clone(),
        url: header.target.url.clone(),
        patience,
    };
    tokio::time::timeout(patience, attempt).await.map_err(|_| silent())?
}

/// Whether the very bytes of the object are in the store: by the hash in its metadata or, where a
/// store keeps none, by its content.
async fn is_there(
    store: &dyn ObjectStore,
    path: &Path,
    header: &ObjectHeader,
) -> Result<bool, DeliverError> {
    let keeps_metadata = stores::keeps_metadata(&header.target);
    let found = match store.get_opts(path, GetOptions::new().with_head(keeps_metadata)).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(store_error(header, error)),
    };
    if found.meta.size != header.size_bytes {
        return Ok(false);
    }
    if keeps_metadata {
        let hash = found.attributes.get(&Attribute::Metadata(HASH_METADATA.into()));
        return Ok(hash.is_some_and(|hash| hash.as_ref() == header.sha256));
    }
    let content = found.bytes().await.map_err(|error| store_error(header, error))?;
    Ok(sha256_hex(&content) == header.sha256)
}

async fn put(
    store: &dyn ObjectStore,
    path: &Path,
    header: &ObjectHeader,
    bytes: Bytes,
) -> Result<(), DeliverError> {
    let mut options = PutOptions::default();
    if stores::keeps_metadata(&header.target) {
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
    let put = store.put_opts(path, PutPayload::from_bytes(bytes), options).await;
    put.map(|_| ()).map_err(|error| store_error(header, error))
}

fn store_error(header: &ObjectHeader, error: object_store::Error) -> DeliverError {
    DeliverError::Store { key: header.key.clone(), url: header.target.url.clone(), error }
}
