//! The command line's own HTTP clients: of the admin listener, and of the producer API.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use crate::pipeline::{Status, StreamBooks};
use crate::record::{StreamName, UnixMillis};

/// A reload asks the catalogs, which may be slow.
const RELOAD_PATIENCE: Duration = Duration::from_secs(120);
/// Books may be long.
const BOOKS_PATIENCE: Duration = Duration::from_secs(120);
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// The admin listener of a running service.
#[derive(Debug)]
pub(super) struct Admin {
    url: String,
    http: reqwest::Client,
}

/// The status of all streams.
#[derive(Debug)]
pub(super) struct StatusAnswer {
    pub(super) text: String,
    pub(super) streams: BTreeMap<String, Status>,
    /// Streams that the configuration has no more, each with what it waits for.
    pub(super) draining: BTreeMap<String, Option<String>>,
    /// Why the last reload of the configuration changed nothing.
    pub(super) last_refusal: Option<String>,
    pub(super) disk_budget: DiskBudget,
}

/// What all streams hold on disk together.
#[derive(Debug, Deserialize)]
pub(super) struct DiskBudget {
    pub(super) limit_bytes: u64,
    pub(super) used_bytes: u64,
    /// Streams that take no records before some of it is delivered.
    pub(super) refused_streams: Vec<String>,
}

impl Admin {
    pub(super) fn new(url: &str) -> Self {
        let scheme = if url.contains("://") { "" } else { "http://" };
        let url = format!("{scheme}{}", url.trim_end_matches('/'));
        Self { url, http: reqwest::Client::new() }
    }

    pub(super) async fn status(&self) -> Result<StatusAnswer, String> {
        #[derive(Deserialize)]
        struct Answer {
            streams: BTreeMap<String, Status>,
            draining: BTreeMap<String, Option<String>>,
            configuration: Configuration,
            disk_budget: DiskBudget,
        }
        #[derive(Deserialize)]
        struct Configuration {
            last_refusal: Option<String>,
        }
        let url = format!("{}/status", self.url);
        let answer = self.http.get(&url).timeout(Duration::from_secs(30)).send().await;
        if let Ok(answer) = &answer {
            check_admin(&url, answer)?;
        }
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let text = match answer {
            Ok(answer) => answer.text().await.map_err(|error| unreachable(&url, &error))?,
            Err(error) => return Err(unreachable(&url, &error)),
        };
        let parsed: Answer = serde_json::from_str(&text)
            .map_err(|error| format!("{url} is not the admin listener of a lakehose: {error}"))?;
        let Answer { streams, draining, configuration, disk_budget } = parsed;
        let last_refusal = configuration.last_refusal;
        Ok(StatusAnswer { text, streams, draining, last_refusal, disk_budget })
    }

    /// Has a stream deliver what it has buffered; tells what the service says of it.
    pub(super) async fn flush(&self, stream: &str, patience: Duration) -> Result<String, String> {
        let stream = StreamName::new(stream)
            .map_err(|rule| format!("'{stream}' is no delivery stream's name: {rule}"))?;
        let url = format!("{}/flush/{stream}", self.url);
        let answer = self.http.post(&url).timeout(patience).send().await;
        let answer = answer.map_err(|error| {
            if error.is_timeout() {
                format!(
                    "stream {stream} has not delivered everything within {} s; see what holds it \
                     up with: lakehose status --admin {}",
                    patience.as_secs(),
                    self.url
                )
            } else {
                unreachable(&url, &error)
            }
        })?;
        check_admin(&url, &answer)?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let text = text.trim_end();
        if status.is_success() {
            return Ok(text.to_owned());
        }
        Err(format!("could not flush stream {stream}: {text} ({status})"))
    }

    /// Has the configuration read again; the answer's text, and in the error every fault.
    pub(super) async fn reload(&self) -> Result<String, Refused> {
        let url = format!("{}/reload", self.url);
        let answer = self.http.post(&url).timeout(RELOAD_PATIENCE).send().await;
        let answer = answer.map_err(|error| Refused::unusual(unreachable(&url, &error)))?;
        check_admin(&url, &answer).map_err(Refused::unusual)?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| Refused::unusual(error.to_string()))?;
        let text = text.trim_end().to_owned();
        if status.is_success() {
            return Ok(text);
        }
        Err(Refused { text, is_configuration: status.is_client_error() })
    }

    /// The books of a stream; `None` when the service does not have it.
    pub(super) async fn books(&self, stream: &StreamName) -> Result<Option<StreamBooks>, String> {
        let url = format!("{}/books/{stream}", self.url);
        let answer = self.http.get(&url).timeout(BOOKS_PATIENCE).send().await;
        let answer = answer.map_err(|error| unreachable(&url, &error))?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.error_for_status().map_err(|error| unreachable(&url, &error))?;
        let books = answer.json().await;
        books.map(Some).map_err(|error| format!("{url} did not give the books: {error}"))
    }

    /// Asks whether the service takes records; the error says why not.
    pub(super) async fn ready(&self) -> Result<(), String> {
        let url = format!("{}/ready", self.url);
        let answer = self.http.get(&url).timeout(READY_PATIENCE).send().await;
        let answer = answer.map_err(|error| unreachable(&url, &error))?;
        check_admin(&url, &answer)?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(answer.text().await.map_or_else(|error| error.to_string(), |t| t.trim_end().to_owned()))
    }
}

/// Why a reload did not come about.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) text: String,
    /// Whether the configuration is at fault.
    pub(super) is_configuration: bool,
}

impl Refused {
    fn unusual(text: String) -> Self {
        Self { text, is_configuration: false }
    }
}

/// Every answer to a producer has one of these, and none to an operator.
const PRODUCER_HEADERS: [&str; 2] = ["x-amzn-requestid", "x-request-id"];

/// Refuses an answer of the other listener, whose words would make no sense here.
fn check_admin(url: &str, answer: &reqwest::Response) -> Result<(), String> {
    if PRODUCER_HEADERS.iter().any(|header| answer.headers().contains_key(*header)) {
        return Err(format!(
            "{url} is answered by the listener for producers (server.listen): name the admin \
             listener (server.admin) with --admin URL"
        ));
    }
    Ok(())
}

fn unreachable(url: &str, error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!(
        "could not reach {url}: {cause}; is the service running, and is this its admin listener \
         (server.admin)? Name another one with --admin URL"
    )
}

/// A producer with credentials of its own, as an SDK would be.
#[derive(Debug)]
pub(super) struct Producer {
    endpoint: String,
    credentials: Credentials,
    http: reqwest::Client,
}

impl Producer {
    pub(super) fn new(endpoint: String, access_key: &str, secret: &str) -> Self {
        let credentials = Credentials::new(access_key, secret, None, None, "lakehose");
        Self { endpoint, credentials, http: reqwest::Client::new() }
    }

    /// Sends one signed PutRecordBatch and tells how many records were given a RecordId.
    pub(super) async fn put_record_batch(
        &self,
        stream: &str,
        records: &[String],
        now: UnixMillis,
    ) -> Result<u64, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            failed_put_count: u64,
            request_responses: Vec<Entry>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Entry {
            record_id: Option<String>,
        }
        let data = |record: &String| serde_json::json!({"Data": BASE64.encode(record)});
        let records: Vec<_> = records.iter().map(data).collect();
        let body = serde_json::json!({"DeliveryStreamName": stream, "Records": records});
        let request = self.signed(body.to_string(), now)?;
        let answer = self.http.execute(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("PutRecordBatch was answered with {status}: {text}"));
        }
        let answer: Answer = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if answer.failed_put_count > 0 {
            return Err(format!("{} records were not accepted", answer.failed_put_count));
        }
        let given = answer.request_responses.iter().filter(|entry| entry.record_id.is_some());
        Ok(given.count() as u64)
    }

    fn signed(&self, body: String, now: UnixMillis) -> Result<reqwest::Request, String> {
        let host = self.endpoint.trim_start_matches("http://").to_owned();
        let headers = [
            ("host", host.as_str()),
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "Firehose_20150804.PutRecordBatch"),
        ];
        let url = format!("{}/", self.endpoint);
        let identity = self.credentials.clone().into();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(now.0.max(0).cast_unsigned());
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("firehose")
            .time(time)
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let signable = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new("POST", &url, headers.into_iter(), signable)
            .map_err(|error| error.to_string())?;
        let (instructions, _) =
            sign(signable, &parameters).map_err(|error| error.to_string())?.into_parts();
        let mut request = self.http.post(&url);
        for (name, value) in headers.into_iter().chain(instructions.headers()) {
            request = request.header(name, value);
        }
        request.body(body).build().map_err(|error| error.to_string())
    }
}
