//! Random lives of journals on a disk that fails, fills up, and loses its power: appends of two
//! tenants to two streams, plans, commits, checkpoints, holds, seals, and starts that are cut off
//! themselves, each judged by a plain model. This is the property model of the journal.
//!
//! Everything is done by the thread of the test, so a schedule comes again with its seed:
//! `LAKEHOSE_SEED=17 cargo test --release schedules`. `LAKEHOSE_SCHEDULES=200000` asks for more.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::model::{Attempt, Model};
use super::*;
use crate::disk::simulated::Unsynced;
use crate::disk::simulated::chance::{Chance, seeds};
use crate::disk::simulated::faults::{Fault, Operation, Wrong};
use crate::disk::{Disk as _, ReservedDisk};
use crate::journal::committer::Worker;
use crate::journal::{Control, Hold, Look, OpenError, Survey};
use crate::plan::{Plan, PlanId};

const SCHEDULES: u64 = 18_000;
const SLICES: u64 = 4;
const SEGMENTS: SegmentSizes = SegmentSizes { first_bytes: 2 << 10, max_bytes: 8 << 10 };
const STREAMS: usize = 2;
/// Enough for the copies of the last segments and a group.
const RESERVE_BYTES: u64 = 64 << 10;

#[test]
fn no_schedule_of_the_first_quarter_breaks_the_promise() {
    run_slice(0);
}

#[test]
fn no_schedule_of_the_second_quarter_breaks_the_promise() {
    run_slice(1);
}

#[test]
fn no_schedule_of_the_third_quarter_breaks_the_promise() {
    run_slice(2);
}

#[test]
fn no_schedule_of_the_fourth_quarter_breaks_the_promise() {
    run_slice(3);
}

#[test]
fn no_cut_at_any_operation_of_a_life_or_of_the_start_after_it_breaks_the_promise() {
    for seed in [1, 2, 3] {
        let mut whole = Schedule::new(seed);
        let process = whole.begin().expect("a whole disk");
        whole.live_calmly(process);
        let operations = whole.disk.operations();
        assert!(operations > 80, "the life is worth the test: {operations}");
        for cut in 0..operations {
            for style in ["kill", "nothing", "removals", "everything", "some"] {
                cut_at(seed, cut, style);
            }
        }
    }
}

fn cut_at(seed: u64, cut: u64, style: &str) {
    let mut schedule = Schedule::new(seed);
    schedule.tell(format!("cut at {cut}"));
    schedule.disk.fail_after(cut);
    if let Ok(process) = schedule.begin() {
        schedule.live_calmly(process);
    }
    schedule.end_by(style);
    let (disk, models) = (schedule.disk.killed(), schedule.models.clone());
    let step = 1 + cut as usize % 5;
    for second in (0..).step_by(step) {
        (schedule.disk, schedule.models) = (disk.killed(), models.clone());
        schedule.tell(format!("then at {second}"));
        schedule.disk.fail_after(second);
        let has_begun = schedule.begin().is_ok();
        schedule.models.iter_mut().for_each(|model| model.had_unfinished = true);
        schedule.end_by(style);
        let mut process = schedule.begin().expect("the disk works");
        schedule.judge(&mut process);
        schedule.told.pop();
        if has_begun {
            break;
        }
    }
}

fn run_slice(slice: u64) {
    for seed in seeds(SCHEDULES, slice, SLICES) {
        Schedule::new(seed).run();
    }
}

/// A journal of the process that lives at present.
struct Live {
    opened: Opened,
    hold: Option<Hold>,
    /// What the second reader has not let go of.
    held: Positions,
    /// What the checkpoints of this process had settled: of the last that was tried, and of the one
    /// before it.
    last: Option<Positions>,
    relied_on: Option<Positions>,
}

/// The process that lives at present.
struct Process {
    worker: Worker,
    reserve: Arc<ReservedDisk>,
    environment: Environment,
    streams: Vec<Live>,
    /// Whether every file is as the journals count it; not after an error.
    is_clean: bool,
}

struct Schedule {
    seed: u64,
    chance: Chance,
    disk: SimulatedDisk,
    models: Vec<Model>,
    told: Vec<String>,
}

impl Drop for Schedule {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the schedule of LAKEHOSE_SEED={}:\n  {}", self.seed, self.told.join("\n  "));
        }
    }
}

type Answer = Result<Appended, AppendError>;

/// Something that is asked of a journal, and what is to be made of the answer.
enum Asked {
    Call(usize),
    Own(Vec<usize>),
    Plan(Plan),
    Commit(PlanId),
    Seal,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            chance: Chance::new(seed),
            disk: SimulatedDisk::default(),
            models: (0..STREAMS).map(|_| Model::new()).collect(),
            told: Vec::new(),
        }
    }

    fn run(&mut self) {
        for _ in 0..self.chance.between(2, 4) {
            let process = self.start();
            self.live(process);
        }
        // What is there now stays, and can be taken up.
        self.disk.heal();
        let mut process = self.begin().expect("a whole disk");
        self.judge(&mut process);
    }

    fn tell(&mut self, text: impl Into<String>) {
        self.told.push(text.into());
    }

    // Starts.

    /// Starts, at times after starts that are cut off or meet faults, and judges what is there.
    fn start(&mut self) -> Process {
        for _ in 0..self.chance.below(4) {
            let must_succeed = self.sabotage_start();
            match self.begin() {
                Ok(mut process) => {
                    self.tell("the start succeeds");
                    self.disk.heal();
                    self.disk.live_on();
                    self.judge(&mut process);
                    if self.chance.one_in(2) {
                        return process;
                    }
                }
                Err(error) => {
                    self.tell(format!("the start fails: {error}"));
                    assert!(!must_succeed, "a start out of a full disk with a reserve: {error}");
                }
            }
            // What a start leaves behind is nothing that it answered for.
            self.models.iter_mut().for_each(|model| model.had_unfinished = true);
            self.end();
        }
        self.disk.heal();
        let begun = self.begin();
        let mut process = begun.unwrap_or_else(|error| panic!("the disk works: {error}"));
        self.judge(&mut process);
        process
    }

    /// True when the start has to get through it.
    fn sabotage_start(&mut self) -> bool {
        self.disk.heal();
        match self.chance.below(4) {
            0 => {
                let held = self.reserve().held_bytes();
                let used = self.disk.used_bytes();
                self.disk.set_capacity(Some(used));
                self.tell(format!("a start on a full disk, {held} of {used} bytes in reserve"));
                return held == RESERVE_BYTES;
            }
            1 => self.fault(),
            _ => {
                let count = self.chance.below(16);
                self.tell(format!("a start that is cut off after {count} changes"));
                self.disk.fail_after(count);
            }
        }
        false
    }

    fn reserve(&self) -> ReservedDisk {
        ReservedDisk::new(Arc::new(self.disk.clone()), Path::new("/data"))
    }

    fn begin(&mut self) -> Result<Process, OpenError> {
        let (committer, worker) = Committer::by_hand();
        let reserve = Arc::new(self.reserve());
        let environment = Environment {
            disk: reserve.clone(),
            committer,
            segments: SEGMENTS,
            ..environment_without_threads()
        };
        let mut streams = Vec::new();
        for stream in 0..STREAMS {
            let name = StreamName::new(&format!("stream{stream}")).expect("a name");
            let opened = Journal::open(&environment, &name, &folder(stream))?;
            let hold = self.chance.one_in(4).then(|| opened.journal.hold());
            let everything = Positions::from_run(Position(0), u64::from(u32::MAX));
            let held = if hold.is_some() { everything } else { Positions::default() };
            streams.push(Live { opened, hold, held, last: None, relied_on: None });
        }
        Ok(Process { worker, reserve, environment, streams, is_clean: true })
    }

    fn judge(&mut self, process: &mut Process) {
        for (model, live) in self.models.iter_mut().zip(&process.streams) {
            model.judge(&live.opened);
        }
        self.judge_files(process);
        if process.reserve.keep(RESERVE_BYTES).is_ok() {
            self.tell("the reserve is kept");
        }
    }

    /// What the journals count is what is on the disk, and `verify` finds nothing.
    fn judge_files(&self, process: &Process) {
        let mut used = 0;
        for (stream, live) in process.streams.iter().enumerate() {
            let journal = folder(stream).join("journal");
            let mut names = self.disk.list(&journal).expect("it is listed");
            // What an attempt without room left is made again or removed by the next one.
            names.retain(|name| !name.ends_with(".tmp"));
            let lengths =
                names.iter().map(|name| self.disk.bytes(&journal.join(name)).len() as u64);
            let bytes: u64 = lengths.sum();
            assert_eq!(live.opened.journal.bytes(), bytes, "stream {stream}: {names:?}");
            used += bytes;
            let disk: Arc<dyn crate::disk::Disk> = Arc::new(self.disk.killed());
            let survey = Survey::of(&disk, &folder(stream), process.environment.instance);
            let mut survey = survey.expect("it is listed");
            survey.scan(&mut |_| {});
            let flaws = survey.take_flaws();
            assert!(flaws.iter().all(is_harmless), "stream {stream}: {flaws:?}");
            survey.check(&mut |look| match look {
                Look::Flaw(flaw) => assert!(is_harmless(&flaw), "stream {stream}: {flaw:?}"),
                Look::Record(..) => {}
            });
        }
        assert_eq!(process.environment.budget.used_bytes(), used, "the budget knows it");
    }

    // Lives.

    fn live(&mut self, mut process: Process) {
        for _ in 0..self.chance.between(3, 14) {
            if self.chance.one_in(6) {
                self.sabotage();
            }
            if !self.step(&mut process) || self.disk.is_dead() {
                break;
            }
            if self.chance.one_in(3) {
                self.disk.heal();
            }
            if process.is_clean && self.chance.one_in(4) {
                self.judge_files(&process);
            }
        }
        let is_broken = !process.is_clean || self.disk.is_dead();
        self.models.iter_mut().for_each(|model| model.had_unfinished |= is_broken);
        drop(process);
        self.end();
    }

    /// As much as a life has, with nothing wrong but the end.
    fn live_calmly(&mut self, mut process: Process) {
        for _ in 0..30 {
            if !self.step(&mut process) || self.disk.is_dead() {
                break;
            }
        }
        self.models.iter_mut().for_each(|model| model.had_unfinished = true);
    }

    fn sabotage(&mut self) {
        match self.chance.below(4) {
            0 => {
                let room = self.chance.below(6000);
                self.tell(format!("{room} bytes of room"));
                self.disk.set_capacity(Some(self.disk.used_bytes() + room));
            }
            1 => {
                let count = self.chance.below(12);
                self.tell(format!("it dies after {count} changes"));
                self.disk.fail_after(count);
            }
            _ => self.fault(),
        }
    }

    fn fault(&mut self) {
        if self.chance.one_in(6) {
            self.tell("faults by chance");
            let chance = Chance::new(self.chance.below(u64::MAX));
            self.disk.fail_by_chance(chance, self.chance.between(3, 12));
            self.models.iter_mut().for_each(|model| model.has_misread = true);
            return;
        }
        use Operation::{Create, Length, Read, Remove, Rename, Sync, SyncFolder, Write};
        let operations = [Create, Length, Read, Remove, Rename, Sync, SyncFolder, Write, Write];
        let operation = *self.chance.pick(&operations);
        let wrong = match operation {
            Write => *self.chance.pick(&[
                Wrong::Broken,
                Wrong::ShortThenBroken,
                Wrong::Full,
                Wrong::ShortThenFull,
                Wrong::ShortThenFull,
            ]),
            Create | Rename => *self.chance.pick(&[Wrong::Broken, Wrong::Full]),
            _ => Wrong::Broken,
        };
        let (skip, count) = (self.chance.below(4) as u32, self.chance.between(1, 2) as u32);
        self.tell(format!("{operation:?} will be {wrong:?} {count} times after {skip}"));
        self.disk.fail(Fault { operation, skip, count, wrong });
        let reads = operation == Read;
        self.models.iter_mut().for_each(|model| model.has_misread |= reads);
    }

    /// The power goes, or the process alone.
    fn end(&mut self) {
        let style = *self.chance.pick(&["kill", "kill", "nothing", "removals", "some", "some"]);
        self.end_by(style);
    }

    fn end_by(&mut self, style: &str) {
        self.tell(format!("end: {style}"));
        let mut chance = Chance::new(self.chance.below(u64::MAX));
        self.disk = match style {
            "kill" => self.disk.killed(),
            "nothing" => self.disk.crash(&mut |_| false),
            "removals" => self.disk.crash(&mut |unsynced| unsynced == Unsynced::Removal),
            "everything" => self.disk.crash(&mut |_| true),
            _ => self.disk.crash(&mut |_| chance.one_in(2)),
        };
    }

    /// Does one thing; false when the process has to end.
    fn step(&mut self, process: &mut Process) -> bool {
        let stream = self.chance.below(STREAMS as u64) as usize;
        match self.chance.below(12) {
            0..6 => self.ask_group(process),
            6 => self.ask(process, vec![(stream, Asked::Seal)]),
            7 | 8 => self.checkpoint(process, stream),
            9 => self.release(process, stream),
            10 => self.read(process, stream),
            _ => {
                let keeps = process.reserve.keep(RESERVE_BYTES).is_ok();
                self.tell(format!("the reserve is kept: {keeps}"));
                true
            }
        }
    }

    /// What comes together: calls of producers, and what the service has to say.
    fn ask_group(&mut self, process: &mut Process) -> bool {
        let mut asked = Vec::new();
        let mut has_decided = [false; STREAMS];
        for _ in 0..self.chance.between(1, 4) {
            let stream = self.chance.below(STREAMS as u64) as usize;
            let what = match self.chance.below(8) {
                0 if !has_decided[stream] => self.new_plan(stream),
                1 if !has_decided[stream] => self.new_commit(stream),
                2 => {
                    let count = self.chance.between(1, 3);
                    Some(Asked::Own((0..count).map(|_| self.new_call(stream, false)).collect()))
                }
                3 | 4 => self.known_call(stream),
                _ => {
                    let has_key = self.chance.one_in(2);
                    Some(Asked::Call(self.new_call(stream, has_key)))
                }
            };
            has_decided[stream] |= matches!(what, Some(Asked::Plan(_) | Asked::Commit(_)));
            asked.extend(what.map(|what| (stream, what)));
        }
        self.ask(process, asked)
    }

    fn new_call(&mut self, stream: usize, has_key: bool) -> usize {
        let count = self.chance.between(1, 4);
        let length = *self.chance.pick(&[20, 60, 200, 500, 1500, 4000]);
        let lengths = (0..count).map(|_| self.chance.between(length / 2, length) as usize);
        let lengths = lengths.collect();
        let attempts = &mut self.models[stream].attempts;
        let key = has_key.then(|| CallKey((attempts.len() as u128).to_le_bytes()));
        let tenant = *self.chance.pick(&[None, Some("acme"), Some("globex")]);
        attempts.push(Attempt { tenant, key, lengths });
        attempts.len() - 1
    }

    /// A call that comes again, whatever came of it.
    fn known_call(&mut self, stream: usize) -> Option<Asked> {
        let attempts = &self.models[stream].attempts;
        let keyed: Vec<_> =
            (0..attempts.len()).filter(|attempt| attempts[*attempt].key.is_some()).collect();
        (!keyed.is_empty()).then(|| Asked::Call(*self.chance.pick(&keyed)))
    }

    fn new_plan(&mut self, stream: usize) -> Option<Asked> {
        let model = &self.models[stream];
        let open = Positions::from_run(Position(0), model.end()).without(&model.settled);
        let (mut damaged, most) = (Positions::default(), self.chance.between(1, 8));
        for position in open.iter() {
            if damaged.count() < most && !self.chance.one_in(4) {
                damaged.push(position);
            }
        }
        let id = PlanId(model.last_plan.0 + 1);
        let plan = Plan { id, objects: Vec::new(), damaged, source_end: Position(0) };
        (!plan.damaged.is_empty()).then_some(Asked::Plan(plan))
    }

    fn new_commit(&mut self, stream: usize) -> Option<Asked> {
        let open: Vec<_> = self.models[stream].open_plans.keys().copied().collect();
        (!open.is_empty()).then(|| Asked::Commit(*self.chance.pick(&open)))
    }

    /// Asks all at once, lets the committing thread do its work, and takes the answers in.
    fn ask(&mut self, process: &mut Process, asked: Vec<(usize, Asked)>) -> bool {
        let mut answers: Vec<Pin<Box<dyn Future<Output = Answer>>>> = Vec::new();
        for (stream, asked) in &asked {
            let journal = process.streams[*stream].opened.journal.clone();
            let model = &self.models[*stream];
            answers.push(match asked {
                Asked::Call(attempt) => {
                    let batch = model.batch(*attempt);
                    Box::pin(async move { journal.append(batch).await })
                }
                Asked::Own(attempts) => {
                    let batches = attempts.iter().map(|attempt| model.batch(*attempt)).collect();
                    Box::pin(async move { journal.append_own(batches).await })
                }
                Asked::Plan(plan) => decide(journal, Control::Plan(plan.clone())),
                Asked::Commit(id) => decide(journal, Control::Commit(*id)),
                Asked::Seal => Box::pin(async move { journal.seal().await.map(|()| NOTHING) }),
            });
        }
        let answers = wait_for_all(answers, &mut process.worker);
        let mut goes_on = true;
        for ((stream, asked), answer) in asked.into_iter().zip(answers) {
            goes_on &= answer != Err(AppendError::Failed);
            process.is_clean &= answer != Err(AppendError::Failed);
            self.take_answer(stream, asked, answer);
        }
        goes_on
    }

    fn take_answer(&mut self, stream: usize, asked: Asked, answer: Answer) {
        let (what, model) = match &asked {
            Asked::Call(attempt) => (format!("call {attempt}"), &mut self.models[stream]),
            Asked::Own(attempts) => (format!("own {attempts:?}"), &mut self.models[stream]),
            Asked::Plan(plan) => (format!("{:?}", plan.id), &mut self.models[stream]),
            Asked::Commit(id) => (format!("commit of {id:?}"), &mut self.models[stream]),
            Asked::Seal => ("seal".to_owned(), &mut self.models[stream]),
        };
        self.told.push(format!("stream {stream}: {what}: {answer:?}"));
        match asked {
            Asked::Call(attempt) => model.answered(attempt, answer),
            Asked::Own(attempts) => model.answered_own(&attempts, answer),
            Asked::Plan(plan) => model.planned(plan, answer.map(|_| ())),
            Asked::Commit(id) => model.committed(id, answer.map(|_| ())),
            Asked::Seal => {}
        }
    }

    fn checkpoint(&mut self, process: &mut Process, stream: usize) -> bool {
        let (model, live) = (&mut self.models[stream], &mut process.streams[stream]);
        let checkpoint = model.checkpoint();
        let written = live.opened.journal.checkpoint(&checkpoint, live.opened.journal.mark());
        self.told.push(format!("stream {stream}: checkpoint: {written:?}"));
        process.is_clean &= written.is_ok();
        // Segments go on the word of the one before, also when their removal failed halfway.
        let before = live.last.clone();
        live.relied_on = before.clone();
        let settled = checkpoint.settled.clone();
        model.checkpointed(checkpoint, before.as_ref(), &live.held, written.is_ok());
        live.last = Some(settled);
        true
    }

    fn release(&mut self, process: &mut Process, stream: usize) -> bool {
        let (model, live) = (&mut self.models[stream], &mut process.streams[stream]);
        let Some(hold) = &live.hold else {
            return true;
        };
        let settled = model.settled.clone();
        let released = hold.release(settled.clone());
        self.told.push(format!("stream {stream}: release: {released:?}"));
        process.is_clean &= released.is_ok();
        live.held = live.held.without(&settled);
        if let Some(relied_on) = &live.relied_on {
            model.released(relied_on, &live.held);
        }
        true
    }

    fn read(&mut self, process: &mut Process, stream: usize) -> bool {
        self.disk.heal();
        let (model, journal) = (&self.models[stream], &process.streams[stream].opened.journal);
        model.judge_records(journal);
        let from = self.chance.below(model.end() + 1);
        let until = self.chance.between(from, model.end());
        model.judge_walk(journal, Position(from), Position(until));
        true
    }
}

const NOTHING: Appended = Appended { first: Position(0), count: 0, is_repetition: false };

fn decide(journal: Journal, control: Control) -> Pin<Box<dyn Future<Output = Answer>>> {
    Box::pin(async move { journal.append_control(&control).await.map(|()| NOTHING) })
}

/// Lets the committing thread take its turns until all are answered.
fn wait_for_all(
    mut answers: Vec<Pin<Box<dyn Future<Output = Answer>>>>,
    worker: &mut Worker,
) -> Vec<Answer> {
    let mut context = Context::from_waker(Waker::noop());
    let mut answered = vec![None; answers.len()];
    loop {
        let mut waits = false;
        for (future, answer) in answers.iter_mut().zip(&mut answered) {
            if answer.is_none() {
                match future.as_mut().poll(&mut context) {
                    Poll::Ready(ready) => *answer = Some(ready),
                    Poll::Pending => waits = true,
                }
            }
        }
        if !waits {
            return answered.into_iter().flatten().collect();
        }
        worker.turn();
    }
}

/// What a start leaves as it is, and holes where segments have gone. A seal whose sync failed is
/// lost with the power, and nothing else.
fn is_harmless(flaw: &crate::journal::Flaw) -> bool {
    use crate::journal::FlawKind::{Hole, Leftover, MissingCheckpoint, NoSeal};
    matches!(flaw.kind, Leftover | MissingCheckpoint | Hole | NoSeal)
}

fn folder(stream: usize) -> PathBuf {
    Path::new("/data/streams").join(format!("stream{stream}"))
}
