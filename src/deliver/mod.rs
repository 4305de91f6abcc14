//! Puts frozen objects into their stores.
//!
//! Owns one thing: an object whose bytes and key are fixed gets there, however long it takes. A
//! lost answer is not a failed put: the same bytes go to the same key again. Does not choose keys,
//! does not touch the journal, and never gives up: what only a person can mend is told and tried
//! again.

mod backoff;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, ObjectStore, PutOptions, PutPayload};

pub use self::stores::{Credentials, StoreError, Stores};

use crate::fault::Action;
use crate::outbox::{Outbox, ReadError};
use crate::plan::{ObjectHeader, PlanId};

/// A put is given up, and tried again, after this long and a second for each
/// [`SLOWEST_BYTES_PER_SECOND`].
const PUT_PATIENCE: Duration = Duration::from_secs(30);
const SLOWEST_BYTES_PER_SECOND: u64 = 256 << 10;
/// The user metadata that holds an object's SHA-256.
const HASH_METADATA: &str = "lakehose-sha256";

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
    /// The object cannot be taken from the outbox.
    #[error(transparent)]
    Outbox(#[from] ReadError),
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
            Self::Unusable(_) => Action::Alarm,
            Self::Outbox(error) => error.action(),
        }
    }
}

/// Puts one object until it is there.
///
/// With `may_be_there`, after a restart, the store is asked first, so that an object that made it
/// before the crash is not put a second time. `failed` hears of each failed attempt with its number
/// from 1 on.
pub async fn deliver(
    stores: &Stores,
    outbox: &Arc<Outbox>,
    plan: PlanId,
    header: &ObjectHeader,
    may_be_there: bool,
    failed: &(dyn Fn(&DeliverError, u32) + Send + Sync),
) {
    let mut may_be_there = may_be_there;
    for attempt in 1.. {
        match attempt_once(stores, outbox, plan, header, may_be_there).await {
            Ok(()) => return,
            Err(error) => failed(&error, attempt),
        }
        // From here on an answer may have been lost; the same bytes go to the same key again.
        may_be_there = true;
        tokio::time::sleep(backoff::pause(attempt)).await;
    }
}

async fn attempt_once(
    stores: &Stores,
    outbox: &Arc<Outbox>,
    plan: PlanId,
    header: &ObjectHeader,
    may_be_there: bool,
) -> Result<(), DeliverError> {
    let store = stores.get(&header.target)?;
    let path = stores::object_path(&header.target, &header.key)?;
    let patience = PUT_PATIENCE + Duration::from_secs(header.size_bytes / SLOWEST_BYTES_PER_SECOND);
    let attempt = async {
        if may_be_there && is_there(store.as_ref(), &path, header).await? {
            return Ok(());
        }
        let bytes = read_frozen(outbox.clone(), plan, header.clone()).await?;
        put(store.as_ref(), &path, header, bytes).await
    };
    let silent = || DeliverError::Silent {
        key: header.key.clone(),
        url: header.target.url.clone(),
        patience,
    };
    tokio::time::timeout(patience, attempt).await.map_err(|_| silent())?
}

/// Whether the very bytes of the object are in the store. Stores without metadata never say so; the
/// object is then put again, which does no harm.
async fn is_there(
    store: &dyn ObjectStore,
    path: &Path,
    header: &ObjectHeader,
) -> Result<bool, DeliverError> {
    if !stores::keeps_metadata(&header.target) {
        return Ok(false);
    }
    match store.get_opts(path, GetOptions::new().with_head(true)).await {
        Ok(found) => {
            let hash = found.attributes.get(&Attribute::Metadata(HASH_METADATA.into()));
            let same_hash = hash.is_some_and(|hash| hash.as_ref() == header.sha256);
            Ok(same_hash && found.meta.size == header.size_bytes)
        }
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(store_error(header, error)),
    }
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
        attributes.insert(metadata("lakehose-rows"), header.row_count.to_string().into());
        options.attributes = attributes;
    }
    let put = store.put_opts(path, PutPayload::from_bytes(bytes), options).await;
    put.map(|_| ()).map_err(|error| store_error(header, error))
}

async fn read_frozen(
    outbox: Arc<Outbox>,
    plan: PlanId,
    header: ObjectHeader,
) -> Result<Bytes, DeliverError> {
    let read = tokio::task::spawn_blocking(move || outbox.read(plan, &header)).await;
    match read {
        Ok(read) => Ok(read?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn store_error(header: &ObjectHeader, error: object_store::Error) -> DeliverError {
    DeliverError::Store { key: header.key.clone(), url: header.target.url.clone(), error }
}
