//! Lakehose: a self-hosted Amazon Data Firehose.

pub mod clock;
pub mod fault;
pub mod plan;
pub mod positions;
pub mod record;
pub mod table;
