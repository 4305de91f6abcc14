//! Objects come out at the size that they are to have, from a cold start and after another.

#[path = "../../../benches/corpora/mod.rs"]
mod corpora;

use self::corpora::{CORPORA, Corpus};
use super::logged::Heard;
use super::world::{Aimed, Running, World};
use crate::clock::Clock as _;
use crate::journal::Batch;
use crate::record::Tenant;

const TARGET: u64 = 1 << 20;
const CALL_BYTES: usize = 1 << 20;

fn corpora() -> impl Iterator<Item = Corpus> {
    CORPORA.into_iter().filter(|corpus| ["clickstream", "nested", "small"].contains(&corpus.name))
}

fn world(corpus: &Corpus) -> World {
    let mut world = World::new();
    world.aimed = Some(Aimed { columns: corpus.columns, object_bytes: TARGET });
    world.hints.size_bytes = 20 * TARGET;
    world
}

/// Sends about so many bytes in calls of one tenant.
async fn send(
    world: &World,
    running: &Running,
    append: &mut impl FnMut(&mut String),
    bytes: usize,
) {
    let mut sent = 0;
    while sent < bytes {
        let tenant = Tenant::new("acme").expect("a tenant");
        let mut batch = Batch::new(Some(tenant), world.clock.now());
        let mut json = String::new();
        while batch.data_bytes() < CALL_BYTES {
            json.clear();
            append(&mut json);
            batch.push(json.as_bytes());
        }
        sent += batch.data_bytes();
        running.journal.append(batch).await.expect("the disk works");
    }
}

/// The sizes of the objects that were planned by a trigger.
fn planned(heard: &Heard, trigger: &str) -> Vec<u64> {
    let lines = heard.lines("planned an object");
    let lines = lines.iter().filter(|line| line.fields["trigger"] == trigger);
    lines.map(|line| line.fields["bytes"].parse().expect("a number")).collect()
}

fn near(sizes: &[u64]) -> usize {
    sizes.iter().filter(|size| (TARGET / 10 * 9..=TARGET / 10 * 11).contains(size)).count()
}

#[tokio::test(start_paused = true)]
async fn nine_of_ten_objects_are_within_a_tenth_of_their_target_from_a_cold_start() {
    for corpus in corpora() {
        let world = world(&corpus);
        let heard = Heard::begin();
        let running = world.start();
        send(&world, &running, &mut corpus.records(), 80 << 20).await;
        running.flush().await;
        let aimed = planned(&heard, "target");
        let learnt = planned(&heard, "size");
        let name = corpus.name;
        assert!(aimed.len() >= 8, "{name}: {aimed:?}, learnt by {learnt:?}");
        assert!(near(&aimed) * 10 >= aimed.len() * 9, "{name}: {aimed:?}, learnt by {learnt:?}");
        assert!(learnt.len() <= 3, "{name}: {learnt:?}");
        assert_eq!(running.closed_by("target"), aimed.len() as u64);
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_knows_what_was_learnt_and_without_the_file_learns_anew() {
    let corpus = corpora().find(|corpus| corpus.name == "small").expect("it is there");
    let world = world(&corpus);
    let mut append = corpus.records();
    let heard = Heard::begin();
    let running = world.start();
    send(&world, &running, &mut append, 20 << 20).await;
    running.flush().await;
    let learnt = planned(&heard, "size").len();
    assert!((1..=3).contains(&learnt));
    running.stop().await;

    let running = world.start();
    send(&world, &running, &mut append, 20 << 20).await;
    running.flush().await;
    assert_eq!(planned(&heard, "size").len(), learnt, "nothing was to be learnt");
    running.stop().await;

    world.damage_sizes();
    let running = world.start();
    send(&world, &running, &mut append, 20 << 20).await;
    running.flush().await;
    let sizes = planned(&heard, "size").len();
    assert!((learnt + 1..=learnt + 3).contains(&sizes));
    let aimed = planned(&heard, "target");
    assert!(near(&aimed) * 10 >= aimed.len() * 9, "{aimed:?}");
    running.stop().await;
}
