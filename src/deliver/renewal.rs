//! Credentials that are replaced while the program runs, such as those in the files of a secret store.
//!
//! Owns when they are read again. Where they stand is known to whoever made the [`Renewal`].

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::CredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::stores::Credentials;

/// Credentials are used this long before they are read again.
const TRUSTED: Duration = Duration::from_secs(5);

/// Reads an access key and its secret, as they are now.
#[derive(Clone)]
pub struct Renewal(Arc<Read>);

type Read = dyn Fn() -> Result<(String, String), String> + Send + Sync;

impl Renewal {
    /// What `read` gives; it may block for as long as reading a file takes, and says in words why it
    /// has nothing to give.
    #[must_use]
    pub fn new(
        read: impl Fn() -> Result<(String, String), String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").finish_non_exhaustive()
    }
}

/// Gives `credentials` to the client of a store, or those that have taken their place.
pub(super) fn provider(store: &str, credentials: &Credentials) -> AwsCredentialProvider {
    let current = credential(credentials.access_key.clone(), credentials.secret.clone());
    Arc::new(Provider {
        store: store.to_owned(),
        renewal: credentials.renewal.clone(),
        known: Mutex::new(Known {
            current,
            read_at: tokio::time::Instant::now(),
            is_unreadable: false,
        }),
    })
}

fn credential(key_id: String, secret_key: String) -> Arc<AwsCredential> {
    Arc::new(AwsCredential { key_id, secret_key, token: None })
}

#[derive(Debug)]
struct Provider {
    store: String,
    renewal: Option<Renewal>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    current: Arc<AwsCredential>,
    read_at: Instant,
    /// They could not be read the last time; it was said.
    is_unreadable: bool,
}

impl Provider {
    async fn give(&self) -> Arc<AwsCredential> {
        let renewal = {
            let mut known = self.known();
            match &self.renewal {
                Some(renewal) if known.read_at.elapsed() >= TRUSTED => {
                    // Others go on with the old ones meanwhile.
                    known.read_at = tokio::time::Instant::now();
                    renewal.clone()
                }
                _ => return known.current.clone(),
            }
        };
        let read = spawn_blocking(move || (renewal.0)()).await;
        let mut known = self.known();
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok((key_id, secret_key)) => {
                known.is_unreadable = false;
                let is_new =
                    known.current.key_id != key_id || known.current.secret_key != secret_key;
                if is_new {
                    tracing::info!(store = self.store, "the store has new credentials");
                    known.current = credential(key_id, secret_key);
                }
            }
            Err(reason) => {
                if !std::mem::replace(&mut known.is_unreadable, true) {
                    tracing::warn!(
                        store = self.store,
                        reason,
                        "could not read the store's credentials again"
                    );
                }
            }
        }
        known.current.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Given<'a> =
    Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'a>>;

impl CredentialProvider for Provider {
    type Credential = AwsCredential;

    fn get_credential<'life, 'given>(&'life self) -> Given<'given>
    where
        'life: 'given,
        Self: 'given,
    {
        Box::pin(async { Ok(self.give().await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn credentials_follow_their_source_and_outlast_its_absence() {
        let source = Arc::new(Mutex::new(Ok(("AK".to_owned(), "new".to_owned()))));
        let read = source.clone();
        let renewal = Renewal::new(move || read.lock().unwrap().clone());
        let credentials = Credentials {
            access_key: "AK".to_owned(),
            secret: "old".to_owned(),
            renewal: Some(renewal),
        };
        let provider = provider("lake", &credentials);
        let secret = async || provider.get_credential().await.expect("some").secret_key.clone();
        assert_eq!(secret().await, "old", "they were read just now");
        tokio::time::advance(TRUSTED).await;
        assert_eq!(secret().await, "new");
        *source.lock().unwrap() = Err("the file is empty".to_owned());
        tokio::time::advance(TRUSTED).await;
        assert_eq!(secret().await, "new");
        *source.lock().unwrap() = Ok(("AK".to_owned(), "newer".to_owned()));
        assert_eq!(secret().await, "new", "it is not read for each request");
        tokio::time::advance(TRUSTED).await;
        assert_eq!(secret().await, "newer");
    }
}
