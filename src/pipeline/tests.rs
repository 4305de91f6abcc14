//! Whole pipelines with the real journal, on a disk, a store and a catalog in memory that fail when
//! they are told to. Time is paused: pauses and intervals cost nothing and are told by the tests.
//!
//! Every case ends with the same question, [`World::audit`](world::World::audit): is each
//! acknowledged record in exactly one object?

mod backups;
mod changes;
mod crash;
mod damage;
mod doubles;
mod events;
mod faults;
mod flow;
mod golden;
mod hooks;
mod ledger;
mod logged;
mod outage;
mod partitions;
mod schedules;
mod sizes;
mod world;

pub(in crate::pipeline) use self::doubles::FaultyWebhook;
pub(in crate::pipeline) use self::world::{journal_of, recipe};
