//! The same traffic through a host that nftables translates for and through one that netdp translates for: what comes out, where,
//! and every byte of it, must be the same, but for a short list of differences that are meant ([`allowed`]).
//!
//! `NETDP_DIFFERENTIAL_SEED` and `NETDP_DIFFERENTIAL_PACKETS` say which traffic, and how much; the same seed is the same
//! traffic. Without either it is the same every time; with a number of packets and no seed it is another one every time, and every
//! processor has beds and a seed of its own.
//! `NETDP_DIFFERENTIAL_SHOW=100-120` prints those steps with all their frames, and ends the run after the last.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test, and the panic says which")]

mod allowed;
mod beds;
mod canonical;
mod flow;
mod frame;
mod icmp_error;
mod mutation;
mod outcome;
mod random;
mod stream;
mod traffic;
mod whole;

use std::collections::BTreeMap;
use std::env;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tests::process::measured;

use allowed::allowed;
use beds::{Beds, Who};
use outcome::{Difference, Outcome, story};
use traffic::{Step, Traffic};

/// As many as `cargo xtask test` sends.
const PACKETS: usize = 100_000;
/// Any number would do; one that stays makes a failure repeat.
const SEED: u64 = 4787;

/// How often a class was met, and the story of its first member.
#[derive(Default)]
struct Class {
    count: usize,
    first: String,
}

#[derive(Default)]
struct Report {
    steps: usize,
    packets: usize,
    passed: usize,
    answered: usize,
    dropped: usize,
    meant: BTreeMap<&'static str, usize>,
    /// [`Beds::beyond_limit`] when it was last asked for.
    beyond_limit: u64,
    classes: BTreeMap<String, Class>,
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// The steps to show.
fn shown() -> Option<(usize, usize)> {
    let text = env::var("NETDP_DIFFERENTIAL_SHOW").ok()?;
    let (from, to) = text.split_once('-').unwrap_or((&text, &text));
    Some((from.parse().unwrap(), to.parse().unwrap()))
}

#[test]
fn nftables_and_netdp_do_the_same_with_every_packet() {
    let packets = number("NETDP_DIFFERENTIAL_PACKETS").map(|n| usize::try_from(n).unwrap());
    let seed = number("NETDP_DIFFERENTIAL_SEED");
    let is_chosen = packets.is_some() && seed.is_none();
    let workers = if is_chosen { thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let first = seed.unwrap_or_else(|| if is_chosen { chosen() } else { SEED });
    let share = packets.unwrap_or(PACKETS).div_ceil(workers);
    let seeds = (0..workers).map(|worker| first + u64::try_from(worker).unwrap());
    let workers: Vec<_> = seeds.map(|seed| thread::spawn(move || compare(seed, share))).collect();
    let failed: String = workers.into_iter().filter_map(|worker| worker.join().unwrap().err()).collect();
    assert!(failed.is_empty(), "{failed}");
}

/// A seed that nobody knows before.
fn chosen() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // Short enough to be read out.
    now.as_secs() % 100_000_000
}

fn compare(seed: u64, packets: usize) -> Result<(), String> {
    let beds = Beds::new();
    let begin = Instant::now();
    let report = run(&beds, seed, packets);
    let seconds = begin.elapsed().as_secs_f32();
    report.print(seed, seconds);
    if report.classes.is_empty() {
        return Ok(());
    }
    let (classes, failures) = (report.classes.len(), report.failures(seed, packets));
    Err(format!("{classes} classes of differences\n{failures}netdp counted:\n{}", beds.drops()))
}

#[test]
fn a_bed_that_does_something_else_is_found() {
    for (rule, found) in [("ip ttl set 9", "ip.ttl"), ("ip protocol udp drop", "udp")] {
        let beds = Beds::new();
        beds.reference(&format!("nft insert rule ip filter across {rule}"));
        let report = run(&beds, SEED, 300);
        let of_plain_traffic = |(name, _): &(&String, &Class)| !name.contains("junk") && name.contains(found);
        assert!(
            report.classes.iter().any(|class| of_plain_traffic(&class)),
            "{rule}: {}",
            report.failures(SEED, 300)
        );
    }
}

#[test]
fn same_seed_makes_the_same_traffic() {
    let beds = Beds::new();
    let labels = |seed| {
        let mut traffic = Traffic::new(seed, beds.plan);
        (0..500).map(|_| traffic.next().label).collect::<Vec<_>>()
    };
    assert_eq!(labels(1), labels(1));
    assert_ne!(labels(1), labels(2));
}

fn run(beds: &Beds, seed: u64, packets: usize) -> Report {
    let mut traffic = Traffic::new(seed, beds.plan);
    let mut report = Report::default();
    let show = shown();
    while report.packets < packets && show.is_none_or(|(_, last)| report.steps <= last) {
        let step = traffic.next();
        let (outcomes, difference) = outcomes(beds, &step, &traffic, &mut report.beyond_limit);
        let [nftables, netdp] = &outcomes;
        if show.is_some_and(|(first, _)| first <= report.steps) {
            println!("step {}: {}\n{}", report.steps, step.label, story(&step, &traffic, [nftables, netdp]));
        }
        report.count(&step, nftables);
        if let Some(difference) = &difference {
            report.differs(difference, || story(&step, &traffic, [nftables, netdp]));
        }
        let forwarded = [nftables.forwarded(), netdp.forwarded()];
        traffic.learn(&step, [forwarded[0].as_ref(), forwarded[1].as_ref()]);
        remember(&mut traffic, &step, report.steps, nftables, netdp);
        if let Some(broken) = traffic.broken_promise(&step) {
            report.add(broken, || story(&step, &traffic, [nftables, netdp]));
        }
        if difference.is_some() {
            traffic.give_up(&step);
        }
        report.steps += 1;
    }
    report
}

/// What became of a step in both beds, and in what that differs, after some patience while the difference is not meant: a
/// processor that has much to do hands frames over late.
fn outcomes(
    beds: &Beds,
    step: &Step,
    traffic: &Traffic,
    beyond_limit: &mut u64,
) -> ([Outcome; 2], Option<Difference>) {
    let mut outcomes = Who::BOTH.map(|who| Outcome::of(beds, who, step, traffic));
    for patience in [1, 2, 5, 20, 50] {
        let mut difference = Difference::between(step, traffic, [&outcomes[0], &outcomes[1]]);
        if let Some(lost) = difference.as_mut().filter(|difference| difference.may_be_beyond_limit()) {
            let before = std::mem::replace(beyond_limit, beds.beyond_limit());
            lost.is_beyond_limit = *beyond_limit > before;
        }
        if difference.as_ref().is_none_or(|difference| allowed(difference).is_some()) {
            return (outcomes, difference);
        }
        thread::sleep(Duration::from_millis(patience));
        for (who, outcome) in Who::BOTH.into_iter().zip(&mut outcomes) {
            outcome.take_late(beds, who, step, traffic);
        }
    }
    let difference = Difference::between(step, traffic, [&outcomes[0], &outcomes[1]]);
    (outcomes, difference)
}

fn remember(traffic: &mut Traffic, step: &Step, number: usize, nftables: &Outcome, netdp: &Outcome) {
    let Some(at) = step.flow else { return };
    let (side, label) = (step.from, &step.label);
    let line = format!("{number}: {side:?}: {label}: {} | {}", nftables.words(), netdp.words());
    traffic.flows[at].remember(line);
}

impl Report {
    fn count(&mut self, step: &Step, outcome: &Outcome) {
        self.packets += step.inputs.len();
        match outcome.0.first() {
            None => self.dropped += 1,
            Some(output) if output.answered => self.answered += 1,
            Some(_) => self.passed += 1,
        }
    }

    fn differs(&mut self, difference: &Difference, story: impl Fn() -> String) {
        if let Some(allowed) = allowed(difference) {
            *self.meant.entry(allowed.name).or_default() += 1;
            return;
        }
        self.add(difference.class(), story);
    }

    fn add(&mut self, class: String, story: impl Fn() -> String) {
        let class = self.classes.entry(class).or_default();
        class.count += 1;
        if class.count == 1 {
            class.first = format!("step {}\n{}", self.steps, story());
        }
    }

    fn print(&self, seed: u64, seconds: f32) {
        let Self { steps, packets, passed, answered, dropped, .. } = self;
        measured(&format!(
            "differential: seed {seed}, {packets} packets in {steps} steps, {seconds:.1} s; \
             nftables passed {passed}, answered {answered}, dropped {dropped}"
        ));
        for allowed in allowed::ALLOWED {
            let count = self.meant.get(allowed.name).copied().unwrap_or(0);
            measured(&format!("differential: {count} times {}: {}", allowed.name, allowed.reason));
        }
        for row in allowed::NOT_COMPARED {
            let count = self.meant.get(row.name).copied().unwrap_or(0);
            measured(&format!("differential: {count} times NOT COMPARED YET: {}: {}", row.name, row.reason));
        }
    }

    fn failures(&self, seed: u64, packets: usize) -> String {
        let mut rows: Vec<_> = self.classes.iter().collect();
        rows.sort_by_key(|(_, class)| std::cmp::Reverse(class.count));
        let replay = format!("NETDP_DIFFERENTIAL_SEED={seed} NETDP_DIFFERENTIAL_PACKETS={packets}");
        let rows = rows.into_iter().map(|(name, class)| {
            format!("{} times: {name}\n{replay}, first at {}\n", class.count, class.first)
        });
        rows.collect()
    }
}
