//! The orders by which a file's statistics compare, as readers of all ages know them.
//!
//! Owns one change to a finished file: every column is ordered as its type defines. The Parquet
//! library names newer orders for floating point numbers and INT96, and Hive's own reader then finds
//! a column of type `double` to be another column than the one it asked for, and fails. Nothing is
//! said wrongly: no `NaN` is ever written, and INT96 has no statistics.
//!
//! In the footer the orders are the last field, three bytes a column: a field header that names the
//! order, and the ends of two structs. The change is of one byte each, so that nothing moves.

/// The footer's length, four bytes, and the magic.
const TAIL_BYTES: usize = 8;
const ORDER_BYTES: usize = 3;
/// The headers of the fields 1 (as the type defines), 2 (IEEE 754) and 3 (INT96).
const BY_TYPE: u8 = 0x1c;
const OTHERS: [u8; 2] = [0x2c, 0x3c];

/// Orders every one of the `column_count` columns of `file` as its type defines. A footer of another
/// form is left as it is, which is correct, only newer than some readers.
pub(super) fn by_type(file: &mut [u8], column_count: usize) {
    let Some(orders) = orders(file, column_count) else {
        return;
    };
    let is_known = |order: &[u8]| matches!(order, [header, 0, 0] if *header == BY_TYPE || OTHERS.contains(header));
    if orders.chunks_exact(ORDER_BYTES).all(is_known) {
        for order in orders.chunks_exact_mut(ORDER_BYTES) {
            order[0] = BY_TYPE;
        }
    }
}

/// Where the orders lie, before the end of the footer's struct.
fn orders(file: &mut [u8], column_count: usize) -> Option<&mut [u8]> {
    let end = file.len().checked_sub(TAIL_BYTES + 1)?;
    let start = end.checked_sub(column_count.checked_mul(ORDER_BYTES)?)?;
    (file[end] == 0).then(|| &mut file[start..end])
}
