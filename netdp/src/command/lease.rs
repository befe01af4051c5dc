//! Leases of endpoints: got before an endpoint joins a network whose addresses a DHCP server gives, and given back when it has
//! left.
//!
//! A server may take seconds to answer, so that it is asked before the lock of the instance is taken, where that can be. What it
//! offers is written down before it is taken: whatever is cut short, somebody finds the row and gives the address back.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::commit;
use crate::Error;
use crate::dhcp::{self, Asked, Identity};
use crate::host::lock;
use crate::instance::{self, Place, Session};
use crate::model::{Attachment, Endpoint, Lease, Mac, Network, Phase};
use crate::names::{Id, Name};
use crate::store::{Change, Store};
use crate::world::Kernel;

/// How long a command may take from its lease to its end; after that it was cut short.
const UNFINISHED: u64 = 60;

/// An address for an attachment that is yet to be made.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    /// That of the attachment.
    pub(super) id: Id,
    /// What was lent.
    pub(super) lease: Lease,
}

/// For whom an address is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applicant<'a> {
    /// The endpoint.
    pub(super) name: &'a Name,
    /// The address that it is to have, and no other.
    pub(super) ip: Option<Ipv4Addr>,
    /// Its MAC; none is the one that it always has in that network.
    pub(super) mac: Option<Mac>,
}

impl Applicant<'_> {
    /// A server knows its clients by their MAC: an endpoint that comes back has that of its name, and its address.
    pub(super) fn mac(&self, network: &Network) -> Mac {
        self.mac.unwrap_or_else(|| Mac::of_member(&network.id, self.name))
    }
}

/// Asks for an address without the lock, where one will be needed. Whatever is wrong with the words is told later on.
pub(super) async fn ask_ahead(
    place: &Place,
    word: &str,
    applicant: Applicant<'_>,
) -> Result<Option<Granted>, Error> {
    let (networks, endpoints) = instance::read(place)?;
    let Ok(network) = instance::find_network(&networks, word) else { return Ok(None) };
    let is_member = |attachment: &Attachment| attachment.network == network.number;
    let known = endpoints.iter().find(|endpoint| endpoint.name == *applicant.name);
    if !network.is_by_dhcp() || known.is_some_and(|known| known.attachments.iter().any(is_member)) {
        return Ok(None);
    }
    let (store, kernel) = (Store::open(&place.state_dir)?, Kernel::here(&place.run_dir, Vec::new())?);
    obtain(&store, &kernel, network, applicant).await
}

/// Asks for an address in a network, if a DHCP server gives them there.
pub(super) async fn obtain(
    store: &Store,
    kernel: &Kernel,
    network: &Network,
    applicant: Applicant<'_>,
) -> Result<Option<Granted>, Error> {
    let Some(parent) = network.asks_dhcp_on() else { return Ok(None) };
    let id = Id::random().map_err(Error::io("read random bytes"))?;
    let taken = Taken::of(kernel, store, network).await?;
    let offered = async |offer: &Lease| keep(store, &id, offer);
    let lease = acquire((parent, applicant.mac(network)), applicant, &taken, offered).await;
    match lease {
        Ok(lease) => Ok(Some(Granted { id, lease })),
        Err(error) => {
            leave(store, &id)?;
            Err(error)
        }
    }
}

/// Asks for an address; what is offered is told before it is taken.
pub(super) async fn acquire(
    (parent, mac): (&str, Mac),
    applicant: Applicant<'_>,
    taken: &Taken,
    offered: impl AsyncFnMut(&Lease) -> Result<(), Error>,
) -> Result<Lease, Error> {
    let identity = Identity { parent, mac, hostname: applicant.name.as_str() };
    let asked = Asked { address: applicant.ip, taken: &|address| taken.by(address) };
    dhcp::acquire(identity, asked, offered).await
}

/// Addresses that a server should not give: those of the host and of other networks. One of an endpoint may be that of a
/// namespace which has ended, and whoever makes the attachment finds that out.
pub(super) struct Taken {
    host: BTreeSet<IpAddr>,
    others: Others,
}

impl Taken {
    /// At the moment.
    pub(super) async fn of(kernel: &Kernel, store: &Store, own: &Network) -> Result<Self, Error> {
        Ok(Self { host: kernel.outside_addresses().await?, others: Others::of(store, own)? })
    }

    fn by(&self, address: Ipv4Addr) -> Option<String> {
        if self.host.contains(&address.into()) {
            return Some("this host".to_owned());
        }
        self.others.by(address)
    }
}

/// What of other bridges an address may not be of: the programs tell flows between containers by addresses alone. Of networks
/// that are no bridges they know nothing.
pub(super) struct Others(Vec<(IpNet, String)>);

impl Others {
    /// Subnets of bridges, and what servers have lent there; none for a network that is no bridge itself.
    pub(super) fn of(store: &Store, own: &Network) -> Result<Self, Error> {
        if own.bridge().is_none() {
            return Ok(Self(Vec::new()));
        }
        let mut others = store.networks()?;
        others.retain(|network| network.number != own.number && network.bridge().is_some());
        let lent = lent(&others, &store.endpoints()?);
        let subnets = others.iter().flat_map(|other| {
            other.pools().map(|pool| (pool.subnet, format!("network {} ({})", other.name, pool.subnet)))
        });
        Ok(Self(subnets.chain(lent).collect()))
    }

    fn by(&self, address: Ipv4Addr) -> Option<String> {
        let other = self.0.iter().find(|(net, _)| net.contains(&IpAddr::V4(address)));
        other.map(|(_, by)| by.clone())
    }

    /// Refuses a lease of an address that somebody else has.
    pub(super) fn admit(&self, lease: &Lease) -> Result<(), Error> {
        let (server, address) = (lease.server, lease.address.addr());
        self.by(address).map_or(Ok(()), |by| Err(dhcp::Error::Taken { server, address, by }.into()))
    }
}

/// The addresses that servers have lent to endpoints on bridges, and who has them.
pub(super) fn lent(networks: &[Network], endpoints: &[Endpoint]) -> Vec<(IpNet, String)> {
    let of = |endpoint: &Endpoint, attachment: &Attachment| {
        let network = instance::network_of(attachment, networks).filter(|it| it.bridge().is_some())?;
        let address = attachment.lease.as_ref()?.address.addr();
        Some((IpNet::from(IpAddr::V4(address)), format!("endpoint {} of {}", endpoint.name, network.name)))
    };
    let all = endpoints.iter().flat_map(|endpoint| endpoint.attachments.iter().map(move |it| (endpoint, it)));
    all.filter_map(|(endpoint, attachment)| of(endpoint, attachment)).collect()
}

/// The address that is lent; or who of the network has it, as the server does not know.
pub(super) fn free(lease: &Lease, network: &Network, used: &BTreeSet<IpAddr>) -> Result<Ipv4Addr, Error> {
    let (server, address) = (lease.server, lease.address.addr());
    if used.contains(&address.into()) {
        let by = format!("another endpoint of {}", network.name);
        return Err(dhcp::Error::Taken { server, address, by }.into());
    }
    Ok(address)
}

/// Writes down what is lent for an attachment.
pub(super) fn keep(store: &Store, id: &Id, lease: &Lease) -> Result<(), Error> {
    let change = store.begin()?;
    change.keep_lease(id, lease)?;
    Ok(change.commit()?)
}

/// Says that nobody finishes the attachment that a lease is for.
pub(super) fn leave(store: &Store, id: &Id) -> Result<(), Error> {
    let change = store.begin()?;
    change.leave_lease(id)?;
    Ok(change.commit()?)
}

/// What became of an attachment for which something was lent: on an error that goes back at once.
pub(super) async fn or_give_back<T>(
    place: &Place,
    granted: Option<&Granted>,
    made: Result<T, Error>,
) -> Result<T, Error> {
    if let (Some(granted), Err(_)) = (granted, &made)
        && let Err(error) = abandon(place, &granted.id).await
    {
        tracing::warn!("the lease of {} is not given back yet: {error}", granted.lease.address.addr());
    }
    made
}

async fn abandon(place: &Place, id: &Id) -> Result<(), Error> {
    leave(&Store::open(&place.state_dir)?, id)?;
    give_back(&Session::begin(place).await?);
    Ok(())
}

/// Takes away what servers may have lent to others since: what is made anew must not have it.
pub(super) fn end_overdue(change: &Change<'_>, endpoints: &[Endpoint]) -> Result<(), Error> {
    let now = instance::now();
    for attachment in endpoints.iter().flat_map(|endpoint| &endpoint.attachments) {
        if attachment.lease.as_ref().is_some_and(|lease| lease.phase(now) == Phase::Over) {
            change.set_lease(&Attachment { addr4: None, lease: None, ..attachment.clone() })?;
        }
    }
    Ok(())
}

/// The same in the kernel too: without a controller nobody else sees to it, and who comes may get what was lent before.
pub(super) async fn end_all_overdue(session: &mut Session) -> Result<(), Error> {
    let (now, endpoints) = (instance::now(), session.store.endpoints()?);
    let mut leases = endpoints.iter().flat_map(|it| &it.attachments).filter_map(|it| it.lease.as_ref());
    if leases.all(|lease| lease.phase(now) != Phase::Over) {
        return Ok(());
    }
    commit::with_all(session, |change| end_overdue(change, &endpoints)).await
}

/// Gives back what is nobody's. Nothing else depends on it: what cannot be given back ends by itself.
pub(super) fn give_back(session: &Session) {
    if !session.is_rehearsal()
        && let Err(error) = try_give_back(&session.store)
    {
        tracing::warn!("leases of endpoints that are gone are not given back: {error}");
    }
}

fn try_give_back(store: &Store) -> Result<(), Error> {
    for (id, lease) in stray(store)? {
        // Who comes back with its MAC has its address again already.
        if !store.is_lent_beside(&id, &lease, unfinished())? && lease.phase(instance::now()) != Phase::Over {
            give_back_one(&lease);
        }
        let change = store.begin()?;
        change.forget_lease(&id)?;
        change.commit()?;
    }
    Ok(())
}

/// All of them, of a database that is about to go; what cannot be read ends by itself.
pub(super) fn give_back_all(place: &Place) {
    let leases =
        Store::read(&place.state_dir).and_then(|store| store.map_or(Ok(Vec::new()), |it| it.all_leases()));
    let now = instance::now();
    leases.unwrap_or_default().iter().filter(|lease| lease.phase(now) != Phase::Over).for_each(give_back_one);
}

/// What is nobody's.
pub(super) fn stray(store: &Store) -> Result<Vec<(Id, Lease)>, Error> {
    Ok(store.stray_leases(unfinished())?)
}

/// What was lent before, and is no attachment's yet, will be nobody's.
fn unfinished() -> u64 {
    instance::now().saturating_sub(UNFINISHED)
}

/// Gives one lease back.
pub(super) fn give_back_one(lease: &Lease) {
    let address = lease.address.addr();
    match dhcp::release(lease) {
        Ok(()) => tracing::info!(%address, server = %lease.server, "the lease is given back"),
        Err(error) => tracing::warn!("the lease of {address} is not given back, and ends by itself: {error}"),
    }
}

/// Says so when nobody is there to renew a lease.
pub(super) fn tell_if_unattended(place: &Place, attachment: &Attachment) {
    let Some(lease) = &attachment.lease else { return };
    if let (Some(ends), None) = (lease.ends(), lock::controller_pid(&place.run_dir)) {
        tracing::warn!(
            "the lease of {} ends at {}, and no netdp up is running that would renew it",
            lease.address.addr(),
            crate::output::timestamp(ends)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_the_host_and_one_of_another_network_is_told_by_whose_it_is() {
        let other = ("192.168.0.0/16".parse().unwrap(), "network other".to_owned());
        let taken =
            Taken { host: BTreeSet::from([IpAddr::from([203, 0, 113, 10])]), others: Others(vec![other]) };
        let by = |address: [u8; 4]| taken.by(address.into());
        assert_eq!(by([203, 0, 113, 10]).as_deref(), Some("this host"));
        assert_eq!(by([192, 168, 50, 7]).as_deref(), Some("network other"));
        assert_eq!(by([203, 0, 113, 11]), None);
    }
}
