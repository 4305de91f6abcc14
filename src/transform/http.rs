//! Hooks behind HTTP: one POST for each invocation, by Lambda's contract.
//!
//! Owns the request, the bound on its answer, and which outcomes mean that the hook is away rather
//! than wrong. Does not own the form of either body (`contract`) nor attempts (`invocations`).
//!
//! A hook is away when it cannot be reached or says so: no connection, 429 and 503. A connection that
//! ends before the head of the answer, 502 and 504 may mean that, or that a record brings the hook
//! down, which `invocations` finds out. Everything else that is no 200 with a body is a failed
//! attempt, a silence beyond the timeout too. Redirects are not followed and proxies not used: the
//! URL is the hook.

use std::sync::atomic::AtomicU64;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode};

use super::contract::PAYLOAD_BYTES_MAX;
use super::invocations::{HookName, Invocations, Origin, Patience, Trouble};
use super::{Item, Transform, Unavailable, Verdict, short};
use crate::buffer::Hints;
use crate::fault::{Action, beneath};

/// How much of a refusal's body goes to the log.
const REFUSAL_BYTES_MAX: usize = 2 << 10;

/// What an HTTP hook is made from.
#[derive(Clone)]
pub struct HttpSettings {
    /// Where events are posted to; what stands behind a `?` may be a secret.
    pub url: String,
    /// Sent with each event; the values may be secrets.
    pub headers: Vec<(String, String)>,
    /// How long and how often it is tried.
    pub patience: Patience,
    /// What it would like to be given at once.
    pub hints: Hints,
}

impl std::fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSettings").field("url", &self.shown_url()).finish_non_exhaustive()
    }
}

impl HttpSettings {
    /// The URL without its query.
    fn shown_url(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }
}

/// A hook behind HTTP.
#[derive(Debug)]
pub struct Http {
    name: HookName,
    origin: Origin,
    settings: HttpSettings,
    client: Client,
    answers: AtomicU64,
}

/// Whether a header can be sent.
#[must_use]
pub fn is_header(name: &str, value: &str) -> bool {
    HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
}

impl Http {
    /// A hook that is not spoken to before the first batch.
    ///
    /// # Errors
    /// In words, when the settings make no client.
    pub fn new(name: HookName, origin: Origin, settings: HttpSettings) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &settings.headers {
            let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (header, mut value) =
                header.ok_or_else(|| format!("header {name} cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        let client = Client::builder()
            .default_headers(headers)
            .connect_timeout(settings.patience.to_connect())
            .timeout(settings.patience.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        let client = client.map_err(|error| format!("no HTTP client: {}", beneath(&error)))?;
        Ok(Self { name, origin, settings, client, answers: AtomicU64::new(0) })
    }

    async fn send(&self, event: Bytes) -> Result<Bytes, Trouble> {
        let answer = self.client.post(&self.settings.url).body(event).send().await;
        let answer = answer.map_err(|error| self.unanswered(&error))?;
        let status = answer.status();
        if status == StatusCode::OK {
            return bounded(answer, PAYLOAD_BYTES_MAX).await;
        }
        // Only for the log, so what is cut off or does not come is not missed.
        let body = bounded(answer, REFUSAL_BYTES_MAX).await.unwrap_or_default();
        let said = format!("it answered {status}: {}", short(&String::from_utf8_lossy(&body)));
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Trouble::Away(self.away(&said))
            }
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                Trouble::Broken(self.away(&said))
            }
            _ => Trouble::Failed(said),
        })
    }

    fn unanswered(&self, error: &reqwest::Error) -> Trouble {
        if error.is_connect() {
            return Trouble::Away(self.away(&beneath(error)));
        }
        if error.is_timeout() {
            let seconds = self.settings.patience.timeout.as_secs_f64();
            return Trouble::Failed(format!("there was no answer within {seconds} s"));
        }
        Trouble::Broken(self.away(&beneath(error)))
    }

    fn away(&self, why: &str) -> Unavailable {
        let reason = format!("the hook at {} is away: {why}", self.settings.shown_url());
        Unavailable { reason, action: Action::Retry }
    }
}

/// Reads a body of at most so many bytes.
async fn bounded(mut answer: Response, bytes_max: usize) -> Result<Bytes, Trouble> {
    let mut body = BytesMut::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > bytes_max => {
                let why = format!("the answer has more than {bytes_max} bytes");
                return Err(Trouble::Failed(why));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(error) => {
                return Err(Trouble::Failed(format!("the answer broke off: {}", beneath(&error))));
            }
        }
    }
}

impl Transform for Http {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        let invocations = Invocations {
            name: &self.name,
            origin: &self.origin,
            retries: self.settings.patience.retries,
            lambda_arn: None,
            answers: &self.answers,
        };
        Box::pin(async move { invocations.ask(items, |event| self.send(event)).await })
    }

    fn hints(&self) -> Option<Hints> {
        Some(self.settings.hints)
    }
}
