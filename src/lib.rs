//! Lakehose: a self-hosted Amazon Data Firehose.
//!
//! The modules stand in the order in which a record meets them: it enters by [`ingest`], is durable in
//! the [`journal`], passes the hooks of [`transform`], is gathered by its [`partition`] (for which
//! [`jq`] reads it) in the [`buffer`], becomes a row in [`convert`], is frozen in the [`outbox`], put
//! into a store by [`deliver`], and found through the [`catalog`]; a [`webhook`] hears when a partition
//! is complete; the [`pipeline`] leads it there. Above stand settings and assembly, below the words
//! that all of them use. ARCHITECTURE.md draws the path and names the floors.

pub mod ingest;
pub mod journal;
pub mod transform;
pub mod jq;
pub mod partition;
pub mod buffer;
pub mod convert;
pub mod outbox;
pub mod deliver;
pub mod catalog;
pub mod webhook;
pub mod pipeline;

pub mod config;

pub mod infer;

pub mod app;
pub mod cli;
pub mod console;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

pub mod clock;
pub mod disk;
pub mod fault;
mod json;
pub mod memory;
pub mod metrics;
mod number;
pub mod plan;
pub mod positions;
pub mod record;
pub mod table;
pub mod tasks;
mod time;
