//! Which port of the host each `-p` gets.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::Error;
use crate::host::ports::{self, RandomPorts, Transport};
use crate::host::sockets;
use crate::model::{Attachment, GatewayMode, Network, Protocol, PublishedPort};
use crate::names::random_bytes;
use crate::publish::{HostPort, PortRequest, PortSpec};
use crate::store::{Holder, Store};

/// Where the published ports of a network are.
#[derive(Clone, Copy)]
pub(super) struct Listening {
    /// The host's address of those that do not say it.
    default: IpAddr,
    /// Endpoints are reached at their own IPv4 addresses, and take no port of the host.
    routed4: bool,
    /// The same in IPv6.
    routed6: bool,
}

impl Listening {
    pub(super) fn of(network: &Network) -> Self {
        let bridge = network.bridge();
        let routed = |mode| mode == Some(GatewayMode::Routed);
        Self {
            default: bridge.map_or(Ipv4Addr::UNSPECIFIED.into(), |bridge| bridge.host_binding),
            routed4: routed(bridge.map(|bridge| bridge.gateway_mode4)),
            routed6: routed(bridge.map(|bridge| bridge.gateway_mode6)),
        }
    }

    pub(super) fn is_routed(self, endpoint: &Attachment, host_address: IpAddr) -> bool {
        let routed = |address: IpAddr| if address.is_ipv4() { self.routed4 } else { self.routed6 };
        endpoint.behind(host_address).is_some_and(routed)
    }
}

/// Ports for all specs, or an error and no port at all.
pub(super) fn allocate(
    store: &Store,
    specs: &[PortSpec],
    listening: Listening,
    endpoint: &Attachment,
) -> Result<Vec<PublishedPort>, Error> {
    let mut given = Given::default();
    for spec in specs {
        let known = Known::of(store, spec)?;
        for request in &spec.ports {
            let addresses = host_addresses(spec, request, listening.default, endpoint)?;
            let (routed, addresses) =
                addresses.into_iter().partition(|address| listening.is_routed(endpoint, *address));
            let search = Search { store, given: &given, known: &known, spec, request, addresses };
            for port in search.run()? {
                given.add(port);
            }
            given.ports.extend(at_endpoint(request, routed));
        }
    }
    Ok(given.ports)
}

/// Ports that take none of the host's.
fn at_endpoint(request: &PortRequest, host_addresses: Vec<IpAddr>) -> impl Iterator<Item = PublishedPort> {
    host_addresses.into_iter().map(|address| published(request, address, None))
}

fn published(request: &PortRequest, host_address: IpAddr, host_port: Option<u16>) -> PublishedPort {
    let PortRequest { protocol, container_port, ref sources, .. } = *request;
    PublishedPort { protocol, host_address, host_port, container_port, sources: sources.clone() }
}

/// What this command has given so far, with its places by port.
#[derive(Default)]
struct Given {
    ports: Vec<PublishedPort>,
    places: HashMap<(Protocol, Option<u16>), Vec<usize>>,
}

impl Given {
    fn add(&mut self, port: PublishedPort) {
        self.places.entry((port.protocol, port.host_port)).or_default().push(self.ports.len());
        self.ports.push(port);
    }

    fn clash(&self, wanted: &PublishedPort) -> Option<&PublishedPort> {
        let places = self.places.get(&(wanted.protocol, wanted.host_port))?;
        places.iter().filter_map(|place| self.ports.get(*place)).find(|held| clash(held, wanted))
    }
}

/// From so many ports on it is cheaper to ask for all that are taken than to ask for each.
const MANY: usize = 32;

/// What is known of all ports of a spec that asks for many.
#[derive(Default)]
struct Known {
    holders: Option<HashMap<u16, Vec<Holder>>>,
    /// Ports with sockets; any other one is free.
    sockets: Option<HashSet<u16>>,
    /// Addresses that were tried with some port, and so are the host's.
    tried: RefCell<BTreeSet<IpAddr>>,
}

impl Known {
    fn of(store: &Store, spec: &PortSpec) -> Result<Self, Error> {
        let bounds = |request: &PortRequest| match request.host_port {
            HostPort::Any => None,
            HostPort::FirstFree(first, last) => Some((first, last)),
        };
        let bounds: Option<Vec<(u16, u16)>> = spec.ports.iter().map(bounds).collect();
        let Some((bounds, request)) = bounds.filter(|all| all.len() >= MANY).zip(spec.ports.first()) else {
            return Ok(Self::default());
        };
        let first = bounds.iter().map(|(first, _)| *first).min().unwrap_or_default();
        let last = bounds.iter().map(|(_, last)| *last).max().unwrap_or_default();
        let holders = Some(store.holders_between(request.protocol, first, last)?);
        // A kernel that cannot be asked is no obstacle: then each port is tried.
        let ask = |transport| sockets::ports(transport).ok().flatten();
        let sockets = transport(request.protocol).and_then(ask);
        Ok(Self { holders, sockets, tried: RefCell::default() })
    }

    fn is_free(&self, address: IpAddr, host_port: u16) -> bool {
        let no_socket = self.sockets.as_ref().is_some_and(|taken| !taken.contains(&host_port));
        no_socket && self.tried.borrow().contains(&address)
    }
}

/// None for SCTP: to try it would have the kernel load the module, and nobody else may want it.
fn transport(protocol: Protocol) -> Option<Transport> {
    match protocol {
        Protocol::Tcp => Some(Transport::Tcp),
        Protocol::Udp => Some(Transport::Udp),
        Protocol::Sctp => None,
    }
}

fn host_addresses(
    spec: &PortSpec,
    request: &PortRequest,
    default: IpAddr,
    endpoint: &Attachment,
) -> Result<Vec<IpAddr>, Error> {
    let addresses = request.addresses(default, endpoint);
    addresses.map_err(|why| Error::Publish { spec: spec.text.clone(), why })
}

/// Whether ports that were given before are what the specs ask for, so that a repeated attach changes
/// nothing. Some may be published by another interface since a network was left.
pub(super) fn satisfied(
    specs: &[PortSpec],
    endpoint: &Attachment,
    elsewhere: &[PublishedPort],
    listening: Listening,
) -> Result<bool, Error> {
    let mut left: VecDeque<&PublishedPort> = endpoint.ports.iter().chain(elsewhere).collect();
    for spec in specs {
        for request in &spec.ports {
            let addresses = host_addresses(spec, request, listening.default, endpoint)?;
            let mut host_port = request.host_port;
            for address in addresses {
                let wanted = (!listening.is_routed(endpoint, address)).then_some(host_port);
                let answer = left.iter().position(|port| answers(port, request, wanted, address));
                let Some(found) = answer.and_then(|place| left.remove(place)) else { return Ok(false) };
                // One port of the host for all of them.
                host_port = found.host_port.map_or(host_port, HostPort::exactly);
            }
        }
    }
    Ok(left.iter().all(|port| !endpoint.ports.contains(port)))
}

/// None as the wanted port of the host is one that takes none.
fn answers(port: &PublishedPort, request: &PortRequest, wanted: Option<HostPort>, address: IpAddr) -> bool {
    let in_range = match (wanted, port.host_port) {
        (None, is) => is.is_none(),
        (Some(_), None) => false,
        (Some(HostPort::Any), Some(_)) => true,
        (Some(HostPort::FirstFree(first, last)), Some(is)) => (first..=last).contains(&is),
    };
    let inside = (port.container_port, port.protocol) == (request.container_port, request.protocol);
    inside && in_range && port.host_address == address && port.sources == request.sources
}

/// The search for one port, the same on all addresses.
struct Search<'a> {
    store: &'a Store,
    given: &'a Given,
    known: &'a Known,
    spec: &'a PortSpec,
    request: &'a PortRequest,
    addresses: Vec<IpAddr>,
}

impl Search<'_> {
    fn run(&self) -> Result<Vec<PublishedPort>, Error> {
        if self.addresses.is_empty() {
            return Ok(Vec::new());
        }
        match self.request.host_port {
            HostPort::FirstFree(first, last) if first == last => self.on_all(first),
            HostPort::FirstFree(first, last) => self.first_free(first..=last),
            HostPort::Any => self.first_free(anywhere()?),
        }
    }

    fn first_free(&self, candidates: impl IntoIterator<Item = u16>) -> Result<Vec<PublishedPort>, Error> {
        for port in candidates {
            match self.on_all(port) {
                Err(Error::PortTaken { .. } | Error::Bind(ports::Error::InUse(_))) => {}
                result => return result,
            }
        }
        Err(Error::NoPort { spec: self.spec.text.clone(), addresses: list(&self.addresses) })
    }

    fn on_all(&self, host_port: u16) -> Result<Vec<PublishedPort>, Error> {
        self.addresses.iter().map(|address| self.checked(*address, host_port)).collect()
    }

    /// Ours first, as they can be named; a socket of another program shows by trying.
    fn checked(&self, host_address: IpAddr, host_port: u16) -> Result<PublishedPort, Error> {
        let wanted = published(self.request, host_address, Some(host_port));
        let asked = SocketAddr::new(host_address, host_port);
        if let Some(held) = self.given.clash(&wanted) {
            return Err(Error::port_taken(asked, "this same command".to_owned(), held));
        }
        let holders = self.holders(wanted.protocol, host_port)?;
        if let Some((held, by)) = holders.iter().find(|(held, _)| clash(held, &wanted)) {
            return Err(Error::port_taken(asked, format!("endpoint {by}"), held));
        }
        let Some(transport) = transport(wanted.protocol) else { return Ok(wanted) };
        if self.known.is_free(host_address, host_port) {
            return Ok(wanted);
        }
        match host_address {
            IpAddr::V6(address) if holders.iter().any(|(held, _)| held.host_address.is_ipv4()) => {
                ports::look_up(transport, address, host_port)?;
            }
            address => ports::try_bind(transport, address, host_port)?,
        }
        self.known.tried.borrow_mut().insert(host_address);
        Ok(wanted)
    }

    fn holders(&self, protocol: Protocol, host_port: u16) -> Result<Cow<'_, [Holder]>, Error> {
        match &self.known.holders {
            Some(all) => Ok(all.get(&host_port).map_or(&[][..], Vec::as_slice).into()),
            None => Ok(self.store.holders(protocol, host_port)?.into()),
        }
    }
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// The same port of one protocol, on addresses of one family of which one contains the other.
fn clash(one: &PublishedPort, other: &PublishedPort) -> bool {
    let family = one.host_address.is_ipv4() == other.host_address.is_ipv4();
    let unspecified = one.host_address.is_unspecified() || other.host_address.is_unspecified();
    (one.protocol, one.host_port) == (other.protocol, other.host_port)
        && family
        && (unspecified || one.host_address == other.host_address)
}

/// All ports that may be given at random, beginning anywhere, so that a port that was just given back is not
/// the next.
fn anywhere() -> Result<impl Iterator<Item = u16>, Error> {
    let ports = RandomPorts::here().map_err(Error::io("read the range of local ports"))?;
    let start = u16::from_ne_bytes(random_bytes().map_err(Error::io("read random bytes"))?);
    Ok(ports.after(start).collect::<Vec<_>>().into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::Sources;

    fn specs(texts: &[&str]) -> Vec<PortSpec> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn with_store<T>(run: impl FnOnce(&Store) -> T) -> T {
        let directory = tempfile::tempdir().unwrap();
        run(&Store::open(directory.path()).unwrap())
    }

    /// On an address of the loopback network that nothing else in a test run uses.
    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 83, 11, 7));

    fn endpoint() -> Attachment {
        Attachment {
            id: crate::names::Id::stored("1".repeat(64)),
            network: 1,
            addr4: Some(Ipv4Addr::new(10, 0, 0, 2)),
            addr6: Some("fd00::2".parse().unwrap()),
            mac: crate::model::Mac([2, 0, 0, 0, 0, 1]),
            ifname: "eth0".to_owned(),
            options: crate::model::AttachmentOptions::default(),
            ports: Vec::new(),
            lease: None,
        }
    }

    fn given(asked: &[PortSpec], default: IpAddr) -> Result<Attachment, Error> {
        given_at(asked, at(default))
    }

    fn given_at(asked: &[PortSpec], listening: Listening) -> Result<Attachment, Error> {
        let mut endpoint = endpoint();
        endpoint.ports = with_store(|store| allocate(store, asked, listening, &endpoint))?;
        Ok(endpoint)
    }

    fn at(default: IpAddr) -> Listening {
        Listening { default, routed4: false, routed6: false }
    }

    #[test]
    fn where_a_family_is_routed_no_port_of_the_host_is_taken() {
        let everywhere = Ipv4Addr::UNSPECIFIED.into();
        let shown = |asked: &[&str], listening| {
            let given = given_at(&specs(asked), listening).unwrap();
            assert!(satisfied(&specs(asked), &given, &[], listening).unwrap());
            given.ports.iter().map(crate::output::port).collect::<Vec<_>>()
        };
        let mixed = Listening { routed6: true, ..at(everywhere) };
        assert_eq!(shown(&["8397:80"], mixed), ["0.0.0.0:8397->80/tcp", "80/tcp"]);
        let both = Listening { routed4: true, ..mixed };
        assert_eq!(shown(&["8397:80"], both), ["80/tcp"; 2]);
        assert_eq!(shown(&["8397:80", "8397:81", "127.0.0.1::82/udp"], both).len(), 5);
        let given = given_at(&specs(&["8397:80"]), both).unwrap();
        assert!(!satisfied(&specs(&["8397:81"]), &given, &[], both).unwrap());
        assert!(!satisfied(&specs(&["8397:80"]), &given, &[], mixed).unwrap());
        let sides: Vec<_> = given.ports.iter().map(PublishedPort::host_side).collect();
        assert_eq!(sides, ["0.0.0.0:", "[::]:"], "as Docker prints it");
    }

    #[test]
    fn a_repeated_command_gets_what_it_has() {
        let asked = specs(&["8000-8010:80", "53/udp"]);
        let given = given(&asked, LOCAL).unwrap();
        assert_eq!((given.ports[0].host_port, given.ports[0].container_port), (Some(8000), 80));
        assert!(satisfied(&asked, &given, &[], at(LOCAL)).unwrap());
        assert!(!satisfied(&asked[..1], &given, &[], at(LOCAL)).unwrap());
        assert!(!satisfied(&specs(&["8000:81", "53/udp"]), &given, &[], at(LOCAL)).unwrap());
        let others = specs(&["published=8000,target=80,from=10.0.0.0/8", "53/udp"]);
        assert!(!satisfied(&others, &given, &[], at(LOCAL)).unwrap(), "other sources are another port");
    }

    #[test]
    fn both_families_get_one_port_and_a_repeated_command_knows_both() {
        let asked = specs(&["80"]);
        let everywhere = Ipv4Addr::UNSPECIFIED.into();
        let given = given(&asked, everywhere).unwrap();
        let [four, six] = given.ports.as_slice() else { panic!("two ports, not {:?}", given.ports) };
        assert_eq!(four.host_port, six.host_port);
        assert_eq!(
            (four.host_address.to_string(), six.host_address.to_string()),
            ("0.0.0.0".into(), "::".into())
        );
        assert!(satisfied(&asked, &given, &[], at(everywhere)).unwrap());
        assert!(!satisfied(&specs(&["0.0.0.0::80"]), &given, &[], at(everywhere)).unwrap());
    }

    #[test]
    fn families_do_not_clash_and_addresses_of_one_do() {
        let one = |text: &str| {
            let address: SocketAddr = text.parse().unwrap();
            let (host_address, host_port) = (address.ip(), Some(address.port()));
            let sources = Sources::default();
            PublishedPort { protocol: Protocol::Tcp, host_address, host_port, container_port: 80, sources }
        };
        assert!(!clash(&one("0.0.0.0:80"), &one("[::]:80")));
        assert!(!clash(&one("[::1]:80"), &one("[fd00::1]:80")));
        assert!(!clash(&one("127.0.0.1:80"), &one("[::]:80")));
        assert!(clash(&one("[::1]:80"), &one("[::]:80")));
    }

    #[test]
    fn one_command_does_not_get_a_port_twice() {
        let error = given(&specs(&["8001:80", "8001:81"]), LOCAL).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("Bind for 127.83.11.7:8001 failed: port is already allocated"), "{text}");
        let given = given(&specs(&["8001-8002:80", "8001-8002:81"]), LOCAL).unwrap();
        assert_eq!(given.ports[1].host_port, Some(8002));
    }

    #[test]
    fn in_a_long_range_a_listener_of_another_program_is_found_and_every_port_is_given_else() {
        let listener = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (first, last) = if port > 2000 { (port - 99, port) } else { (port, port + 99) };
        let asked = specs(&[&format!("{first}-{last}:1-100")]);
        assert!(matches!(given(&asked, LOCAL), Err(Error::Bind(ports::Error::InUse(_)))));
        drop(listener);
        let given = given(&asked, LOCAL).unwrap();
        assert_eq!(
            given.ports.iter().filter_map(|port| port.host_port).collect::<Vec<_>>(),
            (first..=last).collect::<Vec<_>>()
        );
        assert!(satisfied(&asked, &given, &[], at(LOCAL)).unwrap());
        let foreign = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert!(matches!(self::given(&asked, foreign), Err(Error::Bind(ports::Error::NotLocal(_)))));
    }

    #[test]
    fn a_listener_of_another_program_is_found() {
        let listener = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let single = given(&specs(&[&format!("{port}:80")]), LOCAL).unwrap_err();
        assert!(matches!(single, Error::Bind(ports::Error::InUse(_))), "{single}");
        assert!(given(&specs(&[&format!("{port}:80/udp")]), LOCAL).is_ok());
    }
}
