//! The programs' files under the names by which they know each other, and stand-ins for what they call on the way out.

#[path = "../../../netdp-ebpf/src/kernel/access.rs"]
mod access;
#[path = "../../../netdp-ebpf/src/kernel/bytes.rs"]
mod bytes;
#[path = "../../../netdp-ebpf/src/kernel/call.rs"]
mod call;
mod conntrack;
#[path = "../../../netdp-ebpf/src/kernel/family.rs"]
mod family;
mod forward;
#[path = "../../../netdp-ebpf/src/kernel/header.rs"]
mod header;
#[path = "../../../netdp-ebpf/src/kernel/icmp.rs"]
mod icmp;
mod maps;
#[path = "../../../netdp-ebpf/src/kernel/nat.rs"]
mod nat;
#[path = "../../../netdp-ebpf/src/kernel/parse.rs"]
mod parse;
mod scratch;
#[path = "../../../netdp-ebpf/src/kernel/sound.rs"]
mod sound;
#[path = "../../../netdp-ebpf/src/kernel/sum.rs"]
mod sum;

use netdp_common::{Addr, Exit, Flow, Mac, Numbers, Port, Reason, State, Zone};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::frame::{Frame, arena};
use crate::programs::{SkBuff, TcContext};
use crate::promise;

use access::Packet;
use parse::Tuple;

/// Bytes of the input that say how the frame comes in; the rest is the frame.
const CONTROL: usize = 4;
/// Larger than any header, and small enough to be quick.
const LARGEST: usize = 1514;

/// What the input says beside the frame.
#[derive(Debug, Clone, Copy)]
struct Control {
    zone: Zone,
    exit: Exit,
    /// How many bytes are readable at first.
    linear: usize,
    /// Of the flow that is found.
    port: u16,
}

impl Control {
    fn read(bytes: [u8; CONTROL]) -> Self {
        let [kinds, linear, high, low] = bytes;
        let zone = [Zone::CONTAINER, Zone::UPLINK, Zone::HOST][usize::from(kinds & 3) % 3];
        let exit = [Exit::ENDPOINT, Exit::UPLINK, Exit::LOOPBACK][usize::from(kinds >> 2 & 3) % 3];
        Self { zone, exit, linear: usize::from(linear), port: u16::from_be_bytes([high, low]) }
    }

    /// The flow that a look-up finds, whatever the tuple: in the packet's family.
    fn flow(self, is_v4: bool) -> Flow {
        let addr = |v4: [u8; 4], v6: u16| {
            if is_v4 {
                Addr::from(Ipv4Addr::from(v4))
            } else {
                Addr::from(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, v6)))
            }
        };
        Flow {
            src: addr([203, 0, 113, 10], 10),
            dst: addr([172, 17, 0, 2], 2),
            sport: Port::new(self.port),
            dport: Port::new(self.port ^ 0x0f0f),
            exit: self.exit,
            state: State::TcpEstablished.number(),
            flags: 0,
            twin_zone: self.zone,
            ifindex: 7,
            seen: 0,
            owner: 7,
            mac: Mac([2, 0, 0, 0, 0, 2]),
            gateway_mac: Mac([2, 0, 0, 0, 0, 1]),
            numbers: Numbers::NONE,
            packets: 0,
            bytes: 0,
        }
    }
}

/// Parses a frame and translates it, as an error about a flow's packet or as one of its packets; any bytes will do.
pub fn run(input: &[u8]) {
    let Some((control, bytes)) = input.split_first_chunk::<CONTROL>() else { return };
    let bytes = &bytes[..bytes.len().min(LARGEST)];
    if bytes.len() < 14 {
        // No interface hands over less than an Ethernet header.
        return;
    }
    let _held = arena().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let control = Control::read(*control);
    let mut frame = Frame::new(bytes, control.linear);
    let context = TcContext { skb: SkBuff { skb: frame.context() } };
    let packet = Packet::new(&context);
    let mut tuple = Tuple::UNKNOWN;
    let parsed = parse(&packet, control.zone, &mut tuple);
    promise::untouched(bytes, frame.bytes());
    let flow = control.flow(tuple.key.dst.is_v4());
    let translated = match parsed {
        Ok(()) => nat::rewrite(&packet, &tuple, &flow, hop(control.exit)),
        Err(Reason::UnknownL4) if icmp::is_error(&tuple) => {
            conntrack::will_find(flow);
            icmp::error(&packet, &tuple, control.zone).map(|_| ())
        }
        Err(_) => return,
    };
    match translated {
        Ok(()) => promise::translated(bytes, frame.bytes(), tuple.l4),
        Err(Reason::IcmpUnrelated | Reason::TtlExceeded) => promise::untouched(bytes, frame.bytes()),
        Err(_) => assert_eq!(bytes.len(), frame.bytes().len(), "a frame that is dropped keeps its length"),
    }
}

/// From the Ethernet header to the whole tuple, as every hook begins.
fn parse(packet: &Packet, zone: Zone, tuple: &mut Tuple) -> Result<(), Reason> {
    let eth = parse::ethernet(packet)?;
    parse::network(packet, eth.ethertype, tuple)?;
    sound::header(packet, tuple)?;
    parse::transport(packet, zone, tuple)
}

fn hop(exit: Exit) -> header::Hop {
    match exit {
        Exit::ENDPOINT => header::Hop::RoutedToEndpoint,
        Exit::UPLINK => header::Hop::Routed,
        _ => header::Hop::Local,
    }
}
