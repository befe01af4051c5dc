//! Which port of the host each `-p` gets.

use std::net::{IpAddr, Ipv4Addr};

use crate::Error;
use crate::host::ports::{self, RandomPorts, Transport};
use crate::model::{Protocol, PublishedPort};
use crate::names::random_bytes;
use crate::publish::{HostPort, PortRequest, PortSpec};
use crate::store::Store;

/// Ports for all specs, or an error and no port at all. `default` is where a spec without address listens.
pub(super) fn allocate(
    store: &Store,
    specs: &[PortSpec],
    default: Ipv4Addr,
) -> Result<Vec<PublishedPort>, Error> {
    let mut given: Vec<PublishedPort> = Vec::new();
    for spec in specs {
        for request in &spec.ports {
            let address = host_address(spec, request, default)?;
            let port = Search { store, given: &given, spec, request, address }.run()?;
            given.push(port);
        }
    }
    Ok(given)
}

fn host_address(spec: &PortSpec, request: &PortRequest, default: Ipv4Addr) -> Result<Ipv4Addr, Error> {
    let supported = request.supported(default);
    supported.map_err(|why| Error::Publish { spec: spec.text.clone(), why })
}

/// Whether ports that were given before are what the specs ask for, so that a repeated attach changes
/// nothing.
pub(super) fn satisfied(
    specs: &[PortSpec],
    ports: &[PublishedPort],
    default: Ipv4Addr,
) -> Result<bool, Error> {
    let mut left = ports.to_vec();
    for spec in specs {
        for request in &spec.ports {
            let address = host_address(spec, request, default)?;
            let Some(place) = left.iter().position(|port| answers(port, request, address)) else {
                return Ok(false);
            };
            left.remove(place);
        }
    }
    Ok(left.is_empty())
}

fn answers(port: &PublishedPort, request: &PortRequest, address: Ipv4Addr) -> bool {
    let in_range = match request.host_port {
        HostPort::Any => true,
        HostPort::FirstFree(first, last) => (first..=last).contains(&port.host_port),
    };
    let inside = (port.container_port, port.protocol) == (request.container_port, request.protocol);
    inside && in_range && port.host_address == address
}

/// The search for one port.
struct Search<'a> {
    store: &'a Store,
    given: &'a [PublishedPort],
    spec: &'a PortSpec,
    request: &'a PortRequest,
    address: Ipv4Addr,
}

impl Search<'_> {
    fn run(&self) -> Result<PublishedPort, Error> {
        match self.request.host_port {
            HostPort::FirstFree(first, last) if first == last => {
                self.check(first).map(|()| self.published(first))
            }
            HostPort::FirstFree(first, last) => self.first_free(first..=last),
            HostPort::Any => self.first_free(anywhere()?),
        }
    }

    fn first_free(&self, candidates: impl IntoIterator<Item = u16>) -> Result<PublishedPort, Error> {
        for port in candidates {
            match self.check(port) {
                Ok(()) => return Ok(self.published(port)),
                Err(Error::PortTaken { .. } | Error::Bind(ports::Error::InUse(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::NoPort { spec: self.spec.text.clone(), address: self.address })
    }

    fn published(&self, host_port: u16) -> PublishedPort {
        PublishedPort {
            protocol: self.request.protocol,
            host_address: self.address,
            host_port,
            container_port: self.request.container_port,
        }
    }

    /// Ours first, as they can be named; a socket of another program shows by trying.
    fn check(&self, port: u16) -> Result<(), Error> {
        let wanted = self.published(port);
        if let Some(held) = self.given.iter().find(|held| clash(held, &wanted)) {
            return Err(Error::port_taken(self.address, port, "this same command".to_owned(), held));
        }
        for (held, by) in self.store.holders(wanted.protocol, port)? {
            if clash(&held, &wanted) {
                return Err(Error::port_taken(self.address, port, format!("endpoint {by}"), &held));
            }
        }
        let transport = match wanted.protocol {
            Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
            // No program of the host can hold what the datapath cannot publish; `supported` has refused it.
            Protocol::Sctp => return Ok(()),
        };
        Ok(ports::try_bind(transport, IpAddr::V4(self.address), port)?)
    }
}

/// The same port of one protocol, on addresses of which one contains the other.
fn clash(one: &PublishedPort, other: &PublishedPort) -> bool {
    let unspecified = one.host_address.is_unspecified() || other.host_address.is_unspecified();
    (one.protocol, one.host_port) == (other.protocol, other.host_port)
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

    fn specs(texts: &[&str]) -> Vec<PortSpec> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn with_store<T>(run: impl FnOnce(&Store) -> T) -> T {
        let directory = tempfile::tempdir().unwrap();
        run(&Store::open(directory.path()).unwrap())
    }

    /// On an address of the loopback network that nothing else in a test run uses.
    const LOCAL: Ipv4Addr = Ipv4Addr::new(127, 83, 11, 7);

    #[test]
    fn a_repeated_command_gets_what_it_has() {
        let asked = specs(&["8000-8010:80", "53/udp"]);
        let given = with_store(|store| allocate(store, &asked, LOCAL)).unwrap();
        assert_eq!((given[0].host_port, given[0].container_port), (8000, 80));
        assert!(satisfied(&asked, &given, LOCAL).unwrap());
        assert!(!satisfied(&asked[..1], &given, LOCAL).unwrap());
        assert!(!satisfied(&specs(&["8000:81", "53/udp"]), &given, LOCAL).unwrap());
    }

    #[test]
    fn one_command_does_not_get_a_port_twice() {
        let error = with_store(|store| allocate(store, &specs(&["8001:80", "8001:81"]), LOCAL)).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("Bind for 127.83.11.7:8001 failed: port is already allocated"), "{text}");
        let given =
            with_store(|store| allocate(store, &specs(&["8001-8002:80", "8001-8002:81"]), LOCAL)).unwrap();
        assert_eq!(given[1].host_port, 8002);
    }

    #[test]
    fn a_listener_of_another_program_is_found() {
        let listener = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let single =
            with_store(|store| allocate(store, &specs(&[&format!("{port}:80")]), LOCAL)).unwrap_err();
        assert!(matches!(single, Error::Bind(ports::Error::InUse(_))), "{single}");
        let udp = with_store(|store| allocate(store, &specs(&[&format!("{port}:80/udp")]), LOCAL));
        assert!(udp.is_ok());
    }
}
