//! What the controller does about leases: it has them renewed, takes addresses away whose time is over, and asks for new ones.
//!
//! Servers are talked to without the lock of the instance; only what came of it is written down under it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::select;
use tokio::time::{MissedTickBehavior, interval};

use super::commit;
use super::gone;
use super::lease::{self, Applicant, Taken};
use super::run;
use crate::Error;
use crate::desired::{Desired, Row};
use crate::dhcp::{self, Renewed};
use crate::instance::{self, Part, Place, Session};
use crate::model::{Attachment, Endpoint, Lease, Network, Phase};
use crate::names::Id;
use crate::plan::Step;
use crate::store::{Change, Store};
use crate::ways::Ways;
use crate::world::{Kernel, World as _, open_netns};

/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// How often the database is read also when nobody has changed it.
const RECHECK: Duration = Duration::from_secs(30);
/// Nobody is asked again sooner than after so many seconds.
const LEAST_PAUSE: u64 = 10;
/// Nor later: RFC 2131, 4.4.5 has half of the time that is left.
const LONGEST_PAUSE: u64 = 3600;
/// Pauses between questions for a new address, in seconds.
const NEW_PAUSES: [u64; 3] = [10, 30, 60];

/// One interface whose address is lent.
#[derive(Clone, Debug)]
struct Tenant {
    network: Network,
    endpoint: Endpoint,
    attachment: Attachment,
}

/// What is to be done for one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Duty {
    Renew {
        any: bool,
    },
    TakeAway,
    AskAnew,
    /// After a start: what a former controller has written down may not have reached the kernel.
    Confirm,
}

/// When one is looked at again.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    not_before: u64,
    /// So often in a row nobody has answered.
    failures: usize,
    /// Its lease was over already, and could not be taken away.
    was_over: bool,
}

/// Something that is being done: for an interface, which is looked at again afterwards, or for nobody.
type Work<'a> = LocalBoxFuture<'a, Option<(Id, Turn)>>;

/// Sees to leases for as long as it is polled.
pub(super) async fn keep(place: &Place) -> Infallible {
    let mut keeper = Keeper::new(place);
    let mut work: FuturesUnordered<Work<'_>> = FuturesUnordered::new();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        select! {
            // What holds the lock of the instance must go on while something else waits for it: nothing is awaited here.
            _ = ticks.tick() => match keeper.look() {
                Ok(more) => work.extend(more),
                Err(error) => tracing::debug!("leases cannot be looked at: {error}"),
            },
            Some(done) = work.next(), if !work.is_empty() => keeper.take_in(done),
        }
    }
}

/// Sees once to those that have no address or whose time is over, for an `up` that ends.
pub(super) async fn once(place: &Place) -> Result<(), Error> {
    let mut keeper = Keeper::new(place);
    let mut work: FuturesUnordered<Work<'_>> = keeper.look()?.into_iter().collect();
    while work.next().await.is_some() {}
    Ok(())
}

struct Keeper<'a> {
    place: &'a Place,
    store: Option<Store>,
    /// Of the database when it was last read.
    version: Option<i64>,
    read_at: Option<Instant>,
    tenants: Vec<Tenant>,
    strays: bool,
    /// Whether the namespace of one seems to have ended.
    ended: bool,
    turns: BTreeMap<Id, Turn>,
    busy: BTreeSet<Id>,
    /// Whose address has been compared with the kernel.
    confirmed: BTreeSet<Id>,
}

impl<'a> Keeper<'a> {
    fn new(place: &'a Place) -> Self {
        Self {
            place,
            store: None,
            version: None,
            read_at: None,
            tenants: Vec::new(),
            strays: false,
            ended: false,
            turns: BTreeMap::new(),
            busy: BTreeSet::new(),
            confirmed: BTreeSet::new(),
        }
    }

    /// What is due.
    fn look(&mut self) -> Result<Vec<Work<'a>>, Error> {
        self.read()?;
        let (now, place) = (instance::now(), self.place);
        let mut work: Vec<Work<'a>> = Vec::new();
        for tenant in &self.tenants {
            let id = &tenant.attachment.id;
            let turn = self.turns.get(id).copied().unwrap_or_default();
            let Some(duty) = duty(tenant, turn, now, self.confirmed.contains(id)) else { continue };
            if self.busy.insert(id.clone()) {
                self.confirmed.insert(id.clone());
                let tenant = tenant.clone();
                work.push(Box::pin(async move { Some(serve(place, tenant, duty, turn).await) }));
            }
        }
        if std::mem::take(&mut self.strays) {
            work.push(Box::pin(give_back(place)));
        }
        if std::mem::take(&mut self.ended) {
            work.push(Box::pin(release(place)));
        }
        Ok(work)
    }

    fn read(&mut self) -> Result<(), Error> {
        if self.store.is_none() {
            self.store = Store::follow(&self.place.state_dir)?;
        }
        let Some(store) = &self.store else { return Ok(()) };
        let version = store.data_version()?;
        // A command that was killed shows by nothing but time.
        let is_recent = self.read_at.is_some_and(|at| at.elapsed() < RECHECK);
        if self.version == Some(version) && is_recent {
            return Ok(());
        }
        self.read_at = Some(Instant::now());
        self.tenants = tenants(&store.networks()?, &store.endpoints()?);
        self.strays = !lease::stray(store)?.is_empty();
        // The host has nothing of an interface on a LAN that it could miss.
        self.ended = self.tenants.iter().any(Tenant::has_ended);
        let ids = || self.tenants.iter().map(|tenant| &tenant.attachment.id);
        // What a command writes down from now on, it gives to the kernel itself.
        if self.version.replace(version).is_some() {
            self.confirmed.extend(ids().cloned());
        }
        let there: BTreeSet<&Id> = ids().collect();
        self.turns.retain(|id, _| there.contains(id));
        self.confirmed.retain(|id| there.contains(id));
        Ok(())
    }

    fn take_in(&mut self, done: Option<(Id, Turn)>) {
        if let Some((id, turn)) = done {
            self.busy.remove(&id);
            // What has failed may have reached the kernel in part.
            if turn.failures > 0 {
                self.confirmed.remove(&id);
            }
            self.turns.insert(id, turn);
        }
    }
}

fn tenants(networks: &[Network], endpoints: &[Endpoint]) -> Vec<Tenant> {
    let of = |endpoint: &Endpoint, attachment: &Attachment| {
        let network = networks.iter().find(|it| it.number == attachment.network && it.is_by_dhcp())?;
        Some(Tenant { network: network.clone(), endpoint: endpoint.clone(), attachment: attachment.clone() })
    };
    let all = endpoints.iter().flat_map(|endpoint| endpoint.attachments.iter().map(move |it| (endpoint, it)));
    all.filter_map(|(endpoint, attachment)| of(endpoint, attachment)).collect()
}

/// What is due for one.
fn duty(tenant: &Tenant, turn: Turn, now: u64, is_confirmed: bool) -> Option<Duty> {
    let Some(lease) = &tenant.attachment.lease else {
        return (now >= turn.not_before).then_some(Duty::AskAnew);
    };
    let due = |duty| (now >= turn.not_before).then_some(duty);
    match lease.phase(now) {
        Phase::Over if turn.was_over => due(Duty::TakeAway),
        Phase::Over => Some(Duty::TakeAway),
        Phase::Renewing => due(Duty::Renew { any: false }),
        Phase::Rebinding => due(Duty::Renew { any: true }),
        Phase::Bound if is_confirmed => None,
        Phase::Bound => due(Duty::Confirm),
    }
}

/// Does it, and says when to look again.
async fn serve(place: &Place, tenant: Tenant, duty: Duty, turn: Turn) -> (Id, Turn) {
    let id = tenant.attachment.id.clone();
    match tenant.serve(place, duty, turn).await {
        Ok(next) => (id, next),
        Err(error) => {
            tracing::warn!(endpoint = %tenant.endpoint.name, "its address by DHCP: {error}");
            (id, Turn { was_over: duty == Duty::TakeAway, ..tenant.later(turn) })
        }
    }
}

/// Those of endpoints that are gone, of which the kernel has nothing any more.
async fn give_back(place: &Place) -> Option<(Id, Turn)> {
    match Session::begin(place).await {
        Ok(session) => lease::give_back(&session),
        Err(error) => tracing::warn!("leases of endpoints that are gone are not given back: {error}"),
    }
    None
}

/// What belongs to endpoints whose namespace has ended is free, and their leases go back.
async fn release(place: &Place) -> Option<(Id, Turn)> {
    let released = async {
        let mut session = Session::begin(place).await?;
        release_gone(&mut session).await
    };
    if let Err(error) = released.await {
        tracing::warn!("leases of namespaces that have ended are not given back: {error}");
    }
    None
}

/// Says whether there was anything.
async fn release_gone(session: &mut Session) -> Result<bool, Error> {
    let networks = session.store.networks()?;
    session.mark([])?;
    let released = gone::release(session, &networks).await;
    session.unmark()?;
    released
}

impl Tenant {
    fn has_ended(&self) -> bool {
        open_netns(&self.endpoint.netns).is_err()
    }

    /// Says when it is looked at again.
    async fn serve(&self, place: &Place, duty: Duty, turn: Turn) -> Result<Turn, Error> {
        // One that a process holds beyond its path is served as long as something shows that it is there.
        if self.has_ended() && release_gone(&mut Session::begin(place).await?).await? {
            return Ok(self.later(turn));
        }
        match (duty, &self.attachment.lease) {
            (Duty::Renew { any }, Some(lease)) => match dhcp::renew(lease, any).await? {
                Renewed::Extended(lease) => {
                    let next = rest(&lease);
                    self.settle(place, Some(*lease)).await.map(|()| next)
                }
                Renewed::Refused => {
                    self.tell_end(lease, "its server has taken it back");
                    self.settle(place, None).await.map(|()| Turn::default())
                }
                Renewed::Unanswered => Ok(self.later(turn)),
            },
            (Duty::TakeAway, Some(lease)) => {
                self.tell_end(lease, "nobody has renewed it");
                self.settle(place, None).await.map(|()| Turn::default())
            }
            (Duty::Confirm, Some(lease)) => {
                self.settle(place, Some(lease.clone())).await.map(|()| Turn::default())
            }
            (Duty::AskAnew, _) => self.ask_anew(place).await,
            (Duty::Renew { .. } | Duty::TakeAway | Duty::Confirm, None) => Ok(Turn::default()),
        }
    }

    fn tell_end(&self, lease: &Lease, why: &str) {
        let address = lease.address.addr();
        tracing::warn!(endpoint = %self.endpoint.name, network = %self.network.name, %address, "the lease is over: {why}");
    }

    /// When it is looked at again after nobody has answered.
    fn later(&self, turn: Turn) -> Turn {
        let now = instance::now();
        let pause = match self.attachment.lease.as_ref().map(|lease| (lease, lease.phase(now))) {
            Some((lease, Phase::Renewing)) => half_to(lease.since + u64::from(lease.rebind_after), now),
            Some((lease, Phase::Rebinding)) => half_to(lease.since + u64::from(lease.ends_after), now),
            Some((_, Phase::Bound | Phase::Over)) => LEAST_PAUSE,
            None => NEW_PAUSES[turn.failures.min(NEW_PAUSES.len() - 1)],
        };
        Turn { not_before: now + pause, failures: turn.failures + 1, was_over: false }
    }

    async fn ask_anew(&self, place: &Place) -> Result<Turn, Error> {
        let Some(parent) = self.network.asks_dhcp_on() else { return Ok(Turn::default()) };
        let kernel = Kernel::here(&place.run_dir, Vec::new())?;
        let taken = Taken::of(&kernel, &Store::open(&place.state_dir)?, &self.network).await?;
        let applicant = Applicant { name: &self.endpoint.name, ip: None, mac: Some(self.attachment.mac) };
        let id = &self.attachment.id;
        // Who holds the lock may be in the midst of a change and go on only when this gives way: the database alone would be
        // waited for without that.
        let offered = async |offer: &Lease| {
            let session = Session::begin(place).await?;
            lease::keep(&session.store, id, offer)
        };
        let lease = lease::acquire((parent, self.attachment.mac), applicant, &taken, offered).await?;
        let (address, next) = (lease.address.addr(), rest(&lease));
        self.settle(place, Some(lease)).await?;
        tracing::info!(endpoint = %self.endpoint.name, %address, "it has an address by DHCP again");
        Ok(next)
    }

    /// Writes down what it has now, and gives it that. The database first: what does not reach the container is tried again, and
    /// until then the kernel knows itself when the old address ends.
    async fn settle(&self, place: &Place, lease: Option<Lease>) -> Result<(), Error> {
        let mut session = Session::begin(place).await?;
        let (networks, endpoints) = (session.store.networks()?, session.store.endpoints()?);
        let id = &self.attachment.id;
        let is_it = |endpoint: &&Endpoint| endpoint.attachments.iter().any(|attachment| attachment.id == *id);
        let Some(before) = endpoints.iter().find(is_it) else { return self.detached(&session, lease) };
        let is = self.attachment.addr4.map(IpAddr::V4);
        let mut used = session.store.used_addresses(self.network.number)?;
        used.retain(|address| Some(*address) != is);
        let address = lease.as_ref().map(|lease| lease::free(lease, &self.network, &used)).transpose()?;
        let others = lease::Others::of(&session.store, &self.network)?;
        lease.as_ref().map_or(Ok(()), |lease| others.admit(lease))?;
        let mut after = before.clone();
        for attachment in after.attachments.iter_mut().filter(|attachment| attachment.id == *id) {
            attachment.addr4 = address;
            attachment.lease.clone_from(&lease);
        }
        self.write(&mut session, before, &after).await?;
        if !session.kernel.is_up() {
            return Ok(());
        }
        match self.lend(&mut session, &networks, (before, &after)).await {
            Err(Error::NetnsGone(_) | Error::LinkGone(_)) => release_gone(&mut session).await.map(drop),
            result => result,
        }
    }

    /// The programs of a bridge know whose an address is and where its ports lead: that changes with the database, or not at all.
    async fn write(&self, session: &mut Session, before: &Endpoint, after: &Endpoint) -> Result<(), Error> {
        let set = |change: &Change<'_>| {
            let mut changed = after.attachments.iter().filter(|it| it.id == self.attachment.id);
            Ok(changed.try_for_each(|attachment| change.set_lease(attachment))?)
        };
        if self.on_host(before) != self.on_host(after) {
            return commit::with_all(session, set).await;
        }
        let change = session.store.begin()?;
        set(&change)?;
        Ok(change.commit()?)
    }

    /// What the host has of it that depends on the lease.
    fn on_host(&self, endpoint: &Endpoint) -> Option<(BTreeSet<Row>, Vec<u32>)> {
        let Desired { rows, veths, .. } = self.part(endpoint)?;
        Some((rows, veths.into_values().map(|veth| veth.mtu).collect()))
    }

    /// It has left meanwhile: what a server has lent since then goes back too.
    fn detached(&self, session: &Session, lease: Option<Lease>) -> Result<(), Error> {
        if let Some(lease) = lease {
            lease::keep(&session.store, &self.attachment.id, &lease)?;
            lease::leave(&session.store, &self.attachment.id)?;
            lease::give_back(session);
        }
        Ok(())
    }

    async fn lend(
        &self,
        session: &mut Session,
        networks: &[Network],
        (before, after): (&Endpoint, &Endpoint),
    ) -> Result<(), Error> {
        let (Some(old_part), Some(new_part)) = (self.part(before), self.part(after)) else { return Ok(()) };
        let (Some(old), Some(new)) = (old_part.insides().next(), new_part.insides().next()) else {
            return Ok(());
        };
        session.kernel.lend(old, new).await?;
        if old.addresses != new.addresses {
            session.kernel.apply(&Step::Announce(new.clone())).await?;
        }
        session.kernel.apply(&Step::LeadOut(Ways::of(after, networks))).await?;
        run::refresh(session, networks, after)
    }

    fn part(&self, endpoint: &Endpoint) -> Option<Desired> {
        let attachment = endpoint.attachments.iter().find(|it| it.id == self.attachment.id)?;
        Some(Part::new(&self.network, endpoint, attachment).alone())
    }
}

fn half_to(moment: u64, now: u64) -> u64 {
    (moment.saturating_sub(now) / 2).clamp(LEAST_PAUSE, LONGEST_PAUSE)
}

/// A server that wants to be asked all the time is not; a lease that ends before is not let go of for that.
fn rest(lease: &Lease) -> Turn {
    let pause = LEAST_PAUSE.min(u64::from(lease.ends_after / 2));
    Turn { not_before: instance::now() + pause, ..Turn::default() }
}
