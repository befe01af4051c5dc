//! The segment size that a container announces: held to what fits the way out, and left alone where it fits, or makes no sense.

use netdp_common::{csum, names};
use tests::packet::{ACK, Offloaded, SYN, judge};
use tests::program::REDIRECT;

use super::stations::{C1, L4, Packet, REMOTE, World};

/// As large as Ethernet takes with this family's headers.
const USUAL: u16 = 1460;
/// What the way of [`world`] takes.
const MTU: u16 = 1300;

/// A host whose uplink takes less than the container's link.
fn world() -> World {
    let world = World::new();
    world.machine.ns().sh(&format!("ip link set up0 mtu {MTU}")).done();
    world
}

/// What fits, by the family's headers.
fn fitting() -> u16 {
    let headers = if std::net::IpAddr::from(REMOTE).is_ipv6() { 60 } else { 40 };
    MTU - headers
}

/// A frame of TCP whose header has these options, a multiple of four bytes.
fn with_options(world: &World, flags: u8, options: &[u8]) -> Vec<u8> {
    let packet =
        world.as_c1(Packet::tcp((C1, 40_000), (REMOTE, 443), flags).with(|p| p.payload = options.to_vec()));
    let mut frame = packet.build();
    let at = L4 + 12;
    let before = u16::from_be_bytes([frame[at], frame[at + 1]]);
    frame[at] += u8::try_from(options.len() / 4).unwrap() << 4;
    let after = u16::from_be_bytes([frame[at], frame[at + 1]]);
    let sum = u16::from_be_bytes([frame[L4 + 16], frame[L4 + 17]]);
    frame[L4 + 16..L4 + 18].copy_from_slice(&csum::replace16(sum, before, after).to_be_bytes());
    judge(&frame, Offloaded::No).unwrap();
    frame
}

/// The options of a frame after it has left `C1`.
fn options_after(world: &mut World, flags: u8, options: &[u8]) -> Vec<u8> {
    let frame = with_options(world, flags, options);
    let outcome = world.machine.run(names::FROM_CONTAINER, "c1", &frame);
    assert_eq!(outcome.verdict, REDIRECT, "{:?}", outcome.change.counts);
    judge(&outcome.bytes, Offloaded::No).unwrap();
    outcome.bytes[L4 + 20..L4 + 20 + options.len()].to_vec()
}

fn size(mss: u16) -> [u8; 4] {
    let [high, low] = mss.to_be_bytes();
    [2, 4, high, low]
}

#[test]
fn announced_size_that_does_not_fit_the_way_is_lowered() {
    let mut world = world();
    let sent = [&size(USUAL)[..], &[1, 3, 3, 7, 4, 2, 1, 1]].concat();
    let expected = [&size(fitting())[..], &[1, 3, 3, 7, 4, 2, 1, 1]].concat();
    assert_eq!(options_after(&mut world, SYN, &sent), expected);
    // Behind one, two and three bytes: the checksum's words begin elsewhere.
    for padding in 1..4 {
        let front = vec![1; padding];
        let back = vec![1; 4 - padding];
        let sent = [&front[..], &size(USUAL), &back].concat();
        let expected = [&front[..], &size(fitting()), &back].concat();
        assert_eq!(options_after(&mut world, SYN, &sent), expected, "behind {padding}");
    }
}

#[test]
fn announced_size_that_fits_stays_and_so_does_what_is_no_announcement() {
    let mut world = world();
    for mss in [fitting(), 536, 0] {
        assert_eq!(options_after(&mut world, SYN, &size(mss)), size(mss));
    }
    assert_eq!(options_after(&mut world, ACK, &size(USUAL)), size(USUAL), "not in a SYN");
}

#[test]
fn options_that_make_no_sense_stay_as_they_are() {
    let mut world = world();
    let behind = |front: &[u8]| [front, &size(USUAL)].concat();
    for options in [
        behind(&[0, 0, 0, 0]),
        behind(&[5, 0, 1, 1]),
        behind(&[5, 1, 1, 1]),
        behind(&[8, 200, 1, 1]),
        vec![2, 3, 5, 180],
        vec![2, 6, 5, 180],
        vec![1, 1, 2, 4],
    ] {
        assert_eq!(options_after(&mut world, SYN, &options), options);
    }
}
