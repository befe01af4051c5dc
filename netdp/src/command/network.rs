//! A network is made: whoever asks for it (`network create`, the configuration file) does it here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv6Net};

use super::commit::commit;
use super::{lease, network_parent};
use crate::Error;
use crate::bridge_options::{self, Options, given};
use crate::cli::{DriverArg, IpamArg};
use crate::desired::Desired;
use crate::dhcp;
use crate::host::pools;
use crate::host::sysctl::Sysctl;
use crate::instance::{self, Session};
use crate::ipam::{self, Taken};
use crate::lan;
use crate::model::{
    AddressPool, Borrowed, Bridge, DEFAULT_MTU, Driver, GatewayMode, Lan, Mac, Network, NetworkOptions, Pool,
};
use crate::names::{Id, Name, random_bytes};
use crate::routes::{self, Hops};
use crate::store::{Change, Store};
use crate::world::Found;

/// What is asked for of a new network.
pub(super) struct Request {
    /// Its name.
    pub name: Name,
    /// What kind of network it is.
    pub driver: DriverArg,
    /// It has IPv4 addresses.
    pub ipv4: bool,
    /// It has IPv6 addresses.
    pub ipv6: bool,
    /// Its addresses; a free subnet is chosen for a family without.
    pub subnets: Vec<IpNet>,
    /// The bridge's own addresses; none is the first of the subnet.
    pub gateways: Vec<IpAddr>,
    /// Endpoints' addresses are chosen from here.
    pub ip_ranges: Vec<IpNet>,
    /// Addresses that no endpoint gets, by name, as they were given.
    pub aux_addresses: Vec<(String, String)>,
    /// No way in or out but from the host itself.
    pub internal: bool,
    /// `-o` options as they were given.
    pub options: Vec<(String, String)>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Who gives the addresses.
    pub ipam: IpamArg,
}

impl Request {
    /// All that can be said without a look at the host.
    pub(super) fn check(&self) -> Result<(), Error> {
        let kind = self.kind()?;
        if !self.ipv4 && !self.ipv6 {
            return Err(Error::NoFamilies);
        }
        Families::read(self)?;
        if self.ipam == IpamArg::Dhcp {
            self.check_dhcp(kind)?;
        }
        match kind {
            None => {
                let options = Options::read(&self.options)?;
                network_parent::fits(self, &options)?;
                options.fit_internal(self.internal)
            }
            Some(kind) => lan::Options::read(kind, &self.options).map(drop),
        }
    }

    /// Adds what holds for networks that are made without it. An option that is given stays as it is, under whichever of its
    /// names.
    #[must_use]
    pub(super) fn with_defaults(mut self, defaults: &NetworkOptions) -> Self {
        let driver = match self.driver {
            DriverArg::Bridge => "bridge",
            DriverArg::Macvlan => "macvlan",
            DriverArg::Ipvlan => "ipvlan",
            DriverArg::Host | DriverArg::None | DriverArg::Overlay => return self,
        };
        let name = |key: &str| bridge_options::short(key).map_or_else(|| key.to_owned(), str::to_owned);
        let given: BTreeSet<String> = self.options.iter().map(|(key, _)| name(key)).collect();
        let lacking =
            defaults.get(driver).into_iter().flatten().filter(|(key, _)| !given.contains(&name(key)));
        self.options = lacking.cloned().chain(self.options).collect();
        self
    }

    /// Where a server gives the addresses, nothing can be said of them here.
    fn check_dhcp(&self, kind: Option<lan::Kind>) -> Result<(), Error> {
        let said = [
            (!self.subnets.is_empty(), "--subnet"),
            (!self.gateways.is_empty(), "--gateway"),
            (!self.ip_ranges.is_empty(), "--ip-range"),
            (!self.aux_addresses.is_empty(), "--aux-address"),
        ];
        if let Some((_, what)) = said.iter().find(|(is_said, _)| *is_said) {
            return Err(dhcp::Error::ChosenByServer(what).into());
        }
        if self.ipv6 || !self.ipv4 {
            let what = if self.ipv6 {
                "--ipv6 is not known with it"
            } else {
                "--ipv4=false leaves nothing to ask for"
            };
            return Err(dhcp::Error::Family(what).into());
        }
        match kind {
            Some(lan::Kind::Macvlan) => Ok(()),
            Some(lan::Kind::Ipvlan) => Err(dhcp::Error::Ipvlan.into()),
            None if Options::read(&self.options)?.parent.is_some() => Ok(()),
            None => Err(dhcp::Error::NotOnLan("bridge").into()),
        }
    }

    /// None is a bridge.
    fn kind(&self) -> Result<Option<lan::Kind>, Error> {
        match self.driver {
            DriverArg::Bridge => Ok(None),
            DriverArg::Macvlan => Ok(Some(lan::Kind::Macvlan)),
            DriverArg::Ipvlan => Ok(Some(lan::Kind::Ipvlan)),
            DriverArg::Host => Err(Error::Premade("host".to_owned())),
            DriverArg::None => Err(Error::Premade("none".to_owned())),
            DriverArg::Overlay => Err(Error::Unsupported("the driver overlay".to_owned())),
        }
    }

    fn network(&self, id: Id, driver: Driver) -> Network {
        Network {
            number: 0,
            id,
            name: self.name.clone(),
            created: instance::now(),
            driver,
            options: given(&self.options),
            labels: self.labels.clone(),
        }
    }
}

/// Makes a network, or leaves everything as it was.
pub(super) async fn create(session: &mut Session, request: &Request) -> Result<Network, Error> {
    let (network, new_ula) = prepare(session, request).await?;
    tell_of_no_way_out(&network);
    add(session, network, new_ula).await
}

/// Docker lets it out with its own address, for somebody else to translate.
fn tell_of_no_way_out(network: &Network) {
    let is_shut = |bridge: &Bridge| {
        let modes = [(&bridge.pool4, bridge.gateway_mode4), (&bridge.pool6, bridge.gateway_mode6)];
        let is_nat = |(pool, mode): (&Option<Pool>, GatewayMode)| pool.is_some() && mode == GatewayMode::Nat;
        !bridge.masquerade && !bridge.internal && modes.into_iter().any(is_nat)
    };
    if network.bridge().is_some_and(is_shut) {
        let name = &network.name;
        tracing::warn!(
            "nothing gets out of network {name}: it has masquerade=false, and no container's own address leaves by it; \
             with gateway-mode=routed it would"
        );
    }
}

/// The network as it would be made, and the host's own IPv6 prefix when that was chosen now.
pub(super) async fn prepare(
    session: &Session,
    request: &Request,
) -> Result<(Network, Option<Ipv6Net>), Error> {
    request.check()?;
    let networks = session.store.networks()?;
    if networks.iter().any(|network| network.name == request.name) {
        return Err(Error::NameTaken { kind: "network", name: request.name.to_string() });
    }
    let id = Id::random().map_err(Error::io("read random bytes"))?;
    let (driver, new_ula) = match request.kind()? {
        None => bridge(session, request, &networks, &id).await?,
        Some(kind) => on_lan(session, request, &networks, kind).await?,
    };
    Ok((request.network(id, driver), new_ula))
}

/// A bridge with its subnets, and the host's own IPv6 prefix when that was chosen now.
async fn bridge(
    session: &Session,
    request: &Request,
    networks: &[Network],
    id: &Id,
) -> Result<(Driver, Option<Ipv6Net>), Error> {
    let (mut families, options) = (Families::read(request)?, Options::read(&request.options)?);
    families.without_gateways(
        options.gateway_mode4 == GatewayMode::Isolated || request.internal && options.inhibit_ipv4,
        options.gateway_mode6 == GatewayMode::Isolated,
    );
    let device = device(options.bridge_name.clone(), id, networks)?;
    let found = session.kernel.bridge_of_others(&device).await?;
    if let Some(found) = &found {
        families.take_over(&device, found, request.internal)?;
    }
    let beside = session.kernel.taken_beside(found.as_ref().map(|_| device.as_str())).await?;
    let lent =
        lease::lent(networks, &session.store.endpoints()?).into_iter().map(|(net, by)| Taken { net, by });
    let of_networks: Vec<Taken> = taken_by(networks).chain(lent).collect();
    let taken: Vec<Taken> = of_networks.iter().cloned().chain(beside).collect();
    let of_parent = network_parent::mtu(session, networks, &options).await?;
    let mtu = match options.mtu.or(found.as_ref().map(|found| found.mtu)).or(of_parent) {
        Some(mtu) => mtu,
        None => session.kernel.uplinks().await?.first().map_or(DEFAULT_MTU, |uplink| uplink.mtu),
    };
    // The host may have routes to a LAN that it is on by other ways.
    let given = if options.parent.is_some() { &of_networks } else { &taken };
    let dhcp = request.ipam == IpamArg::Dhcp;
    let pools = if dhcp { Pools::default() } else { families.choose(&session.store, given, &taken)? };
    if pools.pool6.is_some() {
        ipv6_fits(mtu)?;
    }
    options.fit(pools.pool4.is_some() || dhcp, pools.pool6.is_some())?;
    options.are_of_host(&session.kernel.outside_addresses().await?)?;
    warn_of_strangers(session, &options.trusted, networks).await?;
    let both: Vec<&Pool> = pools.pool4.iter().chain(&pools.pool6).collect();
    let hops = if options.parent.is_some() { Hops::Anybody } else { Hops::GatewayOnly };
    let routes = routes::resolve(&options.routes, &both, hops)?;
    let mac = match &found {
        Some(found) => found.mac,
        None => Mac::local(random_bytes().map_err(Error::io("read random bytes"))?),
    };
    let bridge = Bridge {
        device,
        mac,
        mtu,
        pool4: pools.pool4,
        pool6: pools.pool6,
        internal: request.internal,
        icc: options.icc,
        masquerade: options.masquerade,
        gateway_mode4: options.gateway_mode4,
        gateway_mode6: options.gateway_mode6,
        trusted: options.trusted,
        allows_direct_routing: session.store.allows_direct_routing()?,
        host_binding: options.host_binding,
        snat4: options.snat4,
        snat6: options.snat6,
        masquerade_exclude: options.masquerade_exclude,
        udp_mapping: options.udp_mapping,
        udp_filtering: options.udp_filtering,
        borrowed: found.map(|found| Borrowed { addresses: found.addresses }),
        inhibit_ipv4: options.inhibit_ipv4,
        routes,
        dns: options.dns.clone(),
        parent: options.parent.clone(),
        dhcp,
    };
    network_parent::is_own(&bridge)?;
    Ok((Driver::Bridge(bridge), pools.new_ula))
}

/// The programs look at what comes in by uplinks and from networks; an interface may become one.
async fn warn_of_strangers(
    session: &Session,
    trusted: &BTreeSet<String>,
    networks: &[Network],
) -> Result<(), Error> {
    if trusted.is_empty() {
        return Ok(());
    }
    let uplinks = session.kernel.uplinks().await?;
    let is_known = |name: &String| {
        let mut bridges = networks.iter().filter_map(Network::bridge);
        uplinks.iter().any(|uplink| uplink.name == *name) || bridges.any(|bridge| bridge.device == *name)
    };
    for name in trusted.iter().filter(|name| !is_known(name)) {
        tracing::warn!(
            "{name} is neither an uplink nor the bridge of a network: nothing is let in by it until it is one (netdp up --uplink {name})"
        );
    }
    Ok(())
}

/// Interfaces on one of the host's. Their subnet is the LAN's, which the host has routes to.
async fn on_lan(
    session: &Session,
    request: &Request,
    networks: &[Network],
    kind: lan::Kind,
) -> Result<(Driver, Option<Ipv6Net>), Error> {
    let (mut families, options) = (Families::read(request)?, lan::Options::read(kind, &request.options)?);
    families.without_gateways(request.internal, request.internal);
    network_parent::is_nobodys(networks, &options.parent)?;
    let of_networks: Vec<Taken> = taken_by(networks).collect();
    let taken: Vec<Taken> = of_networks.iter().cloned().chain(session.kernel.taken().await?).collect();
    let dhcp = request.ipam == IpamArg::Dhcp;
    let Pools { pool4, pool6, new_ula } =
        if dhcp { Pools::default() } else { families.choose(&session.store, &of_networks, &taken)? };
    let both: Vec<&Pool> = pool4.iter().chain(&pool6).collect();
    let routes = routes::resolve(&options.routes, &both, Hops::Anybody)?;
    let lan::Options { parent, mode, mtu, .. } = options;
    let lan = Lan { parent, mode, mtu, pool4, pool6, internal: request.internal, routes, dhcp };
    // A VLAN is made with the network, so that only what it is a VLAN of can be looked at.
    match (session.kernel.parent(&lan.parent).await, lan.vlan()) {
        (Ok(_), _) => session.kernel.try_lan(&lan.parent, lan.mode).await?,
        (Err(_), Some((base, _))) => {
            network_parent::base_of_vlan(session, &lan.parent, base).await?;
            session.kernel.try_lan(base, lan.mode).await?;
        }
        (Err(error), None) => return Err(error),
    }
    Ok((Driver::Lan(lan), new_ula))
}

/// Makes the network, or nothing. As long as netdp is not up, only the database knows of it.
async fn add(
    session: &mut Session,
    mut network: Network,
    new_ula: Option<Ipv6Net>,
) -> Result<Network, Error> {
    let change = session.store.begin()?;
    if let Some(prefix) = new_ula {
        change.set_ula(prefix)?;
    }
    network.number = change.add_network(&network)?;
    if !session.kernel.is_up() {
        tracing::info!("netdp is not up: the network is made by the next netdp up");
        change.commit()?;
        return Ok(network);
    }
    let mut desired = Desired::default();
    desired.add_network(&network);
    session.mark(instance::links_to_be(&desired))?;
    session.kernel.heed_signals()?;
    let applied = if network.bridge().is_some_and(|bridge| bridge.borrowed.is_some()) {
        // It may be an uplink, which is watched in another way from now on.
        session.mark_all()?;
        instance::sync(&session.store, &mut session.kernel).await
    } else {
        instance::bring_up(&mut session.kernel, &desired).await
    };
    let result = commit(change, applied, &mut session.kernel).await;
    session.unmark()?;
    result.map(|()| network)
}

/// What is asked for in each family that the network is to have.
struct Families {
    v4: Option<ipam::Request>,
    v6: Option<ipam::Request>,
}

/// What they come to.
#[derive(Default)]
struct Pools {
    pool4: Option<Pool>,
    pool6: Option<Pool>,
    /// The host's own prefix, when it was chosen now.
    new_ula: Option<Ipv6Net>,
}

impl Families {
    fn read(asked: &Request) -> Result<Self, Error> {
        let mut requests =
            Self { v4: asked.ipv4.then(ipam::Request::default), v6: asked.ipv6.then(ipam::Request::default) };
        for subnet in &asked.subnets {
            let place = &mut requests.of(subnet.addr(), || format!("--subnet {subnet}"))?.subnet;
            once(place.replace(*subnet).is_none(), "a network with more than one subnet of a family")?;
        }
        for gateway in &asked.gateways {
            let place = &mut requests.of(*gateway, || format!("--gateway {gateway}"))?.gateway;
            once(place.replace(*gateway).is_none(), "a network with more than one gateway of a family")?;
        }
        for range in &asked.ip_ranges {
            requests.of(range.addr(), || format!("--ip-range {range}"))?.ranges.push(*range);
        }
        for (name, address) in &asked.aux_addresses {
            let parsed = address.parse();
            let parsed: IpAddr =
                parsed.map_err(|_| Error::invalid_value("--aux-address", address, "NAME=IP"))?;
            let request = requests.of(parsed, || format!("--aux-address {name}={address}"))?;
            request.reserved.insert(name.clone(), parsed);
        }
        Ok(requests)
    }

    /// In which of them no gateway is chosen, as the host is not in the network.
    fn without_gateways(&mut self, ipv4: bool, ipv6: bool) {
        for (request, without) in [(&mut self.v4, ipv4), (&mut self.v6, ipv6)] {
            if let Some(request) = request {
                request.without_gateway = without;
            }
        }
    }

    /// The request of an address's family.
    fn of(&mut self, address: IpAddr, what: impl Fn() -> String) -> Result<&mut ipam::Request, Error> {
        let (request, family) = if address.is_ipv4() { (&mut self.v4, 4) } else { (&mut self.v6, 6) };
        request.as_mut().ok_or_else(|| Error::FamilyOff { what: what(), family })
    }

    /// The addresses of a bridge that is there already are those of its network, unless others are asked for.
    fn take_over(&mut self, device: &str, found: &Found, internal: bool) -> Result<(), Error> {
        if found.leads_out && internal {
            return Err(Error::Unsupported(format!(
                "an internal network on the bridge {device}, by which the default route leads,"
            )));
        }
        if internal {
            return Err(Error::Unsupported(format!(
                "an internal network on the bridge {device}, whose other ports hear what its containers send to all,"
            )));
        }
        for net in &found.addresses {
            let Some(request) = (if net.addr().is_ipv4() { &mut self.v4 } else { &mut self.v6 }) else {
                continue;
            };
            let subnet = *request.subnet.get_or_insert(net.trunc());
            if subnet == net.trunc() {
                request.gateway.get_or_insert(net.addr());
            }
        }
        Ok(())
    }

    /// A subnet that is asked for must be free of `given`, and one that is chosen of `chosen`.
    fn choose(&self, store: &Store, given: &[Taken], chosen: &[Taken]) -> Result<Pools, Error> {
        let taken = |request: &ipam::Request| if request.subnet.is_some() { given } else { chosen };
        let own = OwnPools::of(store)?;
        let choose4 = |request: &ipam::Request| ipam::choose(request, default4(&own), taken(request));
        let pool4 = self.v4.as_ref().map(choose4).transpose()?;
        let Some(request) = &self.v6 else { return Ok(Pools { pool4, pool6: None, new_ula: None }) };
        if Sysctl::ipv6("lo", "disable_ipv6").get()?.is_none() {
            return Err(Error::Lacks(
                "IPv6, which --ipv6 needs: this kernel was started without it".to_owned(),
            ));
        }
        let (pool6, new_ula) = choose6(store, &own, request, taken(request))?;
        Ok(Pools { pool4, pool6: Some(pool6), new_ula })
    }
}

/// Where IPv4 subnets are chosen from: the operator's pools, else Docker's.
pub(super) fn default4(own: &OwnPools) -> ipam::Default<'_> {
    if own.v4.is_empty() { ipam::Default::Docker } else { ipam::Default::Pools(&own.v4) }
}

/// IPv6 addresses of the operator's pools, else of the host's own prefix, which is chosen when it is needed first.
pub(super) fn choose6(
    store: &Store,
    own: &OwnPools,
    request: &ipam::Request,
    taken: &[Taken],
) -> Result<(Pool, Option<Ipv6Net>), Error> {
    if !own.v6.is_empty() {
        return Ok((ipam::choose(request, ipam::Default::Pools(&own.v6), taken)?, None));
    }
    let known = store.ula()?;
    let prefix = match known {
        Some(prefix) => prefix,
        None => pools::ula(random_bytes().map_err(Error::io("read random bytes"))?),
    };
    let pool = ipam::choose(request, ipam::Default::Ula(prefix), taken)?;
    Ok((pool, known.is_none().then_some(prefix)))
}

/// `default-address-pools` by family.
pub(super) struct OwnPools {
    v4: Vec<AddressPool>,
    v6: Vec<AddressPool>,
}

impl OwnPools {
    /// As the configuration file has said.
    pub(super) fn of(store: &Store) -> Result<Self, Error> {
        let (v4, v6) = store.address_pools()?.into_iter().partition(|pool| pool.base.addr().is_ipv4());
        Ok(Self { v4, v6 })
    }
}

/// Every family has one of it.
fn once(first: bool, several: &str) -> Result<(), Error> {
    if first { Ok(()) } else { Err(Error::Unsupported(several.to_owned())) }
}

/// Networks whose MTU nobody chose have that of the first uplink, also when that changes; without one, what they had.
pub(super) fn follow_uplink(
    change: &Change<'_>,
    networks: &[Network],
    uplink: Option<u32>,
) -> Result<(), Error> {
    let Some(uplink) = uplink else { return Ok(()) };
    for network in networks {
        let Some(bridge) = network.follows_uplink() else { continue };
        let mtu = if bridge.pool6.is_some() { uplink.max(LEAST_MTU6) } else { uplink };
        if mtu != bridge.mtu {
            tracing::info!("network {} has MTU {mtu} now, as the uplink", network.name);
            change.set_mtu(network.number, mtu)?;
        }
    }
    Ok(())
}

/// The smallest MTU that IPv6 allows (RFC 8200, 5): below it the kernel takes IPv6 off an interface.
const LEAST_MTU6: u32 = 1280;

fn ipv6_fits(mtu: u32) -> Result<(), Error> {
    if mtu < LEAST_MTU6 {
        return Err(Error::invalid_value(
            "mtu",
            &mtu.to_string(),
            "1280 bytes or more in a network with IPv6",
        ));
    }
    Ok(())
}

/// The subnets that networks have.
pub(super) fn taken_by(networks: &[Network]) -> impl Iterator<Item = Taken> {
    let of = |network: &Network, pool: &Pool| {
        let by = format!("network {}", network.name);
        Taken { net: pool.subnet, by }
    };
    networks.iter().flat_map(move |network| network.pools().map(move |pool| of(network, pool)))
}

/// The bridge device: as asked for, else Docker's scheme.
fn device(asked: Option<String>, id: &Id, networks: &[Network]) -> Result<String, Error> {
    let device = asked.unwrap_or_else(|| format!("br-{}", id.short(12)));
    let holder =
        networks.iter().find(|network| network.bridge().is_some_and(|bridge| bridge.device == device));
    match holder {
        Some(network) => Err(Error::NameTaken {
            kind: "network",
            name: format!("{} with the bridge {device}", network.name),
        }),
        None => Ok(device),
    }
}
