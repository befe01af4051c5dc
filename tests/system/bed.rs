//! The harness itself: what it must notice, and what it must leave behind, which is nothing.

use std::net::Ipv6Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use tests::capture::RawSocket;
use tests::packet::{Packet, arp_request};
use tests::process::{Service, eventually, patient, run_within};
use tests::topology::{Bed, OUTSIDE, UPLINK};

/// Runs a job that must panic, and gives what it said.
fn panic_of(job: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(job)).unwrap_err();
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

#[test]
fn private_source_on_an_uplink_fails_the_test() {
    for (source, breach) in [
        ("10.0.0.9", true),
        ("172.31.255.1", true),
        ("172.32.0.1", false),
        ("192.168.1.1", true),
        ("127.0.0.1", true),
        ("203.0.113.10", false),
    ] {
        let from = source.parse().unwrap();
        for frame in [Packet::ping(from, OUTSIDE, 1).build(), arp_request([2; 6], from, OUTSIDE)] {
            let bed = Bed::new();
            let host = bed.host("h1");
            RawSocket::open(&host.ns, UPLINK, &[]).send(&frame);
            assert_eq!(bed.breaches().len(), usize::from(breach), "{source}");
            drop(host);
            if breach {
                assert!(panic_of(|| drop(bed)).contains(source));
            }
        }
    }
}

#[test]
fn private_ipv6_source_on_an_uplink_is_seen() {
    for (source, breach) in [
        ("fd00::2", true),
        ("fc00::2", true),
        ("::1", true),
        ("::", false),
        ("fe80::2", false),
        ("2001:db8::1", false),
    ] {
        let source: Ipv6Addr = source.parse().unwrap();
        let bed = Bed::new();
        let host = bed.host("h1");
        // A datagram header without data, whose checksum nobody judges here.
        let mut frame = [&[2; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]].concat();
        frame.extend([source.octets(), bed.outside.address6.octets()].concat());
        frame.extend([0, 1, 0, 9, 0, 8, 0, 0]);
        RawSocket::open(&host.ns, UPLINK, &[]).send(&frame);
        assert_eq!(bed.breaches().len(), usize::from(breach), "{source}");
        drop(host);
        if breach {
            assert!(panic_of(|| drop(bed)).contains("left an uplink"));
        }
    }
}

#[test]
fn bed_is_gone_after_a_panic() {
    let mut left = None;
    let said = panic_of(|| {
        let bed = Bed::new();
        let host = bed.host("h1");
        host.up_once();
        let c1 = bed.container(&host, "c1", &[]);
        let sleeper = Service::start(c1.ns.command("sleep").arg("600"));
        left = Some((host.run_dir(), c1.ns.path().to_owned(), sleeper.id()));
        panic!("on purpose");
    });
    assert_eq!(said, "on purpose");
    let (run_dir, namespace, sleeper) = left.unwrap();
    assert!(!run_dir.exists() && !namespace.exists());
    assert!(!Path::new(&format!("/proc/{sleeper}")).exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("/run/bed"), "{mounts}");
}

#[test]
fn command_that_never_ends_is_killed_with_its_children() {
    let bed = Bed::new();
    let begin = Instant::now();
    let line = "sleep 600 & echo $!; wait";
    let ran = run_within(bed.outside.ns.command("sh").args(["-c", line]), Duration::from_secs(2));
    assert_eq!(ran.code, None);
    assert!(begin.elapsed() < patient(Duration::from_secs(20)));
    let child: u32 = ran.stdout.trim().parse().expect("the shell said which child it has");
    // Its parent was waited for and it was not: it ends a moment after the signal.
    eventually("the child is gone or a zombie", Duration::from_secs(5), || {
        let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z")
    });
}

#[test]
fn wrong_checksum_on_a_wire_is_seen() {
    let bed = Bed::new();
    let host = bed.host("h1");
    let capture = tests::capture::Capture::start(&bed.outside.ns, "h1", &[]);
    let wrong = Packet::udp((host.address, 1), (OUTSIDE, 9)).with(|p| p.lies.transport_checksum = true);
    RawSocket::open(&host.ns, UPLINK, &[]).send(&wrong.build());
    let seen = capture.seen();
    assert!(seen.wrong.iter().any(|wrong| wrong.contains("UDP")), "{seen:?}");
}
