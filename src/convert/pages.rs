//! Columns of Arrow to the pages of a Parquet file.
//!
//! Owns the encoding of values and levels, the choice among encodings and whether a column is
//! compressed, the bounds that readers skip by, and where pages end. The forms of headers, indexes and
//! the footer are the Parquet library's. Does not own where row groups end (`file`), nor the types of
//! columns (`parquet`).
//!
//! The library's own writer serves all types and all encodings; tables have eight kinds of values, and
//! each of them is written here in one pass over Arrow's buffers.

mod bits;
mod bounds;
mod bytes;
mod choice;
mod chunk;
mod codec;
mod delta;
mod dictionary;
mod fixed;
mod group;
mod hybrid;
mod levels;
mod values;

pub(super) use self::group::{EndedGroup, Group};
