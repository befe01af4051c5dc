//! A network namespace joins a network: whoever asks for it (`attach`, `connect`, `run`, the configuration file) does it here.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::commit::commit;
use super::host_ports::{self, Listening};
use super::lease::{self, Applicant, Granted};
use super::{detach, gone, repeated, run};
use crate::Error;
use crate::desired::veth_alias;
use crate::host::netns;
use crate::instance::{self, Part, Session};
use crate::ipam;
use crate::lan;
use crate::model::{
    Attachment, AttachmentOptions, Endpoint, EndpointOptions, LanMode, Lease, Mac, Netns, Network, Pool,
    PublishedPort, v4, v6,
};
use crate::names::{Id, Name, random_bytes};
use crate::output;
use crate::process;
use crate::publish::PortSpec;
use crate::store::Change;
use crate::world::open_netns;

/// What is asked for of one interface, and of its endpoint when that is new.
pub(super) struct Request {
    /// The id of a new endpoint; none is a random one.
    pub id: Option<Id>,
    /// The endpoint's name.
    pub name: Name,
    /// The IPv4 address; none is the lowest free one.
    pub ip: Option<Ipv4Addr>,
    /// The IPv6 address; none is the lowest free one.
    pub ip6: Option<Ipv6Addr>,
    /// The MAC of the interface inside; none is one of the IPv4 address.
    pub mac_address: Option<Mac>,
    /// Ports to publish.
    pub ports: Vec<PortSpec>,
    /// Name of the interface inside; none is the first free of `eth0`, `eth1`, ...
    pub ifname: Option<String>,
    /// What else the interface is to have.
    pub attachment: AttachmentOptions,
    /// What else the endpoint is to have.
    pub endpoint: EndpointOptions,
    /// The address that a DHCP server has lent, if it was asked already.
    pub granted: Option<Granted>,
}

/// Joins a namespace to a network, or leaves everything as it was. The same again changes nothing.
pub(super) async fn join(
    session: &mut Session,
    networks: &[Network],
    network: &Network,
    container: &Container,
    request: &Request,
) -> Result<Endpoint, Error> {
    can_join(network, request)?;
    Join { request, network, container }.run(session, networks).await
}

/// Whether a server may be asked for an address: what is to be refused whatever it says is refused before.
pub(super) fn may_ask(
    network: &Network,
    endpoints: &[Endpoint],
    container: &Container,
    request: &Request,
) -> Result<(), Error> {
    can_join(network, request)?;
    knows_links(network, &request.attachment.links)?;
    let (mut named, mut others) = (
        endpoints.iter().filter(|it| it.name == request.name),
        endpoints.iter().filter(|it| it.name != request.name),
    );
    if let Some(other) = others.find(|other| container.is(&other.netns) && open_netns(&other.netns).is_ok()) {
        return Err(Error::OtherName(other.name.to_string()));
    }
    match named.find(|it| it.netns.path != container.path && !container.is(&it.netns)) {
        Some(it) if open_netns(&it.netns).is_ok() => {
            Err(Error::OtherNetns { name: it.name.to_string(), path: it.netns.path.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether the network has what is asked for.
fn can_join(network: &Network, request: &Request) -> Result<(), Error> {
    let name = || network.name.to_string();
    if !network.is_attachable() {
        return Err(Error::NotAttachable { name: name(), driver: network.driver.name() });
    }
    if let Some(lan) = network.lan() {
        if !request.ports.is_empty() {
            return Err(lan::Error::Publish(name()).into());
        }
        if matches!(lan.mode, LanMode::Ipvlan(_)) && request.mac_address.is_some() {
            return Err(lan::Error::MacOfParent(name()).into());
        }
    }
    if network.is_internal() && !request.ports.is_empty() {
        return Err(Error::InternalPublish(name()));
    }
    Ok(())
}

/// Whether there is somebody on the network who knows the names of links.
pub(super) fn knows_links(network: &Network, links: &[(String, String)]) -> Result<(), Error> {
    let is_served = network.bridge().is_some_and(|it| it.gateways().next().is_some());
    if is_served || links.is_empty() {
        return Ok(());
    }
    Err(process::Error::NoNames(network.name.clone()).into())
}

/// The namespace that is to be attached.
pub(super) struct Container {
    path: PathBuf,
    ns: OwnedFd,
    identity: netns::Identity,
}

impl Container {
    /// By the path of the namespace or by a process in it.
    pub(super) fn open(netns: Option<&Path>, pid: Option<u32>) -> Result<Self, Error> {
        let (path, ns) = match (netns, pid) {
            (Some(path), _) => (absolute(path)?, netns::open(path)?),
            (None, Some(pid)) => (netns::path_of(pid), netns::open_pid(pid)?),
            (None, None) => return Err(Error::Unsupported("attach without --netns or --pid".to_owned())),
        };
        let identity = netns::identity(&ns)?;
        Ok(Self { path, ns, identity })
    }

    /// That of an endpoint.
    pub(super) fn of(endpoint: &Endpoint) -> Result<Self, Error> {
        let ns = open_netns(&endpoint.netns)?;
        let identity = netns::identity(&ns)?;
        Ok(Self { path: endpoint.netns.path.clone(), ns, identity })
    }

    fn is(&self, netns: &Netns) -> bool {
        (self.identity.device, self.identity.inode) == (netns.device, netns.inode)
    }

    fn as_model(&self) -> Netns {
        Netns { path: self.path.clone(), device: self.identity.device, inode: self.identity.inode }
    }
}

/// The path is kept, and a later command may be run elsewhere.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io(format!("find {}", path.display())))
}

/// One namespace joining one network.
struct Join<'a> {
    request: &'a Request,
    network: &'a Network,
    container: &'a Container,
}

/// What there is under the name already.
enum Known {
    /// Nothing.
    Not,
    /// This very namespace.
    Same(Endpoint),
    /// A namespace that does not exist any more, or that another one has replaced.
    Gone(Endpoint),
}

/// What is to be written down.
enum Plan {
    /// Nothing: it is there already.
    Present(Endpoint),
    /// One more interface of an endpoint.
    Further(Endpoint),
    /// A new endpoint.
    New(Endpoint),
}

impl Join<'_> {
    /// Joins, or leaves everything as it was.
    async fn run(&self, session: &mut Session, networks: &[Network]) -> Result<Endpoint, Error> {
        if self.network.is_by_dhcp() {
            lease::end_all_overdue(session).await?;
        }
        let known = self.known(session).await?;
        let granted = self.granted(session, &known).await?;
        let result = self.join_with(session, networks, known, granted.as_ref()).await;
        self.see_to_lease(session, granted.as_ref(), &result)?;
        result
    }

    async fn join_with(
        &self,
        session: &mut Session,
        networks: &[Network],
        known: Known,
        granted: Option<&Granted>,
    ) -> Result<Endpoint, Error> {
        session.kernel.heed_signals()?;
        session.mark([])?;
        let mut result = self.join(session, networks, known, granted).await;
        // What is asked for may be that of an endpoint which is gone, and nobody has noticed.
        if result.as_ref().is_err_and(Error::is_taken) && gone::release_ending(session, networks).await? {
            let known = self.known(session).await?;
            result = self.join(session, networks, known, granted).await;
        }
        session.unmark()?;
        result
    }

    /// The address that a server has lent, asked for now if it was not before.
    async fn granted(&self, session: &Session, known: &Known) -> Result<Option<Granted>, Error> {
        let is_member = |endpoint: &Endpoint| {
            endpoint.attachments.iter().any(|attachment| attachment.network == self.network.number)
        };
        match known {
            Known::Same(endpoint) if is_member(endpoint) => Ok(self.request.granted.clone()),
            _ if self.request.granted.is_some() => Ok(self.request.granted.clone()),
            _ if session.is_rehearsal() => Ok(None),
            _ => lease::obtain(&session.store, &session.kernel, self.network, self.applicant()).await,
        }
    }

    fn applicant(&self) -> Applicant<'_> {
        Applicant { name: &self.request.name, ip: self.request.ip, mac: self.request.mac_address }
    }

    /// A lease that no attachment has goes back, and so does that of an endpoint whose place this one has taken.
    fn see_to_lease(
        &self,
        session: &Session,
        granted: Option<&Granted>,
        result: &Result<Endpoint, Error>,
    ) -> Result<(), Error> {
        if !self.network.is_by_dhcp() {
            return Ok(());
        }
        let attachments = result.as_ref().map_or(&[][..], |endpoint| &endpoint.attachments);
        let made = granted.and_then(|granted| attachments.iter().find(|it| it.id == granted.id));
        match (granted, made) {
            (Some(granted), None) => lease::leave(&session.store, &granted.id)?,
            (_, Some(attachment)) => lease::tell_if_unattended(&session.place, attachment),
            (None, None) => {}
        }
        lease::give_back(session);
        Ok(())
    }

    async fn join(
        &self,
        session: &mut Session,
        networks: &[Network],
        known: Known,
        granted: Option<&Granted>,
    ) -> Result<Endpoint, Error> {
        let change = session.store.begin()?;
        if let Known::Gone(endpoint) = &known {
            // The container was started anew under its old name. What is left of the old one leads nowhere.
            change.remove_endpoint(&endpoint.id)?;
            detach::clear(&mut session.kernel, networks, &endpoint.attachments, endpoint).await?;
        }
        let plan = self.plan(session, known, granted).await?;
        let (Plan::Present(endpoint) | Plan::Further(endpoint) | Plan::New(endpoint)) = &plan;
        let joined = endpoint.attachments.iter().find(|it| it.network == self.network.number);
        let Some(attachment) = joined else { return Ok(endpoint.clone()) };
        let part = Part::new(self.network, endpoint, attachment).desired(networks);
        session.mark(instance::vlans_to_be(&part).chain([attachment.veth().as_str()]))?;
        write(&change, &plan, attachment)?;
        let applied = instance::bring_up(&mut session.kernel, &part).await;
        commit(change, applied, &mut session.kernel).await?;
        run::refresh(session, networks, endpoint)?;
        Ok(endpoint.clone())
    }

    /// The endpoint that this namespace is already, by name and by identity.
    async fn known(&self, session: &Session) -> Result<Known, Error> {
        let netns = &self.container.identity;
        if let Some(other) = session.store.endpoint_in(netns.device, netns.inode)?
            && other.name != self.request.name
            // Numbers of namespaces are used again: what had this one may be gone.
            && open_netns(&other.netns).is_ok()
        {
            return Err(Error::OtherName(other.name.to_string()));
        }
        let Some(endpoint) = session.store.endpoint(self.request.name.as_str())? else {
            return Ok(Known::Not);
        };
        // Of one that is gone, nothing is left that could be known by: its number may be another's by now.
        let is_remnant = endpoint.attachments.is_empty() && open_netns(&endpoint.netns).is_err();
        if self.container.is(&endpoint.netns) && !is_remnant {
            return Ok(Known::Same(endpoint));
        }
        // Another namespace was made where it was. The kernel removes the interfaces of the old one by and by, and
        // meanwhile it looks alive.
        if self.container.path == endpoint.netns.path {
            return Ok(Known::Gone(endpoint));
        }
        if gone::ends(session, &endpoint).await? {
            return Ok(Known::Gone(endpoint));
        }
        let (name, path) = (endpoint.name.to_string(), endpoint.netns.path);
        Err(Error::OtherNetns { name, path })
    }

    async fn plan(&self, session: &Session, known: Known, granted: Option<&Granted>) -> Result<Plan, Error> {
        let Known::Same(mut endpoint) = known else {
            let mut endpoint = self.endpoint()?;
            endpoint.attachments.push(self.attachment(session, &[], granted).await?);
            return Ok(Plan::New(endpoint));
        };
        if let Some(present) = endpoint.attachments.iter().find(|it| it.network == self.network.number) {
            self.same_as(&endpoint, present)?;
            return Ok(Plan::Present(endpoint));
        }
        self.same_endpoint(&endpoint)?;
        let attachment = self.attachment(session, &ports_beside(&endpoint, None), granted).await?;
        endpoint.attachments.push(attachment);
        Ok(Plan::Further(endpoint))
    }

    fn endpoint(&self) -> Result<Endpoint, Error> {
        let id = self.request.id.clone().map_or_else(Id::random, Ok);
        Ok(Endpoint {
            id: id.map_err(Error::io("read random bytes"))?,
            name: self.request.name.clone(),
            created: instance::now(),
            netns: self.container.as_model(),
            options: self.request.endpoint.clone(),
            attachments: Vec::new(),
        })
    }

    /// `elsewhere` is what the endpoint has published by other interfaces.
    async fn attachment(
        &self,
        session: &Session,
        elsewhere: &[PublishedPort],
        granted: Option<&Granted>,
    ) -> Result<Attachment, Error> {
        knows_links(self.network, &self.request.attachment.links)?;
        if let Some(granted) = granted {
            lease::Others::of(&session.store, self.network)?.admit(&granted.lease)?;
        }
        let used = self.used(session).await?;
        let [addr4, addr6] = self.addresses(&used, granted.map(|granted| &granted.lease))?;
        let mut attachment = Attachment {
            id: granted
                .map_or_else(Id::random, |granted| Ok(granted.id.clone()))
                .map_err(Error::io("read random bytes"))?,
            network: self.network.number,
            addr4: addr4.and_then(v4),
            addr6: addr6.and_then(v6),
            mac: self.mac(addr4.and_then(v4))?,
            lease: granted.map(|granted| granted.lease.clone()),
            ifname: self.ifname(session).await?,
            options: self.request.attachment.clone(),
            ports: Vec::new(),
        };
        let (specs, listening) = (&self.request.ports, Listening::of(self.network));
        if !host_ports::satisfied(specs, &attachment, elsewhere, listening)? {
            attachment.ports = host_ports::allocate(&session.store, specs, listening, &attachment)?;
        }
        Ok(attachment)
    }

    /// Addresses that are somebody's; on a LAN the host's own are on it too.
    async fn used(&self, session: &Session) -> Result<BTreeSet<IpAddr>, Error> {
        let mut used = session.store.used_addresses(self.network.number)?;
        if self.network.is_on_lan() {
            used.extend(session.kernel.outside_addresses().await?);
        }
        Ok(used)
    }

    /// One of each family that the network has: as asked for, else the lowest free one.
    fn addresses(&self, used: &BTreeSet<IpAddr>, lent: Option<&Lease>) -> Result<[Option<IpAddr>; 2], Error> {
        let choose = |pool: Option<&Pool>, asked: Option<IpAddr>, family| match (pool, asked) {
            (Some(pool), Some(asked)) => Ok(Some(ipam::claim(pool, asked, used)?)),
            (Some(pool), None) => Ok(Some(ipam::next_free(pool, used)?)),
            (None, Some(asked)) => {
                Err(Error::NoFamily { network: self.network.name.to_string(), asked, family })
            }
            (None, None) => Ok(None),
        };
        // An interface without IPv6 has no address that could be sent to.
        let pool6 = self.network.pool6().filter(|_| !self.request.attachment.is_without_ipv6());
        let addr4 = if self.network.is_by_dhcp() {
            lent.map(|lease| lease::free(lease, self.network, used).map(IpAddr::V4)).transpose()?
        } else {
            choose(self.network.pool4(), self.request.ip.map(IpAddr::V4), "IPv4")?
        };
        Ok([addr4, choose(pool6, self.request.ip6.map(IpAddr::V6), "IPv6")?])
    }

    /// As asked for, else that of the IPv4 address, else any; where a DHCP server knows it by it, always the same.
    fn mac(&self, addr4: Option<Ipv4Addr>) -> Result<Mac, Error> {
        if self.network.is_by_dhcp() {
            return Ok(self.applicant().mac(self.network));
        }
        match (self.request.mac_address, addr4) {
            (Some(mac), _) => Ok(mac),
            (None, Some(address)) => Ok(Mac::of_address(address)),
            (None, None) => Ok(Mac::local(random_bytes().map_err(Error::io("read random bytes"))?)),
        }
    }

    async fn ifname(&self, session: &Session) -> Result<String, Error> {
        let identity = &self.container.identity;
        let known = session.store.endpoint_in(identity.device, identity.inode)?;
        let known = known.iter().flat_map(|endpoint| &endpoint.attachments).map(veth_alias).collect();
        let mut there = session.kernel.interfaces_in(&self.container.ns, &known).await?;
        // One that a rehearsal has not made, or that somebody has taken away, keeps its name.
        let known = session.store.endpoint(self.request.name.as_str())?;
        there.extend(known.into_iter().flat_map(|it| it.attachments).map(|it| it.ifname));
        if let Some(asked) = &self.request.ifname {
            return if there.contains(asked) {
                Err(Error::IfnameTaken(asked.clone()))
            } else {
                Ok(asked.clone())
            };
        }
        let prefix = self.network.ifname_prefix();
        let mut names =
            (0..).map(|number: u32| format!("{prefix}{number}")).filter(|name| !there.contains(name));
        names.next().ok_or_else(|| Error::IfnameTaken("eth0".to_owned()))
    }

    /// The same command again changes nothing; another one is told what is otherwise.
    fn same_as(&self, endpoint: &Endpoint, present: &Attachment) -> Result<(), Error> {
        let lent = present.as_lent(self.network);
        if let Some(what) = repeated::interface(self.request, &lent) {
            return Err(self.otherwise(what));
        }
        let elsewhere = ports_beside(endpoint, Some(present));
        if !host_ports::satisfied(&self.request.ports, &lent, &elsewhere, Listening::of(self.network))? {
            let ports: Vec<String> = present.ports.iter().map(output::port).collect();
            let ports = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
            return Err(self.otherwise(format!("these published ports: {ports}")));
        }
        repeated::interface_options(&self.request.attachment, &present.options)
            .or_else(|| repeated::endpoint(&self.request.endpoint, &endpoint.options))
            .map_or(Ok(()), |what| Err(self.otherwise(what)))
    }

    /// One more interface can be had, not another endpoint of the same name.
    fn same_endpoint(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let name = self.request.name.to_string();
        repeated::endpoint(&self.request.endpoint, &endpoint.options)
            .map_or(Ok(()), |what| Err(Error::EndpointOtherwise { name, what }))
    }

    fn otherwise(&self, what: String) -> Error {
        let (endpoint, network) = (self.request.name.to_string(), self.network.name.to_string());
        Error::AttachedOtherwise { endpoint, network, what }
    }
}

/// What an endpoint has published on the host by its other interfaces. A port at the address of another one does not serve for
/// this one.
fn ports_beside(endpoint: &Endpoint, present: Option<&Attachment>) -> Vec<PublishedPort> {
    let others = endpoint.attachments.iter().filter(|it| present.is_none_or(|present| present.id != it.id));
    let ports = others.flat_map(|it| &it.ports).filter(|port| port.host_port.is_some());
    ports.cloned().collect()
}

fn write(change: &Change<'_>, plan: &Plan, attachment: &Attachment) -> Result<(), Error> {
    match plan {
        Plan::Present(_) => Ok(()),
        Plan::Further(endpoint) => Ok(change.add_attachment(&endpoint.id, attachment)?),
        Plan::New(endpoint) => Ok(change.add_endpoint(endpoint)?),
    }
}
