//! The HTTP side of a call: which messages are read, and how far.
//!
//! Owns the limits on bodies: 12 MiB, 30 seconds, 256 MiB for all of them together. A body that is announced too long is refused
//! before a byte of it is read. Does not look into the body.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// 4 MiB of data are 5.6 MiB of base64; the rest is room for JSON, spaces and escapes.
pub(super) const BODY_BYTES_MAX: usize = 12 * 1024 * 1024;
/// What all bodies may take together.
const BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Their memory is counted in pieces of this size.
const PLACE_BYTES: usize = 4 * 1024;
/// The longest time that a body may take to arrive.
pub(super) const BODY_TIME_MAX: Duration = Duration::from_secs(30);

/// Why a message is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// A query string; nothing of the API is there, and credentials in it are not accepted.
    #[error("A query string is not accepted: credentials go into the Authorization header.")]
    Query,
    /// Something other than chunks.
    #[error("The only Transfer-Encoding that is accepted is 'chunked'.")]
    TransferEncoding,
    /// Something compressed.
    #[error("The only Content-Encoding that is accepted is 'identity'.")]
    ContentEncoding,
    /// Longer than [`BODY_BYTES_MAX`].
    #[error("The request body is longer than 12 MiB.")]
    TooLarge,
    /// Other bodies take all the memory there is for them.
    #[error("Slow down.")]
    NoRoom,
    /// Not complete within [`BODY_TIME_MAX`].
    #[error("The request body was not complete within 30 seconds.")]
    TooSlow,
    /// The client went away, or its chunks are no chunks.
    #[error("The request body ended early or is not framed correctly.")]
    Broken,
}

/// The memory that all bodies may take together, from their head to the answer. It is taken before
/// anybody is known, so it must not grow with the number of connections.
#[derive(Debug)]
pub struct Bodies {
    places: Arc<Semaphore>,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(BODIES_BYTES_MAX / PLACE_BYTES)) }
    }
}

impl Bodies {
    /// Takes the room for a body of the announced length, or of the longest that is read.
    pub(super) fn place(&self, parts: &Parts) -> Result<OwnedSemaphorePermit, BodyError> {
        let length = announced_length(&parts.headers).unwrap_or(BODY_BYTES_MAX as u64);
        let places = length.min(BODY_BYTES_MAX as u64).div_ceil(PLACE_BYTES as u64) as u32;
        let places = self.places.clone().try_acquire_many_owned(places);
        places.map_err(|_| BodyError::NoRoom)
    }
}

/// Checks what is known before the body is read.
pub(super) fn check_head(parts: &Parts) -> Result<(), BodyError> {
    if parts.uri.query().is_some() {
        return Err(BodyError::Query);
    }
    // hyper takes any list that ends in 'chunked' and does not undo the rest of it.
    if !each_is(&parts.headers, TRANSFER_ENCODING, "chunked") {
        return Err(BodyError::TransferEncoding);
    }
    if announced_length(&parts.headers).is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(BodyError::TooLarge);
    }
    Ok(())
}

/// Refuses a body that is compressed, where none is understood.
pub(super) fn check_plain(parts: &Parts) -> Result<(), BodyError> {
    if each_is(&parts.headers, CONTENT_ENCODING, "identity") {
        Ok(())
    } else {
        Err(BodyError::ContentEncoding)
    }
}

/// Takes the room for `bytes` more of the same body.
pub(super) fn enlarge(place: &mut OwnedSemaphorePermit, bytes: usize) -> Result<(), BodyError> {
    let places = bytes.div_ceil(PLACE_BYTES) as u32;
    let more = place.semaphore().clone().try_acquire_many_owned(places);
    place.merge(more.map_err(|_| BodyError::NoRoom)?);
    Ok(())
}

/// Reads a body to its end, which must come within `time_max`.
pub(super) async fn read(body: Body, time_max: Duration) -> Result<Bytes, BodyError> {
    let whole = Limited::new(body, BODY_BYTES_MAX).collect();
    match timeout(time_max, whole).await {
        Err(_) => Err(BodyError::TooSlow),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
    }
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn each_is(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values.all(|value| value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
}
