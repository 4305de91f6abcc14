//! Which partition folders a store has.
//!
//! Owns the walk through the folders of a prefix, level by level, without looking at the objects in
//! them. Does not know tables or catalogs.

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;
use object_store::path::Path;

use super::stores::{self, StoreError, Stores};
use crate::partition::{Folder, Layout};
use crate::plan::Target;

/// Folders that are listed side by side.
const LISTINGS_IN_FLIGHT_MAX: usize = 16;

/// Why the folders are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The store cannot be reached by its settings.
    #[error(transparent)]
    Unusable(#[from] StoreError),
    /// The store answered with an error, or not at all.
    #[error("could not list {folder} in {url}: {error}")]
    Store {
        /// The folder.
        folder: String,
        /// The store's URL.
        url: String,
        /// What the store said.
        error: object_store::Error,
    },
}

/// The folders of `layout` below the target's URL that hold at least one object; each ends with a
/// slash, and is escaped as keys are.
///
/// # Errors
/// When the store cannot be listed.
pub async fn folders(
    stores: &Stores,
    target: &Target,
    layout: &Layout,
) -> Result<Vec<String>, ListError> {
    let store = stores.get(target)?;
    let mut found = vec![String::new()];
    for level in &layout.folders {
        if let Some(fixed) = level.fixed() {
            found.iter_mut().for_each(|folder| *folder += &format!("{fixed}/"));
            continue;
        }
        let walks = found.iter().map(|folder| below(store.as_ref(), target, folder, level));
        let walks: Vec<BoxFuture<'_, _>> = walks.map(|walk| walk.boxed()).collect();
        let walks = futures::stream::iter(walks).buffered(LISTINGS_IN_FLIGHT_MAX);
        found = walks.try_concat().await?;
    }
    // Folders at the end of fixed names may not be there, and those of a disk may be empty.
    let checks = found.iter().map(|folder| holds_objects(store.as_ref(), target, folder));
    let checks: Vec<BoxFuture<'_, _>> = checks.map(|check| check.boxed()).collect();
    let checks = futures::stream::iter(checks).buffered(LISTINGS_IN_FLIGHT_MAX);
    let holds: Vec<bool> = checks.try_collect().await?;
    let found = found.into_iter().zip(holds).filter(|(_, holds)| *holds);
    Ok(found.map(|(folder, _)| folder).collect())
}

async fn below(
    store: &dyn ObjectStore,
    target: &Target,
    folder: &str,
    level: &Folder,
) -> Result<Vec<String>, ListError> {
    let path = path(target, folder)?;
    let listed = match store.list_with_delimiter(Some(&path)).await {
        Ok(listed) => listed.common_prefixes,
        Err(object_store::Error::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(list_error(target, folder, error)),
    };
    let names = listed.iter().filter_map(|prefix| prefix.as_ref().rsplit('/').next());
    let names = names.filter(|name| level.admits(name));
    Ok(names.map(|name| format!("{folder}{name}/")).collect())
}

async fn holds_objects(
    store: &dyn ObjectStore,
    target: &Target,
    folder: &str,
) -> Result<bool, ListError> {
    let path = path(target, folder)?;
    match store.list(Some(&path)).next().await {
        None | Some(Err(object_store::Error::NotFound { .. })) => Ok(false),
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) => Err(list_error(target, folder, error)),
    }
}

fn path(target: &Target, folder: &str) -> Result<Path, ListError> {
    Ok(stores::object_path(target, folder.trim_end_matches('/'))?)
}

pub(super) fn list_error(target: &Target, folder: &str, error: object_store::Error) -> ListError {
    ListError::Store { folder: folder.to_owned(), url: target.url.clone(), error }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt as _, PutPayload};

    use super::*;
    use crate::deliver::Accesses;
    use crate::partition::{Place, Template};

    #[tokio::test]
    async fn folders_with_objects_are_found_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = format!("file://{}", folder.path().display());
        let layout = "clicks/t=!{lakehose:tenant}/!{timestamp:HH}/kind=fixed/";
        let layout = Layout::of(&Template::parse(layout, Place::Prefix).expect("a prefix"));
        for url in ["s3://bucket/some/where", file.as_str()] {
            let target =
                Target { store: "lake".into(), url: url.into(), endpoint: None, region: None };
            let stores = match url {
                "s3://bucket/some/where" => {
                    Stores::with_client(target.clone(), Arc::new(InMemory::new()))
                }
                _ => Stores::new(Accesses::default()),
            };
            let store = stores.get(&target).expect("a client");
            assert_eq!(folders(&stores, &target, &layout).await.expect("listed"), [""; 0]);
            for key in [
                "clicks/t=a/07/kind=fixed/x",
                "clicks/t=a%2Fb/08/kind=fixed/deep/x",
                "clicks/t=a/09/kind=other/x",
                "clicks/u=a/07/kind=fixed/x",
                "clicks/t=c/x",
                "others/t=a/07/kind=fixed/x",
            ] {
                let path = stores::object_path(&target, key).expect(key);
                store.put(&path, PutPayload::from_static(b"x")).await.expect(key);
            }
            let found = folders(&stores, &target, &layout).await.expect("listed");
            let expected = ["clicks/t=a/07/kind=fixed/", "clicks/t=a%2Fb/08/kind=fixed/"];
            assert_eq!(
                found.iter().collect::<std::collections::BTreeSet<_>>(),
                expected.map(str::to_owned).iter().collect(),
                "{url}"
            );
        }
    }
}
