//! Commands that are killed at any point, and commands beside one another.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use tests::process::{Service, eventually, patient};
use tests::server::{Server, assert_served};
use tests::snapshot::Snapshot;
use tests::topology::{Bed, address_of};

/// Delays after which a command is killed: from before its first step to after its last.
fn delays() -> impl Iterator<Item = Duration> {
    (0..20).map(|step| patient(Duration::from_millis(step * 4)))
}

#[test]
fn killed_attach_leaves_the_old_or_the_new_state_after_the_next_command() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    // The namespaces of the containers are mounts too.
    let clean = Snapshot::of(&host).without("mounts");
    for (number, delay) in delays().enumerate() {
        let name = format!("c{number}");
        let ns = bed.namespace(&name);
        let path = ns.path().to_str().unwrap();
        let attach = ["attach", "--netns", path, "--name", &name, "-p", "8080:80", "-p", "8080:80/udp"];
        let killed = Service::start(&mut host.command(&attach));
        thread::sleep(delay);
        killed.kill();
        host.netdp(&attach).done();
        let _server = Server::start(&ns, 80);
        assert_served(&bed.outside.ns, (host.address, 8080), &name);
        host.netdp(&["detach", &name]).done();
    }
    clean.assert_still(&host);
}

#[test]
fn killed_up_and_killed_down_are_completed_by_the_next() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let clean = Snapshot::of(&host);
    for delay in delays() {
        let up = Service::start(&mut host.command(&["up", "--once"]));
        thread::sleep(delay * 2);
        up.kill();
        host.up_once();
        let down = Service::start(&mut host.command(&["down"]));
        thread::sleep(delay);
        down.kill();
        host.down();
        clean.assert_still(&host);
    }
}

#[test]
fn attaches_beside_one_another_all_succeed_with_addresses_of_their_own() {
    let bed = Bed::new();
    let host = bed.host("h1");
    host.up_once();
    let containers: Vec<_> = (0..16).map(|number| bed.namespace(&format!("c{number}"))).collect();
    let running: Vec<Service> = containers
        .iter()
        .map(|ns| {
            let path = ns.path().to_str().unwrap();
            Service::start(&mut host.command(&["attach", "--netns", path, "--name", ns.name(), "-p", "80"]))
        })
        .collect();
    for service in running {
        assert_eq!(service.wait(Duration::from_secs(30)).code, Some(0));
    }
    let addresses: BTreeSet<_> = containers.iter().map(|ns| address_of(ns, "eth0")).collect();
    assert_eq!(addresses.len(), containers.len());
    let first = containers[0].sh(&format!("ping -n -q -c 1 -W 10 {}", addresses.last().unwrap()));
    assert_eq!(first.code, Some(0), "{first}");
}

#[test]
fn down_ends_a_controller_that_has_just_begun() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let clean = Snapshot::of(&host);
    for delay in delays() {
        let mut controller = Service::start(&mut host.command(&["up"]));
        thread::sleep(delay * 2);
        // One that has not taken its lock yet when `down` looks comes up afterwards, and that is right.
        eventually("it ends", Duration::from_secs(10), || {
            host.down();
            controller.ended().is_some()
        });
        host.down();
        clean.assert_still(&host);
    }
}
