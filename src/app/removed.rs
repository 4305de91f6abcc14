//! Streams that the configuration has no more.
//!
//! Owns their way out: each is delivered by its last definition, at once and however long it takes,
//! and then retired, once its partitions of event time have been told complete in their time: whoever
//! puts it back sooner finds none of them closed to its records. Producers do not see them from the
//! beginning. One that comes back before it is retired simply goes on; one that comes back later is
//! opened as any other. A stream whose last definition cannot be used, say for a secret that is gone,
//! waits and tells what is missing and how much that holds up; one with nothing in its folder needs no
//! definition. Looks at those that wait run beside everything else: nobody waits for a catalog that is
//! away. Does not own how streams are opened and run (`streams`).
//!
//! ```text
//! taken out -- open already ------------> draining --everything is out--> retired
//!           \- found at a start -> waiting --its definition can be used--^    ^
//!                                        \--------nothing is in its folder---/
//! ```

mod look;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};

use self::look::{Look, Looked, Outcome};
use super::StartError;
use super::definitions::Retired;
use super::directory::DirectoryError;
use super::prepare::Prepared;
use super::streams::Streams;
use crate::config::{Config, in_words};
use crate::ingest::View;
use crate::metrics::stream_labels;
use crate::pipeline::{Handle, Left, Status};
use crate::record::StreamName;

/// How long a stream rests that could not be opened, or that has something left after a flush.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// A pipeline with nothing to do that does not end has a disk that hangs.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// Streams that may wait to be retired.
const DRAINED_MAX: usize = 16;
/// Folders that are looked at side by side.
const LOOKS_AT_ONCE: usize = 4;

/// Streams that the configuration has no more and that are not retired, each with what keeps it from
/// being opened.
pub type Draining = BTreeMap<StreamName, Option<String>>;

/// Streams on their way out that are not open, each with what is known to wait in its folder.
pub(super) type Resting = BTreeMap<StreamName, Option<Left>>;

/// The streams on their way out.
#[derive(Debug)]
pub(super) struct Removed {
    streams: BTreeMap<StreamName, Removal>,
    shown: watch::Sender<Arc<Draining>>,
    resting: watch::Sender<Resting>,
    looks: JoinSet<Looked>,
    look_permits: Arc<Semaphore>,
    /// Tells one way out of a stream from the next one.
    turn: u64,
    done: mpsc::Sender<Drained>,
    drained: mpsc::Receiver<Drained>,
}

#[derive(Debug)]
enum Removal {
    /// It was found and is not open.
    Waiting(Waiting),
    /// It is open, and somebody waits for its end until this is dropped.
    Draining { turn: u64, _alive: oneshot::Sender<()> },
}

#[derive(Debug, Default)]
struct Waiting {
    /// Why it could not be opened, once that was tried.
    reason: Option<String>,
    /// What is in its folder, where nobody writes; absent before that is known.
    left: Option<Left>,
    is_looked_at: bool,
}

/// What happens to streams on their way out.
#[derive(Debug)]
pub(super) enum Event {
    /// One has nothing left.
    Drained(Drained),
    /// A look has ended; absent when it did not end in order.
    Looked(Option<Looked>),
    /// It is time to look at those that wait.
    Look,
}

/// A stream has nothing left.
#[derive(Debug)]
pub(super) struct Drained {
    stream: StreamName,
    turn: u64,
    /// What it had when it was taken out, and what came by calls that were under way then.
    records: u64,
}

impl Default for Removed {
    fn default() -> Self {
        let (done, drained) = mpsc::channel(DRAINED_MAX);
        Self {
            streams: BTreeMap::new(),
            shown: watch::Sender::default(),
            resting: watch::Sender::default(),
            looks: JoinSet::new(),
            look_permits: Arc::new(Semaphore::new(LOOKS_AT_ONCE)),
            turn: 0,
            done,
            drained,
        }
    }
}

impl Removed {
    /// Who is on the way out.
    pub(super) fn shown(&self) -> watch::Receiver<Arc<Draining>> {
        self.shown.subscribe()
    }

    /// Those that are not open, and what waits in their folders.
    pub(super) fn resting(&self) -> watch::Receiver<Resting> {
        self.resting.subscribe()
    }

    /// Waits until there is something to do for streams on their way out. Cancel-safe.
    pub(super) async fn next(&mut self) -> Event {
        let idle =
            || self.streams.values().filter_map(Removal::waiting).filter(|w| !w.is_looked_at);
        if idle().any(|waiting| waiting.reason.is_none()) {
            return Event::Look;
        }
        let has_idle = idle().next().is_some();
        tokio::select! {
            Some(drained) = self.drained.recv() => Event::Drained(drained),
            Some(looked) = self.looks.join_next() => Event::Looked(looked.ok()),
            () = tokio::time::sleep(RETRY_PAUSE), if has_idle => Event::Look,
        }
    }

    fn show(&self) {
        let shown = self.streams.iter().map(|(name, removal)| {
            let reason = removal.waiting().and_then(|waiting| waiting.reason.clone());
            (name.clone(), reason)
        });
        self.shown.send_replace(Arc::new(shown.collect()));
        let resting = self.streams.iter().filter_map(|(name, removal)| {
            removal.waiting().map(|waiting| (name.clone(), waiting.left))
        });
        self.resting.send_replace(resting.collect());
    }
}

impl Removal {
    fn waiting(&self) -> Option<&Waiting> {
        match self {
            Self::Waiting(waiting) => Some(waiting),
            Self::Draining { .. } => None,
        }
    }
}

impl Streams {
    /// Finds the streams in the data directory that `config` does not have and that are not retired.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(super) fn find_removed(&mut self, config: &Config) -> Result<(), DirectoryError> {
        let disk = self.shared.environment.disk.as_ref();
        let name = |name: &str| StreamName::new(name).ok();
        let known = |folder: &str| {
            name(folder).is_none_or(|name| config.delivery_streams.contains_key(&name))
        };
        for folder in self.shared.directory.strangers(disk, known)? {
            if let Some(name) = name(&folder)
                && !self.shared.definitions.is_retired(&name)
            {
                self.removed.streams.insert(name, Removal::Waiting(Waiting::default()));
            }
        }
        self.removed.show();
        Ok(())
    }

    /// Begins the way out of the streams that are open and that `config` does not have, and ends it
    /// for those that it has again. `views` are those by which calls may still come.
    pub(super) fn take_out(&mut self, config: &Config, views: &[Weak<View>]) {
        self.removed.streams.retain(|name, _| {
            let is_back = config.delivery_streams.contains_key(name);
            if is_back {
                self.shared.metrics.draining.get_or_create(&stream_labels(name.as_str())).set(0);
            }
            !is_back
        });
        let open = self.open.keys().filter(|name| !config.delivery_streams.contains_key(*name));
        let gone: Vec<StreamName> =
            open.filter(|name| !self.removed.streams.contains_key(*name)).cloned().collect();
        for name in gone {
            tracing::warn!(
                stream = %name,
                "the configuration does not have the stream any more: it takes no more records, \
                 and what it has is delivered by its last definition; then it is retired"
            );
            self.drain(name, views.to_vec());
        }
        self.removed.show();
    }

    fn drain(&mut self, name: StreamName, views: Vec<Weak<View>>) {
        let Some(open) = self.open.get(&name) else {
            return;
        };
        self.shared.metrics.draining.get_or_create(&stream_labels(name.as_str())).set(1);
        self.removed.turn += 1;
        let (handle, turn, done) =
            (open.handle.clone(), self.removed.turn, self.removed.done.clone());
        let (alive, ended) = oneshot::channel::<()>();
        let removal = Removal::Draining { turn, _alive: alive };
        self.removed.streams.insert(name.clone(), removal);
        self.running.tasks.spawn(format!("drain of {name}"), async move {
            let drained = async {
                let records = drained(&name, &handle, &views).await;
                drop(handle);
                if let Some(records) = records {
                    // Who would hear of it may have ended with the service.
                    let _ = done.send(Drained { stream: name, turn, records }).await;
                }
            };
            tokio::select! {
                _ = ended => {}
                () = drained => {}
            }
        });
    }

    /// Does what is to be done for streams on their way out.
    pub(super) async fn see_out(&mut self, event: Event) {
        match event {
            Event::Drained(drained) => self.retire(drained).await,
            Event::Looked(looked) => self.take_look(looked).await,
            Event::Look => self.look_at_waiting(),
        }
    }

    fn look_at_waiting(&mut self) {
        let Removed { streams, looks, look_permits, .. } = &mut self.removed;
        for (name, removal) in streams {
            let Removal::Waiting(waiting) = removal else {
                continue;
            };
            if !waiting.is_looked_at {
                waiting.is_looked_at = true;
                let look = Look {
                    shared: self.shared.clone(),
                    known_catalogs: self.known_catalogs.clone(),
                    copies: self.followers.copies.clone(),
                    permits: look_permits.clone(),
                    stream: name.clone(),
                    left: waiting.left,
                };
                looks.spawn(look.run());
            }
        }
    }

    async fn take_look(&mut self, looked: Option<Looked>) {
        let Some(Looked { stream: name, left, outcome }) = looked else {
            // Whose it was is not known; all are looked at again.
            for removal in self.removed.streams.values_mut() {
                if let Removal::Waiting(waiting) = removal {
                    let reason = || "the look at its folder did not end in order".to_owned();
                    waiting.reason.get_or_insert_with(reason);
                    waiting.is_looked_at = false;
                }
            }
            return;
        };
        // It may have come back meanwhile.
        let Some(Removal::Waiting(waiting)) = self.removed.streams.get_mut(&name) else {
            return;
        };
        waiting.is_looked_at = false;
        waiting.left = left;
        match outcome {
            Outcome::Nothing => self.retire_unopened(name).await,
            // Somebody else has opened its catalog meanwhile: it is looked at again.
            Outcome::Usable(prepared) if !self.has_known_catalogs(&prepared) => {}
            Outcome::Usable(prepared) => match self.open_removed(&prepared).await {
                Ok(()) => {
                    tracing::warn!(
                        stream = %name,
                        "the configuration does not have the stream any more: what it has is \
                         delivered by its last definition; then it is retired"
                    );
                    self.run();
                    self.drain(name, Vec::new());
                }
                Err(reason) => self.wait(&name, reason),
            },
            Outcome::Unusable(reason) => self.wait(&name, reason),
        }
        self.removed.show();
    }

    fn wait(&mut self, name: &StreamName, reason: String) {
        let Some(Removal::Waiting(waiting)) = self.removed.streams.get_mut(name) else {
            return;
        };
        let labels = stream_labels(name.as_str());
        self.shared.metrics.draining.get_or_create(&labels).set(1);
        self.shared.metrics.blocked.get_or_create(&labels).set(1);
        if waiting.reason.as_ref() != Some(&reason) {
            tracing::error!(
                stream = %name,
                reason,
                "the configuration does not have the stream any more, and what it has cannot be \
                 delivered by its last definition: mend that, or put the stream back; until then it \
                 waits"
            );
        }
        waiting.reason = Some(reason);
    }

    /// # Errors
    /// Why it cannot be opened, in words.
    async fn open_removed(&mut self, prepared: &Prepared) -> Result<(), String> {
        let mut current = self.turn().await;
        let opened = self.open(prepared, &mut current).await;
        if let Err(error) = opened {
            self.close_waiting(&mut current).await;
            return Err(match error {
                StartError::Faults(faults) => in_words(&faults),
                error => error.to_string(),
            });
        }
        self.reach_stores();
        self.know_catalogs(prepared);
        Ok(())
    }

    /// Nothing is in the folder of a stream that waits.
    async fn retire_unopened(&mut self, name: StreamName) {
        match self.note_retired(&name, 0).await {
            Ok(()) => {
                tracing::info!(
                    stream = %name,
                    "the configuration does not have the stream any more, and nothing of it waits: \
                     it is retired"
                );
                self.removed.streams.remove(&name);
                self.shared.metrics.forget(name.as_str());
            }
            Err(error) => {
                self.wait(
                    &name,
                    format!("could not note that nothing waits in its folder: {error}"),
                );
            }
        }
    }

    async fn note_retired(&self, name: &StreamName, records: u64) -> std::io::Result<()> {
        let at = self.shared.environment.clock.now();
        let (definitions, of) = (self.shared.definitions.clone(), name.clone());
        let note = move || definitions.retire(&of, Retired { at, records });
        spawn_blocking(note).await.map_err(std::io::Error::other).flatten()
    }

    /// A stream has nothing left: closes it, and notes that nothing waits in its folder.
    async fn retire(&mut self, drained: Drained) {
        let Drained { stream: name, turn, records } = drained;
        // It may have come back meanwhile.
        match self.removed.streams.get(&name) {
            Some(Removal::Draining { turn: known, .. }) if *known == turn => {}
            _ => return,
        }
        let Some(open) = self.open.remove(&name) else {
            return;
        };
        self.removed.streams.remove(&name);
        self.publish();
        self.removed.show();
        self.followers.end(&name);
        {
            let mut current = self.turn().await;
            current.remove(&name);
            self.measure_objects(&current);
        }
        let mut over = open.over.subscribe();
        // Nothing is left to wait for, and its logs may be opened again: whatever is being written is
        // waited for.
        open.stop.send_replace(Some(Duration::MAX));
        drop(open);
        let ended = over.wait_for(|over| *over);
        if tokio::time::timeout(END_PATIENCE, ended).await.is_err() {
            tracing::error!(stream = %name, "the pipeline of the stream does not end");
            // Nobody must open its journal again as long as this process lives.
            self.running.ended.send_replace(Some(name));
            return;
        }
        self.shared.metrics.forget(name.as_str());
        match self.note_retired(&name, records).await {
            Ok(()) => tracing::info!(
                stream = %name,
                records,
                "the stream that the configuration does not have any more has delivered everything \
                 and is retired"
            ),
            Err(error) => tracing::warn!(
                stream = %name,
                %error,
                "could not note that the stream is retired; the next start finds it out again"
            ),
        }
    }
}

/// Waits until nothing of a stream is left to be done, and tells how many records that were; `None`
/// when its pipeline has ended before.
async fn drained(stream: &StreamName, handle: &Handle, views: &[Weak<View>]) -> Option<u64> {
    let before = done(&handle.status().await?);
    let mut is_waiting_told = false;
    loop {
        // No call that began before can bring a record after this.
        let is_quiet = views.iter().all(|view| view.strong_count() == 0);
        if !handle.flush().await {
            return None;
        }
        let status = handle.status().await?;
        if is_quiet && has_nothing_left(&status) {
            return Some(done(&status).saturating_sub(before));
        }
        if is_quiet && !is_waiting_told && has_only_ends_left(&status) {
            is_waiting_told = true;
            tracing::info!(
                %stream,
                partitions = status.incomplete_partitions,
                "the stream that the configuration does not have any more has delivered everything; it \
                 is retired when its partitions of event time are told complete"
            );
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn done(status: &Status) -> u64 {
    status.delivered + status.failed + status.dropped + status.damaged
}

fn has_nothing_left(status: &Status) -> bool {
    status.incomplete_partitions == 0 && has_only_ends_left(status)
}

/// Whether nothing is left but what is to be told of partitions when their time has come.
fn has_only_ends_left(status: &Status) -> bool {
    let is_backed_up =
        |backup: &crate::pipeline::BackupStatus| backup.pending == 0 && backup.open_plans == 0;
    status.pending == 0
        && status.open_plans == 0
        && status.unregistered_partitions == 0
        && status.backup.as_ref().is_none_or(is_backed_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_when_all_is_delivered_registered_and_backed_up() {
        let backup = crate::pipeline::BackupStatus::default();
        let rest = Status { delivered: 5, backup: Some(backup.clone()), ..Status::default() };
        assert!(has_nothing_left(&rest));
        let waiting = crate::pipeline::BackupStatus { pending: 1, ..backup };
        for left in [
            Status { pending: 1, ..rest.clone() },
            Status { open_plans: 1, ..rest.clone() },
            Status { unregistered_partitions: 1, ..rest.clone() },
            Status { incomplete_partitions: 1, ..rest.clone() },
            Status { backup: Some(waiting), ..rest },
        ] {
            assert!(!has_nothing_left(&left), "{left:?}");
        }
    }
}
