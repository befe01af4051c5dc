//! The world of the datapath tests: two networks, three containers, one uplink, two published ports.

use std::net::Ipv4Addr;

use netdp_common::{
    Addr, Backend, Exit, Flow, FlowKey, Link, Mac, Port, PortKey, Uplink, Zone, flow_flags, proto,
    timers::State,
};
use tests::packet::Packet;
use tests::program::{JUST_NOW, Machine, Outcome};

/// A container of network 1, at `c1`.
pub(crate) const C1: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
/// Another one of the same network, at `c2`.
pub(crate) const C2: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 3);
/// A container of network 2, at `d1`.
pub(crate) const D1: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);
/// Gateway of network 1, on `br0`.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
/// The host's address, on `up0`.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Somebody outside, behind the default route.
pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// MAC of the router outside.
pub(crate) const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Published TCP port of `C1`, and the port behind it.
pub(crate) const WEB: (u16, u16) = (8080, 80);
/// Published UDP port of `C1`, and the port behind it.
pub(crate) const DNS: (u16, u16) = (5353, 53);

/// Docker's old scheme: 02:42 and the address.
pub(crate) fn mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [2, 0x42, a, b, c, d]
}

/// A machine with all of it written to the maps.
pub(crate) struct World {
    pub(crate) machine: Machine,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_flags(0)
    }

    /// Network 1 with these [`netdp_common::link_flags`].
    pub(crate) fn with_flags(flags: u32) -> Self {
        let mut world = Self { machine: Machine::new() };
        world.endpoint("c1", C1, 1, flags);
        world.endpoint("c2", C2, 1, flags);
        world.endpoint("d1", D1, 2, 0);
        let machine = &mut world.machine;
        machine.put_subnet(Ipv4Addr::new(172, 17, 0, 0), 16, 1);
        machine.put_subnet(Ipv4Addr::new(172, 18, 0, 0), 16, 2);
        for address in [HOST, GATEWAY, Ipv4Addr::new(172, 18, 0, 1), Ipv4Addr::LOCALHOST] {
            machine.put_host_addr(address);
        }
        let uplink = machine.ifindex("up0");
        machine.put_uplink(
            uplink,
            Uplink { addr4: HOST.into(), addr6: Addr::UNSPECIFIED, ifindex: uplink, pad: 0 },
        );
        world.publish(Addr::ANY4, WEB, proto::TCP);
        world.publish(Addr::ANY4, DNS, proto::UDP);
        world
    }

    fn endpoint(&mut self, interface: &str, address: Ipv4Addr, network: u32, flags: u32) {
        let bridge = if network == 1 { "br0" } else { "br1" };
        let link = Link {
            addr4: address.into(),
            addr6: Addr::UNSPECIFIED,
            gateway4: gateway_of(address).into(),
            gateway6: Addr::UNSPECIFIED,
            network,
            bridge: self.machine.ifindex(bridge),
            flags,
            mac: Mac(mac(address)),
            gateway_mac: self.machine.mac(bridge),
        };
        let ifindex = self.machine.ifindex(interface);
        self.machine.put_endpoint(link, ifindex);
    }

    /// Leads a port of the host to a port of `C1`.
    pub(crate) fn publish(&mut self, address: Addr, ports: (u16, u16), protocol: u8) {
        let backend = Backend {
            addr: C1.into(),
            gateway: GATEWAY.into(),
            ifindex: self.machine.ifindex("c1"),
            port: Port::new(ports.1),
            mac: Mac(mac(C1)),
            gateway_mac: self.machine.mac("br0"),
            pad: [0; 2],
        };
        self.machine.put_port(PortKey::new(address, Port::new(ports.0), protocol), backend);
    }

    /// MAC of the bridge of network 1.
    pub(crate) fn bridge_mac(&self) -> [u8; 6] {
        self.machine.mac("br0").0
    }

    /// The packet as `C1` sends it to its gateway.
    pub(crate) fn as_c1(&self, packet: Packet) -> Packet {
        packet.link(mac(C1), self.bridge_mac())
    }

    /// The packet as the router outside sends it to the uplink.
    pub(crate) fn as_outside(&self, packet: Packet) -> Packet {
        packet.link(ROUTER_MAC, self.machine.mac("up0").0)
    }

    /// The packet as `C1` receives it from its gateway.
    pub(crate) fn to_c1(&self, packet: Packet) -> Packet {
        packet.link(self.bridge_mac(), mac(C1))
    }

    pub(crate) fn container_sends(&mut self, packet: &Packet) -> Outcome {
        self.machine.run(netdp_common::names::FROM_CONTAINER, "c1", &packet.build())
    }

    pub(crate) fn outside_sends(&mut self, packet: &Packet) -> Outcome {
        self.machine.run(netdp_common::names::FROM_UPLINK, "up0", &packet.build())
    }

    pub(crate) fn uplink_sends(&mut self, packet: &Packet) -> Outcome {
        self.machine.run(netdp_common::names::TO_UPLINK, "up0", &packet.build())
    }

    pub(crate) fn host_sends(&mut self, packet: &Packet) -> Outcome {
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
        let there = key((C1, inside), (REMOTE, remote), protocol, Zone::CONTAINER);
        let back = key((REMOTE, remote), (HOST, public), protocol, Zone::UPLINK);
        let uplink = self.machine.ifindex("up0");
        [
            (there, self.to_uplink((HOST, public), (REMOTE, remote), Zone::UPLINK, 0, uplink, state)),
            (back, self.to_container((REMOTE, remote), (C1, inside), flow_flags::REPLY, state)),
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
        let there = key((REMOTE, client), (HOST, ports.0), protocol, Zone::UPLINK);
        let back = key((C1, ports.1), (REMOTE, client), protocol, Zone::CONTAINER);
        let uplink = self.machine.ifindex("up0");
        let reply =
            self.to_uplink((HOST, ports.0), (REMOTE, client), Zone::UPLINK, flow_flags::REPLY, uplink, state);
        [(there, self.to_container((REMOTE, client), (C1, ports.1), 0, state)), (back, reply)]
    }

    fn to_uplink(
        &self,
        src: (Ipv4Addr, u16),
        dst: (Ipv4Addr, u16),
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

    fn to_container(&self, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), flags: u8, state: State) -> Flow {
        Flow { flags, ..self.entry(src, dst, state) }
    }

    /// An entry that leads to `C1` and whose twin comes from there.
    pub(crate) fn entry(&self, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), state: State) -> Flow {
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
            packets: 0,
            bytes: 0,
        }
    }
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

fn gateway_of(address: Ipv4Addr) -> Ipv4Addr {
    let [a, b, _, _] = address.octets();
    Ipv4Addr::new(a, b, 0, 1)
}

/// A key of the flow table.
pub(crate) fn key(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), protocol: u8, zone: Zone) -> FlowKey {
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

/// The entry after one more packet of this length.
pub(crate) fn counted(flow: Flow, packet: &Packet) -> Flow {
    let length = u64::try_from(packet.build().len()).unwrap();
    Flow { packets: flow.packets + 1, bytes: flow.bytes + length, seen: JUST_NOW, ..flow }
}

/// The entry in another state.
pub(crate) fn in_state(flow: Flow, state: State) -> Flow {
    Flow { state: state.number(), ..flow }
}

/// The entry as it was last seen so long ago that its state has ended.
pub(crate) fn expired(flow: Flow) -> Flow {
    let timeout = State::from_number(flow.state).timeout_ticks();
    Flow { seen: tests::program::now_ticks().wrapping_sub(timeout + 2), ..flow }
}
