//! What `netdp up` does once everything is up: follow the host's changes, clear away what has expired, and
//! end when it is told to. The datapath needs none of it to go on: it stays when this ends, by a signal or
//! by a crash.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fmt::Display,
    io,
    net::IpAddr,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::{Duration, Instant},
};

use netdp_common::{Event, Reason};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
    time::{Interval, MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

use crate::{
    datapath::{Datapath, Events, Recount},
    dns::process::Resolver,
    host::memory,
    host::uplink::{Observed, UplinkFacts, is_owned},
    model::OtherWays,
    netlink::{self, Burst, Link, Netlink, Watch},
};

/// Expired flows are dead at look-up already; clearing them away only makes room.
const SWEEP: Duration = Duration::from_secs(5);
/// Where there was no flow, only each third sweep looks: none that begins meanwhile is over before.
const SWEEPS_AT_REST: u32 = 3;
/// What interrupts a look at the host is a change, which calls for the next look; more in a row are something else.
const QUIET_FAILURES: u32 = 2;
/// Events that the ring cannot hold are lost, and counted by the programs.
const DRAIN: Duration = Duration::from_millis(200);
/// A resolver that has ended is missed by everybody who looks for a name.
const RESOLVER: Duration = Duration::from_secs(1);
/// Whoever is at a limit is there for long, and a log need not tell it more often than this.
const SILENCE: Duration = Duration::from_secs(10);
/// A flood of events must not keep the loop from its other duties.
const MAX_EVENTS: usize = 1024;

/// The service cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host cannot be watched.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// The kernel ended the watch.
    #[error("the netlink socket that reports changes of this host was closed; start `netdp up` again")]
    Closed,
    /// Signals cannot be received.
    #[error("cannot wait for signals: {cause}")]
    Signals {
        /// What the kernel said.
        cause: io::Error,
    },
}

/// SIGTERM and SIGINT, from the moment on at which this is made: none that comes between the start of `netdp up` and
/// its serving is lost.
pub struct Ending {
    terminate: Signal,
    interrupt: Signal,
}

impl Ending {
    /// Begins to listen. Must be called within a tokio runtime.
    pub fn listen() -> Result<Self, Error> {
        let signal = |kind| signal(kind).map_err(|cause| Error::Signals { cause });
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }
}

impl Ending {
    /// Waits for one of them.
    pub async fn come(mut self) {
        select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves until SIGTERM or SIGINT. `named` are the uplinks that the user named, none for those with a
/// default route. `resync` brings the datapath to the desired state; it is called once at the beginning, as
/// the host may have changed since the caller last looked, and then after each change of the host, and whenever
/// `overdue` says that something waits for it.
pub async fn serve<E: Display>(
    datapath: &Datapath,
    named: &[String],
    ending: Ending,
    resync: impl AsyncFnMut() -> Result<(), E>,
    mut overdue: impl FnMut() -> bool,
    resolver: &mut Resolver,
) -> Result<(), Error> {
    let mut wakeups = Wakeups::new(ending)?;
    let (mut sweeper, mut listener) = (Sweeper::default(), Listener::default());
    memory::keep_little();
    let mut follower = Follower { netlink: Netlink::here()?, named, known: None, failures: 0, resync };
    follower.follow().await;
    notify("READY=1");
    info!("serving; the datapath stays when this ends");
    loop {
        match wakeups.next().await? {
            Wakeup::HostChanged(burst) => follower.hear(&burst).await,
            Wakeup::Sweep => {
                sweeper.sweep(datapath);
                if overdue() {
                    follower.known = None;
                }
                follower.retry().await;
            }
            Wakeup::Drain => listener.drain(datapath),
            Wakeup::Resolver => resolver.look_after(),
            Wakeup::End => break,
        }
    }
    notify("STOPPING=1");
    info!("ending; the datapath stays");
    Ok(())
}

enum Wakeup {
    HostChanged(Burst),
    Sweep,
    Drain,
    Resolver,
    End,
}

struct Wakeups {
    watch: Watch,
    sweep: Interval,
    drain: Interval,
    resolver: Interval,
    ending: Ending,
}

impl Wakeups {
    fn new(ending: Ending) -> Result<Self, Error> {
        Ok(Self {
            watch: Watch::here()?,
            sweep: every(SWEEP),
            drain: every(DRAIN),
            resolver: every(RESOLVER),
            ending,
        })
    }

    async fn next(&mut self) -> Result<Wakeup, Error> {
        let wakeup = select! {
            // In this order, so that an end is not put off by whatever else there is to do.
            biased;
            _ = self.ending.terminate.recv() => Wakeup::End,
            _ = self.ending.interrupt.recv() => Wakeup::End,
            changed = self.watch.changed() => changed.map(Wakeup::HostChanged).ok_or(Error::Closed)?,
            _ = self.sweep.tick() => Wakeup::Sweep,
            _ = self.drain.tick() => Wakeup::Drain,
            _ = self.resolver.tick() => Wakeup::Resolver,
        };
        Ok(wakeup)
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// What of the host the datapath depends on.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    /// `Err` holds why there are none.
    uplinks: Result<Vec<UplinkFacts>, String>,
    addresses: BTreeSet<IpAddr>,
    /// Whether something that is no uplink leads on from here.
    other_ways: OtherWays,
    /// Our links that are up: (index, controller).
    owned: BTreeSet<(u32, Option<u32>)>,
}

impl Facts {
    fn of(host: &Observed, named: &[String]) -> Self {
        let owned = host.links.iter().filter(|link| link.up && is_owned(link));
        let uplinks = host.uplinks(named).map_err(|error| error.to_string());
        Self {
            other_ways: uplinks.as_ref().map_or_else(|_| OtherWays::default(), |it| host.ways_beside(it)),
            uplinks,
            addresses: host.host_addresses().into_iter().collect(),
            owned: owned.map(|link| (link.index, link.controller)).collect(),
        }
    }

    /// A link of ours that is new was made by a command that saw to everything; one that is gone, or was
    /// taken down or out of its bridge, nobody may have seen to (a container that ended takes its link with
    /// it).
    fn call_for_resync(&self, known: &Self) -> bool {
        self.uplinks != known.uplinks
            || self.addresses != known.addresses
            || self.other_ways != known.other_ways
            || !known.owned.is_subset(&self.owned)
    }

    /// Takes in what a command has done and seen to: links of ours that are new, or that are as they were. False when
    /// there was anything else, and somebody must look.
    fn take_in(&mut self, burst: &Burst) -> bool {
        let mut new = Vec::new();
        for link in burst.links.values() {
            let mut known = self.owned.range((link.index, None)..=(link.index, Some(u32::MAX)));
            let known = known.next().copied();
            let is = (link.index, link.controller);
            match (is_owned(link) && link.up, known) {
                (true, None) => new.push(is),
                (true, Some(known)) if known == is => {}
                // One that is still being made.
                (false, None) if !link.up && (is_owned(link) || is_named_as_ours(link)) => {}
                _ => return false,
            }
        }
        if !burst.other {
            self.owned.extend(new);
        }
        !burst.other
    }
}

/// The kernel gives a link its alias only after it has told of it.
fn is_named_as_ours(link: &Link) -> bool {
    link.alias.is_none() && link.name.strip_prefix("nd").is_some_and(|rest| rest.len() == 10)
}

/// Keeps the datapath in step with the host.
struct Follower<'a, R> {
    netlink: Netlink,
    named: &'a [String],
    /// What the datapath was last brought in step with; `None` when that is yet to be done.
    known: Option<Facts>,
    /// So often in a row the host could not be looked at.
    failures: u32,
    resync: R,
}

impl<R: AsyncFnMut() -> Result<(), E>, E: Display> Follower<'_, R> {
    /// What commands have done themselves is not looked at: many in a row would keep this busy, and each look cut short.
    async fn hear(&mut self, burst: &Burst) {
        if !self.known.as_mut().is_some_and(|known| known.take_in(burst)) {
            self.follow().await;
        }
    }

    async fn follow(&mut self) {
        self.look().await;
        memory::give_back();
    }

    async fn look(&mut self) {
        let host = match Observed::of(&self.netlink).await {
            Ok(host) => host,
            Err(error) => return self.has_failed(&error),
        };
        self.failures = 0;
        let facts = Facts::of(&host, self.named);
        drop(host);
        if self.known.as_ref().is_some_and(|known| !facts.call_for_resync(known)) {
            self.known = Some(facts);
            return;
        }
        debug!(?facts, "this host has changed");
        self.known = match (self.resync)().await {
            Ok(()) => Some(facts),
            Err(error) => {
                warn!(
                    "cannot follow a change of this host: {error:#}; trying again in {} s",
                    SWEEP.as_secs()
                );
                None
            }
        };
    }

    fn has_failed(&mut self, error: &netlink::Error) {
        self.known = None;
        self.failures += 1;
        if self.failures > QUIET_FAILURES {
            warn!("cannot look at this host: {error}; trying again in {} s", SWEEP.as_secs());
        } else {
            debug!("cannot look at this host: {error}");
        }
    }

    /// Once more what did not succeed.
    async fn retry(&mut self) {
        if self.known.is_none() {
            self.follow().await;
        }
    }
}

/// Clears away what has ended, and counts what is there.
#[derive(Default)]
struct Sweeper {
    recount: Recount,
    /// So many sweeps are left out.
    resting: u32,
}

impl Sweeper {
    fn sweep(&mut self, datapath: &Datapath) {
        if self.resting > 0 {
            self.resting -= 1;
            return;
        }
        let table = match datapath.recount(&mut self.recount) {
            Ok(table) => table,
            Err(error) => return warn!("cannot count the flows: {error}"),
        };
        if table.is_empty() {
            self.resting = SWEEPS_AT_REST - 1;
            return;
        }
        match datapath.sweep(table) {
            Ok(0) => {}
            Ok(flows) => debug!(flows, "expired flows cleared away"),
            Err(error) => warn!("cannot clear away expired flows: {error}"),
        }
    }
}

/// Hears what the programs have to tell.
#[derive(Default)]
struct Listener {
    /// Opened at the first look.
    events: Option<Events>,
    /// When it was last said that somebody is at a limit.
    told: Option<Instant>,
}

impl Listener {
    fn drain(&mut self, datapath: &Datapath) {
        if self.events.is_none() {
            match datapath.events() {
                Ok(events) => self.events = Some(events),
                Err(error) => warn!("cannot read the events of the datapath: {error}"),
            }
        }
        let (events, told) = (self.events.as_mut(), &mut self.told);
        events.map(|events| events.drain(MAX_EVENTS, &mut |event| tell(event, told)));
    }
}

fn tell(event: &Event, told: &mut Option<Instant>) {
    debug!(?event, "event");
    let limit = Reason::from_number(event.reason).filter(|reason| reason.is_limit());
    if let Some(reason) = limit
        && told.is_none_or(|told| told.elapsed() > SILENCE)
    {
        *told = Some(Instant::now());
        warn!(
            interface = event.ifindex,
            "new flows are refused: {} (netdp limits, netdp drops)",
            reason.name()
        );
    }
}

/// Tells the service manager, if there is one, how things stand.
fn notify(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        warn!("cannot tell the service manager {state} at {}: {error}", socket.display());
    }
}

/// `socket` is a path, or `@` and a name in the abstract namespace.
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(|_len| ())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn facts(owned: &[(u32, Option<u32>)]) -> Facts {
        Facts {
            uplinks: Ok(Vec::new()),
            addresses: BTreeSet::from([Ipv4Addr::LOCALHOST.into()]),
            other_ways: OtherWays::default(),
            owned: owned.iter().copied().collect(),
        }
    }

    fn link(index: u32, name: &str, alias: Option<&str>, up: bool, controller: Option<u32>) -> Link {
        Link {
            index,
            name: name.to_owned(),
            kind: None,
            mac: [0; 6],
            mtu: 1500,
            up,
            alias: alias.map(str::to_owned),
            controller,
            loopback: false,
            ether: true,
        }
    }

    fn taken_in(links: &[Link], other: bool) -> Option<Facts> {
        let mut known = facts(&[(4, None), (5, Some(4))]);
        let links = links.iter().map(|link| (link.index, link.clone())).collect();
        known.take_in(&Burst { links, other }).then_some(known)
    }

    #[test]
    fn what_a_command_does_is_taken_in_without_a_look() {
        let ours = Some("netdp:endpoint:1");
        let name = "nd0123456789";
        let all = [
            link(4, "netdp0", Some("netdp:network:1"), true, None),
            link(5, "nd9876543210", ours, true, Some(4)),
            link(6, name, ours, true, Some(4)),
            link(7, name, None, false, None),
            link(8, name, ours, false, None),
        ];
        let known = taken_in(&all, false).expect("no look");
        assert_eq!(known.owned, facts(&[(4, None), (5, Some(4)), (6, Some(4))]).owned);
        // When it goes later on, it is missed.
        assert!(facts(&[(4, None), (5, Some(4))]).call_for_resync(&known));
    }

    #[test]
    fn whatever_else_happens_is_looked_at() {
        let ours = Some("netdp:endpoint:1");
        assert!(taken_in(&[], true).is_none(), "a link that is gone, an address, a route");
        for changed in [
            link(5, "nd9876543210", ours, true, None),
            link(5, "nd9876543210", ours, false, Some(4)),
            link(4, "netdp0", None, true, None),
            link(9, "eth0", None, true, None),
            link(9, "eth0", None, false, None),
            link(9, "nd0123456789", None, true, None),
        ] {
            assert!(taken_in(std::slice::from_ref(&changed), false).is_none(), "{changed:?}");
        }
    }

    #[test]
    fn a_new_link_of_ours_calls_for_nothing() {
        assert!(!facts(&[(4, None), (5, Some(4))]).call_for_resync(&facts(&[(4, None)])));
        assert!(!facts(&[(4, None)]).call_for_resync(&facts(&[(4, None)])));
    }

    #[test]
    fn a_link_of_ours_that_was_touched_calls_for_a_resync() {
        let known = facts(&[(4, None), (5, Some(4))]);
        assert!(facts(&[(4, None)]).call_for_resync(&known));
        assert!(facts(&[(4, None), (5, None)]).call_for_resync(&known));
    }

    #[test]
    fn another_address_uplink_or_way_calls_for_a_resync() {
        let known = facts(&[]);
        let mut other = facts(&[]);
        other.addresses.insert(Ipv4Addr::new(10, 0, 0, 1).into());
        assert!(other.call_for_resync(&known));
        assert!(
            Facts { other_ways: OtherWays { v4: false, v6: true }, ..facts(&[]) }.call_for_resync(&known)
        );
        let lost = Facts { uplinks: Err("there is no interface eth9".to_owned()), ..facts(&[]) };
        assert!(lost.call_for_resync(&known));
    }

    #[test]
    fn the_service_manager_hears_the_state() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        send(path.as_os_str(), "READY=1").expect("sent");
        let mut buffer = [0; 32];
        let len = manager.recv(&mut buffer).expect("received");
        assert_eq!(&buffer[..len], b"READY=1");
    }

    #[test]
    fn an_abstract_socket_is_found_by_its_name() {
        let name = format!("netdp-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an address");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").expect("sent");
        let mut buffer = [0; 32];
        let len = manager.recv(&mut buffer).expect("received");
        assert_eq!(&buffer[..len], b"STOPPING=1");
    }
}
