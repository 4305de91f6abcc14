//! Streams that the configuration has no more.
//!
//! Owns their way out: each is delivered by its last definition, at once and however long it takes,
//! and then retired. Producers do not see them from the beginning. One that comes back before it is
//! retired simply goes on; one that comes back later is opened as any other. A stream whose last
//! definition cannot be used, say for a secret that is gone, waits and tells what is missing; others
//! do not wait for it. Does not own how streams are opened and run (`streams`).
//!
//! ```text
//! taken out -- open already ------------> draining --everything is out--> retired
//!           \- found at a start -> waiting --its definition can be used--^
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use super::StartError;
use super::definitions::Retired;
use super::directory::DirectoryError;
use super::streams::Streams;
use crate::config::{Config, SystemEnvironment, in_words};
use crate::ingest::View;
use crate::metrics::stream_labels;
use crate::pipeline::{Handle, Status};
use crate::record::StreamName;

/// How long a stream rests that could not be opened, or that has something left after a flush.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
const LOOK_PAUSE: Duration = Duration::from_millis(500);
/// A pipeline with nothing to do that does not end has a disk that hangs.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// Streams that may wait to be retired.
const DRAINED_MAX: usize = 16;

/// Streams that the configuration has no more and that are not retired, each with what keeps it from
/// being opened.
pub type Draining = BTreeMap<StreamName, Option<String>>;

/// The streams on their way out.
#[derive(Debug)]
pub(super) struct Removed {
    streams: BTreeMap<StreamName, Removal>,
    shown: watch::Sender<Arc<Draining>>,
    /// Tells one way out of a stream from the next one.
    turn: u64,
    done: mpsc::Sender<Drained>,
    drained: mpsc::Receiver<Drained>,
}

#[derive(Debug)]
enum Removal {
    /// It was found and is not open; why it could not be opened, once that was tried.
    Waiting(Option<String>),
    /// It is open, and somebody waits for its end until this is dropped.
    Draining { turn: u64, _alive: oneshot::Sender<()> },
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
        let (streams, shown) = (BTreeMap::new(), watch::Sender::default());
        Self { streams, shown, turn: 0, done, drained }
    }
}

impl Removed {
    /// Who is on the way out.
    pub(super) fn shown(&self) -> watch::Receiver<Arc<Draining>> {
        self.shown.subscribe()
    }

    /// Waits for a stream that has nothing left, or until it is time to try those again that could
    /// not be opened. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Drained> {
        let is_waiting = |removal: &Removal| matches!(removal, Removal::Waiting(_));
        if !self.streams.values().any(is_waiting) {
            return self.drained.recv().await;
        }
        let is_new = |removal: &Removal| matches!(removal, Removal::Waiting(None));
        if self.streams.values().any(is_new) {
            return None;
        }
        tokio::time::timeout(RETRY_PAUSE, self.drained.recv()).await.ok().flatten()
    }

    fn show(&self) {
        let shown = self.streams.iter().map(|(name, removal)| {
            let reason = match removal {
                Removal::Waiting(reason) => reason.clone(),
                Removal::Draining { .. } => None,
            };
            (name.clone(), reason)
        });
        self.shown.send_replace(Arc::new(shown.collect()));
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
                self.removed.streams.insert(name, Removal::Waiting(None));
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
                let records = drained(&handle, &views).await;
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

    /// Tries to open the streams that wait, by their last definitions.
    pub(super) async fn open_removed(&mut self) {
        let waiting = self.removed.streams.iter().filter_map(|(name, removal)| match removal {
            Removal::Waiting(_) => Some(name.clone()),
            Removal::Draining { .. } => None,
        });
        for name in waiting.collect::<Vec<_>>() {
            match self.open_by_definition(&name).await {
                Ok(()) => {
                    tracing::warn!(
                        stream = %name,
                        "the configuration does not have the stream any more: what it has is \
                         delivered by its last definition; then it is retired"
                    );
                    self.run();
                    self.drain(name, Vec::new());
                }
                Err(reason) => self.wait(name, reason),
            }
        }
        self.removed.show();
    }

    fn wait(&mut self, name: StreamName, reason: String) {
        let labels = stream_labels(name.as_str());
        self.shared.metrics.draining.get_or_create(&labels).set(1);
        self.shared.metrics.blocked.get_or_create(&labels).set(1);
        let now = Removal::Waiting(Some(reason.clone()));
        let before = self.removed.streams.insert(name.clone(), now);
        let is_news = !matches!(before, Some(Removal::Waiting(Some(known))) if known == reason);
        if is_news {
            tracing::error!(
                stream = %name,
                reason,
                "the configuration does not have the stream any more, and what it has cannot be \
                 delivered by its last definition: mend that, or put the stream back; until then it \
                 waits"
            );
        }
    }

    /// # Errors
    /// Why it cannot be opened, in words.
    async fn open_by_definition(&mut self, name: &StreamName) -> Result<(), String> {
        let (definitions, of) = (self.shared.definitions.clone(), name.clone());
        let read = spawn_blocking(move || definitions.read(&of)).await;
        let read = read.map_err(|error| error.to_string())?;
        let definition = read.map_err(|reason| format!("definition.json: {reason}"))?;
        let definition = definition.ok_or("its folder has no definition.json")?;
        let config = definition.load(&SystemEnvironment).map_err(|faults| in_words(&faults))?;
        let prepared = self.prepare(config).await.map_err(|faults| in_words(&faults))?;
        let mut current = self.turn().await;
        let opened = self.open(&prepared, &mut current).await;
        if let Err(error) = opened {
            self.close_waiting(&mut current);
            return Err(match error {
                StartError::Faults(faults) => in_words(&faults),
                error => error.to_string(),
            });
        }
        self.reach_stores();
        self.know_catalogs(&prepared);
        Ok(())
    }

    /// A stream has nothing left: closes it, and notes that nothing waits in its folder.
    pub(super) async fn retire(&mut self, drained: Drained) {
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
        self.turn().await.remove(&name);
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
        self.shared.metrics.draining.get_or_create(&stream_labels(name.as_str())).set(0);
        let at = self.shared.environment.clock.now();
        let (definitions, of) = (self.shared.definitions.clone(), name.clone());
        let note = move || definitions.retire(&of, Retired { at, records });
        match spawn_blocking(note).await.map_err(std::io::Error::other).and_then(|noted| noted) {
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
async fn drained(handle: &Handle, views: &[Weak<View>]) -> Option<u64> {
    let before = done(&handle.status().await?);
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
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn done(status: &Status) -> u64 {
    status.delivered + status.failed + status.dropped + status.damaged
}

fn has_nothing_left(status: &Status) -> bool {
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
            Status { backup: Some(waiting), ..rest },
        ] {
            assert!(!has_nothing_left(&left), "{left:?}");
        }
    }
}
