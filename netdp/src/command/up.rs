//! `netdp up`: brings the datapath up, and serves it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use netdp_common::Limit;
use tokio::select;

use super::commit::commit;
use super::{Context, check, configured, detach, gone, lease, lease_keeper, network, rehearsal, run, status};
use crate::Error;
use crate::clash;
use crate::cli::Up;
use crate::config::{self, Config};
use crate::dns::process::Resolver;
use crate::host::lock;
use crate::instance::{self, Place, Session};
use crate::ipam;
use crate::model::{
    Bridge, DEFAULT_BRIDGE, DEFAULT_MTU, DEFAULT_NETWORK, Driver, Endpoint, GatewayMode, Mac, Mechanism,
    Network, Prefilter,
};
use crate::names::{Id, Name, random_bytes};
use crate::plan::Step;
use crate::service;
use crate::store::Change;
use crate::world::{Kernel, World};

/// What holds for this run: of each thing the option, else the file, else the default.
pub(super) struct Chosen {
    config: Option<Config>,
    pub(super) uplinks: Vec<String>,
    prefilter: Prefilter,
    without: u32,
}

impl Chosen {
    fn of(args: &Up) -> Result<Self, Error> {
        let config = path(args).map(|path| Config::read(&path)).transpose()?;
        let said = config.as_ref().map(|config| &config.settings);
        let of_file = said.and_then(|said| said.uplinks.clone()).unwrap_or_default();
        Ok(Self {
            uplinks: if args.uplinks.is_empty() { of_file } else { args.uplinks.clone() },
            prefilter: args.prefilter.or(said.and_then(|said| said.prefilter)).unwrap_or_default(),
            without: Mechanism::mask(&args.without),
            config,
        })
    }

    /// The servers of the whole host that the file has (`dns`), instead of those of its `resolv.conf`.
    fn servers(&self) -> &[IpAddr] {
        self.config.as_ref().map_or(&[], |config| &config.resolver.servers)
    }
}

/// The file that was named, else the one that is there for every run.
fn path(args: &Up) -> Option<PathBuf> {
    let named = args.config.clone().filter(|path| !path.as_os_str().is_empty());
    let usual = || Some(PathBuf::from(config::DEFAULT_PATH)).filter(|path| path.exists());
    named.or_else(usual)
}

pub(super) async fn up<W: Write>(context: &mut Context<'_, W>, args: &Up) -> Result<(), Error> {
    let chosen = Chosen::of(args)?;
    for note in chosen.config.iter().flat_map(|config| &config.notes) {
        tracing::info!("{note}");
    }
    check::nothing_lacks().await?;
    if args.dry_run {
        return rehearsal::rehearse(context, &chosen).await;
    }
    let place = context.place.clone();
    let run_dir = &place.run_dir;
    fs::create_dir_all(run_dir)
        .map_err(Error::io(format!("create the run directory {}", run_dir.display())))?;
    let controller = if args.once { None } else { Some(lock::controller(run_dir)?) };
    let ending = service::Ending::listen()?;
    let attached = establish(&place, &chosen).await?;
    match attached {
        Err(error) if args.once => return Err(error),
        Err(error) => tracing::warn!("a declared endpoint is not attached: {error}"),
        Ok(()) => {}
    }
    if context.is_json() || args.once {
        status::status(context).await?;
        context.out.flush()?;
    }
    match controller {
        Some(_serving) => {
            let mut resolver = Resolver::new(&place, &args.resolv_conf, chosen.servers());
            // The datapath is up without it, and whoever has no names can still be reached by address.
            if let Err(error) = resolver.begin().await {
                tracing::warn!("names of containers are not served: {error}");
            } else if let Err(error) = names_are_served(&place).await {
                tracing::warn!("processes that run are not told who knows names now: {error}");
            }
            serve(&place, &chosen.uplinks, ending, &mut resolver).await
        }
        None => lease_keeper::once(&place).await,
    }
}

/// Processes that were started while nobody answered on their gateways are told that somebody does now.
async fn names_are_served(place: &Place) -> Result<(), Error> {
    let session = Session::begin(place).await?;
    let networks = session.store.networks()?;
    for endpoint in session.store.endpoints()? {
        if let Err(error) = run::refresh(&session, &networks, &endpoint) {
            tracing::warn!("{} is not told who knows names now: {error}", endpoint.name);
        }
    }
    Ok(())
}

/// Brings everything up or leaves everything as it was; and then says whether all declared endpoints could be attached.
async fn establish(place: &Place, chosen: &Chosen) -> Result<Result<(), Error>, Error> {
    let mut session = Session::begin_as_found(place, chosen.uplinks.clone()).await?;
    let was_up = session.kernel.is_up();
    match bring_up(&mut session, chosen).await {
        Ok(deeds) => {
            place.remember_prefilter(chosen.prefilter)?;
            place.remember_uplinks(&chosen.uplinks)?;
            deeds.iter().for_each(tell);
            let attached = configured::attach(&mut session).await;
            Ok(attached.map(|deeds| deeds.iter().for_each(tell)))
        }
        Err(error) => {
            if !was_up {
                leave_as_found(session).await;
            }
            Err(error)
        }
    }
}

fn tell(deed: &configured::Deed) {
    let configured::Deed { action, kind, name, detail } = deed;
    tracing::info!("{action} {kind} {name}: {detail}");
}

/// Has the host and the database as the file and the database say.
pub(super) async fn bring_up(session: &mut Session, chosen: &Chosen) -> Result<Vec<configured::Deed>, Error> {
    session.kernel.set_prefilter(chosen.prefilter);
    session.kernel.set_without(chosen.without);
    let was_up = session.kernel.is_up();
    session.store.check()?;
    session.kernel.heed_signals()?;
    // Before anything is changed: an uplink that is not there is the operator's mistake.
    let uplink = session.kernel.uplinks().await?.first().map(|uplink| uplink.mtu);
    let mtu = uplink.unwrap_or(DEFAULT_MTU);
    let taken = session.kernel.taken().await?;
    let (networks, endpoints) = (session.store.networks()?, session.store.endpoints()?);
    let change = session.store.begin()?;
    let deeds = match &chosen.config {
        Some(config) => configured::edit(session, &change, config).await?,
        None => Vec::new(),
    };
    add_premade(&change, &session.store.networks()?, chosen.config.is_none(), taken, mtu)?;
    network::follow_uplink(&change, &session.store.networks()?, uplink)?;
    lease::end_overdue(&change, &endpoints)?;
    session.kernel.set_flows(session.store.limit(Limit::Table)?);
    if was_up && !session.is_rehearsal() {
        session.kernel.load().await?;
    }
    session.mark_all()?;
    let applied = instance::sync(&session.store, &mut session.kernel).await;
    let result = commit(change, applied, &mut session.kernel).await;
    session.unmark()?;
    result?;
    clear_lans(session, &networks, &endpoints).await?;
    lease::give_back(session);
    Ok(deeds)
}

/// Of interfaces on a LAN nothing is on the host by which they would have gone with their rows.
async fn clear_lans(session: &mut Session, networks: &[Network], before: &[Endpoint]) -> Result<(), Error> {
    let after = session.store.endpoints()?;
    let stays = |id: &Id| after.iter().flat_map(|it| &it.attachments).any(|it| it.id == *id);
    let of_lan = |number: u32| networks.iter().any(|it| it.number == number && it.lan().is_some());
    for endpoint in before {
        let left = endpoint.attachments.iter().filter(|it| of_lan(it.network) && !stays(&it.id));
        detach::clear(&mut session.kernel, networks, left, endpoint).await?;
    }
    Ok(())
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
    default_too: bool,
    mut taken: Vec<ipam::Taken>,
    mtu: u32,
) -> Result<(), Error> {
    let lacks = |name: &str| networks.iter().all(|network| network.name.as_str() != name);
    taken.extend(network::taken_by(networks));
    if default_too && lacks(DEFAULT_NETWORK) {
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
        trusted: BTreeSet::new(),
        allows_direct_routing: false,
        snat4: None,
        snat6: None,
        masquerade_exclude: BTreeSet::new(),
        udp_mapping: None,
        udp_filtering: None,
        dns: Vec::new(),
        host_binding: Ipv4Addr::UNSPECIFIED.into(),
        borrowed: None,
        parent: None,
        dhcp: false,
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
    gone::release(session, networks).await?;
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

/// When declared endpoints that could not be attached are tried again: later each time. What stands in their way may be
/// something that nobody tells the host of, as an interface in the container.
#[derive(Default)]
struct Again {
    due: Cell<Option<(Instant, Duration)>>,
}

impl Again {
    const SOONEST: Duration = Duration::from_secs(5);
    const LATEST: Duration = Duration::from_mins(5);

    fn is_due(&self) -> bool {
        self.due.get().is_some_and(|(at, _)| at <= Instant::now())
    }

    fn put_off(&self) -> Duration {
        let longer = self.due.get().map_or(Self::SOONEST, |(_, last)| (last * 2).min(Self::LATEST));
        self.due.set(Some((Instant::now() + longer, longer)));
        longer
    }

    fn forget(&self) {
        self.due.set(None);
    }
}

/// Follows the host's changes until it is told to end; the datapath stays.
async fn serve(
    place: &Place,
    uplinks: &[String],
    ending: service::Ending,
    resolver: &mut Resolver,
) -> Result<(), Error> {
    let kernel = Kernel::here(&place.run_dir, uplinks.to_vec())?;
    let mut clashes = Clashes::default();
    let mut seen = BTreeMap::new();
    configured::overdue(place, &mut seen);
    let again = Again::default();
    let overdue = || configured::overdue(place, &mut seen) || again.is_due();
    let resync = async || {
        let mut session = Session::begin(place).await?;
        // `netdp down` has been here: what it took away stays away.
        if !session.kernel.is_up() {
            return Ok(());
        }
        // A process whose own netdp was killed has ended: here it is noticed by its interface.
        run::ending::settle(&mut session).await?;
        let networks = session.store.networks()?;
        clashes.tell(clash::warnings(&networks, &session.kernel.occupied().await?));
        session.mark_all()?;
        let synced = resync(&mut session, &networks).await;
        session.unmark()?;
        synced?;
        match configured::attach(&mut session).await {
            Ok(deeds) => {
                again.forget();
                deeds.iter().filter(|deed| deed.action != "wait").for_each(tell);
            }
            Err(error) => {
                let seconds = again.put_off().as_secs();
                tracing::warn!("a declared endpoint is not attached: {error}; trying again in {seconds} s");
            }
        }
        Ok(())
    };
    let served = service::serve::<Error>(kernel.datapath()?, uplinks, ending, resync, overdue, resolver);
    select! {
        served = served => Ok(served?),
        never = lease_keeper::keep(place) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_again_later_each_time_and_not_for_ever_later() {
        let again = Again::default();
        assert!(!again.is_due());
        let waits: Vec<u64> = (0..9).map(|_| again.put_off().as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert!(!again.is_due());
        again.due.set(Some((Instant::now(), Again::LATEST)));
        assert!(again.is_due());
        again.forget();
        assert_eq!((again.is_due(), again.put_off()), (false, Again::SOONEST));
    }
}
