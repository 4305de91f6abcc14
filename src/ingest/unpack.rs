//! Compressed bodies.
//!
//! Owns which `Content-Encoding`s are understood, and how far a body is unpacked: never further than
//! a body may be long, and room is asked for before memory is taken, so that a small body that
//! unpacks to a huge one costs no more than the longest plain one. Does not look into bodies.

use std::io::Read;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use flate2::read::MultiGzDecoder;

use super::body::{BODY_BYTES_MAX, BodyError};

const CHUNK_BYTES: usize = 32 * 1024;
/// 8 MiB, the largest window of zstd that HTTP allows (RFC 9659); a frame may ask for 2 GiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Why a body cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnpackError {
    /// Packed in another way, or more than once.
    #[error("The Content-Encodings that are accepted are gzip, zstd and identity, one at a time.")]
    Unknown,
    /// Not what its header says, or not all of it.
    #[error("The request body is no whole {0} data.")]
    Broken(&'static str),
    /// Longer than a body may be.
    #[error("The request body is longer than 12 MiB when it is unpacked.")]
    TooLarge,
    /// No memory for it.
    #[error(transparent)]
    NoRoom(#[from] BodyError),
}

impl Encoding {
    /// What the headers say.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, UnpackError> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let Some(value) = values.next() else {
            return Ok(Self::Identity);
        };
        let is = |name: &str| value.as_bytes().eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if values.next().is_some() => Err(UnpackError::Unknown),
            () if is("identity") => Ok(Self::Identity),
            () if is("gzip") || is("x-gzip") => Ok(Self::Gzip),
            () if is("zstd") => Ok(Self::Zstd),
            () => Err(UnpackError::Unknown),
        }
    }

    /// Unpacks `body`; `None` when it is not packed. `room` is asked before memory is taken, for
    /// so many further bytes.
    pub(super) fn unpack(
        self,
        body: &[u8],
        room: impl FnMut(usize) -> Result<(), BodyError>,
    ) -> Result<Option<Vec<u8>>, UnpackError> {
        match self {
            Self::Identity => Ok(None),
            Self::Gzip => read_all(MultiGzDecoder::new(body), "gzip", room).map(Some),
            Self::Zstd => {
                let broken = |_| UnpackError::Broken("zstd");
                let mut decoder = zstd::Decoder::with_buffer(body).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
                read_all(decoder, "zstd", room).map(Some)
            }
        }
    }
}

fn read_all(
    mut from: impl Read,
    what: &'static str,
    mut room: impl FnMut(usize) -> Result<(), BodyError>,
) -> Result<Vec<u8>, UnpackError> {
    let mut out = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).map_err(|_| UnpackError::Broken(what))?;
        if read == 0 {
            return Ok(out);
        }
        let wanted = out.len() + read;
        if wanted > BODY_BYTES_MAX {
            return Err(UnpackError::TooLarge);
        }
        if wanted > out.capacity() {
            let capacity = (wanted * 2).min(BODY_BYTES_MAX);
            room(capacity - out.capacity())?;
            out.reserve_exact(capacity - out.len());
        }
        out.extend_from_slice(&chunk[..read]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn packed(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => bytes.to_vec(),
            Encoding::Gzip => gzip(bytes),
            Encoding::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }

    fn unpacked(encoding: Encoding, body: &[u8]) -> Result<Option<Vec<u8>>, UnpackError> {
        encoding.unpack(body, |_| Ok(()))
    }

    #[test]
    fn s29_a_bomb_costs_no_more_than_the_longest_body() {
        let zeros = vec![0; BODY_BYTES_MAX + 1];
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let fitting = packed(encoding, &zeros[1..]);
            assert_eq!(unpacked(encoding, &fitting).unwrap().unwrap().len(), BODY_BYTES_MAX);
            let bomb = packed(encoding, &zeros);
            assert!(bomb.len() < 50_000, "{}", bomb.len());
            let mut asked = 0;
            let refused = encoding.unpack(&bomb, |bytes| {
                asked += bytes;
                Ok(())
            });
            assert_eq!(refused, Err(UnpackError::TooLarge), "{encoding:?}");
            assert!(asked <= BODY_BYTES_MAX, "{encoding:?}: {asked}");
            let refused = encoding.unpack(&bomb, |_| Err(BodyError::NoRoom));
            assert_eq!(refused, Err(UnpackError::NoRoom(BodyError::NoRoom)), "{encoding:?}");
        }
    }

    #[test]
    fn a_zstd_window_beyond_what_http_allows_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&[7; 1000]).unwrap();
        let body = encoder.finish().unwrap();
        assert_eq!(unpacked(Encoding::Zstd, &body), Err(UnpackError::Broken("zstd")));
    }

    #[test]
    fn several_members_are_one_body_and_torn_ones_are_none() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let (one, other) = (packed(encoding, b"one "), packed(encoding, b"other"));
            let whole = [one, other].concat();
            assert_eq!(unpacked(encoding, &whole), Ok(Some(b"one other".to_vec())));
            assert!(unpacked(encoding, &whole[..whole.len() - 1]).is_err(), "{encoding:?}");
            let with_garbage = [&whole[..], b"garbage"].concat();
            assert!(unpacked(encoding, &with_garbage).is_err(), "{encoding:?}");
        }
    }

    proptest! {
        #[test]
        fn every_body_unpacks_to_what_was_packed(
            body in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                let unpacked = unpacked(encoding, &packed(encoding, &body));
                prop_assert_eq!(unpacked, Ok(Some(body.clone())));
            }
        }

        #[test]
        fn foreign_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for encoding in [Encoding::Gzip, Encoding::Zstd] {
                let _ = unpacked(encoding, &body);
            }
        }
    }
}
