//! Many commands beside one another: all of them succeed, nobody gets what another has, and database and kernel agree.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tests::namespace::Namespace;
use tests::process::{Service, measured};
use tests::topology::{Bed, Host, address_of};

use crate::deep::assert_agree;

const ENDPOINTS: usize = 500;
const NETWORKS: usize = 20;
const PROCESSES: usize = 8;

/// Runs a job for each number below `count`, so many at a time.
fn in_parallel(count: usize, job: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count) {
            job(number);
        }
    };
    thread::scope(|scope| (0..PROCESSES).for_each(|_| drop(scope.spawn(work))));
}

fn network(number: usize) -> String {
    format!("n{}", number % NETWORKS)
}

/// As the command line of the endpoint of a number, with a port of its own.
fn attach(ns: &Namespace, number: usize) -> Vec<String> {
    let (path, port) = (ns.path().to_str().unwrap(), format!("{}:80", 10_000 + number));
    let network = network(number);
    let words = ["attach", "--netns", path, "--name", ns.name(), "--network", &network, "-p", &port];
    words.into_iter().map(str::to_owned).collect()
}

fn words(line: &[String]) -> Vec<&str> {
    line.iter().map(String::as_str).collect()
}

fn host_with_networks(bed: &Bed) -> Host {
    let host = bed.host("h1");
    host.up_once();
    for number in 0..NETWORKS {
        host.netdp(&["network", "create", &network(number)]).done();
    }
    host
}

fn namespaces(bed: &Bed, count: usize) -> Vec<Namespace> {
    (0..count).map(|number| bed.namespace(&format!("c{number}"))).collect()
}

/// Those that the database has, by name, with their addresses.
fn attached(host: &Host) -> Vec<(String, String)> {
    let listed = host.json(&["ps", "-a"]);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let name = |endpoint: &serde_json::Value| text(&endpoint["Name"]);
    let all = listed.as_array().unwrap().iter();
    all.map(|endpoint| {
        let networks = endpoint["NetworkSettings"]["Networks"].as_object().unwrap();
        (name(endpoint), networks.values().map(|joined| text(&joined["IPAddress"])).collect())
    })
    .collect()
}

fn assert_reach(from: &Namespace, to: &Namespace) {
    let address = address_of(to, "eth0");
    from.sh(&format!("ping -n -q -c 1 -W 5 {address}")).done();
}

#[test]
fn five_hundred_endpoints_are_attached_to_twenty_networks_by_eight_processes() {
    let bed = Bed::new();
    let host = host_with_networks(&bed);
    let all = namespaces(&bed, ENDPOINTS);
    let begin = Instant::now();
    in_parallel(ENDPOINTS, |number| {
        let line = attach(&all[number], number);
        host.netdp_within(&words(&line), Duration::from_mins(2)).done();
    });
    let took = begin.elapsed();
    measured(&format!("{ENDPOINTS} endpoints on {NETWORKS} networks by {PROCESSES} processes: {took:?}"));
    let attached = attached(&host);
    let addresses: BTreeSet<&str> = attached.iter().map(|(_, address)| address.as_str()).collect();
    assert_eq!((attached.len(), addresses.len()), (ENDPOINTS, ENDPOINTS));
    let inside: BTreeSet<_> = all.iter().map(|ns| address_of(ns, "eth0").to_string()).collect();
    assert_eq!(inside, addresses.iter().map(|address| (*address).to_owned()).collect());
    let begin = Instant::now();
    let compared = assert_agree(&host);
    measured(&format!("check --deep of {ENDPOINTS} endpoints: {:?}, {compared}", begin.elapsed()));
    assert_eq!((&compared["endpoints"], &compared["ports"]), (&ENDPOINTS.into(), &ENDPOINTS.into()));
    for number in 0..NETWORKS {
        assert_reach(&all[number], &all[number + NETWORKS]);
    }
    let begin = Instant::now();
    in_parallel(ENDPOINTS, |number| {
        host.netdp_within(&["detach", &format!("c{number}")], Duration::from_mins(2)).done();
    });
    measured(&format!("{ENDPOINTS} detached by {PROCESSES} processes: {:?}", begin.elapsed()));
    assert_eq!(assert_agree(&host)["endpoints"], 0);
}

#[test]
fn attaching_and_detaching_beside_one_another_leave_exactly_those_that_were_attached() {
    const PAIRS: usize = 60;
    let bed = Bed::new();
    let host = host_with_networks(&bed);
    let controller = host.up();
    let all = namespaces(&bed, 2 * PAIRS);
    in_parallel(PAIRS, |number| host.netdp(&words(&attach(&all[number], number))).done());
    in_parallel(2 * PAIRS, |number| {
        let (going, coming) = (number / 2, PAIRS + number / 2);
        if number % 2 == 0 {
            host.netdp(&["detach", all[going].name()]).done();
        } else {
            host.netdp(&words(&attach(&all[coming], coming))).done();
        }
    });
    let left: BTreeSet<String> = attached(&host).into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, all[PAIRS..].iter().map(|ns| ns.name().to_owned()).collect());
    assert_eq!(assert_agree(&host)["endpoints"], PAIRS);
    assert_reach(&all[PAIRS], &all[PAIRS + NETWORKS]);
    controller.terminate(Duration::from_secs(10)).done();
}

#[test]
fn commands_that_are_killed_among_others_leave_database_and_kernel_in_agreement() {
    const COUNT: usize = 96;
    let bed = Bed::new();
    let host = host_with_networks(&bed);
    let all = namespaces(&bed, COUNT);
    let killed = AtomicUsize::new(0);
    in_parallel(COUNT, |number| {
        let line = attach(&all[number], number);
        if number % 4 != 3 {
            return host.netdp(&words(&line)).done();
        }
        let mut victim = Service::start(&mut host.command(&words(&line)));
        // From at once, before it has the lock for which eight of them wait, to after its end.
        thread::sleep(Duration::from_millis(11 * (number as u64 / 4)));
        killed.fetch_add(usize::from(victim.ended().is_none()), Ordering::Relaxed);
        victim.kill();
    });
    measured(&format!(
        "{} of {} attaches were killed before their end",
        killed.load(Ordering::Relaxed),
        COUNT / 4
    ));
    assert!(killed.load(Ordering::Relaxed) > 0);
    host.up_once();
    let names: BTreeSet<String> = attached(&host).into_iter().map(|(name, _)| name).collect();
    let untouched = all.iter().enumerate().filter(|(number, _)| number % 4 != 3);
    assert!(untouched.into_iter().all(|(_, ns)| names.contains(ns.name())), "{names:?}");
    assert_eq!(assert_agree(&host)["endpoints"], names.len());
    in_parallel(COUNT, |number| host.netdp(&words(&attach(&all[number], number))).done());
    assert_eq!(assert_agree(&host)["endpoints"], COUNT);
    let detach = |number: usize| host.command(&["detach", all[number].name()]);
    in_parallel(COUNT, |number| {
        let victim = Service::start(&mut detach(number));
        thread::sleep(Duration::from_millis(15 * (number as u64 % 64)));
        victim.kill();
    });
    host.up_once();
    let left = attached(&host).len();
    assert_eq!(assert_agree(&host)["endpoints"], left);
}
