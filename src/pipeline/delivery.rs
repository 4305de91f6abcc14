//! One plan on its way into its stores.
//!
//! Owns a turn of it: all objects, some side by side, what is logged and counted of each. Does not
//! commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;

use super::blocking;
use super::orders::Role;
use super::troubles::Troubles;
use super::turns::Turn;
use crate::deliver::{DeliverError, Stores, Unreadable, deliver};
use crate::fault::Action;
use crate::metrics::{Metrics, stream_labels, stream_labels_with};
use crate::outbox::Outbox;
use crate::plan::{ObjectHeader, PlanId};
use crate::record::StreamName;

/// Objects of one plan that are being put side by side.
const OBJECTS_IN_FLIGHT_MAX: usize = 8;

/// A turn of one plan.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) stream: StreamName,
    pub(super) role: Role,
    pub(super) stores: Arc<Stores>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) troubles: Troubles,
    pub(super) metrics: Metrics,
    pub(super) plan: PlanId,
    pub(super) turn: Turn,
}

impl Delivery {
    /// Tells whether every object is in its store.
    pub(super) async fn run(&self, headers: Vec<ObjectHeader>) -> bool {
        let all_there = AtomicBool::new(true);
        futures::stream::iter(&headers)
            .for_each_concurrent(OBJECTS_IN_FLIGHT_MAX, async |header| {
                if !self.put(header).await {
                    all_there.store(false, Ordering::Relaxed);
                }
            })
            .await;
        all_there.into_inner()
    }

    async fn put(&self, header: &ObjectHeader) -> bool {
        let step = format!("deliver {}", header.key);
        let failed = |error: &DeliverError, attempt: u32| self.failed(&step, error, attempt);
        let may_be_there = self.turn.may_be_there;
        let read = || self.read(header);
        if !deliver(&self.stores, header, &read, may_be_there, &failed).await {
            return false;
        }
        self.troubles.clear(&step);
        let kind = if self.role == Role::Backup { "backup" } else { header.kind.as_str() };
        let labels = stream_labels_with(self.stream.as_str(), "kind", kind);
        self.metrics.delivered_objects.get_or_create(&labels).inc();
        self.metrics.delivered_bytes.get_or_create(&labels).inc_by(header.size_bytes);
        tracing::info!(
            stream = %self.stream,
            key = header.key,
            rows = header.row_count,
            bytes = header.size_bytes,
            "delivered an object"
        );
        true
    }

    fn read<'a>(&'a self, header: &'a ObjectHeader) -> BoxFuture<'a, Result<Bytes, Unreadable>> {
        Box::pin(async {
            let (outbox, plan, header) = (self.outbox.clone(), self.plan, header.clone());
            Ok(blocking(move || outbox.read(plan, &header)).await?)
        })
    }

    fn failed(&self, step: &str, error: &DeliverError, attempt: u32) {
        let attempt = self.turn.attempts.saturating_add(attempt);
        self.metrics.failed_puts.get_or_create(&stream_labels(self.stream.as_str())).inc();
        self.troubles.set(step, format!("{error} (attempt {attempt})"));
        // The same thing again is news ever more rarely.
        if !attempt.is_power_of_two() {
            tracing::debug!(stream = %self.stream, %error, attempt, "trying again");
        } else if error.action() == Action::Alarm || attempt >= 8 {
            // Only a person can mend it, or waiting has not helped.
            tracing::error!(stream = %self.stream, %error, attempt, "trying again until it works");
        } else {
            tracing::warn!(stream = %self.stream, %error, attempt, "trying again");
        }
    }
}
