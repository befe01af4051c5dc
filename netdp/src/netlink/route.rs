//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteType,
            RouteVia,
        },
    },
};

use super::{CHANGE, CREATE, Error, Netlink, REPLACE, Request};

/// The table that `ip route` shows.
pub const MAIN_TABLE: u32 = 254;

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Delivers it to this host.
    Local,
    /// Delivers it to this host and to the link.
    Broadcast,
    /// Something else, for example refuses it.
    Other,
}

/// One way to one destination; a route with several next hops is several of these.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The destination; 0.0.0.0/0 or `::/0` for a default route.
    pub dst: IpNet,
    /// The next router, if the destination is not on the link itself.
    pub gateway: Option<IpAddr>,
    /// Number of the interface that packets leave by; 0 where none does.
    pub oif: u32,
    /// The source address that this host prefers on that way.
    pub pref_src: Option<IpAddr>,
    /// The lowest wins.
    pub metric: u32,
    /// The routing table.
    pub table: u32,
    /// What becomes of the packet.
    pub kind: RouteKind,
}

/// A route to everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultRoute {
    /// The next router, which has to be in a subnet of the interface.
    pub gateway: IpAddr,
    /// Number of the interface that packets leave by.
    pub oif: u32,
    /// What the way takes at most, where that is less than the interface does.
    pub mtu: Option<u32>,
    /// The routing table.
    pub table: u32,
}

impl DefaultRoute {
    fn message(&self) -> RouteMessage {
        let mut message = match self.gateway {
            IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
                .gateway(gateway)
                .output_interface(self.oif)
                .table_id(self.table)
                .build(),
            IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
                .gateway(gateway)
                .output_interface(self.oif)
                .table_id(self.table)
                .build(),
        };
        let metrics = self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        message.attributes.extend(metrics);
        message
    }

    fn object(&self) -> String {
        format!("via {} on interface number {}", self.gateway, self.oif)
    }
}

impl Netlink {
    /// Every route of every table, IPv4 and IPv6.
    pub async fn routes(&self) -> Result<Vec<Route>, Error> {
        let what = Request { operation: "list", object: "routes" };
        let families =
            [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
        let mut routes = Vec::new();
        for message in families {
            let answers = self.dump(what, RouteNetlinkMessage::GetRoute(message)).await?;
            routes.extend(answers.iter().flat_map(routes_in));
        }
        Ok(routes)
    }

    /// Number of the interface by which a packet would leave that has come in by the interface `iif`; none where it stays.
    pub async fn leaves_by(&self, src: IpAddr, dst: IpAddr, iif: u32) -> Result<Option<u32>, Error> {
        let object = format!("from {src} to {dst} by interface number {iif}");
        let what = Request { operation: "look up the route", object: &object };
        let message = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(dst, 32)
                .source_prefix(src, 32)
                .input_interface(iif)
                .build(),
            (IpAddr::V6(src), IpAddr::V6(dst)) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(dst, 128)
                .source_prefix(src, 128)
                .input_interface(iif)
                .build(),
            _ => return Err(what.refused_with(-libc::EAFNOSUPPORT, None)),
        };
        let answer = self.get(what, RouteNetlinkMessage::GetRoute(message)).await?;
        let route = routes_in(&answer).into_iter().find(|route| route.kind == RouteKind::Unicast);
        Ok(route.map(|route| route.oif))
    }

    /// Adds a default route where there is none.
    pub async fn add_default_route(&self, route: &DefaultRoute) -> Result<(), Error> {
        let object = route.object();
        let what = Request { operation: "add default route", object: &object };
        self.execute(what, RouteNetlinkMessage::NewRoute(route.message()), CREATE).await
    }

    /// Adds a route to `to` by the router `via`, which has to be in a subnet of the interface `oif`.
    pub async fn add_route(&self, to: IpNet, via: IpAddr, oif: u32) -> Result<(), Error> {
        let object = format!("to {to} via {via} on interface number {oif}");
        let what = Request { operation: "add route", object: &object };
        let message = match (to, via) {
            (IpNet::V4(to), IpAddr::V4(via)) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .gateway(via)
                .output_interface(oif)
                .build(),
            (IpNet::V6(to), IpAddr::V6(via)) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .gateway(via)
                .output_interface(oif)
                .build(),
            _ => return Err(what.refused_with(-libc::EAFNOSUPPORT, None)),
        };
        self.execute(what, RouteNetlinkMessage::NewRoute(message), CREATE).await
    }

    /// Adds a default route, in the place of one that is there.
    pub async fn replace_default_route(&self, route: &DefaultRoute) -> Result<(), Error> {
        let object = route.object();
        let what = Request { operation: "change default route", object: &object };
        self.execute(what, RouteNetlinkMessage::NewRoute(route.message()), REPLACE).await
    }

    /// Deletes a default route.
    pub async fn delete_default_route(&self, route: &Route) -> Result<(), Error> {
        let Some(gateway) = route.gateway else { return Ok(()) };
        let route = DefaultRoute { gateway, oif: route.oif, mtu: None, table: route.table };
        let object = route.object();
        let what = Request { operation: "delete default route", object: &object };
        self.execute(what, RouteNetlinkMessage::DelRoute(route.message()), CHANGE).await
    }

    /// Adds default routes by the interface `oif`, which needs no address of its own. Through one gateway each, so that
    /// there is one neighbour, however many destinations there are.
    pub async fn add_only_routes(&self, oif: u32) -> Result<(), Error> {
        let object = format!("by interface number {oif}");
        let what = Request { operation: "add default route", object: &object };
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().gateway(Ipv4Addr::new(169, 254, 0, 1));
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().gateway(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
        for mut message in [v4.output_interface(oif).build(), v6.output_interface(oif).build()] {
            message.header.flags |= RouteFlags::Onlink;
            self.execute(what, RouteNetlinkMessage::NewRoute(message), CREATE).await?;
        }
        Ok(())
    }
}

fn routes_in(answer: &RouteNetlinkMessage) -> Vec<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else {
        return Vec::new();
    };
    let mut route = Route {
        dst: everywhere(message.header.address_family),
        gateway: None,
        oif: 0,
        pref_src: None,
        metric: 0,
        table: u32::from(message.header.table),
        kind: kind_of(message.header.kind),
    };
    route.read(message);
    let hops = message.attributes.iter().find_map(next_hops).unwrap_or_default();
    if hops.is_empty() {
        return vec![route];
    }
    hops.iter().map(|hop| route.by(hop)).collect()
}

fn everywhere(family: AddressFamily) -> IpNet {
    match family {
        AddressFamily::Inet6 => IpNet::V6(Ipv6Net::default()),
        _ => IpNet::V4(Ipv4Net::default()),
    }
}

fn next_hops(attribute: &RouteAttribute) -> Option<&[RouteNextHop]> {
    match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    }
}

fn kind_of(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        _ => RouteKind::Other,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

impl Route {
    fn read(&mut self, message: &RouteMessage) {
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(dst) => {
                    let net = ip(dst).map(|dst| IpNet::new(dst, message.header.destination_prefix_length));
                    self.dst = net.and_then(Result::ok).unwrap_or(self.dst);
                }
                RouteAttribute::PrefSource(source) => self.pref_src = ip(source),
                RouteAttribute::Priority(metric) => self.metric = *metric,
                RouteAttribute::Table(table) => self.table = *table,
                _ => self.read_hop(attribute),
            }
        }
    }

    fn read_hop(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Oif(index) => self.oif = *index,
            RouteAttribute::Gateway(gateway) => self.gateway = ip(gateway),
            RouteAttribute::Via(RouteVia::Inet(gateway)) => self.gateway = Some((*gateway).into()),
            RouteAttribute::Via(RouteVia::Inet6(gateway)) => self.gateway = Some((*gateway).into()),
            _ => {}
        }
    }

    fn by(&self, hop: &RouteNextHop) -> Self {
        let mut route = Self { oif: hop.interface_index, ..self.clone() };
        for attribute in &hop.attributes {
            route.read_hop(attribute);
        }
        route
    }

    /// Leads everywhere that no other route leads to.
    pub fn is_default(&self) -> bool {
        self.dst.prefix_len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(last: u8) -> RouteAddress {
        RouteAddress::Inet(Ipv4Addr::new(10, 0, 0, last))
    }

    #[test]
    fn every_next_hop_is_a_route() {
        let mut message = RouteMessageBuilder::<Ipv4Addr>::new().priority(5).build();
        let hop = |index, gateway| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop.attributes = vec![RouteAttribute::Gateway(inet(gateway))];
            hop
        };
        message.attributes.push(RouteAttribute::MultiPath(vec![hop(2, 1), hop(3, 2)]));
        let routes = routes_in(&RouteNetlinkMessage::NewRoute(message));
        let ways: Vec<_> = routes.iter().map(|route| (route.oif, route.gateway, route.metric)).collect();
        let gateway = |last| Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
        assert_eq!(ways, [(2, gateway(1), 5), (3, gateway(2), 5)]);
        assert!(routes.iter().all(Route::is_default));
    }

    #[test]
    fn an_ipv6_route_without_destination_is_a_default_route() {
        let gateway: Ipv6Addr = "fe80::1".parse().expect("an address");
        let message = RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(2).build();
        let routes = routes_in(&RouteNetlinkMessage::NewRoute(message));
        let [route] = routes.as_slice() else { panic!("one route, not {routes:?}") };
        assert!(route.is_default());
        assert_eq!((route.dst.to_string().as_str(), route.gateway), ("::/0", Some(gateway.into())));
    }

    #[test]
    fn a_table_beyond_255_is_read_from_its_attribute() {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::new(10, 1, 0, 0), 16)
            .table_id(1000)
            .build();
        let routes = routes_in(&RouteNetlinkMessage::NewRoute(message));
        let [route] = routes.as_slice() else { panic!("one route, not {routes:?}") };
        assert_eq!((route.table, route.dst.to_string().as_str()), (1000, "10.1.0.0/16"));
        assert!(!route.is_default());
    }
}
