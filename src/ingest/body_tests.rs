//! Bodies in pieces.

use futures::stream;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::memory::{MEMORY_BYTES_MIN, MemoryBudget};

proptest! {
    #[test]
    fn a_body_in_pieces_of_any_length_arrives_whole(
        lengths in vec(prop_oneof![0..20usize, 8_000..9_000usize, 30_000..33_000usize], 0..12),
    ) {
        let pieces = lengths.iter().zip(1u8..).map(|(length, byte)| Bytes::from(vec![byte; *length]));
        let pieces: Vec<Bytes> = pieces.collect();
        let body = Body::from_stream(stream::iter(pieces.clone().into_iter().map(Ok::<_, BodyError>)));
        let parts = axum::http::Request::post("/").body(()).unwrap().into_parts().0;
        let bodies = Bodies::new(64 << 20);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let arrived = runtime.block_on(bodies.read(&parts, body)).unwrap();
        prop_assert_eq!(&arrived.bytes[..], &pieces.concat()[..]);
        let length = arrived.bytes.len();
        let taken = arrived.place.num_permits() * PLACE_BYTES;
        prop_assert!(taken >= length && taken < length + PLACE_BYTES, "{taken} for {length}");
    }
}

#[tokio::test]
async fn the_longest_body_fits_into_the_least_memory_however_it_comes() {
    let bodies = Bodies::new(MemoryBudget::new(MEMORY_BYTES_MIN).bodies_bytes());
    // What sockets give of a network whose packets have 1,448 bytes.
    let lengths = [8_688, 1_448].into_iter().cycle().scan(0, |length, piece| {
        let piece: usize = piece.min(BODY_BYTES_MAX - *length);
        *length += piece;
        (piece > 0).then_some(piece)
    });
    let pieces = lengths.map(|length| Ok::<_, BodyError>(Bytes::from(vec![b'x'; length])));
    let parts = axum::http::Request::post("/").body(()).unwrap().into_parts().0;
    let arrived = bodies.read(&parts, Body::from_stream(stream::iter(pieces))).await.unwrap();
    assert_eq!(arrived.bytes.len(), BODY_BYTES_MAX);
}
