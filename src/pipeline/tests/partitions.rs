//! Partitions by what records hold, and how many of them may be active.

use std::sync::Arc;

use super::world::{World, recipe};
use crate::clock::Clock as _;
use crate::journal::Batch;
use crate::metrics::stream_labels;
use crate::partition::{Place, Template};
use crate::pipeline::{Partitioning, Query, Recipe, TableTrouble};
use crate::record::{Tenant, UnixMillis};

fn capped(max_active_partitions: usize) -> World {
    let prefix = "clicks/key=!{partitionKeyFromQuery:key}/";
    let partitioning = Partitioning {
        query: Some(Query::compile("{key: .key}").expect("a query")),
        max_active_partitions: Some(max_active_partitions),
        ..Partitioning::default()
    };
    let prefix = Template::parse(prefix, Place::Prefix).expect("a prefix");
    let recipe = Recipe { prefix, partitioning, register_in: None, ..recipe() };
    World { recipe: Some(Arc::new(recipe)), ..World::new() }
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_an_outage_takes_no_partition_from_others() {
    const PARTITIONS: u64 = 2_200;
    let world = capped(2);
    let running = world.start();
    // Nothing is converted meanwhile.
    assert!(running.handle.table(Some(TableTrouble::Missing("it is away".into()))).await);
    // They came over hours, in which two were never active at once; now they are read in one look.
    let arrival = UnixMillis(world.clock.now().0 - 10_000_000);
    let mut batch = Batch::new(Some(Tenant::new("acme").expect("a tenant")), arrival);
    for id in 0..PARTITIONS {
        batch.push(format!(r#"{{"id":{id},"key":"{id}"}}"#).as_bytes());
    }
    running.journal.append(batch).await.expect("the disk works");
    let status = world.until(&running, |status| status.closed_batches == 2_048).await;
    assert_eq!((status.open_batches, status.pending), (2, PARTITIONS), "the rest waits");
    assert!(running.handle.table(None).await);
    let status = running.flush().await;
    assert_eq!((status.failed, status.delivered), (0, PARTITIONS));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_would_open_a_partition_too_many_fails() {
    let world = capped(2);
    let running = world.start();
    let mut batch = Batch::new(Some(Tenant::new("acme").expect("a tenant")), world.clock.now());
    for (id, key) in ["a", "b", "c", "a", "d", "b"].iter().enumerate() {
        batch.push(format!(r#"{{"id":{id},"key":"{key}"}}"#).as_bytes());
    }
    running.journal.append(batch).await.expect("the disk works");
    let status = running.flush().await;
    assert_eq!((status.failed, status.delivered), (2, 4));
    let labels = stream_labels("clicks");
    let shown = [&running.metrics.active_partitions, &running.metrics.partitions_exceeded];
    assert_eq!(shown.map(|family| family.get_or_create(&labels).get()), [0, 0], "they are closed");
    running.stop().await;
}
