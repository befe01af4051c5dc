//! `netdp up`: brings the datapath up, and serves it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;

use super::{Context, check, network, status};
use crate::Error;
use crate::clash;
use crate::cli::Up;
use crate::host::lock;
use crate::instance::{self, Place, Session};
use crate::ipam;
use crate::model::{
    Bridge, DEFAULT_BRIDGE, DEFAULT_MTU, DEFAULT_NETWORK, Driver, GatewayMode, Mac, Mechanism, Network,
};
use crate::names::{Id, Name, random_bytes};
use crate::plan::Step;
use crate::reconcile::Applied;
use crate::service;
use crate::store::Change;
use crate::world::{Kernel, World};

pub(super) async fn up<W: Write>(context: &mut Context<'_, W>, args: &Up) -> Result<(), Error> {
    if args.config.is_some() {
        return Err(Error::Unsupported("a configuration file (-c, NETDP_CONFIG)".to_owned()));
    }
    check::nothing_lacks().await?;
    let place = context.place.clone();
    let run_dir = &place.run_dir;
    fs::create_dir_all(run_dir)
        .map_err(Error::io(format!("create the run directory {}", run_dir.display())))?;
    let controller = if args.once { None } else { Some(lock::controller(run_dir)?) };
    let ending = service::Ending::listen()?;
    establish(&place, args).await?;
    if context.is_json() || args.once {
        status::status(context).await?;
        context.out.flush()?;
    }
    match controller {
        Some(_serving) => serve(&place, &args.uplinks, ending).await,
        None => Ok(()),
    }
}

/// Brings everything up or leaves everything as it was.
async fn establish(place: &Place, args: &Up) -> Result<(), Error> {
    let mut session = Session::begin_as_found(place, args.uplinks.clone()).await?;
    session.kernel.set_prefilter(args.prefilter);
    session.kernel.set_without(Mechanism::mask(&args.without));
    let was_up = session.kernel.is_up();
    match bring_up(&mut session, was_up).await {
        Ok(()) => {
            place.remember_prefilter(args.prefilter)?;
            place.remember_uplinks(&args.uplinks)
        }
        Err(error) => {
            if !was_up {
                leave_as_found(session).await;
            }
            Err(error)
        }
    }
}

async fn bring_up(session: &mut Session, was_up: bool) -> Result<(), Error> {
    session.store.check()?;
    session.kernel.heed_signals()?;
    // Before anything is changed: an uplink that is not there is the operator's mistake.
    let uplink = session.kernel.uplinks().await?.first().map(|uplink| uplink.mtu);
    let mtu = uplink.unwrap_or(DEFAULT_MTU);
    let taken = session.kernel.taken().await?;
    let networks = session.store.networks()?;
    let change = session.store.begin()?;
    add_premade(&change, &networks, taken, mtu)?;
    network::follow_uplink(&change, &networks, uplink)?;
    if was_up {
        session.kernel.load().await?;
    }
    session.mark_all()?;
    let applied = instance::sync(&session.store, &mut session.kernel).await;
    let result = commit(change, applied, &mut session.kernel).await;
    session.unmark()?;
    result
}

/// Keeps what was applied when the database keeps it too.
pub(super) async fn commit(
    change: Change<'_>,
    applied: Result<Applied, Error>,
    kernel: &mut Kernel,
) -> Result<(), Error> {
    let applied = applied?;
    match change.commit() {
        Ok(()) => {
            applied.keep();
            Ok(())
        }
        Err(error) => {
            applied.undo(kernel).await;
            Err(error.into())
        }
    }
}

/// After a first `up` that failed: its steps are undone already, and with them all but these.
async fn leave_as_found(mut session: Session) {
    if let Err(error) = session.kernel.apply(&Step::RestoreHostSysctls).await {
        tracing::warn!("{error}");
    }
    session.place.forget();
    session.store.discard_if_new();
}

/// The networks that are there from the beginning.
fn add_premade(
    change: &Change<'_>,
    networks: &[Network],
    mut taken: Vec<ipam::Taken>,
    mtu: u32,
) -> Result<(), Error> {
    let lacks = |name: &str| networks.iter().all(|network| network.name.as_str() != name);
    taken.extend(network::taken_by(networks));
    if lacks(DEFAULT_NETWORK) {
        let pool = ipam::choose(&ipam::Request::default(), ipam::Default::Docker, &taken)?;
        change.add_network(&premade(DEFAULT_NETWORK, Driver::Bridge(default_bridge(pool, mtu)?))?)?;
    }
    for (name, driver) in [("host", Driver::Host), ("none", Driver::Null)] {
        if lacks(name) {
            change.add_network(&premade(name, driver)?)?;
        }
    }
    Ok(())
}

fn default_bridge(pool: crate::model::Pool, mtu: u32) -> Result<Bridge, Error> {
    Ok(Bridge {
        device: DEFAULT_BRIDGE.to_owned(),
        mac: Mac::local(random_bytes().map_err(Error::io("read random bytes"))?),
        mtu,
        pool4: Some(pool),
        pool6: None,
        internal: false,
        icc: true,
        masquerade: true,
        gateway_mode4: GatewayMode::Nat,
        gateway_mode6: GatewayMode::Nat,
        snat4: None,
        snat6: None,
        masquerade_exclude: BTreeSet::new(),
        udp_mapping: None,
        udp_filtering: None,
        host_binding: Ipv4Addr::UNSPECIFIED.into(),
        borrowed: None,
        inhibit_ipv4: false,
        routes: Vec::new(),
    })
}

fn premade(name: &str, driver: Driver) -> Result<Network, Error> {
    Ok(Network {
        number: 0,
        id: Id::random().map_err(Error::io("read random bytes"))?,
        name: Name::try_from(name.to_owned()).map_err(|error| Error::Unsupported(error.to_string()))?,
        created: instance::now(),
        driver,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    })
}

/// Brings everything in line with the database and the host as it is now.
async fn resync(session: &mut Session, networks: &[Network]) -> Result<(), Error> {
    // One that was named and is not there is the business of what follows.
    let uplinks = session.kernel.uplinks().await.unwrap_or_default();
    let change = session.store.begin()?;
    network::follow_uplink(&change, networks, uplinks.first().map(|uplink| uplink.mtu))?;
    let synced = instance::sync(&session.store, &mut session.kernel).await;
    commit(change, synced, &mut session.kernel).await
}

/// Subnets that overlap with what the host has, told once.
#[derive(Default)]
struct Clashes {
    told: BTreeSet<String>,
}

impl Clashes {
    fn tell(&mut self, found: BTreeSet<String>) {
        for clash in found.difference(&self.told) {
            tracing::warn!("{clash}; some of these addresses are not reached now");
        }
        self.told = found;
    }
}

/// Follows the host's changes until it is told to end; the datapath stays.
async fn serve(place: &Place, uplinks: &[String], ending: service::Ending) -> Result<(), Error> {
    let kernel = Kernel::here(&place.run_dir, uplinks.to_vec())?;
    let mut clashes = Clashes::default();
    let resync = async || {
        let mut session = Session::begin(place).await?;
        // `netdp down` has been here: what it took away stays away.
        if !session.kernel.is_up() {
            return Ok(());
        }
        let networks = session.store.networks()?;
        clashes.tell(clash::warnings(&networks, &session.kernel.occupied().await?));
        session.mark_all()?;
        let synced = resync(&mut session, &networks).await;
        session.unmark()?;
        synced
    };
    let served: Result<(), service::Error> =
        service::serve::<Error>(kernel.datapath()?, uplinks, ending, resync).await;
    Ok(served?)
}
