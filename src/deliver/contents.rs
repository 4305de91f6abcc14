//! What lies in a store: names, ends of objects, lines, and the counts that a put left beside them.
//!
//! Owns the listing below a folder and the partial reads of one object, each tried a few times.
//! Does not know what an object's bytes mean, and writes nothing.

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{Attribute, GetOptions, GetRange, ObjectStore};

use super::folders::{ListError, list_error};
use super::stores::{self, Stores};
use super::{ROWS_METADATA, backoff};
use crate::plan::Target;

/// Attempts at one read.
const ATTEMPTS: u32 = 5;

/// An object that is in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key below the target's URL.
    pub key: String,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// Every object below `folder`, which ends with a slash or is empty for all, as the store lists
/// them; nothing is gathered.
///
/// # Errors
/// When the target's settings make no client; the stream tells what the store answers.
pub fn list<'a>(
    stores: &Stores,
    target: &'a Target,
    folder: &'a str,
) -> Result<BoxStream<'a, Result<Listed, ListError>>, ListError> {
    let store = stores.get(target)?;
    let path = stores::object_path(target, folder.trim_end_matches('/'))?;
    let base = stores::base_path(target);
    let prefix = (!path.as_ref().is_empty()).then_some(&path);
    let listed = store.list(prefix).filter_map(move |found| {
        let entry = match found {
            Ok(meta) => {
                let key = meta.location.as_ref();
                let below = key.strip_prefix(base).map(|key| key.trim_start_matches('/'));
                below.map(|key| Ok(Listed { key: key.to_owned(), size_bytes: meta.size }))
            }
            // A folder that nothing was ever put into.
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => Some(Err(list_error(target, folder, error))),
        };
        std::future::ready(entry)
    });
    Ok(listed.boxed())
}

/// The last `bytes` bytes of an object, all of them when it has fewer.
///
/// # Errors
/// When the store does not give them; one that has gone since it was listed is `None`.
pub async fn end_of(
    stores: &Stores,
    target: &Target,
    object: &Listed,
    bytes: u64,
) -> Result<Option<Bytes>, ListError> {
    let first = object.size_bytes.saturating_sub(bytes);
    let range = GetRange::Bounded(first..object.size_bytes);
    let read = async |store: &dyn ObjectStore, path: &Path| {
        let options = GetOptions::new().with_range(Some(range.clone()));
        store.get_opts(path, options).await?.bytes().await
    };
    patiently(stores, target, &object.key, read).await
}

/// The rows that a put noted beside an object; `None` where the store keeps no such note.
///
/// # Errors
/// When the store does not answer.
pub async fn noted_rows(
    stores: &Stores,
    target: &Target,
    object: &Listed,
) -> Result<Option<u64>, ListError> {
    if stores::is_folder(target) {
        return Ok(None);
    }
    let read = async |store: &dyn ObjectStore, path: &Path| {
        let found = store.get_opts(path, GetOptions::new().with_head(true)).await?;
        let rows = found.attributes.get(&Attribute::Metadata(ROWS_METADATA.into()));
        Ok(rows.and_then(|rows| rows.as_ref().parse().ok()))
    };
    Ok(patiently(stores, target, &object.key, read).await?.flatten())
}

/// Gives each line of an object to `line`, without its line feed; no more than one of at most
/// `bytes_max` bytes is held, and what is longer is cut. Tells how many lines there were, and `None`
/// when the object has gone since it was listed.
///
/// # Errors
/// When the store does not give it.
pub async fn lines(
    stores: &Stores,
    target: &Target,
    object: &Listed,
    bytes_max: usize,
    line: &mut (dyn FnMut(&[u8]) + Send),
) -> Result<Option<u64>, ListError> {
    let read = async |store: &dyn ObjectStore, path: &Path| {
        Ok(store.get_opts(path, GetOptions::new()).await?.into_stream())
    };
    let Some(mut pieces) = patiently(stores, target, &object.key, read).await? else {
        return Ok(None);
    };
    let (mut count, mut held, mut is_open) = (0, Vec::new(), false);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| list_error(target, &object.key, error))?;
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (text, is_whole) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = bytes_max.saturating_sub(held.len()).min(text.len());
            held.extend_from_slice(&text[..room]);
            is_open = !is_whole;
            if is_whole {
                line(&held);
                count += 1;
                held.clear();
            }
        }
    }
    if is_open {
        line(&held);
        count += 1;
    }
    Ok(Some(count))
}

async fn patiently<T>(
    stores: &Stores,
    target: &Target,
    key: &str,
    read: impl AsyncFn(&dyn ObjectStore, &Path) -> object_store::Result<T>,
) -> Result<Option<T>, ListError> {
    let store = stores.get(target)?;
    let path = stores::object_path(target, key)?;
    let mut attempt = 1;
    loop {
        match read(store.as_ref(), &path).await {
            Ok(value) => return Ok(Some(value)),
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) if attempt == ATTEMPTS => return Err(list_error(target, key, error)),
            Err(_) => tokio::time::sleep(backoff::pause(attempt)).await,
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::TryStreamExt as _;
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt as _, PutPayload};

    use super::*;

    #[tokio::test]
    async fn objects_are_listed_by_their_keys_and_read_in_part() {
        let url = "s3://bucket/some/where";
        let target = Target { store: "lake".into(), url: url.into(), endpoint: None, region: None };
        let memory = Arc::new(InMemory::new());
        let stores = Stores::with_client(target.clone(), memory.clone());
        for (key, text) in [("a/x", "one\ntwo two\n\nend"), ("a/b/y", "y"), ("c/z", "")] {
            let path = Path::from(format!("some/where/{key}"));
            memory.put(&path, PutPayload::from(text)).await.expect("put");
        }
        let keys = async |folder: &str| -> Vec<String> {
            let listed = list(&stores, &target, folder).expect("a client");
            let mut keys: Vec<String> =
                listed.map_ok(|listed| listed.key).try_collect().await.expect("listed");
            keys.sort();
            keys
        };
        assert_eq!(keys("").await, ["a/b/y", "a/x", "c/z"]);
        assert_eq!(keys("a/").await, ["a/b/y", "a/x"]);
        assert_eq!(keys("nothing/").await, [""; 0]);
        let object = Listed { key: "a/x".into(), size_bytes: 16 };
        let end = end_of(&stores, &target, &object, 3).await.expect("read");
        assert_eq!(end.as_deref(), Some(&b"end"[..]));
        let mut seen = Vec::new();
        let mut take = |line: &[u8]| seen.push(line.to_vec());
        let count = lines(&stores, &target, &object, 5, &mut take).await;
        assert_eq!(count.expect("read"), Some(4));
        assert_eq!(seen, [&b"one"[..], b"two t", b"", b"end"]);
        let gone = Listed { key: "a/gone".into(), size_bytes: 3 };
        assert_eq!(end_of(&stores, &target, &gone, 3).await.expect("an answer"), None);
    }
}
