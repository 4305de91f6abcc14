//! Lakehose: a self-hosted Amazon Data Firehose.

pub mod app;
pub mod buffer;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod convert;
pub mod deliver;
pub mod disk;
pub mod fault;
pub mod ingest;
pub mod journal;
pub mod metrics;
pub mod outbox;
pub mod partition;
pub mod pipeline;
pub mod plan;
pub mod positions;
pub mod record;
pub mod table;
pub mod tasks;
