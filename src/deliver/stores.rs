//! Object stores by their targets.
//!
//! Owns how a [`Target`] and its credentials become a client, and how a key becomes a path in it.

use std::collections::{HashMap, HashSet};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::accesses::Accesses;
use super::renewal::{self, Renewal};
use crate::disk::create_shared_dir_all;
use crate::plan::Target;

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// An access key and its secret.
#[derive(Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key: String,
    /// The secret access key.
    pub secret: String,
    /// Where to ask for those that have taken their place.
    pub renewal: Option<Renewal>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// Why a store cannot be used as it is set.
#[derive(Debug, thiserror::Error)]
#[error("could not use store '{store}' at {url}: {reason}")]
pub struct StoreError {
    store: String,
    url: String,
    reason: String,
}

/// The stores of the configuration, and clients for those in use.
#[derive(Debug)]
pub struct Stores {
    known: Mutex<Known>,
    /// S3 servers that do not understand a put on a condition.
    unconditional: Mutex<HashSet<Target>>,
}

#[derive(Debug, Default)]
struct Known {
    accesses: Accesses,
    clients: HashMap<Target, Arc<dyn ObjectStore>>,
}

impl Stores {
    /// Stores that are reached by `accesses`; folders need none.
    #[must_use]
    pub fn new(accesses: Accesses) -> Self {
        let known = Mutex::new(Known { accesses, clients: HashMap::new() });
        Self { known, unconditional: Mutex::default() }
    }

    /// From now on these accesses, for old targets too; clients are made anew at their next use.
    pub fn change(&self, accesses: Accesses) {
        *self.known() = Known { accesses, clients: HashMap::new() };
    }

    /// The client for `target`, made at its first use.
    ///
    /// # Errors
    /// When the target's settings make no client.
    pub fn get(&self, target: &Target) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let mut known = self.known();
        if let Some(client) = known.clients.get(target) {
            return Ok(client.clone());
        }
        let client = known.build(target).map_err(|reason| refuse(target, reason))?;
        known.clients.insert(target.clone(), client.clone());
        Ok(client)
    }

    /// Whether a put to the store can say that there must be no object under the key. A folder could
    /// only do it by hard links, which not every file system has.
    pub(super) fn is_conditional(&self, target: &Target) -> bool {
        !is_folder(target) && !self.unconditional().contains(target)
    }

    /// The store has said that it does not understand a condition; until the next start it is not
    /// asked for one.
    pub(super) fn note_unconditional(&self, target: &Target) {
        if self.is_conditional(target) {
            tracing::warn!(
                store = target.store,
                "the store knows no If-None-Match; keys are looked at before each put instead"
            );
            self.unconditional().insert(target.clone());
        }
    }

    fn unconditional(&self) -> MutexGuard<'_, HashSet<Target>> {
        self.unconditional.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn build(&self, target: &Target) -> Result<Arc<dyn ObjectStore>, String> {
        if let Some(path) = file_path(target) {
            create_shared_dir_all(FilePath::new(path)).map_err(|error| error.to_string())?;
            return Ok(Arc::new(LocalFileSystem::new().with_fsync(true)));
        }
        let (bucket, _) = bucket_and_path(target).ok_or("the URL is neither s3:// nor file:///")?;
        let (access, credentials) = self.accesses.of(target)?;
        let mut builder = match credentials {
            Some(credentials) => AmazonS3Builder::new()
                .with_credentials(renewal::provider(&target.store, &credentials)),
            // Environment, web identity, container, instance.
            None => AmazonS3Builder::from_env(),
        };
        builder = builder.with_bucket_name(bucket);
        if let Some(region) = access.region().or(target.region.as_deref()) {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &target.endpoint {
            builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
        }
        let plain = target.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        let options = ClientOptions::new()
            .with_allow_http(plain)
            .with_connect_timeout(CONNECT_PATIENCE)
            // Each attempt has its own deadline, by the size of the object.
            .with_timeout_disabled();
        // Attempts are repeated in one place only: `deliver`.
        let no_retries = RetryConfig {
            max_retries: 0,
            retry_timeout: Duration::ZERO,
            backoff: BackoffConfig::default(),
        };
        let builder = builder.with_client_options(options).with_retry(no_retries);
        let store = builder.build().map_err(|error| error.to_string())?;
        Ok(Arc::new(store))
    }
}

impl Stores {
    /// Stores of which `target` is served by `client`, and others by what their URL says.
    #[must_use]
    pub fn with_client(target: Target, client: Arc<dyn ObjectStore>) -> Self {
        let clients = HashMap::from([(target, client)]);
        let known = Mutex::new(Known { accesses: Accesses::default(), clients });
        Self { known, unconditional: Mutex::default() }
    }
}

/// Whether the target is a folder: it keeps no metadata with an object.
pub(super) fn is_folder(target: &Target) -> bool {
    file_path(target).is_some()
}

/// The HTTP status that a store answered with; `None` when it did not answer. The client tells it in
/// its texts only.
pub(super) fn status(error: &object_store::Error) -> Option<u16> {
    use object_store::Error::{
        AlreadyExists, NotFound, NotImplemented, PermissionDenied, Precondition, Unauthenticated,
    };
    match error {
        NotFound { .. } => Some(404),
        PermissionDenied { .. } => Some(403),
        Unauthenticated { .. } => Some(401),
        Precondition { .. } | AlreadyExists { .. } => Some(412),
        NotImplemented { .. } => Some(501),
        _ => {
            let text = error.to_string();
            let (_, after) = text.split_once("status code: ")?;
            after.get(..3)?.parse().ok()
        }
    }
}

/// Whether the store does not understand what was asked of it.
pub(super) fn is_not_implemented(error: &object_store::Error) -> bool {
    status(error) == Some(501)
}

/// The path of `key` in the client of `target`. The key is escaped already and is taken as it is.
pub(super) fn object_path(target: &Target, key: &str) -> Result<Path, StoreError> {
    let joined = format!("{}/{key}", base_path(target));
    Path::parse(joined.trim_start_matches('/')).map_err(|error| refuse(target, error.to_string()))
}

/// The file that holds `key` where the target is a folder.
pub(super) fn file_of(target: &Target, key: &str) -> Option<PathBuf> {
    file_path(target)?;
    let path = object_path(target, key).ok()?;
    Some(FilePath::new("/").join(path.as_ref()))
}

/// What the paths of the target's objects begin with, in its client; may be empty.
pub(super) fn base_path(target: &Target) -> &str {
    let base = match file_path(target) {
        Some(path) => path,
        None => bucket_and_path(target).map_or("", |(_, path)| path),
    };
    base.trim_matches('/')
}

fn file_path(target: &Target) -> Option<&str> {
    target.url.strip_prefix("file://").filter(|path| path.starts_with('/'))
}

fn bucket_and_path(target: &Target) -> Option<(&str, &str)> {
    let rest = target.url.strip_prefix("s3://")?;
    let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
    (!bucket.is_empty()).then_some((bucket, path))
}

fn refuse(target: &Target, reason: impl Into<String>) -> StoreError {
    StoreError { store: target.store.clone(), url: target.url.clone(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target { store: "lake".into(), url: url.into(), endpoint: None, region: None }
    }

    #[test]
    fn escaped_keys_are_not_escaped_again() {
        for (url, path) in [
            ("s3://bucket", "a/b=c%2Fd/x"),
            ("s3://bucket/sub/folder", "sub/folder/a/b=c%2Fd/x"),
            ("file:///tmp/lake", "tmp/lake/a/b=c%2Fd/x"),
        ] {
            let found = object_path(&target(url), "a/b=c%2Fd/x").expect(url);
            assert_eq!(found.as_ref(), path);
        }
    }

    #[test]
    fn keys_cannot_climb_out() {
        assert!(object_path(&target("s3://bucket/a"), "../b").is_err());
        assert!(object_path(&target("s3://bucket/a"), "x//y").is_err());
    }

    #[test]
    fn secrets_are_not_printed() {
        let credentials =
            Credentials { access_key: "AK".into(), secret: "hidden".into(), renewal: None };
        assert!(!format!("{credentials:?}").contains("hidden"));
    }
}
