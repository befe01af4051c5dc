//! One host instance: its directories, its database and its kernel together, as commands use them.
//!
//! A command that changes something holds the instance's lock from its first look to its last step. While
//! steps are taken a mark lies in the run directory; when a command finds one, an earlier command was killed
//! half way, and everything is brought in line with the database first. The mark lives as long as the
//! kernel's state: both end with the boot.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use netdp_common::Limit;

use crate::Error;
use crate::desired::{Desired, veth_alias};
use crate::host::lock;
use crate::model::{Attachment, Endpoint, Network, Prefilter};
use crate::names;
use crate::plan::{Observed, Step, plan, removal};
use crate::reconcile::{self, Applied};
use crate::store::Store;
use crate::waiting;
use crate::ways::Ways;
use crate::world::{Kernel, Scope, World, open_netns};

/// Where an instance keeps its things.
#[derive(Clone, Debug)]
pub struct Place {
    /// What lives as long as the datapath.
    pub run_dir: PathBuf,
    /// The database.
    pub state_dir: PathBuf,
}

impl Place {
    /// Names of the uplinks that the operator gave to the last `up`.
    pub fn named_uplinks(&self) -> Result<Vec<String>, Error> {
        match fs::read_to_string(self.uplinks_file()) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(Error::io("read the names of the uplinks")(error)),
        }
    }

    /// Remembers them for the commands to come.
    pub fn remember_uplinks(&self, names: &[String]) -> Result<(), Error> {
        let lines: String = names.iter().flat_map(|name| [name, "\n"]).collect();
        fs::write(self.uplinks_file(), lines).map_err(Error::io("write the names of the uplinks"))
    }

    /// Forgets what belongs to a datapath that is no more. The lock files stay: whoever waits for one holds
    /// it open.
    pub fn forget(&self) {
        let prefilter = [prefilter_file(&self.run_dir), without_prefilter_file(&self.run_dir)];
        for file in prefilter.into_iter().chain([self.uplinks_file(), self.mark_file()]) {
            // What was never written need not be removed.
            let _ = fs::remove_file(file);
        }
    }

    /// Remembers where the prefilter is to run.
    pub fn remember_prefilter(&self, choice: Prefilter) -> Result<(), Error> {
        let written = fs::write(prefilter_file(&self.run_dir), choice.name());
        written.map_err(Error::io("write the choice of the prefilter"))
    }

    fn uplinks_file(&self) -> PathBuf {
        self.run_dir.join("uplinks")
    }

    fn mark_file(&self) -> PathBuf {
        self.run_dir.join("unfinished")
    }

    /// Names of the links that commands which were cut short may have been about to make; none without a mark.
    pub fn unfinished(&self) -> Result<Option<BTreeSet<String>>, Error> {
        match fs::read_to_string(self.mark_file()) {
            Ok(text) => Ok(Some(text.lines().map(str::to_owned).collect())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read the mark of an unfinished command")(error)),
        }
    }
}

/// The right to change an instance, and what is needed for it.
#[derive(Debug)]
pub struct Session {
    /// Where it keeps its things.
    pub place: Place,
    /// What was asked for.
    pub store: Store,
    /// What is.
    pub kernel: Kernel,
    /// None in a rehearsal, which changes nothing.
    guard: Option<lock::Guard>,
}

impl Session {
    /// Waits for the lock and repairs what a killed command left.
    pub async fn begin(place: &Place) -> Result<Self, Error> {
        let session = Self::begin_as_found(place, place.named_uplinks()?).await?;
        session.repaired().await
    }

    /// Waits for the lock, with uplinks that may be other ones from now on.
    pub async fn begin_as_found(place: &Place, uplinks: Vec<String>) -> Result<Self, Error> {
        make_directory(&place.run_dir)?;
        let guard = lock::change(&place.run_dir).await?;
        let store = Store::open(&place.state_dir)?;
        let mut kernel = Kernel::here(&place.run_dir, uplinks)?;
        kernel.adopt(place.unfinished()?);
        kernel.set_flows(store.limit(Limit::Table)?);
        Ok(Self { place: place.clone(), store, kernel, guard: Some(guard) })
    }

    /// To try what a command would do: on a copy of the database, with steps that are not taken. Nothing is touched.
    pub fn rehearsal(place: &Place, uplinks: Vec<String>) -> Result<Self, Error> {
        let store = Store::copy(&place.state_dir)?;
        let mut kernel = Kernel::here(&place.run_dir, uplinks)?;
        kernel.adopt(place.unfinished()?);
        kernel.rehearse();
        Ok(Self { place: place.clone(), store, kernel, guard: None })
    }

    /// Whether nothing of what is done is done.
    pub fn is_rehearsal(&self) -> bool {
        self.guard.is_none()
    }

    async fn repaired(mut self) -> Result<Self, Error> {
        if self.kernel.is_up() && self.place.unfinished()?.is_some() {
            tracing::warn!("an earlier command was cut short; putting things right first");
            self.mark_all()?;
            sync(&self.store, &mut self.kernel).await?.keep();
            self.unmark()?;
        }
        Ok(self)
    }

    /// Puts the mark down, before the first step, with the names of the links that may be made: a link has no
    /// alias yet when it is made, and is known by its name until it has.
    pub fn mark<'a>(&self, links: impl IntoIterator<Item = &'a str>) -> Result<(), Error> {
        if self.guard.is_none() {
            return Ok(());
        }
        let names: String = links.into_iter().flat_map(|name| [name, "\n"]).collect();
        let file = OpenOptions::new().create(true).append(true).open(self.place.mark_file());
        file.and_then(|mut file| file.write_all(names.as_bytes()))
            .map_err(Error::io("write to the run directory"))
    }

    /// Puts the mark down for a run that may make any link that the database knows.
    pub fn mark_all(&self) -> Result<(), Error> {
        let mut desired = Desired::default();
        for network in &self.store.networks()? {
            desired.add_network(network);
        }
        let endpoints = self.store.endpoints()?;
        let veths = endpoints.iter().flat_map(|endpoint| &endpoint.attachments).map(Attachment::veth);
        let veths: Vec<String> = veths.collect();
        self.mark(links_to_be(&desired).chain(veths.iter().map(String::as_str)))
    }

    /// Takes the mark away, after the last step or its undoing.
    pub fn unmark(&self) -> Result<(), Error> {
        if self.guard.is_none() {
            return Ok(());
        }
        match fs::remove_file(self.place.mark_file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove a file of the run directory")(error))
            }
            _ => Ok(()),
        }
    }
}

/// Brings the kernel in line with the database. What an endpoint lacks is made afterwards, one endpoint after
/// the other: one whose container is in an unexpected state must not keep the rest from being served.
pub async fn sync<W: World>(store: &Store, world: &mut W) -> Result<Applied, Error> {
    let (networks, endpoints) = (store.networks()?, store.endpoints()?);
    let observed = world.observe(Scope::Everything).await?;
    let mut desired = wanted(store, &networks, &observed)?;
    let mut missing = Vec::new();
    for part in endpoints.iter().flat_map(|endpoint| parts(endpoint, &networks)) {
        if part.is_there(&observed) { part.add_to(&mut desired) } else { missing.push(part) }
    }
    for endpoint in &endpoints {
        desired.lead_datagrams(endpoint, &networks);
    }
    let mut applied = reconcile::apply(world, &plan(&desired, &observed)?).await?;
    for part in missing {
        applied.extend(restore(world, &part, &networks).await);
    }
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.attachments.len() > 1) {
        lead_out(world, endpoint, &networks).await;
    }
    Ok(applied)
}

/// What the database and the host ask for, apart from the endpoints.
pub fn wanted(store: &Store, networks: &[Network], observed: &Observed) -> Result<Desired, Error> {
    let mut desired = Desired::default();
    desired.add_host(&observed.host);
    for (state, seconds) in store.timers()? {
        desired.add_timer(state, seconds);
    }
    for (limit, value) in store.limits()? {
        desired.add_limit(limit, value);
    }
    let mut notices = BTreeSet::new();
    for network in networks {
        let waits = waiting::waits(network, observed);
        if waits.is_none() {
            desired.add_network(network);
        }
        notices.extend(waits.or_else(|| waiting::is_off_lan(network, observed)));
    }
    waiting::tell(notices);
    for denied in store.denied()? {
        desired.add_denied(denied.prefix);
    }
    Ok(desired)
}

/// Of several interfaces the right one leads out again, whatever was cut short: no step of a plan tells what a namespace has.
async fn lead_out<W: World>(world: &mut W, endpoint: &Endpoint, networks: &[Network]) {
    match world.apply(&Step::LeadOut(Ways::of(endpoint, networks))).await {
        // What is gone leads nowhere.
        Ok(()) | Err(Error::NetnsGone(_)) => {}
        Err(error) => tracing::warn!(endpoint = %endpoint.name, "its default routes may be wrong: {error}"),
    }
}

async fn restore<W: World>(world: &mut W, part: &Part<'_>, networks: &[Network]) -> Applied {
    let name = &part.endpoint.name;
    if open_netns(&part.endpoint.netns).is_err() {
        tracing::info!(endpoint = %name, "its network namespace is gone");
        return Applied::default();
    }
    bring_up(world, &part.desired(networks)).await.unwrap_or_else(|error| {
        tracing::warn!(endpoint = %name, "cannot be attached again: {error}");
        Applied::default()
    })
}

/// Makes a part true, looking only at what it is about.
pub async fn bring_up<W: World>(world: &mut W, part: &Desired) -> Result<Applied, Error> {
    let observed = world.observe(Scope::Of(part)).await?;
    reconcile::apply(world, &plan(part, &observed)?).await
}

/// Takes a part away, looking only at what it is about.
pub async fn take_down<W: World>(world: &mut W, part: &Desired) -> Result<(), Error> {
    let observed = world.observe(Scope::Of(part)).await?;
    reconcile::remove(world, &removal(part, &observed)).await
}

/// One interface of an endpoint with its network.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    network: &'a Network,
    endpoint: &'a Endpoint,
    attachment: &'a Attachment,
}

impl<'a> Part<'a> {
    /// Of these three, which belong together.
    pub fn new(network: &'a Network, endpoint: &'a Endpoint, attachment: &'a Attachment) -> Self {
        Self { network, endpoint, attachment }
    }

    /// Whether the host has its veth pair. Of one on a LAN the host has nothing: it is looked at in its container.
    pub fn is_there(&self, observed: &Observed) -> bool {
        let bridge = self.network.bridge().map_or("", |bridge| bridge.device.as_str());
        observed.has_veth(&self.attachment.veth(), &veth_alias(self.attachment), bridge)
    }

    /// Adds it to what should be.
    pub fn add_to(&self, desired: &mut Desired) {
        desired.add_attachment(self.network, self.endpoint, self.attachment);
    }

    /// With its network and the ways out of the endpoint, as something to bring up.
    pub fn desired(&self, networks: &[Network]) -> Desired {
        let mut desired = Desired::default();
        desired.add_network(self.network);
        self.add_to(&mut desired);
        desired.lead_datagrams(self.endpoint, networks);
        desired.ways.push(Ways::of(self.endpoint, networks));
        desired
    }

    /// Without its network, as something to take down.
    pub fn alone(&self) -> Desired {
        let mut desired = Desired::default();
        self.add_to(&mut desired);
        desired
    }
}

/// All interfaces of an endpoint.
pub fn parts<'a>(endpoint: &'a Endpoint, networks: &'a [Network]) -> Vec<Part<'a>> {
    let part = |attachment: &'a Attachment| {
        let network = network_of(attachment, networks)?;
        Some(Part { network, endpoint, attachment })
    };
    endpoint.attachments.iter().filter_map(part).collect()
}

/// Where the prefilter is to run, by the last `up`.
pub fn remembered_prefilter(run_dir: &Path) -> Prefilter {
    // Without the file, or with one that says nothing, it is what `up` chooses when it is not told.
    let text = fs::read_to_string(prefilter_file(run_dir)).unwrap_or_default();
    text.parse().unwrap_or_default()
}

fn prefilter_file(run_dir: &Path) -> PathBuf {
    run_dir.join("prefilter")
}

/// Names of uplinks that have refused a prefilter.
pub fn without_prefilter(run_dir: &Path) -> BTreeSet<String> {
    // Without the file nobody has.
    let text = fs::read_to_string(without_prefilter_file(run_dir)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Remembers whether an uplink goes without prefilter.
pub fn remember_without_prefilter(run_dir: &Path, link: &str, goes_without: bool) -> Result<(), Error> {
    let before = without_prefilter(run_dir);
    let mut links = before.clone();
    if goes_without {
        links.insert(link.to_owned())
    } else {
        links.remove(link)
    };
    if links == before {
        return Ok(());
    }
    let lines: String = links.iter().flat_map(|name| [name, "\n"]).collect();
    fs::write(without_prefilter_file(run_dir), lines)
        .map_err(Error::io("write which uplinks have no prefilter"))
}

fn without_prefilter_file(run_dir: &Path) -> PathBuf {
    run_dir.join("without-prefilter")
}

/// What reading commands read; without a database there is nothing to read.
pub fn read(place: &Place) -> Result<(Vec<Network>, Vec<Endpoint>), Error> {
    match Store::read(&place.state_dir)? {
        Some(store) => Ok((store.networks()?, store.endpoints()?)),
        None => Ok((Vec::new(), Vec::new())),
    }
}

/// The network of an interface.
pub fn network_of<'a>(attachment: &Attachment, networks: &'a [Network]) -> Option<&'a Network> {
    networks.iter().find(|network| network.number == attachment.network)
}

/// The network that a word means.
pub fn find_network<'a>(networks: &'a [Network], word: &str) -> Result<&'a Network, Error> {
    Ok(names::resolve("network", word, networks, |network| (network.name.as_str(), network.id.as_str()))?)
}

/// The endpoint that a word means.
pub fn find_endpoint<'a>(endpoints: &'a [Endpoint], word: &str) -> Result<&'a Endpoint, Error> {
    Ok(names::resolve("endpoint", word, endpoints, |endpoint| {
        (endpoint.name.as_str(), endpoint.id.as_str())
    })?)
}

/// `running`, or `gone` when the network namespace that it was attached in does not exist any more.
///
/// The path alone does not say it: a container that was started by `--pid` may live on without the process.
pub fn state(endpoint: &Endpoint, links: &BTreeSet<String>) -> &'static str {
    let linked = endpoint.attachments.iter().any(|attachment| links.contains(&attachment.veth()));
    if linked || open_netns(&endpoint.netns).is_ok() { "running" } else { "gone" }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Names of the bridges and VLANs that may be made.
pub fn links_to_be(desired: &Desired) -> impl Iterator<Item = &str> {
    let bridges = desired.bridges.iter().filter(|(_, bridge)| !bridge.borrowed);
    bridges.map(|(name, _)| name.as_str()).chain(vlans_to_be(desired))
}

/// Names of the VLANs that may be made. One that is there may be somebody else's, which has no alias either and must not be
/// taken for netdp's own.
pub fn vlans_to_be(desired: &Desired) -> impl Iterator<Item = &str> {
    desired.vlans.keys().map(String::as_str).filter(|vlan| !is_there(vlan))
}

/// Whether the host has an interface of this name.
fn is_there(link: &str) -> bool {
    nix::net::if_::if_nametoindex(link).is_ok()
}

fn make_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io(format!("create the run directory {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::VlanLink;
    use crate::model::{Borrowed, Driver};
    use crate::names::Id;

    fn network(number: u8, of_others: bool) -> Network {
        let mut bridge = crate::fake::bridge(number);
        bridge.borrowed = of_others.then(|| Borrowed { addresses: Vec::new() });
        Network {
            number: number.into(),
            id: Id::stored(format!("{number:064x}")),
            name: format!("net{number}").parse().unwrap(),
            created: 0,
            driver: Driver::Bridge(bridge),
            options: std::collections::BTreeMap::new(),
            labels: std::collections::BTreeMap::new(),
        }
    }

    #[test]
    fn what_may_be_somebody_elses_is_not_marked() {
        let mut desired = Desired::default();
        desired.add_network(&network(1, false));
        desired.add_network(&network(2, true));
        // Every host has the first, and nobody has the second.
        for name in ["lo", "nowhere0.20"] {
            let vlan = VlanLink { alias: String::new(), base: "nowhere0".to_owned(), number: 20 };
            desired.vlans.insert(name.to_owned(), vlan);
        }
        assert_eq!(links_to_be(&desired).collect::<Vec<_>>(), ["br-1", "nowhere0.20"]);
    }
}
