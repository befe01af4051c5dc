//! Which look-ups of a socket end at the resolver: those of endpoints at port 53 of their own gateway, and no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use netdp_common::{proto, resolver};
use tests::lookup::{Lookup, cookie};

use crate::fixture::{ipv4, ipv6};

const PORT: u16 = 53;

/// The world with the four sockets of a resolver, and what they are known by.
struct Served {
    world: ipv4::World,
    udp: [UdpSocket; 2],
    tcp: [TcpListener; 2],
}

impl Served {
    fn new() -> Self {
        let mut world = ipv4::World::new();
        let (udp, tcp) = world.machine.ns().enter(|| {
            let any: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            (
                any.map(|it| UdpSocket::bind((it, 0)).unwrap()),
                any.map(|it| TcpListener::bind((it, 0)).unwrap()),
            )
        });
        world.machine.put_resolver(resolver::UDP4, &udp[0]);
        world.machine.put_resolver(resolver::UDP6, &udp[1]);
        world.machine.put_resolver(resolver::TCP4, &tcp[0]);
        world.machine.put_resolver(resolver::TCP6, &tcp[1]);
        Self { world, udp, tcp }
    }

    /// The socket that a packet comes to.
    fn chosen(
        &mut self,
        protocol: u8,
        from: impl Into<IpAddr>,
        to: impl Into<IpAddr>,
        port: u16,
    ) -> Option<u64> {
        self.world.machine.look_up(&Lookup { protocol, from: (from.into(), 40_000), to: (to.into(), port) })
    }

    /// That neither protocol leads anywhere but to the host's own sockets.
    fn stays(&mut self, from: impl Into<IpAddr>, to: impl Into<IpAddr>, port: u16) {
        let (from, to) = (from.into(), to.into());
        for protocol in [proto::UDP, proto::TCP] {
            assert_eq!(self.chosen(protocol, from, to, port), None, "{protocol} {from} to {to}:{port}");
        }
    }
}

#[test]
fn endpoints_query_of_its_gateway_goes_to_the_resolver() {
    let mut served = Served::new();
    let [udp4, udp6] = [0, 1].map(|it| Some(cookie(&served.udp[it])));
    let [tcp4, tcp6] = [0, 1].map(|it| Some(cookie(&served.tcp[it])));
    for from in [ipv4::C1, ipv4::C2] {
        assert_eq!(served.chosen(proto::UDP, from, ipv4::GATEWAY, PORT), udp4, "{from}");
        assert_eq!(served.chosen(proto::TCP, from, ipv4::GATEWAY, PORT), tcp4, "{from}");
    }
    for from in [ipv6::C1, ipv6::C2] {
        assert_eq!(served.chosen(proto::UDP, from, ipv6::GATEWAY, PORT), udp6, "{from}");
        assert_eq!(served.chosen(proto::TCP, from, ipv6::GATEWAY, PORT), tcp6, "{from}");
    }
    assert_eq!(served.chosen(proto::UDP, ipv4::D1, ipv4::GATEWAY2, PORT), udp4);
    assert_eq!(served.chosen(proto::TCP, ipv6::D1, ipv6::GATEWAY2, PORT), tcp6);
}

#[test]
fn other_ports_addresses_and_askers_stay_with_the_host() {
    let mut served = Served::new();
    for port in [0, 52, 54, 853, 5353, 53 << 8] {
        served.stays(ipv4::C1, ipv4::GATEWAY, port);
        served.stays(ipv6::C1, ipv6::GATEWAY, port);
    }
    // The host's own addresses, and the gateway of another network.
    for to in [ipv4::HOST, ipv4::LOCALHOST, Ipv4Addr::new(127, 0, 0, 53), ipv4::GATEWAY2] {
        served.stays(ipv4::C1, to, PORT);
    }
    for to in [ipv6::HOST, ipv6::LOCALHOST, ipv6::GATEWAY2] {
        served.stays(ipv6::C1, to, PORT);
    }
    // An endpoint of another network, one that is none, the outside and the host itself.
    for from in [ipv4::D1, ipv4::UNUSED, ipv4::REMOTE, ipv4::GATEWAY, ipv4::LOCALHOST] {
        served.stays(from, ipv4::GATEWAY, PORT);
    }
    for from in [ipv6::D1, ipv6::UNUSED, ipv6::REMOTE, ipv6::GATEWAY, ipv6::LOCALHOST] {
        served.stays(from, ipv6::GATEWAY, PORT);
    }
}

#[test]
fn other_protocols_and_addresses_of_the_wrong_family_stay_with_the_host() {
    let mut served = Served::new();
    for protocol in [0, ipv4::ICMP, ipv6::ICMP, proto::SCTP, 136, 255] {
        assert_eq!(served.chosen(protocol, ipv4::C1, ipv4::GATEWAY, PORT), None, "{protocol}");
        assert_eq!(served.chosen(protocol, ipv6::C1, ipv6::GATEWAY, PORT), None, "{protocol}");
    }
    // IPv6 that names addresses of IPv4: as the tables have them, but nobody sends so.
    let [c1, gateway] = [ipv4::C1, ipv4::GATEWAY].map(|it| it.to_ipv6_mapped());
    served.stays(c1, gateway, PORT);
    served.stays(ipv6::C1, gateway, PORT);
    served.stays(c1, ipv6::GATEWAY, PORT);
}

#[test]
fn without_a_resolver_the_look_up_goes_on() {
    let mut served = Served::new();
    assert!(served.chosen(proto::UDP, ipv4::C1, ipv4::GATEWAY, PORT).is_some());
    let Served { mut world, udp, tcp } = served;
    // The kernel takes them out of the map when they are closed, as those of a resolver that was killed.
    drop((udp, tcp));
    for protocol in [proto::UDP, proto::TCP] {
        let lookup = |from: IpAddr, to: IpAddr| Lookup { protocol, from: (from, 40_000), to: (to, PORT) };
        assert_eq!(world.machine.look_up(&lookup(ipv4::C1.into(), ipv4::GATEWAY.into())), None);
        assert_eq!(world.machine.look_up(&lookup(ipv6::C1.into(), ipv6::GATEWAY.into())), None);
    }
}
