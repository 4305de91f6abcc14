//! How the stores of a configuration and of earlier definitions are reached.
//!
//! Owns which credentials an access gives: those of the configuration as they were read, renewed from
//! their files; those of a definition as they are at the moment when somebody needs them, so that a
//! secret that is gone is told by whoever cannot do without.

use crate::config::{self, Config, KeptStore, SystemEnvironment};
use crate::deliver::{Access, Accesses, Credentials, Renewal};

/// The accesses of a configuration, and of stores that it may have no more.
pub(super) fn of<'a>(config: &Config, kept: impl IntoIterator<Item = &'a KeptStore>) -> Accesses {
    let current = config.stores.iter();
    let current =
        current.map(|(name, store)| Access::with(&store.target(name), credentials(store)));
    Accesses { current: current.collect(), kept: kept.into_iter().filter_map(access).collect() }
}

fn access(store: &KeptStore) -> Option<Access> {
    let (target, store) = (store.target()?, store.clone());
    Some(Access::new(&target, move || Ok(credentials(&store.read(&SystemEnvironment)?))))
}

/// None where the usual AWS chain is asked.
fn credentials(store: &config::Store) -> Option<Credentials> {
    store.credentials.as_ref().map(keys)
}

/// What requests to a store are signed with; what stands in files is read there again.
fn keys(credentials: &config::Credentials) -> Credentials {
    let kept = credentials.clone();
    let renew = move || {
        let renewed = kept.read_again(&SystemEnvironment)?;
        Ok((renewed.access_key, renewed.secret.expose().to_owned()))
    };
    Credentials {
        access_key: credentials.access_key.clone(),
        secret: credentials.secret.expose().to_owned(),
        renewal: credentials.may_change().then(|| Renewal::new(renew)),
    }
}
