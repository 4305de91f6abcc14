//! How stores are reached: by where they are, not by what they are called.
//!
//! Owns which access a target is reached by. A plan names its store as it was when it was made; the
//! configuration may have moved the name elsewhere since, or given the same place new credentials.
//! Does not own where credentials come from.

use std::fmt;
use std::sync::Arc;

use super::stores::Credentials;
use crate::plan::Target;

/// Tells the credentials of a store at the moment when they are needed: none where the usual AWS
/// chain is asked, and in words why they are not to be had.
type Give = dyn Fn() -> Result<Option<Credentials>, String> + Send + Sync;

/// How one store is reached.
#[derive(Clone)]
pub struct Access {
    /// What the store is called.
    store: String,
    url: String,
    /// Its bucket or folder.
    place: String,
    endpoint: Option<String>,
    region: Option<String>,
    give: Arc<Give>,
}

/// How all stores are reached.
#[derive(Clone, Debug, Default)]
pub struct Accesses {
    /// Those of the configuration.
    pub current: Vec<Access>,
    /// Those that open plans may need besides.
    pub kept: Vec<Access>,
}

impl Access {
    /// The access to the store of `target`.
    #[must_use]
    pub fn new(
        target: &Target,
        give: impl Fn() -> Result<Option<Credentials>, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            store: target.store.clone(),
            url: target.url.clone(),
            place: place(target).to_owned(),
            endpoint: target.endpoint.clone(),
            region: target.region.clone(),
            give: Arc::new(give),
        }
    }

    /// The same with credentials that are known; none for the usual AWS chain.
    #[must_use]
    pub fn with(target: &Target, credentials: Option<Credentials>) -> Self {
        Self::new(target, move || Ok(credentials.clone()))
    }

    fn credentials(&self) -> Result<Option<Credentials>, String> {
        (self.give)()
    }

    pub(super) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    fn is_to(&self, target: &Target) -> bool {
        self.place == place(target) && self.endpoint == target.endpoint
    }
}

impl Accesses {
    /// The access to where `target` is, with its credentials. Credentials may be for one folder of a
    /// bucket only, so those that were written for the whole URL go before others of the bucket;
    /// then what the configuration has goes before what was kept, and of several the one with the
    /// target's own name. One whose secret is not to be had is passed over.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(super) fn of(&self, target: &Target) -> Result<(&Access, Option<Credentials>), String> {
        let current = self.current.iter().map(|access| (true, access));
        let kept = self.kept.iter().map(|access| (false, access));
        let mut there: Vec<_> =
            current.chain(kept).filter(|(_, access)| access.is_to(target)).collect();
        there.sort_by_key(|(is_current, access)| {
            (access.url != target.url, !is_current, access.store != target.store)
        });
        let mut missing = None;
        for (_, access) in there {
            match access.credentials() {
                Ok(credentials) => return Ok((access, credentials)),
                // That of the first is the one that somebody expects to be used.
                Err(reason) => missing = missing.or(Some(reason)),
            }
        }
        Err(missing.unwrap_or_else(|| {
            "no store of the configuration is there any more, and no earlier definition says how \
             it was reached: put the store back"
                .to_owned()
        }))
    }
}

/// The URL without the folder in a bucket: credentials are for the whole of it.
fn place(target: &Target) -> &str {
    let Some(rest) = target.url.strip_prefix("s3://") else {
        return &target.url;
    };
    let bucket = rest.split('/').next().unwrap_or_default();
    &target.url[..target.url.len() - rest.len() + bucket.len()]
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store, url, endpoint, region, .. } = self;
        let mut shown = f.debug_struct("Access");
        shown.field("store", store).field("url", url).field("endpoint", endpoint);
        shown.field("region", region).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(store: &str, url: &str, endpoint: Option<&str>) -> Target {
        let endpoint = endpoint.map(str::to_owned);
        Target { store: store.into(), url: url.into(), endpoint, region: None }
    }

    fn access(store: &str, url: &str, endpoint: Option<&str>, key: &str) -> Access {
        let credentials =
            Credentials { access_key: key.into(), secret: String::new(), renewal: None };
        Access::with(&target(store, url, endpoint), Some(credentials))
    }

    fn key_of(accesses: &Accesses, target: &Target) -> Option<String> {
        let (_, credentials) = accesses.of(target).ok()?;
        credentials.map(|credentials| credentials.access_key)
    }

    #[test]
    fn a_store_is_reached_by_where_it_is() {
        let accesses = Accesses {
            current: vec![
                access("lake", "s3://new", Some("http://a"), "new"),
                access("tidy", "s3://shared/one", None, "one"),
                access("wild", "s3://shared/two", None, "two"),
            ],
            kept: vec![
                access("lake", "s3://old", Some("http://a"), "old"),
                access("wild", "s3://shared", None, "outdated"),
            ],
        };
        for (store, url, endpoint, key) in [
            ("lake", "s3://new/below", Some("http://a"), Some("new")),
            // The name has moved; the plan has not.
            ("lake", "s3://old/below/it", Some("http://a"), Some("old")),
            ("lake", "s3://old", Some("http://b"), None),
            ("lake", "s3://older", Some("http://a"), None),
            // The store is called otherwise now.
            ("former", "s3://new", Some("http://a"), Some("new")),
            // Whoever has the whole URL, since the keys of others may be for another folder.
            ("wild", "s3://shared/one", None, Some("one")),
            ("tidy", "s3://shared", None, Some("outdated")),
            ("wild", "s3://shared/three", None, Some("two")),
        ] {
            let found = key_of(&accesses, &target(store, url, endpoint));
            assert_eq!(found.as_deref(), key, "{store} {url} {endpoint:?}");
        }
    }

    #[test]
    fn an_access_without_its_secret_is_passed_over_and_told_when_there_is_no_other() {
        let gone = target("gone", "s3://shared/gone", None);
        let lost = Access::new(&gone, || Err("its secret is gone".to_owned()));
        let narrow = access("narrow", "s3://shared/narrow", None, "narrow");
        let alone = Accesses { current: Vec::new(), kept: vec![lost.clone()] };
        assert_eq!(alone.of(&gone).err().as_deref(), Some("its secret is gone"));
        let both = Accesses { current: vec![narrow], kept: vec![lost] };
        assert_eq!(key_of(&both, &gone).as_deref(), Some("narrow"));
    }
}
