//! A flow ends with what it leads to: a container, its address, or a published port.
//!
//! The decision about a flow is made once, by its first packet, so nothing else would end one whose port is published
//! for another container by now, or whose address another container has got. What a flow may lead to stands in the maps
//! of the controller; a flow that leads elsewhere is stale. That needs no memory of what was removed, and so finds what
//! a killed command has left as well.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use netdp_common::policy::Target;
use netdp_common::{Addr, Backend, Endpoint, EndpointKey, Flow, FlowKey, PortKey, Source, Zone, names};
use netdp_common::{Port, port_flags};

use super::Datapath;
use super::error::Error;
use super::mappings::Mappings;

/// How often the table is looked through. A packet may write a flow anew of which one direction was just deleted, at
/// most once a tick and only in the instant before the other one goes; so two are usual, and this many are never needed.
const PASSES: usize = 16;
/// How long a program may still work with a row that was deleted, where the kernel cannot be asked to wait for it.
const PROGRAM: Duration = Duration::from_millis(20);

/// What flows may lead to.
struct Live {
    endpoints: HashSet<(u32, Addr)>,
    ports: HashMap<PortKey, Backend>,
    mappings: Mappings,
}

impl Datapath {
    /// Ends every flow, in both directions, that leads to a container or comes by a published port that is not in the
    /// maps any more; says how many entries that were. Afterwards no packet follows one, and none can begin one.
    ///
    /// `awaited` is whether every program that ran when the last of those rows went has ended since.
    ///
    /// # Errors
    /// A map cannot be read or written.
    pub fn end_stale_flows(&self, awaited: bool) -> Result<usize, Error> {
        if !awaited {
            wait_for_programs();
        }
        let live = self.live()?;
        let mut ended = 0;
        for _ in 0..PASSES {
            match self.end_stale_once(&live)? {
                0 => {
                    self.forget_payers()?;
                    return Ok(ended);
                }
                some => ended += some,
            }
        }
        Err(Error::FlowsRemain)
    }

    fn end_stale_once(&self, live: &Live) -> Result<usize, Error> {
        let mut stale = HashMap::new();
        for (key, flow) in self.flow_entries()? {
            if !live.leads_somewhere(&key, &flow) || !self.is_admitted(live, &key, &flow)? {
                stale.insert(key, Some(flow));
                stale.entry(flow.twin_key(&key)).or_insert(None);
            }
        }
        self.delete_flows(stale)
    }

    fn live(&self) -> Result<Live, Error> {
        let endpoints = self.rows::<EndpointKey, Endpoint>(names::ENDPOINTS)?;
        let endpoints = endpoints.into_iter().map(|(key, endpoint)| (endpoint.ifindex, key.addr)).collect();
        let mappings = self.end_stale_mappings(&endpoints)?;
        Ok(Live { endpoints, ports: self.rows(names::PORTS)?.into_iter().collect(), mappings })
    }

    /// Whether the port that a flow came by is for its source, as the programs decide it.
    fn is_admitted(&self, live: &Live, key: &FlowKey, flow: &Flow) -> Result<bool, Error> {
        if !is_to_port(flow) || key.zone == Zone::HOST {
            return Ok(true);
        }
        match live.published(key) {
            Some(backend) if backend.flags & port_flags::FILTERED != 0 => {
                self.lists(&Source::of(key, backend))
            }
            _ => Ok(true),
        }
    }
}

impl Live {
    fn leads_somewhere(&self, key: &FlowKey, flow: &Flow) -> bool {
        if flow.exit.is_to_endpoint() {
            let there = self.endpoints.contains(&(flow.ifindex, flow.dst));
            return there && (!is_to_port(flow) || self.leads_by_port(key, flow));
        }
        // To the outside or to the host, and so from a container.
        key.zone != Zone::CONTAINER || self.endpoints.contains(&(flow.owner, key.src))
    }

    /// By a published port, or by an endpoint that its container is seen by.
    fn leads_by_port(&self, key: &FlowKey, flow: &Flow) -> bool {
        if key.zone != Zone::HOST && self.mappings.lead(key, (flow.dst, flow.dport)) {
            return true;
        }
        if let Some(beside) = self.ports.get(&PortKey::beside(key.dst))
            && !matches!(
                Target::of_container(beside.flags, true, key.proto, false),
                Target::Routed | Target::Direct | Target::Container
            )
        {
            return beside.ifindex == flow.ifindex;
        }
        let to = |backend: &Backend| (backend.ifindex, backend.addr, backend.port);
        self.published(key).is_some_and(|backend| to(backend) == (flow.ifindex, flow.dst, flow.dport))
    }

    /// The row that the first packet of this tuple meets: the address's own before that of all addresses.
    fn published(&self, key: &FlowKey) -> Option<&Backend> {
        let row = |addr: Addr, port: Port| self.ports.get(&PortKey::new(addr, port, key.proto));
        row(key.dst, key.dport).or_else(|| row(key.dst.any(), key.dport))
    }
}

/// Whether an entry is of packets to a published port: only those come to a container without being replies.
fn is_to_port(flow: &Flow) -> bool {
    flow.exit.is_to_endpoint() && !flow.is_reply()
}

/// Waits until every program that runs now has ended: one that has found a row before it was deleted may be about to
/// begin a flow. Programs run inside a section that the kernel's RCU waits for, and so does this call (`membarrier(2)`).
fn wait_for_programs() {
    // SAFETY: the call takes numbers and changes nothing.
    let waited = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    // Refused where some processors are kept free of the kernel's clock (nohz_full), or by a sandbox.
    if waited != 0 {
        thread::sleep(PROGRAM);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netdp_common::timers::State;
    use netdp_common::translate::{Delivery, NewFlow};
    use netdp_common::{Exit, Link, Mac, MappingKey, proto};

    use super::*;

    fn addr(a: u8, d: u8) -> Addr {
        Addr::from(Ipv4Addr::new(a, 0, 0, d))
    }

    /// The container 10.0.0.`d` on the veth of number `d`.
    fn link(d: u8) -> Link {
        Link {
            addr4: addr(10, d),
            addr6: Addr::UNSPECIFIED,
            gateway4: addr(10, 1),
            gateway6: Addr::UNSPECIFIED,
            snat4: Addr::UNSPECIFIED,
            snat6: Addr::UNSPECIFIED,
            network: 7,
            bridge: 3,
            flags: 0,
            mac: Mac([d; 6]),
            gateway_mac: Mac([1; 6]),
        }
    }

    /// Port 8080 leads to port 80 of that container.
    fn backend(d: u8, flags: u16) -> Backend {
        let (mac, gateway_mac) = (Mac([d; 6]), Mac([1; 6]));
        let (addr, gateway, port) = (addr(10, d), addr(10, 1), Port::new(80));
        Backend { addr, gateway, ifindex: u32::from(d), port, mac, gateway_mac, flags }
    }

    fn live(containers: &[u8], ports: &[(Addr, Backend)]) -> Live {
        Live {
            endpoints: containers.iter().map(|d| (u32::from(*d), addr(10, *d))).collect(),
            ports: ports
                .iter()
                .map(|(at, backend)| (PortKey::new(*at, Port::new(8080), proto::UDP), *backend))
                .collect(),
            mappings: Mappings::default(),
        }
    }

    fn key(src: Addr, dst: Addr, dport: u16, zone: Zone) -> FlowKey {
        FlowKey { src, dst, sport: Port::new(5000), dport: Port::new(dport), proto: proto::UDP, zone, pad: 0 }
    }

    fn lives(live: &Live, new: &NewFlow) -> (bool, bool) {
        let there = live.leads_somewhere(&new.key, &new.original());
        (there, live.leads_somewhere(&new.reply_key(), &new.reply()))
    }

    #[test]
    fn a_masqueraded_flow_lives_as_long_as_its_container() {
        let key = key(addr(10, 2), addr(99, 1), 53, Zone::CONTAINER);
        let new = NewFlow::masquerade(key, (2, &link(2)), (9, addr(50, 1)), State::from_number(1), 1);
        assert_eq!(lives(&live(&[2], &[]), &new), (true, true));
        assert_eq!(lives(&live(&[3], &[]), &new), (false, false));
        let mut successor = live(&[3], &[]);
        successor.endpoints.insert((8, addr(10, 2)));
        assert_eq!(lives(&successor, &new), (false, false), "the address of another container now");
    }

    #[test]
    fn a_published_flow_lives_as_long_as_its_port_leads_there() {
        let host = addr(50, 1);
        let by_port = key(addr(99, 1), host, 8080, Zone::UPLINK);
        let back = Delivery::uplink(9);
        let new = NewFlow::publish(by_port, by_port.src, &backend(2, 0), back, State::from_number(1), 1);
        for at in [host, Addr::ANY4] {
            assert_eq!(lives(&live(&[2], &[(at, backend(2, 0))]), &new), (true, true));
        }
        assert_eq!(lives(&live(&[2, 3], &[]), &new), (false, true), "one of the two names both");
        assert_eq!(lives(&live(&[2, 3], &[(Addr::ANY4, backend(3, 0))]), &new), (false, true));
        let moved = [(Addr::ANY4, backend(2, 0)), (host, backend(3, 0))];
        assert_eq!(lives(&live(&[2, 3], &moved), &new), (false, true));
        let other = Backend { port: Port::new(81), ..backend(2, 0) };
        assert_eq!(lives(&live(&[2], &[(host, other)]), &new), (false, true));
        assert_eq!(lives(&live(&[], &[(host, backend(2, 0))]), &new), (false, false));
    }

    #[test]
    fn a_flow_between_two_containers_needs_both() {
        let host = addr(50, 1);
        let by_port = key(addr(10, 3), host, 8080, Zone::CONTAINER);
        let back = Delivery::link(3, &link(3));
        let new = NewFlow::publish(by_port, host, &backend(2, 0), back, State::from_number(1), 1);
        let ports = [(Addr::ANY4, backend(2, 0))];
        assert_eq!(lives(&live(&[2, 3], &ports), &new), (true, true));
        assert_eq!(lives(&live(&[2], &ports), &new), (true, false));
        assert_eq!(lives(&live(&[3], &ports), &new), (false, true));
    }

    #[test]
    fn a_flow_between_two_outside_endpoints_needs_both_and_the_mapping() {
        let host = addr(50, 1);
        let by_mapping = key(addr(10, 3), host, 6000, Zone::CONTAINER);
        let waiting = Delivery { exit: Exit::WAITING, ..Delivery::link(2, &link(2)) };
        let new =
            NewFlow::between(by_mapping, host, (3, &link(3)), (addr(10, 2), Port::new(5000), waiting), 1);
        assert_eq!(lives(&live(&[2, 3], &[]), &new), (false, true));
        let mapped = |containers: &[u8]| {
            let outside = MappingKey::outside(host, Port::new(6000), proto::UDP);
            let mappings = Mappings::of([(outside, addr(10, 2), Port::new(5000))]);
            Live { mappings, ..live(containers, &[]) }
        };
        assert_eq!(lives(&mapped(&[2, 3]), &new), (true, true));
        assert_eq!(lives(&mapped(&[2]), &new), (true, false));
        assert_eq!(lives(&mapped(&[3]), &new), (false, true));
    }
}
