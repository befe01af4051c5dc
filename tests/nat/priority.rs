//! Frames from outside with a VLAN tag that names no VLAN, but a priority (IEEE 802.1Q, 6.9): the kernel takes them as it
//! takes those without a tag, and so do the programs.

use serde_json::Value;
use tests::packet::{Packet, RST, SYN, TCP};

use crate::lan::{Lan, PUBLISHED};
use crate::wire::{Ip, OTHER, REMOTE, Sender, Station};

/// The frame with a tag of this VLAN and the highest priority.
fn tagged(mut frame: Vec<u8>, vlan: u16) -> Vec<u8> {
    let [high, low] = (0xe000 | vlan).to_be_bytes();
    frame.splice(12..12, [0x81, 0, high, low]);
    frame
}

fn drops(lan: &Lan, reason: &str) -> u64 {
    let rows = lan.host.json(&["drops"]);
    let row = |row: &&Value| row["reason"] == reason;
    rows.as_array().unwrap().iter().find(row).and_then(|row| row["packets"].as_u64()).unwrap_or(0)
}

#[test]
fn frame_with_a_priority_is_translated_as_one_without() {
    let lan = Lan::new();
    let (c1, outside) = (Station::container(&lan, &lan.c1), Station::outside(&lan));
    let sender = Sender::outside(&lan);
    let syn = |from, vlan| {
        tagged(sender.frame(&Packet::tcp((from, 4000), (lan.host.address, PUBLISHED), SYN)), vlan)
    };
    sender.send(&syn(OTHER, 7));
    sender.send(&syn(REMOTE, 0));
    c1.awaits("the SYN", |ip| ip.src == REMOTE && ip.dport() == 80 && ip.flags() == SYN);
    c1.refuses("a frame of another VLAN", |ip| ip.src == OTHER);
    outside.refuses("the host answered", |ip: &Ip| ip.protocol == TCP && ip.flags() & RST != 0);
}

#[test]
fn frame_with_a_priority_is_refused_as_one_without() {
    let lan = Lan::new();
    let c1 = Station::listening(&lan, &lan.c1);
    let sender = Sender::outside(&lan);
    lan.host.netdp(&["deny", "add", &OTHER.to_string()]).done();
    let before = ["denied", "direct_routing"].map(|reason| drops(&lan, reason));
    let denied = Packet::udp((OTHER, 4000), (lan.host.address, PUBLISHED));
    let direct = Packet::udp((REMOTE, 4000), (lan.c1.address, 80));
    for packet in [denied, direct] {
        sender.send(&tagged(sender.frame(&packet), 0));
    }
    c1.refuses("a frame that is refused without a tag", |ip| [OTHER, REMOTE].contains(&ip.src));
    assert_eq!(["denied", "direct_routing"].map(|reason| drops(&lan, reason)), before.map(|n| n + 1));
}
