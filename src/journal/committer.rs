//! Group commit: threads that take whatever is waiting, write it, sync it, and only then answer.
//!
//! Owns the queue and the answers. One thread serves many streams; a stream always belongs to the
//! same thread, so that its frames keep their order. There is no timer: a lone call costs one sync,
//! and while a sync runs the next group gathers.
//!
//! A group that finds the disk full is refused as far as it is of producers; what the service itself
//! has to say is then written alone, out of the reserve of the disk if need be. After any other error
//! of the disk, and after every error of a sync, nothing is answered with success any more, by any
//! thread: what the disk holds is unknown until the next start. [`Committer::failed`] tells the program
//! to end.

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot, watch};

use super::control::Control;
use super::frame::{self, Kind};
use super::log::{Log, WriteError, locked};
use super::window::{Claim, KeyedCall};
use super::{AppendError, Appended, Batch};
use crate::clock::Clock;
use crate::disk::Promise;
use crate::record::Position;

/// Calls that may wait for one thread; beyond it callers are refused.
const QUEUE_CALLS_MAX: usize = 4096;
/// Bytes of records that may wait for one thread.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// A group is closed at this many bytes; what waits goes into the next one.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Committing threads: a sync sleeps, so a few per core keep the disk's queue filled.
const THREADS: usize = 4;

/// What is to be appended.
#[derive(Debug)]
pub(super) enum Payload {
    Batch(Batch),
    /// Several at once: none is written without the others.
    Batches(Vec<Batch>),
    Control(Kind, Vec<u8>),
    /// Ends the active segment.
    Seal,
}

impl Payload {
    pub(super) fn control(control: &Control) -> Self {
        Self::Control(control.kind(), control.encode())
    }

    pub(super) fn record_count(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.record_count() as u64,
            Self::Batches(batches) => batches.iter().map(|b| b.record_count() as u64).sum(),
            Self::Control(..) | Self::Seal => 0,
        }
    }

    /// The call that comes with it, when it has a key and the first record stands at `first`.
    pub(super) fn keyed_call(&self, first: Position) -> Option<KeyedCall> {
        let Self::Batch(batch) = self else {
            return None;
        };
        let (count, arrival) = (batch.record_count() as u32, batch.arrival());
        Some(KeyedCall { key: batch.call()?, first, count, arrival })
    }

    /// An upper bound of the bytes of its frames.
    pub(super) fn frame_bytes_at_most(&self) -> usize {
        let around = frame::HEADER_BYTES + frame::ALIGNMENT;
        match self {
            Self::Batch(batch) => batch.frame_bytes_at_most(),
            Self::Batches(batches) => batches.iter().map(Batch::frame_bytes_at_most).sum(),
            Self::Control(_, body) => body.len() + around,
            Self::Seal => around,
        }
    }
}

#[derive(Debug)]
struct Request {
    log: Arc<Mutex<Log>>,
    payload: Payload,
    /// Held by a call with a key until it is durable or refused.
    claim: Option<Claim>,
    /// Held by records of producers until they are counted as used, or refused.
    promise: Option<Promise>,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

/// The committing threads of the process.
#[derive(Clone, Debug)]
pub struct Committer {
    queues: Arc<[Queue]>,
    failure: watch::Receiver<Option<String>>,
}

#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<Request>,
    waiting_bytes: Arc<AtomicUsize>,
}

impl Queue {
    fn new(
        failure: Arc<watch::Sender<Option<String>>>,
        syncs: Option<SyncTimer>,
    ) -> (Self, Worker) {
        let (sender, receiver) = mpsc::channel(QUEUE_CALLS_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let is_full = Cell::new(false);
        let worker =
            Worker { receiver, waiting_bytes: waiting_bytes.clone(), failure, syncs, is_full };
        (Self { sender, waiting_bytes }, worker)
    }
}

#[cfg(test)]
impl Committer {
    /// One whose only thread is the test's own: nothing is written before the worker is told to.
    pub(super) fn by_hand() -> (Self, Worker) {
        let (failure, failed) = watch::channel(None);
        let (queue, worker) = Queue::new(Arc::new(failure), None);
        (Self { queues: [queue].into(), failure: failed }, worker)
    }
}

/// The queue of one journal.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    committer: Committer,
    queue: usize,
    log: Arc<Mutex<Log>>,
}

impl Committer {
    /// Starts the threads. `syncs` is told how long each sync took.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(syncs: Option<SyncTimer>) -> io::Result<Self> {
        let (failure, failed) = watch::channel(None);
        let failure = Arc::new(failure);
        let mut queues = Vec::with_capacity(THREADS);
        for number in 0..THREADS {
            let (queue, worker) = Queue::new(failure.clone(), syncs.clone());
            thread::Builder::new().name(format!("journal-{number}")).spawn(move || worker.run())?;
            queues.push(queue);
        }
        Ok(Self { queues: queues.into(), failure: failed })
    }

    /// Waits until the disk has failed, and tells how. Never ends while it works.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the committing threads ended".to_owned(),
        }
    }

    /// The queue for a log; `spread` decides which thread serves it.
    pub(super) fn lane(&self, log: Log, spread: usize) -> Lane {
        let queue = spread % self.queues.len();
        Lane { committer: self.clone(), queue, log: Arc::new(Mutex::new(log)) }
    }
}

impl Lane {
    /// Appends records when the queue has room; `claim` is theirs when the call has a key, `promise`
    /// is their room on the disk.
    pub(super) async fn append(
        &self,
        batch: Batch,
        claim: Option<Claim>,
        promise: Promise,
    ) -> Result<Appended, AppendError> {
        let queue = &self.committer.queues[self.queue];
        let bytes = batch.data_bytes();
        let waiting = queue.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = if waiting + bytes > QUEUE_BYTES_MAX {
            Err(AppendError::QueueFull)
        } else {
            queue.sender.try_reserve().map_err(|error| match error {
                mpsc::error::TrySendError::Full(()) => AppendError::QueueFull,
                mpsc::error::TrySendError::Closed(()) => AppendError::Failed,
            })
        };
        let permit = match permit {
            Ok(permit) => permit,
            Err(error) => {
                queue.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                if let Some(claim) = claim {
                    claim.refuse(error);
                }
                return Err(error);
            }
        };
        let (answer, answered) = oneshot::channel();
        let (log, payload) = (self.log.clone(), Payload::Batch(batch));
        permit.send(Request { log, payload, claim, promise: Some(promise), answer });
        answered.await.unwrap_or(Err(AppendError::Failed))
    }

    /// Begins the log at `position` when that is later; to be asked for before anything else.
    pub(super) fn go_on_at(&self, position: Position) {
        locked(&self.log).go_on_at(position);
    }

    /// Appends what the service itself has to say, waiting for room in the queue.
    pub(super) async fn append_own(&self, payload: Payload) -> Result<Appended, AppendError> {
        let (answer, answered) = oneshot::channel();
        let request =
            Request { log: self.log.clone(), payload, claim: None, promise: None, answer };
        let sent = self.committer.queues[self.queue].sender.send(request).await;
        sent.map_err(|_| AppendError::Failed)?;
        answered.await.unwrap_or(Err(AppendError::Failed))
    }
}

/// One committing thread.
#[derive(Debug)]
pub(super) struct Worker {
    receiver: mpsc::Receiver<Request>,
    waiting_bytes: Arc<AtomicUsize>,
    failure: Arc<watch::Sender<Option<String>>>,
    syncs: Option<SyncTimer>,
    /// Whether the last group found no room; told once, and once when there is some again.
    is_full: Cell<bool>,
}

/// Measures syncs.
#[derive(Clone, Debug)]
pub struct SyncTimer {
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where the seconds are counted.
    pub seconds: Histogram,
}

impl SyncTimer {
    fn time<T>(timer: Option<&Self>, work: impl FnOnce() -> T) -> T {
        let Some(timer) = timer else {
            return work();
        };
        let started = timer.clock.steady();
        let result = work();
        timer.seconds.observe((timer.clock.steady() - started).as_secs_f64());
        result
    }
}

impl Worker {
    fn run(mut self) {
        let _watch = PanicWatch(self.failure.clone());
        while self.turn() {}
    }

    /// Waits for something to do, and does it; false when nobody can send any more.
    pub(super) fn turn(&mut self) -> bool {
        let mut round = Vec::new();
        if !self.gather(&mut round) {
            return false;
        }
        if self.has_failed() {
            refuse(round, AppendError::Failed);
        } else {
            self.commit(round);
        }
        true
    }

    fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Takes what waits, at least one request; false when nobody can send any more.
    fn gather(&mut self, round: &mut Vec<Request>) -> bool {
        let Some(first) = self.receiver.blocking_recv() else {
            return false;
        };
        let mut bytes = self.taken(&first);
        round.push(first);
        while bytes < GROUP_BYTES_MAX {
            let Ok(request) = self.receiver.try_recv() else {
                break;
            };
            bytes += self.taken(&request);
            round.push(request);
        }
        true
    }

    fn taken(&self, request: &Request) -> usize {
        if let Payload::Batch(batch) = &request.payload {
            self.waiting_bytes.fetch_sub(batch.data_bytes(), Ordering::Relaxed);
        }
        request.payload.frame_bytes_at_most()
    }

    /// Writes one group for each log of the round, syncs each, answers all.
    fn commit(&self, round: Vec<Request>) {
        let mut groups: Vec<(Arc<Mutex<Log>>, Vec<Request>)> = Vec::new();
        for request in round {
            let group = groups.iter_mut().find(|(log, _)| Arc::ptr_eq(log, &request.log));
            match group {
                Some((_, requests)) => requests.push(request),
                None => groups.push((request.log.clone(), vec![request])),
            }
        }
        let mut written = Vec::with_capacity(groups.len());
        for (log, requests) in groups {
            let group = self.write(&log, requests);
            written.extend(group.map(|group| (log, group)));
        }
        for (log, group) in written {
            if self.has_failed() {
                refuse(group.requests, AppendError::Failed);
                continue;
            }
            match SyncTimer::time(self.syncs.as_ref(), || locked(&log).sync()) {
                Ok(()) => self.answer(&log, group),
                Err(error) => {
                    self.fail("sync the journal", &error);
                    refuse(group.requests, AppendError::Failed);
                }
            }
        }
    }

    /// Writes a group. Where there is no room for it, producers are refused, and what the service
    /// itself has to say is written without them.
    fn write(&self, log: &Mutex<Log>, requests: Vec<Request>) -> Option<Group> {
        let (requests, error) = match Group::write(log, requests) {
            Ok(group) => {
                self.tell_of_room(None);
                return Some(group);
            }
            Err(refused) => refused,
        };
        if let WriteError::Disk(error) = error {
            self.fail("write the journal", &error);
            refuse(requests, AppendError::Failed);
            return None;
        }
        self.tell_of_room(Some(&error));
        let (own, producers): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| request.promise.is_none());
        let is_less = !producers.is_empty();
        refuse(producers, AppendError::BudgetUsedUp);
        if own.is_empty() {
            return None;
        }
        let has_made_room = error.is_full() && locked(log).make_room();
        if !is_less && !has_made_room {
            refuse(own, AppendError::BudgetUsedUp);
            return None;
        }
        match Group::write(log, own) {
            Ok(group) => Some(group),
            Err((own, WriteError::NoRoom(_))) => {
                refuse(own, AppendError::BudgetUsedUp);
                None
            }
            Err((own, WriteError::Disk(error))) => {
                self.fail("write the journal", &error);
                refuse(own, AppendError::Failed);
                None
            }
        }
    }

    /// Answers a group that has been synced, after its seal if one was asked for.
    fn answer(&self, log: &Mutex<Log>, group: Group) {
        let answered = group.requests.into_iter().zip(group.firsts);
        let is_seal = |(request, _): &(Request, Position)| matches!(request.payload, Payload::Seal);
        let (seals, rest): (Vec<_>, Vec<_>) = answered.partition(is_seal);
        answer(rest);
        if seals.is_empty() {
            return;
        }
        let mut sealed = locked(log).seal();
        if sealed.as_ref().is_err_and(WriteError::is_full) && locked(log).make_room() {
            sealed = locked(log).seal();
        }
        let requests = |seals: Vec<(Request, Position)>| seals.into_iter().map(|(seal, _)| seal);
        match sealed {
            Ok(()) => answer(seals),
            Err(error @ WriteError::NoRoom(_)) => {
                self.tell_of_room(Some(&error));
                refuse(requests(seals), AppendError::BudgetUsedUp);
            }
            Err(WriteError::Disk(error)) => {
                self.fail("seal the journal", &error);
                refuse(requests(seals), AppendError::Failed);
            }
        }
    }

    fn tell_of_room(&self, error: Option<&WriteError>) {
        let was_full = self.is_full.replace(error.is_some());
        match error {
            Some(error) if !was_full => {
                tracing::warn!("{error}; records are refused until there is room");
            }
            None if was_full => tracing::info!("there is room to write the journal again"),
            _ => {}
        }
    }

    fn fail(&self, attempt: &str, error: &io::Error) {
        tracing::error!(%error, "could not {attempt}; nothing more is accepted");
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| format!("could not {attempt}: {error}"));
            first
        });
    }
}

/// Requests whose frames have been written, and where the records of each stand.
struct Group {
    requests: Vec<Request>,
    firsts: Vec<Position>,
}

impl Group {
    fn write(log: &Mutex<Log>, requests: Vec<Request>) -> Result<Self, (Vec<Request>, WriteError)> {
        let payloads: Vec<&Payload> = requests.iter().map(|request| &request.payload).collect();
        match locked(log).write_group(&payloads) {
            Ok(firsts) => Ok(Self { requests, firsts }),
            Err(error) => Err((requests, error)),
        }
    }
}

fn answer(requests: Vec<(Request, Position)>) {
    for (mut request, first) in requests {
        // The bytes are counted as used by now.
        drop(request.promise.take());
        let appended =
            Appended { first, count: request.payload.record_count(), is_repetition: false };
        // A caller that went away is not owed an answer; its records stay.
        let _ = request.answer.send(Ok(appended));
    }
}

fn refuse(requests: impl IntoIterator<Item = Request>, error: AppendError) {
    for mut request in requests {
        drop(request.promise.take());
        if let Some(claim) = request.claim {
            claim.refuse(error);
        }
        let _ = request.answer.send(Err(error));
    }
}

/// Reports a committing thread that panics.
struct PanicWatch(Arc<watch::Sender<Option<String>>>);

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.send_replace(Some("a committing thread panicked".to_owned()));
        }
    }
}
