//! Tells somebody outside by HTTP that a partition is complete.
//!
//! Owns the request and what counts as its success: any 2xx. Does not own what is told, nor when it is
//! tried again. A lost answer is not a refusal: the same body comes again with the same
//! `Idempotency-Key`, so it arrives at least once. Redirects are not followed and proxies not used.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderValue};

use crate::fault::beneath;

/// A server that is silent for so long gets the same again later.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_TO_CONNECT: Duration = Duration::from_secs(10);
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// Why nobody was told; it can be tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not tell the webhook at {url}: {reason}")]
pub struct AnnounceError {
    /// Where it was to be told, without what may be secret.
    pub url: String,
    /// What the other side, or the way there, said.
    pub reason: String,
}

/// Somebody who is told of complete partitions.
pub trait Announce: fmt::Debug + Send + Sync {
    /// Tells them `body`. The same `key` comes with the same body, whenever it is told again.
    fn announce<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<(), AnnounceError>>;
}

/// A webhook.
pub struct Webhook {
    /// What stands behind the host may be a secret.
    url: String,
    client: Client,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("url", &self.shown_url()).finish_non_exhaustive()
    }
}

impl Webhook {
    /// A webhook that is not spoken to before there is something to tell.
    ///
    /// # Errors
    /// In words, when there is no HTTP client.
    pub fn new(url: &str) -> Result<Self, String> {
        let client = Client::builder()
            .connect_timeout(PATIENCE_TO_CONNECT)
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        let client = client.map_err(|error| format!("no HTTP client: {}", beneath(&error)))?;
        Ok(Self { url: url.to_owned(), client })
    }

    /// The scheme and the host alone: paths of webhooks are often all the secret they have.
    fn shown_url(&self) -> &str {
        let host_start = self.url.find("://").map_or(0, |scheme_end| scheme_end + 3);
        let host_length = self.url[host_start..].find(['/', '?']);
        &self.url[..host_length.map_or(self.url.len(), |length| host_start + length)]
    }

    async fn post(&self, key: &str, body: Bytes) -> Result<(), String> {
        let request = self.client.post(&self.url).body(body);
        let request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = request.header(IDEMPOTENCY_KEY, key).send().await;
        let status = answer.map_err(|error| beneath(&error))?.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
    }
}

impl Announce for Webhook {
    fn announce<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<(), AnnounceError>> {
        Box::pin(async move {
            let posted = self.post(key, body).await;
            posted.map_err(|reason| AnnounceError { url: self.shown_url().to_owned(), reason })
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with `answer`; gives the request.
    async fn serve(listener: &TcpListener, answer: &str) -> String {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"{\"a\":1}") {
            let mut buffer = [0; 1024];
            let count = connection.read(&mut buffer).await.expect("read");
            assert!(count > 0, "it ended early");
            request.extend_from_slice(&buffer[..count]);
        }
        connection.write_all(answer.as_bytes()).await.expect("written");
        String::from_utf8(request).expect("text")
    }

    #[tokio::test]
    async fn any_2xx_is_a_success_and_nothing_else_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let webhook = Webhook::new(&format!("http://{address}/secret?x=secret")).expect("a client");
        for (answer, is_told) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", false),
            ("", false),
        ] {
            let told = webhook.announce("key-1", Bytes::from_static(b"{\"a\":1}"));
            let (told, request) = tokio::join!(told, serve(&listener, answer));
            assert_eq!(told.is_ok(), is_told, "{answer}: {told:?}");
            let request = request.to_ascii_lowercase();
            assert!(request.starts_with("post /secret?x=secret "), "{request}");
            assert!(request.contains("idempotency-key: key-1"), "{request}");
            assert!(request.contains("content-type: application/json"), "{request}");
            if let Err(error) = told {
                let text = format!("{error} {webhook:?}");
                assert!(text.contains(&address.to_string()) && !text.contains("secret"), "{text}");
            }
        }
    }
}
