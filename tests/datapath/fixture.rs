//! The world of the datapath tests: two networks, three containers, one uplink, two published ports.
//!
//! It has both families. What is named here without one is of IPv4; a test of both takes what it names from [`ipv4`] or
//! [`ipv6`].

use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netdp_common::{
    Addr, Backend, Exit, Flow, FlowKey, Link, Mac, Numbers, Port, PortKey, Source, SourceKey, Uplink, Zone,
    flow_flags, port_flags, proto, timers::State, tracker::Segment,
};
use tests::packet::{Address, Carries, Packet, RST};
use tests::program::{JUST_NOW, Machine, Outcome};

pub(crate) use ipv4::{C1, C2, D1, GATEWAY, HOST, REMOTE, World};

/// The stations by their IPv4 addresses.
pub(crate) mod ipv4 {
    use std::net::Ipv4Addr;

    pub(crate) type Ip = Ipv4Addr;
    pub(crate) type Packet = tests::packet::Packet<Ip>;
    pub(crate) type World = super::WorldOf<Ip>;

    /// A container of network 1, at `c1`.
    pub(crate) const C1: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
    /// Another one of the same network, at `c2`.
    pub(crate) const C2: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 3);
    /// A container of network 2, at `d1`.
    pub(crate) const D1: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
    /// An address of network 1 that nobody has.
    pub(crate) const UNUSED: Ipv4Addr = Ipv4Addr::new(172, 17, 9, 9);
    /// Gateway of network 1, on `br0`.
    pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
    /// Gateway of network 2, on `br1`.
    pub(crate) const GATEWAY2: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
    /// The host's address, on `up0`.
    pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
    /// Another address of the link of `up0`.
    pub(crate) const ANOTHER_HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
    /// Somebody outside, behind a route.
    pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    /// Another one there.
    pub(crate) const ANOTHER_REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 200);
    /// A router outside, which makes errors.
    pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);
    /// Somebody on a link that has no uplink, 192.0.2.0/24 or `2001:db8:9::/64`.
    pub(crate) const BEYOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    /// The version of the other family.
    pub(crate) const OTHER_VERSION: u8 = 6;
    /// Loopback.
    pub(crate) const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
    /// None.
    pub(crate) const UNSPECIFIED: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    /// Addresses that no packet from a link has as its source.
    pub(crate) const MARTIANS: [Ipv4Addr; 5] = [
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::new(240, 0, 0, 1),
        Ipv4Addr::BROADCAST,
    ];
    /// Number of the family's ICMP.
    pub(crate) const ICMP: u8 = tests::packet::ICMP;
    /// Bytes of Ethernet and IP header.
    pub(crate) const L4: usize = 34;
    /// Type and code of ICMP errors.
    pub(crate) const PORT_UNREACHABLE: (u8, u8) = (3, 3);
    pub(crate) const TOO_BIG: (u8, u8) = (3, 4);
    pub(crate) const TIME_EXCEEDED: (u8, u8) = (11, 0);
    pub(crate) const PROHIBITED: (u8, u8) = (3, 13);
}

/// The stations by their IPv6 addresses.
pub(crate) mod ipv6 {
    use std::net::Ipv6Addr;

    pub(crate) type Ip = Ipv6Addr;
    pub(crate) type Packet = tests::packet::Packet<Ip>;
    pub(crate) type World = super::WorldOf<Ip>;

    pub(crate) const C1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x17, 0, 0, 0, 0, 2);
    pub(crate) const C2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x17, 0, 0, 0, 0, 3);
    pub(crate) const D1: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 2);
    pub(crate) const UNUSED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x17, 0, 0, 0, 9, 9);
    pub(crate) const GATEWAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x17, 0, 0, 0, 0, 1);
    pub(crate) const GATEWAY2: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 1);
    pub(crate) const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x10);
    pub(crate) const ANOTHER_HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x77);
    pub(crate) const REMOTE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7);
    pub(crate) const ANOTHER_REMOTE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0x200);
    pub(crate) const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 8, 0, 0, 0, 0, 0x250);
    pub(crate) const BEYOND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);
    pub(crate) const OTHER_VERSION: u8 = 4;
    pub(crate) const LOCALHOST: Ipv6Addr = Ipv6Addr::LOCALHOST;
    pub(crate) const UNSPECIFIED: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
    pub(crate) const MARTIANS: [Ipv6Addr; 3] =
        [Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)];
    pub(crate) const ICMP: u8 = tests::packet::ICMPV6;
    pub(crate) const L4: usize = 54;
    pub(crate) const PORT_UNREACHABLE: (u8, u8) = (1, 4);
    pub(crate) const TOO_BIG: (u8, u8) = (2, 0);
    pub(crate) const TIME_EXCEEDED: (u8, u8) = (3, 0);
    pub(crate) const PROHIBITED: (u8, u8) = (1, 1);
}

/// The family that a world's flows are of.
pub(crate) trait Stations: Address {
    const C1: Self;
    const GATEWAY: Self;
    const HOST: Self;
    const REMOTE: Self;
    /// All addresses, as a port is published on them.
    const ANY: Addr;
    /// Bytes of a packet that an ICMP error of netdp quotes at most.
    const QUOTED: usize;
}

impl Stations for Ipv4Addr {
    const C1: Self = C1;
    const GATEWAY: Self = GATEWAY;
    const HOST: Self = HOST;
    const REMOTE: Self = REMOTE;
    const ANY: Addr = Addr::ANY4;
    const QUOTED: usize = 576 - 20 - 8;
}

impl Stations for Ipv6Addr {
    const C1: Self = ipv6::C1;
    const GATEWAY: Self = ipv6::GATEWAY;
    const HOST: Self = ipv6::HOST;
    const REMOTE: Self = ipv6::REMOTE;
    const ANY: Addr = Addr::UNSPECIFIED;
    const QUOTED: usize = 1280 - 40 - 8;
}

/// MAC of the router outside.
pub(crate) const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Published TCP port of `C1`, and the port behind it.
pub(crate) const WEB: (u16, u16) = (8080, 80);
/// Published UDP port of `C1`, and the port behind it.
pub(crate) const DNS: (u16, u16) = (5353, 53);

/// Docker's old scheme: 02:42 and the address; of IPv6 the last four bytes.
pub(crate) fn mac(address: impl Address) -> [u8; 6] {
    match address.ip() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [2, 0x42, a, b, c, d]
        }
        IpAddr::V6(address) => {
            let [_, _, network, .., host] = address.segments();
            let [high, low] = host.to_be_bytes();
            // The last number of a network is written the same in both families.
            let second = if network == 0x18 { 18 } else { 17 };
            [2, 0x42, 172, second, high, low]
        }
    }
}

/// A machine with all of it written to the maps.
pub(crate) struct WorldOf<A> {
    pub(crate) machine: Machine,
    family: PhantomData<A>,
}

impl<A: Stations> WorldOf<A> {
    pub(crate) fn new() -> Self {
        Self::with_flags(0)
    }

    /// Network 1 with these [`netdp_common::link_flags`].
    pub(crate) fn with_flags(flags: u32) -> Self {
        Self::on(Machine::new(), flags)
    }

    /// The same on a machine that is there already.
    pub(crate) fn on(machine: Machine, flags: u32) -> Self {
        let mut world = Self { machine, family: PhantomData };
        world.endpoint("c1", (C1, ipv6::C1), 1, flags);
        world.endpoint("c2", (C2, ipv6::C2), 1, flags);
        world.endpoint("d1", (D1, ipv6::D1), 2, 0);
        let machine = &mut world.machine;
        machine.put_subnet_of(Ipv6Addr::new(0x2001, 0xdb8, 0x17, 0, 0, 0, 0, 0).into(), 64, 1);
        machine.put_subnet_of(Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0).into(), 64, 2);
        for address in [ipv6::HOST, ipv6::GATEWAY, ipv6::GATEWAY2, Ipv6Addr::LOCALHOST] {
            machine.put_host_addr(address);
        }
        machine.put_subnet(Ipv4Addr::new(172, 17, 0, 0), 16, 1);
        machine.put_subnet(Ipv4Addr::new(172, 18, 0, 0), 16, 2);
        for address in [HOST, GATEWAY, ipv4::GATEWAY2, Ipv4Addr::LOCALHOST] {
            machine.put_host_addr(address);
        }
        let uplink = machine.ifindex("up0");
        machine.put_uplink(
            uplink,
            Uplink { addr4: HOST.into(), addr6: ipv6::HOST.into(), ifindex: uplink, pad: 0 },
        );
        world.publish(A::ANY, WEB, proto::TCP);
        world.publish(A::ANY, DNS, proto::UDP);
        world
    }

    fn endpoint(&mut self, interface: &str, addresses: (Ipv4Addr, Ipv6Addr), network: u32, flags: u32) {
        let (bridge, gateway4, gateway6) = match network {
            1 => ("br0", GATEWAY, ipv6::GATEWAY),
            _ => ("br1", ipv4::GATEWAY2, ipv6::GATEWAY2),
        };
        let link = Link {
            addr4: addresses.0.into(),
            addr6: addresses.1.into(),
            gateway4: gateway4.into(),
            gateway6: gateway6.into(),
            snat4: Addr::UNSPECIFIED,
            snat6: Addr::UNSPECIFIED,
            network,
            bridge: self.machine.ifindex(bridge),
            flags,
            mac: Mac(mac(addresses.0)),
            gateway_mac: self.machine.mac(bridge),
        };
        let ifindex = self.machine.ifindex(interface);
        self.machine.put_endpoint(link, ifindex);
    }

    /// Takes the IPv6 address from `C1`.
    pub(crate) fn without_ipv6(mut self) -> Self {
        let link = Link { addr6: Addr::UNSPECIFIED, gateway6: Addr::UNSPECIFIED, ..self.machine.link("c1") };
        let ifindex = self.machine.ifindex("c1");
        self.machine.put_endpoint(link, ifindex);
        self
    }

    /// Leads a port of the host to a port of `C1`.
    pub(crate) fn publish(&mut self, address: Addr, ports: (u16, u16), protocol: u8) {
        self.publish_for(address, ports, protocol, None);
    }

    /// The same for these sources only (address and length of the prefix in the 128-bit form), when there are some.
    pub(crate) fn publish_for(
        &mut self,
        address: Addr,
        ports: (u16, u16),
        protocol: u8,
        sources: Option<&[(IpAddr, u32)]>,
    ) {
        let port = PortKey::new(address, Port::new(ports.0), protocol);
        for (source, prefix_len) in sources.unwrap_or_default() {
            let source = Source { port, addr: Addr::from(*source) };
            self.machine.put_source(SourceKey { prefix_len: *prefix_len, source });
        }
        let every = [Addr::ANY4, Addr::UNSPECIFIED].contains(&address);
        let flag = |set: bool, flag: u16| if set { flag } else { 0 };
        let backend = Backend {
            addr: A::C1.into(),
            gateway: A::GATEWAY.into(),
            ifindex: self.machine.ifindex("c1"),
            port: Port::new(ports.1),
            mac: Mac(mac(C1)),
            gateway_mac: self.machine.mac("br0"),
            flags: flag(sources.is_some(), port_flags::FILTERED) | flag(every, port_flags::EVERY_ADDRESS),
        };
        self.machine.put_port(port, backend);
    }

    /// Withdraws a port that is published on all addresses.
    pub(crate) fn withdraw(&mut self, port: u16, protocol: u8) {
        self.machine.remove_port(&PortKey::new(A::ANY, Port::new(port), protocol));
    }

    /// MAC of the bridge of network 1.
    pub(crate) fn bridge_mac(&self) -> [u8; 6] {
        self.machine.mac("br0").0
    }

    /// The packet as `C1` sends it to its gateway.
    pub(crate) fn as_c1<B: Address>(&self, packet: Packet<B>) -> Packet<B> {
        packet.link(mac(C1), self.bridge_mac())
    }

    /// The packet as the router outside sends it to the uplink.
    pub(crate) fn as_outside<B: Address>(&self, packet: Packet<B>) -> Packet<B> {
        packet.link(ROUTER_MAC, self.machine.mac("up0").0)
    }

    /// The packet as `C1` receives it from its gateway.
    pub(crate) fn to_c1<B: Address>(&self, packet: Packet<B>) -> Packet<B> {
        packet.link(self.bridge_mac(), mac(C1))
    }

    pub(crate) fn container_sends<B: Address>(&mut self, packet: &Packet<B>) -> Outcome {
        self.machine.run(netdp_common::names::FROM_CONTAINER, "c1", &packet.build())
    }

    pub(crate) fn outside_sends<B: Address>(&mut self, packet: &Packet<B>) -> Outcome {
        self.machine.run(netdp_common::names::FROM_UPLINK, "up0", &packet.build())
    }

    pub(crate) fn uplink_sends<B: Address>(&mut self, packet: &Packet<B>) -> Outcome {
        self.machine.run(netdp_common::names::TO_UPLINK, "up0", &packet.build())
    }

    pub(crate) fn host_sends<B: Address>(&mut self, packet: &Packet<B>) -> Outcome {
        self.machine.run(netdp_common::names::FROM_HOST, "lo", &packet.build())
    }

    /// Writes both entries of a flow.
    pub(crate) fn seed(&mut self, entries: [(FlowKey, Flow); 2]) {
        for (key, flow) in entries {
            self.machine.put_flow(key, flow);
        }
    }

    /// Both entries of a masqueraded flow of `C1`, as they are before its first packet is counted.
    pub(crate) fn masqueraded(&self, protocol: u8, ports: Masquerade, state: State) -> [(FlowKey, Flow); 2] {
        let Masquerade { inside, public, remote } = ports;
        let there = key((A::C1, inside), (A::REMOTE, remote), protocol, Zone::CONTAINER);
        let back = key((A::REMOTE, remote), (A::HOST, public), protocol, Zone::UPLINK);
        let uplink = self.machine.ifindex("up0");
        [
            (there, self.to_uplink((A::HOST, public), (A::REMOTE, remote), Zone::UPLINK, 0, uplink, state)),
            (back, self.to_container((A::REMOTE, remote), (A::C1, inside), flow_flags::REPLY, state)),
        ]
    }

    /// Both entries of a flow from `REMOTE` to a published port of `C1`, before its first packet is counted.
    pub(crate) fn published(
        &self,
        protocol: u8,
        client: u16,
        ports: (u16, u16),
        state: State,
    ) -> [(FlowKey, Flow); 2] {
        let there = key((A::REMOTE, client), (A::HOST, ports.0), protocol, Zone::UPLINK);
        let back = key((A::C1, ports.1), (A::REMOTE, client), protocol, Zone::CONTAINER);
        let uplink = self.machine.ifindex("up0");
        let reply = self.to_uplink(
            (A::HOST, ports.0),
            (A::REMOTE, client),
            Zone::UPLINK,
            flow_flags::REPLY,
            uplink,
            state,
        );
        [(there, self.to_container((A::REMOTE, client), (A::C1, ports.1), 0, state)), (back, reply)]
    }

    fn to_uplink(
        &self,
        src: (A, u16),
        dst: (A, u16),
        twin_zone: Zone,
        flags: u8,
        ifindex: u32,
        state: State,
    ) -> Flow {
        let none = Mac([0; 6]);
        Flow {
            exit: Exit::UPLINK,
            twin_zone,
            flags,
            ifindex,
            mac: none,
            gateway_mac: none,
            ..self.entry(src, dst, state)
        }
    }

    fn to_container(&self, src: (A, u16), dst: (A, u16), flags: u8, state: State) -> Flow {
        Flow { flags, ..self.entry(src, dst, state) }
    }

    /// An entry that leads to `C1` and whose twin comes from there.
    pub(crate) fn entry(&self, src: (A, u16), dst: (A, u16), state: State) -> Flow {
        let c1 = self.machine.ifindex("c1");
        Flow {
            src: src.0.into(),
            dst: dst.0.into(),
            sport: Port::new(src.1),
            dport: Port::new(dst.1),
            exit: Exit::ENDPOINT,
            state: state.number(),
            flags: 0,
            twin_zone: Zone::CONTAINER,
            ifindex: c1,
            seen: JUST_NOW,
            owner: c1,
            mac: Mac(mac(C1)),
            gateway_mac: Mac(self.bridge_mac()),
            numbers: Numbers::NONE,
            packets: 0,
            bytes: 0,
        }
    }
}

/// What netdp says itself about a packet, from this address, out of where the packet came in by.
pub(crate) fn answer<A: Stations>(about: &Packet<A>, from: A, carries: Carries) -> Vec<u8> {
    let answer = Packet::new(from, about.src, carries).link(about.to_mac, about.from_mac);
    let mut quoted = about.build()[14..].to_vec();
    quoted.truncate(A::QUOTED);
    answer.with(|p| (p.tos, p.id, p.payload) = (0xc0, 0, quoted)).build()
}

/// The same with this type and code.
pub(crate) fn error<A: Stations>(about: &Packet<A>, from: A, (kind, code): (u8, u8)) -> Vec<u8> {
    answer(about, from, Carries::Error { kind, code })
}

/// Ports of a masqueraded flow: the container's, the host's in its place, and the remote one.
#[derive(Clone, Copy)]
pub(crate) struct Masquerade {
    pub(crate) inside: u16,
    pub(crate) public: u16,
    pub(crate) remote: u16,
}

/// A flow that keeps its source port.
pub(crate) fn kept(port: u16, remote: u16) -> Masquerade {
    Masquerade { inside: port, public: port, remote }
}

/// A key of the flow table.
pub(crate) fn key<A: Into<Addr>>(src: (A, u16), dst: (A, u16), protocol: u8, zone: Zone) -> FlowKey {
    FlowKey {
        src: src.0.into(),
        dst: dst.0.into(),
        sport: Port::new(src.1),
        dport: Port::new(dst.1),
        proto: protocol,
        zone,
        pad: 0,
    }
}

/// The entry after one more packet of this length, whose numbers are kept unless it is a RST.
pub(crate) fn counted<A: Address>(flow: Flow, packet: &Packet<A>) -> Flow {
    let length = u64::try_from(packet.build().len()).unwrap();
    let numbers = match packet.carries {
        Carries::Tcp { flags, seq, ack, .. } if flags & RST == 0 => {
            let len = u32::try_from(packet.payload.len()).unwrap();
            flow.numbers.after(flags, &Segment { seq, ack, len })
        }
        _ => flow.numbers,
    };
    Flow { packets: flow.packets + 1, bytes: flow.bytes + length, seen: JUST_NOW, numbers, ..flow }
}

/// The entry of a direction that has said what the packets of [`Packet::tcp`] answer.
pub(crate) fn said(flow: Flow) -> Flow {
    Flow { numbers: Numbers { sent: 0x0102_0304, acked: 0x1000_0000 }, ..flow }
}

/// The entry in another state.
pub(crate) fn in_state(flow: Flow, state: State) -> Flow {
    Flow { state: state.number(), ..flow }
}

/// The entry as it was last seen so long ago that its state has ended.
pub(crate) fn expired(flow: Flow) -> Flow {
    let timeout = State::from_number(flow.state).default_ticks();
    Flow { seen: tests::program::now_ticks().wrapping_sub(timeout + 2), ..flow }
}
