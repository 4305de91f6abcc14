//! The HTTP side of a call: which messages are read, and how far.
//!
//! Owns the limits on bodies: 12 MiB, 30 seconds, 4 KiB a second, and what all of them may take together.
//! A body that is announced too long is refused before a byte of it is read. Memory is taken for what
//! has arrived, never for what is announced: an announcement costs its sender nothing. Does not look
//! into the body.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// 4 MiB of data are 5.6 MiB of base64; the rest is room for JSON, spaces and escapes.
pub(super) const BODY_BYTES_MAX: usize = 12 * 1024 * 1024;
/// Their memory is counted in pieces of this size.
const PLACE_BYTES: usize = 4 * 1024;
/// The longest time that a body may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(30);
/// So much of a body must arrive within [`PACE_TIME`], unless it ends: 4 KiB a second.
const PACE_BYTES: usize = 40 * 1024;
/// Longer than a network repeats a lost packet for.
const PACE_TIME: Duration = Duration::from_secs(10);
/// The first piece of memory that copies of short pieces get; each further one doubles it.
const FIRST_BYTES: usize = 16 * 1024;
/// Pieces of this length or longer are kept as they came: the connection reads up to four times as
/// much into one buffer.
const KEPT_PIECE_BYTES: usize = 8 * 1024;

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
    /// Not complete within [`BODY_TIME_MAX`], or slower than it must be.
    #[error(
        "The request body was not complete within 30 seconds, or came slower than 4 KiB a second."
    )]
    TooSlow,
    /// The client went away, or its chunks are no chunks.
    #[error("The request body ended early or is not framed correctly.")]
    Broken,
}

/// The memory that all bodies may take together, from their arrival to the answer.
#[derive(Debug)]
pub struct Bodies {
    places: Arc<Semaphore>,
}

impl Bodies {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let places = (bytes / PLACE_BYTES as u64).min(Semaphore::MAX_PERMITS as u64);
        Self { places: Arc::new(Semaphore::new(places as usize)) }
    }
}

/// A body that has arrived, and the room that it takes; the room is given back with it.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) bytes: Bytes,
    pub(super) place: OwnedSemaphorePermit,
}

impl Bodies {
    /// Reads a body to its end, and takes room as it arrives.
    pub(super) async fn read(&self, parts: &Parts, body: Body) -> Result<Arrived, BodyError> {
        let nothing = self.places.clone().try_acquire_many_owned(0);
        let mut place = nothing.map_err(|_| BodyError::NoRoom)?;
        let announced = announced_length(&parts.headers).unwrap_or(BODY_BYTES_MAX as u64);
        let announced = announced.min(BODY_BYTES_MAX as u64) as usize;
        let mut pieces = Pieces::default();
        arrive(body, |piece| pieces.add(piece, announced, &mut place)).await?;
        let bytes = pieces.join();
        resize(&mut place, bytes.len())?;
        Ok(Arrived { bytes, place })
    }
}

/// What has arrived of a body.
#[derive(Default)]
struct Pieces {
    /// In order, before the tail.
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// Copies of pieces that are not kept.
    tail: Vec<u8>,
    length: usize,
}

impl Pieces {
    /// Adds a piece, when there is room for it. A long one is kept as it is; a short one may hold on to
    /// a buffer of the connection that is far longer, and is copied.
    fn add(
        &mut self,
        piece: Bytes,
        announced: usize,
        place: &mut OwnedSemaphorePermit,
    ) -> Result<(), BodyError> {
        self.length += piece.len();
        if piece.len() >= KEPT_PIECE_BYTES {
            self.end_tail();
            self.keep(piece);
            return resize(place, self.kept_bytes);
        }
        let wanted = self.tail.len() + piece.len();
        if wanted > self.tail.capacity() {
            let doubled = (self.tail.capacity() * 2).max(FIRST_BYTES);
            let capacity = doubled.min(announced).max(wanted);
            resize(place, self.kept_bytes + capacity)?;
            self.tail.reserve_exact(capacity - self.tail.len());
        }
        self.tail.extend_from_slice(&piece);
        Ok(())
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            let mut tail = std::mem::take(&mut self.tail);
            tail.shrink_to_fit();
            self.keep(tail.into());
        }
    }

    fn keep(&mut self, piece: Bytes) {
        self.kept_bytes += piece.len();
        self.kept.push(piece);
    }

    /// The whole body.
    fn join(mut self) -> Bytes {
        self.end_tail();
        match self.kept.as_mut_slice() {
            [] => Bytes::new(),
            [whole] => std::mem::take(whole),
            _ => {
                let mut whole = Vec::with_capacity(self.length);
                // Each goes as soon as it has been copied.
                self.kept.into_iter().for_each(|piece| whole.extend_from_slice(&piece));
                whole.into()
            }
        }
    }
}

/// Reads a body to its end and keeps nothing of it: who is still sending would not read an answer.
pub(super) async fn discard(body: Body) -> Result<(), BodyError> {
    arrive(body, |_| Ok(())).await
}

/// Hands a body over piece by piece, within all limits but that on memory.
async fn arrive(
    mut body: Body,
    mut take: impl FnMut(Bytes) -> Result<(), BodyError>,
) -> Result<(), BodyError> {
    let mut length = 0;
    let whole = async {
        let mut is_over = false;
        while !is_over {
            let pace = async {
                let end = length + PACE_BYTES;
                while length < end {
                    let Some(frame) = body.frame().await else {
                        return Ok(true);
                    };
                    let frame = frame.map_err(|_| BodyError::Broken)?;
                    let piece = frame.into_data().unwrap_or_default();
                    length += piece.len();
                    if length > BODY_BYTES_MAX {
                        return Err(BodyError::TooLarge);
                    }
                    take(piece)?;
                }
                Ok(false)
            };
            is_over = timeout(PACE_TIME, pace).await.map_err(|_| BodyError::TooSlow)??;
        }
        Ok(())
    };
    timeout(BODY_TIME_MAX, whole).await.map_err(|_| BodyError::TooSlow)?
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

/// Takes the room for `bytes` of the body in all, or gives back what is more than that.
fn resize(place: &mut OwnedSemaphorePermit, bytes: usize) -> Result<(), BodyError> {
    let wanted = bytes.div_ceil(PLACE_BYTES);
    match place.num_permits().checked_sub(wanted) {
        Some(surplus) => drop(place.split(surplus)),
        None => enlarge(place, (wanted - place.num_permits()) * PLACE_BYTES)?,
    }
    Ok(())
}

/// Takes the room for `bytes` more of the same body.
pub(super) fn enlarge(place: &mut OwnedSemaphorePermit, bytes: usize) -> Result<(), BodyError> {
    let places = bytes.div_ceil(PLACE_BYTES) as u32;
    let more = place.semaphore().clone().try_acquire_many_owned(places);
    place.merge(more.map_err(|_| BodyError::NoRoom)?);
    Ok(())
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn each_is(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    values.all(|value| value.as_bytes().eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
