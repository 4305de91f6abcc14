//! Bodies in pieces.

use futures::stream;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

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
        prop_assert!(taken >= length && taken <= 3 * length + 2 * FIRST_BYTES, "{taken} for {length}");
    }
}
