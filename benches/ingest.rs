//! Calls to the server on one core: `cargo bench --bench ingest -- [SECONDS A CASE] [CONNECTIONS]`.
//!
//! Every server is a process of its own, pinned to the first core; the client sits on the second and
//! has prepared its bodies. One server only collects the body of a call with hyper and answers; the
//! others are ours, with a journal on the disk of the build. They take turns in short rounds, and
//! what is compared is the CPU time of all their threads, in user and kernel. Besides: the SHA-256 of
//! the same bodies, and single records from 64 connections against bare `fdatasync`s of groups as
//! large as the journal's. Figures of different runs do not compare; ratios of one run do.

use std::process::Command;
use std::time::Duration;

use self::producer::{Producer, RECORD_BYTES};
use self::servers::{Kind, Server, Spent};

#[path = "ingest/producer.rs"]
mod producer;
#[path = "ingest/servers.rs"]
mod servers;

/// That of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SECONDS_DEFAULT: f64 = 4.0;
/// Cases take turns so often.
const ROUNDS: usize = 7;
/// Rounds before those that count, in which files of the journal begin to go round.
const FIRST_ROUNDS: usize = 2;
/// The most that a PutRecordBatch takes.
const BATCH_RECORDS: usize = 500;
/// Connections that send batches: while one group is synced, the next one gathers.
const CONNECTIONS_DEFAULT: usize = 8;
/// Connections of the storm of single records.
const STORM_CONNECTIONS: usize = 64;
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";
/// The first argument of the program as the client, and as a server.
const CALL: &str = "call";
const SERVE: &str = "serve";

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [SERVE, kind] => servers::serve(Kind::of(kind)),
        [CALL, seconds, connections] => compare(
            seconds.parse().expect("a number of seconds for each case"),
            connections.parse().expect("a number of connections"),
        ),
        [] => on_the_client_core(&SECONDS_DEFAULT.to_string(), &CONNECTIONS_DEFAULT.to_string()),
        [seconds] => on_the_client_core(seconds, &CONNECTIONS_DEFAULT.to_string()),
        [seconds, connections] => on_the_client_core(seconds, connections),
        _ => panic!("the arguments are seconds for each case, and connections"),
    }
}

/// This program once more, on one core.
fn pinned(core: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(std::env::current_exe().expect("the program has a path"));
    command
}

fn on_the_client_core(seconds: &str, connections: &str) {
    let mut client = pinned(CLIENT_CORE);
    let status = client.args([CALL, seconds, connections]).status().expect("taskset is there");
    assert!(status.success(), "the client ended: {status}");
}

fn compare(seconds: f64, connections: usize) {
    let round = Duration::from_secs_f64(seconds / ROUNDS as f64);
    batches(round, connections);
    storm(round);
}

fn batches(round: Duration, connections: usize) {
    let producer = Producer::new(BATCH_RECORDS);
    println!(
        "PutRecordBatch: {BATCH_RECORDS} records of {RECORD_BYTES} B and {} B a call, \
         {connections} connections, server on one core, median of {ROUNDS} rounds",
        producer.body_bytes()
    );
    let mut collects = Server::start(Kind::Collect);
    let mut open = Server::start(Kind::Open);
    let mut signed = Server::start(Kind::Signed);
    let mut bare = Server::start(Kind::Bare);
    let mut cases: [Vec<Spent>; 5] = Default::default();
    for number in 0..FIRST_ROUNDS + ROUNDS {
        if number == FIRST_ROUNDS {
            cases = Default::default();
        }
        let heads = producer.heads(1);
        cases[0].push(collects.serve(|port| producer.send(port, connections, &heads, round)));
        cases[1].push(open.serve(|port| producer.send(port, connections, &heads, round)));
        let heads = producer.signed_heads(round);
        cases[2].push(signed.serve(|port| producer.send(port, connections, &heads, round)));
        cases[3].push(bare.hash(BATCH_RECORDS, round));
        let group_bytes = cases[1].last().map_or(0, Spent::bytes_per_sync);
        cases[4].push(bare.write(group_bytes, round));
    }
    let median = |case: &Vec<Spent>| median(case, Spent::nanoseconds_per_record);
    let [collected, open, signed, hashed, written] = cases.each_ref().map(median);
    println!("{:<58} {:>11} {:>7}", "", "ns a record", "ratio");
    let row = |what: &str, nanoseconds: f64, to: f64| {
        println!("{what:<58} {nanoseconds:>11.0} {:>6.2}x", nanoseconds / to);
    };
    row("hyper: body collected, answered", collected, collected);
    row("unsigned, durable; to hyper", open, collected);
    row("write and fdatasync of the same groups; to hyper", written, collected);
    row("signed, durable; to hyper", signed, collected);
    row("SHA-256 of the same bodies; to hyper", hashed, collected);
    row("signed without that SHA-256; to unsigned", signed - hashed, open);
    let calls = self::median(&cases[1], Spent::records_per_sync) / BATCH_RECORDS as f64;
    println!("calls a group, unsigned: {calls:.1}");
}

fn storm(round: Duration) {
    let producer = Producer::new(1);
    println!(
        "PutRecord: records of {RECORD_BYTES} B, {STORM_CONNECTIONS} connections, server on one core"
    );
    let mut open = Server::start(Kind::Open);
    let mut bare = Server::start(Kind::Bare);
    let (mut stored, mut written) = (Vec::new(), Vec::new());
    let heads = producer.heads(1);
    for _ in 0..FIRST_ROUNDS + ROUNDS {
        let spent = open.serve(|port| producer.send(port, STORM_CONNECTIONS, &heads, round));
        written.push(bare.write(spent.bytes_per_sync(), round));
        stored.push(spent);
    }
    let (stored, written) = (&stored[FIRST_ROUNDS..], &written[FIRST_ROUNDS..]);
    let group = median(stored, Spent::records_per_sync);
    let (records, syncs) =
        (median(stored, Spent::records_per_second), median(written, Spent::syncs_per_second));
    println!(
        "{records:.0} records/s, {group:.1} records a group; {syncs:.0} bare write + fdatasync/s of \
         such groups: {:.0} % of what they could carry; {:.0} ns of CPU a record",
        100.0 * records / (group * syncs),
        median(stored, Spent::nanoseconds_per_record),
    );
}

fn median(rounds: &[Spent], figure: impl Fn(&Spent) -> f64) -> f64 {
    let mut figures: Vec<f64> = rounds.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
