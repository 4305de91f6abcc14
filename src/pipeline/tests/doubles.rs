//! Doubles of the outside world that fail on demand: disk, store, catalog; and a clock that is set.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult,
};
use tokio::sync::watch;

use crate::catalog::{Catalog, CatalogError, Definition, Found, Known, Registration};
use crate::clock::Clock;
use crate::disk::simulated::SimulatedDisk;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::fault::Action;
use crate::plan::CatalogPartition;
use crate::record::{ErrorOutputType, UnixMillis};
use crate::transform::{Failure, Item, Part, Transform, Unavailable, Verdict};
use crate::webhook::{Announce, AnnounceError};

/// When a double fails: after `skip` calls, `count` times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fault {
    pub(super) skip: u32,
    pub(super) count: u32,
    /// What was asked is done all the same; only the answer is lost.
    pub(super) is_applied: bool,
}

impl Fault {
    pub(super) const fn times(count: u32) -> Self {
        Self { skip: 0, count, is_applied: false }
    }

    fn strikes(&mut self) -> bool {
        if self.count == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.count -= 1;
        true
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A simulated disk of which changes under chosen paths fail, and which can die.
#[derive(Clone, Debug)]
pub(super) struct FaultyDisk {
    pub(super) inner: SimulatedDisk,
    rules: Arc<Mutex<Rules>>,
    dead: Arc<watch::Sender<bool>>,
}

#[derive(Debug, Default)]
struct Rules {
    fault: Fault,
    needle: &'static str,
    kind: Option<io::ErrorKind>,
    dies_after: Option<u64>,
}

impl FaultyDisk {
    pub(super) fn new(inner: SimulatedDisk) -> Self {
        Self { inner, rules: Arc::default(), dead: Arc::new(watch::Sender::new(false)) }
    }

    /// Changes of paths that contain `needle` fail as `fault` says.
    pub(super) fn fail(&self, needle: &'static str, fault: Fault, kind: io::ErrorKind) {
        let mut rules = locked(&self.rules);
        (rules.needle, rules.fault, rules.kind) = (needle, fault, Some(kind));
    }

    pub(super) fn faults_left(&self) -> u32 {
        locked(&self.rules).fault.count
    }

    /// After `count` more changes every other one fails.
    pub(super) fn die_after(&self, count: u64) {
        locked(&self.rules).dies_after = Some(count);
    }

    pub(super) async fn died(&self) {
        let mut dead = self.dead.subscribe();
        let _ = dead.wait_for(|dead| *dead).await;
    }

    fn change<T>(&self, path: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        // Held over the act, so that nothing happens on a disk that has died.
        let mut rules = locked(&self.rules);
        match &mut rules.dies_after {
            Some(0) => {
                self.dead.send_replace(true);
                return Err(io::Error::other("the simulated process is dead"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let is_meant = rules.fault.count > 0 && path.to_string_lossy().contains(rules.needle);
        if is_meant && rules.fault.strikes() {
            return Err(rules
                .kind
                .map_or_else(|| io::Error::other("told to fail"), io::Error::from));
        }
        act()
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let open = || self.inner.open(path, mode);
        let file = if mode == OpenMode::Create { self.change(path, open) } else { open() }?;
        Ok(Arc::new(FaultyFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.inner.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(to, || self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(path, || self.inner.remove(path))
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.change(directory, || self.inner.sync_dir(directory))
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.change(&self.path, || self.file.write_all_at(bytes, offset))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change(&self.path, || self.file.sync())
    }

    fn set_len(&self, length_bytes: u64) -> io::Result<()> {
        self.disk.change(&self.path, || self.file.set_len(length_bytes))
    }

    fn allocate(&self, length_bytes: u64) -> io::Result<()> {
        self.disk.change(&self.path, || self.file.allocate(length_bytes))
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }
}

/// A store in memory that remembers what was put.
#[derive(Debug, Default)]
pub(super) struct FaultyStore {
    inner: InMemory,
    pub(super) put_fault: Mutex<Fault>,
    pub(super) head_fault: Mutex<Fault>,
    /// Answers as a store that has none of the objects.
    pub(super) is_forgetful: Mutex<bool>,
    /// Refuses what has this in its key.
    pub(super) refuses: Mutex<Option<&'static str>>,
    /// Has something else under each key that it has not been asked for yet, so many times.
    pub(super) strangers: Mutex<u32>,
    /// Every question after an object.
    pub(super) questions: Mutex<Vec<String>>,
    /// Every attempt to put, also the failed ones.
    pub(super) attempts: Mutex<Vec<(String, Bytes)>>,
    applied: Mutex<BTreeMap<String, Bytes>>,
}

impl FaultyStore {
    /// What is in the store.
    pub(super) fn objects(&self) -> BTreeMap<String, Bytes> {
        locked(&self.applied).clone()
    }

    /// Somebody else puts an object under a key first.
    async fn meet_stranger(&self, location: &ObjectPath) {
        let comes = {
            let mut strangers = locked(&self.strangers);
            let comes = *strangers > 0;
            *strangers = strangers.saturating_sub(1);
            comes
        };
        if comes {
            let payload = PutPayload::from_static(b"somebody else's");
            self.inner.put(location, payload).await.expect("memory takes everything");
        }
    }

    /// What is under a key.
    pub(super) async fn content(&self, key: &str) -> Bytes {
        let found = self.inner.get(&ObjectPath::from(key)).await.expect("it is there");
        found.bytes().await.expect("it can be read")
    }

    fn failure() -> Error {
        Error::Generic { store: "faulty", source: "told to fail".into() }
    }
}

impl std::fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty store")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(
        &self,
        location: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let bytes: Bytes = payload.clone().into();
        locked(&self.attempts).push((location.to_string(), bytes.clone()));
        let (strikes, is_applied) = {
            let mut fault = locked(&self.put_fault);
            (fault.strikes(), fault.is_applied)
        };
        if strikes && !is_applied {
            return Err(Self::failure());
        }
        if locked(&self.refuses).is_some_and(|part| location.as_ref().contains(part)) {
            return Err(Self::failure());
        }
        self.meet_stranger(location).await;
        // One that forgets does not know a condition either.
        let is_forgetful = *locked(&self.is_forgetful);
        let mode = if is_forgetful { PutMode::Overwrite } else { options.mode.clone() };
        let put = self.inner.put_opts(location, payload, PutOptions { mode, ..options }).await;
        if put.is_ok() {
            locked(&self.applied).insert(location.to_string(), bytes);
        }
        if strikes { Err(Self::failure()) } else { put }
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &ObjectPath,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        locked(&self.questions).push(location.to_string());
        if locked(&self.head_fault).strikes() {
            return Err(Self::failure());
        }
        if *locked(&self.is_forgetful) {
            return Err(Error::NotFound { path: location.to_string(), source: "forgotten".into() });
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        self.inner.delete_stream(locations)
    }

    fn list(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A catalog in memory.
#[derive(Debug, Default)]
pub(super) struct FaultyCatalog {
    pub(super) fault: Mutex<Fault>,
    pub(super) partitions: Mutex<BTreeSet<CatalogPartition>>,
}

impl FaultyCatalog {
    fn failure() -> CatalogError {
        CatalogError::Unreachable { attempt: "register".into(), reason: "told to fail".into() }
    }
}

impl Catalog for FaultyCatalog {
    fn table<'a>(
        &'a self,
        _database: &'a str,
        _table: &'a str,
    ) -> BoxFuture<'a, Result<Found, CatalogError>> {
        Box::pin(async { Err(Self::failure()) })
    }

    fn define<'a>(
        &'a self,
        _definition: &'a Definition,
    ) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async { Err(Self::failure()) })
    }

    fn check<'a>(&'a self, _definition: &'a Definition) -> BoxFuture<'a, Result<(), CatalogError>> {
        Box::pin(async { Err(Self::failure()) })
    }

    fn register<'a>(
        &'a self,
        partitions: &'a [CatalogPartition],
    ) -> BoxFuture<'a, Result<Registration, CatalogError>> {
        Box::pin(async {
            let mut fault = locked(&self.fault);
            let strikes = fault.strikes();
            if !strikes || fault.is_applied {
                locked(&self.partitions).extend(partitions.iter().cloned());
            }
            if strikes {
                return Err(Self::failure());
            }
            Ok(Registration { registered: partitions.to_vec(), ..Registration::default() })
        })
    }

    fn partitions<'a>(
        &'a self,
        _database: &'a str,
        _table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Known>, CatalogError>> {
        Box::pin(async { Err(Self::failure()) })
    }

    fn widen<'a>(
        &'a self,
        _definition: &'a Definition,
    ) -> BoxFuture<'a, Result<u64, CatalogError>> {
        Box::pin(async { Err(Self::failure()) })
    }
}

/// A webhook that remembers what it was told, and by which keys.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct FaultyWebhook {
    pub(super) fault: Mutex<Fault>,
    pub(super) told: Mutex<Vec<(String, Bytes)>>,
}

impl Announce for FaultyWebhook {
    fn announce<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
    ) -> BoxFuture<'a, Result<(), AnnounceError>> {
        let (strikes, is_applied) = {
            let mut fault = locked(&self.fault);
            (fault.strikes(), fault.is_applied)
        };
        if !strikes || is_applied {
            locked(&self.told).push((key.to_owned(), body));
        }
        let error = || AnnounceError { url: "http://double".into(), reason: "told to fail".into() };
        Box::pin(async move { if strikes { Err(error()) } else { Ok(()) } })
    }
}

/// A clock that stands still until it is moved, and counts how often it is asked.
#[derive(Debug, Default)]
pub(super) struct ManualClock {
    millis: AtomicU64,
    asked: AtomicU64,
    last_asked_millis: AtomicU64,
}

/// 2026-03-14T09:26:53Z.
const START: i64 = 1_773_480_413_000;

impl ManualClock {
    pub(super) fn advance(&self, by: Duration) {
        self.millis.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// The steady time when it was last asked for.
    pub(super) fn last_asked(&self) -> Duration {
        Duration::from_millis(self.last_asked_millis.load(Ordering::Relaxed))
    }

    /// How often a pipeline asked for the steady time: a few times in each turn of its loop.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(START + self.millis.load(Ordering::Relaxed).cast_signed())
    }

    fn steady(&self) -> Duration {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let millis = self.millis.load(Ordering::Relaxed);
        self.last_asked_millis.store(millis, Ordering::Relaxed);
        Duration::from_millis(millis)
    }
}

/// What a row's number says when [`FickleHook`] made the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// The record.
    pub(super) id: u64,
    /// Which answer of the hook it belongs to.
    pub(super) answer: u64,
    /// Of so many parts.
    pub(super) of: u64,
    /// This one.
    pub(super) part: u64,
}

impl Code {
    const IDS: u64 = 1_000_000;

    pub(super) fn decode(number: u64) -> Self {
        let (rest, id) = (number / Self::IDS, number % Self::IDS);
        Self { id, answer: rest / 16, of: rest / 4 % 4, part: rest % 4 }
    }

    fn encode(self) -> u64 {
        ((self.answer * 4 + self.of) * 4 + self.part) * Self::IDS + self.id
    }
}

/// A hook that never answers twice in the same way: what it says of a record depends on how often it
/// was asked before.
#[derive(Debug, Default)]
pub(super) struct FickleHook {
    pub(super) asked: AtomicU64,
    /// Says Dropped to everything.
    pub(super) drops_all: bool,
    /// Is away so many times.
    pub(super) away: Mutex<u32>,
    /// Answers for no more than so many of the records that it is given at once.
    pub(super) answers_max: Option<usize>,
}

impl Transform for FickleHook {
    fn apply<'a>(&'a self, items: &'a [Item]) -> BoxFuture<'a, Result<Vec<Verdict>, Unavailable>> {
        Box::pin(async move {
            let mut away = locked(&self.away);
            if *away > 0 {
                *away -= 1;
                let reason = "the hook is away".to_owned();
                return Err(Unavailable { reason, action: Action::Retry });
            }
            let answers_max = self.answers_max.unwrap_or(items.len());
            Ok(items.iter().take(answers_max).map(|item| self.verdict(item)).collect())
        })
    }
}

impl FickleHook {
    fn verdict(&self, item: &Item) -> Verdict {
        let answer = self.asked.fetch_add(1, Ordering::Relaxed);
        if self.drops_all {
            return Verdict::Dropped;
        }
        let record: serde_json::Value = serde_json::from_slice(&item.part.data).expect("JSON");
        let id = record["id"].as_u64().or_else(|| record["id"][0].as_u64()).expect("an id");
        let part = |part, of| {
            let number = Code { id, answer, of, part }.encode();
            // Some parts do not fit the table.
            let text = if (answer + part) % 3 == 2 {
                format!(r#"{{"id":[{number}]}}"#)
            } else {
                format!(r#"{{"id":{number}}}"#)
            };
            Part::new(text.into_bytes())
        };
        match answer % 5 {
            0 => Verdict::Dropped,
            1 => Verdict::Failed(Failure {
                error_type: ErrorOutputType::ProcessingFailed,
                code: "Lambda.ProcessingFailedStatus".into(),
                message: "ProcessingFailed status set for record".into(),
                attempts: 1,
                lambda_arn: None,
            }),
            of => Verdict::Parts((0..of - 1).map(|number| part(number, of - 1)).collect()),
        }
    }
}
