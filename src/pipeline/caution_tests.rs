//! Processes that die with records, behind batches, and by chance; conversions that panic.

use std::collections::BTreeSet;

use super::*;
use crate::buffer::Trigger;
use crate::disk::MemoryDisk;
use crate::partition::Group;
use crate::record::UnixMillis;

fn batch(first: u64, count: u64) -> Batch {
    Batch {
        group: Group::default(),
        positions: Positions::from_run(Position(first), count),
        data_bytes: 1,
        oldest_arrival: UnixMillis(0),
        closed_by: Trigger::Flush,
    }
}

/// Runs as the conversion does in a process that dies with what `dies` names: with a record, or
/// behind the last one of a batch. Gives the records that were converted and those that failed
/// by a verdict, or none when the process died.
fn run(
    disk: &Arc<MemoryDisk>,
    batches: &[Batch],
    dies_with: &dyn Fn(Position) -> bool,
    dies_behind: &dyn Fn(&Positions) -> bool,
) -> Option<(BTreeSet<u64>, BTreeSet<u64>)> {
    let caution = Caution::begin(disk.clone(), Path::new("/leg"), Position(1000));
    let batches = if caution.is_careful() { caution.divided(batches) } else { batches.to_vec() };
    let (mut converted, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for batch in batches {
        if caution.is_careful() {
            caution.begin_batch(&batch.positions);
        }
        for position in batch.positions.iter() {
            if caution.verdict(position).is_some() {
                failed.insert(position.0);
                continue;
            }
            caution.begin_record(position);
            if dies_with(position) {
                return None;
            }
            converted.insert(position.0);
        }
        caution.end_records();
        if dies_behind(&batch.positions.without(&caution.locked().note.condemned)) {
            return None;
        }
    }
    caution.end_batch();
    caution.planned(Position(1000));
    assert!(!caution.is_careful() && caution.verdict(Position(700)).is_none());
    caution.end().expect("the disk works");
    Some((converted, failed))
}

fn deaths(
    batches: &[Batch],
    dies_with: &dyn Fn(Position) -> bool,
    dies_behind: &dyn Fn(&Positions) -> bool,
) -> (u32, BTreeSet<u64>, BTreeSet<u64>) {
    let disk = Arc::new(MemoryDisk::default());
    disk.create_dir_all(Path::new("/leg")).expect("memory");
    let mut deaths = 0;
    loop {
        if let Some((converted, failed)) = run(&disk, batches, dies_with, dies_behind) {
            assert!(disk.list(Path::new("/leg")).expect("memory").is_empty());
            return (deaths, converted, failed);
        }
        deaths += 1;
        assert!(deaths < 10, "it dies for ever");
    }
}

#[test]
fn a_record_that_takes_the_process_along_does_so_three_times_and_its_neighbours_pass() {
    let batches = [batch(0, 500), batch(500, 500)];
    let poison = |position: Position| position.0 == 700;
    let (deaths, converted, failed) = deaths(&batches, &poison, &|_| false);
    assert_eq!((deaths, failed), (DEATHS, BTreeSet::from([700])));
    assert_eq!(converted.len(), 999);
}

#[test]
fn a_record_that_the_process_dies_behind_is_found_by_dividing() {
    let poison = |positions: &Positions| positions.contains(Position(700));
    let (deaths, converted, failed) = deaths(&[batch(0, 1000)], &|_| false, &poison);
    assert_eq!((deaths, failed), (7, BTreeSet::from([700])));
    assert_eq!(converted.len(), 999);
}

#[test]
fn a_process_that_dies_by_chance_condemns_nothing() {
    let disk = Arc::new(MemoryDisk::default());
    disk.create_dir_all(Path::new("/leg")).expect("memory");
    let batches: Vec<_> = (0..10).map(|number| batch(100 * number, 100)).collect();
    for unlucky in [3, 900, 40, 555, 556, 557, 558] {
        let died = run(&disk, &batches, &|position| position.0 == unlucky, &|_| false);
        assert_eq!(died, None);
        let behind = |positions: &Positions| positions.contains(Position(999 - unlucky));
        assert_eq!(run(&disk, &batches, &|_| false, &behind), None);
    }
    let caution = Caution::begin(disk.clone(), Path::new("/leg"), Position(1000));
    // Those that it died with are alone, but for the first, which nobody watched.
    assert_eq!(caution.divided(&batches).len(), 10 + 6);
    let (converted, failed) = run(&disk, &batches, &|_| false, &|_| false).expect("it lives");
    assert_eq!((converted.len(), failed.len()), (1000, 0));
}

#[test]
fn a_record_that_was_lived_through_alone_is_not_condemned_by_one_death_more() {
    let disk = Arc::new(MemoryDisk::default());
    disk.create_dir_all(Path::new("/leg")).expect("memory");
    let batches: Vec<_> = (0..10).map(|number| batch(100 * number, 100)).collect();
    // Each time the process dies with it, and then with another one after it has lived through it.
    for unlucky in [0, 40, 900, 40, 800, 40, 700, 40] {
        let died = run(&disk, &batches, &|position| position.0 == unlucky, &|_| false);
        assert_eq!(died, None, "{unlucky}");
    }
    let (converted, failed) = run(&disk, &batches, &|_| false, &|_| false).expect("it lives");
    assert_eq!((converted.len(), failed), (1000, BTreeSet::new()));
}

#[test]
fn a_record_that_kills_from_some_time_on_is_condemned_though_it_was_lived_through() {
    let disk = Arc::new(MemoryDisk::default());
    disk.create_dir_all(Path::new("/leg")).expect("memory");
    let batches: Vec<_> = (0..10).map(|number| batch(100 * number, 100)).collect();
    for unlucky in [0, 40, 900, 40, 40] {
        let died = run(&disk, &batches, &|position| position.0 == unlucky, &|_| false);
        assert_eq!(died, None, "{unlucky}");
    }
    let (converted, failed) =
        run(&disk, &batches, &|position| position.0 == 40, &|_| false).expect("it lives");
    assert_eq!((converted.len(), failed), (999, BTreeSet::from([40])));
}

#[test]
fn a_batch_that_was_lived_through_is_not_died_behind_twice_in_a_row() {
    let disk = Arc::new(MemoryDisk::default());
    disk.create_dir_all(Path::new("/leg")).expect("memory");
    let batches = [batch(0, 1)];
    assert_eq!(run(&disk, &batches, &|_| true, &|_| false), None);
    for _ in 0..3 {
        assert_eq!(run(&disk, &batches, &|_| false, &|_| true), None);
        // The process dies when its plan is being written.
        let caution = Caution::begin(disk.clone(), Path::new("/leg"), Position(1000));
        caution.begin_batch(&batches[0].positions);
        caution.end_records();
        caution.end_batch();
    }
    let (converted, failed) = run(&disk, &batches, &|_| false, &|_| false).expect("it lives");
    assert_eq!((converted.len(), failed.len()), (1, 0));
}

#[test]
fn a_batch_of_one_record_is_no_proof_against_it() {
    let disk = Arc::new(MemoryDisk::default());
    disk.create_dir_all(Path::new("/leg")).expect("memory");
    for _ in 0..2 {
        assert_eq!(run(&disk, &[batch(0, 1)], &|_| true, &|_| false), None);
    }
    let (converted, failed) = run(&disk, &[batch(0, 1)], &|_| false, &|_| false).expect("it lives");
    assert_eq!((converted.len(), failed.len()), (1, 0));
}

#[test]
fn what_stands_in_the_file_is_not_trusted() {
    let note = Note {
        record: Some(Position(7)),
        records_max: 3,
        under_way: Positions::from_run(Position(5), 10),
        died_behind: Positions::from_run(Position(5), 9),
        suspects: Positions::from_run(Position(0), 3),
        alone: Positions::from_run(Position(1), 1),
        survived: Positions::from_run(Position(3), 1),
        condemned: Positions::from_run(Position(2), 2),
    };
    let bytes = note.encode();
    assert_eq!(Note::decode(&bytes), Some(note));
    for length in 0..bytes.len() {
        assert_eq!(Note::decode(&bytes[..length]), None, "{length}");
    }
    for at in (0..bytes.len()).filter(|at| !(8..16).contains(at)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        assert_eq!(Note::decode(&damaged), None, "{at}");
    }
    let mut followed = bytes.clone();
    followed.extend(b"the end of a longer one");
    assert!(Note::decode(&followed).is_some());
}

/// Isolates in a conversion that panics when `panics` says so of a batch's records that are not
/// condemned yet.
fn isolated(batch: Batch, panics: impl Fn(&BTreeSet<u64>) -> bool) -> (Vec<u64>, BTreeSet<u64>) {
    let condemned = std::cell::RefCell::new(BTreeSet::new());
    let mut convert = |batch: &Batch| {
        let positions = batch.positions.iter().map(|position| position.0);
        let left = positions.filter(|p| !condemned.borrow().contains(p)).collect();
        caught(|| {
            assert!(!panics(&left), "told to");
            Ok(())
        })
    };
    let mut condemn = |position: Position, message: String| {
        assert_eq!(message, "told to");
        condemned.borrow_mut().insert(position.0);
    };
    let parts = isolate(batch, &mut convert, &mut condemn).expect("the log can be read");
    let counts = parts.iter().map(|(part, ())| part.positions.count()).collect();
    (counts, condemned.into_inner())
}

#[test]
fn records_that_panic_are_found_and_the_others_stay_together() {
    let bad = BTreeSet::from([13, 14, 99]);
    let (parts, condemned) = isolated(batch(0, 100), |left| !left.is_disjoint(&bad));
    assert_eq!((parts, condemned), (vec![100], bad));
}

#[test]
fn records_that_panic_only_together_are_kept_apart() {
    let (parts, condemned) = isolated(batch(0, 100), |left| left.len() > 30);
    assert_eq!((parts, condemned), (vec![25; 4], BTreeSet::new()));
}
