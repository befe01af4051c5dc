//! The classes of packets: which program sees them, and what it does about them.

use netdp_common::timers::State;
use netdp_common::{Reason, names, proto};
use tests::packet::{ACK, Packet, SYN};
use tests::program::{DROP, NEXT, REDIRECT};

use super::family::Family;
use super::fixture::{DNS, WEB, WorldOf, mac};
use super::runner::Again;

/// Bytes behind the transport header: of every class, all headers and more are restored.
const PAYLOAD: usize = 100;
/// The ports of the established flows: of the container's, of its remote's, and of who comes from outside.
const INSIDE: u16 = 40_000;
const SERVICE: u16 = 443;
const CLIENT: u16 = 5000;
/// The first of the ports of new flows.
const NEW: u16 = 10_000;

/// Packets of one kind.
pub(crate) struct Class {
    pub(crate) way: &'static str,
    pub(crate) carries: &'static str,
    pub(crate) program: &'static str,
    pub(crate) interface: &'static str,
    pub(crate) frame: Vec<u8>,
    pub(crate) again: Again,
    pub(crate) verdict: i32,
    /// What it is counted as; what is none of ours is not counted.
    pub(crate) reason: Option<Reason>,
}

/// Where a class is: the program and its interface.
type Hook = (&'static str, &'static str);
/// What becomes of it.
type Fate = (i32, Option<Reason>);

const CONTAINER: Hook = (names::FROM_CONTAINER, "c1");
const OTHER_CONTAINER: Hook = (names::FROM_CONTAINER, "c2");
const UPLINK: Hook = (names::FROM_UPLINK, "up0");
const HOST: Hook = (names::FROM_HOST, "lo");

const MASQUERADED: Fate = (REDIRECT, Some(Reason::Masqueraded));
const PUBLISHED: Fate = (REDIRECT, Some(Reason::Published));
const REPLY: Fate = (REDIRECT, Some(Reason::Reply));
const LOCAL: Fate = (REDIRECT, Some(Reason::Local));
const PASSES: Fate = (NEXT, None);

/// The protocols that have ports, or what takes their place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carried {
    Tcp,
    Udp,
    Ping,
}

use Carried::{Ping, Tcp, Udp};

impl Carried {
    fn name(self) -> &'static str {
        match self {
            Tcp => "TCP",
            Udp => "UDP",
            Ping => "ICMP",
        }
    }

    /// The published port and the one behind it.
    fn published(self) -> (u16, u16) {
        if self == Tcp { WEB } else { DNS }
    }
}

/// A packet in the middle of a flow; an echo has the port of the one end that has a name for it.
fn packet<A: Family>(carried: Carried, src: (A, u16), dst: (A, u16)) -> Packet<A> {
    let packet = match carried {
        Tcp => Packet::tcp(src, dst, ACK),
        Udp => Packet::udp(src, dst),
        Ping if dst.1 == 0 => Packet::ping(src.0, dst.0, src.1),
        Ping => Packet::pong(src.0, dst.0, dst.1),
    };
    packet.with(|packet| packet.payload = vec![7; PAYLOAD])
}

/// Numbers of the packets of [`Packet::tcp`].
const SEQ: u32 = 0x1000_0000;
const ACKED: u32 = 0x0102_0304;

/// The first packet of a flow, or the answer to it, with the numbers that those in the middle go on from: else the flow would
/// stay at its beginning, where a packet costs more.
fn opening<A: Family>(packet: Packet<A>, opening: u8) -> Packet<A> {
    packet.with(|packet| {
        // It brings its payload with it, and a SYN counts one.
        let length = u32::try_from(packet.payload.len()).unwrap() + 1;
        if let tests::packet::Carries::Tcp { flags, seq, ack, .. } = &mut packet.carries {
            *flags = opening;
            (*seq, *ack) = if opening == SYN { (SEQ - length, 0) } else { (ACKED - length, SEQ) };
        }
    })
}

/// One way there and back: the hooks, what is sent, and what becomes of it.
struct Flow<A> {
    carried: Carried,
    there: (&'static str, Hook, Packet<A>, Fate),
    back: (&'static str, Hook, Packet<A>, Fate),
}

impl<A: Family> Flow<A> {
    /// Lets the flow begin, and gives its classes.
    fn establish(self, world: &mut WorldOf<A>) -> [Class; 2] {
        let mut send = |hook: Hook, packet: &Packet<A>| world.machine.judge(hook.0, hook.1, &packet.build());
        send(self.there.1, &opening(self.there.2.clone(), SYN));
        send(self.back.1, &opening(self.back.2.clone(), SYN | ACK));
        let classes = [self.there, self.back].map(|(way, hook, packet, fate)| {
            send(hook, &packet);
            class((way, self.carried), hook, &packet, fate)
        });
        let flows = world.machine.flows();
        let tcp = flows.iter().filter(|(key, _)| key.proto == proto::TCP);
        tcp.for_each(|(key, flow)| assert_eq!(flow.state, State::TcpEstablished.number(), "{key:?}"));
        classes
    }
}

fn class<A: Family>(
    (way, carried): (&'static str, Carried),
    (program, interface): Hook,
    packet: &Packet<A>,
    (verdict, reason): Fate,
) -> Class {
    let frame = packet.build();
    Class { way, carries: carried.name(), program, interface, frame, again: Again::Same, verdict, reason }
}

/// What is in the middle of a flow, or is of none.
pub(crate) fn steady<A: Family>(world: &mut WorldOf<A>) -> Vec<Class> {
    let flows = [Tcp, Udp, Ping].map(|carried| masqueraded(world, carried)).into_iter();
    let flows = flows.chain([Tcp, Udp].into_iter().flat_map(|carried| published(world, carried)));
    let flows: Vec<Flow<A>> = flows.collect();
    let mut classes: Vec<Class> = flows.into_iter().flat_map(|flow| flow.establish(world)).collect();
    classes.extend([Tcp, Udp, Ping].into_iter().flat_map(|carried| flowless(world, carried)));
    classes.push(spoofed(world));
    classes.extend(prefiltered(world));
    classes
}

fn masqueraded<A: Family>(world: &WorldOf<A>, carried: Carried) -> Flow<A> {
    let service = if carried == Ping { 0 } else { SERVICE };
    let there = world.as_c1(packet(carried, (A::C1, INSIDE), (A::REMOTE, service)));
    let back = world.as_outside(packet(carried, (A::REMOTE, service), (A::HOST, INSIDE)));
    Flow {
        carried,
        there: ("container to outside", CONTAINER, there, MASQUERADED),
        back: ("reply from outside", UPLINK, back, REPLY),
    }
}

/// From outside, from the host itself, and from another container.
fn published<A: Family>(world: &WorldOf<A>, carried: Carried) -> [Flow<A>; 3] {
    let (outer, inner) = carried.published();
    let answer = |to| world.as_c1(packet(carried, (A::C1, inner), to));
    let hairpin = packet(carried, (A::C2, CLIENT), (A::HOST, outer)).link(mac(A::C2), world.bridge_mac());
    [
        Flow {
            carried,
            there: (
                "outside to published",
                UPLINK,
                world.as_outside(packet(carried, (A::REMOTE, CLIENT), (A::HOST, outer))),
                PUBLISHED,
            ),
            back: ("reply of published", CONTAINER, answer((A::REMOTE, CLIENT)), REPLY),
        },
        Flow {
            carried,
            there: (
                "host to loopback",
                HOST,
                packet(carried, (A::LOCALHOST, CLIENT), (A::LOCALHOST, outer)),
                PUBLISHED,
            ),
            back: ("reply to loopback", CONTAINER, answer((A::GATEWAY, CLIENT)), REPLY),
        },
        Flow {
            carried,
            there: ("hairpin", OTHER_CONTAINER, hairpin, PUBLISHED),
            back: ("reply of hairpin", CONTAINER, answer((A::HOST, CLIENT)), REPLY),
        },
    ]
}

/// What passes without a flow: between containers, and what is the host's own.
fn flowless<A: Family>(world: &WorldOf<A>, carried: Carried) -> Vec<Class> {
    let back = if carried == Ping { 0 } else { CLIENT };
    let local = packet(carried, (A::C1, CLIENT), (A::C2, back)).link(mac(A::C1), mac(A::C2));
    let incoming = world.as_outside(packet(carried, (A::REMOTE, back), (A::HOST, 22)));
    let outgoing = packet(carried, (A::HOST, 22), (A::REMOTE, back));
    let outgoing = outgoing.link(world.machine.mac("up0").0, super::fixture::ROUTER_MAC);
    let inward = packet(carried, (A::GATEWAY, 22), (A::C1, back)).link(world.bridge_mac(), mac(A::C1));
    let own = packet(carried, (A::LOCALHOST, 22), (A::LOCALHOST, back));
    vec![
        class(("container to container", carried), CONTAINER, &local, LOCAL),
        class(("host's own, incoming", carried), UPLINK, &incoming, PASSES),
        class(("host's own, outgoing", carried), (names::TO_UPLINK, "up0"), &outgoing, PASSES),
        class(("host to a container", carried), (names::TO_BRIDGE, "br0"), &inward, PASSES),
        class(("host to itself", carried), HOST, &own, PASSES),
    ]
}

fn spoofed<A: Family>(world: &WorldOf<A>) -> Class {
    let packet = world.as_c1(packet(Udp, (A::C2, INSIDE), (A::REMOTE, SERVICE)));
    class(("spoofed source", Udp), CONTAINER, &packet, (DROP, Some(Reason::SpoofedIp)))
}

/// At XDP. The one that is denied is nobody whom another class is of.
fn prefiltered<A: Family>(world: &mut WorldOf<A>) -> [Class; 2] {
    let prefilter = (names::PREFILTER, "up0");
    let from = |src: A| world.as_outside(packet(Udp, (src, CLIENT), (A::HOST, DNS.0)));
    let (passing, denied) = (from(A::REMOTE), from(A::DENIED));
    world.machine.put_denied(A::DENIED.ip(), 128);
    [
        class(("prefilter lets pass", Udp), prefilter, &passing, PASSES),
        class(("prefilter refuses", Udp), prefilter, &denied, (DROP, Some(Reason::Denied))),
    ]
}

/// First packets of flows: all of them are forgotten after each batch.
pub(crate) fn first<A: Family>(world: &WorldOf<A>) -> Vec<Class> {
    let begin = |(way, carried), hook, first: Packet<A>, fate| {
        let at = A::L4 + if carried == Ping { 4 } else { 0 };
        Class {
            again: Again::Another { at, from: NEW },
            ..class((way, carried), hook, &opening(first, SYN), fate)
        }
    };
    let outward = |carried| {
        let service = if carried == Ping { 0 } else { SERVICE };
        let first = world.as_c1(packet(carried, (A::C1, NEW), (A::REMOTE, service)));
        begin(("first to outside", carried), CONTAINER, first, MASQUERADED)
    };
    let inward = |carried: Carried| {
        let first = packet(carried, (A::REMOTE, NEW), (A::HOST, carried.published().0));
        begin(("first to published", carried), UPLINK, world.as_outside(first), PUBLISHED)
    };
    let local = |carried: Carried| {
        let first = packet(carried, (A::LOCALHOST, NEW), (A::LOCALHOST, carried.published().0));
        begin(("first to loopback", carried), HOST, first, PUBLISHED)
    };
    let classes = [Tcp, Udp, Ping].map(outward).into_iter();
    classes.chain([Tcp, Udp].map(inward)).chain([Tcp, Udp].map(local)).collect()
}
